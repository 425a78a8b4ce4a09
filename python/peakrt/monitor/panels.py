"""The panels as JSON: what the page draws and what an eLog may take. Numbers have five digits; null is no number."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry.panels import HC_EV_M

from .cells import as_picture
from .history import History, percentile_of_counts
from .statistics import (
    AXES,
    BINS_A_DECADE,
    DECADES,
    MOST_PEAKS,
    RADIAL_BINS,
    RESOLUTION_BINS,
    WITHIN,
    RunStatistics,
)
from .verdict import camera_length_m, judge, last_minute

#: Bars of a histogram.
_BARS = 60
#: Peaks that are drawn on the newest hit.
_MOST_DRAWN = 1000
#: Of the JSON; raised when a key changes its meaning or goes.
SCHEMA = 1


def overview(run: RunStatistics, *, now: float | None = None) -> dict[str, Any]:
    """The numbers of a run and its verdict. now : of the axis while the run goes on, None once it is over."""
    counts = run.counts
    length = camera_length_m(run)
    optics = run.optics
    cells = run.cells_seen.rows
    return {
        "schema": SCHEMA,
        "title": run.setting.title,
        "axis": run.setting.axis,
        "running": now is not None,
        "from": _number(run.first_at, 13),
        "to": _number(run.last_at, 13),
        "counts": dict(counts),
        "hit_rate": _of(counts["hits"], counts["events"]),
        "indexing_rate": _of(counts["indexed"], counts["chunks"]),
        "several_lattices": _of(counts["several"], counts["indexed"]),
        "saturated_hits": _of(counts["saturated"], counts["hits"]) if run.saturation_ADU else None,
        "peaks_per_hit": _of(counts["peaks"], counts["hits"]),
        "hit_rate_now": _of(*(float(last_minute(run, name)) for name in ("hits", "events"))),
        "indexing_rate_now": _of(*(float(last_minute(run, name)) for name in ("indexed", "chunks"))),
        "events_per_s": rate_now(run, now),
        "min_peaks": run.setting.min_peaks,
        "detector": run.setting.detector.name,
        "camera_length_mm": None if optics.camera_length_m is None else _number(optics.camera_length_m * 1e3),
        "photon_energy_eV": _number(run.photon_energy_eV or optics.photon_energy_eV),
        "camera_length_of_cells_mm": None if length is None else [_number(value * 1e3) for value in length[:2]],
        "cell": None if not len(cells) else dict(zip(AXES, numbers(np.median(cells, axis=0)), strict=True)),
        "cell_expected": None if run.setting.cell is None else list(run.setting.cell),
        "beam_centre_shift_um": numbers(np.median(run.shifts_seen.rows, axis=0) * 1e3) if run.shifts_seen.n else None,
        "resolution_A": _resolution(run),
        "numbers": {name: value if isinstance(value, str) else _number(value) for name, value in run.numbers.items()},
        "last_unusable": run.unusable_reason,
        "verdict": judge(run, now).as_record(),
        "pictures": dict(run.versions),
    }


def rate_now(run: RunStatistics, now: float | None) -> float | None:
    """Events a second of the last 20 s, or of the whole run once it is over; None along event numbers."""
    if run.setting.axis != "time" or run.first_at is None or run.last_at is None:
        return None
    if now is None:
        return _of(run.counts["events"], run.last_at - run.first_at)
    recent = run.recent
    times, events = recent.times, recent.sums("events")
    since = max(now - 20.0, run.first_at)
    return _of(float(events[times > since].sum()), now - since)


def _resolution(run: RunStatistics) -> float | None:
    """Median over the hits of the resolution that nine in ten of their peaks do not exceed, A."""
    if not run.optics.known:
        return None
    counts = run.whole.sums("resolution").sum(axis=0, keepdims=True)
    q = percentile_of_counts(counts, run.optics.edges(RESOLUTION_BINS), 0.5)[0] if counts.size else np.nan
    return _number(10 / q) if q > 0 else None


def series(run: RunStatistics, scope: str) -> dict[str, Any]:
    """What is drawn against time: of the whole run, or of its last 20 minutes ("recent")."""
    history = run.recent if scope == "recent" else run.whole
    resolution = {}
    if run.optics.known:
        edges = run.optics.edges(RESOLUTION_BINS)
        counts = history.sums("resolution")
        with np.errstate(divide="ignore", invalid="ignore"):
            for name, share in (("best", 0.9), ("median", 0.5), ("worst", 0.1)):
                resolution[f"resolution_{name}"] = numbers(10 / percentile_of_counts(counts, edges, share))
    columns: dict[str, list[float | None]] = {
        "hit_rate": numbers(100 * history.ratio("hits", "events")),
        "events_per_s": numbers(_finished(history) / history.width) if run.setting.axis == "time" else [],
        "peaks_per_hit": numbers(history.ratio("peaks", "hits")),
        "indexing_rate": numbers(100 * history.ratio("indexed", "chunks")),
        "several": numbers(100 * history.ratio("several", "indexed")),
        "saturated": numbers(100 * history.ratio("saturated", "hits")) if run.saturation_ADU else [],
        "background_hits": numbers(history.ratio("background_hits", "hits_measured")),
        "background_misses": numbers(history.ratio("background_misses", "misses_measured")),
        "shift_x": numbers(1e3 * history.ratio("shift_x", "shifts")),
        "shift_y": numbers(1e3 * history.ratio("shift_y", "shifts")),
        "energy": numbers(history.ratio("energy", "energies")),
        **{axis: numbers(history.ratio(axis, "cells")) for axis in AXES},
        **resolution,
    }
    known = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    own = {}
    for name, number in run.number_history.items():
        of_scope = number.recent if scope == "recent" else number.whole
        own[name] = {"at": numbers(of_scope.times, 13), "value": numbers(of_scope.ratio("value", "times"))}
    return {"axis": run.setting.axis, "width": history.width, "at": numbers(history.times, 13), **known, "numbers": own}


def _finished(history: History) -> npt.NDArray[np.float64]:
    """Events of each bin; NaN for the last one, which is not full yet."""
    events = history.sums("events").copy()
    if len(events):
        events[-1] = np.nan
    return events


def histograms(run: RunStatistics) -> dict[str, Any]:
    """Peaks a frame, the peakogram, and the cells."""
    return {
        "peaks_a_frame": _peaks_a_frame(run),
        "peakogram": _peakogram(run),
        "cells": {axis: _cell_histogram(run, place) for place, axis in enumerate(AXES)} if run.cells_seen.n else None,
        "crystals": min(run.cells_seen.n, len(run.cells_seen.values)),
    }


def _peaks_a_frame(run: RunStatistics) -> dict[str, Any] | None:
    counts = run.peaks_a_frame
    total = counts.sum()
    if not total:
        return None
    # Up to where one event in a thousand has more; all beyond is the last bar.
    reach = int(np.searchsorted(np.cumsum(counts), 0.999 * total)) + 1
    step = max(1, -(-reach // _BARS))
    n = max(1, -(-reach // step))
    bars = np.add.reduceat(counts, np.arange(0, MOST_PEAKS + 1, step))
    bars[n - 1] += bars[n:].sum()
    return {"step": step, "counts": bars[:n].tolist(), "min_peaks": run.setting.min_peaks}


def _peakogram(run: RunStatistics) -> dict[str, Any] | None:
    table = run.peakogram
    rows = np.flatnonzero(table.any(axis=1))
    if not len(rows):
        return None
    first, end = int(rows[0]), int(rows[-1]) + 1
    return {
        "counts": table[first:end].tolist(),
        "low_decade": DECADES[0] + first / BINS_A_DECADE,
        "high_decade": DECADES[0] + end / BINS_A_DECADE,
        "farthest": _number(run.optics.farthest),
        "unit": run.optics.unit,
        "saturation": run.saturation_ADU,
    }


def _cell_histogram(run: RunStatistics, place: int) -> dict[str, Any]:
    """Histogram of a cell's number around its median; what lies outside is counted apart."""
    values = run.cells_seen.rows[:, place]
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    reach = max(6 * spread, 2e-3 * middle)
    counts, edges = np.histogram(values, _BARS, (middle - reach, middle + reach))
    inside = values[np.abs(values - middle) <= reach]
    return {
        "low": _number(edges[0]),
        "high": _number(edges[-1]),
        "counts": counts.tolist(),
        "outside": int(len(values) - counts.sum()),
        "median": _number(middle),
        "sd": _number(inside.std() if len(inside) > 1 else None),
        "expected": None if run.setting.cell is None else run.setting.cell[place],
    }


