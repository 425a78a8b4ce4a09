"""``peakrt live``: peaks, hits and crystals of a run while it is measured."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import HitConfig, OutputConfig
from ..contracts import Source, Stream, Watcher, Writer
from ..cxi.indexing import index_command
from ..cxi.outputs import companion_paths
from ..extras import need
from ..mpi import in_job
from ..pipeline import find_run
from ..progress import Progress
from ..search import Summary
from ..sources import is_stream
from .broker import add_indexing, check_indexing
from .find_report import as_record, check_json, report_lines, write_json
from .finder_options import add_finder, take_finder
from .monitor_option import add_monitor, watch
from .options import add_config, add_inputs, known_length, open_inputs, take_config
from .program import add_command, catch_signals, one_line
from .writing import make_writer, refuse_outputs

if TYPE_CHECKING:
    from ..live.finder_process import FinderProcess
    from ..live.hits import Hit
    from ..live.launcher import Indexing

log = logging.getLogger("peakrt")

#: Seconds between the numbers that a watcher is told.
STATE_S = 1.0


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "live", _live, help="find peaks while frames come, and index the hits with indexamajig",
        usage="%(prog)s IN [IN ...] [-g GEOMETRY] [-p CELL] [options] [-- options of indexamajig]",
        description="Find the peaks of frames as they come from a stream (or of files, as a rehearsal), write the hits into a "
        "CXI, and index them with indexamajig at the same time. What follows -- is passed to indexamajig.",
    )  # fmt: skip
    parser.takes_rest = True
    add_inputs(parser)
    parser.add_argument(
        "-o", "--output", default="live.cxi", metavar="OUT.cxi",
        help="CXI of the hits; OUT.stream and the others go beside it [live.cxi]",
    )  # fmt: skip
    parser.add_argument("-j", "--threads", type=int, default=1, metavar="N", help="finder threads [1]")
    parser.add_argument("-n", "--limit", type=int, metavar="N", help="stop after so many events")
    parser.add_argument(
        "--rate", type=float, metavar="HZ", help="events a second at which files are played [all speed]"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.cxi, OUT.stream and what goes with them")
    parser.add_argument("--json", metavar="FILE", help="write the summary as JSON as well; - for the standard output")
    add_monitor(parser)
    parser.add_argument("--no-indexing", action="store_true", help="find peaks alone")
    parser.add_argument(
        "--workers", metavar="ADDRESS", help="where the workers of an indexamajig ask that you start yourself, tcp://HOST:PORT; "
        "its command is printed [one of its own]",
    )  # fmt: skip
    parser.set_defaults(resume=False)
    add_indexing(parser)
    add_config(parser.add_argument_group("hits"), HitConfig)
    add_config(parser.add_argument_group("output"), OutputConfig)
    add_finder(parser)


@dataclass
class _Outcome:
    """What a run has come to. handed : hits that went to the broker; state : the broker's last; unindexed : lines of OUT.lst"""

    summary: Summary
    hits: int
    handed: int
    state: dict[str, Any]
    restarts: int
    finder_deaths: int
    unindexed: list[str]


def _live(parsed: argparse.Namespace) -> int:
    need("peakrt live", "live", "zmq", "msgpack")
    if in_job():
        raise ValueError("a live run is one process on one machine: start peakrt live without mpirun")
    if parsed.limit is not None and parsed.limit < 1:
        raise ValueError(f"--limit is {parsed.limit}, it should be at least 1")
    if parsed.json is not None:
        check_json(parsed.json)
    check_indexing(parsed)
    parsed.output = str(Path(parsed.output))
    refuse_outputs(parsed)
    stream = Path(parsed.output).with_suffix(".stream")
    _refuse_stream(stream, parsed.overwrite)
    stop = catch_signals(times=2)
    source = _open(parsed, stop)
    local = take_finder(parsed, source.detector)
    local.on_gpu()  # says what auto has chosen before the run begins
    with ExitStack() as stack:
        from ..live.finder_process import FinderProcess

        finder = stack.enter_context(FinderProcess(local, parsed.threads))
        watcher = stack.enter_context(
            watch(parsed, source, local, take_config(HitConfig, parsed).min_peaks, parsed.cell)
        )
        indexing = _start_indexing(parsed, source, stream, stop, local.gain, watcher)
        if indexing is not None:
            stack.enter_context(indexing)
            indexing.wait_until_ready(lambda: bool(stop))
        writer = make_writer(parsed, Path(parsed.output), source, False)
        return _run(parsed, source, finder, writer, indexing, stop, watcher)


def _open(parsed: argparse.Namespace, stop: list[int]) -> Source:
    """The source: a stream, or files that are played as one."""
    from ..live.rehearsal import Rehearsal

    if is_stream(parsed.inputs):
        if parsed.rate is not None:
            raise ValueError("--rate is for files: a stream comes as fast as it is sent")
        return open_inputs(parsed, stop)
    return Rehearsal(open_inputs(parsed, stop), parsed.rate, lambda: bool(stop))


