"""Messages of each format, built from what its makers publish, and a sender on the loopback."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import cbor2
import h5py
import hdf5plugin
import msgpack
import msgpack_numpy
import numpy as np
import zmq

#: RFC 8746: the tags of little-endian typed arrays.
TAGS = {"uint8": 64, "uint16": 69, "uint32": 70, "int16": 77, "int32": 78, "float32": 85, "float64": 86}


def chunk(array: np.ndarray, **filters: Any) -> bytes:
    """An array as HDF5's filters pack it."""
    with h5py.File.in_memory() as file:
        dataset = file.create_dataset("x", data=array, chunks=array.shape, **filters)
        return bytes(dataset.id.read_direct_chunk((0,) * array.ndim)[1])


def multi_dim(array: np.ndarray, algorithm: str = "") -> cbor2.CBORTag:
    """MultiDimArray of Stream V2, compressed as tag 56500 or not."""
    content: Any = array.tobytes()
    if algorithm in ("bslz4", "bszstd"):
        packed = chunk(array, **hdf5plugin.Bitshuffle(cname=algorithm.removeprefix("bs")))
        content = cbor2.CBORTag(56500, [algorithm, array.itemsize, packed])
    elif algorithm == "lz4":
        content = cbor2.CBORTag(56500, ["lz4", 0, chunk(array, **hdf5plugin.LZ4())])
    return cbor2.CBORTag(40, [list(array.shape), cbor2.CBORTag(TAGS[array.dtype.name], content)])


def dectris_start(
    shape: tuple[int, int], dtype: str = "uint16", mask: np.ndarray | None = None, **fields: Any
) -> bytes:
    """Start message; mask : True = good."""
    message = {
        "type": "start",
        "arm_date": cbor2.CBORTag(0, "2026-11-24T08:00:00.000000Z"),
        "beam_center_x": shape[1] / 2 + 0.25,
        "beam_center_y": shape[0] / 2 - 0.5,
        "channels": ["threshold_1"],
        "detector_description": "Dectris EIGER2 Si 4M",
        "detector_translation": [0.0, 0.0, 0.15],
        "image_dtype": dtype,
        "image_size_x": shape[1],
        "image_size_y": shape[0],
        "incident_energy": 9500.0,
        "number_of_images": 12,
        "pixel_mask": {} if mask is None else {"threshold_1": multi_dim((~mask).astype(np.uint32), "bslz4")},
        "pixel_size_x": 75e-6,
        "pixel_size_y": 75e-6,
        "saturation_value": 65534,
        "series_id": 7,
        "series_unique_id": "01HBV3JPF0T4",
        "threshold_energy": {"threshold_1": 4750.0},
        "user_data": {"sample": "lysozyme"},
    }
    return cbor2.dumps({**message, **fields})


def dectris_image(frame: np.ndarray | cbor2.CBORTag, number: int, algorithm: str = "bslz4", **fields: Any) -> bytes:
    """Image message of a frame, or of a MultiDimArray made before."""
    message = {
        "type": "image",
        "data": {"threshold_1": multi_dim(frame, algorithm) if isinstance(frame, np.ndarray) else frame},
        "image_id": number,
        "real_time": [1000, 50_000_000],
        "series_date": cbor2.CBORTag(0, "2026-11-24T08:00:00.000000Z"),
        "series_id": 7,
        "series_unique_id": "01HBV3JPF0T4",
        "start_time": [number * 1000, 50_000_000],
    }
    return cbor2.dumps({**message, **fields})


def dectris_end(**fields: Any) -> bytes:
    return cbor2.dumps({"type": "end", "series_id": 7, "series_unique_id": "01HBV3JPF0T4", **fields})


def simplon_start(frame: np.ndarray, geometry: str = "") -> bytes:
    """Start message of LCLStreamer's SimplonBinarySerializer 0.3."""
    message = {
        "type": "start",
        "run_number": "430",
        "beamline": "MFX",
        "datatype": str(frame.dtype),
        "shape": "x".join(map(str, frame.shape)),
        "algorithm": "bitshuffle-lz4",
        "detector": {"name": "jungfrau", "geometry": geometry, "pixel_coords": ""},
        "message_id": 30001,
        "timestamp": 1.7e9,
    }
    return b"c" + cbor2.dumps(message)


