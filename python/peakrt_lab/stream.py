"""CrystFEL streams and DIALS results, read: peaks, indexed crystals, predicted reflections."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass
class IndexedCrystal:
    """cell : a, b, c (A), alpha, beta, gamma (degrees); reciprocal : rows a*, b*, c* in 1/A.

    ss, fs : predicted positions in the data array, an integer is a pixel's centre; panel : their panels
    shift_m : x and y by which the indexer moved the detector for it
    """

    cell: Floats
    reciprocal: Floats
    ss: Floats
    fs: Floats
    panel: list[str]
    shift_m: Floats = field(default_factory=lambda: np.zeros(2))


@dataclass
class Chunk:
    """One frame of a stream."""

    filename: str = ""
    event: str = ""
    hit: bool = False
    indexed_by: str = "none"
    ss: Floats = field(default_factory=lambda: np.empty(0))
    fs: Floats = field(default_factory=lambda: np.empty(0))
    intensity: Floats = field(default_factory=lambda: np.empty(0))
    panel: list[str] = field(default_factory=list)
    crystals: list[IndexedCrystal] = field(default_factory=list)

    @property
    def number(self) -> int:
        """Index of the event in its file; 0 where the event has no name."""
        match = re.search(r"([0-9]{1,18})$", self.event)
        return int(match[1]) if match else 0


def read_chunks(path: str | Path) -> Iterator[Chunk]:
    """Read what an indexer left, frame by frame: a CrystFEL stream, or (.jsonl) a result of DIALS.

    Raises ValueError, naming the line, for a file that is neither or a line that cannot be read.
    """
    return read_results(Path(path)) if Path(path).suffix == ".jsonl" else read_stream(path)


def read_stream(path: str | Path) -> Iterator[Chunk]:
    """Read a stream chunk by chunk.

    Raises ValueError, naming the line, for a file that is no stream or a row that cannot be read.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        first = file.readline()
        if not first.startswith("CrystFEL stream format"):
            raise ValueError(f"{path} is not a CrystFEL stream")
        reader = _Reader(str(path))
        for number, line in enumerate(file, 2):
            chunk = reader.take(line.rstrip("\n"), number)
            if chunk is not None:
                yield chunk


@dataclass
class _Reader:
    path: str
    chunk: Chunk | None = None
    table: str = ""
    rows: list[list[str]] = field(default_factory=list)
    cell: Floats = field(default_factory=lambda: np.full(6, np.nan))
    axes: Floats = field(default_factory=lambda: np.full((3, 3), np.nan))
    shift: Floats = field(default_factory=lambda: np.zeros(2))

    def take(self, line: str, number: int) -> Chunk | None:
        try:
            return self._take(line)
        except (ValueError, IndexError):
            raise ValueError(f"{self.path}, line {number}: cannot be read: {line[:80]!r}") from None

    def _take(self, line: str) -> Chunk | None:
        if line.startswith("----- Begin chunk"):
            self.chunk = Chunk()
        if self.chunk is None:
            return None
        if line.startswith("----- End chunk"):
            done, self.chunk = self.chunk, None
            return done
        if self.table:
            self._take_row(line)
        elif line.startswith("Peaks from peak search"):
            self.table = "peaks"
        elif line.startswith("Reflections measured after indexing"):
            self.table = "reflections"
        else:
            self._take_header(line)
        return None

    def _take_header(self, line: str) -> None:
        assert self.chunk is not None
        key, _, value = line.partition(": ") if ": " in line else line.partition(" = ")
        value = value.strip()
        if key == "Image filename":
            self.chunk.filename = value
        elif key == "Event":
            self.chunk.event = value
        elif key == "hit":
            self.chunk.hit = value == "1"
        elif key == "indexed_by":
            self.chunk.indexed_by = value
        elif line.startswith("Cell parameters"):
            numbers = _numbers(r"-?\d+\.\d+", line, 6)
            self.cell = np.array([*(10 * x for x in numbers[:3]), *numbers[3:]])
        elif key in ("astar", "bstar", "cstar"):
            self.axes["abc".index(key[0])] = [0.1 * x for x in _numbers(r"[-+]\d+\.\d+", value, 3)]
        elif key == "predict_refine/det_shift x":
            self.shift = 1e-3 * np.array(_numbers(r"-?\d+\.\d+", value, 2))
        elif line.startswith("--- End crystal") and np.isfinite(self.axes).all():
            self._add_crystal([])  # it had no reflections

    def _take_row(self, line: str) -> None:
        assert self.chunk is not None
        if not line.startswith("End of"):
            self.rows.append(line.split())
            return
        rows = self.rows[1:]  # the first is the heading
        if self.table == "peaks":
            values = np.array([[float(x) for x in row[:4]] for row in rows]).reshape(-1, 4)
            self.chunk.fs, self.chunk.ss, self.chunk.intensity = (
                values[:, 0] - 0.5,
                values[:, 1] - 0.5,
                values[:, 3],
            )
            self.chunk.panel = [row[4] for row in rows]
        else:
            self._add_crystal(rows)
        self.table, self.rows = "", []

    def _add_crystal(self, rows: list[list[str]]) -> None:
        assert self.chunk is not None
        values = np.array([[float(x) for x in row[7:9]] for row in rows]).reshape(-1, 2) - 0.5
        self.chunk.crystals.append(
            IndexedCrystal(self.cell, self.axes, values[:, 1], values[:, 0], [row[9] for row in rows], self.shift)
        )
        self.cell, self.axes, self.shift = np.full(6, np.nan), np.full((3, 3), np.nan), np.zeros(2)


def _numbers(pattern: str, text: str, least: int) -> list[float]:
    """The first numbers of a text. Raises ValueError for fewer of them."""
    found = [float(number) for number in re.findall(pattern, text)]
    if len(found) < least:
        raise ValueError(f"{least} numbers are expected")
    return found[:least]


def read_results(path: Path) -> Iterator[Chunk]:
    """Read a result file of ``dials.py`` frame by frame. Raises ValueError, naming the line, for what cannot be read."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, text in enumerate(file, 1):
            try:
                chunk = _take_result(json.loads(text))
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: not a line of a DIALS result: {error}") from None
            yield chunk


def _take_result(line: dict[str, Any]) -> Chunk:
    """A frame of a DIALS result, of its parsed line."""
    ss, fs, intensity, panel = _columns(line, ("ss", "fs", "intensity"))
    chunk = Chunk(str(line["file"]), str(line["event"]), ss=ss, fs=fs, intensity=intensity, panel=panel)
    crystal = line["crystal"]
    if crystal is not None:
        reciprocal = np.array(crystal["reciprocal"], float).reshape(3, 3)
        cell = np.array(crystal["cell"], float).reshape(6)
        ss, fs, panel = _columns(crystal, ("ss", "fs"))
        chunk.crystals.append(IndexedCrystal(cell, reciprocal, ss, fs, panel))
        chunk.indexed_by = "dials"
    return chunk


def _columns(row: dict[str, Any], names: tuple[str, ...]) -> list[Any]:
    """Columns of one length, and the panels that go with them. Raises ValueError for others."""
    panel = [str(name) for name in row["panel"]]
    columns = [np.array(row[name], float) for name in names]
    if {column.shape for column in columns} != {(len(panel),)}:
        raise ValueError(f"{', '.join(names)} and panel should be lists of one length")
    return [*columns, panel]
