"""The segmentation finder on a GPU, batch by batch.

Statistics, components and measurement are kernels of ours, with the CPU's arithmetic. The network between them runs through
TensorRT, or, where there is none, through our own convolutions: plain ones, which a GPU without TensorRT is better used for
than for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _native
from ..arrays import asic_numbers
from ..config import SegmentationConfig
from ..contracts import Setup
from ..finders.proposer import FEATURES, SEGMENTATION_CHANNELS
from ..finders.segmentation import SegmentationFinder
from ..models.model_file import Model
from .batches import KERNELS, Launch, Slot, Stage, check_gpu, pack
from .candidate import BATCH as CANDIDATE_BATCH
from .candidate import CAPACITY, DeviceEngine, GpuProposer

CLASSES = _native.DEVICE["classes"]
#: Frames worked on together: the network's maps take a hundred megabytes a frame of 1920 x 1920.
BATCH = 4


def input_shape(shape: tuple[int, ...], batch: int) -> tuple[int, int, int, int]:
    """Shape of the network's input for batches of frames: panels made even, one image each."""
    panels, n_ss, n_fs = shape
    return batch * panels, SEGMENTATION_CHANNELS, n_ss + n_ss % 2, n_fs + n_fs % 2


def engine_shape(model: Model, frame: tuple[int, ...] | None) -> tuple[int, ...]:
    """Shape of the input that a finder on a GPU gives a model, batch by batch.

    frame : (panel, ss, fs), which a segmentation model's depends on. Raises ValueError where it is missing.
    """
    if model.kind == "candidate":
        return CANDIDATE_BATCH * CAPACITY, len(FEATURES)
    if frame is None:
        raise ValueError(f"model {model.name} sees whole panels: say the detector's geometry (-g)")
    return input_shape(frame, BATCH)


