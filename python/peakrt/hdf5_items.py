"""Groups, datasets and attributes of HDF5 files that nobody vouches for.

A file can be valid HDF5 and still hold a group where a dataset is expected, text where numbers are, links to nothing, or
shapes that no memory holds. What is looked up or read here is that which was asked for, or else an OSError or ValueError
that names file and dataset. Sizes are checked before memory is taken.
"""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from peakrt_geometry.checks import MAX_PIXELS

from .memory import wants_memory

log = logging.getLogger("peakrt")

#: What h5py raises for items that are missing, damaged or of a type that numpy does not know.
_H5PY_ERRORS = (KeyError, OSError, RuntimeError, TypeError, ValueError, IndexError, OverflowError, MemoryError)
#: Largest part of a dataset read in one go: the largest frame, of 8 bytes a pixel.
MAX_BYTES = 8 * MAX_PIXELS
#: What has more numbers than this is no list of one number an event.
_MANY = 100_000_000
#: HDF5 unpacks a chunk as a whole.
_MAX_CHUNK_BYTES = 1 << 30
#: Chunks of a dataset that are kept for the next event.
_MAX_KEPT_BYTES = 1 << 29
#: More than any compression gains: deflate gains 1,030 at most, Zstandard some 30,000 on blank frames.
_MAX_RATIO = 1_000_000


