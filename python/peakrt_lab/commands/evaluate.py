"""``peakrt-lab evaluate``: how much of a run indexes."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from peakrt.commands.program import add_command
from peakrt.config import HitConfig

from ..evaluate import INDEXERS, IndexingResult, read_result
from ..truth import Truth


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "evaluate", _evaluate, help="index the peaks of a CXI and count")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="IN",
        help="CXI files of peakrt find; or streams, or results, that are there already",
    )
    parser.add_argument("--indexer", default="crystfel", choices=INDEXERS, help="[crystfel: indexamajig]")
    parser.add_argument("-g", "--geometry", help="CrystFEL geometry; otherwise the .geom beside each CXI")
    parser.add_argument("-p", "--cell", type=Path, help="CrystFEL unit cell file")
    parser.add_argument("--truth", help="simulated run: orientation error and false hits are counted against it")
    parser.add_argument("--frames", type=int, help="frames of the whole run, where the input holds only hits")
    parser.add_argument("--min-peaks", type=int, default=HitConfig().min_peaks, help="least peaks of a hit [15]")
    parser.add_argument("-j", "--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the streams (of DIALS: results, .jsonl) there"
    )


def _evaluate(parsed: argparse.Namespace) -> int:
    truth = None if parsed.truth is None else Truth(parsed.truth)
    if parsed.keep is not None and not parsed.keep.is_dir():
        raise FileNotFoundError(f"folder {parsed.keep} does not exist")
    for text in parsed.inputs:
        path = Path(text)
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        print(f"{path}")
        print("\n".join("  " + line for line in _evaluate_one(path, parsed, truth).lines()))
    return 0


def _evaluate_one(path: Path, parsed: argparse.Namespace, truth: Truth | None) -> IndexingResult:
    count = {"frames": parsed.frames, "min_peaks": parsed.min_peaks, "truth": truth}
    if path.suffix in (".stream", ".jsonl"):
        return read_result(path, **count)
    geometry = Path(parsed.geometry) if parsed.geometry else path.with_suffix(".geom")
    if not geometry.exists():
        raise FileNotFoundError(f"{geometry} does not exist: give the geometry with -g")
    index, suffix = INDEXERS[parsed.indexer]
    with tempfile.TemporaryDirectory(prefix="peakrt-") as scratch:
        out = (parsed.keep or Path(scratch)) / path.with_suffix(suffix).name
        index(path, geometry, out, cell=parsed.cell, processes=parsed.processes, min_peaks=parsed.min_peaks)
        return read_result(out, **count)
