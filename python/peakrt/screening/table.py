"""The probabilities of a CXI's events: read from it, or made from its peak table and added to it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from ..cxi.columns import FILE_FORMAT, N_PEAKS, PROGRESS, RESULT, SCREENING_COLUMNS, UNUSABLE
from ..cxi.outputs import whole_file
from ..cxi.reader import check_rows
from ..hdf5_items import find_dataset, first_number, get_dataset, open_hdf5, read, shape_of
from .counts import CLASSES, of_table

_SCORE, _SNR = f"{RESULT}/peakScore", f"{RESULT}/peakSNR"
#: Rows of a peak table of 2,048 columns that are read at once: 8 MB.
_ROWS = 1024


@dataclass(frozen=True)
class Probabilities:
    """One row an event of a CXI. classes : (n, 3) P(Hit), P(Maybe), P(Miss); indexable : (n,) P(indexable)

    scored : whether the peaks have scores; without, each counts as certain
    absent : events of the run that have no row, as misses have none by default
    """

    classes: npt.NDArray[np.float64]
    indexable: npt.NDArray[np.float64]
    scored: bool = True
    absent: int = 0

    def __len__(self) -> int:
        return len(self.indexable)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Number in CLASSES: a Miss unless P(Hit) + P(Maybe) reaches one half; then the greater of the two."""
        hit, maybe, miss = self.classes.T
        return np.where(miss > 0.5, CLASSES.index("Miss"), np.where(hit >= maybe, 0, 1))


def read_probabilities(path: Path) -> Probabilities:
    """Probabilities of each row of a CXI. Raises OSError if it cannot be opened, ValueError if it has no peak table."""
    with open_hdf5(path) as file:
        counts, scored = _counts(file), find_dataset(file, _SCORE) is not None
        done = first_number(file, PROGRESS) if find_dataset(file, PROGRESS) is not None else 0.0
        unusable = find_dataset(file, UNUSABLE)
        left_out = 0 if unusable is None else check_rows(unusable, 1)[0]
        columns = [find_dataset(file, name) for name in SCREENING_COLUMNS]
        if all(column is not None and shape_of(column) == (len(counts),) for column in columns):
            values = np.array([read(column) for column in columns if column is not None], np.float64).T
        else:
            values = _from_table(file, counts)
        if scored and len(counts):  # those of a classical finder are NaN
            first = int(np.argmax(counts > 0))
            scored = not counts[first] or bool(np.isfinite(read(get_dataset(file, _SCORE), (first, slice(0, 1)))).all())
    if not (np.isfinite(values).all() and (values >= 0).all() and (values <= 1).all()):
        raise ValueError(f"{path} holds probabilities outside 0..1: find its peaks anew")
    return Probabilities(values[:, :3], values[:, 3], scored, max(0, int(done) - len(values) - left_out))


def _counts(file: h5py.File) -> npt.NDArray[np.int64]:
    if find_dataset(file, N_PEAKS) is None:
        raise ValueError(f"{file.filename} has no {N_PEAKS}: it is not a CXI with peaks")
    dataset = get_dataset(file, N_PEAKS)
    check_rows(dataset, 1)
    counts = read(dataset)
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise ValueError(f"{N_PEAKS} in {file.filename} holds {counts.min()}: numbers of peaks are expected")
    return counts.astype(np.int64)


def _from_table(file: h5py.File, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    columns = {name: find_dataset(file, name) for name in (_SCORE, _SNR)}
    width = max(0, *counts.tolist(), 0)
    for dataset in columns.values():
        if dataset is not None:
            rows, columns_there = check_rows(dataset, 2)
            if rows < len(counts):
                raise ValueError(f"{dataset.name} in {file.filename} has {rows} rows, {N_PEAKS} {len(counts)}")
            width = min(width, columns_there)
    none = np.zeros(0, np.float32)
    out = np.tile(of_table(none, none), (len(counts), 1))
    for first in range(0, len(counts), _ROWS):
        end = min(len(counts), first + _ROWS)
        if not counts[first:end].any():
            continue
        block: dict[str, npt.NDArray[np.float32]] = {}
        for name, dataset in columns.items():
            part = np.full((end - first, width), np.nan, np.float32)
            block[name] = part if dataset is None else read(dataset, (slice(first, end), slice(0, width)))
        for row in first + np.flatnonzero(counts[first:end]):
            n = min(int(counts[row]), width)
            out[row] = of_table(block[_SCORE][row - first, :n], block[_SNR][row - first, :n])
    return out


def add_probabilities(path: Path, found: Probabilities) -> bool:
    """Put the probabilities beside the peak table of a CXI that lacks them; returns whether it did.

    The file is copied, and replaced once the copy is whole: whoever opens it, whenever, opens the old or the new one.
    Raises OSError where the copy has no room.
    """
    with open_hdf5(path) as file:
        if all(find_dataset(file, name) is not None for name in SCREENING_COLUMNS):
            return False
    size, free = path.stat().st_size, shutil.disk_usage(path.resolve().parent).free
    if size > free:
        raise OSError(
            f"{path} was written without probabilities, and a copy with them needs {size / 1e9:.1f} GB where "
            f"{free / 1e9:.1f} GB are free: make room, or screen without writing into it (--no-write)"
        )
    with whole_file(path) as copy:
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+", libver=FILE_FORMAT) as file:
            for name, values in zip(SCREENING_COLUMNS, (*found.classes.T, found.indexable), strict=True):
                if find_dataset(file, name) is not None:
                    del file[name]
                file[name] = values.astype(np.float32)
                file[name].attrs["axes"] = "experiment_identifier"
    return True
