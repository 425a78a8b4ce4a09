"""``peakrt-lab improve``: rounds of finding, indexing, labelling and retraining on an experiment's own frames."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

from peakrt.commands.options import add_geometry, load_geometry, override
from peakrt.commands.program import add_command
from peakrt.config import HitConfig
from peakrt.extras import to_install
from peakrt.monitor.cell_file import read_cell
from peakrt.sources import open_source

from .. import dials
from ..evaluate import INDEXERS
from .train import need_training


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "improve", _improve,
        help=f"find, index, retrain and compare in rounds, until it brings nothing: {to_install('train')}",
        description="The data engine: find the peaks of a run, index them, take labels from what indexed, retrain the model, and "
        "keep it if it is better on the third of the frames that never taught; then again with the new model. The same "
        "command goes on where an earlier one was stopped.",
    )  # fmt: skip
    parser.add_argument("inputs", nargs="+", metavar="IN", help="the frames, as peakrt find takes files")
    add_geometry(parser)
    parser.add_argument("-p", "--cell", required=True, type=Path, help="CrystFEL unit cell file")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="FOLDER",
        help="of everything; the best model is model.onnx in it",
    )
    parser.add_argument("--rounds", type=int, default=2, help="most rounds [2]")
    parser.add_argument("--model", default="default", help="to start from [default]")
    parser.add_argument("--gain", type=float, help="ADU a photon; otherwise the geometry's, or learned from the frames")
    parser.add_argument("--indexer", choices=INDEXERS, help="[crystfel where indexamajig is on PATH, else dials]")
    parser.add_argument("--min-peaks", type=int, default=HitConfig().min_peaks, help="least peaks of a hit [15]")
    parser.add_argument("-j", "--processes", type=int, default=os.cpu_count() or 1)


def _improve(parsed: argparse.Namespace) -> int:
    need_training()
    from ..improve import ImproveConfig, Improvement
    from ..improve_summary import write_summary

    if parsed.rounds < 1:
        raise ValueError(f"--rounds is {parsed.rounds}, it should be at least 1")
    if parsed.gain is not None and not 0 < parsed.gain < float("inf"):
        raise ValueError(f"--gain is {parsed.gain} ADU a photon, it should be above 0")
    if not parsed.output.parent.is_dir():
        raise FileNotFoundError(f"folder {parsed.output.parent} does not exist")
    if parsed.output.exists() and not parsed.output.is_dir():
        raise FileExistsError(f"{parsed.output} is a file: -o names a folder")
    if not parsed.cell.is_file():
        raise FileNotFoundError(f"{parsed.cell} does not exist")
    indexer = parsed.indexer or ("crystfel" if shutil.which("indexamajig") else "dials")
    (read_cell if indexer == "crystfel" else dials.read_cell)(parsed.cell)  # before anything is found
    source = open_source(parsed.inputs, None if parsed.geometry is None else load_geometry(parsed.geometry))
    source.detector = override(source.detector, parsed)
    config = ImproveConfig(
        cell=parsed.cell, indexer=indexer, model=parsed.model, gain=parsed.gain, rounds=parsed.rounds, min_peaks=parsed.min_peaks
    )  # fmt: skip
    with Improvement(
        source, parsed.output, config, processes=parsed.processes, say=lambda text: print(text, flush=True)
    ) as improvement:
        reports = improvement.run()
        print("\n".join(write_summary(improvement, reports)))
    if any(report["kept"] for report in reports):
        best = parsed.output / "model.onnx"
        print(f"wrote {best}: peakrt find --model {best}")
    else:
        print(f"nothing better than the model {parsed.model} was found: keep it")
    return 0
