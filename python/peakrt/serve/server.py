"""One finder for all ranks of a node: a server that takes frames from shared memory and gives peaks back.

Started on demand by the first rank (remote.py), gone when the last has left. One thread does all reading and never waits for
a client; workers find, and what a socket does not take at once waits in the client's own queue. A client is greeting, having
its finder made, ready, or leaving; whatever it does wrong ends its own connection, with the reason, and nobody else's. What
a client and what all of them may take of memory, places and time is in Limits.

What the finder learns of a detector (bad pixels, the gain where nobody tells it) is shared by all ranks with the same finder
and place, lost when the server ends, and depends on whose frames come first: the peaks of a served job then differ a little from
run to run, as its ranks' timing does. With bad_pixels "keep" and a gain that is given (in the config or by the geometry), or a
classical finder, an answer depends on the frame alone, whoever else is served and however often the server dies.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import queue
import resource
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..finder import PeakFinder
from . import wire
from .fair_queue import FairQueue, Request, Share
from .served_finders import ServedFinder, ServedFinders

log = logging.getLogger("peakrt")
MOST_TOGETHER = 16  # frames that a GPU is given at a time
_CHUNK = 1 << 16  # bytes read from a client before the next one's turn
_TICK_S = 0.2  # how late a time limit may be noticed
_SPARE = 64  # connections beyond the clients: those that greet, are refused, or ask for the status
_LATENCIES = 1000  # requests over which the status gives percentiles
#: What ends a greeting with the reason instead of the server: a finder that cannot be made of what the client sent.
_CANNOT_MAKE = (ValueError, OSError, KeyError, TypeError, OverflowError, RuntimeError, MemoryError, ImportError)


@dataclass(frozen=True)
class Limits:
    """What the server gives at most.

    clients : enough for 128 ranks with eight detectors each
    finders, finder_pixels : distinct ones, and the pixels of their frames together; a plan takes some 20 bytes a pixel
    mapped_bytes : slots of all clients together; 0 means half of this machine's memory
    greeting_s : from connecting to a whole Hello; a rank that starts beside a hundred others needs seconds
    message_s : for the rest of a message that has begun, and for taking the reason of a refusal
    greeting_bytes : Hellos in memory at a time
    unread_bytes : answers that a client has not read, beyond which none of its frames is begun
    """

    clients: int = 1024
    finders: int = 64
    finder_pixels: int = 512 << 20
    mapped_bytes: int = 0
    greeting_s: float = 30.0
    message_s: float = 10.0
    greeting_bytes: int = 256 << 20
    unread_bytes: int = 1 << 20


@dataclass(eq=False)
class _Outgoing:
    """The rest of a message on its way to a client, and the slot that is free again when it has gone."""

    rest: memoryview
    slot: int | None


class _Client(Share):
    """A connection and everything that is held for it.

    state : greeting, making (its finder), ready or leaving
    deadline : when it is dropped unless it goes on; None where it may take its time
    lock : over the connection, out, unread and busy, which workers use as well
    """

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        super().__init__()
        self.connection = connection
        self.deadline: float | None = deadline
        self.state = "greeting"
        self.decoder = wire.Decoder(wire.MAX_HELLO, wire.MAX_MASK)
        self.descriptor: int | None = None
        self.greeting_bytes = 0
        self.hello: wire.Hello | None = None
        self.memory: mmap.mmap | None = None
        self.finder: ServedFinder | None = None
        self.watched = selectors.EVENT_READ
        self.lock = threading.Lock()
        self.closed = False
        self.out: deque[_Outgoing] = deque()
        self.unread = 0
        self.busy: set[int] = set()  # slots whose answers have not gone yet

    def send(self, message: bytes, slot: int | None = None) -> bool:
        """Send what the socket takes now and keep the rest; returns whether something is kept. Hold the lock."""
        self.out.append(_Outgoing(memoryview(message), slot))
        self.unread += len(message)
        return self.flush()

    def flush(self) -> bool:
        """Send of the rest what the socket takes now; returns whether something is kept. Hold the lock."""
        while self.out and not self.closed:
            first = self.out[0]
            try:
                sent = self.connection.send(first.rest)
            except BlockingIOError:
                return True
            except OSError:  # it has gone: reading finds out
                self.out.clear()
                return False
            self.unread -= sent
            first.rest = first.rest[sent:]
            if not first.rest:
                self.out.popleft()
                if first.slot is not None:
                    self.busy.discard(first.slot)
        return False


class Server:
    """Serves until nobody has been connected for linger_s, or stop() is called.

    path : of the Unix socket, in a folder of this user's alone
    engine : as PeakFinder's; on a GPU the frames that wait are taken together, whatever their ranks
    workers : threads on the CPU, one frame each
    Raises OSError where the socket cannot be made, or a server listens there already.
    """

    def __init__(
        self,
        path: Path,
        *,
        linger_s: float = 5.0,
        workers: int | None = None,
        engine: str = "auto",
        limits: Limits | None = None,
    ) -> None:
        wire.check_private(path.parent)
        self._path, self._linger = path, linger_s
        self._limits = _fitted(limits or Limits())
        self._workers = workers or os.cpu_count() or 1
        self._queue: FairQueue[_Client] = FairQueue()
        self._finders = ServedFinders(engine, self._limits.finders, self._limits.finder_pixels)
        self._lock = threading.Lock()
        self._clients: set[_Client] = set()
        self._to_make: queue.SimpleQueue[_Client | None] = queue.SimpleQueue()
        self._told: deque[Callable[[], None]] = deque()  # for the reading thread to do
        self._stopping = False
        self._fault: BaseException | None = None
        self._started = self._last_left = time.monotonic()
        self._mapped = self._greeting = self._served = self._refused = self._resent = self._restarts = 0
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._pid_file = _claim(path)
        try:
            self._listener = _listen(path)
        except BaseException:
            os.close(self._pid_file)
            raise
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector = selectors.DefaultSelector()

    # The reading thread

    def run(self) -> None:
        """Serve, and take the socket away at the end. Raises RuntimeError if a worker failed as none should."""
        jobs = [self._work] * self._workers + [self._work_together, self._make]
        threads = [threading.Thread(target=self._guarded, args=(job,), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake, selectors.EVENT_READ, self._woken)
        checked = 0.0
        try:
            while not self._stopping and not self._lonely():
                for key, events in self._selector.select(_TICK_S):
                    key.data(events)
                if time.monotonic() - checked > _TICK_S:
                    checked = time.monotonic()
                    self._drop_late(checked)
        finally:
            self._end(threads)
        if self._fault is not None:
            raise RuntimeError("a worker of the server failed: this is a defect of PeakRT's") from self._fault

    def stop(self) -> None:
        """End serving: from any thread or a signal's handler. Ranks that still want something start another server."""
        with suppress(OSError):  # it has ended by itself, and its descriptor is closed
            os.eventfd_write(self._wake, 1)
        self._stopping = True  # only now: the thread that sees it closes the descriptor

    def _end(self, threads: list[threading.Thread]) -> None:
        self._path.unlink(missing_ok=True)
        self._listener.close()
        self._queue.close()
        self._to_make.put(None)
        for client in list(self._clients):
            self._close(client)
        for thread in threads:
            thread.join(timeout=5.0)  # a frame takes less; a daemon that takes longer dies with the process
        self._selector.close()
        with self._lock:
            os.close(self._wake)
            self._wake = -1
        os.close(self._pid_file)

    def _lonely(self) -> bool:
        return not self._clients and time.monotonic() - self._last_left > self._linger

    def _tell(self, what: Callable[[], None]) -> None:
        """Have the reading thread do something."""
        self._told.append(what)
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _woken(self, events: int) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        while self._told:
            self._told.popleft()()

    def _accept(self, events: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:  # the client has gone again, or this machine is out of descriptors
            log.warning("a connection could not be taken: %s", error)
            time.sleep(0.01)
            return
        connection.setblocking(False)
        reason = None
        if wire.peer_uid(connection) != os.getuid():
            reason = "this server is another user's"
        elif len(self._clients) >= self._limits.clients + _SPARE:
            reason = f"the server has {len(self._clients)} connections, the most it takes: try again later"
        if reason is not None:
            self._refused += 1
            with connection, suppress(OSError):
                connection.send(wire.encode({"error": reason}))
            return
        client = _Client(connection, time.monotonic() + self._limits.greeting_s)
        self._clients.add(client)
        self._selector.register(connection, client.watched, partial(self._attend, client))

    def _attend(self, client: _Client, events: int) -> None:
        """Do what a client's socket is ready for."""
        if events & selectors.EVENT_WRITE:
            self._flush(client)
        if events & selectors.EVENT_READ and not client.closed:
            self._read(client)

    def _flush(self, client: _Client) -> None:
        """Send more of what a client has not read yet, and look after what follows from it."""
        with client.lock:
            if client.closed:
                return
            kept = client.flush()
            self._queue.hold(client, client.unread > self._limits.unread_bytes)
        if client.state == "leaving" and not kept:
            self._close(client)
            return
        watched = selectors.EVENT_READ | (selectors.EVENT_WRITE if kept else 0)
        if watched != client.watched:
            client.watched = watched
            self._selector.modify(client.connection, watched, partial(self._attend, client))

    def _read(self, client: _Client) -> None:
        try:
            data = _receive(client)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(client)
            return
        if client.state == "leaving":
            return
        try:
            self._take(client, data)
        except ValueError as error:
            self._refuse(client, str(error))

    def _take(self, client: _Client, data: bytes) -> None:
        """Take bytes of a client. Raises ValueError for what it should not say."""
        if client.state == "making":
            raise ValueError("a message before the greeting was answered")
        client.decoder.feed(data)
        if client.state == "greeting":
            self._count_greeting(client, len(data))
        heard = False
        while client.state != "leaving" and (message := client.decoder.take()) is not None:
            self._hear(client, *message)
            heard = True
        if client.state == "making" and client.decoder.unfinished:
            raise ValueError("a message before the greeting was answered")
        if client.state != "ready":
            return
        if not client.decoder.unfinished:
            client.deadline = None
        elif heard or client.deadline is None:
            client.deadline = time.monotonic() + self._limits.message_s

    def _count_greeting(self, client: _Client, n: int) -> None:
        self._greeting += n
        client.greeting_bytes += n
        if self._greeting > self._limits.greeting_bytes:
            raise ValueError(f"the server has {self._greeting} bytes of greetings in memory: try again later")

    def _hear(self, client: _Client, header: dict[str, Any], payload: bytes) -> None:
        """Take a message as the client's state wants it. Raises ValueError for another one."""
        if client.state == "making":
            raise ValueError("a message before the greeting was answered")
        if client.state == "ready":
            assert client.hello is not None
            number, slot, kind = wire.read_request(header, payload, client.hello)
            with client.lock:
                if slot in client.busy:
                    raise ValueError(f"a request for slot {slot}, whose last one is not answered yet")
                client.busy.add(slot)
            self._queue.put(Request(client, number, slot, kind))
            return
        hello = wire.read_hello(header, payload)
        if hello is None:
            self._leave(client, {"status": self.status()})
            return
        self._admit(client, hello)

    def _admit(self, client: _Client, hello: wire.Hello) -> None:
        """Map a client's memory and have its finder made. Raises ValueError where there is no room."""
        size = hello.slots * hello.slot_bytes
        admitted = sum(1 for other in self._clients if other.hello is not None)
        if admitted >= self._limits.clients:
            raise ValueError(f"the server has {admitted} clients, the most it takes")
        if self._mapped + size > self._limits.mapped_bytes:
            raise ValueError(
                f"slots of {size} bytes beside {self._mapped} of other clients are more than the server maps "
                f"({self._limits.mapped_bytes}): take fewer slots, or fewer ranks"
            )
        if client.descriptor is None:
            raise ValueError("no memory came with the greeting")
        client.memory = _map(client.descriptor, size)
        os.close(client.descriptor)
        client.descriptor = None
        client.hello, client.state, client.deadline = hello, "making", None
        self._mapped += size
        self._to_make.put(client)

    def _made(self, client: _Client, made: ServedFinder | str) -> None:
        """Answer a greeting whose finder is made, or cannot be."""
        if client.closed or client.state == "leaving":
            if not isinstance(made, str):
                self._finders.leave(made)
            return
        if isinstance(made, str):
            self._refuse(client, made)
            return
        assert client.hello is not None
        self._greeting -= client.greeting_bytes
        client.greeting_bytes = 0
        client.finder, client.state, client.hello = made, "ready", replace(client.hello, mask=b"", geometry=None)
        client.decoder = wire.Decoder(wire.MAX_HEADER, 0)
        self._resent += client.hello.resent
        self._restarts = max(self._restarts, client.hello.deaths)
        with client.lock:
            client.send(wire.encode({"ok": True, "pid": os.getpid()}))
        self._flush(client)

    def _refuse(self, client: _Client, reason: str) -> None:
        """End a client's connection with the reason."""
        log.warning("a client is refused: %s", reason)
        self._refused += 1
        self._leave(client, {"error": reason[: wire.MAX_ERROR] or "an impossible message"})

    def _leave(self, client: _Client, last: dict[str, Any]) -> None:
        """Send a client a last message, and drop it when that has gone or its time is up."""
        client.state, client.deadline = "leaving", time.monotonic() + self._limits.message_s
        self._queue.forget(client)
        with client.lock:
            client.send(wire.encode(last))
        self._flush(client)

    def _drop_late(self, now: float) -> None:
        for client in [one for one in self._clients if one.deadline is not None and one.deadline < now]:
            if client.state == "leaving":
                self._close(client)
            else:
                limit = self._limits.greeting_s if client.state == "greeting" else self._limits.message_s
                self._refuse(client, f"a {client.state} client that took more than {limit:g} s for a message")

    def _close(self, client: _Client) -> None:
        """Forget a client. Frames that a worker has in hand keep its memory until they are done."""
        self._clients.discard(client)
        self._selector.unregister(client.connection)
        self._queue.forget(client)
        with client.lock:  # no worker may be sending: its descriptor could be another client's by then
            client.closed = True
            client.out.clear()
            client.connection.close()
        self._greeting -= client.greeting_bytes
        if client.descriptor is not None:
            os.close(client.descriptor)
        if client.finder is not None:
            self._finders.leave(client.finder)
        if client.hello is not None:
            self._mapped -= client.hello.slots * client.hello.slot_bytes
            self._last_left = time.monotonic()

    def status(self) -> dict[str, Any]:
        """Numbers of the server, for ``peakrt serve --status``; latencies are from a request to its answer."""
        ready = [client for client in list(self._clients) if client.state == "ready"]
        with self._lock:
            times = np.array(self._latencies) * 1e3
        p50, p99 = np.percentile(times, [50, 99]).tolist() if len(times) else (0.0, 0.0)
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        return {
            "pid": os.getpid(), "uptime_s": time.monotonic() - self._started, "workers": self._workers,
            "clients": len(ready), "waiting": sum(len(client.waiting) for client in ready),
            "unread_bytes": sum(client.unread for client in ready), "mapped_bytes": self._mapped,
            "served": self._served, "refused": self._refused, "p50_ms": p50, "p99_ms": p99,
            "finders": len(self._finders), "restarts": self._restarts, "resent": self._resent,
            "memory_bytes": pages * mmap.PAGESIZE, "threads": threading.active_count(),
            "descriptors": len(os.listdir("/proc/self/fd")),
        }  # fmt: skip

    # Threads that make finders, and that find

    def _guarded(self, job: Callable[[], None]) -> None:
        """Do a thread's job. A defect ends the server, for ranks must not wait for a worker that is gone."""
        try:
            job()
        except BaseException as error:
            self._fault = error
            self._stopping = True
            self._tell(lambda: None)

    def _make(self) -> None:
        """Make the finders of greetings, one at a time."""
        while (client := self._to_make.get()) is not None:
            assert client.hello is not None
            made: ServedFinder | str
            try:
                made = self._finders.get(client.hello)
            except _CANNOT_MAKE as error:
                made = str(error) or type(error).__name__
            self._tell(partial(self._made, client, made))
            del client  # or its memory would stay until the next greeting

    def _work(self) -> None:
        """Find the peaks of what waits for the CPU, frame by frame."""
        while (request := self._queue.take()) is not None:
            served = request.client.finder
            assert served is not None
            clone = served.take()
            self._answer([request], clone)
            served.give_back(clone)
            del request  # or a client that has gone would keep its memory until the next request

    def _work_together(self) -> None:
        """Find the peaks of what waits for the GPU, all that waits for one finder at a time.

        One thread alone takes these requests: several would each hold one while they wait for the GPU, out of turn.
        """
        while (first := self._queue.take(together=True)) is not None:
            served = first.client.finder
            assert served is not None
            self._answer([first, *self._queue.take_more(served, MOST_TOGETHER - 1)], served.finder)
            del first

    def _answer(self, taken: list[Request[_Client]], finder: PeakFinder) -> None:
        """Find the peaks of requests and send them; one that fails is told so, the others are found without it."""
        # A thread's own time, where it does the work itself: what the machine does meanwhile is no rank's fault.
        clock = time.monotonic if finder.on_gpu() else time.thread_time
        begin = clock()
        try:
            found: list[Any] = [peaks for _, peaks in finder.map((_frame(one), None) for one in taken)]
        except (ValueError, RuntimeError, MemoryError) as error:
            if len(taken) > 1:
                for one in taken:
                    self._answer([one], finder)
                return
            found = [error]
        seconds = (clock() - begin) / len(taken)
        assert taken[0].client.finder is not None
        self._queue.learn(taken[0].client.finder, seconds)
        for request, peaks in zip(taken, found, strict=True):
            self._deliver(request, peaks)

    def _deliver(self, request: Request[_Client], peaks: Any) -> None:
        """Send an answer; what the socket does not take is left to the reading thread."""
        if not isinstance(peaks, Exception) and peaks.nbytes > wire.MAX_PEAKS:
            peaks = ValueError(f"{len(peaks)} peaks are more than an answer holds: raise the finder's thresholds")
        if isinstance(peaks, Exception):
            message = wire.encode({"id": request.number, "error": str(peaks)[: wire.MAX_ERROR]})
        else:
            message = wire.encode({"id": request.number, "peaks": len(peaks)}, peaks.tobytes())
        with self._lock:
            self._served += 1
            self._latencies.append(time.monotonic() - request.since)
        client = request.client
        with client.lock:
            if client.closed or client.state != "ready":
                return
            kept = client.send(message, request.slot)
            if client.unread > self._limits.unread_bytes:
                self._queue.hold(client, True)
        if kept:
            self._tell(partial(self._flush, client))


def _frame(request: Request[_Client]) -> npt.NDArray[Any]:
    """A request's frame, where the client put it."""
    client = request.client
    assert client.hello is not None
    assert client.memory is not None
    shape, at = client.hello.shape, request.slot * client.hello.slot_bytes
    return np.frombuffer(client.memory, request.dtype, int(np.prod(shape)), at).reshape(shape)


def _receive(client: _Client) -> bytes:
    """Bytes that have come from a client; the first descriptor that comes with its greeting is kept."""
    if client.state != "greeting":
        return client.connection.recv(_CHUNK)
    data, descriptors, _, _ = socket.recv_fds(client.connection, _CHUNK, 1, socket.MSG_CMSG_CLOEXEC)
    for descriptor in descriptors:
        if client.descriptor is None:
            client.descriptor = descriptor
        else:
            os.close(descriptor)
    return data


def _fitted(limits: Limits) -> Limits:
    """Limits that this machine can keep: two descriptors a client, and half of its memory for frames."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clients = limits.clients if most == resource.RLIM_INFINITY else min(limits.clients, most // 2 - 2 * _SPARE)
    memory = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE
    return replace(limits, clients=max(1, clients), mapped_bytes=limits.mapped_bytes or memory // 2)


def _claim(path: Path) -> int:
    """Lock the file beside the socket that the server of a path holds while it lives; returns its descriptor."""
    descriptor = os.open(path.with_suffix(".pid"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FileExistsError(f"a server listens at {path} already") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _listen(path: Path) -> socket.socket:
    """Listen at a path that is claimed: a socket that lies there is a dead server's."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(1024)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _map(descriptor: int, size: int) -> mmap.mmap:
    """Map memory that a client handed over. Raises ValueError if it is smaller than said, or could become so."""
    try:
        if os.fstat(descriptor).st_size < size:
            raise ValueError("the memory that came is smaller than its slots")
        if not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
            raise ValueError("the memory that came could be made smaller: it is not sealed")
        return mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
    except OSError as error:
        raise ValueError(f"what came with the greeting is no memory that can be mapped: {error.strerror}") from None
