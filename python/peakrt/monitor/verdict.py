"""The state of a run in words: OK, warnings or unusable, and why.

Each rule stands alone, needs enough events to be sure, and names what may be wrong. Thresholds are where a person at the
beamline would want to be called; each has its reason beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .statistics import AXES, RunStatistics

Floats = npt.NDArray[np.float64]
OK, WARNINGS, UNUSABLE = "OK", "WARNINGS", "UNUSABLE"
#: Events before anything is said about rates: a hit rate of 5 % is then known to a tenth of itself or two.
ENOUGH_EVENTS = 200
#: At a hit rate of 0.5 %, the poorest run that is worth its beam time, so many misses in a row have a chance of 5 in 100,000.
NO_HIT = 2000
#: Seconds without an event after which a run that goes on is said to stand still: two trains of the slowest source are 1 s.
SILENCE_s = 30.0
#: Standard errors that make a change more than chance: looked at once a second for days, 4 would be wrong now and then.
SURE = 5.0
#: The hit rate has fallen when it is below this share of what it was: jets and chips vary by less.
FALLEN = 0.5
#: Hits of which one in five has a full pixel lose their strong reflections; fewer are usual at low angles.
SATURATED = 0.2
#: Of the hits, frames with many peaks, most can be indexed if cell and geometry are right; salt, ice and double hits are rarely
#: more than two thirds. Almost none indexed means that something is wrong for all of them.
FEW_INDEXED, HARDLY_INDEXED, ENOUGH_CHUNKS = 0.3, 0.03, 100
#: Cells vary by about 0.5 % between crystals of one batch; their mean should stay within half of that.
CELL_DRIFT, ENOUGH_CELLS = 0.0025, 50
#: A camera length that is 0.2 % off moves a peak at 1,000 pixels from the beam by two, as far as indexing tolerates.
LENGTH_OFF = 0.002
#: A beam centre that is two pixels off costs indexing (CrystFEL's tutorial advises to refine it below one).
CENTRE_OFF_PIXELS = 2.0
#: Half as much background again, in misses, is ice, a salt ring, or a jet in the beam.
BACKGROUND_RISE, BACKGROUND_FALL = 1.5, 0.2
#: One frame in a hundred lost is no accident of the network; one in four is not a measurement any more.
LOST, MOSTLY_LOST = 0.01, 0.25
#: The same shares of events that could not be used.
BROKEN, MOSTLY_BROKEN = 0.01, 0.25
#: Detectors have some 0.1 % of bad pixels; five times as many learned are a panel that goes, or a ring taken for pixels.
BAD_PIXELS = 0.005
#: Seconds of the recent history that are "now".
NOW_s = 60.0


@dataclass(frozen=True)
class Finding:
    """Something that is wrong. level : WARNINGS or UNUSABLE; text : what, with its numbers; advice : what to look at"""

    level: str
    text: str
    advice: str


@dataclass(frozen=True)
class Verdict:
    """The run in words. findings : the worst first"""

    level: str
    text: str
    findings: tuple[Finding, ...]

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def judge(run: RunStatistics, now: float | None = None) -> Verdict:
    """The verdict on a run. now : of the run's axis while it goes on, None once it is over."""
    found = [finding for rule in _RULES if (finding := rule(run)) is not None]
    if now is not None and run.last_at is not None and now - run.last_at > SILENCE_s:
        found.insert(
            0, Finding(WARNINGS, f"no event for {now - run.last_at:.0f} s", "the run stands still: is there beam?")
        )
    found.sort(key=lambda finding: finding.level != UNUSABLE)
    events = run.counts["events"]
    if found:
        return Verdict(found[0].level, "; ".join(finding.text for finding in found[:3]), tuple(found))
    if events < ENOUGH_EVENTS:
        return Verdict(OK, f"too few to judge: {events} events" + (" so far" if now is not None else ""), ())
    return Verdict(OK, _usual(run), ())


def _usual(run: RunStatistics) -> str:
    text = f"{_share(run.counts['hits'], run.counts['events'])} of the events are hits"
    if run.counts["chunks"]:
        text += f", {_share(run.counts['indexed'], run.counts['chunks'])} of them indexed"
    return text


def _share(part: float, whole: float) -> str:
    percent = 100 * part / max(whole, 1)
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


