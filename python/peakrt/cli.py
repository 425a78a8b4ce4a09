"""The program ``peakrt``: its commands are the modules of ``peakrt/commands``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from .commands import bench, broker, engine, find, info, learn, live, report, run, screen, serve, view, worker
from .commands.program import Parser, run_program

#: In the order of the help.
COMMANDS = (
    find,
    run,
    worker,
    live,
    learn,
    view,
    info,
    report,
    screen,
    serve,
    broker,
    engine,
    bench,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``peakrt`` and return its exit status."""
    try:
        return run_program(build_parser(), arguments)
    except KeyboardInterrupt:  # before the command began
        print("\npeakrt: interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = Parser(prog="peakrt", description="Bragg peaks from X-ray detector frames.")
    parser.add_argument("--version", action="version", version=f"peakrt {version('peakrt')}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
