"""One indexamajig command for the hits of every finder, and what came of each hit."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from peakrt_lab.evaluate import INDEXING, RIGHT_DEG, misorientation_deg
from peakrt_lab.stream import Chunk, read_chunks
from peakrt_lab.truth import Truth

from .jobs import Found, Hit, Job
from .programs import Stopwatch
from .recipe import write_atomically

CHUNK = "----- Begin chunk -----\n"


@dataclass(frozen=True)
class Outcome:
    """What came of a hit.

    event : number in the run; true : whether it holds a crystal; peaks : that the finder gave; key : of the list of peaks
    cell : A and degrees, None if it was not indexed; degrees : from the true orientation, None if the lattice is wrong
    """

    event: int
    true: bool
    peaks: int
    key: str
    cell: list[float] | None = None
    degrees: float | None = None


@dataclass(frozen=True)
class Result:
    """Of a finder on a block: seconds of searching, reading and writing included, and its hits."""

    start: int
    stop: int
    wall_s: float
    cpu_s: float
    cores: int
    index_cpu_s: float
    hits: list[Outcome]


class Results:
    """Results of one finder in a folder: a .json a block, which is there when the block is done, and its .stream.gz."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def done(self, start: int, stop: int) -> bool:
        """Whether a block is done."""
        return self._json(start, stop).exists()

    def _json(self, start: int, stop: int) -> Path:
        return self.folder / f"{start:06}-{stop:06}.json"

    def write(self, result: Result, stream: str) -> None:
        """Keep a block's result; the stream, of the frames that were indexed, first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._json(result.start, result.stop)
        temporary = path.with_suffix(".stream.tmp")
        with gzip.open(temporary, "wt", compresslevel=6, encoding="utf-8") as file:
            file.write(stream)
        temporary.replace(path.with_suffix(".stream.gz"))
        write_atomically(path, json.dumps(asdict(result)))

    def paths(self) -> list[Path]:
        """Of all blocks, in their order; of blocks that start at the same frame the longest."""
        by_start = {path.stem.split("-")[0]: path for path in sorted(self.folder.glob("*.json"))}
        return list(by_start.values())

    def read(self) -> list[Result]:
        """All blocks, in their order."""
        return [_read_result(path) for path in self.paths()]

    def known(self, start: int, stop: int) -> dict[str, tuple[Outcome, str]]:
        """Outcomes of a block by the key of their peaks, with the chunks of those that were indexed."""
        result = _read_result(self._json(start, stop))
        indexed = iter(self.stream(result)[1])
        return {hit.key: (hit, "" if hit.cell is None else next(indexed)) for hit in result.hits}

    def stream(self, result: Result) -> tuple[str, list[str]]:
        """Of a block: the header of its stream, and the chunks of the hits that were indexed."""
        path = self._json(result.start, result.stop).with_suffix(".stream.gz")
        with gzip.open(path, "rt", encoding="utf-8") as file:
            header, *chunks = file.read().split(CHUNK)
        return header, chunks


def _read_result(path: Path) -> Result:
    values = json.loads(path.read_text(encoding="utf-8"))
    return Result(**{**values, "hits": [Outcome(**hit) for hit in values["hits"]]})


def peaks_key(hit: Hit, search: Sequence[str]) -> str:
    """Two hits with the same key give indexamajig the same frame and the same peaks."""
    table = np.array([hit.peaks.fs, hit.peaks.ss, hit.peaks.intensity], "f4").tobytes()
    return hashlib.sha256(repr((hit.event, *search)).encode() + table).hexdigest()[:24]


def index_hits(
    found: Found, job: Job, start: int, known: dict[str, tuple[Outcome, str]]
) -> tuple[list[Outcome], str, float]:
    """Index the hits of a block.

    known : outcomes of lists of peaks that another finder gave for the same frames, which are not indexed again
    Returns outcomes, the stream of those that were indexed, CPU seconds.
    """
    keys = {hit.event: peaks_key(hit, found.search) for hit in found.hits}
    fresh = [hit for hit in found.hits if keys[hit.event] not in known]
    clock = Stopwatch()
    header = ""
    if fresh:
        stream = _run_indexamajig(fresh, found.search, job, clock)
        truth = Truth(job.frames)
        header, *texts = stream.read_text(encoding="utf-8", errors="replace").split(CHUNK)
        events = {(str(hit.file.resolve()), hit.row): hit.event for hit in fresh}
        peaks = {hit.event: len(hit.peaks) for hit in fresh}
        for chunk, text in zip(read_chunks(stream), texts, strict=True):
            event = events[chunk.filename, chunk.number]
            known[keys[event]] = (_outcome(chunk, event, start, peaks[event], keys[event], truth), text)
        stream.unlink()
    outcomes, texts = [], []
    for hit in found.hits:
        outcome, text = known[keys[hit.event]]
        outcomes.append(outcome)
        texts += [text] if outcome.cell is not None else []
    return outcomes, CHUNK.join([header or "CrystFEL stream format 2.3\n", *texts]), clock.cpu_s


def _run_indexamajig(hits: Iterable[Hit], search: Sequence[str], job: Job, clock: Stopwatch) -> Path:
    names, stream = job.scratch / "hits.lst", job.scratch / "hits.stream"
    names.write_text("".join(f"{hit.file.resolve()} //{hit.row}\n" for hit in hits), encoding="utf-8")
    clock.run(
        ["indexamajig", "-i", names, "-g", job.run.geometry, "-p", job.run.cell, "-o", stream]
        + ["-j", str(job.tools.cores), f"--temp-dir={job.scratch}", *INDEXING, *search]
    )
    return stream


def _outcome(chunk: Chunk, event: int, start: int, peaks: int, key: str, truth: Truth) -> Outcome:
    cell = degrees = None
    if chunk.crystals:
        crystal = chunk.crystals[0]
        cell = [float(value) for value in crystal.cell]
        errors = [misorientation_deg(crystal.reciprocal, lattice) for lattice in truth.event_lattices(event)]
        degrees = min((error for error in errors if error < RIGHT_DEG), default=None)
    return Outcome(start + event, bool(truth.hit[event]), peaks, key, cell, degrees)
