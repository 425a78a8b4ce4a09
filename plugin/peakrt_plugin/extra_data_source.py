"""Events of a European XFEL run through EXtra-data: ``xfel=/gpfs/.../proc/r0012``, every pulse of every train.

Modules that were not read out in a train are bad pixels there; the run's own mask, where it has one, counts. The geometry is
a CrystFEL ``.geom`` with one panel a module (EXtra-geom writes them).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt.event import Event
from peakrt.extras import to_install
from peakrt_geometry import Detector

log = logging.getLogger("peakrt")


def open_run(text: str, geometry: Detector | None, name: str | None) -> ExtraDataSource:
    """Open ``xfel=FOLDER``; name : AGIPD1M, LPD1M, ..., where the run has several detectors.

    Raises ValueError for a missing geometry or detector, OSError for no run there, ImportError, with the remedy, without
    EXtra-data.
    """
    if geometry is None:
        raise ValueError(f"{text}: EXtra-data runs say nothing of where the modules are, give a geometry with -g")
    return ExtraDataSource(text.partition("=")[2], geometry, name)


def _open_detector(kind: Any, run: Any, name: str) -> Any:
    """The corrected data of a detector, or where there are none the raw ones."""
    from extra_data.exceptions import SourceNameError

    try:
        return kind(run, name, raw=False)
    except SourceNameError:
        log.warning("%s has no corrected data here: frames are raw ADU", name)
        return kind(run, name, raw=True)


class ExtraDataSource:
    """Events of one multi-module detector of a run; frames are (module, ss, fs) as the geometry has them."""

    dtype: np.dtype[Any] | None = None  # told by the first event
    read_ahead = True
    files: Sequence[Path] = ()  # the host opens them

    def __init__(self, folder: str, geometry: Detector, name: str | None = None) -> None:
        try:
            from extra_data import RunDirectory
            from extra_data.components import identify_multimod_detectors
        except ImportError as error:
            raise ImportError(f"European XFEL runs need EXtra-data: {to_install('xfel')} ({error})") from error
        self.detector = geometry
        self._folder = folder
        try:
            run = RunDirectory(folder)
        except Exception as error:  # EXtra-data's own exceptions and plain ones, by what is wrong
            raise OSError(f"{folder} is no run that EXtra-data can open: {error}") from error
        found = {kind.__name__: (source, kind) for source, kind in identify_multimod_detectors(run)}
        if name is None and len(found) == 1:
            name = next(iter(found))
        if name not in found:
            raise ValueError(f"{folder}: say which detector (--detector) of {', '.join(sorted(found)) or 'none'}")
        source, kind = found[name]
        self._data = _open_detector(kind, run, source)
        self._keys = self._data.data.keys_for_source(next(iter(self._data.source_to_modno)))
        self._trains = [int(train) for train in self._data.train_ids]
        self._pulses = int(self._data.frames_per_train)

    def __len__(self) -> int:
        return len(self._trains) * self._pulses

    def events(self, start: int = 0) -> Iterator[Event]:
        """Give the pulses from number start on, train by train."""
        for train in self._trains[start // self._pulses :]:
            first, start = start % self._pulses, 0
            frames, mask = self._read(train)
            for pulse in range(first, len(frames)):
                good = None if mask is None else mask[pulse]
                yield Event(frames[pulse], good, self._folder, f"//{train}.{pulse}", timestamp=(0, 0, train))

    def _read(self, train: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Frames (pulse, module, ss, fs) of a train, and which of their pixels are good."""
        from extra_data import by_id

        data = self._data.select_trains(by_id[[train]])
        array = data.get_array("image.data", unstack_pulses=False)
        values = array.values
        if values.ndim == 5:  # raw AGIPD: data, then gain
            values = values[:, :, 0]
        modules, shape = [int(m) for m in array.coords["module"].values], self.detector.shape
        first = 1 if min(modules, default=0) == 1 and max(modules) == shape[0] else 0  # Jungfrau counts from 1
        if values.shape[2:] != shape[1:] or max(modules, default=0) - first >= shape[0]:
            raise ValueError(
                f"{self._folder}: modules {modules} of shape {values.shape[2:]} do not fit the geometry's {shape}"
            )
        place = [m - first for m in modules]
        frames = np.zeros((values.shape[1], *shape), values.dtype)
        frames[:, place] = np.moveaxis(values, 0, 1)
        masked = "image.mask" in self._keys
        if len(place) == shape[0] and not masked:
            return frames, None
        good = np.zeros(frames.shape, bool)
        good[:, place] = True
        if masked:
            good[:, place] = np.moveaxis(data.get_array("image.mask", unstack_pulses=False).values, 0, 1) == 0
        return frames, good
