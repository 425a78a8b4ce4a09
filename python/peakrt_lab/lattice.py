"""What the crystals of an indexed frame say of a place on the detector: whether their lattices put a reflection there.

Predictions are not complete: an indexer predicts up to a resolution and a distance from the Ewald sphere that it estimates
itself. The lattice knows no such bounds. The Miller indices of a place are whole numbers, nearly, where its light is a
reflection of the crystal, and any where it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from peakrt.cxi.reader import SlabPeaks
from peakrt_geometry import Detector
from peakrt_geometry.panels import HC_EV_M

from .stream import IndexedCrystal

Floats = npt.NDArray[np.float64]

#: A place whose indices are all this close to whole numbers is a reflection's: a peak is there by chance 1 time in 125.
ON_LATTICE = 0.1
#: One of whose indices one is this far from a whole number is none's: 8 in 10 of the places that have no reflection.
OFF_LATTICE = 0.3
#: Where one pixel changes an index by more than this, the reflections lie too close for a place to say anything.
_FINEST = 0.1


@dataclass(frozen=True)
class Pattern:
    """An indexed frame. predicted : positions in the slab of stacked panels; crystals : with their lattices, may be none."""

    predicted: SlabPeaks
    crystals: tuple[IndexedCrystal, ...] = ()


def index_errors(
    detector: Detector,
    crystals: Sequence[IndexedCrystal],
    slab_ss: npt.ArrayLike,
    fs: npt.ArrayLike,
    *,
    photon_energy_eV: float | None = None,
    camera_length_m: float | None = None,
) -> Floats:
    """Farthest of a place's three Miller indices from a whole number, for the crystal where that is least: 0 to 0.5.

    slab_ss, fs : raw positions in the slab of stacked panels, (n,)
    photon_energy_eV, camera_length_m : of the frame, where the geometry has no numbers
    NaN without a crystal, off the panels, and where reflections lie too close to tell.
    Raises ValueError where neither they nor the geometry say photon energy and camera length.
    """
    panel, ss = detector.from_slab(np.asarray(slab_ss, float))
    x, y, z = detector.lab_position_m(panel, ss, fs)
    wavelength_A = HC_EV_M / detector.number("photon_energy", photon_energy_eV) * 1e10
    z = z + detector.number("camera_length", camera_length_m)
    least = np.full(x.shape, np.nan)
    for crystal in crystals:
        seen = np.c_[x + crystal.shift_m[0], y + crystal.shift_m[1], z]
        q = (seen / np.linalg.norm(seen, axis=1)[:, None] - [0, 0, 1]) / wavelength_A
        real = np.linalg.inv(crystal.reciprocal)  # columns a, b, c
        indices = q @ real
        errors = np.abs(indices - np.rint(indices)).max(1)
        pixel_q = detector.panels[0].pixel_size_m / (z * wavelength_A)
        finest = np.linalg.norm(real, axis=0).max() * pixel_q
        least = np.fmin(least, np.where(finest > _FINEST, np.nan, errors))
    return least
