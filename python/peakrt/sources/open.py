"""From file names to a source of events."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from ..contracts import Source
from ..event import Event
from ..hdf5_items import first_line
from .formats import FORMATS, FrameFile, format_of


@dataclass(frozen=True)
class _Entry:
    """A file, and the events wanted of it (None: all)."""

    path: Path
    events: list[str] | None


class FileSource:
    """Events of files, one after another; every file is looked at before the first event is read.

    The frames of all of them have one dtype, which holds the numbers of each file exactly: that of ``numpy.result_type``.
    Raises OSError or ValueError, naming the file, for files that are missing, unreadable, of another shape than
    the geometry, or without a named event, for numbers that the dtype cannot hold, and for no events at all.
    """

    read_ahead = True

    def __init__(self, entries: list[_Entry], detector: Detector) -> None:
        self.detector = detector
        self._entries = entries
        self._keep = False
        self._kept: tuple[_Entry, FrameFile] | None = None
        kinds: set[np.dtype[Any]] = set()
        self._counts = [self._look_at(entry, kinds) for entry in entries]
        if sum(self._counts) == 0:
            raise ValueError(
                f"no frames in {', '.join(str(e.path) for e in entries[:3])}{' ...' if len(entries) > 3 else ''}"
            )
        kinds |= _types_of_single_frames([entry.path for entry in entries if format_of(entry.path).one_frame], detector)
        self.dtype: np.dtype[Any] | None = np.result_type(*kinds) if kinds else None

    @property
    def files(self) -> list[Path]:
        """Every file that events are read from."""
        return list(dict.fromkeys(entry.path for entry in self._entries))

    def keep_open(self) -> None:
        """Leave the file last read open for the next call of events, which is for callers that read here and there."""
        self._keep = True

    def _look_at(self, entry: _Entry, kinds: set[np.dtype[Any]]) -> int:
        """Count the events of an entry, and add the type of its frames."""
        file_format = format_of(entry.path)
        if file_format.one_frame:
            if not entry.path.is_file():
                raise FileNotFoundError(f"{entry.path} does not exist")
            return 1
        with closing(file_format.open(entry.path, self.detector, entry.events)) as file:
            if len(file):
                kinds.add(file.dtype)
            return len(file)

    def __len__(self) -> int:
        return sum(self._counts)

    def events(self, start: int = 0) -> Iterator[Event]:
        """Give the events from number start on."""
        for entry, count in zip(self._entries, self._counts, strict=True):
            if start >= count:
                start -= count
                continue
            for event in self._file_events(entry, start, count):
                yield event if event.frame.dtype == self.dtype else self._alike(event)
            start = 0

    def _alike(self, event: Event) -> Event:
        """An event with its frame in the type of all."""
        return event if self.dtype is None else replace(event, frame=convert(event.frame, self.dtype, str(event)))

    def _file_events(self, entry: _Entry, start: int, count: int) -> Iterator[Event]:
        file = self._open(entry)
        try:
            if len(file) != count:
                raise OSError(f"{entry.path} had {count} events when it was looked at and has {len(file)} now")
            for number in range(start, count):
                yield file.read(number)
        except (OSError, ValueError):  # whatever is wrong with it, the next reader opens it anew
            self._kept = None
            file.close()
            raise
        finally:
            if self._kept is None:
                file.close()

    def _open(self, entry: _Entry) -> FrameFile:
        if self._kept is not None and self._kept[0] is entry:
            return self._kept[1]
        if self._kept is not None:
            self._kept[1].close()
        file = format_of(entry.path).open(entry.path, self.detector, entry.events)
        self._kept = (entry, file) if self._keep else None
        return file


def _types_of_single_frames(paths: list[Path], detector: Detector) -> set[np.dtype[Any]]:
    """Types of files of one frame, told by the first that can be read of each suffix: to look at all would be to read all."""
    kinds = set()
    for suffix in sorted({path.suffix for path in paths}):
        for path in [path for path in paths if path.suffix == suffix][:3]:
            try:
                with closing(format_of(path).open(path, detector, None)) as file:
                    kinds.add(file.read(0).frame.dtype)
                break
            except (OSError, ValueError):  # raised again when it is that event's turn
                continue
    return kinds


def convert(frame: npt.NDArray[Any], dtype: np.dtype[Any], name: str) -> npt.NDArray[Any]:
    """A frame in another type. Raises ValueError, with its name, for a number that the type cannot hold exactly."""
    with np.errstate(all="ignore"):
        converted = frame.astype(dtype)
        # numpy calls it safe to put 64-bit integers into float64
        exact = np.can_cast(frame.dtype, dtype) and not (frame.dtype.kind in "iu" and frame.dtype.itemsize == 8)
        if not exact and not np.array_equal(converted.astype(frame.dtype), frame):
            raise ValueError(
                f"{name} holds {frame.dtype} numbers that {dtype}, the type of all inputs together, cannot hold: "
                "find in inputs of one type at a time"
            )
    return converted


def open_source(inputs: list[str], detector: Detector | None = None, *, name: str | None = None) -> Source:
    """Open files, folders and .lst files of events as one source; a run of a facility: ``exp=mfx100,run=7``; or a stream.

    detector : None takes the geometry from the first file (NXmx, CBF), the run or the stream's start message
    name : of the run's detector, or of the stream's channel, source or dataset
    Raises OSError or ValueError, in one line, for whatever is wrong with the inputs.
    """
    if is_stream(inputs):
        from .streams import open_stream

        return open_stream(inputs[0], detector, name=name)
    if len(inputs) == 1 and "=" in inputs[0] and not Path(inputs[0]).exists():
        return _open_run(inputs[0], detector, name)
    if name is not None:
        raise ValueError("a detector's name is for runs (exp=mfx100,run=7); files are described by their geometry")
    entries: list[_Entry] = []
    for text in inputs:
        entries += _expand(Path(text))
    if not entries:
        raise ValueError("no input files")
    return FileSource(entries, detector or describe(entries[0].path))


def is_stream(inputs: list[str]) -> bool:
    """Whether the inputs are a stream, ``tcp://...`` or ``FORMAT+tcp://...``. Raises ValueError for one among others."""
    found = [text for text in inputs if re.match(r"(\w+\+)?tcp://", text)]
    wrong = next((text for text in inputs if re.match(r"[\w+]+://", text) and text not in found), None)
    if wrong is not None:
        raise ValueError(f"{wrong}: a stream is tcp://HOST:PORT or FORMAT+tcp://HOST:PORT (docs/live.md)")
    if found and len(inputs) > 1:
        raise ValueError(f"{found[0]} is a stream, which is read alone: give one input")
    return bool(found)


