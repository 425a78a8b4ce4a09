"""Events of an LCLS run through psana2: ``exp=mfx100,run=7``, in one process or on the ranks of an MPI job.

psana2 deals the events out itself: under MPI ranks 0 and 1 serve and never see one. Keys beside exp and run:
``dir=FOLDER`` takes the xtc2 files there and asks no logbook; ``calib=none`` asks for no calibration constants and gives
raw ADU; ``events=N`` stops after N events.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt.event import Event
from peakrt_geometry import Detector

from .beam import sensible_energy, with_energy
from .psana2_detector import own_geometry

log = logging.getLogger("peakrt")


class Psana2Source:
    """Events of one detector of a run; frames are one (1, ss, fs) slab of all its segments, as in LUTE's CXI.

    detector : name in the run; None takes the only one with segments of pixels
    geometry : None takes psana's own, from the calibration constants or its default for the detector
    done : timestamps of events to leave out, for a run that is resumed
    """

    #: psana talks MPI: it is read from the thread that asks.
    read_ahead = False

    dtype: np.dtype[Any] | None = None  # told by the first event
    files: Sequence[Path] = ()  # the host opens them

    def __init__(
        self,
        exp: str,
        run: int,
        detector: str | None,
        *,
        folder: str | None = None,
        calibrated: bool = True,
        geometry: Detector | None = None,
        max_events: int = 0,
    ) -> None:
        from psana import DataSource

        options: dict[str, Any] = {"exp": exp, "run": run}
        if folder is not None:
            _ask_no_logbook()
            log.warning("%s run %d: files of %s, the logbook was not asked", exp, run, folder)
            options["dir"] = folder
        if not calibrated:
            log.warning("%s run %d: no calibration constants, frames are raw ADU", exp, run)
            options["skip_calib_load"] = "all"
        if exp.startswith("mfx"):
            options["batch_size"] = 1  # psana's own rule for mfx
        if max_events:
            options["max_events"] = max_events
        self.done: frozenset[tuple[int, int]] = frozenset()
        self._name = f"exp={exp},run={run}"
        self._run = next(DataSource(**options).runs())
        self._raw = self._open(detector, calibrated)
        self._photon_energy = self._open_beam()
        self._calibrated = calibrated
        self._slab_mask: npt.NDArray[np.bool_] | None = None
        self.detector = geometry or self._own_geometry()
        if self._photon_energy is not None:
            self.detector = with_energy(self.detector)

    def _open(self, name: str | None, calibrated: bool) -> Any:
        names = sorted(self._run.detnames)
        if name is None:
            pixels = [n for n in names if hasattr(getattr(self._run.Detector(n), "raw", None), "_segment_numbers")]
            if len(pixels) != 1:
                raise ValueError(f"{self._name}: say which detector (--detector) of {', '.join(names) or 'none'}")
            name = pixels[0]
        if name not in names:
            raise ValueError(f"{self._name} has no detector {name}: it has {', '.join(names) or 'none'}")
        detector = self._run.Detector(name, status=True) if calibrated else self._run.Detector(name)
        return detector.raw

    def _open_beam(self) -> Any:
        """What gives an event's photon energy, from the electron beam; None in a run without it."""
        for name in ("ebeam", "ebeamh"):
            if name in self._run.detnames:
                return getattr(self._run.Detector(name).raw, "ebeamPhotonEnergy", None)
        return None

    def _own_geometry(self) -> Detector:
        geometry = own_geometry(self._raw, self._name)
        if geometry is None:
            raise ValueError(f"{self._name}: psana knows no geometry of this detector, give one with -g")
        return geometry if self._calibrated else replace(geometry, adu_per_eV=None)

    def events(self, start: int = 0) -> Iterator[Event]:
        """Give this rank's events from its number start on; those without this detector, and done ones, are left out."""
        number = 0
        for event in self._run.events():
            stamp = int(event.timestamp)
            seconds, nanoseconds = stamp >> 32, stamp & 0xFFFFFFFF
            if (seconds, nanoseconds) in self.done:
                continue
            frame = self._raw.calib(event) if self._calibrated else self._raw.raw(event)
            if frame is None:
                continue
            number += 1
            if number <= start:
                continue
            slab, mask = self._as_slab(np.asarray(frame))
            energy = None if self._photon_energy is None else self._photon_energy(event)
            yield Event(
                slab, mask, self._name, f"//{seconds}-{nanoseconds}", timestamp=(seconds, nanoseconds, 0),
                photon_energy_eV=sensible_energy(energy),
            )  # fmt: skip

    def _as_slab(self, stack: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """A copy of (segment, row, column) in the geometry's frame; segments that were not read out are bad."""
        shape = self.detector.shape
        numbers = list(self._raw._segment_numbers)
        pixels = int(np.prod(stack.shape[1:]))
        segments = int(np.prod(shape)) // pixels
        if (
            segments * pixels != int(np.prod(shape))
            or max(numbers, default=0) >= segments
            or len(numbers) != len(stack)
        ):
            raise ValueError(
                f"{self._name}: frames of segments {numbers} of shape {stack.shape[1:]} do not fit the geometry's {shape}"
            )
        # psana fills one buffer again and again: what is kept must be a copy.
        whole = (np.empty if len(numbers) == segments else np.zeros)((segments, *stack.shape[1:]), stack.dtype)
        whole[numbers] = stack
        if self._slab_mask is None or len(numbers) != segments:
            self._slab_mask = self._mask(stack.shape, numbers, segments).reshape(shape)
        return whole.reshape(shape), self._slab_mask

    def _mask(self, shape: tuple[int, ...], numbers: list[int], segments: int) -> npt.NDArray[np.bool_]:
        good = np.zeros((segments, *shape[1:]), bool)
        status = self._raw._mask() if self._calibrated else None
        good[numbers] = True if status is None else np.asarray(status) != 0
        if status is None and self._calibrated:
            log.warning("%s: no pixel status among the constants, every pixel counts", self._name)
        return good


def _ask_no_logbook() -> None:
    """With a folder given psana need not know where the files are: without a network the question takes minutes."""
    from psana.psexp.ds_base import DataSourceBase

    DataSourceBase._get_file_info_from_db = lambda self, run: {}
