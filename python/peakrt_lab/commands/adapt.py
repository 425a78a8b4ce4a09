"""``peakrt-lab adapt``: a model fine-tuned on one experiment's frames."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from peakrt.commands.options import add_geometry, load_geometry, override
from peakrt.commands.program import add_command
from peakrt.extras import to_install
from peakrt.models.model_file import load_model
from peakrt.sources import open_source

from ..compare import stream_patterns
from .train import need_training


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "adapt", _adapt, help=f"fine-tune the network on frames that indexed: {to_install('train')}"
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help="the frames, as peakrt find takes them")
    add_geometry(parser)
    parser.add_argument(
        "--stream",
        required=True,
        type=Path,
        help="CrystFEL stream of these frames, or .jsonl of evaluate --indexer dials --keep",
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="MODEL.onnx")
    parser.add_argument("--model", default="default", help="to start from [default]")
    parser.add_argument("--gain", type=float, help="ADU a photon; otherwise the geometry's")


def _adapt(parsed: argparse.Namespace) -> int:
    need_training()
    from ..adapt import adapt, label_patterns, open_network

    if parsed.output.suffix != ".onnx" or not parsed.output.parent.is_dir():
        raise ValueError(f"{parsed.output}: a model's name ends in .onnx, in a folder that exists")
    model = load_model(parsed.model)
    source = open_source(parsed.inputs, None if parsed.geometry is None else load_geometry(parsed.geometry))
    detector = override(source.detector, parsed)
    gain = parsed.gain or detector.photon_gain
    if gain is None:
        raise ValueError("the geometry has no gain (adu_per_photon or adu_per_eV): give it with --gain")
    patterns = stream_patterns(parsed.stream, detector)
    network = open_network(model)
    data = label_patterns(source.events(), patterns, detector, network, gain=gain, threshold=model.threshold)
    outcome = adapt(model, data, parsed.output)
    print("\n".join(outcome.lines()))
    print(f"wrote {parsed.output}: peakrt find --model {parsed.output}")
    return 0
