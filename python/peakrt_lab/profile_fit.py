"""Peaks by fitting: a pseudo-Voigt profile on a plane, for labels and for judging a detector's point spread.

The profile, its eleven parameters and the weights are those of Wang et al. (2025), PeakNet: section 2.1 and equation 1.
The fits are done in C++ with an analytic Jacobian, each pixel given to the nearest peak, so that neighbours do not fit the
same light.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from peakrt import _native
from peakrt.arrays import as_frame, as_mask, whole_panels
from peakrt.cxi.columns import FILE_FORMAT
from peakrt.cxi.outputs import whole_file
from peakrt.cxi.reader import SlabPeaks
from peakrt.peaks import PEAK, PeakArray

#: A, eta, c_ss, c_fs, sigma_ss, sigma_fs, gamma_ss, gamma_fs, a, b, c: photons and pixels. c_ss and c_fs count from the middle
#: of the window, as do a (photons a pixel along ss), b (along fs) and c (at the middle).
PARAMETERS = (
    "amplitude", "eta", "centre_ss", "centre_fs", "sigma_ss", "sigma_fs", "gamma_ss", "gamma_fs", "slope_ss", "slope_fs", "level",
)  # fmt: skip
_START = np.dtype([("panel", "<i4"), ("ss", "<f4"), ("fs", "<f4")])
#: As struct ProfileFit in csrc/include/peakrt/profile_fit.hpp, which says what the fields are.
PROFILE_FIT = np.dtype(
    [
        *((name, "<f8") for name in PARAMETERS), *((f"{name}_error", "<f8") for name in PARAMETERS),
        ("chi2", "<f8"), ("deviance", "<f8"), ("middle_ss", "<f8"), ("middle_fs", "<f8"),
        ("pixels", "<i4"), ("iterations", "<i4"), ("end", "<i4"), ("panel", "<i4"),
    ]
)  # fmt: skip
assert (_START.itemsize, PROFILE_FIT.itemsize) == (_native.PROFILE_START_SIZE, _native.PROFILE_FIT_SIZE)
#: How a fit ended.
FITTED, FEW_PIXELS, NOT_CONVERGED = 0, 1, 2
#: Half a window's side less half a pixel: the paper's windows have 9 x 9 pixels.
RADIUS = 4


def fit_profiles(
    frame: npt.ArrayLike,
    peaks: PeakArray,
    *,
    gain: float,
    mask: npt.ArrayLike | None = None,
    asics: npt.NDArray[np.int32] | None = None,
    radius: int = RADIUS,
) -> npt.NDArray[np.void]:
    """Fit a profile to each peak of a frame.

    frame : (panel, ss, fs) or (ss, fs), ADU; gain : ADU a photon, for the weights are those of counts
    peaks : PEAK, or any record array with panel, ss and fs; mask : True = good
    asics : (n, 5) rows of panel, min_ss, end_ss, min_fs, end_fs (Detector.asics), beyond whose edges no window reaches
    radius : windows have 2 radius + 1 pixels on a side, 1 to 12
    Returns PROFILE_FIT, one for each peak, in photons and pixels. ``end`` is FITTED, FEW_PIXELS (fewer than 15 of its own:
    at an edge, beside bad pixels or a close neighbour, on a bad pixel) or NOT_CONVERGED. Errors are 1 sigma, infinite for what stands at
    a bound: 0 <= eta <= 1, widths .2 to 6 pixels, the centre within 2 pixels of the peak.
    Raises ValueError for a gain that cannot be, a radius out of range, or a peak that is not on the frame.
    """
    if not 0 < gain < np.inf:
        raise ValueError(f"gain is {gain} ADU a photon, it should be above 0")
    if not 1 <= radius <= 12:
        raise ValueError(f"radius is {radius} pixels, it should be 1 to 12")
    array = as_frame(frame)
    starts = np.zeros(len(peaks), _START)
    for name in ("panel", "ss", "fs"):
        starts[name] = peaks[name]
    positions = [starts[name] for name in ("panel", "ss", "fs")]
    if any((~np.isfinite(x) | (x < -0.5) | (x > n - 0.5)).any() for x, n in zip(positions, array.shape, strict=True)):
        raise ValueError(f"a peak is not on the frame, whose shape is {array.shape}")
    photons = np.ascontiguousarray(array, np.float32) / np.float32(gain)
    regions = np.zeros(array.shape, np.uint16)
    for number, row in enumerate(whole_panels(array.shape) if asics is None else asics):
        panel, min_ss, end_ss, min_fs, end_fs = row
        regions[panel, min_ss:end_ss, min_fs:end_fs] = number + 1
    regions[~as_mask(mask, array.shape).view(bool)] = 0
    return _native.fit_profiles(photons, regions, starts, radius, PROFILE_FIT)


def profile_of(fits: npt.NDArray[np.void], ss: npt.ArrayLike, fs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The fitted profiles without their planes, photons: each fit at its own raw coordinates.

    ss, fs : shape (fits, ...), pixels
    """
    dy, dx = np.asarray(ss) - _column(fits, "ss", ss), np.asarray(fs) - _column(fits, "fs", fs)
    each = {name: fits[name].reshape(-1, *[1] * (dy.ndim - 1)) for name in PARAMETERS}
    gauss = np.exp(-0.5 * ((dy / each["sigma_ss"]) ** 2 + (dx / each["sigma_fs"]) ** 2))
    lorentz = 1 / (1 + (dy / each["gamma_ss"]) ** 2 + (dx / each["gamma_fs"]) ** 2)
    profile: npt.NDArray[np.float64] = each["amplitude"] * (each["eta"] * lorentz + (1 - each["eta"]) * gauss)
    return profile


