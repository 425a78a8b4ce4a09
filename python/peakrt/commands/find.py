"""``peakrt find``: the peaks of frames into a file for CrystFEL, by one process or by the ranks of an MPI job."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from ..config import OutputConfig
from ..contracts import DealtSource
from ..cxi.indexing import index_command
from ..mpi import Job, find_in_job, in_job, open_on_all_ranks, rank_of_job, summarise
from ..pipeline import find_run
from ..progress import Progress
from ..search import Summary
from ..sources import Stream, is_stream
from .find_report import as_record, report_lines, write_json
from .finder_options import add_finder, take_finder
from .options import add_inputs, known_length, open_inputs, take_config
from .program import Interrupted, add_command, catch_signals
from .run import run_in_job
from .writing import add_output, check_options, make_writer, refuse_outputs, writing


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "find", _find, help="find the peaks of frames and write a CXI for CrystFEL",
        usage="%(prog)s IN [IN ...] [-g GEOMETRY] -o OUT.cxi [options]",
    )  # fmt: skip
    add_inputs(parser)
    parser.add_argument("-j", "--threads", type=int, default=1, metavar="N", help="finder threads [1]")
    add_output(parser)
    add_finder(parser)


def _find(parsed: argparse.Namespace) -> int:
    if in_job():
        return _find_in_job(parsed)
    check_options(parsed)
    live = is_stream(parsed.inputs)
    if live and parsed.resume:
        raise ValueError("--resume: a stream cannot be resumed, for what has passed is gone; begin another output")
    stop = catch_signals()
    refuse_outputs(parsed)
    source = open_inputs(parsed, stop)
    finder = take_finder(parsed, source.detector)
    finder.on_gpu()  # says what auto has chosen before the run begins
    writer = make_writer(parsed, Path(parsed.output), source, parsed.resume)
    total = min((n for n in (known_length(source), parsed.limit) if n is not None), default=None)
    limit = None if parsed.limit is None else max(0, parsed.limit - writer.events_done)
    with writing(parsed, source, finder, writer, total, [] if live else stop) as (progress, on_event, watcher):
        summary = find_run(
            source, finder, writer, threads=parsed.threads, limit=limit, on_event=on_event, watcher=watcher,
        )  # fmt: skip
    report = report_lines(summary, writer, progress.peaks_per_hit(summary))
    if isinstance(source, Stream):
        report = [*source.report(), *report]
    print("\n".join(report), file=sys.stderr if parsed.json == "-" else sys.stdout)
    if parsed.json is not None:
        record = as_record(summary, writer, finder, progress.peaks_per_hit(summary))
        write_json(parsed.json, {**record, "stream": source.as_record()} if isinstance(source, Stream) else record)
    return 0


def _find_in_job(parsed: argparse.Namespace) -> int:
    if is_stream(parsed.inputs):
        raise ValueError("a stream is read by one process, not by the ranks of a job: start peakrt find without mpirun")
    stop = catch_signals()
    source = open_on_all_ranks(lambda: open_inputs(parsed, stop))
    if isinstance(source, DealtSource):
        return _find_what_is_dealt(parsed, source, stop)
    return run_in_job(parsed, source, stop)


def _find_what_is_dealt(parsed: argparse.Namespace, source: DealtSource, stop: list[int]) -> int:
    """Find on ranks to which the facility's software deals out the events; each writes its own."""
    if parsed.limit is not None:
        raise ValueError("--limit is for events that are not dealt out; an LCLS run takes events=N")
    if parsed.json is not None:
        raise ValueError(
            "--json is for events that are not dealt out; this job leaves a .summary beside its master file"
        )
    if parsed.monitor is not None:
        raise ValueError("--monitor is for events that are not dealt out; peakrt report shows what a job has found")
    refuse_outputs(parsed)
    rank, size = rank_of_job()
    if rank != size - 1:  # one rank speaks for all; the last one, for psana keeps the first two to itself
        logging.getLogger("peakrt").setLevel(max(logging.WARNING, logging.getLogger("peakrt").level))
    progress = Progress(None, prefix=f"rank {rank} of {size}: ", terminal=False)

    def on_event(summary: Summary) -> None:
        progress(summary)
        if stop:
            raise Interrupted(f"stopped after {summary.events} events of this rank; --resume goes on")

    job = Job(
        source=source,
        make_finder=lambda: take_finder(parsed, source.detector),
        make_writer=lambda path, resume: make_writer(parsed, path, source, resume),
        out=Path(parsed.output),
        resume=parsed.resume,
        on_event=on_event,
        overwrite=parsed.overwrite,
    )
    results = find_in_job(job)
    if results is not None:
        print(summarise(results), end="")
        print(f"wrote {parsed.output}, the master of the rank files beside it")
        images = take_config(OutputConfig, parsed).images
        if images != "none":
            print(f"to index:\n\n  {index_command(Path(parsed.output), images)}")
    return 0
