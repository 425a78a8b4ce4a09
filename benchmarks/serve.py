"""Throughput and latency of the node's server for 1 to 16 client processes, against the finder in each of them.

    python benchmarks/serve.py [detector]

"direct" is one process with as many finder threads as the server has. Every client calls with one frame at a time, as a job does,
and waits for its peaks; a frame is a simulated hit. Copying it into shared memory is part of the time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from peakrt import NetworkConfig, PeakFinder, Peakfinder8Config
from peakrt.remote import RemoteFinder
from peakrt_geometry import load_detector
from peakrt_lab.simulate import RESPONSES, Scene, Simulator

CONFIGS = {"peakfinder8, sampled": Peakfinder8Config(samples_per_bin=100), "network": NetworkConfig(bad_pixels="keep")}


def client(name: str, detector: str, frame: np.ndarray, n: int, socket: str, ready: Barrier, out) -> None:  # type: ignore[no-untyped-def]
    """Call n times; socket "" calls a finder of one's own."""
    config, geometry = CONFIGS[name], load_detector(detector)
    finder = (
        RemoteFinder(config, geometry=geometry, path=Path(socket)) if socket else PeakFinder(config, geometry=geometry)
    )
    for _ in range(3):
        finder(frame)
    ready.wait()
    begin, times = time.perf_counter(), []
    for _ in range(n):
        start = time.perf_counter()
        finder(frame)
        times.append(time.perf_counter() - start)
    out.put((begin, time.perf_counter(), times))


def measure(name: str, detector: str, frame: np.ndarray, clients: int, socket: str) -> tuple[float, float, float]:
    """Frames a second of all clients, p50 and p99 of a call, ms."""
    context = multiprocessing.get_context("spawn")
    ready, out, n = context.Barrier(clients), context.Queue(), max(20, 400 // clients)
    processes = [
        context.Process(target=client, args=(name, detector, frame, n, socket, ready, out)) for _ in range(clients)
    ]
    for process in processes:
        process.start()
    results = [out.get() for _ in processes]
    for process in processes:
        process.join()
    wall = max(end for _, end, _ in results) - min(begin for begin, _, _ in results)
    times = np.concatenate([t for _, _, t in results]) * 1e3
    return clients * n / wall, float(np.percentile(times, 50)), float(np.percentile(times, 99))


def direct(name: str, detector: str, frame: np.ndarray) -> float:
    """Frames a second of one process with a thread a core."""
    finder, threads = PeakFinder(CONFIGS[name], geometry=load_detector(detector)), os.cpu_count() or 1
    finder.find([frame] * 10, threads=threads)
    begin = time.perf_counter()
    finder.find([frame] * 400, threads=threads)
    return 400 / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", nargs="?", default="jungfrau1m")
    parsed = parser.parse_args()
    simulator = Simulator(load_detector(parsed.detector), Scene(hit_fraction=1.0), RESPONSES[parsed.detector], seed=2)
    frame = simulator.event(0).frame
    print(f"{parsed.detector}, {frame.shape} {frame.dtype}, {os.cpu_count()} cores")
    for name in CONFIGS:
        limit = direct(name, parsed.detector, frame)
        print(
            f"\n{name}: direct {limit:.0f} frames/s\n{'clients':>8}{'served /s':>11}{'of direct':>11}{'p50 ms':>9}{'p99 ms':>9}{'own finder /s':>15}{'p50 ms':>9}"
        )
        for clients in (1, 2, 4, 8, 16):
            with tempfile.TemporaryDirectory() as folder:
                rate, p50, p99 = measure(name, parsed.detector, frame, clients, f"{folder}/s.sock")
            own, own50, _ = measure(name, parsed.detector, frame, clients, "")
            print(
                f"{clients:>8}{rate:>11.0f}{rate / limit:>11.2f}{p50:>9.2f}{p99:>9.2f}{own:>15.0f}{own50:>9.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
