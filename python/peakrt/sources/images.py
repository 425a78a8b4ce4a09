"""Single-image files: CBF and whatever else fabio reads, and their headers' geometry.

DECTRIS's CBFs, the usual case, are decoded here. Everything else is read by fabio or, for CBFs with another
compression, pycbf (the extra cbf), in a process of its own.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import importlib.util
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from ..event import Event
from ..extras import need, to_install
from .cbf import Cbf, check_digests, decode_byte_offset, imgcif_detector, mini_cbf_detector, read_cif, read_header
from .hdf5 import flag_pixels
from .image_client import READER

SUFFIXES = (
    ".cbf",
    ".tif",
    ".tiff",
    ".edf",
    ".img",
    ".mccd",
    ".marccd",
    ".sfrm",
    ".mar3450",
    ".mar2300",
    ".gfrm",
)
#: Bytes of one image file, unpacked: the largest frame twice over.
_MOST_BYTES, _PIECE_BYTES = 2**30, 2**24


def is_image(path: Path) -> bool:
    """Whether a file name is that of a single-image format, compressed or not."""
    name = path.name.lower()
    for suffix in (".gz", ".bz2"):
        name = name.removesuffix(suffix)
    return name.endswith(SUFFIXES)


@dataclass(frozen=True)
class _Image:
    """The bytes of an image file, and its header where it is a CBF."""

    path: Path
    raw: bytes
    cbf: Cbf | None


def read_image(path: Path, detector: Detector) -> Event:
    """Read one image file.

    Pixels below zero in signed data are bad (DECTRIS), and so is the highest value of unsigned data, what an imgCIF
    header calls undefined, zero where such a file has one panel (Rayonix), and what the geometry flags.
    Raises OSError for a file that is missing or unreadable, ValueError for a shape that is not the geometry's.
    """
    image = _open(path)
    if image.cbf is not None:
        _check_shape(path, image.cbf.shape, detector)
    frame = _pixels(image)
    _check_shape(path, frame.shape, detector)
    frame = frame.reshape(detector.shape)
    bad = _no_data(frame, image.cbf)
    for asic, (panel, min_ss, end_ss, min_fs, end_fs) in zip(detector.panels, detector.asics, strict=True):
        tile = np.s_[panel, min_ss:end_ss, min_fs:end_fs]
        flagged = flag_pixels(frame[tile], asic)
        if flagged is not None:
            bad[tile] |= flagged
    length = detector.camera_length if isinstance(detector.camera_length, int | float) else None
    energy = detector.photon_energy if isinstance(detector.photon_energy, int | float) else None
    return Event(frame, ~bad, str(path), "", length, energy)


def _check_shape(path: Path, shape: tuple[int, ...], detector: Detector) -> None:
    """Raise ValueError unless a frame is the geometry's, or its panels one under another are."""
    slab = (1, shape[0] * shape[1], shape[2])
    if detector.shape not in (shape, slab):
        have, need = (" x ".join(map(str, s if s[0] > 1 else s[1:])) for s in (shape, detector.shape))
        raise ValueError(f"{path} has {have} pixels, geometry {detector.name} needs {need}")


def _no_data(frame: npt.NDArray[Any], cbf: Cbf | None) -> npt.NDArray[np.bool_]:
    if frame.dtype.kind == "u":
        bad: npt.NDArray[np.bool_] = frame == np.iinfo(frame.dtype).max
    elif frame.dtype.kind == "f":
        bad = ~(frame >= 0)
    else:
        bad = frame <= _undefined(cbf)
    if cbf is not None and cbf.full and frame.shape[0] == 1:
        bad |= frame == 0
    return bad


def _undefined(cbf: Cbf | None) -> int:
    """Values up to this one are no data: -1, or what an imgCIF header says; detectors with pedestals go below zero."""
    if cbf is None or not cbf.full:
        return -1
    said = read_cif(cbf.text).get("array_intensities", [{}])[0].get("undefined_value", "")
    return int(said) if re.fullmatch(r"-\d{1,9}", said, re.ASCII) else -1


def image_detector(path: Path) -> Detector:
    """Detector of a CBF from its header: DECTRIS's mini-CBF, or imgCIF axes. ValueError if it has neither."""
    cbf = _open(path).cbf
    try:
        if cbf is not None and "Beam_xy" in cbf.text:
            return mini_cbf_detector(cbf, path.name)
        if cbf is not None and "_array_structure_list_axis" in cbf.text:
            return imgcif_detector(cbf, path.name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    raise ValueError(f"{path} does not describe its detector: give a CrystFEL geometry with -g")


def _open(path: Path) -> _Image:
    raw = _bytes(path)
    return _Image(path, raw, read_header(path, raw))


def _bytes(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, f"{path} does not exist")
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
    try:
        with openers.get(path.suffix, open)(path, "rb") as file:
            raw = _read(file, _MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise OSError(f"{path} cannot be read: {error}") from error
    if len(raw) > _MOST_BYTES:
        raise OSError(f"{path} cannot be read: it has more than {_MOST_BYTES >> 20} MB, more than any image")
    return raw


def _read(file: Any, most: int) -> bytes:
    """Read up to so many bytes, in pieces: Python takes memory for all that one call asks for."""
    pieces: list[bytes] = []
    while most > 0 and (piece := file.read(min(most, _PIECE_BYTES))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def _pixels(image: _Image) -> npt.NDArray[Any]:
    """Pixels (panel, ss, fs). Raises OSError that names the file where there are none."""
    path, cbf = image.path, image.cbf
    try:
        if cbf is not None:
            check_digests(image.raw, cbf)
        if cbf is not None and cbf.byte_offset:
            return decode_byte_offset(image.raw, cbf)
        if cbf is None:
            need(f"{path}, an image file,", "formats", "fabio")
            name = path.with_suffix("") if path.suffix in (".gz", ".bz2") else path
            suffix = name.suffix.lower() if re.fullmatch(r"\.\w{1,16}", name.suffix, re.ASCII) else ""
            return READER.read(image.raw, reader="fabio", suffix=suffix)
        if importlib.util.find_spec("pycbf") is None:
            raise ValueError(f"its compression is {cbf.sections[0].conversion}: {to_install('cbf')} to read it")
        return READER.read(image.raw, reader="pycbf", suffix=".cbf")
    except ValueError as error:
        raise OSError(f"{path} cannot be read: {error}") from None


class ImageFrame:
    """The one frame of an image file, read when it is asked for."""

    def __init__(self, path: Path, detector: Detector) -> None:
        self._path, self._detector = path, detector

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its frame."""
        return self.read(0).frame.dtype

    def __len__(self) -> int:
        return 1

    def read(self, number: int) -> Event:
        """Read the frame."""
        return read_image(self._path, self._detector)

    def close(self) -> None:
        """Nothing is open between calls."""


def open_image(path: Path, detector: Detector, wanted: list[str] | None) -> ImageFrame:
    """The frame of an image file; events have no names in it."""
    return ImageFrame(path, detector)
