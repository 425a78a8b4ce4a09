"""Which indexed frames teach: those that their crystals explain, chosen so that peaks of every kind are among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from peakrt.cxi.reader import SlabPeaks
from peakrt_geometry import Detector

#: Classes of peaks: rings of equally many pixels, SNR, and a 3 x 3 grid over the detector.
RINGS, SNR_EDGES, GRID = 4, (5.0, 10.0, 30.0), 3
CLASSES = RINGS * (len(SNR_EDGES) + 1) * GRID * GRID


@dataclass(frozen=True)
class Classes:
    """Sorts peaks by resolution, brightness and place on a detector."""

    detector: Detector
    ring_edges_px: npt.NDArray[np.float64]
    low_m: npt.NDArray[np.float64]
    high_m: npt.NDArray[np.float64]

    @classmethod
    def of(cls, detector: Detector) -> Classes:
        """The classes of a detector."""
        on = detector.covered
        edges = np.quantile(detector.radius[on][::7].astype(np.float64), np.arange(1, RINGS) / RINGS)
        x, y = detector.x_m[on], detector.y_m[on]
        return cls(detector, edges, np.array([x.min(), y.min()]), np.array([x.max(), y.max()]))

    def count(self, peaks: SlabPeaks) -> npt.NDArray[np.int64]:
        """How many of some peaks are of each class: (CLASSES,)."""
        panel, ss = self.detector.from_slab(peaks.ss)
        shape = self.detector.shape
        at = (
            panel,
            *(
                np.clip(np.rint(place).astype(int), 0, n - 1)
                for place, n in zip((ss, peaks.fs), shape[1:], strict=True)
            ),
        )
        ring = np.searchsorted(self.ring_edges_px, self.detector.radius[at])
        bright = np.searchsorted(SNR_EDGES, np.nan_to_num(peaks.snr))
        place = np.c_[self.detector.x_m[at], self.detector.y_m[at]]
        cell = np.clip((GRID * (place - self.low_m) / (self.high_m - self.low_m)).astype(int), 0, GRID - 1)
        which = np.ravel_multi_index((ring, bright, cell[:, 0], cell[:, 1]), (RINGS, len(SNR_EDGES) + 1, GRID, GRID))
        return np.bincount(which, minlength=CLASSES)


def spread(counts: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Choose patterns so that their peaks are of as many kinds as can be.

    counts : (pattern, class) peaks; most : patterns to choose
    Returns their numbers, in the order of choice: each adds most to the sum over classes of the square root of the peaks in
    it, which a class that has many does not gain by (Wei, Iyer & Bilmes, ICML 2015, feature-based submodular functions).
    """
    total = np.zeros(counts.shape[1])
    left = np.arange(len(counts))
    chosen: list[int] = []
    while len(left) and len(chosen) < most:
        gains = (np.sqrt(total + counts[left]) - np.sqrt(total)).sum(1)
        best = int(np.argmax(gains))
        chosen.append(int(left[best]))
        total += counts[left[best]]
        left = np.delete(left, best)
    return np.array(chosen, np.int64)
