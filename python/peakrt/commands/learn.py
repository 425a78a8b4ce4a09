"""``peakrt learn``: the gain and the bad pixels of a detector, beforehand."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from ..config import CandidateConfig
from ..cxi.learned_file import write_learned
from ..event import Event
from ..finder import ENGINES, PeakFinder
from ..sources import Source, is_stream
from .options import add_geometry, open_inputs, read_mask
from .program import add_command


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "learn", _learn, help="learn the gain and the bad pixels of a detector beforehand",
        usage="%(prog)s IN [IN ...] [-g GEOMETRY] -o DETECTOR.h5 [options]",
        description="Learn the gain and the bad pixels of a detector from the first events of a run. With the file, "
        "peakrt find --learned and jobs with PEAKRT_LEARNED learn nothing more: their peaks do not depend on the number of "
        "threads, ranks or servers.",
    )  # fmt: skip
    parser.add_argument("inputs", nargs="+", metavar="IN", help="what peakrt find takes")
    add_geometry(parser)
    parser.add_argument("--detector", metavar="NAME", help="of an LCLS run")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DETECTOR.h5", help="file to write")
    parser.add_argument("-n", "--limit", type=int, default=1000, metavar="N", help="learn from so many events [1000]")
    parser.add_argument("-j", "--threads", type=int, default=1, metavar="N", help="finder threads [1]")
    parser.add_argument("--mask", metavar="FILE[:PATH]", help="HDF5 or .npy mask, nonzero = good")
    parser.add_argument("--gain", type=float, metavar="ADU/photon", help="gain, where it is known")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="where the finder runs [auto]")


def _learn(parsed: argparse.Namespace) -> int:
    if parsed.limit < 1:
        raise ValueError(f"--limit is {parsed.limit}, it should be at least 1")
    if parsed.output.exists():
        raise FileExistsError(f"{parsed.output} exists: choose another name")
    if is_stream(parsed.inputs):
        raise ValueError("frames of a stream pass but once: learn from a file, or from the CXI of an earlier find")
    source = open_inputs(parsed, [])
    said = learn_from(parsed, source, islice(source.events(), parsed.limit), parsed.output, threads=parsed.threads)
    print(f"{said}\nwrote {parsed.output}")
    return 0


def learn_from(
    parsed: argparse.Namespace, source: Source, events: Iterable[Event], path: Path, *, threads: int = 1
) -> str:
    """Learn the gain and the bad pixels from events of a source, and write them to a file; returns what was learned.

    Raises ValueError where no event can be used.
    """
    mask = None if parsed.mask is None else read_mask(parsed.mask)
    finder = PeakFinder(CandidateConfig(gain=parsed.gain), geometry=source.detector, mask=mask, engine=parsed.engine)
    parsed.engine = finder.engine if finder.on_gpu() else "cpu"  # what auto has chosen, once for all that follows
    used, refused = 0, None
    for outcome in finder.outcomes(((event.frame, event.mask) for event in events), threads=threads):
        if isinstance(outcome, ValueError):
            refused = refused or outcome
        else:
            used += 1
    if not used:
        raise refused or ValueError("there are no events to learn from")
    state, width = finder.learned_state(), source.detector.shape[-1]
    write_learned(path, state, width, {"inputs": parsed.inputs, "events": used, "peakrt": version("peakrt")})
    gain = "the gain is not known: give it with --gain" if state.gain is None else f"gain {state.gain:.4g} ADU a photon"
    return f"{used} events: {gain}; {len(state.bad_pixels(width))} bad pixels"
