"""psana2's peak finders under their own names, the exact classical algorithms at native speed.

Change ``from psana.peakFinder.pypsalg import peaks_adaptive`` to ``from peakrt_plugin.psana2 import peaks_adaptive``,
``psana.psalg_ext.peak_finder_algos`` and ``psana.peakfinder8.peakfinder_8`` likewise. The caller's arrays keep their
shapes and values, and masks may be of any dtype and of any shape of as many pixels as the data; psana wants uint16.
With ``mode="model"``, or PEAKRT_MODE=model in the environment, the network finds instead: thresholds are ignored, there is
nothing to tune, and all 17 parameters are filled. Not here: v4r3 ("droplet").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt.classical import Peakfinder8, as_frame, v3r3

from .mode import choose, network_peaks
from .psana1 import COLUMNS, as_columns


class Peak:
    """psana's py_peak: the 17 parameters as attributes, and ``parameters()``."""

    __slots__ = ("_values",)

    def __init__(self, values: npt.NDArray[np.float32]) -> None:
        self._values = values

    def parameters(self) -> tuple[float, ...]:
        """seg, row, col, npix, amp_max, amp_tot, row_cgrav, ... son."""
        return tuple(float(value) for value in self._values)

    def __getattr__(self, name: str) -> float:
        try:
            return float(self._values[COLUMNS.index(name)])
        except ValueError:
            raise AttributeError(f"a peak has no {name}: it has {', '.join(COLUMNS)}") from None


def _find(
    data: npt.ArrayLike, mask: Any, seg: int, rank: int, r0: float, dr: float, nsigm: float, selection: dict[str, float],
    mode: str | None = None,
) -> list[Peak]:  # fmt: skip
    if choose(mode) == "model":
        rows = as_columns(network_peaks(data, mask, place=seg))
    else:
        rows = as_columns(v3r3(as_frame(data), mask, rank=rank, r0=r0, dr=dr, nsigm=nsigm, **selection))
    if len(rows):
        rows[:, 0] += seg
    return [Peak(row) for row in rows]


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
    if isinstance(data, list | tuple):
        masks = [None] * len(data) if mask is None else list(mask)
        if len(masks) != len(data):
            raise ValueError(f"{len(data)} arrays and {len(masks)} masks: there should be one for each")
        parts = enumerate(zip(data, masks, strict=True))
        return [p for seg, (d, m) in parts for p in _find(d, m, seg, rank, r0, dr, nsigm, selection, mode)]
    array = np.asarray(data)
    return _find(array.reshape(-1, *array.shape[-2:]), mask, 0, rank, r0, dr, nsigm, selection, mode)


class peak_finder_algos:
    """psana.psalg_ext.peak_finder_algos, as far as v3r3 goes."""

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
        self._peaks = _find(data, mask, self._seg, rank, r0, dr, nsigm, self._selection, self._mode)
        return self._peaks

    def list_of_peaks_selected(self) -> list[Peak]:
        """Peaks of the last segment."""
        return self._peaks


def peakfinder_8(
    max_num_peaks: int,
    data: npt.ArrayLike,
    mask: npt.ArrayLike,
    pix_r: npt.ArrayLike,
    asic_nx: int,
    asic_ny: int,
    nasics_x: int,
    nasics_y: int,
    adc_thresh: float,
    hitfinder_min_snr: float,
    hitfinder_min_pix_count: int,
    hitfinder_max_pix_count: int,
    hitfinder_local_bg_radius: int,
) -> tuple[list[float], ...]:
    """psana.peakfinder8.peakfinder_8: x, y, value, index, npix, maxi, sigma and snr of the first max_num_peaks peaks.

    data, mask, pix_r : slab (ss, fs). Each call makes the radial plan anew: a job that can keep an object keeps a
    :class:`peakrt.Peakfinder8` and is several times faster still.
    """
    asics = [
        (0, i * asic_ny, (i + 1) * asic_ny, j * asic_nx, (j + 1) * asic_nx)
        for i in range(nasics_y)
        for j in range(nasics_x)
    ]
    finder = Peakfinder8(
        mask,
        pix_r,
        adc_threshold=adc_thresh,
        min_snr=hitfinder_min_snr,
        min_pixels=hitfinder_min_pix_count,
        max_pixels=hitfinder_max_pix_count,
        background_radius=hitfinder_local_bg_radius,
        asics=np.array(asics, np.int32),
    )
    peaks = finder(data)[:max_num_peaks]
    index = np.rint(peaks["fs"]).astype(int) + np.rint(peaks["ss"]).astype(int) * asic_nx * nasics_x
    columns = [peaks["fs"], peaks["ss"], peaks["intensity"], index]
    columns += [peaks[name] for name in ("npix", "max", "noise", "snr")]
    return tuple(column.tolist() for column in columns)
