"""Benchmark report of all finders on runs whose truth is known, as a table and as a page with plots."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from peakrt.config import CandidateConfig, HitConfig, Peakfinder8Config, SegmentationConfig
from peakrt.event import Event
from peakrt.finder import PeakFinder
from peakrt.models.model_file import load_model
from peakrt.sources import open_source
from peakrt_geometry import Detector, read_geom

from .calibration import calibration_error
from .compare import Agreement, PeakSets, compare, near_any, slab_peaks, truth_sets
from .dials import find_spots, whole_photons
from .jungfraujoch import GRID, Jungfraujoch, JungfraujochConfig
from .rivals import Rival
from .truth import Truth
from .tune import search, start_of, tune

#: True peaks below this SNR need not be found, and do not count against a finder that does.
LEAST_SNR = 4.0
TUNED = "peakfinder8, tuned here"
LEGEND = (
    "True peaks have an SNR of at least 4 (photons over their own noise and that of the background under them); fainter "
    "ones need not be found and do not count as false. Columns: F1, precision, recall; recall by SNR; false peaks a blank "
    "frame; share of frames rightly called hit or miss at 15 peaks; rms offset of positions in pixels; expected "
    "calibration error of the scores of found peaks. The small tables are of the network with one threshold for all frames. "
    "peakfinder8 and Jungfraujoch's rule (its self-calibrating threshold, written afresh) were tuned on a third of each run, "
    "knowing its truth, and all were judged on the rest."
)
SNR_CLASSES = ((4.0, 5.0), (5.0, 7.0), (7.0, 10.0), (10.0, 15.0), (15.0, np.inf))


#: Of scores, at which the network's yield is shown.
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass
class Row:
    """What one finder reaches on one run."""

    run: str
    finder: str
    agreement: Agreement
    hit_accuracy: float
    calibration: float  # expected calibration error of the found peaks' scores; NaN for finders without
    note: str = ""
    by_threshold: dict[float, Agreement] = field(default_factory=dict)

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


def judge_run(
    path: Path,
    *,
    say: Callable[[str], None],
    geometry: Path | None = None,
    rivals: Sequence[Rival] = (),
    dials: bool = False,
) -> list[Row]:
    """Judge all finders on one simulated run; the first third of its events is for tuning and not judged on.

    rivals : networks and trees of the laboratory; dials : whether DIALS is asked as well
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
    tuned, _ = tune("peakfinder8", events[:first], {k: every[k] for k in range(first)}, detector, gain=gain)
    assert isinstance(tuned, Peakfinder8Config)
    photons = start_of("v3r3", gain)
    finders: dict[str, PeakFinder] = {
        "candidate": PeakFinder(CandidateConfig(), geometry=detector),
        "candidate, gain estimated": PeakFinder(CandidateConfig(), geometry=_without_gain(detector)),
        "candidate, no geometry": PeakFinder(CandidateConfig(gain=known_gain), mask=detector.mask),
        "segmentation student": PeakFinder(SegmentationConfig(), geometry=detector),
        "peakfinder8, defaults": PeakFinder(Peakfinder8Config(), geometry=detector),
        TUNED: PeakFinder(tuned, geometry=detector),
        "v3r3": PeakFinder(photons, geometry=detector),
    }
    finders.update({rival.name: rival.finder(detector) for rival in rivals})
    rows = []
    judged = events[first:]
    expected = {k: every[k] for k in range(first, len(events))}
    for name, finder in finders.items():
        say(f"{path.name}: {name}")
        found, scores = _find(finder, judged, first)
        rows.append(_judge(path.stem, name, found, scores, expected, truth))
    say(f"{path.name}: candidate, by threshold")
    low = PeakFinder(CandidateConfig(min_score=min(THRESHOLDS)), geometry=detector)
    found, scores = _find(low, judged, first)
    rows[0].by_threshold = _by_threshold(found, scores, expected, truth)
    frames = [whole_photons(event, detector, gain=gain, pedestal=truth.pedestal) for event in events]
    say(f"{path.name}: tuning Jungfraujoch's rule on {first} events")
    rule = _tuned_rule(frames[:first], {k: every[k] for k in range(first)}, detector)
    for name, config in (("Jungfraujoch's rule", JungfraujochConfig()), ("Jungfraujoch's rule, tuned here", rule)):
        spots = dict(enumerate(map(Jungfraujoch(config, detector), frames[first:]), first))
        rows.append(_judge(path.stem, name, spots, None, expected, truth))
    if dials:
        say(f"{path.name}: DIALS")
        spots = dict(enumerate(find_spots([frame.reshape(-1, frame.shape[2]) for frame in frames[first:]]), first))
        rows.append(_judge(path.stem, "DIALS", spots, None, expected, truth))
    how = f"min_snr {tuned.min_snr:g}, adc {tuned.adc_threshold:g}, pixels {tuned.min_pixels}-{tuned.max_pixels}"
    next(row for row in rows if row.finder == TUNED).note = f"{how}, background {tuned.background_radius}"
    return rows


