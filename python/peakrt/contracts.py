"""What the parts of a run ask of each other: protocols, which no class needs to inherit."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from .arrays import GoodPixels, whole_panels
from .config import Config, HitConfig, OutputConfig
from .event import Event
from .finders.learned import Learned, LearnedState, Turn
from .models.model_file import Model
from .peaks import PeakArray
from .stream_file import Chunk

#: Runs a model: inputs in, scores or probabilities out.
Engine = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


class Source(Protocol):
    """Gives the events of a run; ``len(source)`` where it knows how many."""

    detector: Detector

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Type that holds every number of its frames exactly; None where it is not known before the first event."""

    @property
    def files(self) -> Sequence[Path]:
        """The files that it reads, which no output may replace; empty for a run that a host program opens."""

    @property
    def read_ahead(self) -> bool:
        """Whether its events may be fetched by a thread of their own, while others are searched."""

    def events(self, start: int = 0) -> Iterator[Event]:
        """Give the events from number start on."""


@runtime_checkable
class Stream(Source, Protocol):
    """A source whose events come once, when their sender likes."""

    def events_and_pauses(self, start: int = 0) -> Iterator[Event | None]:
        """As events, with None every now and then while none comes, so that a run can flush what it has."""

    def report(self) -> list[str]:
        """What there is to say of it once it is over, a line each: why it ended, what was lost or left out."""

    def as_record(self) -> dict[str, object]:
        """The same as numbers."""


class Writer(Protocol):
    """Writes the events of a run and their peaks to one output, which gets its name when it is closed.

    path : final name; unfinished : name until then; hits, output : the configs in force
    n_hits, n_cut : hits so far, and events with more peaks than the output has room for
    events_done : place in the input from which on events are to be found, after a resume
    learned : what the finder had learned there, None at a beginning
    """

    path: Path
    unfinished: Path
    hits: HitConfig
    output: OutputConfig
    n_hits: int
    n_cut: int
    events_done: int
    learned: LearnedState | None

    def append(self, event: Event, peaks: PeakArray, number: int, good: npt.NDArray[np.bool_]) -> bool:
        """Take an event, its peaks, its place in the input and the mask in force; returns whether it is a hit."""

    def miss(self, number: int) -> None:
        """Note an event that is no hit, and of which nothing is to be written: it counts as done."""

    def skip(self, number: int, event: str, reason: str) -> None:
        """Note an event that could not be used: it counts as done."""

    def flush(self, learned: LearnedState | None = None) -> None:
        """Make everything taken so far safe, together with what the finder has learned from exactly these events."""

    def close(self) -> None:
        """Finish the output and give it its name."""

    def report(self) -> list[str]:
        """What was written and what to do with it, in lines for the user."""

    def __enter__(self) -> Writer: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Watcher(Protocol):
    """Looks on at a run. Each call returns in microseconds and never raises; calls may come from any thread."""

    def event(self, event: Event | None, peaks: PeakArray, is_hit: bool) -> None:
        """Take an event and its peaks, of which it changes nothing; None for a miss whose frame is not here."""

    def unusable(self, event: str, reason: str) -> None:
        """Take note of an event that could not be used."""

    def indexed(self, chunk: Chunk) -> None:
        """Take note of a frame that the indexer has finished, with or without a crystal."""

    def state(self, numbers: Mapping[str, float | str]) -> None:
        """Take the run's own numbers by name: throughput, queues, lost frames, learned bad pixels, gain."""

    def close(self) -> None:
        """The run is over."""


@runtime_checkable
class DealtSource(Source, Protocol):
    """A source whose host deals out the events of a run to the ranks of a job, so that it has no length.

    done : time stamps (seconds, nanoseconds) of events that an earlier job has done and that are left out
    """

    done: frozenset[tuple[int, int]]


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


class RunFinder(Protocol):
    """Finds the peaks of a run's events: a PeakFinder, or one in another process."""

    @property
    def engine(self) -> str:
        """Where it runs."""

    def outcomes(
        self, items: Iterable[tuple[npt.ArrayLike, npt.NDArray[np.bool_] | None] | None], *, threads: int = 1
    ) -> Generator[PeakArray | ValueError, None, None]:
        """Peaks of (frame, mask) pairs in their order, or why a frame has none; None among them: no frame is at hand."""

    def mask_for(self, event_mask: npt.NDArray[np.bool_] | None, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Good pixels of an event."""

    def artifacts(self, frame: npt.ArrayLike, mask: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.bool_]:
        """Pixels of a frame whose light is no peak's and no smooth scatter."""

    def learned_state(self) -> LearnedState:
        """What was learned of the detector so far; between calls of outcomes."""

    def restore(self, state: LearnedState) -> None:
        """Go on from what an earlier finder has learned."""


class FrameFinder(Protocol):
    """A finder for frames of one mask, on the CPU."""

    def __call__(self, frame: npt.NDArray[Any], turn: Turn | None = None) -> PeakArray:
        """Peaks of one frame (panel, ss, fs): a PEAK array.

        turn : the event's place among those that other threads hold; a finder that learns waits for it
        """

    def clone(self) -> FrameFinder:
        """One that shares the plan but may run in another thread."""

    def with_good(self, good: GoodPixels) -> FrameFinder | None:
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

    def take_mask(self, cpu: FrameFinder) -> bool:
        """Search with the mask of another finder on the CPU from now on; False where a new BatchFinder is to be made."""


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
        self,
        find: Callable[[npt.NDArray[Any]], PeakArray],
        clone: Callable[[], FrameFinder] | None = None,
        with_good: Callable[[GoodPixels], FrameFinder] | None = None,
    ) -> None:
        self._find, self._clone, self._with_good = find, clone, with_good

    def __call__(self, frame: npt.NDArray[Any], turn: Turn | None = None) -> PeakArray:
        """Peaks of one frame."""
        return self._find(frame)

    def clone(self) -> FrameFinder:
        """One for another thread: itself, unless it has memory of its own."""
        return self if self._clone is None else self._clone()

    def with_good(self, good: GoodPixels) -> FrameFinder | None:
        """One for another mask; None, so that it is made anew, unless it has a plan to derive one from."""
        return None if self._with_good is None else self._with_good(good)
