"""Source to finder to writer, with reading running ahead and writing behind."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sized
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .contracts import RunFinder, Stream, Watcher, Writer
from .event import Event
from .finder import Item
from .finders.learned import LearnedState
from .masks import Good
from .peaks import PeakArray
from .sources import PAUSE_S, Source, read_ahead

#: So many unusable events in a row are no accident of single events: the source, the geometry or the mask is wrong, or
#: the file system has gone. The run stops there, and those events are not counted as done.
MOST_UNUSABLE_IN_A_ROW = 10


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


class _WriteBehind:
    """Does a writer's work in a thread of its own, a few events behind the finder.

    Leaving the context waits until all is written; an error of the writer surfaces there or at the next call of do.
    """

    def __init__(self, depth: int = 4) -> None:
        self._waiting: queue.Queue[Callable[[], object] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="peakrt-writer", daemon=True)

    def _write(self) -> None:
        while (work := self._waiting.get()) is not None:
            if self._error is None:
                try:
                    work()
                except BaseException as error:  # handed over to the finder's thread, which raises it
                    self._error = error

    def do(self, work: Callable[[], object]) -> None:
        """Let the writer's thread do something after all that it was given before."""
        if self._error is not None:
            raise self._error
        self._waiting.put(work)

    def __enter__(self) -> _WriteBehind:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._waiting.put(None)
        self._thread.join()
        if self._error is not None and error is not self._error:
            raise self._error


def find_run(
    source: Source,
    finder: RunFinder,
    writer: Writer,
    *,
    threads: int = 1,
    limit: int | None = None,
    first: int = 0,
    on_event: Callable[[Summary], None] | None = None,
    watcher: Watcher | None = None,
    on_hit: Callable[[Event, PeakArray, Good], None] | None = None,
) -> Summary:
    """Find the peaks of a source's events and write them, from the writer's events_done on.

    first : number of the source's first event in the whole input
    on_event : called after each event, may raise to stop the run
    watcher : is shown every event, in the order of the source
    on_hit : is given each hit and its good pixels by the writer's thread, once the writer has it, and may let it wait
    Events that cannot be used are left out and recorded, or end the run, as the writer's output config says.
    What was found before an error is written. Raises OSError or ValueError, naming the event.
    """
    return _Run(source, finder, writer, threads, limit, first, on_event, watcher, on_hit).go()


