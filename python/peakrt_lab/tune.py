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

#: A frozen dataclass of options.
Config = TypeVar("Config", bound=Any)

#: What is tried of each finder's options, in turn, around the best so far; PHOTONS are in photons (or ADU without a gain).
GRIDS: dict[str, dict[str, Sequence[float]]] = {}
GRIDS["peakfinder8"] = {
    "min_snr": (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0),
    "adc_threshold": (0.0, 1.5, 2.5, 4.0, 6.0, 10.0, 20.0),
    "min_pixels": (1, 2, 3, 4),
    "background_radius": (3, 4, 5, 6),
    "max_pixels": (30, 100, 500),
}
GRIDS["v3r3"] = {
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
PHOTONS = ("adc_threshold", "amax_thr", "atot_thr", "min_sig")


def start_of(finder: str, gain: float) -> Peakfinder8Config | V3r3Config:
    """The options that a search begins with: peakfinder8's defaults with a threshold of 2.5 photons, or LUTE's of v3r3 with
    3 and 5 photons.

    gain : ADU a photon. Raises ValueError for a finder that is not tuned.
    """
    if finder not in GRIDS:
        raise ValueError(f"finder is {finder!r}, tuned are {' and '.join(GRIDS)}")
    if finder == "v3r3":
        return V3r3Config(amax_thr=3 * gain, atot_thr=5 * gain)
    return Peakfinder8Config(adc_threshold=2.5 * gain)


def tune(
    finder: str,
    events: Sequence[Event],
    truth: PeakSets,
    detector: Detector,
    *,
    gain: float,
    distance: float = 3.0,
    min_snr: float = 4.0,
) -> tuple[Peakfinder8Config | V3r3Config, Agreement]:
    """Coordinate search for the options of a finder with the highest F1; returns them and what they reach.

    finder : one of GRIDS; events : to tune on, numbered as truth is; gain : ADU a photon
    min_snr : true peaks below need not be found
    Raises ValueError without events and for another finder.
    """
    start = start_of(finder, gain)
    if not events:
        raise ValueError("there are no events to tune on")

    def agreement(config: Peakfinder8Config | V3r3Config) -> Agreement:
        found = finder_sets(events, PeakFinder(config, geometry=detector))
        return compare(truth, found, distance=distance, min_snr=min_snr)

    return search(start, GRIDS[finder], agreement, gain=gain)


def search(
    start: Config, grid: Mapping[str, Sequence[float]], agreement: Callable[[Config], Agreement], *, gain: float
) -> tuple[Config, Agreement]:
    """Two rounds over a grid, one option after the other, each left at what gives the highest F1."""
    best, reached = start, agreement(start)
    for _ in range(2):
        for name, values in grid.items():
            for value in values:
                change: dict[str, Any] = {name: value * gain if name in PHOTONS else value}
                trial = replace(best, **change)
                if trial == best:
                    continue
                result = agreement(trial)
                if np.nan_to_num(result.f1) > np.nan_to_num(reached.f1) + 1e-4:
                    best, reached = trial, result
    return best, reached
