"""``peakrt-lab tune``: options of peakfinder8 for a simulated run."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from peakrt.commands.options import load_geometry, option_name
from peakrt.commands.program import add_command
from peakrt.extras import need
from peakrt.sources import open_source

from ..compare import truth_sets
from ..tune import GRIDS, tune


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "tune", _tune, help="tune peakfinder8 or v3r3 on a simulated run, knowing its truth")
    parser.add_argument("input", type=Path, metavar="RUN.cxi")
    parser.add_argument("-g", "--geometry", help="otherwise the .geom beside the run")
    parser.add_argument("--finder", choices=sorted(GRIDS), default="peakfinder8", help="[peakfinder8]")
    parser.add_argument("-n", "--events", type=int, default=10, help="events to tune on [10]")


def _tune(parsed: argparse.Namespace) -> int:
    need("peakrt-lab tune", "lab", "scipy")
    detector = load_geometry(parsed.geometry or str(parsed.input.with_suffix(".geom")))
    events = list(islice(open_source([str(parsed.input)], detector).events(), parsed.events))
    truth = truth_sets(parsed.input, detector)
    config, reached = tune(
        parsed.finder, events, {k: truth[k] for k in range(len(events))}, detector, gain=detector.photon_gain or 1.0
    )
    options = " ".join(f"{option_name(name)} {value:g}" for name, value in asdict(config).items() if value is not None)
    print("\n".join(reached.lines()))
    print(f"peakrt find {parsed.input} --finder {parsed.finder} {options}")
    return 0
