"""What tells single particles: lit pixels, size, and numbers of a pattern that do not change when the particle turns.

A pattern is averaged into cells of rings and angles once; all else is made of these 2,000 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector
from peakrt_geometry.panels import HC_EV_M

Floats = npt.NDArray[np.float64]

RINGS, ANGLES = 32, 64
#: A pixel is lit above this many photons: half a photon, and what noise does not reach.
_LIT_PHOTONS, _LIT_SIGMA = 0.5, 4.0
_HARMONICS = (2, 4, 6, 8, 10)
#: Sizes that are tried, relative to the one that is expected.
_SIZES = np.geomspace(0.4, 2.5, 93)


@dataclass(frozen=True)
class Measured:
    """One pattern. lit : lit pixels, and lit_sigma : by how many sigmas more than blanks have

    size_nm : diameter of the sphere that fits best; misfit : 1 less the correlation of its profile with the pattern's
    numbers : (n,) for the classifier
    """

    lit: int
    lit_sigma: float
    size_nm: float
    misfit: float
    numbers: npt.NDArray[np.float32]


class Measurer:
    """Measures patterns of one detector.

    detector : with camera length and photon energy; size_nm : that is expected, which says how far out to look
    gain : ADU a photon; noise : rms of a pixel, photons; background : photons of a pixel of a blank
    Raises ValueError where the detector sees less than two fringes.
    """

    def __init__(
        self, detector: Detector, size_nm: float, *, gain: float = 1.0, noise: float = 0.15, background: float = 0.01
    ) -> None:
        wavelength_nm = HC_EV_M / detector.number("photon_energy") * 1e9
        step = detector.panels[0].pixel_size_m / detector.number("camera_length") / wavelength_nm
        self._gain, self._size = gain, size_nm
        self._threshold = max(_LIT_PHOTONS, _LIT_SIGMA * noise)
        lit = 1 - np.exp(-background)  # a stray photon lights its pixel
        s = detector.radius * step
        farthest = 0.95 * float(s[detector.mask].max())
        if farthest < 2.0 / size_nm:
            raise ValueError(
                f"the detector sees less than two fringes of {size_nm:g} nm: is the size right, or the camera length?"
            )
        # 1/nm: from inside the first minimum to the seventh, as far as the detector reaches
        self._edges = np.linspace(0.6 / size_nm, min(8.0 / size_nm, farthest), RINGS + 1)
        ring = np.digitize(s, self._edges) - 1
        angle = ((np.arctan2(detector.y_m, detector.x_m) / (2 * np.pi) + 0.5) * ANGLES).astype(np.int64) % ANGLES
        inside = (ring >= 0) & (ring < RINGS) & detector.mask
        self._pixels = np.flatnonzero(inside)
        self._cells = (ring * ANGLES + angle).ravel()[self._pixels]
        self._n = np.bincount(self._cells, minlength=RINGS * ANGLES).reshape(RINGS, ANGLES)
        self._known = (self._n > 0).astype(np.float64)
        self._blank_lit = len(self._pixels) * lit
        self._pairs = np.fft.irfft(np.abs(np.fft.rfft(self._known, axis=1)) ** 2, ANGLES, axis=1)
        self._spheres = self._sphere_profiles()

    def _sphere_profiles(self) -> Floats:
        """Logarithms of the profiles of spheres of all sizes (Guinier 1939), less their mean, of length 1."""
        middle = (self._edges[1:] + self._edges[:-1]) / 2
        fine = middle[:, None] + np.diff(self._edges)[:, None] * np.linspace(-0.5, 0.5, 5)
        x = np.pi * fine * (self._size * _SIZES)[:, None, None]
        profile = ((3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2).mean(2)
        return _normed(_log(profile))

    def __call__(self, frame: npt.NDArray[np.generic]) -> Measured:
        """Measure one frame (panel, ss, fs), ADU."""
        values = frame.ravel()[self._pixels].astype(np.float64) / self._gain
        lit = int((values > self._threshold).sum())
        sums: Floats = np.bincount(self._cells, values, RINGS * ANGLES).astype(np.float64).reshape(RINGS, ANGLES)
        counts = self._n.sum(1)
        profile = sums.sum(1) / np.maximum(counts, 1)
        total = max(float(sums.sum()), 1.0)
        log = _log(profile[None])[0]
        fit = self._spheres @ _normed(log[None])[0]
        best = int(np.argmax(fit))
        correlations = self._angular(sums, profile)
        lit_sigma = (lit - self._blank_lit) / np.sqrt(self._blank_lit + 1)
        numbers = [np.log(total), np.log1p(max(lit, 0)), np.log(_SIZES[best]), fit[best], *log, *correlations]
        return Measured(
            lit, float(lit_sigma), float(self._size * _SIZES[best]), float(1 - fit[best]), np.array(numbers, np.float32)
        )

    def _angular(self, sums: Floats, profile: Floats) -> Floats:
        """Harmonics of each ring's angular correlation (Kam, Macromolecules 10 (1977) 927), over its mean square.

        A cell's own square, in which shot noise counts, is left out. Two rings are taken together.
        """
        relative = np.where(self._known > 0, sums / np.maximum(self._n, 1) - profile[:, None], 0)
        spectrum = np.fft.rfft(relative, axis=1)
        correlation = np.fft.irfft(np.abs(spectrum) ** 2, ANGLES, axis=1) / np.maximum(self._pairs, 1)
        correlation[:, 0] = correlation[:, 1]
        harmonics = np.fft.rfft(correlation, axis=1).real[:, list(_HARMONICS)] / ANGLES
        harmonics = harmonics / np.maximum(profile[:, None], 1e-3) ** 2
        grouped: Floats = harmonics.reshape(RINGS // 2, 2, -1).mean(1)
        return np.arcsinh(10 * grouped).ravel()


def _log(profiles: Floats) -> Floats:
    """Logarithms of profiles (n, RINGS), over a floor of a ten-thousandth of each one's maximum."""
    return np.asarray(np.log(np.maximum(profiles, 0) / np.maximum(profiles.max(1, keepdims=True), 1e-9) * 1e4 + 1))


def _normed(rows: Floats) -> Floats:
    centred = rows - rows.mean(1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))
