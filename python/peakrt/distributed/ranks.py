"""Workers that are the ranks of an MPI job: rank 0 deals out, takes in and writes, the others find. Needs mpi4py.

A rank that dies takes the job with it, as MPI has it; what was written stands, and --resume goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..serve import wire
from .backend import Came, Happening, Ready
from .ranges import Range
from .tables import encode, from_bytes
from .worker import OpenRun, Worker, describe_run, open_worker

#: Tags of the messages: to a worker a range or the end, from it that it is ready, a table, or what keeps it from working.
_RANGE, _END, _READY, _TABLE, _ERROR = range(1, 6)
#: Seconds between two looks for a message: MPI has no wait that ends.
_LOOK_S = 0.0005


class Ranks:
    """The back end, on rank 0 of a job. arguments : of the run, which each rank is told

    Raises RuntimeError for a job of one rank, which has nobody who finds.
    """

    name = "mpi"

    def __init__(self, arguments: Sequence[str]) -> None:
        from mpi4py import MPI

        self._mpi, self._world = MPI, MPI.COMM_WORLD
        self._open = set(range(1, self._world.size))
        if not self._open:
            raise RuntimeError("--backend mpi needs a job of at least 2 ranks: mpirun -n 5 peakrt run ...")
        _broadcast(self._world, json.dumps(describe_run(arguments)).encode())

    def give(self, worker: int, events: Range) -> None:
        """Send a range to a rank; MPI keeps so small a message until it is wanted."""
        self._world.Send(np.array([events.first, events.end], np.int64), dest=worker, tag=_RANGE)

    def wait(self, seconds: float) -> list[Happening]:
        """What has happened, at the latest after so long."""
        until, happened, status = time.monotonic() + seconds, [], self._mpi.Status()
        while True:
            while self._world.Iprobe(status=status):
                happened.append(self._receive(status))
            if happened or time.monotonic() > until:
                return happened
            time.sleep(_LOOK_S)

    def _receive(self, status: Any) -> Happening:
        rank, tag = status.Get_source(), status.Get_tag()
        buffer = bytearray(status.Get_count(self._mpi.BYTE))
        self._world.Recv([buffer, self._mpi.BYTE], source=rank, tag=tag)
        if tag == _READY:
            return Ready(rank, f"rank {rank}")
        if tag == _ERROR:
            raise RuntimeError(f"rank {rank}: {buffer.decode(errors='replace')}")
        return Came(rank, from_bytes(bytes(buffer)))

    def close(self) -> None:
        """Tell the ranks that the run is over."""
        for rank in self._open:
            self._world.Send(np.zeros(2, np.int64), dest=rank, tag=_END)
        self._open.clear()


def refuse() -> None:
    """On rank 0, in place of a run that cannot begin: let the other ranks go."""
    from mpi4py import MPI

    _broadcast(MPI.COMM_WORLD, b"")


def work_as_rank(open_run: OpenRun) -> None:
    """On the other ranks: work until rank 0 says that the run is over."""
    from mpi4py import MPI

    world, status = MPI.COMM_WORLD, MPI.Status()
    message = _broadcast(world, b"")
    if not message:
        return
    worker: Worker | None = None
    try:
        worker = open_worker(json.loads(message), open_run)
        world.Send([b"", MPI.BYTE], dest=0, tag=_READY)
    except (OSError, ValueError, RuntimeError, MemoryError, ImportError) as error:
        _complain(world, error)
    numbers = np.zeros(2, np.int64)
    while True:
        world.Recv(numbers, source=0, tag=MPI.ANY_TAG, status=status)
        if status.Get_tag() == _END:
            return
        if worker is None:
            continue
        try:
            table = worker.find(Range(int(numbers[0]), int(numbers[1])))
            world.Send([encode(table), MPI.BYTE], dest=0, tag=_TABLE)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            worker = None
            _complain(world, error)


def _complain(world: Any, error: BaseException) -> None:
    from mpi4py import MPI

    text = (str(error) or type(error).__name__).encode()[: wire.MAX_ERROR]
    world.Send([text, MPI.BYTE], dest=0, tag=_ERROR)


def _broadcast(world: Any, message: bytes) -> bytes:
    """Send bytes from rank 0 to all: every rank calls this once and gets them."""
    from mpi4py import MPI

    length = np.array([len(message)], np.int64)
    world.Bcast(length, root=0)
    buffer = bytearray(message) if world.rank == 0 else bytearray(int(length[0]))
    world.Bcast([buffer, MPI.BYTE], root=0)
    return bytes(buffer)
