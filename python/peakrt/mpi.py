"""Finding on the ranks of an MPI job to which the facility's software deals out the events. Needs mpi4py.

Each rank writes its own file, rank 0 a master over them. Where the events have numbers from the start, peakrt.distributed
deals them out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from .contracts import DealtSource, Writer
from .cxi.columns import EVENT_COLUMNS
from .cxi.master import write_master
from .cxi.outputs import OutputLock
from .extras import need
from .finder import PeakFinder
from .pipeline import find_run
from .search import Summary
from .sources import Source

#: Set by the launchers of Open MPI, MPICH and Slurm for the processes of a job.
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "MPI_LOCALRANKID")
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS")
_SECONDS, _NANOSECONDS = "/LCLS/machineTime", "/LCLS/machineTimeNanoSeconds"
assert {_SECONDS, _NANOSECONDS} <= {column.path for column in EVENT_COLUMNS}


def in_job() -> bool:
    """Whether this process is a rank of an MPI job of more than one."""
    return any(int(os.environ.get(name, "1") or 1) > 1 for name in _SIZES)


def rank_of_job() -> tuple[int, int]:
    """Rank of this process and size of its job, as the launcher says; (0, 1) where it says nothing."""
    size = max(int(os.environ.get(name, "1") or 1) for name in _SIZES)
    return next((int(os.environ[name]) for name in _RANKS if os.environ.get(name)), 0), size


@dataclass(frozen=True)
class RankResult:
    """What one rank did. file : None where it has seen no event; error : what stopped it, "" for nothing."""

    rank: int
    summary: Summary
    file: Path | None
    error: str = ""


@dataclass(frozen=True)
class Job:
    """What every rank of a job is given.

    source : open on every rank; make_writer : given path and whether to resume
    on_event : called after each event of a rank, may raise to stop it
    overwrite : what an earlier job left may be replaced
    """

    source: DealtSource
    make_finder: Callable[[], PeakFinder]
    make_writer: Callable[[Path, bool], Writer]
    out: Path
    resume: bool
    on_event: Callable[[Summary], None]
    overwrite: bool = False


def open_on_all_ranks(open_source: Callable[[], Source]) -> Source:
    """Open the source on every rank. What keeps one rank from it keeps all of them, or the others would wait for it.

    Raises RuntimeError on every rank, ImportError without mpi4py.
    """
    need("a job of several ranks", "mpi", "mpi4py")
    from mpi4py import MPI

    source, error = None, ""
    try:
        source = open_source()
    except (OSError, ValueError, ImportError, RuntimeError) as failure:
        error = str(failure)
    problems = [text for text in MPI.COMM_WORLD.allgather(error) if text]
    if problems:
        raise RuntimeError(problems[0])
    assert source is not None
    return source


def find_in_job(job: Job) -> list[RankResult] | None:
    """Find peaks on every rank; rank 0 then writes the master, its .lst and .geom, and a .summary.

    Returns on rank 0 the results by rank, elsewhere None. Raises RuntimeError on rank 0 if a rank failed: what was
    written stays, for resume.
    """
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    with ExitStack() as stack:
        job.source.done = _begin(job, world, stack)
        result = _find_as_rank(job, world.rank)
        results: list[RankResult] | None = world.gather(result)
        if results is None:
            return None
        _summary_path(job.out).write_text(summarise(results), encoding="utf-8")
        failed = [r for r in results if r.error]
        if failed:
            raise RuntimeError(f"rank {failed[0].rank}: {failed[0].error}; the rank files are kept, --resume goes on")
        write_master(job.out, _rank_files(job.out), job.source.detector)
        return results


def _begin(job: Job, world: Any, stack: ExitStack) -> frozenset[tuple[int, int]]:
    """On rank 0 lock the output and look at what an earlier job left; returns the time stamps that are done.

    Raises RuntimeError on every rank where rank 0 cannot begin.
    """
    problem, done = "", frozenset[tuple[int, int]]()
    if world.rank == 0:
        try:
            stack.callback(OutputLock(job.out).release)
            done = _clear_up(job)
        except (OSError, ValueError) as failure:
            problem = str(failure)
    problem, done = world.bcast((problem, done))
    if problem:
        raise RuntimeError(problem)
    return done


def _summary_path(out: Path) -> Path:
    return out.with_suffix(".summary")


def rank_path(out: Path, rank: int, attempt: int = 1) -> Path:
    """Where a rank writes: OUT_3.cxi, and OUT_3.2.cxi at the second attempt."""
    return out.with_name(f"{out.stem}_{rank}{'' if attempt == 1 else f'.{attempt}'}{out.suffix}")


def _rank_files(out: Path) -> list[Path]:
    """Closed rank files, by rank and attempt."""
    found = [p for p in out.parent.glob(f"{out.stem}_*{out.suffix}") if _place(out, p) is not None]
    return sorted(found, key=lambda path: _place(out, path) or (0, 0))


def _place(out: Path, path: Path) -> tuple[int, int] | None:
    """Rank and attempt of a rank file's name; None for another file."""
    rank, _, attempt = path.name.removeprefix(f"{out.stem}_").removesuffix(out.suffix).partition(".")
    return (int(rank), int(attempt or 1)) if rank.isdigit() and (attempt or "1").isdigit() else None


