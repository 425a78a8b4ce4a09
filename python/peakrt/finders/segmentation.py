"""The segmentation finder: a class for every pixel, connected components of peak pixels, and an automatic mask."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import GoodPixels, asic_numbers
from ..config import SegmentationConfig
from ..contracts import BatchFinder, FrameFinder, Setup
from ..models.model_file import load_model
from ..peaks import PeakArray
from .candidate import GainEstimator
from .components import label_asics
from .learned import Turn
from .proposer import CANDIDATE, Proposer

#: Classes of the PeakNet papers.
BACKGROUND, PEAK_CLASS, ARTIFACT = range(3)


class SegmentationFinder:
    """Finds the peaks of frames of one mask, and their artifacts.

    setup : with a SegmentationConfig, a model, and what gives the probabilities of the classes (n, class, ss, fs) for inputs
        (n, channel, ss, fs); without a radius, background and noise come from tiles
    """

    def __init__(self, setup: Setup) -> None:
        assert isinstance(setup.config, SegmentationConfig)
        assert setup.model is not None
        assert setup.engine is not None
        rows = setup.asic_rows
        self._engine = setup.engine
        self._good, self._asics, self._asic_of = setup.good, rows, asic_numbers(setup.good.shape, rows)
        self._proposer = Proposer(setup.good, setup.radius, asics=rows)
        self._threshold = setup.model.least_scores(setup.config.min_score)[0]
        self._gains = GainEstimator(GoodPixels.of(setup.good, setup.good.shape), rows, setup.learned)

    def clone(self) -> SegmentationFinder:
        """A finder that shares plan, engine and what is learned but may run in another thread."""
        other = copy(self)
        other._proposer = self._proposer.clone()
        return other

    def with_good(self, good: GoodPixels) -> SegmentationFinder:
        """One for another mask, of a plan made from this one's; all else is shared."""
        other = copy(self)
        other._good = good.array
        other._proposer = self._proposer.with_good(good)
        other._gains = self._gains.with_good(good)
        return other

    def plan_arrays(self) -> dict[str, Any]:
        """What a device needs of the proposer's plan."""
        return self._proposer.plan_arrays()

    def gain_for(self, frame: npt.NDArray[Any], turn: Turn | None = None) -> float:
        """ADU a photon: known, or estimated from the first frame that allows it."""
        return self._gains(frame, self._proposer, turn)

    def __call__(self, frame: npt.NDArray[Any], turn: Turn | None = None) -> PeakArray:
        """Find the peaks of one frame: a PEAK array, ASIC by ASIC in raster order.

        turn : this event's place among those that other threads hold
        """
        inputs = self._proposer.segmentation_inputs(frame, self.gain_for(frame, turn))
        probabilities = self._ask(inputs)
        peak = probabilities[:, PEAK_CLASS]
        labels, n = label_asics((peak >= self._threshold) & self._good, self._asics)
        at = np.nonzero(labels)
        number, height = labels[at] - 1, inputs[at[0], 0, at[1], at[2]]
        # Of each component its brightest pixel stands for it, of equals the first; its score is the component's best.
        order = np.lexsort((-height, number))
        tops = order[np.searchsorted(number[order], np.arange(n))]
        scores = np.zeros(n, np.float32)
        np.maximum.at(scores, number, peak[at])
        rows = np.zeros(n, CANDIDATE)
        for name, axis in zip(("panel", "ss", "fs"), at, strict=True):
            rows[name] = axis[tops]
        rows["asic"] = self._asic_of[rows["panel"], rows["ss"], rows["fs"]]
        raster = np.lexsort((rows["fs"], rows["ss"], rows["asic"]))
        self._proposer.candidates = rows[raster]
        return self._proposer.measure(scores[raster], 0.0)

    def artifacts(self, frame: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Pixels of one frame whose likeliest class is artifact: (panel, ss, fs)."""
        probabilities = self._ask(self._proposer.segmentation_inputs(frame, self.gain_for(frame)))
        return (probabilities.argmax(1) == ARTIFACT) & self._good

    def _ask(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probabilities of each pixel's classes: (panel, class, ss, fs). The network wants even sides."""
        n_ss, n_fs = inputs.shape[2:]
        if n_ss % 2 or n_fs % 2:
            inputs = np.pad(inputs, ((0, 0), (0, 0), (0, n_ss % 2), (0, n_fs % 2)))
        return self._engine(inputs)[:, :, :n_ss, :n_fs]


def on_cpu(setup: Setup) -> FrameFinder:
    """The finder on the CPU."""
    return SegmentationFinder(setup)


def on_gpu(setup: Setup, dtype: np.dtype[Any], engine: str, cpu: FrameFinder) -> BatchFinder:
    """The finder on a GPU; engine "cuda" runs the model by kernels of ours, "tensorrt" by TensorRT."""
    from ..gpu.segmentation import CudaSegmentationFinder
    from ..models.engine_tensorrt import engine_for

    assert isinstance(cpu, SegmentationFinder)
    assert setup.model is not None
    if engine == "cuda":
        return CudaSegmentationFinder(setup, cpu=cpu, dtype=dtype)
    # TensorRT is strongly typed: half precision is a model file of its own.
    shipped = setup.model.name == SegmentationConfig().model
    model = load_model("segmentation-fp16", "segmentation") if shipped else setup.model
    return CudaSegmentationFinder(
        replace(setup, model=model),
        cpu=cpu,
        dtype=dtype,
        half=model.precision == "fp16",
        engine=partial(engine_for, model),
    )
