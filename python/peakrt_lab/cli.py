"""The program ``peakrt-lab``: its commands are the modules of ``peakrt_lab/commands``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from peakrt.commands.program import Parser, run_program

from .commands import adapt, calibrate, compare, evaluate, fit, improve, report, simulate, spi, train, tune

#: In the order of the help.
COMMANDS = (
    simulate,
    compare,
    fit,
    evaluate,
    calibrate,
    train,
    tune,
    report,
    adapt,
    improve,
    spi,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``peakrt-lab`` and return its exit status."""
    return run_program(build_parser(), arguments)


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = Parser(prog="peakrt-lab", description="Simulate, train, compare and evaluate.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
