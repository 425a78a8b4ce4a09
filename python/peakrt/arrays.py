"""Arrays as the finders take them: frames, masks, radii, and the rectangles of the ASICs."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

#: Types of pixels that the native code reads as they are; others are converted.
NATIVE_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
#: The native code counts in C ints.
MAX_INT = 2**31 - 1


def as_frame(frame: npt.ArrayLike) -> npt.NDArray[Any]:
    """Give a frame as a C-contiguous (panel, ss, fs) array of a native type, copied only where it must be.

    frame : (panel, ss, fs) or (ss, fs), any real dtype. Raises ValueError for other shapes and dtypes.
    """
    array = np.asarray(frame)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"a frame has shape (panel, ss, fs) or (ss, fs) and at least one pixel, not {np.shape(frame)}")
    if array.dtype.kind not in "buif":
        raise ValueError(f"a frame holds real numbers, not {array.dtype}")
    kind = array.dtype.newbyteorder("=")
    if kind.kind == "b":
        kind = np.dtype(np.uint8)
    elif kind.str[1:] not in NATIVE_TYPES:
        kind = np.dtype(np.float32 if kind.itemsize < 4 else np.float64)
    return np.ascontiguousarray(array, kind)


def as_mask(mask: npt.ArrayLike | None, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Give a mask (nonzero = good; None: all good) as uint8 of the frame's (panel, ss, fs) shape.

    Raises ValueError if it has another number of pixels.
    """
    if mask is None:
        return np.ones(shape, np.uint8)
    array = _of_size(np.asarray(mask), shape)
    zero = array.dtype.type(0)  # of the same type: comparing to a plain 0 takes numpy seven times as long
    return np.ascontiguousarray(array.reshape(shape) != zero).view(np.uint8)


def as_mask_bits(mask: npt.ArrayLike | None, shape: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """Give a mask (nonzero = good; None: all good) as bits in words: pixel i is bit i % 64 of word i // 64.

    One word or part of one stands at the end, so that 64 bits can be read from any pixel on. Raises ValueError as
    :func:`as_mask` does.
    """
    is_bool = isinstance(mask, np.ndarray) and mask.dtype == np.bool_
    array = _of_size(mask, shape) if is_bool else as_mask(mask, shape)
    packed = np.packbits(array.reshape(-1), bitorder="little")
    words = np.zeros(array.size // 64 + 2, "<u8")
    words.view(np.uint8)[: packed.size] = packed
    return words.astype(np.uint64, copy=False)


class GoodPixels:
    """Good pixels of a frame, as bits or as an array: the one is made from the other when it is first asked for.

    shape : (panel, ss, fs); bits : as :func:`as_mask_bits` gives them
    """

    def __init__(self, shape: tuple[int, ...], bits: npt.NDArray[np.uint64]) -> None:
        self.shape, self.bits = shape, bits

    @classmethod
    def of(cls, mask: npt.ArrayLike | None, shape: tuple[int, ...]) -> GoodPixels:
        """Those of a mask (nonzero = good; None: all). Raises ValueError if it has another number of pixels."""
        return cls(shape, as_mask_bits(mask, shape))

    @cached_property
    def array(self) -> npt.NDArray[np.bool_]:
        """True = good: (panel, ss, fs)."""
        count = int(np.prod(self.shape))
        return np.unpackbits(self._bytes, count=count, bitorder="little").view(bool).reshape(self.shape)

    def at(self, pixels: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Of some pixels, by their place in a flat frame: an array of their shape."""
        return (self._bytes[pixels >> 3] >> (pixels & 7).astype(np.uint8) & np.uint8(1)).view(bool)

    @property
    def _bytes(self) -> npt.NDArray[np.uint8]:
        return self.bits.astype("<u8", copy=False).view(np.uint8)


def _of_size(mask: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if mask.size != int(np.prod(shape)):
        raise ValueError(f"mask has shape {mask.shape}, the frame needs {shape}")
    return mask


def as_radius(radius: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Give distances from the beam axis, (panel, ss, fs) or (ss, fs), as float32 (panel, ss, fs).

    Raises ValueError for another shape.
    """
    rho = np.asarray(radius, np.float32)
    rho = np.ascontiguousarray(rho[None] if rho.ndim == 2 else rho)
    if rho.ndim != 3:
        raise ValueError(f"radius has shape {rho.shape}, it should be (panel, ss, fs) or (ss, fs)")
    return rho


def whole_panels(shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """One ASIC row for each panel."""
    return np.array([[panel, 0, shape[1], 0, shape[2]] for panel in range(shape[0])], np.int32)


def asic_numbers(shape: tuple[int, ...], asics: npt.NDArray[np.int32]) -> npt.NDArray[np.uint16]:
    """Number of the ASIC of each pixel; the number of ASICs where there is none."""
    owner = np.full(shape, len(asics), np.uint16)
    for number, (panel, min_ss, end_ss, min_fs, end_fs) in enumerate(asics):
        owner[panel, min_ss:end_ss, min_fs:end_fs] = number
    return owner


def check_asics(asics: npt.NDArray[np.int32], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless every rectangle lies inside the frame."""
    if asics.ndim != 2 or asics.shape[1] != 5 or not len(asics):
        raise ValueError(f"asics has shape {asics.shape}, it should be (n, 5): panel, min_ss, end_ss, min_fs, end_fs")
    panel, min_ss, end_ss, min_fs, end_fs = asics.T
    inside = (panel >= 0) & (panel < shape[0]) & (min_ss >= 0) & (min_ss < end_ss) & (end_ss <= shape[1])
    inside &= (min_fs >= 0) & (min_fs < end_fs) & (end_fs <= shape[2])
    if not inside.all():
        raise ValueError(f"ASIC {asics[np.argmin(inside)].tolist()} is not inside a frame of shape {shape}")
