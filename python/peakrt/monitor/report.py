"""What a run that is over has told, from its CXI and, where there is one, its stream."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from ..cxi.columns import (
    BAD_PIXELS,
    CAMERA_LENGTH,
    DATA,
    EVENT_COLUMNS,
    GAIN,
    MASK,
    MIN_INDEXABLE,
    N_PEAKS,
    PEAK_COLUMNS,
    PHOTON_ENERGY,
    POWDER_HITS,
    POWDER_MISSES,
    PROGRESS,
    PROVENANCE,
    RESULT,
    SCREENING_COLUMNS,
    SOURCE,
    UNUSABLE,
    UNUSABLE_REASON,
)
from ..cxi.reader import check_rows
from ..hdf5_items import (
    attribute_text,
    find_dataset,
    find_group,
    first_number,
    get_dataset,
    open_hdf5,
    read,
    read_integers,
    read_texts,
    shape_of,
)
from ..peaks import PEAK
from ..stream_file import Chunk, StreamFollower
from .statistics import Cell, RunStatistics, Setting

#: Frames that the background, the radial profile and the powders are of: a few seconds of reading.
FRAMES = 32
_ROWS = 1024
#: Bins of a run along its event numbers, and the least events of one: a hit rate of fewer is noise.
_BINS, _LEAST_WIDTH = 200, 10.0
_NUMBERS_AT_ONCE = 1 << 20
_MOST_EVENTS = 10**9
_EVENT_NUMBER, _FOUND = "/LCLS/eventNumber", f"{RESULT}/nPeaksFound"
_INDEXABLE = tuple(SCREENING_COLUMNS)[-1]
#: Columns of the peak table by the field of PEAK that they fill.
_FIELDS = {
    "ss": f"{RESULT}/peakYPosRaw", "fs": f"{RESULT}/peakXPosRaw", "intensity": f"{RESULT}/peakTotalIntensity",
    "max": f"{RESULT}/peakMaxIntensity", "background": f"{RESULT}/peakBackground", "snr": f"{RESULT}/peakSNR",
    "npix": f"{RESULT}/peakNPixels",
}  # fmt: skip
_REQUIRED = ("ss", "fs", "intensity")
assert set(_FIELDS.values()) <= {column.path for column in PEAK_COLUMNS}
assert {_EVENT_NUMBER, _FOUND} <= {column.path for column in EVENT_COLUMNS}


def statistics_of(
    cxi: Path, stream: Path | None = None, *, detector: Detector, cell: Cell | None = None, title: str = ""
) -> RunStatistics:
    """Everything that a CXI and a stream tell of a run.

    detector : of the frames; the panels of a CXI lie one under another, as in the .geom beside it
    cell : that the crystals should have, A and degrees
    Raises OSError for files that cannot be read, ValueError for those that are something else.
    """
    with open_hdf5(cxi) as file:
        table = _Table(file)
        slab = _as_slab(detector, file)
        good = _good(file, slab)
        width = max(_LEAST_WIDTH, table.n_events / _BINS)
        run = RunStatistics(Setting(slab, title or cxi.name, "event", table.min_peaks, cell, good, width))
        run.look(_median(file, CAMERA_LENGTH, 1e-3), _median(file, PHOTON_ENERGY))
        _add_rows(run, table)
        _add_rest(run, file, table)
        _add_numbers(run, file)
        _add_frames(run, file, table)
    if stream is not None:
        _add_stream(run, stream, cxi, table)
    return run


class _Table:
    """The peak table of a CXI. numbers : of each row's event in the input; counts : its peaks; sources : of rows"""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        if find_dataset(file, N_PEAKS) is None:
            raise ValueError(f"{file.filename} has no {N_PEAKS}: it is not a CXI with peaks")
        self.n_rows = check_rows(get_dataset(file, N_PEAKS), 1)[0]
        self._columns: dict[str, h5py.Dataset] = {}
        for field, path in _FIELDS.items():
            if field in _REQUIRED or find_dataset(file, path) is not None:
                dataset = get_dataset(file, path)
                self.n_rows = min(self.n_rows, check_rows(dataset, 2)[0])
                self._columns[field] = dataset
        width = min(shape_of(dataset)[1] for dataset in self._columns.values())
        counts = read(get_dataset(file, N_PEAKS), slice(0, self.n_rows))
        if not (np.isfinite(counts).all() and (counts >= 0).all()):
            raise ValueError(f"{N_PEAKS} in {file.filename} holds {counts.min()}: numbers of peaks are expected")
        self.counts = np.minimum(counts, width).astype(np.int64)
        self.found = self._column(_FOUND, self.counts)
        numbers = self._column(_EVENT_NUMBER, np.arange(self.n_rows))
        unique = len(np.unique(numbers)) == self.n_rows and (self.n_rows == 0 or numbers.min() >= 0)
        self.numbers_known = unique and find_dataset(file, _EVENT_NUMBER) is not None
        self.numbers = (
            numbers if unique else np.arange(self.n_rows)
        )  # ranks whose host dealt out the events count apart
        given = get_dataset(file, N_PEAKS).attrs.get("minPeaks", 15)
        self.min_peaks = int(given) if isinstance(given, int | np.integer) else 15
        self.is_hit = self.counts >= self.min_peaks
        least = get_dataset(file, N_PEAKS).attrs.get(MIN_INDEXABLE, 0)
        indexable = find_dataset(file, _INDEXABLE)
        if (
            isinstance(least, float)
            and least > 0
            and indexable is not None
            and check_rows(indexable, 1)[0] >= self.n_rows
        ):
            self.is_hit &= read(indexable, slice(0, self.n_rows)) >= np.float32(least)
        self.n_events = self.n_rows  # those of the input, where the CXI says it
        if find_dataset(file, PROGRESS) is not None:
            self.n_events = max(self.n_rows, int(min(first_number(file, PROGRESS), _MOST_EVENTS)))

    def _column(self, path: str, otherwise: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        dataset = find_dataset(self._file, path)
        if dataset is None or check_rows(dataset, 1)[0] < self.n_rows:
            return otherwise.astype(np.int64)
        return read_integers(dataset, slice(0, self.n_rows))

    def peaks(self, first: int, end: int) -> npt.NDArray[np.void]:
        """The peaks of rows first to end, one after another: PEAK, with NaN in what the file does not have."""
        counts = self.counts[first:end]
        widest = int(counts.max(initial=0))
        taken = np.arange(widest) < counts[:, None]
        peaks = np.zeros(int(counts.sum()), PEAK)
        for field in _FIELDS:
            if field in self._columns:
                block = read(self._columns[field], (slice(first, end), slice(0, widest)))[taken]
                peaks[field] = np.nan_to_num(block) if field == "npix" else block
            elif field != "npix":
                peaks[field] = np.nan
        return peaks

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Rows in blocks that memory holds."""
        for first in range(0, self.n_rows, _ROWS):
            yield first, min(self.n_rows, first + _ROWS)

    def source(self, row: int) -> str:
        """File and event that a row came from, "" where the CXI does not say."""
        dataset = find_dataset(self._file, SOURCE)
        return "" if dataset is None else (read_texts(dataset, slice(row, row + 1)) or [""])[0]


def _as_slab(detector: Detector, file: h5py.File) -> Detector:
    """The detector with its panels one under another, as the CXI has them."""
    slab = detector.as_slab(DATA) if detector.shape[0] > 1 else detector
    mask, images = find_dataset(file, MASK), find_dataset(file, DATA)
    stored = next((shape_of(d)[-2:] for d in (mask, images) if d is not None and d.ndim >= 2), slab.shape[1:])
    if stored != slab.shape[1:]:
        raise ValueError(
            f"{file.filename} has frames of {stored}, the geometry {detector.name} needs {slab.shape[1:]}: give the one "
            "that the run was found with (-g)"
        )
    return replace(slab, name=detector.name)


def _good(file: h5py.File, slab: Detector) -> npt.NDArray[np.bool_]:
    """The good pixels of a run: those of its mask, less those that were learned to be bad."""
    good = slab.mask.copy()
    mask = find_dataset(file, MASK)
    if mask is not None and shape_of(mask) == slab.shape[1:]:
        good &= (read(mask) == 0)[None]  # CrystFEL has 1 = bad, we hold True = good
    bad = _bad_pixels(file)
    inside = (bad >= 0).all(axis=1) & (bad < slab.shape[1:]).all(axis=1)
    good[0, bad[inside, 0], bad[inside, 1]] = False
    return good


def _bad_pixels(file: h5py.File) -> npt.NDArray[np.int64]:
    dataset = find_dataset(file, BAD_PIXELS)
    if dataset is None or dataset.ndim != 2 or dataset.shape[1] != 2:
        return np.zeros((0, 2), np.int64)
    return read(dataset).astype(np.int64)


def _median(file: h5py.File, path: str, scale: float = 1.0) -> float | None:
    """Median of a column of the events, None where the file does not have it."""
    dataset = find_dataset(file, path)
    if dataset is None or dataset.ndim != 1 or not check_rows(dataset, 1)[0] > 0:
        return None
    values = read(dataset).astype(np.float64)
    known = values[np.isfinite(values) & (values != 0)]
    return float(np.median(known)) * scale if len(known) else None


def _add_rows(run: RunStatistics, table: _Table) -> None:
    for first, end in table.blocks():
        rows = slice(first, end)
        numbers = table.numbers[rows].astype(np.float64)
        run.events(numbers, table.found[rows], table.is_hit[rows], table.peaks(first, end), table.counts[rows])


def _add_rest(run: RunStatistics, file: h5py.File, table: _Table) -> None:
    """Events without a row: misses, and those that could not be used."""
    broken = find_dataset(file, UNUSABLE)
    unusable = np.zeros(0, np.int64)
    if broken is not None and check_rows(broken, 1)[0]:
        unusable = read(broken).astype(np.int64)
        reasons = find_dataset(file, UNUSABLE_REASON)
        reason = ""
        if reasons is not None and reasons.dtype.kind == "S" and reasons.ndim == 1 and len(reasons):
            reason = bytes(reasons[-1]).decode("utf-8", "replace")
        run.unusable(float(max(0, unusable.max())), len(unusable), reason)
    if find_dataset(file, PROGRESS) is None:
        return
    done = table.n_events
    if not table.numbers_known:
        run.misses_without_peaks(np.linspace(0, done, max(0, done - table.n_rows - len(unusable)), endpoint=False))
        return
    told = np.union1d(table.numbers, unusable)
    for first in range(0, done, _NUMBERS_AT_ONCE):
        numbers = np.arange(first, min(done, first + _NUMBERS_AT_ONCE))
        run.misses_without_peaks(np.setdiff1d(numbers, told, assume_unique=True).astype(np.float64))


def _add_numbers(run: RunStatistics, file: h5py.File) -> None:
    """Gain, bad pixels, and what the run was found with."""
    at = run.last_at or 0.0
    numbers: dict[str, float | str] = {"bad_pixels": float(len(_bad_pixels(file)))}
    gain = find_dataset(file, GAIN)
    if gain is not None and gain.shape == () and gain.dtype.kind == "f":
        numbers["gain"] = float(gain[()])
    group = find_group(file, PROVENANCE)
    try:
        made = json.loads(attribute_text(group, "run")) if group is not None else {}
    except (ValueError, RecursionError):
        made = {}
    if isinstance(made, dict):
        numbers |= {f"found_with_{key}": str(made[key]) for key in ("finder", "peakrt") if key in made}
        if isinstance(made.get("inputs"), list):
            numbers["inputs"] = ", ".join(map(str, made["inputs"]))
    run.state(at, numbers)


def _add_frames(run: RunStatistics, file: h5py.File, table: _Table) -> None:
    """The hit with the most peaks, and what the frames of some hits and the file's own powders show."""
    images = find_dataset(file, DATA)
    shape = run.setting.detector.shape
    if images is not None and images.ndim == 3 and shape_of(images)[1:] == shape[1:] and table.n_rows:
        hits = np.flatnonzero(table.is_hit[: len(images)])
        misses = np.flatnonzero(~table.is_hit[: len(images)])
        best = hits[np.argmax(table.counts[hits])] if len(hits) else None
        for rows in (_some(misses), _some(hits), [] if best is None else [int(best)]):
            for row in rows:
                frame = read(images, row).reshape(shape)
                run.frame(
                    float(table.numbers[row]), frame, bool(table.is_hit[row]), peaks=table.peaks(row, row + 1),
                    name=_short(table.source(row)),
                )  # fmt: skip
    run.hit_is = "Hit with the most peaks"
    for path, powder in ((POWDER_HITS, run.powder_hits), (POWDER_MISSES, run.powder_misses)):
        whole = find_dataset(file, path)
        if whole is not None and shape_of(whole) == shape[1:]:
            pattern = read(whole)
            if pattern.any():
                powder.take_whole(run.picture_cells.assemble(pattern[None], run.good))


def _some(rows: npt.NDArray[np.int64]) -> list[int]:
    """FRAMES of the rows, evenly."""
    return (
        rows[np.unique(np.linspace(0, len(rows) - 1, min(FRAMES, len(rows))).astype(int))].tolist() if len(rows) else []
    )


def _short(source: str) -> str:
    """The source without its folders."""
    file, space, event = source.rpartition(" ")
    return f"{os.path.basename(file)} {event}" if space else os.path.basename(source)


def _add_stream(run: RunStatistics, stream: Path, cxi: Path, table: _Table) -> None:
    """The chunks of a stream, each at its event where the stream says so, else evenly in their order."""
    if not stream.is_file():
        raise FileNotFoundError(f"{stream} does not exist")
    follower = StreamFollower(stream)
    size, of_hits = max(1, stream.stat().st_size), table.numbers[table.is_hit]
    hits = np.sort(of_hits)
    n_chunks = 0
    while True:
        before = follower.position
        chunks = follower.new_chunks()
        if follower.position == before:
            break
        share = before / size
        otherwise = float(hits[int(share * len(hits))]) if len(hits) else share * (run.last_at or 0.0)
        at = [_number_of(chunk, cxi, table, of_hits, otherwise) for chunk in chunks]
        run.chunks(at, chunks)
        n_chunks += len(chunks)
    if not n_chunks:
        raise ValueError(f"{stream} has no whole chunk: a stream of indexamajig is expected")
    if follower.reader.damaged:
        run.state(run.last_at or 0.0, {"damaged_chunks": float(follower.reader.damaged)})


def _number_of(chunk: Chunk, cxi: Path, table: _Table, of_hits: npt.NDArray[Any], otherwise: float) -> float:
    """Number in the input of a chunk's event. A live run's chunk tells its hit, another one its row in the CXI.

    of_hits : numbers of the hits, in the order of their rows
    """
    if chunk.number is not None:
        return float(of_hits[chunk.number - 1]) if 0 < chunk.number <= len(of_hits) else otherwise
    row = chunk.event.rpartition("//")[2]
    if Path(chunk.file).name == cxi.name and row.isascii() and row.isdigit() and int(row) < table.n_rows:
        return float(table.numbers[int(row)])
    return otherwise
