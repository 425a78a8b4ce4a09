"""Compat or model: the exact classical algorithm, or the candidate finder behind the same call.

A job that keeps its code chooses by environment variables, which peakrt.environment lists. In model mode that finder needs
the distance of each pixel from the beam. It is looked for in this order: the geometry file that PEAKRT_GEOMETRY names; the
radii that the call itself is given; the host program, where it holds the detector in this process. Where none knows it, the
finder is asked to be surer of its peaks, and a warning says so.

Nothing is learned from frames unless PEAKRT_BAD_PIXELS=learn asks for it or nobody knows the gain. So a job finds the same
peaks each time, whatever the number of its processes and whichever events each of them is given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt import CandidateConfig, PeakFinder
from peakrt.arrays import as_frame, as_mask
from peakrt.cxi.learned_file import LearnedFile, read_learned
from peakrt.environment import setting, warn_of_unknown
from peakrt.peaks import PeakArray
from peakrt.serve.remote import RemoteFinder
from peakrt_geometry import Detector, read_geom, read_psana_geometry

from .segments import of_segments

log = logging.getLogger("peakrt")
MODES = ("compat", "model")
#: Least score of a peak where the distance from the beam is unknown. In 24 events of examples/psana2 the model's own bar gives
#: recall .906 and precision .739 there, this one .848 and .857; psana's own finder has .828 and .789.
MIN_SCORE_WITHOUT_RADIUS = 0.85


@dataclass(frozen=True)
class HostDetector:
    """What a host program knows of the detector that a frame comes from.

    name : for messages; geometry : of the frame's pixels; gain : data units a photon, None where it is not known
    """

    name: str
    geometry: Detector
    gain: float | None = None


#: What a host adapter offers: given a frame and its place, the detector, or None.
Host = Callable[[npt.NDArray[Any], object], HostDetector | None]
_Mask = npt.NDArray[np.bool_] | None


def choose(mode: str | None) -> str:
    """Mode of an argument, else of PEAKRT_MODE, else compat. Raises ValueError for another word."""
    if mode and mode not in MODES:
        raise ValueError(f"mode is {mode!r}, it should be {' or '.join(MODES)}")
    return mode or str(setting("PEAKRT_MODE"))


def model_peaks(
    data: npt.ArrayLike,
    mask: Any,
    *,
    place: object = None,
    radius: npt.NDArray[np.float32] | None = None,
    host: Host | None = None,
) -> PeakArray:
    """Peaks of a frame by the candidate finder: PEAK, as the classical finders give them.

    data : (seg, row, col) or (row, col); mask : nonzero = good, any dtype and shape of as many pixels, or None
    radius : of each pixel, in pixels, as the call was given it
    place : what tells frames of one shape apart, such as a segment's number
    host : looks up the detector in the host program
    """
    frame = as_frame(data)
    known = None if host is None else host(frame, place)
    key = (place, frame.shape)
    if key not in _seats or _seats[key].known is not known:
        if key in _seats:
            _seats.pop(key).close()
        _seats[key] = _Seat(frame, place, known, radius)
    return _seats[key](frame, mask)


class _Seat:
    """The finder for frames of one shape and place, and what is known of their detector.

    Reads the environment once, when it is made.
    """

    def __init__(
        self,
        frame: npt.NDArray[Any],
        place: object,
        known: HostDetector | None,
        radius: npt.NDArray[np.float32] | None,
    ) -> None:
        warn_of_unknown()
        self.known, self._place = known, repr(place)
        geometry = _geometry_of(setting("PEAKRT_GEOMETRY"), frame.shape, place)
        if geometry is None and radius is None and known is not None:
            log.info("%s: its geometry is taken from the host program", known.name)
            geometry = known.geometry
        self._geometry, self._radius = geometry, None if geometry is not None else radius
        self._shape = frame.shape if geometry is None else geometry.shape
        learned = learned_of(setting("PEAKRT_LEARNED"))
        segment = place if isinstance(place, int) and frame.shape[0] == 1 else None
        self._good = None if learned is None else learned.good(frame.shape, segment).reshape(self._shape)
        unplaced = geometry is None and radius is None
        gain = known_gain(geometry, learned, known)
        self._config = candidate_config(gain, MIN_SCORE_WITHOUT_RADIUS if unplaced else None)
        if unplaced:
            log.warning(
                "nothing says where the beam meets these frames of shape %s: fewer peaks are found than could be. "
                "Set PEAKRT_GEOMETRY to the detector's CrystFEL .geom or psana .data",
                frame.shape,
            )
        self._served = bool(setting("PEAKRT_SERVE"))
        if self._served and self._radius is not None:
            log.warning("PEAKRT_SERVE: the server takes radii only from PEAKRT_GEOMETRY, this process finds by itself")
            self._served = False
        self._finder: PeakFinder | None = None
        self._remote: tuple[_Mask, RemoteFinder] | None = None

    def __call__(self, frame: npt.NDArray[Any], mask: Any) -> PeakArray:
        good = self._good
        if mask is not None:
            given = as_mask(mask, self._shape).view(bool)
            good = given if good is None else good & given
        whole = frame.reshape(self._shape)
        if self._served:
            peaks = self._server_for(good)(whole)
        else:
            if self._finder is None:
                self._finder = PeakFinder(self._config, geometry=self._geometry, radius=self._radius)
            peaks = self._finder(whole, good)
        return _in_segments(peaks, self._shape[1], frame.shape[1])

    def _server_for(self, good: _Mask) -> RemoteFinder:
        """The server's finder for a mask; another mask makes another."""
        if self._remote is not None:
            before, remote = self._remote
            if before is good or (before is not None and good is not None and np.array_equal(before, good)):
                return remote
            remote.close()
        self._remote = (good, RemoteFinder(self._config, geometry=self._geometry, mask=good, place=self._place))
        return self._remote[1]

    def close(self) -> None:
        """Leave the server."""
        if self._remote is not None:
            self._remote[1].close()


