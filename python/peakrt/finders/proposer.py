"""Candidates of a frame: every place, in units of sigma, that might be a peak, and the numbers that describe each."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _native
from ..arrays import GoodPixels, as_frame, as_mask, check_asics, whole_panels
from ..peaks import PEAK, PeakArray

#: One candidate, field for field the ``struct Candidate`` of ``csrc/include/peakrt/propose.hpp``.
CANDIDATE = np.dtype(
    [
        ("asic", np.int32),
        ("panel", np.int32),
        ("ss", np.int32),
        ("fs", np.int32),
        ("z", np.float32),  # of the pixel, in sigmas above the mean around
        ("s3", np.float32),  # of the sum of 3 x 3 pixels
        ("s5", np.float32),  # of the sum of 5 x 5 pixels
        ("local", np.float32),  # mean of z around
    ]
)

#: Names of the numbers that describe a candidate, in order (``csrc/include/peakrt/features.hpp``).
FEATURES: tuple[str, ...] = _native.FEATURES
#: What the network that weighs scores by their frame is told, and how many weights it has
#: (``csrc/include/peakrt/frame_network.hpp``).
FRAME_INPUTS: tuple[str, ...] = _native.FRAME_INPUTS
FRAME_WEIGHTS: int = _native.FRAME_WEIGHTS
#: Channels of the segmentation model's input, in order (``csrc/include/peakrt/segmentation_input.hpp``).
SEGMENTATION_INPUTS = ("height", "level", "good")
SEGMENTATION_CHANNELS = len(SEGMENTATION_INPUTS)
_TILE = 32  # pixels: without a geometry, background and noise are those of a tile of this size


class Proposer:
    """Proposes candidates, and measures those that are peaks; holds the plan of one geometry and mask.

    mask : (panel, ss, fs), nonzero = good
    radius : (panel, ss, fs) distance from the beam axis in pixels; None: background and noise come from tiles
    asics : (n, 5) panel, min_ss, end_ss, min_fs, end_fs; None: whole panels
    Raises ValueError for shapes that differ.
    """

    def __init__(
        self,
        mask: npt.ArrayLike,
        radius: npt.NDArray[np.float32] | None = None,
        *,
        asics: npt.NDArray[np.int32] | None = None,
    ) -> None:
        shape = np.shape(mask)
        if len(shape) != 3:
            raise ValueError(f"mask has shape {shape}, it should be (panel, ss, fs)")
        if radius is not None and np.shape(radius) != shape:
            raise ValueError(f"radius has shape {np.shape(radius)}, the mask {shape}")
        rows = whole_panels(shape) if asics is None else np.ascontiguousarray(asics, np.int32)
        check_asics(rows, shape)
        bins = _tiles(shape, rows) if radius is None else np.ascontiguousarray(radius, np.float32)
        self.shape = shape
        self._plan = _native.ProposerPlan(as_mask(mask, shape), bins, rows, radius is not None)
        self._native = _native.Proposer(self._plan)

    def clone(self) -> Proposer:
        """A proposer of the same plan for another thread."""
        return self._of_plan(self._plan)

    def with_good(self, good: GoodPixels) -> Proposer:
        """A proposer of another mask: equal to a new one, and made in a fraction of the time.

        Raises ValueError for a mask of another number of pixels.
        """
        return self._of_plan(self._plan.with_mask(good.bits))

    def _of_plan(self, plan: _native.ProposerPlan) -> Proposer:
        other = object.__new__(Proposer)
        other.shape, other._plan, other._native = self.shape, plan, _native.Proposer(plan)
        return other

    def propose(self, frame: npt.ArrayLike, gain: float) -> int:
        """Find the candidates of a frame, keep them for describe() and measure(), and return their number.

        frame : (panel, ss, fs); gain : ADU a photon. Raises ValueError for another shape or a gain not above 0.
        """
        self._take(frame, gain)
        return self._native.propose(self._frame, gain)

    def segmentation_inputs(self, frame: npt.ArrayLike, gain: float) -> npt.NDArray[np.float32]:
        """The input of the segmentation model: (panel, SEGMENTATION_CHANNELS, ss, fs), zeros where a pixel is bad.

        Channels: half the signed log1p of the height in sigmas; a fifth of the logarithm of sigma^2 in photons; 1 where
        good. frame, gain : as for :meth:`propose`, whose candidates are gone afterwards.
        """
        self._take(frame, gain)
        panels, n_ss, n_fs = self.shape
        out = np.empty((panels, SEGMENTATION_CHANNELS, n_ss, n_fs), np.float32)
        self._native.segmentation_inputs(self._frame, gain, out)
        return out

    def _take(self, frame: npt.ArrayLike, gain: float) -> None:
        self._frame = as_frame(frame)
        if self._frame.shape != self.shape:
            raise ValueError(f"frame has shape {self._frame.shape}, the mask {self.shape}")
        if not gain > 0 or not np.isfinite(gain):
            raise ValueError(f"gain is {gain} ADU a photon, it should be above 0")
        self._gain = gain

    def plan_arrays(self) -> dict[str, Any]:
        """The plan's arrays and numbers, copied: what a device needs of it."""
        return self._plan.arrays()

    @property
    def candidates(self) -> npt.NDArray[np.void]:
        """The candidates: CANDIDATE, ASIC by ASIC in raster order."""
        return self._native.candidates(CANDIDATE)

    @candidates.setter
    def candidates(self, rows: npt.NDArray[np.void]) -> None:
        """Put others in their place, for measure(): in the same order."""
        self._native.set_candidates(np.ascontiguousarray(rows, CANDIDATE))

    @property
    def noise(self) -> dict[str, Any]:
        """Background, 1 / sigma and sigma^2 in photons by bin, the noise of sums, candidates beyond the capacity.

        crowded : whether the frame was searched once more, with tighter clips
        """
        return self._native.tables()

    def describe(self) -> npt.NDArray[np.float32]:
        """The FEATURES of each candidate, which the model is given, (n, len(FEATURES))."""
        return self._native.describe(self._frame)

    def measure(self, scores: npt.NDArray[np.float32], min_score: float, in_hits: float | None = None) -> PeakArray:
        """Peaks of the candidates that score at least min_score and best within 3 pixels: a PEAK array.

        scores : (n,), one a candidate
        in_hits : what does in a frame where ten candidates reach min_score; by default min_score too
        Centroids are Gaussian-windowed (Bertin & Arnouts, A&AS 117 (1996) 393) or, on sharp peaks, of nine pixels.
        Raises ValueError for another number of scores than candidates.
        """
        scores, in_hits = np.ascontiguousarray(scores, np.float32), min_score if in_hits is None else in_hits
        if scores.ndim != 1:
            raise ValueError(f"scores have shape {scores.shape}, they should be one a candidate")
        return self._native.measure(self._frame, self._gain, scores, min_score, in_hits, PEAK)


def weigh_scores(
    numbers: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Weigh each candidate's score by what the others of its frame say; a score of 0 stays.

    numbers : (n, len(FEATURES)); scores : (n,) of the first network; weights : (FRAME_WEIGHTS,)
    Raises ValueError for other shapes.
    """
    return _native.weigh_scores(numbers, np.ascontiguousarray(scores, np.float32), weights)


def _tiles(shape: tuple[int, ...], asics: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Number of the tile that each pixel lies in."""
    out = np.zeros(shape, np.float32)
    side, first = _TILE, 0
    while sum(-(-(r[2] - r[1]) // side) * -(-(r[4] - r[3]) // side) for r in asics.astype(int)) > 60000:
        side *= 2
    for panel, min_ss, end_ss, min_fs, end_fs in asics:
        columns = -(-(end_fs - min_fs) // side)
        ss, fs = np.arange(end_ss - min_ss)[:, None] // side, np.arange(end_fs - min_fs)[None] // side
        out[panel, min_ss:end_ss, min_fs:end_fs] = first + ss * columns + fs
        first += -(-(end_ss - min_ss) // side) * columns
    return out
