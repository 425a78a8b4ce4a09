"""What a run asks of a back end: workers that are there, and what they send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .ranges import Range
from .tables import Table


@dataclass(frozen=True)
class Ready:
    """A worker can be given events. name : for people"""

    worker: int
    name: str


@dataclass(frozen=True)
class Came:
    """A worker has sent a table."""

    worker: int
    table: Table


@dataclass(frozen=True)
class Gone:
    """A worker has died, and what it was given with it."""

    worker: int
    reason: str


Happening = Ready | Came | Gone


class Backend(Protocol):
    """Workers of a run. name : as on the command line"""

    name: str

    def give(self, worker: int, events: Range) -> None:
        """Let a worker find the peaks of a range, after those that it has been given before."""

    def wait(self, seconds: float) -> list[Happening]:
        """What has happened, at the latest after so long; empty for nothing.

        Raises RuntimeError where no worker can be had, with what the last one said.
        """

    def close(self) -> None:
        """End the workers."""
