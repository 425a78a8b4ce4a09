"""The candidate finder: proposes candidates, lets a model score them, and learns of the detector while it runs."""

from __future__ import annotations

import logging
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import GoodPixels
from ..config import CandidateConfig
from ..contracts import BatchFinder, FrameFinder, Setup
from ..peaks import PeakArray
from .learned import Learned, Turn
from .proposer import FEATURES, Proposer, weigh_scores

log = logging.getLogger("peakrt")


class CandidateFinder:
    """Finds the peaks of frames of one mask: candidates in units of sigma, scored by a model.

    setup : with a CandidateConfig, a model and what runs it; without a radius, background and noise come from tiles
    """

    def __init__(self, setup: Setup) -> None:
        assert isinstance(setup.config, CandidateConfig)
        assert setup.model is not None
        assert setup.engine is not None
        rows = setup.asic_rows
        self._engine, self._learned = setup.engine, setup.learned
        self._proposer = Proposer(setup.good, setup.radius, asics=rows)
        self._gains = GainEstimator(GoodPixels.of(setup.good, setup.good.shape), rows, setup.learned)
        self._learns = setup.config.bad_pixels == "learn"
        self._frame_weights = setup.model.frame_weights
        self._min_scores = setup.model.least_scores(setup.config.min_score)

    def clone(self) -> CandidateFinder:
        """A finder that shares plan, engine and what is learned but may run in another thread."""
        other = copy(self)
        other._proposer = self._proposer.clone()
        return other

    def __call__(self, frame: npt.NDArray[Any], turn: Turn | None = None) -> PeakArray:
        """Find the peaks of one frame: a PEAK array, ASIC by ASIC in raster order.

        turn : this event's place among those that other threads hold; it learns when all earlier ones have
        """
        self._proposer.propose(frame, self.gain_for(frame, turn))
        numbers = self._proposer.describe()
        scores = self._engine(numbers)
        if self._learns:
            candidates = self._proposer.candidates
            if turn is not None:
                turn.wait()
            bad = self._learned.bad_pixels(frame.shape)
            bad.learn(candidates, numbers)
            scores = np.where(bad.suspects(candidates), np.float32(0), scores)
            if turn is not None:
                turn.passed()
        if self._frame_weights is not None:
            scores = weigh_scores(numbers, scores, self._frame_weights)
        return self._proposer.measure(scores, *self._min_scores)

    def with_good(self, good: GoodPixels) -> CandidateFinder:
        """One for another mask, of a plan made from this one's; all else is shared."""
        other = copy(self)
        other._proposer = self._proposer.with_good(good)
        other._gains = self._gains.with_good(good)
        return other

    def plan_arrays(self) -> dict[str, Any]:
        """What a device needs of the proposer's plan."""
        return self._proposer.plan_arrays()

    def gain_for(self, frame: npt.NDArray[Any], turn: Turn | None = None) -> float:
        """ADU a photon: known, or estimated from the first frame that allows it."""
        return self._gains(frame, self._proposer, turn)


def on_cpu(setup: Setup) -> FrameFinder:
    """The finder on the CPU."""
    return CandidateFinder(setup)


def on_gpu(setup: Setup, dtype: np.dtype[Any], engine: str, cpu: FrameFinder) -> BatchFinder:
    """The finder on a GPU; engine "cuda" runs the model by a kernel of ours, "tensorrt" by TensorRT."""
    from ..gpu.candidate import CudaCandidateFinder
    from ..models.engine_tensorrt import engine_for

    assert isinstance(cpu, CandidateFinder)
    assert setup.model is not None
    by_tensorrt = None
    if engine == "tensorrt":
        model = setup.model
        by_tensorrt = lambda rows: engine_for(model, (rows, len(FEATURES)))  # noqa: E731
    return CudaCandidateFinder(setup, cpu=cpu, dtype=dtype, engine=by_tensorrt)


class GainEstimator:
    """Gives the gain of frames: what is known, or what the frames so far say once they can tell.

    asics : (n, 5); learned : where it is kept
    """

    def __init__(self, good: GoodPixels, asics: npt.NDArray[np.int32], learned: Learned) -> None:
        self._good, self._asics, self._learned = good, asics, learned

    def with_good(self, good: GoodPixels) -> GainEstimator:
        """One for frames of another mask."""
        return GainEstimator(good, self._asics, self._learned)

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
                provisional = _cautious_gain(frame, self._good.array)
                learned.frames_without_gain += 1
                if not _worth_a_look(learned.frames_without_gain):
                    return provisional
                proposer.propose(frame, provisional)
                learned.curve.add(frame, self._good.array, self._asics, proposer.noise["noise5"])
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
