"""Arrays in numpy's ``.npy`` files that nobody vouches for."""

from __future__ import annotations

import ast
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

#: Bytes of a header: numpy writes some 100.
_MOST_HEADER = 10_000
#: Bytes of the length of a header, by the first number of the format's version.
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
#: What is raised for a text that is no Python literal, or for a literal that is no header.
_HEADER_ERRORS = (ValueError, SyntaxError, TypeError, KeyError, IndexError, MemoryError, RecursionError, OverflowError)


def read_npy(path: str | Path) -> npt.NDArray[Any]:
    """Array of real numbers in a file of numpy.save. Memory is taken for what the file holds, whatever its header says.

    Raises OSError where it cannot be read, ValueError, naming the file, where it holds no such array.
    """
    with open(path, "rb") as file:
        try:
            major, _ = np.lib.format.read_magic(file)
            length = int.from_bytes(file.read(_LENGTH_BYTES[major]), "little")
            header = ast.literal_eval(file.read(min(length, _MOST_HEADER)).decode("latin1").strip())
            shape, name, by_columns = header["shape"], header["descr"], header["fortran_order"]
            kind = np.dtype(name) if isinstance(name, str) else np.dtype(object)
            whole = all(type(n) is int and n >= 0 for n in tuple(shape))
        except _HEADER_ERRORS:
            raise ValueError(f"{path} is not an array that numpy.save has written") from None
        if not whole or not isinstance(shape, tuple) or kind.kind not in "buif":
            raise ValueError(f"{path} holds {name!r} of shape {shape!r}: an array of numbers is expected")
        n_bytes, there = math.prod(shape) * kind.itemsize, os.fstat(file.fileno()).st_size - file.tell()
        if n_bytes != there:
            raise ValueError(
                f"{path} holds {there} bytes of pixels, for shape {shape} and type {kind} it needs {n_bytes}"
            )
        array = np.fromfile(file, kind, math.prod(shape))
    return array.reshape(shape, order="F" if by_columns else "C")
