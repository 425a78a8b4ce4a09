"""What a message of a stream says, whatever its format, and the checks that every format needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector
from peakrt_geometry.checks import MAX_PIXELS

#: Kinds of numbers that pixels are sent as, by every name that the formats give them.
DTYPES = {
    name: dtype
    for code in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
    for dtype in (np.dtype(code),)
    for name in (dtype.name, f"<{code}", *((f"|{code}",) if code.endswith("1") else ()))
}


@dataclass(frozen=True)
class Packed:
    """Pixels as they were sent.

    algorithm : "" (not compressed), "bslz4", "bszstd", "gzip" or "shuffle-gzip"
    shape : None where the message does not say it: that of the geometry
    block_size : elements in a block of bitshuffle, where the data do not begin with HDF5's header; 0 where they do
    """

    data: bytes
    dtype: np.dtype[Any]
    shape: tuple[int, ...] | None
    algorithm: str = ""
    block_size: int = 0


@dataclass(frozen=True)
class Start:
    """A series begins.

    detector : where the message describes it; dtype : of the images to come
    mask : (ss, fs) bool, True = good; nodata : what pixels without a measurement hold
    first_id : id of the first image, where ids are counted
    """

    series: str
    detector: Detector | None = None
    dtype: np.dtype[Any] | None = None
    mask: npt.NDArray[np.bool_] | None = None
    nodata: int | None = None
    first_id: int | None = None


@dataclass(frozen=True)
class Images:
    """The frames of one message.

    id : number that rises by one from message to message, None where the format has none
    names : one for each frame, by which it can be found again; they follow the series
    photon_energy_eV : one for each frame, or none
    """

    series: str
    frames: tuple[Packed, ...]
    id: int | None = None
    names: tuple[str, ...] = ()
    photon_energy_eV: tuple[float, ...] = ()
    camera_length_m: float | None = None
    timestamp: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class End:
    """A series is over; series : "" where the message does not say which."""

    series: str


Record = Start | Images | End


@dataclass(frozen=True)
class Wanted:
    """What the user asked for. name : of the channel, data source or dataset with the images; None: the only one."""

    name: str | None = None
    detector: Detector | None = None


def short(value: object) -> str:
    """A value from a message as it may stand in a line of text."""
    text = repr(
        value[:60]
        if isinstance(value, str | bytes)
        else value
        if isinstance(value, int | float | None)
        else type(value)
    )
    return text if len(text) <= 80 else text[:77] + "..."


def number(value: object) -> float | None:
    """A finite number; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def count(value: object, what: str) -> int:
    """A whole number of at least 0 that 63 bits hold. Raises ValueError for everything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"{what} is {short(value)}, it should be a whole number of at least 0")
    return value


def frame_shape(value: object) -> tuple[int, ...]:
    """Two to four sides of an array, or ValueError, before any memory is taken for it."""
    if not isinstance(value, list | tuple) or not 2 <= len(value) <= 4:
        raise ValueError(f"images of shape {short(value)}: two to four sides are expected")
    sides = tuple(count(side, "a side of the images") for side in value)
    if not 0 < math.prod(sides[-2:]) <= MAX_PIXELS or 0 in sides:
        raise ValueError(f"images of {' x '.join(map(str, sides))} pixels: 1 to {MAX_PIXELS} a frame are read")
    return sides


def pixel_type(value: object) -> np.dtype[Any]:
    """Type of a name such as ``uint16`` or ``<u2``. Raises ValueError for one that pixels are not sent as."""
    if not isinstance(value, str) or value not in DTYPES:
        raise ValueError(f"pixels of type {short(value)}: expected one such as uint16 or float32")
    return DTYPES[value]


def seconds(value: object) -> tuple[int, int, int]:
    """Seconds since 1970 as seconds, nanoseconds and no fiducial; zeros where it is none."""
    found = number(value)
    if found is None or not 0 < found < 2**33:
        return 0, 0, 0
    whole = int(found)
    return whole, int((found - whole) * 1e9), 0
