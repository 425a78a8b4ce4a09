"""How far one writing process carries a run: workers that sleep instead of finding, and a model of them.

    python -m benchmarks.scale [--workers 1 2 4 8 16 32 64] [--finding-ms 20] [--seconds 10] [--plot scale.png]
    python -m benchmarks.scale --events 1000000 --backend process|ray --workers 2
    mpirun -n 3 python -m benchmarks.scale --events 1000000 --backend mpi

A sleep does not fight for cores, so that many workers can be had on a small machine, and what is measured is everything but
the finder: dealing out, the messages, the tables' order, the file, and the ledger. 3 events in 10 are hits of 100 peaks; images
are not written. The model (simpy) has two numbers, what the writing process spends on a range and on an event. They
are taken from its processor time with one and two workers, and the other rows are predicted from them.
With --events nothing sleeps: so many events go through a back end, and the file has to hold each hit once and in order.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import simpy

from peakrt.config import HitConfig, OutputConfig
from peakrt.cxi.columns import PROGRESS
from peakrt.cxi.writer import CxiWriter
from peakrt.distributed.actors import Actors
from peakrt.distributed.backend import Backend
from peakrt.distributed.processes import Processes, join
from peakrt.distributed.ranges import EVENTS_OF_A_RANGE
from peakrt.distributed.ranks import Ranks, work_as_rank
from peakrt.distributed.search import WorkersSearch
from peakrt.event import Event
from peakrt.finders.bad_pixels import COUNTED_PIXEL
from peakrt.finders.learned import LearnedState
from peakrt.mpi import rank_of_job
from peakrt.peaks import PEAK
from peakrt.pipeline import write_search
from peakrt.search import Summary
from peakrt_geometry import Detector
from peakrt_geometry.crystfel import parse_geom

from .one_panel import one_panel

SIDE, HITS_OF_10, PEAKS_OF_A_HIT = 16, 3, 100
GEOMETRY = one_panel(SIDE, "adu_per_photon = 1\n")


class Frames:
    """A source of small frames that say by a pixel whether they are hits."""

    read_ahead = False
    dtype = np.dtype(np.uint16)
    files: tuple[Path, ...] = ()

    def __init__(self, n: int) -> None:
        self.detector: Detector = parse_geom(GEOMETRY, name="scale.geom")
        self._n = n

    def __len__(self) -> int:
        return self._n

    def events(self, start: int = 0) -> Iterator[Event]:
        """Events from a number on."""
        for number in range(start, self._n):
            frame = np.zeros((1, SIDE, SIDE), np.uint16)
            frame[0, 0, 0] = number % 10
            yield Event(frame, file="none", name=f"//{number}")


class Sleeper:
    """Takes as long for a frame as a finder does, and knows the answer."""

    engine = "cpu"

    def __init__(self, seconds: float) -> None:
        self._seconds, self._hit = seconds, np.zeros(PEAKS_OF_A_HIT, PEAK)
        self._hit["score"] = self._hit["intensity"] = 1

    def on_gpu(self) -> bool:
        """It needs no device."""
        return False

    def outcomes(self, items: Iterable[Any], *, threads: int = 1) -> Generator[np.ndarray, None, None]:
        """Peaks of frames."""
        for frame, _ in items:
            time.sleep(self._seconds)
            yield self._hit if frame[0, 0, 0] < HITS_OF_10 else self._hit[:0]

    def mask_for(self, event_mask: Any, shape: tuple[int, ...]) -> np.ndarray:
        """All pixels are good."""
        return np.ones(shape, bool)

    def learned_state(self) -> LearnedState:
        """It learns nothing."""
        return LearnedState(1.0, 0, np.zeros(0, COUNTED_PIXEL))


@dataclass
class Measured:
    """A run. rate : events a second, once all workers are there; cpu_s : processor time of the writing process an event"""

    workers: int
    rate: float
    cpu_s: float


def measure(workers: int, finding_s: float, seconds: float) -> Measured:
    """Run with so many sleeping workers, for about so long."""
    # A quarter of the events has to end with a range, or the clock is read in the middle of what one table brought.
    n = max(400, int(workers * seconds / max(finding_s, 1e-4))) // (4 * EVENTS_OF_A_RANGE) * 4 * EVENTS_OF_A_RANGE
    source, marks = Frames(n), {}

    def on_event(summary: Summary) -> None:
        for mark in (n // 4, n):
            if summary.events == mark:
                marks[mark] = time.monotonic(), time.process_time()

    def start() -> Processes:
        program = (sys.executable, "-m", "benchmarks.scale", "--sleep", str(finding_s), str(n), "--join")
        return Processes(workers, [], program=program)

    with tempfile.TemporaryDirectory(prefix="peakrt-scale-") as folder:
        writer = CxiWriter(Path(folder) / "out.cxi", source.detector, output=OutputConfig(images="none"))
        search = WorkersSearch(source, Sleeper(finding_s), writer, start, end=n)  # type: ignore[arg-type]
        with writer:
            summary = write_search(search, writer, on_event=on_event)
        assert summary.events == n
        assert writer.n_hits == sum(number % 10 < HITS_OF_10 for number in range(n))
    (t0, c0), (t1, c1) = marks[n // 4], marks[n]
    return Measured(workers, (n - n // 4) / (t1 - t0), (c1 - c0) / (n - n // 4))


def count(backend: str, workers: int, n: int) -> str:
    """Let n events through a back end; returns what to print. Raises AssertionError for an event lost or doubled."""
    source, memory, marks = Frames(n), {}, [n // 10, n // 2, n]

    def on_event(summary: Summary) -> None:
        if summary.events in marks:
            memory[summary.events] = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    def start() -> Backend:
        if backend == "mpi":
            return Ranks(["0", str(n)])
        if backend == "ray":
            return Actors(workers, ["0", str(n)], open_run)
        return Processes(
            workers, [], program=(sys.executable, "-m", "benchmarks.scale", "--sleep", "0", str(n), "--join")
        )

    with tempfile.TemporaryDirectory(prefix="peakrt-scale-") as folder:
        path, hits = Path(folder) / "out.cxi", HitConfig(max_peaks=PEAKS_OF_A_HIT)
        writer = CxiWriter(path, source.detector, hits=hits, output=OutputConfig(images="none"))
        search = WorkersSearch(source, Sleeper(0), writer, start, end=n)  # type: ignore[arg-type]
        with writer:
            summary = write_search(search, writer, on_event=on_event)
        with h5py.File(path, "r") as file:
            numbers, done = file["/LCLS/eventNumber"][:], int(file[PROGRESS][()])
    expected = np.arange(n)
    assert done == summary.events == n
    np.testing.assert_array_equal(numbers, expected[expected % 10 < HITS_OF_10])
    held = ", ".join(f"{megabytes:.0f} MB after {events}" for events, megabytes in memory.items())
    return f"{backend}: {n} events, {len(numbers)} hits, each once and in order; {summary.rate:.0f} events/s; {held}"


def open_run(arguments: list[str]) -> Any:
    """What a worker opens: the seconds of a frame, and the number of events."""
    return Frames(int(arguments[1])), Sleeper(float(arguments[0]))


def predict(workers: int, finding_s: float, overhead_s: float, event_s: float) -> float:
    """Events a second of the model: workers with a range each and one waiting, one process that takes in and writes.

    overhead_s : of a worker, an event, beside finding; event_s : of the writing process
    """
    n_ranges = max(200, 40 * workers)
    world, done = simpy.Environment(), []
    tables: Any = simpy.Store(world)
    held = {worker: simpy.Store(world) for worker in range(workers)}
    dealt = 0

    def worker(number: int) -> Iterator[Any]:
        while True:
            yield held[number].get()
            yield world.timeout(EVENTS_OF_A_RANGE * (finding_s + overhead_s))
            yield tables.put(number)

    def writing() -> Iterator[Any]:
        nonlocal dealt
        for number in list(range(workers)) * 2:
            dealt += 1
            yield held[number].put(dealt)
        while True:
            number = yield tables.get()
            yield world.timeout(EVENTS_OF_A_RANGE * event_s)
            done.append(world.now)
            dealt += 1
            yield held[number].put(dealt)

    for number in range(workers):
        world.process(worker(number))
    world.process(writing())
    while len(done) < n_ranges:
        world.step()
    quarter = n_ranges // 4
    return EVENTS_OF_A_RANGE * (n_ranges - quarter) / (done[n_ranges - 1] - done[quarter - 1])


def plot(path: Path, rows: list[tuple[Measured, float]], finding_s: float) -> None:
    """Draw measured and predicted rates."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    workers = [row.workers for row, _ in rows]
    axes.plot(workers, [n / finding_s for n in workers], ":", color="0.6", label="no cost but the finder's")
    axes.plot(workers, [rate for _, rate in rows], "-", label="model")
    axes.plot(workers, [row.rate for row, _ in rows], "o", label="measured")
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="events a second")
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, predict and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--finding-ms", type=float, default=20.0, help="of an event [20]")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a run [10]")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--events", type=int, help="let so many through, and count them")
    parser.add_argument("--backend", choices=("process", "mpi", "ray"), default="process")
    parser.add_argument("--sleep", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--join", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.join is not None:
        join(given.join, lambda _: open_run(given.sleep))
        return
    if given.events is not None:
        if given.backend == "mpi" and rank_of_job()[0] > 0:
            work_as_rank(open_run)
        else:
            print(count(given.backend, given.workers[0], given.events))
        return
    finding_s = given.finding_ms / 1000
    measured = [measure(n, finding_s, given.seconds) for n in given.workers]
    few = [row for row in measured if row.workers <= 2] or measured[:1]
    event_s = float(np.mean([row.cpu_s for row in few]))
    overhead_s = float(np.mean([row.workers / row.rate - finding_s for row in few]))
    print(f"finding {1000 * finding_s:.1f} ms; a worker's overhead {1000 * overhead_s:.2f} ms an event, the writing process "
          f"{1000 * event_s:.3f} ms an event; load {os.getloadavg()[0]:.1f}")  # fmt: skip
    rows = [(row, predict(row.workers, finding_s, overhead_s, event_s)) for row in measured]
    print("| workers | events/s | of what sleeping alone allows | model | measured to model |\n|---|---|---|---|---|")
    for row, rate in rows:
        print(
            f"| {row.workers} | {row.rate:.0f} | {row.rate * finding_s / row.workers:.2f} | {rate:.0f} | {row.rate / rate:.2f} |"
        )
    if given.plot is not None:
        plot(given.plot, rows, finding_s)


if __name__ == "__main__":
    main()
