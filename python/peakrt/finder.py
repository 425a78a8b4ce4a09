"""The finder that an event meets: one object for each geometry, mask and method."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from .arrays import as_frame, as_radius
from .config import DenseConfig, FinderConfig, NetworkConfig, Peakfinder8Config, V3r3Config
from .finders.candidate import Engine, NetworkFinder
from .finders.learned import EventOrder, Learned, LearnedState, Turn
from .finders.peakfinder8 import Peakfinder8
from .finders.proposer import FEATURES
from .finders.psana_algos import v3r3
from .finders.segmentation import DenseFinder
from .gpu.batches import DEVICE_TYPES
from .models.model_file import Model, load_model
from .peaks import PeakArray, PeakTable

if TYPE_CHECKING:
    from .gpu.candidate import CudaNetworkFinder, DeviceEngine
    from .gpu.peakfinder8 import CudaPeakfinder8
    from .gpu.segmentation import CudaDenseFinder

log = logging.getLogger("peakrt")
#: A frame, and the mask of its event or None.
Item = tuple[npt.ArrayLike, npt.NDArray[np.bool_] | None]
ENGINES = ("cpu", "cuda", "tensorrt", "auto")


class PeakFinder:
    """Finds the peaks of frames: ``finder(frame)`` one event's PEAK array, ``finder.find(frames)`` a PeakTable.

    config : NetworkConfig (the default), DenseConfig, Peakfinder8Config or V3r3Config; its type chooses the method
    geometry : Detector; peakfinder8 needs it, the network is better with it, and all take its bad regions
    mask : (panel, ss, fs) or (ss, fs), True = good, on top of the geometry's
    radius : (panel, ss, fs) or (ss, fs), pixels from the beam axis, for the network where there is no geometry
    engine : "cpu"; "cuda", kernels of ours on a GPU, frames in batches in find and map; "tensorrt", which runs the
        networks through TensorRT between them; or "auto", which takes "cuda" where there is a GPU and logs its choice
        once. All give the same peaks.
    The network learns bad pixels, and where nobody says it the gain, from the frames it meets: see bad_pixels, gain
    and reset(). Raises ValueError for a missing geometry, a frame of another shape, or a panel without a good pixel.
    """

    def __init__(
        self,
        config: FinderConfig | None = None,
        *,
        geometry: Detector | None = None,
        mask: npt.ArrayLike | None = None,
        radius: npt.ArrayLike | None = None,
        engine: str = "cpu",
    ) -> None:
        if engine not in ENGINES:
            raise ValueError(f"engine is {engine!r}, it should be {', '.join(ENGINES[:-1])} or {ENGINES[-1]}")
        self.engine = engine
        self.config = config or NetworkConfig()
        self.geometry = geometry
        self._radius = None if radius is None else as_radius(radius)
        if geometry is not None:
            self._radius = geometry.radius
        if geometry is None and isinstance(self.config, Peakfinder8Config):
            raise ValueError("peakfinder8 needs a geometry for its radial statistics")
        self._static = self._static_mask(mask)
        self._event_mask: npt.NDArray[np.bool_] | None = None
        self._mask: npt.NDArray[np.bool_] | None = None
        self._method: NetworkFinder | DenseFinder | Peakfinder8 | _V3r3 | None = None
        self._model: Model | None = None
        self._network: Engine | None = None
        if isinstance(self.config, NetworkConfig | DenseConfig):
            self._open_network(self.config)
        self.reset()

    def _open_network(self, config: NetworkConfig | DenseConfig) -> None:
        from .models.engine_onnx import OnnxEngine

        if config.min_score is not None and not 0 < config.min_score <= 1:
            raise ValueError(f"min_score is {config.min_score}, a probability above 0 and at most 1")
        if config.gain is not None and not config.gain > 0:
            raise ValueError(f"gain is {config.gain} ADU a photon, it should be above 0")
        self._model = load_model(config.model, "judge" if isinstance(config, NetworkConfig) else "dense")
        self._network = OnnxEngine(self._model)

    def reset(self) -> None:
        """Forget what was learned of the detector: bad pixels, and the gain where it was estimated."""
        known = getattr(self.config, "gain", None)
        if known is None and self.geometry is not None:
            known = self.geometry.photon_gain
        self._learned = Learned(known)
        self._method = None
        self._masker: DenseFinder | None = None
        self._masker_good: npt.NDArray[np.bool_] | None = None
        self._gpu_good: npt.NDArray[np.bool_] | None = None
        self._gpu: CudaPeakfinder8 | CudaNetworkFinder | CudaDenseFinder | None = None

    @property
    def gain(self) -> float | None:
        """ADU a photon: given, the geometry's or, once a frame has told it, estimated."""
        return self._learned.gain

    @property
    def bad_pixels(self) -> npt.NDArray[np.bool_] | None:
        """Pixels that the network has learned to leave out: (panel, ss, fs); None before the first frame."""
        self._ask_gpu()
        return None if self._learned.bad is None else self._learned.bad.bad

    def learned_state(self) -> LearnedState:
        """What was learned of the detector so far, for a run that is to be resumed; between calls of find and map."""
        self._ask_gpu()
        return self._learned.state()

    def restore(self, state: LearnedState) -> None:
        """Go on from what an earlier finder of the same kind has learned."""
        self.reset()
        self._learned.restore(state)

    def _ask_gpu(self) -> None:
        """Let the GPU's finder tell what it has learned."""
        tell = getattr(self._gpu, "tell_bad_pixels", None)
        if tell is not None:
            tell()

    def _static_mask(self, mask: npt.ArrayLike | None) -> npt.NDArray[np.bool_] | None:
        given = None if mask is None else np.asarray(mask) != 0
        if self.geometry is None:
            return given[None] if given is not None and given.ndim == 2 else given
        good = self.geometry.mask
        if given is None:
            return good
        if given.size != good.size:
            raise ValueError(f"mask has shape {given.shape}, geometry {self.geometry.name} needs {good.shape}")
        return good & given.reshape(good.shape)

    def clone(self) -> PeakFinder:
        """A finder of the same kind for another thread."""
        twin = object.__new__(PeakFinder)
        twin.__dict__.update(self.__dict__)
        twin._method = None if self._method is None else self._method.clone()
        return twin

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Make the plan for frames of a shape before the first one comes, on the CPU; clones made later share it.

        Raises ValueError where the geometry or mask is of another shape, or an option makes no sense.
        """
        good = self.mask_for(None, shape)
        if self._method is None:
            self._method = self._make_method(good)

    def mask_for(self, event_mask: npt.NDArray[np.bool_] | None, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Good pixels of an event: the geometry's, the caller's and the event's own."""
        if self._mask is not None and (event_mask is self._event_mask or _same(event_mask, self._event_mask)):
            return self._mask
        good = np.ones(shape, bool) if self._static is None else self._static
        if good.shape != shape:
            raise ValueError(f"frame has shape {shape}, the geometry or mask needs {good.shape}")
        good = good if event_mask is None else good & event_mask
        self._check_panels(good)
        self._mask, self._event_mask, self._method = good, event_mask, None
        return good

    def _check_panels(self, good: npt.NDArray[np.bool_]) -> None:
        if self.geometry is None:
            return
        for panel, (plane, min_ss, end_ss, min_fs, end_fs) in zip(
            self.geometry.panels, self.geometry.asics, strict=True
        ):
            if not good[plane, min_ss:end_ss, min_fs:end_fs].any() and not panel.no_index:
                raise ValueError(
                    f"panel {panel.name} of {self.geometry.name} has no good pixel: check the mask, or write "
                    f"'{panel.name}/no_index = 1' into the geometry if the panel is off"
                )

    def __call__(self, frame: npt.ArrayLike, mask: npt.NDArray[np.bool_] | None = None) -> PeakArray:
        """Find the peaks of one frame.

        frame : (panel, ss, fs) or (ss, fs); mask : of this event, True = good.
        Raises ValueError if its shape is not the geometry's or no good pixel is a number.
        """
        if self.on_gpu():
            return _peaks_or_raise(next(self._outcomes_on_gpu([(frame, mask)])))
        return self._find_on_cpu(frame, mask, None)

    def _find_on_cpu(self, frame: npt.ArrayLike, mask: npt.NDArray[np.bool_] | None, turn: Turn | None) -> PeakArray:
        array = as_frame(frame)
        good = self.mask_for(mask, array.shape)
        if self._method is None:
            self._method = self._make_method(good)
        if isinstance(self._method, NetworkFinder | DenseFinder):
            peaks = self._method(array, turn)
        else:
            peaks = self._method(array)
        self._check_numbers(array, peaks, good)
        return peaks

    def artifacts(self, frame: npt.ArrayLike, mask: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.bool_]:
        """Pixels of a frame that the dense network takes for artifacts: ice and salt rings, jets, hot pixels.

        frame, mask : as for finding. Returns (panel, ss, fs), True = artifact. It runs on the CPU, a tenth of a second a
        megapixel. Raises ValueError as finding does.
        """
        array = as_frame(frame)
        good = self.mask_for(mask, array.shape)
        if self._masker is None or self._masker_good is not good:
            from .models.engine_onnx import OnnxEngine

            asics = None if self.geometry is None else self.geometry.asics
            model = load_model("dense", "dense")
            self._masker = DenseFinder(
                good, self._radius, asics, DenseConfig(), model=model, engine=OnnxEngine(model), learned=self._learned
            )
            self._masker_good = good
        return self._masker.artifacts(array)

    def _make_method(self, good: npt.NDArray[np.bool_]) -> NetworkFinder | DenseFinder | Peakfinder8 | _V3r3:
        asics = None if self.geometry is None else self.geometry.asics
        if isinstance(self.config, NetworkConfig | DenseConfig):
            assert self._model is not None
            assert self._network is not None
            shared = {"model": self._model, "engine": self._network, "learned": self._learned}
            if isinstance(self.config, NetworkConfig):
                return NetworkFinder(good, self._radius, asics, self.config, **shared)  # type: ignore[arg-type]
            return DenseFinder(good, self._radius, asics, self.config, **shared)  # type: ignore[arg-type]
        if isinstance(self.config, V3r3Config):
            return _V3r3(good, self.config)
        assert self.geometry is not None
        return Peakfinder8(good, self.geometry.radius, original=False, **self._options())

    def _check_numbers(self, frame: npt.NDArray[Any], peaks: PeakArray, good: npt.NDArray[np.bool_]) -> None:
        if len(peaks) or frame.dtype.kind != "f" or np.isfinite(frame.flat[::1009][good.flat[::1009]]).any():
            return
        if not np.isfinite(frame[good]).any():
            raise ValueError(
                "no good pixel of the frame is a number (all NaN or infinite): check the data and the mask"
            )

    def _options(self) -> dict[str, Any]:
        """Keywords of peakfinder8, on the CPU and on the GPU."""
        assert self.geometry is not None
        options = asdict(self.config)
        if options["adc_threshold"] is None:
            # In a nearly empty frame a sigma is less than a photon, and chance pairs of photons would be peaks.
            options["adc_threshold"] = 2.5 * (self.geometry.photon_gain or 0.0)
        return {**options, "asics": self.geometry.asics}

    def find(self, frames: Iterable[npt.ArrayLike], *, threads: int = 1) -> PeakTable:
        """Find the peaks of many frames: a PeakTable in their order."""
        return PeakTable.from_events([peaks for _, peaks in self.map(((f, None) for f in frames), threads=threads)])

    def on_gpu(self) -> bool:
        """Whether frames go to a GPU; the first call settles what "auto" means."""
        if self.engine == "cpu":
            return False
        reason = "v3r3 has no GPU twin" if isinstance(self.config, V3r3Config) else None
        if reason is None and self.engine == "tensorrt" and isinstance(self.config, Peakfinder8Config):
            reason = "peakfinder8 has no network for TensorRT: its GPU engine is cuda"
        if reason is not None and self.engine != "auto":
            raise ValueError(f"{reason}: choose another engine or finder")
        if self.engine == "auto":
            try:
                if reason is not None:
                    raise RuntimeError(reason)
                from .gpu.batches import check_gpu

                check_gpu()
                self.engine = "cuda"
                log.info("engine auto: using the GPU")
            except RuntimeError as error:
                self.engine = "cpu"
                log.info("engine auto: using the CPU (%s)", error)
        return self.engine != "cpu"

    def _outcomes_on_gpu(self, items: Iterable[Item]) -> Iterator[PeakArray | ValueError]:
        """Runs of frames of one mask and dtype through one GPU finder each."""
        feed = iter(items)
        ahead = next(feed, None)
        while ahead is not None:
            first, mask = _on_host_or_device(ahead[0]), ahead[1]
            good = self.mask_for(mask, tuple(first.shape))
            kind = first.dtype if first.dtype.str[1:] in DEVICE_TYPES else np.dtype(np.float32)
            held: deque[npt.NDArray[Any]] = deque()
            rest: list[Any] = []
            run = (frame.astype(kind, copy=False) for frame in _while_alike(first, mask, feed, held, rest))
            for peaks in self._gpu_finder(good, kind).map(run):
                frame = held.popleft()
                try:
                    if isinstance(frame, np.ndarray):
                        self._check_numbers(frame, peaks, good)
                    yield peaks
                except ValueError as error:
                    yield error
            ahead = rest[0] if rest else None

    def _gpu_finder(
        self, good: npt.NDArray[np.bool_], kind: np.dtype[Any]
    ) -> CudaPeakfinder8 | CudaNetworkFinder | CudaDenseFinder:
        """The finder on the GPU for a mask and dtype; the last one is kept."""
        from .gpu.candidate import CudaNetworkFinder
        from .gpu.peakfinder8 import CudaPeakfinder8
        from .gpu.segmentation import CudaDenseFinder

        if self._gpu is not None and self._gpu_good is good and self._gpu.dtype == kind:
            return self._gpu
        self._ask_gpu()  # the next knows it from the start
        asics = None if self.geometry is None else self.geometry.asics
        cpu = self._make_method(good)
        tensorrt = self.engine == "tensorrt"
        if isinstance(cpu, NetworkFinder):
            assert isinstance(self.config, NetworkConfig)
            assert self._model is not None
            self._gpu = CudaNetworkFinder(
                good, asics, self.config, model=self._model, learned=self._learned, cpu=cpu, dtype=kind,
                engine=self._tensorrt_judge if tensorrt else None,
            )  # fmt: skip
        elif isinstance(cpu, DenseFinder):
            assert isinstance(self.config, DenseConfig)
            assert self._model is not None
            # TensorRT is strongly typed: half precision is a model file of its own.
            model = load_model("dense-fp16", "dense") if tensorrt and self.config.model == "dense" else self._model
            self._gpu = CudaDenseFinder(
                good, asics, self.config, model=model, learned=self._learned, cpu=cpu, dtype=kind, half=model.precision == "fp16",
                engine=partial(_tensorrt_engine, model) if tensorrt else None,
            )  # fmt: skip
        else:
            assert self.geometry is not None
            self._gpu = CudaPeakfinder8(good, self.geometry.radius, dtype=kind, **self._options())
        self._gpu_good = good
        return self._gpu

    def _tensorrt_judge(self, rows: int) -> DeviceEngine:
        assert self._model is not None
        return _tensorrt_engine(self._model, (rows, len(FEATURES)))

    def map(self, items: Iterable[Item], *, threads: int = 1) -> Generator[tuple[int, PeakArray], None, None]:
        """Find peaks of (frame, mask) pairs as they come; yields (number, peaks) in order.

        At most 2 * threads frames are held at a time. The peaks do not depend on the number of threads.
        Raises what finding a frame raises, when its turn comes.
        """
        with closing(self.outcomes(items, threads=threads)) as found:
            for number, outcome in enumerate(found):
                yield number, _peaks_or_raise(outcome)

    def outcomes(self, items: Iterable[Item], *, threads: int = 1) -> Generator[PeakArray | ValueError, None, None]:
        """As map, but gives the error of a frame that cannot be used in place of its peaks, and goes on."""
        if threads < 1:
            raise ValueError(f"threads is {threads}, it should be at least 1")
        if self.on_gpu():
            yield from self._outcomes_on_gpu(items)
        elif threads == 1:
            for frame, mask in items:
                yield _outcome(self, frame, mask, None)
        else:
            yield from self._outcomes_of_threads(items, threads)

    def _outcomes_of_threads(self, items: Iterable[Item], threads: int) -> Iterator[PeakArray | ValueError]:
        finders = [self.clone() for _ in range(threads)]
        order, started = EventOrder(), 0
        running: deque[Future[PeakArray | ValueError]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for frame, mask in items:
                # A finder takes every threads-th frame, and no frame before its last one is done.
                if len(running) >= threads:
                    yield running.popleft().result()
                finder = finders[started % threads]
                running.append(pool.submit(_outcome, finder, frame, mask, Turn(order, started)))
                started += 1
            while running:
                yield running.popleft().result()


def _outcome(
    finder: PeakFinder, frame: npt.ArrayLike, mask: npt.NDArray[np.bool_] | None, turn: Turn | None
) -> PeakArray | ValueError:
    """Peaks of one frame, or why there are none. Later events wait for this one no longer, whatever comes of it."""
    try:
        return finder._find_on_cpu(frame, mask, turn)
    except ValueError as error:
        return error
    finally:
        if turn is not None:
            turn.passed()


def _peaks_or_raise(outcome: PeakArray | ValueError) -> PeakArray:
    if isinstance(outcome, ValueError):
        raise outcome
    return outcome


class _V3r3:
    """v3r3 with its options and mask, in the shape of the other methods."""

    def __init__(self, good: npt.NDArray[np.bool_], config: V3r3Config) -> None:
        self._good, self._options = good, asdict(config)

    def __call__(self, frame: npt.NDArray[Any]) -> PeakArray:
        return v3r3(frame, self._good, **self._options)

    def clone(self) -> _V3r3:
        return self


def _tensorrt_engine(model: Model, shape: tuple[int, ...]) -> DeviceEngine:
    from .models.engine_tensorrt import TensorRTEngine

    return TensorRTEngine(model, shape)


def _on_host_or_device(frame: Any) -> Any:
    """A frame as an array of three axes, on the host unless it lies on a GPU already."""
    if isinstance(frame, np.ndarray) or not hasattr(frame, "__cuda_array_interface__"):
        return as_frame(frame)
    return frame[None] if frame.ndim == 2 else frame


def _while_alike(first: Any, mask: Any, feed: Iterator[Any], held: deque[Any], rest: list[Any]) -> Iterator[Any]:
    """Frames of a feed with the mask and dtype of the first, also put into held; the one that differs goes into rest."""
    held.append(first)
    yield first
    for frame, event_mask in feed:
        array = _on_host_or_device(frame)
        if array.dtype != first.dtype or array.shape != first.shape or not _alike(event_mask, mask):
            rest.append((frame, event_mask))
            return
        held.append(array)
        yield array


def _alike(a: npt.NDArray[np.bool_] | None, b: npt.NDArray[np.bool_] | None) -> bool:
    return a is b or _same(a, b)


def _same(a: npt.NDArray[np.bool_] | None, b: npt.NDArray[np.bool_] | None) -> bool:
    return a is not None and b is not None and np.array_equal(a, b)
