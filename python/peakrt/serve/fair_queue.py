"""Requests of all ranks, given to workers so that every rank gets the same share of their time.

Start-time fair queueing (Goyal, Vin & Cheng, IEEE/ACM Trans. Netw. 5 (1997) 690): each client has a clock of the time it has
been given, and the client with the lowest clock is next. One that had nothing to ask takes up the clock of the others but
for one frame: it is next when it asks, and has saved up no more than that. One that asks for many frames, or has a slow finder,
waits for the others. A frame is charged with the mean time of its finder: ranks with the same finder take turns, whatever
single frames took.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

#: Weight of the last frame in the mean time of a finder: the mean follows within tens of frames.
_LAST = 0.05


class Timed:
    """A finder's mean time for a frame, seconds; the server's finders derive from it.

    together : whether one worker takes what waits for it, many frames at a time, as a GPU does best
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.together = False


class Share:
    """A client's place in the queue; the server's clients derive from it.

    clock : seconds of workers given to it; finder : what finds its peaks, set before its first request
    """

    def __init__(self) -> None:
        self.finder: Any = None
        self.waiting: deque[Request[Any]] = deque()
        self.clock = 0.0
        self.held = False


Client = TypeVar("Client", bound=Share)


@dataclass(eq=False)
class Request(Generic[Client]):
    """A frame to find the peaks of: the client's number for it, the slot it lies in, its dtype, since when it waits."""

    client: Client
    number: int
    slot: int
    dtype: str
    since: float = field(default_factory=time.monotonic)


class FairQueue(Generic[Client]):
    """Requests in turn. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Of finders that work on one frame, and of those that work on many: their workers are others.
        self._ready = {together: threading.Condition(self._lock) for together in (False, True)}
        self._order: dict[Client, None] = {}  # those that wait and are not held; who was served last is last
        self._now = {False: 0.0, True: 0.0}  # clock of the client served last
        self._closed = False

    def put(self, request: Request[Client]) -> None:
        """Add a request."""
        client = request.client
        with self._lock:
            if not client.waiting:
                client.clock = max(client.clock, self._now[client.finder.together] - client.finder.seconds)
            client.waiting.append(request)
            self._settle(client)

    def take(self, *, together: bool = False) -> Request[Client] | None:
        """Give the next request for finders of a kind, waiting for one; None once closed."""
        with self._lock:
            while not self._closed:
                if clients := [client for client in self._order if client.finder.together is together]:
                    return self._next(clients)
                self._ready[together].wait()
            return None

    def take_more(self, finder: object, n: int) -> list[Request[Client]]:
        """Give up to n more requests that wait now for one finder, in turn."""
        taken: list[Request[Client]] = []
        with self._lock:
            while len(taken) < n:
                alike = [client for client in self._order if client.finder is finder]
                if not alike:
                    break
                taken.append(self._next(alike))
        return taken

    def learn(self, finder: Timed, seconds: float) -> None:
        """Take into a finder's mean time what a frame took."""
        with self._lock:
            finder.seconds += (seconds - finder.seconds) * (_LAST if finder.seconds else 1.0)

    def hold(self, client: Client, held: bool) -> None:
        """Give no request of a client to workers, or do so again."""
        with self._lock:
            client.held = held
            self._settle(client)

    def forget(self, client: Client) -> None:
        """Drop what a client waits for."""
        with self._lock:
            client.waiting.clear()
            self._settle(client)

    def close(self) -> None:
        """Give nothing more."""
        with self._lock:
            self._closed = True
            for ready in self._ready.values():
                ready.notify_all()

    def _settle(self, client: Client) -> None:
        """Put a client into the order, or take it out."""
        if not client.waiting or client.held:
            self._order.pop(client, None)
        else:
            self._order[client] = None
            self._ready[client.finder.together].notify()

    def _next(self, clients: list[Client]) -> Request[Client]:
        client = min(clients, key=lambda one: one.clock)
        del self._order[client]
        request: Request[Client] = client.waiting.popleft()
        self._now[client.finder.together] = client.clock
        client.clock += client.finder.seconds
        self._settle(client)
        return request
