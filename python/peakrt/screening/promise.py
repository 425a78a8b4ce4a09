"""Which events to keep so that few of those that matter are lost, and what can be promised of it.

A sample of events that matter (indexed, or labelled by somebody) says how low their scores go. Two statements follow for
the events of the same kind: one with a confidence, by the exact binomial bound on an order statistic (Wilks, Ann. Math.
Stat. 12 (1941) 91; as risk control: Bates et al., J. ACM 68 (2021) 43), and one on average over samples, conformal risk
control (Angelopoulos et al., ICLR 2024, arXiv 2208.02814).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
#: A drift is told where chance alone would tell one in so many runs.
_FALSE_ALARM = 1e-3
#: Kept events of a block in which a drift is looked for.
BLOCK = 200


@dataclass(frozen=True)
class Promise:
    """Keep an event where its score is at least threshold.

    n : events of the sample that matter; lost : of them below the threshold; recall : that was asked for
    """

    threshold: float
    n: int
    lost: int
    recall: float
    confidence: float = CONFIDENCE

    @property
    def expected_loss(self) -> float:
        """Share lost on average over samples, at most: (lost + 1) / (n + 1), by conformal risk control."""
        return (self.lost + 1) / (self.n + 1)

    def text(self) -> str:
        """The promise in words."""
        return (
            f"with {self.confidence:.0%} confidence at least {self.recall:.2%} of the events that matter are kept, on average over "
            f"samples {1 - self.expected_loss:.2%}: {self.lost} of the sample's {self.n} lie below. It holds for events like the "
            "sample's, which is to be a random part of the run"
        )


def keep_recall(scores: npt.ArrayLike, recall: float, confidence: float = CONFIDENCE) -> Promise:
    """The highest threshold that keeps the share recall of events like these, with a confidence.

    scores : (n,), of a random sample of the events that matter
    Raises ValueError for a recall or confidence outside 0..1, and for a sample that is too small to promise it.
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    n, loss = len(ordered), 1 - recall
    if not (0 < recall < 1 and 0 < confidence < 1):
        raise ValueError(f"recall {recall} and confidence {confidence} should be above 0 and below 1")
    lost = _most_lost(n, loss, 1 - confidence)
    if lost < 0:
        needed = math.ceil(math.log(1 - confidence) / math.log(recall) - 1e-9)
        feasible = (1 - confidence) ** (1 / n) if n else 0.0
        instead = f", or ask for {math.floor(feasible * 1e3) / 1e3:g}" if feasible >= 0.5 else ""
        raise ValueError(
            f"to keep {recall:g} with a confidence of {confidence:g} the sample needs {needed} events that matter and has "
            f"{n}: index or label more{instead}"
        )
    return Promise(float(ordered[lost]), n, lost, recall, confidence)


def _most_lost(n: int, loss: float, risk: float) -> int:
    """Most events of n that may lie below a threshold: P(X <= k) <= risk for X binomial of n and loss. -1: not even none.

    Conformal risk control's (k + 1) / (n + 1) <= loss is asked for as well.
    """
    cumulated, k = 0.0, 0
    while k < n:
        log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        cumulated += math.exp(log + k * math.log(loss) + (n - k) * math.log1p(-loss))
        if cumulated > risk or (k + 1) / (n + 1) > loss:
            break
        k += 1
    return k - 1


def audit_rows(dropped: npt.NDArray[np.int64], share: float, seed: int = 0) -> npt.NDArray[np.int64]:
    """A random share of the dropped rows, at least one where there are any; the same for the same rows and seed."""
    n = math.ceil(share * len(dropped))
    return np.sort(np.random.default_rng(seed).choice(dropped, n, replace=False))


def drift(reference: npt.ArrayLike, scores: npt.ArrayLike, block: int = BLOCK) -> int | None:
    """Where the scores of a run begin to differ from a sample's: the first score of the block; None where none does.

    reference : scores of the sample's kept events; scores : of the run's, in their order. Only those that are kept are
    compared, so that a hit rate that comes and goes is no drift. Two-sample Kolmogorov-Smirnov test of each block, by the
    asymptotic distribution (Stephens, J. R. Stat. Soc. B 32 (1970) 115), one false alarm in 1,000 runs.
    """
    known, run = np.sort(np.asarray(reference, np.float64)), np.asarray(scores, np.float64)
    starts = range(0, max(0, len(run) - block + 1), block)
    for start in starts:
        if len(known) and _ks_probability(known, np.sort(run[start : start + block])) < _FALSE_ALARM / len(starts):
            return start
    return None


def differs(a: npt.ArrayLike, b: npt.ArrayLike) -> bool:
    """Whether two sets of scores are not of one kind, by the same test."""
    x, y = np.sort(np.asarray(a, np.float64)), np.sort(np.asarray(b, np.float64))
    return bool(len(x) and len(y) and _ks_probability(x, y) < _FALSE_ALARM)


def _ks_probability(a: Floats, b: Floats) -> float:
    """Probability that sorted samples of one distribution differ as much as these."""
    both = np.concatenate([a, b])
    shares = [np.searchsorted(x, both, side="right") / len(x) for x in (a, b)]
    size = math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    x = float(np.abs(shares[0] - shares[1]).max()) * (size + 0.12 + 0.11 / size)
    if x < 0.2:  # where the series does not converge the probability is 1 to eight digits
        return 1.0
    return min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101)))
