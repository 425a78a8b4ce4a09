"""Compat or model: the exact classical algorithm, or the network behind the same call.

One argument chooses, or for a job that is not to be edited further the environment variable PEAKRT_MODE. The network does
better where it knows the distance of each pixel from the beam: PEAKRT_GEOMETRY names a CrystFEL .geom of the detector,
which also tells it the gain. PEAKRT_SERVE=1 lets the node's server find for all ranks (peakrt serve), which the first rank
starts.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt import NetworkConfig, PeakFinder
from peakrt.classical import as_frame, as_mask
from peakrt.peaks import PeakArray
from peakrt.remote import RemoteFinder
from peakrt_geometry import Detector, read_geom

MODES = ("compat", "model")


def choose(mode: str | None) -> str:
    """Mode of an argument, else of PEAKRT_MODE, else compat. Raises ValueError for another word."""
    chosen = mode or os.environ.get("PEAKRT_MODE") or MODES[0]
    if chosen not in MODES:
        raise ValueError(f"mode is {chosen!r}, it should be one of {', '.join(MODES)}")
    return chosen


_Mask = npt.NDArray[np.bool_] | None
_finders: dict[tuple[Any, ...], PeakFinder] = {}
_served: dict[tuple[Any, ...], tuple[_Mask, RemoteFinder]] = {}


def network_peaks(
    data: npt.ArrayLike, mask: Any, *, place: object = None, radius: npt.NDArray[np.float32] | None = None
) -> PeakArray:
    """Peaks of a frame by the network: PEAK, as the classical finders give them.

    data : (seg, row, col) or (row, col); mask : nonzero = good, any dtype and shape of as many pixels, or None
    radius : of each pixel, for where PEAKRT_GEOMETRY does not name a geometry
    place : what else tells detectors apart, such as a segment's number: what is learned of one (gain, bad pixels) is
    kept for it from call to call
    """
    frame = as_frame(data)
    key = (place, frame.shape)
    geometry = _geometry(os.environ.get("PEAKRT_GEOMETRY"), frame.size)
    shape = frame.shape if geometry is None else geometry.shape
    good = None if mask is None else as_mask(mask, shape).view(bool)
    whole = frame.reshape(shape)
    if os.environ.get("PEAKRT_SERVE") == "1":
        peaks = _serve(key, geometry, good)(whole)
    else:
        if key not in _finders:
            _finders[key] = PeakFinder(NetworkConfig(), geometry=geometry, radius=None if geometry else radius)
        peaks = _finders[key](whole, good)
    return _in_segments(peaks, shape[1], frame.shape[1])


def _serve(key: tuple[Any, ...], geometry: Detector | None, good: _Mask) -> RemoteFinder:
    """The server's finder of a key; another mask makes another."""
    known = _served.get(key)
    if known is not None:
        if known[0] is good or (known[0] is not None and good is not None and np.array_equal(known[0], good)):
            return known[1]
        known[1].close()
    _served[key] = (good, RemoteFinder(NetworkConfig(), geometry=geometry, mask=good, place=repr(key[0])))
    return _served[key][1]


@lru_cache(maxsize=8)
def _geometry(path: str | None, pixels: int) -> Detector | None:
    """Geometry that PEAKRT_GEOMETRY names, if it is of so many pixels: a single segment of it is found without."""
    if not path:
        return None
    geometry = read_geom(path)
    whole = int(np.prod(geometry.shape))
    if whole != pixels and whole % pixels:
        raise ValueError(
            f"PEAKRT_GEOMETRY: {path} is of frames of shape {geometry.shape}, the data have {pixels} pixels"
        )
    return geometry if whole == pixels else None


def _in_segments(peaks: PeakArray, height: int, rows: int) -> PeakArray:
    """Peaks of planes of a height as peaks of segments of so many rows."""
    if height == rows:
        return peaks
    out = peaks.copy()
    row = peaks["panel"] * height + peaks["top_ss"]
    out["panel"] = row // rows
    shift = out["panel"] * rows - peaks["panel"] * height
    for name in ("ss", "top_ss", "min_ss", "max_ss"):
        out[name] -= shift.astype(out[name].dtype)
    return out


def forget() -> None:
    """Forget what was learned: for the next run, or another detector of the same shape."""
    _geometry.cache_clear()
    _finders.clear()
    for _, remote in _served.values():
        remote.close()
    _served.clear()
