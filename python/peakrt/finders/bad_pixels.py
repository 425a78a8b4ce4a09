"""Bad pixels learned over frames.

One frame cannot tell a peak of one pixel from a hot pixel; many can: crystals come in new orientations, hot pixels stay.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _native
from .proposer import FEATURES

_HEIGHT, _AROUND = FEATURES.index("height_poisson"), FEATURES.index("around3_poisson")
#: A pixel is bad once it stood alone in this many frames, and in this share of all; the GPU's rule is the same.
LEAST_FRAMES, LEAST_SHARE, _CLEAR, _DARK = _native.BAD_PIXEL
#: A pixel's count in a saved state: its place in the flattened frame, the frames in which it stood alone, and whether it
#: counts as bad.
COUNTED_PIXEL = np.dtype([("pixel", np.int64), ("times", np.uint16), ("bad", np.uint8)])
#: Frames after which counts are halved: what matters is recent, and they are of 16 bits.
AGE = 60000


class BadPixels:
    """Counts in how many frames each pixel stood out while its neighbours were dark.

    shape : (panel, ss, fs). Threads may share one. Even a crystal that does not move lights neighbours as well.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._lock = threading.Lock()
        self._times = np.zeros(shape, np.uint16)
        self._bad = np.zeros(shape, bool)
        self._near = np.zeros(shape, bool)
        self.frames = 0

    @property
    def times(self) -> npt.NDArray[np.uint16]:
        """In how many frames each pixel stood alone: (panel, ss, fs)."""
        return self._times

    @property
    def bad(self) -> npt.NDArray[np.bool_]:
        """The bad pixels found so far: (panel, ss, fs)."""
        return self._bad

    @property
    def near(self) -> npt.NDArray[np.bool_]:
        """The bad pixels and those beside them: (panel, ss, fs)."""
        return self._near

    def suspects(self, candidates: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
        """Which candidates lie on a bad pixel or beside one."""
        return self._near[candidates["panel"], candidates["ss"], candidates["fs"]]

    def counted(self) -> npt.NDArray[np.void]:
        """Every pixel that stood alone in some frame: COUNTED_PIXEL, in the order of the frame's pixels."""
        with self._lock:
            pixels = np.flatnonzero(self._times.ravel() | self._bad.ravel())
            rows = np.zeros(len(pixels), COUNTED_PIXEL)
            rows["pixel"], rows["times"], rows["bad"] = pixels, self._times.flat[pixels], self._bad.flat[pixels]
        return rows

    def restore(self, frames: int, rows: npt.NDArray[np.void]) -> None:
        """Take a saved state in place of what was learned. Raises ValueError for pixels outside the frame."""
        if len(rows) and not 0 <= rows["pixel"].min() <= rows["pixel"].max() < self._times.size:
            raise ValueError(f"the saved bad pixels are not of frames of shape {self._times.shape}")
        with self._lock:
            self.frames = frames
            self._times[...], self._bad[...], self._near[...] = 0, False, False
            self._times.flat[rows["pixel"]] = rows["times"]
            marked = rows["pixel"][rows["bad"] != 0]
            for panel, ss, fs in zip(*np.unravel_index(marked, self._times.shape), strict=True):
                self._mark(panel, ss, fs)

    def replace(self, frames: int, times: npt.NDArray[Any], bad: npt.NDArray[np.bool_]) -> None:
        """Take the counts that a GPU holds in place of these: (panel, ss, fs) each."""
        with self._lock:
            self.frames = frames
            self._times[...] = np.minimum(times, np.iinfo(np.uint16).max)
            for panel, ss, fs in np.argwhere(bad & ~self._bad):
                self._mark(panel, ss, fs)

    def _mark(self, panel: int, ss: int, fs: int) -> None:
        self._bad[panel, ss, fs] = True
        self._near[panel, max(0, ss - 1) : ss + 2, max(0, fs - 1) : fs + 2] = True

    def learn(self, candidates: npt.NDArray[np.void], numbers: npt.NDArray[np.float32]) -> None:
        """Take the candidates of one more frame: CANDIDATE, and the numbers that describe them."""
        alone = (numbers[:, _HEIGHT] > _CLEAR) & (numbers[:, _AROUND] < _DARK)
        at = tuple(candidates[name][alone] for name in ("panel", "ss", "fs"))
        with self._lock:
            self.frames += 1
            if self.frames == AGE:
                self._times //= 2
                self.frames //= 2
            self._times[at] += 1
            often = (self._times[at] >= max(LEAST_FRAMES, LEAST_SHARE * self.frames)) & ~self._bad[at]
            for panel, ss, fs in zip(*(axis[often] for axis in at), strict=True):  # each pixel but once in a run
                self._mark(panel, ss, fs)
