"""The signals that ask a job to stop, and what the processes that a run starts make of them."""

from __future__ import annotations

import signal

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def leave_to_the_run() -> None:
    """Do nothing at a signal that asks to stop. Batch systems send it to every process of a job: the run ends in order then,
    and ends this process. What this process starts has the signals as usual.
    """
    for number in STOP:
        signal.signal(number, lambda *_: None)
