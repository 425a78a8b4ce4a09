"""Messages from a run to its monitor's process: a header in JSON and arrays, over a pair of sockets."""

from __future__ import annotations

import json
import math
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..peaks import PEAK

_HEAD = struct.Struct("<4sIQ")  # magic, bytes of the header, bytes of the arrays
_MAGIC = b"PKM1"
#: A batch has 40 bytes of JSON for each crystal and 16 for each event, a frame of 16 megapixels 64 MB.
MOST_HEADER_BYTES, MOST_BODY_BYTES = 16 << 20, 1 << 30
_PEAK = "PEAK"
#: Chunks of arrays that are small enough to be joined before they are sent.
_JOIN_BYTES = 1 << 16


def send(
    connection: socket.socket, kind: str, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Send one message. Raises OSError where the other end is gone."""
    described = [[name, _type_name(array.dtype), list(array.shape)] for name, array in arrays.items()]
    text = json.dumps({**header, "kind": kind, "arrays": described}, allow_nan=False).encode()
    body = sum(array.nbytes for array in arrays.values())
    if len(text) > MOST_HEADER_BYTES or body > MOST_BODY_BYTES:
        raise ValueError(f"a message of {len(text)} and {body} bytes is too large for the monitor")
    parts: list[bytes | memoryview] = [
        _HEAD.pack(_MAGIC, len(text), body) + text,
        *(_bytes_of(array) for array in arrays.values()),
    ]
    for part in _joined(parts):
        connection.sendall(part)


def receive(connection: socket.socket) -> tuple[str, dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Kind, header and arrays of the next message.

    Raises EOFError where the other end has closed, ValueError for a message that is none.
    """
    magic, n_header, n_body = _HEAD.unpack(_exactly(connection, _HEAD.size))
    if magic != _MAGIC or n_header > MOST_HEADER_BYTES or n_body > MOST_BODY_BYTES:
        raise ValueError("this is no message to a monitor")
    header = json.loads(bytes(_exactly(connection, n_header)))
    body = _exactly(connection, n_body)
    arrays, at = {}, 0
    for name, type_name, shape in header.pop("arrays"):
        dtype = _dtype(type_name)
        end = at + dtype.itemsize * math.prod(shape)
        if min(shape, default=0) < 0 or end > n_body:
            raise ValueError(f"the array {name} of a message is larger than the message")
        arrays[name] = np.frombuffer(body[at:end], dtype).reshape(shape)
        at = end
    return str(header.pop("kind")), header, arrays


def _type_name(dtype: np.dtype[Any]) -> str:
    return _PEAK if dtype == PEAK else dtype.str


def _dtype(name: str) -> np.dtype[Any]:
    """The type of an array. Raises ValueError for what is neither numbers nor PEAK."""
    if name == _PEAK:
        return PEAK
    dtype = np.dtype(name)
    if dtype.kind not in "biuf":
        raise ValueError(f"a message has an array of {name}")
    return dtype


def _bytes_of(array: npt.NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _joined(parts: Iterable[bytes | memoryview]) -> Iterable[bytes | memoryview]:
    """The same bytes in fewer pieces: small ones are joined, large ones are not copied."""
    small = bytearray()
    for part in parts:
        if len(part) < _JOIN_BYTES:
            small += part
            continue
        if small:
            yield bytes(small)
            small.clear()
        yield part
    if small:
        yield bytes(small)


def _exactly(connection: socket.socket, n: int) -> memoryview:
    """Receive so many bytes. Raises EOFError where there are fewer."""
    buffer = bytearray(n)
    view, at = memoryview(buffer), 0
    while at < n:
        got = connection.recv_into(view[at:])
        if not got:
            raise EOFError("the run has closed its end")
        at += got
    return view
