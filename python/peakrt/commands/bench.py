"""``peakrt bench``: measurements of this machine."""

from __future__ import annotations

import argparse
from typing import Any

from .program import add_command


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("bench", help="measure this machine")
    what = parser.add_subparsers(required=True, metavar="what")
    serve = add_command(
        what, "serve", _bench_serve, help="the node's server for 1 to 16 processes, against a finder in each"
    )
    serve.add_argument("detector", nargs="?", default="jungfrau1m", help="[jungfrau1m]")
    serve.add_argument("--finder", action="append", help="candidate or peakfinder8 [both]")
    serve.add_argument("--clients", type=int, nargs="+", help="processes [1 2 4 8 16]")


def _bench_serve(parsed: argparse.Namespace) -> int:
    from ..bench import CLIENTS, CONFIGS, bench_serve

    if parsed.clients and min(parsed.clients) < 1:
        raise ValueError("--clients needs at least 1")
    for line in bench_serve(parsed.detector, parsed.finder or list(CONFIGS), parsed.clients or list(CLIENTS)):
        print(line, flush=True)
    return 0
