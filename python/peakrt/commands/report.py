"""``peakrt report``: what a run was like, as one file for a browser."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .find_report import check_json, write_json
from .options import add_geometry, geometry_of_peaks, override
from .program import add_command


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "report", _report, help="a run's hit rate, powders, cells and verdict as one HTML file",
        usage="%(prog)s OUT.cxi [OUT.stream] [-o report.html] [options]",
    )  # fmt: skip
    parser.add_argument("cxi", type=Path, metavar="OUT.cxi", help="what peakrt find wrote, of one process or of a job")
    parser.add_argument("stream", type=Path, nargs="?", metavar="OUT.stream", help="what indexamajig made of it")
    add_geometry(parser)
    parser.add_argument(
        "-p", "--cell", type=Path, metavar="CELL", help="the cell that the crystals should have: CrystFEL's, or a PDB"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="REPORT.html", help="file to write [OUT.report.html]")
    parser.add_argument("--title", default="", help="of the page [the CXI's name]")
    parser.add_argument("--json", metavar="FILE", help="write the numbers as JSON as well; - for the standard output")


def _report(parsed: argparse.Namespace) -> int:
    from ..monitor.cell_file import read_cell
    from ..monitor.page import build_page
    from ..monitor.panels import everything
    from ..monitor.report import statistics_of
    from ..monitor.server import parts_of

    if not parsed.cxi.is_file():
        raise FileNotFoundError(f"{parsed.cxi} does not exist")
    output = parsed.output or parsed.cxi.with_suffix(".report.html")
    if output.resolve() in {path.resolve() for path in (parsed.cxi, parsed.stream, parsed.cell) if path is not None}:
        raise ValueError(f"-o {output} is a file that the report is made of: choose another name")
    if parsed.json is not None:
        check_json(parsed.json)
    cell = None if parsed.cell is None else read_cell(parsed.cell)
    detector = override(geometry_of_peaks(parsed), parsed)
    run = statistics_of(parsed.cxi, parsed.stream, detector=detector, cell=cell, title=parsed.title)
    output.write_text(build_page(run.setting.title, parts_of(run)), encoding="utf-8")
    record = everything(run)
    verdict = record["overview"]["verdict"]
    print(
        f"{verdict['level']}: {verdict['text']}\nwrote {output}", file=sys.stderr if parsed.json == "-" else sys.stdout
    )
    if parsed.json is not None:
        write_json(parsed.json, record)
    return 0
