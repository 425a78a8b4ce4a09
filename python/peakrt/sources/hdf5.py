"""CXI and HDF5 files in any layout that a CrystFEL geometry describes."""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import h5py
import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector, HeaderValue, MaskSource, Panel
from peakrt_geometry.checks import MAX_PIXELS

from ..event import Event
from ..filters import check_filters, register_filters
from ..hdf5_items import (
    SizeWatch,
    check_stored,
    children,
    find_group,
    find_item,
    first_line,
    get_dataset,
    get_images,
    holds,
    number_type,
    open_hdf5,
    read,
    shape_of,
    where,
)

log = logging.getLogger("peakrt")
register_filters()
#: Numbers an event (photon energy, time stamps) are read at once where they, and their chunks, are no more than these.
_FEW, _FEW_CHUNKS = 1 << 20, 4096


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


class Hdf5Events(Sequence[Hdf5Event]):
    """The events of a file in order, made as they are asked for: a file may claim any number of them.

    parts : what replaces the "%" of the data path, and how many events there are of it (None: one, without an index)
    """

    def __init__(self, parts: list[tuple[str, int | None]]) -> None:
        self._parts = parts
        self._ends = list(accumulate(1 if n is None else n for _, n in parts))
        self._number = {part: k for k, (part, _) in enumerate(parts)}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, number: int) -> Hdf5Event: ...
    @overload
    def __getitem__(self, number: slice) -> list[Hdf5Event]: ...
    def __getitem__(self, number: int | slice) -> Hdf5Event | list[Hdf5Event]:
        if isinstance(number, slice):
            return [self[k] for k in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"there is no event {number} among {len(self)}")
        number %= len(self)
        k = bisect_right(self._ends, number)
        part, n = self._parts[k]
        return Hdf5Event(part, None if n is None else number - (self._ends[k] - n))

    def named(self, name: str) -> Hdf5Event | None:
        """Event of CrystFEL's name; None where there is none."""
        part, _, text = name.rpartition("//")
        k = self._number.get(part)
        if k is None:
            return None
        n = self._parts[k][1]
        if n is None:
            event = Hdf5Event(part, None)
        elif text.isascii() and text.isdigit() and len(text) < 19 and int(text) < n:
            event = Hdf5Event(part, int(text))
        else:
            return None
        return event if event.name == name else None


