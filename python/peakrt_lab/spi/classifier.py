"""One particle, or something else: small trees, trained on patterns that are simulated for the experiment at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from ..calibration import platt
from .features import Measurer
from .patterns import KINDS, Particles, Simulator

#: Patterns of each kind that are simulated for training, and the share of them that calibrates.
TRAINING, _CALIBRATES = 300, 0.25
_OPTIONS = {
    "objective": "binary", "num_leaves": 15, "learning_rate": 0.07, "min_data_in_leaf": 20, "feature_fraction": 0.6,
    "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 2.0, "verbose": -1, "seed": 1, "deterministic": True,
    "num_threads": 1,
}  # fmt: skip
_ROUNDS = 200


@dataclass(frozen=True)
class Classifier:
    """Trees and the line that calibrates their logits (Platt)."""

    trees: Any
    sharpness: float
    bias: float

    def __call__(self, numbers: npt.NDArray[np.float32], share: float = 1 / len(KINDS)) -> npt.NDArray[np.float64]:
        """P(single) of rows of Measured.numbers, where that share of all patterns are single."""
        logit = self.sharpness * np.asarray(self.trees.predict(numbers, raw_score=True), np.float64) + self.bias
        prior = np.log(share / (1 - share)) - np.log(1 / (len(KINDS) - 1))
        return np.asarray(1 / (1 + np.exp(-logit - prior)))


def measured_patterns(
    detector: Detector, particles: Particles, measurer: Measurer, kinds: npt.NDArray[np.str_], seed: int
) -> npt.NDArray[np.float32]:
    """Numbers (n, features) of simulated patterns of these kinds."""
    simulator = Simulator(detector, particles, seed)
    return np.array([measurer(simulator.pattern(k, str(kind))).numbers for k, kind in enumerate(kinds)])


def train(
    detector: Detector, particles: Particles, measurer: Measurer, *, each: int | None = None, seed: int = 1
) -> Classifier:
    """Train on simulated patterns, each (TRAINING) of a kind; a quarter of them calibrates."""
    import lightgbm

    kinds = np.random.default_rng(seed).permutation(np.repeat(np.array(KINDS), each or TRAINING))
    numbers, single = measured_patterns(detector, particles, measurer, kinds, seed), kinds == KINDS[0]
    cut = int(len(kinds) * (1 - _CALIBRATES))
    trees = lightgbm.train(_OPTIONS, lightgbm.Dataset(numbers[:cut], single[:cut].astype(np.float32)), _ROUNDS)
    logit = np.asarray(trees.predict(numbers[cut:], raw_score=True), np.float32)
    return Classifier(trees, *platt(logit, single[cut:]))
