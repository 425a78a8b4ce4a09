"""OM's peak detection under its own name, with all its public methods.

Change ``from om.algorithms.crystallography import Peakfinder8PeakDetection`` to
``from peakrt_plugin.om import Peakfinder8PeakDetection``. With ``mode="model"``, or PEAKRT_MODE=model in the environment,
the candidate finder takes over and the thresholds are ignored.

OM hands out the radius of each pixel, so the candidate finder knows where the beam is.
"""

from __future__ import annotations

from typing import Any, TypedDict

import h5py
import numpy as np
import numpy.typing as npt

from peakrt import PeakFinder
from peakrt.arrays import as_frame
from peakrt.config import Peakfinder8Config
from peakrt.environment import setting, warn_of_unknown
from peakrt.finders.peakfinder8 import Peakfinder8
from peakrt_geometry import Detector

from .mode import candidate_config, choose, known_gain, learned_of

#: What OM must be told for peakfinder8; the candidate finder asks for none of it.
THRESHOLDS = {
    "max_num_peaks": 2048, "adc_threshold": 0.0, "minimum_snr": 6.0, "min_pixel_count": 2, "max_pixel_count": 100,
    "local_bg_radius": 4, "min_res": 0, "max_res": 100000,
}  # fmt: skip
#: Options of peakfinder8, and what OM calls them.
OM_NAMES = {
    "adc_threshold": "adc_threshold", "min_snr": "minimum_snr", "min_pixels": "min_pixel_count",
    "max_pixels": "max_pixel_count", "background_radius": "local_bg_radius",
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
    crystallography_parameters : OM's group of parameters, bad_pixel_map_filename and bad_pixel_map_hdf5_path included
    geometry : of the slab, for the candidate finder: its panels, bad regions and gain; its radii are those of the radius_pixel_map
    In fast_mode the pixels of the statistics are always the same ones; OM draws them at random. A parameter that is set
    counts from the next frame on; in OM a new bad pixel map or radius map waits for set_min_res or set_max_res.
    Raises ValueError for a parameter that is missing.
    """

    def __init__(
        self,
        *,
        radius_pixel_map: npt.NDArray[np.floating[Any]],
        layout_info: dict[str, int],
        crystallography_parameters: dict[str, Any],
        geometry: Detector | None = None,
        mode: str | None = None,
    ) -> None:
        missing = [name for name in THRESHOLDS if name not in crystallography_parameters]
        if missing:
            raise ValueError(f"crystallography_parameters lacks {', '.join(missing)}")
        self._values = {name: crystallography_parameters[name] for name in THRESHOLDS}
        given = crystallography_parameters
        fast = bool(given.get("fast_mode"))
        self._samples = int(given.get("number_of_pixel_per_bin_in_radial_statistics", 100)) if fast else 0
        self._bad_pixel_map = _read_map(given)
        self._radius = np.asarray(radius_pixel_map, np.float32)
        self._layout = dict(layout_info)
        self._geometry = geometry
        self._model = choose(mode) == "model"
        self._finder: Peakfinder8 | PeakFinder | None = None

    def find_peaks(self, *, data: npt.NDArray[Any]) -> PeakList:
        """Peaks of one slab (ss, fs)."""
        if self._finder is None:
            self._finder = self._make_candidate() if self._model else self._make_peakfinder8()
        peaks = self._finder(as_frame(data) if self._model else data)[: int(self._values["max_num_peaks"])]
        columns = {"fs": "fs", "ss": "ss", "intensity": "intensity", "num_pixels": "npix", "max_pixel_intensity": "max", "snr": "snr"}  # fmt: skip
        lists: dict[str, Any] = {name: peaks[field].tolist() for name, field in columns.items()}
        return {"num_peaks": len(peaks), **lists}  # type: ignore[typeddict-item]

    def _good(self) -> npt.NDArray[np.bool_]:
        within = (self._radius >= self._values["min_res"]) & (self._radius <= self._values["max_res"])
        return within if self._bad_pixel_map is None else within & (np.asarray(self._bad_pixel_map) != 0)

    def _make_candidate(self) -> PeakFinder:
        warn_of_unknown()
        learned = learned_of(setting("PEAKRT_LEARNED"))
        good = self._good()[None]
        if learned is not None:
            good &= learned.good(good.shape)
        config = candidate_config(known_gain(self._geometry, learned, None))
        return PeakFinder(config, geometry=self._geometry, mask=good, radius=self._radius)

    def _make_peakfinder8(self) -> Peakfinder8:
        rows, columns = self._layout["asic_ny"], self._layout["asic_nx"]
        asics = [
            (0, i * rows, (i + 1) * rows, j * columns, (j + 1) * columns)
            for i in range(self._layout["nasics_y"])
            for j in range(self._layout["nasics_x"])
        ]
        options = {ours: self._values[om_name] for ours, om_name in OM_NAMES.items()}
        config = Peakfinder8Config(**options, samples_per_bin=self._samples)
        return Peakfinder8(self._good(), self._radius, config, asics=np.array(asics, np.int32))

    def _set(self, name: str, value: Any) -> None:
        self._values[name] = value
        self._finder = None

    # What OM's parameter tweaker and layers of users call

    def set_layout_info(self, layout_info: dict[str, int]) -> None:
        """Set the layout of the ASICs in the slab."""
        self._layout, self._finder = dict(layout_info), None

    def get_bad_pixel_map(self) -> npt.NDArray[Any] | None:
        """The map of bad pixels: (ss, fs), 0 = bad; None: every pixel is good."""
        return self._bad_pixel_map

    def set_bad_pixel_map(self, bad_pixel_map: npt.NDArray[Any] | None) -> None:
        """Set the map of bad pixels: (ss, fs), 0 = bad; None: every pixel is good."""
        self._bad_pixel_map, self._finder = bad_pixel_map, None

    def set_radius_pixel_map(self, radius_pixel_map: npt.NDArray[np.floating[Any]]) -> None:
        """Set the distance of each pixel from the beam: (ss, fs), pixels."""
        self._radius, self._finder = np.asarray(radius_pixel_map, np.float32), None
        self._geometry = None  # its radii were the former ones

    def get_adc_thresh(self) -> float:
        """Least value of a peak's pixels."""
        return self._values["adc_threshold"]

    def set_adc_thresh(self, *, adc_thresh: float) -> None:
        """Set the least value of a peak's pixels."""
        self._set("adc_threshold", adc_thresh)

    def get_minimum_snr(self) -> float:
        """Least signal over noise of a peak."""
        return self._values["minimum_snr"]

    def set_minimum_snr(self, *, minimum_snr: float) -> None:
        """Set the least signal over noise of a peak."""
        self._set("minimum_snr", minimum_snr)

    def get_min_pixel_count(self) -> int:
        """Least pixels of a peak."""
        return self._values["min_pixel_count"]

    def set_min_pixel_count(self, *, min_pixel_count: int) -> None:
        """Set the least pixels of a peak."""
        self._set("min_pixel_count", min_pixel_count)

    def get_max_pixel_count(self) -> int:
        """Most pixels of a peak."""
        return self._values["max_pixel_count"]

    def set_max_pixel_count(self, *, max_pixel_count: int) -> None:
        """Set the most pixels of a peak."""
        self._set("max_pixel_count", max_pixel_count)

    def get_local_bg_radius(self) -> int:
        """Half the width of the local background, pixels."""
        return self._values["local_bg_radius"]

    def set_local_bg_radius(self, *, local_bg_radius: int) -> None:
        """Set half the width of the local background, pixels."""
        self._set("local_bg_radius", local_bg_radius)

    def get_min_res(self) -> int:
        """Least distance of a peak from the beam, pixels."""
        return self._values["min_res"]

    def set_min_res(self, *, min_res: int) -> None:
        """Set the least distance of a peak from the beam, pixels."""
        self._set("min_res", min_res)

    def get_max_res(self) -> int:
        """Largest distance of a peak from the beam, pixels."""
        return self._values["max_res"]

    def set_max_res(self, max_res: int) -> None:
        """Set the largest distance of a peak from the beam, pixels."""
        self._set("max_res", max_res)


def _read_map(parameters: dict[str, Any]) -> npt.NDArray[Any] | None:
    """The map of bad pixels that a group of OM's parameters names."""
    path, name = parameters.get("bad_pixel_map_filename"), parameters.get("bad_pixel_map_hdf5_path")
    if not path:
        return None
    with h5py.File(path, "r") as file:
        dataset = file.get(name) if name else None
        if not isinstance(dataset, h5py.Dataset):
            raise ValueError(f"{path} has no dataset {name}: bad_pixel_map_hdf5_path should name the bad pixel map")
        return dataset[()]
