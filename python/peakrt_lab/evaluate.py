"""Judging peaks by indexing: run indexamajig, read what it or DIALS left, count."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from peakrt.cxi.columns import DATA, N_PEAKS

from .compare import event_number
from .dials import run_dials
from .stream import read_chunks
from .truth import Truth

Floats = npt.NDArray[np.float64]

#: Settings for comparisons, the same for every finder: one indexing attempt, nothing tuned.
INDEXING = (
    "--indexing=asdf,xgandalf", "--tolerance=5,5,5,1.5,1.5,1.5", "--no-retry", "--no-multi", "--int-radius=3,4,6",
    "--xgandalf-fast-execution",
)  # fmt: skip

#: A crystal turned by more than this from each of the truth's is wrong, degrees.
RIGHT_DEG = 1.0


@dataclass
class IndexingResult:
    """frames : in the run; hits : with at least min_peaks; indexed : hits with a crystal.

    orientation_deg : error of each crystal that is one of the truth's; wrong : crystals that are none of them
    """

    frames: int
    hits: int = 0
    indexed: int = 0
    crystals: int = 0
    cells: list[Floats] = field(default_factory=list)
    orientation_deg: list[float] = field(default_factory=list)
    false_hits: int | None = None
    wrong: int | None = None

    def cell_spread(self) -> Floats:
        """Half the 16-84 % range of each parameter: one wrong cell must not hide a good set. NaN without crystals."""
        low, high = np.percentile(self.cells or [np.full(6, np.nan)], [16, 84], axis=0)
        return (high - low) / 2

    def lines(self) -> list[str]:
        """The report."""

        def share(n: int, of: int) -> str:
            return f"{n / of:.3f}" if of else "-"

        lines = [
            f"frames         {self.frames}",
            f"hits           {self.hits}   hit rate {share(self.hits, self.frames)}",
            f"indexed        {self.indexed}   indexing rate {share(self.indexed, self.hits)}   yield {share(self.indexed, self.frames)}",
        ]
        if self.false_hits is not None:
            lines.append(f"false hits     {self.false_hits}")
        if self.wrong is not None:
            lines.append(f"wrong crystals {self.wrong}")
        if self.cells:
            middle = np.median(self.cells, 0)
            for name, m, s in zip(("a", "b", "c", "alpha", "beta", "gamma"), middle, self.cell_spread(), strict=True):
                lines.append(f"{name:<6}         {m:.3f} +- {s:.3f} {'A' if len(name) == 1 else 'deg'}")
        if self.orientation_deg:
            lines.append(
                f"orientation    median error {np.median(self.orientation_deg):.4f} deg over {len(self.orientation_deg)}"
            )
        return lines


def run_indexamajig(
    cxi: Path,
    geometry: Path,
    stream: Path,
    *,
    cell: Path | None,
    processes: int,
    min_peaks: int = 0,
    peaks: str = "cxi",
    extra: tuple[str, ...] = (),
) -> None:
    """Run indexamajig on all events of a CXI; those with fewer than min_peaks are not indexed.

    peaks : "cxi" reads the file's table; "peakfinder8" lets CrystFEL search (its options go into extra)
    Raises FileNotFoundError where it is not on PATH, RuntimeError with its last words where it fails.
    """
    program = shutil.which("indexamajig")
    if program is None:
        raise FileNotFoundError("indexamajig is not on PATH: install CrystFEL (https://www.desy.de/~twhite/crystfel)")
    import h5py

    with h5py.File(cxi, "r") as file:
        n = len(file[N_PEAKS if N_PEAKS in file else DATA])
    events = stream.with_suffix(".events.lst")
    events.write_text("".join(f"{cxi.resolve()} //{row}\n" for row in range(n)), encoding="utf-8")
    command = [
        program,
        "-i",
        str(events),
        "-g",
        str(geometry),
        "-o",
        str(stream),
        f"--peaks={peaks}",
        "-j",
        str(processes),
    ]
    command += [f"--temp-dir={stream.parent}", f"--min-peaks={min_peaks}", *INDEXING, *extra]
    command += ["-p", str(cell)] if cell else []
    status, said = _run_to_its_end(command)
    if status != 0:
        last = (said.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"indexamajig failed ({status}): {last}")


def _run_to_its_end(command: list[str]) -> tuple[int, str]:
    """Exit status of a program and what it said on stderr. Whatever ends this process, its processes go too.

    The workers of an indexamajig whose master is gone wait for ever. A shell waits with them: it reads the end of our pipe when we
    die, and a line when all is well.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    watch = f"read line || kill -KILL -{process.pid}"
    with subprocess.Popen(["sh", "-c", watch], stdin=subprocess.PIPE, start_new_session=True) as watcher:
        assert watcher.stdin is not None
        _, said = process.communicate()  # an exception leaves the pipe closed and no line in it
        watcher.stdin.write(b"\n")
    return process.returncode, said


#: How to index the peaks of a CXI, and the suffix of what that leaves.
INDEXERS: dict[str, tuple[Callable[..., None], str]] = {
    "crystfel": (run_indexamajig, ".stream"),
    "dials": (run_dials, ".jsonl"),
}


def read_result(
    stream: Path, *, frames: int | None = None, min_peaks: int = 15, truth: Truth | None = None
) -> IndexingResult:
    """Count the hits and crystals of a stream, or of a result of DIALS; against the truth where it is given.

    frames : of the whole run, where the stream holds only its hits
    """
    numbers: dict[str, list[int]] = {}
    chunks = 0
    result = IndexingResult(0)
    wrong = false_hits = 0
    for order, chunk in enumerate(read_chunks(stream)):
        chunks += 1
        hit = len(chunk.ss) >= min_peaks
        result.hits += hit
        result.indexed += bool(chunk.crystals) and hit
        result.crystals += len(chunk.crystals)
        result.cells += [crystal.cell for crystal in chunk.crystals]
        if truth is None:
            continue
        event = event_number(chunk, order, numbers)
        false_hits += bool(hit and not truth.hit[event])
        true = truth.event_lattices(event)
        for crystal in chunk.crystals:
            errors = [misorientation_deg(crystal.reciprocal, lattice) for lattice in true]
            least = min((error for error in errors if error < RIGHT_DEG), default=None)
            if least is None:
                wrong += 1
            else:
                result.orientation_deg.append(least)
    if truth is not None:
        result.false_hits, result.wrong = false_hits, wrong
    result.frames = frames if frames is not None else len(truth) if truth is not None else chunks
    return result


def misorientation_deg(found: Floats, true: Floats) -> float:
    """Angle between two orientations of a lattice: rows a*, b*, c*; degrees.

    The bases may differ by any change of basis with small integers and thirds or halves (centrings); what is
    left after the nearest such change is a rotation and a strain, and the rotation is returned. NaN if no such
    change comes near.
    """
    best = np.nan
    for denominator in (1, 2, 3):
        change = np.rint(denominator * found @ np.linalg.inv(true)) / denominator
        if abs(np.linalg.det(change)) < 0.1:
            continue
        deformation = np.linalg.inv(change @ true) @ found
        u, stretch, vt = np.linalg.svd(deformation)
        if stretch.max() > 1.05 or stretch.min() < 0.95:
            continue
        rotation = u @ vt
        angle = float(np.rad2deg(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
        best = angle if np.isnan(best) else min(best, angle)
    return best
