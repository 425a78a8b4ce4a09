"""The photon energy of LCLS runs, which their electron beam's monitors give shot by shot."""

from __future__ import annotations

from dataclasses import replace

from peakrt.cxi.columns import PHOTON_ENERGY
from peakrt_geometry import Detector, HeaderValue


def sensible_energy(energy: float | None) -> float | None:
    """A photon energy, eV, that a shot can have had; the monitors give 0 or NaN for one they missed."""
    return float(energy) if energy is not None and 100 < float(energy) < 1e6 else None


def with_energy(detector: Detector) -> Detector:
    """The geometry with the photon energy of each event in place of none: CrystFEL reads it from our file."""
    return (
        detector if detector.photon_energy is not None else replace(detector, photon_energy=HeaderValue(PHOTON_ENERGY))
    )