def _no_hits(run: RunStatistics) -> Finding | None:
    since = run.counts["events"] - run.last_hit_event
    if since < NO_HIT or (run.setting.axis == "event" and run.counts["hits"]):
        return None  # along event numbers they do not come in order
    before = "" if run.counts["hits"] else ", nor before"
    return Finding(
        UNUSABLE,
        f"no hit in the last {since:,} events{before}",
        "is there beam, is the shutter open, does the sample run?",
    )


def last_minute(run: RunStatistics, column: str) -> float:
    """Sum of a column over the last minute, or along event numbers over the last quarter of the recent history."""
    n = round(NOW_s / run.recent.width) if run.setting.axis == "time" else run.recent.n_bins // 4
    return float(run.recent.sums(column)[-max(1, n) :].sum())


def _hit_rate_fell(run: RunStatistics) -> Finding | None:
    """Compare the last minute with all before it."""
    hits, events = last_minute(run, "hits"), last_minute(run, "events")
    hits_before, events_before = run.counts["hits"] - hits, run.counts["events"] - events
    if min(events, events_before) < ENOUGH_EVENTS or not hits_before:
        return None
    before, now = hits_before / events_before, hits / events
    error = np.sqrt(before * (1 - before) * (1 / events + 1 / events_before))
    if now > FALLEN * before or before - now < SURE * error:
        return None
    text = f"the hit rate fell from {_share(hits_before, events_before)} to {_share(hits, events)}"
    return Finding(WARNINGS, text, "look at the jet or the chip, and at the background")


def _saturated(run: RunStatistics) -> Finding | None:
    hits, full = run.counts["hits"], run.counts["saturated"]
    if hits < ENOUGH_CHUNKS or full < SATURATED * hits:
        return None
    text = f"{_share(full, hits)} of the hits have peaks at max_adu ({run.saturation_ADU:g} ADU)"
    return Finding(WARNINGS, text, "strong reflections are cut off: attenuate the beam")


def _indexing(run: RunStatistics) -> Finding | None:
    chunks, indexed = run.counts["chunks"], run.counts["indexed"]
    if chunks < ENOUGH_CHUNKS or indexed >= FEW_INDEXED * chunks:
        return None
    level = UNUSABLE if indexed < HARDLY_INDEXED * chunks else WARNINGS
    advice = "are cell, geometry, camera length and photon energy right? are there ice or salt rings?"
    return Finding(level, f"only {_share(indexed, chunks)} of {chunks:,} hits were indexed", advice)


def _cell_drift(run: RunStatistics) -> Finding | None:
    recent, n_all = run.recent.sums("cells").sum(), run.whole.sums("cells").sum()
    if recent < ENOUGH_CELLS or n_all - recent < ENOUGH_CELLS:
        return None
    for axis, spread in zip(AXES[:3], run.cells_seen.rows.std(axis=0), strict=False):
        now = run.recent.sums(axis).sum() / recent
        before = (run.whole.sums(axis).sum() - run.recent.sums(axis).sum()) / (n_all - recent)
        if abs(now / before - 1) > CELL_DRIFT and abs(now - before) > SURE * spread / np.sqrt(recent):
            text = f"the cell's {axis} went from {before:.2f} to {now:.2f} Å"
            return Finding(WARNINGS, text, "sample, humidity or camera length have changed")
    return None


def camera_length_m(run: RunStatistics) -> tuple[float, float, float] | None:
    """Camera length that the cells tell, its standard error, and the one in force, metres; None where they cannot.

    A camera length that is taken too long by a factor makes every cell too large by it. The known cell says how large they
    should be; crystals whose axes are off by more than the tolerance of indexing, or in another order, do not count.
    """
    length = run.optics.camera_length_m
    if run.setting.cell is None or length is None or not run.cells_seen.n:
        return None
    known = np.array(run.setting.cell[:3])
    ratios = known / run.cells_seen.rows[:, :3]
    ratios = ratios[(np.abs(ratios - 1) < 2 * 0.05).all(axis=1)].mean(axis=1)
    if len(ratios) < ENOUGH_CELLS:
        return None
    offset = run.setting.detector.panels[0].corner_m[2]
    middle, error = float(np.median(ratios)), 1.2533 * float(ratios.std()) / np.sqrt(len(ratios))  # of a median
    return (length + offset) * middle - offset, (length + offset) * error, length


