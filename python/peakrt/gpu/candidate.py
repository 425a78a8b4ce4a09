"""The candidate finder on a GPU, batch by batch.

Every formula is the CPU's, from the same headers, so the peaks are the same; only logarithms and exponentials differ in
their last bits, and with them scores by 1e-5. The model runs in a kernel of ours, or in an engine that scores the numbers
where they lie (TensorRT).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .. import _native
from ..config import CandidateConfig
from ..contracts import Setup
from ..finders.bad_pixels import AGE
from ..finders.candidate import CandidateFinder
from ..finders.proposer import CANDIDATE, FEATURES
from ..models.model_file import Model
from ..peaks import PeakArray
from .batches import GpuFinder, Launch, Slot, Stage, check_gpu, pack, pinned

_D = _native.DEVICE
PLAN_ARRAYS = (
    "bin", "order", "group_first", "group_deep", "asics", "bin_pixels", "tile_weight", "tile_first", "tiles", "windows",
    "sweeps",
)  # fmt: skip
#: Those that depend on the mask.
MASK_ARRAYS = ("bin", "order", "bin_pixels", "tile_weight", "windows")
MODEL_ARRAYS = ("mean_of", "scale_of", "weight1", "bias1", "weight2", "bias2", "weight3", "bias3", "sharpness")
#: Frames worked on together, and candidates of a frame that there is room for: as many as the CPU keeps.
BATCH, CAPACITY = 16, _native.DEVICE["most_candidates"]


class DeviceEngine(Protocol):
    """Scores what lies on the device, as many rows as it was made for."""

    def enqueue(self, stream: int, inputs: int, outputs: int) -> None:
        """Queue the scoring on a stream; all are addresses."""


class ProposerOnCpu(Protocol):
    """What a finder on a GPU asks of its twin on the CPU."""

    def __call__(self, frame: npt.NDArray[Any]) -> PeakArray:
        """Find the peaks of one frame."""

    def plan_arrays(self) -> dict[str, Any]:
        """What a device needs of the proposer's plan."""

    def gain_for(self, frame: npt.NDArray[Any]) -> float:
        """ADU a photon."""


