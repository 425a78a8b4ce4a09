"""The judge of judges: every finder on every run whose truth is known, as a table and as a page with plots."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from peakrt.config import HitConfig, NetworkConfig, Peakfinder8Config, V3r3Config
from peakrt.event import Event
from peakrt.finder import PeakFinder
from peakrt.sources import open_source
from peakrt_geometry import Detector, read_geom

from .calibration import calibration_error
from .compare import Agreement, PeakSets, compare, slab_peaks, truth_sets
from .truth import Truth
from .tune import tune

#: True peaks below this SNR need not be found, and do not count against a finder that does.
LEAST_SNR = 4.0
TUNED = "peakfinder8, tuned here"
LEGEND = (
    "True peaks have an SNR of at least 4 (photons over their own noise and that of the background under them); fainter "
    "ones need not be found and do not count as false. Columns: F1, precision, recall; recall by SNR; false peaks a blank "
    "frame; share of frames rightly called hit or miss at 15 peaks; rms offset of positions in pixels; expected "
    "calibration error of the scores of found peaks. peakfinder8 was tuned on a third of each run, knowing its truth, and "
    "all were judged on the rest."
)
SNR_CLASSES = ((4.0, 5.0), (5.0, 7.0), (7.0, 10.0), (10.0, 15.0), (15.0, np.inf))


@dataclass
class Row:
    """What one finder reaches on one run."""

    run: str
    finder: str
    agreement: Agreement
    hit_accuracy: float
    calibration: float  # expected calibration error of the found peaks' scores; NaN for finders without
    note: str = ""

    @property
    def blank(self) -> float:
        """False peaks a blank frame."""
        a = self.agreement
        return a.blank_found / a.blank_events if a.blank_events else float("nan")

    def recall(self, low: float, high: float) -> float:
        """Recall of true peaks of an SNR."""
        pairs = [counts for (a, b), counts in self.agreement.by_snr.items() if a >= low and b <= high]
        total = sum(n for n, _ in pairs)
        return sum(hit for _, hit in pairs) / total if total else float("nan")


def judge_run(path: Path, *, say: Callable[[str], None], geometry: Path | None = None) -> list[Row]:
    """Judge all finders on one simulated run; the first third of its events is for tuning and not judged on.

    Raises ValueError for a run without truth.
    """
    truth = Truth(path)
    detector = read_geom(geometry or path.with_suffix(".geom"))
    source = open_source([str(path)], detector)
    events = list(source.events())
    every = truth_sets(path, detector)
    first = len(events) // 3
    known_gain = detector.photon_gain
    gain = known_gain or 1.0
    say(f"{path.name}: tuning peakfinder8 on {first} events")
    tuned, _ = tune(events[:first], {k: every[k] for k in range(first)}, detector, gain=gain)
    photons = V3r3Config(amax_thr=3 * gain, atot_thr=5 * gain)
    finders: dict[str, PeakFinder] = {
        "network": PeakFinder(NetworkConfig(), geometry=detector),
        "network, gain estimated": PeakFinder(NetworkConfig(), geometry=_without_gain(detector)),
        "network, no geometry": PeakFinder(NetworkConfig(gain=known_gain), mask=detector.mask),
        "peakfinder8, defaults": PeakFinder(Peakfinder8Config(), geometry=detector),
        TUNED: PeakFinder(tuned, geometry=detector),
        "v3r3": PeakFinder(photons, geometry=detector),
    }
    rows = []
    judged = range(first, len(events))
    for name, finder in finders.items():
        say(f"{path.name}: {name}")
        rows.append(
            _judge(path.stem, name, finder, [events[k] for k in judged], {k: every[k] for k in judged}, truth, first)
        )
    how = f"min_snr {tuned.min_snr:g}, adc {tuned.adc_threshold:g}, pixels {tuned.min_pixels}-{tuned.max_pixels}"
    next(row for row in rows if row.finder == TUNED).note = f"{how}, background {tuned.background_radius}"
    return rows


def _without_gain(detector: Detector) -> Detector:
    from dataclasses import replace

    return replace(detector, adu_per_photon=None, adu_per_eV=None)


def _judge(
    run: str, name: str, finder: PeakFinder, events: list[Event], truth: PeakSets, whole: Truth, first: int
) -> Row:
    found: PeakSets = {}
    scores: list[npt.NDArray[np.float32]] = []
    right: list[npt.NDArray[np.bool_]] = []
    for number, event in enumerate(events, first):
        peaks = finder(event.frame, event.mask)
        found[number] = slab_peaks(peaks, event.frame.shape[1])
        scores.append(peaks["score"])
        right.append(_near_truth(found[number].ss, found[number].fs, truth[number].ss, truth[number].fs))
    agreement = compare(truth, found, min_snr=LEAST_SNR, blank=lambda k: not whole.hit[k])
    gate = HitConfig().min_peaks
    decided = [(len(found[k]) >= gate) == (int((truth[k].snr >= LEAST_SNR).sum()) >= gate) for k in found]
    score = np.concatenate(scores) if scores else np.zeros(0, np.float32)
    error = calibration_error(score, np.concatenate(right)) if len(score) and np.isfinite(score).all() else float("nan")
    return Row(run, name, agreement, float(np.mean(decided)), error)


def _near_truth(
    ss: npt.NDArray[np.float64],
    fs: npt.NDArray[np.float64],
    true_ss: npt.NDArray[np.float64],
    true_fs: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    from scipy.spatial import cKDTree

    if len(true_ss) == 0 or len(ss) == 0:
        return np.zeros(len(ss), bool)
    distance, _ = cKDTree(np.c_[true_ss, true_fs]).query(np.c_[ss, fs])
    return np.asarray(distance <= 3.0)


HEAD = (
    "finder",
    "F1",
    "precision",
    "recall",
    *(f"{a:g}-{b:g}" for a, b in SNR_CLASSES),
    "blank",
    "hits",
    "rms px",
    "ECE",
)


def cells(row: Row) -> list[str]:
    """One row of the table."""
    a = row.agreement
    _, rms = a.position_error()
    numbers = [a.f1, a.precision, a.recall, *(row.recall(*c) for c in SNR_CLASSES)]
    text = [f"{value:.3f}" for value in numbers] + [f"{row.blank:.2f}", f"{row.hit_accuracy:.2f}"]
    text += [f"{float(np.hypot(*rms)):.2f}", f"{row.calibration:.3f}"]
    return [row.finder, *("-" if value == "nan" else value for value in text)]


def _by_run(rows: Iterable[Row]) -> dict[str, list[Row]]:
    out: dict[str, list[Row]] = {}
    for row in rows:
        out.setdefault(row.run, []).append(row)
    return out


def mean_f1(rows: list[Row]) -> dict[str, float]:
    """Mean over the runs of each finder's F1."""
    names = dict.fromkeys(row.finder for row in rows)
    return {name: float(np.mean([np.nan_to_num(r.agreement.f1) for r in rows if r.finder == name])) for name in names}


