"""The monitor's process: reads what a run tells, answers browsers, and ends with the run.

``python -m peakrt.monitor.process LISTENING RUN MEMORY``: descriptors of the socket that browsers reach, of the one that the run
tells through, and of a file that keeps what is known, for the case that this process dies.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from peakrt_geometry.crystfel import parse_geom

from ..stream_file import Chunk, Crystal
from . import snapshot
from .server import Hub, serve
from .statistics import RunStatistics, Setting
from .wire import receive

#: The run comes first where cores are scarce.
_NICE = 10

Arrays = dict[str, npt.NDArray[Any]]


def main(arguments: Sequence[str]) -> None:
    """Run until the run ends, or closes its end."""
    listening, told, memory = (int(text) for text in arguments)
    os.nice(_NICE)
    connection = socket.socket(fileno=told)
    kind, hello, arrays = receive(connection)
    if kind != "hello":
        raise ValueError(f"the first message of a run is {kind}, hello is expected")
    hub = Hub(RunStatistics(setting_of(hello, arrays)))
    with os.fdopen(memory, "r+b") as file:
        snapshot.restore(hub.run, file)
        listener = threading.Thread(
            target=listen_to_run, args=(hub, connection, file, float(hello["snapshot_s"])), name="run", daemon=True
        )
        listener.start()
        serve(hub, socket.socket(fileno=listening), str(hello["token"]))


def setting_of(hello: dict[str, Any], arrays: Arrays) -> Setting:
    """What a run says of itself."""
    detector = parse_geom(hello["geometry"], name=hello["name"])
    good = None
    if "good" in arrays:
        good = np.unpackbits(arrays["good"], count=int(np.prod(detector.shape))).reshape(detector.shape).view(bool)
    cell = hello["cell"]
    return Setting(detector, hello["title"], "time", hello["min_peaks"], None if cell is None else tuple(cell), good)


def listen_to_run(hub: Hub, connection: socket.socket, memory: BinaryIO, snapshot_s: float) -> None:
    """Take messages until the run is over, and keep a snapshot in a file."""
    saved = time.monotonic()
    try:
        while True:
            kind, header, arrays = receive(connection)
            if kind == "end":
                return
            with hub.lock:
                TAKE[kind](hub.run, header, arrays)
                hub.ticks += 1
                if time.monotonic() - saved > snapshot_s:
                    snapshot.save(hub.run, memory)
                    saved = time.monotonic()
    except (EOFError, ConnectionError):
        pass  # the run was killed: what it has told can still be fetched
    finally:
        hub.over = True
        hub.ticks += 1


def take_batch(run: RunStatistics, header: dict[str, Any], arrays: Arrays) -> None:
    """Add a batch of events to a run's statistics."""
    at = float(header["at"])
    if len(arrays["at"]):
        run.look(header["camera_length_m"], header["photon_energy_eV"])
        if header["photon_energy_eV"] is not None:
            run.energy(at, header["photon_energy_eV"])
        run.events(arrays["at"], arrays["n_peaks"], arrays["is_hit"], arrays["peaks"], arrays["told"])
    if header["unusable"]:
        run.unusable(at, header["unusable"], header["reason"])
    run.counts["unseen"] = header["unseen"]
    run.state(at, {name: value for name, value in header["numbers"].items() if value is not None})
    run.chunks([when for when, _ in header["chunks"]], [chunk_of(record) for _, record in header["chunks"]])


def take_frame(run: RunStatistics, header: dict[str, Any], arrays: Arrays) -> None:
    """Add a whole frame to a run's statistics."""
    mask = None
    if "mask" in arrays:
        mask = np.unpackbits(arrays["mask"], count=run.good.size).reshape(run.good.shape).view(bool)
    run.frame(
        header["at"], arrays["frame"], header["is_hit"], mask=mask, peaks=arrays["peaks"], name=header["name"]
    )  # fmt: skip


TAKE = {"batch": take_batch, "frame": take_frame}


def chunk_of(record: dict[str, Any]) -> Chunk:
    """A chunk from its JSON."""
    crystals = []
    for crystal in record["crystals"]:
        shift = crystal["det_shift_mm"]
        crystals.append(Crystal(**{**crystal, "cell": tuple(crystal["cell"]), "det_shift_mm": shift and tuple(shift)}))
    return Chunk(**{**record, "crystals": tuple(crystals)})


if __name__ == "__main__":
    main(sys.argv[1:])
