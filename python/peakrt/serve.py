"""One finder for all ranks of a node: a server that takes frames from shared memory and gives peaks back.

Started on demand by the first rank (remote.py), gone when the last has left. Ranks take turns: whoever has waited longest
since its last frame is next. What the network learns of a detector is shared by all ranks.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import mmap
import os
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry.crystfel import parse_geom

from . import wire
from .config import FINDERS
from .finder import PeakFinder

log = logging.getLogger("peakrt")
_MOST_SLOTS, _LEAST_SEALS = 64, fcntl.F_SEAL_SHRINK
MOST_TOGETHER = 16  # frames that a GPU is given at a time


@dataclass
class _Client:
    """A rank: its connection, the memory its frames lie in, what it waits for."""

    connection: socket.socket
    key: str
    shape: tuple[int, ...]
    slot_bytes: int
    slots: int
    memory: mmap.mmap
    waiting: deque[dict[str, Any]] = field(default_factory=deque)
    sending: threading.Lock = field(default_factory=threading.Lock)
    gone: bool = False


_Request = tuple[_Client, dict[str, Any]]


class _Turns:
    """Requests of all clients, taken in turn."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._order: deque[_Client] = deque()  # those with something waiting
        self._closed = False

    def put(self, client: _Client, request: dict[str, Any]) -> None:
        with self._ready:
            client.waiting.append(request)
            if len(client.waiting) == 1:
                self._order.append(client)
            self._ready.notify()

    def take(self) -> _Request | None:
        """Give the next request; None once closed."""
        with self._ready:
            while not self._order and not self._closed:
                self._ready.wait()
            if self._closed:
                return None
            client = self._order.popleft()
            request = client.waiting.popleft()
            if client.waiting:
                self._order.append(client)  # behind all others
                self._ready.notify()
            return client, request

    def take_more(self, key: str, n: int) -> list[_Request]:
        """Give up to n more requests for one finder that wait now, in turn."""
        taken: list[_Request] = []
        with self._ready:
            for client in list(self._order):
                if client.key == key and len(taken) < n:
                    self._order.remove(client)
                    taken.append((client, client.waiting.popleft()))
                    if client.waiting:
                        self._order.append(client)  # behind all others
        return taken

    def forget(self, client: _Client) -> None:
        """Drop what a client that has gone was waiting for."""
        with self._ready:
            client.gone = True
            client.waiting.clear()
            if client in self._order:
                self._order.remove(client)

    def close(self) -> None:
        with self._ready:
            self._closed = True
            self._ready.notify_all()


