"""Jungfraujoch's spot finding with its self-calibrating threshold, written afresh from its public descriptions.

Two sources. Of the threshold: the words on ``adaptive_threshold`` and ``false_pixels_per_frame`` in the interface of
jfjoch-client 1.0.0rc179: a threshold for each ring of resolution, derived from the image's own noise, so that so many noise
pixels are tolerated in a frame. How the noise becomes a threshold is not said there; here it is the negative binomial
distribution with the ring's mean and variance. Of the rest: the published source of 2023 (``SpotFinder.cu``,
``StrongPixelSet.cpp``, and the settings of its web page): the test of a pixel against its neighbourhood, what a spot is, where
it lies. An optional limit of the interface is kept as it is by default: spots beyond a gap in resolution are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from peakrt.cxi.reader import SlabPeaks
from peakrt_geometry import Detector

#: Half the side of the window of the local test, pixels; width of a ring in q, 1/A.
WINDOW, RING = 5, 0.05
#: Rounds in which a ring's statistics are taken again without what is above its threshold; counts above MOST count as MOST.
ROUNDS, MOST = 4, 1023


@dataclass(frozen=True)
class JungfraujochConfig:
    """Options, with the defaults of the interface, and of the web page of 2023 where the interface has none."""

    false_pixels: float = 100.0  # tolerated in a frame
    signal_to_noise: float = 3.0  # of a pixel over its window
    min_pixels: int = 2
    max_pixels: int = 50
    gap: float = 1.5  # in q, 1/A; spots on its far side are dropped


#: What is tried of the options, as in tune.GRIDS.
GRID: dict[str, Sequence[float]] = {
    "false_pixels": (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
    "signal_to_noise": (3.0, 4.0, 5.0, 6.0),
    "min_pixels": (1, 2, 3),
}


class Jungfraujoch:
    """The finder for one detector, with beam and distance as its geometry has them."""

    def __init__(self, config: JungfraujochConfig, detector: Detector) -> None:
        self.config = config
        self.q = 2 * np.pi * detector.resolution() / 10  # the geometry has 1/d in 1/nm
        self.good = detector.mask

    @cached_property
    def _ring(self) -> npt.NDArray[np.int64]:
        return np.floor(self.q / RING).astype(np.int64)

    def __call__(self, photons: npt.NDArray[np.int32]) -> SlabPeaks:
        """Spots of a frame, (panel, ss, fs) in whole photons; below 0 is a bad pixel."""
        from scipy.ndimage import label

        good = self.good & (photons >= 0)
        strong = good & (photons > ring_thresholds(photons, good, self._ring, self.config.false_pixels)[self._ring])
        at = np.argwhere(strong)
        kept = stands_out(photons, good, at, self.config.signal_to_noise)
        strong[tuple(at[~kept].T)] = False
        pixels = tuple(at[kept].T)
        eight = np.zeros((3, 3, 3), bool)  # neighbours within a panel, corners among them
        eight[1] = True
        labels, n = label(strong, eight)
        spot, weight = labels[pixels] - 1, photons[pixels].astype(np.float64)
        intensity = np.bincount(spot, weight, n).astype(np.float64)
        panel, ss, fs = (np.bincount(spot, weight * axis, n).astype(np.float64) / intensity for axis in pixels)
        spots = SlabPeaks(panel * photons.shape[1] + ss, fs, intensity, np.full(n, np.nan))
        size = np.bincount(spot, minlength=n)
        q = self.q[tuple(np.rint([panel, ss, fs]).astype(np.int64))]
        wanted = (size >= self.config.min_pixels) & (size <= self.config.max_pixels)
        wanted[wanted] = _before_gap(q[wanted], self.config.gap)
        return spots.only(wanted)


def ring_thresholds(
    photons: npt.NDArray[np.int32], good: npt.NDArray[np.bool_], ring: npt.NDArray[np.int64], false_pixels: float
) -> npt.NDArray[np.float64]:
    """Photons of each ring that so many noise pixels of a frame exceed.

    Spots do not count as noise: what is above the threshold is left out of the statistics, and they are taken again.
    """
    from scipy.stats import nbinom

    n = int(ring.max()) + 1
    which = ring[good] * (MOST + 1) + np.minimum(photons[good], MOST)
    histogram = np.bincount(which, minlength=n * (MOST + 1)).reshape(n, MOST + 1)
    share = min(false_pixels / max(1, len(which)), 0.5)
    count = np.arange(MOST + 1)
    median = (histogram.cumsum(1) * 2 < histogram.sum(1, keepdims=True)).sum(1)
    threshold = median + 5 * np.sqrt(median + 1.0)  # so that no bright spot makes the first estimate
    for _ in range(ROUNDS):
        noise = np.where(count <= threshold[:, None], histogram, 0)
        pixels = np.maximum(1, noise.sum(1))
        mean = np.maximum(noise @ count / pixels, 1e-6)
        # A little above Poisson's, which is the limit
        variance = np.maximum(noise @ count**2 / pixels - mean**2, mean * 1.001)
        # In scipy's terms; no more pixels than the share are above it
        threshold = nbinom.isf(share, mean**2 / (variance - mean), mean / variance)
    return threshold


def stands_out(
    photons: npt.NDArray[np.int32], good: npt.NDArray[np.bool_], at: npt.NDArray[np.int64], sigmas: float
) -> npt.NDArray[np.bool_]:
    """Whether pixels (panel, ss, fs) are so many standard deviations above the mean of the others in their window.

    Windows end at the edge of the panel; bad pixels do not count.
    """
    pad = ((0, 0), (WINDOW, WINDOW), (WINDOW, WINDOW))
    padded, here = np.pad(np.where(good, photons, 0), pad), np.pad(good, pad)
    step = np.arange(2 * WINDOW + 1)
    window = at[:, 0, None, None], at[:, 1, None, None] + step[:, None], at[:, 2, None, None] + step
    values, pixels = padded[window].astype(np.float64), here[window].sum((1, 2)) - 1
    own = photons[tuple(at.T)].astype(np.float64)
    total, squares = values.sum((1, 2)) - own, (values**2).sum((1, 2)) - own**2
    n = np.maximum(2, pixels)
    mean = total / n
    deviation = np.sqrt(np.maximum(squares - n * mean**2, 0) / (n - 1))
    return (pixels > 1) & (own > mean) & (own - mean > sigmas * deviation)


def _before_gap(q: npt.NDArray[np.floating], gap: float) -> npt.NDArray[np.bool_]:
    """Spots on the near side of the first gap in q."""
    order = np.sort(q)
    far = order[1:][np.diff(order) >= gap]
    return q < (far[0] if len(far) else np.inf)
