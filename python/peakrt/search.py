"""What finds the peaks of a run, event after event: a source and a finder in this process, or workers elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sized
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from .contracts import RunFinder, Stream
from .event import Event
from .finder import Item
from .finders.learned import LearnedState
from .masks import Good
from .memory import wants_memory
from .peaks import PeakArray
from .sources import PAUSE_S, Source, read_ahead


@dataclass(frozen=True)
class Unusable:
    """An event that could not be read, or that the finder refused. number : in the whole input."""

    number: int
    event: str
    error: OSError | ValueError


@dataclass
class Summary:
    """What a run did. Times are seconds of the main thread: waiting for the reader, finding, waiting for the writer.

    unusable : events that were skipped; first_unusable : the first of them and why, in one line
    """

    events: int = 0
    hits: int = 0
    peaks: int = 0
    seconds: float = 0.0
    waiting_s: float = 0.0
    finding_s: float = 0.0
    writing_s: float = 0.0
    unusable: int = 0
    first_unusable: str = ""

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Found:
    """What came of an event that could be used.

    number : in the whole input; event : None for a miss whose frame nobody needs
    """

    number: int
    event: Event | None
    peaks: PeakArray


class Clock:
    """Tells the time since the last look at it."""

    def __init__(self) -> None:
        self._mark = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last call."""
        now = time.perf_counter()
        spent, self._mark = now - self._mark, now
        return spent


class Search(Protocol):
    """Gives what was found in the events of a run, in their order: in this process, or by workers.

    more : whether there may be more after a stretch
    error : what has ended the search before its time, None for nothing
    """

    more: bool
    error: BaseException | None

    def begin(self, start: int, learned: LearnedState | None) -> None:
        """Start at an event's number, with what was learned before it."""

    def stretch(
        self, until: float, summary: Summary, clock: Clock, go_on: Callable[[], bool]
    ) -> Generator[Found | Unusable, None, None]:
        """Give what is found until a time (perf_counter), then finish what is under way; go_on : whether to take up more.

        Time spent on reading is put down in the summary.
        """

    def learned_state(self) -> LearnedState:
        """What was learned of the detector so far; between stretches."""

    def good(self, event: Event) -> Good:
        """Good pixels of an event."""

    def artifacts(self, event: Event) -> Good:
        """Pixels of an event whose light is no peak's and no smooth scatter."""

    def close(self) -> None:
        """End whatever helps."""


class WithFinder:
    """What a Search says of its finder, wherever it lets others find."""

    def __init__(self, finder: RunFinder) -> None:
        self._finder = finder
        self.more = False
        self.error: BaseException | None = None

    def learned_state(self) -> LearnedState:
        """What was learned of the detector so far."""
        return self._finder.learned_state()

    def good(self, event: Event) -> Good:
        """Good pixels of an event."""
        return self._finder.mask_for(event.mask, event.frame.shape)

    def artifacts(self, event: Event) -> Good:
        """Pixels of an event whose light is no peak's and no smooth scatter."""
        return self._finder.artifacts(event.frame, event.mask)


class SearchHere(WithFinder):
    """A source and a finder in this process, as a Search. Reading runs ahead in a thread of its own.

    limit : most events to take; skip : whether to pass over an event that cannot be read; read_ahead : whether to use that
    thread where the source allows it
    """

    def __init__(
        self,
        source: Source,
        finder: RunFinder,
        *,
        threads: int = 1,
        limit: int | None = None,
        first: int = 0,
        skip: bool = True,
        read_ahead: bool = True,
    ) -> None:
        super().__init__(finder)
        self._source, self._threads = source, threads
        self._limit, self._first, self._skip, self._read_ahead = limit, first, skip, read_ahead
        self._pending: deque[tuple[int, Event | Unusable]] = deque()  # given to the finder, or unusable between those
        self._given = 0  # events read so far
        self._reader: Generator[tuple[int, Event | Unusable] | None, None, None] | None = None

    def begin(self, start: int, learned: LearnedState | None) -> None:
        """Start at an event's number, with what was learned before it."""
        if learned is not None:
            self._finder.restore(learned)
        self._start = max(self._first, start)
        events = self._numbered_events()
        ahead = self._source.read_ahead and self._read_ahead
        self._reader = read_ahead(events, depth=2 + self._threads, pause_s=PAUSE_S) if ahead else events

    def close(self) -> None:
        """End the reader's thread: HDF5 does not outlive its threads well."""
        if self._reader is not None:
            self._reader.close()

    def stretch(
        self, until: float, summary: Summary, clock: Clock, go_on: Callable[[], bool]
    ) -> Generator[Found | Unusable, None, None]:
        """Give what is found until a time, then finish what is under way.

        At the end no event is under way, so what the finder has learned belongs to exactly the events that were given.
        """
        self.more = False
        frames = self._frames(until, summary, clock, go_on)
        with closing(self._finder.outcomes(frames, threads=self._threads)) as found:
            for outcome in found:
                yield from self._unreadable()
                number, event = self._pending.popleft()
                assert isinstance(event, Event)
                if isinstance(outcome, ValueError):
                    yield Unusable(number, str(event) or f"event {number}", outcome)
                else:
                    yield Found(number, event, outcome)
        yield from self._unreadable()

    def _unreadable(self) -> Iterator[Unusable]:
        """What could not be read, from the head of the line."""
        while self._pending and isinstance(unusable := self._pending[0][1], Unusable):
            self._pending.popleft()
            yield unusable

    def _events(self, start: int) -> Iterator[Event | None]:
        """Events of the source from a number on, with None wherever a stream pauses."""
        source = self._source
        return source.events_and_pauses(start) if isinstance(source, Stream) else source.events(start)

    def _numbered_events(self) -> Generator[tuple[int, Event | Unusable] | None, None, None]:
        """Events of the source with their numbers; one that cannot be read is passed over, where the source allows it."""
        number = self._start
        events = self._events(number - self._first)
        while True:
            try:
                event: Event | Unusable | None = next(events)
            except StopIteration:
                return
            except (OSError, ValueError) as error:
                if wants_memory(error):  # which is no fault of the event
                    raise MemoryError(str(error)) from error
                if not isinstance(self._source, Sized) or not self._skip:
                    raise
                event = Unusable(number, f"event {number}", error)
                if number + 1 - self._first < len(self._source):
                    events = self._events(number + 1 - self._first)
                else:
                    events = iter(())
            if event is None:
                yield None
                continue
            yield number, event
            number += 1

    def _frames(self, until: float, summary: Summary, clock: Clock, go_on: Callable[[], bool]) -> Iterator[Item | None]:
        """Frames for the finder, until the stretch or the run is over; None while none is at hand.

        A stretch ends in time also while no event comes, unless it has none yet. A reader that fails ends it early: what is
        under way is finished first.
        """
        assert self._reader is not None
        began_with = self._given
        while go_on() and (self._limit is None or self._given < self._limit):
            if time.perf_counter() > until and self._given > began_with:
                self.more = True
                return
            try:
                item = next(self._reader)
            except StopIteration:
                return
            except Exception as error:  # raised again at the end of the stretch
                self.error = error
                return
            summary.waiting_s += clock.lap()
            if item is None:
                yield None
                continue
            self._given += 1
            self._pending.append(item)
            if isinstance(item[1], Event):
                yield item[1].frame, item[1].mask
