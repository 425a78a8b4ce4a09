"""CBF files: their text, their binary sections, and the detector that the text describes.

imgCIF dictionary 1.8, International Tables for Crystallography G (2006) ch. 3.7 and 4.6. Nothing here calls a C
library on what a file claims before the claim is checked against the bytes that are there.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector, Panel
from peakrt_geometry.checks import MAX_PIXELS
from peakrt_geometry.panels import HC_EV_M

#: What opens and closes a binary section, and what stands before its bytes.
_BOUNDARY = b"--CIF-BINARY-FORMAT-SECTION--"
_START = b"\x0c\x1a\x04\xd5"
#: Elements of one file: the largest detectors of cctbx have some hundred.
_MOST_SECTIONS = 4096
#: Bytes of text: the CSPAD's 64 panels take 90 kB.
_MOST_TEXT = 2**20
_MOST_PANELS = 1024
#: Axes one upon another; seven in a CSPAD.
_LONGEST_CHAIN = 50
_TYPES = {
    f"{sign}signed {bits}-bit integer": np.dtype(f"{kind}{bits // 8}")
    for sign, kind in (("", "i"), ("un", "u"))
    for bits in (8, 16, 32)
}
#: Bytes that decoders may look at behind the last: up to seven belong to an escape.
_MARGIN = 16

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Section:
    """One array of a CBF: how it is packed, its shape (slow, middle, fast), its type, and where its bytes are."""

    conversion: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    start: int
    size: int
    digest: str | None


@dataclass(frozen=True)
class Cbf:
    """A CBF's text without its binary sections, and these."""

    text: str
    sections: tuple[Section, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (panel, ss, fs) of the frame: each slow index of each array is a plane, as large as the largest."""
        shapes = [section.shape for section in self.sections]
        return sum(s[0] for s in shapes), max(s[1] for s in shapes), max(s[2] for s in shapes)

    @property
    def byte_offset(self) -> bool:
        """Whether all arrays have DECTRIS's compression, which is decoded here."""
        return all("byte_offset" in section.conversion for section in self.sections)

    @property
    def full(self) -> bool:
        """Whether the text describes detector and arrays as imgCIF does, rather than in DECTRIS's comments."""
        return "_array_structure_list.array_id" in self.text


def split_cbf(raw: bytes) -> Cbf:
    """Take a CBF apart. Raises ValueError where its claims and its bytes do not agree."""
    parts, sections, end = [], [], 0
    while (begin := raw.find(_BOUNDARY, end)) >= 0:
        parts.append(raw[end:begin])
        section = _section(raw, begin + len(_BOUNDARY))
        sections.append(section)
        end = section.start + section.size
        closing = raw.find(_BOUNDARY + b"--", end, end + 2**16)
        end = end if closing < 0 else closing + len(_BOUNDARY) + 2
        if len(sections) > _MOST_SECTIONS or sum(map(len, parts)) > _MOST_TEXT:
            raise ValueError("its header is larger than any detector's")
    parts.append(raw[end : end + _MOST_TEXT])
    if not sections:
        raise ValueError("it holds no image")
    cbf = Cbf(b"".join(parts).decode("latin1").replace("\r\n", "\n"), tuple(sections))
    if np.prod(cbf.shape, dtype=float) > MAX_PIXELS:
        raise ValueError(f"it claims {cbf.shape} pixels, more than any detector has")
    return cbf


def _section(raw: bytes, begin: int) -> Section:
    start = raw.find(_START, begin, begin + 2**16)
    if start < 0:
        raise ValueError("the header of its image has no end: is it cut short?")
    start += len(_START)
    said = raw[begin:start].decode("latin1").replace("\r\n", "\n").replace("\n ", " ")
    size, elements = _count(said, "X-Binary-Size"), _count(said, "X-Binary-Number-of-Elements")
    fast = _count(said, "X-Binary-Size-Fastest-Dimension")
    middle = _count(said, "X-Binary-Size-Second-Dimension")
    slow = _count(said, "X-Binary-Size-Third-Dimension", 1) or 1
    kind = re.search(r'X-Binary-Element-Type:\s*"?([a-z0-9 -]+)', said)
    conversion = re.search(r'conversions="?([A-Za-z0-9_-]+)', said, re.IGNORECASE)
    if kind is None or kind[1].strip() not in _TYPES:
        raise ValueError(f"its pixels are {kind[1].strip() if kind else 'of no type'}, expected whole numbers")
    if not 0 < elements == slow * middle * fast <= MAX_PIXELS:
        raise ValueError(f"it claims {elements} pixels as {slow} x {middle} x {fast}")
    if start + size > len(raw):
        raise ValueError(f"it is cut short: {size} bytes of image are claimed, {len(raw) - start} are there")
    digest = re.search(r"Content-MD5:\s*(\S{24})", said)
    return Section(
        conversion=conversion[1].lower() if conversion else "none",
        shape=(slow, middle, fast),
        dtype=_TYPES[kind[1].strip()],
        start=start,
        size=size,
        digest=digest[1] if digest else None,
    )


def _count(said: str, key: str, absent: int | None = None) -> int:
    match = re.search(rf"{key}:\s*(\d{{1,12}})\b", said, re.ASCII)
    if match is None and absent is None:
        raise ValueError(f"the header of its image has no {key}")
    return int(match[1]) if match else int(absent or 0)


def check_digests(raw: bytes, cbf: Cbf) -> None:
    """Raise ValueError where an array does not have the checksum that its header gives."""
    for section in cbf.sections:
        packed = memoryview(raw)[section.start : section.start + section.size]
        digest = hashlib.md5(packed, usedforsecurity=False).digest()
        if section.digest and base64.b64encode(digest).decode() != section.digest:
            raise ValueError("its image does not fit its checksum: it is damaged")


def decode_byte_offset(raw: bytes, cbf: Cbf) -> npt.NDArray[Any]:
    """Pixels (panel, ss, fs) of a CBF whose arrays all have byte-offset compression. Raises ValueError if damaged."""
    from fabio.compression import compression  # imported late: it takes half a second

    planes = []
    for section in cbf.sections:
        packed = raw[section.start : section.start + section.size + _MARGIN].ljust(section.size + _MARGIN, b"\0")
        n = int(np.prod(section.shape))
        wide = "int32" if section.dtype != np.uint32 else "int64"
        pixels = compression.decByteOffset(packed, size=n, dtype=wide)
        if len(pixels) != n:
            raise ValueError(f"its image has {len(pixels)} pixels, its header {n}")
        planes.append(pixels.astype(section.dtype, copy=False).reshape(section.shape))
    return stack(planes)


def stack(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Arrays (plane, ss, fs) as one frame; smaller planes are filled up with zeros."""
    if len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    n_ss, n_fs = (max(array.shape[axis] for array in arrays) for axis in (1, 2))
    frame = np.zeros((sum(len(array) for array in arrays), n_ss, n_fs), arrays[0].dtype)
    first = 0
    for array in arrays:
        frame[first : first + len(array), : array.shape[1], : array.shape[2]] = array
        first += len(array)
    return frame


# What a mini-CBF says


def mini_cbf_detector(cbf: Cbf, name: str) -> Detector:
    """Detector of DECTRIS's header. ValueError where it lacks beam centre or pixel size."""
    number = r"([-+\d.eE]{1,40})"
    beam = _numbers(cbf.text, rf"Beam_xy\s*\(\s*{number},\s*{number}\)")
    pixel = _numbers(cbf.text, rf"Pixel_size\s+{number}\s*m")
    if beam is None or pixel is None:
        raise ValueError("the header has no beam centre or pixel size: give a CrystFEL geometry with -g")
    distance = _numbers(cbf.text, rf"Detector_distance\s+{number}")
    wavelength = _numbers(cbf.text, rf"Wavelength\s+{number}")
    size, shape = pixel[0], cbf.shape
    if not 1e-7 <= size <= 1e-2 or max(map(abs, beam)) > 1e7:
        raise ValueError(f"the header has pixels of {size} m and the beam at {beam}: give a CrystFEL geometry with -g")
    panel = Panel(
        "p0", 0, shape[1], 0, shape[2], (-beam[0] * size, -beam[1] * size, 0.0), (0.0, size, 0.0), (size, 0.0, 0.0),
        settings={"res": repr(1 / size)},
    )  # fmt: skip
    # mini-CBF is what counting detectors write: an ADU is a photon
    detector = Detector((panel,), adu_per_photon=1.0, name=name)
    return _placed(detector, distance[0] if distance else None, wavelength[0] if wavelength else None)


def _numbers(text: str, pattern: str) -> tuple[float, ...] | None:
    match = re.search(pattern, text, re.ASCII)
    return tuple(_float(number) for number in match.groups()) if match else None


def _float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"the header has {text[:40]!r} for a number") from None
    if not abs(value) < 1e12:
        raise ValueError(f"the header has {text[:40]!r} for a number")
    return value


def _placed(detector: Detector, distance_m: float | None, wavelength_A: float | None) -> Detector:
    """A detector with what a header says of distance and wavelength; zeros stand for what it does not know."""
    if distance_m:
        detector = detector.with_camera_length(distance_m)
    if wavelength_A:
        detector = detector.with_photon_energy(HC_EV_M / (wavelength_A * 1e-10))
    return detector


# What an imgCIF header says

#: Words of CIF: text fields between lines that begin with a semicolon, quoted words, comments, bare words.
_WORD = re.compile(
    r"""^;(?P<field>.*?)^;|'(?P<one>[^'\n]*)'(?=\s|$)|"(?P<two>[^"\n]*)"(?=\s|$)|(?P<comment>\#[^\n]*)|(?P<bare>\S+)""",
    re.MULTILINE | re.DOTALL,
)

Table = list[dict[str, str]]


def read_cif(text: str) -> dict[str, Table]:
    """Rows of each category of a CIF, by item: ``read_cif(text)["axis"][0]["depends_on"]``."""
    tables: dict[str, Table] = {}
    items: list[str] = []
    values: list[str] = []
    loop = False

    def close() -> None:
        if not items:
            return
        category = items[0].split(".")[0]
        rows = [
            dict(zip((item.split(".")[-1] for item in items), values[k : k + len(items)], strict=True))
            for k in range(0, len(values) - len(items) + 1, len(items))
        ]
        if rows and loop:
            tables.setdefault(category, []).extend(rows)
        elif rows:  # single items of one category make one row
            tables.setdefault(category, [{}])[0].update(rows[0])

    for match in _WORD.finditer(text):
        kind, word = match.lastgroup, match[match.lastgroup or "bare"]
        name = kind == "bare" and word.startswith("_")
        keyword = kind == "bare" and (word.lower() == "loop_" or word.lower().startswith(("data_", "save_")))
        if kind == "comment":
            continue
        if keyword or (name and (values or not loop)):
            close()
            items, values, loop = [], [], keyword and word.lower() == "loop_"
        if name:
            items.append(word[1:].lower())
        elif not keyword:
            values.append(word)
    close()
    return tables


@dataclass(frozen=True)
class _Axis:
    rotates: bool
    vector: Vector
    offset: Vector
    depends_on: str
    setting: float  # degrees or mm


def imgcif_detector(cbf: Cbf, name: str) -> Detector:
    """Detector of an imgCIF header: every array, or every section of an array, is a panel with axes of its own.

    cctbx, which writes such files at XFELs, and dxtbx, which reads them, take the origin of an array's axes for the
    outer corner of its first pixel, and so does this (CBFlib says the centre).
    Raises ValueError that says what the header lacks.
    """
    try:
        tables = read_cif(cbf.text)
        axes = _axes(tables)
        panels, plane = [], 0
        for section, row in zip(cbf.sections, _arrays(tables, len(cbf.sections)), strict=True):
            panels += _array_panels(tables, axes, row, section, plane)
            plane += section.shape[0]
            if len(panels) > _MOST_PANELS:
                raise ValueError(f"the header describes more than {_MOST_PANELS} panels")
    except KeyError as error:
        raise ValueError(f"the header lacks {error.args[0]}: give a CrystFEL geometry with -g") from None
    nearest = min(panel.corner_m[2] for panel in panels)
    moved = tuple(_nearer(panel, nearest) for panel in panels)
    wavelengths = tables.get("diffrn_radiation_wavelength", [{}])
    wavelength = wavelengths[0].get("wavelength", ".")
    detector = Detector(moved, name=name)
    return _placed(detector, nearest, None if wavelength in (".", "?") else _float(wavelength))


def _nearer(panel: Panel, distance_m: float) -> Panel:
    x, y, z = panel.corner_m
    return replace(panel, corner_m=(x, y, z - distance_m))


def _rows(tables: dict[str, Table], category: str, **where: str) -> Table:
    rows = [row for row in tables.get(category, []) if all(row.get(key) == value for key, value in where.items())]
    if not rows:
        raise KeyError(f"_{category} of {', '.join(where.values())}" if where else f"_{category}")
    return rows


def _arrays(tables: dict[str, Table], n_sections: int) -> list[str]:
    """Names of the arrays in the order of the binary sections."""
    rows = tables.get("array_data") or []
    names = [row.get("array_id", "") for row in rows]
    if len(names) == n_sections:
        return names
    first = _rows(tables, "array_structure_list")[0].get("array_id", "")
    if n_sections == 1:
        return [first]
    raise ValueError(f"the header names {len(names)} arrays, the file holds {n_sections}")


def _axes(tables: dict[str, Table]) -> dict[str, _Axis]:
    settings: dict[str, dict[str, str]] = {}
    for row in tables.get("diffrn_scan_axis", []):
        settings[row.get("axis_id", "")] = {
            "angle": row.get("angle_start", "0"),
            "displacement": row.get("displacement_start", "0"),
        }
    for row in tables.get("diffrn_scan_frame_axis", []):
        settings[row.get("axis_id", "")] = row
    axes = {}
    for row in _rows(tables, "axis"):
        rotates = row.get("type") == "rotation"
        axes[row["id"]] = _Axis(
            rotates=rotates,
            vector=_vector(row, "vector"),
            offset=_vector(row, "offset"),
            depends_on=row.get("depends_on", "."),
            setting=_known(settings.get(row["id"], {}).get("angle" if rotates else "displacement", "0")),
        )
    return axes


def _vector(row: dict[str, str], item: str) -> Vector:
    return np.array([_known(row.get(f"{item}[{axis}]", ".")) for axis in (1, 2, 3)])


def _known(text: str) -> float:
    return 0.0 if text in (".", "?") else _float(text)


def _array_panels(
    tables: dict[str, Table], axes: dict[str, _Axis], array: str, section: Section, plane: int
) -> list[Panel]:
    """Panels of one array that begins at a plane of the frame."""
    structure = _rows(tables, "array_structure_list", array_id=array)
    parts = list(dict.fromkeys(row.get("array_section_id", ".") for row in structure))
    named = [part for part in parts if part not in (".", "?")]
    panels: list[Panel] = []
    for part in named or [parts[0]]:
        rows = [row for row in structure if row.get("array_section_id", ".") == part]
        bounds = _bounds(tables, array, part if named else None, section)
        corner, ss, fs = _place(tables, axes, rows)
        size = float(np.linalg.norm(fs))
        if not 1e-7 <= size <= 1e-2 or np.linalg.norm(np.cross(ss, fs)) < 0.1 * size * np.linalg.norm(ss):
            raise ValueError(f"the axes of {array} make no pixels: give a CrystFEL geometry with -g")
        (low_plane, _), (min_ss, end_ss), (min_fs, end_fs) = bounds
        panels.append(
            Panel(
                name=f"p{plane + low_plane}"
                + (f"a{sum(p.fixed == (plane + low_plane,) for p in panels)}" if named else ""),
                min_ss=min_ss,
                end_ss=end_ss,
                min_fs=min_fs,
                end_fs=end_fs,
                corner_m=_triple(corner),
                ss_m=_triple(ss),
                fs_m=_triple(fs),
                dims=(plane + low_plane, "ss", "fs"),
                settings={"res": repr(1 / size)},
            )
        )
    return panels


def _triple(vector: Vector) -> tuple[float, float, float]:
    x, y, z = vector.tolist()
    return x, y, z


def _bounds(tables: dict[str, Table], array: str, part: str | None, section: Section) -> list[tuple[int, int]]:
    """First and end index of a panel along plane, ss and fs of its array."""
    whole = [(0, n) for n in section.shape]
    if part is None:
        if section.shape[0] != 1:
            raise ValueError(f"{array} has {section.shape[0]} planes without axes: give a CrystFEL geometry with -g")
        return whole
    for row in _rows(tables, "array_structure_list_section", array_id=array, id=part):
        index = 3 - int(_float(row.get("index", "0")))
        start, end = (int(_float(row.get(key, "0"))) for key in ("start", "end"))
        if not 0 <= index <= 2 or not 1 <= start <= end <= section.shape[index]:
            raise ValueError(f"{part} lies outside {array}")
        whole[index] = (start - 1, end)
    if whole[0][1] - whole[0][0] != 1:
        raise ValueError(f"{part} of {array} is no plane: give a CrystFEL geometry with -g")
    return whole


def _place(tables: dict[str, Table], axes: dict[str, _Axis], rows: Table) -> tuple[Vector, Vector, Vector]:
    """Outer corner and steps along ss and fs of a panel, metres, in CrystFEL's laboratory."""
    by_precedence = {row.get("precedence"): row.get("axis_set_id", "") for row in rows}
    surface = []
    for precedence in ("2", "1"):
        found = _rows(tables, "array_structure_list_axis", axis_set_id=by_precedence.get(precedence, ""))
        if len(found) != 1:
            raise ValueError("an axis of the image is made of several: give a CrystFEL geometry with -g")
        surface.append(found[0])
    slow, fast = (row.get("axis_id") or row.get("axis_set_id", "") for row in surface)
    start = {axis: _known(row.get("displacement", "0")) for axis, row in zip((slow, fast), surface, strict=True)}
    step = [_known(row.get("displacement_increment", "0")) for row in surface]
    leaf = fast if slow in _chain(axes, fast) else slow
    if not {slow, fast} <= set(_chain(axes, leaf)):
        raise ValueError(f"the axes {slow} and {fast} do not depend on each other: give a CrystFEL geometry with -g")
    corner = _position(axes, leaf, start)
    ss = _position(axes, leaf, {**start, slow: start[slow] + step[0]}) - corner
    fs = _position(axes, leaf, {**start, fast: start[fast] + step[1]}) - corner
    return corner, ss, fs


def _chain(axes: dict[str, _Axis], leaf: str) -> list[str]:
    chain: list[str] = []
    while leaf not in (".", "?"):
        if leaf in chain or leaf not in axes or len(chain) > _LONGEST_CHAIN:
            raise ValueError(f"axis {leaf} {'is not described' if leaf not in axes else 'depends on itself'}")
        chain.append(leaf)
        leaf = axes[leaf].depends_on
    return chain


def _position(axes: dict[str, _Axis], leaf: str, displaced: dict[str, float]) -> Vector:
    """Where the origin of an axis lies, metres.

    imgCIF looks from the sample to the source along +z: turned about y to CrystFEL's beam along +z.
    """
    point = np.zeros(3)
    for name in _chain(axes, leaf):
        axis = axes[name]
        if axis.rotates:
            point = _turned(point, axis.vector, np.deg2rad(axis.setting))
        else:
            point = point + (axis.setting + displaced.get(name, 0.0)) * axis.vector
        point = point + axis.offset
    return point * [-1e-3, 1e-3, -1e-3]


def _turned(point: Vector, about: Vector, angle: float) -> Vector:
    """Rodrigues' formula."""
    length = np.linalg.norm(about)
    if length == 0:
        raise ValueError("an axis of rotation has no direction")
    k = about / length
    turned: Vector = point * np.cos(angle) + np.cross(k, point) * np.sin(angle) + k * (k @ point) * (1 - np.cos(angle))
    return turned


def read_header(path: Path, raw: bytes) -> Cbf | None:
    """The CBF in a file's bytes, None if they are none. Raises OSError that names the file for a damaged one."""
    if b"###CBF" not in raw[:200]:
        return None
    try:
        return split_cbf(raw)
    except ValueError as error:
        raise OSError(f"{path} cannot be read: {error}") from None
