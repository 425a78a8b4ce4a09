"""GPU speed in one run: end to end, resident, by stage, latency, and the limits of this machine.

    python benchmarks/gpu.py [detector ...] [--finder candidate,segmentation,peakfinder8] [--batch 8,16,32]

"end to end" starts with uint16 frames in page-locked host memory and ends with PEAK arrays on the host; "resident" with
frames on the device. Every rate is the median of repeats after a warm-up; the limits (host-to-device copy, device-to-
device copy) are measured in the same run. TensorRT's rows appear where it is installed. Peers on the same frames: the
segmentation student in torch, eager and compiled; the 2025 paper's atto network; CuPy's label and centre of mass; pyFAI's OpenCL
peak finder. What is missing says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from peakrt import Peakfinder8
from peakrt.config import CandidateConfig, Peakfinder8Config, SegmentationConfig
from peakrt.contracts import Setup
from peakrt.finders.candidate import CandidateFinder
from peakrt.finders.learned import Learned
from peakrt.finders.proposer import FEATURES
from peakrt.finders.segmentation import SegmentationFinder
from peakrt.gpu.batches import GpuFinder, Launch, load_cupy, pinned
from peakrt.gpu.candidate import CudaCandidateFinder
from peakrt.gpu.peakfinder8 import CudaPeakfinder8
from peakrt.gpu.segmentation import CudaSegmentationFinder
from peakrt.models.engine_onnx import OnnxEngine
from peakrt.models.model_file import load_model
from peakrt_geometry import load_detector
from peakrt_lab.simulate import RESPONSES, Scene, Simulator

OPTIONS = {"min_snr": 5.0, "min_pixels": 2, "max_pixels": 100, "background_radius": 3}
STEP = 20  # ADU a photon of the frames


def simulated(name: str, n: int) -> tuple[Simulator, np.ndarray, float]:
    """N frames as uint16 with a pedestal, and the threshold of peaks in ADU."""
    scene = Scene(hit_fraction=0.7, photons=(1000.0, 3000.0))
    simulator = Simulator(
        load_detector(name), scene=scene, response=RESPONSES[name], cell=(79.0, 79.0, 38.0, 90.0, 90.0, 90.0), seed=1
    )
    step = STEP / simulator.gain
    frames = [np.clip(simulator.event(k).frame * step + 100, 0, 65535).astype(np.uint16) for k in range(n)]
    return simulator, np.stack(frames), 100 + 2.5 * STEP


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
    host, device, other = pinned(cupy, (2**28,), np.uint8), cupy.empty(2**28, np.uint8), cupy.empty(2**28, np.uint8)
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


def stages(cupy: Any, finder: GpuFinder, frames: Any) -> dict[str, float]:
    """Milliseconds a frame of each kernel, and of the network, by events.

    The device copies memory for a while before, so that all kernels are queued when the first one starts: what is measured is
    not the host's.
    """
    slot, n = finder._slots[0], len(frames)
    busy = [cupy.empty(2**28, np.uint8) for _ in range(2)]
    slot.frames[:n] = frames
    cupy.cuda.Device().synchronize()
    struct, spent = finder._struct(slot, n), {}
    items = [item for stage in finder._stages(n) for item in stage.items]
    for _ in range(6):
        events = [cupy.cuda.Event() for _ in range(len(items) + 1)]
        with slot.stream:
            for _ in range(80):
                cupy.copyto(*busy)
            events[0].record(slot.stream)
            for item, event in zip(items, events[1:], strict=True):
                finder._queue(slot, [item], struct, n)
                event.record(slot.stream)
        slot.stream.synchronize()
        for item, start, end in zip(items, events, events[1:], strict=False):
            name = item.kernel if isinstance(item, Launch) else "model"
            spent.setdefault(name, []).append(cupy.cuda.get_elapsed_time(start, end) / n)
    # A kernel may run several times in a batch: the sum of its medians
    return {name: float(np.median(times)) * len(times) / 6 for name, times in spent.items()}


def finders(simulator: Simulator, threshold: float, kinds: list[str]) -> Iterator[tuple[str, Any, Callable[..., Any]]]:
    """Each finder: its name, its twin on the CPU, and how to make it for a batch."""
    detector, good = simulator.detector, simulator.good
    parts = (good, detector.radius, detector.asics, Learned(STEP))
    if "candidate" in kinds:
        model = load_model("default")
        config = CandidateConfig(bad_pixels="keep")
        setup = Setup(config, *parts, model=model, engine=OnnxEngine(model))
        cpu = CandidateFinder(setup)
        yield "candidate", cpu, lambda **o: CudaCandidateFinder(setup, cpu=cpu, **o)
        if (engine := tensorrt()) is not None:
            judge = lambda rows: engine(model, (rows, len(FEATURES)))  # noqa: E731
            yield "candidate, TensorRT", cpu, lambda **o: CudaCandidateFinder(setup, cpu=cpu, engine=judge, **o)
    if "segmentation" in kinds:
        model = load_model("segmentation", "segmentation")
        setup_of_segmentation = Setup(SegmentationConfig(), *parts, model=model, engine=OnnxEngine(model))
        segmentation = SegmentationFinder(setup_of_segmentation)
        yield (
            "segmentation",
            segmentation,
            lambda **o: CudaSegmentationFinder(setup_of_segmentation, cpu=segmentation, **o),
        )
        if (engine := tensorrt()) is not None:
            for name in ("segmentation", "segmentation-fp16", "segmentation-int8"):
                other = load_model(name, "segmentation")

                def make(other: Any = other, **o: Any) -> CudaSegmentationFinder:
                    return CudaSegmentationFinder(
                        replace(setup_of_segmentation, model=other), cpu=segmentation, half=other.precision == "fp16",
                        engine=lambda shape: engine(other, shape), **o,
                    )  # fmt: skip

                yield f"segmentation, TensorRT {other.precision}", segmentation, make
    if "peakfinder8" in kinds:
        for samples in (0, 100):
            own = Peakfinder8Config(threshold, **OPTIONS, samples_per_bin=samples)
            yield (
                "peakfinder8" + (f", {samples} pixels a bin" if samples else ""),
                Peakfinder8(good, detector.radius, own, asics=detector.asics, original=False),
                lambda own=own, **o: CudaPeakfinder8(good, detector.radius, own, asics=detector.asics, **o),
            )


def tensorrt() -> Any:
    """The engine's class, or None where there is no TensorRT or it knows no such GPU."""
    from peakrt.models.engine_tensorrt import TensorRTEngine

    try:
        TensorRTEngine(load_model("default"), (1024, len(FEATURES)))
    except RuntimeError as error:
        print(f"  TensorRT: {error}")
        return None
    return TensorRTEngine


