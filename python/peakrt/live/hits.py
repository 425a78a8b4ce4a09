"""A hit on its way: from the finder to the broker as three parts of a message, from there to indexamajig as one.

To the broker goes the frame as the detector wrote it, its mask as bits, and a small msgpack map with the rest. The broker
makes of it what CrystFEL 0.12 reads (libcrystfel/src/image-msgpack.c): one msgpack map with the slab as float32, bad pixels
NaN. No key is the beginning of another, for CrystFEL compares a key's first bytes only, and all numbers of the peak list
are floats, for it reads integers as if they were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector, HeaderValue, for_crystfel
from peakrt_geometry.checks import CAMERA_LENGTH_M, PHOTON_ENERGY_eV

from ..arrays import NATIVE_TYPES
from ..cxi.writer import has_gain
from ..event import Event
from ..peaks import PeakArray, slab_ss
from ..sources.streams.msgpack_maps import load
from ..stream_file import EVENT_HEADER, NUMBER_HEADER

#: Keys of CrystFEL's map, which its geometry names.
FRAME, PEAKS, PHOTON_ENERGY, CAMERA_LENGTH = "frame", "peaks", "photon_energy", "camera_length"
#: Largest frame, 1 GiB as float32: sixteen times a 16-megapixel detector. Most peaks: a frame of ice has some thousands.
MAX_PIXELS, MAX_PEAKS = 1 << 28, 100_000
#: Largest of the small maps: MAX_PEAKS of three float32, and names.
MAX_HEADER_BYTES = 12 * MAX_PEAKS + 10_000
MAX_NAME = 400


@dataclass(frozen=True)
class Hit:
    """A hit as it travels.

    number : counts the hits of a run from 1; event : what the source calls it
    frame : (panel, ss, fs) as the detector wrote it; mask : its good pixels as bits (np.packbits)
    peaks : (3, n) float32: ss and fs in the slab of stacked panels, an integer is a pixel's centre; intensity, ADU
    """

    number: int
    event: str
    frame: npt.NDArray[Any]
    mask: npt.NDArray[np.uint8]
    peaks: npt.NDArray[np.float32]
    photon_energy_eV: float
    camera_length_m: float

    @property
    def n_bytes(self) -> int:
        """Memory that it takes."""
        return self.frame.nbytes + self.mask.nbytes + self.peaks.nbytes


@dataclass(frozen=True)
class Beam:
    """Photon energy and camera length as the geometry gives them; None where each event brings its own."""

    photon_energy_eV: float | None
    camera_length_m: float | None

    @classmethod
    def of(cls, detector: Detector) -> Beam:
        """Those of a detector."""
        energy, length = detector.photon_energy, detector.camera_length
        return cls(*(None if x is None or isinstance(x, HeaderValue) else float(x) for x in (energy, length)))


def make_hit(number: int, event: Event, peaks: PeakArray, good: npt.NDArray[np.bool_], beam: Beam) -> Hit:
    """A hit of an event; number : of the hit; good : (panel, ss, fs), the mask in force.

    Raises ValueError where neither the geometry nor the event gives photon energy and camera length.
    """
    energy = beam.photon_energy_eV or event.photon_energy_eV
    length = beam.camera_length_m or event.camera_length_m
    if energy is None or length is None:
        what = "photon energy" if energy is None else "camera length"
        raise ValueError(f"{event}: neither geometry nor event gives its {what}: give --{what.replace(' ', '-')}")
    table = np.stack([slab_ss(peaks, event.frame.shape[1]), peaks["fs"], peaks["intensity"]]).astype(np.float32)
    frame = np.ascontiguousarray(event.frame, event.frame.dtype.newbyteorder("<"))
    return Hit(number, clean(str(event)), frame, np.packbits(good), table, float(energy), float(length))


def clean(name: str) -> str:
    """A name that fits in a line of a stream: the end of it, where it is long."""
    return "".join(c if c.isprintable() else "?" for c in name[-MAX_NAME:]).strip() or "?"


# To the broker


def encode(hit: Hit) -> list[Any]:
    """The three parts of a hit's message."""
    header = {
        "number": hit.number, "event": hit.event, "dtype": hit.frame.dtype.str, "shape": list(hit.frame.shape),
        "peaks": hit.peaks.tobytes(), "photon_energy_eV": hit.photon_energy_eV, "camera_length_m": hit.camera_length_m,
    }  # fmt: skip
    return [msgpack.packb(header), hit.frame, hit.mask]


_FIELDS: dict[str, type] = {
    "number": int, "event": str, "dtype": str, "shape": list, "peaks": bytes, "photon_energy_eV": float,
    "camera_length_m": float,
}  # fmt: skip


