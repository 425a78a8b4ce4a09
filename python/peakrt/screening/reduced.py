"""A CXI cut down to the events that are kept."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from ..cxi.columns import FILE_FORMAT, MASK, N_PEAKS, POWDER_HITS, POWDER_MISSES, PROVENANCE, SOURCE
from ..cxi.outputs import whole_file
from ..cxi.reader import check_rows
from ..filters import BITSHUFFLE, register_filters
from ..hdf5_items import (
    MAX_BYTES,
    check_stored,
    children,
    find_item,
    first_line,
    get_dataset,
    open_hdf5,
    shape_of,
    where,
)
from ..memory import wants_memory

#: Of rows that are copied at once.
_BYTES = 1 << 24
#: Whether a row of a reduced CXI was kept for audit, though it was to be dropped.
AUDIT = "/peakrt/screening/audit"
#: Of the whole run, though they may have as many rows as there are events.
_OF_RUN = {MASK, POWDER_HITS, POWDER_MISSES}


def write_reduced(
    path: Path, cxi: Path, rows: npt.NDArray[np.int64], audit: npt.NDArray[np.bool_], notes: Mapping[str, float | str]
) -> None:
    """Write some rows of a CXI into a new one, whole or not at all; all that is not one row an event is copied as it is.

    Raises OSError or ValueError for a file that cannot be read so, or has no such rows.
    rows : in ascending order; audit : (len(rows),), which of them were kept for audit
    notes : attributes of /peakrt/screening: what was promised
    Images keep their compression, and what stands in chunks of a row is copied without being unpacked.
    """
    register_filters()
    with open_hdf5(cxi) as source:
        n = check_rows(get_dataset(source, N_PEAKS), 1)[0]
        if len(rows) and not 0 <= rows.min() <= rows.max() < n:
            raise ValueError(f"{cxi} has {n} events, and no row {rows.max()}")
        try:
            with whole_file(path) as started, h5py.File(started, "w", libver=FILE_FORMAT) as out:
                _copy_group(source, out, rows, n)
                out[AUDIT] = audit
                out[AUDIT].parent.attrs.update(notes)
                out.attrs.update(source.attrs)
        except (RuntimeError, TypeError, KeyError, IndexError, OverflowError, MemoryError) as error:
            if wants_memory(error):
                raise MemoryError(f"there is too little memory to copy {cxi}") from error
            raise OSError(f"{cxi} cannot be copied: {first_line(error)}") from error


def _copy_group(source: h5py.Group, out: h5py.Group, rows: npt.NDArray[np.int64], n: int) -> None:
    for name in children(source):
        item = find_item(source, name)
        if isinstance(item, h5py.Group):
            group = out.require_group(name)
            group.attrs.update(item.attrs)
            _copy_group(item, group, rows, n)
        elif item is None:
            raise ValueError(f"{name} in {source.name} of {source.file.filename} leads nowhere: it cannot be copied")
        elif _is_of_events(item, n):
            _copy_rows(item, out, name, rows)
        else:
            source.copy(item, out, name)


def _is_of_events(item: h5py.Dataset, n: int) -> bool:
    """Whether a dataset has one row an event, rather than as many rows by chance."""
    of_run = item.name in _OF_RUN or (item.name.startswith(f"{PROVENANCE}/") and item.name != SOURCE)
    return not of_run and item.ndim > 0 and shape_of(item)[0] == n


def _copy_rows(item: h5py.Dataset, out: h5py.Group, name: str, rows: npt.NDArray[np.int64]) -> None:
    """Copy rows of a dataset. Chunks of one row go from file to file as they are."""
    if item.dtype.kind in "buif":
        check_stored(item)
    row_bytes = item.dtype.itemsize * math.prod(item.shape[1:])
    if row_bytes > MAX_BYTES:
        raise ValueError(f"{where(item)} has shape {item.shape}: a row is more than is read at once")
    shape = (len(rows), *item.shape[1:])
    chunks = None if item.is_virtual else item.chunks
    if chunks is None:
        made = out.create_dataset(
            name, shape, item.dtype, maxshape=(None, *shape[1:]), chunks=(1, *shape[1:]) if shape[1:] else (1024,)
        )
    else:
        space = h5py.h5s.create_simple(shape, (h5py.h5s.UNLIMITED, *shape[1:]))
        made = h5py.Dataset(h5py.h5d.create(out.id, name.encode(), item.id.get_type(), space, _layout(item)))
    made.attrs.update(item.attrs)
    if chunks is not None and chunks[0] == 1 and len(chunks) > 1:
        grid = [range(0, side, chunk) for side, chunk in zip(shape[1:], chunks[1:], strict=True)]
        for place, row in enumerate(rows.tolist()):
            for at in itertools.product(*grid):
                mask, content = item.id.read_direct_chunk((row, *at))
                made.id.write_direct_chunk((place, *at), content, mask)
        return
    at_once = max(1, _BYTES // max(1, row_bytes))
    for first in range(0, len(rows), at_once):
        part = rows[first : first + at_once]
        made[first : first + len(part)] = item[part]


def _layout(item: h5py.Dataset) -> h5py.h5p.PropDCID:
    """How a dataset is stored, for creating another one.

    Bitshuffle puts its version and the size of a number before its options, each time that a dataset is created.
    """
    layout = item.id.get_create_plist()
    filters = [layout.get_filter(k)[:3] for k in range(layout.get_nfilters())]
    for code, _, _ in filters:
        layout.remove_filter(code)
    for code, flags, options in filters:
        layout.set_filter(code, flags, options[3:] if code == BITSHUFFLE else options)
    return layout
