"""Batches of frames through a GPU: what its finders share.

CuPy holds the memory and launches the kernels of ``csrc/cuda``, which were compiled when PeakRT was installed. Two or
three slots are in flight, each with its stream: while one batch is copied in, another is worked on, and nothing but peaks
comes back. What a slot does with its own frames is captured as a CUDA graph when it is done for the second time.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import as_frame
from ..contracts import FinderKind
from ..extras import to_install
from ..peaks import PEAK, PeakArray

log = logging.getLogger("peakrt")

KERNELS = Path(__file__).parents[1] / "kernels"
DEVICE_TYPES = ("u2", "i2", "u4", "i4", "f4")


def load_cupy() -> Any:
    """CuPy, with a GPU behind it. Raises RuntimeError that says what is missing and how to get it."""
    try:
        import cupy
    except ImportError:
        raise RuntimeError(f"the GPU needs CuPy: {to_install('gpu')}, or use the CPU") from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy raises its own types, which cannot be named without it
        text = str(error).splitlines()[0]
        if "insufficient" in text.lower():
            raise RuntimeError(
                f"the GPU's driver is too old for this CuPy ({text}): update it, or use the CPU"
            ) from None
        raise RuntimeError(f"no usable GPU ({text}): check nvidia-smi, or use the CPU") from None
    if count == 0:
        raise RuntimeError("no GPU found: use the CPU")
    return cupy


def check_gpu() -> Any:
    """CuPy, with a GPU behind it and PeakRT's kernels. Raises RuntimeError that says what is missing."""
    if not (KERNELS / "proposer.fatbin").exists():
        raise RuntimeError(
            f"PeakRT was installed without CUDA kernels: PEAKRT_CUDA=ON {to_install('gpu')}, with nvcc on PATH"
        )
    return load_cupy()


