"""``peakrt bench serve``: the node's server for 1 to 16 client processes, against the finder in each of them.

"direct" is one process with as many finder threads as the server has. Every client calls with one frame at a time, as a job
does, and waits for its peaks; copying the frame into shared memory is part of the time. Frames are made here, photons of an
even background and Gaussian peaks, and each process has several that no cache holds together, as those of a run.

The last row of a finder is about fairness: the calls of one process alone, and beside three greedy ones that always have
GREEDY_SLOTS frames on their way.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import load_detector

from .config import CandidateConfig, Config, Peakfinder8Config
from .finder import PeakFinder
from .serve.remote import RemoteFinder

CONFIGS: dict[str, Config] = {
    "peakfinder8": Peakfinder8Config(samples_per_bin=100),
    "candidate": CandidateConfig(bad_pixels="keep"),
}
CLIENTS = (1, 2, 4, 8, 16)
GREEDY_SLOTS = 16
_GREEDY, _CALLS = 3, 300  # greedy processes, calls of the modest one
_FRAMES = 24  # of each process, in turn


def make_frame(detector: str, *, peaks: int = 150, background: float = 3.0, seed: int = 2) -> npt.NDArray[np.float32]:
    """A frame of a detector of the catalogue: (panel, ss, fs), ADU."""
    geometry, rng = load_detector(detector), np.random.default_rng(seed)
    photons = rng.poisson(background, geometry.shape).astype(np.float32)
    for _ in range(peaks):
        panel, min_ss, end_ss, min_fs, end_fs = geometry.asics[rng.integers(len(geometry.asics))]
        ss, fs = rng.uniform(min_ss + 4, end_ss - 4), rng.uniform(min_fs + 4, end_fs - 4)
        at = np.s_[panel, int(ss) - 3 : int(ss) + 4, int(fs) - 3 : int(fs) + 4]
        d2 = (np.arange(-3, 4)[:, None] - ss % 1) ** 2 + (np.arange(-3, 4)[None] - fs % 1) ** 2
        photons[at] += rng.poisson(np.exp(rng.uniform(4, 8)) / 4 * np.exp(-d2 / 1.3))
    return photons * np.float32(geometry.photon_gain or 1.0)


def make_frames(detector: str) -> list[npt.NDArray[np.float32]]:
    """A process's frames: one, moved along ss."""
    frame = make_frame(detector)
    return [np.roll(frame, 8 * k, axis=1) for k in range(_FRAMES)]


def client(name: str, detector: str, n: int, socket: str, ready: Barrier, out: Any) -> None:
    """Call n times; socket "" calls a finder of one's own."""
    config, geometry = CONFIGS[name], load_detector(detector)
    finder: Any = (
        RemoteFinder(config, geometry=geometry, path=Path(socket)) if socket else PeakFinder(config, geometry=geometry)
    )
    frames = make_frames(detector)
    for frame in frames[:3]:
        finder(frame)
    ready.wait()
    begin, times = time.perf_counter(), []
    for k in range(n):
        start = time.perf_counter()
        finder(frames[k % _FRAMES])
        times.append(time.perf_counter() - start)
    out.put((begin, time.perf_counter(), times))


def measure(name: str, detector: str, clients: int, socket: str) -> tuple[float, float, float]:
    """Frames a second of all clients, p50 and p99 of a call, ms."""
    context = multiprocessing.get_context("spawn")
    ready, out, n = context.Barrier(clients), context.Queue(), max(20, 400 // clients)
    processes = [context.Process(target=client, args=(name, detector, n, socket, ready, out)) for _ in range(clients)]
    for process in processes:
        process.start()
    results = [out.get() for _ in processes]
    for process in processes:
        process.join()
    wall = max(end for _, end, _ in results) - min(begin for begin, _, _ in results)
    times = np.concatenate([t for _, _, t in results]) * 1e3
    return clients * n / wall, float(np.percentile(times, 50)), float(np.percentile(times, 99))


def greedy(name: str, detector: str, socket: str, ready: Barrier, stop: Event) -> None:
    """Keep as many frames on their way as there are slots."""
    frames = itertools.cycle(make_frames(detector)[:4])
    with RemoteFinder(CONFIGS[name], geometry=load_detector(detector), path=Path(socket), slots=GREEDY_SLOTS) as finder:
        for k, _ in enumerate(finder.map(frames)):
            if k == GREEDY_SLOTS:
                ready.wait()
            if stop.is_set():
                return


def fairness(name: str, detector: str, socket: str) -> tuple[float, float, float, float]:
    """p50 and p99 of a call, ms: of one process alone, then beside three greedy ones."""
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Barrier(_GREEDY + 1), context.Event()
    others = [context.Process(target=greedy, args=(name, detector, socket, ready, stop)) for _ in range(_GREEDY)]
    frames = make_frames(detector)
    with RemoteFinder(CONFIGS[name], geometry=load_detector(detector), path=Path(socket)) as finder:

        def calls() -> list[float]:
            times = []
            for k in range(_CALLS):
                start = time.perf_counter()
                finder(frames[k % _FRAMES])
                times.append((time.perf_counter() - start) * 1e3)
            return np.percentile(times, [50, 99]).tolist()

        finder.find(frames[:3])
        alone = calls()
        for process in others:
            process.start()
        ready.wait()
        beside = calls()
    stop.set()
    for process in others:
        process.join()
    return alone[0], alone[1], beside[0], beside[1]


def direct(name: str, detector: str) -> float:
    """Frames a second of one process with a thread a core."""
    finder, threads = PeakFinder(CONFIGS[name], geometry=load_detector(detector)), os.cpu_count() or 1
    frames = make_frames(detector)
    finder.find(frames[:10], threads=threads)
    begin = time.perf_counter()
    finder.find((frames[k % _FRAMES] for k in range(400)), threads=threads)
    return 400 / (time.perf_counter() - begin)


def bench_serve(detector: str, finders: list[str], clients: list[int]) -> Iterator[str]:
    """Lines of the benchmark, as they come.

    detector : of the catalogue; finders : names in CONFIGS. Raises ValueError for another.
    """
    unknown = [name for name in finders if name not in CONFIGS]
    if unknown:
        raise ValueError(f"there is no finder {unknown[0]} to serve: {', '.join(CONFIGS)}")
    yield f"{detector}, {'x'.join(map(str, load_detector(detector).shape))} float32, {os.cpu_count()} cores"
    for name in finders:
        limit = direct(name, detector)
        yield f"\n{name}: direct {limit:.0f} frames/s"
        yield f"{'clients':>8}{'served /s':>11}{'of direct':>11}{'p50 ms':>9}{'p99 ms':>9}{'own finder /s':>15}{'p50 ms':>9}"
        for n in clients:
            with tempfile.TemporaryDirectory() as folder:
                rate, p50, p99 = measure(name, detector, n, f"{folder}/s.sock")
            own, own50, _ = measure(name, detector, n, "")
            yield f"{n:>8}{rate:>11.0f}{rate / limit:>11.2f}{p50:>9.2f}{p99:>9.2f}{own:>15.0f}{own50:>9.2f}"
        with tempfile.TemporaryDirectory() as folder:
            alone50, alone99, beside50, beside99 = fairness(name, detector, f"{folder}/s.sock")
        yield (
            f"one process alone: p50 {alone50:.2f}, p99 {alone99:.2f} ms; beside {_GREEDY} greedy ones: p50 {beside50:.2f}, "
            f"p99 {beside99:.2f} ms, {beside99 / alone99:.2f} times"
        )