class Hdf5File:
    """The events of one HDF5 file. Opens the file when first read.

    events : a sequence of Hdf5Event; dtype : the type that holds the numbers of all its frames
    Raises ValueError for a geometry without data paths or with more than one event axis, and for datasets that are
    missing or of another shape than the geometry's; OSError for a file that cannot be opened, or that is truncated
    while it is read.
    """

    def __init__(self, path: Path, detector: Detector) -> None:
        if not detector.has_data_path:
            raise ValueError(f"geometry {detector.name} has no 'data =' line: it must say where the images stand")
        if math.prod(detector.shape) > MAX_PIXELS:
            raise ValueError(
                f"geometry {detector.name} has frames of {detector.shape} pixels, at most {MAX_PIXELS} are read"
            )
        self.path, self.detector = path, detector
        self._file: h5py.File | None = None
        self._masks: dict[Any, npt.NDArray[np.bool_] | None] = {}
        self._open: dict[str, tuple[h5py.Dataset, SizeWatch]] = {}
        self._part = ""
        self._numbers: dict[str, npt.NDArray[Any] | h5py.Dataset | None] = {}
        #: One panel of each plane of a frame.
        self._first = {panel.plane: panel for panel in reversed(detector.panels)}
        try:
            self.events, self.dtype = self._list_events()
        except BaseException:
            self.close()
            raise

    @property
    def file(self) -> h5py.File:
        """The open file."""
        if self._file is None:
            self._file = open_hdf5(self.path)
        return self._file

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        for held in (self._masks, self._open, self._numbers):
            held.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def dataset(self, path: str, part: str = "") -> tuple[h5py.Dataset, SizeWatch]:
        """Dataset of a path in which "%" stands for the event's part, and the watch over its files.

        Raises ValueError if there is none.
        """
        if part != self._part:  # a file may have any number of parts: those of one event are kept
            self._open.clear()
            self._part = part
        if path not in self._open:
            found = get_images(self.file, path.replace("%", part, 1))
            watch = SizeWatch(found)
            if watch.missing:
                log.warning(
                    "%s: %d files with parts of it are missing, these are blank: %s ...",
                    where(found), len(watch.missing), watch.missing[0],
                )  # fmt: skip
            self._open[path] = found, watch
        return self._open[path]

    def _list_events(self) -> tuple[Hdf5Events, np.dtype[Any]]:
        parts: list[tuple[str, int | None]] = []
        kinds: set[np.dtype[Any]] = set()
        for part in self._path_parts(self.detector.panels[0].data or ""):
            counts = set()
            for panel in self._first.values():
                dataset, _ = self.dataset(panel.data or "", part)
                counts.add(self._check_shape(dataset, panel))
                kinds.add(number_type(dataset))
            if len(counts) > 1:
                raise ValueError(
                    f"the panels' datasets in {self.path} have different numbers of events: {', '.join(map(str, counts))}"
                )
            parts.append((part, counts.pop()))
        if sum(n or 1 for _, n in parts) > 2**62:
            raise ValueError(f"{self.path} claims more events than can be counted: is it damaged?")
        return Hdf5Events(parts), np.result_type(*kinds).newbyteorder("=") if kinds else np.dtype(np.float32)

    def _path_parts(self, path: str) -> list[str]:
        if "%" not in path:
            return [""]
        before, after = path.split("%", 1)
        folder, _, stem = before.rpartition("/")
        group = find_group(self.file, folder or "/")
        if group is None:
            raise ValueError(f"{self.path} has no group {before!r} to take events from")
        parts = sorted(name.removeprefix(stem) for name in children(group) if name.startswith(stem))
        there = [part for part in parts if find_item(self.file, before + part + after) is not None]
        if parts and not there:
            get_dataset(self.file, before + parts[0] + after)  # says why not
        if len(there) < len(parts):
            lost = next(part for part in parts if part not in there)
            log.warning(
                "%s: %d of %d datasets %s cannot be opened, going on without them: the first is %s",
                self.path, len(parts) - len(there), len(parts), path, before + lost + after,
            )  # fmt: skip
        return there

    def _dims(self, n_axes: int, panel: Panel) -> tuple[int | str, ...]:
        # CrystFEL, too, takes the first axis for events
        return ("%", "ss", "fs") if n_axes == 3 and panel.dims == ("ss", "fs") else panel.dims

    def _check_shape(self, dataset: h5py.Dataset, panel: Panel) -> int | None:
        """Compare a dataset with the geometry; give its number of events, None where it has no event axis."""
        shape = shape_of(dataset)
        dims = self._dims(len(shape), panel)
        if dims.count("%") > 1:
            raise ValueError(f"geometry {self.detector.name} has more than one event axis, which is not supported")
        if len(shape) != len(dims):
            raise ValueError(f"{where(dataset)} has shape {shape}, the geometry says {' x '.join(map(str, dims))}")
        number_type(dataset)
        check_stored(dataset)
        check_filters(dataset)
        for axis, index in enumerate(dims):
            if isinstance(index, int) and not 0 <= index < shape[axis]:
                raise ValueError(f"{where(dataset)} has shape {shape}, the geometry wants index {index} of axis {axis}")
        _, n_ss, n_fs = self.detector.shape
        found = shape[dims.index("ss")], shape[dims.index("fs")]
        if found != (n_ss, n_fs):
            verb = "needs" if found[0] < n_ss or found[1] < n_fs else "describes only"
            raise ValueError(
                f"{where(dataset)} has frames of {found[0]} x {found[1]} pixels, geometry {self.detector.name} {verb} "
                f"{n_ss} x {n_fs}: is it the right one?"
            )
        return shape[dims.index("%")] if "%" in dims else None

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

    def _read_part(self, path: str, event: Hdf5Event, selection: tuple[Any, ...]) -> npt.NDArray[Any]:
        """Part of a frame dataset; an OSError where it may be zeros because a file has become shorter."""
        dataset, watch = self.dataset(path, event.path_part)
        values = read(dataset, selection)
        watch.check()
        return values

    def _selection(self, dims: Sequence[int | str], index: int | None) -> tuple[Any, ...]:
        return tuple(index if d == "%" else d if isinstance(d, int) else slice(None) for d in dims)

    def _read_frame(self, event: Hdf5Event) -> npt.NDArray[Any]:
        whole = self._whole(event)
        if whole is not None:
            return whole
        planes = []
        for plane in self.detector.planes:
            panel = self._first[plane]
            dataset, _ = self.dataset(panel.data or "", event.path_part)
            dims = self._dims(dataset.ndim, panel)
            values = self._read_part(panel.data or "", event, self._selection(dims, event.index))
            planes.append(values.T if dims.index("fs") < dims.index("ss") else values)
        return planes[0][None] if len(planes) == 1 else np.stack(planes)

    def _whole(self, event: Hdf5Event) -> npt.NDArray[Any] | None:
        """All planes at once where they are the consecutive indices of one array's axis before ss and fs."""
        dims, n = self.detector.panels[0].dims, self.detector.shape[0]
        if n == 1 or len(dims) < 3 or dims[-2:] != ("ss", "fs") or not isinstance(dims[-3], int):
            return None
        lead = dims[:-3]
        path = self.detector.panels[0].data or ""
        expected = [(path, tuple(d for d in lead if isinstance(d, int)) + (k,)) for k in range(n)]
        if list(self.detector.planes) != expected:
            return None
        return self._read_part(path, event, (*self._selection(lead, event.index), slice(0, n)))

    def _read_mask(self, event: Hdf5Event, frame: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
        """Good pixels by the geometry's mask files and flags; None where it has none of them.

        The same array for every event where nothing of it changes.
        """
        key = ("whole", event.path_part)
        if key in self._masks:
            return self._masks[key]
        parts_of: dict[int, list[npt.NDArray[np.bool_]]] = {}  # by panel of the frame
        fixed = True
        for plane, panel in self._first.items():
            parts = parts_of.setdefault(self.detector.planes.index(plane), [])
            for source in panel.masks:
                values, every_event = self._mask_plane(source, panel, event)
                fixed &= every_event
                parts += [] if values is None else [values]
            flagged = flag_pixels(frame[self.detector.planes.index(plane)], panel)
            if flagged is not None:
                fixed = False
                parts.append(~flagged)
        good = _all_of(parts_of, frame.shape)
        if fixed:
            self._keep_mask(key, good)
        return good

    def _keep_mask(self, key: tuple[Any, ...], good: npt.NDArray[np.bool_] | None) -> None:
        """Keep a mask for the events to come; of a file with many parts only that of the last ones."""
        if len(self._masks) > 4 * (len(self._first) + 1):
            self._masks.clear()
        self._masks[key] = good

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
            good = _good_pixels(values, source)
        if every_event:
            self._keep_mask(key, good)
        return good, every_event

    def _load_mask(self, source: MaskSource, panel: Panel, event: Hdf5Event) -> tuple[npt.NDArray[Any] | None, bool]:
        if source.file is None:
            path = source.path.replace("%", event.path_part, 1)
            if not holds(self.file, path):
                log.warning("%s has no mask %s: going on without it", self.path, path)
                return None, True
            dataset, watch = self.dataset(source.path, event.path_part)
            found = self._cut_mask(dataset, panel, event)
            watch.check()
            return found
        beside = Path(source.file) if Path(source.file).exists() else self.path.parent / source.file
        if not beside.exists():
            raise ValueError(f"mask file {source.file} of geometry {self.detector.name} does not exist")
        with open_hdf5(beside) as file:
            return self._cut_mask(get_dataset(file, source.path), panel, event)

    def _cut_mask(self, dataset: h5py.Dataset, panel: Panel, event: Hdf5Event) -> tuple[npt.NDArray[Any], bool]:
        """One plane of a mask dataset, which may have an event axis or none, and whether it holds for every event."""
        shape, (n_ss, n_fs) = shape_of(dataset), self.detector.shape[1:]
        every_event = len(shape) != len(panel.dims) or "%" not in panel.dims
        dims = [d for d in panel.dims if d != "%"] if every_event else list(panel.dims)
        sides = {"ss": n_ss, "fs": n_fs, "%": event.index or 0}
        if len(shape) != len(dims) or any(
            n != sides[d] if d in ("ss", "fs") else n <= (d if isinstance(d, int) else sides["%"])
            for n, d in zip(shape, dims, strict=False)
        ):
            raise ValueError(
                f"mask {where(dataset)} has shape {shape}, the geometry needs {' x '.join(map(str, panel.dims))} with "
                f"ss = {n_ss} and fs = {n_fs}"
            )
        values = read(dataset, self._selection(dims, event.index))
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"mask {where(dataset)} holds NaN or infinity: whole numbers are expected")
        return values.T if dims.index("fs") < dims.index("ss") else values, every_event

    def _series(self, path: str) -> npt.NDArray[Any] | h5py.Dataset | None:
        """A dataset of one number an event, or of one for all; None where there is none. Read at once where they are few."""
        if path not in self._numbers:
            if len(self._numbers) > 64:  # a "%" in the path makes one for every part
                self._numbers.clear()
            dataset = get_dataset(self.file, path) if holds(self.file, path) else None
            n = 0 if dataset is None else math.prod(shape_of(dataset))
            # A million chunks of one number take seconds.
            few = dataset is not None and n <= min(_FEW, _FEW_CHUNKS * math.prod(dataset.chunks or (_FEW,)))
            if dataset is not None and not few:  # so does a number of a chunk of a gigabyte
                check_stored(dataset)
            self._numbers[path] = read(dataset) if few else dataset
        return self._numbers[path]

    def _number(self, path: str, event: Hdf5Event) -> float | int | None:
        """The number of an event; None where there is none. Raises ValueError for fewer numbers than events."""
        numbers = self._series(path)
        shape = () if numbers is None else tuple(int(n) for n in numbers.shape)
        n, index = math.prod(shape), event.index or 0
        if numbers is None or n == 0:
            return None
        if index >= n > 1:
            raise ValueError(f"{path} in {self.path} has {n} numbers, event {event.name} needs {index + 1}")
        at = tuple(int(k) for k in np.unravel_index(min(index, n - 1), shape)) if shape else ()
        value = read(numbers, at) if isinstance(numbers, h5py.Dataset) else numbers[at]
        number: float | int = value.item()
        return number if math.isfinite(number) else None

    def _header(self, value: float | HeaderValue | None, event: Hdf5Event) -> float | None:
        if not isinstance(value, HeaderValue):
            return value
        number = self._number(value.path.replace("%", event.path_part, 1), event)
        return None if number is None else float(number) * value.scale

    def _timestamp(self, event: Hdf5Event) -> tuple[int, int, int]:
        seconds, nanoseconds, fiducial = (
            self._stamp(f"/LCLS/{name}", event) for name in ("machineTime", "machineTimeNanoSeconds", "fiducial")
        )
        return seconds, nanoseconds, fiducial

    def _stamp(self, path: str, event: Hdf5Event) -> int:
        """A whole number of an event; 0 where the file has none that can be read, for nothing depends on it."""
        try:
            numbers = self._series(path)
        except (OSError, ValueError) as error:
            log.warning("going on without time stamps: %s", error)
            numbers = self._numbers[path] = None
        if numbers is None or len(numbers.shape) != 1 or (event.index or 0) >= numbers.shape[0]:
            return 0
        number = int(self._number(path, event) or 0)
        return number if abs(number) < 2**63 else 0


