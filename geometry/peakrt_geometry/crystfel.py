"""CrystFEL geometry files, read and written (crystfel_geometry(5), CrystFEL 0.12)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .panels import HC_EV_M, BadRegion, Detector, HeaderValue, MaskSource, Panel, Vector

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TERM = re.compile(r"([+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)?)([xyz])")
_MASK_KEY = re.compile(r"mask(\d+)_(data|file|goodbits|badbits)")
_DIM_KEY = re.compile(r"dim(\d+)")

#: Settings a panel may have besides its place; kept as written.
_PANEL_SETTINGS = {
    "res", "coffset", "clen", "max_adu", "saturation_map", "saturation_map_file", "no_index", "mask_edge_pixels",
    "adu_per_eV", "adu_per_photon", "flag_lessthan", "flag_morethan", "flag_equal", "badrow_direction",
}  # fmt: skip
_PLACE_KEYS = {"min_fs", "max_fs", "min_ss", "max_ss", "corner_x", "corner_y", "fs", "ss", "data"}
_OLD_MASK_KEYS = {"mask", "mask_file", "mask_good", "mask_bad"}
#: Settings of the whole detector; kept as written.
_WHOLE_SETTINGS = {
    "photon_energy_bandwidth", "bandwidth", "photon_energy_scale", "detector_shift_x", "detector_shift_y",
    "peak_list", "peak_list_type", "peak_info_location", "clen_for_centering", "rail_direction",
}  # fmt: skip
_ENERGY_UNITS = {"": 1.0, "ev": 1.0, "kev": 1e3, "mev": 1e6}
_LENGTH_UNITS = {"m": 1.0, "mm": 1e-3, "cm": 1e-2}


def read_geom(path: str | Path) -> Detector:
    """Read a CrystFEL geometry file.

    Raises ValueError that names file and line for a key it does not know or a value it cannot read,
    OSError if the file cannot be opened.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8", errors="strict")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: expected a CrystFEL geometry") from error
    return parse_geom(text, name=path.name)


