"""A run on disk played as if it were measured now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Source
from ..event import Event


class Rehearsal:
    """A source whose events come at a rate, and end when the user wants no more, as those of a stream do.

    rate : events a second; None: as fast as they are read
    Raises ValueError for a source that does not know its length.
    """

    def __init__(self, source: Source, rate: float | None, stopped: Callable[[], bool]) -> None:
        if not isinstance(source, Sized):
            raise ValueError("only files are played as if they were measured now: give a stream, or files")
        if rate is not None and not 0 < rate < 1e6:
            raise ValueError(f"--rate is {rate:g}, it should be events a second, more than 0")
        self._source, self._rate, self._stopped = source, rate, stopped
        self._length = len(source)
        self.detector = source.detector
        self._began = 0.0
        self._given = 0

    def __len__(self) -> int:
        return self._length

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Type of its frames."""
        return self._source.dtype

    @property
    def files(self) -> Sequence[Path]:
        """The files that it reads."""
        return self._source.files

    @property
    def read_ahead(self) -> bool:
        """Whether its events may be fetched by a thread of their own."""
        return self._source.read_ahead

    def events(self, start: int = 0) -> Iterator[Event]:
        """Give the events from number start on, each when its time has come."""
        self._began = self._began or time.monotonic()
        for event in self._source.events(start):
            while (wait := self._due() - time.monotonic()) > 0 and not self._stopped():
                time.sleep(min(wait, 0.1))
            if self._stopped():
                return
            self._given += 1
            yield replace(event, arrived_s=time.monotonic())

    def _due(self) -> float:
        return 0.0 if self._rate is None else self._began + self._given / self._rate

    def events_and_pauses(self, start: int = 0) -> Iterator[Event | None]:
        """As events: who reads ahead tells the pauses."""
        return self.events(start)

    def report(self) -> list[str]:
        """Why it ended, where that was not its end."""
        return ["stopped by the user"] if self._stopped() else []

    def as_record(self) -> dict[str, object]:
        """The same for other programs."""
        return {"rate": self._rate, "stopped": self._stopped()}