class CudaSegmentationFinder(GpuProposer):
    """The segmentation finder on a GPU for one mask.

    setup : as for :class:`peakrt.finders.segmentation.SegmentationFinder`
    cpu : finder of the same kind, for frames that tell the gain and for batches without room
    engine : given the shape of the input, makes an engine of each slot; None: our own convolutions
    half : whether that engine's input is float16
    foreground_capacity : pixels of a frame that are likely a peak's, by default one in 64
    Otherwise as :class:`peakrt.gpu.candidate.CudaCandidateFinder`.
    """

    counters = ("n_peaks", "n_candidates", "n_foreground")

    def __init__(
        self,
        setup: Setup,
        *,
        cpu: SegmentationFinder,
        engine: Callable[[tuple[int, ...]], DeviceEngine] | None = None,
        half: bool = False,
        dtype: npt.DTypeLike = np.uint16,
        batch: int = BATCH,
        slots: int = 2,
        capacity: int = CAPACITY,
        peak_capacity: int | None = None,
        foreground_capacity: int | None = None,
    ) -> None:
        cupy = check_gpu()
        config, model, good, rows = setup.config, setup.model, setup.good, setup.asic_rows
        assert isinstance(config, SegmentationConfig)
        assert model is not None
        self._input = input_shape(good.shape, batch)
        images, _, even_ss, even_fs = self._input
        foreground = foreground_capacity or max(4096, good.size // 64)
        pixels = ((batch, foreground), np.int32)
        super().__init__(
            cupy, setup, cpu=cpu, host_plan=cpu.plan_arrays(), dtype=dtype, batch=batch, slots=slots, capacity=capacity,
            peak_capacity=peak_capacity, least_scores=model.least_scores(config.min_score),
            arrays={"asic_of": asic_numbers(good.shape, rows)}, numbers={
                "even_ss": even_ss, "even_fs": even_fs, "half_inputs": half, "foreground_capacity": foreground,
            }, scratch={
                "segmentation_inputs": (self._input, np.float16 if half else np.float32),
                "probabilities": ((images, CLASSES, even_ss, even_fs), np.float32), "foreground": pixels,
                "n_foreground": ((batch,), np.int32), "sorted_pixels": pixels, "parent": pixels,
            },
        )  # fmt: skip
        for slot in self._slots:
            slot.engine = KernelEngine(cupy, model, self._input) if engine is None else engine(self._input)

    def _stages(self, n: int) -> list[Stage]:
        pixels = -(-int(np.prod(self.shape)) // 256)
        before = [
            *self._statistics(),
            Launch("segmentation_clear", 1, 1),
            Launch("segmentation_input", pixels, 256),
        ]
        after = [
            Launch("segmentation_list", pixels, 256),
            *(Launch(f"segmentation_{name}", 64, 64) for name in ("sort", "join")),
            Launch("segmentation_top", 64, 64),
            *self._measurement(),
        ]
        return [Stage(before), Stage([self._ask], fixed=False), Stage(after)]

    def _ask(self, slot: Slot) -> None:
        addresses = slot.addresses()
        slot.engine.enqueue(slot.stream.ptr, addresses["segmentation_inputs"], addresses["probabilities"])

    def _overflow(self, slot: Slot) -> str | None:
        listed = int(slot.host["n_foreground"][: slot.n].max(initial=0))
        if listed > self._numbers["foreground_capacity"]:
            return f"a frame with {listed} pixels of peaks"
        return super()._overflow(slot)


class KernelEngine:
    """The segmentation model by convolutions of ours: ``enqueue(stream, inputs, outputs)``, on CuPy's current stream.

    Raises ValueError for a network with wider layers than the kernel has room for.
    """

    def __init__(self, cupy: Any, model: Model, shape: tuple[int, ...]) -> None:
        if model.precision != "fp32" or not model.layers:
            raise ValueError(
                f"model {model.name} is {model.precision}: our own kernels take fp32 with its layers listed"
            )
        self._conv = cupy.RawModule(path=str(KERNELS / "segmentation.fatbin")).get_function("segmentation_conv")
        images, channels, n_ss, n_fs = shape
        weights = model.weights()
        self._kept: list[Any] = []  # what the structs point to
        self._layers: list[Any] = []
        rest = sorted((name for name in weights if name.startswith("weight")), key=_layer_number)
        scratch = [
            cupy.empty(images * _native.DEVICE["conv_channels"] * n_ss * n_fs // 4, np.float32) for _ in range(2)
        ]
        self._kept += scratch
        source = 0  # of the first layer: given to enqueue
        for number, (name, (kernel, stride, dilation, pad)) in enumerate(zip(rest, model.layers, strict=True)):
            weight, bias = weights[name], weights[name.replace("weight", "bias")]
            out_channels, last = len(bias), number == len(rest) - 1
            if out_channels > _native.DEVICE["conv_channels"]:
                raise ValueError(
                    f"model {model.name} has layers of {out_channels} channels: use engine tensorrt for it"
                )
            arrays = [cupy.asarray(np.ascontiguousarray(weight.transpose(1, 2, 3, 0))), cupy.asarray(bias)]
            self._kept += arrays
            out_ss, out_fs = ((side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for side in (n_ss, n_fs))
            target = 0 if last else scratch[number % 2].data.ptr
            fields = {
                "in": source, "weight": arrays[0].data.ptr, "bias": arrays[1].data.ptr, "out": target,
                "images": images, "in_channels": channels, "out_channels": out_channels, "in_ss": n_ss, "in_fs": n_fs,
                "out_ss": out_ss, "out_fs": out_fs, "kernel": kernel, "stride": stride, "dilation": dilation, "pad": pad,
                "last": last,
            }  # fmt: skip
            self._layers.append(fields)
            source, channels, n_ss, n_fs = target, out_channels, out_ss, out_fs

    def enqueue(self, stream: int, inputs: int, outputs: int) -> None:
        """Queue the network."""
        for number, fields in enumerate(self._layers):
            own = {"in": inputs} if number == 0 else {}
            own |= {"out": outputs} if fields["last"] else {}
            grid = (-(-fields["out_ss"] * fields["out_fs"] // 128), fields["images"])
            self._conv(grid, (128,), (pack(_native.CONV_LAYER, {**fields, **own}),))


def _layer_number(name: str) -> int:
    """Place of a layer's weights: weight0, weight1, ..., weight_head."""
    return 1000 if name == "weight_head" else int(name.removeprefix("weight"))
