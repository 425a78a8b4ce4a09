"""CrystFEL geometry files, read and written (crystfel_geometry(5), CrystFEL 0.12)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import checks
from .panels import HC_EV_M, BadRegion, Detector, HeaderValue, MaskSource, Panel, Vector

_MASK_KEY = re.compile(r"mask(\d{1,3})_(data|file|goodbits|badbits)", re.ASCII)
_DIM_KEY = re.compile(r"dim(\d{1,3})", re.ASCII)
#: A geometry of 512 ASICs has 200 kB.
_MAX_FILE = 2**26

#: Settings of a panel that are not numbers.
_PANEL_WORDS = {"data", "mask", "mask_file", "saturation_map", "saturation_map_file", "badrow_direction"}
#: How each of the others is read; what is read here is only checked, and kept as written.
_PANEL_CHECKS: dict[str, Callable[[str], object]] = {
    "min_fs": checks.pixel, "max_fs": checks.pixel, "min_ss": checks.pixel, "max_ss": checks.pixel,
    "corner_x": checks.corner, "corner_y": checks.corner, "coffset": checks.offset_m, "res": checks.pixels_per_metre,
    "fs": checks.direction, "ss": checks.direction, "clen": lambda text: _camera_length(text),
    "adu_per_photon": checks.gain, "adu_per_eV": checks.gain, "max_adu": checks.number,
    "flag_lessthan": checks.number, "flag_morethan": checks.number, "flag_equal": checks.number,
    "mask_edge_pixels": checks.pixel, "no_index": checks.switch, "mask_good": checks.bits, "mask_bad": checks.bits,
}  # fmt: skip
#: Settings a panel may have besides its place; kept as written.
_PANEL_SETTINGS = {
    "res", "max_adu", "saturation_map", "saturation_map_file", "no_index", "mask_edge_pixels",
    "adu_per_eV", "adu_per_photon", "flag_lessthan", "flag_morethan", "flag_equal", "badrow_direction",
}  # fmt: skip
#: Settings of the whole detector; kept as written.
_WHOLE_SETTINGS = {
    "photon_energy_bandwidth", "bandwidth", "photon_energy_scale", "detector_shift_x", "detector_shift_y",
    "peak_list", "peak_list_type", "peak_info_location", "clen_for_centering", "rail_direction",
}  # fmt: skip
_WHOLE_NUMBERS = {"photon_energy_bandwidth", "bandwidth", "photon_energy_scale"}
_ENERGY_UNITS = {"": 1.0, "ev": 1.0, "kev": 1e3, "mev": 1e6}
_LENGTH_UNITS = {"m": 1.0, "mm": 1e-3, "cm": 1e-2}
_REGION_KEYS = {"xy": ("min_x", "max_x", "min_y", "max_y"), "fsss": ("min_fs", "max_fs", "min_ss", "max_ss")}


def read_geom(path: str | Path) -> Detector:
    """Read a CrystFEL geometry file.

    Raises ValueError that names file and line for a key it does not know or a value it cannot read,
    OSError if the file cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        raw = file.read(_MAX_FILE + 1)
    if len(raw) > _MAX_FILE:
        raise ValueError(f"{path} has more than {_MAX_FILE >> 20} MB: expected a CrystFEL geometry")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: expected a CrystFEL geometry") from error
    return parse_geom(text, name=path.name)


def parse_geom(text: str, *, name: str = "geometry") -> Detector:
    """Read a CrystFEL geometry from text; see :func:`read_geom`."""
    reader = _Reader(name)
    for number, key, value in _assignments(text, name):
        try:
            reader.take(number, key, value)
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: {error}") from None
    return reader.detector()