def radial(run: RunStatistics) -> dict[str, Any]:
    """The radial profile of the newest frames, and of all along time."""
    edges = run.optics.edges(RADIAL_BINS)
    times, frames = run.profiles.times, run.profiles.sums("frames")
    used = frames > 0
    table = run.profiles.sums("profile")[used] / frames[used, None] if used.any() else np.zeros((0, RADIAL_BINS))
    return {
        "unit": run.optics.unit,
        "radius": numbers((edges[1:] + edges[:-1]) / 2),
        "newest": {kind: numbers(profile) for kind, profile in run.last_profile.items()},
        "mean": numbers(table.mean(axis=0)) if len(table) else [],
        "at": numbers(times[used], 13),
        "picture": as_picture(table[::-1].astype(np.float32)) if len(table) else None,
    }


def picture(run: RunStatistics, name: str) -> dict[str, Any] | None:
    """The newest hit or a powder, with its rings; None where there is none yet. Raises KeyError for an unknown name."""
    made: dict[str, Any]
    if name == "hit":
        if run.hit is None:
            return None
        made = as_picture(run.hit.image)
        made |= {
            "unit": "ADU",
            "title": run.hit.name,
            "heading": run.hit_is,
            "at": _number(run.hit.at, 13),
            "n_peaks": len(run.hit.peaks),
        }
        made["peaks"] = _places(run, run.hit.peaks)
    elif name == "powder_peaks":
        if run.powder_of_peaks is None:
            return None
        made = as_picture(run.powder_of_peaks) | {"unit": "peaks", "title": f"peaks of {run.counts['hits']:,} hits"}
    else:
        powder = {"powder_hits": run.powder_hits, "powder_misses": run.powder_misses}[name]
        if powder.image is None:
            return None
        kind = name.removeprefix("powder_")
        made = as_picture(powder.image) | {
            "unit": "ADU",
            "title": f"maximum of {'all' if powder.whole else f'{powder.frames:,}'} {kind}",
        }
    cells = run.picture_cells
    x, y = cells.place(0.0, 0.0)
    made["centre"] = [_number(float(x)), _number(float(y))]
    made["rings"] = [[d, _number(radius * 1e-3 / cells.cell_m)] for d, radius in run.optics.rings]
    optics = run.optics
    if optics.known and optics.camera_length_m and optics.photon_energy_eV:
        away = optics.camera_length_m + run.setting.detector.panels[0].corner_m[2]
        made["distance"] = _number(away / cells.cell_m)
        made["wavelength_A"] = _number(HC_EV_M / optics.photon_energy_eV * 1e10)
    made["cell_pixels"], made["cell_mm"] = cells.factor, _number(cells.cell_m * 1e3)
    return made