class _Run:
    """One pass over a source. The run is cut into stretches of flush_s seconds.

    At the end of a stretch no event is under way, so what the finder has learned belongs to exactly the events that are
    written, and both are flushed together: a run that is resumed goes on from there as if it had not been stopped.
    """

    def __init__(
        self,
        source: Source,
        finder: RunFinder,
        writer: Writer,
        threads: int,
        limit: int | None,
        first: int,
        on_event: Callable[[Summary], None] | None,
        watcher: Watcher | None,
        on_hit: Callable[[Event, PeakArray, Good], None] | None,
    ) -> None:
        self._source, self._finder, self._writer = source, finder, writer
        self._threads, self._limit, self._on_event = threads, limit, on_event
        self._watcher, self._on_hit = watcher, on_hit
        self._skip = writer.output.on_bad_event == "skip"
        self._start, self._first = max(first, writer.events_done), first
        self._summary = Summary(hits=writer.n_hits)
        self._pending: deque[tuple[int, Event | Unusable]] = deque()  # given to the finder, or unusable between those
        self._unusable: list[Unusable] = []  # since the last event that could be used
        self._stop: BaseException | None = None  # what ends the run once the events under way are done
        self._mark = time.perf_counter()

    def go(self) -> Summary:
        """Run to the end."""
        summary, began = self._summary, time.perf_counter()
        if self._writer.learned is not None:
            self._finder.restore(self._writer.learned)
        events = self._numbered_events()
        depth = 2 + self._threads
        self._reader = read_ahead(events, depth=depth, pause_s=PAUSE_S) if self._source.read_ahead else events
        # Whatever happens, the reader's thread ends before this returns: HDF5 does not outlive its threads well.
        with closing(self._reader), _WriteBehind() as sink:
            while self._stretch(sink):
                pass
            self._settle_unusable(sink, at_end=True)
            sink.do(partial(self._writer.flush, self._finder.learned_state()))
        self._lap()
        summary.seconds = time.perf_counter() - began
        return summary

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

    def _stretch(self, sink: _WriteBehind) -> bool:
        """Work for flush_s seconds, then flush; returns whether there may be more.

        A reader that fails or a user who stops the run ends the stretch early: what is under way is finished first.
        """
        self._until, self._began_with = time.perf_counter() + self._writer.output.flush_s, self._given()
        self._more = False
        with closing(self._finder.outcomes(self._frames(), threads=self._threads)) as found:
            while True:
                try:
                    outcome = next(found)
                except StopIteration:
                    break
                self._summary.finding_s += self._lap()
                self._take(outcome, sink)
                self._summary.writing_s += self._lap()
        self._take_unusable()
        learned = self._finder.learned_state()
        sink.do(partial(self._writer.flush, learned))
        self._tell_state(learned)
        if self._stop is not None:
            raise self._stop
        return self._more

    def _tell_state(self, learned: LearnedState) -> None:
        """Tell the watcher what was learned of the detector, and what the run waited for most."""
        if self._watcher is None:
            return
        waited = {name: getattr(self._summary, f"{name}_s") for name in ("waiting", "finding", "writing")}
        most = max(waited, key=lambda name: waited[name])
        numbers: dict[str, float | str] = {
            "bad_pixels": float(np.count_nonzero(learned.pixels["bad"])),
            "limited_by": {"waiting": "reading"}.get(most, most),
        }
        if learned.gain is not None:
            numbers["gain"] = learned.gain
        self._watcher.state(numbers)

    def _frames(self) -> Iterator[Item | None]:
        """Frames for the finder, until the stretch or the run is over; None while none is at hand.

        A stretch ends in time also while no event comes, unless it has none yet.
        """
        while self._stop is None and (self._limit is None or self._given() < self._limit):
            if time.perf_counter() > self._until and self._given() > self._began_with:
                self._more = True
                return
            try:
                item = next(self._reader)
            except StopIteration:
                return
            except Exception as error:  # raised again at the end of the stretch
                self._stop = error
                return
            self._summary.waiting_s += self._lap()
            if item is None:
                yield None
                continue
            self._pending.append(item)
            if isinstance(item[1], Event):
                yield item[1].frame, item[1].mask

    def _given(self) -> int:
        """Events of this run that were read so far."""
        return self._summary.events + self._summary.unusable + len(self._unusable) + len(self._pending)

    def _take(self, outcome: PeakArray | ValueError, sink: _WriteBehind) -> None:
        """Hand one event on to the writer."""
        self._take_unusable()
        number, event = self._pending.popleft()
        assert isinstance(event, Event)
        if isinstance(outcome, ValueError):
            self._add_unusable(Unusable(number, str(event) or f"event {number}", outcome))
            return
        self._settle_unusable(sink)
        if self._writer.output.mask_out == "artifacts":
            event = replace(event, artifacts=self._finder.artifacts(event.frame, event.mask))
        good = self._finder.mask_for(event.mask, event.frame.shape)
        sink.do(partial(self._writer.append, event, outcome, number, good))
        is_hit = len(outcome) >= self._writer.hits.min_peaks
        if is_hit and self._on_hit is not None:
            sink.do(partial(self._on_hit, event, outcome, good))
        if self._watcher is not None:
            self._watcher.event(event, outcome, is_hit)
        self._summary.events += 1
        self._summary.hits += is_hit
        self._summary.peaks += len(outcome)
        if self._on_event is not None and self._stop is None:
            try:
                self._on_event(self._summary)
            except Exception as error:  # raised again at the end of the stretch
                self._stop = error

    def _take_unusable(self) -> None:
        """Take what could not be read from the head of the line."""
        while self._pending and isinstance(self._pending[0][1], Unusable):
            self._add_unusable(self._pending.popleft()[1])  # type: ignore[arg-type]

    def _add_unusable(self, unusable: Unusable) -> None:
        self._unusable.append(unusable)
        if not self._skip or len(self._unusable) == MOST_UNUSABLE_IN_A_ROW:
            self._raise(self._unusable[0])

    def _raise(self, unusable: Unusable) -> None:
        text = str(unusable.error)
        named = text if unusable.event in text else f"{unusable.event}: {text}"
        if len(self._unusable) > 1:
            named += f" (and so for {len(self._unusable)} events in a row)"
        raise type(unusable.error)(named) from unusable.error

    def _settle_unusable(self, sink: _WriteBehind, *, at_end: bool = False) -> None:
        """Record unusable events as done, once a usable one stands after them or the run is over."""
        if at_end and self._unusable and not self._summary.events and not self._writer.events_done:
            self._raise(self._unusable[0])
        for unusable in self._unusable:
            reason = " ".join(str(unusable.error).split())
            sink.do(partial(self._writer.skip, unusable.number, unusable.event, reason))
            if self._watcher is not None:
                self._watcher.unusable(unusable.event, reason)
            if not self._summary.unusable:
                self._summary.first_unusable = reason if unusable.event in reason else f"{unusable.event}: {reason}"
            self._summary.unusable += 1
        self._unusable.clear()

    def _lap(self) -> float:
        """Seconds since the last call."""
        now = time.perf_counter()
        spent, self._mark = now - self._mark, now
        return spent