def open_hdf5(path: str | Path) -> h5py.File:
    """Open a file for reading. Raises OSError, naming the file, for one that is missing or not HDF5."""
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except PermissionError:
        raise PermissionError(f"{path} cannot be read: no permission") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{path} is a folder: an HDF5 file is expected") from None
    except _H5PY_ERRORS as error:
        raise OSError(f"{path} is not a readable HDF5 file: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = str(error)
    if "truncated" in text:
        return "it is truncated (was its copy or its writer interrupted?)"
    if "signature" in text:
        return "it has no HDF5 signature"
    return first_line(error)


def first_line(error: BaseException) -> str:
    """First line of an error's text, or its type where it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def where(item: h5py.Dataset | h5py.Group) -> str:
    """Name of a dataset or group and of its file, for messages."""
    return f"{item.name} in {item.file.filename}"


def holds(group: h5py.Group, path: str) -> bool:
    """Whether something is called so, be it a link that leads nowhere."""
    try:
        return path in group
    except _H5PY_ERRORS:
        return False


def find_item(group: h5py.Group, path: str) -> h5py.Dataset | h5py.Group | None:
    """Dataset or group of a path; None where there is none, or a link that leads nowhere."""
    try:
        item = group[path]
    except _H5PY_ERRORS as error:
        if wants_memory(error):
            raise MemoryError(f"there is too little memory to open {path} in {group.file.filename}") from error
        return None
    return item if isinstance(item, h5py.Dataset | h5py.Group) else None


def find_group(group: h5py.Group, path: str) -> h5py.Group | None:
    """Group of a path; None where there is none."""
    item = find_item(group, path)
    return item if isinstance(item, h5py.Group) else None


def find_dataset(group: h5py.Group, path: str) -> h5py.Dataset | None:
    """Dataset of a path; None where there is none."""
    item = find_item(group, path)
    return item if isinstance(item, h5py.Dataset) else None


def get_dataset(group: h5py.Group, path: str) -> h5py.Dataset:
    """Dataset of a path. Raises ValueError that says what stands there instead."""
    item = find_item(group, path)
    if isinstance(item, h5py.Dataset):
        return item
    file = group.file.filename
    if isinstance(item, h5py.Group):
        raise ValueError(f"{path} in {file} is a group: a dataset is expected")
    link = _link(group, path)
    if isinstance(link, h5py.ExternalLink):
        raise ValueError(
            f"{path} in {file} is a link to {link.path} of {link.filename}, which cannot be opened: put that file beside it"
        )
    if isinstance(link, h5py.SoftLink):
        raise ValueError(f"{path} in {file} is a link to {link.path}, which leads nowhere")
    raise ValueError(f"{file} has no dataset {path}")


def get_images(group: h5py.Group, path: str) -> h5py.Dataset:
    """Dataset of a path as :func:`get_dataset` gives it, to be read event by event along its first axis.

    HDF5 unpacks chunks as a whole. Those that an event takes part in are kept until the next, which may be in them, too, or
    come plane by plane. One that holds a single event unpacked is read without a copy of it in between.
    """
    dataset = get_dataset(group, path)
    kind, shape, chunks = number_type(dataset), shape_of(dataset), dataset.chunks
    if chunks is None or len(shape) < 3:
        return dataset
    of_an_event = math.prod(-(-n // side) for n, side in zip(shape[1:], chunks[1:], strict=True))
    kept = of_an_event * math.prod(chunks) * kind.itemsize
    if kept > _MAX_KEPT_BYTES:
        if chunks[0] > 1:
            log.warning(
                "%s has chunks of %d events, which are unpacked anew for each: with a frame a chunk (h5repack -l) it would be "
                "read much faster",
                where(dataset), chunks[0],
            )  # fmt: skip
        return dataset
    if chunks[0] == 1 and dataset.id.get_create_plist().get_nfilters() == 0:
        kept = 0
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(_CHUNK_SLOTS, kept, 1.0)
    file, name = dataset.file, dataset.name
    dataset.id.close()  # of a dataset that is open twice the first opening counts
    try:
        return h5py.Dataset(h5py.h5d.open(file.id, name.encode(), access))
    except _H5PY_ERRORS as error:
        raise OSError(f"{name} in {file.filename} cannot be read: {first_line(error)}") from error


#: Places that HDF5 sorts the chunks that it keeps into: a prime, many times as many as an event has.
_CHUNK_SLOTS = 100_003


def _link(group: h5py.Group, path: str) -> Any:
    try:
        return group.get(path, getlink=True)
    except _H5PY_ERRORS:
        return None


def children(group: h5py.Group) -> list[str]:
    """Names of a group's items. Raises OSError for a damaged group."""
    try:
        return list(group)
    except _H5PY_ERRORS as error:
        raise OSError(f"group {where(group)} cannot be read: {first_line(error)}") from error


def attribute_text(item: h5py.Dataset | h5py.Group, name: str) -> str:
    """Text of an attribute; "" where it is missing or holds something else."""
    try:
        value = item.attrs.get(name, "")
        if isinstance(value, np.ndarray) and value.size == 1:  # some writers make arrays of one
            value = value.item()
        return value.decode() if isinstance(value, bytes) else value if isinstance(value, str) else ""
    except _H5PY_ERRORS:
        return ""


def shape_of(dataset: h5py.Dataset) -> tuple[int, ...]:
    """Shape of a dataset. Raises ValueError for one without a dataspace ("empty")."""
    if dataset.shape is None:
        raise ValueError(f"{where(dataset)} is empty: numbers are expected")
    return tuple(int(n) for n in dataset.shape)


def number_type(dataset: h5py.Dataset) -> np.dtype[Any]:
    """Type of a dataset of numbers. Raises ValueError for text, compounds and types that numpy does not know."""
    try:
        found: np.dtype[Any] = dataset.dtype
    except _H5PY_ERRORS as error:
        raise ValueError(f"{where(dataset)} holds a type that cannot be read: {first_line(error)}") from None
    if found.kind not in "buif":
        raise ValueError(f"{where(dataset)} holds {found}, not numbers")
    return found


def read(dataset: h5py.Dataset, selection: Any = ()) -> npt.NDArray[Any]:
    """Read numbers of a dataset: indices and slices as h5py takes them, () for all of it.

    Raises ValueError where these are no numbers, not there, or more than MAX_BYTES; OSError where they cannot be read.
    """
    kind, shape = number_type(dataset), shape_of(dataset)
    n_bytes = _count(shape, selection) * kind.itemsize
    if n_bytes > MAX_BYTES:
        raise ValueError(
            f"{where(dataset)} has shape {shape}: {n_bytes >> 20} MiB would be read at once, at most {MAX_BYTES >> 20} are"
        )
    if dataset.chunks is not None and math.prod(dataset.chunks) * kind.itemsize > _MAX_CHUNK_BYTES:
        raise ValueError(
            f"{where(dataset)} has chunks of shape {dataset.chunks}, more than {_MAX_CHUNK_BYTES >> 30} GiB: write it anew "
            "with a frame a chunk (h5repack -l)"
        )
    try:
        return np.asarray(dataset[selection])
    except IndexError:
        raise ValueError(f"{where(dataset)} has no index {selection}: its shape is {shape}") from None
    except _H5PY_ERRORS as error:
        raise OSError(f"{where(dataset)} cannot be read: {first_line(error)}") from error


def read_integers(dataset: h5py.Dataset, selection: Any = ()) -> npt.NDArray[np.int64]:
    """Read whole numbers, as read() does. Raises ValueError, too, where they are none, or beyond 2^53."""
    values = read(dataset, selection)
    with np.errstate(over="ignore"):
        if values.dtype.kind == "f" and not (np.abs(values.astype(np.float64)) <= 2.0**53).all():
            raise ValueError(f"{where(dataset)} holds numbers that are not whole, or too large")
    return values.astype(np.int64)


def read_texts(dataset: h5py.Dataset, rows: slice) -> list[str]:
    """Texts of a list. Raises ValueError where it is none, OSError where they cannot be read."""
    try:
        kind, shape = dataset.dtype, shape_of(dataset)
    except _H5PY_ERRORS as error:
        raise ValueError(f"{where(dataset)} holds a type that cannot be read: {first_line(error)}") from None
    if kind.kind not in "SO" or len(shape) != 1:
        raise ValueError(f"{where(dataset)} holds {kind} of shape {shape}: a list of texts is expected")
    n = len(range(*rows.indices(shape[0])))
    if n * kind.itemsize > MAX_BYTES:
        raise ValueError(f"{where(dataset)} has {n} texts of {kind.itemsize} bytes: more than is read at once")
    try:
        return [text if isinstance(text, str) else bytes(text).decode("utf-8", "replace") for text in dataset[rows]]
    except _H5PY_ERRORS as error:
        raise OSError(f"{where(dataset)} cannot be read: {first_line(error)}") from error


def _count(shape: tuple[int, ...], selection: Any) -> int:
    """Numbers that a selection takes."""
    chosen = selection if isinstance(selection, tuple) else (selection,)
    sides = [len(range(*part.indices(n))) for part, n in zip(chosen, shape, strict=False) if isinstance(part, slice)]
    return math.prod(sides) * math.prod(shape[len(chosen) :])


def first_number(group: h5py.Group, path: str) -> float:
    """A number: that of a scalar, or the first of an array. Raises ValueError where there is none or it is no number."""
    dataset = get_dataset(group, path)
    shape = shape_of(dataset)
    if not 0 < math.prod(shape) <= _MANY:
        raise ValueError(f"{where(dataset)} has shape {shape}: a number is expected")
    value = float(read(dataset, (0,) * len(shape)))
    if not math.isfinite(value):
        raise ValueError(f"{where(dataset)} is {value}: a number is expected")
    return value


def check_stored(dataset: h5py.Dataset) -> None:
    """Raise ValueError for a dataset that claims far more than its file holds: its writer reserved what it never wrote."""
    if dataset.is_virtual or dataset.external:
        return
    claimed = math.prod(shape_of(dataset)) * number_type(dataset).itemsize
    stored = dataset.id.get_storage_size()
    if claimed > _MAX_RATIO * stored:
        raise ValueError(
            f"{where(dataset)} claims shape {dataset.shape}, of which {stored} bytes were ever written: "
            "was its writer interrupted?"
        )


class SizeWatch:
    """The files that hold a dataset, and how long they were.

    HDF5 reads zeros where a file has become shorter since it was opened; check() raises OSError then.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        file = dataset.file
        self._held: list[tuple[int | Path, int, str]] = []
        self._hold(file.id.get_vfd_handle(), file.filename)
        folder = Path(file.filename).parent
        if dataset.is_virtual:
            names = {source.file_name for source in dataset.virtual_sources()} - {"."}
        else:
            names = {part[0] for part in dataset.external or ()}
        missing = []
        for name in sorted(names):
            found = next((path for path in (folder / name, Path(name)) if path.is_file()), None)
            if found is None:
                missing.append(name)
            else:
                self._hold(found, str(found))
        if missing and len(missing) == len(names):
            raise FileNotFoundError(
                f"{where(dataset)} holds no numbers of its own, and {missing[0]}, which should, does not exist"
            )
        #: Files that should hold parts and are not there.
        self.missing = missing

    def _hold(self, file: int | Path, name: str) -> None:
        self._held.append((file, os.stat(file).st_size, name))

    def check(self) -> None:
        """Raise OSError if a file has become shorter or has gone."""
        for file, before, name in self._held:
            try:
                now = os.stat(file).st_size
            except FileNotFoundError:
                raise FileNotFoundError(f"{name} was removed while it was read") from None
            if now < before:
                raise OSError(f"{name} was truncated while it was read: it had {before} bytes and has {now}")