def parse_geom(text: str, *, name: str = "geometry") -> Detector:
    """Read a CrystFEL geometry from text; see :func:`read_geom`."""
    reader = _Reader(name)
    for number, key, value in _assignments(text, name):
        try:
            reader.take(key, value)
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
    """Settings as they stand at the present line; a panel starts with those that stand when it is first named."""

    name: str
    defaults: dict[str, str] = field(default_factory=dict)
    panels: dict[str, dict[str, str]] = field(default_factory=dict)
    regions: dict[str, dict[str, str]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    collections: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def take(self, key: str, value: str) -> None:
        owner, slash, local = key.rpartition("/")
        if slash and owner.startswith("bad"):
            self._take_region(owner, local, value)
        elif slash:
            _check_panel_key(local, value)
            self.panels.setdefault(owner, dict(self.defaults))[local] = value
        elif key.startswith("rigid_group_collection_"):
            self.collections[key.removeprefix("rigid_group_collection_")] = _names(value)
        elif key.startswith("rigid_group_") or key.startswith("group_"):
            self.groups[key.removeprefix("rigid_")] = _names(value)
        elif key in ("photon_energy", "wavelength", "electron_voltage"):
            self.whole["energy"] = f"{key} {value}"
        elif key in _WHOLE_SETTINGS:
            self.whole[key] = value
        else:
            _check_panel_key(key, value)
            self.defaults[key] = value

    def _take_region(self, owner: str, key: str, value: str) -> None:
        known = {"min_x", "max_x", "min_y", "max_y", "min_fs", "max_fs", "min_ss", "max_ss", "panel"}
        if key not in known:
            raise ValueError(f"unknown key {key!r} of bad region {owner!r}")
        if key != "panel":
            _number(value)
        self.regions.setdefault(owner, {})[key] = value

    def detector(self) -> Detector:
        panels = tuple(self._panel(panel, keys) for panel, keys in self.panels.items())
        if not panels:
            raise ValueError(f"{self.name} defines no panel: is it a CrystFEL geometry?")
        gains = {key: self.defaults.get(key) for key in ("adu_per_photon", "adu_per_eV")}
        return Detector(
            panels=panels,
            camera_length=_camera_length(self.defaults.get("clen")),
            photon_energy=_photon_energy(self.whole.pop("energy", None)),
            adu_per_photon=_optional_number(gains["adu_per_photon"]),
            adu_per_eV=_optional_number(gains["adu_per_eV"]),
            bad_regions=tuple(self._region(region, keys) for region, keys in self.regions.items()),
            groups=self.groups,
            collections=self.collections,
            settings=dict(self.whole),
            name=self.name,
        )

    def _panel(self, name: str, keys: dict[str, str]) -> Panel:
        needed = ("min_fs", "max_fs", "min_ss", "max_ss", "corner_x", "corner_y", "res")
        missing = [key for key in needed if key not in keys]
        if missing:
            raise ValueError(f"{self.name}: panel {name!r} lacks {', '.join(missing)}")
        size = 1 / _number(keys["res"])
        place = {key: int(_number(keys[key])) for key in ("min_fs", "max_fs", "min_ss", "max_ss")}
        if place["min_fs"] > place["max_fs"] or place["min_ss"] > place["max_ss"] or min(place.values()) < 0:
            raise ValueError(f"{self.name}: panel {name!r} has no pixels: {place}")
        corner = (
            _number(keys["corner_x"]) * size,
            _number(keys["corner_y"]) * size,
            _number(keys.get("coffset", "0")),
        )
        return Panel(
            name=name,
            min_ss=place["min_ss"],
            end_ss=place["max_ss"] + 1,
            min_fs=place["min_fs"],
            end_fs=place["max_fs"] + 1,
            corner_m=corner,
            ss_m=_direction(keys.get("ss", "y"), size),
            fs_m=_direction(keys.get("fs", "x"), size),
            dims=_dims(keys, name),
            data=keys.get("data"),
            masks=_masks(keys),
            camera_length=_camera_length(keys.get("clen")),
            settings=self._settings(keys),
        )

    def _settings(self, keys: dict[str, str]) -> dict[str, str]:
        """What a panel sets besides its place; the gain only where it is not that of the whole detector."""
        kept = {key: value for key, value in keys.items() if key in _PANEL_SETTINGS - {"clen", "coffset"}}
        whole = {key: value for key, value in self.defaults.items() if key.startswith("adu_per_")}
        return {key: value for key, value in kept.items() if whole.get(key) != value}

    def _region(self, name: str, keys: dict[str, str]) -> BadRegion:
        for kind, order in (
            ("xy", ("min_x", "max_x", "min_y", "max_y")),
            ("fsss", ("min_fs", "max_fs", "min_ss", "max_ss")),
        ):
            if any(key in keys for key in order):
                # A bound that is not given does not bound; CrystFEL takes 0 there, which hides a mistake.
                missing = [key for key in order if key not in keys]
                if missing and kind == "xy":
                    raise ValueError(f"{self.name}: bad region {name!r} lacks {', '.join(missing)}")
                low, high = ("0", "1e9")
                values = [_number(keys.get(key, high if key.startswith("max") else low)) for key in order]
                panel = keys.get("panel")
                if panel is not None and panel not in self.panels:
                    raise ValueError(f"{self.name}: bad region {name!r} names panel {panel!r}, which does not exist")
                return BadRegion(name, kind, (values[0], values[1], values[2], values[3]), panel)
        if "panel" in keys:  # the whole panel
            return BadRegion(name, "fsss", (0.0, 1e9, 0.0, 1e9), keys["panel"])
        raise ValueError(f"{self.name}: bad region {name!r} has no bounds")


def _check_panel_key(key: str, value: str) -> None:
    numeric = {"min_fs", "max_fs", "min_ss", "max_ss", "corner_x", "corner_y", "res", "coffset"}
    if key in numeric:
        _number(value)
    elif key in ("fs", "ss"):
        _direction(value, 1.0)
    elif key in ("mask_good", "mask_bad") or key.endswith(("_goodbits", "_badbits")):
        _bits(value)
    known = key in _PLACE_KEYS | _PANEL_SETTINGS | _OLD_MASK_KEYS
    if not (known or _DIM_KEY.fullmatch(key) or _MASK_KEY.fullmatch(key)):
        raise ValueError(f"unknown key {key!r}")


def _number(text: str) -> float:
    if not re.fullmatch(_NUMBER, text.strip()):
        raise ValueError(f"expected a number, found {text!r}")
    return float(text)


def _optional_number(text: str | None) -> float | None:
    return None if text is None else _number(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _bits(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"expected bits such as 0xff, found {text!r}") from None


def _direction(text: str, size: float) -> Vector:
    """Pixel step along a direction such as ``-0.01x +0.99y``, metres."""
    squeezed = text.replace(" ", "").replace("\t", "")
    vector = {"x": 0.0, "y": 0.0, "z": 0.0}
    end = 0
    for term in _TERM.finditer(squeezed):
        if term.start() != end:
            break
        factor = term[1]
        vector[term[2]] += float(factor + "1" if factor in ("", "+", "-") else factor) * size
        end = term.end()
    if end != len(squeezed) or not squeezed:
        raise ValueError(f"expected a direction such as +0.5x -0.5y, found {text!r}")
    return vector["x"], vector["y"], vector["z"]


def _dims(keys: dict[str, str], panel: str) -> tuple[str | int, ...]:
    given = {int(match[1]): keys[key] for key in keys if (match := _DIM_KEY.fullmatch(key))}
    if not given:
        return "ss", "fs"
    if sorted(given) != list(range(len(given))):
        raise ValueError(f"panel {panel!r}: dim{max(given)} without the dims before it")
    dims: list[str | int] = []
    for axis in range(len(given)):
        text = given[axis]
        if text in ("%", "ss", "fs"):
            dims.append(text)
        elif text.isdigit():
            dims.append(int(text))
        else:
            raise ValueError(f"panel {panel!r}: dim{axis} is {text!r}, it should be %, ss, fs or an index")
    if dims.count("ss") != 1 or dims.count("fs") != 1:
        raise ValueError(f"panel {panel!r}: the dims must hold ss and fs once each, they are {dims}")
    return tuple(dims)


def _masks(keys: dict[str, str]) -> tuple[MaskSource, ...]:
    sources = []
    if "mask" in keys:
        good, bad = _bits(keys.get("mask_good", "0")), _bits(keys.get("mask_bad", "0"))
        sources.append(MaskSource(keys["mask"], keys.get("mask_file"), good, bad))
    for number in sorted({int(m[1]) for key in keys if (m := _MASK_KEY.fullmatch(key))}):
        entry = {part: keys.get(f"mask{number}_{part}") for part in ("data", "file", "goodbits", "badbits")}
        if entry["data"] is not None:
            good, bad = _bits(entry["goodbits"] or "0"), _bits(entry["badbits"] or "0")
            sources.append(MaskSource(entry["data"], entry["file"], good, bad))
    return tuple(sources)


def _quantity(text: str) -> tuple[str, str]:
    parts = text.split()
    return parts[0] if parts else "", parts[1] if len(parts) > 1 else ""


def _camera_length(text: str | None) -> float | HeaderValue | None:
    if text is None:
        return None
    value, unit = _quantity(text)
    if unit and unit not in _LENGTH_UNITS:
        raise ValueError(f"clen has unit {unit!r}, it should be m, cm or mm")
    if re.fullmatch(_NUMBER, value):
        return float(value) * _LENGTH_UNITS[unit or "m"]
    # From a header CrystFEL takes millimetres unless told otherwise.
    return HeaderValue(value, _LENGTH_UNITS[unit or "mm"])


def _photon_energy(text: str | None) -> float | HeaderValue | None:
    if text is None:
        return None
    key, _, rest = text.partition(" ")
    value, unit = _quantity(rest)
    if key == "photon_energy":
        if unit.lower() not in _ENERGY_UNITS:
            raise ValueError(f"photon_energy has unit {unit!r}, it should be eV, keV or MeV")
        scale = _ENERGY_UNITS[unit.lower()]
        return float(value) * scale if re.fullmatch(_NUMBER, value) else HeaderValue(value, scale)
    if key == "wavelength" and re.fullmatch(_NUMBER, value):
        metres = float(value) * {"A": 1e-10, "m": 1.0}.get(unit, 1e-10)
        return HC_EV_M / metres
    raise ValueError(f"{key} = {rest} is not supported: give photon_energy in eV")


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
    lines += [f"rigid_{name} = {','.join(members)}" for name, members in detector.groups.items()]
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
    if panel.camera_length is not None and panel.camera_length != detector.camera_length:
        lines.append(f"clen = {_length_text(panel.camera_length)}")
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
    terms = [f"{value / size:+.9f}{axis}" for value, axis in zip(vector, "xyz", strict=True) if value]
    return " ".join(terms)
