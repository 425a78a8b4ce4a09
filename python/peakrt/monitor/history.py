"""Numbers over time in bounded memory: sums over bins of time, which are made coarser, or forgotten, when there are too many."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

#: Bins of a history; even. A plot is about half as many pixels wide.
MOST_BINS = 2000
Floats = npt.NDArray[np.float64]


class History:
    """Sums of columns over even bins of time, or of event numbers.

    columns : name and numbers in a row, 1 or the bins of a histogram
    width : of a bin at the beginning; most : bins, an even number
    forget : drop the oldest bins where there are too many; otherwise two and two are joined, so that the whole run stays
    Memory and the work of an addition do not depend on how much was added before.
    """

    def __init__(
        self, columns: Mapping[str, int], *, width: float, most: int = MOST_BINS, forget: bool = False
    ) -> None:
        self.width, self._most, self._forget = width, most, forget
        self.start: float | None = None  # of the first bin
        self.n_bins = 0
        self._sums = {name: np.zeros((most, size)) for name, size in columns.items()}

    def add(self, at: npt.ArrayLike, values: Mapping[str, npt.ArrayLike]) -> None:
        """Add samples; at : (n,) times; values : (n,) or (n, size) a column, or one number for all samples.

        A sample from before the first bin counts in it, unless it is to be forgotten.
        """
        times = np.atleast_1d(np.asarray(at, np.float64))
        if not len(times):
            return
        if not np.isfinite(times).all():
            raise ValueError("a time is not finite")
        if self.start is None:
            self.start = float(np.floor(times.min() / self.width) * self.width)
        self._make_room(float(times.max()))
        bins = np.floor((times - self.start) / self.width).astype(np.int64)
        known = bins >= 0 if self._forget else np.ones(len(bins), bool)
        bins = np.maximum(bins, 0)
        self.n_bins = max(self.n_bins, int(bins.max()) + 1)
        for name, value in values.items():
            sums = self._sums[name]
            rows = np.asarray(value, np.float64)
            if rows.ndim < 2 and sums.shape[1] == 1:
                counted = np.where(known, np.broadcast_to(rows, len(bins)), 0)
                sums[: self.n_bins, 0] += np.bincount(bins, counted, self.n_bins)
            else:
                np.add.at(sums, bins[known], np.broadcast_to(rows, (len(bins), sums.shape[1]))[known])

    def _make_room(self, last: float) -> None:
        """Let the bins reach to a time."""
        assert self.start is not None
        if self._forget:
            beyond = int(np.floor((last - self.start) / self.width)) + 1 - self._most
            if beyond > 0:
                for sums in self._sums.values():
                    sums[:] = np.concatenate([sums[beyond:], np.zeros((min(beyond, self._most), sums.shape[1]))])
                self.start += beyond * self.width
                self.n_bins = max(0, self.n_bins - beyond)
            return
        while np.floor((last - self.start) / self.width) >= self._most:
            for sums in self._sums.values():
                joined = sums.reshape(self._most // 2, 2, -1).sum(axis=1)
                sums[: self._most // 2], sums[self._most // 2 :] = joined, 0
            self.width *= 2
            self.n_bins = -(-self.n_bins // 2)

    @property
    def times(self) -> Floats:
        """Middle of each bin."""
        return np.asarray((self.start or 0.0) + (np.arange(self.n_bins) + 0.5) * self.width, np.float64)

    def sums(self, name: str) -> Floats:
        """Sums of a column: (bins,), or (bins, size) of a histogram."""
        sums = self._sums[name][: self.n_bins]
        return sums[:, 0] if sums.shape[1] == 1 else sums

    def ratio(self, name: str, of: str) -> Floats:
        """One column's sums over another's, NaN where that is zero."""
        with np.errstate(invalid="ignore", divide="ignore"):
            of_sums = self.sums(of)
            return np.where(of_sums > 0, self.sums(name) / of_sums, np.nan)

    def state(self) -> dict[str, npt.NDArray[np.float64]]:
        """Everything, as arrays for a file."""
        head = np.array([self.width, np.nan if self.start is None else self.start, self.n_bins])
        return {"": head, **{name: sums[: self.n_bins] for name, sums in self._sums.items()}}

    def restore(self, state: Mapping[str, npt.NDArray[np.float64]]) -> None:
        """Go on from what state gave. Raises ValueError or KeyError for something else."""
        width, start, n_bins = state[""]
        if not (width > 0 and 0 <= n_bins <= self._most):
            raise ValueError("this is no history")
        self.width, self.n_bins = float(width), int(n_bins)
        self.start = None if np.isnan(start) else float(start)
        for name, sums in self._sums.items():
            sums[:] = 0
            sums[: self.n_bins] = state[name]


def percentile_of_counts(counts: Floats, edges: Floats, share: float) -> Floats:
    """Percentile of each row of histogram counts, linear within a bin: (n,); NaN for a row without a count.

    counts : (n, bins); edges : (bins + 1,); share : 0..1
    """
    total = counts.sum(axis=1)
    running = np.cumsum(counts, axis=1)
    wanted = share * total
    at = np.minimum((running < wanted[:, None]).sum(axis=1), counts.shape[1] - 1)
    row = np.arange(len(counts))
    inside = np.maximum(counts[row, at], 1e-300)
    before = running[row, at] - counts[row, at]
    found = edges[at] + (wanted - before) / inside * (edges[at + 1] - edges[at])
    return np.where(total > 0, found, np.nan)
