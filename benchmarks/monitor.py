"""What the monitor costs a run: the same run with and without it, in turn.

    python benchmarks/monitor.py [--pairs 6] [--events 6000] [--browsers 10]

A run of small frames in memory (256 x 512 uint16, so that about a thousand pass in a second), hits written without images.
With the monitor, a process follows it as so many browsers would: each keeps an event stream open and fetches, at every message, the
five parts that a page shows. The runs of a pair follow each other, so that what else the machine does counts for both.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from peakrt import PeakFinder
from peakrt.config import OutputConfig
from peakrt.contracts import Watcher
from peakrt.cxi.writer import CxiWriter
from peakrt.event import Event
from peakrt.monitor.feed import open_monitor
from peakrt.pipeline import find_run
from peakrt_geometry import Detector
from peakrt_geometry.crystfel import parse_geom
from peakrt_lab.simulate import Response, Scene, Simulator

MODULE = """
photon_energy = 9500 eV
clen = 0.12 m
adu_per_photon = 10
res = 13333
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs
m/min_fs = 0
m/max_fs = 511
m/min_ss = 0
m/max_ss = 255
m/corner_x = -256
m/corner_y = -128
m/fs = +1.0x
m/ss = +1.0y
"""
PARTS = ("series-whole", "hit", "powder_hits", "histograms", "radial")


class InMemory:
    """Frames that are there already, over and over."""

    read_ahead = False
    files: tuple[Path, ...] = ()

    def __init__(self, detector: Detector, frames: list[np.ndarray], n: int) -> None:
        self.detector, self._frames, self._n = detector, frames, n
        self.dtype = frames[0].dtype

    def __len__(self) -> int:
        return self._n

    def events(self, start: int = 0) -> Iterator[Event]:
        """The frames in turn."""
        for k in range(start, self._n):
            yield Event(self._frames[k % len(self._frames)], file="memory", name=f"//{k}")


def browse(url: str) -> None:
    """What one browser asks for, until the run is over."""
    where = urlsplit(url)
    following = http.client.HTTPConnection(where.hostname or "", where.port)
    following.request("GET", "/events")
    answer = following.getresponse()
    fetching = http.client.HTTPConnection(where.hostname or "", where.port)
    try:
        while line := answer.readline():
            if line.startswith(b"data: "):
                for part in PARTS:
                    fetching.request("GET", f"/api/part/{part}", headers={"Accept-Encoding": "gzip"})
                    fetching.getresponse().read()
    except (OSError, http.client.HTTPException):
        return  # the run is over


def browsers(url: str, n: int) -> None:
    """So many of them."""
    os.nice(10)
    threads = [threading.Thread(target=browse, args=(url,)) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def one_run(source: InMemory, n_browsers: int | None) -> tuple[float, float]:
    """Events a second, and CPU time an event of the run's process, ms; None: without a monitor."""
    finder = PeakFinder(geometry=source.detector)
    finder(next(iter(source.events())).frame)
    feed, followers = None, None
    if n_browsers is not None:
        feed = open_monitor("127.0.0.1:0", source.detector)
        followers = multiprocessing.get_context("spawn").Process(target=browsers, args=(feed.url, n_browsers))
        followers.start()
        time.sleep(3)  # all are there
    watcher: Watcher | None = feed
    with tempfile.TemporaryDirectory() as folder:
        cpu = time.process_time()
        with CxiWriter(Path(folder) / "out.cxi", source.detector, output=OutputConfig(images="none")) as writer:
            summary = find_run(source, finder, writer, watcher=watcher)
        cpu = time.process_time() - cpu
    if feed is not None and followers is not None:
        assert not feed.restarts
        feed.close()
        followers.join()
        print(f"  {feed.unseen} events were not told", flush=True)
    return summary.rate, 1e3 * cpu / summary.events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--events", type=int, default=6000)
    parser.add_argument("--browsers", type=int, default=10)
    parsed = parser.parse_args()
    detector = parse_geom(MODULE, name="module")
    simulator = Simulator(detector, Scene(hit_fraction=0.5), Response(), seed=3)
    frames = [simulator.event(k).frame.clip(0, 65535).astype(np.uint16) for k in range(40)]
    source = InMemory(detector, frames, parsed.events)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    rates, cpus = [], []
    for pair in range(parsed.pairs):
        order = (None, parsed.browsers) if pair % 2 else (parsed.browsers, None)
        found = {how is None: one_run(source, how) for how in order}
        (rate, cpu), (rate_without, cpu_without) = found[False], found[True]
        rates.append(rate / rate_without)
        cpus.append(cpu / cpu_without)
        print(
            f"{rate:7.0f} events/s with, {rate_without:7.0f} without: {rates[-1]:.3f}; CPU {cpu:.3f} and {cpu_without:.3f} ms an "
            f"event: {cpus[-1]:.3f}", flush=True,
        )  # fmt: skip
    for name, ratios in (("events/s", rates), ("CPU time an event", cpus)):
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        print(f"{name}, with over without: median {middle:.3f}, quartiles {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
