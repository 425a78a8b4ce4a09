"""Which hits wait, which are with a worker, and which are done: the broker's memory, without its sockets."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from .hits import Hit

#: A worker that asks again, or goes, has written its chunk into a pipe: the stream has it once indexamajig's master has read
#: that pipe, which it looks at every half second.
GRACE_S = 2.0
#: A hit that is out for so long has been lost in a way that nobody saw; indexamajig kills a worker that hangs long before.
PATIENCE_S = 600.0
#: A frame whose worker went so many times is given up: it kills whoever takes it.
MOST_TRIES = 3
#: Hits held at a time, whatever their size.
MOST_HITS = 100_000
WHEN_FULL = ("block", "drop-oldest")


class Numbers:
    """A set of whole numbers that come nearly in order, kept as ranges: days of them take no memory."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []  # not included

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number < self._ends[at]

    def __len__(self) -> int:
        return sum(end - start for start, end in zip(self._starts, self._ends, strict=True))

    def add(self, number: int) -> bool:
        """Put a number in; returns whether it is new."""
        if number in self:
            return False
        at = bisect_right(self._starts, number)
        joins_last = at > 0 and self._ends[at - 1] == number
        joins_next = at < len(self._starts) and self._starts[at] == number + 1
        if joins_last and joins_next:
            self._ends[at - 1] = self._ends.pop(at)
            del self._starts[at]
        elif joins_last:
            self._ends[at - 1] = number + 1
        elif joins_next:
            self._starts[at] = number
        else:
            self._starts.insert(at, number)
            self._ends.insert(at, number + 1)
        return True


@dataclass
class Counts:
    """What came of the hits of a run.

    received : hits that came; refused : messages that were none; dropped : the oldest, where memory was full
    done : with a chunk in the stream; indexed : of those, with a crystal; repeated : chunks of a hit that had one already
    handed_again : hits whose worker went; given_up : hits that no worker survived; workers_lost : that went with a hit
    """

    received: int = 0
    refused: int = 0
    dropped: int = 0
    done: int = 0
    indexed: int = 0
    crystals: int = 0
    repeated: int = 0
    handed_again: int = 0
    given_up: int = 0
    workers_lost: int = 0


@dataclass
class _Out:
    """A hit that is with a worker, or was (is_over). deadline : when it is handed out again if it has no chunk."""

    hit: Hit
    worker: Hashable
    deadline: float
    is_over: bool = False


@dataclass
class HitQueue:
    """Holds each hit from its arrival until its chunk is in the stream.

    most_bytes : memory of the hits; when_full : "block", so that no more are taken, or "drop-oldest" of those that wait
    Times are seconds of any clock that does not go back.
    """

    most_bytes: int
    when_full: str = "block"
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        if self.when_full not in WHEN_FULL:
            raise ValueError(f"when-full is {self.when_full!r}, it should be {' or '.join(WHEN_FULL)}")
        self.settled = Numbers()  # in the stream, dropped or given up
        self.n_bytes = 0
        self._waiting: OrderedDict[int, Hit] = OrderedDict()
        self._out: dict[int, _Out] = {}
        self._tries: dict[int, int] = {}

    @property
    def n_waiting(self) -> int:
        """Hits that no worker has."""
        return len(self._waiting)

    @property
    def n_out(self) -> int:
        """Hits that a worker has, or whose chunk is on its way."""
        return len(self._out)

    @property
    def is_full(self) -> bool:
        """Whether no more hits should be taken; never where the oldest are dropped."""
        held = len(self._waiting) + len(self._out)
        return self.when_full == "block" and (self.n_bytes >= self.most_bytes or held >= MOST_HITS)

    @property
    def is_empty(self) -> bool:
        """Whether every hit that came is settled."""
        return not self._waiting and not self._out

    def add(self, hit: Hit) -> None:
        """Take a hit, unless it is here or is done already. Raises ValueError for one larger than the memory."""
        if hit.number in self._waiting or hit.number in self._out or hit.number in self.settled:
            return
        if hit.n_bytes > self.most_bytes:
            raise ValueError(
                f"hit {hit.number} takes {hit.n_bytes} bytes, the memory is {self.most_bytes}: raise --memory"
            )
        self.counts.received += 1
        self._waiting[hit.number] = hit
        self.n_bytes += hit.n_bytes
        while self._waiting and (
            self.when_full == "drop-oldest"
            and (self.n_bytes > self.most_bytes or len(self._waiting) + len(self._out) > MOST_HITS)
        ):
            number, dropped = self._waiting.popitem(last=False)
            self._forget(number, dropped)
            self.counts.dropped += 1

    def take(self, worker: Hashable, now: float) -> Hit | None:
        """The hit that has waited longest, for a worker; None if none waits."""
        if not self._waiting:
            return None
        number, hit = self._waiting.popitem(last=False)
        self._out[number] = _Out(hit, worker, now + PATIENCE_S)
        return hit

    def put_back(self, number: int) -> None:
        """A hit did not reach its worker: it is first in line again."""
        hit = self._out.pop(number).hit
        self._waiting[number] = hit
        self._waiting.move_to_end(number, last=False)

    def worker_asks(self, worker: Hashable, now: float) -> None:
        """A worker wants a hit: it is through with the one that it had, whose chunk is about to come."""
        self._let_go(worker, now)

    def worker_gone(self, worker: Hashable, now: float) -> None:
        """A worker is no more: the chunk of its hit may still come."""
        self.counts.workers_lost += self._let_go(worker, now)

    def _let_go(self, worker: Hashable, now: float) -> bool:
        found = [out for out in self._out.values() if out.worker == worker and not out.is_over]
        for out in found:
            out.deadline, out.is_over = now + GRACE_S, True
        return bool(found)

    def expire(self, now: float) -> None:
        """Put the hits whose worker has gone, and whose chunk has not come, first in line; give up those that kill."""
        late = [number for number, out in self._out.items() if now > out.deadline]
        for number in reversed(late):
            tries = self._tries.get(number, 0) + 1
            self._tries[number] = tries
            if tries < MOST_TRIES:
                self.put_back(number)
                self.counts.handed_again += 1
            else:
                self._forget(number, self._out.pop(number).hit)
                self.counts.given_up += 1

    def chunk_came(self, number: int, crystals: int) -> None:
        """The stream has a hit's chunk. A second one of the same hit is counted: whoever joins the stream leaves it out."""
        held = self._waiting.pop(number, None)
        out = self._out.pop(number, None)
        hit = held if out is None else out.hit
        if hit is not None:
            self._forget(number, hit)
        elif not self.settled.add(number):
            self.counts.repeated += 1
            return
        self.counts.done += 1
        self.counts.indexed += crystals > 0
        self.counts.crystals += crystals

    def _forget(self, number: int, hit: Hit) -> None:
        self.settled.add(number)
        self._tries.pop(number, None)
        self.n_bytes -= hit.n_bytes