def _camera_length(run: RunStatistics) -> Finding | None:
    told = camera_length_m(run)
    if told is None:
        return None
    length, error, given = told
    if abs(length / given - 1) < LENGTH_OFF or abs(length - given) < SURE * error:
        return None
    text = f"the cells say {length * 1e3:.2f} mm of camera length, {(length - given) * 1e3:+.2f} mm from the geometry's"
    return Finding(WARNINGS, text, "correct clen, or the photon energy, which looks the same")


def _centre(run: RunStatistics) -> Finding | None:
    shifts = run.shifts_seen.rows
    if len(shifts) < ENOUGH_CELLS:
        return None
    pixel_mm = run.setting.detector.panels[0].pixel_size_m * 1e3
    x, y = np.median(shifts, axis=0)
    if np.hypot(x, y) < CENTRE_OFF_PIXELS * pixel_mm:
        return None
    text = f"the crystals move the beam centre by {x * 1e3:+.0f}, {y * 1e3:+.0f} µm ({np.hypot(x, y) / pixel_mm:.1f} pixels)"
    return Finding(WARNINGS, text, "the beam centre of the geometry is off")


def _background(run: RunStatistics) -> Finding | None:
    level, n = run.whole.ratio("background_misses", "misses_measured"), run.whole.sums("misses_measured")
    usual, recent = level[n > 0], run.recent.ratio("background_misses", "misses_measured")
    recent = recent[np.isfinite(recent)][-10:]
    if len(usual) < 30 or len(recent) < 5:
        return None
    before, now = float(np.median(usual)), float(np.median(recent))
    if before > 0 and now > BACKGROUND_RISE * before:
        advice = "ice, salt, a jet in the beam, or more beam: see the radial profile"
        return Finding(WARNINGS, f"the background rose from {before:.3g} to {now:.3g} ADU", advice)
    if before > 0 and now < BACKGROUND_FALL * before:
        return Finding(UNUSABLE, f"the background fell from {before:.3g} to {now:.3g} ADU", "is there beam?")
    return None


def _number(run: RunStatistics, *names: str) -> float:
    """Sum of some of the run's own numbers; what it does not tell is 0."""
    return sum(value for name in names if not isinstance(value := run.numbers.get(name, 0.0), str))


def _not_indexed(run: RunStatistics) -> Finding | None:
    """Hits that indexing had no room or no success for, apart from those that it tried and could not index."""
    lost, hits = _number(run, "indexing_dropped", "indexing_given_up"), run.counts["hits"]
    if hits < ENOUGH_CHUNKS or lost < LOST * hits:
        return None
    advice = "indexing is slower than the hits come: more workers, or index the rest afterwards"
    return Finding(WARNINGS, f"{int(lost):,} hits were not given to the indexer, {_share(lost, hits)}", advice)


def _lost(run: RunStatistics) -> Finding | None:
    lost, events = _number(run, "stream_lost"), run.counts["events"]
    if events + lost < ENOUGH_EVENTS or lost < LOST * (events + lost):
        return None
    level = UNUSABLE if lost > MOSTLY_LOST * (events + lost) else WARNINGS
    text = f"{int(lost):,} frames were lost, {_share(lost, events + lost)}"
    return Finding(level, text, "the sender is faster than the finder, or the network drops: more threads, or a GPU")


def _broken(run: RunStatistics) -> Finding | None:
    broken, events = run.counts["unusable"], run.counts["events"]
    if events + broken < ENOUGH_EVENTS or broken < BROKEN * (events + broken):
        return None
    level = UNUSABLE if broken > MOSTLY_BROKEN * (events + broken) else WARNINGS
    return Finding(level, f"{broken:,} events could not be used", f"the last: {run.unusable_reason}")


def _bad_pixels(run: RunStatistics) -> Finding | None:
    bad, good = _number(run, "bad_pixels"), int(run.good.sum())
    if bad < BAD_PIXELS * good:
        return None
    return Finding(
        WARNINGS, f"{int(bad):,} pixels were learned to be bad, {_share(bad, good)}", "look at the powder of misses"
    )


_RULES: tuple[Callable[[RunStatistics], Finding | None], ...] = (
    _no_hits, _lost, _not_indexed, _broken, _hit_rate_fell, _indexing, _saturated, _camera_length, _centre, _cell_drift, _background,
    _bad_pixels,
)  # fmt: skip