def _places(run: RunStatistics, peaks: npt.NDArray[np.void]) -> list[list[float | None]]:
    """Column and row of the strongest peaks in the picture."""
    if len(peaks) > _MOST_DRAWN:
        peaks = peaks[np.argsort(peaks["intensity"])[-_MOST_DRAWN:]]
    x, y, _ = run.setting.detector.lab_position_m(peaks["panel"], peaks["ss"], peaks["fs"])
    places = np.stack(run.picture_cells.place(x, y), axis=1)
    return [numbers(place) for place in places[np.isfinite(places).all(axis=1)]]


def everything(run: RunStatistics, *, now: float | None = None) -> dict[str, Any]:
    """All panels but the pictures, for an eLog."""
    return {
        "overview": overview(run, now=now),
        "series": series(run, "whole"),
        "histograms": histograms(run),
        "radial": {key: value for key, value in radial(run).items() if key != "picture"},
        "resolution_is_of": f"the peak that {WITHIN:.0%} of a hit's peaks do not exceed",
    }


def numbers(values: npt.ArrayLike, digits: int = 5) -> list[float | None]:
    """Numbers for JSON, with so many digits; None for what is no number."""
    return [_number(value, digits) for value in np.asarray(values, np.float64).tolist()]


def _number(value: float | None, digits: int = 5) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.{digits}g}")


def _of(part: float, whole: float) -> float | None:
    return _number(part / whole) if whole > 0 else None
