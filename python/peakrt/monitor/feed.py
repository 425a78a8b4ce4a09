"""The run's end of the monitor: notes what happens, and tells the monitor's process twice a second.

The run only puts references into lists. A thread of its own sends them on, so a monitor that is slow, stopped or dead costs the
run nothing but what it does not get told, which is counted. A monitor that died is started again at the same address.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector
from peakrt_geometry.crystfel import format_geom

from ..event import Event
from ..extras import need
from ..peaks import PEAK, PeakArray
from ..stream_file import Chunk
from .address import listen, make_token, parse_address, url_of
from .wire import MOST_BODY_BYTES, send

log = logging.getLogger("peakrt")
PERIOD_s = 0.5
#: Seconds between two whole frames: what a frame costs the monitor, a tenth of a second for 4 megapixels, stays small.
FRAME_PERIOD_s = 1.0
#: What waits for the monitor at most: 5 s at a kilohertz, and 17 MB of peaks. Beyond, events are counted as not told.
MOST_EVENTS, MOST_PEAKS, MOST_CHUNKS = 5000, 200_000, 5000
#: A monitor that takes nothing for so long hangs.
STUCK_s = 10.0
#: Times that a monitor is started again in one run.
MOST_RESTARTS = 5
#: Seconds between two snapshots that the monitor takes of what it knows: so much is lost with its process.
SNAPSHOT_s = 10.0
#: How long the end of a run waits for its monitor.
END_s = 8.0
_Noted = tuple[float, int, bool, PeakArray | None]


def open_monitor(
    address: str,
    detector: Detector,
    *,
    title: str = "",
    min_peaks: int = 15,
    cell: Sequence[float] | None = None,
    good: npt.NDArray[np.bool_] | None = None,
) -> Feed:
    """Start a monitor, a :class:`peakrt.contracts.Watcher` with a url.

    address : [HOST:]PORT, "" for the loopback and a free port; title : of the page
    min_peaks : of a hit; cell : that the crystals should have, a, b, c in A, angles in degrees
    good : (panel, ss, fs), the mask in force, where it is more than the geometry's
    Raises ValueError for an address that is none, OSError where it cannot listen, ImportError without the extra.
    """
    need("--monitor", "monitor", "starlette", "uvicorn")
    where = parse_address(address)
    token = make_token(where)
    hello: dict[str, Any] = {
        "geometry": format_geom(detector), "name": detector.name, "title": title, "min_peaks": min_peaks,
        "cell": None if cell is None else [float(value) for value in cell], "snapshot_s": SNAPSHOT_s,
        "token": token, "loopback": where.is_loopback,
    }  # fmt: skip
    arrays = {} if good is None else {"good": np.packbits(good)}
    server = listen(where)
    return Feed(server, url_of(server, where, token), hello, arrays)


class Feed:
    """A Watcher that tells a monitor's process what it sees.

    server : the socket that the process listens at; url : what to open; hello, arrays : its first message
    unseen : events that there was no time to tell of
    """

    def __init__(
        self, server: socket.socket, url: str, hello: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        self.url, self.unseen, self.restarts = url, 0, 0
        self._server, self._hello, self._arrays = server, hello, arrays
        self._clock = time.time() - time.monotonic()  # a clock that is set does not turn the run's time
        self._noted: deque[_Noted] = deque()
        self._peaks_noted = self._peaks_told = 0  # each is written by one side only
        self._newest: dict[bool, tuple[float, Event, PeakArray] | None] = {True: None, False: None}
        self._last_kind = False
        self._beam: tuple[float | None, float | None] = None, None
        self._chunks: deque[tuple[float, Chunk]] = deque()
        self._unusable = self._unusable_told = 0
        self._reason = ""
        self._numbers: dict[str, float | str] = {}
        self._next_frame = 0.0
        self._over = threading.Event()
        self._given_up = False
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._memory = tempfile.TemporaryFile(prefix="peakrt-monitor-")  # noqa: SIM115 (as long as the run)
        self._thread = threading.Thread(target=self._tell, name="peakrt-monitor", daemon=True)
        self._start()
        self._thread.start()

    # What the run calls

    def event(self, event: Event | None, peaks: PeakArray, is_hit: bool) -> None:
        """Take an event and its peaks; None for a miss whose frame is not here."""
        if len(self._noted) >= MOST_EVENTS or self._given_up:
            self.unseen += 1
            return
        at = self._now()
        fits = self._peaks_noted - self._peaks_told + len(peaks) <= MOST_PEAKS
        self._peaks_noted += len(peaks) if fits else 0
        self._noted.append((at, len(peaks), is_hit, peaks if fits else None))
        if event is None:
            return
        self._newest[is_hit] = at, event, peaks
        self._beam = event.camera_length_m, event.photon_energy_eV

    def unusable(self, event: str, reason: str) -> None:
        """Take note of an event that could not be used."""
        self._unusable += 1
        self._reason = reason if event in reason else f"{event}: {reason}"

    def indexed(self, chunk: Chunk) -> None:
        """Take note of a frame that the indexer has finished."""
        if len(self._chunks) < MOST_CHUNKS and not self._given_up:
            self._chunks.append((self._now(), chunk))

    def state(self, numbers: Mapping[str, float | str]) -> None:
        """Take the run's own numbers."""
        self._numbers = {**self._numbers, **numbers}

    def close(self) -> None:
        """Tell what is left, and that the run is over; the monitor's process ends."""
        if self._over.is_set():
            return
        self._over.set()
        self._thread.join(END_s)
        self._stop_child(END_s)
        self._server.close()
        self._memory.close()

    def _now(self) -> float:
        return self._clock + time.monotonic()

    # The thread that tells

    def _tell(self) -> None:
        while not self._over.wait(PERIOD_s):
            self._say()
        self._next_frame = 0.0
        self._say()
        if self._connection is not None:
            try:
                send(self._connection, "end", {"at": self._now()}, {})
            except OSError:
                pass

    def _say(self) -> None:
        """Send what was noted; start the monitor again if it is gone."""
        if self._connection is None:
            return
        header, arrays = self._batch()
        frame = self._frame()
        try:
            send(self._connection, "batch", header, arrays)
            if frame is not None:
                send(self._connection, "frame", *frame)
        except OSError:
            self._restart()

    def _batch(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Everything since the last batch."""
        noted = [self._noted.popleft() for _ in range(len(self._noted))]
        chunks = [self._chunks.popleft() for _ in range(len(self._chunks))]
        unusable, self._unusable_told = self._unusable - self._unusable_told, self._unusable
        told = [peaks for *_, peaks in noted if peaks is not None]
        self._peaks_told += sum(len(peaks) for peaks in told)
        header = {
            "at": self._now(), "unusable": unusable, "reason": self._reason, "unseen": self.unseen,
            "numbers": {name: _plain(value) for name, value in self._numbers.items()},
            "camera_length_m": _plain(self._beam[0]), "photon_energy_eV": _plain(self._beam[1]),
            "chunks": [[at, asdict(chunk)] for at, chunk in chunks],
        }  # fmt: skip
        arrays = {
            "at": np.array([at for at, *_ in noted], np.float64),
            "n_peaks": np.array([n for _, n, _, _ in noted], np.int64),
            "is_hit": np.array([hit for _, _, hit, _ in noted], np.bool_),
            "told": np.array([0 if peaks is None else len(peaks) for *_, peaks in noted], np.int64),
            "peaks": np.concatenate(told) if told else np.zeros(0, PEAK),
        }
        return header, arrays

    def _frame(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]] | None:
        """A whole frame, hit and miss in turn, if it is time for one."""
        now = time.monotonic()
        if now < self._next_frame:
            return None
        for kind in (not self._last_kind, self._last_kind):
            newest, self._newest[kind] = self._newest[kind], None
            if newest is None:
                continue
            self._last_kind, self._next_frame = kind, now + FRAME_PERIOD_s
            at, event, peaks = newest
            if event.frame.dtype.kind not in "biuf" or event.frame.nbytes > MOST_BODY_BYTES // 2:
                return None
            arrays = {"frame": event.frame, "peaks": peaks}
            if event.mask is not None:
                arrays["mask"] = np.packbits(event.mask)
            return {"at": at, "is_hit": kind, "name": str(event)}, arrays
        return None

    # The monitor's process

    def _start(self) -> None:
        """Start the process and greet it."""
        ours, its = socket.socketpair()
        with its:
            # The kernel gives up a send that makes no headway for so long: no thread of the run waits for ever.
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(STUCK_s), 0))
            handed = [self._server.fileno(), its.fileno(), self._memory.fileno()]
            self._child = subprocess.Popen(
                [sys.executable, "-m", "peakrt.monitor.process", *map(str, handed)],
                pass_fds=handed, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        self._connection = ours
        try:
            send(ours, "hello", self._hello, self._arrays)
        except OSError:
            pass  # it is gone already; the next batch finds that out

    def _restart(self) -> None:
        """Start the monitor again, but not for ever."""
        self._stop_child(0.0)
        if self.restarts == MOST_RESTARTS:
            log.warning("the monitor has ended %d times; the run goes on without it", MOST_RESTARTS + 1)
            self._given_up = True
            return
        self.restarts += 1
        log.warning("the monitor ended and is started again at %s", self.url)
        try:
            self._start()
        except OSError as error:
            log.warning("the monitor cannot be started again (%s); the run goes on without it", error)
            self._given_up = True

    def _stop_child(self, patience_s: float) -> None:
        """Let the process end by itself for so long, then end it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._child is None:
            return
        try:
            self._child.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None


def _plain(value: float | str | None) -> float | str | None:
    """A number or word that JSON has; None for what is no number."""
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    return number if np.isfinite(number) else None
