"""Want of memory, told from other errors: libraries report it as whatever they report."""

from __future__ import annotations

import errno

#: What HDF5 (H5E_CANTALLOC, H5E_NOSPACE), ONNX Runtime and numpy say of it.
_WORDS = (
    "memory allocation failed",
    "no space available for allocation",
    "can't malloc",
    "can't allocate",
    "bad_alloc",
)


def wants_memory(error: BaseException | None) -> bool:
    """Whether there was too little memory for what an error, or one that it came from, is of."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        text = str(error).lower()
        if any(word in text for word in _WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False
