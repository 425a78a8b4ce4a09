"""Source to finder to writer, with reading running ahead and writing behind."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .event import Event
from .finder import PeakFinder
from .peaks import PeakArray
from .sources import Source, read_ahead
from .writer import CxiWriter

_NOTE_S = 1.0  # a GPU has to be asked what it has learned, and waits for it


@dataclass
class Summary:
    """What a run did. Times are seconds of the main thread: waiting for the reader, finding, waiting for the writer."""

    events: int = 0
    hits: int = 0
    peaks: int = 0
    seconds: float = 0.0
    waiting_s: float = 0.0
    finding_s: float = 0.0
    writing_s: float = 0.0

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds if self.seconds else 0.0


class _WriteBehind:
    """Appends to a writer in a thread of its own, a few events behind the finder.

    Leaving the context waits until all is written; an error of the writer surfaces there or at the next append.
    """

    def __init__(self, writer: CxiWriter, depth: int = 4) -> None:
        self._writer = writer
        self._waiting: queue.Queue[tuple[Event, PeakArray, int, npt.NDArray[np.bool_]] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="peakrt-writer", daemon=True)

    def _write(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._error is None:
                try:
                    self._writer.append(*item)
                except BaseException as error:  # handed over to the finder's thread, which raises it
                    self._error = error

    def append(self, event: Event, peaks: PeakArray, number: int, good: npt.NDArray[np.bool_]) -> None:
        if self._error is not None:
            raise self._error
        self._waiting.put((event, peaks, number, good))

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
    finder: PeakFinder,
    writer: CxiWriter,
    *,
    threads: int = 1,
    limit: int | None = None,
    first: int = 0,
    on_event: Callable[[Summary], None] | None = None,
) -> Summary:
    """Find the peaks of a source's events and write them, from the writer's events_done on.

    first : number of the source's first event in the whole input; on_event is called after each. Errors of an event
    name it; what was found before is written.
    """
    summary = Summary(hits=writer.n_hits)
    start = max(first, writer.events_done)
    began = time.perf_counter()
    pending: deque[Event] = deque()
    mark = [began]
    noted = float("-inf")

    def lap() -> float:
        now = time.perf_counter()
        spent, mark[0] = now - mark[0], now
        return spent

    events = source.events(start - first)
    ahead = getattr(source, "read_ahead", True)
    reader = read_ahead(events, depth=2 + threads) if ahead else (event for event in events)

    def frames() -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]]:
        for number, event in enumerate(reader):
            if limit is not None and number >= limit:
                return
            summary.waiting_s += lap()
            pending.append(event)
            yield event.frame, event.mask

    found = finder.map(frames(), threads=threads)
    # Whatever happens, the reader's thread ends before this returns: HDF5 does not outlive its threads well.
    with closing(reader), closing(found), _WriteBehind(writer) as sink:
        while True:
            try:
                number, peaks = next(found)
            except StopIteration:
                break
            except ValueError as error:
                raise ValueError(f"{pending[0]}: {error}" if pending else str(error)) from error
            summary.finding_s += lap()
            event = pending.popleft()
            if writer.output.mask_out == "artifacts":
                event = replace(event, artifacts=finder.artifacts(event.frame, event.mask))
            sink.append(event, peaks, start + number, finder.mask_for(event.mask, event.frame.shape))
            if mark[0] - noted > _NOTE_S:
                noted = mark[0]
                writer.note(finder.gain, finder.bad_pixels)
            summary.writing_s += lap()
            summary.events += 1
            summary.hits += len(peaks) >= writer.hits.min_peaks
            summary.peaks += len(peaks)
            if on_event is not None:
                on_event(summary)
        writer.note(finder.gain, finder.bad_pixels)
    summary.writing_s += lap()
    summary.seconds = time.perf_counter() - began
    return summary
