"""Connected components of a sparse foreground, and what each amounts to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import _native
from ..arrays import as_frame
from ..peaks import PEAK, PeakArray


def label(foreground: npt.ArrayLike) -> tuple[npt.NDArray[np.int32], int]:
    """Number the connected components of each panel, 8-connected; returns labels and their number.

    foreground : (panel, ss, fs), nonzero = foreground
    labels : (panel, ss, fs) int32, 0 = background, counted through all panels in raster order of first pixels.
    Union-find after Wu, Otoo & Suzuki, Pattern Anal. Appl. 12 (2009) 117.
    """
    array = np.ascontiguousarray(np.asarray(foreground) != 0).view(np.uint8)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"foreground has shape {array.shape}, it should be (panel, ss, fs)")
    labels = np.empty(array.shape, np.int32)
    return labels, _native.label(array, labels)


def label_asics(foreground: npt.NDArray[np.bool_], asics: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], int]:
    """Number the components of each ASIC, as :func:`label` does; neighbours in the array may be far apart in space.

    asics : (n, 5) panel, min_ss, end_ss, min_fs, end_fs; what no ASIC covers stays 0
    """
    labels, n = np.zeros(foreground.shape, np.int32), 0
    for panel, min_ss, end_ss, min_fs, end_fs in asics:
        here = np.s_[panel : panel + 1, min_ss:end_ss, min_fs:end_fs]
        if foreground[here].any():
            own, found = label(foreground[here])
            labels[here] = np.where(own > 0, own + n, 0)
            n += found
    return labels, n


def measure(
    frame: npt.ArrayLike,
    labels: npt.NDArray[np.int32],
    n: int,
    *,
    background: npt.ArrayLike,
    variance: npt.ArrayLike,
    score: npt.ArrayLike | None = None,
) -> PeakArray:
    """Measure n labelled components: a PEAK array in the order of their labels.

    frame, labels : (panel, ss, fs); background (ADU) and variance (ADU^2) : of each pixel, or one number;
    score : of each pixel, 0..1: a peak's is its highest
    Weights are frame - background, where positive; snr is intensity over the root of the summed variance.
    Raises ValueError where shapes differ or a label is out of range.
    """
    array = as_frame(frame)
    if labels.shape != array.shape or labels.dtype != np.int32:
        raise ValueError(f"labels have shape {labels.shape} and dtype {labels.dtype}, expected {array.shape} and int32")
    if labels.size and not 0 <= labels.min() <= labels.max() <= n:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, expected 0 to {n}")
    backgrounds, variances = (
        np.ascontiguousarray(np.broadcast_to(np.asarray(values, np.float32), array.shape))
        for values in (background, variance)
    )
    scores = None if score is None else np.ascontiguousarray(score, np.float32)
    if scores is not None and scores.shape != array.shape:
        raise ValueError(f"score has shape {scores.shape}, the frame {array.shape}")
    return _native.measure(array, np.ascontiguousarray(labels), n, backgrounds, variances, scores, PEAK)
