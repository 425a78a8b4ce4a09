"""Simulated patterns of single particles and of what else meets the beam, at small angles.

A pattern is the squared Fourier transform of the projected density (Born approximation, flat Ewald sphere), as in condor
(Hantke, Ekeberg & Maia, J. Appl. Cryst. 49 (2016) 1356): bodies of even density, with background and a detector's noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from peakrt.config import option
from peakrt_geometry import Detector
from peakrt_geometry.panels import HC_EV_M

from ..crystal import random_rotation

Floats = npt.NDArray[np.float64]

#: What meets the beam; the first is what is looked for.
KINDS = ("single", "dimer", "aggregate", "droplet", "pair", "nothing")
_GRID = 256  # of the transform, a pixel of the detector each: what lies farther from the beam is left dark


@dataclass(frozen=True)
class Particles:
    """What meets the beam. Pairs are ranges."""

    size_nm: float = option(70.0, "size of the particle, as the diameter of a sphere of its volume", unit="nm")
    size_spread: float = option(0.04, "its spread, rms, relative", unit="0..1")
    photons: tuple[float, float] = option((1e3, 1e5), "scattered onto the detector by one particle", unit="photons")
    background: float = option(0.01, "stray photons of a pixel", unit="photons")
    noise: float = option(0.15, "read noise of a pixel, rms", unit="photons")


def _icosahedron() -> Floats:
    """Unit normals (20, 3) of the faces of an icosahedron."""
    g = (1 + 5**0.5) / 2
    normals: list[tuple[float, float, float]] = [(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]
    for a in (-1 / g, 1 / g):
        for b in (-g, g):
            normals += [(0, a, b), (a, b, 0), (b, 0, a)]
    return np.array(normals, np.float64) / 3**0.5


_FACES = _icosahedron()


def icosahedron(rng: np.random.Generator, diameter: float, x: Floats, y: Floats) -> Floats:
    """Thickness along the beam of an icosahedron, at random orientation; diameter : of the sphere of its volume."""
    faces = _FACES @ random_rotation(rng).T
    inner = diameter / 2 * 0.9394  # its inscribed sphere: (4 pi / 3 / 5.0535)^(1/3) of the sphere of its volume
    near = x * x + y * y < (0.63 * diameter) ** 2  # the vertices lie at 0.591 diameters
    room = inner - faces[:, :1] * x[near] - faces[:, 1:2] * y[near]
    along = faces[:, 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = room / along
    top = np.where(along > 1e-9, limit, np.inf).min(0)
    bottom = np.where(along < -1e-9, limit, -np.inf).max(0)
    out = np.zeros_like(x)
    out[near] = np.maximum(top - bottom, 0)
    return out


def spheroid(rng: np.random.Generator, diameter: float, stretch: float, x: Floats, y: Floats) -> Floats:
    """Thickness along the beam of a spheroid whose axis lies across it; diameter : of the sphere of its volume."""
    angle = rng.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    along, across = diameter / 2 * stretch, diameter / 2 / stretch**0.5
    inside = 1 - (u / along) ** 2 - (v / across) ** 2
    return np.asarray(2 * across * np.sqrt(np.maximum(inside, 0)))


class Simulator:
    """Patterns of a detector, (panel, ss, fs) photons; pattern(n) depends on the seed and n alone.

    detector : with camera length and photon energy as numbers
    Raises ValueError where the particle's fringes are finer than two pixels.
    """

    def __init__(self, detector: Detector, particles: Particles | None = None, seed: int = 0) -> None:
        self.particles, self._seed = particles or Particles(), seed
        self.good = detector.mask
        wavelength_nm = HC_EV_M / detector.number("photon_energy") * 1e9
        pixel = detector.panels[0].pixel_size_m
        self.step = pixel / detector.number("camera_length") / wavelength_nm  # 1/nm a pixel
        if self.step * self.particles.size_nm > 0.5:
            raise ValueError(
                f"fringes of {self.particles.size_nm:g} nm are {1 / (self.step * self.particles.size_nm):.1f} pixels wide, at "
                "least 2 are needed: is the size right, or the camera length?"
            )
        half = _GRID // 2
        row, column = (np.rint(m / pixel).astype(np.int64) + half for m in (detector.y_m, detector.x_m))
        inside = (row >= 0) & (row < _GRID) & (column >= 0) & (column < _GRID) & detector.covered
        self._pixels = np.flatnonzero(inside)
        self._at = (row * _GRID + column).ravel()[self._pixels]
        side = (np.arange(_GRID) - half) / (_GRID * self.step)
        #: Of the projected density, nm.
        self.x, self.y = np.meshgrid(side, side)

    def pattern(self, number: int, kind: str) -> npt.NDArray[np.float32]:
        """Simulate one pattern of a kind of KINDS, with noise."""
        rng = np.random.default_rng([self._seed, number])
        particles = self.particles
        expected = np.full(self.good.shape, particles.background, np.float64)
        if kind != "nothing":
            density, volumes = self._density(rng, kind)
            # The beam is brighter for some particles than for others; several scatter more than one
            low, high = np.log(particles.photons)
            expected += self.scattered(density) * np.exp(rng.uniform(low, high)) * volumes
        frame = rng.poisson(expected) + particles.noise * rng.standard_normal(expected.shape)
        return np.where(self.good, frame, 0).astype(np.float32)

    def scattered(self, density: Floats) -> Floats:
        """Share of the photons on the detector that each pixel gets: (panel, ss, fs). density : (256, 256) projected"""
        amplitude = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(density)))
        out = np.zeros(self.good.shape)
        out.ravel()[self._pixels] = (amplitude.real**2 + amplitude.imag**2).ravel()[self._at]
        out *= self.good
        return np.asarray(out / max(float(out.sum()), 1e-300))

    def _density(self, rng: np.random.Generator, kind: str) -> tuple[Floats, float]:
        """Projected density, and how many times more than one particle it scatters."""
        size = self.particles.size_nm * (1 + self.particles.size_spread * rng.standard_normal())
        if kind == "single":
            return icosahedron(rng, size, self.x, self.y), 1.0
        if kind == "dimer":
            return self._touching(rng, size, 2)
        if kind == "aggregate":
            return self._touching(rng, size, int(rng.integers(3, 7)))
        if kind == "pair":
            return self._apart(rng, size)
        diameter, stretch = size * np.exp(rng.uniform(-0.4, 0.4)), float(np.exp(rng.uniform(0.0, 0.4)))
        return spheroid(rng, diameter, stretch, self.x, self.y), 1.0

    def _touching(self, rng: np.random.Generator, size: float, n: int) -> tuple[Floats, float]:
        """Particles grown one on another."""
        places = np.zeros((1, 3))
        while len(places) < n:
            step = rng.standard_normal(3)
            new = places[rng.integers(len(places))] + size * 0.97 * step / np.linalg.norm(step)
            if (np.linalg.norm(places - new, axis=1) > 0.9 * size).all():
                places = np.r_[places, new[None]]
        places -= places.mean(0)
        bodies = [icosahedron(rng, size, self.x - x, self.y - y) for x, y, _ in places]
        return np.sum(bodies, axis=0), float(n)

    def _apart(self, rng: np.random.Generator, size: float) -> tuple[Floats, float]:
        """Two particles in one beam that do not touch, the second one in its skirts."""
        angle, distance = rng.uniform(0, 2 * np.pi), size * rng.uniform(1.3, 4.0)
        x, y = distance / 2 * np.cos(angle), distance / 2 * np.sin(angle)
        first, second = (icosahedron(rng, size, self.x - s * x, self.y - s * y) for s in (1, -1))
        return np.asarray(first + rng.uniform(0.3, 1.0) * second), 2.0
