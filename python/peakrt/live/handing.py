"""Hits from the writer of a run to the broker."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import zmq

from ..cxi.writer import strongest
from ..event import Event
from ..peaks import PeakArray
from .broker import end_for
from .hits import Beam, Hit, encode, make_hit

log = logging.getLogger("peakrt")

_PIECE_MS = 100
#: Messages that wait inside ZeroMQ on this side.
_HIGH_WATER_MARK = 2


class HitSender:
    """Pushes hits to the broker at an address, and waits while it takes none.

    wanted : asked while it waits, whether the hits are wanted still
    """

    def __init__(self, address: str, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted
        self._context = zmq.Context()
        self._socket: Any = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER_MARK)
        self._socket.connect(address)

    def send(self, hit: Hit) -> bool:
        """Hand a hit over; False where nobody wants it."""
        return self._send(encode(hit))

    def end(self, number: int = 0) -> None:
        """Say that no more hits come. number : of brokers that died before the one that is told"""
        self._send([end_for(number)])

    def _send(self, parts: list[Any]) -> bool:
        while self._wanted():
            if self._socket.poll(_PIECE_MS, zmq.POLLOUT):
                self._socket.send_multipart(parts, copy=False)
                return True
        return False

    def close(self, linger_s: float = 0.0) -> None:
        """Leave the broker; what is not with it after so long is lost."""
        self._socket.close(int(1000 * linger_s))
        self._context.term()


class Hander:
    """Makes messages of a run's hits, which it counts from 1, and hands them to the broker: what find_run calls on a hit.

    send : takes a hit, returns whether it could; max_peaks : so many of a hit go along, the strongest
    handed, unfit : hits that went to the broker, and that could not for want of photon energy or camera length
    """

    def __init__(self, send: Callable[[Hit], bool], beam: Beam, max_peaks: int) -> None:
        self._send, self._beam, self._max_peaks = send, beam, max_peaks
        self.hits = self.handed = self.unfit = 0

    def __call__(self, event: Event, peaks: PeakArray, good: npt.NDArray[np.bool_]) -> None:
        """Hand on a hit. good : (panel, ss, fs), the mask in force"""
        self.hits += 1
        try:
            self.handed += self._send(make_hit(self.hits, event, strongest(peaks, self._max_peaks), good, self._beam))
        except ValueError as error:
            if not self.unfit:
                log.warning("hits that cannot be indexed: %s", error)
            self.unfit += 1


def ask_state(address: str, timeout_s: float = 2.0) -> dict[str, Any] | None:
    """State of the broker at an address, None if it does not answer in time."""
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(address)
        socket.send(b"state")
        if not socket.poll(int(1000 * timeout_s)):
            return None
        state = json.loads(socket.recv())
        return state if isinstance(state, dict) else None
