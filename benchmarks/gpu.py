"""GPU speed of peakfinder8 in one run: end to end, resident, by stage, latency, and the limits of this machine.

    python benchmarks/gpu.py [detector ...]

"end to end" starts with uint16 frames in page-locked host memory and ends with PEAK arrays on the host; "resident" with
frames on the device. Every rate is the median of repeats after a warm-up; the limits (host-to-device copy, device-to-
device copy) are measured in the same run. Peers: CuPy's label and centre of mass on the same frames.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from peakrt import Peakfinder8
from peakrt.engine_cuda import CudaPeakfinder8, load_cupy
from peakrt_geometry import load_detector
from peakrt_lab.simulate import RESPONSES, Scene, Simulator

OPTIONS = {"min_snr": 5.0, "min_pixels": 2, "max_pixels": 100, "background_radius": 3}


def simulated(name: str, n: int) -> tuple[Simulator, np.ndarray, float]:
    """N frames as uint16 with a pedestal, and the threshold of peaks in ADU."""
    scene = Scene(hit_fraction=0.7, photons=(1000.0, 3000.0))
    simulator = Simulator(
        load_detector(name), scene=scene, response=RESPONSES[name], cell=(79.0, 79.0, 38.0, 90.0, 90.0, 90.0), seed=1
    )
    step = 20 / simulator.gain  # ADU a photon after the change to integers
    frames = [np.clip(simulator.event(k).frame * step + 100, 0, 65535).astype(np.uint16) for k in range(n)]
    return simulator, np.stack(frames), 100 + 2.5 * 20


def seconds(call: Callable[[], object], repeats: int = 7) -> float:
    """Median wall time of a call that ends synchronised."""
    call()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def limits(cupy: Any) -> tuple[float, float]:
    """Bytes a second: page-locked host to device, and device to device (counted once)."""
    from peakrt.engine_cuda import _pinned

    host, device, other = _pinned(cupy, (2**28,), np.uint8), cupy.empty(2**28, np.uint8), cupy.empty(2**28, np.uint8)
    stream = cupy.cuda.Stream(non_blocking=True)

    def upload() -> None:
        for _ in range(4):
            device.set(host, stream=stream)
        stream.synchronize()

    def copy() -> None:
        for _ in range(8):
            cupy.copyto(other, device)
        cupy.cuda.Device().synchronize()

    return 4 * 2**28 / seconds(upload), 8 * 2**28 / seconds(copy)


def stages(cupy: Any, finder: CudaPeakfinder8, frames: Any) -> dict[str, float]:
    """Milliseconds a frame of each kernel, by events."""
    slot, n = finder._slots[0], len(frames)
    kernels, spent = dict(finder._kernels), {}
    for name in kernels:

        class Timed:
            def __init__(self, kernel: Any, label: str) -> None:
                self.kernel, self.label = kernel, label

            def __call__(self, *arguments: Any) -> None:
                start, end = cupy.cuda.Event(), cupy.cuda.Event()
                start.record(slot.stream)
                self.kernel(*arguments)
                end.record(slot.stream)
                end.synchronize()
                spent.setdefault(self.label, []).append(cupy.cuda.get_elapsed_time(start, end) / n)

        finder._kernels[name] = Timed(kernels[name], name)
    for _ in range(6):
        finder._launch(slot, frames, n)
    finder._kernels = kernels
    return {name: float(np.median(times[1:])) for name, times in spent.items()}


def bench(cupy: Any, name: str, h2d: float, d2d: float) -> None:
    simulator, frames, threshold = simulated(name, 32)
    detector = simulator.detector
    options = {"adc_threshold": threshold, "asics": detector.asics, **OPTIONS}
    frame_bytes = frames[0].nbytes
    print(
        f"\n{name}: {' x '.join(map(str, frames.shape[1:]))} uint16; the copy alone allows {h2d / frame_bytes:.0f} frames/s"
    )
    for samples in (0, 100):
        cpu = Peakfinder8(simulator.good, detector.radius, samples_per_bin=samples, original=False, **options)
        expected = [cpu(frame) for frame in frames]
        cpu_rate = len(frames) / seconds(lambda cpu=cpu: [cpu(f) for f in frames], 3)
        print(
            f" {'full statistics' if samples == 0 else f'{samples} pixels a bin'}: {sum(map(len, expected)) / len(frames):.0f} peaks a frame; CPU, one thread: {cpu_rate:.0f} frames/s"
        )
        for batch in (8, 16, 32):
            finder = CudaPeakfinder8(
                simulator.good, detector.radius, samples_per_bin=samples, batch=batch, slots=3, **options
            )
            pinned = [finder.pinned(batch) for _ in range(4)]
            for k, buffer in enumerate(pinned):
                buffer[...] = np.roll(frames, -k * batch, axis=0)[:batch]
            same = sum(
                p.tobytes() == e.tobytes() for p, e in zip(next(finder.find_pinned(pinned[:1])), expected, strict=False)
            )
            rounds = max(8, 1024 // batch)

            def feed(buffers: list[Any], rounds: int = rounds) -> Iterator[Any]:
                return (buffers[k % len(buffers)] for k in range(rounds))

            host = rounds * batch / seconds(lambda f=finder, p=pinned: [None for _ in f.find_pinned(feed(p))], 5)
            resident_frames = [cupy.asarray(p) for p in pinned]
            resident = (
                rounds
                * batch
                / seconds(lambda f=finder, p=resident_frames: [None for _ in f.find_resident(feed(p))], 5)
            )
            parts = stages(cupy, finder, resident_frames[0])
            print(
                f"  batch {batch:3}: end to end {host:7.0f} frames/s ({host * frame_bytes / h2d:.0%} of the copy)   resident {resident:7.0f}   "
                f"same bits as CPU {same}/{batch}   us a frame: "
                + ", ".join(f"{k} {v * 1e3:.1f}" for k, v in parts.items())
            )
        hbm_us = frame_bytes / (2 * d2d) * 1e6
        print(f"  reading a frame once from device memory takes {hbm_us:.1f} us at the measured rate")
        single = CudaPeakfinder8(simulator.good, detector.radius, samples_per_bin=samples, batch=1, **options)
        buffer = single.pinned(1)
        times = []
        for k in range(400):
            buffer[0] = frames[k % len(frames)]
            begin = time.perf_counter()
            next(single.find_pinned([buffer]))
            times.append(time.perf_counter() - begin)
        p50, p99 = np.percentile(times[50:], [50, 99]) * 1e3
        print(f"  one frame, host memory to PEAK array: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    peer(cupy, frames, threshold)


def peer(cupy: Any, frames: np.ndarray, threshold: float) -> None:
    try:
        from cupyx.scipy import ndimage
    except ImportError as error:
        print(f"  cupyx.scipy.ndimage: {error}")
        return
    resident = [cupy.asarray(frame.reshape(-1, frame.shape[-1])) for frame in frames[:8]]

    def run() -> None:
        for frame in resident:
            labels, n = ndimage.label(frame > threshold + 100, cupy.ones((3, 3), int))
            if n:
                ndimage.center_of_mass(frame, labels, cupy.arange(1, n + 1))
        cupy.cuda.Device().synchronize()

    print(f"  cupyx label + center_of_mass at a fixed threshold: {8 / seconds(run, 3):.0f} frames/s resident")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detectors", nargs="*", default=["rayonix_mx170", "epix10k2m", "jungfrau4m"])
    parsed = parser.parse_args()
    cupy = load_cupy()
    h2d, d2d = limits(cupy)
    device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    print(
        f"{device}; CuPy {cupy.__version__}; host to device {h2d / 1e9:.1f} GB/s, device to device {2 * d2d / 1e12:.2f} TB/s (read and written)"
    )
    for name in parsed.detectors:
        bench(cupy, name, h2d, d2d)


if __name__ == "__main__":
    main()