def _clear_up(job: Job) -> frozenset[tuple[int, int]]:
    """Look at what an earlier job left, before any rank starts; returns the time stamps that are done.

    Files that were not closed are: their rows stand, whoever gets the rest.
    """
    if _summary_path(job.out).exists() and not (job.resume or job.overwrite):
        raise FileExistsError(f"{_summary_path(job.out)} exists: choose another -o, or replace it with --overwrite")
    unfinished = sorted(job.out.parent.glob(f"{job.out.stem}_*{job.out.suffix}.inprogress"))
    earlier = _rank_files(job.out) + unfinished
    if earlier and not job.resume:
        if not job.overwrite:
            raise FileExistsError(
                f"{earlier[0]} is there from an earlier job: go on with --resume, or begin anew with --overwrite"
            )
        for path in earlier:
            path.unlink()
        return frozenset()
    for path in unfinished:
        job.make_writer(path.with_suffix(""), True).close()
    stamps: set[tuple[int, int]] = set()
    for path in _rank_files(job.out):
        with h5py.File(path, "r") as file:
            stamps |= set(zip(file[_SECONDS][:].tolist(), file[_NANOSECONDS][:].tolist(), strict=True))
    return frozenset(stamps)


def _find_as_rank(job: Job, rank: int) -> RankResult:
    """One rank's part; what goes wrong goes into the result."""
    summary, attempt = Summary(), 1
    while rank_path(job.out, rank, attempt).exists():
        attempt += 1
    path = rank_path(job.out, rank, attempt)
    try:
        with job.make_writer(path, job.resume) as writer:
            summary = find_run(job.source, job.make_finder(), writer, on_event=job.on_event)
    except (OSError, ValueError, RuntimeError, MemoryError, ImportError) as error:
        return RankResult(rank, summary, None, str(error) or type(error).__name__)
    return RankResult(rank, summary, path if path.exists() else None)


def summarise(results: list[RankResult]) -> str:
    """One line a rank, and their sum."""
    lines = [f"{'rank':>6}{'events':>9}{'hits':>8}{'peaks':>10}{'finding s':>11}  file"]
    for r in results:
        s = r.summary
        note = r.error or (r.file.name if r.file else "no events")
        lines.append(f"{r.rank:>6}{s.events:>9}{s.hits:>8}{s.peaks:>10}{s.finding_s:>11.2f}  {note}")
    events, hits, peaks = (sum(getattr(r.summary, name) for r in results) for name in ("events", "hits", "peaks"))
    return "\n".join([*lines, f"{'all':>6}{events:>9}{hits:>8}{peaks:>10}"]) + "\n"
