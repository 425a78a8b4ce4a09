"""Built engines on disk: found again by what they were built for, never trusted beyond that.

A folder that only the user can write; each file says what it was built for and the digest of what follows, and gets its
name when it is whole. What is truncated, of another key or not the user's own is built again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..environment import setting

log = logging.getLogger("peakrt")

_MAGIC = b"PeakRT engine 1\n"
#: More than an engine of our models can be; read before memory is taken.
_MAX_BYTES, _MAX_HEAD = 1 << 30, 1 << 16


def cache_folder() -> Path:
    """Where engines are kept: ``PEAKRT_CACHE``, or peakrt below the user's cache folder. Made private if it is not there.

    Raises PermissionError for a folder that another user owns or others can write.
    """
    given = setting("PEAKRT_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = given or base / "peakrt"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(
            f"{folder} should be a folder that you own and others cannot write: chmod 700 it, or set PEAKRT_CACHE"
        )
    return folder


@dataclass(frozen=True)
class Entry:
    """One engine on disk. built_for : as given to cached()."""

    path: Path
    built_for: dict[str, Any]
    size: int


def cached(built_for: dict[str, Any], build: Callable[[], bytes]) -> bytes:
    """The engine built for something, from the cache or built now and kept.

    built_for : GPU, driver, TensorRT, model digest, shapes: anything that JSON holds
    """
    folder = cache_folder()
    path = folder / f"{_digest(_key(built_for))}.engine"
    if path.exists() or path.is_symlink():
        try:
            head, engine = _read(path)
            if head["built_for"] != json.loads(_key(built_for)):
                raise ValueError("it was built for something else")
            return engine
        except (OSError, ValueError) as error:
            log.warning("engine %s is built again: %s", path.name, error)
    log.info("building an engine for %s", built_for)
    engine = build()
    _write(path, built_for, engine)
    return engine


def entries() -> list[Entry]:
    """All engines of the cache that can be read, newest last."""
    found = []
    for path in sorted(cache_folder().glob("*.engine"), key=lambda p: p.lstat().st_mtime):
        try:
            head, engine = _read(path)
        except (OSError, ValueError) as error:
            log.warning("%s is no engine: %s", path.name, error)
            continue
        found.append(Entry(path, head["built_for"], len(engine)))
    return found


def clear() -> int:
    """Remove all engines, and what an interrupted build left; returns how many files."""
    paths = [path for pattern in ("*.engine", "*.inprogress") for path in cache_folder().glob(pattern)]
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


def _key(built_for: dict[str, Any]) -> str:
    return json.dumps(built_for, sort_keys=True)


def _digest(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Head and engine of a file. Raises ValueError for one that is damaged or not ours, OSError for a link."""
    # O_NONBLOCK: opening a pipe must not wait for its writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a file")
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise ValueError("another user could have written it")
        if status.st_size > _MAX_BYTES:
            raise ValueError("it is larger than an engine can be")
        if file.readline(len(_MAGIC)) != _MAGIC:
            raise ValueError("it is not one of PeakRT's")
        try:
            head = json.loads(file.readline(_MAX_HEAD))
        except RecursionError:
            raise ValueError("it is damaged") from None
        engine = file.read(status.st_size)
    if (
        not isinstance(head, dict)
        or not isinstance(head.get("built_for"), dict)
        or _digest(engine) != head.get("sha256")
    ):
        raise ValueError("it is damaged")
    return head, engine


def _write(path: Path, built_for: dict[str, Any], engine: bytes) -> None:
    head = {"built_for": built_for, "sha256": _digest(engine)}
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.inprogress")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_MAGIC + json.dumps(head).encode() + b"\n" + engine)
    os.replace(unfinished, path)
