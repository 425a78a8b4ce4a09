"""The broker: takes hits from finders, hands them to the workers of indexamajig, and keeps each until the stream has it.

A worker of CrystFEL 0.12 (src/im-zmq.c, indexamajig.c) asks with a REQ socket, indexes what it gets, writes the chunk into a
pipe, and asks again. It never says that it is done, and one whose question is not answered never asks anew. So the broker is
a process of its own that does little else: a ROUTER towards the workers, a PULL towards the finders, a REP that tells its
state. It reads the stream while it grows. A hit that is settled has a chunk there; a hit whose worker asks again or has gone,
and that has no chunk after a grace, is handed out again. A chunk that comes too late for that is in the stream twice, until
the parts of the stream are joined, which leaves it out. So no hit is lost, and none is doubled.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from ..stream_file import Chunk
from .hits import decode, for_indexamajig
from .indexing import Indexamajig, Indexer, PartsFollower, join_parts, parts_of
from .waiting import Counts, HitQueue

log = logging.getLogger("peakrt")

#: What a finder sends after its last hit.
END = b"end"


def end_for(number: int) -> bytes:
    """What tells a broker that no more hits come; number : of brokers of the run that died before it.

    Each is told in its own words: what the one before it was told may still be on its way when it starts.
    """
    return END if number == 0 else END + str(number).encode()


#: What the process that sends the hits writes where it wants no more of them indexed.
LEAVE = b"leave\n"
#: A worker's question is "next"; what is longer ends its connection before memory is taken.
_MAX_QUESTION_BYTES = 256
#: A hit's frame, 1 GiB; ZeroMQ ends a connection that announces more.
_MAX_HIT_BYTES = 1 << 30
#: Messages that wait inside ZeroMQ on this side.
_HIGH_WATER_MARK = 2
_STEP_MS = 50
_MAX_LOGGED = 10
#: Starts of indexamajig in a row, none of which indexed anything, after which there is no use in another.
_MOST_STARTS = 3
#: Hits of a sender that is no more come for so long at most.
_TAIL_S = 1.0
#: A worker on another machine that does not answer for so long has gone, though nobody closed its connection.
_HEARTBEAT_MS, _SILENCE_MS = 5000, 60_000


class Broker:
    """The broker and its sockets; call run, from one thread.

    hits, status, workers : addresses to listen at; workers None is a private one
    stream : of the run; what is in its parts already is done
    indexer : how to start indexamajig; None where somebody else does, into the first part of the stream
    parent : descriptor that ends with the process that sends the hits, and gives LEAVE where that wants to wait no longer;
        None where there is no such
    end : what says that no more hits come (:func:`end_for`)
    ended : asked at every step whether to end at once, without waiting for what is out
    Raises OSError for an address where it cannot listen.
    """

    def __init__(
        self,
        queue: HitQueue,
        *,
        hits: str,
        status: str,
        stream: Path,
        workers: str | None = None,
        indexer: Indexer | None = None,
        parent: int | None = None,
        end: bytes = END,
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self.queue, self._stream, self._indexer, self._ended = queue, stream, indexer, ended
        self._folder = None if workers else tempfile.TemporaryDirectory(prefix="peakrt-broker-")
        self.workers = workers or f"ipc://{self._folder.name}/workers"  # type: ignore[union-attr]
        self._parent, self._orphan_until, self._end = parent, 0.0, end
        self._follower = PartsFollower(stream)
        self._idle: dict[bytes, None] = {}  # workers that wait for a hit, the longest first
        self._sockets: dict[int, bytes] = {}  # the worker behind each connection, by its file descriptor
        self._indexamajig: Indexamajig | None = None
        self._starts_without_chunk = self._starts = 0
        self._has_ended = self._is_left = False
        self._has_asked = False
        self._logged = 0
        self._last = ""
        self._context = zmq.Context()
        self._router = self._open(zmq.ROUTER, self.workers, _MAX_QUESTION_BYTES)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._monitor = self._router.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._hits = self._open(zmq.PULL, hits, _MAX_HIT_BYTES)
        self._status = self._open(zmq.REP, status, _MAX_QUESTION_BYTES)
        try:
            for socket, address in ((self._router, self.workers), (self._hits, hits), (self._status, status)):
                _bind(socket, address)
        except OSError:
            self.close()
            raise

    def _open(self, kind: int, address: str, most_bytes: int) -> Any:
        socket: Any = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, most_bytes)
        if kind == zmq.PULL:
            socket.setsockopt(zmq.RCVHWM, _HIGH_WATER_MARK)
        if address.startswith("tcp://"):
            socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE_MS)
        return socket

    # The loop

    def run(self) -> dict[str, Any]:
        """Work until the last hit is settled, then end indexamajig and give the stream its name; returns the state then.

        Raises RuntimeError where indexamajig cannot be kept alive, with what it said; the stream has its name then, too.
        """
        try:
            while not (self._ended() or self._is_left or (self._has_ended and self.queue.is_empty)):
                self.step()
        finally:
            self._end_indexamajig()
            while chunks := self._follower.new_chunks():
                self._settle(chunks)
            clean = self.queue.counts.repeated == 0 and self._follower.is_clean
            joined = join_parts(self._stream, is_clean=clean)
        return {**self.state(), "left_out": joined["repeated"] + joined["damaged"]}

    def step(self, wait_ms: int = _STEP_MS) -> None:
        """Do what there is to do, and wait for more at most so long."""
        self._keep_indexamajig()
        watched = [self._router, self._monitor, self._status]
        if not self.queue.is_full:
            watched.append(self._hits)
        if self._parent is not None:
            watched.append(self._parent)
        poller = zmq.Poller()
        for socket in watched:
            poller.register(socket, zmq.POLLIN)
        ready = dict(poller.poll(wait_ms))
        self._take_requests()
        if self._hits in ready:
            self._take_hit()
        if self._status in ready:
            self._status.recv_multipart()
            self._status.send_json(self.state())
        if self._parent is not None and self._parent in ready:
            self._hear_parent(self._parent)
        if self._orphan_until and self._hits not in ready and time.monotonic() > self._orphan_until:
            self._has_ended = True
        self._settle(self._follower.new_chunks())
        self.queue.expire(time.monotonic())
        self._hand_out()

    def _hear_parent(self, descriptor: int) -> None:
        said = os.read(descriptor, 1024)
        self._is_left = LEAVE in said
        if not said:
            log.warning("broker: the process that sent the hits has gone: those that came are indexed")
            self._parent, self._orphan_until = None, time.monotonic() + _TAIL_S

    def _settle(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            if chunk.number is not None:
                self.queue.chunk_came(chunk.number, len(chunk.crystals))
                self._starts_without_chunk = 0

    # Workers

    def _take_requests(self) -> None:
        """Note who has gone and who asks.

        ZeroMQ's thread reports that a connection is over before it takes another of the same descriptor, so departures are
        taken up before each question, never after it.
        """
        while True:
            try:
                parts = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                self._take_departures()
                return
            self._take_departures()
            if len(parts) != 3 or len(parts[1]):
                self._refuse(f"a message of {len(parts)} parts from a worker, which asks in one")
                continue
            worker, descriptor = bytes(parts[0]), int(parts[2].get(zmq.SRCFD))
            if self._sockets.get(descriptor, worker) != worker:
                self._has_gone(descriptor)
            self._sockets[descriptor] = worker
            self.queue.worker_asks(worker, time.monotonic())
            self._idle[worker] = None
            self._has_asked = True

    def _take_departures(self) -> None:
        while self._monitor.poll(0):
            self._has_gone(recv_monitor_message(self._monitor)["value"])
        for descriptor in [n for n in self._sockets if not _is_socket(n)]:
            self._has_gone(descriptor)

    def _has_gone(self, descriptor: int) -> None:
        worker = self._sockets.pop(descriptor, None)
        if worker is not None:
            self._idle.pop(worker, None)
            self.queue.worker_gone(worker, time.monotonic())

    def _hand_out(self) -> None:
        while self._idle:
            worker = next(iter(self._idle))
            hit = self.queue.take(worker, time.monotonic())
            if hit is None:
                return
            del self._idle[worker]
            try:
                self._router.send_multipart([worker, b"", for_indexamajig(hit)], zmq.NOBLOCK, copy=False)
            except zmq.ZMQError:  # EHOSTUNREACH: it has just gone
                self.queue.put_back(hit.number)

    # Finders

    def _take_hit(self) -> None:
        parts = self._hits.recv_multipart(copy=False)
        if len(parts) == 1 and (said := bytes(parts[0])).startswith(END):
            self._has_ended |= said == self._end
            return
        try:
            self.queue.add(decode([part.buffer for part in parts]))
        except ValueError as error:
            self._refuse(str(error))

    def _refuse(self, why: str) -> None:
        self.queue.counts.refused += 1
        if self._logged < _MAX_LOGGED:
            self._logged += 1
            log.warning("broker: left out %s", why)

    # indexamajig

    def _keep_indexamajig(self) -> None:
        """Start indexamajig, or start it again where it has ended."""
        if self._indexer is None or (self._indexamajig is not None and not self._indexamajig.has_ended):
            return
        if self._indexamajig is not None:
            self._last = self._indexamajig.why()
            self._end_indexamajig()
            if self._starts_without_chunk >= _MOST_STARTS or not self._has_asked:
                raise RuntimeError(self._last)
            log.warning("%s: it is started again", self._last)
        self._starts += 1
        self._starts_without_chunk += 1
        self._indexamajig = Indexamajig(self._indexer, self.workers, len(parts_of(self._stream)) + 1)

    def _end_indexamajig(self) -> None:
        if self._indexamajig is not None:
            self._indexamajig.end()
            self._indexamajig = None

    # State

    def state(self) -> dict[str, Any]:
        """What is where, for whoever asks: counts, hits that wait and that are out, memory, workers."""
        counts: Counts = self.queue.counts
        return {
            "pid": os.getpid(),
            **asdict(counts),
            "waiting": self.queue.n_waiting,
            "out": self.queue.n_out,
            "memory_bytes": self.queue.n_bytes,
            "idle_workers": len(self._idle),
            "workers": len(self._sockets),
            "indexamajig_starts": self._starts,
            "indexamajig_pid": 0 if self._indexamajig is None else self._indexamajig.pid,
            "is_ready": self._has_asked,
            "is_ending": self._has_ended,
            "workers_address": self.workers,
        }

    def close(self) -> None:
        """Close the sockets and end indexamajig, if it runs still."""
        self._end_indexamajig()
        self._router.disable_monitor()
        for socket in (self._router, self._hits, self._status):
            socket.close(0)
        self._context.destroy(0)
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bind(socket: Any, address: str) -> None:
    """Listen at an address. Raises OSError, naming it, where that cannot be."""
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise OSError(f"cannot listen at {address}: {zmq.strerror(error.errno or 0)}") from error


def _is_socket(descriptor: int) -> bool:
    """Whether a descriptor of this process is an open socket."""
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False
