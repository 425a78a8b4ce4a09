"""A long run: memory, descriptors and threads over many small events, in one process and through the server.

    python -m benchmarks.long_run [-n 1000000] [-o docs/img/long-run.png]

Every third event has peaks; one in thirty is a hit and is written. It prints a table, a row each tenth of the run, and with
-o draws it. Each event is another frame: twelve frames, rolled by another number of pixels each time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from peakrt.config import HitConfig, OutputConfig
from peakrt.cxi.writer import CxiWriter
from peakrt.event import Event
from peakrt.finder import PeakFinder
from peakrt.pipeline import find_run
from peakrt.search import Summary
from peakrt.serve.remote import RemoteFinder
from peakrt_geometry.crystfel import parse_geom

from .one_panel import one_panel

SIDE = 96
GEOMETRY = one_panel(SIDE, "adu_per_photon = 10\n")


class Generated:
    """A source that makes its frames while they are read."""

    files: Sequence[Path] = ()
    read_ahead = True

    def __init__(self, n_events: int) -> None:
        self.detector, self.dtype, self._n = parse_geom(GEOMETRY, name="long.geom"), np.dtype(np.float32), n_events
        rng = np.random.default_rng(3)
        self._frames = (rng.poisson(2.0, (12, SIDE, SIDE)) * 10).astype(np.float32)
        for number in range(0, 12, 3):
            for ss, fs in rng.integers(4, SIDE - 4, (20 if number == 0 else 8, 2)):
                self._frames[number, ss - 1 : ss + 2, fs - 1 : fs + 2] += 900

    def __len__(self) -> int:
        return self._n

    def events(self, start: int = 0) -> Iterator[Event]:
        """Give the events from number start on."""
        for number in range(start, self._n):
            kind = 0 if number % 30 == 0 else (1, 2, 3)[number % 3]
            yield Event(np.roll(self._frames[kind], number // 30, axis=0)[None], timestamp=(number, 0, 0))


class Watch:
    """Memory, descriptors and threads of a process, looked at now and then."""

    def __init__(self, pid: int, n_events: int) -> None:
        self._pid, self._step, self._began = pid, max(1, n_events // 200), time.monotonic()
        self.rows: list[tuple[int, float, float, int, int]] = []

    def __call__(self, events: int) -> None:
        """Look, if it is time; events : done so far."""
        if events % self._step:
            return
        folder = Path(f"/proc/{self._pid}")
        memory_mb = int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
        counts = (len(list((folder / name).iterdir())) for name in ("fd", "task"))
        self.rows.append((events, time.monotonic() - self._began, memory_mb, *counts))  # type: ignore[arg-type]


def in_one_process(n_events: int, folder: Path) -> Watch:
    source, watch = Generated(n_events), Watch(os.getpid(), n_events)

    def on_event(summary: Summary) -> None:
        watch(summary.events)

    output = OutputConfig(images="raw", flush_s=5.0)
    with CxiWriter(folder / "out.cxi", source.detector, hits=HitConfig(max_peaks=64), output=output) as writer:
        find_run(source, PeakFinder(geometry=source.detector), writer, threads=2, on_event=on_event)
    return watch


def through_the_server(n_events: int, folder: Path) -> Watch:
    """The watched process is the server."""
    source, socket = Generated(n_events), folder / "socket"
    command = [sys.executable, "-m", "peakrt.cli", "serve", "--socket", str(socket), "-j", "2", "--engine", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        watch = Watch(server.pid, n_events)
        with RemoteFinder(geometry=source.detector, path=socket) as remote:
            for number, _ in enumerate(remote.map(event.frame for event in source.events())):
                watch(number + 1)
        server.terminate()
    return watch


def draw(path: Path, watches: dict[str, Watch]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), dpi=90, layout="constrained")
    axes = figure.subplots(1, 2)
    for name, watch in watches.items():
        events, _, memory_mb, descriptors, threads = np.array(watch.rows).T
        axes[0].plot(events, memory_mb, label=name)
        axes[1].plot(events, descriptors, label=f"{name}, descriptors")
        axes[1].plot(events, threads, "--", label=f"{name}, threads")
    for panel, what in zip(axes, ("memory, MB", "number"), strict=True):
        panel.set(xlabel="events", ylabel=what, ylim=(0, None))
        panel.legend(fontsize=7)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--events", type=int, default=1_000_000)
    parser.add_argument("-o", "--plot", type=Path, metavar="PNG")
    parsed = parser.parse_args()
    watches = {}
    for name, run in (("one process", in_one_process), ("the server", through_the_server)):
        with tempfile.TemporaryDirectory() as folder:
            watches[name] = run(parsed.events, Path(folder))
        print(f"{name}\n  events       s   MB  descriptors  threads")
        rows = watches[name].rows
        for events, seconds, memory_mb, descriptors, threads in rows[:: max(1, len(rows) // 10)] + rows[-1:]:
            print(f"{events:>8}{seconds:>8.0f}{memory_mb:>5.0f}{descriptors:>13}{threads:>9}", flush=True)
    if parsed.plot is not None:
        draw(parsed.plot, watches)


if __name__ == "__main__":
    main()
