"""What a finder is given, and what it leaves: hits in files that indexamajig reads."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from peakrt.config import HitConfig
from peakrt.cxi.columns import DATA, RESULT
from peakrt.cxi.reader import SlabPeaks, read_cxi_peaks

from .programs import Stopwatch
from .recipe import Run

#: Peaks of a hit in the table, of a frame that is given to the indexer (so that another gate can be judged), and at most.
MIN_PEAKS, OFFERED_PEAKS, MAX_PEAKS = HitConfig().min_peaks, 10, HitConfig().max_peaks


@dataclass(frozen=True)
class Hit:
    """A frame with at least OFFERED_PEAKS peaks: where it stands for indexamajig, and its number in the block."""

    file: Path
    row: int
    event: int
    peaks: SlabPeaks


@dataclass
class Found:
    """What a finder left of a block. search : how indexamajig comes by the peaks of these hits."""

    hits: list[Hit] = field(default_factory=list)
    search: tuple[str, ...] = ("--peaks=cxi",)


@dataclass(frozen=True)
class Tools:
    """What the command line gives: interpreters of the rivals, and the cores that each finder may use."""

    cores: int = 1
    om_python: str | None = None
    psana_python: str = sys.executable
    probixi: str | None = None


@dataclass(frozen=True)
class Job:
    """One finder on one block.

    frames : CXI of the block; scratch : an empty folder for what it writes
    """

    run: Run
    frames: Path
    scratch: Path
    tools: Tools
    clock: Stopwatch


#: Of a finder with thresholds, by name; None for its own defaults.
Options = dict[str, Any] | None


def event_numbers(path: Path) -> list[int]:
    with h5py.File(path, "r") as file:
        return [int(number) for number in file["/LCLS/eventNumber"][:]]


def read_hits(path: Path, events: Sequence[int]) -> list[Hit]:
    """Rows of a CXI with enough peaks."""
    rows = zip(read_cxi_peaks(path), events, strict=True)
    return [Hit(path, row, event, peaks) for row, (peaks, event) in enumerate(rows) if len(peaks) >= OFFERED_PEAKS]


def write_hits(path: Path, frames: Path, found: Mapping[int, SlabPeaks]) -> None:
    """Write the frames with enough peaks into a CXI, with their strongest peaks.

    found : peaks by the number of the frame
    """
    hits = {number: peaks for number, peaks in found.items() if len(peaks) >= OFFERED_PEAKS}
    tables = {
        name: np.zeros((len(hits), MAX_PEAKS), np.float32)
        for name in ("peakXPosRaw", "peakYPosRaw", "peakTotalIntensity")
    }
    counts = np.zeros(len(hits), np.int32)
    with h5py.File(frames, "r") as source, h5py.File(path, "w") as out:
        slab = source[DATA].shape[1:]
        images = out.create_dataset(DATA, (len(hits), *slab), source[DATA].dtype, maxshape=(None, *slab))
        for row, (number, peaks) in enumerate(hits.items()):
            images[row] = source[DATA][number]
            order = np.argsort(-peaks.intensity, kind="stable")[:MAX_PEAKS]
            counts[row] = len(order)
            for table, values in zip(tables.values(), (peaks.fs, peaks.ss, peaks.intensity), strict=True):
                table[row, : len(order)] = values[order]
        for name, table in tables.items():
            out[f"{RESULT}/{name}"] = table
        out[f"{RESULT}/nPeaks"] = counts
        out["/LCLS/eventNumber"] = np.array(list(hits), np.int64)


def plain_geometry(run: Run) -> list[str]:
    """Lines of the geometry for readers that take no units, masks, and lists of peaks."""
    lines = run.geometry.read_text(encoding="utf-8").splitlines()
    plain = (line.removesuffix(" eV").removesuffix(" m") for line in lines)
    return [line for line in plain if not line.startswith(("mask", "peak_list"))]
