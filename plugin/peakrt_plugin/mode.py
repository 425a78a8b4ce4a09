"""Compat or model: the exact classical algorithm, or the network behind the same call.

One argument chooses, or for a job that is not to be edited further the environment variable PEAKRT_MODE.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt import NetworkConfig, PeakFinder
from peakrt.classical import as_frame
from peakrt.peaks import PeakArray

MODES = ("compat", "model")


def choose(mode: str | None) -> str:
    """Mode of an argument, else of PEAKRT_MODE, else compat. Raises ValueError for another word."""
    chosen = mode or os.environ.get("PEAKRT_MODE") or MODES[0]
    if chosen not in MODES:
        raise ValueError(f"mode is {chosen!r}, it should be one of {', '.join(MODES)}")
    return chosen


_finders: dict[tuple[Any, ...], PeakFinder] = {}


def network_peaks(data: npt.ArrayLike, mask: Any, *, place: object = None) -> PeakArray:
    """Peaks of a frame by the network: PEAK, as the classical finders give them.

    data : (seg, row, col) or (row, col); mask : nonzero = good, any dtype and shape of as many pixels, or None
    place : what else tells detectors apart, such as a segment's number: what is learned of one (gain, bad pixels) is
    kept for it from call to call
    """
    frame = as_frame(data)
    key = (place, frame.shape)
    if key not in _finders:
        _finders[key] = PeakFinder(NetworkConfig())
    good = None
    if mask is not None:
        array = np.asarray(mask)
        if array.size != frame.size:
            raise ValueError(f"mask has shape {array.shape}, the data {frame.shape}")
        good = array.reshape(frame.shape) != 0
    return _finders[key](frame, good)


def forget() -> None:
    """Forget what was learned: for the next run, or another detector of the same shape."""
    _finders.clear()
