"""Numbers of a geometry: read from text, and refused where no detector could have them.

Bounds are wide: they catch a slip of units or a damaged file, and keep a wrong number from taking all memory.
"""

from __future__ import annotations

import math
import re

#: Camera lengths of Bragg frames: 40 mm to 6 m (the flight tube of SPB/SFX, European XFEL) are in use. A number meant
#: in millimetres or centimetres is above the upper bound.
CAMERA_LENGTH_M = (0.01, 10.0)
#: Photon energies of Bragg frames: about 1 to 150 keV are in use. A number meant in keV or angstrom is below the
#: lower bound, and no energy in keV that is in use lies within.
PHOTON_ENERGY_eV = (250.0, 250e3)
#: Pixels along one side of a data array; the slab of a Jungfrau 16M has 16,384.
MAX_SIDE = 1_000_000
#: Pixels of a frame with all its planes, eight times the largest detectors in use (16 million).
MAX_PIXELS = 2**27
#: Pixels per metre: 10 mm to .1 um.
_RES = (1e2, 1e7)
#: Gain in ADU per photon or eV; a CSPAD has .0034 an eV, integrating CCDs some hundreds a photon.
_GAIN = (1e-9, 1e9)
#: Corners in pixels from the beam, and panel offsets in metres.
_CORNER, _OFFSET_M = 1e7, 100.0

NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_TERM = re.compile(r"([+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)?)([xyz])", re.ASCII)


def check_camera_length_m(length_m: float) -> float:
    """Give a camera length in metres back. Raises ValueError that asks back where it cannot be one.

    Between 10 mm and 10 m: Bragg frames are taken at 40 mm to 6 m, so that a number in mm or cm is seen to be one.
    """
    return _plausible(length_m, CAMERA_LENGTH_M, "camera length", "m", "metres", (1e-3, 1e-2))


def check_photon_energy_eV(energy_eV: float) -> float:
    """Give a photon energy in eV back. Raises ValueError that asks back where it cannot be one.

    Between 250 eV and 250 keV: Bragg frames are taken at 1 to 150 keV, so that a number in keV is seen to be one.
    """
    return _plausible(energy_eV, PHOTON_ENERGY_eV, "photon energy", "eV", "eV", (1e3, 1e-3))


def _plausible(
    value: float, bounds: tuple[float, float], what: str, unit: str, units: str, slips: tuple[float, ...]
) -> float:
    low, high = bounds
    if low <= value <= high:
        return value
    meant = next((f": did you mean {value * slip:.6g}?" for slip in slips if low <= value * slip <= high), "")
    raise ValueError(f"{value:.10g} {unit}? {what} is in {units}, {low:g} to {high:g}{meant}")


def number(text: str) -> float:
    """A finite number."""
    if not NUMBER.fullmatch(text.strip()):
        raise ValueError(f"expected a number, found {text[:60]!r}")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"expected a number, {text[:60]!r} is beyond all numbers")
    return value


def _within(text: str, low: float, high: float, expected: str) -> float:
    value = number(text)
    if not low <= value <= high:
        raise ValueError(f"expected {expected} from {low:g} to {high:g}, found {text[:60]!r}")
    return value


def pixel(text: str) -> int:
    """An index of a pixel: a whole number from 0."""
    value = _within(text, 0, MAX_SIDE, "a pixel's index")
    if value != int(value):
        raise ValueError(f"expected a whole number of pixels, found {text[:60]!r}")
    return int(value)


def pixels_per_metre(text: str) -> float:
    """The setting res."""
    return _within(text, *_RES, "pixels per metre (13333.3 for 75 um)")


def corner(text: str) -> float:
    """A panel's corner in pixels from the beam."""
    return _within(text, -_CORNER, _CORNER, "pixels from the beam")


def offset_m(text: str) -> float:
    """A panel's distance beyond the camera length."""
    return _within(text, -_OFFSET_M, _OFFSET_M, "metres")


def bound(text: str) -> float:
    """A bound of a bad region, in pixels."""
    return _within(text, -1e9, 1e9, "pixels")


def gain(text: str) -> float:
    """ADU per photon or eV."""
    return _within(text, *_GAIN, "ADU per photon or eV")


def switch(text: str) -> bool:
    """The setting no_index: true or false, or a whole number, 0 for false."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if not re.fullmatch(r"[+-]?\d{1,9}", text, re.ASCII):
        raise ValueError(f"expected 0, 1, true or false, found {text[:60]!r}")
    return int(text) != 0


def bits(text: str) -> int:
    """Bits of a mask, at most 32 of them."""
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|\d{1,10}", text, re.ASCII):
        raise ValueError(f"expected bits such as 0xff, found {text[:60]!r}")
    value = int(text, 0) if text[:2].lower() == "0x" else int(text)
    if value >= 2**32:
        raise ValueError(f"expected at most 32 bits, found {text!r}")
    return value


def direction(text: str) -> tuple[float, float, float]:
    """A direction such as ``-0.01x +0.99y``. Raises ValueError where it has no length."""
    squeezed = text.replace(" ", "").replace("\t", "")
    vector = {"x": 0.0, "y": 0.0, "z": 0.0}
    end = 0
    while term := _TERM.match(squeezed, end):
        factor = term[1]
        vector[term[2]] += float(factor + "1" if factor in ("", "+", "-") else factor)
        end = term.end()
    if end != len(squeezed) or not squeezed:
        raise ValueError(f"expected a direction such as +0.5x -0.5y, found {text[:60]!r}")
    # Steps are pixels of the size that res gives: other lengths than about 1 are slips.
    if not 1e-3 <= math.hypot(*vector.values()) <= 1e3:
        raise ValueError(f"expected a direction of length 1 such as +0.5x -0.5y, found {text[:60]!r}")
    return vector["x"], vector["y"], vector["z"]


def number_or_path(text: str) -> float | str:
    """A number, or else the path or name under which the data file has it."""
    if NUMBER.fullmatch(text):
        return number(text)
    if not text or re.match(r"[+-]?\.?\d", text) or text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise ValueError(f"expected a number or where the data file has it, found {text[:60]!r}")
    return text
