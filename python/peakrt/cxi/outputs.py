"""What a run writes: names, the promise that nothing of the user's is overwritten, and the lock on an output."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("peakrt")

#: Endings of the files beside a CXI: a CXI of this name would be overwritten by its own companion.
COMPANION_SUFFIXES = (".lst", ".geom", ".summary", ".stream")


def unfinished_path(cxi: Path) -> Path:
    """Name of a CXI while it is being written."""
    return cxi.with_name(cxi.name + ".inprogress")


def companion_paths(cxi: Path) -> tuple[Path, Path]:
    """The .lst of the hits and the .geom that go beside a CXI."""
    return cxi.with_suffix(".lst"), cxi.with_suffix(".geom")


def check_outputs(cxi: Path, inputs: Iterable[Path], *, overwrite: bool = False, resume: bool = False) -> None:
    """Raise OSError or ValueError, in one line, if writing a CXI and its companions would lose something.

    inputs : every file that the run reads (frames, lists, geometry, mask); none of them is ever replaced
    overwrite : other files may be replaced; resume : a .lst and a .geom may be there, from a run that was killed at its end
    """
    if cxi.suffix in COMPANION_SUFFIXES:
        raise ValueError(f"{cxi}: a {cxi.suffix} goes beside the CXI: give the output another ending, such as .cxi")
    folder = cxi.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"folder {folder} cannot be written")
    companions = companion_paths(cxi)
    written = (cxi, unfinished_path(cxi), *companions)
    for read in inputs:
        for path in written:
            if _same_file(read, path):
                raise FileExistsError(f"{path} is read by this run and would be overwritten: choose another -o")
    if overwrite:
        return
    if cxi.exists():
        raise FileExistsError(f"{cxi} exists: choose another name, or replace it with --overwrite")
    for path in () if resume else companions:
        if path.exists():
            raise FileExistsError(
                f"{path} exists and would be overwritten: choose another -o, or replace it with --overwrite"
            )


def check_unfinished(cxi: Path, *, overwrite: bool = False, resume: bool = False) -> None:
    """Raise FileExistsError if an earlier run left the CXI unfinished and the user has not said what to do with it."""
    unfinished = unfinished_path(cxi)
    if unfinished.exists() and not (resume or overwrite):
        raise FileExistsError(
            f"{unfinished} is there from an earlier run: go on with --resume, or begin anew with --overwrite"
        )


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write a file under that gets its own name once it is whole; whatever goes wrong before, nothing is left."""
    started = path.with_name(path.name + ".started")
    try:
        yield started
        os.replace(started, path)
    except BaseException:
        started.unlink(missing_ok=True)
        raise


def _same_file(a: Path, b: Path) -> bool:
    """Whether two names are, or would be, one file."""
    try:
        return a.samefile(b)
    except OSError:
        return a.absolute() == b.absolute()


def fingerprints(paths: Iterable[Path]) -> Iterator[tuple[str, int, int]]:
    """Absolute name, size in bytes and time of change in ns of files: what tells a replaced input from the same one."""
    for path in paths:
        status = path.stat()
        yield str(path.absolute()), status.st_size, status.st_mtime_ns


class OutputLock:
    """Keeps a second process from writing the same output. It ends with the process that holds it, however that dies.

    The lock is flock(2) on ``NAME.lock``, which Linux carries to NFS servers as well; the file says who holds it. Where a
    file system has no locks a warning is logged and the run goes on.
    Raises FileExistsError that names the holder.
    """

    def __init__(self, cxi: Path) -> None:
        self._path = cxi.with_name(cxi.name + ".lock")
        self._descriptor = -1
        while self._descriptor < 0:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._take(descriptor, cxi)
            except BaseException:
                os.close(descriptor)
                raise
            if self._is_at_its_path(descriptor):
                self._descriptor = descriptor
            else:  # its last holder removed it between our opening and our locking: open the one that is there now
                os.close(descriptor)
        os.ftruncate(self._descriptor, 0)
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.pwrite(self._descriptor, json.dumps(holder).encode(), 0)

    def _take(self, descriptor: int, cxi: Path) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(f"{cxi} is being written by {_holder(descriptor)}") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            log.warning("%s: this file system has no locks; make sure that no other run writes there", cxi)

    def _is_at_its_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the output free."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def _holder(descriptor: int) -> str:
    """Who holds a lock, in words."""
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(holder['pid'])} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
