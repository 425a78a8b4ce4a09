"""What the ranks of a node and their server say to each other, over a Unix socket of one user.

A message is two lengths, a JSON header and a payload. Frames do not travel: they lie in memory that the rank made and the
server maps, sealed against shrinking.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Any

#: Changes with every change of a message; a server and a client of different ones refuse each other.
VERSION = 1
#: A geometry and a mask of sixteen megapixels fit; anything longer is refused before memory is taken.
MAX_BYTES = 64 << 20
_LENGTHS = struct.Struct("!II")


def socket_path() -> Path:
    """Where this user's server listens, in a folder that only the user can enter.

    Raises PermissionError for a folder that is somebody else's or open to others.
    """
    base = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/peakrt-{os.getuid()}"
    folder = Path(base)
    folder.mkdir(mode=0o700, exist_ok=True)
    check_private(folder)
    return folder / f"peakrt-serve-{VERSION}.sock"


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


def send(connection: socket.socket, header: dict[str, Any], payload: bytes = b"") -> None:
    """Send one message."""
    text = json.dumps(header).encode()
    connection.sendall(_LENGTHS.pack(len(text), len(payload)) + text + payload)


def receive(connection: socket.socket) -> tuple[dict[str, Any], bytes]:
    """Receive one message. Raises EOFError at the end, ValueError for a message that is too long or no JSON."""
    n_text, n_payload = _LENGTHS.unpack(_exactly(connection, _LENGTHS.size))
    if n_text + n_payload > MAX_BYTES:
        raise ValueError(f"a message of {n_text + n_payload} bytes: at most {MAX_BYTES} are taken")
    header = json.loads(_exactly(connection, n_text))
    if not isinstance(header, dict):
        raise ValueError("a message's header should be a JSON object")
    return header, _exactly(connection, n_payload)


def _exactly(connection: socket.socket, n: int) -> bytes:
    parts = bytearray()
    while len(parts) < n:
        part = connection.recv(min(n - len(parts), 1 << 20))
        if not part:
            raise EOFError("the other end has gone")
        parts += part
    return bytes(parts)
