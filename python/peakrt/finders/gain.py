"""ADU a photon, from the frames themselves.

The variance of counted photons is their number, so where the light varies the variance varies with the mean, and the
slope is the gain (the photon transfer curve: Janesick, Photon Transfer, SPIE 2007, ch. 5). Read noise adds to the
variance everywhere and leaves the slope alone. What an ASIC adds to the means (pedestals, common mode) does not: on
dim frames it hides the light and flattens the slope. Therefore only what varies within a region counts, and the
regions are compared with each other. In each, blocks of 16 x 16 pixels give

    V, the covariance of the means of some of their rows with the means of others: that of the light, plus a pattern's
    C, the covariance of the means with the variances: that of the light times the gain

and over the regions C = gain * (V - pattern): the gain is a slope again, and a pattern that is the same everywhere only
shifts the line. Rows that share no pixel give V, C and the weights, or else their own noise would pass for light.
Columns or rows that each have a noise of their own are centred first. Variances are of differences of pixels near each
other, so that no smooth background adds to them, but farther apart than a detector blurs; blurring lowers them, and the
noise of 5 x 5 sums says by how much.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_BLOCK = 16  # pixels
_SIDE = 8  # blocks along a region
_LEAST_BLOCKS = 500  # of a frame, below which there is too little to compare
_LEAST_IN_REGION = 12
_LEAST_REGIONS = 12
_SURE = 5.0  # standard deviations of the slope above zero: on planted gains with common mode 4 were wrong now and then


class _Blocks(NamedTuple):
    """Good blocks of an ASIC: means of every fourth row (n, 4), variances, sums of columns and rows, places."""

    means: Floats
    variance: Floats
    columns: Floats
    rows: Floats
    row: Ints
    column: Ints


class GainCurve:
    """The photon transfer of one or several frames; gain() gets better with each."""

    def __init__(self) -> None:
        self.frames = 0
        self._points: list[Floats] = []
        self._noise5: list[float] = []

    def add(
        self, frame: npt.NDArray[Any], mask: npt.NDArray[np.bool_], asics: npt.NDArray[np.int32], noise5: float
    ) -> None:
        """Take one more frame.

        frame, mask : (panel, ss, fs); asics : (n, 5); noise5 : sigma of sums of 5 x 5 pixels over that of independent ones
        """
        self.frames += 1
        parts = [_without_peaks(_blocks(frame, mask, row)) for row in asics]
        total = sum(len(part.variance) for part in parts)
        if total < _LEAST_BLOCKS:
            return
        self._noise5.append(max(noise5, 1.0))
        by_column = _lines_are_noisy([(part.columns, part.column, part.variance) for part in parts])
        by_row = _lines_are_noisy([(part.rows, part.row, part.variance) for part in parts])
        side = _SIDE if total >= 64 * _SIDE**2 else _SIDE // 2
        for part in parts:
            self._points += _regions(part, side, by_column=by_column, by_row=by_row)

    def as_numbers(self) -> Floats:
        """Everything that was added, as one row of numbers for a file; of_numbers makes the curve of it again."""
        width = len(self._points[0]) if self._points else 0
        return np.concatenate([[self.frames, len(self._noise5), width], self._noise5, *self._points])

    @classmethod
    def of_numbers(cls, numbers: Floats) -> GainCurve:
        """The curve that as_numbers described. Raises ValueError for numbers that describe none."""
        frames, n_noise5, width = (int(value) for value in numbers[:3])
        points = numbers[3 + n_noise5 :]
        if min(frames, n_noise5, width) < 0 or (width and len(points) % width) or (len(points) and not width):
            raise ValueError("the saved gain curve is damaged: begin anew with --overwrite")
        curve = cls()
        curve.frames, curve._noise5 = frames, numbers[3 : 3 + n_noise5].tolist()
        curve._points = list(points.reshape(-1, width)) if width else []
        return curve

    def gain(self) -> float | None:
        """ADU a photon; None where the frames cannot tell it: too few pixels, no photons, an even light."""
        if len(self._points) < _LEAST_REGIONS:
            return None
        slope, uncertain = _slope(np.array(self._points))
        return slope * float(np.mean(self._noise5)) ** 2 if slope > _SURE * uncertain else None


def estimate_gain(
    frame: npt.NDArray[Any], mask: npt.NDArray[np.bool_], asics: npt.NDArray[np.int32], *, noise5: float = 1.0
) -> float | None:
    """ADU a photon of one frame, None where it cannot tell; arguments as for GainCurve.add."""
    curve = GainCurve()
    curve.add(frame, mask, asics, noise5)
    return curve.gain()


def _blocks(frame: npt.NDArray[Any], mask: npt.NDArray[np.bool_], row: npt.NDArray[np.int32]) -> _Blocks:
    """The wholly good blocks of an ASIC."""
    panel, min_ss, end_ss, min_fs, end_fs = (int(v) for v in row)
    n_ss, n_fs = (end_ss - min_ss) // _BLOCK, (end_fs - min_fs) // _BLOCK
    here = np.s_[panel, min_ss : min_ss + n_ss * _BLOCK, min_fs : min_fs + n_fs * _BLOCK]
    shape = (n_ss, _BLOCK, n_fs, _BLOCK)
    block = frame[here].astype(np.float64).reshape(shape).transpose(0, 2, 1, 3).reshape(-1, _BLOCK, _BLOCK)
    good = mask[here].reshape(shape).transpose(0, 2, 1, 3).reshape(-1, _BLOCK * _BLOCK).all(1)
    good &= np.isfinite(block).all((1, 2))
    at_row, at_column = np.divmod(np.flatnonzero(good), max(n_fs, 1))
    block = block[good]
    along, across = block[:, :, 5:] - block[:, :, :-5], block[:, 3:] - block[:, :-3]
    variance = ((along**2).mean((1, 2)) + (across**2).mean((1, 2))) / 4
    means = np.stack([block[:, k::4].mean((1, 2)) for k in range(4)], 1)
    return _Blocks(means, variance, block.mean(1), block.mean(2), at_row, at_column)


def _without_peaks(blocks: _Blocks) -> _Blocks:
    """Without the blocks whose variance a peak or a hot pixel makes run away."""
    if not len(blocks.variance):
        return blocks
    middle = np.median(blocks.variance)
    spread = 1.48 * np.median(np.abs(blocks.variance - middle)) or blocks.variance.std()
    kept = blocks.variance <= middle + 5 * spread
    return _Blocks(*(values[kept] for values in blocks))


def _lines_are_noisy(asics: list[tuple[Floats, Ints, Floats]]) -> bool:
    """Whether neighbouring columns (or rows) differ by more than the noise of their pixels.

    asics : of each, (n, 16) means of the columns of its blocks, the number of each block's column of blocks, variances
    """
    excess = []
    for means, number, variance in asics:
        for line in np.unique(number):
            here = number == line
            if here.sum() < 4:
                continue
            step = np.diff(means[here].mean(0))
            excess.append((step**2).mean() / 2 - np.median(variance[here]) / (here.sum() * _BLOCK))
    if len(excess) < 8:
        return False
    return bool(np.median(excess) > 3 * 1.25 * np.std(excess) / np.sqrt(len(excess)))


def _regions(blocks: _Blocks, side: int, *, by_column: bool, by_row: bool) -> list[Floats]:
    """Points of the curve: of each region of side x side blocks, and of the ASIC as a whole."""
    place = blocks.row // side * 4096 + blocks.column // side
    groups = [np.flatnonzero(place == k) for k in np.unique(place)]
    if len(groups) > 1:
        groups.append(np.arange(len(place)))
    points = []
    for group in groups:
        if len(group) < _LEAST_IN_REGION:
            continue
        x = blocks.means[group] - blocks.means[group].mean(0)
        y, free = blocks.variance[group] - blocks.variance[group].mean(), len(group) - 1
        for noisy, line in ((by_column, blocks.column[group]), (by_row, blocks.row[group])):
            if noisy:
                x = _centred(x, line)
                free -= len(np.unique(line)) - 1
        if free < _LEAST_IN_REGION:
            continue
        light = (x[:, 2] + x[:, 3]) / 2
        # An instrument, V, C, and what the error of C needs: variances of mean and variance, C, degrees of freedom.
        sums = [x[:, 0] @ x[:, 1], x[:, 2] @ x[:, 3], light @ y, light @ light, y @ y]
        points.append(np.array([*(s / free for s in sums), free]))
    return points


def _centred(x: Floats, line: Ints) -> Floats:
    """Values less the mean of their line."""
    n = np.maximum(np.bincount(line), 1)[:, None]
    return x - (np.stack([np.bincount(line, column) for column in x.T], 1) / n)[line]


def _slope(points: Floats) -> tuple[float, float]:
    """Slope of C over V and its uncertainty, by the instrument: rows that share no pixel with V's or C's."""
    instrument, v, c, var_x, var_y, free = points.T
    slope, uncertain = 0.0, np.inf
    trust = np.ones(len(v))
    for _ in range(4):
        # The variance of what is left of the variances once the light's part is gone.
        rest = np.maximum(var_y - 2 * slope * c + slope**2 * var_x, 0.05 * var_y)
        weight = trust * free / np.maximum(var_x * rest, 1e-30)
        z, dv, dc = (a - np.average(a, weights=weight) for a in (instrument, v, c))
        lever = float((weight * z * dv).sum())
        if not lever > 0:
            return 0.0, np.inf
        slope = float((weight * z * dc).sum()) / lever
        off = dc - slope * dv
        uncertain = float(np.sqrt(((weight * z * off) ** 2).sum())) / lever
        scaled = np.abs(off) * np.sqrt(weight / trust)
        limit = 4 * max(1.0, 1.48 * float(np.median(scaled)))
        trust = np.where(scaled > limit, (limit / np.maximum(scaled, 1e-9)) ** 2, 1.0)
    return slope, uncertain
