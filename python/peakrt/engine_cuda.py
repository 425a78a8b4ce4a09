"""peakfinder8 on a GPU: batches in, PEAK tables out, nothing but peaks crosses back.

CuPy holds the memory and launches the kernels of ``csrc/cuda/peakfinder8.cu``, which were compiled when PeakRT was
installed. The same sums in the same order as on the CPU: the peaks of ``Peakfinder8(..., original=False)`` to the last
bit. Two slots are in flight, each with its stream, so that one batch is copied in while another is worked on. Groups
of more than 128 pixels are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .classical import Peakfinder8, as_frame, check_options, radial_plan
from .peaks import PEAK, PeakArray

log = logging.getLogger("peakrt")

KERNELS = Path(__file__).parent / "kernels" / "peakfinder8.fatbin"
LANES, MAX_GROUP = 32, 128  # kDeviceLanes, kDeviceGroup
DEVICE_TYPES = ("u2", "i2", "u4", "i4", "f4")

#: struct DeviceBatch, field for field; addresses are 64 bits.
DEVICE_BATCH = np.dtype(
    [
        ("shape", np.int32, 3), ("n_frames", np.int32), ("n_bins", np.int32), ("n_bins_padded", np.int32),
        ("n_groups", np.int32), ("n_asics", np.int32), ("bin", np.uint64), ("order", np.uint64),
        ("group_first", np.uint64), ("group_deep", np.uint64), ("asics", np.uint64), ("asic_of", np.uint64),
        ("block_bin", np.uint64), ("block_good", np.uint64), ("block_span", np.int32), ("n_order", np.int64), ("values", np.uint64), ("threshold", np.uint64),
        ("offset", np.uint64), ("floor", np.uint64), ("foreground", np.uint64), ("n_foreground", np.uint64),
        ("foreground_capacity", np.int32), ("peaks", np.uint64), ("peak_frame", np.uint64), ("peak_seed", np.uint64),
        ("n_peaks", np.uint64), ("peak_capacity", np.int32), ("adc_threshold", np.float32), ("min_snr", np.float32),
        ("min_pixels", np.int32), ("max_pixels", np.int32), ("background_radius", np.int32),
    ],
    align=True,
)  # fmt: skip


def host_plan(
    mask: npt.ArrayLike | None,
    radius: npt.ArrayLike,
    *,
    asics: npt.ArrayLike | None,
    samples_per_bin: int,
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The plan of peakfinder8 as arrays, and the frame's shape; see :class:`peakrt.classical.Peakfinder8`."""
    shape, rectangles, plan = radial_plan(mask, radius, asics, samples_per_bin)
    owner = np.full(shape, len(rectangles), np.uint16)
    for number, (panel, min_ss, end_ss, min_fs, end_fs) in enumerate(rectangles):
        owner[panel, min_ss:end_ss, min_fs:end_fs] = number
    return shape, {**plan.arrays(), "asics": rectangles, "asic_of": owner}


def pack_batch(
    shape: tuple[int, ...], plan: dict[str, Any], options: dict[str, Any], n_frames: int, arrays: dict[str, int]
) -> npt.NDArray[np.void]:
    """Struct DeviceBatch: numbers of the plan, options, and the addresses of all arrays, device's or host's."""
    batch = np.zeros(1, DEVICE_BATCH)
    batch["shape"], batch["n_frames"] = shape, n_frames
    batch["n_bins"], batch["n_groups"] = plan["n_bins"], len(plan["group_deep"])
    batch["n_bins_padded"], batch["n_asics"] = len(plan["group_deep"]) * LANES, len(plan["asics"])
    batch["block_span"], batch["n_order"] = plan["block_span"], len(plan["order"])
    for name, value in {**options, **arrays}.items():
        batch[name] = value
    return batch


def scratch_shapes(plan: dict[str, Any], n_frames: int, foreground: int, peaks: int) -> dict[str, tuple[Any, Any]]:
    """Shapes and dtypes of what a batch writes."""
    bins = len(plan["group_deep"]) * LANES + 1
    return {
        "values": ((n_frames, len(plan["order"])), np.float32),
        "threshold": ((n_frames, bins), np.float32),
        "offset": ((n_frames, bins), np.float32),
        "floor": ((n_frames, bins), np.float32),
        "foreground": ((n_frames, foreground), np.int32),
        "n_foreground": ((n_frames,), np.int32),
        "peaks": ((peaks * PEAK.itemsize,), np.uint8),
        "peak_frame": ((peaks,), np.int32),
        "peak_seed": ((peaks,), np.int32),
        "n_peaks": ((1,), np.int32),
    }


