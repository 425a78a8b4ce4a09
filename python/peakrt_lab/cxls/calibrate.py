"""Photon energy and camera length from the peaks of stills of a known cell, as a posterior.

At small angles a still fixes only the ratio of both. What tells them apart is the curvature of the Ewald sphere: where
reflections of high angle lie (tan 2 theta against 2 sin theta), and which of them are excited at all. Three steps:
the lengths of all peaks against the cell's powder lines, over a grid; orientations of single frames for the best of the
grid; and least squares over energy, length and all orientations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from peakrt_geometry.panels import HC_EV_M

from .orient import Lattice, assign, lattice_of, orient

Floats = npt.NDArray[np.float64]

#: Steps of the grid, of the logarithms of energy and length.
_STEP_ENERGY, _STEP_LENGTH = 0.004, 0.12
#: Powder lines up to here, 1/A times the longest axis; relative width of a line; share of peaks that lie on none.
_LINES, _WIDTH, _STRAY = 9.0, 0.006, 0.2
#: Frames that are oriented to choose among the cells of the grid, peaks of each, and orientations in all.
_FRAMES, _PEAKS, _ORIENTATIONS = 3, 60, 240
#: Least peaks of a frame that counts, and least share of them that its lattice explains.
_LEAST_PEAKS, _LEAST_SHARE = 6, 0.6
_ROUNDS = 6


@dataclass(frozen=True)
class Calibration:
    """A normal posterior of photon energy and camera length.

    photon_energy_eV, camera_length_m : its mean; covariance : (2, 2) of their logarithms
    frames, peaks : that were used, of those that were given
    radial_px, tangential_px : rms by which the peaks miss their places
    """

    photon_energy_eV: float
    camera_length_m: float
    covariance: Floats
    frames: int
    peaks: int
    radial_px: float
    tangential_px: float

    @property
    def sigma_eV(self) -> float:
        """Standard error of the photon energy, eV."""
        return float(self.photon_energy_eV * np.sqrt(self.covariance[0, 0]))

    @property
    def sigma_m(self) -> float:
        """Standard error of the camera length, m."""
        return float(self.camera_length_m * np.sqrt(self.covariance[1, 1]))

    def nearest(self) -> tuple[int, float, int, float]:
        """The nearest keV and its probability, the nearest cm and its probability."""
        keV, cm = self.photon_energy_eV / 1e3, self.camera_length_m * 100
        out: list[float] = []
        for value, sigma in ((keV, self.sigma_eV / 1e3), (cm, self.sigma_m * 100)):
            whole = round(value)
            out += [whole, _normal(whole + 0.5, value, sigma) - _normal(whole - 0.5, value, sigma)]
        return int(out[0]), out[1], int(out[2]), out[3]


def _normal(x: float, mean: float, sigma: float) -> float:
    from scipy.special import ndtr

    return float(ndtr((x - mean) / max(sigma, 1e-12)))


def calibrate(
    frames: Sequence[Floats],
    cell: tuple[float, ...],
    *,
    energy_eV: tuple[float, float],
    length_m: tuple[float, float],
    pixel_m: float,
) -> Calibration:
    """The posterior of photon energy and camera length, flat before in the logarithms.

    frames : of each the places (n, 3) of its peaks, the strongest first: x and y from the beam, and z beyond the camera
        length, m; cell : A, degrees
    energy_eV, length_m : between which they lie; pixel_m : size of a pixel
    Raises ValueError where no frame can be oriented.
    """
    usable = [xy for xy in frames if len(xy) >= _LEAST_PEAKS]
    if not usable:
        raise ValueError(f"no frame has {_LEAST_PEAKS} peaks: photon energy and camera length need brighter frames")
    usable.sort(key=len, reverse=True)
    lattice = lattice_of(cell, _s_max(usable, energy_eV, length_m, cell))
    starts = _choose(usable, lattice, _powder(usable, lattice, energy_eV, length_m))
    fits = [_Fit(usable, lattice, start, pixel_m, energy_eV, length_m) for start in starts]
    best = max((fit for fit in fits if fit.used), key=lambda fit: fit.quality, default=None)
    if best is None:
        raise ValueError(
            "no frame could be oriented: is the cell right, and do energy and length lie in the ranges that were given?"
        )
    return best.result()


def _s_max(
    frames: Sequence[Floats], energy_eV: tuple[float, float], length_m: tuple[float, float], cell: tuple[float, ...]
) -> float:
    """Highest 1/d of a peak, 1/A, and no more than a million reflections."""
    farthest = max(float(np.hypot(xy[:, 0], xy[:, 1]).max()) for xy in frames)
    wavelength = HC_EV_M / energy_eV[1] * 1e10
    s = 2 * np.sin(0.5 * np.arctan(farthest / length_m[0])) / wavelength
    return float(min(1.05 * s, (1e6 / (4.19 * np.prod(cell[:3]))) ** (1 / 3)))


def _vectors(xy: Floats, energy: float, length: float) -> Floats:
    """Scattering vectors (n, 3) of places on the detector, 1/A; the beam goes along +z."""
    rays = xy + [0, 0, length]
    rays /= np.linalg.norm(rays, axis=1)[:, None]
    rays[:, 2] -= 1
    return rays * (energy / HC_EV_M * 1e-10)


def _powder(
    frames: Sequence[Floats], lattice: Lattice, energy_eV: tuple[float, float], length_m: tuple[float, float]
) -> Floats:
    """Cells of a grid of energy and length, (n, 2), those first whose powder lines fit the peaks best."""
    limit = _LINES / max(1 / np.linalg.norm(lattice.reciprocal, axis=1))
    s = np.arange(0, 1.3 * limit, limit * 5e-4)
    density = np.zeros(len(s))
    for line in lattice.length[lattice.length < 1.5 * limit]:
        density += np.exp(-0.5 * ((s - line) / (_WIDTH * line)) ** 2) / (_WIDTH * line)
    smooth = np.sqrt(2 * np.pi) * 4 * np.pi * s * s / abs(np.linalg.det(lattice.reciprocal))
    contrast = np.log(_STRAY + (1 - _STRAY) * density / np.maximum(smooth, smooth[len(s) // 20]))
    radius = np.concatenate([np.hypot(xy[:, 0], xy[:, 1]) for xy in frames])
    found: list[tuple[float, float, float]] = []
    energies, lengths = (
        np.geomspace(*bounds, round(np.log(bounds[1] / bounds[0]) / step) + 2)
        for bounds, step in ((energy_eV, _STEP_ENERGY), (length_m, _STEP_LENGTH))
    )
    for length in lengths:
        sine = 2 * np.sin(0.5 * np.arctan(radius / length))
        for energy in energies:
            of_peaks = sine * (energy / HC_EV_M * 1e-10)
            of_peaks = of_peaks[of_peaks < limit]
            found.append((float(np.interp(of_peaks, s, contrast).sum()), float(energy), float(length)))
    found.sort(reverse=True)
    return np.array(found)[:, 1:]


def _choose(frames: Sequence[Floats], lattice: Lattice, cells: Floats) -> list[tuple[float, float]]:
    """The cells of the grid at which single frames can be oriented best: the best three."""
    scored = []
    frames = frames[:_FRAMES]
    for energy, length in cells[: _ORIENTATIONS // len(frames)]:
        explained = 0.0
        for xy in frames:
            q = _vectors(xy[:_PEAKS], energy, length)
            explained += orient(q, lattice)[1]
        scored.append((explained, float(energy), float(length)))
    scored.sort(reverse=True)
    return [(energy, length) for _, energy, length in scored[:3]]


class _Fit:
    """Least squares over energy, length and orientations, from a start."""

    def __init__(
        self,
        frames: Sequence[Floats],
        lattice: Lattice,
        start: tuple[float, float],
        pixel_m: float,
        energy_eV: tuple[float, float],
        length_m: tuple[float, float],
    ) -> None:
        self._lattice, self._pixel = lattice, pixel_m
        self._bounds = np.log(np.array([energy_eV, length_m]))
        self.energy, self.length = start
        self.used: list[tuple[Floats, Floats, Floats]] = []  # places, rotation, reflections unrotated
        self.covariance: Floats = np.eye(2)
        for xy in frames:
            rotation, explained = orient(_vectors(xy[:_PEAKS], *start), lattice)
            if explained >= max(_LEAST_PEAKS, _LEAST_SHARE * min(len(xy), _PEAKS)):
                self.used.append((xy, rotation, np.zeros((0, 3))))
        for _ in range(_ROUNDS):
            if self.used:
                self._assign()
                self._step()

    @property
    def quality(self) -> float:
        """Log-likelihood of the peaks: how many there are, and how near to their places."""
        residuals = np.concatenate([self._residuals(*frame) for frame in self.used])
        n = len(residuals)
        return float(
            n * np.log(1 / np.median(np.abs(residuals[:, 1]))) + n * np.log(1 / np.median(np.abs(residuals[:, 0])))
        )

    def _assign(self) -> None:
        """Which reflection each peak is, at the energy, length and orientation in force."""
        kept = []
        for xy, rotation, _ in self.used:
            hkl, near = assign(_vectors(xy, self.energy, self.length), rotation, self._lattice)
            if near.sum() >= _LEAST_PEAKS:
                kept.append((xy, rotation, np.where(near[:, None], hkl @ self._lattice.reciprocal, np.nan)))
        self.used = kept

    def _residuals(self, xy: Floats, rotation: Floats, reflections: Floats, change: Floats | None = None) -> Floats:
        """(n, 3): by how many pixels a peak lies too far out and to the side, and its excitation error over its length.

        change : of the logarithms of energy and length, and turns about x, y and z
        """
        energy, length, turned = self.energy, self.length, rotation
        if change is not None:
            energy, length = energy * np.exp(change[0]), length * np.exp(change[1])
            turned = _turn(change[2:]) @ rotation
        near = np.isfinite(reflections[:, 0])
        q, at = reflections[near] @ turned.T, xy[near]
        k = energy / HC_EV_M * 1e-10
        out = q + [0, 0, k]
        norm = np.linalg.norm(out, axis=1)
        place = (length + at[:, 2:]) * out[:, :2] / out[:, 2:]
        outward = at[:, :2] / np.maximum(np.linalg.norm(at[:, :2], axis=1), 1e-9)[:, None]
        off = (at[:, :2] - place) / self._pixel
        radial = (off * outward).sum(1)
        side = off[:, 1] * outward[:, 0] - off[:, 0] * outward[:, 1]
        return np.c_[radial, side, (norm - k) / np.linalg.norm(q, axis=1)]

    def _step(self) -> None:
        """One step of Gauss-Newton, in which the orientations are eliminated frame by frame."""
        residuals = [self._residuals(*frame) for frame in self.used]
        self.scales = np.maximum(1.4826 * np.median(np.abs(np.concatenate(residuals)), 0), [0.02, 0.02, 1e-6])
        normal, right = np.zeros((2, 2)), np.zeros(2)
        solved: list[Floats] = []
        squares, free = 0.0, -2
        for frame, residual in zip(self.used, residuals, strict=True):
            jacobian = np.stack([(self._residuals(*frame, change=h) - residual) / _H for h in _H * np.eye(5)], -1)
            weight = (1 / self.scales) / (1 + (residual / self.scales / 3) ** 2) ** 0.5  # a Cauchy weight for outliers
            j, r = (jacobian * weight[..., None]).reshape(-1, 5), (residual * weight).ravel()
            a, b, c = j[:, :2].T @ j[:, :2], j[:, :2].T @ j[:, 2:], j[:, 2:].T @ j[:, 2:] + 1e-9 * np.eye(3)
            back = np.asarray(np.linalg.solve(c, np.c_[b.T, j[:, 2:].T @ r]), np.float64)
            squares, free = squares + float(r @ r), free + len(r) - 3
            normal += a - b @ back[:, :2]
            right += j[:, :2].T @ r - b @ back[:, 2]
            solved.append(back)
        now = np.log([self.energy, self.length])
        step: Floats = np.clip(-np.linalg.solve(normal, right), -0.1, 0.1)
        change = np.clip(now + step, *self._bounds.T) - now
        self.used = [
            (xy, _turn(-back[:, 2] - back[:, :2] @ change) @ rotation, reflections)
            for (xy, rotation, reflections), back in zip(self.used, solved, strict=True)
        ]
        self.energy, self.length = (float(x) for x in np.exp(now + change))
        # Residuals of long tails are larger than their median says
        self.covariance = np.asarray(np.linalg.inv(normal), np.float64) * max(1.0, squares / max(free, 1))

    def result(self) -> Calibration:
        """The posterior."""
        residuals = np.concatenate([self._residuals(*frame) for frame in self.used])
        radial, tangential, _ = np.sqrt((np.clip(residuals, *np.percentile(residuals, [2, 98], axis=0)) ** 2).mean(0))
        return Calibration(
            self.energy, self.length, self.covariance, len(self.used), len(residuals), float(radial), float(tangential)
        )


_H = 1e-6


def _turn(about: Floats) -> Floats:
    """Rotation by the length of a vector about its direction (Rodrigues)."""
    angle = np.linalg.norm(about)
    x, y, z = about
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    if angle < 1e-12:
        return np.eye(3) + cross
    rotation: Floats = np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross
    return rotation
