"""Runs the inputs of a target in a process of its own, and notes what ends or stops it."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import random
import resource
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SLOW_S = 2.0  # of CPU: the machine may be busy
_STUCK_S = 60.0
_MEMORY_BYTES = 1 << 30  # on top of what the libraries take
_MOST_FAILURES = 20


@dataclass(frozen=True)
class Failure:
    """An input that was neither taken nor refused."""

    number: int
    what: str


@dataclass
class Report:
    """What came of a target's inputs. failures : of those at one place in the code only the first."""

    tried: int = 0
    refused: int = 0
    taken: int = 0
    failed: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    def add(self, failure: Failure) -> None:
        self.failed += 1
        if failure.what not in {known.what for known in self.failures}:
            self.failures.append(failure)


def run(
    name: str, inputs: int, *, first: int = 0, seed: str = "1", slow_s: float = _SLOW_S, stuck_s: float = _STUCK_S
) -> Report:
    """Give a target the inputs first ... first + inputs - 1.

    slow_s : CPU time that none may take; stuck_s : time after which the process is ended
    """
    context = multiprocessing.get_context("spawn")
    report, began, end = Report(), time.monotonic(), first + inputs
    at, refused, ready = context.Value("q", first), context.Value("q", 0), context.Value("b", 0)
    deaths = 0
    while at.value < end and len(report.failures) < _MOST_FAILURES and deaths < _MOST_FAILURES:
        ours, theirs = context.Pipe(duplex=False)
        ready.value = 0
        process = context.Process(target=_child, args=(name, at.value, end, seed, slow_s, at, refused, ready, theirs))
        process.start()
        theirs.close()
        ended = _watch(process, ours, at, ready, report, stuck_s)
        if ended:  # at is the input that it was at
            report.add(Failure(at.value, ended))
            at.value += 1
            deaths += 1
    report.tried, report.refused = at.value - first, refused.value
    report.taken = report.tried - report.refused - report.failed
    report.seconds = time.monotonic() - began
    return report


def _watch(process: Any, pipe: Any, at: Any, ready: Any, report: Report, stuck_s: float) -> str:
    """Collect failures until the process ends; returns what ended it before its time."""
    seen, since = -1, time.monotonic()
    while True:
        try:
            while pipe.poll(0.5):
                report.add(Failure(*pipe.recv()))
        except EOFError:
            process.join()
            return "" if process.exitcode == 0 else f"the process ended with status {process.exitcode}"
        if at.value != seen or not ready.value:
            seen, since = at.value, time.monotonic()
        elif time.monotonic() - since > stuck_s:
            process.kill()
            process.join()
            return "no end to it"


def _child(
    name: str, first: int, end: int, seed: str, slow_s: float, at: Any, refused: Any, ready: Any, pipe: Any
) -> None:
    from .targets import SELF_TEST, TARGETS

    warnings.simplefilter("error")
    logging.getLogger("peakrt").setLevel(logging.CRITICAL)  # many inputs are warned of
    with tempfile.TemporaryDirectory(prefix="peakrt-fuzz-") as folder:
        target = {**TARGETS, **SELF_TEST}[name](Path(folder))
        with contextlib.suppress(OSError, ValueError):  # of a kind of file that one of its readers does not take
            target(random.Random("the libraries are loaded before memory is limited"), harmless=True)
        limit = _address_space() + _MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        ready.value = 1
        for number in range(first, end):
            at.value = number
            began, refusal, failure = time.process_time(), False, ""
            try:
                target(random.Random(f"{seed} {name} {number}"))
            except (OSError, ValueError):
                refusal = True
            except BaseException as error:
                failure = _describe(error)
            if not failure and time.process_time() - began > slow_s:
                failure = f"took more than {slow_s} s of CPU"
            if failure:
                pipe.send((number, failure))
            elif refusal:
                refused.value += 1
        at.value = end


def _describe(error: BaseException) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {str(error).splitlines()[:1]}"


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
