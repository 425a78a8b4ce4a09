"""ZeroMQ messages from an address that the user named. It connects and never binds."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import zmq

#: Messages that wait in memory on this side; more stay with the sender, which drops or waits as it is set.
HIGH_WATER_MARK = 4
#: Largest part of a message that is pushed, 512 MiB: so no sender makes more than 2 GiB wait here. ZeroMQ leaves one that
#: announces more before it takes memory. A 16-megapixel frame of 4 bytes a pixel has 67 MB.
MAX_PUSHED_BYTES = 1 << 29
#: Largest message, and parts of one; what is beyond is thrown away as it comes. An answer may be as large, for only one is
#: ever on its way: a train of 352 AGIPD frames as float32 has 1.5 GB.
MAX_MESSAGE_BYTES, MAX_PARTS = 2**31 - 1, 4096
#: A wait is cut into pieces of so long, to see whether it is still wanted.
_PIECE_MS = 100
_REACH_S = 2.0

_ADDRESS = re.compile(r"tcp://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):(\d{1,5})")


def check_address(text: str) -> str:
    """Give a ZeroMQ address back. Raises ValueError for what is not the name or number of one host, and a port."""
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found[2]) < 65536:
        raise ValueError(f"{text} is not an address: tcp://HOST:PORT is expected, of the machine that sends")
    return text


def why_not_reached(address: str) -> str | None:
    """Why nobody answers at an address of ZeroMQ's, which itself tries for ever and says nothing; None where somebody does.

    The connection ends before it is one of ZeroMQ's, so that no sender takes it for a receiver.
    """
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()
    except OSError as error:
        return f"{host} port {port}: {error.strerror or error}"
    return None


class Receiver:
    """A socket that gives whole messages, as lists of their parts.

    pattern : "PULL", or "REQ" for senders that want to be asked for each message with ``next``
    """

    def __init__(self, address: str, pattern: str) -> None:
        self._asks, self._asked = pattern == "REQ", False
        self._context = zmq.Context()
        self._socket: Any = self._context.socket(zmq.REQ if self._asks else zmq.PULL)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES if self._asks else MAX_PUSHED_BYTES)
        self._socket.setsockopt(zmq.IPV6, 1)
        try:
            self._socket.connect(check_address(address))
        except (zmq.ZMQError, ValueError) as error:
            self.close()
            raise ValueError(f"{address}: {error}" if isinstance(error, zmq.ZMQError) else str(error)) from None

    def receive(self, until: float, wanted: Callable[[], bool]) -> list[bytes] | None:
        """Next message; None if there is none at a time (time.monotonic), or nobody wants it any more.

        Raises ValueError for a message that is too large, which is lost.
        """
        if self._asks and not self._asked:
            self._socket.send(b"next")
            self._asked = True
        while not self._socket.poll(_PIECE_MS):
            if time.monotonic() > until or not wanted():
                return None
        self._asked = False
        return self._read()

    def _read(self) -> list[bytes]:
        parts: list[bytes] = []
        n_parts = n_bytes = 0
        more = True
        while more:  # all parts of a message are there once its first one is
            part = self._socket.recv()
            n_parts, n_bytes = n_parts + 1, n_bytes + len(part)
            if n_parts <= MAX_PARTS and n_bytes <= MAX_MESSAGE_BYTES:
                parts.append(part)
            more = bool(self._socket.getsockopt(zmq.RCVMORE))
        if n_parts > len(parts):
            raise ValueError(f"a message of {n_parts} parts and {n_bytes} bytes: larger than any that is read")
        return parts

    def close(self) -> None:
        """Leave the sender."""
        self._socket.close(0)
        self._context.term()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
