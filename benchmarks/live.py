"""Finding in a stream against finding in a file: events a second, CPU time an event, and latency.

    python benchmarks/live.py [-n EVENTS] [--rounds N] [-j THREADS] [--detector rayonix_mx170] [--format dectris ...]

Simulated frames (uint16) go once into an HDF5 file, a chunk each (bitshuffle-LZ4; with Zstandard for Jungfraujoch), and once through a sender of its own
process over the loopback. Both ways end in the same CXI, hits with their images. "events/s" is wall time from the first
event to the last, so sender and finder share the machine; "CPU ms" is what the finding process spends, which a loaded
machine changes less. The rows "live" have the finder in a process of its own, as peakrt live has; its CPU time counts, too. Latency is from the sender's send to the
peaks, at half the rate that was reached. Rates and ratios are medians over the rounds, latencies of all of them together.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import zmq

from peakrt import PeakFinder
from peakrt.config import HitConfig, OutputConfig
from peakrt.contracts import RunFinder
from peakrt.cxi.writer import CxiWriter
from peakrt.live.finder_process import FinderProcess
from peakrt.pipeline import find_run
from peakrt.sources import Source, open_source
from peakrt.sources.streams import open_stream
from peakrt_geometry import Detector, load_detector
from peakrt_lab.simulate import RESPONSES, Scene, Simulator

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import stream_senders as made

#: Of these one or two have thousands of peaks and take four times as long as the others, as in a run.
DIFFERENT = 48


def messages(form: str, frames: np.ndarray) -> tuple[list[bytes], Callable[[int], list[bytes]]]:
    """What comes before the images, and what makes the parts of image k; pixels are compressed beforehand."""
    slabs, n = [frame.reshape(-1, frame.shape[-1]) for frame in frames], len(frames)
    if form in ("dectris", "jungfraujoch"):
        arrays = [made.multi_dim(slab, "bslz4" if form == "dectris" else "bszstd") for slab in slabs]
        return [made.dectris_start(slabs[0].shape)], lambda k: [made.dectris_image(arrays[k % n], k)]
    if form == "karabo":
        from karabo_bridge.serializer import serialize

        return [], lambda k: serialize({"DET": {"image.data": frames[k % n][None]}}, {"DET": {"timestamp.tid": 1 + k}})
    first = [made.simplon_start(slabs[0])] if form == "simplon" else []
    make = {
        "lclstreamer": lambda slab: made.lcls_hdf5(slab[None]),
        "simplon": lambda slab: made.simplon_image(slab, "1"),
        "om": made.om_frame,
    }[form]
    ready = [make(slab) for slab in slabs]
    return first, lambda k: [ready[k % n]]


def send(form: str, frames: np.ndarray, n: int, rate: float, port: Any, sent: Any) -> None:
    """Send n images, at a rate or (0) as fast as they are taken, and note when."""
    first, image = messages(form, frames)
    asked = form in ("karabo", "om")
    with zmq.Context() as context, context.socket(zmq.REP if asked else zmq.PUSH) as socket:
        socket.setsockopt(zmq.SNDHWM, 4)
        socket.setsockopt(zmq.LINGER, 60_000)
        port.put(socket.bind_to_random_port("tcp://127.0.0.1"))
        for message in first:
            socket.send(message)
        began = time.monotonic()
        for k in range(n):
            if rate:
                time.sleep(max(0.0, began + k / rate - time.monotonic()))
            if asked:
                socket.recv()
            sent[k] = time.monotonic()
            socket.send_multipart(image(k), copy=False)


def streamed(form: str, frames: np.ndarray, n: int, rate: float, detector: Detector) -> tuple[Source, Any, Any]:
    """A stream from a process of its own, that process, and when each image was sent."""
    sent, port = multiprocessing.Array("d", n, lock=False), multiprocessing.Queue()
    process = multiprocessing.Process(target=send, args=(form, frames, n, rate, port, sent), daemon=True)
    process.start()
    named = {"simplon": "lclstreamer"}.get(form, form)
    return open_stream(f"{named}+tcp://127.0.0.1:{port.get(timeout=120)}", detector), process, sent


def cpu_s(*others: int) -> float:
    """CPU time of this process and of others."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    ticks = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in others]
    return used.ru_utime + used.ru_stime + sum(int(t) for pair in ticks for t in pair) / os.sysconf("SC_CLK_TCK")