def _assignments(text: str, name: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.split(";")[0].strip()
        if not bare:
            continue
        key, equals, value = bare.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{name}, line {number}: expected 'key = value', found {bare[:60]!r}")
        yield number, key.strip(), value.strip()


@dataclass
class _Reader:
    """Settings as they stand at the present line; a panel starts with those that stand when it is first named.

    lines : where each setting was given, by its owner (a panel, a bad region, "" for the whole) and key
    """

    name: str
    defaults: dict[str, str] = field(default_factory=dict)
    panels: dict[str, dict[str, str]] = field(default_factory=dict)
    regions: dict[str, dict[str, str]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    collections: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)

    def take(self, line: int, key: str, value: str) -> None:
        """Keep one setting. Raises ValueError for an unknown key or a value that cannot be."""
        owner, slash, local = key.rpartition("/")
        if slash and owner.startswith("bad"):
            self._take_region(owner, local, value)
        elif slash:
            _check_panel_key(local, value)
            if owner not in self.panels:
                self.panels[owner] = dict(self.defaults)
                self.lines[owner, ""] = line
                self.lines.update({(owner, name): self.lines["", name] for name in self.defaults})
            self.panels[owner][local] = value
        elif key.startswith("rigid_group_collection_"):
            self.collections[key.removeprefix("rigid_group_collection_")] = _names(value)
        elif key.startswith("rigid_group_") or key.startswith("group_"):
            self.groups[key] = _names(value)
        elif key in ("photon_energy", "wavelength", "electron_voltage"):
            _photon_energy(f"{key} {value}")
            self.whole["energy"] = f"{key} {value}"
        elif key in _WHOLE_SETTINGS:
            if key in _WHOLE_NUMBERS:
                checks.number(value)
            self.whole[key] = value
        else:
            _check_panel_key(key, value)
            self.defaults[key] = value
        self.lines[owner, local] = line

    def _take_region(self, owner: str, key: str, value: str) -> None:
        if key not in {"panel", *_REGION_KEYS["xy"], *_REGION_KEYS["fsss"]}:
            raise ValueError(f"unknown key {key!r} of bad region {owner!r}")
        if key != "panel":
            checks.bound(value)
        self.regions.setdefault(owner, {})[key] = value

    def detector(self) -> Detector:
        """Everything taken, as a detector. Raises ValueError, with the line, for what does not fit together."""
        if not self.panels:
            raise ValueError(f"{self.name} defines no panel: is it a CrystFEL geometry?")
        length = self._whole_length()
        panels = tuple(self._panel(panel, keys, length) for panel, keys in self.panels.items())
        self._check_size(panels)
        gains = {key: self.defaults.get(key) for key in ("adu_per_photon", "adu_per_eV")}
        return Detector(
            panels=panels,
            camera_length=length,
            photon_energy=_photon_energy(self.whole.pop("energy", None)),
            adu_per_photon=_optional_number(gains["adu_per_photon"]),
            adu_per_eV=_optional_number(gains["adu_per_eV"]),
            bad_regions=tuple(self._region(region, keys) for region, keys in self.regions.items()),
            groups=self.groups,
            collections=self.collections,
            settings=dict(self.whole),
            name=self.name,
        )

    def _fault(self, owner: str, key: str, message: str) -> ValueError:
        line = self.lines.get((owner, key)) or self.lines[owner, ""]  # else where the panel is first named
        return ValueError(f"{self.name}, line {line}: {message}")

    def _latest(self, owner: str, keys: list[str]) -> str:
        """That of the keys which was given last."""
        return max(keys, key=lambda key: self.lines.get((owner, key), 0))

    def _whole_length(self) -> float | HeaderValue | None:
        """The camera length that the panels share: CrystFEL 0.12 takes one for the whole, earlier ones took many."""
        if "clen" in self.defaults:
            return _camera_length(self.defaults["clen"])
        return _camera_length(next(iter(self.panels.values())).get("clen"))

    def _panel(self, name: str, keys: dict[str, str], length: float | HeaderValue | None) -> Panel:
        needed = ("min_fs", "max_fs", "min_ss", "max_ss", "corner_x", "corner_y", "res")
        missing = [key for key in needed if key not in keys]
        if missing:
            raise self._fault(name, "", f"panel {name!r} lacks {', '.join(missing)}")
        size = 1 / checks.pixels_per_metre(keys["res"])
        place = {key: checks.pixel(keys[key]) for key in ("min_fs", "max_fs", "min_ss", "max_ss")}
        for axis in ("fs", "ss"):
            if place[f"min_{axis}"] > place[f"max_{axis}"]:
                raise self._fault(name, f"max_{axis}", f"panel {name!r} has no pixels: {place}")
        z = checks.offset_m(keys.get("coffset", "0")) + self._length_beyond(name, keys, length)
        if isinstance(length, float):
            try:
                checks.check_camera_length_m(length + z)
            except ValueError as error:
                given = self._latest(name, ["clen", "coffset"])
                raise self._fault(name, given, f"panel {name!r}: {error}") from None
        ss_m, fs_m = self._steps(name, keys, size)
        return Panel(
            name=name,
            min_ss=place["min_ss"],
            end_ss=place["max_ss"] + 1,
            min_fs=place["min_fs"],
            end_fs=place["max_fs"] + 1,
            corner_m=(checks.corner(keys["corner_x"]) * size, checks.corner(keys["corner_y"]) * size, z),
            ss_m=ss_m,
            fs_m=fs_m,
            dims=self._dims(name, keys),
            data=keys.get("data"),
            masks=_masks(keys),
            settings=self._settings(keys),
        )

    def _length_beyond(self, name: str, keys: dict[str, str], length: float | HeaderValue | None) -> float:
        """How far a panel with a camera length of its own lies behind the whole detector's, metres."""
        own = _camera_length(keys.get("clen"))
        if own is None or own == length:
            return 0.0
        if isinstance(own, float) and isinstance(length, float):
            return own - length
        message = f"panel {name!r} has another camera length than the detector: give one clen, and each panel's coffset"
        raise self._fault(name, "clen", message)

    def _steps(self, name: str, keys: dict[str, str], size: float) -> tuple[Vector, Vector]:
        """Steps of a panel along ss and fs, metres."""
        ss, fs = checks.direction(keys.get("ss", "y")), checks.direction(keys.get("fs", "x"))
        cross = math.hypot(*(ss[a] * fs[b] - ss[b] * fs[a] for a, b in ((1, 2), (2, 0), (0, 1))))
        if cross < 0.1 * math.hypot(*ss) * math.hypot(*fs):  # closer than 6 degrees
            raise self._fault(name, self._latest(name, ["fs", "ss"]), f"fs and ss of panel {name!r} are parallel")
        return (ss[0] * size, ss[1] * size, ss[2] * size), (fs[0] * size, fs[1] * size, fs[2] * size)

    def _dims(self, name: str, keys: dict[str, str]) -> tuple[str | int, ...]:
        given = sorted((int(match[1]), key) for key in keys if (match := _DIM_KEY.fullmatch(key)))
        if not given:
            return "ss", "fs"
        last = self._latest(name, [key for _, key in given])
        if [axis for axis, _ in given] != list(range(len(given))):
            raise self._fault(name, last, f"panel {name!r}: {given[-1][1]} without the dims before it")
        dims = tuple(_dim(keys[key], key) for _, key in given)
        if dims.count("ss") != 1 or dims.count("fs") != 1 or dims.count("%") > 1:
            message = (
                f"panel {name!r}: the dims must hold ss and fs once each and % at most once, they are {list(dims)}"
            )
            raise self._fault(name, last, message)
        return dims

    def _check_size(self, panels: tuple[Panel, ...]) -> None:
        planes = len({panel.plane for panel in panels})
        tall, wide = max(panels, key=lambda p: p.end_ss), max(panels, key=lambda p: p.end_fs)
        if planes * tall.end_ss * wide.end_fs > checks.MAX_PIXELS:
            message = f"a frame of {planes} x {tall.end_ss} x {wide.end_fs} pixels is larger than any detector's"
            raise self._fault(tall.name, "max_ss", message)

    def _settings(self, keys: dict[str, str]) -> dict[str, str]:
        """What a panel sets besides its place; the gain only where it is not that of the whole detector."""
        kept = {key: value for key, value in keys.items() if key in _PANEL_SETTINGS}
        whole = {key: value for key, value in self.defaults.items() if key.startswith("adu_per_")}
        return {key: value for key, value in kept.items() if whole.get(key) != value}

    def _region(self, name: str, keys: dict[str, str]) -> BadRegion:
        panel = keys.get("panel")
        if panel is not None and panel not in self.panels:
            raise self._fault(name, "panel", f"bad region {name!r} names panel {panel!r}, which does not exist")
        kinds = [kind for kind, order in _REGION_KEYS.items() if any(key in keys for key in order)]
        first = next(iter(keys))
        if len(kinds) == 2:
            raise self._fault(name, first, f"bad region {name!r} mixes x and y with fs and ss")
        if not kinds and panel is None:
            raise self._fault(name, first, f"bad region {name!r} has no bounds")
        kind = kinds[0] if kinds else "fsss"  # a panel alone: all of it
        order = _REGION_KEYS[kind]
        missing = [key for key in order if key not in keys]
        if missing and kind == "xy":
            raise self._fault(name, first, f"bad region {name!r} lacks {', '.join(missing)}")
        # A bound that is not given does not bound; CrystFEL takes 0 there, which hides a mistake.
        low_a, high_a, low_b, high_b = (checks.bound(keys.get(key, "1e9" if "max" in key else "0")) for key in order)
        for low, high, key in ((low_a, high_a, order[1]), (low_b, high_b, order[3])):
            if low > high:
                given = key if key in keys else first
                raise self._fault(
                    name, given, f"bad region {name!r} has its minimum {low:g} above its maximum {high:g}"
                )
        return BadRegion(name, kind, (low_a, high_a, low_b, high_b), panel)


def _check_panel_key(key: str, value: str) -> None:
    if key in _PANEL_CHECKS:
        _PANEL_CHECKS[key](value)
    elif _DIM_KEY.fullmatch(key):
        _dim(value, key)
    elif match := _MASK_KEY.fullmatch(key):
        if match[2].endswith("bits"):
            checks.bits(value)
    elif key not in _PANEL_WORDS:
        raise ValueError(f"unknown key {key!r}")


def _optional_number(text: str | None) -> float | None:
    return None if text is None else checks.number(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _dim(text: str, key: str) -> str | int:
    if text in ("%", "ss", "fs"):
        return text
    if re.fullmatch(r"\d{1,9}", text, re.ASCII):
        return int(text)
    raise ValueError(f"{key} is {text[:60]!r}, it should be %, ss, fs or an index")


def _masks(keys: dict[str, str]) -> tuple[MaskSource, ...]:
    sources = []
    if "mask" in keys:
        good, bad = checks.bits(keys.get("mask_good", "0")), checks.bits(keys.get("mask_bad", "0"))
        sources.append(MaskSource(keys["mask"], keys.get("mask_file"), good, bad))
    for number in sorted({int(m[1]) for key in keys if (m := _MASK_KEY.fullmatch(key))}):
        entry = {part: keys.get(f"mask{number}_{part}") for part in ("data", "file", "goodbits", "badbits")}
        if entry["data"] is not None:
            good, bad = checks.bits(entry["goodbits"] or "0"), checks.bits(entry["badbits"] or "0")
            sources.append(MaskSource(entry["data"], entry["file"], good, bad))
    return tuple(sources)


def _quantity(text: str) -> tuple[str, str]:
    """Value and unit; what follows a blank behind the unit is left out, as CrystFEL does."""
    parts = text.split()
    return parts[0] if parts else "", parts[1] if len(parts) > 1 else ""


def _camera_length(text: str | None) -> float | HeaderValue | None:
    if text is None:
        return None
    value, unit = _quantity(text)
    if unit and unit not in _LENGTH_UNITS:
        raise ValueError(f"clen has unit {unit!r}, it should be m, cm or mm")
    length = checks.number_or_path(value)
    if isinstance(length, float):
        return length * _LENGTH_UNITS[unit or "m"]
    # From a header CrystFEL takes millimetres unless told otherwise.
    return HeaderValue(length, _LENGTH_UNITS[unit or "mm"])


def _photon_energy(text: str | None) -> float | HeaderValue | None:
    if text is None:
        return None
    key, _, rest = text.partition(" ")
    value, unit = _quantity(rest)
    if key == "photon_energy":
        if unit.lower() not in _ENERGY_UNITS:
            raise ValueError(f"photon_energy has unit {unit!r}, it should be eV, keV or MeV")
        scale = _ENERGY_UNITS[unit.lower()]
        energy = checks.number_or_path(value)
        return HeaderValue(energy, scale) if isinstance(energy, str) else checks.check_photon_energy_eV(energy * scale)
    if key == "wavelength" and checks.NUMBER.fullmatch(value):
        metres = checks.number(value) * {"A": 1e-10, "m": 1.0}.get(unit, 1e-10)
        low, high = (HC_EV_M / energy for energy in reversed(checks.PHOTON_ENERGY_eV))
        if not low <= metres <= high:
            raise ValueError(f"wavelength = {rest[:60]}? expected {low * 1e10:.2g} to {high * 1e10:.2g} A (or m)")
        return HC_EV_M / metres
    raise ValueError(f"{key} = {rest[:60]} is not supported: give photon_energy in eV")


#: Members that CrystFEL 0.12 takes in a group (MAX_PANEL_GROUP_CHILDREN).
_MOST_MEMBERS = 64
#: Settings that CrystFEL 0.12 knows; it complains of the others. Those that name a place in the data file do not go
#: with the peaks into another file.
_CRYSTFEL_SETTINGS = {"bandwidth", "detector_shift_x", "detector_shift_y"}
_NOT_IN_A_CXI = {"saturation_map", "saturation_map_file", "badrow_direction"}


def missing_for_crystfel(detector: Detector) -> list[str]:
    """What CrystFEL needs in a geometry and this one lacks, in words; empty where CrystFEL loads it."""
    gains = {"adu_per_photon", "adu_per_eV"}
    of_the_whole = detector.adu_per_photon is not None or detector.adu_per_eV is not None
    lacks = {
        "camera length": detector.camera_length is None,
        "photon energy": detector.photon_energy is None,
        "data path": not detector.has_data_path,
        "gain (adu_per_photon)": not of_the_whole and not all(gains & set(p.settings) for p in detector.panels),
    }
    return [name for name, is_missing in lacks.items() if is_missing]


def for_crystfel(detector: Detector) -> Detector:
    """The same detector without what CrystFEL 0.12 refuses or complains of.

    Bad regions in raw pixels name a panel and lie within it, and only settings that CrystFEL knows are kept.
    """
    regions = [part for region in detector.bad_regions for part in _within_panels(region, detector)]
    panels = tuple(
        replace(panel, settings={key: value for key, value in panel.settings.items() if key not in _NOT_IN_A_CXI})
        for panel in detector.panels
    )
    settings = {
        key: value
        for key, value in detector.settings.items()
        if key in _CRYSTFEL_SETTINGS and checks.NUMBER.fullmatch(_quantity(value)[0])
    }
    # It reads group_ lines and leaves out the rigid_group_ lines of earlier versions.
    has_groups = any(name.startswith("group_") for name in detector.groups)
    groups = detector.groups if has_groups else {**detector.groups, **_groups(detector)}
    return replace(detector, panels=panels, bad_regions=tuple(regions), settings=settings, groups=groups)


def _groups(detector: Detector) -> dict[str, tuple[str, ...]]:
    """Panels of a detector with many as groups of groups; of few, CrystFEL makes one group itself."""
    names = [panel.name for panel in detector.panels]
    if len(names) <= _MOST_MEMBERS:
        return {}
    parts = [tuple(names[first : first + 32]) for first in range(0, len(names), 32)]
    groups = {f"group_part{number}": part for number, part in enumerate(parts)}
    return {**groups, "group_all": tuple(name.removeprefix("group_") for name in groups)}


def _within_panels(region: BadRegion, detector: Detector) -> Iterator[BadRegion]:
    """A region as those of single panels, cut to each."""
    if region.kind == "xy":
        yield region
        return
    min_fs, max_fs, min_ss, max_ss = region.bounds
    for panel in detector.panels:
        if region.panel in (None, panel.name):
            low_fs, high_fs = max(min_fs, panel.min_fs), min(max_fs, panel.end_fs - 1)
            low_ss, high_ss = max(min_ss, panel.min_ss), min(max_ss, panel.end_ss - 1)
            # CrystFEL's bounds are whole numbers, both included
            bounds = (math.ceil(low_fs), math.floor(high_fs), math.ceil(low_ss), math.floor(high_ss))
            name = region.name if region.panel else f"{region.name}_{panel.name}"
            if bounds[0] <= bounds[1] and bounds[2] <= bounds[3]:
                yield BadRegion(name, "fsss", bounds, panel.name)


def write_geom(detector: Detector, path: str | Path, *, comment: str = "") -> None:
    """Write a CrystFEL geometry file that :func:`read_geom` reads back as the same detector."""
    Path(path).write_text(format_geom(detector, comment=comment), encoding="utf-8")


def format_geom(detector: Detector, *, comment: str = "") -> str:
    """Text of a CrystFEL geometry file."""
    lines = [f"; {line}".rstrip() for line in comment.splitlines()]
    lines += _whole_lines(detector)
    for region in detector.bad_regions:
        lines += [""] + _region_lines(region)
    lines += [""]
    lines += [f"{name} = {','.join(members)}" for name, members in detector.groups.items()]
    lines += [f"rigid_group_collection_{name} = {','.join(m)}" for name, m in detector.collections.items()]
    for panel in detector.panels:
        lines += [""] + _panel_lines(panel, detector)
    return "\n".join(lines) + "\n"


def _whole_lines(detector: Detector) -> list[str]:
    lines = []
    if isinstance(detector.photon_energy, HeaderValue):
        unit = {1.0: "eV", 1e3: "keV", 1e6: "MeV"}[detector.photon_energy.scale]
        lines.append(f"photon_energy = {detector.photon_energy.path} {unit}")
    elif detector.photon_energy is not None:
        lines.append(f"photon_energy = {detector.photon_energy!r} eV")
    if detector.camera_length is not None:
        lines.append(f"clen = {_length_text(detector.camera_length)}")
    for key in ("adu_per_photon", "adu_per_eV"):
        if getattr(detector, key) is not None:
            lines.append(f"{key} = {getattr(detector, key)!r}")
    lines += [f"{key} = {value}" for key, value in detector.settings.items()]
    lines += _shared_lines(detector)
    return lines


def _shared_lines(detector: Detector) -> list[str]:
    """Data path, masks and layout, once where all panels share them."""
    first = detector.panels[0]
    lines = []
    if all(panel.data == first.data for panel in detector.panels) and first.data:
        lines.append(f"data = {first.data}")
    if all(panel.masks == first.masks for panel in detector.panels):
        lines += _mask_lines(first, "")
    if all(panel.dims == first.dims for panel in detector.panels):
        lines += [f"dim{axis} = {entry}" for axis, entry in enumerate(first.dims)]
    return lines


def _mask_lines(panel: Panel, prefix: str) -> list[str]:
    lines = []
    for number, mask in enumerate(panel.masks):
        lines.append(f"{prefix}mask{number}_data = {mask.path}")
        if mask.file:
            lines.append(f"{prefix}mask{number}_file = {mask.file}")
        lines.append(f"{prefix}mask{number}_goodbits = {mask.good:#x}")
        lines.append(f"{prefix}mask{number}_badbits = {mask.bad:#x}")
    return lines


def _length_text(length: float | HeaderValue) -> str:
    if isinstance(length, HeaderValue):
        return f"{length.path} {({1.0: 'm', 1e-2: 'cm', 1e-3: 'mm'})[length.scale]}"
    return f"{length!r} m"


def _region_lines(region: BadRegion) -> list[str]:
    keys = ("min_x", "max_x", "min_y", "max_y") if region.kind == "xy" else ("min_fs", "max_fs", "min_ss", "max_ss")
    lines = [f"{region.name}/panel = {region.panel}"] if region.panel else []
    return lines + [f"{region.name}/{key} = {value:.10g}" for key, value in zip(keys, region.bounds, strict=True)]


def _panel_lines(panel: Panel, detector: Detector) -> list[str]:
    first, size = detector.panels[0], _written_size(panel)
    lines = [
        f"min_fs = {panel.min_fs}",
        f"max_fs = {panel.end_fs - 1}",
        f"min_ss = {panel.min_ss}",
        f"max_ss = {panel.end_ss - 1}",
        f"res = {panel.settings.get('res', repr(1 / size))}",
        f"corner_x = {panel.corner_m[0] / size:.9g}",
        f"corner_y = {panel.corner_m[1] / size:.9g}",
        f"fs = {_direction_text(panel.fs_m, size)}",
        f"ss = {_direction_text(panel.ss_m, size)}",
    ]
    if panel.corner_m[2]:
        lines.append(f"coffset = {panel.corner_m[2]:.10g}")
    if any(p.data != first.data for p in detector.panels) and panel.data:
        lines.append(f"data = {panel.data}")
    if any(p.masks != first.masks for p in detector.panels):
        lines += _mask_lines(panel, "")
    if any(p.dims != first.dims for p in detector.panels):
        lines += [f"dim{axis} = {entry}" for axis, entry in enumerate(panel.dims)]
    lines += [f"{key} = {value}" for key, value in panel.settings.items() if key != "res"]
    return [f"{panel.name}/{line}" for line in lines]


def _written_size(panel: Panel) -> float:
    return 1 / float(panel.settings["res"]) if "res" in panel.settings else panel.pixel_size_m


def _direction_text(vector: Vector, size: float) -> str:
    # x and y even if they are 0: OM 23.8.3 takes 1 for the x of an fs, and for the y of an ss, that is not given
    parts = zip(vector, "xyz", strict=True)
    return " ".join(f"{value / size:+.9f}{axis}" for value, axis in parts if value or axis != "z")
