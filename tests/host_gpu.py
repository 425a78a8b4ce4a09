"""A stand-in for CuPy where there is no GPU: device memory is host memory, a kernel is its body in a loop.

So the finders' own code runs, the structs they pack and the kernels they launch in their order; what is not exercised are
races, streams and the compiler for the device.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from peakrt import _native
from peakrt.gpu import batches as gpu

FAMILIES = {
    "peakfinder8": _native.peakfinder8_twin,
    "proposer": _native.proposer_twin,
    "segmentation": lambda kernel, struct, frames: _native.conv_twin(struct),
}


class DeviceArray(np.ndarray):
    """An array that says where it lies, as CuPy's do. What nobody wrote holds rubbish, as on a device."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        return types.SimpleNamespace(ptr=self.__array_interface__["data"][0])

    def get(self, *, stream: Any = None, out: np.ndarray, blocking: bool = True) -> None:
        out[...] = np.asarray(self).reshape(out.shape)

    def set(self, array: np.ndarray, *, stream: Any = None) -> None:
        np.asarray(self)[...] = array


class Event:
    def __init__(self, **options: Any) -> None: ...
    def record(self, stream: Any = None) -> None: ...
    def synchronize(self) -> None: ...


class Stream:
    ptr = 0

    def __init__(self, **options: Any) -> None:
        self.capturing: list[Any] | None = None
        self.captured = 0

    def __enter__(self) -> Stream:
        HostGpu.current = self
        return self

    def __exit__(self, *error: Any) -> None:
        HostGpu.current = HostGpu.default

    def record(self) -> Event:
        return Event()

    def wait_event(self, event: Event) -> None:
        assert event is not None

    def synchronize(self) -> None: ...

    def begin_capture(self) -> None:
        self.capturing = []

    def end_capture(self) -> Any:
        calls, self.capturing = self.capturing, None
        self.captured += 1
        assert calls

        def launch(stream: Stream) -> None:
            for call in calls:
                call()

        return types.SimpleNamespace(launch=launch)


class Module:
    def __init__(self, path: str) -> None:
        self.family = path.rsplit("/", 1)[1].removesuffix(".fatbin")

    def get_function(self, name: str) -> Any:
        family, _, kernel = name.partition("_")
        assert family == self.family
        stem, _, suffix = kernel.rpartition("_")
        takes_pixels = suffix in gpu.DEVICE_TYPES
        kernel = stem if takes_pixels else kernel

        def call(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            assert all(n > 0 for n in (*grid, *block))
            struct = np.array([arguments[0]])
            frames = np.asarray(arguments[1]) if takes_pixels else np.zeros(1, np.float32)
            assert not takes_pixels or frames.dtype.str[1:] == suffix
            stream = HostGpu.current

            def run() -> None:
                FAMILIES[family](kernel, struct.view(np.uint8), np.ascontiguousarray(frames))

            stream.capturing.append(run) if stream.capturing is not None else run()

        return call


class HostGpu:
    """The module."""

    default = Stream()
    current = default
    ndarray = DeviceArray
    RawModule = Module

    def __init__(self) -> None:
        memory = types.SimpleNamespace(OutOfMemoryError=MemoryError)
        self.cuda = types.SimpleNamespace(
            Stream=Stream, Event=Event, alloc_pinned_memory=lambda n: bytearray(n), memory=memory,
            get_current_stream=lambda: HostGpu.default,
        )  # fmt: skip

    @staticmethod
    def empty(shape: Any, dtype: Any) -> DeviceArray:
        out = np.empty(shape, dtype)
        out.view(np.uint8)[...] = 0xCD
        return out.view(DeviceArray)

    @staticmethod
    def zeros(shape: Any, dtype: Any) -> DeviceArray:
        return np.zeros(shape, dtype).view(DeviceArray)

    @staticmethod
    def asarray(array: Any) -> DeviceArray:
        return np.array(array, order="C").view(DeviceArray)

    @staticmethod
    def asnumpy(array: Any) -> np.ndarray:
        return np.array(array).view(np.ndarray)
