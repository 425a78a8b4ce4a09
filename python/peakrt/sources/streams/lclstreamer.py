"""LCLStreamer's two formats: HDF5 files in memory with some events each, and its "Simplon" messages.

Read in slac-lcls/lclstreamer 0.3. Its Simplon messages are not those of DECTRIS: a letter ("c" or "m") stands before a CBOR
map with keys of its own, pixels are bitshuffled without HDF5's header, and their shape stands in the start message
alone. That one is sent by one rank of many: images may come before it, and after the stop message.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import h5py
import numpy as np

from peakrt_geometry import Detector, HeaderValue
from peakrt_geometry.psana import parse_psana_geometry

from . import cbor
from .records import End, Images, Packed, Record, Start, Wanted, frame_shape, pixel_type, short

log = logging.getLogger("peakrt")
_HDF5 = b"\x89HDF\r\n\x1a\n"
#: Datasets of a message are looked through to this number, events of one to that.
_MAX_DATASETS, _MAX_EVENTS = 1000, 10_000
#: The filters that LCLStreamer sets, by HDF5's numbers.
_FILTERS = {(): "", (1,): "gzip", (2, 1): "shuffle-gzip"}
_BITSHUFFLE, _CODECS = 32008, {2: "bslz4", 3: "bszstd"}
#: Bitshuffle's block in elements, which LCLStreamer fixes.
_BLOCK_SIZE = 4096
_H5PY_ERRORS = (KeyError, OSError, RuntimeError, TypeError, ValueError, IndexError, OverflowError, MemoryError, AttributeError)  # fmt: skip


def is_message(parts: Sequence[bytes]) -> bool:
    """Whether a message may be one of either format."""
    return len(parts) == 1 and (parts[0].startswith(_HDF5) or _is_simplon(parts[0]))


def decode(parts: Sequence[bytes], wanted: Wanted) -> list[Record]:
    """Records of a message. Raises ValueError for what is not one; wanted.name : HDF5 path of the images."""
    if len(parts) != 1:
        raise ValueError(f"a message of {len(parts)} parts: LCLStreamer sends one")
    if parts[0].startswith(_HDF5):
        return [_from_hdf5(parts[0], wanted)]
    if _is_simplon(parts[0]):
        return [_from_simplon(cbor.load(parts[0][1:]))]
    raise ValueError(f"a message that begins with {short(parts[0][:8])}: neither HDF5 nor LCLStreamer's Simplon")


def _is_simplon(message: bytes) -> bool:
    return len(message) > 2 and message[:1] in (b"c", b"m") and message[1] >> 5 == 5


# Simplon


def _from_simplon(message: dict[str, Any]) -> Record:
    kind = message.get("type")
    if kind == "start":
        return _start(message)
    if kind == "image":
        return _image(message)
    if kind == "stop":
        return End(_run(message.get("run")))
    raise ValueError(f"a message of type {short(kind)}: start, image or stop is expected")


def _run(value: object) -> str:
    if (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, str) and len(value) <= 32):
        return str(value)
    raise ValueError(f"a message of run {short(value)}: a run's number is expected")


def _start(message: dict[str, Any]) -> Start:
    detector = message.get("detector")
    text = detector.get("geometry") if isinstance(detector, dict) else None
    geometry = None
    if isinstance(text, str) and text.strip():
        geometry = _geometry(text)
    return Start(_run(message.get("run_number")), geometry, pixel_type(message.get("datatype")))


def _geometry(text: str) -> Detector | None:
    """Detector of psana's text; its camera length is asked for elsewhere, as that of a run read through psana."""
    try:
        return parse_psana_geometry(text, name="the stream's psana geometry")
    except (ValueError, ArithmeticError) as error:
        log.warning("going on without the geometry of the start message: %s", error)
        return None


def _image(message: dict[str, Any]) -> Images:
    """An image. Its "photon_energy" is not taken: LCLStreamer's examples fill it with that of the electron beam."""
    data = message.get("compressed_data")
    if not isinstance(data, bytes):
        raise ValueError(f"an image message whose compressed_data are {short(data)}")
    packed = Packed(data, pixel_type(message.get("dtype")), None, "bslz4", _BLOCK_SIZE)
    stamp = message.get("timestamp")
    name = str(stamp)[:64] if isinstance(stamp, str | int | float) else ""
    return Images(_run(message.get("run")), (packed,), names=(name,))


# HDF5


