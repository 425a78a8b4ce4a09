"""Gradient-boosted trees on the candidates' numbers: the judge's rival and teacher. Needs lightgbm.

Ke et al., NeurIPS 30 (2017) 3146.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .dataset import Candidates

Floats = npt.NDArray[np.float32]
#: The trees that a training leaves in its folder.
TREES = "trees.txt"
_OPTIONS = {
    "objective": "binary",
    "num_leaves": 31,
    "learning_rate": 0.06,
    "min_data_in_leaf": 80,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "feature_fraction": 0.6,
    "lambda_l2": 5,
    "verbose": -1,
    "seed": 1,
    "deterministic": True,
}


def train(data: Candidates, *, rounds: int = 300, threads: int = 2) -> Any:
    """Fit trees to labelled candidates; returns a lightgbm Booster."""
    import lightgbm

    known = data.only(data.labels != 2)
    labelled = lightgbm.Dataset(known.numbers, (known.labels == 1).astype(np.float32), weight=known.weights())
    return lightgbm.train({**_OPTIONS, "num_threads": threads}, labelled, rounds)


def load(path: Path) -> Any:
    """The trees that a training left. Raises ValueError for a file that lightgbm cannot read."""
    import lightgbm

    try:
        return lightgbm.Booster(model_file=str(path), params={"num_threads": 1, "verbose": -1})
    except lightgbm.basic.LightGBMError as error:
        raise ValueError(f"{path} holds no trees: {error}") from None


def predict(booster: Any, numbers: Floats) -> Floats:
    """Probability of each candidate."""
    return np.asarray(booster.predict(numbers), np.float32) if len(numbers) else np.zeros(0, np.float32)
