"""The finder that an event meets: one object for each geometry, mask and method."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from .classical import Peakfinder8, as_frame, as_radius, v3r3
from .config import FinderConfig, NetworkConfig, Peakfinder8Config, V3r3Config
from .model import Model, load_model
from .network import DetectorLore, Engine, NetworkFinder
from .peaks import PeakArray, PeakTable

log = logging.getLogger("peakrt")


class PeakFinder:
    """Finds the peaks of frames: ``finder(frame)`` one event's PEAK array, ``finder.find(frames)`` a PeakTable.

    config : NetworkConfig (the default), Peakfinder8Config or V3r3Config; its type chooses the method
    geometry : Detector; peakfinder8 needs it, the network is better with it, and all take its bad regions
    mask : (panel, ss, fs), True = good, on top of the geometry's
    radius : (panel, ss, fs) or (ss, fs), pixels from the beam axis, for the network where there is no geometry
    engine : "cpu"; "cuda", which takes frames in batches in find and map, and needs peakfinder8; or "auto", which
        takes the GPU where there is one and logs its choice once. Both give the same peaks.
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
        if engine not in ("cpu", "cuda", "auto"):
            raise ValueError(f"engine is {engine!r}, it should be cpu, cuda or auto")
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
        self._method: NetworkFinder | Peakfinder8 | _V3r3 | None = None
        self._model: Model | None = None
        self._judge: Engine | None = None
        if isinstance(self.config, NetworkConfig):
            self._open_network(self.config)
        self.reset()

    def _open_network(self, config: NetworkConfig) -> None:
        from .engine_onnx import OnnxEngine

        if config.min_score is not None and not 0 < config.min_score <= 1:
            raise ValueError(f"min_score is {config.min_score}, a probability above 0 and at most 1")
        if config.gain is not None and not config.gain > 0:
            raise ValueError(f"gain is {config.gain} ADU a photon, it should be above 0")
        if config.bad_pixels not in ("learn", "keep"):
            raise ValueError(f"bad_pixels is {config.bad_pixels!r}, it should be learn or keep")
        self._model = load_model(config.model)
        self._judge = OnnxEngine(self._model)

    def reset(self) -> None:
        """Forget what was learned of the detector: bad pixels, and the gain where it was estimated."""
        known = getattr(self.config, "gain", None)
        if known is None and self.geometry is not None:
            known = self.geometry.photon_gain
        self._lore = DetectorLore(known)
        self._method = None

    @property
    def gain(self) -> float | None:
        """ADU a photon: given, the geometry's or, once a frame has told it, estimated."""
        return self._lore.gain

    @property
    def bad_pixels(self) -> npt.NDArray[np.bool_] | None:
        """Pixels that the network has learned to leave out: (panel, ss, fs); None before the first frame."""
        return None if self._lore.bad is None else self._lore.bad.bad

    def _static_mask(self, mask: npt.ArrayLike | None) -> npt.NDArray[np.bool_] | None:
        given = None if mask is None else np.asarray(mask) != 0
        if self.geometry is None:
            return given
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
            if not good[plane, min_ss:end_ss, min_fs:end_fs].any() and panel.settings.get("no_index", "0") == "0":
                raise ValueError(
                    f"panel {panel.name} of {self.geometry.name} has no good pixel: check the mask, or write "
                    f"'{panel.name}/no_index = 1' into the geometry if the panel is off"
                )

    def __call__(self, frame: npt.ArrayLike, mask: npt.NDArray[np.bool_] | None = None) -> PeakArray:
        """Find the peaks of one frame.

        frame : (panel, ss, fs) or (ss, fs); mask : of this event, True = good.
        Raises ValueError if its shape is not the geometry's or no good pixel is a number.
        """
        array = as_frame(frame)
        good = self.mask_for(mask, array.shape)
        if self._method is None:
            self._method = self._make_method(good)
        peaks = self._method(array)
        self._check_numbers(array, peaks, good)
        return peaks

    def _make_method(self, good: npt.NDArray[np.bool_]) -> NetworkFinder | Peakfinder8 | _V3r3:
        if isinstance(self.config, NetworkConfig):
            assert self._model is not None
            assert self._judge is not None
            asics = None if self.geometry is None else self.geometry.asics
            return NetworkFinder(
                good, self._radius, asics, self.config, model=self._model, engine=self._judge, lore=self._lore
            )
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

    def _on_gpu(self) -> bool:
        """Settle what "auto" means, once."""
        if self.engine == "auto":
            try:
                from .engine_cuda import check_gpu

                if not isinstance(self.config, Peakfinder8Config):
                    raise RuntimeError("only peakfinder8 runs on the GPU so far")
                check_gpu()
                self.engine = "cuda"
                log.info("engine auto: using the GPU")
            except RuntimeError as error:
                self.engine = "cpu"
                log.warning("engine auto: using the CPU (%s)", error)
        if self.engine == "cuda" and not isinstance(self.config, Peakfinder8Config):
            raise ValueError("only peakfinder8 runs on the GPU so far: choose it, or leave engine at cpu")
        return self.engine == "cuda"

    def _map_cuda(
        self, items: Iterable[tuple[npt.ArrayLike, npt.NDArray[np.bool_] | None]]
    ) -> Iterator[tuple[int, PeakArray]]:
        from .engine_cuda import DEVICE_TYPES, CudaPeakfinder8

        assert self.geometry is not None
        finder: CudaPeakfinder8 | None = None
        made_for: tuple[Any, Any] = (None, None)
        number = 0
        for run in _batches(items, 16):
            frames = [frame for frame, _ in run]
            good = self.mask_for(run[0][1], frames[0].shape)
            kind = frames[0].dtype if frames[0].dtype.str[1:] in DEVICE_TYPES else np.dtype(np.float32)
            if finder is None or made_for[0] is not good or made_for[1] != kind:
                finder = CudaPeakfinder8(good, self.geometry.radius, dtype=kind, batch=16, **self._options())
                made_for = (good, kind)
            for frame, peaks in zip(frames, finder.map(f.astype(kind, copy=False) for f in frames), strict=True):
                self._check_numbers(frame, peaks, good)
                yield number, peaks
                number += 1

    def map(
        self, items: Iterable[tuple[npt.ArrayLike, npt.NDArray[np.bool_] | None]], *, threads: int = 1
    ) -> Generator[tuple[int, PeakArray], None, None]:
        """Find peaks of (frame, mask) pairs as they come; yields (number, peaks) in order.

        At most 2 * threads frames are held at a time.
        """
        if threads < 1:
            raise ValueError(f"threads is {threads}, it should be at least 1")
        if self._on_gpu():
            yield from self._map_cuda(items)
            return
        if threads == 1:
            for number, (frame, mask) in enumerate(items):
                yield number, self(frame, mask)
            return
        finders = [self.clone() for _ in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            running: list[Any] = []
            number = 0
            for frame, mask in items:
                # A finder takes every threads-th frame, and no frame before its last one is done.
                if len(running) >= threads:
                    yield number, running.pop(0).result()
                    number += 1
                finder = finders[(number + len(running)) % threads]
                running.append(pool.submit(finder, frame, mask))
            for future in running:
                yield number, future.result()
                number += 1


class _V3r3:
    """v3r3 with its options and mask, in the shape of the other methods."""

    def __init__(self, good: npt.NDArray[np.bool_], config: V3r3Config) -> None:
        self._good, self._options = good, asdict(config)

    def __call__(self, frame: npt.NDArray[Any]) -> PeakArray:
        return v3r3(frame, self._good, **self._options)

    def clone(self) -> _V3r3:
        return self


def _batches(
    items: Iterable[tuple[npt.ArrayLike, npt.NDArray[np.bool_] | None]], n: int
) -> Iterator[list[tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]]]:
    """Runs of up to n items of one mask and dtype."""
    run: list[tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]] = []
    for frame, mask in items:
        array = as_frame(frame)
        if run:
            last, last_mask = run[-1]
            alike = array.dtype == last.dtype and (mask is last_mask or _same(mask, last_mask))
            if len(run) == n or not alike:
                yield run
                run = []
        run.append((array, mask))
    if run:
        yield run


def _same(a: npt.NDArray[np.bool_] | None, b: npt.NDArray[np.bool_] | None) -> bool:
    return a is not None and b is not None and np.array_equal(a, b)
