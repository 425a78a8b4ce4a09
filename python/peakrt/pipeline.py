"""A run: what a search finds goes to the writer, which works behind in a thread of its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np

from .contracts import RunFinder, Watcher, Writer
from .event import Event
from .finders.learned import LearnedState
from .masks import Good
from .peaks import PeakArray
from .screening.counts import is_hit
from .search import Clock, Found, Search, SearchHere, Summary, Unusable
from .sources import Source

#: So many unusable events in a row are no accident of single events: the source, the geometry or the mask is wrong, or
#: the file system has gone. The run stops there, and those events are not counted as done.
MOST_UNUSABLE_IN_A_ROW = 10


#: Seconds after which a finder that waits for the writer's thread looks whether that has failed.
_LOOK_S = 0.2


class _WriteBehind:
    """Does a writer's work in a thread of its own, a few events behind the finder.

    Leaving the context waits until all is written; an error of the writer surfaces there or at the next call of do.
    """

    def __init__(self, depth: int = 4) -> None:
        self._waiting: queue.Queue[Callable[[], object] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="peakrt-writer", daemon=True)

    def _write(self) -> None:
        try:
            while (work := self._waiting.get()) is not None:
                work()
        except BaseException as error:  # handed over to the finder's thread, which raises it
            self._error = error

    def do(self, work: Callable[[], object]) -> None:
        """Let the writer's thread do something after all that it was given before."""
        self._put(work)
        if self._error is not None:
            raise self._error

    def _put(self, work: Callable[[], object] | None) -> None:
        """Give the writer's thread something, as long as it takes anything."""
        while self._error is None:
            try:
                self._waiting.put(work, timeout=_LOOK_S)
            except queue.Full:
                continue
            return

    def __enter__(self) -> _WriteBehind:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._put(None)
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
    skip = writer.output.on_bad_event == "skip"
    search = SearchHere(source, finder, threads=threads, limit=limit, first=first, skip=skip)
    return write_search(search, writer, first=first, on_event=on_event, watcher=watcher, on_hit=on_hit)


def write_search(
    search: Search,
    writer: Writer,
    *,
    first: int = 0,
    on_event: Callable[[Summary], None] | None = None,
    watcher: Watcher | None = None,
    on_hit: Callable[[Event, PeakArray, Good], None] | None = None,
) -> Summary:
    """Write what a search finds; arguments and errors as those of find_run."""
    return _Run(search, writer, first, on_event, watcher, on_hit).go()


class _Run:
    """Writes what a search finds. The run is cut into stretches of flush_s seconds.

    At the end of a stretch no event is under way, so what the finder has learned belongs to exactly the events that are
    written, and both are flushed together: a run that is resumed goes on from there as if it had not been stopped.
    """

    def __init__(
        self,
        search: Search,
        writer: Writer,
        first: int,
        on_event: Callable[[Summary], None] | None,
        watcher: Watcher | None,
        on_hit: Callable[[Event, PeakArray, Good], None] | None,
    ) -> None:
        self._search, self._writer, self._start = search, writer, max(first, writer.events_done)
        self._on_event, self._watcher, self._on_hit = on_event, watcher, on_hit
        self._skip = writer.output.on_bad_event == "skip"
        self._summary = Summary(hits=writer.n_hits)
        self._unusable: list[Unusable] = []  # since the last event that could be used
        self._stop: BaseException | None = None  # what ends the run once the events under way are done
        self._clock = Clock()
        self._latencies_s: list[float] = []  # of this stretch

    def go(self) -> Summary:
        """Run to the end."""
        summary, began = self._summary, time.perf_counter()
        self._search.begin(self._start, self._writer.learned)
        # Whatever happens, the search ends before this returns.
        with closing(self._search), _WriteBehind() as sink:
            while self._stretch(sink):
                pass
            self._settle_unusable(sink, at_end=True)
            sink.do(partial(self._writer.flush, self._search.learned_state()))
        summary.seconds = time.perf_counter() - began
        return summary

    def _stretch(self, sink: _WriteBehind) -> bool:
        """Work for flush_s seconds, then flush; returns whether there may be more.

        A search that fails or a user who stops the run ends the stretch early: what is under way is finished first.
        """
        until = time.perf_counter() + self._writer.output.flush_s
        found = self._search.stretch(until, self._summary, self._clock, lambda: self._stop is None)
        with closing(found):
            for item in found:
                self._summary.finding_s += self._clock.lap()
                self._take(item, sink)
                self._summary.writing_s += self._clock.lap()
        learned = self._search.learned_state()
        sink.do(partial(self._writer.flush, learned))
        self._tell_state(learned)
        error = self._stop or self._search.error
        if error is not None:
            raise error
        return self._search.more

    def _tell_state(self, learned: LearnedState) -> None:
        """Tell the watcher what was learned of the detector, what the run waited for most, and how late the peaks were."""
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
        if self._latencies_s:
            low, high = 1e3 * np.percentile(self._latencies_s, [50, 99])
            numbers |= {"latency_p50_ms": float(low), "latency_p99_ms": float(high)}
            self._latencies_s.clear()
        self._watcher.state(numbers)

    def _take(self, found: Found | Unusable, sink: _WriteBehind) -> None:
        """Hand one event on to the writer."""
        if isinstance(found, Unusable):
            self._add_unusable(found)
            return
        self._settle_unusable(sink)
        event, peaks = found.event, found.peaks
        event_is_hit = is_hit(peaks, self._writer.hits)
        if event is None:
            sink.do(partial(self._writer.miss, found.number))
        else:
            if self._writer.output.mask_out == "artifacts":
                event = replace(event, artifacts=self._search.artifacts(event))
            good = self._search.good(event)
            sink.do(partial(self._writer.append, event, peaks, found.number, good))
            if event_is_hit and self._on_hit is not None:
                sink.do(partial(self._on_hit, event, peaks, good))
        if self._watcher is not None:
            self._watcher.event(event, peaks, event_is_hit)
            if event is not None and event.arrived_s is not None:
                self._latencies_s.append(time.monotonic() - event.arrived_s)
        self._summary.events += 1
        self._summary.hits += event_is_hit
        self._summary.peaks += len(peaks)
        if self._on_event is not None and self._stop is None:
            try:
                self._on_event(self._summary)
            except Exception as error:  # raised again at the end of the stretch
                self._stop = error

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
