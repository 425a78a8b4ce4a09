"""``peakrt-lab compare``: two sets of peaks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from peakrt.commands.options import add_geometry, load_geometry
from peakrt.commands.program import add_command
from peakrt.extras import need
from peakrt.finder import PeakFinder
from peakrt.finders.registry import FINDERS
from peakrt.sources import open_source

from ..compare import PeakSets, compare, cxi_sets, finder_sets, stream_sets, truth_sets
from ..truth import Truth


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands,
        "compare",
        _compare,
        help="compare two peak sets",
        description="A set is FILE.cxi, FILE.stream, FILE.jsonl (of evaluate --indexer dials), or one of these with a suffix: :truth (of a simulated run), "
        ":predictions (of a stream's crystals), :peakfinder8 or :v3r3 (what that finder gives for FILE's frames).",
    )
    parser.add_argument("reference", help="the truth, or what to measure against")
    parser.add_argument("found")
    add_geometry(parser)
    parser.add_argument(
        "--distance",
        type=float,
        default=3.0,
        help="farthest that two peaks may be apart to match, pixels [3]",
    )
    parser.add_argument("--min-snr", type=float, default=0.0, help="reference peaks below need not be found [0]")


def _peak_sets(text: str, parsed: argparse.Namespace) -> PeakSets:
    path, _, kind = (
        text.rpartition(":") if text.rsplit(":", 1)[-1] in ("truth", "predictions", *FINDERS) else (text, "", "")
    )
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist")
    beside = Path(path).with_suffix(".geom")
    chosen = parsed.geometry or (str(beside) if beside.exists() else None)
    detector = None if chosen is None else load_geometry(chosen)
    if kind == "truth":
        if detector is None:
            raise ValueError(f"{text} needs its geometry: -g")
        return truth_sets(path, detector)
    if kind in FINDERS:
        source = open_source([path], detector)
        return finder_sets(source.events(), PeakFinder(FINDERS[kind].config(), geometry=source.detector))
    if path.endswith((".stream", ".jsonl")) or kind == "predictions":
        return stream_sets(path, detector, predictions=kind == "predictions")
    return cxi_sets(path)


def _compare(parsed: argparse.Namespace) -> int:
    need("peakrt-lab compare", "lab", "scipy")
    if parsed.distance <= 0:
        raise ValueError("--distance should be above 0 pixels")
    reference, found = _peak_sets(parsed.reference, parsed), _peak_sets(parsed.found, parsed)
    blank = None
    if parsed.reference.endswith(":truth"):
        hit = Truth(parsed.reference.removesuffix(":truth")).hit
        blank = lambda event: not hit[event]  # noqa: E731
    agreement = compare(reference, found, distance=parsed.distance, min_snr=parsed.min_snr, blank=blank)
    print("\n".join(agreement.lines()))
    return 0
