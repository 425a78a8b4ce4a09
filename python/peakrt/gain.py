"""ADU a photon, from the frames themselves.

The variance of counted photons is their number: where a frame's background varies from place to place, the slope of
variance against mean is the gain (the photon transfer curve: Janesick, Photon Transfer, SPIE 2007, ch. 5), whatever the
offset and the read noise. Blocks are ordered by the mean of one half of their rows and measured on the other, or else
their own read noise would pass for background. Variances are of differences of neighbours, so that no smooth background adds to them; a
detector that blurs counted photons lowers them, and the noise of 5 x 5 sums says by how much.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_BLOCK = 16  # pixels
_CLASSES = 24  # of blocks by their mean
_LEAST_BLOCKS = 500  # enough for twenty in each class


def estimate_gain(
    frame: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    asics: npt.NDArray[np.int32],
    *,
    noise5: float = 1.0,
) -> float | None:
    """ADU a photon of one frame; None where it cannot be told (too few pixels, no photons, or an even frame).

    frame, mask : (panel, ss, fs); asics : (n, 5); noise5 : sigma of sums of 5 x 5 pixels over that of independent ones
    """
    parts = [_blocks(frame, mask, row) for row in asics]
    brightness, mean, variance = (np.concatenate(values) for values in zip(*parts, strict=True))
    if len(mean) < _LEAST_BLOCKS:
        return None
    # Finer towards the bright end: in a dark frame that is where the photons are.
    order, n = np.argsort(brightness), len(mean)
    cuts = np.r_[np.arange(1, _CLASSES) * n // _CLASSES, n - (n // _CLASSES * 0.75 ** np.arange(1, 12)).astype(int)]
    classes = [c for c in np.split(order, cuts) if len(c) >= 20]
    # A peak or a hot pixel makes a block's variance run away: each class gives the mean of its middle.
    x = np.array([mean[c].mean() for c in classes])
    y, error = (np.array(v) for v in zip(*(_middle(variance[c]) for c in classes), strict=True))
    weight = 1 / np.maximum(error, 1e-3 * np.maximum(y, 1e-12)) ** 2
    for _ in range(3):  # classes with a texture of their own lie far above the line
        x0, y0 = np.average(x, weights=weight), np.average(y, weights=weight)
        spread = np.average((x - x0) ** 2, weights=weight)
        if spread <= 0:
            return None
        slope = np.average((x - x0) * (y - y0), weights=weight) / spread
        off = (y - y0 - slope * (x - x0)) * np.sqrt(weight)
        limit = 4 * max(1.0, 1.48 * float(np.median(np.abs(off))))
        weight = np.where(np.abs(off) > limit, weight * (limit / np.maximum(np.abs(off), 1e-9)) ** 2, weight)
    uncertain = float(np.sqrt(1 / (weight.sum() * spread)) * max(1.0, 1.48 * float(np.median(np.abs(off)))))
    if not slope > 4 * uncertain:
        return None
    return float(slope * max(noise5, 1.0) ** 2)


def _blocks(
    frame: npt.NDArray[Any], mask: npt.NDArray[np.bool_], row: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of each wholly good block of an ASIC the mean of its even rows, and mean and variance of its odd ones."""
    panel, min_ss, end_ss, min_fs, end_fs = (int(v) for v in row)
    n_ss, n_fs = (end_ss - min_ss) // _BLOCK, (end_fs - min_fs) // _BLOCK
    here = np.s_[panel, min_ss : min_ss + n_ss * _BLOCK, min_fs : min_fs + n_fs * _BLOCK]
    shape = (n_ss, _BLOCK, n_fs, _BLOCK)
    block = frame[here].astype(np.float64).reshape(shape).transpose(0, 2, 1, 3).reshape(-1, _BLOCK, _BLOCK)
    good = mask[here].reshape(shape).transpose(0, 2, 1, 3).reshape(-1, _BLOCK * _BLOCK).all(1)
    block = block[good & np.isfinite(block).all((1, 2))]
    even, odd = block[:, ::2], block[:, 1::2]
    # Differences farther apart than a detector blurs.
    along, across = odd[:, :, 5:] - odd[:, :, :-5], odd[:, 3:] - odd[:, :-3]
    variance = ((along**2).mean((1, 2)) + (across**2).mean((1, 2))) / 4
    return even.mean((1, 2)), odd.mean((1, 2)), variance


def _middle(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean, and its error, of values without runaways."""
    centre = np.median(values)
    spread = 1.48 * np.median(np.abs(values - centre))
    if spread == 0:  # hardly any photons: most blocks are alike
        spread = values.std()
    kept = values[np.abs(values - centre) <= 5 * spread] if spread > 0 else values
    return float(kept.mean()), float(kept.std() / np.sqrt(len(kept)) + 1e-12)
