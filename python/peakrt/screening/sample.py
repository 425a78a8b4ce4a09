"""A sample of events of which somebody knows whether they matter: a stream that says which index, or labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..stream_file import StreamFollower
from .counts import CLASSES
from .table import Probabilities, read_probabilities

#: Longer than any list of labels by hand; read before memory is taken.
_MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class Sample:
    """scores : (n,) P(indexable) of the sample's events; matters : (n,) whether each was indexed, or labelled no Miss"""

    scores: npt.NDArray[np.float64]
    matters: npt.NDArray[np.bool_]


def read_sample(path: Path, cxi: Path, found: Probabilities) -> Sample:
    """Read a sample: a stream, or text with an event and Hit, Maybe or Miss a line; found : the probabilities of cxi.

    An event is "FILE.cxi //row" as in a .lst, or //row of cxi. A stream may be of another CXI, which has to lie where it
    says. Raises OSError for what cannot be read, ValueError for a line or an event that is none, or a sample of nothing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    rows = _of_stream(path) if path.suffix == ".stream" else _of_labels(path)
    known = {str(cxi.resolve()): found.indexable}
    scores, matters = [], []
    for file, row, is_one in rows:
        name = str(cxi.resolve() if not file or Path(file).name == cxi.name else Path(file).resolve())
        if name not in known:
            known[name] = read_probabilities(Path(name)).indexable
        if row >= len(known[name]):
            raise ValueError(f"{path} names event //{row} of {name}, which has {len(known[name])} events")
        scores.append(known[name][row])
        matters.append(is_one)
    if not any(matters):
        raise ValueError(f"{path}: none of its {len(matters)} events was indexed, or labelled Hit or Maybe")
    return Sample(np.array(scores), np.array(matters, bool))


def _row(text: str, where: str) -> int:
    number = text.rpartition("//")[2].strip()
    if not (number.isascii() and number.isdigit()):
        raise ValueError(f"{where}: event {text[:80]!r} does not end in //row, as the events of a CXI do")
    return int(number)


def _of_stream(path: Path) -> list[tuple[str, int, bool]]:
    follower, rows = StreamFollower(path), []
    while chunks := follower.new_chunks():
        rows += [(chunk.file, _row(chunk.event, str(path)), bool(chunk.crystals)) for chunk in chunks]
    if not rows:
        raise ValueError(f"{path} has no whole chunk: a stream of indexamajig is expected")
    return rows


def _of_labels(path: Path) -> list[tuple[str, int, bool]]:
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} is longer than any list of labels: a line an event is expected")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        event, _, label = line.strip().rpartition(" ")
        if label.capitalize() not in CLASSES or not event:
            raise ValueError(f"{path}:{number}: {line[:80]!r} should be an event and Hit, Maybe or Miss")
        file, _, _ = event.rpartition("//")
        rows.append((file.strip(), _row(event, f"{path}:{number}"), label.capitalize() != "Miss"))
    return rows
