"""The finder's process: ``python -m peakrt.live.finder_child SOCKET MEMORY``, two descriptors of the run that started it.

It ends when the run does, for the socket ends then.
"""

from __future__ import annotations

import math
import mmap
import select
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry.crystfel import parse_geom

from ..finder import PeakFinder
from ..finders.learned import EventOrder, Turn
from ..finders.registry import FINDERS
from ..masks import Good
from ..peaks import PeakArray
from ..serve import wire
from ..signals import leave_to_the_run
from .learned_message import pack_state, unpack_state


class Child:
    """Answers the messages of a run until it ends. The run is trusted: it is the parent, and nobody else has the socket."""

    def __init__(self, connection: socket.socket, descriptor: int) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self._decoder = wire.Decoder(wire.MAX_HELLO, wire.MAX_PEAKS)
        self._descriptor = descriptor
        self._mask: Good | None = None

    def run(self) -> None:
        """Work until the run closes the socket."""
        header, payload = self._receive()
        try:
            self._begin(header, payload)
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            self._send({"error": str(error)[: wire.MAX_ERROR]})
            return
        with ThreadPoolExecutor(self._threads) as self._pool:
            while True:
                self._do(*self._receive())

    def _begin(self, header: dict[str, Any], payload: bytes) -> None:
        self._shape: tuple[int, ...] = tuple(header["shape"])
        self._threads: int = header["threads"]
        slots, slot_bytes = header["slots"], header["slot_bytes"]
        memory = mmap.mmap(self._descriptor, slots * slot_bytes)
        self._frames = np.frombuffer(memory, np.uint8).reshape(slots, slot_bytes)
        geometry = None if header["geometry"] is None else parse_geom(header["geometry"], name="geometry of the run")
        config = FINDERS[header["finder"]].config(**header["options"])
        self._finder = PeakFinder(config, geometry=geometry, mask=self._bits(payload), engine=header["engine"])
        self._start_order()

    def _start_order(self) -> None:
        """Clones for the threads, and their turns in learning, from here on."""
        self._idle: SimpleQueue[PeakFinder] = SimpleQueue()
        for _ in range(self._threads):
            self._idle.put(self._finder.clone())
        self._order, self._started = EventOrder(), 0

    def _do(self, header: dict[str, Any], payload: bytes) -> None:
        ask = header["ask"]
        if ask == "mask":
            self._mask = self._bits(payload) if header["some"] else None
        elif ask == "frame":
            self._search(header)
        elif ask == "restore":
            self._finder.restore(unpack_state(header, payload))
            self._start_order()
        else:  # learned, which the run asks for when no frame is under way
            self._send(*pack_state(self._finder.learned_state()))

    def _bits(self, payload: bytes) -> Good:
        bits = np.unpackbits(np.frombuffer(payload, np.uint8), count=math.prod(self._shape))
        return bits.reshape(self._shape).view(bool)

    def _frame(self, header: dict[str, Any]) -> npt.NDArray[Any]:
        dtype = np.dtype(header["dtype"])
        n_bytes = math.prod(self._shape) * dtype.itemsize
        return self._frames[header["slot"], :n_bytes].view(dtype).reshape(self._shape)

    def _search(self, header: dict[str, Any]) -> None:
        if self._finder.on_gpu():
            self._search_batch(header)
            return
        turn = Turn(self._order, self._started)
        self._started += 1
        # Not here, were it one thread: the run sends the next frame before it reads an answer.
        self._pool.submit(self._find, header, self._frame(header), self._mask, turn)

    def _find(self, header: dict[str, Any], frame: npt.NDArray[Any], mask: Good | None, turn: Turn) -> None:
        finder = self._idle.get_nowait()  # there are as many as threads
        try:
            outcome = finder.outcome(frame, mask, turn)
        finally:
            self._idle.put(finder)
        self._answer(header, outcome)

    def _search_batch(self, header: dict[str, Any]) -> None:
        """The frame, and those that come with it or before it is done, in the batches of a GPU."""
        headers = [header]

        def frames() -> Iterator[tuple[npt.NDArray[Any], Good | None]]:
            yield self._frame(header), self._mask
            while self._has_more():
                following, payload = self._receive()
                if following["ask"] == "mask":
                    self._do(following, payload)
                elif following["ask"] == "frame":
                    headers.append(following)
                    yield self._frame(following), self._mask

        for number, outcome in enumerate(self._finder.outcomes(frames())):
            self._pool.submit(
                self._answer, headers[number], outcome
            )  # not here: the run may be sending at the same time

    def _answer(self, header: dict[str, Any], outcome: PeakArray | ValueError) -> None:
        if isinstance(outcome, ValueError):
            self._send({"id": header["id"], "error": str(outcome)[: wire.MAX_ERROR]})
        else:
            self._send({"id": header["id"], "peaks": len(outcome)}, outcome.tobytes())

    # Messages

    def _has_more(self) -> bool:
        return self._decoder.unfinished > 0 or bool(select.select([self._connection], [], [], 0)[0])

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        while (message := self._decoder.take()) is None:
            part = self._connection.recv(min(self._decoder.missing, 1 << 20))
            if not part:
                raise EOFError("the run has gone")
            self._decoder.feed(part)
        return message

    def _send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        with self._lock:
            wire.send(self._connection, header, payload)


def main(arguments: list[str]) -> None:
    """Run the process."""
    leave_to_the_run()
    connection = socket.socket(fileno=int(arguments[0]))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        Child(connection, int(arguments[1])).run()


if __name__ == "__main__":
    main(sys.argv[1:])
