"""Workers that are processes of this machine: those that the run starts, and others of the same user that join it.

Each connects to a Unix socket in a folder of its own that nobody else can enter, is told the run's arguments, and is then
given ranges. A worker that dies is started again. When the run ends, however it ends, the sockets close and the workers go.
"""

from __future__ import annotations

import logging
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..serve import wire
from .backend import Came, Gone, Happening, Ready
from .ranges import Range
from .tables import MOST_BYTES, MOST_HEADER, decode, encode
from .worker import OpenRun, describe_run, open_worker

log = logging.getLogger("peakrt")

#: What a worker runs.
PROGRAM = (sys.executable, "-m", "peakrt.cli", "worker", "--log-level", "warning")
#: Deaths in a row, of workers that the run has started and that gave no table, after which the run gives up.
MOST_DEATHS_AT_START = 3
#: Seconds that a worker has to finish what it is doing once the run is over, before it is killed.
END_S = 2.0


def folder_of_runs() -> Path:
    """Where the sockets of this user's runs lie, each in a folder named after the process of the run."""
    folder = wire.private_folder() / "peakrt-runs"
    folder.mkdir(mode=0o700, exist_ok=True)
    wire.check_private(folder)
    return folder


def gpus() -> list[str]:
    """The GPUs of this machine that a worker may use, by what CUDA calls them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip()]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


class _Connection:
    """A worker at the other end of a socket. ready : whether it has opened the run"""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.decoder = wire.Decoder(MOST_HEADER, MOST_BYTES)
        self.ready = False


class Processes:
    """The back end. n : workers to start; arguments : of the run, which each worker is told; on_gpu : one GPU for each

    program : of a worker, which is given the address to connect to
    """

    name = "process"

    def __init__(
        self, n: int, arguments: Sequence[str], *, on_gpu: bool = False, program: Sequence[str] = PROGRAM
    ) -> None:
        self._job = describe_run(arguments)
        self._gpus, self._program = gpus() if on_gpu else [], program
        self._folder = folder_of_runs() / str(os.getpid())
        shutil.rmtree(self._folder, ignore_errors=True)  # of a process of the same number that was killed
        self._folder.mkdir(mode=0o700)
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.address))
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._connections: dict[int, _Connection] = {}
        self._children: dict[int, tuple[subprocess.Popen[bytes], int]] = {}  # by pid: the process and its place
        self._happened: list[Happening] = []
        self._deaths = 0  # in a row, without a table between
        self._complaint = ""
        for place in range(n):
            self._start(place)

    @property
    def address(self) -> Path:
        """The socket that workers connect to."""
        return self._folder / "workers.sock"

    def _start(self, place: int) -> None:
        environment = dict(os.environ)
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[place % len(self._gpus)]
        # In a session of its own: Ctrl-C at the terminal is the run's affair, which ends its workers in order.
        process = subprocess.Popen(
            [*self._program, str(self.address)], env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._children[process.pid] = process, place

    # The back end

    def give(self, worker: int, events: Range) -> None:
        """Send a range to a worker; one that has gone is noticed when its socket is read."""
        connection = self._connections.get(worker)
        if connection is not None:
            with suppress(OSError):
                wire.send(connection.sock, {"first": events.first, "end": events.end})

    def wait(self, seconds: float) -> list[Happening]:
        """What has happened, at the latest after so long."""
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._listener:
                self._accept()
            else:
                self._read(self._connections[key.fd])
        self._look_at_children()
        happened, self._happened = self._happened, []
        return happened

    def close(self) -> None:
        """End the workers: those that work on something are let finish it for a moment, then killed."""
        for connection in list(self._connections.values()):
            with suppress(OSError):
                connection.sock.close()
        self._connections.clear()
        self._listener.close()
        self._selector.close()
        until = time.monotonic() + END_S  # for all of them together
        for process, _ in self._children.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            if process.poll() is None:
                process.kill()
                process.wait()
        self._children.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    # What workers say

    def _accept(self) -> None:
        with suppress(OSError):
            sock, _ = self._listener.accept()
            if wire.peer_uid(sock) != os.getuid():
                sock.close()
                return
            self._connections[sock.fileno()] = _Connection(sock)
            self._selector.register(sock, selectors.EVENT_READ)
            wire.send(sock, self._job)

    def _read(self, connection: _Connection) -> None:
        try:
            part = connection.sock.recv(1 << 20)
            if not part:
                raise EOFError("its process has ended")
            connection.decoder.feed(part)
            while (message := connection.decoder.take()) is not None:
                self._take(connection, *message)
        except (EOFError, OSError, ValueError) as error:
            self._drop(connection, str(error))

    def _take(self, connection: _Connection, header: dict[str, Any], payload: bytes) -> None:
        if "error" in header:
            self._complaint = str(header["error"])
            raise EOFError(self._complaint)
        if "ready" in header:
            connection.ready, pid = True, int(header["ready"])
            name = f"worker {pid}" if pid in self._children else f"worker {pid}, which has joined"
            self._happened.append(Ready(connection.sock.fileno(), name))
            return
        self._deaths = 0
        self._happened.append(Came(connection.sock.fileno(), decode(header, payload)))

    def _drop(self, connection: _Connection, reason: str) -> None:
        number = connection.sock.fileno()
        self._selector.unregister(connection.sock)
        del self._connections[number]
        connection.sock.close()
        if connection.ready:
            self._happened.append(Gone(number, reason))

    def _look_at_children(self) -> None:
        """Start those anew that have died."""
        for pid, (process, place) in list(self._children.items()):
            status = process.poll()
            if status is None:
                continue
            del self._children[pid]
            self._deaths += 1
            how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
            if self._deaths >= MOST_DEATHS_AT_START * max(1, len(self._children)):
                raise RuntimeError(f"workers end before they find anything: {self._complaint or how}")
            log.warning("a worker (process %d) has ended with %s: another one is started", pid, how)
            self._start(place)


def join(address: Path, open_run: OpenRun) -> None:
    """Work for the run that listens at an address until it is over.

    Raises OSError where nobody listens, RuntimeError for a run of another version or one that cannot be opened here.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(address))
        if wire.peer_uid(connection) != os.getuid():
            raise PermissionError(f"{address} is another user's")
        try:
            _work(connection, open_run)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _work(connection: socket.socket, open_run: OpenRun) -> None:
    job, _ = wire.receive(connection)
    try:
        worker = open_worker(job, open_run)
        wire.send(connection, {"ready": os.getpid()})
        while True:
            header, _ = wire.receive(connection)
            connection.sendall(encode(worker.find(Range(header["first"], header["end"]))))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except (OSError, ValueError, RuntimeError, MemoryError, ImportError) as error:
        wire.send(connection, {"error": (str(error) or type(error).__name__)[: wire.MAX_ERROR]})
        raise
