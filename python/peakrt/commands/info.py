"""``peakrt info``: what a file is."""

from __future__ import annotations

import argparse
from typing import Any

from ..info import describe_input
from .options import add_geometry, override, take_geometry
from .program import add_command


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "info", _info, help="say what a file is")
    parser.add_argument("inputs", nargs="+", metavar="IN", help="geometry, HDF5, CXI, .lst, image or folder")
    add_geometry(parser)


def _info(parsed: argparse.Namespace) -> int:
    detector = take_geometry(parsed)
    for path in parsed.inputs:
        for line in describe_input(path, None if detector is None else override(detector, parsed)):
            print(line)
    return 0