def _all_of(parts_of: dict[int, list[npt.NDArray[np.bool_]]], shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
    """A frame's mask of the parts of each panel; None where there are none. A mask for every event is not copied."""
    if not any(parts_of.values()):
        return None
    if shape[0] == 1 and len(parts_of[0]) == 1:
        return parts_of[0][0][None]
    good = np.ones(shape, bool)
    for number, parts in parts_of.items():
        for part in parts:
            good[number] &= part
    return good


def _good_pixels(values: npt.NDArray[Any], source: MaskSource) -> npt.NDArray[np.bool_]:
    """Pixels that have every bit of source.good and none of source.bad.

    Small unsigned integers are tested as they are: to make 64 bits of each pixel of a mask for every event takes ten times
    as long.
    """
    as_they_are = values.dtype.kind == "u" and source.good | source.bad <= np.iinfo(values.dtype).max < 2**63
    bits = values if as_they_are else values.astype(np.int64)
    number = bits.dtype.type
    wanted: npt.NDArray[np.bool_] | None = None
    if source.good:
        wanted = (bits & number(source.good)) == number(source.good)
    bits &= number(source.bad)  # what was read is ours: no memory is taken for it again
    into = bits.view(np.bool_) if bits.dtype.itemsize == 1 else None
    good: npt.NDArray[np.bool_] = np.equal(bits, number(0), out=into)
    return good if wanted is None else good & wanted


def flag_pixels(plane: npt.NDArray[Any], panel: Panel) -> npt.NDArray[np.bool_] | None:
    """Pixels that a panel's flag_lessthan, flag_morethan and flag_equal call bad; None without such settings."""
    compare = {"flag_lessthan": np.less, "flag_morethan": np.greater, "flag_equal": np.equal}
    flagged: npt.NDArray[np.bool_] | None = None
    for key, operator in compare.items():
        if key in panel.settings:
            hit = operator(plane, float(panel.settings[key]))
            flagged = hit if flagged is None else flagged | hit
    return flagged


def select_events(file: Hdf5File, wanted: list[str] | None) -> Sequence[Hdf5Event]:
    """Events by name, in the order asked for. Raises ValueError for a name that the file lacks."""
    if wanted is None:
        return file.events
    found = []
    for name in wanted:
        event = file.events.named(name)
        if event is None:
            raise ValueError(
                f"{file.path} has no event {name}: it has {len(file.events)}, from {file.events[0].name if file.events else '-'}"
            )
        found.append(event)
    return found


class Hdf5Frames:
    """The events of an HDF5 file, all or those named."""

    def __init__(self, file: Hdf5File, events: Sequence[Hdf5Event]) -> None:
        self._file, self._events = file, events

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its frames."""
        return self._file.dtype

    def __len__(self) -> int:
        return len(self._events)

    def read(self, number: int) -> Event:
        """Read an event."""
        event = self._events[number]
        try:
            return self._file.read(event)
        except OSError as error:
            raise OSError(f"{self._file.path} {event.name} cannot be read: {first_line(error)}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_frames(path: Path, detector: Detector, wanted: list[str] | None) -> Hdf5Frames:
    """Open the events of a file. Raises what Hdf5File raises, and ValueError for a name that the file lacks."""
    file = Hdf5File(path, detector)
    try:
        return Hdf5Frames(file, select_events(file, wanted))
    except BaseException:
        file.close()
        raise
