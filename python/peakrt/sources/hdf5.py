"""CXI and HDF5 files in any layout that a CrystFEL geometry describes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the compression filters)
import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector, HeaderValue, MaskSource, Panel

from ..event import Event

log = logging.getLogger("peakrt")


@dataclass(frozen=True)
class Hdf5Event:
    """One event of a file: what replaces the "%" of the data path, and the index on the event axis (or None)."""

    path_part: str
    index: int | None

    @property
    def name(self) -> str:
        """CrystFEL's name of the event."""
        if self.index is None:
            return f"{self.path_part}//" if self.path_part else ""
        return f"{self.path_part}//{self.index}"


class Hdf5File:
    """The events of one HDF5 file. Opens the file when first read.

    Raises ValueError for a geometry without data paths or with more than one event axis, and for datasets that are
    missing or of another shape than the geometry's; OSError for a file that cannot be opened.
    """

    def __init__(self, path: Path, detector: Detector) -> None:
        if not detector.has_data_path:
            raise ValueError(f"geometry {detector.name} has no 'data =' line: it must say where the images stand")
        self.path, self.detector = path, detector
        self._file: h5py.File | None = None
        self._masks: dict[Any, npt.NDArray[np.bool_] | None] = {}
        self.events = self._list_events()

    @property
    def file(self) -> h5py.File:
        """The open file."""
        if self._file is None:
            try:
                self._file = h5py.File(self.path, "r")
            except FileNotFoundError:
                raise FileNotFoundError(f"{self.path} does not exist") from None
            except PermissionError:
                raise PermissionError(f"{self.path} cannot be read: no permission") from None
            except OSError as error:
                raise OSError(f"{self.path} is not a readable HDF5 file: {_reason(error)}") from error
        return self._file

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._masks.clear()

    def dataset(self, path: str, part: str = "") -> h5py.Dataset:
        """Dataset of a path in which "%" stands for the event's part. Raises ValueError if there is none."""
        full = path.replace("%", part, 1)
        try:
            found = self.file[full]
        except KeyError:
            raise ValueError(f"{self.path} has no dataset {full} (the geometry's data path)") from None
        if not isinstance(found, h5py.Dataset):
            raise ValueError(f"{full} in {self.path} is a group, the geometry says it holds the images")
        return found

    def _list_events(self) -> list[Hdf5Event]:
        panel = self.detector.panels[0]
        parts = self._path_parts(panel.data or "")
        events = []
        for part in parts:
            dataset = self.dataset(panel.data or "", part)
            axis = self._check_shape(dataset, panel)
            if axis is None:
                events.append(Hdf5Event(part, None))
            else:
                events += [Hdf5Event(part, index) for index in range(dataset.shape[axis])]
        return events

    def _path_parts(self, path: str) -> list[str]:
        if "%" not in path:
            return [""]
        before, after = path.split("%", 1)
        group = self.file.get(before.rsplit("/", 1)[0] or "/")
        if not isinstance(group, h5py.Group):
            raise ValueError(f"{self.path} has no group {before!r} to take events from")
        stem = before.rsplit("/", 1)[1]
        names = [name.removeprefix(stem) for name in group if name.startswith(stem)]
        return sorted(n for n in names if before + n + after in self.file)

    def _check_shape(self, dataset: h5py.Dataset, panel: Panel) -> int | None:
        """Compare a dataset with the geometry; give its event axis."""
        dims = panel.dims
        if dataset.ndim == 3 and dims == ("ss", "fs"):  # CrystFEL, too, takes the first axis for events
            dims = ("%", "ss", "fs")
        if dims.count("%") > 1:
            raise ValueError(f"geometry {self.detector.name} has more than one event axis, which is not supported")
        where = f"{dataset.name} in {self.path}"
        if dataset.ndim != len(dims):
            raise ValueError(f"{where} has shape {dataset.shape}, the geometry says {' x '.join(map(str, dims))}")
        if dataset.dtype.kind not in "buif":
            raise ValueError(f"{where} holds {dataset.dtype}, not numbers")
        _, n_ss, n_fs = self.detector.shape
        found = dataset.shape[dims.index("ss")], dataset.shape[dims.index("fs")]
        if found != (n_ss, n_fs):
            verb = "needs" if found[0] < n_ss or found[1] < n_fs else "describes only"
            raise ValueError(
                f"{where} has frames of {found[0]} x {found[1]} pixels, geometry {self.detector.name} {verb} "
                f"{n_ss} x {n_fs}: is it the right one?"
            )
        return dims.index("%") if "%" in dims else None

    def read(self, event: Hdf5Event) -> Event:
        """Read one event."""
        frame = self._read_frame(event)
        return Event(
            frame=frame,
            mask=self._read_mask(event, frame),
            file=str(self.path),
            name=event.name,
            camera_length_m=self._header(self.detector.camera_length, event),
            photon_energy_eV=self._header(self.detector.photon_energy, event),
            timestamp=self._timestamp(event),
        )

    def _plane(self, dataset: h5py.Dataset, panel: Panel, index: int | None) -> npt.NDArray[Any]:
        """One (ss, fs) plane of a dataset."""
        dims: tuple[str | int, ...] = (
            ("%", "ss", "fs") if dataset.ndim == 3 and panel.dims == ("ss", "fs") else panel.dims
        )
        selection = tuple(index if d == "%" else d if isinstance(d, int) else slice(None) for d in dims)
        try:
            plane = dataset[selection]
        except (IndexError, ValueError):
            raise ValueError(f"{dataset.name} in {self.path} has no index {selection}: shape {dataset.shape}") from None
        return plane.T if dims.index("fs") < dims.index("ss") else plane

    def _read_frame(self, event: Hdf5Event) -> npt.NDArray[Any]:
        whole = self._whole(event)
        if whole is not None:
            return whole
        first = {panel.plane: panel for panel in reversed(self.detector.panels)}
        planes = []
        for plane in self.detector.planes:
            panel = first[plane]
            planes.append(self._plane(self.dataset(panel.data or "", event.path_part), panel, event.index))
        shapes = {p.shape for p in planes}
        if len(shapes) > 1:
            raise ValueError(f"{self.path}: the panels' arrays have different shapes: {shapes}")
        return planes[0][None] if len(planes) == 1 else np.stack(planes)

    def _whole(self, event: Hdf5Event) -> npt.NDArray[Any] | None:
        """All planes at once where they are the consecutive indices of one array's axis before ss and fs."""
        dims, n = self.detector.panels[0].dims, self.detector.shape[0]
        if n == 1 or len(dims) < 3 or dims[-2:] != ("ss", "fs") or not isinstance(dims[-3], int):
            return None
        lead = dims[:-3]
        expected = [
            (self.detector.panels[0].data, tuple(d for d in lead if isinstance(d, int)) + (k,)) for k in range(n)
        ]
        if list(self.detector.planes) != expected:
            return None
        dataset = self.dataset(self.detector.panels[0].data or "", event.path_part)
        if dataset.ndim != len(dims):
            return None
        selection = tuple(event.index if d == "%" else d for d in lead) + (slice(0, n),)
        return dataset[selection]

    def _read_mask(self, event: Hdf5Event, frame: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
        """Good pixels by the geometry's mask files and flags; None where it has none of them.

        The same array for every event where nothing of it changes.
        """
        key = ("whole", event.path_part)
        if key in self._masks:
            return self._masks[key]
        good, fixed = None, True
        for plane, panel in {panel.plane: panel for panel in reversed(self.detector.panels)}.items():
            number = self.detector.planes.index(plane)
            parts = []
            for source in panel.masks:
                values, every_event = self._mask_plane(source, panel, event)
                fixed &= every_event
                parts += [] if values is None else [values]
            flagged = flag_pixels(frame[number], panel)
            if flagged is not None:
                fixed = False
                parts.append(~flagged)
            for part in parts:
                good = np.ones(frame.shape, bool) if good is None else good
                good[number] &= part
        if fixed:
            self._masks[key] = good
        return good

    def _mask_plane(
        self, source: MaskSource, panel: Panel, event: Hdf5Event
    ) -> tuple[npt.NDArray[np.bool_] | None, bool]:
        """One plane of a mask, and whether it holds for every event."""
        key = (source, panel.plane, event.path_part)
        if key in self._masks:
            return self._masks[key], True
        values, every_event = self._load_mask(source, panel, event)
        good = None
        if values is not None:
            bits = values.astype(np.int64)
            good = ((bits & source.good) == source.good) & ((bits & source.bad) == 0)
        if every_event:
            self._masks[key] = good
        return good, every_event

    def _load_mask(self, source: MaskSource, panel: Panel, event: Hdf5Event) -> tuple[npt.NDArray[Any] | None, bool]:
        if source.file is None:
            path = source.path.replace("%", event.path_part, 1)
            if path not in self.file:
                log.warning("%s has no mask %s: going on without it", self.path, path)
                return None, True
            return self._cut_mask(self.file[path], panel, event)
        beside = Path(source.file) if Path(source.file).exists() else self.path.parent / source.file
        if not beside.exists():
            raise ValueError(f"mask file {source.file} of geometry {self.detector.name} does not exist")
        with h5py.File(beside, "r") as file:
            if source.path not in file:
                raise ValueError(f"{beside} has no mask {source.path}")
            return self._cut_mask(file[source.path], panel, event)

    def _cut_mask(self, dataset: h5py.Dataset, panel: Panel, event: Hdf5Event) -> tuple[npt.NDArray[Any], bool]:
        n_ss, n_fs = self.detector.shape[1:]
        if dataset.ndim == len(panel.dims) and "%" in panel.dims:
            return self._plane(dataset, panel, event.index), False
        fixed = [d for d in panel.dims if d != "%"]
        if dataset.ndim == len(fixed):
            selection = tuple(d if isinstance(d, int) else slice(None) for d in fixed)
            plane = dataset[selection]
            plane = plane.T if fixed.index("fs") < fixed.index("ss") else plane
            if plane.shape == (n_ss, n_fs):
                return plane, True
        raise ValueError(f"mask {dataset.name} has shape {dataset.shape}, the geometry needs {n_ss} x {n_fs}")

    def _header(self, value: float | HeaderValue | None, event: Hdf5Event) -> float | None:
        if not isinstance(value, HeaderValue):
            return value
        path = value.path.replace("%", event.path_part, 1)
        if path not in self.file:
            return None
        dataset = self.file[path]
        values = np.asarray(dataset[()] if dataset.ndim == 0 or event.index is None else dataset)
        number = values.flat[min(event.index or 0, values.size - 1)] if values.size else np.nan
        return float(number) * value.scale if np.isfinite(number) else None

    def _timestamp(self, event: Hdf5Event) -> tuple[int, int, int]:
        found = []
        for path in ("/LCLS/machineTime", "/LCLS/machineTimeNanoSeconds", "/LCLS/fiducial"):
            dataset = self.file.get(path)
            there = isinstance(dataset, h5py.Dataset) and dataset.ndim == 1 and (event.index or 0) < len(dataset)
            found.append(int(dataset[event.index or 0]) if there else 0)
        return found[0], found[1], found[2]


def flag_pixels(plane: npt.NDArray[Any], panel: Panel) -> npt.NDArray[np.bool_] | None:
    """Pixels that a panel's flag_lessthan, flag_morethan and flag_equal call bad; None without such settings."""
    compare = {"flag_lessthan": np.less, "flag_morethan": np.greater, "flag_equal": np.equal}
    flagged: npt.NDArray[np.bool_] | None = None
    for key, operator in compare.items():
        if key in panel.settings:
            hit = operator(plane, float(panel.settings[key]))
            flagged = hit if flagged is None else flagged | hit
    return flagged


def _reason(error: OSError) -> str:
    text = str(error)
    if "truncated" in text:
        return "it is truncated (was its copy or its writer interrupted?)"
    if "signature" in text:
        return "it has no HDF5 signature"
    return text.splitlines()[0]


def read_events(path: Path, detector: Detector, wanted: list[str] | None = None) -> Iterator[Event]:
    """Events of one file, all or those named. Raises ValueError for a name that the file lacks."""
    file = Hdf5File(path, detector)
    try:
        for event in select_events(file, wanted):
            yield file.read(event)
    finally:
        file.close()


def select_events(file: Hdf5File, wanted: list[str] | None) -> list[Hdf5Event]:
    """Events by name, in the order asked for. Raises ValueError for a name that the file lacks."""
    if wanted is None:
        return file.events
    by_name = {event.name: event for event in file.events}
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise ValueError(
            f"{file.path} has no event {missing[0]}: it has {len(file.events)}, from {file.events[0].name if file.events else '-'}"
        )
    return [by_name[name] for name in wanted]
