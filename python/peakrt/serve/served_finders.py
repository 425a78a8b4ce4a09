"""The finders of a server: one for each method, geometry, mask, shape and place, shared by the ranks that ask for it."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np

from peakrt_geometry.crystfel import parse_geom

from ..finder import PeakFinder
from ..finders.registry import named
from . import wire
from .fair_queue import Timed


class ServedFinder(Timed):
    """A finder, its clones that no worker has in hand, and how many clients it has."""

    def __init__(self, key: str, finder: PeakFinder, pixels: int) -> None:
        super().__init__()
        self.key, self.finder, self.pixels, self.clients = key, finder, pixels, 1
        self.together = finder.on_gpu()
        self._idle: list[PeakFinder] = []
        self._lock = threading.Lock()

    def take(self) -> PeakFinder:
        """A finder for one worker."""
        with self._lock:
            return self._idle.pop() if self._idle else self.finder.clone()

    def give_back(self, clone: PeakFinder) -> None:
        """Keep a clone for the next worker; not where all clients have gone, since it refers to its last frame."""
        with self._lock:
            if self.clients:
                self._idle.append(clone)

    def join(self, n: int) -> int:
        """Count clients that come (1) or go (-1); returns how many there are."""
        with self._lock:
            self.clients += n
            self._idle.clear()
            return self.clients


class ServedFinders:
    """Makes finders and keeps them; one without clients goes when its room is needed, the longest idle first.

    most, most_pixels : finders, and pixels of their frames together
    """

    def __init__(self, engine: str, most: int, most_pixels: int) -> None:
        self._engine, self._most, self._most_pixels = engine, most, most_pixels
        self._kept: dict[str, ServedFinder] = {}  # the one left last is last
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, hello: wire.Hello) -> ServedFinder:
        """The finder of a greeting for one more client, made if need be; called by one thread only.

        Raises ValueError for a finder that cannot be, or where there is no room for it.
        """
        key = _key(hello)
        with self._lock:
            if key in self._kept:
                self._kept[key].join(1)
                return self._kept[key]
            self._make_room(math.prod(hello.shape))
        made = ServedFinder(key, _make(hello, self._engine), math.prod(hello.shape))
        with self._lock:
            self._kept[key] = made
        return made

    def leave(self, served: ServedFinder) -> None:
        """Say that a client of a finder has gone."""
        with self._lock:
            if not served.join(-1):
                self._kept[served.key] = self._kept.pop(served.key)

    def _make_room(self, pixels: int) -> None:
        idle = [served for served in self._kept.values() if not served.clients]
        while len(self._kept) >= self._most or sum(s.pixels for s in self._kept.values()) + pixels > self._most_pixels:
            if not idle:
                raise ValueError(
                    f"the server has {len(self._kept)} finders in use and no room for one more of {pixels} pixels (at most "
                    f"{self._most} of {self._most_pixels} pixels): ranks should share geometry, mask and options"
                )
            del self._kept[idle.pop(0).key]


def _key(hello: wire.Hello) -> str:
    """What makes two greetings ask for the same finder; a model file that has changed is another model."""
    name, options = named(hello.config)
    made_of: list[Any] = [name, options, hello.geometry, hello.shape, hello.place]
    model = Path(str(options.get("model", "")))
    if model.is_file():
        status = model.stat()
        made_of.append([status.st_ino, status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(made_of).encode() + hello.mask).hexdigest()


def _make(hello: wire.Hello, engine: str) -> PeakFinder:
    geometry = None if hello.geometry is None else parse_geom(hello.geometry, name="geometry of the client")
    if geometry is not None and geometry.shape != hello.shape:
        raise ValueError(f"frame has shape {hello.shape}, the geometry needs {geometry.shape}")
    good = None
    if hello.mask:
        bits = np.unpackbits(np.frombuffer(hello.mask, np.uint8), count=math.prod(hello.shape))
        good = bits.reshape(hello.shape).astype(bool)
    finder = PeakFinder(hello.config, geometry=geometry, mask=good, engine=engine)
    if not finder.on_gpu():  # a finder that has no such engine is refused here
        finder.prepare(hello.shape)
    return finder
