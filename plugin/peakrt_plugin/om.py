"""OM's peak detection: a class with ``find_peaks(data=) -> PeakList``.

Change ``from om.algorithms.crystallography import Peakfinder8PeakDetection`` to
``from peakrt_plugin.om import Peakfinder8PeakDetection``. With ``mode="model"``, or PEAKRT_MODE=model in the environment,
the network finds instead and the thresholds are ignored.
"""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from peakrt import NetworkConfig, PeakFinder
from peakrt.classical import Peakfinder8, as_frame
from peakrt.peaks import PeakArray

from .mode import choose

#: What OM must be told for peakfinder8; the network asks for none of it.
THRESHOLDS = {
    "max_num_peaks": 2048, "adc_threshold": 0.0, "minimum_snr": 6.0, "min_pixel_count": 2, "max_pixel_count": 100,
    "local_bg_radius": 4, "min_res": 0, "max_res": 100000,
}  # fmt: skip


class PeakList(TypedDict):
    """OM's TypePeakList: positions in the slab, an integer is a pixel's centre."""

    num_peaks: int
    fs: list[float]
    ss: list[float]
    intensity: list[float]
    num_pixels: list[float]
    max_pixel_intensity: list[float]
    snr: list[float]


class Peakfinder8PeakDetection:
    """OM 23.8's class of this name, the same peaks.

    radius_pixel_map : (ss, fs) slab, pixels
    layout_info : asic_nx, asic_ny, nasics_x, nasics_y
    crystallography_parameters : OM's group of parameters; bad_pixel_map, if any, is given as an array
    In fast_mode the pixels of the statistics are always the same ones; OM draws them at random.
    Raises ValueError for a parameter that is missing.
    """

    def __init__(
        self,
        *,
        radius_pixel_map: npt.NDArray[np.floating[Any]],
        layout_info: dict[str, int],
        crystallography_parameters: dict[str, Any],
        bad_pixel_map: npt.ArrayLike | None = None,
        mode: str | None = None,
    ) -> None:
        missing = [name for name in THRESHOLDS if name not in crystallography_parameters]
        if missing:
            raise ValueError(f"crystallography_parameters lacks {', '.join(missing)}")
        given = crystallography_parameters
        radius = np.asarray(radius_pixel_map, np.float32)
        good = np.ones(radius.shape, bool) if bad_pixel_map is None else np.asarray(bad_pixel_map) != 0
        good = good & (radius >= given["min_res"]) & (radius <= given["max_res"])
        rows, columns = layout_info["asic_ny"], layout_info["asic_nx"]
        asics = [
            (0, i * rows, (i + 1) * rows, j * columns, (j + 1) * columns)
            for i in range(layout_info["nasics_y"])
            for j in range(layout_info["nasics_x"])
        ]
        self._max_num_peaks = int(given["max_num_peaks"])
        self._network: PeakFinder | None = None
        if choose(mode) == "model":
            self._network = PeakFinder(NetworkConfig(), mask=good[None], radius=radius)
            return
        samples = int(given.get("number_of_pixel_per_bin_in_radial_statistics", 100)) if given.get("fast_mode") else 0
        self._finder = Peakfinder8(
            good,
            radius,
            adc_threshold=given["adc_threshold"],
            min_snr=given["minimum_snr"],
            min_pixels=given["min_pixel_count"],
            max_pixels=given["max_pixel_count"],
            background_radius=given["local_bg_radius"],
            asics=np.array(asics, np.int32),
            samples_per_bin=samples,
        )

    def find_peaks(self, *, data: npt.NDArray[Any]) -> PeakList:
        """Peaks of one slab (ss, fs)."""
        peaks: PeakArray = self._finder(data) if self._network is None else self._network(as_frame(data))
        peaks = peaks[: self._max_num_peaks]
        columns = {"fs": "fs", "ss": "ss", "intensity": "intensity", "num_pixels": "npix", "max_pixel_intensity": "max", "snr": "snr"}  # fmt: skip
        lists: dict[str, Any] = {name: peaks[field].tolist() for name, field in columns.items()}
        return {"num_peaks": len(peaks), **lists}  # type: ignore[typeddict-item]
