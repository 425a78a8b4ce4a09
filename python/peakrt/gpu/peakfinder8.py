"""peakfinder8 on a GPU: the peaks of ``Peakfinder8(..., original=False)`` to the last bit.

The same sums in the same order as on the CPU. Groups of more than 128 pixels are refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _native
from ..arrays import asic_numbers
from ..config import Peakfinder8Config
from ..finders.peakfinder8 import Peakfinder8, check_options, native_options, radial_plan
from ..peaks import PeakArray
from .batches import GpuFinder, Launch, Slot, Stage, check_gpu, pack

LANES, MAX_GROUP = _native.DEVICE["lanes"], _native.DEVICE["group"]
_PIXELS = _native.DEVICE["block"]  # that a thread of the threshold pass looks at
PLAN_ARRAYS = ("bin", "order", "group_first", "group_deep", "asics", "asic_of", "block_bin", "block_good")
#: The kernels of csrc/cuda/peakfinder8.cu, and whether they are given the frames.
KERNELS = {"clear": False, "gather": True, "radial": False, "floors": False, "above": True, "groups": True}


def host_plan(
    mask: npt.ArrayLike | None,
    radius: npt.ArrayLike,
    *,
    asics: npt.ArrayLike | None,
    samples_per_bin: int,
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The plan of peakfinder8 as arrays, and the frame's shape; see :class:`peakrt.finders.peakfinder8.Peakfinder8`."""
    shape, rectangles, plan = radial_plan(mask, radius, asics, samples_per_bin)
    return shape, {**plan.arrays(), "asics": rectangles, "asic_of": asic_numbers(shape, rectangles)}


class CudaPeakfinder8(GpuFinder):
    """peakfinder8 on a GPU for one geometry and mask.

    mask, radius, config, asics : as :class:`peakrt.finders.peakfinder8.Peakfinder8`'s
    dtype : of the frames on the device, one of u2, i2, u4, i4, f4
    batch : frames worked on together; slots : batches in flight
    foreground_capacity : pixels above threshold of a frame, by default one in eight
    peak_capacity : peaks of a batch, by default 4096 a frame; batches with more of either go to the CPU, and
        ``overflows`` counts them
    Raises RuntimeError without CuPy, GPU or kernels, ValueError for bad options or shapes, and MemoryError where the
    GPU has too little memory.
    """

    family = "peakfinder8"
    kernels = KERNELS
    counters = ("n_peaks", "n_foreground")

    def __init__(
        self,
        mask: npt.ArrayLike | None,
        radius: npt.ArrayLike,
        config: Peakfinder8Config,
        *,
        asics: npt.ArrayLike | None = None,
        dtype: npt.DTypeLike = np.uint16,
        batch: int = 16,
        slots: int = 2,
        foreground_capacity: int | None = None,
        peak_capacity: int | None = None,
    ) -> None:
        cupy = check_gpu()
        check_options(config)
        if config.max_pixels > MAX_GROUP:
            raise ValueError(f"max_pixels is {config.max_pixels}, on a GPU it should be at most {MAX_GROUP}")
        shape, plan = host_plan(mask, radius, asics=asics, samples_per_bin=config.samples_per_bin)
        foreground = foreground_capacity or max(1024, int(np.prod(shape)) // 8)
        self._numbers = {
            "options": native_options(config), "shape": shape, "n_bins": plan["n_bins"], "n_groups": len(plan["group_deep"]),
            "n_bins_padded": len(plan["group_deep"]) * LANES, "n_asics": len(plan["asics"]),
            "block_span": plan["block_span"], "n_order": len(plan["order"]), "foreground_capacity": foreground,
        }  # fmt: skip
        self._arguments = mask, radius, config, asics
        self._twin: Peakfinder8 | None = None
        per_bin = ((batch, self._numbers["n_bins_padded"] + 1), np.float32)
        scratch = {
            "values": ((batch, len(plan["order"])), np.float32), "threshold": per_bin, "offset": per_bin,
            "floor": per_bin, "foreground": ((batch, foreground), np.int32), "n_foreground": ((batch,), np.int32),
        }  # fmt: skip
        arrays = {name: plan[name] for name in PLAN_ARRAYS}
        super().__init__(
            cupy, shape, arrays, scratch, dtype=dtype, batch=batch, slots=slots, peak_capacity=peak_capacity
        )

    def _struct(self, slot: Slot, n: int) -> Any:
        plan = {name: array.data.ptr for name, array in self._plan.items()}
        numbers = {**self._numbers, "n_frames": n, "peak_capacity": self.peak_capacity}
        return pack(_native.PEAKFINDER8_BATCH, {**numbers, **plan, **slot.addresses()})

    def _stages(self, n: int) -> list[Stage]:
        blocks, groups = -(-int(np.prod(self.shape)) // _PIXELS), self._numbers["n_groups"]
        launches = [
            Launch("clear", -(-n // 128), 128, per_frame=False),
            Launch("gather", 1024, 256),
            # A warp takes a group of bins of any frame
            Launch("radial", -(-groups * n * LANES // 64), 64, per_frame=False),
            Launch("floors", -(-(self._numbers["n_bins"] + 1) // 128), 128),
            Launch("above", -(-blocks // 256), 256),
            Launch("groups", 256, 64),
        ]
        return [Stage(launches)]

    def _overflow(self, slot: Slot) -> str | None:
        listed = int(slot.host["n_foreground"][: slot.n].max(initial=0))
        if listed > self._numbers["foreground_capacity"]:
            return f"a frame with {listed} pixels above threshold"
        return super()._overflow(slot)

    def _find_on_cpu(self, frame: npt.NDArray[Any]) -> PeakArray:
        if self._twin is None:
            self._twin = Peakfinder8(*self._arguments[:3], asics=self._arguments[3], original=False)
        return self._twin(frame)
