"""A finder whose work the node's server does: the same calls as PeakFinder, and what is learned is shared by all ranks."""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector
from peakrt_geometry.crystfel import format_geom

from ..arrays import as_frame, as_mask
from ..config import CandidateConfig, Config
from ..finders.registry import named
from ..models.model_file import shipped_models
from ..peaks import PEAK, PeakArray, PeakTable
from . import wire

log = logging.getLogger("peakrt")
_START_S = 30.0  # a server that is not there by then will not come
_STATUS_S = 10.0  # a server that lives answers at once
_started: list[subprocess.Popen[bytes]] = []  # they outlive the finder that started them


class RemoteFinder:
    """Finds peaks through the node's server, which it starts if there is none.

    config, geometry, mask : as PeakFinder's
    slots : frames that may be on their way at a time, 1 to 64
    place : tells detectors of the same shape, geometry and mask apart, for what the finder learns of each
    A server that dies is started again, and the frames on their way are sent once more; the third death without an
    answer between is an error. What the server's finder learns of a detector depends on which rank comes first and is
    lost with the server (serve.py says when the peaks of a frame are the same nevertheless). For one thread; close it,
    or leave its context, when done. Raises ValueError for what the finder or the server refuses, PermissionError for
    another user's server, RuntimeError for one that cannot be started or makes no sense.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        geometry: Detector | None = None,
        mask: npt.ArrayLike | None = None,
        slots: int = 4,
        place: str = "",
        path: Path | None = None,
    ) -> None:
        if not 1 <= slots <= wire.MAX_SLOTS:
            raise ValueError(f"slots is {slots}, it should be 1 to {wire.MAX_SLOTS}")
        self._config, self._geometry, self._mask = config or CandidateConfig(), geometry, mask
        self._slots, self._place, self._path = slots, place, path or wire.socket_path()
        self._connection: socket.socket | None = None
        self._memory: mmap.mmap | None = None
        self._shape: tuple[int, ...] = ()
        self._slot_bytes = 0
        self._next = 0
        self._flying: dict[int, dict[str, Any]] = {}  # requests that have no answer yet
        self._answers: dict[int, PeakArray | ValueError] = {}
        self._unwanted: set[int] = set()  # on their way, but nobody will ask for the answer
        self._deaths = self._deaths_in_all = 0

    def __enter__(self) -> RemoteFinder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the server and give the memory back."""
        self._hang_up()
        if self._memory is not None:
            self._memory.close()
            os.close(self._descriptor)
            self._memory = None
        self._flying.clear()
        self._answers.clear()
        self._unwanted.clear()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __call__(self, frame: npt.ArrayLike) -> PeakArray:
        """Find the peaks of one frame: a PEAK array."""
        return self._result(self._submit(as_frame(frame)))

    def find(self, frames: Iterable[npt.ArrayLike]) -> PeakTable:
        """Find the peaks of many frames: a PeakTable in their order."""
        return PeakTable.from_events(list(self.map(frames)))

    def map(self, frames: Iterable[npt.ArrayLike]) -> Generator[PeakArray, None, None]:
        """Give the peaks of frames in their order, as many on their way as there are slots."""
        waiting: deque[int] = deque()
        try:
            for frame in frames:
                if len(waiting) == self._slots:
                    yield self._result(waiting.popleft())
                waiting.append(self._submit(as_frame(frame)))
            while waiting:
                yield self._result(waiting.popleft())
        finally:
            for number in waiting:
                if self._answers.pop(number, None) is None:
                    self._unwanted.add(number)

    # Frames out, answers in

    def _submit(self, frame: npt.NDArray[Any]) -> int:
        """Put a frame into a free slot and send for it; waits for an answer where no slot is free."""
        if self._memory is None:
            self._make_memory(frame)
        assert self._memory is not None
        if frame.shape != self._shape:
            raise ValueError(f"frame has shape {frame.shape}, the first had {self._shape}")
        if frame.nbytes > self._slot_bytes:
            raise ValueError(f"frame of {frame.dtype} does not fit a slot made for the first one")
        while len(self._flying) == self._slots:
            self._take_answer()
        used = {request["slot"] for request in self._flying.values()}
        slot = next(k for k in range(self._slots) if k not in used)
        start = slot * self._slot_bytes
        self._memory[start : start + frame.nbytes] = frame.data.cast("B")
        self._next += 1
        request = {"id": self._next, "slot": slot, "dtype": frame.dtype.str}
        self._flying[self._next] = request
        self._send(request)
        return self._next

    def _result(self, number: int) -> PeakArray:
        while number not in self._answers:
            self._take_answer()
        answer = self._answers.pop(number)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    def _send(self, request: dict[str, Any]) -> None:
        try:
            wire.send(self._connected(), request)
        except PermissionError:
            raise
        except (EOFError, OSError):
            self._revive()

    def _take_answer(self) -> None:
        try:
            answer, payload = wire.receive(self._connected())
        except (EOFError, OSError):
            self._revive()
            return
        if answer.keys() == {"error"}:
            raise RuntimeError(f"the server ended the connection: {answer['error']}")
        number, error = wire.read_answer(answer, payload)
        if self._flying.pop(number, None) is None:
            raise RuntimeError(f"the server answered request {number}, which was not asked or is answered already")
        self._deaths = 0
        if number in self._unwanted:
            self._unwanted.discard(number)
        else:
            self._answers[number] = np.frombuffer(payload, PEAK).copy() if error is None else ValueError(error)

    # The server

    def _make_memory(self, frame: npt.NDArray[Any]) -> None:
        self._shape, self._slot_bytes = frame.shape, -(-frame.size * max(4, frame.itemsize) // 4096) * 4096
        self._descriptor = os.memfd_create("peakrt-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._descriptor, self._slots * self._slot_bytes)
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        self._memory = mmap.mmap(self._descriptor, self._slots * self._slot_bytes)

    def _revive(self) -> None:
        """After the server's death: connect to another, and send again what was on its way."""
        self._hang_up()
        self._deaths += 1
        self._deaths_in_all += 1
        if self._deaths > 2:
            raise RuntimeError("the server died three times over the same frames: run without it, or look at its log")
        log.warning("the server has gone: starting it again, %d frames are sent once more", len(self._flying))
        try:
            connection = self._connected()
            for request in self._flying.values():
                wire.send(connection, request)
        except (EOFError, OSError):
            self._revive()

    def _connected(self) -> socket.socket:
        if self._connection is None:
            connection = self._reach()
            try:
                self._greet(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _greet(self, connection: socket.socket) -> None:
        """Say what finder is wanted and where frames lie. Raises ValueError if the server refuses."""
        name, options = named(self._config)
        model = options.get("model")
        if model is not None and Path(model).is_file() and model not in shipped_models():
            options["model"] = str(Path(model).resolve())  # the server may work in another folder
        mask = b"" if self._mask is None else np.packbits(as_mask(self._mask, self._shape)).tobytes()
        hello = {
            "version": wire.VERSION, "ask": "finder", "finder": name, "options": options,
            "geometry": None if self._geometry is None else format_geom(self._geometry), "place": self._place,
            "shape": self._shape, "slots": self._slots, "slot_bytes": self._slot_bytes,
            "deaths": self._deaths_in_all, "resent": len(self._flying) if self._deaths_in_all else 0,
        }  # fmt: skip
        answer = _ask(connection, hello, mask, [self._descriptor])
        if "error" in answer:
            raise ValueError(f"the server refused: {answer['error']}")

    def _reach(self) -> socket.socket:
        """Connect, and start the server if nobody answers; one rank does, the others wait for it."""
        until = time.monotonic() + _START_S
        process: subprocess.Popen[bytes] | None = None
        with open(self._path.with_suffix(".lock"), "w") as lock:
            while time.monotonic() < until:
                connection = _connect(self._path)
                if connection is not None:
                    return connection
                if process is None:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        process = _start(self._path)
                    except BlockingIOError:
                        pass  # another rank is starting it
                elif process.poll() is not None:
                    process = None  # somebody else was first, or it failed: look again
                time.sleep(0.05)
        raise RuntimeError(
            f"no server came up at {self._path} within {_START_S:.0f} s: its log is {self._path.with_suffix('.log')}"
        )


def server_status(path: Path) -> dict[str, Any]:
    """Numbers of the server that listens at a path: Server.status(). Raises ConnectionError if there is none."""
    connection = _connect(path)
    if connection is None:
        raise ConnectionError(f"no server listens at {path}: ranks start it when they need it")
    with connection:
        connection.settimeout(_STATUS_S)
        answer = _ask(connection, {"version": wire.VERSION, "ask": "status"})
    if not isinstance(answer.get("status"), dict):
        raise ConnectionError(f"the server at {path} refused: {answer.get('error', 'it gave no status')}")
    return dict(answer["status"])


def _connect(path: Path) -> socket.socket | None:
    """Connect to the server at a path; None if nobody listens. Raises PermissionError for another user's."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        return None
    if wire.peer_uid(connection) != os.getuid():
        connection.close()
        raise PermissionError(f"the server at {path} is another user's")
    return connection


def _ask(
    connection: socket.socket, question: dict[str, Any], payload: bytes = b"", descriptors: Sequence[int] = ()
) -> dict[str, Any]:
    """Send a first message and give the answer's header."""
    with suppress(BrokenPipeError, ConnectionResetError):  # a server that refuses may not read on: it has said why
        wire.send(connection, question, payload, descriptors)
    return wire.receive(connection)[0]


def _command(path: Path) -> list[str]:
    """What starts a server."""
    return [sys.executable, "-m", "peakrt.cli", "serve", "--socket", str(path)]


def _start(path: Path) -> subprocess.Popen[bytes]:
    """Start a server. It is kept in _started, for a Popen that is dropped while its process runs is a warning."""
    with open(path.with_suffix(".log"), "ab") as output:
        process = subprocess.Popen(
            _command(path), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    _started[:] = [earlier for earlier in _started if earlier.poll() is None] + [process]
    return process