def finding(source: Source, n: int, threads: int, *, in_process: bool = False) -> tuple[float, float, list[float]]:
    """Events a second, CPU ms an event, and when the peaks of each were there; in_process : as peakrt live finds."""
    local, done = PeakFinder(geometry=source.detector, engine="cpu"), []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        finder: RunFinder = local
        pids: tuple[int, ...] = ()
        if in_process:
            process = stack.enter_context(FinderProcess(local, threads))
            list(
                process.outcomes([(np.zeros(source.detector.shape, np.uint16), None)])
            )  # it is there before the run begins
            finder, pids = process, (process.pid,)
        writer = CxiWriter(Path(folder) / "out.cxi", source.detector, hits=HitConfig(), output=OutputConfig())
        before = cpu_s(*pids)
        with writer:
            find_run(
                source, finder, writer, threads=threads, limit=n, on_event=lambda summary: done.append(time.monotonic())
            )
        used_s = cpu_s(*pids) - before
    return (n - 1) / (done[-1] - done[0]), used_s / n * 1e3, done


def as_file(path: Path, frames: np.ndarray, n: int, detector: Detector, codec: str) -> Source:
    slab = (frames.shape[1] * frames.shape[2], frames.shape[3])
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            detector.panels[0].data, (n, *slab), frames.dtype, chunks=(1, *slab), **hdf5plugin.Bitshuffle(cname=codec)
        )
        for k in range(n):
            data[k] = frames[k % len(frames)].reshape(slab)
    return open_source([str(path)], detector)


def simulated(name: str) -> tuple[Detector, np.ndarray]:
    detector = load_detector(name)
    simulator = Simulator(detector, scene=Scene(hit_fraction=0.5), response=RESPONSES[name], seed=11)
    frames = np.stack([simulator.event(k).frame for k in range(DIFFERENT)])
    return detector, np.clip(frames, 0, 65535).astype(np.uint16)


def rows(forms: list[str], name: str, n: int, rounds: int, threads: int) -> Iterator[str]:
    detector, frames = simulated(name)
    load = os.getloadavg()[0]
    yield f"{' x '.join(map(str, frames.shape[1:]))} {frames.dtype}, {n} events, {threads} threads, {platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load:.0f}"
    yield f"{'':<20}{'events/s':>10}{'file':>9}{'ratio':>9}{'CPU ms':>9}{'file':>9}{'ratio':>9}{'p50 ms':>9}{'p99 ms':>9}"
    for form in forms:
        codec = "zstd" if form == "jungfraujoch" else "lz4"
        found: dict[bool, list[tuple[float, ...]]] = {False: [], True: []}
        late: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(rounds):  # file and streams in turn, for the load of a machine changes
            with tempfile.TemporaryDirectory() as folder:
                file_rate, file_cpu, _ = finding(
                    as_file(Path(folder) / "in.h5", frames, n, detector, codec), n, threads
                )
            for in_process in (False, True):
                source, process, _ = streamed(form, frames, n, 0.0, detector)
                rate, cpu, _ = finding(source, n, threads, in_process=in_process)
                process.join()
                source, process, sent = streamed(form, frames, n, rate / 2, detector)
                _, _, done = finding(source, n, threads, in_process=in_process)
                process.join()
                late[in_process] += list((np.array(done) - np.array(sent[:]))[n // 10 :] * 1e3)
                found[in_process].append((rate, file_rate, rate / file_rate, cpu, file_cpu, cpu / file_cpu))
        for in_process in (False, True):
            rate, file_rate, ratio, cpu, file_cpu, cpu_ratio = np.median(found[in_process], axis=0)
            low, high = np.percentile(late[in_process], [50, 99])
            yield (
                f"{form + (', live' if in_process else ''):<20}{rate:10.1f}{file_rate:9.1f}{ratio:9.2f}{cpu:9.1f}{file_cpu:9.1f}{cpu_ratio:9.2f}"
                f"{low:9.1f}{high:9.1f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    known = ["dectris", "jungfraujoch", "lclstreamer", "simplon", "karabo", "om"]
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-j", "--threads", type=int, default=1, help="of the finder")
    parser.add_argument("--detector", default="rayonix_mx170")
    parser.add_argument("--format", nargs="+", choices=known, default=known)
    parsed = parser.parse_args()
    for line in rows(parsed.format, parsed.detector, parsed.n, parsed.rounds, parsed.threads):
        print(line, flush=True)


if __name__ == "__main__":
    main()
