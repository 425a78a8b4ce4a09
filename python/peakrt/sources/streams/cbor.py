"""CBOR (RFC 8949) from a sender that nobody vouches for: plain values and typed arrays, nothing that computes.

cbor2 builds an object of some 60 bytes for every byte of a message that says so, and gives dates, fractions, regular
expressions and shared values a meaning. So the items are counted before, and of all tags only those of arrays stay.
"""

from __future__ import annotations

import math
from typing import Any

import cbor2
import numpy as np

from .records import Packed, frame_shape, short

#: Items of a message; one of Jungfraujoch with its spots, profiles and masks has some thousands.
MAX_ITEMS = 100_000
_MAX_DEPTH = 16
#: Multi-dimensional array, row-major (RFC 8746), and compressed byte string (DECTRIS).
_ARRAY, _COMPRESSED = 40, 56500


def _refuse(value: Any, immutable: bool) -> Any:
    raise ValueError("a tag that no stream needs")


#: cbor2's own meanings: text and seconds of a date stay what they are (0, 1), the others are refused.
_MEANINGS = {tag: _refuse for tag in (2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)}  # fmt: skip
_MEANINGS |= {tag: lambda value, immutable: value for tag in (0, 1)}


def load(data: bytes) -> dict[str, Any]:
    """The map that a message is. Raises ValueError for everything else."""
    _check_items(data)
    try:
        found = cbor2.loads(data, semantic_decoders=_MEANINGS, max_depth=_MAX_DEPTH, strict_hashable_types=True)
    except (cbor2.CBORError, ValueError, OverflowError) as error:
        raise ValueError(f"a message is not CBOR: {str(error)[:100]}") from None
    if not isinstance(found, dict):
        raise ValueError(f"a message is {short(found)}: a map is expected")
    return found


def _check_items(data: bytes) -> None:
    """Count the items of a message without building them; strings are skipped, and must lie within it."""
    at = items = 0
    while at < len(data):
        kind, info = data[at] >> 5, data[at] & 31
        size = 1 << (info - 24) if 24 <= info <= 27 else 0
        value = int.from_bytes(data[at + 1 : at + 1 + size], "big") if size else info
        at += 1 + size
        if kind in (2, 3) and info < 28:  # bytes and text
            at += value
        items += 1
        if at > len(data):
            raise ValueError("a message is cut off")
        if items > MAX_ITEMS:
            raise ValueError(f"a message has more than {MAX_ITEMS} items")


def array(value: object) -> Packed:
    """A multi-dimensional typed array, compressed or not. Raises ValueError for everything else."""
    inner = _content(value, _ARRAY, 2)
    if inner is None:
        raise ValueError(f"{short(value)} where an array (CBOR tag {_ARRAY}) is expected")
    shape, content = frame_shape(inner[0]), inner[1]
    if not isinstance(content, cbor2.CBORTag):
        raise ValueError(f"{short(content)} where a typed array is expected")
    dtype = _typed(content.tag)
    packed = _content(content.value, _COMPRESSED, 3)
    if packed is None:
        if not isinstance(content.value, bytes) or len(content.value) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"an array of shape {shape} and type {dtype} whose bytes are of another size")
        return Packed(content.value, dtype, shape)
    algorithm, item_size, data = packed
    if not isinstance(algorithm, str) or not isinstance(data, bytes):
        raise ValueError("a compressed array without a name of its compression, or without data")
    if algorithm in ("bslz4", "bszstd") and item_size != dtype.itemsize:
        raise ValueError(f"elements of {short(item_size)} bytes in an array of {dtype}")
    return Packed(data, dtype, shape, algorithm)


def _content(value: object, tag: int, length: int) -> list[Any] | None:
    """Elements of a tagged array; None where the tag is another one."""
    if not isinstance(value, cbor2.CBORTag) or value.tag != tag:
        return None
    if not isinstance(value.value, list | tuple) or len(value.value) != length:
        raise ValueError(f"CBOR tag {tag} with {short(value.value)}: {length} elements are expected")
    return list(value.value)


def _typed(tag: int) -> np.dtype[Any]:
    """Type of a typed array (RFC 8746, section 2): the tag's bits are 010, float, signed, little-endian, log2 of size."""
    size = tag & 3
    if not 64 <= tag <= 87 or tag == 76 or (tag & 16 and size == 3):  # 76 is reserved, size 3 is of 16 bytes
        raise ValueError(f"CBOR tag {tag} where a typed array is expected")
    kind = "f" if tag & 16 else "i" if tag & 8 else "u"
    return np.dtype(f"{'<' if tag & 4 else '>'}{kind}{(2 if tag & 16 else 1) << size}")
