"""Pixels out of what was sent, with every size checked before memory is taken for it.

The filters of HDF5 (hdf5plugin) unpack bitshuffle and LZ4: they are given one chunk of an HDF5 file in memory. They
believe the sizes in the data, so those are walked through first: a block never reaches beyond the data, nor beyond
the frame, and inside a block LZ4 and Zstandard check their own bounds.
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

#: HDF5's number of each filter, and its options: bitshuffle's block size (0: as the data say) and codec.
_FILTERS: dict[str, tuple[int, tuple[int, ...]]] = {
    "bslz4": (32008, (0, 2)),
    "bszstd": (32008, (0, 3)),
    "lz4": (32004, ()),
}
#: Largest block: bitshuffle's are of 8 kB, LZ4's of 1 GiB at most; a block is unpacked into memory of its own.
_MAX_BLOCK_BYTES = 1 << 26


def unpack(packed: Packed, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """Pixels of a shape, in this machine's byte order. Raises ValueError where the data are not exactly those."""
    n_bytes = math.prod(shape) * packed.dtype.itemsize
    if packed.algorithm == "":
        if len(packed.data) != n_bytes:
            raise ValueError(f"{len(packed.data)} bytes of pixels, {n_bytes} are expected")
        found = np.frombuffer(packed.data, packed.dtype).reshape(shape)
    elif packed.algorithm in _FILTERS:
        found = _through_hdf5(packed, shape, n_bytes)
    elif packed.algorithm in ("gzip", "shuffle-gzip"):
        found = _inflate(packed, n_bytes).reshape(shape)
    else:
        raise ValueError(f"images compressed with {packed.algorithm[:40]!r}: known are {', '.join(_FILTERS)} and gzip")
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
    number, options = _FILTERS[packed.algorithm]
    if not h5py.h5z.filter_avail(number):
        raise ValueError(f"images compressed with {packed.algorithm} need hdf5plugin")  # open_stream has asked for it
    data, size = packed.data, packed.dtype.itemsize
    if packed.block_size:
        data = struct.pack(">QI", n_bytes, packed.block_size * size) + data
    _check_blocks(data, n_bytes, size if number == 32008 else 0)
    out = np.empty(shape, packed.dtype)
    try:
        with h5py.File.in_memory() as file:
            dataset = file.create_dataset(
                "data", shape, packed.dtype, chunks=shape, compression=number, compression_opts=options
            )
            dataset.id.write_direct_chunk((0,) * len(shape), data)
            dataset.read_direct(out)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"images cannot be unpacked ({packed.algorithm}): {str(error)[:100]}") from None
    return out


def _check_blocks(data: bytes, n_bytes: int, item_size: int) -> None:
    """Walk through the blocks of bitshuffle (item_size bytes an element) or of LZ4 (0) in the framing of HDF5.

    8 bytes: size of all; 4 bytes: size of a block, both unpacked and big-endian; then each block after its 4 bytes of
    packed size. Bitshuffle leaves up to 7 elements at the end as they are. Raises ValueError for sizes that do not agree.
    """
    if len(data) < 12:
        raise ValueError(f"{len(data)} bytes of compressed images: less than their header")
    total, block = struct.unpack_from(">QI", data)
    if total != n_bytes:
        raise ValueError(f"compressed images claim {total} bytes, {n_bytes} are expected")
    if not 0 < block <= _MAX_BLOCK_BYTES or (item_size and block % (8 * item_size)):
        raise ValueError(f"compressed images claim blocks of {block} bytes")
    rest = n_bytes % (8 * item_size) if item_size else 0
    at, blocks = 12, -(-(n_bytes - rest) // block)
    for _ in range(blocks):
        if at + 4 > len(data):
            break
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    if at + rest != len(data):
        raise ValueError(f"compressed images of {len(data)} bytes, their blocks claim {at + rest}")
