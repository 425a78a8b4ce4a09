"""How a run goes while it lasts: a bar on a terminal, a line every half minute in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType

from tqdm import tqdm

from .search import Summary

log = logging.getLogger("peakrt")

#: Seconds between lines where there is no terminal: a job of three hours leaves 360.
LINE_S = 30.0


class Progress:
    """Shows events, rate, hit rate and time left; call it after each event.

    total : events of the run, None if nobody knows; done, hits : those of an earlier run that is resumed
    terminal : whether to draw a bar; otherwise lines go to the log, each with the prefix in front, every LINE_S
    more : gives what else there is to say of the run
    """

    def __init__(
        self,
        total: int | None,
        *,
        done: int = 0,
        hits: int = 0,
        prefix: str = "",
        terminal: bool | None = None,
        more: Callable[[], str] = lambda: "",
    ) -> None:
        self.hit_peaks = 0  # peaks in the hits of this run
        self._total, self._done, self._first_hits, self._prefix = total, done, hits, prefix
        self._hits, self._peaks = hits, 0
        self._more = more
        self._began = self._said = time.monotonic()
        bar = sys.stderr.isatty() if terminal is None else terminal
        self._bar = tqdm(total=total, initial=done, unit="event", disable=not bar, dynamic_ncols=True)

    def __call__(self, summary: Summary) -> None:
        """Take note of an event. summary : of the run so far"""
        if summary.hits > self._hits:
            self.hit_peaks += summary.peaks - self._peaks
        self._hits, self._peaks = summary.hits, summary.peaks
        if not self._bar.disable:
            self._bar.set_postfix_str(self._yield(summary), refresh=False)
            self._bar.update(self._done + summary.events + summary.unusable - self._bar.n)
        elif time.monotonic() - self._said >= LINE_S:
            self._said = time.monotonic()
            log.info("%s%s", self._prefix, self.line(summary, self._said - self._began))

    def peaks_per_hit(self, summary: Summary) -> float:
        """Mean number of peaks in the hits of this run, 0 without a hit."""
        hits = summary.hits - self._first_hits
        return self.hit_peaks / hits if hits else 0.0

    def _yield(self, summary: Summary) -> str:
        seen = self._done + summary.events
        found = f"{summary.hits} hits ({summary.hits / max(seen, 1):.1%}), {self.peaks_per_hit(summary):.0f} peaks/hit"
        return ", ".join(part for part in (found, self._more()) if part)

    def say(self, text: str) -> None:
        """Show a line in place of the rate, or, where there is no terminal, every LINE_S in the log."""
        if not self._bar.disable:
            self._bar.set_postfix_str(text)
        elif time.monotonic() - self._said >= LINE_S:
            self._said = time.monotonic()
            log.info("%s%s", self._prefix, text)

    def line(self, summary: Summary, seconds: float) -> str:
        """One line of a log, so many seconds after the start."""
        seen, rate = self._done + summary.events, summary.events / max(seconds, 1e-9)
        of_all = "" if self._total is None else f" of {self._total} ({seen / max(self._total, 1):.0%})"
        line = f"{seen}{of_all} events, {rate:.1f} events/s, {self._yield(summary)}"
        if self._total is not None and rate > 0:
            line += f", {tqdm.format_interval(max(self._total - seen, 0) / rate)} left"
        return line

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
