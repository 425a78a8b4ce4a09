"""peakfinder8 (Cheetah, OM, CrystFEL), native: the peaks of the original (ondamonitor 23.8) at several times its speed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _native
from ..arrays import MAX_INT, GoodPixels, as_frame, as_mask, as_radius, check_asics, whole_panels
from ..contracts import BatchFinder, FrameFinder, Setup, Stateless
from ..peaks import PEAK, PeakArray

#: A background disc of this radius is far beyond any peak's surroundings, and its time grows with the square.
MAX_BACKGROUND_RADIUS = 100


def check_options(min_pixels: int, max_pixels: int, background_radius: int, samples_per_bin: int) -> None:
    """Raise ValueError for options of peakfinder8 that make no sense."""
    pixels_fit = 1 <= min_pixels <= max_pixels <= MAX_INT
    if not pixels_fit or not 1 <= background_radius <= MAX_BACKGROUND_RADIUS or not 0 <= samples_per_bin <= MAX_INT:
        raise ValueError(
            f"min_pixels {min_pixels}, max_pixels {max_pixels}, background_radius {background_radius}, "
            f"samples_per_bin {samples_per_bin}: need 1 <= min_pixels <= max_pixels, background_radius 1 to "
            f"{MAX_BACKGROUND_RADIUS}, samples_per_bin >= 0, none above {MAX_INT}"
        )


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
    adc_threshold : ADU; min_snr : of a peak and of the radial threshold; min_pixels, max_pixels : of a peak;
    background_radius : pixels, half the radius of the local background disc
    asics : (n, 5) int32 rows of panel, min_ss, end_ss, min_fs, end_fs, across which peaks do not connect;
        None: the panels
    samples_per_bin : 0 takes the radial statistics from every pixel, as the original does; n > 0 from n
        pixels a radius, evenly spaced and always the same ones ("fast mode" of the originals draws at random)
    original : the original looks past the end of its queue of pixels, and so now and then joins a group with pixels
        of another one; True does the same, False does not (nor does the GPU)
    Raises ValueError where shapes differ or an option makes no sense.
    Barty et al., J. Appl. Cryst. 47 (2014) 1118.
    """

    def __init__(
        self,
        mask: npt.ArrayLike | None,
        radius: npt.ArrayLike,
        *,
        adc_threshold: float,
        min_snr: float,
        min_pixels: int,
        max_pixels: int,
        background_radius: int,
        asics: npt.ArrayLike | None = None,
        samples_per_bin: int = 0,
        original: bool = True,
    ) -> None:
        check_options(min_pixels, max_pixels, background_radius, samples_per_bin)
        self.shape, _, self._plan = radial_plan(mask, radius, asics, samples_per_bin)
        self._options = (adc_threshold, min_snr, min_pixels, max_pixels, background_radius, original)
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


def peakfinder8(
    frame: npt.ArrayLike,
    mask: npt.ArrayLike | None,
    radius: npt.ArrayLike,
    *,
    adc_threshold: float,
    min_snr: float,
    min_pixels: int,
    max_pixels: int,
    background_radius: int,
) -> PeakArray:
    """Find the peaks of one frame with peakfinder8; for many frames make one :class:`Peakfinder8`.

    frame, mask, radius : (panel, ss, fs) or (ss, fs). Returns a PEAK array.
    """
    finder = Peakfinder8(
        mask,
        radius,
        adc_threshold=adc_threshold,
        min_snr=min_snr,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        background_radius=background_radius,
    )
    return finder(frame)


def _options(setup: Setup) -> dict[str, Any]:
    """Keywords of peakfinder8, on the CPU and on the GPU."""
    options = asdict(setup.config)
    if options["adc_threshold"] is None:
        # In a nearly empty frame a sigma is less than a photon, and chance pairs of photons would be peaks.
        options["adc_threshold"] = 2.5 * (setup.photon_gain or 0.0)
    return {**options, "asics": setup.asics}


def on_cpu(setup: Setup) -> FrameFinder:
    """The finder on the CPU."""
    assert setup.radius is not None
    return _as_frame_finder(Peakfinder8(setup.good, setup.radius, original=False, **_options(setup)))


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
    return CudaPeakfinder8(setup.good, setup.radius, dtype=dtype, **_options(setup))