def pinned(cupy: Any, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Page-locked host memory, from which copies run beside everything else."""
    count, kind = int(np.prod(shape)), np.dtype(dtype)
    memory = cupy.cuda.alloc_pinned_memory(max(1, count * kind.itemsize))
    return np.frombuffer(memory, kind, count).reshape(shape)


class Copies:
    """Copies of arrays on the host by a few threads: one alone takes longer for a frame than a GPU to find its peaks."""

    _THREADS, _LEAST_BYTES = 4, 2**20  # of a piece

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(min(self._THREADS, os.cpu_count() or 1), "peakrt-copy")

    def run(self, pairs: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> None:
        """Copy into the first of each pair from the second, of the same shape."""
        pieces = []
        for to, source in pairs:
            n = max(1, min(self._THREADS, to.nbytes // self._LEAST_BYTES))
            if n == 1 or not source.flags.c_contiguous:
                pieces.append((to, source))
            else:
                pieces += zip(np.array_split(to.reshape(-1), n), np.array_split(source.reshape(-1), n), strict=True)
        if len(pieces) == 1:
            np.copyto(*pieces[0])
        else:
            list(self._pool.map(lambda piece: np.copyto(*piece), pieces))


def pack(struct: np.dtype[Any], values: Mapping[str, Any]) -> Any:
    """A struct that kernels take by value; fields without a value are 0. Raises KeyError for a name that it has not."""
    packed = np.zeros((), struct)
    for name, value in values.items():
        if name not in (struct.names or ()):
            raise KeyError(name)
        packed[name] = value
    return packed[()]


@dataclass(frozen=True)
class Launch:
    """One kernel of a stage: blocks along the frame's own axis, threads of a block.

    per_frame : whether the grid's second axis is the frame
    again : whether it does once more what it did, as its struct's field of this name says
    """

    kernel: str
    blocks: int
    threads: int
    per_frame: bool = True
    again: bool = False


@dataclass(frozen=True)
class Stage:
    """A run of kernels, or what an engine queues itself.

    fixed : whether it is the same for every batch, and so may become a graph; before : called before it is queued
    """

    items: Sequence[Launch | Callable[[Slot], None]]
    fixed: bool = True
    before: Callable[[Slot], None] | None = None


class Slot:
    """Buffers and stream of one batch in flight."""

    def __init__(
        self,
        cupy: Any,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        batch: int,
        scratch: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]],
        fetched: Iterable[str],
    ) -> None:
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.done = cupy.cuda.Event(disable_timing=True)
        self.frames = cupy.empty((batch, *shape), dtype)
        self.pinned = pinned(cupy, (batch, *shape), dtype)
        self.scratch = {name: cupy.empty(*what) for name, what in scratch.items()}
        self.host = {name: pinned(cupy, *scratch[name]) for name in fetched}
        self.graphs: dict[tuple[int, int], Any] = {}  # by frames and stage
        self.runs: dict[tuple[int, int], int] = {}
        self.engine: Any = None
        self.n = 0
        self.source: Any = None

    def addresses(self) -> dict[str, int]:
        """Address of each array of the slot on the device."""
        return {name: array.data.ptr for name, array in self.scratch.items()}


class GpuFinder:
    """Base class of the finders on a GPU: takes frames in batches and gives their peaks in order.

    A finder gives its family of kernels, its struct, its plan's arrays and its stages, and it
    finds on the CPU what the GPU has no room for: ``overflows`` counts such batches.
    """

    family = ""
    #: Names of the kernels, and whether they are given the frames.
    kernels: Mapping[str, bool] = {}
    #: Written by the kernels, beside a finder's own scratch.
    peak_arrays = ("peaks", "peak_frame", "peak_place")
    counters: tuple[str, ...] = ("n_peaks",)

    def tell_learned(self) -> None:
        """Copy what the device has learned to the host; most finders learn nothing."""

    def take_mask(self, cpu: Any) -> bool:
        """Search with the mask of another finder on the CPU from now on; most finders are made anew."""
        return False

    def _replace_plan(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put other arrays of the same shapes into the plan's memory. No batch may be under way."""
        for name, array in arrays.items():
            self._plan[name].set(array)
        self._stages_of.clear()
        for slot in self._slots:  # a graph keeps the numbers it was captured with
            slot.graphs.clear()
            slot.runs.clear()

    def __init__(
        self,
        cupy: Any,
        shape: tuple[int, ...],
        plan: Mapping[str, npt.NDArray[Any]],
        scratch: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]],
        *,
        dtype: npt.DTypeLike,
        batch: int,
        slots: int,
        peak_capacity: int | None,
    ) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype.str[1:] not in DEVICE_TYPES:
            raise ValueError(f"dtype is {self.dtype}, on a GPU it should be one of {', '.join(DEVICE_TYPES)}")
        if batch < 1 or slots < 1:
            raise ValueError(f"batch is {batch} and slots {slots}, both should be at least 1")
        self.shape, self.batch, self.overflows = shape, batch, 0
        self.peak_capacity = peak_capacity or 4096 * batch
        self._cupy = cupy
        self._module = cupy.RawModule(path=str(KERNELS / f"{self.family}.fatbin"))
        self._copies = Copies()
        self._functions: dict[str, Any] = {}
        self._stages_of: dict[int, list[Stage]] = {}  # by frames of a batch
        shapes = {
            **scratch,
            "peaks": ((self.peak_capacity * PEAK.itemsize,), np.uint8),
            "peak_frame": ((self.peak_capacity,), np.int32),
            "peak_place": ((self.peak_capacity,), np.int64),
            "n_peaks": ((1,), np.int32),
        }
        try:
            self._plan = {name: cupy.asarray(array) for name, array in plan.items()}
            fetched = (*self.peak_arrays, *self.counters)
            self._slots = [Slot(cupy, shape, self.dtype, batch, shapes, fetched) for _ in range(slots)]
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise MemoryError(f"the GPU has too little memory for batches of {batch}: make them smaller") from error

    # What a finder gives

    def _struct(self, slot: Slot, n: int) -> Any:
        """The kernels' struct for n frames of a slot."""
        raise NotImplementedError

    def _stages(self, n: int) -> list[Stage]:
        """What is done with a batch of n frames."""
        raise NotImplementedError

    def _before(self, slot: Slot, frames: Any) -> None:
        """Act before a batch. frames : of the batch, on the host or on the device."""

    def _overflow(self, slot: Slot) -> str | None:
        """What of a batch the GPU had no room for; None if it had."""
        if int(slot.host["n_peaks"][0]) > self.peak_capacity:
            return f"{int(slot.host['n_peaks'][0])} peaks in a batch"
        return None

    def _find_on_cpu(self, frame: npt.NDArray[Any]) -> PeakArray:
        raise NotImplementedError

    # One batch

    def _function(self, launch: Launch) -> Any:
        name = f"{self.family}_{launch.kernel}" + (f"_{self.dtype.str[1:]}" if self.kernels[launch.kernel] else "")
        if name not in self._functions:
            self._functions[name] = self._module.get_function(name)
        return self._functions[name]

    def _run(self, slot: Slot, n: int) -> None:
        """Queue the kernels of a batch, the first n of the slot's frames, on the slot's stream."""
        if n not in self._stages_of:
            self._stages_of[n] = self._stages(n)
        for number, stage in enumerate(self._stages_of[n]):
            if stage.before is not None:
                stage.before(slot)
            key = (n, number)
            # A graph keeps the addresses and numbers it was captured with.
            if key in slot.graphs:
                slot.graphs[key].launch(slot.stream)
                continue
            again = stage.fixed and slot.runs.get(key, 0) == 1
            struct = self._struct(slot, n)
            with slot.stream:
                if again:
                    slot.stream.begin_capture()
                self._queue(slot, stage.items, struct, n)
                if again:
                    slot.graphs[key] = slot.stream.end_capture()
            if again:
                slot.graphs[key].launch(slot.stream)
            slot.runs[key] = slot.runs.get(key, 0) + 1

    def _queue(self, slot: Slot, stage: Iterable[Any], struct: Any, n: int) -> None:
        for item in stage:
            if not isinstance(item, Launch):
                item(slot)
                continue
            grid = (max(1, item.blocks), n if item.per_frame else 1)
            given = struct
            if item.again:
                given = struct.copy()
                given["again"] = 1
            arguments = (given, slot.frames) if self.kernels[item.kernel] else (given,)
            self._function(item)(grid, (item.threads,), arguments)

    def _fetch(self, slot: Slot) -> None:
        """Queue the copy of counts and of as many peaks as a batch usually has."""
        for name in self.counters:
            slot.scratch[name].get(stream=slot.stream, out=slot.host[name], blocking=False)
        for name in self.peak_arrays:
            size = self._usual() * (PEAK.itemsize if name == "peaks" else 1)
            slot.scratch[name][:size].get(stream=slot.stream, out=slot.host[name][:size], blocking=False)
        slot.done.record(slot.stream)

    def _usual(self) -> int:
        return min(self.peak_capacity, 256 * self.batch)

    def _collect(self, slot: Slot) -> list[PeakArray]:
        """Wait for a batch and give its peaks."""
        slot.done.synchronize()
        why = self._overflow(slot)
        if why is not None:
            return self._all_on_cpu(slot, why)
        n_peaks = int(slot.host["n_peaks"][0])
        if n_peaks > self._usual():
            for name in self.peak_arrays:
                size = n_peaks * (PEAK.itemsize if name == "peaks" else 1)
                slot.scratch[name][:size].get(stream=slot.stream, out=slot.host[name][:size])
        peaks = slot.host["peaks"][: n_peaks * PEAK.itemsize].view(PEAK)
        return split_peaks(peaks, slot.host["peak_frame"][:n_peaks], slot.host["peak_place"][:n_peaks], slot.n)

    def _all_on_cpu(self, slot: Slot, why: str) -> list[PeakArray]:
        """Find the peaks of a batch that the GPU had no room for, one frame after another."""
        self.overflows += 1
        if self.overflows == 1:
            log.warning("the GPU has no room for %s: such batches go to the CPU", why)
        frames = self._cupy.asnumpy(slot.source) if isinstance(slot.source, self._cupy.ndarray) else slot.source
        return [self._find_on_cpu(frames[k]) for k in range(slot.n)]

    # Many batches

    def __call__(self, frame: npt.ArrayLike) -> PeakArray:
        """Find the peaks of one frame, on the host or on the device: a PEAK array."""
        return next(self.map([frame]))

    def map(self, frames: Iterable[Any]) -> Iterator[PeakArray]:
        """Find the peaks of frames as they come, batch by batch; yields one PEAK array each, in order.

        frames : (panel, ss, fs) or (ss, fs) arrays on the host, or arrays on the device (CuPy's, or any that speaks DLPack
        there) of the finder's dtype.
        Raises ValueError for a frame of another shape or dtype.
        """
        running: list[Slot] = []
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
        array = frame
        if not isinstance(frame, self._cupy.ndarray):
            on_device = not isinstance(frame, np.ndarray) and hasattr(frame, "__dlpack_device__")
            # DLPack's device type 2 is CUDA memory
            array = (
                self._cupy.from_dlpack(frame) if on_device and frame.__dlpack_device__()[0] == 2 else as_frame(frame)
            )
        array = array[None] if array.ndim == 2 else array
        if array.shape != self.shape:
            raise ValueError(f"frame has shape {array.shape}, this finder was made for {self.shape}")
        if array.dtype != self.dtype:
            raise ValueError(f"frame has dtype {array.dtype}, this finder was made for {self.dtype}")
        return array

    def _submit(self, slot: Slot, frames: list[Any]) -> None:
        slot.n = len(frames)
        self._after_caller(slot)
        on_host = [k for k, frame in enumerate(frames) if isinstance(frame, np.ndarray)]
        self._copies.run((slot.pinned[k], frames[k]) for k in on_host)
        # What came from the host lies in the pinned buffer until the slot is used again.
        if len(on_host) == len(frames):
            slot.frames[: slot.n].set(slot.pinned[: slot.n], stream=slot.stream)
            slot.source = slot.pinned
        else:
            with slot.stream:
                for k, frame in enumerate(frames):
                    if k in on_host:
                        slot.frames[k].set(slot.pinned[k], stream=slot.stream)
                    else:
                        slot.frames[k][...] = frame
            slot.source = slot.frames
        self._start(slot)

    def _start(self, slot: Slot) -> None:
        self._before(slot, slot.source)
        self._run(slot, slot.n)
        self._fetch(slot)

    def _after_caller(self, slot: Slot) -> None:
        """Let the slot wait for what the caller has queued on its own stream: it may still be filling the frames."""
        slot.stream.wait_event(self._cupy.cuda.get_current_stream().record())

    def find_pinned(self, batches: Iterable[npt.NDArray[Any]]) -> Iterator[list[PeakArray]]:
        """Find the peaks of whole batches that lie in pinned memory (see :meth:`pinned`), without a host copy.

        batches : (n, panel, ss, fs), n up to batch; each must stay untouched until its result is out.
        """
        return self._find_batches(batches)

    def find_resident(self, batches: Iterable[Any]) -> Iterator[list[PeakArray]]:
        """Find the peaks of whole batches that are on the device already: CuPy arrays (n, panel, ss, fs).

        They are copied on the device, since a graph knows its own frames alone; that is a few percent of the search.
        """
        return self._find_batches(batches)

    def _find_batches(self, batches: Iterable[Any]) -> Iterator[list[PeakArray]]:
        running: list[Slot] = []
        for number, frames in enumerate(batches):
            slot = self._slots[number % len(self._slots)]
            if len(running) == len(self._slots):
                yield self._collect(running.pop(0))
            slot.n, slot.source = len(frames), frames
            self._after_caller(slot)
            if isinstance(frames, np.ndarray):
                slot.frames[: slot.n].set(frames, stream=slot.stream)
            else:
                with slot.stream:
                    slot.frames[: slot.n][...] = frames
            self._start(slot)
            running.append(slot)
        for slot in running:
            yield self._collect(slot)

    def pinned(self, n: int) -> npt.NDArray[Any]:
        """Page-locked host memory for n frames."""
        return pinned(self._cupy, (n, *self.shape), self.dtype)


