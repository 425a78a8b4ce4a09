"""Tunes peakfinder8 and v3r3 as an expert would, but with the truth at hand: the best that thresholds can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from peakrt.config import Peakfinder8Config, V3r3Config
from peakrt.event import Event
from peakrt.finder import PeakFinder
from peakrt_geometry import Detector

from .compare import Agreement, PeakSets, compare, finder_sets

Config = TypeVar("Config", Peakfinder8Config, V3r3Config)

#: What is tried, in turn, around the best so far; thresholds of PHOTONS are in photons (or ADU without a gain).
GRID: dict[str, Sequence[float]] = {
    "min_snr": (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0),
    "adc_threshold": (0.0, 1.5, 2.5, 4.0, 6.0, 10.0, 20.0),
    "min_pixels": (1, 2, 3, 4),
    "background_radius": (3, 4, 5, 6),
    "max_pixels": (30, 100, 500),
}
V3R3_GRID: dict[str, Sequence[float]] = {
    "son_min": (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0),
    "nsigm": (1.5, 2.0, 3.0, 4.0, 5.0, 7.0),
    "amax_thr": (0.0, 1.5, 2.5, 4.0, 6.0, 10.0),
    "atot_thr": (0.0, 2.5, 5.0, 10.0, 20.0),
    "rank": (2, 3, 4, 5),
    "r0": (3.0, 4.0, 5.0, 7.0),
    "dr": (1.0, 2.0, 3.0),
    "npix_min": (1, 2, 3),
    "npix_max": (30, 100, 500),
}
PHOTONS = ("adc_threshold", "amax_thr", "atot_thr")


def tune(
    events: Sequence[Event],
    truth: PeakSets,
    detector: Detector,
    *,
    gain: float,
    distance: float = 3.0,
    min_snr: float = 4.0,
) -> tuple[Peakfinder8Config, Agreement]:
    """Coordinate search for the options of peakfinder8 with the highest F1; returns them and what they reach.

    events : to tune on, numbered as truth is; gain : ADU a photon; min_snr : true peaks below need not be found
    Raises ValueError without events.
    """
    judge = _judge(events, truth, detector, distance, min_snr)
    return search(Peakfinder8Config(adc_threshold=2.5 * gain), GRID, judge, gain=gain)


def tune_v3r3(
    events: Sequence[Event],
    truth: PeakSets,
    detector: Detector,
    *,
    gain: float,
    distance: float = 3.0,
    min_snr: float = 4.0,
) -> tuple[V3r3Config, Agreement]:
    """The same for v3r3, from LUTE's options with thresholds of 3 and 5 photons."""
    judge = _judge(events, truth, detector, distance, min_snr)
    return search(V3r3Config(amax_thr=3 * gain, atot_thr=5 * gain), V3R3_GRID, judge, gain=gain)


def _judge(
    events: Sequence[Event], truth: PeakSets, detector: Detector, distance: float, min_snr: float
) -> Callable[[Peakfinder8Config | V3r3Config], Agreement]:
    if not events:
        raise ValueError("there are no events to tune on")

    def judge(config: Peakfinder8Config | V3r3Config) -> Agreement:
        found = finder_sets(events, PeakFinder(config, geometry=detector))
        return compare(truth, found, distance=distance, min_snr=min_snr)

    return judge


def search(
    start: Config, grid: Mapping[str, Sequence[float]], judge: Callable[[Config], Agreement], *, gain: float
) -> tuple[Config, Agreement]:
    """Two rounds over a grid, one option after the other, each left at what gives the highest F1."""
    best, reached = start, judge(start)
    for _ in range(2):
        for name, values in grid.items():
            for value in values:
                change: dict[str, Any] = {name: value * gain if name in PHOTONS else value}
                trial = replace(best, **change)
                if trial == best:
                    continue
                result = judge(trial)
                if np.nan_to_num(result.f1) > np.nan_to_num(reached.f1) + 1e-4:
                    best, reached = trial, result
    return best, reached
