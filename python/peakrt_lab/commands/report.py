"""``peakrt-lab report``: every finder on simulated runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from peakrt.commands.program import add_command
from peakrt.extras import need

from ..dials import dials_python
from ..report import Row, as_html, as_markdown, judge_run, mean_f1
from ..truth import Truth
from .train import need_training


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "report", _report, help="evaluate every finder on simulated runs: a .md and an .html with plots"
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="RUN.cxi", help="with truth, a .geom beside each")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="REPORT", help="REPORT.md and REPORT.html")
    parser.add_argument("--title", default="Finders on simulated runs")
    parser.add_argument("-j", "--processes", type=int, default=1, help="runs evaluated side by side [1]")
    parser.add_argument(
        "--work",
        type=Path,
        nargs="+",
        default=(),
        metavar="WORK",
        help="work folders of train: evaluate what they hold too",
    )
    parser.add_argument("--dials", action="store_true", help="ask DIALS too, which is on PATH")


def _judge_one(path: Path, work: Sequence[Path], dials: bool) -> list[Row]:
    """All finders on one run, in a process of its own."""
    from ..rivals import find_rivals

    rivals = find_rivals(work)
    return judge_run(path, say=lambda text: print(text, file=sys.stderr), rivals=rivals, dials=dials)


def _report(parsed: argparse.Namespace) -> int:
    need("peakrt-lab report", "lab", "scipy", "matplotlib")
    if not parsed.output.parent.is_dir():
        raise FileNotFoundError(f"folder {parsed.output.parent} does not exist")
    for path in parsed.inputs:
        Truth(path)  # before the first of them takes its time
    if parsed.work:
        need_training()
    if parsed.dials:
        dials_python()
    with ProcessPoolExecutor(max(1, parsed.processes)) as pool:
        parts = pool.map(partial(_judge_one, work=parsed.work, dials=parsed.dials), parsed.inputs)
        rows = [row for part in parts for row in part]
    parsed.output.with_suffix(".md").write_text(as_markdown(rows, title=parsed.title), encoding="utf-8")
    parsed.output.with_suffix(".html").write_text(as_html(rows, title=parsed.title), encoding="utf-8")
    for name, value in mean_f1(rows).items():
        print(f"{name:28} mean F1 {value:.3f}")
    print(f"wrote {parsed.output.with_suffix('.md')} and {parsed.output.with_suffix('.html')}")
    return 0
