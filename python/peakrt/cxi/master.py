"""One file over the files of many ranks: virtual datasets with relative paths, the .lst and the .geom."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from .columns import (
    BAD_PIXELS,
    DATA,
    FILE_FORMAT,
    GAIN,
    MASK,
    POWDER_HITS,
    POWDER_MISSES,
    PROGRESS,
    PROVENANCE,
    UNUSABLE,
    UNUSABLE_REASON,
    hit_rows,
)
from .outputs import whole_file
from .writer import growing, write_companions


def write_master(path: Path, ranks: Sequence[Path], detector: Detector) -> int:
    """Write the master of rank files, which may lie anywhere relative to it; returns its rows.

    Rows are in the order of the files. It gets its name once it is whole; .lst and .geom go beside it where there are
    images. Raises ValueError for files that do not belong together, OSError for one that cannot be read.
    """
    if not ranks:
        raise ValueError("there is no rank file to join: no rank has seen an event")
    with whole_file(path) as started:
        hits, images, gain = _join(started, path.parent, ranks)
        if images:
            write_companions(path, detector, np.flatnonzero(hits), gain)
    return len(hits)


def _join(unfinished: Path, folder: Path, ranks: Sequence[Path]) -> tuple[npt.NDArray[np.bool_], bool, float | None]:
    """Write the datasets of a master that will lie in a folder.

    Returns which rows are hits, whether there are images, and the gain of the ranks' finders.
    """
    with h5py.File(ranks[0], "r") as first, h5py.File(unfinished, "w", libver=FILE_FORMAT) as master:
        shapes = {name: (first[name].shape[1:], first[name].dtype) for name in growing(first)}
        counts = [_rows(rank, shapes) for rank in ranks]
        for name, (shape, dtype) in shapes.items():
            layout = h5py.VirtualLayout((sum(counts), *shape), dtype)
            at = 0
            for rank, rows in zip(ranks, counts, strict=True):
                if rows:
                    where = os.path.relpath(rank, folder)
                    layout[at : at + rows] = h5py.VirtualSource(where, name, (rows, *shape), dtype)
                at += rows
            master.create_virtual_dataset(name, layout)
            for key, value in first[name].attrs.items():
                master[name].attrs[key] = value
        master.create_dataset(MASK, data=first[MASK][()], compression="gzip", compression_opts=1)
        _join_rest(master, ranks)
        master.attrs.update(first.attrs)
        master[PROVENANCE].attrs.update(first[PROVENANCE].attrs)
        hits = np.concatenate([_hits(rank, rows) for rank, rows in zip(ranks, counts, strict=True)])
        gain = float(master[GAIN][()])
    return hits, DATA in shapes, None if np.isnan(gain) else gain


def _rows(rank: Path, shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> int:
    with h5py.File(rank, "r") as file:
        if {name: (file[name].shape[1:], file[name].dtype) for name in growing(file)} != shapes:
            raise ValueError(f"{rank} has other datasets than the first rank file: they are not of one run")
        return min(len(file[name]) for name in shapes)


def _hits(rank: Path, rows: int) -> npt.NDArray[np.bool_]:
    with h5py.File(rank, "r") as file:
        return hit_rows(file)[:rows]


def _join_rest(master: h5py.File, ranks: Sequence[Path]) -> None:
    """Powder patterns, events done, gain, bad pixels and unusable events of all ranks."""
    done, gain, bad = 0, np.nan, np.zeros((0, 2), np.int32)
    unusable: list[npt.NDArray[Any]] = []
    reasons: list[npt.NDArray[Any]] = []
    for rank in ranks:
        with h5py.File(rank, "r") as file:
            done += int(file[PROGRESS][()])
            gain = float(file[GAIN][()]) if np.isnan(gain) else gain
            unusable.append(file[UNUSABLE][:])
            reasons.append(file[UNUSABLE_REASON][:])
            bad = np.unique(np.concatenate([bad, file[BAD_PIXELS][:]]), axis=0)
            for name in (POWDER_HITS, POWDER_MISSES):
                if name in file and name in master:
                    master[name][...] = np.fmax(master[name][()], file[name][()])
                elif name in file:
                    master[name] = file[name][()]
    master[PROGRESS], master[GAIN], master[BAD_PIXELS] = np.int64(done), gain, bad
    master[UNUSABLE], master[UNUSABLE_REASON] = np.concatenate(unusable), np.concatenate(reasons)
