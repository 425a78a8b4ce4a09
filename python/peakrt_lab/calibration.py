"""What scores are worth: their calibration. Without torch, for reports."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def calibration_error(score: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_], *, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width (Naeini, Cooper & Hauskrecht, AAAI 2015)."""
    place = np.minimum((score * bins).astype(int), bins - 1)
    error = 0.0
    for b in np.unique(place):
        here = place == b
        error += here.mean() * abs(float(score[here].mean()) - float(truth[here].mean()))
    return float(error)


def log_loss(
    probability: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_], weights: npt.NDArray[np.float32]
) -> float:
    """Mean negative logarithm of the probability that was given to what is true, to four digits."""
    p = probability.astype(np.float64).clip(1e-7, 1 - 1e-7)
    return round(-float(np.average(np.where(truth, np.log(p), np.log(1 - p)), weights=weights)), 4)


def platt(logit: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Sharpness and bias with which sigmoid(sharpness * logit + bias) is the share of true ones.

    With the targets of Platt (Advances in Large Margin Classifiers, 1999, 61), which hold where all are of one kind.
    """
    from scipy.optimize import minimize

    if len(truth) == 0:
        return 1.0, 0.0
    x, n_true = logit.astype(np.float64), int(truth.sum())
    y = np.where(truth, (n_true + 1) / (n_true + 2), 1 / (len(truth) - n_true + 2))

    def loss(line: npt.NDArray[np.float64]) -> float:
        z = line[0] * x + line[1]
        return float((np.logaddexp(0.0, z) - y * z).mean())

    sharpness, bias = minimize(loss, [1.0, 0.0], bounds=[(0.01, None), (None, None)]).x
    return float(sharpness), float(bias)
