"""The peaks that workers find, in the order of the events, for the one process that writes them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from ..contracts import Writer
from ..finder import PeakFinder
from ..finders.learned import LearnedState
from ..peaks import PeakArray
from ..screening.counts import is_hit
from ..search import Clock, Found, Summary, Unusable, WithFinder
from ..sources import Source
from ..sources.open import FileSource
from .backend import Backend, Came, Gone, Ready
from .ranges import Ranges
from .tables import Refused, Table

log = logging.getLogger("peakrt")

#: Ranges that a worker is given at a time: the second is there when the first is done.
_RANGES_OF_A_WORKER = 2
#: Ranges for each worker that may be out, or wait for an older one: what a straggler may hold up before others wait too.
_RANGES_AHEAD = 8
#: Seconds of waiting after which the run's state is looked at anyway.
_WAIT_S = 0.1


@dataclass
class WorkerCounts:
    """What a worker did. name : for people; seconds are the worker's own"""

    name: str
    events: int = 0
    reading_s: float = 0.0
    finding_s: float = 0.0


class WorkersSearch(WithFinder):
    """A Search (peakrt.search) by the workers of a back end.

    source, finder : read and mask the events that are written; nothing is found here
    writer : says which events' frames are wanted: those of hits, or of all; end : number of the event after the last
    start_workers : called once the run begins
    misses_every_s : read a miss for who looks on, so often; None: never
    """

    def __init__(
        self,
        source: Source,
        finder: PeakFinder,
        writer: Writer,
        start_workers: Callable[[], Backend],
        *,
        end: int,
        misses_every_s: float | None = None,
    ) -> None:
        super().__init__(finder)
        self._source, self._writer, self._end = source, writer, end
        self._start_workers = start_workers
        self._backend: Backend | None = None
        self._all_frames = writer.output.events == "all" or writer.output.powder != "none"
        self._misses_every_s, self._next_miss = misses_every_s, 0.0
        self._layout_known = False  # whether the file that is written knows what frames are like
        self._workers: dict[int, WorkerCounts] = {}
        self.workers: list[WorkerCounts] = []
        self.ranges = Ranges(0, 0)
        if isinstance(source, FileSource):
            source.keep_open()

    def begin(self, start: int, learned: LearnedState | None) -> None:
        """Start at an event's number. What was learned stands in the run's arguments, so nothing changes on the way."""
        self._layout_known = start > 0
        self.ranges = Ranges(start, max(start, self._end))
        if not self.ranges.finished:
            self._backend = self._start_workers()

    def close(self) -> None:
        """End the workers."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def stretch(
        self, until: float, summary: Summary, clock: Clock, go_on: Callable[[], bool]
    ) -> Generator[Found | Unusable, None, None]:
        """Give what workers find, in the order of the events, until a time."""
        while not self.ranges.finished and go_on():
            table = self.ranges.take()
            self._look(_WAIT_S if table is None else 0.0)
            if table is not None:
                yield from self._events_of(table, summary, clock, go_on)
            if time.perf_counter() > until:
                break
        self.more = not self.ranges.finished and go_on()

    def _look(self, seconds: float) -> None:
        """Take in what workers have sent, waiting for it at most so long, and give them more."""
        assert self._backend is not None
        for happening in self._backend.wait(seconds):
            now = time.monotonic()
            if isinstance(happening, Ready):
                self._workers[happening.worker] = counts = WorkerCounts(happening.name)
                self.workers.append(counts)
                log.debug("%s is ready", happening.name)
            elif isinstance(happening, Came):
                table, counts = happening.table, self._workers[happening.worker]
                if self.ranges.came(happening.worker, table, now):
                    counts.events += len(table.outcomes)
                    counts.reading_s += table.reading_s
                    counts.finding_s += table.finding_s
            elif isinstance(happening, Gone):
                self._workers.pop(happening.worker, None)
                self.ranges.gone(happening.worker)
        self.ranges.ahead = _RANGES_AHEAD * max(1, len(self._workers))
        now = time.monotonic()
        for worker in self._workers:
            while self.ranges.n_held(worker) < _RANGES_OF_A_WORKER:
                events = self.ranges.deal(worker, now)
                if events is None:
                    break
                self._backend.give(worker, events)

    def _events_of(
        self, table: Table, summary: Summary, clock: Clock, go_on: Callable[[], bool]
    ) -> Generator[Found | Unusable, None, None]:
        for number, outcome in enumerate(table.outcomes, table.first):
            if not go_on():
                return
            if isinstance(outcome, Refused):
                yield Unusable(number, outcome.event, outcome.kind(outcome.reason))
                continue
            event = None
            if self._is_wanted(outcome):
                summary.finding_s += clock.lap()
                try:
                    event = next(iter(self._source.events(number)))
                except (OSError, ValueError) as error:
                    yield Unusable(number, f"event {number}", error)
                    continue
                summary.waiting_s += clock.lap()
                self._layout_known = True
            yield Found(number, event, outcome)

    def _is_wanted(self, peaks: PeakArray) -> bool:
        """Whether an event's frame is to be read here."""
        if self._all_frames or not self._layout_known or is_hit(peaks, self._writer.hits):
            return True
        if self._misses_every_s is None or time.monotonic() < self._next_miss:
            return False
        self._next_miss = time.monotonic() + self._misses_every_s
        return True

    def as_record(self) -> dict[str, Any]:
        """The workers and their ranges for other programs."""
        workers = [
            {"name": w.name, "events": w.events, "reading_s": w.reading_s, "finding_s": w.finding_s}
            for w in self.workers
        ]
        return {"workers": workers, **self.ranges.as_record()}

    def report(self) -> list[str]:
        """What there is to say of the workers at the end."""
        spent = [sum(getattr(w, name) for w in self.workers) for name in ("reading_s", "finding_s")]
        n = len(self.workers)
        lines = [f"{n} worker{'s' * (n != 1)} spent {spent[0]:.1f} s on reading and {spent[1]:.1f} s on finding"]
        counts = self.ranges.counts
        if counts.lost:
            lines.append(f"{counts.lost} workers were lost; {counts.again} ranges were found once more, no event twice")
        return lines
