"""Source to finder to writer, with reading running ahead."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .event import Event
from .finder import PeakFinder
from .sources import Source, read_ahead
from .writer import CxiWriter


@dataclass
class Summary:
    """What a run did. Times are seconds of the main thread: waiting for the reader, finding, writing."""

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


def find_run(
    source: Source,
    finder: PeakFinder,
    writer: CxiWriter,
    *,
    threads: int = 1,
    limit: int | None = None,
    on_event: Callable[[Summary], None] | None = None,
) -> Summary:
    """Find the peaks of a source's events and write them, from the writer's events_done on.

    on_event is called after each. Errors of an event name it; what the writer has by then is its own to keep.
    """
    summary = Summary(hits=writer.n_hits)
    start = writer.events_done
    began = time.perf_counter()
    pending: deque[Event] = deque()
    mark = [began]

    def lap() -> float:
        now = time.perf_counter()
        spent, mark[0] = now - mark[0], now
        return spent

    def frames() -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]]:
        for number, event in enumerate(read_ahead(source.events(start), depth=2 + threads)):
            if limit is not None and number >= limit:
                return
            summary.waiting_s += lap()
            pending.append(event)
            yield event.frame, event.mask

    found = finder.map(frames(), threads=threads)
    while True:
        try:
            number, peaks = next(found)
        except StopIteration:
            break
        except ValueError as error:
            raise ValueError(f"{pending[0]}: {error}" if pending else str(error)) from error
        summary.finding_s += lap()
        event = pending.popleft()
        good = finder.mask_for(event.mask, event.frame.shape)
        summary.hits += writer.append(event, peaks, start + number, good)
        summary.writing_s += lap()
        summary.events += 1
        summary.peaks += len(peaks)
        summary.seconds = time.perf_counter() - began
        if on_event is not None:
            on_event(summary)
    return summary
