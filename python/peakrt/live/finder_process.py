"""A finder in a process of its own, so that a run outlives it: it is started again and gets its frames once more.

The process runs PeakFinder, so its peaks are those of ``peakrt find`` with as many threads. Frames lie in memory that both
share; the messages are those of ``peakrt.serve.wire``. What was learned of the detector is asked for at the end of each
stretch, and a process that is started again goes on from there.
"""

from __future__ import annotations

import logging
import mmap
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry.crystfel import format_geom

from ..arrays import as_frame
from ..finder import Item, PeakFinder
from ..finders.learned import LearnedState
from ..finders.registry import named
from ..masks import Good
from ..peaks import PEAK, PeakArray
from ..serve import wire
from .learned_message import pack_state, unpack_state

log = logging.getLogger("peakrt")

#: Deaths in a row without peaks between, after which the oldest frame under way is taken to be the cause.
_MOST_DEATHS = 3
#: Frames under way on a GPU, which takes them in batches.
_GPU_FRAMES = 16


@dataclass
class _Flying:
    """A frame under way, and what came of it; number : -1 for one that was never sent."""

    number: int
    slot: int
    dtype: str
    mask: Good | None
    outcome: PeakArray | ValueError | None = None


class FinderProcess:
    """Does what find_run asks of a PeakFinder, through a process of its own; for one thread.

    finder : says what is to be found, and is not used for finding itself; threads : of the process
    deaths : how often the process was started again
    Leave its context, or close it, when done.
    """

    def __init__(self, finder: PeakFinder, threads: int = 1) -> None:
        self._finder, self._threads = finder, threads
        self._slots = _GPU_FRAMES if finder.on_gpu() else threads + 1  # one is filled while the others are searched
        self.deaths = 0
        self._deaths_in_a_row = 0
        self._state: LearnedState | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._memory: mmap.mmap | None = None
        self._descriptor = -1
        self._frames: npt.NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
        self._shape: tuple[int, ...] = ()
        self._started = 0
        self._mask: Good | None = None  # the last that was seen to fit
        self._told_mask: Good | None = None  # the last that the process was told
        self._flying: deque[_Flying] = deque()

    # What a run asks of a finder

    @property
    def engine(self) -> str:
        """Where the finder runs."""
        return self._finder.engine

    @property
    def pid(self) -> int:
        """The finder's process; 0 before the first frame."""
        return 0 if self._process is None else self._process.pid

    def on_gpu(self) -> bool:
        """Whether frames go to a GPU."""
        return self._finder.on_gpu()

    def mask_for(self, event_mask: Good | None, shape: tuple[int, ...]) -> Good:
        """Good pixels of an event."""
        return self._finder.mask_for(event_mask, shape)

    def artifacts(self, frame: npt.ArrayLike, mask: Good | None = None) -> Good:
        """Pixels that the segmentation model takes for artifacts."""
        return self._finder.artifacts(frame, mask)

    def restore(self, state: LearnedState) -> None:
        """Go on from what was learned before; to be called before the first frame."""
        self._state = state

    def learned_state(self) -> LearnedState:
        """What was learned so far; between calls of outcomes."""
        if self._process is None:
            return self._state or self._finder.learned_state()
        for _ in range(_MOST_DEATHS):
            try:
                self._send({"ask": "learned"})
                self._state = unpack_state(*wire.receive(self._connected()))
                return self._state
            except (EOFError, OSError):
                self._revive()
        return self._state or self._finder.learned_state()

    def outcomes(
        self, items: Iterable[Item | None], *, threads: int = 1
    ) -> Generator[PeakArray | ValueError, None, None]:
        """Peaks of (frame, mask) pairs in their order, or why there are none, as PeakFinder.outcomes."""
        for item in items:
            if item is None:
                if self._flying:
                    yield self._take()
                continue
            if len(self._flying) == self._slots:
                yield self._take()
            self._give(*item)
        while self._flying:
            yield self._take()

    # Frames out, peaks in

    def _give(self, frame: npt.ArrayLike, mask: Good | None) -> None:
        """Put a frame where the process sees it, and say so."""
        array = as_frame(frame)
        try:
            if self._process is None or array.shape != self._shape or array.nbytes > self._frames.shape[1]:
                self._begin(array, mask)
            if mask is not self._mask:
                self.mask_for(mask, array.shape)
                self._mask = mask
        except ValueError as error:  # a mask that fits no frame
            self._flying.append(_Flying(-1, 0, array.dtype.str, mask, error))
            return
        number = self._started
        self._started += 1
        slot = number % self._slots
        self._frames[slot, : array.nbytes] = array.reshape(-1).view(np.uint8)
        flying = _Flying(number, slot, array.dtype.str, mask)
        self._flying.append(flying)
        try:
            self._ask_for(flying)
        except OSError:
            self._revive()

    def _ask_for(self, flying: _Flying) -> None:
        if flying.outcome is not None:
            return
        if flying.mask is not self._told_mask:
            bits = b"" if flying.mask is None else np.packbits(flying.mask).tobytes()
            self._send({"ask": "mask", "some": flying.mask is not None}, bits)
            self._told_mask = flying.mask
        self._send({"ask": "frame", "id": flying.number, "slot": flying.slot, "dtype": flying.dtype})

    def _take(self) -> PeakArray | ValueError:
        """Peaks of the oldest frame under way."""
        while (outcome := self._flying[0].outcome) is None:
            try:
                header, payload = wire.receive(self._connected())
            except (EOFError, OSError):
                self._revive()
                continue
            if header.keys() == {"error"}:
                raise RuntimeError(f"the finder's process cannot find: {header['error']}")
            number, error = wire.read_answer(header, payload)
            flying = next(flying for flying in self._flying if flying.number == number)
            flying.outcome = np.frombuffer(payload, PEAK).copy() if error is None else ValueError(error)
            self._deaths_in_a_row = 0
        self._flying.popleft()
        return outcome

    # The process

    def _begin(self, array: npt.NDArray[Any], mask: Good | None) -> None:
        """Make the memory for frames like this one, and start the process. Raises ValueError for a frame that fits not."""
        self.mask_for(mask, array.shape)
        if any(flying.outcome is None for flying in self._flying):
            raise ValueError(f"frame has shape {array.shape} and {array.dtype}, the one before {self._shape}")
        self.close()
        self._shape = array.shape
        slot_bytes = -(-array.size * max(4, array.itemsize) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._descriptor = os.memfd_create("peakrt-frames", os.MFD_CLOEXEC)
        os.ftruncate(self._descriptor, self._slots * slot_bytes)
        self._memory = mmap.mmap(self._descriptor, self._slots * slot_bytes)
        self._frames = np.frombuffer(self._memory, np.uint8).reshape(self._slots, slot_bytes)
        self._start()

    def _start(self) -> None:
        """Start the process and tell it what it is to find."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "peakrt.live.finder_child", str(theirs.fileno()), str(self._descriptor)]
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), self._descriptor), start_new_session=True
            )
        self._connection = ours
        self._told_mask = None
        name, options = named(self._finder.config)
        geometry = self._finder.geometry
        good = self.mask_for(None, self._shape)
        begin = {
            "finder": name, "options": options, "geometry": None if geometry is None else format_geom(geometry),
            "engine": self._finder.engine, "threads": self._threads, "shape": self._shape, "slots": self._slots,
            "slot_bytes": self._frames.shape[1],
        }  # fmt: skip
        self._send({"ask": "begin", **begin}, np.packbits(good).tobytes())
        if self._state is not None:
            header, payload = pack_state(self._state)
            self._send({"ask": "restore", **header}, payload)

    def _revive(self) -> None:
        """After the process's death: start another, and give it the frames under way once more.

        Raises RuntimeError for one that dies again and again before it has anything to do.
        """
        self.deaths += 1
        self._deaths_in_a_row += 1
        self._hang_up()
        flying = [flying for flying in self._flying if flying.outcome is None]
        if self._deaths_in_a_row >= _MOST_DEATHS and flying:
            flying.pop(0).outcome = ValueError(f"the finder's process died {_MOST_DEATHS} times over this frame")
            self._deaths_in_a_row = 0
        if self._deaths_in_a_row > _MOST_DEATHS:
            raise RuntimeError("the finder's process dies whenever it is started")
        log.warning("the finder's process has gone: it is started again, %d frames are sent once more", len(flying))
        try:
            self._start()
            for one in flying:
                self._ask_for(one)
        except OSError:
            self._revive()

    def _connected(self) -> socket.socket:
        assert self._connection is not None
        return self._connection

    def _send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        wire.send(self._connected(), header, payload)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End the process and give the memory back."""
        self._hang_up()
        self._frames = np.zeros((0, 0), np.uint8)
        if self._memory is not None:
            self._memory.close()
            os.close(self._descriptor)
            self._memory = None

    def __enter__(self) -> FinderProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
