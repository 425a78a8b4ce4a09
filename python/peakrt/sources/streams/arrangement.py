"""Frames (panel, ss, fs) out of the arrays that senders make of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]


def arrangement(sides: Shape, shape: Shape) -> str:
    """How an array of some sides holds frames of a shape (panel, ss, fs): "one", "stack" or "pulses last".

    Sent are frames, slabs of their panels one under another, and stacks of either, event first; European XFEL's detectors
    also send their pulses last, with fs before ss. Raises ValueError where the sides do not agree.
    """
    n, n_ss, n_fs = shape
    if _is_frame(sides, shape):
        return "one"
    if len(sides) > 2 and _is_frame(sides[1:], shape):
        return "stack"
    if sides[:-1] == (n, n_fs, n_ss) or (n == 1 and sides[:-1] == (n_fs, n_ss)):
        return "pulses last"
    raise ValueError(
        f"images of {' x '.join(map(str, sides))}, the geometry needs {' x '.join(map(str, shape))}: is it the right one?"
    )


def _is_frame(sides: Shape, shape: Shape) -> bool:
    """Whether sides are those of one frame; the panels of a slab may also be sent apart."""
    n, n_ss, n_fs = shape
    return sides in (shape, (n * n_ss, n_fs)) or (
        n == 1 and len(sides) == 3 and sides[-1] == n_fs and math.prod(sides[:2]) == n_ss
    )


def arrange(array: npt.NDArray[Any], shape: Shape, how: str | None = None) -> list[npt.NDArray[Any]]:
    """Frames of a shape in an array; how : what arrangement says of it."""
    how = how or arrangement(array.shape, shape)
    if how == "one":
        return [array.reshape(shape)]
    if how == "pulses last":
        array = np.ascontiguousarray(np.moveaxis(array, -1, 0).swapaxes(-1, -2))
    return [frame.reshape(shape) for frame in array]
