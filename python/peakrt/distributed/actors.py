"""Workers that are actors of a Ray cluster, or of this machine where there is none. Needs ray.

Ranges go out as two numbers and tables come back as bytes; no frame goes through Ray's object store, for every worker reads
the source itself. Ray starts actors where it has room: with more workers than there is room for, the others come when the
cluster grows. An actor that dies, or whose node does, is replaced.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from ..extras import need
from .backend import Came, Gone, Happening, Ready
from .processes import MOST_DEATHS_AT_START
from .ranges import Range
from .tables import encode, from_bytes
from .worker import OpenRun, describe_run, open_worker

log = logging.getLogger("peakrt")


class _Actor:
    """What runs in an actor's process."""

    def __init__(self, job: dict[str, Any], open_run: OpenRun) -> None:
        self._worker = open_worker(job, open_run)

    def where(self) -> str:
        """Process and node, once the worker is ready."""
        return f"actor {os.getpid()} on {os.uname().nodename}"

    def find(self, first: int, end: int) -> bytes:
        """The table of a range, encoded."""
        return encode(self._worker.find(Range(first, end)))


class Actors:
    """The back end. n : actors; on_gpu : each has a GPU of its own; arguments, open_run : of the run"""

    name = "ray"

    def __init__(self, n: int, arguments: Sequence[str], open_run: OpenRun, *, on_gpu: bool = False) -> None:
        need("--backend ray", "ray", "ray")
        import ray

        self._ray = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            # A cluster is found by RAY_ADDRESS or where "ray start" has left its address; else one is started here.
            options: dict[str, Any] = {
                "log_to_driver": False,
                "logging_level": logging.ERROR,
                "include_dashboard": False,
            }
            try:
                ray.init(address="auto", **{k: v for k, v in options.items() if k != "include_dashboard"})
            except ConnectionError:
                ray.init(address="local", num_cpus=n + 1, object_store_memory=100 << 20, **options)
        self._job = describe_run(arguments)
        self._class: Any = ray.remote(num_cpus=1, num_gpus=1 if on_gpu else 0, max_restarts=0)(_Actor)
        self._open_run = open_run
        self._actors: dict[int, Any] = {}
        self._under_way: dict[Any, int] = {}  # by the reference that will hold the answer: the actor's number
        self._greetings: set[Any] = set()
        self._happened: list[Happening] = []
        self._started = self._deaths = 0
        for _ in range(n):
            self._start()

    def _start(self) -> None:
        number, self._started = self._started, self._started + 1
        self._actors[number] = actor = self._class.remote(self._job, self._open_run)
        greeting = actor.where.remote()
        self._under_way[greeting] = number
        self._greetings.add(greeting)

    def give(self, worker: int, events: Range) -> None:
        """Let an actor find, after what it has been given before."""
        actor = self._actors.get(worker)
        if actor is not None:
            self._under_way[actor.find.remote(events.first, events.end)] = worker

    def wait(self, seconds: float) -> list[Happening]:
        """What has happened, at the latest after so long."""
        if self._under_way:
            references = list(self._under_way)
            done, _ = self._ray.wait(references, num_returns=1, timeout=seconds)
            if done:  # and whatever else is there by now
                done, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
            for reference in done:
                self._take(reference)
        happened, self._happened = self._happened, []
        return happened

    def _take(self, reference: Any) -> None:
        number = self._under_way.pop(reference, None)
        if number is None or number not in self._actors:  # of an actor that was given up a moment ago
            return
        try:
            answer = self._ray.get(reference)
            if reference in self._greetings:
                self._greetings.discard(reference)
                self._happened.append(Ready(number, answer))
                return
            self._deaths = 0
            self._happened.append(Came(number, from_bytes(answer)))
        except self._ray.exceptions.RayTaskError as error:  # ours: the run cannot be opened, or memory has ended
            self._give_up(number, str(error.cause or error).strip().splitlines()[-1])
        except self._ray.exceptions.RayError as error:
            self._give_up(number, str(error).strip().splitlines()[0])

    def _give_up(self, number: int, reason: str) -> None:
        del self._actors[number]
        self._under_way = {reference: held for reference, held in self._under_way.items() if held != number}
        self._deaths += 1
        if self._deaths >= MOST_DEATHS_AT_START * max(1, len(self._actors)):
            raise RuntimeError(f"workers end before they find anything: {reason}")
        log.warning("an actor has ended (%s): another one is started", reason)
        self._happened.append(Gone(number, reason))
        self._start()

    def close(self) -> None:
        """End the actors, and Ray where it was started here."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()
        if self._ours:
            self._ray.shutdown()