def split_peaks(
    peaks: PeakArray, frame: npt.NDArray[np.int32], place: npt.NDArray[np.int64], n_frames: int
) -> list[PeakArray]:
    """Unordered peaks of a batch as one array a frame, in the CPU's order: by ASIC, then by first pixel."""
    order = np.lexsort((place, frame))
    ends = np.cumsum(np.bincount(frame, minlength=n_frames))
    ordered = peaks.take(order)  # many times faster than peaks[order]
    return [ordered[first:end] for first, end in zip((0, *ends), ends, strict=False)]


def choose_engine(engine: str, kind: FinderKind) -> str:
    """The engine that a finder runs on: what was asked for, or for "auto" a GPU where there is one, logged once.

    Raises ValueError for an engine that the finder cannot run on.
    """
    if engine == "cpu":
        return engine
    cannot = "" if kind.on_gpu is not None else f"{kind.name} runs on the CPU only"
    if engine != "auto":
        if engine not in kind.engines and not cannot:
            cannot = f"{kind.name} has no model for TensorRT: its GPU engine is {' or '.join(kind.engines)}"
        if cannot:
            raise ValueError(f"{cannot}: choose another engine or finder")
        return engine
    try:
        if cannot:
            raise RuntimeError(cannot)
        check_gpu()
    except RuntimeError as error:
        log.info("engine auto: using the CPU (%s)", error)
        return "cpu"
    log.info("engine auto: using the GPU")
    return "cuda"


