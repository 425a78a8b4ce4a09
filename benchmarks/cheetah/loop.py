"""The long run: block after block, detector after detector, each finder in turn, so that it can stop at any moment."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .finders import FINDERS
from .index import Outcome, Result, Results, index_hits
from .jobs import Job, Tools
from .programs import Stopwatch
from .recipe import Run
from .tuning import tune_all

#: CPU seconds a megapixel on one core of an AVX-512 Xeon, for what is said beforehand: simulating a frame, indexing a hit
#: (a fixed part, whatever the detector), and each finder with its reading and writing.
SIMULATE_S, INDEX_S = 0.07, 0.28
FIND_S = {
    "candidate": 0.005, "segmentation": 0.1, "psana": 0.25, "psana-tuned": 0.25, "om": 0.06, "om-tuned": 0.06, "dials": 0.25,
    "dials-tuned": 0.25, "jungfraujoch": 0.06, "jungfraujoch-tuned": 0.06,
}  # fmt: skip
_FIND_S = 0.02
#: Shares of frames that are hits, and of lists of peaks that no other finder gave.
_HITS, _FRESH = 0.5, 0.8


@dataclass(frozen=True)
class Extent:
    """How much is run. slow_frames : what finders that are slow are given, the first of the run."""

    frames: int
    finders: Sequence[str]
    slow_frames: int

    def of(self, finder: str) -> int:
        """Frames that a finder is given."""
        return min(self.frames, self.slow_frames) if FINDERS[finder].slow else self.frames

    def starts(self, block: int) -> range:
        """First frames of the blocks."""
        return range(0, self.frames, block)

    def stop(self, run: Run, start: int) -> int:
        """Frame behind the last of the block that starts there."""
        return min(start + run.recipe.block, self.frames)


def missing_work(run: Run, extent: Extent) -> dict[int, list[str]]:
    """Finders that are still to be run, by the first frame of the block."""
    out = {}
    for start in extent.starts(run.recipe.block):
        todo = [
            finder
            for finder in extent.finders
            if start < extent.of(finder) and not Results(run.folder / finder).done(start, extent.stop(run, start))
        ]
        if todo:
            out[start] = todo
    return out


def estimate(runs: Sequence[Run], extent: Extent) -> str:
    """What is left to do: about how long it takes on one core, and how much disk it needs."""
    seconds, frame_bytes = 0.0, 0
    for run in runs:
        n_panels, n_ss, n_fs = run.planes
        megapixels = n_panels * n_ss * n_fs / 1e6
        frame_bytes = max(frame_bytes, n_panels * n_ss * n_fs * np.dtype(run.simulator.response.dtype).itemsize)
        for start, todo in missing_work(run, extent).items():
            n = extent.stop(run, start) - start
            each = SIMULATE_S * megapixels + sum(
                FIND_S.get(finder, _FIND_S) * megapixels + _HITS * _FRESH * INDEX_S for finder in todo
            )
            seconds += n * each
    block = runs[0].recipe.block
    held = (1 + _HITS) * block * frame_bytes / 1e9
    kept = 20e3 * _HITS * extent.frames * len(extent.finders) * len(runs) / 1e9
    return (
        f"about {seconds / 3600:.1f} hours of one core are left; {held:.1f} GB of disk while it runs "
        f"({block} frames and the hits of one finder), {kept:.1f} GB of results in the end"
    )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder for this process. Raises ValueError where another one has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another run is at work in {folder}: wait for it, or choose another folder") from None
        yield


def carry_out(runs: Sequence[Run], extent: Extent, tools: Tools, say: Callable[[str], None]) -> None:
    """Do what is missing."""
    tuned = {}
    for run in runs:
        run.prepare()
        wanted = [key for name in extent.finders if (key := FINDERS[name].tuned)]
        tuned[run] = tune_all(run, wanted, tools, _empty(run.folder / "scratch"), say)
    say(estimate(runs, extent))
    for start in extent.starts(runs[0].recipe.block):
        for run in runs:
            todo = missing_work(run, extent).get(start)
            if todo:
                began = time.monotonic()
                stop = extent.stop(run, start)
                _one_block(run, start, stop, todo, tools, tuned[run])
                say(f"{run.name}: frames {start} to {stop - 1} in {(time.monotonic() - began) / 60:.1f} minutes")


def _one_block(
    run: Run, start: int, stop: int, todo: Sequence[str], tools: Tools, tuned: dict[str, dict[str, Any]]
) -> None:
    frames = run.block(start, stop)
    run.note_truth(frames, start, stop)
    known: dict[str, tuple[Outcome, str]] = {}
    for finder in FINDERS:
        results = Results(run.folder / finder)
        if finder in todo:
            clock = Stopwatch()
            job = Job(run, frames, _empty(run.folder / "scratch"), tools, clock)
            found = FINDERS[finder].find(job, tuned.get(FINDERS[finder].tuned or ""))
            outcomes, stream, index_cpu_s = index_hits(found, job, start, known)
            cores = 1 if FINDERS[finder].one_core else tools.cores
            result = Result(start, stop, clock.wall_s, clock.cpu_s, cores, index_cpu_s, outcomes)
            results.write(result, stream)
        elif results.done(start, stop):
            known |= results.known(start, stop)
    shutil.rmtree(run.folder / "scratch")
    for path in (frames, frames.with_suffix(".geom"), frames.with_suffix(".cell")):
        path.unlink(missing_ok=True)


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
