"""Messages between the ranks of a node and their server, over a Unix socket of one user.

A message is two lengths, a JSON header and a payload. A client first says a Hello (its finder, the shape of its frames) or
asks for the server's status; after an answer "ok" it sends requests, each of which is answered once, with the peaks or with
an error. Frames do not travel: they lie in memory that the client made, sealed against shrinking, whose descriptor comes
with the Hello. Nothing that arrives is believed: lengths are checked before memory is taken, and every field by _check.
"""

from __future__ import annotations

import json
import math
import os
import socket
import stat
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..arrays import MAX_INT, NATIVE_TYPES
from ..config import Config
from ..finders.peakfinder8 import MAX_BACKGROUND_RADIUS
from ..finders.registry import FINDERS
from ..peaks import PEAK

#: Changes with every change of a message; a server and a client of different ones refuse each other.
VERSION = 2
#: Pixels of a frame: four times those of the largest detector of the catalogue.
MAX_PIXELS = 64 << 20
#: Header of a Hello: twenty times the geometry of a Jungfrau 16M. Its payload is a mask of one bit a pixel.
MAX_HELLO, MAX_MASK = 1 << 20, MAX_PIXELS // 8
#: Header of a request or of an answer; errors are cut to fit.
MAX_HEADER, MAX_ERROR = 1 << 14, 2000
#: Peaks of an answer, bytes: more than 800,000 peaks.
MAX_PEAKS = 64 << 20
#: Requests of a client that may be on their way at a time.
MAX_SLOTS = 64
_LENGTHS = struct.Struct("!II")


@dataclass(frozen=True)
class Hello:
    """A client's greeting.

    config, geometry (text of a .geom, or None), mask (packed bits, b"" for none) : of its finder
    place : tells detectors of the same shape apart, for what the finder learns of each
    shape : (panel, ss, fs) of its frames; slots, slot_bytes : where they lie
    deaths : servers that this client has lost so far; resent : requests that it will send once more
    """

    config: Config
    geometry: str | None
    mask: bytes
    place: str
    shape: tuple[int, int, int]
    slots: int
    slot_bytes: int
    deaths: int
    resent: int


_HELLO: dict[str, tuple[type, ...]] = {
    "version": (int,), "ask": (str,), "finder": (str,), "options": (dict,), "geometry": (str, type(None)), "place": (str,),
    "shape": (list,), "slots": (int,), "slot_bytes": (int,), "deaths": (int,), "resent": (int,),
}  # fmt: skip
_STATUS: dict[str, tuple[type, ...]] = {"version": (int,), "ask": (str,)}
_REQUEST: dict[str, tuple[type, ...]] = {"id": (int,), "slot": (int,), "dtype": (str,)}
_PEAKS: dict[str, tuple[type, ...]] = {"id": (int,), "peaks": (int,)}
_ERROR: dict[str, tuple[type, ...]] = {"id": (int,), "error": (str,)}
#: What the annotations of a finder's config mean in JSON.
_OPTION: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}


