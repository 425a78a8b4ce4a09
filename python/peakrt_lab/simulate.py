"""Simulated stills with their truth: crystals, scatter, shadows, and what a detector makes of them.

The recipe is common knowledge of the field (Wilson 1949 intensities; Gaussian partiality as in nanoBragg's and
pixel-free simulators); numbers that are not a law of nature are fields of the dataclasses below.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt import _native
from peakrt.config import option
from peakrt_geometry import Detector
from peakrt_geometry.panels import HC_EV_M

from .crystal import Beam, Crystal, excited, make_crystal, random_cell, random_rotation

#: One true peak: raw position (an integer is a pixel's centre), photons, background and read noise variance in
#: photons a pixel, SNR, Miller indices, lattice.
TRUTH = np.dtype(
    [
        ("panel", np.int32),
        ("ss", np.float32),
        ("fs", np.float32),
        ("photons", np.float32),
        ("background", np.float32),
        ("snr", np.float32),
        ("sigma", np.float32),
        ("h", np.int16),
        ("k", np.int16),
        ("l", np.int16),
        ("lattice", np.int16),
    ]
)

SPOT = np.dtype(
    [("panel", np.int32)]
    + [(name, np.float32) for name in ("ss", "fs", "photons", "sigma_along", "sigma_across", "cos_fs", "sin_ss")]
)


@dataclass(frozen=True)
class Response:
    """What a detector makes of photons.

    gain_modes : (photons above which, factor on the noise)
    """

    psf: float = option(0.3, "width of the point spread function, rms", unit="pixels")
    psf_after: bool = option(False, "whether that acts on counted photons and correlates their noise, as in a CCD")
    psf_tail: float = option(0.0, "share of the light in a tail three times as wide, with --psf-after", unit="0..1")
    common_mode: float = option(
        0.0, "common mode of each panel, rms; a third of it of each column as well", unit="photons"
    )
    read_noise: float = option(0.1, "read noise of a pixel, rms", unit="photons")
    offset: float = option(0.0, "pedestal that stays in the frames", unit="ADU")
    gain_spread: float = option(0.01, "relative spread of the pixels' gain, rms", unit="0..1")
    photon_gain: float = option(1.0, "gain where the geometry says nothing", unit="ADU/photon")
    gain_modes: tuple[tuple[float, float], ...] = ()
    dtype: str = option("f4", "type of the pixels, as numpy writes it: u2, i4, f4", unit="TYPE")
    low: float = option(-1e6, "least value that can be stored", unit="ADU")
    high: float = option(1e6, "greatest value that can be stored: saturation", unit="ADU")
    hot: float = option(2e-6, "share of hot pixels", unit="0..1")
    dead: float = option(1e-5, "share of dead pixels", unit="0..1")
    edge: float = option(1.0, "light on the wide pixels at an ASIC's edge, relative to the others", unit="X")

    @property
    def counts(self) -> bool:
        """Whether it counts photons one by one, each over a threshold."""
        return self.read_noise == 0 and not self.psf_after and np.dtype(self.dtype).kind in "iu"


_COUNTER = Response(psf=0.2, read_noise=0.0, gain_spread=0.0, dtype="i4", low=0, high=2**20)
_INTEGRATING = Response(psf=0.25, read_noise=0.15)
#: By the name of a detector in the catalogue; others get the generic response.
RESPONSES = {
    "epix10k2m": replace(_INTEGRATING, gain_modes=((100.0, 3.0), (10000.0, 30.0))),
    "jungfrau1m": replace(_INTEGRATING, read_noise=0.06, gain_modes=((30.0, 8.0), (800.0, 60.0))),
    "jungfrau4m": replace(_INTEGRATING, read_noise=0.06, gain_modes=((30.0, 8.0), (800.0, 60.0))),
    "jungfrau16m": replace(_INTEGRATING, read_noise=0.06, gain_modes=((30.0, 8.0), (800.0, 60.0))),
    "agipd1m": replace(_INTEGRATING, read_noise=0.12, gain_modes=((50.0, 6.0), (1000.0, 40.0))),
    "cspad": replace(_INTEGRATING, psf=0.3, read_noise=0.25, gain_spread=0.03, hot=1e-5),
    "rayonix_mx170": Response(psf=0.6, psf_after=True, read_noise=0.4, offset=10.0, dtype="u2", low=0, high=65535),
    "rayonix_mx340": Response(psf=0.5, psf_after=True, read_noise=0.4, offset=10.0, dtype="u2", low=0, high=65535),
    "eiger4m": replace(_COUNTER, dtype="u4", high=2**22),
    "eiger16m": replace(_COUNTER, dtype="u4", high=2**22),
    "pilatus6m": _COUNTER,
}


@dataclass(frozen=True)
class Scene:
    """What the beam meets. Pairs are ranges, drawn from evenly in the logarithm (or evenly where they hold 0)."""

    hit_fraction: float = option(0.6, "share of events with crystals", unit="0..1")
    lattices: int = option(1, "most lattices of a hit; each further one comes with a chance of 1 in 5", unit="LATTICES")
    photons: tuple[float, float] = option(
        (100.0, 10000.0), "of a full reflection of mean strength at low angle", unit="photons"
    )
    b_factor: tuple[float, float] = option((10.0, 40.0), "B factor of the crystal", unit="A^2")
    d_min: float = option(1.8, "resolution to which crystals diffract", unit="A")
    mosaicity: tuple[float, float] = option((2e-4, 2e-3), "mosaic spread of the crystal", unit="rad")
    bandwidth: tuple[float, float] = option((5e-4, 3e-3), "relative bandwidth of the beam", unit="0..1")
    divergence: tuple[float, float] = option((1e-5, 3e-4), "divergence of the beam", unit="rad")
    size_px: tuple[float, float] = option((0.1, 0.6), "the crystal's own shadow on a peak, rms", unit="pixels")
    background: tuple[float, float] = option((0.1, 20.0), "scatter of the water ring, of each pixel", unit="photons")
    polarisation: float = option(1.0, "share of the polarisation that lies along x", unit="0..1")
    beam_stop_px: tuple[float, float] = option((8.0, 40.0), "radius of the beam stop", unit="pixels")
    jet: float = option(0.2, "chance of a jet streak in an event", unit="0..1")
    shadow: float = option(0.15, "chance of a shadow in an event", unit="0..1")
    ice: float = option(0.1, "chance of ice rings in an event", unit="0..1")
    salt: float = option(0.1, "chance of salt rings in an event", unit="0..1")
    zingers: float = option(2.0, "mean number of zingers in a frame", unit="ZINGERS")
    flux_spread: float = option(0.3, "shot to shot, rms of the flux's logarithm", unit="X")


@dataclass(frozen=True)
class SimulatedEvent:
    """One simulated shot.

    frame : (panel, ss, fs); peaks : TRUTH; lattices : (n, 3, 3) rows a*, b*, c* in the laboratory, 1/A
    artifacts : (panel, ss, fs), where light is that is neither smooth scatter nor a peak; None if it was not asked for
    """

    frame: npt.NDArray[Any]
    hit: bool
    peaks: npt.NDArray[np.void]
    lattices: npt.NDArray[np.float64]
    flux: float
    artifacts: npt.NDArray[np.bool_] | None = None


def _draw(rng: np.random.Generator, low_high: tuple[float, float]) -> float:
    low, high = low_high
    if low > 0:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return float(rng.uniform(low, high))


@dataclass
class Simulator:
    """Simulates events of one detector; event(n) depends on the seed and n alone.

    detector : with camera length and photon energy as numbers
    cell, space_group : of every crystal; None draws them for each hit
    Raises ValueError for a geometry without numbers.
    """

    detector: Detector
    scene: Scene = field(default_factory=Scene)
    response: Response = field(default_factory=Response)
    cell: tuple[float, ...] | None = None
    space_group: str = "P 1"
    seed: int = 0

    def __post_init__(self) -> None:
        self.camera_length = self.detector.number("camera_length")
        self.energy = self.detector.number("photon_energy")
        self.wavelength = HC_EV_M / self.energy * 1e10
        self.gain = self.detector.photon_gain or self.response.photon_gain
        z = self.detector.z_offset_m + np.float32(self.camera_length)
        x, y = self.detector.x_m, self.detector.y_m
        r2 = x * x + y * y
        distance2 = r2 + z * z
        self._radius = np.minimum(np.rint(self.detector.radius), 65535).astype(np.uint16)
        # Thomson polarisation along x, and the solid angle of a pixel relative to one on the axis
        polarised = 1 - self.scene.polarisation * x * x / distance2 - (1 - self.scene.polarisation) * r2 / distance2 / 2
        self._angular = (polarised * (z * z / distance2) ** 1.5).astype(np.float32)
        self.good = self.detector.mask.copy()
        self._edge = _edges(self.detector) if self.response.edge != 1 else None
        self._spots = _PanelSolver(self.detector, self.camera_length)
        rng = np.random.default_rng([self.seed, 1])
        self._hot, self._dead = self._bad_pixels(rng)
        # From barely warm to saturated; the same in every event
        self._hot_photons = np.exp(rng.uniform(np.log(3), np.log(1e4), len(self._hot)))
        self._crystal = (
            None if self.cell is None else make_crystal(self.cell, self.space_group, self.scene.d_min, self.seed)
        )

    def _bad_pixels(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Hot and dead pixels; two in three are listed in the mask, the others are for the finder to survive."""
        on = np.flatnonzero(self.good)
        hot = rng.choice(on, rng.poisson(self.response.hot * len(on)), replace=False)
        dead = rng.choice(on, rng.poisson(self.response.dead * len(on)), replace=False)
        for bad in (hot, dead):
            self.good.flat[bad[: 2 * len(bad) // 3]] = False
        return hot, dead

    def event(self, number: int, *, artifacts: bool = False) -> SimulatedEvent:
        """Simulate one event. artifacts : whether to say where they are."""
        rng = np.random.default_rng([self.seed, 2, number])
        hit = bool(rng.random() < self.scene.hit_fraction)
        flux = float(np.exp(self.scene.flux_spread * rng.standard_normal()))
        stray = np.zeros(self.good.shape, bool) if artifacts else None
        expected = self._background(rng, flux, stray)
        peaks, spots, lattices = self._diffract(rng, flux) if hit else _nothing()
        at = (peaks["panel"], np.rint(peaks["ss"]).astype(int), np.rint(peaks["fs"]).astype(int))
        peaks["background"] = expected[at]
        # Significance of a peak's photons over those of the background under it; 4 pi sigma^2 is the noise-equivalent area
        variance = peaks["background"] + self.response.read_noise**2
        area = np.maximum(4 * np.pi * peaks["sigma"] ** 2, 1)
        peaks["snr"] = peaks["photons"] / np.sqrt(peaks["photons"] + area * variance)
        _native.draw_spots(spots, expected)
        visible = (peaks["photons"] > 1) & self.good[at]
        return SimulatedEvent(self._detect(rng, expected, stray), hit, peaks[visible], lattices, flux, stray)

    # Scatter

    def _background(
        self, rng: np.random.Generator, flux: float, stray: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.float32]:
        scene, size = self.scene, self.detector.panels[0].pixel_size_m
        pixels = np.arange(int(self._radius.max()) + 2)
        two_theta = np.arctan2(pixels * size, self.camera_length)
        s = 2 * np.sin(two_theta / 2) / self.wavelength  # 1/d, 1/A
        level = _draw(rng, scene.background) * flux
        water = np.exp(-0.5 * ((s - rng.normal(0.31, 0.006)) / rng.uniform(0.045, 0.065)) ** 2) + 0.25 * np.exp(
            -0.5 * ((s - 0.45) / 0.06) ** 2
        )
        air = _draw(rng, (0.1, 3.0)) * np.exp(-s / _draw(rng, (0.02, 0.12)))
        profile = level * (water + air + 0.15)
        stop = _draw(rng, scene.beam_stop_px)
        profile /= 1 + np.exp(-(pixels - stop) / rng.uniform(0.5, 3))
        expected = profile.astype(np.float32)[self._radius] * self._angular
        smooth = None if stray is None else expected.copy()
        self._add_rings(rng, expected, level)
        if rng.random() < scene.jet:
            self._add_jet(rng, expected, level)
        if smooth is not None:
            # A pixel's sigma and a half of it: less is not worth masking
            np.greater(expected - smooth, 1.5 * np.sqrt(smooth + self.response.read_noise**2 + 0.01), out=stray)
        if rng.random() < scene.shadow:
            angle, reach = rng.uniform(0, 2 * np.pi), _draw(rng, (100.0, 1500.0)) * size
            inside = (
                self.detector.x_m * np.float32(np.cos(angle)) + self.detector.y_m * np.float32(np.sin(angle)) > reach
            )
            expected[inside] *= np.float32(rng.uniform(0.2, 0.9))
        return expected

    def _add_rings(self, rng: np.random.Generator, expected: npt.NDArray[np.float32], level: float) -> None:
        ice_d = (3.90, 3.67, 3.44, 2.67, 2.25, 2.07, 1.95, 1.92)  # hexagonal ice, A
        rings = [(1 / d, _draw(rng, (0.2, 3.0)), 3.0) for d in ice_d] if rng.random() < self.scene.ice else []
        if rng.random() < self.scene.salt:
            rings += [(1 / _draw(rng, (1.6, 8.0)), _draw(rng, (0.5, 10.0)), 1.0) for _ in range(rng.integers(1, 5))]
        size = self.detector.panels[0].pixel_size_m
        for s, strength, width in rings:
            half = s * self.wavelength / 2
            if half > 0.7:
                continue
            radius = self.camera_length * np.tan(2 * np.arcsin(half)) / size
            near = np.abs(self.detector.radius - np.float32(radius)) < 4 * width
            if not near.any():
                continue
            r, angle = (
                self.detector.radius[near],
                np.arctan2(self.detector.y_m[near], self.detector.x_m[near]),
            )
            grains = rng.gamma(grain := _draw(rng, (0.3, 30.0)), 1 / grain, max(16, int(2 * np.pi * radius / 4)))
            texture = grains[((angle / (2 * np.pi) + 0.5) * (len(grains) - 1)).astype(int)]
            expected[near] += (level * strength * texture * np.exp(-0.5 * ((r - radius) / width) ** 2)).astype(
                np.float32
            )

    def _add_jet(self, rng: np.random.Generator, expected: npt.NDArray[np.float32], level: float) -> None:
        angle, size = rng.uniform(0, np.pi), self.detector.panels[0].pixel_size_m
        along = (
            np.abs(self.detector.x_m * np.float32(np.cos(angle)) + self.detector.y_m * np.float32(np.sin(angle))) / size
        )
        across = (self.detector.y_m * np.float32(np.cos(angle)) - self.detector.x_m * np.float32(np.sin(angle))) / size
        width, reach = _draw(rng, (1.0, 6.0)), _draw(rng, (30.0, 200.0))
        near = (np.abs(across) < 4 * width) & (along < 8 * reach)
        streak = level * _draw(rng, (1.0, 200.0)) * np.exp(-along[near] / reach - 0.5 * (across[near] / width) ** 2)
        expected[near] += streak.astype(np.float32)

    # Diffraction

    def _diffract(
        self, rng: np.random.Generator, flux: float
    ) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void], npt.NDArray[np.float64]]:
        peaks, spots, lattices = [], [], []
        beam = Beam(self.wavelength, _draw(rng, self.scene.bandwidth), _draw(rng, self.scene.divergence))
        for lattice in range(self.scene.lattices):
            if lattice and rng.random() > 0.2:
                break
            crystal = self._crystal or make_crystal(*random_cell(rng), self.scene.d_min, int(rng.integers(2**31)))
            rotation = random_rotation(rng)
            p, s = self._one_lattice(rng, crystal, rotation, beam, flux)
            p["lattice"] = lattice
            peaks.append(p)
            spots.append(s)
            lattices.append(crystal.reciprocal @ rotation.T)
        return np.concatenate(peaks), np.concatenate(spots), np.array(lattices)

    def _one_lattice(
        self,
        rng: np.random.Generator,
        crystal: Crystal,
        rotation: npt.NDArray[np.float64],
        beam: Beam,
        flux: float,
    ) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        mosaicity, own_size = _draw(rng, self.scene.mosaicity), _draw(rng, self.scene.size_px)
        chosen, intensity, direction = excited(
            crystal, rotation, beam, mosaicity=mosaicity, size_A=_draw(rng, (1000.0, 20000.0)),
            b_factor=_draw(rng, self.scene.b_factor),
        )  # fmt: skip
        which, panel, ss, fs = self._spots.hits(direction)
        photons = intensity[which] * _draw(rng, self.scene.photons) * flux
        at = (panel, np.rint(ss).astype(int), np.rint(fs).astype(int))
        photons = photons * self._angular[at]
        strong = photons > 0.2
        which, panel, ss, fs, photons = which[strong], panel[strong], ss[strong], fs[strong], photons[strong]
        at = (panel, np.rint(ss).astype(int), np.rint(fs).astype(int))
        radius = self.detector.radius[at].astype(np.float64)
        psf2 = 0.0 if self.response.psf_after else self.response.psf**2
        core2 = psf2 + own_size**2
        radial = np.sqrt(core2 + (beam.bandwidth * radius) ** 2)
        tangential = np.sqrt(core2 + (mosaicity * radius) ** 2)
        spots = np.zeros(len(which), SPOT)
        spots["panel"], spots["ss"], spots["fs"], spots["photons"] = panel, ss, fs, photons
        spots["sigma_along"], spots["sigma_across"] = radial, tangential
        spots["cos_fs"], spots["sin_ss"] = self._spots.outward(panel, ss, fs)
        peaks = np.zeros(len(which), TRUTH)
        peaks["panel"], peaks["ss"], peaks["fs"], peaks["photons"] = panel, ss, fs, photons
        after = self.response.psf**2 if self.response.psf_after else 0.0
        peaks["sigma"] = np.sqrt(np.sqrt((radial**2 + after) * (tangential**2 + after)))
        for axis, name in enumerate("hkl"):
            peaks[name] = crystal.hkl[chosen[which], axis]
        return peaks, spots

    # Detection

    def _detect(
        self, rng: np.random.Generator, expected: npt.NDArray[np.float32], stray: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[Any]:
        response = self.response
        photons = expected
        if self._edge is not None:
            photons[self._edge] *= np.float32(response.edge)
        _native.count_photons(photons, int(rng.integers(2**63)))
        if response.psf_after:
            photons = self._blur(photons)
        # Made in the chip, behind what blurs: sharp on every detector
        self._add_zingers(rng, photons, stray)
        if stray is not None:
            stray.flat[self._hot] = True
        # Dark current: its own shot noise, and it flickers.
        photons.flat[self._hot] += rng.poisson(self._hot_photons * np.exp(0.2 * rng.standard_normal(len(self._hot))))
        counts = photons.copy() if response.gain_modes else photons
        frame = np.empty_like(photons)
        whole = np.dtype(response.dtype).kind in "iu"
        _native.read_out(
            photons, frame, offset=response.offset, gain=self.gain, gain_spread=response.gain_spread,
            read_noise=response.read_noise * self.gain, low=response.low, high=response.high, whole=whole,
            pixel_seed=self.seed + 1, seed=int(rng.integers(2**63)),
        )  # fmt: skip
        for above, factor in response.gain_modes:
            switched = np.flatnonzero(counts > above)
            noise = rng.standard_normal(len(switched)) * response.read_noise * self.gain * factor
            frame.flat[switched] += noise.astype(np.float32)
        if response.common_mode:
            n_panels, _, n_fs = frame.shape
            noise = response.common_mode * self.gain * rng.standard_normal((n_panels, 1, 1))
            frame += (noise + response.common_mode * self.gain / 3 * rng.standard_normal((n_panels, 1, n_fs))).astype(
                "f4"
            )
        frame.flat[self._dead] = response.offset
        frame[~self.detector.covered] = 0
        return frame.astype(response.dtype)

    def _add_zingers(
        self, rng: np.random.Generator, photons: npt.NDArray[np.float32], stray: npt.NDArray[np.bool_] | None
    ) -> None:
        """Charge of particles: muons that cross the sensor on a straight line, electrons that gammas free, which stop."""
        where, charge = [np.empty(0, np.int64)], [np.empty(0)]
        per_pixel = self.detector.panels[0].pixel_size_m * _KEV_PER_M / (self.energy / 1000)  # photons' charge
        for _ in range(rng.poisson(self.scene.zingers)):
            track, amount = _muon(rng, per_pixel) if rng.random() < 0.5 else _electron(rng, per_pixel)
            panel, (n_ss, n_fs) = int(rng.integers(len(photons))), photons.shape[1:]
            at = np.rint(track + rng.uniform(0, (n_ss, n_fs)) - 0.5).astype(np.int64)
            on = ((at >= 0) & (at < (n_ss, n_fs))).all(1)
            where.append((panel * n_ss + at[on, 0]) * n_fs + at[on, 1])
            charge.append(amount[on])
        pixels, of_pixel = np.unique(np.concatenate(where), return_inverse=True)
        total = np.bincount(of_pixel, np.concatenate(charge), len(pixels)).astype(np.float32)
        # A photon counter counts a particle once, whatever its charge.
        photons.flat[pixels] += (total > 0.5).astype(np.float32) if self.response.counts else total
        if stray is not None:
            stray.flat[pixels] = True

    def _blur(self, photons: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        from scipy.ndimage import gaussian_filter

        psf, tail, still = self.response.psf, self.response.psf_tail, (0.0, 1.0, 1.0)
        blurred = gaussian_filter(photons, np.multiply(psf, still), mode="nearest", truncate=3)
        if tail:
            wide = gaussian_filter(blurred, np.multiply(3 * psf, still), mode="nearest", truncate=2)
            blurred = (1 - tail) * blurred + tail * wide
        return blurred


#: What a fast particle leaves in silicon, keV a metre (Particle Data Group, Passage of Particles Through Matter).
_KEV_PER_M = 3e5
_SENSOR_PX = 4.0  # thickness of a sensor in pixels: 320 to 450 micrometres
_POINTS = 12  # of charge in each pixel of a track
_DIFFUSION_PX = 0.12  # of charge on its way through the sensor, rms


def _muon(rng: np.random.Generator, per_pixel: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points of a straight track and the charge of each, in photons: a muon comes from anywhere above the horizon."""
    azimuth, slope = rng.uniform(0, 2 * np.pi), np.tan(np.arccos(rng.uniform(0.05, 1)))
    length = _SENSOR_PX * slope
    n = int(_POINTS * (1 + length))
    along = np.linspace(0, length, n)[:, None] * [np.sin(azimuth), np.cos(azimuth)]
    path = _SENSOR_PX * np.hypot(1, slope)
    # Knock-on electrons give some steps much more than the mean: Landau's tail.
    share = rng.gamma(0.6, 1 / 0.6, n) * np.where(rng.random(n) < 0.02, 6, 1)
    return along + _DIFFUSION_PX * rng.standard_normal((n, 2)), per_pixel * path * share / n


def _electron(rng: np.random.Generator, per_pixel: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points of an electron's winding track and their charge, in photons."""
    photons = _draw(rng, (2.0, 500.0))
    # Range in pixels; it grows with the energy to the 1.7 (Kanaya & Okayama, J. Phys. D 5 (1972) 43).
    length = min(0.15 * (photons / (per_pixel * _SENSOR_PX)) ** 1.7, 15.0)
    n = int(_POINTS * (1 + length))
    azimuth = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, n))
    step = np.c_[np.sin(azimuth), np.cos(azimuth)] * (length / n)
    share = rng.gamma(1.0, 1.0, n) * np.linspace(0.7, 1.3, n)  # more where it is slow
    return np.cumsum(step, 0) + _DIFFUSION_PX * rng.standard_normal((n, 2)), photons * share / share.sum()


def _edges(detector: Detector) -> npt.NDArray[np.bool_]:
    """The pixels at the edges of ASICs: (panel, ss, fs)."""
    out = np.zeros(detector.shape, bool)
    for panel, min_ss, end_ss, min_fs, end_fs in detector.asics:
        out[panel, [min_ss, end_ss - 1], min_fs:end_fs] = True
        out[panel, min_ss:end_ss, [min_fs, end_fs - 1]] = True
    return out


def _nothing() -> tuple[npt.NDArray[np.void], npt.NDArray[np.void], npt.NDArray[np.float64]]:
    return np.zeros(0, TRUTH), np.zeros(0, SPOT), np.zeros((0, 3, 3))


class _PanelSolver:
    """Where rays from the sample meet the panels."""

    def __init__(self, detector: Detector, camera_length: float) -> None:
        self.rows = detector.asics
        self.corner = np.array([panel.corner_m for panel in detector.panels]) + [0, 0, camera_length]
        ss, fs = (np.array([getattr(panel, name) for panel in detector.panels]) for name in ("ss_m", "fs_m"))
        normal = np.cross(ss, fs)
        norm2 = np.einsum("ij,ij->i", normal, normal)[:, None]
        self.normal = normal
        self.ss_dual, self.fs_dual = np.cross(fs, normal) / norm2, np.cross(normal, ss) / norm2
        self.ss, self.fs = ss, fs

    def hits(
        self, direction: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Rays that land on an ASIC: their numbers, panel of the frame, and raw ss and fs."""
        out = []
        for number, (panel, min_ss, end_ss, min_fs, end_fs) in enumerate(self.rows):
            with np.errstate(divide="ignore", invalid="ignore"):
                length = (self.normal[number] @ self.corner[number]) / (direction @ self.normal[number])
            at = direction * length[:, None] - self.corner[number]
            ss, fs = at @ self.ss_dual[number], at @ self.fs_dual[number]
            with np.errstate(invalid="ignore"):
                on = (length > 0) & (ss >= 0) & (ss < end_ss - min_ss) & (fs >= 0) & (fs < end_fs - min_fs)
            which = np.flatnonzero(on)
            # Corners are edges of pixels, raw positions count from pixel centres.
            raw_ss = np.minimum(ss[which] - 0.5 + min_ss, np.nextafter(np.float32(end_ss - 0.5), np.float32(0)))
            raw_fs = np.minimum(fs[which] - 0.5 + min_fs, np.nextafter(np.float32(end_fs - 0.5), np.float32(0)))
            out.append(
                (
                    which,
                    np.full(len(which), panel, np.int32),
                    raw_ss.clip(min_ss - 0.49),
                    raw_fs.clip(min_fs - 0.49),
                )
            )
        which, panel_of, ss_of, fs_of = (np.concatenate(parts) for parts in zip(*out, strict=True))
        ss_of, fs_of = np.maximum(ss_of, -0.49), np.maximum(fs_of, -0.49)
        return which, panel_of, ss_of, fs_of

    def outward(
        self, panel: npt.NDArray[np.int32], ss: npt.NDArray[np.float64], fs: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Direction away from the beam at raw positions, in (fs, ss), of unit length."""
        along_fs, along_ss = np.ones(len(ss)), np.zeros(len(ss))
        for number, (index, min_ss, end_ss, min_fs, end_fs) in enumerate(self.rows):
            on = (
                (panel == index)
                & (ss >= min_ss - 0.5)
                & (ss < end_ss - 0.5)
                & (fs >= min_fs - 0.5)
                & (fs < end_fs - 0.5)
            )
            if on.any():
                at = self.corner[number] + np.outer(ss[on] - min_ss + 0.5, self.ss[number])
                at += np.outer(fs[on] - min_fs + 0.5, self.fs[number])
                at[:, 2] = 0
                along_fs[on], along_ss[on] = at @ self.fs[number], at @ self.ss[number]
        length = np.hypot(along_fs, along_ss)
        length[length == 0] = 1
        return along_fs / length, along_ss / length