def _refuse_stream(stream: Path, overwrite: bool) -> None:
    """Raise FileExistsError for a stream that would be replaced; remove what an earlier run left, where it may be."""
    from ..live.indexing import parts_of

    there = [path for path in (stream, *parts_of(stream), _unindexed_path(stream)) if path.exists()]
    if there and not overwrite:
        raise FileExistsError(f"{there[0]} exists: choose another -o, or replace it with --overwrite")
    for path in there:
        path.unlink()


def _unindexed_path(output: Path) -> Path:
    return output.with_suffix(".unindexed.lst")


def _start_indexing(
    parsed: argparse.Namespace,
    source: Source,
    stream: Path,
    stop: list[int],
    gain: float | None,
    watcher: Watcher | None,
) -> Indexing | None:
    """Start the broker and, through it, indexamajig; None where nothing is to be indexed."""
    from ..live.launcher import Indexing

    if parsed.no_indexing:
        return None
    if parsed.workers is None and shutil.which("indexamajig") is None:
        log.warning("there is no indexamajig on PATH, so peaks are found and nothing is indexed: install CrystFEL")
        return None
    detector = source.detector
    for_index = detector if gain is None or detector.photon_gain is not None else replace(detector, adu_per_photon=gain)
    policy = parsed.when_full or ("drop-oldest" if is_stream(parsed.inputs) else "block")
    workers = parsed.indexers or max(1, (os.cpu_count() or 1) - parsed.threads)
    options = ["--memory", str(parsed.memory), "--when-full", policy, "--indexers", str(workers)]
    options += [] if parsed.cell is None else ["-p", parsed.cell]
    options += [] if parsed.workers is None else ["--workers", parsed.workers]
    options += ["--log-level", parsed.log_level, "--", *parsed.rest]
    is_ours = parsed.workers is None
    return Indexing(for_index, stream, options, wanted=lambda: len(stop) < 2, watcher=watcher, is_ours=is_ours)


def _run(
    parsed: argparse.Namespace, source: Source, finder: FinderProcess, writer: Writer, indexing: Indexing | None,
    stop: list[int], watcher: Watcher | None,
) -> int:  # fmt: skip
    from ..live.handing import Hander
    from ..live.hits import Beam
    from ..live.indexing import parts_of

    total = min((n for n in (known_length(source), parsed.limit) if n is not None), default=None)
    progress = Progress(total, more=lambda: _line(indexing))
    hand = None if indexing is None else Hander(indexing.send, Beam.of(source.detector), writer.hits.max_peaks)
    told = time.monotonic()

    def show(summary: Summary) -> None:
        nonlocal told
        progress(summary)
        if watcher is not None and time.monotonic() - told > STATE_S:
            told = time.monotonic()
            watcher.state(_numbers(finder, indexing))

    failure: Exception | None = None
    with progress:
        try:
            with writer:
                summary = find_run(
                    source, finder, writer, threads=parsed.threads, limit=parsed.limit, on_event=show, watcher=watcher,
                    on_hit=hand,
                )  # fmt: skip
        except (OSError, ValueError, RuntimeError, MemoryError) as error:  # what was handed out is indexed first
            failure, summary = error, Summary()
        state: dict[str, Any] = {}
        if indexing is not None:
            again = partial(_lost_hits, parsed, source, writer, indexing)
            try:
                state = indexing.finish(lambda: len(stop) > 1, progress.say, again if failure is None else list)
            except OSError as error:  # the stream's parts cannot be joined
                failure = failure or error
    handed = 0 if hand is None else hand.hits
    missing = [] if indexing is None else _write_unindexed(parsed, indexing, state, handed)
    outcome = _Outcome(
        summary, writer.n_hits, handed, state, 0 if indexing is None else indexing.restarts, finder.deaths, missing
    )
    if failure is not None:
        parts = [] if indexing is None else parts_of(indexing.stream)
        there = [str(path) for path in (writer.unfinished, *parts) if path.exists()]
        kept = f"; what was there before is in {' and '.join(there)}" if there else ""
        raise RuntimeError(f"{one_line(failure)}{kept}") from failure
    report = report_lines(summary, writer, progress.peaks_per_hit(summary))
    if indexing is not None:  # how to index the CXI is of no interest then
        report = [line.removesuffix("; to index:") for line in report[: 1 + _first(report, "; to index:")]]
    lines = [
        *(source.report() if isinstance(source, Stream) else []),
        *report,
        *_index_report(parsed, outcome, indexing),
    ]
    print("\n".join(lines), file=sys.stderr if parsed.json == "-" else sys.stdout)
    if parsed.json is not None:
        record = as_record(summary, writer, finder, progress.peaks_per_hit(summary))
        if isinstance(source, Stream):
            record["stream"] = source.as_record()
        write_json(parsed.json, {**record, "indexing": _index_record(outcome, indexing)})
    return 0


