"""The classical finders, native: peakfinder8 (Cheetah, OM, CrystFEL), v3r3 and v4r3 (psana PyAlgos).

Both give the peaks of the originals (ondamonitor 23.8, psana 4.3) and never change the caller's arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import _native
from .peaks import PEAK, PeakArray

NATIVE_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")


def as_frame(frame: npt.ArrayLike) -> npt.NDArray[Any]:
    """Give a frame as a C-contiguous (panel, ss, fs) array of a native type, copied only where it must be.

    frame : (panel, ss, fs) or (ss, fs), any real dtype. Raises ValueError for other shapes and dtypes.
    """
    array = np.asarray(frame)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"a frame has shape (panel, ss, fs) or (ss, fs) and at least one pixel, not {np.shape(frame)}")
    if array.dtype.kind not in "buif":
        raise ValueError(f"a frame holds real numbers, not {array.dtype}")
    kind = array.dtype.newbyteorder("=")
    if kind.kind == "b":
        kind = np.dtype(np.uint8)
    elif kind.str[1:] not in NATIVE_TYPES:
        kind = np.dtype(np.float32 if kind.itemsize < 4 else np.float64)
    return np.ascontiguousarray(array, kind)


def as_mask(mask: npt.ArrayLike | None, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Give a mask (nonzero = good; None: all good) as uint8 of the frame's (panel, ss, fs) shape.

    Raises ValueError if it has another number of pixels.
    """
    if mask is None:
        return np.ones(shape, np.uint8)
    array = np.asarray(mask)
    if array.size != int(np.prod(shape)):
        raise ValueError(f"mask has shape {array.shape}, the frame needs {shape}")
    return np.ascontiguousarray(array.reshape(shape) != 0).view(np.uint8)


def as_radius(radius: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Give distances from the beam axis, (panel, ss, fs) or (ss, fs), as float32 (panel, ss, fs).

    Raises ValueError for another shape.
    """
    rho = np.asarray(radius, np.float32)
    rho = np.ascontiguousarray(rho[None] if rho.ndim == 2 else rho)
    if rho.ndim != 3:
        raise ValueError(f"radius has shape {rho.shape}, it should be (panel, ss, fs) or (ss, fs)")
    return rho


def check_options(min_pixels: int, max_pixels: int, background_radius: int, samples_per_bin: int) -> None:
    """Raise ValueError for options of peakfinder8 that make no sense."""
    if min_pixels < 1 or max_pixels < min_pixels or background_radius < 1 or samples_per_bin < 0:
        raise ValueError(
            f"min_pixels {min_pixels}, max_pixels {max_pixels}, background_radius {background_radius}, "
            f"samples_per_bin {samples_per_bin}: need 1 <= min_pixels <= max_pixels, background_radius >= 1, "
            "samples_per_bin >= 0"
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
        twin = object.__new__(Peakfinder8)
        twin.shape, twin._plan, twin._options = self.shape, self._plan, self._options
        twin._workspace = self._new_workspace()
        return twin


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


def _frame_and_mask(frame: npt.ArrayLike, mask: npt.ArrayLike | None) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """A frame and its mask, (panel, ss, fs), pixels that are no numbers masked."""
    array = as_frame(frame)
    good = as_mask(mask, array.shape)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        good = good & np.isfinite(array).view(np.uint8)
    return array, good


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
    return _native.v3r3(array, good, PEAK, rank, r0, dr, nsigm, npix_min, npix_max, amax_thr, atot_thr, son_min)


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
    return _native.v4r3(array, good, PEAK, thr_low, thr_high, rank, r0, dr, *selection)


def whole_panels(shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """One ASIC row for each panel."""
    return np.array([[panel, 0, shape[1], 0, shape[2]] for panel in range(shape[0])], np.int32)


def asic_numbers(shape: tuple[int, ...], asics: npt.NDArray[np.int32]) -> npt.NDArray[np.uint16]:
    """Number of the ASIC of each pixel; the number of ASICs where there is none."""
    owner = np.full(shape, len(asics), np.uint16)
    for number, (panel, min_ss, end_ss, min_fs, end_fs) in enumerate(asics):
        owner[panel, min_ss:end_ss, min_fs:end_fs] = number
    return owner


def check_asics(asics: npt.NDArray[np.int32], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless every rectangle lies inside the frame."""
    if asics.ndim != 2 or asics.shape[1] != 5 or not len(asics):
        raise ValueError(f"asics has shape {asics.shape}, it should be (n, 5): panel, min_ss, end_ss, min_fs, end_fs")
    panel, min_ss, end_ss, min_fs, end_fs = asics.T
    inside = (panel >= 0) & (panel < shape[0]) & (min_ss >= 0) & (min_ss < end_ss) & (end_ss <= shape[1])
    inside &= (min_fs >= 0) & (min_fs < end_fs) & (end_fs <= shape[2])
    if not inside.all():
        raise ValueError(f"ASIC {asics[np.argmin(inside)].tolist()} is not inside a frame of shape {shape}")