def agreement(found: list[Any], expected: list[Any]) -> str:
    """How many frames have the CPU's peaks: as many, and none farther than 0.02 px."""
    same = bits = 0
    for ours, theirs in zip(found, expected, strict=False):
        bits += ours.tobytes() == theirs.tobytes()
        if len(ours) == len(theirs):
            off = [np.abs(ours[name] - theirs[name]).max(initial=0) for name in ("ss", "fs")]
            same += max(off) <= 0.02
    return f"peaks as on the CPU in {same}/{len(found)} frames, bit for bit in {bits}"


def bench(cupy: Any, name: str, h2d: float, d2d: float, kinds: list[str], batches: list[int]) -> None:
    simulator, frames, threshold = simulated(name, 32)
    frame_bytes = frames[0].nbytes
    print(
        f"\n{name}: {' x '.join(map(str, frames.shape[1:]))} uint16; the copy alone allows {h2d / frame_bytes:.0f} "
        f"frames/s, reading a frame once from device memory takes {frame_bytes / (2 * d2d) * 1e6:.1f} us"
    )
    for label, cpu, make in finders(simulator, threshold, kinds):
        expected = [cpu(frame) for frame in frames]
        cpu_rate = 8 / seconds(lambda cpu=cpu: [cpu(f) for f in frames[:8]], 3)
        print(
            f" {label}: {sum(map(len, expected)) / len(frames):.0f} peaks a frame; CPU, one thread: {cpu_rate:.0f} frames/s"
        )
        for batch in batches:
            try:
                rate(cupy, make(batch=batch, slots=3), frames, expected, h2d, d2d)
            except MemoryError as error:
                print(f"  batch {batch:3}: {error}")
        latency(make(batch=1, slots=1), frames)
    peer(cupy, frames, threshold)


#: Kernels that read every pixel: how far each is from reading the frame once.
WHOLE_FRAME = ("tiles", "sweep", "segmentation_input", "above")


