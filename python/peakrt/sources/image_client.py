"""Images read by a process of their own, one kept for many images: a damaged file ends that process, never the job."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry.checks import MAX_PIXELS

#: A packed Rayonix frame takes .3 s, the first image of a process a second more.
TIME_LIMIT_S = 30.0
#: Address space of the process: an image of 2**27 pixels twice over, and the libraries.
_MEMORY_LIMIT = 6 * 2**30
_PROGRAM = Path(__file__).with_name("image_worker.py")


class ImageReader:
    """The process, started at the first image and anew after one that ended it. Any thread may read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._given = self._pixels = -1  # memory files: an image file's bytes, and its pixels
        self._owner = 0

    def read(self, raw: bytes, *, reader: str, suffix: str) -> npt.NDArray[Any]:
        """Pixels (panel, ss, fs) of an image file's bytes.

        reader : "pycbf" or "fabio"; suffix : of the file's name, by which fabio goes
        Raises ValueError, without the file's name, for what cannot be read.
        """
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            os.ftruncate(self._given, len(raw))
            at = 0
            while at < len(raw):
                at += os.pwrite(self._given, memoryview(raw)[at:], at)
            try:
                process.stdin.write(json.dumps({"reader": reader, "suffix": suffix}).encode() + b"\n")
                process.stdin.flush()
                answer = self._answer(process)
            except BrokenPipeError:
                raise ValueError(self._ended()) from None
            if "error" in answer:
                raise ValueError(str(answer["error"]))
            return self._take(answer)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # after a fork the process is the parent's
            self._process, self._owner = None, os.getpid()
            self._given, self._pixels = os.memfd_create("peakrt-image"), os.memfd_create("peakrt-pixels")
        if self._process is None or self._process.poll() is not None:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
            environment.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")  # each thread takes address space
            self._process = subprocess.Popen(
                [sys.executable, str(_PROGRAM), str(self._given), str(self._pixels), str(_MEMORY_LIMIT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                pass_fds=(self._given, self._pixels),
                start_new_session=True,  # Ctrl-C is for the job, which closes this process's input
            )
        return self._process

    def _answer(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None
        line, until = b"", time.monotonic() + TIME_LIMIT_S
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self.close(at_once=True)
                raise ValueError(f"it was not read within {TIME_LIMIT_S:g} s: is it damaged?")
            part = os.read(process.stdout.fileno(), 2**16)
            if not part:
                raise ValueError(self._ended())
            line += part
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        self.close()
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        return f"its reader ended ({how}): is it damaged?"

    def _take(self, answer: dict[str, Any]) -> npt.NDArray[Any]:
        shape, dtype = tuple(int(n) for n in answer["shape"]), np.dtype(answer["dtype"])
        if len(shape) != 3 or min(shape) < 1 or np.prod(shape, dtype=float) > MAX_PIXELS or dtype.kind not in "iuf":
            raise ValueError(f"it has {shape} pixels of {dtype}")
        pixels = np.empty(shape, dtype)
        os.lseek(self._pixels, 0, os.SEEK_SET)
        with open(self._pixels, "rb", buffering=0, closefd=False) as file:
            rest = memoryview(pixels.data).cast("B")
            while len(rest):
                n = file.readinto(rest)
                if not n:
                    raise ValueError("its pixels are incomplete")
                rest = rest[n:]
        return pixels

    def close(self, *, at_once: bool = False) -> None:
        """End the process; the next image starts another."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        if at_once:
            process.kill()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


READER = ImageReader()
atexit.register(READER.close)
