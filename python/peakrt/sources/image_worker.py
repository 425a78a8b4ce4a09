"""The process that reads images with libraries that a damaged file can bring down, hang or make take all memory.

It is a file of its own that is run, not imported: ``python image_worker.py BYTES PIXELS LIMIT``. The first two are
memory files: one brings an image file's bytes, the other takes back its pixels. Each line on standard input asks for one image, and is answered by
one line on standard output, both JSON; the end of the input ends the process.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules are named as others in the world are

import json
import os
import resource
import signal
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np


def read_pycbf(path: str) -> Any:
    """Arrays of a CBF, one above another: (panel, ss, fs)."""
    import pycbf

    handle = pycbf.cbf_handle_struct()
    handle.read_widefile(path.encode(), pycbf.MSG_DIGEST)
    handle.find_category(b"array_data")
    handle.find_column(b"data")
    arrays = []
    for row in range(handle.count_rows()):
        handle.select_row(row)
        _, _, size, signed, _, _, _, _, _, n_fs, n_ss, n_slow, _ = handle.get_integerarrayparameters_wdims()
        pixels = np.frombuffer(handle.get_integerarray_as_string(), np.dtype(f"{'i' if signed else 'u'}{size}"))
        arrays.append(pixels.reshape(max(n_slow, 1), n_ss, n_fs))
    if len(arrays) == 1:
        return arrays[0]
    n_ss, n_fs = (max(array.shape[axis] for array in arrays) for axis in (1, 2))
    frame = np.zeros((sum(map(len, arrays)), n_ss, n_fs), arrays[0].dtype)
    first = 0
    for array in arrays:
        frame[first : first + len(array), : array.shape[1], : array.shape[2]] = array
        first += len(array)
    return frame


def read_fabio(path: str) -> Any:
    """The first image of a file that fabio knows: (1, ss, fs)."""
    import fabio

    with fabio.open(path) as image:
        pixels = image.data
    if pixels is None or pixels.ndim != 2:
        raise ValueError("it holds no 2-D image")
    return np.array(pixels)[None]


READERS: dict[str, Callable[[str], Any]] = {"pycbf": read_pycbf, "fabio": read_fabio}


def answer(request: dict[str, Any], given: int, pixels: int) -> dict[str, Any]:
    """Read the bytes given and put the pixels where they go."""
    with tempfile.TemporaryDirectory(prefix="peakrt-") as folder:
        # fabio goes by the name's end, too
        path = f"{folder}/image{request['suffix']}"
        os.symlink(f"/proc/self/fd/{given}", path)
        try:
            frame = READERS[request["reader"]](path)
            if frame.dtype.kind not in "iuf" or frame.size == 0:
                raise ValueError(f"{frame.shape} pixels of {frame.dtype}")
            frame = np.ascontiguousarray(frame, frame.dtype.newbyteorder("="))
        except Exception as error:  # pycbf raises Exception itself, fabio whatever its readers met
            said = (str(error).strip().splitlines() or [""])[0].replace(path, "the file")
            return {"error": f"{request['reader']} does not read it ({type(error).__name__}: {said[:200]})"}
    os.ftruncate(pixels, frame.nbytes)
    os.lseek(pixels, 0, os.SEEK_SET)
    with open(pixels, "wb", buffering=0, closefd=False) as file:
        rest = memoryview(frame.data).cast("B")
        while len(rest):
            rest = rest[file.write(rest) :]
    return {"shape": frame.shape, "dtype": frame.dtype.str}


def serve(given: int, pixels: int, limit: int) -> None:
    """Answer until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # for the job, which closes this process's input
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.dup(1)
    os.dup2(2, 1)  # libraries may print
    for line in sys.stdin.buffer:
        os.write(answers, json.dumps(answer(json.loads(line), given, pixels)).encode() + b"\n")


if __name__ == "__main__":
    serve(*(int(text) for text in sys.argv[1:]))