def _from_hdf5(message: bytes, wanted: Wanted) -> Images:
    try:
        with h5py.File.in_memory(message) as file:
            found = _datasets(file)
            path, dataset = _images(found, wanted)
            frames = tuple(_frames(path, dataset, len(message)))
            n = len(frames)
            energy = wanted.detector.photon_energy if wanted.detector is not None else None
            return Images(
                series="",
                frames=frames,
                names=_names(found, n),
                photon_energy_eV=_numbers(found, energy, n) if isinstance(energy, HeaderValue) else (),
            )
    except _H5PY_ERRORS as error:
        raise ValueError(f"HDF5 in memory: {str(error)[:150]}") from None


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Datasets whose numbers lie in the message itself, by path: links and parts in other files are not followed."""
    found: dict[str, h5py.Dataset] = {}

    def look(name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset) and not item.is_virtual and not item.external and item.shape:
            found[f"/{name}"] = item
        return True if len(found) > _MAX_DATASETS else None

    file.visititems(look)
    return found


def _images(found: dict[str, h5py.Dataset], wanted: Wanted) -> tuple[str, h5py.Dataset]:
    """Dataset by the name asked for, by the geometry's data path, or else the only one with frames."""
    paths = [wanted.name]
    if wanted.detector is not None:
        paths.append(wanted.detector.panels[0].data)
    for path in paths:
        if path is not None and f"/{path.lstrip('/')}" in found:
            return path, found[f"/{path.lstrip('/')}"]
    if wanted.name is not None:
        raise ValueError(f"no dataset {wanted.name}: there are {', '.join(list(found)[:8])}")
    framed = [path for path, item in found.items() if len(item.shape) >= 3 and item.dtype.kind in "uif"]
    if len(framed) != 1:
        raise ValueError(f"{len(framed)} datasets may be images: name one of {', '.join(list(found)[:8])} (--detector)")
    return framed[0], found[framed[0]]


def _frames(path: str, dataset: h5py.Dataset, n_bytes: int) -> Iterator[Packed]:
    """Frames of (event, ..., ss, fs) as they are stored, a chunk each, or all in one piece."""
    n, *sides = (int(side) for side in dataset.shape)
    shape, dtype = frame_shape(sides), pixel_type(dataset.dtype.str if dataset.dtype.kind in "uif" else None)
    if not 0 < n <= _MAX_EVENTS:
        raise ValueError(f"{path} has {n or 'no'} events: 1 to {_MAX_EVENTS} a message are read")
    if dataset.chunks is None:
        if math.prod(dataset.shape) * dtype.itemsize > n_bytes:
            raise ValueError(f"{path} claims shape {dataset.shape}, more than the message holds")
        yield from (Packed(dataset[k].tobytes(), dtype, shape) for k in range(n))
        return
    if dataset.chunks != (1, *shape):
        raise ValueError(f"{path} has chunks of {dataset.chunks}: one frame a chunk is expected, as LCLStreamer writes")
    algorithm = _algorithm(path, dataset)
    for k in range(n):
        mask, data = dataset.id.read_direct_chunk((k, *(0 for _ in shape)))
        if mask:
            raise ValueError(f"{path} has a chunk that left out some of its filters")
        yield Packed(data, dtype, shape, algorithm)


def _algorithm(path: str, dataset: h5py.Dataset) -> str:
    creation = dataset.id.get_create_plist()
    filters = [creation.get_filter(k) for k in range(creation.get_nfilters())]
    numbers = tuple(found[0] for found in filters)
    if numbers == (_BITSHUFFLE,) and len(filters[0][2]) >= 5 and filters[0][2][4] in _CODECS:
        return _CODECS[filters[0][2][4]]
    if numbers not in _FILTERS:
        raise ValueError(
            f"{path} is compressed with HDF5 filters {numbers}: bitshuffle_with_lz4, bitshuffle_with_zstd, gzip or none are read"
        )
    return _FILTERS[numbers]


def _small(found: dict[str, h5py.Dataset], path: str, n: int) -> np.ndarray | None:
    """Numbers or text of the events, one each; None where there are none, or not so many."""
    item = found.get(f"/{path.lstrip('/')}")
    if item is None or item.shape != (n,) or item.chunks not in (None, (1,)) or item.dtype.itemsize > 256:
        return None
    if h5py.check_vlen_dtype(item.dtype) is not None or item.dtype.kind not in "iufS":
        return None
    return np.asarray(item[()])


def _names(found: dict[str, h5py.Dataset], n: int) -> tuple[str, ...]:
    path = next((path for path in found if path.rpartition("/")[2] == "timestamp"), "")
    stamps = _small(found, path, n)
    if stamps is None:
        return ()
    return tuple((s.decode("ascii", "replace") if isinstance(s, bytes) else str(s))[:64] for s in stamps.tolist())


def _numbers(found: dict[str, h5py.Dataset], value: HeaderValue, n: int) -> tuple[float, ...]:
    """Numbers that the geometry wants of each event."""
    numbers = _small(found, value.path, n)
    if numbers is None or numbers.dtype.kind not in "iuf":
        return ()
    return tuple(float(number) * value.scale for number in numbers)
