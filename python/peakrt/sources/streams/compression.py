"""Pixels out of what was sent, with every size checked before memory is taken for it.

HDF5's filter for bitshuffle (hdf5plugin) unpacks it: it is given one chunk of an HDF5 file in memory. It believes the
sizes in the data, so those are walked through first: a block never reaches beyond the data, nor beyond the frame, and
inside a block LZ4 and Zstandard check their own bounds. The filter for plain LZ4 writes to stderr what it dislikes, so that
one is not read.
"""

from __future__ import annotations

import math
import struct
import zlib

import h5py
import numpy as np
import numpy.typing as npt

from ...filters import register_filters
from .records import Packed

#: HDF5's number of bitshuffle, and its options for each codec (block size as the data say).
_BITSHUFFLE, _CODECS = 32008, {"bslz4": (0, 2), "bszstd": (0, 3)}
#: Largest block: usual are 8 kB; a block is unpacked into memory of its own.
_MAX_BLOCK_BYTES = 1 << 26


def unpack(packed: Packed, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """Pixels of a shape, in this machine's byte order. Raises ValueError where the data are not exactly those."""
    n_bytes = math.prod(shape) * packed.dtype.itemsize
    if packed.algorithm == "":
        if len(packed.data) != n_bytes:
            raise ValueError(f"{len(packed.data)} bytes of pixels, {n_bytes} are expected")
        found = np.frombuffer(packed.data, packed.dtype).reshape(shape)
    elif packed.algorithm in _CODECS:
        found = _through_hdf5(packed, shape, n_bytes)
    elif packed.algorithm in ("gzip", "shuffle-gzip"):
        found = _inflate(packed, n_bytes).reshape(shape)
    else:
        raise ValueError(f"images compressed with {packed.algorithm[:40]!r}: known are {', '.join(_CODECS)} and gzip")
    return found.astype(packed.dtype.newbyteorder("="), copy=False)


def _inflate(packed: Packed, n_bytes: int) -> npt.NDArray[np.generic]:
    """Unpack deflate, with HDF5's byte shuffle or without, never beyond the size that is expected."""
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(packed.data, n_bytes + 1)
    except zlib.error as error:
        raise ValueError(f"images cannot be unpacked: {error}") from None
    if len(plain) != n_bytes or not unpacker.eof:
        raise ValueError(f"gzipped images unpack to another size than {n_bytes} bytes")
    if packed.algorithm == "shuffle-gzip":
        planes = np.frombuffer(plain, np.uint8).reshape(packed.dtype.itemsize, -1)
        plain = np.ascontiguousarray(planes.T).tobytes()
    return np.frombuffer(plain, packed.dtype)


def _through_hdf5(packed: Packed, shape: tuple[int, ...], n_bytes: int) -> npt.NDArray[np.generic]:
    register_filters()
    if not h5py.h5z.filter_avail(_BITSHUFFLE):
        raise ValueError(f"images compressed with {packed.algorithm} need hdf5plugin")  # open_stream has asked for it
    data, size = packed.data, packed.dtype.itemsize
    if packed.block_size:
        data = struct.pack(">QI", n_bytes, packed.block_size * size) + data
    _check_blocks(data, n_bytes, size)
    out = np.empty(shape, packed.dtype)
    try:
        with h5py.File.in_memory() as file:
            dataset = file.create_dataset(
                "data",
                shape,
                packed.dtype,
                chunks=shape,
                compression=_BITSHUFFLE,
                compression_opts=_CODECS[packed.algorithm],
            )
            dataset.id.write_direct_chunk((0,) * len(shape), data)
            dataset.read_direct(out)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"images cannot be unpacked ({packed.algorithm}): {str(error)[:100]}") from None
    return out


def _check_blocks(data: bytes, n_bytes: int, item_size: int) -> None:
    """Walk through the blocks of bitshuffle in the framing of HDF5; item_size : bytes of an element.

    8 bytes: size of all; 4 bytes: size of a block, both unpacked and big-endian; then each block after its 4 bytes of
    packed size, and up to 7 elements as they are. Raises ValueError for sizes that do not agree.
    """
    if len(data) < 12:
        raise ValueError(f"{len(data)} bytes of compressed images: less than their header")
    total, block = struct.unpack_from(">QI", data)
    if total != n_bytes:
        raise ValueError(f"compressed images claim {total} bytes, {n_bytes} are expected")
    if not 0 < block <= _MAX_BLOCK_BYTES or block % (8 * item_size):
        raise ValueError(f"compressed images claim blocks of {block} bytes")
    rest = n_bytes % (8 * item_size)
    at = 12
    for _ in range(-(-(n_bytes - rest) // block)):
        if at + 4 > len(data):
            break
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    if at + rest != len(data):
        raise ValueError(f"compressed images of {len(data)} bytes, their blocks claim {at + rest}")
