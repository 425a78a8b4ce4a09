"""Where each pixel of a detector lies in reciprocal space, as far as the run says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector, HeaderValue

from ..pictures.draw import rings_mm

Floats = npt.NDArray[np.float64]


class Optics:
    """The radial coordinate of each pixel: 1/d in 1/nm, or pixels from the beam where length or energy are not known.

    detector : of the frames; camera_length_m, photon_energy_eV : of an event, None where it does not say
    coordinate : (panel, ss, fs) float32; farthest : of the pixels on a panel; unit : "1/nm" or "pixels"
    """

    def __init__(self, detector: Detector, camera_length_m: float | None, photon_energy_eV: float | None) -> None:
        self.camera_length_m = _number(camera_length_m, detector.camera_length)
        self.photon_energy_eV = _number(photon_energy_eV, detector.photon_energy)
        self.known = self.camera_length_m is not None and self.photon_energy_eV is not None
        self.unit = "1/nm" if self.known else "pixels"
        passing = replace(detector)  # it keeps maps of every pixel, which go with it
        if self.known:
            self.coordinate = passing.resolution(
                camera_length_m=self.camera_length_m, photon_energy_eV=self.photon_energy_eV
            )
        else:
            self.coordinate = np.where(passing.covered, passing.radius, np.float32(0))
        self.farthest = float(self.coordinate.max()) or 1.0
        self.rings = rings_mm(detector, self.camera_length_m, self.photon_energy_eV)

    def edges(self, bins: int) -> Floats:
        """Edges of even bins from the beam to the farthest pixel."""
        return np.linspace(0, self.farthest * (1 + 1e-6), bins + 1)


def _number(of_event: float | None, of_detector: float | HeaderValue | None) -> float | None:
    """What an event says, else the geometry's number; None for neither."""
    value = of_event if of_event is not None else of_detector
    return float(value) if isinstance(value, int | float) else None


class RadialSample:
    """A few hundred pixels at each radius, whose mean without peaks is the radial profile of a frame.

    coordinate : (panel, ss, fs) of Optics; good : pixels that count; edges : of the bins
    """

    PER_BIN = 256
    #: Rounds of leaving out what is CUT standard deviations above the mean: peaks, which are rare at any radius.
    _ROUNDS, _CUT = 3, 6.0

    def __init__(self, coordinate: npt.NDArray[np.float32], good: npt.NDArray[np.bool_], edges: Floats) -> None:
        bins = np.digitize(coordinate.ravel(), edges) - 1
        pixels = np.flatnonzero(good.ravel() & (bins >= 0) & (bins < len(edges) - 1)).astype(np.int64)
        pixels = pixels[np.argsort(bins[pixels], kind="stable")]
        ends = np.searchsorted(bins[pixels], np.arange(len(edges)))
        self._pixels = np.zeros((len(edges) - 1, self.PER_BIN), np.int64)
        for row, (first, end) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
            if end > first:  # evenly over the ring: a ring of fewer pixels repeats some
                self._pixels[row] = pixels[np.linspace(first, end - 1, self.PER_BIN).astype(np.int64)]
        self.weights = np.diff(ends).astype(np.float64)

    def profile(self, frame: npt.NDArray[Any], good: npt.NDArray[np.bool_]) -> Floats:
        """Mean of each bin without peaks, NaN for a bin without good pixels. frame, good : (panel, ss, fs)"""
        values = frame.reshape(-1)[self._pixels].astype(np.float64)
        used = good.reshape(-1)[self._pixels] & np.isfinite(values) & (self.weights[:, None] > 0)
        values[~used] = 0
        for _ in range(self._ROUNDS):
            n = np.maximum(used.sum(axis=1, keepdims=True), 1)
            mean = (values * used).sum(axis=1, keepdims=True) / n
            spread = np.sqrt(np.maximum((values**2 * used).sum(axis=1, keepdims=True) / n - mean**2, 0))
            used &= values <= mean + self._CUT * spread
        n = used.sum(axis=1)
        return np.where(n > 0, (values * used).sum(axis=1) / np.maximum(n, 1), np.nan)