_seats: dict[tuple[Any, ...], _Seat] = {}


def known_gain(geometry: Detector | None, learned: LearnedFile | None, known: HostDetector | None) -> float | None:
    """Data units a photon by PEAKRT_GAIN, else PEAKRT_LEARNED, the geometry or the host; None: to be estimated."""
    offers = [setting("PEAKRT_GAIN")]
    offers += [] if learned is None else [learned.gain]
    offers += [] if geometry is None else [geometry.photon_gain]
    offers += [] if known is None else [known.gain]
    gain = next((float(offer) for offer in offers if offer is not None), None)
    if gain is None:
        log.warning(
            "the gain is estimated by each process from the first of its frames that can tell it, and peaks may differ a "
            "little from job to job: PEAKRT_GAIN or PEAKRT_LEARNED fixes it"
        )
    return gain


def candidate_config(gain: float | None, min_score: float | None = None) -> CandidateConfig:
    """Options of the candidate finder in a host program: bad pixels are learned only where PEAKRT_BAD_PIXELS asks for it."""
    return CandidateConfig(gain=gain, min_score=min_score, bad_pixels=str(setting("PEAKRT_BAD_PIXELS")))


def learned_of(path: Path | None) -> LearnedFile | None:
    """What the CXI that PEAKRT_LEARNED names knows of the detector; None where it names none."""
    return None if path is None else read_learned(path, said_by="PEAKRT_LEARNED")


def _geometry_of(path: Path | None, shape: tuple[int, ...], place: object) -> Detector | None:
    """Geometry that PEAKRT_GEOMETRY names, of frames of a shape; for one of its segments, which place numbers, its part."""
    if path is None:
        return None
    geometry = read_psana_geometry(path) if path.suffix == ".data" else read_geom(path)
    pixels, whole = int(np.prod(shape)), int(np.prod(geometry.shape))
    if whole == pixels:
        return geometry
    if whole % pixels or not isinstance(place, int) or shape[0] != 1 or shape[2] != geometry.shape[2]:
        raise ValueError(f"PEAKRT_GEOMETRY: {path} is of frames of shape {geometry.shape}, the data have shape {shape}")
    slab = geometry if geometry.shape[0] == 1 else geometry.as_slab(geometry.panels[0].data or "/data")
    return of_segments(slab, shape[1], [place])


def _in_segments(peaks: PeakArray, height: int, rows: int) -> PeakArray:
    """Peaks of panels of a height as peaks of segments of so many rows."""
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
    """Read the environment anew at the next frame, and forget what was learned."""
    for seat in _seats.values():
        seat.close()
    _seats.clear()
