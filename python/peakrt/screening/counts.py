"""How many peaks an event has, in probabilities: Hit, Maybe or Miss, and whether its lattice can be indexed.

Classes after Ke et al., J. Synchrotron Rad. 25 (2018) 655: 10 and more visible peaks, 4 to 9, fewer.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..config import HitConfig
from ..peaks import PeakArray

Floats = npt.NDArray[np.float64]

#: In the order of the columns; least visible peaks of the first two.
CLASSES = ("Hit", "Maybe", "Miss")
LEAST_HIT, LEAST_MAYBE = 10, 4
#: A peak is visible from a true SNR of 5 on (Rose, J. Opt. Soc. Am. 38 (1948) 196). Of the candidate finder's peaks that are
#: measured at 4.35, half are: on simulated frames its SNR is by 0.8 too low there, and scatters by 0.9.
VISIBLE_SNR = 4.35
#: Less than this is left out of a probability.
_NEGLIGIBLE = 1e-9
#: Of the logistic model of P(indexable): constant, and weight of log1p of the visible peaks to be expected. Fitted by
#: benchmarks/indexable.py.
INDEXABLE = (-6.27, 4.27)


def chances(score: npt.NDArray[np.float32], snr: npt.NDArray[np.float32]) -> Floats:
    """Chance of each peak to be one and to be visible: score times the normal integral of snr - VISIBLE_SNR.

    The score of a classical finder is NaN and counts as 1, an unknown SNR as enough.
    """
    certain = np.where(np.isnan(score), 1.0, score).astype(np.float64)
    above = np.nan_to_num(snr.astype(np.float64) - VISIBLE_SNR, nan=40.0, posinf=40.0, neginf=-40.0)
    return np.clip(certain, 0.0, 1.0) * _normal_integral(above)


def _normal_integral(x: Floats) -> Floats:
    """Integral of the normal distribution up to x, to 1e-7 (Abramowitz & Stegun, 1964, 26.2.17)."""
    t = 1 / (1 + 0.2316419 * np.abs(x))
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    tail = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi) * series
    return np.where(x > 0, 1 - tail, tail)


def class_probabilities(chance: npt.ArrayLike) -> tuple[float, float, float]:
    """P(Hit), P(Maybe), P(Miss): of at least 10, of 4 to 9 and of fewer successes in trials of unequal chances.

    The Poisson-binomial distribution by the direct recurrence (Le Cam, Pacific J. Math. 10 (1960) 1181; Hong, Comput.
    Stat. Data Anal. 59 (2013) 41), which ends once fewer than 10 are out of the question.
    """
    counts = [1.0] + [0.0] * (LEAST_HIT - 1)  # P(N = k) for k below LEAST_HIT
    for p in np.sort(np.asarray(chance, np.float64))[::-1]:
        for k in range(LEAST_HIT - 1, 0, -1):
            counts[k] += p * (counts[k - 1] - counts[k])
        counts[0] *= 1 - p
        if p < _NEGLIGIBLE or sum(counts) < _NEGLIGIBLE:
            break
    miss = min(1.0, sum(counts[:LEAST_MAYBE]))
    maybe = min(1.0 - miss, sum(counts[LEAST_MAYBE:]))
    return max(0.0, 1.0 - miss - maybe), maybe, miss


def indexable_probability(expected: float) -> float:
    """P(indexable) of an event with so many visible peaks to be expected: logistic, fitted on simulated runs that were indexed."""
    constant, weight = INDEXABLE
    return 1 / (1 + math.exp(-constant - weight * math.log1p(expected)))


def of_peaks(peaks: PeakArray) -> tuple[float, float, float, float]:
    """P(Hit), P(Maybe), P(Miss) and P(indexable) of an event's PEAK array."""
    return of_table(peaks["score"], peaks["snr"])


def is_hit(peaks: PeakArray, hits: HitConfig) -> bool:
    """Whether an event's peaks make it a hit. P(indexable) is compared as the CXI holds it, in single precision."""
    enough = len(peaks) >= hits.min_peaks
    return enough and (
        hits.min_indexable == 0 or bool(np.float32(of_peaks(peaks)[3]) >= np.float32(hits.min_indexable))
    )


def of_table(score: npt.NDArray[np.float32], snr: npt.NDArray[np.float32]) -> tuple[float, float, float, float]:
    """The same of the scores and SNRs of an event's peaks."""
    chance = chances(score, snr)
    return (*class_probabilities(chance), indexable_probability(float(chance.sum())))
