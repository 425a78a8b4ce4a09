"""What a candidate model is trained on: scenes drawn over all that detectors and crystals do.

The first axis is the size of a peak, from one pixel to long streaks: a judge that never saw sharp peaks takes them
for hot pixels. Everything else is drawn as widely as detectors in use differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from peakrt.finders.proposer import Proposer
from peakrt_geometry import Detector, Panel
from peakrt_geometry.panels import HC_EV_M

from .simulate import Response, Scene, SimulatedEvent, Simulator

#: Changes with every change of the recipe; models record it.
VERSION = 3


@dataclass(frozen=True)
class TrainingScene:
    """One simulated event with the finder's view of it.

    gain : ADU a photon as the finder is told, which may be wrong; with_geometry : whether it knows the radius
    """

    simulator: Simulator
    event: SimulatedEvent
    gain: float
    with_geometry: bool

    def proposer(self) -> Proposer:
        """The proposer that meets this scene."""
        detector = self.simulator.detector
        radius = detector.radius if self.with_geometry else None
        return Proposer(self.simulator.good, radius, asics=detector.asics)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def draw_detector(rng: np.random.Generator) -> Detector:
    """A part of a detector, 0.9 megapixels: one panel or several, the beam on it or beside it."""
    size = float(rng.choice([50e-6, 75e-6, 75e-6, 89e-6, 100e-6, 110e-6, 172e-6]))
    energy = float(rng.uniform(6500, 14000))
    rows, columns, n_ss, n_fs = [(1, 1, 960, 960), (2, 2, 480, 480), (8, 2, 128, 448), (4, 4, 240, 240)][
        rng.integers(4)
    ]
    # The beam in the middle of a small detector, or beyond the corner of this part of a large one.
    beam = rng.uniform(0.3, 0.7, 2) * 960 if rng.random() < 0.4 else rng.uniform(-700, 200, 2)
    farthest = np.hypot(*np.maximum(np.abs(beam), np.abs(960 - beam)))
    wavelength, d_edge = HC_EV_M / energy * 1e10, _log_uniform(rng, 1.4, 4.0)
    theta = np.arcsin(min(0.7, wavelength / (2 * d_edge)))
    length = farthest * size / np.tan(2 * theta)
    gap = int(rng.integers(2, 12))
    panels: list[Panel] = []
    for row in range(rows):
        for column in range(columns):
            turn = rng.normal(0, 2e-3)
            corner = np.array([column * (n_fs + gap), row * (n_ss + gap)]) - beam
            panels.append(
                Panel(
                    f"p{row}c{column}", 0, n_ss, 0, n_fs, (corner[0] * size, corner[1] * size, 0.0),
                    (-size * np.sin(turn), size * np.cos(turn), 0.0), (size * np.cos(turn), size * np.sin(turn), 0.0),
                    ("%", len(panels), "ss", "fs"), "/data",
                )
            )  # fmt: skip
    return Detector(tuple(panels), camera_length=float(length), photon_energy=energy, name="training")


def draw_response(rng: np.random.Generator) -> Response:
    """What a detector of some kind makes of photons."""
    hot = _log_uniform(rng, 1e-7, 2e-4)
    edge = float(rng.uniform(1.2, 2.5)) if rng.random() < 0.3 else 1.0
    common = Response(hot=hot, dead=_log_uniform(rng, 1e-6, 1e-4), gain_spread=float(rng.uniform(0, 0.04)), edge=edge)
    kind = rng.random()
    if kind < 0.3:  # photon counting
        return replace(common, psf=_log_uniform(rng, 0.05, 0.4), read_noise=0.0, gain_spread=0.0, dtype="i4", low=0)
    gain = _log_uniform(rng, 1.0, 100.0)
    if kind < 0.7:  # integrating
        modes = ((_log_uniform(rng, 20, 200), _log_uniform(rng, 2, 10)),) if rng.random() < 0.5 else ()
        return replace(
            common, psf=_log_uniform(rng, 0.1, 0.5), read_noise=_log_uniform(rng, 0.03, 1.0), photon_gain=gain,
            gain_modes=modes, common_mode=_log_uniform(rng, 0.02, 0.5) if rng.random() < 0.3 else 0.0,
        )  # fmt: skip
    return replace(  # CCD
        common, psf=float(rng.uniform(0.3, 1.6)), psf_after=True, read_noise=_log_uniform(rng, 0.1, 3.0),
        psf_tail=float(rng.uniform(0, 0.15)) if rng.random() < 0.4 else 0.0, photon_gain=_log_uniform(rng, 0.1, 20.0),
        offset=100.0, dtype="u2", low=0, high=65535,
    )  # fmt: skip


def draw_scene(rng: np.random.Generator, detector: Detector) -> Scene:
    """What the beam meets."""
    corner = detector.resolution().max() / 10  # 1/A
    sharp = rng.random() < 0.5
    return Scene(
        hit_fraction=0.6,
        lattices=int(rng.integers(1, 4)),
        photons=(20.0, 1e5),
        b_factor=(5.0, 60.0),
        d_min=max(1.4, 1 / float(corner)),
        mosaicity=(1e-4, 1e-3) if sharp else (2e-4, 6e-3),
        bandwidth=(2e-4, 2e-3) if sharp else (5e-4, 1e-2),
        size_px=(0.02, 0.3) if sharp else (0.1, 2.0),
        background=(0.01, 300.0),
        beam_stop_px=(5.0, 60.0),
        jet=0.25,
        shadow=0.2,
        ice=0.15,
        salt=0.15,
        zingers=_log_uniform(rng, 0.02, 20.0),
    )


def draw(seed: int, number: int, *, artifacts: bool = False, faint: bool = False) -> TrainingScene:
    """Training scene of a number; it depends on the seed and the number alone.

    artifacts : whether the event is to say where they are; faint : whether crystals are weak, down to a few photons
    """
    rng = np.random.default_rng([seed, 7, number])
    detector = draw_detector(rng)
    cell = tuple(float(a) for a in np.exp(rng.uniform(np.log(150), np.log(400), 3))) if rng.random() < 0.1 else None
    scene = draw_scene(rng, detector)
    simulator = Simulator(
        detector,
        replace(scene, photons=(5.0, 1000.0), hit_fraction=0.7) if faint else scene,
        draw_response(rng),
        cell=None if cell is None else (*cell, 90.0, 90.0, 90.0),  # crowded
        seed=int(rng.integers(2**31)),
    )
    event = simulator.event(0, artifacts=artifacts)
    wrong = float(np.exp(rng.normal(0, 0.35))) if rng.random() < 0.3 else 1.0
    return TrainingScene(simulator, event, simulator.gain * wrong, bool(rng.random() < 0.75))


def label(
    candidates: npt.NDArray[np.void],
    strength: npt.NDArray[np.float32],
    truth: npt.NDArray[np.void],
    *,
    reach: float = 2.5,
    clear_snr: float = 2.5,
    faint_snr: float = 1.5,
) -> npt.NDArray[np.int8]:
    """Say of each candidate whether it is a peak: 1; not: 0; or not to be learned from: 2.

    candidates : CANDIDATE; strength : of each; truth : TRUTH
    The strongest candidate within reach pixels of a true peak of clear_snr is one; others near true peaks, and all
    near faint ones, are left out. With a bar of 4, as it was, judges gave a score of .3 to what is a peak two times in
    three: they had met the noise that looks so faint and not the peaks.
    """
    from scipy.spatial import cKDTree

    out = np.zeros(len(candidates), np.int8)
    for panel in np.unique(truth["panel"]):
        mine, true = np.flatnonzero(candidates["panel"] == panel), truth[truth["panel"] == panel]
        if not len(mine):
            continue
        tree = cKDTree(np.c_[candidates["ss"][mine], candidates["fs"][mine]])
        at = np.c_[true["ss"], true["fs"]]
        clear = true["snr"] >= clear_snr
        near = tree.query_ball_point(at, reach + 0.7 * np.minimum(true["sigma"], 4))
        for which, peak_is_clear, snr in zip(near, clear, true["snr"], strict=True):
            if which and not peak_is_clear and snr >= faint_snr:
                at_least = mine[which]
                out[at_least[out[at_least] == 0]] = 2
        for which in (w for w, c in zip(near, clear, strict=True) if c and w):
            these = mine[which]
            out[these[out[these] == 0]] = 2
            free = these[out[these] != 1]
            if len(free):
                out[free[np.argmax(strength[free])]] = 1
    return out
