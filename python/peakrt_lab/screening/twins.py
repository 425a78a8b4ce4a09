"""Simulated twins of the five runs of Ke et al. 2018: detector, photon energy, cell, artifacts and mix of classes alike.

Source: Ke, Brewster, Yu, Ushizima, Yang & Sauter, J. Synchrotron Rad. 25 (2018) 655, Table 1 and Figures 5 to 7. The
frames of the paper are CXIDB 76; its expert's labels are public (``nksauter/fv5080``) and give the mix of classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from peakrt.screening.counts import CLASSES, LEAST_HIT, LEAST_MAYBE
from peakrt_geometry import Detector, load_detector

from ..simulate import RESPONSES, Response, Scene, SimulatedEvent, Simulator

#: Signal over noise from which on a peak counts as visible: Rose's criterion for the eye (J. Opt. Soc. Am. 38 (1948) 196).
VISIBLE_SNR = 5.0


@dataclass(frozen=True)
class Twin:
    """One run.

    counts : the expert's Hit, Maybe and Miss of 2,000 frames
    published, published_spotfinder : recalls of Hit-or-Maybe and of Miss in Table 3, %, by the CNN and by DIALS
    """

    detector: str
    photon_energy_eV: float
    cell: tuple[float, ...]
    space_group: str
    scene: Scene
    counts: tuple[int, int, int]
    published: tuple[float, float]
    published_spotfinder: tuple[float, float]

    def geometry(self) -> Detector:
        """The detector with the run's photon energy."""
        return load_detector(self.detector).with_photon_energy(self.photon_energy_eV)

    def response(self) -> Response:
        """What the detector makes of photons."""
        return RESPONSES[self.detector]

    def simulator(self, seed: int, *, hit_fraction: float) -> Simulator:
        """Simulates its frames."""
        scene = replace(self.scene, hit_fraction=hit_fraction)
        return Simulator(
            self.geometry(), scene, self.response(), cell=self.cell, space_group=self.space_group, seed=seed
        )


_RIGHT = (90.0, 90.0, 90.0)
#: By the names of the paper. Photons are such that crystals give few and many visible peaks as the expert saw them; the
#: jets, the conveyor belt's shadow and several lattices are those that the paper describes.
TWINS = {
    "L498": Twin(
        "cspad", 9773.0, (93.0, 93.0, 130.0, 90.0, 90.0, 120.0), "P 61 2 2",
        Scene(photons=(2.0, 60.0), size_px=(0.05, 0.2), mosaicity=(1e-4, 4e-4), background=(0.3, 5.0), jet=0.3, shadow=0.0),
        (148, 498, 1354), (69.0, 93.1), (12.8, 99.5),
    ),
    "LG36": Twin(
        "cspad", 7088.0, (118.0, 224.0, 331.0, *_RIGHT), "P 21 21 21",
        Scene(photons=(1.0, 300.0), background=(0.01, 5.0), jet=0.3, shadow=0.0),
        (235, 57, 1708), (91.1, 98.2), (77.7, 97.4),
    ),
    "LN84": Twin(
        "rayonix_mx170", 9516.0, (118.0, 223.0, 311.0, *_RIGHT), "P 21 21 21",
        Scene(photons=(2.0, 300.0), lattices=3, shadow=1.0, jet=0.0),
        (806, 132, 1062), (98.5, 89.9), (69.9, 99.6),
    ),
    "LN83": Twin(
        "rayonix_mx170", 9498.0, (73.0, 96.0, 119.0, *_RIGHT), "P 21 21 21",
        Scene(photons=(20.0, 3000.0), lattices=3, shadow=1.0, jet=0.0),
        (346, 63, 1591), (98.5, 96.9), (85.8, 99.9),
    ),
    "LO19": Twin(
        "rayonix_mx170", 9442.0, (42.0, 52.0, 88.0, *_RIGHT), "P 21 21 21",
        Scene(photons=(60.0, 4000.0), lattices=2, shadow=0.0, jet=0.5),
        (730, 151, 1119), (94.8, 96.0), (80.6, 100.0),
    ),
}  # fmt: skip


def class_of(event: SimulatedEvent) -> int:
    """Number in CLASSES of a simulated event, by its visible peaks."""
    visible = int((event.peaks["snr"] >= VISIBLE_SNR).sum())
    return CLASSES.index("Hit" if visible >= LEAST_HIT else "Maybe" if visible >= LEAST_MAYBE else "Miss")


def frames(twin: Twin, n: int, seed: int) -> Iterator[tuple[SimulatedEvent, int]]:
    """Simulate n frames of a twin, each with its class, in the expert's mix and in random order.

    At most a fifth of the misses hold a crystal of too few visible peaks; the others hold none.
    """
    rng = np.random.default_rng([seed, 7])
    shares = np.array(twin.counts) / sum(twin.counts)
    quota = np.floor(shares * n).astype(int)
    quota[2] += n - quota.sum()
    wanted = rng.permutation(np.repeat(np.arange(3), quota))
    faint = int(quota[2]) // 5
    crystals, blanks = twin.simulator(seed, hit_fraction=1.0), twin.simulator(seed + 1, hit_fraction=0.0)
    kept: list[list[SimulatedEvent]] = [[], [], []]
    drawn = blank = 0
    for kind in wanted:
        while kind < 2 and not kept[kind]:
            event = crystals.event(drawn)
            drawn += 1
            found = class_of(event)
            if len(kept[found]) < 8:
                kept[found].append(event)
        if kind == 2 and kept[2] and faint:
            yield kept[2].pop(), 2
            faint -= 1
        elif kind == 2:
            yield blanks.event(blank), 2
            blank += 1
        else:
            yield kept[kind].pop(), int(kind)