def device_plan(arrays: dict[str, Any], asics: npt.NDArray[np.int32]) -> dict[str, Any]:
    """A ProposerPlan's arrays, with the places of the tiles and of the sweep's rectangles.

    All have the same shapes for every mask of a geometry, so that another mask's fit into their memory.
    """
    tiles, sweeps = [], []
    for number, (_, min_ss, end_ss, min_fs, end_fs) in enumerate(asics.tolist()):
        rows, columns = -(-(end_ss - min_ss) // _D["tile"]), -(-(end_fs - min_fs) // _D["tile"])
        tiles.append(_places(number, np.arange(rows), np.arange(columns)))
        ss, fs = np.arange(0, end_ss - min_ss, _D["sweep_ss"]), np.arange(0, end_fs - min_fs, _D["sweep_fs"])
        sweeps.append(_places(number, ss, fs))
    groups = len(arrays["group_deep"])
    return {
        **arrays, "asics": asics, "tiles": np.concatenate(tiles), "sweeps": np.concatenate(sweeps),
        "order": _padded(arrays["order"], groups * _D["lanes"] * _D["samples"]),
        "windows": _padded(arrays["windows"], _D["windows"]),
    }  # fmt: skip


def _padded(rows: npt.NDArray[np.int32], most: int) -> npt.NDArray[np.int32]:
    """As many rows as the plan of any mask of the same geometry may have; those beyond its own are not read."""
    out = np.full((most, *rows.shape[1:]), -1, np.int32)
    out[: len(rows)] = rows
    return out


def _numbers_of_mask(arrays: dict[str, Any]) -> dict[str, Any]:
    return {"n_windows": len(arrays["windows"]), "n_order": len(arrays["order"]), "megapixels": arrays["megapixels"]}


def _places(asic: int, ss: npt.NDArray[Any], fs: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    out = np.empty((len(ss), len(fs), 3), np.int32)
    out[..., 0], out[..., 1], out[..., 2] = asic, ss[:, None], fs
    return out.reshape(-1, 3)


def model_arrays(model: Model) -> dict[str, npt.NDArray[np.float32]]:
    """The model's weights as the kernel takes them.

    Raises ValueError for a network that the kernel does not know: two hidden layers of at most 128.
    """
    weights = model.weights()
    try:
        arrays = {
            "mean_of": weights["mean"], "scale_of": weights["scale"], "weight1": weights["first_weight"],
            "bias1": weights["first_bias"], "weight2": weights["second_weight"], "bias2": weights["second_bias"],
            "weight3": weights["last_weight"], "bias3": weights["last_bias"],
            "sharpness": np.concatenate([weights["sharpness"].ravel(), weights["bias"].ravel()]),
        }  # fmt: skip
    except KeyError as error:
        raise ValueError(f"model {model.name} has no weights {error}: use engine tensorrt or cpu for it") from error
    hidden = [len(arrays["bias1"]), len(arrays["bias2"])]
    if max(hidden) > _D["hidden"] or arrays["weight1"].shape != (hidden[0], len(FEATURES)):
        raise ValueError(
            f"model {model.name} has layers of {hidden}, our own kernel takes {_D['hidden']} at most: "
            "use engine tensorrt or cpu for it"
        )
    for name in ("weight1", "weight2"):  # input by input, as the kernel reads them
        arrays[name] = arrays[name].T
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


class GpuProposer(GpuFinder):
    """What the network's finders share on a GPU: frames in units of sigma, the gain, suppression and measurement.

    cpu : finder of the same kind, for frames that tell the gain and for batches without room
    host_plan : its plan's arrays
    capacity : candidates of a frame, peak_capacity : peaks of a batch, by default 4096 a frame
    arrays, scratch, numbers : a finder's own, beside the plan's
    """

    family = "proposer"
    kernels = _native.PROPOSER_KERNELS
    counters: tuple[str, ...] = ("n_peaks", "n_candidates")

    def __init__(
        self,
        cupy: Any,
        setup: Setup,
        *,
        cpu: ProposerOnCpu,
        host_plan: dict[str, Any],
        least_scores: tuple[float, float],
        arrays: dict[str, npt.NDArray[Any]],
        scratch: dict[str, tuple[tuple[int, ...], npt.DTypeLike]],
        numbers: dict[str, Any],
        dtype: npt.DTypeLike,
        batch: int,
        slots: int,
        capacity: int,
        peak_capacity: int | None,
    ) -> None:
        good, self._rows = setup.good, np.ascontiguousarray(setup.asic_rows, np.int32)
        plan = device_plan(host_plan, self._rows)
        self._learned, self._cpu = setup.learned, cpu
        groups, most_listed = len(plan["group_deep"]), len(plan["order"])
        self._numbers: dict[str, Any] = {
            "shape": good.shape, "n_bins": plan["n_bins"], "n_bins_padded": groups * _D["lanes"], "n_groups": groups,
            "n_tiles": len(plan["tiles"]), "n_sweeps": len(plan["sweeps"]), "radial": plan["radial"],
            "n_asics": len(self._rows), "capacity": capacity, "min_score": least_scores, **_numbers_of_mask(host_plan),
            **numbers,
        }  # fmt: skip
        per_bin, listed = ((batch, groups * _D["lanes"] + 1), np.float32), (batch, capacity)
        of_bins = ("low", "high", "count", "sum", "squares", "mean", "inverse", "photons")
        shared = {
            **{name: per_bin for name in of_bins}, "clear": (per_bin[0], np.int32), "crowd": ((batch, 3), np.int32),
            "gain": ((batch,), np.float32), "values": ((batch, most_listed), np.float32),
            "noise": ((batch, 2 * _D["noise_bytes"]), np.uint8), "n_candidates": ((batch,), np.int32), "n_clear": ((batch,), np.int32), "n_sure": ((batch,), np.int32), "frame_counts": ((batch, _D["frame_counts"]), np.int32),
            "candidates": ((batch, capacity * CANDIDATE.itemsize), np.uint8), "scores": (listed, np.float32),
            "kept": (listed, np.uint8),
        }  # fmt: skip
        super().__init__(
            cupy, good.shape, {**{name: plan[name] for name in PLAN_ARRAYS}, **arrays}, {**shared, **scratch},
            dtype=dtype, batch=batch, slots=slots, peak_capacity=peak_capacity,
        )  # fmt: skip
        for slot in self._slots:
            slot.host["gain"] = pinned(cupy, (batch,), np.float32)

    def take_mask(self, cpu: Any) -> bool:
        """Search with the mask of another finder on the CPU from now on."""
        arrays = cpu.plan_arrays()
        plan = device_plan(arrays, self._rows)
        self._replace_plan({name: plan[name] for name in MASK_ARRAYS})
        self._numbers.update(_numbers_of_mask(arrays))
        self._cpu = cpu
        return True

    def _struct(self, slot: Slot, n: int) -> Any:
        on_device = {name: array.data.ptr for name, array in self._plan.items()}
        numbers = {**self._numbers, "n_frames": n, "peak_capacity": self.peak_capacity}
        return pack(_native.PROPOSER_BATCH, {**numbers, **on_device, **slot.addresses()})

    def _teams(self, kernel: str, teams: int) -> Launch:
        """As many teams of threads as the kernel has to do in a frame; fewer do more each."""
        threads = _D["team_threads"]
        return Launch(kernel, -(-teams * _native.PROPOSER_TEAMS[kernel] // threads), threads)

    def _over_frame(self, kernel: str, pieces: int) -> Launch:
        """A kernel for all pieces of a frame, four a team: a search that is skipped then has few blocks to skip."""
        return self._teams(kernel, -(-pieces // 4))

    def _per_candidate(self, kernel: str) -> Launch:
        if kernel in _native.PROPOSER_TEAMS:  # usual frames have a few hundred candidates
            return self._teams(kernel, min(256, self._numbers["capacity"]))
        return Launch(kernel, -(-self._numbers["capacity"] // 64), 64)

    def _statistics(self) -> list[Launch]:
        """Kernels from a frame to background and noise of its bins."""
        bins = -(-(self._numbers["n_bins_padded"] + 1) // 128)
        one_pass = [Launch("sums", self._numbers["n_groups"], _D["lanes"]), Launch("levels", bins, 128)]
        return [Launch("clear", bins, 128), Launch("collect", 256, 256), *one_pass * _D["passes"]]

    def _measurement(self) -> list[Any]:
        return [self._per_candidate("suppress"), self._per_candidate("measure")]

    def _before(self, slot: Slot, frames: Any) -> None:
        if self._learned.gain is not None:
            slot.host["gain"][: slot.n] = self._learned.gain
        else:
            on_host = self._cupy.asnumpy(frames) if isinstance(frames, self._cupy.ndarray) else frames
            slot.host["gain"][: slot.n] = [self._cpu.gain_for(on_host[k]) for k in range(slot.n)]
        slot.scratch["gain"].set(slot.host["gain"], stream=slot.stream)

    def _overflow(self, slot: Slot) -> str | None:
        listed = int(slot.host["n_candidates"][: slot.n].max(initial=0))
        if listed > self._numbers["capacity"]:
            return f"a frame with {listed} candidates"
        return super()._overflow(slot)

    def _find_on_cpu(self, frame: npt.NDArray[Any]) -> PeakArray:
        return self._cpu(frame)


class CudaCandidateFinder(GpuProposer):
    """The network's finder on a GPU for one mask.

    setup : as for :class:`peakrt.finders.candidate.CandidateFinder`
    cpu : finder of the same kind, for frames that tell the gain and for batches without room
    engine : given the rows of a batch, makes an engine of each slot; None: our own kernel
    capacity : candidates of a frame, peak_capacity : peaks of a batch, by default 4096 a frame; batches with more of either
        go to the CPU, and ``overflows`` counts them
    Raises RuntimeError without CuPy, GPU or kernels, ValueError for a model that the kernel does not know, and
    MemoryError where the GPU has too little memory.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        cpu: CandidateFinder,
        engine: Callable[[int], DeviceEngine] | None = None,
        dtype: npt.DTypeLike = np.uint16,
        batch: int = BATCH,
        slots: int = 3,
        capacity: int = CAPACITY,
        peak_capacity: int | None = None,
    ) -> None:
        cupy = check_gpu()
        config, model, good = setup.config, setup.model, setup.good
        assert isinstance(config, CandidateConfig)
        assert model is not None
        # An engine of TensorRT needs no weights here; the kernel is not launched then.
        weights = model_arrays(model) if engine is None else {name: np.zeros(1, np.float32) for name in MODEL_ARRAYS}
        self._weighs = model.frame_weights is not None
        weights["frame_weights"] = np.zeros(1, np.float32) if model.frame_weights is None else model.frame_weights
        self._learns = config.bad_pixels == "learn"
        plan = cpu.plan_arrays()
        windows, tiles = _D["windows"], ((batch, len(plan["tile_weight"])), np.float32)
        rows: tuple[tuple[int, ...], npt.DTypeLike] = ((batch, capacity), np.float32)
        super().__init__(
            cupy, setup, cpu=cpu, host_plan=plan, dtype=dtype, batch=batch, slots=slots, capacity=capacity,
            peak_capacity=peak_capacity, least_scores=model.least_scores(config.min_score),
            arrays=weights, numbers={
                "n_hidden1": len(weights["bias1"]), "n_hidden2": len(weights["bias2"]), "learn": self._learns,
            }, scratch={
                **{name: rows for name in ("sharpness_of", "second_of", "sorted_sharp", "sorted_sec")},
                "noise_values": ((batch, windows, 2 * _D["sums"]), np.float32), "tile_sum": tiles, "tile_mean": tiles,
                "numbers": ((batch, capacity, len(FEATURES)), np.float32),
            },
        )  # fmt: skip
        # One map for all slots
        self._map = {name: cupy.zeros(good.shape, kind) for name, kind in _MAPS.items()}
        self.frames_seen = 0
        if self._learns:
            known = setup.learned.bad_pixels(good.shape)
            self.frames_seen = known.frames
            self._map["times_alone"] = cupy.asarray(known.times.astype(np.int32))
            self._map["bad"] = cupy.asarray(known.bad.astype(np.uint8))
            self._map["near_bad"] = cupy.asarray(known.near.astype(np.uint8))
        self._last_learning: Any = None  # the event on the device after which the next batch may learn
        if engine is not None:
            for slot in self._slots:
                slot.engine = engine(batch * capacity)

    def _struct(self, slot: Slot, n: int) -> Any:
        struct = super()._struct(slot, n)
        struct["frames_seen"] = self.frames_seen
        for name, array in self._map.items():
            struct[name] = array.data.ptr
        return struct

    def _stages(self, n: int) -> list[Stage]:
        size = self._numbers
        search = [
            *self._statistics(),
            self._teams("windows", size["n_windows"]),
            self._teams("noise", 2),
            self._over_frame("tiles", size["n_tiles"]),
            Launch("locals", -(-size["n_tiles"] // 128), 128),
            self._over_frame("sweep", size["n_sweeps"]),
        ]
        describe = [
            *search,
            *(replace(launch, again=True) for launch in search if launch.kernel != "collect"),
            self._per_candidate("describe"),
            *(self._per_candidate(kernel) for kernel in ("crowd", "rank", "frame")),
        ]
        if self._slots[0].engine is None:
            stages = [Stage([*describe, self._per_candidate("score")])]
        else:
            stages = [Stage(describe), Stage([self._score_by_engine], fixed=False)]
        if not self._learns:
            return [*stages, Stage(self._measurement())]
        # Batches learn in their order, whatever their streams.
        learn = [self._per_candidate("learn"), self._per_candidate("mark")]
        stages.append(Stage(learn, fixed=False, before=self._wait_for_turn))
        return [*stages, Stage(self._measurement(), before=self._end_turn)]

    def _measurement(self) -> list[Any]:
        kernels = ("count", "weigh", "sure") if self._weighs else ("sure",)
        return [*map(self._per_candidate, kernels), *super()._measurement()]

    def _score_by_engine(self, slot: Slot) -> None:
        addresses = slot.addresses()
        slot.engine.enqueue(slot.stream.ptr, addresses["numbers"], addresses["scores"])

    def _wait_for_turn(self, slot: Slot) -> None:
        if self._last_learning is not None:
            slot.stream.wait_event(self._last_learning)

    def _end_turn(self, slot: Slot) -> None:
        self._last_learning = slot.stream.record()

    def _run(self, slot: Slot, n: int) -> None:
        if self._learns:
            self.frames_seen += n
            if self.frames_seen >= AGE:
                self._wait_for_turn(slot)
                with slot.stream:
                    launch = Launch("age", 1024, 256, per_frame=False)
                    self._queue(slot, [launch], self._struct(slot, n), n)
                self.frames_seen //= 2
        super()._run(slot, n)

    def _find_on_cpu(self, frame: npt.NDArray[Any]) -> PeakArray:
        self.tell_learned()
        return super()._find_on_cpu(frame)

    def tell_learned(self) -> None:
        """Copy what the device has learned of bad pixels to the host."""
        if self._learns:
            for slot in self._slots:
                slot.stream.synchronize()
            times, bad = (self._cupy.asnumpy(self._map[name]) for name in ("times_alone", "bad"))
            self._learned.bad_pixels(self.shape).replace(self.frames_seen, times, bad != 0)


_MAPS = {"times_alone": np.int32, "bad": np.uint8, "near_bad": np.uint8}
