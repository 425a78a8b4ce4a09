"""PeakFinder: the public entry point, which looks up the finder, chooses the device and shares out the frames."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from .arrays import GoodPixels, as_frame, as_radius
from .config import CandidateConfig, Config, SegmentationConfig
from .contracts import BatchFinder, Engine, FrameFinder, Setup
from .finders.learned import EventOrder, Learned, LearnedState, Turn
from .finders.registry import kind_of
from .finders.segmentation import SegmentationFinder
from .gpu.batches import DEVICE_TYPES, choose_engine, runs_of_one_kind
from .masks import ByMask, Good, Masks, Prepared
from .models.model_file import Model, load_model
from .peaks import PeakArray, PeakTable

log = logging.getLogger("peakrt")
#: A frame, and the mask of its event or None.
Item = tuple[npt.ArrayLike, Good | None]
ENGINES = ("cpu", "cuda", "tensorrt", "auto")


class PeakFinder:
    """Finds the peaks of frames: ``finder(frame)`` one event's PEAK array, ``finder.find(frames)`` a PeakTable.

    config : options of a finder; its type says which (:mod:`peakrt.finders`), CandidateConfig by default
    geometry : Detector; peakfinder8 needs it, the candidate finder is better with it, and all take its bad regions
    mask : (panel, ss, fs) or (ss, fs), True = good, on top of the geometry's
    radius : (panel, ss, fs) or (ss, fs), pixels from the beam axis, where there is no geometry
    engine : "cpu"; "cuda", our kernels on a GPU, which takes the frames of find and map in batches; "tensorrt", which runs
        the models through TensorRT between those kernels; or "auto", which takes "cuda" where there is a GPU and logs its
        choice once. All give the same peaks.
    cpu_engine : runs in place of the config's model on the CPU; the lab compares networks so
    Bad pixels, and the gain where nobody says it, are learned from the frames: see bad_pixels, gain and reset().
    Raises ValueError for a missing geometry, a frame of another shape, or a panel without a good pixel.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        geometry: Detector | None = None,
        mask: npt.ArrayLike | None = None,
        radius: npt.ArrayLike | None = None,
        engine: str = "cpu",
        cpu_engine: Engine | None = None,
    ) -> None:
        if engine not in ENGINES:
            raise ValueError(f"engine is {engine!r}, it should be {', '.join(ENGINES[:-1])} or {ENGINES[-1]}")
        self.engine = engine
        self.config = config or CandidateConfig()
        self.geometry = geometry
        self._kind = kind_of(self.config)
        if geometry is None and self._kind.needs_geometry:
            raise ValueError(f"{self._kind.name} needs a geometry for its radial statistics")
        self._radius = geometry.radius if geometry is not None else None if radius is None else as_radius(radius)
        self._masks = Masks(geometry, mask)
        self._model: Model | None = None
        self._cpu_engine = cpu_engine
        if self._kind.model_kind:
            self._model = load_model(str(self.config.model), self._kind.model_kind)  # type: ignore[attr-defined]
            self._cpu_engine = cpu_engine or _run_on_cpu(self._model)
        self.reset()

    def reset(self) -> None:
        """Forget what was learned of the detector: bad pixels, and the gain where it was estimated."""
        known = getattr(self.config, "gain", None)
        if known is None and self.geometry is not None:
            known = self.geometry.photon_gain
        self._learned = Learned(known)
        self._plans: ByMask[FrameFinder] = ByMask(self._masks, self._make_plan)
        self._artifact_plans: ByMask[SegmentationFinder] | None = None
        self._batches: tuple[GoodPixels, BatchFinder] | None = None

    @property
    def gain(self) -> float | None:
        """ADU a photon: configured, from the geometry, or estimated; None until known."""
        return self._learned.gain

    @property
    def bad_pixels(self) -> Good | None:
        """Pixels that were learned to be bad: (panel, ss, fs); None before the first frame."""
        self._tell_learned()
        return None if self._learned.bad is None else self._learned.bad.bad

    def learned_state(self) -> LearnedState:
        """What was learned of the detector so far, for a run that is to be resumed; between calls of find and map."""
        self._tell_learned()
        return self._learned.state()

    def restore(self, state: LearnedState) -> None:
        """Go on from what an earlier finder of the same kind has learned."""
        self.reset()
        self._learned.restore(state)

    def _tell_learned(self) -> None:
        if self._batches is not None:
            self._batches[1].tell_learned()

    def _setup(self, good: GoodPixels) -> Setup:
        geometry = self.geometry
        asics, gain = (None, None) if geometry is None else (geometry.asics, geometry.photon_gain)
        return Setup(self.config, good.array, self._radius, asics, self._learned, gain, self._model, self._cpu_engine)

    def _make_plan(self, good: GoodPixels, similar: FrameFinder | None) -> FrameFinder:
        derived = None if similar is None else similar.with_good(good)
        return derived or self._kind.on_cpu(self._setup(good))

    def clone(self) -> PeakFinder:
        """A finder of the same kind for another thread; it shares plans and what is learned."""
        other = copy(self)
        other._plans = self._plans.clone(lambda plan: plan.clone(), self._make_plan)
        return other

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Make the plan for frames of a shape before the first one comes, on the CPU; clones made later share it.

        Raises ValueError where the geometry or mask is of another shape, or an option makes no sense.
        """
        _ = self._plans.get(None, shape).plan

    def mask_for(self, event_mask: Good | None, shape: tuple[int, ...]) -> Good:
        """Good pixels of an event: the geometry's, the caller's and the event's own."""
        return self._plans.get(event_mask, shape).good.array

    # One frame

    def __call__(self, frame: npt.ArrayLike, mask: Good | None = None) -> PeakArray:
        """Find the peaks of one frame.

        frame : (panel, ss, fs) or (ss, fs); mask : of this event, True = good.
        Raises ValueError if its shape is not the geometry's or no good pixel is a number.
        """
        if self.on_gpu():
            return _peaks_or_raise(next(self._outcomes_on_gpu([(frame, mask)])))
        return self._find_on_cpu(frame, mask, None)

    def _find_on_cpu(self, frame: npt.ArrayLike, mask: Good | None, turn: Turn | None) -> PeakArray:
        array = as_frame(frame)
        prepared = self._plans.get(mask, array.shape)
        check_numbers(array, prepared.good)  # before anything is learned from the frame
        return prepared.plan(array, turn)

    def outcome(self, frame: npt.ArrayLike, mask: Good | None, turn: Turn | None) -> PeakArray | ValueError:
        """Peaks of one frame on the CPU, or why there are none. Later events wait for this one no longer, whatever comes."""
        try:
            return self._find_on_cpu(frame, mask, turn)
        except ValueError as error:
            return error
        finally:
            if turn is not None:
                turn.passed()

    def artifacts(self, frame: npt.ArrayLike, mask: Good | None = None) -> Good:
        """Pixels of a frame that the segmentation model takes for artifacts: ice and salt rings, jets, hot pixels.

        frame, mask : as for finding. Returns (panel, ss, fs), True = artifact. It runs on the CPU, a tenth of a second a
        megapixel. Raises ValueError as finding does.
        """
        array = as_frame(frame)
        if self._artifact_plans is None:
            self._artifact_plans = ByMask(self._masks, self._make_artifact_plan)
        return self._artifact_plans.get(mask, array.shape).plan.artifacts(array)

    def _make_artifact_plan(self, good: GoodPixels, similar: SegmentationFinder | None) -> SegmentationFinder:
        if similar is not None:
            return similar.with_good(good)
        config = SegmentationConfig()
        model = load_model(config.model, "segmentation")
        return SegmentationFinder(replace(self._setup(good), config=config, model=model, engine=_run_on_cpu(model)))

    # Many frames

    def find(self, frames: Iterable[npt.ArrayLike], *, threads: int = 1) -> PeakTable:
        """Find the peaks of many frames: a PeakTable in their order."""
        return PeakTable.from_events([peaks for _, peaks in self.map(((f, None) for f in frames), threads=threads)])

    def map(self, items: Iterable[Item], *, threads: int = 1) -> Generator[tuple[int, PeakArray], None, None]:
        """Find peaks of (frame, mask) pairs as they come; yields (number, peaks) in order.

        At most 2 * threads frames are held at a time. The peaks do not depend on the number of threads.
        Raises what finding a frame raises, when its turn comes.
        """
        with closing(self.outcomes(items, threads=threads)) as found:
            for number, outcome in enumerate(found):
                yield number, _peaks_or_raise(outcome)

    def outcomes(
        self, items: Iterable[Item | None], *, threads: int = 1
    ) -> Generator[PeakArray | ValueError, None, None]:
        """As map, but gives the error of a frame that cannot be used in place of its peaks, and goes on.

        items : None among them says that no frame is at hand: what is under way is given rather than kept until one comes
        """
        if threads < 1:
            raise ValueError(f"threads is {threads}, it should be at least 1")
        if self.on_gpu():
            yield from self._outcomes_on_gpu(items)
        elif threads == 1:
            for item in items:
                if item is not None:
                    yield self.outcome(*item, None)
        else:
            yield from self._outcomes_of_threads(items, threads)

    def _outcomes_of_threads(self, items: Iterable[Item | None], threads: int) -> Iterator[PeakArray | ValueError]:
        finders = [self.clone() for _ in range(threads)]
        order, started = EventOrder(), 0
        running: deque[Future[PeakArray | ValueError]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for item in items:
                if item is None:
                    if running:
                        yield running.popleft().result()
                    continue
                frame, mask = item
                # A finder takes every threads-th frame, and no frame before its last one is done.
                if len(running) >= threads:
                    yield running.popleft().result()
                finder = finders[started % threads]
                running.append(pool.submit(finder.outcome, frame, mask, Turn(order, started)))
                started += 1
            while running:
                yield running.popleft().result()

    # On a GPU

    def on_gpu(self) -> bool:
        """Whether frames go to a GPU; the first call settles what "auto" means."""
        self.engine = choose_engine(self.engine, self._kind)
        return self.engine != "cpu"

    def _outcomes_on_gpu(self, items: Iterable[Item | None]) -> Iterator[PeakArray | ValueError]:
        """Runs of frames of one mask and dtype through the GPU finder."""
        for run in runs_of_one_kind(items, self._plans.get):
            dtype = run.dtype if run.dtype.str[1:] in DEVICE_TYPES else np.dtype(np.float32)
            frames = (frame.astype(dtype, copy=False) for frame in run)
            for peaks in self._batch_finder(run.prepared, dtype).map(frames):
                frame = run.held.popleft()
                try:
                    if isinstance(frame, np.ndarray) and not len(peaks):
                        check_numbers(frame, run.prepared.good)
                    yield peaks
                except ValueError as error:
                    yield error

    def _batch_finder(self, prepared: Prepared[FrameFinder], dtype: np.dtype[Any]) -> BatchFinder:
        """The finder on the GPU for a mask and dtype; the last one is kept, and takes another mask where it can."""
        good = prepared.good
        if self._batches is not None and self._batches[1].dtype == dtype:
            before, finder = self._batches
            if before is good or (before.shape == good.shape and finder.take_mask(prepared.plan)):
                self._batches = good, finder
                return finder
        self._tell_learned()  # the next knows it from the start
        assert self._kind.on_gpu is not None
        self._batches = good, self._kind.on_gpu(self._setup(good), dtype, self.engine, prepared.plan)
        return self._batches[1]


def check_numbers(frame: npt.NDArray[Any], good: GoodPixels) -> None:
    """Raise ValueError for a frame without a good pixel that is a number; a look at some of them settles most frames."""
    if frame.dtype.kind != "f":
        return
    some = np.arange(0, frame.size, 10007)  # a prime, so that columns of all kinds are among them
    if np.isfinite(frame.reshape(-1)[some][good.at(some)]).any():
        return
    if not np.isfinite(frame[good.array]).any():
        raise ValueError("no good pixel of the frame is a number (all NaN or infinite): check the data and the mask")


def _run_on_cpu(model: Model) -> Engine:
    from .models.engine_onnx import OnnxEngine

    return OnnxEngine(model)


def _peaks_or_raise(outcome: PeakArray | ValueError) -> PeakArray:
    if isinstance(outcome, ValueError):
        raise outcome
    return outcome