def simplon_image(frame: np.ndarray, stamp: str) -> bytes:
    """Image message: bitshuffle's blocks of 4096 elements, without the header of HDF5."""
    with h5py.File.in_memory() as file:
        dataset = file.create_dataset(
            "x", data=frame, chunks=frame.shape, compression=32008, compression_opts=(4096, 2)
        )
        packed = dataset.id.read_direct_chunk((0,) * frame.ndim)[1]
    assert struct.unpack(">QI", packed[:12]) == (frame.nbytes, 4096 * frame.itemsize)
    message = {
        "type": "image",
        "run": "430",
        "compressed_data": packed[12:],
        "photon_energy": 3500.0,
        "dtype": str(frame.dtype),
        "sum": int(frame.sum()),
        "message_id": 30001,
        "timestamp": stamp,
    }
    return b"m" + cbor2.dumps(message)


def simplon_stop() -> bytes:
    return b"c" + cbor2.dumps({"type": "stop", "run": "430", "timestamp": 1.7e9})


HDF5_FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip", "compression_opts": 3, "shuffle": False},
    "gzip_with_shuffle": {"compression": "gzip", "compression_opts": 3, "shuffle": True},
    "bitshuffle_with_lz4": {"compression": hdf5plugin.Bitshuffle(cname="lz4")},
    "bitshuffle_with_zstd": {"compression": hdf5plugin.Bitshuffle(cname="zstd", clevel=3)},
}


def lcls_hdf5(frames: np.ndarray, compression: str = "bitshuffle_with_lz4", **others: np.ndarray) -> bytes:
    """A message of LCLStreamer's HDF5BinarySerializer: a batch of events, a chunk each."""
    with BytesIO() as block:
        with h5py.File(block, "w") as file:
            for name, data in {"data": frames, **others}.items():
                file.create_dataset(f"/{name}", data=data, chunks=(1, *data.shape[1:]), **HDF5_FILTERS[compression])
        return block.getvalue()


def om_frame(frame: np.ndarray, **fields: Any) -> bytes:
    """An answer of OM's cheetah_streaming layer."""
    message = {
        "detector_data": frame,
        "peak_list": {"num_peaks": 1, "fs": [1.0], "ss": [2.0], "intensity": [3.0]},
        "beam_energy": 9400.0,
        "detector_distance": 120.0,
        "event_id": "run.h5 // 3",
        "timestamp": 1.7e9 + 0.25,
        "source": "run.h5",
        "configuration_file": "monitor.yaml",
    }
    return bytes(msgpack.packb({**message, **fields}, use_bin_type=True, default=msgpack_numpy.encode))


Message = bytes | Sequence[bytes]


@contextmanager
def pushing(messages: Iterable[Message]) -> Iterator[str]:
    """Address of a sender that pushes messages, in a thread, and then stays silent."""
    with serving(zmq.PUSH, lambda socket, sent: _push(socket, messages, sent)) as address:
        yield address


def _push(socket: Any, messages: Iterable[Message], over: threading.Event) -> None:
    for message in messages:
        parts = [message] if isinstance(message, bytes) else list(message)
        while not over.is_set():
            try:
                socket.send_multipart(parts, zmq.NOBLOCK)
                break
            except zmq.Again:
                over.wait(0.005)
        if over.is_set():
            return


@contextmanager
def answering(messages: Iterable[Message]) -> Iterator[str]:
    """Address of a sender that answers each ``next`` with a message, as OM's ROUTER does."""

    def answer(socket: Any, over: threading.Event) -> None:
        for message in messages:
            while not over.is_set():
                if socket.poll(20):
                    identity, empty, request = socket.recv_multipart()
                    assert (empty, request) == (b"", b"next")
                    socket.send_multipart([identity, b"", message])
                    break

    with serving(zmq.ROUTER, answer) as address:
        yield address


@contextmanager
def serving(kind: int, work: Callable[[Any, threading.Event], None]) -> Iterator[str]:
    over = threading.Event()
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        thread = threading.Thread(target=work, args=(socket, over))
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{port}"
        finally:
            over.set()
            thread.join()
