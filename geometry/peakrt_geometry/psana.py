"""psana geometry text files to panels.

Each line places an object in its parent: ``PARENT IND OBJECT IND X0 Y0 Z0 ROT-Z ROT-Y ROT-X TILT-Z TILT-Y TILT-X``,
micrometres and degrees. Sensors are known by their type; each is cut into ASICs of even pixels.
Checked against psana 4.3.4 (``GeometryAccess`` and ``geometry_convert``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from . import checks
from .panels import Detector, HeaderValue, Panel

#: Sensors of one detector; a Jungfrau 16M has 32.
_MOST_SENSORS = 1000
#: Micrometres or degrees: 100 m.
_FARTHEST = 1e8

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sensor:
    """One sensor type: ASICs along ss and fs, pixels in each, pixel pitch and extra width between ASICs in um.

    ss_up : whether y grows with ss in the sensor's own frame.
    """

    n_ss: int
    n_fs: int
    rows: int
    columns: int
    pitch_um: float
    gap_um: float
    ss_up: bool = False

    def asic_corner_um(self, i: int, j: int) -> tuple[float, float]:
        """X and y of the outer corner of ASIC (i, j)'s first pixel about the sensor's centre."""
        width = self.n_fs * self.columns * self.pitch_um + (self.n_fs - 1) * self.gap_um
        height = self.n_ss * self.rows * self.pitch_um + (self.n_ss - 1) * self.gap_um
        x = -width / 2 + j * (self.columns * self.pitch_um + self.gap_um)
        y = height / 2 - i * (self.rows * self.pitch_um + self.gap_um)
        return x, -y if self.ss_up else y


#: gap_um is what a pair of ASICs is farther apart than their pixels' pitch: the wide pixels between them.
SENSORS = {
    "SENS2X1:V1": Sensor(1, 2, 185, 194, 109.92, 329.76),
    "EPIX10KA:V1": Sensor(2, 2, 176, 192, 100.0, 250.0),
    "EPIXHR2X2:V1": Sensor(2, 2, 144, 192, 100.0, 250.0),
    "EPIX100:V1": Sensor(2, 2, 352, 384, 50.0, 250.0, ss_up=True),
    "JUNGFRAU:V1": Sensor(2, 4, 256, 256, 75.0, 150.0),
    "JUNGFRAU:V2": Sensor(2, 4, 256, 256, 75.0, 150.0, ss_up=True),
}


#: Where LCLS files hold the camera length, mm.
ENCODER = HeaderValue("/LCLS/detector_1/EncoderValue", 1e-3)


def read_psana_geometry(
    path: str | Path,
    *,
    data: str = "/entry_1/data_1/data",
    camera_length: float | HeaderValue | None = ENCODER,
) -> Detector:
    """Read a psana geometry text file as a detector whose data are one (event, ss, fs) slab of stacked sensors.

    z is along the beam from the sample: panels carry the file's z as their offset, so that with the default
    camera length (the encoder's reading, mm) the two add up as in LUTE's CXI files; pass 0.0 to take the
    distance from the file alone.
    Raises ValueError that names the line for a sensor type it does not know or a line it cannot read.
    """
    path = Path(path)
    return parse_psana_geometry(
        path.read_text(encoding="utf-8", errors="replace"), name=path.name, data=data, camera_length=camera_length
    )


def parse_psana_geometry(
    text: str,
    *,
    name: str,
    data: str = "/entry_1/data_1/data",
    camera_length: float | HeaderValue | None = ENCODER,
) -> Detector:
    """The same of a text, which psana hands out as such; name stands in messages."""
    rows = _rows(text, name)
    children = {(row.name, row.index) for row in rows}
    parents = {(row.parent, row.parent_index) for row in rows}
    tops = parents - children
    sensors: list[tuple[str, Matrix, Matrix]] = []
    for top, index in sorted(tops):
        _descend(rows, top, index, np.eye(3), np.zeros(3), sensors, name)
    if not sensors:
        raise ValueError(f"{name} places no sensor: is it a psana geometry?")
    panels: list[Panel] = []
    for number, (kind, rotation, origin) in enumerate(sensors):
        try:
            panels += _panels(number, kind, rotation, origin, data)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return Detector(tuple(panels), camera_length=camera_length, name=name)


@dataclass(frozen=True)
class _Row:
    parent: str
    parent_index: int
    name: str
    index: int
    origin: Matrix
    angles_deg: Matrix  # about z, y, x; design rotation plus tilt


def _rows(text: str, source: str) -> list[_Row]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        try:
            numbers = np.array([float(text) for text in fields[4:13]])
            if len(numbers) != 9 or not (np.abs(numbers) < _FARTHEST).all():
                raise ValueError
            rows.append(
                _Row(
                    fields[0],
                    int(fields[1]),
                    fields[2],
                    int(fields[3]),
                    numbers[:3],
                    numbers[3:6] + numbers[6:],
                )
            )
        except (ValueError, IndexError):
            raise ValueError(
                f"{source}, line {number}: expected PARENT IND OBJECT IND and nine numbers, found {line[:60]!r}"
            ) from None
    return rows


def _rotation(angles_deg: Matrix) -> Matrix:
    """Rotation about z first, then y, then x."""
    (cz, cy, cx), (sz, sy, sx) = np.cos(np.deg2rad(angles_deg)), np.sin(np.deg2rad(angles_deg))
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    return about_x @ about_y @ about_z


def _descend(
    rows: list[_Row],
    name: str,
    index: int,
    rotation: Matrix,
    origin: Matrix,
    sensors: list[tuple[str, Matrix, Matrix]],
    file: str,
    depth: int = 0,
) -> None:
    """Collect the sensors under an object, in the order of the file's indices."""
    if depth > 20:
        raise ValueError(f"{file}: {name} {index} contains itself")
    for row in sorted((r for r in rows if (r.parent, r.parent_index) == (name, index)), key=lambda r: r.index):
        turned = rotation @ _rotation(row.angles_deg)
        # Files of both signs exist for the distance of the whole; the detector is downstream of the sample.
        place = row.origin * [1, 1, -np.sign(row.origin[2])] if depth == 0 else row.origin
        placed = origin + rotation @ place
        if any((r.parent, r.parent_index) == (row.name, row.index) for r in rows):
            _descend(rows, row.name, row.index, turned, placed, sensors, file, depth + 1)
        elif row.name in SENSORS or row.name.startswith("MTRX"):
            sensors.append((row.name, turned, placed))
            if len(sensors) > _MOST_SENSORS:
                raise ValueError(f"{file} places more than {_MOST_SENSORS} sensors: is an object placed twice?")
        else:
            raise ValueError(
                f"{file}: sensor type {row.name!r} is not known; known: {', '.join(sorted(SENSORS))}, MTRX"
            )


def _matrix_sensor(kind: str) -> Sensor:
    """MTRX[:V2]:rows:columns:row size um:column size um; V2 has its origin in the middle."""
    try:
        word, version, rows, columns, row_um, column_um = kind.split(":")
        if (word, version) != ("MTRX", "V2") or checks.number(row_um) != checks.number(column_um):
            raise ValueError
        pitch_um = 1e6 / checks.pixels_per_metre(str(1e6 / float(row_um)))
        return Sensor(1, 1, checks.pixel(rows), checks.pixel(columns), pitch_um, 0.0)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"sensor type {kind!r}: expected MTRX:V2:rows:columns:size:size with square pixels") from None


