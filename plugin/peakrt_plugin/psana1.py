"""psana1's ``PyAlgos``: the constructor, the methods that jobs call, v3r3 and v4r3.

Change ``from psalgos.pypsalgos import PyAlgos`` to ``from peakrt_plugin.psana1 import PyAlgos``, or the older
``from ImgAlgos.PyAlgos import PyAlgos`` to ``from peakrt_plugin.psana1 import ImgAlgosPyAlgos as PyAlgos``. The caller's
arrays keep their shapes and values. With ``mode="model"`` (or PEAKRT_MODE=model) the candidate finder takes over: the thresholds are
ignored, there is nothing to tune, and all 17 columns are filled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt.arrays import as_frame, as_mask
from peakrt.finders.psana_algos import v3r3, v4r3
from peakrt.peaks import PeakArray

from .mode import choose, model_peaks

#: psana's 17 columns, in order, and where each comes from.
COLUMNS = (
    "seg", "row", "col", "npix", "amp_max", "amp_tot", "row_cgrav", "col_cgrav", "row_sigma", "col_sigma", "row_min",
    "row_max", "col_min", "col_max", "bkgd", "noise", "son",
)  # fmt: skip


def as_columns(peaks: PeakArray) -> npt.NDArray[np.float32]:
    """PEAK rows as psana's (n, 17) float32; no peaks give shape (0,), as psana does."""
    if len(peaks) == 0:
        return np.empty(0, np.float32)
    sources = (
        peaks["panel"], peaks["top_ss"], peaks["top_fs"], peaks["npix"], peaks["max"], peaks["intensity"], peaks["ss"],
        peaks["fs"], np.sqrt(peaks["var_ss"]), np.sqrt(peaks["var_fs"]), peaks["min_ss"], peaks["max_ss"],
        peaks["min_fs"], peaks["max_fs"], peaks["background"], peaks["noise"], peaks["snr"],
    )  # fmt: skip
    return np.stack([np.asarray(source, np.float32) for source in sources], axis=1)


class PyAlgos:
    """psalgos.pypsalgos.PyAlgos: v3r3 and v4r3. What it prints and draws is not here: those methods do nothing."""

    def __init__(
        self, windows: object = None, mask: npt.ArrayLike | None = None, pbits: int = 0, mode: str | None = None
    ) -> None:
        self._mask = mask
        self._mode = choose(mode)
        self.set_peak_selection_pars()

    def set_mask(self, mask: npt.ArrayLike | None) -> None:
        """Set the mask, nonzero = good; any dtype, and any shape of as many pixels as the data."""
        self._mask = mask

    def set_windows(self, windows: object = None) -> None:
        """Do nothing, as psana's."""

    def set_peak_selection_pars(
        self,
        npix_min: float = 1,
        npix_max: float | None = None,
        amax_thr: float = 0,
        atot_thr: float = 0,
        son_min: float = 6,
    ) -> None:
        """Set what a peak must have."""
        self._selection = {
            "npix_min": npix_min,
            "npix_max": 1e6 if npix_max is None else npix_max,
            "amax_thr": amax_thr,
            "atot_thr": atot_thr,
            "son_min": son_min,
        }

    def peak_finder_v3r3(
        self,
        data: npt.ArrayLike,
        rank: int = 5,
        r0: float = 7.0,
        dr: float = 2.0,
        nsigm: float = 5.0,
        mask: npt.ArrayLike | None = None,
    ) -> npt.NDArray[np.float32]:
        """Peaks of (seg, row, col) or (row, col) data as (n, 17) float32, columns as in COLUMNS."""
        return self._find(data, mask, partial(v3r3, rank=rank, r0=r0, dr=dr, nsigm=nsigm))

    def peak_finder_v4r3(
        self,
        data: npt.ArrayLike,
        thr_low: float = 20,
        thr_high: float = 50,
        rank: int = 5,
        r0: float = 7.0,
        dr: float = 2.0,
        mask: npt.ArrayLike | None = None,
    ) -> npt.NDArray[np.float32]:
        """Peaks above two thresholds as (n, 17) float32, columns as in COLUMNS."""
        return self._find(data, mask, partial(v4r3, thr_low=thr_low, thr_high=thr_high, rank=rank, r0=r0, dr=dr))

    def _find(
        self, data: npt.ArrayLike, mask: npt.ArrayLike | None, classical: Callable[..., PeakArray]
    ) -> npt.NDArray[np.float32]:
        frame = as_frame(data)
        chosen: Any = self._in_windows(self._mask if mask is None else mask, frame.shape)
        if self._mode == "model":
            return as_columns(model_peaks(frame, chosen))
        return as_columns(classical(frame, chosen, **self._selection))

    def _in_windows(self, mask: Any, shape: tuple[int, ...]) -> Any:
        return mask

    def set_son_pars(self, r0: float = 7.0, dr: float = 2.0) -> None:
        """Do nothing, as psana's: the finders are given their ring."""

    def maps_of_pixel_status(self) -> None:
        """Give None, as psana's; so do its other maps."""

    maps_of_connected_pixels = maps_of_local_maximums = maps_of_local_minimums = maps_of_pixel_status

    def print_attributes(self) -> None:
        """Print nothing."""

    print_input_pars = print_attributes


class ImgAlgosPyAlgos(PyAlgos):
    """ImgAlgos.PyAlgos.PyAlgos, which selects nothing by default and takes windows.

    windows : (seg, row_min, row_max, col_min, col_max) each; a peak's pixels and its ring lie within them. None: everywhere
    Its finders before the third revision are not here: psana itself calls them obsolete.
    """

    def __init__(
        self, windows: Any = None, mask: npt.ArrayLike | None = None, pbits: int = 0, mode: str | None = None
    ) -> None:
        super().__init__(windows, mask, pbits, mode)
        self.set_windows(windows)

    def set_windows(self, windows: Any = None) -> None:
        """Set where to look."""
        self._windows = None if windows is None else np.asarray(windows, int).reshape(-1, 5)

    def set_peak_selection_pars(
        self,
        npix_min: float | None = 0,
        npix_max: float | None = 1e6,
        amax_thr: float | None = 0,
        atot_thr: float | None = 0,
        son_min: float | None = 0,
    ) -> None:
        """Set what a peak must have."""
        super().set_peak_selection_pars(npix_min or 0, npix_max, amax_thr or 0, atot_thr or 0, son_min or 0)

    def _in_windows(self, mask: Any, shape: tuple[int, ...]) -> Any:
        if self._windows is None:
            return mask
        inside = np.zeros(shape, bool)
        for seg, row_min, row_max, col_min, col_max in self._windows:
            inside[seg, row_min:row_max, col_min:col_max] = True
        return inside if mask is None else inside & (as_mask(mask, shape) != 0)
