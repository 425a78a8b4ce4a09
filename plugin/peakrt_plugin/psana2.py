"""psana2's peak finders under their own names, the exact classical algorithms at native speed.

Change ``from psana.peakFinder.pypsalg import peaks_adaptive`` to ``from peakrt_plugin.psana2 import peaks_adaptive``,
``psana.psalg_ext.peak_finder_algos`` and ``psana.peakfinder8.peakfinder_8`` likewise. The caller's arrays keep their
shapes and values, and masks may be of any dtype and of any shape of as many pixels as the data; psana wants uint16.
With ``mode="model"``, or PEAKRT_MODE=model in the environment, the candidate finder takes over: thresholds are ignored, there is
nothing to tune, and all 17 parameters are filled. It takes the geometry from psana2's own detector in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from peakrt.arrays import as_frame
from peakrt.config import Peakfinder8Config
from peakrt.finders.peakfinder8 import Peakfinder8
from peakrt.finders.psana_algos import v3r3, v4r3
from peakrt.peaks import PeakArray

from .mode import choose, model_peaks
from .psana1 import as_columns
from .psana2_detector import detector_of


class Peak(NamedTuple):
    """psana's py_peak: its 17 parameters as attributes, and ``parameters()``.

    A tuple of them, unlike psana's: so it can be pickled and gathered by MPI.
    """

    seg: float
    row: float
    col: float
    npix: float
    amp_max: float
    amp_tot: float
    row_cgrav: float
    col_cgrav: float
    row_sigma: float
    col_sigma: float
    row_min: float
    row_max: float
    col_min: float
    col_max: float
    bkgd: float
    noise: float
    son: float

    def parameters(self) -> tuple[float, ...]:
        """seg, row, col, npix, amp_max, amp_tot, row_cgrav, ... son."""
        return tuple(self)


def _find(
    data: npt.ArrayLike, mask: Any, seg: int, classical: Callable[..., PeakArray], mode: str | None
) -> list[Peak]:
    """Peaks of a segment or a stack; classical : given frame and mask."""
    if choose(mode) == "model":
        rows = as_columns(model_peaks(data, mask, place=seg, host=detector_of))
    else:
        rows = as_columns(classical(as_frame(data), mask))
    if len(rows):
        rows[:, 0] += seg
    return [Peak(*row) for row in rows.tolist()]


def _find_all(data: Any, mask: Any, classical: Callable[..., PeakArray], mode: str | None) -> list[Peak]:
    """Peaks of a 2-D array, of a stack (seg, row, col), or of a list of 2-D arrays."""
    if isinstance(data, list | tuple):
        masks = [None] * len(data) if mask is None else list(mask)
        if len(masks) != len(data):
            raise ValueError(f"{len(data)} arrays and {len(masks)} masks: there should be one for each")
        parts = enumerate(zip(data, masks, strict=True))
        return [peak for seg, (d, m) in parts for peak in _find(d, m, seg, classical, mode)]
    array = np.asarray(data)
    return _find(array.reshape(-1, *array.shape[-2:]), mask, 0, classical, mode)


def _selection(
    rank: int, npix_min: float, npix_max: float | None, amax_thr: float, atot_thr: float, son_min: float
) -> dict[str, float]:
    return {
        "npix_min": npix_min,
        "npix_max": (2 * rank + 1) ** 2 if npix_max is None else npix_max,
        "amax_thr": amax_thr,
        "atot_thr": atot_thr,
        "son_min": son_min,
    }


def peaks_adaptive(
    data: npt.ArrayLike | Sequence[npt.ArrayLike],
    mask: Any = None,
    rank: int = 5,
    r0: float = 7.0,
    dr: float = 2.0,
    nsigm: float = 5,
    npix_min: float = 1,
    npix_max: float | None = None,
    amax_thr: float = 0,
    atot_thr: float = 0,
    son_min: float = 8,
    mode: str | None = None,
) -> list[Peak]:
    """Peaks of a 2-D array, of a stack (seg, row, col), or of a list of 2-D arrays, by v3r3.

    mask : as the data, nonzero = good, or None. Defaults are psana 4.3.4's.
    """
    selection = _selection(rank, npix_min, npix_max, amax_thr, atot_thr, son_min)
    return _find_all(data, mask, partial(v3r3, rank=rank, r0=r0, dr=dr, nsigm=nsigm, **selection), mode)


def peaks_droplet(
    data: npt.ArrayLike | Sequence[npt.ArrayLike],
    mask: Any,
    thr_low: float,
    thr_high: float,
    rank: int = 5,
    r0: float = 7.0,
    dr: float = 2.0,
    npix_min: float = 1,
    npix_max: float | None = None,
    amax_thr: float = 0,
    atot_thr: float = 0,
    son_min: float = 8,
    mode: str | None = None,
) -> list[Peak]:
    """Peaks of a 2-D array, of a stack (seg, row, col), or of a list of 2-D arrays, by v4r3.

    mask : as the data, nonzero = good, or None. Defaults are psana 4.3.4's.
    """
    selection = _selection(rank, npix_min, npix_max, amax_thr, atot_thr, son_min)
    options: dict[str, Any] = {"thr_low": thr_low, "thr_high": thr_high, "rank": rank, "r0": r0, "dr": dr, **selection}
    return _find_all(data, mask, partial(v4r3, **options), mode)


class peak_finder_algos:
    """psana.psalg_ext.peak_finder_algos: v3r3 and v4r3."""

    def __init__(self, seg: int = 0, pbits: int = 0, mode: str | None = None) -> None:
        self._seg = seg
        self._mode = choose(mode)
        self._peaks: list[Peak] = []
        self.set_peak_selection_parameters()

    def set_peak_selection_parameters(
        self,
        npix_min: float = 0,
        npix_max: float = 1e6,
        amax_thr: float = 0,
        atot_thr: float = 0,
        son_min: float = 0,
    ) -> None:
        """Set what a peak must have."""
        self._selection = _selection(0, npix_min, npix_max, amax_thr, atot_thr, son_min)

    def peak_finder_v3r3_d2(
        self, data: npt.ArrayLike, mask: Any, rank: int = 5, r0: float = 7.0, dr: float = 2.0, nsigm: float = 5.0
    ) -> list[Peak]:
        """Peaks of one segment (row, col)."""
        finder = partial(v3r3, rank=rank, r0=r0, dr=dr, nsigm=nsigm, **self._selection)
        self._peaks = _find(data, mask, self._seg, finder, self._mode)
        return self._peaks

    def peak_finder_v4r3_d2(
        self,
        data: npt.ArrayLike,
        mask: Any,
        thr_low: float,
        thr_high: float,
        rank: int = 5,
        r0: float = 7.0,
        dr: float = 2.0,
    ) -> list[Peak]:
        """Peaks of one segment (row, col) above two thresholds."""
        options: dict[str, Any] = {
            "thr_low": thr_low,
            "thr_high": thr_high,
            "rank": rank,
            "r0": r0,
            "dr": dr,
            **self._selection,
        }
        self._peaks = _find(data, mask, self._seg, partial(v4r3, **options), self._mode)
        return self._peaks

    def list_of_peaks_selected(self) -> list[Peak]:
        """Peaks of the last segment."""
        return self._peaks


def peakfinder_8(
    max_num_peaks: int,
    data: npt.ArrayLike,
    mask: npt.ArrayLike,
    pix_r: npt.ArrayLike,
    *rest: Any,
    mode: str | None = None,
) -> tuple[list[float], ...]:
    """psana.peakfinder8.peakfinder_8: x, y, value, index, npix, maxi, sigma and snr of the first max_num_peaks peaks.

    data, mask, pix_r : slab (ss, fs)
    rest : asic_nx, asic_ny, nasics_x, nasics_y, adc_thresh, hitfinder_min_snr, hitfinder_min_pix_count,
        hitfinder_max_pix_count, hitfinder_local_bg_radius; and before them, as LUTE's Peakfinder8_v2 and OM call it,
        rstats_num_pix, rstats_pidx, rstats_radius, fast. In fast mode the statistics look at as many pixels of a radius as
        were listed, evenly spaced.
    Each call makes the radial plan anew: a job that can keep an object keeps a :class:`peakrt.Peakfinder8` and is
    several times faster still. Raises TypeError for another number of arguments.
    """
    if len(rest) not in (9, 13):
        raise TypeError(f"peakfinder_8 takes 13 arguments, or 17 with rstats, and was given {4 + len(rest)}")
    samples = 0
    if len(rest) == 13:
        (_, _, listed, fast), rest = rest[:4], rest[4:]
        if fast and listed is not None and len(listed):
            samples = int(np.bincount(np.rint(np.asarray(listed, np.float64)).astype(int)).max())
    nx, ny, columns_of, rows_of, adc_threshold, min_snr, min_pixels, max_pixels, background_radius = rest
    if choose(mode) == "model":
        radius = np.asarray(pix_r, np.float32)
        peaks = model_peaks(data, mask, radius=radius, place="slab", host=detector_of)
        return as_eight_lists(peaks[:max_num_peaks], nx * columns_of)
    asics = [(0, i * ny, (i + 1) * ny, j * nx, (j + 1) * nx) for i in range(rows_of) for j in range(columns_of)]
    finder = Peakfinder8(
        mask,
        pix_r,
        Peakfinder8Config(adc_threshold, min_snr, min_pixels, max_pixels, background_radius, samples),
        asics=np.array(asics, np.int32),
    )
    return as_eight_lists(finder(data)[:max_num_peaks], nx * columns_of)


def as_eight_lists(peaks: PeakArray, width: int) -> tuple[list[float], ...]:
    """PEAK rows of a slab as peakfinder8's lists: x, y, value, index, npix, maxi, sigma, snr. width : of the slab."""
    index = np.rint(peaks["fs"]).astype(int) + np.rint(peaks["ss"]).astype(int) * width
    columns = [peaks["fs"], peaks["ss"], peaks["intensity"], index]
    columns += [peaks[name] for name in ("npix", "max", "noise", "snr")]
    return tuple(column.tolist() for column in columns)
