"""Propose and judge: the network's finder, and what it learns of a detector while it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import whole_panels
from ..config import NetworkConfig
from ..models.model_file import Model
from ..peaks import PeakArray
from .learned import Learned, Turn
from .proposer import Proposer

log = logging.getLogger("peakrt")
Engine = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


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
        learned: Learned,
    ) -> None:
        rows = whole_panels(good.shape) if asics is None else asics
        self._proposer, self._gains = Proposer(good, radius, asics=rows), GainKeeper(good, rows, learned)
        self._config, self._engine, self._learned = config, engine, learned
        self._least = model.least_scores(config.min_score)

    def clone(self) -> NetworkFinder:
        """A finder that shares plan, engine and what is learned but may run in another thread."""
        twin = object.__new__(NetworkFinder)
        twin.__dict__.update(self.__dict__)
        twin._proposer = self._proposer.clone()
        return twin

    def __call__(self, frame: npt.NDArray[Any], turn: Turn | None = None) -> PeakArray:
        """Find the peaks of one frame: a PEAK array, ASIC by ASIC in raster order.

        turn : this event's place among those that other threads hold; it learns when all earlier ones have
        """
        self._proposer.propose(frame, self.gain_for(frame, turn))
        numbers = self._proposer.describe()
        scores = self._engine(numbers)
        if self._config.bad_pixels == "learn":
            candidates = self._proposer.candidates
            if turn is not None:
                turn.wait()
            bad = self._learned.bad_pixels(frame.shape)
            bad.learn(candidates, numbers)
            scores = np.where(bad.suspects(candidates), np.float32(0), scores)
            if turn is not None:
                turn.passed()
        return self._proposer.measure(scores, *self._least)

    def plan_arrays(self) -> dict[str, Any]:
        """What a device needs of the proposer's plan."""
        return self._proposer.plan_arrays()

    def gain_for(self, frame: npt.NDArray[Any], turn: Turn | None = None) -> float:
        """ADU a photon: known, or estimated from the first frame that allows it."""
        return self._gains(frame, self._proposer, turn)


class GainKeeper:
    """Gives the gain of frames: what is known, or what the frames so far say once they can tell.

    good : (panel, ss, fs); asics : (n, 5); learned : where it is kept
    """

    def __init__(self, good: npt.NDArray[np.bool_], asics: npt.NDArray[np.int32], learned: Learned) -> None:
        self._good, self._asics, self._learned = good, asics, learned

    def __call__(self, frame: npt.NDArray[Any], proposer: Proposer, turn: Turn | None = None) -> float:
        """ADU a photon for a frame; the proposer's candidates may be gone afterwards.

        While the gain is not known, events take turns: which frames told it must not depend on the threads.
        """
        learned = self._learned
        if learned.gain is not None:
            return learned.gain
        if turn is not None:
            turn.wait()
        with learned.lock:
            if learned.gain is None:
                provisional = _cautious_gain(frame, self._good)
                learned.frames_without_gain += 1
                if not _worth_a_look(learned.frames_without_gain):
                    return provisional
                proposer.propose(frame, provisional)
                learned.curve.add(frame, self._good, self._asics, proposer.noise["noise5"])
                learned.gain = learned.curve.gain()
                if learned.gain is None:
                    return provisional
                log.info("gain estimated from %d frames: %.3g ADU a photon", learned.curve.frames, learned.gain)
            return learned.gain


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
