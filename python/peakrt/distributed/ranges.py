"""Which worker finds the peaks of which events, and in what order their tables are taken.

An event has one number, that of its place in the input, so a table that comes twice is known by its numbers and dropped.
Nothing here waits, sends or looks at a clock: what happens is told, with the time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Any

from .tables import Refused, Table

#: Events of a range: enough that a message costs little beside them (0.2 ms in Ray's hands, which is 1 % of 16 frames of
#: a megapixel), few enough that what a dead worker takes with it is soon done again.
EVENTS_OF_A_RANGE = 16
#: A range is given to a second worker where nothing else is left to give and it has been out for so many times as long as
#: ranges usually are, and at least so many seconds.
STRAGGLER_TIMES, STRAGGLER_S = 4.0, 5.0
#: A range whose worker died so often is cut into single events, and an event whose worker died so often is left out.
MOST_DEATHS = 3


@dataclass(frozen=True, order=True)
class Range:
    """Events first .. end - 1."""

    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first


@dataclass
class Counts:
    """What happened in a run. again : ranges given out once more; dropped : tables that came twice; lost : workers that died"""

    again: int = 0
    dropped: int = 0
    lost: int = 0


class Ranges:
    """Deals out the events first .. end - 1.

    size : events of a range; ahead : ranges that may be out or waiting beyond the oldest one that is not done
    """

    def __init__(self, first: int, end: int, *, size: int = EVENTS_OF_A_RANGE, ahead: int = 16) -> None:
        if size < 1 or ahead < 1:
            raise ValueError(f"ranges of {size} events, {ahead} ahead: both should be at least 1")
        self._end, self._size, self.ahead = end, size, ahead
        self._next = self._taken = first
        self._again: list[Range] = []  # given back by workers that died; in order
        self._out: dict[Range, dict[int, float]] = {}  # by range: its workers, each since when
        self._held: dict[int, list[Range]] = {}  # by worker, also those that another one has finished
        self._tables: dict[int, Table] = {}
        self._deaths: Counter[Range] = Counter()
        self._seconds: list[float] = []  # that ranges took, the latest
        self.counts = Counts()

    @property
    def finished(self) -> bool:
        """Whether every table was taken."""
        return self._taken >= self._end

    def n_held(self, worker: int) -> int:
        """Ranges that a worker has not given back."""
        return len(self._held.get(worker, ()))

    def deal(self, worker: int, now: float) -> Range | None:
        """A range for a worker, None where there is none to give; now : seconds on any clock."""
        dealt = self._next_range(now, worker)
        if dealt is not None:
            self._out.setdefault(dealt, {})[worker] = now
            self._held.setdefault(worker, []).append(dealt)
        return dealt

    def _next_range(self, now: float, worker: int) -> Range | None:
        if self._again:
            self.counts.again += 1
            return self._again.pop(0)
        if self._next < self._end and self._next < self._taken + self.ahead * self._size:
            dealt = Range(self._next, min(self._next + self._size, self._end))
            self._next = dealt.end
            return dealt
        straggler = self._straggler(now, worker)
        self.counts.again += straggler is not None
        return straggler

    def _straggler(self, now: float, worker: int) -> Range | None:
        """The oldest range out that has one worker, another one, for much longer than usual."""
        patience = max(STRAGGLER_S, STRAGGLER_TIMES * median(self._seconds)) if self._seconds else 6 * STRAGGLER_S
        for dealt in sorted(self._out):
            since = self._out[dealt]
            if len(since) == 1 and worker not in since and now - next(iter(since.values())) > patience:
                return dealt
        return None

    def came(self, worker: int, table: Table, now: float) -> bool:
        """Take a table in; returns whether it was wanted. Raises ValueError for one that the worker was not asked for."""
        done = Range(table.first, table.end)
        if done not in self._held.get(worker, ()):
            raise ValueError(f"a worker sent events {done.first} to {done.end - 1}, which it was not given")
        self._held[worker].remove(done)
        if done not in self._out:
            self.counts.dropped += 1
            return False
        self._seconds = [*self._seconds[-63:], now - self._out.pop(done)[worker]]
        self._tables[done.first] = table
        return True

    def gone(self, worker: int) -> None:
        """A worker has died: what only it was working on is given to others, and in the end left out if it kills them."""
        self.counts.lost += 1
        for number, held in enumerate(sorted(self._held.pop(worker, []))):
            if held not in self._out:
                continue
            out = self._out[held]
            out.pop(worker, None)
            self._deaths[held] += number == 0  # it works on the first; the others were waiting for it
            if not out:
                del self._out[held]
                self._give_again(held)
        self._again.sort()

    def _give_again(self, held: Range) -> None:
        if self._deaths[held] < MOST_DEATHS:
            self._again.append(held)
        elif len(held) > 1:
            self._again += [Range(number, number + 1) for number in range(held.first, held.end)]
        else:
            reason = f"{MOST_DEATHS} workers died of it"
            self._tables[held.first] = Table(held.first, [Refused(f"event {held.first}", ValueError, reason)])

    def take(self) -> Table | None:
        """The table that is next in the order of events, if it is there."""
        table = self._tables.pop(self._taken, None)
        if table is not None:
            self._taken = table.end
        return table

    def as_record(self) -> dict[str, Any]:
        """The counts for other programs."""
        return {
            "ranges_redone": self.counts.again,
            "tables_dropped": self.counts.dropped,
            "workers_lost": self.counts.lost,
        }
