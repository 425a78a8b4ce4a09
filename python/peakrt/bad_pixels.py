"""Bad pixels learned over frames.

One frame cannot tell a peak of one pixel from a hot pixel; many can: crystals come in new orientations, hot pixels stay.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from . import _native
from .propose import FEATURES

_HEIGHT, _AROUND = FEATURES.index("height_poisson"), FEATURES.index("around3_poisson")
#: A pixel is bad once it stood alone in this many frames, and in this share of all; the GPU's rule is the same.
LEAST_FRAMES, LEAST_SHARE, _CLEAR, _DARK = _native.BAD_PIXEL
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

    def take(self, bad: npt.NDArray[np.bool_]) -> None:
        """Add bad pixels that another has learned: (panel, ss, fs)."""
        with self._lock:
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