def as_markdown(rows: list[Row], *, title: str) -> str:
    """The report as Markdown."""
    lines = [f"# {title}", "", LEGEND, ""]
    lines += ["| finder | mean F1 over the runs |", "|---|---|"]
    lines += [f"| {name} | {value:.3f} |" for name, value in mean_f1(rows).items()]
    for run, group in _by_run(rows).items():
        lines += ["", f"## {run}", "", "| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in group]
        lines += [f"\n{row.finder}: {row.note}." for row in group if row.note]
    return "\n".join(lines) + "\n"


def as_html(rows: list[Row], *, title: str) -> str:
    """The report as one page, its plots inside."""
    style = "body{font:15px sans-serif;margin:2em auto;max-width:70em}table{border-collapse:collapse}td,th{padding:.2em .6em;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{style}</style>"
    ]
    parts.append(f"<h1>{html.escape(title)}</h1>")
    parts.append(f"<p>{html.escape(LEGEND)}</p>")
    parts.append(_table(("finder", "mean F1"), [[n, f"{v:.3f}"] for n, v in mean_f1(rows).items()]))
    for run, group in _by_run(rows).items():
        parts += [f"<h2>{html.escape(run)}</h2>", _table(HEAD, [cells(row) for row in group]), _plot(group)]
        parts += [f"<p>{html.escape(row.finder)}: {html.escape(row.note)}.</p>" for row in group if row.note]
    return "\n".join([*parts, "</html>\n"])


def _table(head: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in body)
    return f"<table><tr>{top}</tr>{rows}</table>"


def _plot(group: list[Row]) -> str:
    """Recall by SNR of the finders of one run, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for row in group:
        style = "-o" if row.finder.startswith("network") else "--s"
        axes.plot(range(len(SNR_CLASSES)), [row.recall(*c) for c in SNR_CLASSES], style, label=row.finder, markersize=4)
    axes.set_xticks(range(len(SNR_CLASSES)), [f"{a:g}-{b:g}" for a, b in SNR_CLASSES])
    axes.set(xlabel="SNR of the true peak", ylabel="recall", ylim=(0, 1.02))
    axes.legend(fontsize=7)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]
