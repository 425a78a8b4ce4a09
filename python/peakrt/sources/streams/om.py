"""Frames of OM's layer that streams hits to CrystFEL (``cheetah_streaming``): one msgpack map an answer.

Read in ondamonitor 23.8.3. What OM broadcasts to its own windows (omdata, omframedata) is pickled Python, in the newest
version as well: to read it is to run what the sender likes, so it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peakrt_geometry.checks import CAMERA_LENGTH_M, PHOTON_ENERGY_eV

from . import msgpack_maps
from .records import Images, Packed, Record, Wanted, frame_shape, number, pixel_type, seconds, short

#: What OM answers to a request that it does not know.
_WHAT = b"What?"


def decode(parts: Sequence[bytes], wanted: Wanted) -> list[Record]:
    """Image of a message. Raises ValueError for what is not one."""
    if len(parts) > 1 and parts[0].startswith(b"om"):
        raise ValueError("OM broadcasts pickled Python here, which is never read: connect to its responding_url")
    if len(parts) != 1 or parts[0] == _WHAT:
        raise ValueError(
            f"a message of {len(parts)} parts that begins with {short(parts[0][:20])}: OM answers with one map"
        )
    message = msgpack_maps.load(parts[0])
    if "detector_data" not in message:
        raise ValueError("a message without detector_data: OM's layer is to be cheetah_streaming, which sends images")
    energy = _within(message.get("beam_energy"), PHOTON_ENERGY_eV)
    length_mm = number(message.get("detector_distance"))
    event = message.get("event_id")
    return [
        Images(
            series="",
            frames=(_array(message["detector_data"]),),
            names=(event[:128],) if isinstance(event, str) and event else (),
            photon_energy_eV=() if energy is None else (energy,),
            camera_length_m=None if length_mm is None else _within(length_mm * 1e-3, CAMERA_LENGTH_M),
            timestamp=seconds(message.get("timestamp")),
        )
    ]


def _within(value: object, bounds: tuple[float, float]) -> float | None:
    found = number(value)
    return found if found is not None and bounds[0] <= found <= bounds[1] else None


def _array(value: Any) -> Packed:
    """An array as msgpack-numpy packs one: nd, type, kind, shape, data. Objects (kind "O") are pickled, and refused."""
    if not isinstance(value, dict) or value.get(b"nd") is not True or value.get(b"kind", b"") not in (b"", ""):
        raise ValueError("detector_data is not an array of numbers")
    dtype, shape, data = pixel_type(value.get(b"type")), frame_shape(value.get(b"shape")), value.get(b"data")
    n_bytes = dtype.itemsize
    for side in shape:
        n_bytes *= side
    if not isinstance(data, bytes) or len(data) != n_bytes:
        raise ValueError(f"detector_data of shape {shape} and type {dtype} whose bytes are of another size")
    return Packed(data, dtype, shape)