def _panels(number: int, kind: str, rotation: Matrix, origin: Matrix, data: str) -> list[Panel]:
    sensor = SENSORS[kind] if kind in SENSORS else _matrix_sensor(kind)
    fs = _to_lab(rotation @ np.array([sensor.pitch_um, 0, 0]))
    ss = _to_lab(rotation @ np.array([0, sensor.pitch_um if sensor.ss_up else -sensor.pitch_um, 0]))
    panels = []
    for i in range(sensor.n_ss):
        for j in range(sensor.n_fs):
            corner = _to_lab(origin + rotation @ np.array([*sensor.asic_corner_um(i, j), 0.0]))
            min_ss = number * sensor.n_ss * sensor.rows + i * sensor.rows
            min_fs = j * sensor.columns
            panels.append(
                Panel(
                    name=f"p{number}a{i * sensor.n_fs + j}",
                    min_ss=min_ss,
                    end_ss=min_ss + sensor.rows,
                    min_fs=min_fs,
                    end_fs=min_fs + sensor.columns,
                    corner_m=corner,
                    ss_m=ss,
                    fs_m=fs,
                    dims=("%", "ss", "fs"),
                    data=data,
                )
            )
    return panels


def _to_lab(vector_um: Matrix) -> tuple[float, float, float]:
    """Psana's frame to the laboratory's (CrystFEL's), um to m: its y is our -x, its x our -y, its z our -z."""
    x, y, z = vector_um * 1e-6
    return float(-y), float(-x), float(-z)
