"""The curve of an improvement, round by round: a table and a figure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from .improve import Improvement, Judged
from .work_folder import write_bytes, write_text

_HEAD = ("round", "kept", "patterns", "peaks taught", "precision", "recall", "F1", "indexed", "peaks elsewhere")


def write_summary(improvement: Improvement, reports: Sequence[dict[str, Any]]) -> list[str]:
    """Write summary.md and summary.png into the folder; returns the table's lines.

    The models of all rounds are judged beside each other, so that their numbers are of the same peaks and crystals.
    """
    judged_rounds = [0, *(report["round"] for report in reports if report["training"]["written"])]
    judged = dict(zip(judged_rounds, improvement.judge(judged_rounds), strict=True))
    lines = table(judged, reports)
    about = (
        "On the third of the events that never taught. precision: peaks that the crystals explain; recall: of all explained "
        "peaks that any model found; peaks elsewhere: an event where no model's peaks indexed."
    )
    write_text(improvement.folder / "summary.md", "\n".join([*lines, "", about, ""]))
    write_bytes(improvement.folder / "summary.png", draw(judged))
    return lines


def table(judged: dict[int, Judged], reports: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of a Markdown table, one a round; the first is the given model."""
    rows: list[Sequence[str]] = [_HEAD]
    by_round = {report["round"]: report for report in reports}
    for number in sorted({0, *by_round}):
        report, now = by_round.get(number), judged.get(number)
        teaching = ("", "") if report is None else (f"{report['teaching'][name]}" for name in ("patterns", "peaks"))
        numbers = ["-"] * 5
        if now is not None:
            share = now.indexed / max(1, now.held_out)
            numbers = [f"{x:.4f}" for x in (now.precision, now.recall, now.f1)]
            numbers += [f"{now.indexed} of {now.held_out} ({share:.1%})", f"{now.elsewhere:.2f}"]
        kept = "given" if report is None else "yes" if report["kept"] else "no"
        rows.append((str(number), kept, *teaching, *numbers))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["| " + " | ".join(f"{text:<{n}}" for text, n in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (n + 2) for n in widths) + "|")
    return lines


def draw(judged: dict[int, Judged]) -> bytes:
    """Draw agreement with the crystals and the share that indexes by round: a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rounds = list(judged)
    for name in ("precision", "recall", "f1"):
        left.plot(rounds, [getattr(now, name) for now in judged.values()], "o-", label="F1" if name == "f1" else name)
    left.set(xlabel="round", title="peaks against crystals, events held out")
    left.legend()
    right.plot(rounds, [100 * now.indexed / max(1, now.held_out) for now in judged.values()], "o-")
    right.set(xlabel="round", ylabel="events, %", title="indexed, events held out")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    out = io.BytesIO()
    figure.savefig(out, dpi=110, format="png")
    return out.getvalue()