class Server:
    """Serves until nobody has been connected for linger_s.

    path : of the Unix socket, in a folder of this user's alone
    engine : as PeakFinder's; on a GPU the frames that wait are taken together, whatever their ranks
    workers : threads on the CPU, one frame each
    Raises OSError where the socket cannot be made, or a server listens there already.
    """

    def __init__(self, path: Path, *, linger_s: float = 5.0, workers: int | None = None, engine: str = "auto") -> None:
        wire.check_private(path.parent)
        self._path, self._linger, self._engine = path, linger_s, engine
        self._workers = workers or os.cpu_count() or 1
        self._turns = _Turns()
        self._lock, self._gpu = threading.Lock(), threading.Lock()
        self._finders: dict[str, PeakFinder] = {}
        self._connected = 0
        self._last_left = time.monotonic()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(self._listener, path)
        except BaseException:
            self._listener.close()
            raise

    def run(self) -> None:
        """Serve, and take the socket away at the end."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._workers)]
        for thread in threads:
            thread.start()
        self._listener.settimeout(0.2)
        try:
            while not self._lonely():
                try:
                    connection, _ = self._listener.accept()
                except TimeoutError:
                    continue
                threading.Thread(target=self._meet, args=(connection,), daemon=True).start()
        finally:
            self._path.unlink(missing_ok=True)
            self._listener.close()
            self._turns.close()

    def _lonely(self) -> bool:
        with self._lock:
            return self._connected == 0 and time.monotonic() - self._last_left > self._linger

    def _meet(self, connection: socket.socket) -> None:
        """Talk to one client until it leaves."""
        with self._lock:
            self._connected += 1
        try:
            with connection:
                if wire.peer_uid(connection) != os.getuid():
                    wire.send(connection, {"error": "this server is another user's"})
                    return
                client = self._greet(connection)
                if client is not None:
                    self._listen(client)
        except (EOFError, OSError):
            pass  # it has gone
        finally:
            with self._lock:
                self._connected -= 1
                self._last_left = time.monotonic()

    def _greet(self, connection: socket.socket) -> _Client | None:
        try:
            hello, mask = wire.receive(connection)
            if hello.get("version") != wire.VERSION:
                raise ValueError(
                    f"the server speaks version {wire.VERSION}, the client {hello.get('version')}: they are of different "
                    "PeakRTs; let the older one's jobs end"
                )
            shape = tuple(int(n) for n in hello["shape"])
            slots, slot_bytes = int(hello["slots"]), int(hello["slot_bytes"])
            if len(shape) != 3 or min(shape) < 1 or not 1 <= slots <= _MOST_SLOTS or slot_bytes < 1:
                raise ValueError(f"frames of shape {shape} in {slots} slots of {slot_bytes} bytes cannot be served")
            key = self._finder_for(hello, mask, shape)
            wire.send(connection, {"ok": True, "pid": os.getpid()})
            memory = _map(connection, slots * slot_bytes)
        except (ValueError, KeyError, TypeError) as error:
            wire.send(connection, {"error": str(error) or "an incomplete greeting"})
            return None
        return _Client(connection, key, shape, slot_bytes, slots, memory)

    def _finder_for(self, hello: dict[str, Any], mask: bytes, shape: tuple[int, ...]) -> str:
        """Make the finder of a greeting, or find it made; returns its key."""
        made_of = json.dumps([hello["finder"], hello["options"], hello["geometry"], shape]).encode()
        key = hashlib.sha256(made_of + mask).hexdigest()
        with self._lock:
            if key not in self._finders:
                config = FINDERS[hello["finder"]](**hello["options"])
                geometry = (
                    None if hello["geometry"] is None else parse_geom(hello["geometry"], name="geometry of the client")
                )
                good = None
                if mask:
                    pixels = int(np.prod(shape))
                    good = np.unpackbits(np.frombuffer(mask, np.uint8), count=pixels).reshape(shape).astype(bool)
                finder = PeakFinder(config, geometry=geometry, mask=good, engine=self._engine)
                finder.on_gpu()  # a finder that has no such engine is refused here
                self._finders[key] = finder
        return key

    def _listen(self, client: _Client) -> None:
        try:
            while True:
                request, _ = wire.receive(client.connection)
                dtype = np.dtype(str(request["dtype"]))
                if dtype.kind not in "uif" or not 0 <= int(request["slot"]) < client.slots:
                    raise ValueError("a request for no slot or of no number")
                if dtype.itemsize * int(np.prod(client.shape)) > client.slot_bytes:
                    raise ValueError("a request for a frame larger than its slot")
                self._turns.put(client, request)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("a client said what it should not: %s", error)
        finally:
            self._turns.forget(client)

    def _work(self) -> None:
        clones: dict[str, PeakFinder] = {}
        while (first := self._turns.take()) is not None:
            key = first[0].key
            finder = self._finders[key]
            if finder.on_gpu():
                with self._gpu:
                    self._answer([first, *self._turns.take_more(key, MOST_TOGETHER - 1)], finder)
                continue
            if key not in clones:
                with self._lock:
                    clones[key] = finder.clone()
            self._answer([first], clones[key])

    def _answer(self, taken: list[_Request], finder: PeakFinder) -> None:
        """Find the peaks of requests and send them; one that fails is told so, the others are found without it."""
        try:
            found: list[Any] = [peaks for _, peaks in finder.map((_frame(*one), None) for one in taken)]
        except (ValueError, RuntimeError, MemoryError) as error:
            if len(taken) > 1:
                for one in taken:
                    self._answer([one], finder)
                return
            found = [error]
        for (client, request), peaks in zip(taken, found, strict=True):
            if isinstance(peaks, Exception):
                answer, payload = {"id": request["id"], "error": str(peaks)}, b""
            else:
                answer, payload = {"id": request["id"], "peaks": len(peaks)}, peaks.tobytes()
            try:
                with client.sending:
                    wire.send(client.connection, answer, payload)
            except OSError:
                self._turns.forget(client)


def _frame(client: _Client, request: dict[str, Any]) -> npt.NDArray[Any]:
    """A request's frame, where the client put it."""
    count, at = int(np.prod(client.shape)), int(request["slot"]) * client.slot_bytes
    return np.frombuffer(client.memory, np.dtype(str(request["dtype"])), count, at).reshape(client.shape)


def _bind(listener: socket.socket, path: Path) -> None:
    """Listen at a path, where perhaps the socket of a dead server lies."""
    try:
        listener.bind(str(path))
    except OSError:
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
        else:
            raise FileExistsError(f"a server listens at {path} already") from None
        finally:
            probe.close()
    path.chmod(0o600)
    listener.listen(256)


def _map(connection: socket.socket, size: int) -> mmap.mmap:
    """Map the memory that a client hands over. Raises ValueError if it is smaller than said, or could become so."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
    if not descriptors:
        raise ValueError("no memory came with the greeting")
    try:
        if os.fstat(descriptors[0]).st_size < size:
            raise ValueError("the memory that came is smaller than its slots")
        if not fcntl.fcntl(descriptors[0], fcntl.F_GET_SEALS) & _LEAST_SEALS:
            raise ValueError("the memory that came could be made smaller: it is not sealed")
        return mmap.mmap(descriptors[0], size, prot=mmap.PROT_READ)
    finally:
        os.close(descriptors[0])