PLAN_ARRAYS = ("bin", "order", "group_first", "group_deep", "asics", "asic_of", "block_bin", "block_good")


def split_peaks(
    peaks: PeakArray,
    frame: npt.NDArray[np.int32],
    seed: npt.NDArray[np.int32],
    asic_of: npt.NDArray[Any],
    n_frames: int,
) -> list[PeakArray]:
    """Unordered peaks of a batch as one array a frame, in the CPU's order: by ASIC, then by first pixel."""
    order = np.lexsort((seed, asic_of.ravel()[seed], frame))
    ends = np.searchsorted(frame[order], np.arange(n_frames + 1))
    ordered = peaks[order]
    return [ordered[ends[k] : ends[k + 1]] for k in range(n_frames)]


def load_cupy() -> Any:
    """CuPy, with a GPU behind it. Raises RuntimeError that says what is missing and how to get it."""
    try:
        import cupy
    except ImportError:
        raise RuntimeError("the GPU finder needs CuPy: pip install 'peakrt[gpu]', or use the CPU") from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy raises its own types, which cannot be named without it
        raise RuntimeError(f"no usable GPU ({str(error).splitlines()[0]}): check nvidia-smi, or use the CPU") from None
    if count == 0:
        raise RuntimeError("no GPU found: use the CPU")
    return cupy


def check_gpu() -> Any:
    """CuPy, with a GPU behind it and PeakRT's kernels. Raises RuntimeError that says what is missing."""
    if not KERNELS.exists():
        raise RuntimeError("PeakRT was installed without CUDA kernels: install it again where nvcc is on PATH")
    return load_cupy()


class _Slot:
    """Buffers and stream of one batch in flight."""

    def __init__(self, cupy: Any, finder: CudaPeakfinder8) -> None:
        n, shape = finder.batch, finder.shape
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.done = cupy.cuda.Event(disable_timing=True)
        self.frames = cupy.empty((n, *shape), finder.dtype)
        self.pinned = _pinned(cupy, (n, *shape), finder.dtype)
        shapes = scratch_shapes(finder.plan, n, finder.foreground_capacity, finder.peak_capacity)
        self.scratch = {name: cupy.empty(*what) for name, what in shapes.items()}
        self.host = {
            name: _pinned(cupy, *shapes[name])
            for name in ("peaks", "peak_frame", "peak_seed", "n_peaks", "n_foreground")
        }
        self.n = 0
        self.source: Any = None


