"""``peakrt run``: the peaks of a run by many workers: processes, the ranks of an MPI job, or actors of a Ray cluster."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sized
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import DealtSource
from ..distributed.backend import Backend
from ..distributed.search import WorkersSearch
from ..event import Event
from ..extras import need
from ..finder import PeakFinder
from ..finders.registry import FINDERS
from ..mpi import in_job, open_on_all_ranks, rank_of_job
from ..pipeline import write_search
from ..sources import Source, is_stream
from .find_report import as_record, report_lines, write_json
from .finder_options import add_finder, take_finder
from .learn import learn_from
from .options import add_inputs, open_inputs, take_config
from .program import add_command, catch_signals
from .writing import add_output, check_options, make_writer, refuse_outputs, writing

log = logging.getLogger("peakrt")

BACKENDS = ("process", "mpi", "ray")
#: Events, spread over the run, from which the gain and the bad pixels are learned before it begins.
_LEARN_FROM = 200
#: Seconds between two misses that the monitor is shown.
_MISSES_EVERY_S = 0.5


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "run", _run, help="find the peaks of a run by many workers: processes, MPI ranks or Ray actors",
        usage="%(prog)s IN [IN ...] [-g GEOMETRY] -o OUT.cxi [--backend NAME] [--workers N] [options]",
        description="Find the peaks of a run by many workers, each of which reads the files itself; one process writes one "
        "CXI, in the order of the events, each event once, whoever dies. The gain and the bad pixels are learned first, from "
        f"{_LEARN_FROM} events spread over the run, into OUT.learned.h5, so that peaks do not depend on who finds them.",
    )  # fmt: skip
    add_inputs(parser)
    parser.add_argument(
        "--backend", choices=BACKENDS,
        help="processes of this machine, the ranks of an MPI job (mpirun -n 9 peakrt run ...: one rank deals out and writes), "
        "or actors of a Ray cluster (RAY_ADDRESS, or one is started here) [mpi under mpirun, else process]",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, metavar="N", help="workers [one for each CPU; under mpirun, its ranks]")
    add_output(parser)
    add_finder(parser)


def _run(parsed: argparse.Namespace) -> int:
    backend = parsed.backend or ("mpi" if in_job() else "process")
    if is_stream(parsed.inputs):
        raise ValueError("a stream is read by one process: peakrt find, or peakrt live, takes it")
    if parsed.workers is not None and parsed.workers < 1:
        raise ValueError(f"--workers is {parsed.workers}, it should be at least 1")
    stop = catch_signals()
    if backend == "mpi":
        if parsed.workers is not None:
            raise ValueError("--workers: the workers of an MPI job are its ranks but the first")
        return run_in_job(parsed, open_on_all_ranks(lambda: open_inputs(parsed, stop)), stop)
    if in_job():
        raise ValueError(f"--backend {backend} starts its own workers: start peakrt run without mpirun")
    if backend == "ray":
        need("--backend ray", "ray", "ray")  # before anything is learned and written
    return _write(parsed, backend, open_inputs(parsed, stop), stop, [])


def run_in_job(parsed: argparse.Namespace, source: Source, stop: list[int]) -> int:
    """Run on the ranks of an MPI job: the first deals out and writes, the others find.

    source : of the inputs, open on every rank; stop : signals that end the run
    """
    from ..distributed.ranks import refuse, work_as_rank

    if rank_of_job()[0] > 0:
        logging.getLogger("peakrt").setLevel(logging.WARNING)
        work_as_rank(lambda arguments: (source, take_finder(_parse(arguments), source.detector)))
        return 0
    begun: list[Backend] = []
    try:
        if getattr(parsed, "threads", 1) != 1:
            raise ValueError("--threads: the finders of an MPI job are its ranks but the first")
        return _write(parsed, "mpi", source, stop, begun)
    finally:
        if not begun:
            refuse()


def _write(parsed: argparse.Namespace, backend: str, source: Source, stop: list[int], begun: list[Backend]) -> int:
    """Deal out, take in and write. begun : where the back end is put once it has started"""
    check_options(parsed)
    if parsed.bad_pixels == "learn":
        raise ValueError("--bad-pixels learn: a run by workers learns them before it begins; leave the option out")
    refuse_outputs(parsed)
    if isinstance(source, DealtSource) or not isinstance(source, Sized):
        raise ValueError("the facility deals out the events of this run itself: mpirun peakrt find takes it")
    total = len(source) if parsed.limit is None else min(len(source), parsed.limit)
    given = [*parsed.given, *_learn_beforehand(parsed, source, total)]
    finder = take_finder(parsed, source.detector)
    on_gpu = finder.on_gpu()
    writer = make_writer(parsed, Path(parsed.output), source, parsed.resume)

    def start_workers() -> Backend:
        begun.append(_start(backend, getattr(parsed, "workers", None), given, on_gpu))
        return begun[0]

    every = _MISSES_EVERY_S if parsed.monitor is not None else None
    search = WorkersSearch(source, finder, writer, start_workers, end=total, misses_every_s=every)
    with writing(parsed, source, finder, writer, total, stop) as (progress, on_event, watcher):
        summary = write_search(search, writer, on_event=on_event, watcher=watcher)
    report = [*search.report(), *report_lines(summary, writer, progress.peaks_per_hit(summary))]
    print("\n".join(report), file=sys.stderr if parsed.json == "-" else sys.stdout)
    if parsed.json is not None:
        record = as_record(summary, writer, finder, progress.peaks_per_hit(summary))
        write_json(parsed.json, {**record, "backend": backend, **search.as_record()})
    return 0


def _start(backend: str, n: int | None, arguments: list[str], on_gpu: bool) -> Backend:
    """Start the workers."""
    if backend == "mpi":
        from ..distributed.ranks import Ranks

        return Ranks(arguments)
    from ..distributed.processes import Processes, gpus

    wanted = n if n is not None else len(gpus()) if on_gpu else len(os.sched_getaffinity(0))
    if backend == "ray":
        from ..distributed.actors import Actors

        return Actors(wanted, arguments, open_run, on_gpu=on_gpu)
    workers = Processes(wanted, arguments, on_gpu=on_gpu)
    log.info("%d workers are started; peakrt worker %s adds one", wanted, workers.address)
    return workers


def open_run(arguments: list[str]) -> tuple[Source, PeakFinder]:
    """What a worker needs of a run's arguments: its source and its finder. Raises what opening them raises."""
    parsed = _parse(arguments)
    source = open_inputs(parsed, [])
    return source, take_finder(parsed, source.detector)


