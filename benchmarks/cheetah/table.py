"""From the results on disk to one JSON, and from that to the document."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .finders import FINDERS
from .index import Outcome, Results
from .jobs import MIN_PEAKS, OFFERED_PEAKS, Tools
from .merge import OURS, Merged
from .recipe import VISIBLE_SNR, Run

#: Visible peaks of a crystal, in classes.
CLASSES = ((1, 10), (10, 15), (15, 20), (20, 30), (30, 50), (50, 100), (100, 10**9))


def summarize(runs: Sequence[Run], tools: Tools) -> dict[str, Any]:
    """Everything that the document prints, as far as it was run."""
    return {
        "recipe": asdict(runs[0].recipe),
        "min_peaks": MIN_PEAKS,
        "offered_peaks": OFFERED_PEAKS,
        "machine": _machine(),
        "missing": {name: why for name, finder in FINDERS.items() if (why := finder.missing(tools))},
        "runs": [summarize_run(run) for run in runs],
    }


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def summarize_run(run: Run) -> dict[str, Any]:
    """The rows of one detector."""
    visible = run.visible()
    tuned = run.folder / "tuned.json"
    parts = {name: Results(run.folder / name).read() for name in FINDERS}
    outcomes = {name: {hit.event: hit for part in results for hit in part.hits} for name, results in parts.items()}
    frames = {
        name: np.concatenate([np.arange(part.start, part.stop) for part in results])
        for name, results in parts.items()
        if results
    }
    rows = {}
    for name, numbers in frames.items():
        row = _row(_from(outcomes[name], MIN_PEAKS), numbers, visible)
        offered = _from(outcomes[name], OFFERED_PEAKS)
        row["offered"], row["right_offered"] = len(offered), sum(_right(hit) for hit in offered.values())
        row |= {
            "wall_min": sum(part.wall_s for part in parts[name]) / 60,
            "cpu_min": sum(part.cpu_s for part in parts[name]) / 60,
            "index_cpu_min": sum(part.index_cpu_s for part in parts[name]) / 60,
            "cores": max(part.cores for part in parts[name]),
        }
        if name != OURS and OURS in frames:
            row["behind"] = _behind(
                _from(outcomes[OURS], MIN_PEAKS), frames[OURS], _from(outcomes[name], MIN_PEAKS), numbers
            )
        rows[name] = row
    return {
        "detector": run.name,
        "shape": run.planes,
        "gain": run.gain,
        "tuned": json.loads(tuned.read_text(encoding="utf-8")) if tuned.exists() else {},
        "rows": rows,
    }


def half_of_all(run: dict[str, Any]) -> float:
    """Half of the frames that the finder with the most was given: a verdict asks for at least as many."""
    return max((row["images"] for row in run["rows"].values()), default=0) / 2


def _from(outcomes: dict[int, Outcome], peaks: int) -> dict[int, Outcome]:
    """Those with at least so many peaks."""
    return {event: hit for event, hit in outcomes.items() if hit.peaks >= peaks}


def _row(outcomes: dict[int, Outcome], numbers: np.ndarray, visible: dict[int, int]) -> dict[str, Any]:
    hits = list(outcomes.values())
    indexed = [hit for hit in hits if hit.cell is not None]
    right = [hit for hit in indexed if hit.degrees is not None]
    cells = np.array([hit.cell for hit in indexed] or [[np.nan] * 6])
    low, middle, high = np.percentile(cells, (16, 50, 84), axis=0)
    return {
        "images": len(numbers),
        "crystals": sum(visible[int(n)] >= 0 for n in numbers),
        "hits": len(hits),
        "indexed": len(indexed),
        "wrong": len(indexed) - len(right),
        "false_hits": sum(not hit.true for hit in hits),
        "peaks": float(np.median([hit.peaks for hit in hits] or [np.nan])),
        "cell": middle.tolist(),
        "cell_mean": cells.mean(0).tolist(),
        "cell_spread": ((high - low) / 2).tolist(),
        "degrees": float(np.median([hit.degrees for hit in right] or [np.nan])),
        "by_visible": _by_visible(outcomes, numbers, visible),
    }


def _by_visible(outcomes: dict[int, Outcome], numbers: np.ndarray, visible: dict[int, int]) -> list[tuple[int, int]]:
    """Crystals, and of those rightly indexed, in each of CLASSES."""
    out = []
    for low, high in CLASSES:
        here = [int(n) for n in numbers if low <= visible[int(n)] < high]
        out.append((len(here), sum(_right(outcomes.get(n)) for n in here)))
    return out


def _right(hit: Outcome | None) -> bool:
    return hit is not None and hit.degrees is not None


def _behind(
    ours: dict[int, Outcome], our_frames: np.ndarray, theirs: dict[int, Outcome], their_frames: np.ndarray
) -> dict[str, float]:
    """Yield of rightly indexed frames less than the candidate finder's on the same frames, with its standard error, of 1."""
    both = np.intersect1d(our_frames, their_frames)
    only_ours = sum(_right(ours.get(int(n))) and not _right(theirs.get(int(n))) for n in both)
    only_theirs = sum(_right(theirs.get(int(n))) and not _right(ours.get(int(n))) for n in both)
    mean = (only_ours - only_theirs) / len(both)
    error = np.sqrt(max(only_ours + only_theirs - len(both) * mean**2, 0)) / len(both)
    return {
        "frames": len(both), "only_ours": only_ours, "only_theirs": only_theirs, "points": float(mean), "error": float(error),
    }  # fmt: skip


