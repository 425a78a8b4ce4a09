"""What a worker does, whoever asks it: the peaks of a range of events."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from importlib.metadata import version
from typing import Any

from ..finder import PeakFinder
from ..peaks import PeakArray
from ..search import Clock, Found, SearchHere, Summary, Unusable
from ..sources import Source
from ..sources.open import FileSource
from .ranges import Range
from .tables import Refused, Table

#: Opens the source of a run's arguments, and makes its finder.
OpenRun = Callable[[list[str]], tuple[Source, PeakFinder]]


def describe_run(arguments: Sequence[str]) -> dict[str, Any]:
    """What a worker is told of a run: its arguments, the folder that names in them start from, the version."""
    return {"arguments": list(arguments), "folder": os.getcwd(), "peakrt": version("peakrt")}


def open_worker(run: Mapping[str, Any], open_run: OpenRun) -> Worker:
    """The worker of a run that was described. Raises RuntimeError for one of another version, and what opening it raises."""
    if run["peakrt"] != version("peakrt"):
        raise RuntimeError(f"the run is of PeakRT {run['peakrt']}, this is {version('peakrt')}")
    os.chdir(run["folder"])
    return Worker(*open_run(run["arguments"]))


class Worker:
    """Finds the peaks of ranges of one run's events; a function of the events, whatever it did before."""

    def __init__(self, source: Source, finder: PeakFinder) -> None:
        self._source, self._finder = source, finder
        if isinstance(source, FileSource):
            source.keep_open()
        # On a GPU reading has to run ahead, or its batches never fill; else a thread for each range gains nothing where
        # there is a worker for each core.
        self._read_ahead = finder.on_gpu()

    def find(self, events: Range) -> Table:
        """Peaks of a range, or why an event has none."""
        search = SearchHere(self._source, self._finder, limit=len(events), read_ahead=self._read_ahead)
        summary, clock = Summary(), Clock()
        outcomes: list[PeakArray | Refused] = []
        search.begin(events.first, None)
        with closing(search):
            for found in search.stretch(float("inf"), summary, clock, lambda: True):
                summary.finding_s += clock.lap()
                outcomes.append(found.peaks if isinstance(found, Found) else _refused(found))
        if search.error is not None:
            raise search.error
        if len(outcomes) != len(events):
            raise OSError(f"the source ended after event {events.first + len(outcomes)}: it has fewer than it had")
        return Table(events.first, outcomes, summary.waiting_s, summary.finding_s)


def _refused(unusable: Unusable) -> Refused:
    kind = OSError if isinstance(unusable.error, OSError) else ValueError
    return Refused(unusable.event, kind, str(unusable.error))