def _parse(arguments: list[str]) -> argparse.Namespace:
    from ..cli import build_parser

    return build_parser().parse_args(arguments)


def _learn_beforehand(parsed: argparse.Namespace, source: Source, total: int) -> list[str]:
    """Learn what the finder would learn on its way, unless all is known; returns the arguments that tell the workers."""
    config = FINDERS[parsed.finder].config
    names = {item.name for item in fields(config)}
    options = take_config(config, parsed)
    known = "gain" not in names or getattr(options, "gain", None) is not None or source.detector.photon_gain is not None
    if parsed.learned is not None or (known and getattr(options, "bad_pixels", "keep") == "keep"):
        return []
    path = Path(parsed.output).with_suffix(".learned.h5")
    if not (parsed.resume and path.exists()):
        if path.exists() and not parsed.overwrite:
            raise FileExistsError(f"{path} exists and would be overwritten: give it with --learned, or --overwrite it")
        path.unlink(missing_ok=True)
        log.info("learned from %s", learn_from(parsed, source, _spread(source, total), path))
    parsed.learned = path
    return ["--learned", str(path)]


def _spread(source: Source, total: int) -> Iterator[Event]:
    """Events spread over a run; those that cannot be read are passed over."""
    for number in np.unique(np.linspace(0, total - 1, _LEARN_FROM).astype(int)):
        try:
            yield next(iter(source.events(int(number))))
        except (OSError, ValueError) as error:
            log.debug("event %d: %s", number, error)