def _lost_hits(parsed: argparse.Namespace, source: Source, writer: Writer, indexing: Indexing) -> Iterable[Hit]:
    """The hits of the finished CXI that have no chunk."""
    from ..live.again import hits_of_cxi
    from ..live.hits import Beam

    missing = (number for number in range(1, writer.n_hits + 1) if number not in indexing.done)
    detector = source.detector
    return hits_of_cxi(Path(parsed.output), missing, detector.shape, Beam.of(detector))


def _numbers(finder: FinderProcess, indexing: Indexing | None) -> dict[str, float | str]:
    """The numbers of the run's processes, by the names that a watcher shows them under."""
    if indexing is None:
        return {"finder_restarts": finder.deaths}
    names = ("waiting", "out", "done", "dropped", "given_up", "workers_lost", "memory_bytes")
    told = {f"indexing_{name}": float(indexing.state.get(name, 0)) for name in names}
    return {"finder_restarts": finder.deaths, "broker_restarts": indexing.restarts, **told}


def _line(indexing: Indexing | None) -> str:
    """What the line of state says of the indexing."""
    if indexing is None:
        return ""
    if indexing.has_failed:
        return "nothing is indexed"
    state = indexing.state
    done, waiting = state.get("done", 0), state.get("waiting", 0) + state.get("out", 0)
    lost = state.get("dropped", 0) + state.get("given_up", 0)
    return f"{state.get('indexed', 0)} of {done} indexed, {waiting} wait, {lost} lost"


def _write_unindexed(parsed: argparse.Namespace, indexing: Indexing, state: dict[str, Any], hits: int) -> list[str]:
    """Write the list of the hits that are not in the stream; returns its lines."""
    from ..live.launcher import unindexed

    if state.get("done") == hits:
        return []
    numbers = unindexed(indexing.stream, hits)
    listed = companion_paths(Path(parsed.output))[0]
    if not numbers or not listed.exists():
        return [f"hit {number}" for number in numbers]
    lines = listed.read_text(encoding="utf-8").splitlines()
    missing = [lines[number - 1] for number in numbers if number <= len(lines)]
    _unindexed_path(indexing.stream).write_text("".join(f"{line}\n" for line in missing), encoding="utf-8")
    return missing


def _index_report(parsed: argparse.Namespace, outcome: _Outcome, indexing: Indexing | None) -> list[str]:
    if indexing is None:
        return []
    state = outcome.state
    done, indexed = state.get("done", 0), state.get("indexed", 0)
    lines = [
        f"indexed live: {indexed} of {done} hits ({indexed / max(1, done):.1%}), {state.get('crystals', 0)} crystals; "
        f"{indexed / max(1, outcome.summary.events):.1%} of the events",
        f"wrote {indexing.stream}; what indexamajig said is in {indexing.stream}.log"
        if indexing.stream.exists()
        else f"wrote no {indexing.stream}; what indexamajig said is in {indexing.stream}.log",
    ]
    if state.get("workers_lost") or outcome.restarts or outcome.finder_deaths:
        lines.append(
            f"{state.get('workers_lost', 0)} workers of indexamajig, {outcome.restarts} brokers and {outcome.finder_deaths} "
            "finders died and were replaced"
        )
    if outcome.unindexed:
        lines.append(f"{len(outcome.unindexed)} hits are not in the stream ({_why_missing(outcome)})")
        path = _unindexed_path(indexing.stream)
        if path.exists():
            images = take_config(OutputConfig, parsed).images
            lines += [f"wrote {path}; to index them:", "", f"  {index_command(Path(parsed.output), images, path)}"]
    return lines


def _first(lines: list[str], ending: str) -> int:
    """Number of the first line that ends so, else of the last."""
    return next((number for number, line in enumerate(lines) if line.endswith(ending)), len(lines) - 1)


def _why_missing(outcome: _Outcome) -> str:
    state = outcome.state
    reasons = {
        "dropped for want of memory": state.get("dropped", 0), "given up after three workers died over each": state.get("given_up", 0),
        "refused": state.get("refused", 0),
    }  # fmt: skip
    told = [f"{count} {what}" for what, count in reasons.items() if count]
    rest = len(outcome.unindexed) - sum(reasons.values())
    why = "lost with the broker or left at the end" if outcome.restarts else "left at the end"
    return ", ".join([*told, *([f"{rest} {why}"] if rest > 0 else [])])


def _index_record(outcome: _Outcome, indexing: Indexing | None) -> dict[str, Any] | None:
    if indexing is None:
        return None
    return {
        "stream": str(indexing.stream),
        "handed": outcome.handed,
        "not_in_the_stream": len(outcome.unindexed),
        "broker_restarts": outcome.restarts,
        "finder_deaths": outcome.finder_deaths,
        **json.loads(json.dumps(outcome.state)),
    }