def _column(fits: npt.NDArray[np.void], axis: str, like: npt.ArrayLike) -> npt.NDArray[np.float64]:
    centre: npt.NDArray[np.float64] = fits[f"middle_{axis}"] + fits[f"centre_{axis}"]
    return centre.reshape(-1, *[1] * (np.ndim(like) - 1))


def label_pixels(
    fits: npt.NDArray[np.void], shape: tuple[int, ...], *, most_chi2: float = np.inf, radius: int = RADIUS
) -> npt.NDArray[np.int32]:
    """The pixels of each peak for training: those where its profile is at least half its height.

    shape : (panel, ss, fs); most_chi2 : reduced chi-square above which a fit is left out, as are those that did not end well
    Returns int32 (panel, ss, fs): 0 for background, k + 1 for fit k. A pixel that two profiles claim is the higher one's.
    """
    labels = np.zeros(shape, np.int32)
    kept = np.flatnonzero((fits["end"] == FITTED) & (fits["chi2"] <= most_chi2))
    around = np.arange(-radius, radius + 1)
    ss = (fits["middle_ss"][kept].astype(int)[:, None, None] + around[:, None]) + np.zeros_like(around)
    fs = (fits["middle_fs"][kept].astype(int)[:, None, None] + around) + np.zeros_like(around)[:, None]
    profile = profile_of(fits[kept], ss, fs)
    claimed = (profile >= 0.5 * fits["amplitude"][kept, None, None]) & (ss >= 0) & (fs >= 0)
    claimed &= (ss < shape[1]) & (fs < shape[2])
    which = np.broadcast_to(kept[:, None, None], ss.shape)[claimed]
    order = np.argsort(profile[claimed], kind="stable")  # the highest is written last
    at = fits["panel"][which], ss[claimed], fs[claimed]
    labels[at[0][order], at[1][order], at[2][order]] = which[order] + 1
    return labels


def on_panels(slab: SlabPeaks, height: int) -> PeakArray:
    """Peaks of the slab of stacked panels on their panels; height : of a panel, pixels."""
    peaks = np.zeros(len(slab), PEAK)
    panel = np.floor((slab.ss + 0.5) / height)
    peaks["panel"], peaks["ss"], peaks["fs"] = panel, slab.ss - panel * height, slab.fs
    return peaks


def write_fits(path: Path, fits: list[npt.NDArray[np.void]], numbers: npt.ArrayLike | None = None) -> None:
    """Write the fits of the rows of a CXI: a dataset for each field, and ``row`` and ``peak`` that say whose they are.

    numbers : of the frames, in place of the rows. The file gets its name when it is whole.
    """
    rows = np.arange(len(fits)) if numbers is None else np.asarray(numbers, np.int64)
    with whole_file(path) as started, h5py.File(started, "w", libver=FILE_FORMAT) as file:
        file["row"] = np.repeat(rows, [len(each) for each in fits])
        file["peak"] = np.concatenate([np.arange(len(each)) for each in fits])
        whole = np.concatenate(fits)
        for name in PROFILE_FIT.names or ():
            file[name] = whole[name]
