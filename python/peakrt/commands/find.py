"""``peakrt find``: the peaks of frames into a file for CrystFEL, by one process or by the ranks of an MPI job."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from peakrt_geometry.crystfel import format_geom

from ..config import HitConfig, OutputConfig
from ..contracts import Watcher, Writer
from ..cxi.indexing import index_command
from ..cxi.learned_file import read_learned
from ..cxi.outputs import check_outputs, fingerprints
from ..finder import PeakFinder
from ..finders.registry import FINDERS
from ..models.model_file import load_model
from ..mpi import Job, find_in_job, in_job, rank_of_job, summarise
from ..pipeline import find_run
from ..progress import Progress
from ..search import Summary
from ..sources import Source, Stream, is_stream
from ..writers import open_writer
from .find_report import as_record, check_json, report_lines, write_json
from .finder_options import add_finder, take_finder
from .monitor_option import add_monitor, watch
from .options import add_config, add_geometry, known_length, open_inputs, read_mask, take_config
from .program import Interrupted, add_command, catch_signals, one_line


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


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add what is written, and the options that say how."""
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT.cxi", help="CXI to write; .lst and .geom go beside it"
    )
    parser.add_argument("-n", "--limit", type=int, metavar="N", help="stop after so many events")
    parser.add_argument("--resume", action="store_true", help="go on with OUT.cxi.inprogress")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUT.cxi, its .lst and .geom, and what an earlier run left"
    )
    parser.add_argument("--json", metavar="FILE", help="write the summary as JSON as well; - for the standard output")
    add_monitor(parser)
    add_config(parser.add_argument_group("hits"), HitConfig)
    add_config(parser.add_argument_group("output"), OutputConfig)


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add what is read, and the options that say how."""
    parser.add_argument(
        "inputs", nargs="+", metavar="IN",
        help="HDF5, CXI, NXmx, .lst, CBF and other images, folders; an LCLS run: exp=mfx100,run=7[,dir=FOLDER]; or a "
        "stream: [FORMAT+]tcp://HOST:PORT",
    )  # fmt: skip
    add_geometry(parser)
    parser.add_argument("--detector", metavar="NAME", help="of an LCLS run; of a stream's channel, source or dataset")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="s", help="a stream is over after so long without a frame [60]"
    )


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


def check_options(parsed: argparse.Namespace) -> None:
    """Raise ValueError or FileNotFoundError for options that could only fail later."""
    if parsed.limit is not None and parsed.limit < 1:
        raise ValueError(f"--limit is {parsed.limit}, it should be at least 1")
    if parsed.json is not None:
        check_json(parsed.json)


@contextmanager
def writing(
    parsed: argparse.Namespace,
    source: Source,
    finder: PeakFinder,
    writer: Writer,
    total: int | None,
    stop: list[int],
) -> Iterator[tuple[Progress, Callable[[Summary], None], Watcher | None]]:
    """Show how a run goes while it is written; gives its progress, what is to be called after each event, and its monitor.

    stop : signals that end the run; what was written before it ended, for whatever reason, is said in the error.
    """
    progress = Progress(total, done=writer.events_done, hits=writer.n_hits)

    def on_event(summary: Summary) -> None:
        progress(summary)
        if stop:
            of_all = "" if total is None else f" of {total}"
            raise Interrupted(
                f"stopped after {writer.events_done}{of_all} events; {writer.n_hits} hits are in "
                f"{writer.unfinished}, which can be read; --resume goes on"
            )

    try:
        with progress, writer, watch(parsed, source, finder, writer.hits.min_peaks) as watcher:
            yield progress, on_event, watcher
    except (OSError, ValueError, RuntimeError) as error:
        if not writer.unfinished.exists():
            raise
        goes_on = "" if isinstance(source, Stream) else " (--resume goes on)"
        raise RuntimeError(f"{one_line(error)}; what was found before is in {writer.unfinished}{goes_on}") from error


def refuse_outputs(parsed: argparse.Namespace) -> None:
    """Refuse, before anything is read, an output that would replace something of the user's."""
    check_outputs(Path(parsed.output), _given_files(parsed), overwrite=parsed.overwrite, resume=parsed.resume)


def _given_files(parsed: argparse.Namespace) -> list[Path]:
    """The files that the command line names for reading."""
    mask = None if parsed.mask is None else parsed.mask.partition(":")[0]
    names = [*parsed.inputs, parsed.geometry, mask, parsed.learned]
    return [Path(name) for name in names if name is not None and Path(name).is_file()]


def make_writer(parsed: argparse.Namespace, path: Path, source: Source, resume: bool) -> Writer:
    """Writer of the options for a path."""
    return open_writer(
        path,
        source.detector,
        hits=take_config(HitConfig, parsed),
        output=take_config(OutputConfig, parsed),
        provenance=_provenance(parsed, source),
        resume=resume,
        overwrite=parsed.overwrite,
        read=[*_given_files(parsed), *source.files],
    )


def _find_in_job(parsed: argparse.Namespace) -> int:
    if parsed.limit is not None:
        raise ValueError("--limit is for one process; an LCLS run takes events=N")
    if parsed.json is not None:
        raise ValueError("--json is for one process; a job leaves a .summary beside its master file")
    if parsed.monitor is not None:
        raise ValueError("--monitor is for one process; peakrt report shows what a job has found")
    if is_stream(parsed.inputs):
        raise ValueError("a stream is read by one process, not by the ranks of a job: start peakrt find without mpirun")
    stop = catch_signals()
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
        open_source=lambda: open_inputs(parsed, stop),
        make_finder=lambda source: take_finder(parsed, source.detector),
        make_writer=lambda path, source, resume: make_writer(parsed, path, source, resume),
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


def _provenance(parsed: argparse.Namespace, source: Source) -> dict[str, Any]:
    """What decides the outcome of a run: a run is resumed only with the same, down to the files' sizes and times."""
    config = take_config(FINDERS[parsed.finder].config, parsed)
    found: dict[str, Any] = {
        "peakrt": version("peakrt"),
        "inputs": parsed.inputs,
        "input_files": _digest(json.dumps(list(fingerprints(source.files))).encode()),
        "geometry": parsed.geometry,
        "detector": _digest(format_geom(source.detector).encode()),
        "finder": parsed.finder,
        "options": asdict(config),
        "hits": asdict(take_config(HitConfig, parsed)),
        # A run that stopped at a bad event goes on with skip; neither this nor the time between flushes changes a row.
        "output": {
            k: v for k, v in asdict(take_config(OutputConfig, parsed)).items() if k not in ("on_bad_event", "flush_s")
        },
    }
    if parsed.mask is not None:
        found["mask"] = _digest(np.ascontiguousarray(read_mask(parsed.mask)).tobytes())
    if parsed.learned is not None:
        learned = read_learned(parsed.learned)
        found["learned"] = _digest(repr(learned.gain).encode() + learned.bad_pixels.tobytes())
    if hasattr(config, "model"):
        found["model"] = _digest(load_model(config.model, None).content)
    return found


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
