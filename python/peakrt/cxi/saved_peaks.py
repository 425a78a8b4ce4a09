"""Peaks that a CXI file holds, looked up by event, for drawing them again."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import h5py
import numpy as np
import numpy.typing as npt

from ..event import Event
from ..hdf5_items import (
    check_stored,
    find_dataset,
    get_dataset,
    holds,
    number_type,
    open_hdf5,
    read,
    read_integers,
    read_texts,
    shape_of,
)
from .columns import DATA, N_PEAKS, POWDER_HITS, POWDER_MISSES, PROVENANCE, RESULT
from .writer import SOURCE

EVENT_NUMBER = "/LCLS/eventNumber"
#: A peak table of fewer bytes may be all zeros that were never written.
_MAY_BE_UNWRITTEN = 1 << 26
_ROWS_AT_ONCE = 1024  # of a peak table of 2,048 columns: 16 MB


def has_peaks(path: str | Path) -> bool:
    """Whether a file is HDF5 with a peak table."""
    if not (Path(path).is_file() and h5py.is_hdf5(path)):
        return False
    with open_hdf5(path) as file:
        return holds(file, N_PEAKS)


class SavedPeaks:
    """The peak table of one CXI file, ours or anybody's in the same layout. A context manager.

    Raises OSError if it cannot be opened, ValueError if it has no peak table.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open_hdf5(path)
        try:
            self._counts = read_integers(self._dataset(N_PEAKS, 1))
            self._columns = tuple(self._dataset(f"{RESULT}/{name}", 2) for name in ("peakYPosRaw", "peakXPosRaw"))
        except (OSError, ValueError):
            self._file.close()
            raise
        self._by_event: dict[str, int] | None = None

    def _dataset(self, name: str, ndim: int) -> h5py.Dataset:
        found = find_dataset(self._file, name)
        if found is None or len(shape_of(found)) != ndim or number_type(found).kind not in "iuf":
            raise ValueError(f"{self.path} has no {name} of numbers in {ndim} dimensions: it is not a CXI with peaks")
        if found.size * found.dtype.itemsize > _MAY_BE_UNWRITTEN:
            check_stored(found)
        return found

    def __enter__(self) -> SavedPeaks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return min(len(self._counts), *(len(column) for column in self._columns))

    @property
    def has_images(self) -> bool:
        """Whether the frames stand in the file as well. Other programs put them where the geometry says."""
        return holds(self._file, DATA) or not holds(self._file, PROVENANCE)

    def powders(self) -> dict[str, npt.NDArray[np.float32]]:
        """Powder patterns of the file, (ss, fs) of the slab, by what they are of; none where it has none."""
        found = {"hits": POWDER_HITS, "misses": POWDER_MISSES}
        arrays = {what: read(self._dataset(path, 2)) for what, path in found.items() if holds(self._file, path)}
        return {what: array.astype(np.float32) for what, array in arrays.items() if array.any()}

    def row(self, row: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Positions ss in the slab and fs of the peaks of a row."""
        n = max(0, int(self._counts[row]))
        ss, fs = (read(column, (row, slice(n))).astype(np.float64) for column in self._columns)
        return ss, fs

    def all(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Positions ss in the slab and fs of all peaks of the file."""
        parts: list[list[npt.NDArray[np.float64]]] = [[np.empty(0)], [np.empty(0)]]
        for start in range(0, len(self), _ROWS_AT_ONCE):
            rows = slice(start, min(start + _ROWS_AT_ONCE, len(self)))
            for part, column in zip(parts, self._columns, strict=True):
                block = read(column, (rows,))
                part.append(block[np.arange(block.shape[1]) < self._counts[rows, None]].astype(np.float64))
        return np.concatenate(parts[0]), np.concatenate(parts[1])

    def row_of_own(self, event: Event) -> int | None:
        """Row of an event that was read from this very file."""
        number = event.name.rsplit("//", 1)[-1]
        row = int(number) if number.isdigit() else 0
        return row if row < len(self) else None

    def row_of(self, event: Event, place: int) -> int | None:
        """Row of an event of another file, place in its input; None where this file has no row for it.

        The row's source is compared, with and without folders; where the file does not say sources, the event's number.
        Raises ValueError where it says neither.
        """
        if self._by_event is None:
            self._by_event = self._index()
        for key in (str(event), _without_folder(str(event)), str(place)):
            if key in self._by_event:
                return self._by_event[key]
        return None

    def _index(self) -> dict[str, int]:
        if holds(self._file, SOURCE):
            texts = read_texts(get_dataset(self._file, SOURCE), slice(len(self)))
            short = [_without_folder(text) for text in texts]
            # Files of one name in two folders are told apart by their folders only.
            unique = {text: row for row, text in enumerate(short)} if len(set(short)) == len(short) else {}
            return unique | {text: row for row, text in enumerate(texts)}
        if holds(self._file, EVENT_NUMBER):
            numbers = read_integers(self._dataset(EVENT_NUMBER, 1), slice(len(self)))
            return {str(int(number)): row for row, number in enumerate(numbers)}
        raise ValueError(f"{self.path} has neither {SOURCE} nor {EVENT_NUMBER}: nothing says which event a row is of")


def _without_folder(text: str) -> str:
    """``folder/run.cxi //3`` as ``run.cxi //3``."""
    file, space, name = text.rpartition(" ")
    if not space or "//" not in name:
        return Path(text).name
    return f"{Path(file).name} {name}"