def read_hello(header: dict[str, Any], payload: bytes) -> Hello | None:
    """First message of a client; None where it asks for the server's status. Raises ValueError for a wrong field."""
    if header.get("version") != VERSION:
        raise ValueError(
            f"the server speaks version {VERSION}, the client {str(header.get('version'))[:20]}: they are of different "
            "PeakRTs; let the older one's jobs end"
        )
    if header.get("ask") == "status":
        _check(header, _STATUS)
        return None
    _check(header, _HELLO)
    if header["ask"] != "finder":
        raise ValueError(f"a client asks for {header['ask'][:20]!r}: it may ask for a finder or the status")
    shape, slots, slot_bytes = _shape(header["shape"]), header["slots"], header["slot_bytes"]
    pixels = math.prod(shape)
    if not 1 <= slots <= MAX_SLOTS or not 1 <= slot_bytes <= 8 * pixels + 4096:
        raise ValueError(f"frames of shape {shape} in {slots} slots of {slot_bytes} bytes cannot be served")
    if payload and len(payload) != -(-pixels // 8):
        raise ValueError(f"a mask of {len(payload)} bytes does not fit frames of shape {shape}")
    if not 0 <= header["resent"] <= slots or not 0 <= header["deaths"] <= MAX_INT or len(header["place"]) > 200:
        raise ValueError("a greeting with impossible counts or too long a place")
    config = _config(header["finder"], header["options"])
    rest = {name: header[name] for name in ("geometry", "place", "slots", "slot_bytes", "deaths", "resent")}
    return Hello(config=config, mask=payload, shape=shape, **rest)


def read_request(header: dict[str, Any], payload: bytes, hello: Hello) -> tuple[int, int, str]:
    """Number, slot and dtype of a request. Raises ValueError for a wrong field."""
    _check(header, _REQUEST)
    number, slot, kind = header["id"], header["slot"], header["dtype"]
    if payload or not 0 <= number < 2**53 or not 0 <= slot < hello.slots:
        raise ValueError(f"a request {number} for slot {slot} of {hello.slots} with {len(payload)} bytes")
    if kind[:1] not in "<|=" or kind[1:] not in NATIVE_TYPES:
        raise ValueError(f"a frame of {kind[:20]!r}, which is no type that finders take")
    if int(kind[2:]) * math.prod(hello.shape) > hello.slot_bytes:
        raise ValueError(f"a frame of {kind} is larger than its slot of {hello.slot_bytes} bytes")
    return number, slot, kind


def read_answer(header: dict[str, Any], payload: bytes) -> tuple[int, str | None]:
    """Number of the request that is answered, and its error. Raises ValueError for what is no answer."""
    if "error" in header:
        _check(header, _ERROR)
        return header["id"], header["error"]
    _check(header, _PEAKS)
    if header["peaks"] * PEAK.itemsize != len(payload):
        raise ValueError(f"an answer of {header['peaks']} peaks in {len(payload)} bytes")
    return header["id"], None


def _check(header: dict[str, Any], kinds: dict[str, tuple[type, ...]]) -> None:
    """Raise ValueError unless a header has these fields and no others, each of one of its types (bool is no int)."""
    missing, unknown = kinds.keys() - header.keys(), header.keys() - kinds.keys()
    if missing or unknown:
        raise ValueError(
            f"a message lacks {', '.join(sorted(missing)) or 'nothing'} and has {len(unknown)} unknown fields"
        )
    for name, kind in kinds.items():
        if type(header[name]) not in kind:
            raise ValueError(f"a message's {name} is a {type(header[name]).__name__}, not a {kind[0].__name__}")


def _shape(given: list[Any]) -> tuple[int, int, int]:
    if len(given) != 3 or any(type(n) is not int or not 1 <= n <= MAX_PIXELS for n in given):
        raise ValueError("a shape should be three whole numbers above 0: panel, ss, fs")
    if math.prod(given) > MAX_PIXELS:
        raise ValueError(f"frames of {math.prod(given)} pixels: at most {MAX_PIXELS} are served")
    panels, n_ss, n_fs = given
    return panels, n_ss, n_fs


def _config(name: str, options: dict[str, Any]) -> Config:
    """Config of a finder's name and options, whose types are those of its fields."""
    if name not in FINDERS:
        raise ValueError(f"there is no finder {name[:50]!r}: {', '.join(FINDERS)}")
    known = {item.name: str(item.type) for item in fields(FINDERS[name].config)}
    kinds = {
        option: _OPTION[text.removesuffix(" | None")] + ((type(None),) if text.endswith("None") else ())
        for option, text in known.items()
        if option in options
    }
    _check(options, kinds)
    for option, value in options.items():
        most = MAX_BACKGROUND_RADIUS if option == "background_radius" else MAX_INT
        if (type(value) is int and not -most <= value <= most) or value != value:
            raise ValueError(f"{option} is {str(value)[:20]}: a number of at most {most} is wanted")
    return FINDERS[name].config(**options)


# Where the server listens


def socket_path() -> Path:
    """Where this user's server listens. Raises what private_folder raises."""
    return private_folder() / f"peakrt-serve-{VERSION}.sock"


def private_folder() -> Path:
    """A folder that only this user can enter: XDG_RUNTIME_DIR, or one in /tmp.

    In a batch job the variable often names a folder that the node does not have.
    Raises PermissionError for a folder that is somebody else's or open to others.
    """
    folder = Path(f"/tmp/peakrt-{os.getuid()}")
    if (given := os.environ.get("XDG_RUNTIME_DIR")) is not None:
        with suppress(OSError):
            Path(given).mkdir(mode=0o700, exist_ok=True)
            folder = Path(given)
    folder.mkdir(mode=0o700, exist_ok=True)
    check_private(folder)
    return folder


def check_private(folder: Path) -> None:
    """Raise PermissionError unless a folder belongs to this user and nobody else may write to it."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(
            f"{folder} is not a folder that belongs to you alone: set XDG_RUNTIME_DIR to one that does"
        )


def peer_uid(connection: socket.socket) -> int:
    """User at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


# Bytes


def encode(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """One message."""
    text = json.dumps(header).encode()
    return _LENGTHS.pack(len(text), len(payload)) + text + payload


def send(
    connection: socket.socket, header: dict[str, Any], payload: bytes = b"", descriptors: Sequence[int] = ()
) -> None:
    """Send one message through a blocking socket; descriptors go with its first byte."""
    message = encode(header, payload)
    if descriptors:
        socket.send_fds(connection, [message[:1]], descriptors)
        message = message[1:]
    connection.sendall(message)


def receive(connection: socket.socket) -> tuple[dict[str, Any], bytes]:
    """Receive one answer from a blocking socket. Raises EOFError at the end, ValueError for what is no message."""
    decoder = Decoder(MAX_HELLO, MAX_PEAKS)
    while (message := decoder.take()) is None:
        part = connection.recv(min(decoder.missing, 1 << 20))
        if not part:
            raise EOFError("the other end has gone")
        decoder.feed(part)
    return message


class Decoder:
    """Takes bytes as they arrive and gives whole messages.

    max_header, max_payload : lengths, bytes; a message of more is refused before it is kept
    """

    def __init__(self, max_header: int, max_payload: int) -> None:
        self.max_header, self.max_payload = max_header, max_payload
        self._data = bytearray()

    @property
    def unfinished(self) -> int:
        """Bytes that are no whole message yet."""
        return len(self._data)

    @property
    def missing(self) -> int:
        """Bytes that are wanted next: the rest of the lengths, or of the message. Valid after take() gave None."""
        if len(self._data) < _LENGTHS.size:
            return _LENGTHS.size - len(self._data)
        return _LENGTHS.size + sum(_LENGTHS.unpack_from(self._data)) - len(self._data)

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        self._data += data

    def take(self) -> tuple[dict[str, Any], bytes] | None:
        """Give the next message, None if it is not whole yet. Raises ValueError for one too long, or no JSON object."""
        if len(self._data) < _LENGTHS.size:
            return None
        n_header, n_payload = _LENGTHS.unpack_from(self._data)
        if n_header > self.max_header or n_payload > self.max_payload:
            raise ValueError(
                f"a message of {n_header} and {n_payload} bytes: at most {self.max_header} and {self.max_payload} are taken"
            )
        middle, end = _LENGTHS.size + n_header, _LENGTHS.size + n_header + n_payload
        if len(self._data) < end:
            return None
        header, payload = _parse(bytes(self._data[_LENGTHS.size : middle])), bytes(self._data[middle:end])
        del self._data[:end]
        return header, payload


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode())
    except RecursionError:
        raise ValueError("a message's header is nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("a message's header should be a JSON object")
    return header
