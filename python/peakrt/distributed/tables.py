"""What a worker gives back for a range of events, and how it travels: a JSON header and the peaks as they are in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..peaks import PEAK, PeakArray
from ..serve import wire

#: Most events of a table, and bytes of its peaks: more than any range of frames has.
MOST_EVENTS, MOST_BYTES = 4096, 1 << 28
#: Bytes of a table's header: each refused event takes some hundred.
MOST_HEADER = 1 << 22
_ERRORS: dict[str, type[OSError | ValueError]] = {"OSError": OSError, "ValueError": ValueError}


@dataclass(frozen=True)
class Refused:
    """An event that cannot be used. event : its name; kind : of the error, OSError or ValueError; reason : its text"""

    event: str
    kind: type[OSError | ValueError]
    reason: str


@dataclass(frozen=True)
class Table:
    """Peaks of the events from number first on, or why one has none.

    reading_s, finding_s : what the worker spent on them, seconds
    """

    first: int
    outcomes: list[PeakArray | Refused]
    reading_s: float = 0.0
    finding_s: float = 0.0

    @property
    def end(self) -> int:
        """Number of the event after the last."""
        return self.first + len(self.outcomes)


def encode(table: Table) -> bytes:
    """One message."""
    header = {
        "first": table.first,
        "counts": [-1 if isinstance(outcome, Refused) else len(outcome) for outcome in table.outcomes],
        "refused": [
            [outcome.event, outcome.kind.__name__, outcome.reason[: wire.MAX_ERROR]]
            for outcome in table.outcomes
            if isinstance(outcome, Refused)
        ],
        "reading_s": table.reading_s,
        "finding_s": table.finding_s,
    }
    found = [outcome for outcome in table.outcomes if not isinstance(outcome, Refused)]
    return wire.encode(header, b"".join(peaks.tobytes() for peaks in found))


def decode(header: Mapping[str, Any], payload: bytes) -> Table:
    """The table of a message. Raises ValueError for what is none."""
    try:
        first, counts, refused = header["first"], header["counts"], iter(header["refused"])
        seconds = float(header["reading_s"]), float(header["finding_s"])
        if type(first) is not int or first < 0 or not 0 < len(counts) <= MOST_EVENTS:
            raise ValueError("its events have no numbers")
        if any(type(n) is not int or n < -1 for n in counts):
            raise ValueError("its counts are none")
        n_peaks = sum(n for n in counts if n > 0)
        if n_peaks * PEAK.itemsize != len(payload):
            raise ValueError(f"it says {n_peaks} peaks and has {len(payload)} bytes of them")
        peaks, at = np.frombuffer(payload, PEAK), 0
        outcomes: list[PeakArray | Refused] = []
        for n in counts:
            if n < 0:
                name, kind, reason = next(refused)
                outcomes.append(Refused(str(name), _ERRORS.get(kind, ValueError), str(reason)))
            else:
                outcomes.append(peaks[at : at + n])
                at += n
    except (KeyError, TypeError, StopIteration, ValueError) as error:
        raise ValueError(f"a worker sent no table of peaks: {error or 'it ends too early'}") from error
    return Table(first, outcomes, *seconds)


def from_bytes(message: bytes) -> Table:
    """The table of a message that came whole. Raises ValueError for what is none."""
    decoder = wire.Decoder(MOST_HEADER, MOST_BYTES)
    decoder.feed(message)
    taken = decoder.take()
    if taken is None:
        raise ValueError("a worker sent no table of peaks: the message is not whole")
    return decode(*taken)
