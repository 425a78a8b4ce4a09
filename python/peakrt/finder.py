"""The finder that an event meets: one object for each geometry, mask and method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from .classical import Peakfinder8, as_frame, v3r3
from .config import FinderConfig, Peakfinder8Config, V3r3Config
from .peaks import PeakArray, PeakTable


class PeakFinder:
    """Finds the peaks of frames: ``finder(frame)`` one event's PEAK array, ``finder.find(frames)`` a PeakTable.

    config : Peakfinder8Config or V3r3Config; its type chooses the method
    geometry : Detector; peakfinder8 needs it, and both take its bad regions
    mask : (panel, ss, fs), True = good, on top of the geometry's
    Raises ValueError for a missing geometry, a frame of another shape, or a panel without a good pixel.
    """

    def __init__(
        self,
        config: FinderConfig | None = None,
        *,
        geometry: Detector | None = None,
        mask: npt.ArrayLike | None = None,
    ) -> None:
        self.config = config or Peakfinder8Config()
        self.geometry = geometry
        if geometry is None and isinstance(self.config, Peakfinder8Config):
            raise ValueError("peakfinder8 needs a geometry for its radial statistics")
        self._static = self._static_mask(mask)
        self._event_mask: npt.NDArray[np.bool_] | None = None
        self._mask: npt.NDArray[np.bool_] | None = None
        self._radial: Peakfinder8 | None = None

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
        twin = PeakFinder(self.config, geometry=self.geometry)
        twin._static, twin._mask, twin._event_mask = self._static, self._mask, self._event_mask
        twin._radial = None if self._radial is None else self._radial.clone()
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
        self._mask, self._event_mask, self._radial = good, event_mask, None
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
        peaks = (
            self._peakfinder8(array, good) if isinstance(self.config, Peakfinder8Config) else self._v3r3(array, good)
        )
        if len(peaks) == 0 and array.dtype.kind == "f" and not np.isfinite(array[good]).any():
            raise ValueError(
                "no good pixel of the frame is a number (all NaN or infinite): check the data and the mask"
            )
        return peaks

    def _peakfinder8(self, frame: npt.NDArray[Any], good: npt.NDArray[np.bool_]) -> PeakArray:
        if self._radial is None:
            assert self.geometry is not None
            options = asdict(self.config)  # its fields are the finder's keywords
            if options["adc_threshold"] is None:
                # In a nearly empty frame a sigma is less than a photon, and chance pairs of photons would be peaks.
                options["adc_threshold"] = 2.5 * (self.geometry.photon_gain or 0.0)
            self._radial = Peakfinder8(good, self.geometry.radius, asics=self.geometry.asics, **options)
        return self._radial(frame)

    def _v3r3(self, frame: npt.NDArray[Any], good: npt.NDArray[np.bool_]) -> PeakArray:
        assert isinstance(self.config, V3r3Config)
        return v3r3(frame, good, **asdict(self.config))

    def find(self, frames: Iterable[npt.ArrayLike], *, threads: int = 1) -> PeakTable:
        """Find the peaks of many frames: a PeakTable in their order."""
        return PeakTable.from_events([peaks for _, peaks in self.map(((f, None) for f in frames), threads=threads)])

    def map(
        self, items: Iterable[tuple[npt.ArrayLike, npt.NDArray[np.bool_] | None]], *, threads: int = 1
    ) -> Iterator[tuple[int, PeakArray]]:
        """Find peaks of (frame, mask) pairs as they come; yields (number, peaks) in order.

        At most 2 * threads frames are held at a time.
        """
        if threads < 1:
            raise ValueError(f"threads is {threads}, it should be at least 1")
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


def _same(a: npt.NDArray[np.bool_] | None, b: npt.NDArray[np.bool_] | None) -> bool:
    return a is not None and b is not None and np.array_equal(a, b)
