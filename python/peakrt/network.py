"""Propose and judge: the network's finder, and what it learns of a detector while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .bad_pixels import BadPixels
from .classical import whole_panels
from .config import NetworkConfig
from .gain import GainCurve
from .model import Model
from .peaks import PeakArray
from .propose import Proposer

log = logging.getLogger("peakrt")
Engine = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


class DetectorLore:
    """What is learned of a detector over frames, shared by the finders of all threads.

    gain : ADU a photon, None until known; bad : pixels that stay bright, None until the first frame
    """

    def __init__(self, gain: float | None) -> None:
        self.lock = threading.Lock()
        self.gain = gain
        self.curve = GainCurve()
        self.frames_without_gain = 0
        self.bad: BadPixels | None = None

    def bad_pixels(self, shape: tuple[int, ...]) -> BadPixels:
        """The map, made for frames of a shape."""
        with self.lock:
            if self.bad is None or self.bad.bad.shape != shape:
                self.bad = BadPixels(shape)
            return self.bad


class NetworkFinder:
    """Finds the peaks of frames of one mask: candidates in units of sigma, judged by a network.

    good : (panel, ss, fs); radius : of each pixel, None takes background and noise from tiles instead
    asics : (n, 5), None: the panels
    """

    def __init__(
        self,
        good: npt.NDArray[np.bool_],
        radius: npt.NDArray[np.float32] | None,
        asics: npt.NDArray[np.int32] | None,
        config: NetworkConfig,
        *,
        model: Model,
        engine: Engine,
        lore: DetectorLore,
    ) -> None:
        rows = whole_panels(good.shape) if asics is None else asics
        self._proposer, self._gains = Proposer(good, radius, asics=rows), GainKeeper(good, rows, lore)
        self._config, self._engine, self._lore = config, engine, lore
        self._least = model.least_scores(config.min_score)

    def clone(self) -> NetworkFinder:
        """A finder that shares plan, engine and lore but may run in another thread."""
        twin = object.__new__(NetworkFinder)
        twin.__dict__.update(self.__dict__)
        twin._proposer = self._proposer.clone()
        return twin

    def __call__(self, frame: npt.NDArray[Any]) -> PeakArray:
        """Find the peaks of one frame: a PEAK array, ASIC by ASIC in raster order."""
        self._proposer.propose(frame, self.gain_for(frame))
        numbers = self._proposer.describe()
        scores = self._engine(numbers)
        if self._config.bad_pixels == "learn":
            candidates = self._proposer.candidates
            bad = self._lore.bad_pixels(frame.shape)
            bad.learn(candidates, numbers)
            scores = np.where(bad.suspects(candidates), np.float32(0), scores)
        return self._proposer.measure(scores, *self._least)

    def plan_arrays(self) -> dict[str, Any]:
        """What a device needs of the proposer's plan."""
        return self._proposer.plan_arrays()

    def gain_for(self, frame: npt.NDArray[Any]) -> float:
        """ADU a photon: known, or of the first frame that tells it."""
        return self._gains(frame, self._proposer)


class GainKeeper:
    """Gives the gain of frames: what is known, or what the frames so far say once they can tell.

    good : (panel, ss, fs); asics : (n, 5); lore : where it is kept
    """

    def __init__(self, good: npt.NDArray[np.bool_], asics: npt.NDArray[np.int32], lore: DetectorLore) -> None:
        self._good, self._asics, self._lore = good, asics, lore

    def __call__(self, frame: npt.NDArray[Any], proposer: Proposer) -> float:
        """ADU a photon for a frame; the proposer's candidates may be gone afterwards."""
        lore = self._lore
        if lore.gain is not None:
            return lore.gain
        with lore.lock:
            if lore.gain is None:
                provisional = _cautious_gain(frame, self._good)
                lore.frames_without_gain += 1
                if not _worth_a_look(lore.frames_without_gain):
                    return provisional
                proposer.propose(frame, provisional)
                lore.curve.add(frame, self._good, self._asics, proposer.noise["noise5"])
                lore.gain = lore.curve.gain()
                if lore.gain is None:
                    return provisional
                log.info("gain estimated from %d frames: %.3g ADU a photon", lore.curve.frames, lore.gain)
            return lore.gain


def _worth_a_look(number: int) -> bool:
    """Whether a frame's photon transfer is measured, which takes a tenth of a second: the first ten, then ever fewer.

    number : of the frames that did not tell the gain, from 1
    """
    return number <= 10 or number & (number - 1) == 0


def _cautious_gain(frame: npt.NDArray[Any], good: npt.NDArray[np.bool_]) -> float:
    """ADU a photon on a frame too dark to tell: six sigmas of its noise, about what integrating detectors have.

    Too high a gain only misses faint peaks; too low a one takes single photons for peaks.
    """
    values = frame[good][::97].astype(np.float64)
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.16, 0.84]) if len(values) else (0.0, 0.0)
    return max(3 * float(high - low), 1.0 if frame.dtype.kind in "iu" else 1e-6)
