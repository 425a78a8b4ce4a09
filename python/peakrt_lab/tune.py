"""Tunes peakfinder8 as an expert would, but with the truth at hand: the best that thresholds can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from peakrt.config import Peakfinder8Config
from peakrt.event import Event
from peakrt.finder import PeakFinder
from peakrt_geometry import Detector

from .compare import Agreement, PeakSets, compare, finder_sets

#: What is tried, in turn, around the best so far; adc_threshold is in photons (or in sigmas of 1 ADU without a gain).
GRID: dict[str, Sequence[float]] = {
    "min_snr": (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0),
    "adc_threshold": (0.0, 1.5, 2.5, 4.0, 6.0, 10.0, 20.0),
    "min_pixels": (1, 2, 3, 4),
    "background_radius": (3, 4, 5, 6),
    "max_pixels": (30, 100, 500),
}


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
    Two rounds over GRID. Raises ValueError without events.
    """
    if not events:
        raise ValueError("there are no events to tune on")

    def judge(config: Peakfinder8Config) -> Agreement:
        return compare(
            truth, finder_sets(events, PeakFinder(config, geometry=detector)), distance=distance, min_snr=min_snr
        )

    best = Peakfinder8Config(adc_threshold=2.5 * gain)
    reached = judge(best)
    for _ in range(2):
        for name, values in GRID.items():
            for value in values:
                change: dict[str, Any] = {name: value * gain if name == "adc_threshold" else value}
                trial = replace(best, **change)
                result = judge(trial)
                if np.nan_to_num(result.f1) > np.nan_to_num(reached.f1) + 1e-4:
                    best, reached = trial, result
    return best, reached
