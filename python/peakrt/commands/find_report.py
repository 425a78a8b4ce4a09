"""What ``peakrt find`` says at its end: lines for people, and JSON for programs."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..contracts import RunFinder, Writer
from ..cxi.columns import UNUSABLE
from ..search import Summary


def report_lines(summary: Summary, writer: Writer, peaks_per_hit: float) -> list[str]:
    """What find says at its end."""
    done = max(1, writer.events_done)
    lines = [
        f"{writer.events_done} events, {writer.n_hits} hits ({writer.n_hits / done:.1%}), {peaks_per_hit:.0f} peaks a hit"
    ]
    if summary.events:
        parts = {"reading": summary.waiting_s, "finding": summary.finding_s, "writing": summary.writing_s}
        shares = ", ".join(f"{name} {value:.1f} s" for name, value in parts.items())
        lines.append(
            f"{summary.seconds:.1f} s, {summary.rate:.1f} events/s; waited for {shares}: "
            f"{max(parts, key=lambda name: parts[name])} limits"
        )
    if writer.n_cut:
        lines.append(
            f"{writer.n_cut} events had more than {writer.hits.max_peaks} peaks: the strongest were written (--max-peaks)"
        )
    if summary.unusable:
        lines.append(
            f"{summary.unusable} events could not be used (listed in {UNUSABLE}), the first: {summary.first_unusable}"
        )
    return [*lines, *(writer.report() if writer.path.exists() else ["no event came: nothing was written"])]


def as_record(summary: Summary, writer: Writer, finder: RunFinder, peaks_per_hit: float) -> dict[str, Any]:
    """A run for other programs: what --json writes. Times are seconds of this call, counts of the whole file."""
    return {
        "peakrt": version("peakrt"),
        "output": str(writer.path),
        "engine": finder.engine,
        "events": writer.events_done,
        "hits": writer.n_hits,
        "hit_rate": writer.n_hits / max(1, writer.events_done),
        "peaks_per_hit": peaks_per_hit,
        "events_cut": writer.n_cut,
        "events_of_this_call": summary.events,
        "seconds": summary.seconds,
        "events_per_s": summary.rate,
        **{name: getattr(summary, name) for name in ("waiting_s", "finding_s", "writing_s")},
    }


def check_json(name: str) -> None:
    """Raise FileNotFoundError for a --json that could not be written at the end."""
    if name != "-" and not Path(name).parent.is_dir():
        raise FileNotFoundError(f"folder {Path(name).parent} of --json does not exist")


def write_json(name: str, record: dict[str, Any]) -> None:
    """Write a record to a file, or print it for "-"."""
    text = json.dumps(record, indent=2)
    if name == "-":
        print(text)
    else:
        Path(name).write_text(text + "\n", encoding="utf-8")
