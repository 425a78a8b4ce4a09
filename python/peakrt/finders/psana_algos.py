"""psana's v3r3 and v4r3 (PyAlgos), native: the peaks of the originals (psana 4.3) at several times their speed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _native
from ..arrays import MAX_INT, as_frame, as_mask
from ..contracts import FrameFinder, Setup, Stateless
from ..peaks import PEAK, PeakArray


def _frame_and_mask(frame: npt.ArrayLike, mask: npt.ArrayLike | None) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """A frame and its mask, (panel, ss, fs), pixels that are no numbers masked."""
    array = as_frame(frame)
    good = as_mask(mask, array.shape)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        good = good & np.isfinite(array).view(np.uint8)
    return array, good


def _as_int(rank: int) -> int:
    """A rank that fits a C int; whether it makes sense the native code says."""
    return max(0, min(rank, MAX_INT))


def v3r3(
    frame: npt.ArrayLike,
    mask: npt.ArrayLike | None,
    *,
    rank: int = 5,
    r0: float = 7.0,
    dr: float = 2.0,
    nsigm: float = 5.0,
    npix_min: float = 1,
    npix_max: float = 1e6,
    amax_thr: float = 0.0,
    atot_thr: float = 0.0,
    son_min: float = 8.0,
) -> PeakArray:
    """Find the peaks of one frame with psana's v3r3 ("adaptive", algorithm 2).

    frame, mask : (panel, ss, fs) or (ss, fs); mask nonzero = good
    rank : pixels a maximum must dominate on each side; r0, dr : pixels, background ring r0 <= r <= r0 + dr
    nsigm : threshold of a peak's pixels in ring sigmas; npix_min, npix_max, amax_thr, atot_thr, son_min :
        a peak's pixels, maximum and sum above background (ADU) and signal over noise
    Defaults are those of psana 4.3.4 ``peaks_adaptive``. Returns a PEAK array, panel by panel in raster order.
    Raises ValueError for a bad shape, dtype or option.
    """
    array, good = _frame_and_mask(frame, mask)
    return _native.v3r3(
        array, good, PEAK, _as_int(rank), r0, dr, nsigm, npix_min, npix_max, amax_thr, atot_thr, son_min
    )


def v4r3(
    frame: npt.ArrayLike,
    mask: npt.ArrayLike | None = None,
    *,
    thr_low: float,
    thr_high: float,
    rank: int = 5,
    r0: float = 7.0,
    dr: float = 2.0,
    npix_min: float = 1,
    npix_max: float = 1e6,
    amax_thr: float = 0.0,
    atot_thr: float = 0.0,
    son_min: float = 8.0,
) -> PeakArray:
    """Find the peaks of one frame with psana's v4r3 ("droplet", algorithm 1).

    thr_low, thr_high : ADU, of a peak's pixels and of its maximum; the others as for :func:`v3r3`
    Defaults are those of psana 4.3.4 ``peaks_droplet``. Returns a PEAK array, panel by panel in raster order.
    Raises ValueError for a bad shape, dtype or option.
    """
    array, good = _frame_and_mask(frame, mask)
    selection = (npix_min, npix_max, amax_thr, atot_thr, son_min)
    return _native.v4r3(array, good, PEAK, thr_low, thr_high, _as_int(rank), r0, dr, *selection)


def on_cpu(setup: Setup) -> FrameFinder:
    """v3r3 on the CPU."""
    options = asdict(setup.config)
    return Stateless(lambda frame: v3r3(frame, setup.good, **options))
