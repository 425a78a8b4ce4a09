"""peakfinder8 (Cheetah, OM, CrystFEL), native: the peaks of the original (ondamonitor 23.8) at several times its speed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _native
from ..arrays import MAX_INT, GoodPixels, as_frame, as_mask, as_radius, check_asics, whole_panels
from ..config import Peakfinder8Config
from ..contracts import BatchFinder, FrameFinder, Setup, Stateless
from ..peaks import PEAK, PeakArray

#: A background disc of this radius is far beyond any peak's surroundings, and its time grows with the square.
MAX_BACKGROUND_RADIUS = 100


def check_options(config: Peakfinder8Config) -> None:
    """Raise ValueError for options of peakfinder8 that make no sense."""
    pixels_fit = 1 <= config.min_pixels <= config.max_pixels <= MAX_INT
    reach_fits = 1 <= config.background_radius <= MAX_BACKGROUND_RADIUS
    if not pixels_fit or not reach_fits or not 0 <= config.samples_per_bin <= MAX_INT:
        raise ValueError(
            f"min_pixels {config.min_pixels}, max_pixels {config.max_pixels}, background_radius {config.background_radius}, "
            f"samples_per_bin {config.samples_per_bin}: need 1 <= min_pixels <= max_pixels, background_radius 1 to "
            f"{MAX_BACKGROUND_RADIUS}, samples_per_bin >= 0, none above {MAX_INT}"
        )


def native_options(config: Peakfinder8Config) -> tuple[float, float, int, int, int]:
    """What the kernels are given of the options, in their order. Without an adc_threshold the radial one decides alone."""
    threshold = 0.0 if config.adc_threshold is None else config.adc_threshold
    return threshold, config.min_snr, config.min_pixels, config.max_pixels, config.background_radius


def radial_plan(
    mask: npt.ArrayLike | None, radius: npt.ArrayLike, asics: npt.ArrayLike | None, samples_per_bin: int
) -> tuple[tuple[int, ...], npt.NDArray[np.int32], _native.Plan]:
    """Shape of the frame, ASICs (n, 5), and what peakfinder8 derives from them; arguments as :class:`Peakfinder8`'s."""
    rho = as_radius(radius)
    rectangles = np.ascontiguousarray(whole_panels(rho.shape) if asics is None else asics, np.int32)
    check_asics(rectangles, rho.shape)
    return rho.shape, rectangles, _native.Plan(as_mask(mask, rho.shape), rho, rectangles, samples_per_bin)


class Peakfinder8:
    """peakfinder8 for one geometry and mask: call it with a frame.

    mask : (panel, ss, fs), True = good, or None
    radius : (panel, ss, fs), distance of each pixel from the beam in pixels
    config : thresholds and sizes. With samples_per_bin 0 the radial statistics are of every pixel, as the original's;
        with n > 0 of n pixels a radius, evenly spaced and always the same ones ("fast mode" of the originals draws them)
    asics : (n, 5) int32 rows of panel, min_ss, end_ss, min_fs, end_fs, across which peaks do not connect;
        None: the panels
    original : the original looks past the end of its queue of pixels, and so now and then joins a group with pixels
        of another one; True does the same, False does not (nor does the GPU)
    Raises ValueError where shapes differ or an option makes no sense.
    Barty et al., J. Appl. Cryst. 47 (2014) 1118.
    """

    def __init__(
        self,
        mask: npt.ArrayLike | None,
        radius: npt.ArrayLike,
        config: Peakfinder8Config,
        *,
        asics: npt.ArrayLike | None = None,
        original: bool = True,
    ) -> None:
        check_options(config)
        self.shape, _, self._plan = radial_plan(mask, radius, asics, config.samples_per_bin)
        self._options = (*native_options(config), original)
        self._workspace = self._new_workspace()

    def _new_workspace(self) -> _native.Workspace:
        return _native.Workspace(self._plan, *self._options)

    def __call__(self, frame: npt.ArrayLike) -> PeakArray:
        """Find the peaks of one frame: a PEAK array, ASIC by ASIC in raster order."""
        array = as_frame(frame)
        if array.shape != self.shape:
            raise ValueError(f"frame has shape {array.shape}, this finder was made for {self.shape}")
        return self._workspace.find(array, PEAK)

    def clone(self) -> Peakfinder8:
        """Give a finder that shares the plan but may run in another thread."""
        return self._of_plan(self._plan)

    def with_good(self, good: GoodPixels) -> Peakfinder8:
        """Give a finder of another mask: equal to a new one, and made in less time.

        Raises ValueError for a mask of another number of pixels.
        """
        return self._of_plan(self._plan.with_mask(good.bits))

    def _of_plan(self, plan: _native.Plan) -> Peakfinder8:
        other = object.__new__(Peakfinder8)
        other.shape, other._plan, other._options = self.shape, plan, self._options
        other._workspace = other._new_workspace()
        return other


def _config(setup: Setup) -> Peakfinder8Config:
    """The options of a run, on the CPU and on the GPU."""
    assert isinstance(setup.config, Peakfinder8Config)
    if setup.config.adc_threshold is not None:
        return setup.config
    # In a nearly empty frame a sigma is less than a photon, and chance pairs of photons would be peaks.
    return replace(setup.config, adc_threshold=2.5 * (setup.photon_gain or 0.0))


def on_cpu(setup: Setup) -> FrameFinder:
    """The finder on the CPU."""
    assert setup.radius is not None
    return _as_frame_finder(Peakfinder8(setup.good, setup.radius, _config(setup), asics=setup.asics, original=False))


def _as_frame_finder(finder: Peakfinder8) -> FrameFinder:
    return Stateless(
        finder,
        lambda: _as_frame_finder(finder.clone()),
        lambda good: _as_frame_finder(finder.with_good(good)),
    )


def on_gpu(setup: Setup, dtype: np.dtype[Any], engine: str, cpu: FrameFinder) -> BatchFinder:
    """The finder on a GPU."""
    from ..gpu.peakfinder8 import CudaPeakfinder8

    assert setup.radius is not None
    return CudaPeakfinder8(setup.good, setup.radius, _config(setup), asics=setup.asics, dtype=dtype)
