"""``peakrt broker``: takes hits and hands them to indexamajig's workers; ``peakrt live`` starts it."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peakrt_geometry import write_geom

from ..extras import need
from ..signals import STOP, leave_to_the_run
from .options import load_geometry
from .program import add_command, one_line

if TYPE_CHECKING:
    from ..live.indexing import Indexer

log = logging.getLogger("peakrt")


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "broker", _broker, help="hand hits to indexamajig's workers; peakrt live starts it itself",
        usage="%(prog)s --hits ADDRESS --status ADDRESS --stream OUT.stream [options] [-- options of indexamajig]",
        description="Take hits from finders, hand them to the workers of indexamajig, and keep each until it is in the stream.",
    )  # fmt: skip
    parser.takes_rest = True
    parser.add_argument(
        "--hits", required=True, metavar="ADDRESS", help="where hits come: ipc://PATH or tcp://127.0.0.1:PORT"
    )
    parser.add_argument(
        "--status", required=True, metavar="ADDRESS", help="where the state is told to whoever asks (JSON)"
    )
    parser.add_argument(
        "--workers",
        metavar="ADDRESS",
        help="where the workers of an indexamajig ask that somebody else starts, tcp://HOST:PORT [its own indexamajig's]",
    )
    parser.add_argument("--stream", required=True, type=Path, metavar="OUT.stream", help="stream of the run")
    parser.add_argument(
        "-g",
        "--geometry",
        help="of the detector, for indexamajig; with --workers the command that starts it is printed",
    )
    parser.add_argument(
        "--with-parent", action="store_true", help="end when the standard input ends and all is indexed"
    )
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)  # of brokers that died before it
    add_indexing(parser)


def add_indexing(parser: Any) -> None:
    """Add the options of indexing, which ``peakrt live`` has as well."""
    parser.add_argument("-p", "--cell", metavar="CELL", help="unit cell for indexamajig")
    parser.add_argument("--indexers", type=int, metavar="N", help="workers of indexamajig [all cores but the finder's]")
    parser.add_argument(
        "--memory", type=int, default=2048, metavar="MiB", help="of the hits that wait to be indexed [2048]"
    )
    parser.add_argument(
        "--when-full", choices=("block", "drop-oldest"), help="what if they fill it: let the finder wait, or leave out the "
        "oldest, which are in the CXI still [block for files, drop-oldest for streams]",
    )  # fmt: skip


def check_indexing(parsed: argparse.Namespace) -> None:
    """Raise ValueError or FileNotFoundError for options of indexing that make no sense."""
    from ..live.indexing import check_options

    for name, least in (("memory", 1), ("indexers", 1)):
        value = getattr(parsed, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} is {value}, it should be at least {least}")
    if parsed.cell is not None and not Path(parsed.cell).is_file():
        raise FileNotFoundError(f"cell {parsed.cell} does not exist")
    check_options(parsed.rest)


def _broker(parsed: argparse.Namespace) -> int:
    need("peakrt broker", "live", "zmq", "msgpack")
    from ..live.broker import Broker, end_for
    from ..live.waiting import HitQueue

    check_indexing(parsed)
    if parsed.geometry is None and parsed.workers is None:
        raise ValueError(
            "give -g, the geometry for indexamajig, or --workers, where workers that others start will ask"
        )
    stop: list[int] = []
    if parsed.with_parent:
        leave_to_the_run()
    else:
        for number in STOP:
            signal.signal(number, lambda number, _: stop.append(number))
    queue = HitQueue(parsed.memory << 20, parsed.when_full or "block")
    state: dict[str, Any] = {}
    try:
        with Broker(
            queue, hits=parsed.hits, status=parsed.status, workers=parsed.workers, stream=parsed.stream,
            indexer=_indexer(parsed), parent=sys.stdin.fileno() if parsed.with_parent else None,
            end=end_for(parsed.number), ended=lambda: bool(stop),
        ) as broker:  # fmt: skip
            try:
                state = broker.run()
            except BaseException:
                state = broker.state()
                raise
    except (OSError, ValueError, RuntimeError) as error:
        if not parsed.with_parent:
            raise
        state["error"] = one_line(error)  # the parent says it
    print(json.dumps(state))
    return int("error" in state)


def _indexer(parsed: argparse.Namespace) -> Indexer | None:
    """How to start indexamajig, None where somebody else does; its geometry is written beside the stream."""
    from ..live.hits import live_geometry
    from ..live.indexing import Indexer

    if parsed.geometry is None:
        return None
    geometry = parsed.stream.with_name(parsed.stream.name + ".geom")
    comment = "Of the frames that indexamajig gets from PeakRT's broker; those of the CXI have another."
    write_geom(live_geometry(load_geometry(parsed.geometry)), geometry, comment=comment)
    cell = () if parsed.cell is None else ("-p", str(Path(parsed.cell).absolute()))
    workers = parsed.indexers or os.cpu_count() or 1
    indexer = Indexer(geometry, parsed.stream, workers, (*cell, *parsed.rest))
    if parsed.workers is None:
        return indexer
    log.warning("broker: hits are given to this indexamajig: %s", shlex.join(indexer.command(parsed.workers, 1)))
    return None
