"""European XFEL's Karabo bridge, protocol 2.2: pairs of parts, a header and what it announces, for one train.

github.com/European-XFEL/karabo-bridge-py. A header of content "msgpack" announces a map with the numbers of a source, one of
content "array" raw pixels of "path". Protocol 1.0, one part with arrays inside msgpack, is not read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import msgpack_maps
from .records import Images, Packed, Record, Wanted, count, frame_shape, pixel_type, seconds, short

#: A header is some hundred bytes, the numbers of a source some thousands; arrays are not looked into.
_MAX_HEADER, _MAX_NUMBERS = 1 << 16, 1 << 24
#: Parts of a message: a bridge sends a few sources with some arrays each.
_MAX_PARTS = 4096
#: Where sources keep their images: AGIPD, LPD, DSSC and corrected Jungfrau; raw Jungfrau.
IMAGE_PATHS = ("image.data", "data.adc")
#: Where they keep the numbers of the pulses.
_PULSE_PATHS = ("image.pulseId", "data.memoryCell")


def is_message(parts: Sequence[bytes]) -> bool:
    """Whether a message may be one: pairs, of which the first is a header."""
    if len(parts) < 2 or len(parts) % 2:
        return False
    try:
        return "content" in _header(parts[0])
    except ValueError:
        return False


def decode(parts: Sequence[bytes], wanted: Wanted) -> list[Record]:
    """Images of a train. Raises ValueError for what is not one; wanted.name : the source with the images."""
    if len(parts) == 1:
        raise ValueError("a message of one part: the bridge speaks protocol 1.0, set it to 2.2")
    if len(parts) % 2 or len(parts) > _MAX_PARTS:
        raise ValueError(f"a message of {len(parts)} parts: pairs of header and data are expected")
    metadata: dict[str, dict[Any, Any]] = {}
    arrays: dict[tuple[str, str], Packed] = {}
    for k in range(0, len(parts), 2):
        header = _header(parts[k])
        source, content = header.get("source"), header.get("content")
        if not isinstance(source, str):
            raise ValueError(f"a header of source {short(source)}")
        if content == "msgpack":
            found = header.get("metadata")
            metadata[source] = found if isinstance(found, dict) else {}
        elif content == "array":
            path = header.get("path")
            if path in IMAGE_PATHS or path in _PULSE_PATHS:
                arrays[source, path] = _array(header, parts[k + 1])
        else:
            raise ValueError(f"a header of content {short(content)}: msgpack or array is expected")
    source, images = _images(arrays, wanted)
    about = metadata.get(source, {})
    train = count(about.get("timestamp.tid", 0), "timestamp.tid")
    return [
        Images(
            series="",
            frames=(images,),
            id=train or None,
            names=tuple(f"{train}//{pulse}" for pulse in _pulses(arrays, source)) or (str(train),),
            timestamp=seconds(about.get("timestamp")),
        )
    ]


def _header(part: bytes) -> dict[Any, Any]:
    if len(part) > _MAX_HEADER:
        raise ValueError(f"a header of {len(part)} bytes")
    return msgpack_maps.load(part)


def _array(header: dict[Any, Any], data: bytes) -> Packed:
    """An array as it was sent, its size compared with its shape."""
    dtype, sides = pixel_type(header.get("dtype")), header.get("shape")
    shape = tuple(sides) if isinstance(sides, list | tuple) and len(sides) == 1 else frame_shape(sides)
    if math.prod(count(side, "a side of an array") for side in shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} and type {dtype} with {len(data)} bytes")
    return Packed(data, dtype, shape)


def _images(arrays: dict[tuple[str, str], Packed], wanted: Wanted) -> tuple[str, Packed]:
    found = [
        (source, packed)
        for (source, path), packed in arrays.items()
        if path in IMAGE_PATHS and wanted.name in (None, source) and len(packed.shape or ()) > 1
    ]
    if len(found) != 1:
        names = ", ".join(dict.fromkeys(short(source) for source, _ in arrays)) or "none"
        raise ValueError(f"{len(found)} sources with images: name one (--detector); with arrays are {names}")
    return found[0]


def _pulses(arrays: dict[tuple[str, str], Packed], source: str) -> list[Any]:
    """Numbers of the train's pulses, where the source sends them."""
    for path in _PULSE_PATHS:
        packed = arrays.get((source, path))
        if packed is not None and packed.shape is not None and len(packed.shape) == 1 and packed.dtype.kind in "iu":
            numbers: list[Any] = np.frombuffer(packed.data, packed.dtype)[:10_000].tolist()
            return numbers
    return []