def decode(parts: Sequence[Any]) -> Hit:
    """The hit of a message's three parts, buffers. Raises ValueError for what is none; no memory is taken before."""
    if len(parts) != 3:
        raise ValueError(f"a message of {len(parts)} parts, where a hit has 3")
    header, frame, mask = (memoryview(part).cast("B") for part in parts)
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"a hit's header of {len(header)} bytes: at most {MAX_HEADER_BYTES} are read")
    fields = load(bytes(header))
    if fields.keys() != _FIELDS.keys() or any(type(fields[name]) is not kind for name, kind in _FIELDS.items()):
        raise ValueError(f"a hit's header has the fields {', '.join(_FIELDS)}, each of its type")
    shape, dtype = _shape(fields["shape"]), fields["dtype"]
    if dtype[:1] not in "<|" or dtype[1:] not in NATIVE_TYPES:
        raise ValueError(f"a frame of {clean(dtype)}, which is no type that finders take")
    n_pixels = math.prod(shape)
    if len(frame) != n_pixels * np.dtype(dtype).itemsize or len(mask) != -(-n_pixels // 8):
        raise ValueError(f"a frame of shape {shape} and type {dtype} in {len(frame)} bytes, its mask in {len(mask)}")
    if not 0 < fields["number"] < 2**53 or fields["event"] != clean(fields["event"]):
        raise ValueError("a hit's number counts from 1, and its event is a short name of one line")
    return Hit(
        fields["number"], fields["event"], np.frombuffer(frame, dtype).reshape(shape), np.frombuffer(mask, np.uint8),
        _peaks(fields["peaks"]), _within("photon energy", fields["photon_energy_eV"], PHOTON_ENERGY_eV),
        _within("camera length", fields["camera_length_m"], CAMERA_LENGTH_M),
    )  # fmt: skip


def _shape(given: list[Any]) -> tuple[int, int, int]:
    if len(given) != 3 or any(type(n) is not int or not 0 < n <= MAX_PIXELS for n in given):
        raise ValueError("a hit's shape is three whole numbers above 0: panel, ss, fs")
    if math.prod(given) > MAX_PIXELS:
        raise ValueError(f"a frame of {math.prod(given)} pixels: at most {MAX_PIXELS} are taken")
    panels, n_ss, n_fs = given
    return panels, n_ss, n_fs


def _peaks(data: bytes) -> npt.NDArray[np.float32]:
    if len(data) % 12 or len(data) > 12 * MAX_PEAKS:
        raise ValueError(f"peaks in {len(data)} bytes: three float32 each are expected, at most {MAX_PEAKS} peaks")
    peaks = np.frombuffer(data, "<f4").reshape(3, -1)
    if not np.isfinite(peaks).all():
        raise ValueError("a peak's position and intensity are numbers")
    return peaks


def _within(what: str, value: float, bounds: tuple[float, float]) -> float:
    if not bounds[0] <= value <= bounds[1]:
        raise ValueError(f"a {what} of {value:g}: {bounds[0]:g} to {bounds[1]:g} is expected")
    return value


# To CrystFEL


def for_indexamajig(hit: Hit) -> npt.NDArray[np.uint8]:
    """The hit as the one msgpack map that indexamajig reads."""
    ss, fs, intensity = hit.peaks.astype(np.float64).tolist()
    panels, n_ss, n_fs = hit.frame.shape
    packer = msgpack.Packer()
    fields: dict[str, Any] = {
        EVENT_HEADER: hit.event, NUMBER_HEADER: hit.number, PHOTON_ENERGY: hit.photon_energy_eV,
        CAMERA_LENGTH: hit.camera_length_m, PEAKS: {"fs": fs, "ss": ss, "intensity": intensity},
    }  # fmt: skip
    head = [packer.pack_map_header(len(fields) + 1)]
    head += [packer.pack(item) for pair in fields.items() for item in pair]
    head += [packer.pack(FRAME), packer.pack_map_header(3)]
    head += [packer.pack(item) for item in ("type", "<f4", "shape", [panels * n_ss, n_fs], "data")]
    n_bytes = 4 * hit.frame.size
    head += [b"\xc6" + n_bytes.to_bytes(4, "big")]  # msgpack's bin 32
    before = b"".join(head)
    message = np.empty(len(before) + n_bytes, np.uint8)
    message[: len(before)] = np.frombuffer(before, np.uint8)
    slab = message[len(before) :].view("<f4")
    slab[:] = hit.frame.reshape(-1)
    good = np.unpackbits(hit.mask, count=hit.frame.size).view(bool)
    np.putmask(slab, ~good, np.nan)
    return message


def live_geometry(detector: Detector, gain: float | None = None) -> Detector:
    """Geometry of what for_indexamajig makes of a detector's frames.

    gain : ADU a photon for a detector that has none; CrystFEL takes it for the errors of intensities, and refuses to go
        without, so 1 stands where it is not known
    """
    slab = for_crystfel(detector.as_slab(FRAME, dims=()))
    return replace(
        slab,
        camera_length=HeaderValue(CAMERA_LENGTH),
        photon_energy=HeaderValue(PHOTON_ENERGY),
        adu_per_photon=slab.adu_per_photon if has_gain(slab) else gain or 1.0,
        settings={**slab.settings, "peak_list": PEAKS},
    )