def _open_run(text: str, detector: Detector | None, name: str | None) -> Source:
    """Open a run through the host's plug-in (entry point group "peakrt.runs", named by the first key)."""
    key = text.split("=")[0]
    plugins = entry_points(group="peakrt.runs", name=key)
    if not plugins:
        raise ValueError(f"{text} is neither a file nor a run that a plug-in knows (exp=...,run=...)")
    opened: Source = next(iter(plugins)).load()(text, detector, name)
    return opened


def describe(path: Path) -> Detector:
    """Detector that a file itself describes. Raises ValueError where it does not."""
    return format_of(path).describe(path)


def _expand(path: Path) -> list[_Entry]:
    if path.suffix == ".lst":
        return _read_list(path)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if any(known.named_so(p) for known in FORMATS))
        if not found:
            raise ValueError(f"no data files in {path}")
        return [_Entry(p, None) for p in found]
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, f"{path} does not exist")
    if not any(known.holds(path) for known in FORMATS):
        raise OSError(f"{path} is neither {' nor '.join(known.name for known in reversed(FORMATS))} (or it is damaged)")
    return [_Entry(path, None)]


def _read_list(path: Path) -> list[_Entry]:
    """One line an event or file: ``file`` or ``file //12``; relative to here, else to the list's folder."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file: expected one file, or file and event, a line") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{path} is a folder: a list of files is expected") from None
    entries: list[_Entry] = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        event = fields[-1] if len(fields) > 1 and "//" in fields[-1] else None
        name = line.strip() if event is None else line.strip()[: -len(event)].strip()
        file = _listed(path, number, name)
        if entries and event is not None and entries[-1].path == file and entries[-1].events is not None:
            entries[-1].events.append(event)
        else:
            entries.append(_Entry(file, None if event is None else [event]))
    if not entries:
        raise ValueError(f"{path} lists no files")
    return entries


def _listed(path: Path, number: int, name: str) -> Path:
    """File that line number of a list names. Raises OSError or ValueError, naming the line, for one that is not there."""
    what = f"{path}, line {number}: {name[:200]}"
    try:
        file = Path(name) if Path(name).exists() else path.parent / name
        there, is_file = file.exists(), file.is_file()
    except (OSError, ValueError) as error:  # longer than a name can be, or with a null character
        raise ValueError(f"{what} is no file name: {first_line(error)}") from None
    if not there:
        raise FileNotFoundError(errno.ENOENT, f"{what} does not exist")
    if not is_file:
        raise ValueError(f"{what} is not a file: list the files of a folder one by one")
    return file