def rate(cupy: Any, finder: GpuFinder, frames: np.ndarray, expected: list[Any], h2d: float, d2d: float) -> None:
    batch, buffers = finder.batch, [finder.pinned(finder.batch) for _ in range(4)]
    for k, buffer in enumerate(buffers):
        buffer[...] = np.roll(frames, -k * batch, axis=0)[:batch]
    agrees = agreement(next(finder.find_pinned(buffers[:1])), expected)
    rounds = max(8, 1024 // batch)

    def feed(buffers: list[Any]) -> Iterator[Any]:
        return (buffers[k % len(buffers)] for k in range(rounds))

    host = rounds * batch / seconds(lambda: [None for _ in finder.find_pinned(feed(buffers))], 5)
    on_device = [cupy.asarray(buffer) for buffer in buffers]
    resident = rounds * batch / seconds(lambda: [None for _ in finder.find_resident(feed(on_device))], 5)
    parts = stages(cupy, finder, on_device[0])
    print(
        f"  batch {batch:3}: end to end {host:7.0f} frames/s ({host * frames[0].nbytes / h2d:.0%} of the copy)   resident "
        f"{resident:7.0f}   {agrees}; {finder.overflows} batches to the CPU\n    us a frame: "
        + ", ".join(f"{k} {v * 1e3:.1f}" for k, v in sorted(parts.items(), key=lambda item: -item[1]))
    )
    once = frames[0].nbytes / (2 * d2d) * 1e3
    print(
        "    against reading the frame once: "
        + ", ".join(f"{k} {v / once:.1f}x" for k, v in parts.items() if k in WHOLE_FRAME)
    )


def latency(finder: GpuFinder, frames: np.ndarray) -> None:
    buffer, times = finder.pinned(1), []
    for k in range(400):
        buffer[0] = frames[k % len(frames)]
        begin = time.perf_counter()
        next(finder.find_pinned([buffer]))
        times.append(time.perf_counter() - begin)
    p50, p99 = np.percentile(times[50:], [50, 99]) * 1e3
    print(f"  one frame, host memory to PEAK array: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


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


def torch_peers(frames: np.ndarray) -> None:
    try:
        import torch

        from peakrt_lab.peaknet2025 import PeakNet2025
        from peakrt_lab.segmentation_network import SegmentationStudent
    except ImportError as error:
        print(f"torch: {error}")
        return
    if not torch.cuda.is_available():
        print("torch: no GPU")
        return
    panels, n_ss, n_fs = frames.shape[1:]
    # Sides that every network takes: multiples of 32
    images = torch.randn(4 * panels, 3, n_ss // 32 * 32, n_fs // 32 * 32, device="cuda", dtype=torch.half)
    student = SegmentationStudent().cuda().half().eval()
    atto = PeakNet2025("atto", in_channels=3).cuda().half().eval()
    for name, network in (
        ("segmentation student, torch eager fp16", student),
        ("segmentation student, torch.compile fp16", torch.compile(student)),
        ("the paper's atto + BiFPN, torch eager fp16", atto),
    ):

        def run(network: Any = network) -> None:
            with torch.no_grad():
                for start in range(0, len(images), max(1, panels)):
                    network(images[start : start + max(1, panels)])
            torch.cuda.synchronize()

        try:
            print(f"  {name}, network alone: {4 / seconds(run, 3):.0f} frames/s resident")
        except RuntimeError as error:
            print(f"  {name}: {str(error).splitlines()[0]}")


def pyfai_peer(detector: Any, frames: np.ndarray) -> None:
    try:
        from pyFAI.opencl.peak_finder import OCL_PeakFinder
    except ImportError as error:
        print(f"  pyFAI: {error}")
        return
    try:
        slab = frames.reshape(len(frames), -1, frames.shape[-1])
        radius = detector.radius.reshape(slab.shape[1:]).astype(np.float32)
        bins = int(radius.max())
        pixels = np.arange(radius.size, dtype=np.int32)
        order = np.argsort(np.minimum(radius.ravel().astype(int), bins - 1), kind="stable")
        counts = np.bincount(np.minimum(radius.ravel().astype(int), bins - 1), minlength=bins)
        indptr = np.r_[0, np.cumsum(counts)].astype(np.int32)
        csr = (np.ones(radius.size, np.float32), pixels[order], indptr)
        finder = OCL_PeakFinder(csr, radius.size, bin_centers=np.arange(bins) + 0.5, radius=radius, platformid=0)
        took = seconds(lambda: [finder.peakfinder8(frame.astype(np.float32)) for frame in slab[:8]], 3)
        print(f"  pyFAI's OpenCL peakfinder8: {8 / took:.0f} frames/s end to end")
    except Exception as error:  # whatever OpenCL lacks here
        print(f"  pyFAI: {str(error).splitlines()[0] if str(error) else type(error).__name__}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detectors", nargs="*", default=["rayonix_mx170", "epix10k2m", "jungfrau4m"])
    parser.add_argument("--finder", default="candidate,segmentation,peakfinder8")
    parser.add_argument("--batch", default="8,16,32")
    parsed = parser.parse_args()
    cupy = load_cupy()
    h2d, d2d = limits(cupy)
    device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    print(
        f"{device}; CuPy {cupy.__version__}; host to device {h2d / 1e9:.1f} GB/s, device to device {2 * d2d / 1e12:.2f} TB/s (read and written)"
    )
    for name in parsed.detectors:
        bench(cupy, name, h2d, d2d, parsed.finder.split(","), [int(n) for n in parsed.batch.split(",")])
    _, frames, _ = simulated(parsed.detectors[0], 8)
    print(f"\nnetworks in torch and pyFAI, {parsed.detectors[0]}:")
    torch_peers(frames)
    pyfai_peer(load_detector(parsed.detectors[0]), frames)


if __name__ == "__main__":
    main()