# The document


HEAD = (
    "finder", "thresholds", "images", "hits", "indexed", "hit %", "indexing %", "yield %", "behind the candidate finder, points", f"right % from {OFFERED_PEAKS} peaks",
    "wrong lattices", "false hits", "a +- (A)", "c +- (A)", "orientation (deg)", "minutes", "CPU ms an image", "cores",
)  # fmt: skip


def table(run: dict[str, Any], missing: dict[str, str]) -> list[str]:
    """Rows of one detector as Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---|---" + "|---:" * (len(HEAD) - 2) + "|"]
    most = max((row["images"] for row in run["rows"].values()), default=0)
    # In bold the best of those that had all frames
    best = max((row["indexed"] for row in run["rows"].values() if row["images"] == most), default=0)
    for name, finder in FINDERS.items():
        if name in run["rows"]:
            lines.append(
                "| " + " | ".join([finder.name, finder.settings, *_cells(run["rows"][name], (most, best))]) + " |"
            )
        elif name in missing:
            lines.append(f"| {finder.name} | {finder.settings} | {missing[name]}" + " |" * (len(HEAD) - 2))
    return lines


def _cells(row: dict[str, Any], best: tuple[int, int]) -> list[str]:
    images, hits, indexed = row["images"], row["hits"], row["indexed"]
    behind = row.get("behind")
    cell = zip(row["cell"], row["cell_spread"], strict=True)
    a, _, c = (f"{middle:.2f} +- {spread:.3f}" if indexed else "-" for middle, spread in list(cell)[:3])
    share = f"{100 * indexed / images:.2f}"
    return [
        f"{images:,}", f"{hits:,}", f"{indexed:,}", f"{100 * hits / images:.2f}",
        f"{100 * indexed / hits:.2f}" if hits else "-", f"**{share}**" if (images, indexed) == best else share,
        f"{100 * behind['points']:+.2f} +- {100 * behind['error']:.2f}" if behind else "-",
        f"{100 * row['right_offered'] / images:.2f}", f"{row['wrong']:,}", f"{row['false_hits']:,}", a, c, f"{row['degrees']:.3f}" if indexed else "-",
        f"{row['wall_min']:.1f}", f"{6e4 * row['cpu_min'] / images:.0f}", str(row["cores"]),
    ]  # fmt: skip


MERGE_HEAD = (
    "finder", "thresholds", "frames offered", "indexed", "profile radius (1/nm)", "reflections a crystal", "redundancy", "completeness", "Rsplit %", "CC1/2", "CC*",
    "R to the truth %", "CC to the truth", "R on what the candidate finder has too: its / the candidate finder's", "R from the crystals that both have: its / the candidate finder's", "R, CC of process_hkl",
)  # fmt: skip


def merge_table(merged: Sequence[dict[str, Any]]) -> list[str]:
    """Merging as Markdown."""
    lines = ["| " + " | ".join(MERGE_HEAD) + " |", "|---|---" + "|---:" * (len(MERGE_HEAD) - 2) + "|"]
    for m in merged:
        finder, fast, common, same = FINDERS[m["finder"]], m["process_hkl"], m["common"], m["same"]
        cells = [
            finder.name, finder.settings, f"{m['offered']:,}", f"{m['indexed']:,}",
            f"{m['profile_radius']:.5f}", f"{m['crystal_reflections']:.0f}", f"{m['redundancy']:.1f}",
            f"{m['reflections'] / m['possible']:.3f}", f"{m['rsplit']:.2f}", f"{m['cc_half']:.4f}", f"{m['cc_star']:.4f}",
            f"{m['r_truth']:.2f}", f"{m['cc_truth']:.4f}", f"{common['r_truth']:.2f} / {common['candidate']:.2f}" if common else "-",
            f"{same['r_truth']:.2f} / {same['candidate']:.2f}" if same else "-",
            f"{fast['r_truth']:.2f}, {fast['cc_truth']:.4f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def plots(summary: dict[str, Any], stem: Path) -> list[Path]:
    """Yield by the visible peaks of a crystal, and, if there is merging, its figures by resolution: SVG files."""
    from matplotlib.figure import Figure

    shown = [name for name in FINDERS if any(name in run["rows"] for run in summary["runs"])]
    figure = Figure(figsize=(4 * len(summary["runs"]), 3.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(summary["runs"]), sharey=True))
    ticks = [f"{low}-{high - 1}" if high < 10**9 else f"{low}-" for low, high in CLASSES]
    for ax, run in zip(axes, summary["runs"], strict=True):
        for name in shown:
            if name not in run["rows"] or FINDERS[name].settings not in ("tuned", "nothing to tune"):
                continue
            if run["rows"][name]["images"] < half_of_all(run):
                continue
            pairs = run["rows"][name]["by_visible"]
            share = [right / n if n else np.nan for n, right in pairs]
            style = {"lw": 2.2, "marker": "o"} if name == OURS else {"lw": 1, "ls": "--", "marker": "."}
            ax.plot(range(len(CLASSES)), share, label=f"{FINDERS[name].name}", **style)
        ax.set_xticks(range(len(CLASSES)), ticks, rotation=45, fontsize=7)
        ax.set(title=run["detector"], xlabel=f"true peaks with SNR of at least {VISIBLE_SNR:g}", ylim=(0, 1.02))
    axes[0].set_ylabel("rightly indexed, share of crystals")
    axes[0].legend(fontsize=6)
    paths = [stem.with_name(stem.name + "-yield.svg")]
    figure.savefig(paths[0], metadata={"Date": None})
    if summary.get("merged"):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.subplots(1, 2)
        for ax, key, label in ((axes[0], "rsplit", "Rsplit, %"), (axes[1], "r_truth", "R to the truth, %")):
            for m in summary["merged"]:
                s = np.array(m["by_shell"]["d_A"])
                style = {"lw": 2.2} if m["finder"] == OURS else {"lw": 1, "ls": "--"}
                name = f"{FINDERS[m['finder']].name}, {FINDERS[m['finder']].settings}"
                ax.plot(1 / s, m["by_shell"][key], label=name, **style)
            ax.set(xlabel="1/d, 1/A", ylabel=label, ylim=(0, 100))  # of the outermost shells some are beyond all bounds
        axes[0].legend(fontsize=6)
        paths.append(stem.with_name(stem.name + "-merge.svg"))
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def write_merged(summary: dict[str, Any], merged: Sequence[Merged], detector: str) -> None:
    """Put the merging into the summary."""
    summary["merged"], summary["merged_detector"] = [asdict(m) for m in merged], detector