class CudaPeakfinder8:
    """peakfinder8 on a GPU for one geometry and mask.

    Options as :class:`peakrt.classical.Peakfinder8`; besides
    dtype : of the frames on the device, one of u2, i2, u4, i4, f4
    batch : frames worked on together; slots : batches in flight
    foreground_capacity : pixels above threshold of a frame, by default one in eight
    peak_capacity : peaks of a batch, by default 2048 a frame; batches with more of either go to the CPU, and
        ``overflows`` counts them
    Raises RuntimeError without CuPy, GPU or kernels, ValueError for bad options or shapes, and MemoryError where the
    GPU has too little memory.
    """

    def __init__(
        self,
        mask: npt.ArrayLike | None,
        radius: npt.ArrayLike,
        *,
        adc_threshold: float,
        min_snr: float,
        min_pixels: int,
        max_pixels: int,
        background_radius: int,
        asics: npt.ArrayLike | None = None,
        samples_per_bin: int = 0,
        dtype: npt.DTypeLike = np.uint16,
        batch: int = 16,
        slots: int = 2,
        foreground_capacity: int | None = None,
        peak_capacity: int | None = None,
    ) -> None:
        cupy = check_gpu()
        check_options(min_pixels, max_pixels, background_radius, samples_per_bin)
        if max_pixels > MAX_GROUP:
            raise ValueError(f"max_pixels is {max_pixels}, on a GPU it should be at most {MAX_GROUP}")
        self.dtype = np.dtype(dtype)
        if self.dtype.str[1:] not in DEVICE_TYPES:
            raise ValueError(f"dtype is {self.dtype}, on a GPU it should be one of {', '.join(DEVICE_TYPES)}")
        self.shape, self.plan = host_plan(mask, radius, asics=asics, samples_per_bin=samples_per_bin)
        self.options = {
            "adc_threshold": adc_threshold,
            "min_snr": min_snr,
            "min_pixels": min_pixels,
            "max_pixels": max_pixels,
            "background_radius": background_radius,
        }
        self.batch = batch
        self.foreground_capacity = foreground_capacity or max(1024, int(np.prod(self.shape)) // 8)
        self.peak_capacity = peak_capacity or 2048 * batch
        self._cupy = cupy
        self.overflows = 0
        self._twin: Peakfinder8 | None = None
        shared = {"asics": asics, "samples_per_bin": samples_per_bin, **self.options}
        self._arguments: tuple[Any, dict[str, Any]] = ((mask, radius), shared)
        module = cupy.RawModule(path=str(KERNELS))
        kind = self.dtype.str[1:]
        names = {"clear": "clear_counts", "gather": f"gather_{kind}", "radial": "radial", "floors": "floors"}
        names |= {"above": f"above_{kind}", "groups": f"groups_{kind}"}
        self._kernels = {name: module.get_function(symbol) for name, symbol in names.items()}
        try:
            self._plan_on_device = {name: cupy.asarray(self.plan[name]) for name in PLAN_ARRAYS}
            self._slots = [_Slot(cupy, self) for _ in range(slots)]
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise MemoryError(f"the GPU has too little memory for batches of {batch}: make them smaller") from error

    # One batch on the device

    def _launch(self, slot: _Slot, frames: Any, n: int) -> None:
        """Queue the kernels of a batch on the slot's stream. frames: (n, panel, ss, fs) on the device."""
        addresses = {name: array.data.ptr for name, array in {**self._plan_on_device, **slot.scratch}.items()}
        capacities = {"foreground_capacity": self.foreground_capacity, "peak_capacity": self.peak_capacity}
        batch = pack_batch(self.shape, self.plan, {**self.options, **capacities}, n, addresses)[0]
        pixels = int(np.prod(self.shape))
        blocks, groups = -(-pixels // 16), len(self.plan["group_deep"])
        with slot.stream:
            self._kernels["clear"]((-(-n // 128),), (128,), (batch,))
            self._kernels["gather"]((1024, n), (256,), (batch, frames))
            self._kernels["radial"]((-(-groups * n * LANES // 64),), (64,), (batch,))
            self._kernels["floors"]((-(-(self.plan["n_bins"] + 1) // 128), n), (128,), (batch,))
            self._kernels["above"]((-(-blocks // 256), n), (256,), (batch, frames))
            self._kernels["groups"]((256, n), (64,), (batch, frames))

    def _fetch(self, slot: _Slot) -> None:
        """Queue the copy of counts and of as many peaks as a batch usually has."""
        usual = min(self.peak_capacity, 256 * self.batch)
        for name in ("n_peaks", "n_foreground"):
            slot.scratch[name].get(stream=slot.stream, out=slot.host[name], blocking=False)
        for name in ("peaks", "peak_frame", "peak_seed"):
            size = usual * (PEAK.itemsize if name == "peaks" else 1)
            slot.scratch[name][:size].get(stream=slot.stream, out=slot.host[name][:size], blocking=False)
        slot.done.record(slot.stream)

    def _collect(self, slot: _Slot) -> list[PeakArray]:
        """Wait for a batch and give its peaks."""
        slot.done.synchronize()
        n_peaks, listed = int(slot.host["n_peaks"][0]), int(slot.host["n_foreground"][: slot.n].max(initial=0))
        if listed > self.foreground_capacity or n_peaks > self.peak_capacity:
            return self._on_cpu(slot, f"a frame with {listed} pixels above threshold, {n_peaks} peaks in a batch")
        if n_peaks > min(self.peak_capacity, 256 * self.batch):
            for name in ("peaks", "peak_frame", "peak_seed"):
                size = n_peaks * (PEAK.itemsize if name == "peaks" else 1)
                slot.scratch[name][:size].get(stream=slot.stream, out=slot.host[name][:size])
        peaks = slot.host["peaks"][: n_peaks * PEAK.itemsize].view(PEAK)
        frame, seed = slot.host["peak_frame"][:n_peaks], slot.host["peak_seed"][:n_peaks]
        return split_peaks(peaks, frame, seed, self.plan["asic_of"], slot.n)

    def _on_cpu(self, slot: _Slot, why: str) -> list[PeakArray]:
        """Find the peaks of a batch that the GPU had no room for, one frame after another."""
        self.overflows += 1
        if self._twin is None:
            log.warning("the GPU has no room for %s: such batches go to the CPU", why)
            self._twin = Peakfinder8(*self._arguments[0], original=False, **self._arguments[1])
        frames = self._cupy.asnumpy(slot.source) if isinstance(slot.source, self._cupy.ndarray) else slot.source
        return [self._twin(frames[k]) for k in range(slot.n)]

    # Many batches

    def __call__(self, frame: npt.ArrayLike) -> PeakArray:
        """Find the peaks of one frame, on the host or on the device: a PEAK array."""
        return next(self.map([frame]))

    def map(self, frames: Iterable[Any]) -> Iterator[PeakArray]:
        """Find the peaks of frames as they come, batch by batch; yields one PEAK array each, in order.

        frames : (panel, ss, fs) or (ss, fs) arrays on the host, or CuPy arrays of the finder's dtype.
        Raises ValueError for a frame of another shape or dtype.
        """
        running: list[_Slot] = []
        pending: list[Any] = []
        number = 0

        def submit() -> None:
            nonlocal number
            slot = self._slots[number % len(self._slots)]
            number += 1
            self._submit(slot, pending)
            running.append(slot)
            pending.clear()

        for frame in frames:
            pending.append(self._checked(frame))
            if len(pending) == self.batch:
                if len(running) == len(self._slots):
                    yield from self._collect(running.pop(0))
                submit()
        if pending:
            if len(running) == len(self._slots):
                yield from self._collect(running.pop(0))
            submit()
        for slot in running:
            yield from self._collect(slot)

    def _checked(self, frame: Any) -> Any:
        array = frame if isinstance(frame, self._cupy.ndarray) else as_frame(frame)
        array = array[None] if array.ndim == 2 else array
        if array.shape != self.shape:
            raise ValueError(f"frame has shape {array.shape}, this finder was made for {self.shape}")
        if array.dtype != self.dtype:
            raise ValueError(f"frame has dtype {array.dtype}, this finder was made for {self.dtype}")
        return array

    def _submit(self, slot: _Slot, frames: list[Any]) -> None:
        slot.n = len(frames)
        self._after_caller(slot)
        on_host = [k for k, frame in enumerate(frames) if isinstance(frame, np.ndarray)]
        for k in on_host:
            slot.pinned[k] = frames[k]
        with slot.stream:
            for k, frame in enumerate(frames):
                if isinstance(frame, np.ndarray):
                    slot.frames[k].set(slot.pinned[k], stream=slot.stream)
                else:
                    slot.frames[k][...] = frame
        # What came from the host lies in the pinned buffer until the slot is used again.
        slot.source = slot.pinned if len(on_host) == len(frames) else slot.frames
        self._launch(slot, slot.frames, slot.n)
        self._fetch(slot)

    def _after_caller(self, slot: _Slot) -> None:
        """Let the slot wait for what the caller has queued on its own stream: it may still be filling the frames."""
        slot.stream.wait_event(self._cupy.cuda.get_current_stream().record())

    def find_pinned(self, batches: Iterable[npt.NDArray[Any]]) -> Iterator[list[PeakArray]]:
        """Find the peaks of whole batches that lie in pinned memory (see :meth:`pinned`), without a host copy.

        batches : (n, panel, ss, fs), n up to batch; each must stay untouched until its result is out.
        """
        return self._find_batches(batches, upload=True)

    def find_resident(self, batches: Iterable[Any]) -> Iterator[list[PeakArray]]:
        """Find the peaks of whole batches that are on the device already: CuPy arrays (n, panel, ss, fs)."""
        return self._find_batches(batches, upload=False)

    def _find_batches(self, batches: Iterable[Any], *, upload: bool) -> Iterator[list[PeakArray]]:
        running: list[_Slot] = []
        for number, frames in enumerate(batches):
            slot = self._slots[number % len(self._slots)]
            if len(running) == len(self._slots):
                yield self._collect(running.pop(0))
            slot.n, slot.source = len(frames), frames
            self._after_caller(slot)
            if upload:
                slot.frames[: slot.n].set(frames, stream=slot.stream)
            self._launch(slot, slot.frames if upload else frames, slot.n)
            self._fetch(slot)
            running.append(slot)
        for slot in running:
            yield self._collect(slot)

    def pinned(self, n: int) -> npt.NDArray[Any]:
        """Page-locked host memory for n frames."""
        return _pinned(self._cupy, (n, *self.shape), self.dtype)


def _pinned(cupy: Any, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    count, kind = int(np.prod(shape)), np.dtype(dtype)
    memory = cupy.cuda.alloc_pinned_memory(max(1, count * kind.itemsize))
    return np.frombuffer(memory, kind, count).reshape(shape)
