"""What the parts of a run ask of each other: protocols, which no class needs to inherit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .arrays import whole_panels
from .config import Config
from .finders.learned import Learned, Turn
from .models.model_file import Model
from .peaks import PeakArray

#: Runs a model: inputs in, scores or probabilities out.
Engine = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Setup:
    """What a finder for one mask is made of.

    config : its options; good : (panel, ss, fs), True = good
    radius : (panel, ss, fs), pixels from the beam axis, None where it is not known
    asics : (n, 5) rows of panel, min_ss, end_ss, min_fs, end_fs, None: the panels
    photon_gain : ADU a photon that the geometry gives, None where it does not
    model, engine : a trained network and what runs it on the CPU, for finders that have one
    learned : what is learned over the frames, shared by all finders of a run
    """

    config: Config
    good: npt.NDArray[np.bool_]
    radius: npt.NDArray[np.float32] | None
    asics: npt.NDArray[np.int32] | None
    learned: Learned
    photon_gain: float | None = None
    model: Model | None = None
    engine: Engine | None = None

    @property
    def asic_rows(self) -> npt.NDArray[np.int32]:
        """The ASICs, or the panels where they are not known: (n, 5)."""
        return whole_panels(self.good.shape) if self.asics is None else self.asics


class FrameFinder(Protocol):
    """A finder for frames of one mask, on the CPU."""

    def __call__(self, frame: npt.NDArray[Any], turn: Turn | None = None) -> PeakArray:
        """Peaks of one frame (panel, ss, fs): a PEAK array.

        turn : the event's place among those that other threads hold; a finder that learns waits for it
        """

    def clone(self) -> FrameFinder:
        """One that shares the plan but may run in another thread."""

    def with_good(self, good: npt.NDArray[np.bool_]) -> FrameFinder | None:
        """One for another mask, made from this one's plan; None where that is no faster than making it anew."""


class BatchFinder(Protocol):
    """A finder for frames of one mask and dtype, on a GPU."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the frames that it takes."""

    def map(self, frames: Iterable[Any]) -> Iterator[PeakArray]:
        """Peaks of frames in their order."""

    def tell_learned(self) -> None:
        """Copy what the device has learned to the host."""


@dataclass(frozen=True)
class FinderKind:
    """An entry of the registry of finders.

    name : on the command line and in files; config : dataclass of its options
    on_cpu : makes a FrameFinder
    on_gpu : makes a BatchFinder, given the setup, the frames' dtype, the engine's name and the CPU's finder; None: there
        is none
    engines : of the GPU that it can run on; model_kind : of the model that it needs, "" for none
    needs_geometry : whether it finds nothing without one
    """

    name: str
    config: type[Config]
    on_cpu: Callable[[Setup], FrameFinder]
    on_gpu: Callable[[Setup, np.dtype[Any], str, FrameFinder], BatchFinder] | None = None
    engines: tuple[str, ...] = ()
    model_kind: str = ""
    needs_geometry: bool = False


class Stateless:
    """A finder that learns nothing, as a FrameFinder: a function of the frame."""

    def __init__(
        self, find: Callable[[npt.NDArray[Any]], PeakArray], clone: Callable[[], FrameFinder] | None = None
    ) -> None:
        self._find, self._clone = find, clone

    def __call__(self, frame: npt.NDArray[Any], turn: Turn | None = None) -> PeakArray:
        """Peaks of one frame."""
        return self._find(frame)

    def clone(self) -> FrameFinder:
        """One for another thread: itself, unless it has memory of its own."""
        return self if self._clone is None else self._clone()

    def with_good(self, good: npt.NDArray[np.bool_]) -> FrameFinder | None:
        """None: its plan is made anew for another mask."""
        return None