def _tuned_rule(frames: list[npt.NDArray[np.int32]], truth: PeakSets, detector: Detector) -> JungfraujochConfig:
    def agreement(config: JungfraujochConfig) -> Agreement:
        return compare(truth, dict(enumerate(map(Jungfraujoch(config, detector), frames))), min_snr=LEAST_SNR)

    return search(JungfraujochConfig(), GRID, agreement, gain=1.0)[0]


def _without_gain(detector: Detector) -> Detector:
    from dataclasses import replace

    return replace(detector, adu_per_photon=None, adu_per_eV=None)


def _find(finder: PeakFinder, events: list[Event], first: int) -> tuple[PeakSets, npt.NDArray[np.float32]]:
    """Peaks of the events, numbered from first, and their scores."""
    found: PeakSets = {}
    scores: list[npt.NDArray[np.float32]] = [np.zeros(0, np.float32)]
    for number, event in enumerate(events, first):
        peaks = finder(event.frame, event.mask)
        found[number] = slab_peaks(peaks, event.frame.shape[1])
        scores.append(peaks["score"])
    return found, np.concatenate(scores)


def _by_threshold(
    found: PeakSets, scores: npt.NDArray[np.float32], expected: PeakSets, truth: Truth
) -> dict[float, Agreement]:
    """What is left of found peaks at each threshold, against the truth."""
    ends = np.cumsum([len(peaks) for peaks in found.values()])
    parts = dict(zip(found, np.split(scores, ends[:-1]), strict=True))
    out = {}
    for threshold in THRESHOLDS:
        kept = {k: found[k].only(parts[k] >= threshold) for k in found}
        out[threshold] = compare(expected, kept, min_snr=LEAST_SNR, blank=lambda k: not truth.hit[k])
    return out


def _judge(
    run: str,
    name: str,
    found: PeakSets,
    score: npt.NDArray[np.float32] | None,
    truth: PeakSets,
    whole: Truth,
) -> Row:
    agreement = compare(truth, found, min_snr=LEAST_SNR, blank=lambda k: not whole.hit[k])
    gate = HitConfig().min_peaks
    decided = [(len(found[k]) >= gate) == (int((truth[k].snr >= LEAST_SNR).sum()) >= gate) for k in found]
    error = float("nan")
    if score is not None and len(score) and np.isfinite(score).all():
        right = [near_any(found[k], truth[k]) for k in found]
        error = calibration_error(score, np.concatenate(right))
    return Row(run, name, agreement, float(np.mean(decided)), error)


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


THRESHOLD_HEAD = ("candidate, score at least", "F1", "precision", "recall", "blank")


def threshold_cells(row: Row) -> list[list[str]]:
    """The table of a finder's yield against its threshold."""
    table = []
    for threshold, a in row.by_threshold.items():
        blank = a.blank_found / a.blank_events if a.blank_events else float("nan")
        numbers = [f"{value:.3f}" for value in (a.f1, a.precision, a.recall)]
        table.append([f"{threshold:g}", *("-" if n == "nan" else n for n in numbers), f"{blank:.2f}"])
    return table


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
        for row in (row for row in group if row.by_threshold):
            lines += ["", "| " + " | ".join(THRESHOLD_HEAD) + " |", "|---" * len(THRESHOLD_HEAD) + "|"]
            lines += ["| " + " | ".join(line) + " |" for line in threshold_cells(row)]
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
        parts += [_table(THRESHOLD_HEAD, threshold_cells(row)) for row in group if row.by_threshold]
        parts += [f"<p>{html.escape(row.finder)}: {html.escape(row.note)}.</p>" for row in group if row.note]
    return "\n".join([*parts, "</html>\n"])


def _table(head: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in body)
    return f"<table><tr>{top}</tr>{rows}</table>"


def _plot(group: list[Row]) -> str:
    """Recall by SNR of the finders of one run, and the network's yield against its threshold, as SVG."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    axes, beside = figure.subplots(1, 2, width_ratios=(3, 2))
    axes.set_prop_cycle(color=[*colormaps["tab10"](range(10)), "black", "gray"])
    for row in group:
        style = "-o" if row.finder.startswith("candidate") else "--s"
        axes.plot(range(len(SNR_CLASSES)), [row.recall(*c) for c in SNR_CLASSES], style, label=row.finder, markersize=4)
    axes.set_xticks(range(len(SNR_CLASSES)), [f"{a:g}-{b:g}" for a, b in SNR_CLASSES])
    axes.set(xlabel="SNR of the true peak", ylabel="recall", ylim=(0, 1.02))
    axes.legend(fontsize=7)
    for row in group:
        if row.by_threshold:
            for name in ("precision", "recall", "f1"):
                values = [getattr(agreement, name) for agreement in row.by_threshold.values()]
                beside.plot(list(row.by_threshold), values, "-o", label=f"{row.finder}: {name}", markersize=3)
            for least in load_model("default").least_scores(None):
                beside.axvline(least, color="0.6", lw=1)
            beside.set(xlabel="score at least", ylim=(0, 1.02))
            beside.legend(fontsize=7)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]
