"""The dense network's finder: a class for every pixel, connected components of peak pixels, and an automatic mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import asic_numbers, whole_panels
from ..config import DenseConfig
from ..models.model_file import Model
from ..peaks import PeakArray
from .candidate import Engine, GainKeeper
from .components import label_asics
from .learned import Learned, Turn
from .proposer import CANDIDATE, Proposer

#: Classes of the PeakNet papers.
BACKGROUND, PEAK_CLASS, ARTIFACT = range(3)


class DenseFinder:
    """Finds the peaks of frames of one mask, and their artifacts.

    good : (panel, ss, fs); radius : of each pixel, None takes background and noise from tiles instead
    asics : (n, 5), None: the panels; engine : given inputs (n, channel, ss, fs) gives probabilities of the classes
    """

    def __init__(
        self,
        good: npt.NDArray[np.bool_],
        radius: npt.NDArray[np.float32] | None,
        asics: npt.NDArray[np.int32] | None,
        config: DenseConfig,
        *,
        model: Model,
        engine: Engine,
        learned: Learned,
    ) -> None:
        rows = whole_panels(good.shape) if asics is None else asics
        self._good, self._asics, self._asic_of = good, rows, asic_numbers(good.shape, rows)
        self._proposer = Proposer(good, radius, asics=rows)
        self._engine, self._threshold = engine, model.least_scores(config.min_score)[0]
        self._gains = GainKeeper(good, rows, learned)

    def clone(self) -> DenseFinder:
        """A finder that shares plan, engine and what is learned but may run in another thread."""
        twin = object.__new__(DenseFinder)
        twin.__dict__.update(self.__dict__)
        twin._proposer = self._proposer.clone()
        return twin

    def plan_arrays(self) -> dict[str, Any]:
        """What a device needs of the proposer's plan."""
        return self._proposer.plan_arrays()

    def gain_for(self, frame: npt.NDArray[Any], turn: Turn | None = None) -> float:
        """ADU a photon: known, or estimated from the first frame that allows it."""
        return self._gains(frame, self._proposer, turn)

    def __call__(self, frame: npt.NDArray[Any], turn: Turn | None = None) -> PeakArray:
        """Find the peaks of one frame: a PEAK array, ASIC by ASIC in raster order.

        turn : this event's place among those that other threads hold
        """
        inputs = self._proposer.dense_inputs(frame, self.gain_for(frame, turn))
        probabilities = self._ask(inputs)
        peak = probabilities[:, PEAK_CLASS]
        labels, n = label_asics((peak >= self._threshold) & self._good, self._asics)
        at = np.nonzero(labels)
        number, height = labels[at] - 1, inputs[at[0], 0, at[1], at[2]]
        # Of each component its brightest pixel stands for it, of equals the first; its score is the component's best.
        order = np.lexsort((-height, number))
        tops = order[np.searchsorted(number[order], np.arange(n))]
        scores = np.zeros(n, np.float32)
        np.maximum.at(scores, number, peak[at])
        rows = np.zeros(n, CANDIDATE)
        for name, axis in zip(("panel", "ss", "fs"), at, strict=True):
            rows[name] = axis[tops]
        rows["asic"] = self._asic_of[rows["panel"], rows["ss"], rows["fs"]]
        raster = np.lexsort((rows["fs"], rows["ss"], rows["asic"]))
        self._proposer.candidates = rows[raster]
        return self._proposer.measure(scores[raster], 0.0)

    def artifacts(self, frame: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Pixels of one frame whose likeliest class is artifact: (panel, ss, fs)."""
        probabilities = self._ask(self._proposer.dense_inputs(frame, self.gain_for(frame)))
        return (probabilities.argmax(1) == ARTIFACT) & self._good

    def _ask(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probabilities of each pixel's classes: (panel, class, ss, fs). The network wants even sides."""
        n_ss, n_fs = inputs.shape[2:]
        if n_ss % 2 or n_fs % 2:
            inputs = np.pad(inputs, ((0, 0), (0, 0), (0, n_ss % 2), (0, n_fs % 2)))
        return self._engine(inputs)[:, :, :n_ss, :n_fs]