class FrameRun:
    """Frames that come one after another with one mask, shape and dtype, taken from a feed.

    prepared : what was made for its mask; held : those that were handed out and not yet taken back; rest : the item after them, which differs
    """

    def __init__(self, first: Any, mask: Any, prepared: Any, feed: Iterator[Any]) -> None:
        self.prepared, self.dtype, self.held = prepared, first.dtype, deque([first])
        self.rest: list[Any] = []
        self._first, self._mask, self._feed = first, mask, feed

    def __iter__(self) -> Iterator[Any]:
        first = self._first
        yield first
        for item in self._feed:
            if item is None:  # a pause: what came before is not to wait for what comes after
                return
            frame, mask = item
            array = _on_host_or_device(frame)
            if array.dtype != first.dtype or array.shape != first.shape or not _same_mask(mask, self._mask):
                self.rest.append((frame, mask))
                return
            self.held.append(array)
            yield array


def runs_of_one_kind(items: Iterable[Any], prepare: Callable[[Any, tuple[int, ...]], Any]) -> Iterator[FrameRun]:
    """Cut (frame, mask) pairs into runs of one kind; each run is to be used up before the next is asked for.

    items : None among them is a pause, which ends a run
    prepare : makes what a run needs for its mask, given an event's mask and its frame's shape
    """
    feed = iter(items)
    for item in feed:
        while item is not None:
            first, mask = _on_host_or_device(item[0]), item[1]
            run = FrameRun(first, mask, prepare(mask, tuple(first.shape)), feed)
            yield run
            item = run.rest[0] if run.rest else None


def _on_host_or_device(frame: Any) -> Any:
    """A frame as an array of three axes, on the host unless it lies on a GPU already."""
    if isinstance(frame, np.ndarray) or not hasattr(frame, "__cuda_array_interface__"):
        return as_frame(frame)
    return frame[None] if frame.ndim == 2 else frame


def _same_mask(a: Any, b: Any) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))
