"""Reading back a CXI's peak tables, ours or anybody's in the same layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import h5py
import numpy as np
import numpy.typing as npt

from ..hdf5_items import check_stored, get_dataset, holds, number_type, open_hdf5, read, shape_of, where
from .columns import N_PEAKS, PEAK_COLUMNS, RESULT

#: A day at a kilohertz, and ten times the peaks of the most crowded frame.
MAX_ROWS, MAX_PEAKS = 100_000_000, 1_000_000
_BLOCK_ROWS, _BLOCK_NUMBERS = 4096, 1 << 20

_X, _Y, _I, _SNR = (f"{RESULT}/{name}" for name in ("peakXPosRaw", "peakYPosRaw", "peakTotalIntensity", "peakSNR"))
assert {_X, _Y, _I, _SNR} <= {column.path for column in PEAK_COLUMNS}


@dataclass(frozen=True)
class SlabPeaks:
    """Peaks of one event in the slab of stacked panels: positions in pixels, an integer is a pixel's centre."""

    ss: npt.NDArray[np.float64]
    fs: npt.NDArray[np.float64]
    intensity: npt.NDArray[np.float64]
    snr: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ss)

    def only(self, which: npt.NDArray[np.bool_]) -> SlabPeaks:
        """Those that a mask keeps."""
        return SlabPeaks(self.ss[which], self.fs[which], self.intensity[which], self.snr[which])


class CxiPeaks(Sequence[SlabPeaks]):
    """The peak tables of a CXI file, one a row, read as they are asked for.

    width : columns of the table, the most peaks of a row
    Raises OSError if the file cannot be opened or read, ValueError if it has no peak table.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        with open_hdf5(path) as file:
            missing = [name for name in (N_PEAKS, _X, _Y, _I) if not holds(file, name)]
            if missing:
                raise ValueError(f"{path} has no {missing[0]}: it is not a CXI with peaks")
            shapes = [check_rows(get_dataset(file, N_PEAKS), 1)]
            self._names = (_Y, _X, _I, *((_SNR,) if holds(file, _SNR) else ()))
            shapes += [check_rows(get_dataset(file, name), 2) for name in self._names]
        self._n_rows = min(shape[0] for shape in shapes)
        self.width = min(shape[1] for shape in shapes[1:])
        self._block_rows = max(1, min(_BLOCK_ROWS, _BLOCK_NUMBERS // max(1, self.width)))
        self._block: tuple[int, list[SlabPeaks]] | None = None

    def __len__(self) -> int:
        return self._n_rows

    @overload
    def __getitem__(self, row: int) -> SlabPeaks: ...
    @overload
    def __getitem__(self, row: slice) -> list[SlabPeaks]: ...
    def __getitem__(self, row: int | slice) -> SlabPeaks | list[SlabPeaks]:
        if isinstance(row, slice):
            return [self[k] for k in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"there is no row {row} among {len(self)}")
        number, place = divmod(row % len(self), self._block_rows)
        if self._block is None or self._block[0] != number:
            self._block = number, self._read_rows(number * self._block_rows)
        return self._block[1][place]

    def counts(self) -> Iterator[npt.NDArray[np.int64]]:
        """Numbers of peaks of the rows, block by block."""
        with open_hdf5(self._path) as file:
            for first in range(0, self._n_rows, _BLOCK_NUMBERS):
                yield self._read_counts(file, first, min(self._n_rows, first + _BLOCK_NUMBERS))

    def _read_counts(self, file: h5py.File, first: int, end: int) -> npt.NDArray[np.int64]:
        counts = read(get_dataset(file, N_PEAKS), slice(first, end))
        if not (np.isfinite(counts).all() and (counts >= 0).all()):
            raise ValueError(f"{N_PEAKS} in {self._path} holds {counts.min()}: numbers of peaks are expected")
        return np.minimum(counts, self.width).astype(np.int64)

    def _read_rows(self, first: int) -> list[SlabPeaks]:
        with open_hdf5(self._path) as file:
            counts = self._read_counts(file, first, min(self._n_rows, first + self._block_rows))
            part = slice(first, first + len(counts)), slice(0, int(counts.max(initial=0)))
            columns = [read(get_dataset(file, name), part).astype(np.float64) for name in self._names]
        if len(columns) < 4:
            columns.append(np.full(columns[0].shape, np.nan))
        return [SlabPeaks(*(column[row, :n] for column in columns)) for row, n in enumerate(counts)]


def check_rows(dataset: h5py.Dataset, n_axes: int) -> tuple[int, ...]:
    """Shape of a dataset of a peak table. Raises ValueError for one that none can have."""
    shape = shape_of(dataset)
    number_type(dataset)
    check_stored(dataset)
    if len(shape) != n_axes:
        raise ValueError(f"{where(dataset)} has shape {shape}: {n_axes} axes are expected")
    if shape[0] > MAX_ROWS or max(shape[1:], default=0) > MAX_PEAKS:
        raise ValueError(f"{where(dataset)} has shape {shape}, more than {MAX_ROWS} events or {MAX_PEAKS} peaks of one")
    return shape


def read_cxi_peaks(path: str | Path) -> Sequence[SlabPeaks]:
    """Peaks of each row of a CXI file, read as they are asked for.

    Raises OSError if it cannot be opened, ValueError if it has no peak table.
    """
    return CxiPeaks(path)
