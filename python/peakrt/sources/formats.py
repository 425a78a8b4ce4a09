"""The file formats that frames are read from, in one list.

To add one: a module that opens a file as a FrameFile and, where the files say it, describes their detector; and its entry
in ``FORMATS``. ``peakrt find``, ``view`` and ``info``, lists and folders take it from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from peakrt_geometry import Detector

from ..event import Event
from .hdf5 import open_frames
from .images import image_detector, is_image, open_image
from .nexus import describe_hdf5

HDF5_SUFFIXES = (".h5", ".cxi", ".nxs", ".hdf5")


class FrameFile(Protocol):
    """The events of one open file; ``len(file)`` is their number.

    dtype : of its frames
    """

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its frames."""

    def __len__(self) -> int: ...

    def read(self, number: int) -> Event:
        """Read an event, counted from 0. Raises OSError or ValueError, naming file and event."""

    def close(self) -> None:
        """Close the file."""


@dataclass(frozen=True)
class FileFormat:
    """An entry of the list of formats.

    name : in words
    named_so : whether a file's name is that of the format; holds : whether the file itself is, by its first bytes
    open : the events of a file, all or those named, for a detector; raises OSError or ValueError, naming the file
    describe : the detector that a file describes; raises ValueError where it does not
    one_frame : whether a file holds one frame, so that it need not be opened to be counted
    """

    name: str
    named_so: Callable[[Path], bool]
    holds: Callable[[Path], bool]
    open: Callable[[Path, Detector, list[str] | None], FrameFile]
    describe: Callable[[Path], Detector]
    one_frame: bool = False


FORMATS: list[FileFormat] = [
    FileFormat("an image that fabio or pycbf reads", is_image, is_image, open_image, image_detector, one_frame=True),
    FileFormat(
        "HDF5",
        lambda path: path.suffix in HDF5_SUFFIXES,
        lambda path: bool(h5py.is_hdf5(path)),
        open_frames,
        describe_hdf5,
    ),
]


def register_format(new: FileFormat) -> None:
    """Add a format, which is asked before those that are there."""
    FORMATS.insert(0, new)


def format_of(path: Path) -> FileFormat:
    """Format of a file. Raises FileNotFoundError if it is not there, OSError for a file of no format."""
    for known in FORMATS:
        if known.named_so(path) or (path.is_file() and known.holds(path)):
            return known
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    raise OSError(f"{path} is neither {' nor '.join(known.name for known in reversed(FORMATS))} (or it is damaged)")
