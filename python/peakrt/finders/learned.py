"""What is learned of a detector over the events of a run: the gain, and pixels that stay bright.

What is learned from an event decides how later events are judged, so events are learned from in their order, whatever
thread holds them: the same run gives the same peaks with any number of threads. The state can be saved and restored,
so that a run that is resumed goes on as if it had not been stopped.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .bad_pixels import COUNTED_PIXEL, BadPixels
from .gain import GainCurve


@dataclass(frozen=True)
class LearnedState:
    """What was learned up to some event.

    gain : ADU a photon, None where nothing has told it
    frames : number of frames that the counts are of
    pixels : COUNTED_PIXEL, every pixel that ever stood out alone
    curve : float64, what the frames so far say of the gain, empty once it is known
    """

    gain: float | None
    frames: int
    pixels: npt.NDArray[np.void]
    curve: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def bad_pixels(self, width: int) -> npt.NDArray[np.int32]:
        """The bad pixels, (n, 2): ss and fs in the slab of stacked panels; width : of a frame, pixels."""
        bad = self.pixels["pixel"][self.pixels["bad"] != 0]
        return np.stack([bad // width, bad % width], 1).astype(np.int32)


class Learned:
    """What is learned of a detector, shared by the finders of all threads.

    gain : ADU a photon, None until known; bad : pixels that stay bright, None until the first frame
    """

    def __init__(self, gain: float | None) -> None:
        self.lock = threading.Lock()
        self.gain = gain
        self.curve = GainCurve()
        self.frames_without_gain = 0
        self.bad: BadPixels | None = None
        self._restored: LearnedState | None = None

    def bad_pixels(self, shape: tuple[int, ...]) -> BadPixels:
        """The map of bad pixels, made for frames of a shape."""
        with self.lock:
            if self.bad is None or self.bad.bad.shape != shape:
                self.bad = BadPixels(shape)
                if self._restored is not None:
                    self.bad.restore(self._restored.frames, self._restored.pixels)
                    self._restored = None
            return self.bad

    def state(self) -> LearnedState:
        """Everything that later events depend on."""
        frames, pixels = 0, np.zeros(0, COUNTED_PIXEL)
        if self.bad is not None:
            frames, pixels = self.bad.frames, self.bad.counted()
        elif self._restored is not None:
            frames, pixels = self._restored.frames, self._restored.pixels
        curve = np.zeros(0)
        if self.gain is None:
            curve = np.r_[float(self.frames_without_gain), self.curve.as_numbers()]
        return LearnedState(self.gain, frames, pixels, curve)

    def restore(self, state: LearnedState) -> None:
        """Go on from a saved state; a gain that is known already stays. Raises ValueError for a damaged state."""
        with self.lock:
            self.gain = state.gain if self.gain is None else self.gain
            self.bad, self._restored = None, state
            if len(state.curve):
                self.frames_without_gain, self.curve = int(state.curve[0]), GainCurve.of_numbers(state.curve[1:])


class EventOrder:
    """Lets the events of a run through one after another, in the order of their numbers, which count from 0."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._next = 0
        self._passed: set[int] = set()

    def wait_for_turn(self, number: int) -> None:
        """Wait until every event before this one has passed."""
        with self._ready:
            self._ready.wait_for(lambda: self._next == number)

    def passed(self, number: int) -> None:
        """Say that an event has learned all that it will, or has failed; it need not have waited, and may say so twice."""
        with self._ready:
            if number >= self._next:
                self._passed.add(number)
            while self._next in self._passed:
                self._passed.remove(self._next)
                self._next += 1
            self._ready.notify_all()


@dataclass(frozen=True)
class Turn:
    """One event's place in an :class:`EventOrder`; a finder waits for it before it learns."""

    order: EventOrder
    number: int

    def wait(self) -> None:
        """Wait until every earlier event has passed."""
        self.order.wait_for_turn(self.number)

    def passed(self) -> None:
        """Let the next event learn."""
        self.order.passed(self.number)
