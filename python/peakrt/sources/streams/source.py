"""A stream as a source of events."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector
from peakrt_geometry.checks import CAMERA_LENGTH_M, PHOTON_ENERGY_eV

from ...event import Event
from ..open import convert
from ..readahead import PAUSE_S, read_ahead
from . import dectris, karabo, lclstreamer, om
from .arrangement import arrange, arrangement
from .compression import unpack
from .image_ids import ImageIds
from .receiver import Receiver, why_not_reached
from .records import End, Images, Packed, Record, Start, Wanted

log = logging.getLogger("peakrt")

Decoder = Callable[[Sequence[bytes], Wanted], list[Record]]


@dataclass(frozen=True)
class Format:
    """A kind of stream.

    asks : whether the sender wants to be asked for each message
    tail_s : how long messages may come after the end message, from other processes of the sender
    """

    decode: Decoder
    asks: bool = False
    tail_s: float = 0.0


FORMATS = {
    "dectris": Format(dectris.decode),
    "jungfraujoch": Format(dectris.decode),
    "lclstreamer": Format(lclstreamer.decode, tail_s=2.0),
    "karabo": Format(karabo.decode, asks=True),
    "om": Format(om.decode, asks=True),
}
#: How the format of an address without a name is told by a message, for those that push.
_TELLS = {"lclstreamer": lclstreamer.is_message, "dectris": dectris.is_message, "karabo": karabo.is_message}
#: Seconds without a usable message, after which a stream is taken to be over.
TIMEOUT_S = 60.0
#: Refused messages that are logged; further ones are only counted.
_MAX_LOGGED = 10
#: Events that are received and unpacked before the finder wants them.
_AHEAD = 3
#: Series whose ids are kept apart.
_MAX_SERIES = 8


@dataclass
class Counts:
    """What has come. refused : messages or frames that could not be used; lost : ids that never came; over : why it ended."""

    messages: int = 0
    frames: int = 0
    refused: int = 0
    first_refusal: str = ""
    repeated: int = 0
    lost: int = 0
    over: str = ""


class StreamSource:
    """Events of a stream, as they come; it has no length and cannot be read twice.

    address : tcp://HOST:PORT; form : of FORMATS, None to tell it by the first message
    detector : None takes it from the start message, which is waited for
    name : of the channel, source or dataset with the images, where there are several
    timeout_s : without a usable message for so long the stream is over
    stopped : asked every tenth of a second whether the user wants no more
    Raises ValueError for a stream that does not describe its detector, TimeoutError if nothing usable comes.
    """

    #: The stream reads ahead itself, and knows how to stop while it waits.
    read_ahead = False
    files: Sequence[Path] = ()

    def __init__(
        self,
        address: str,
        form: str | None = None,
        detector: Detector | None = None,
        *,
        name: str | None = None,
        timeout_s: float = TIMEOUT_S,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        if not 0 < timeout_s < 1e7:
            raise ValueError(f"a timeout of {timeout_s:g} s: expected seconds, more than 0")
        self.address, self._silence_s, self._stopped = address, timeout_s, stopped
        self._form = None if form is None else FORMATS[form]
        self._wanted = Wanted(name, detector)
        self.counts = Counts()
        self._closed = threading.Event()
        self._start: Start | None = None
        self._series: str | None = None
        self._ids: dict[str, ImageIds] = {}
        self._mask: npt.NDArray[np.bool_] | None = None
        self._deadline = self._came = 0.0  # _came : when the last message did
        self._receiver = Receiver(address, "REQ" if self._form is not None and self._form.asks else "PULL")
        self.dtype: np.dtype[Any] | None = None
        try:
            self._waiting = self._first_records(detector)
            self.detector = self._describe(detector)
        except BaseException:
            self.close()
            raise

    # Messages to records

    def _first_records(self, detector: Detector | None) -> list[Record]:
        """Wait until it is known what comes: for the start message, or for images where the detector is given."""
        for record in self._records():
            if isinstance(record, Start):
                self._start = record
                self.dtype = record.dtype
                return [record]
            if isinstance(record, Images) and detector is not None:
                self.dtype = record.frames[0].dtype.newbyteorder("=")
                return [record]
            if isinstance(record, Images) and not record.series:
                break  # there are no start messages where there are no series
            if isinstance(record, Images):
                self._refuse("images before their start message, which describes the detector: give a geometry with -g")
        if self.counts.over:
            raise TimeoutError(f"{self.address}: {self.counts.over}{self._why_nothing()}")
        raise ValueError(f"{self.address} does not describe its detector: give a CrystFEL geometry with -g")

    def _why_nothing(self) -> str:
        """What may be wrong where nothing usable came."""
        if self.counts.refused:
            return f"; of {self.counts.messages} messages the first was refused: {self.counts.first_refusal}"
        if self._stopped():
            return ""
        if (refusal := why_not_reached(self.address)) is not None:
            return f": {refusal}"
        return " (a Karabo bridge and OM want karabo+tcp:// and om+tcp://)" if self._form is None else ""

    def _describe(self, given: Detector | None) -> Detector:
        """The detector given, with what it leaves open from the start message; or that of the start message.

        Raises ValueError where there is neither, or the first images are of another shape than the detector given.
        """
        told = None if self._start is None else self._start.detector
        if given is None:
            if told is None:
                raise ValueError(
                    f"{self.address}: the start message does not describe the detector: give a geometry with -g"
                )
            return told
        sent = [packed.shape for record in self._waiting if isinstance(record, Images) for packed in record.frames]
        for shape in (*sent[:1], None if told is None else told.shape):
            if shape is not None:
                arrangement(shape, given.shape)  # the wrong geometry for all of the stream is an error, not lost images
        if told is not None:
            for what in ("camera_length", "photon_energy"):
                if getattr(given, what) is None:
                    given = replace(given, **{what: getattr(told, what)})
        return given

    def _records(self) -> Iterator[Record]:
        """What comes until the stream is silent for too long or nobody wants more; refused messages are counted."""
        self._deadline = time.monotonic() + self._silence_s
        while True:
            try:
                parts = self._receiver.receive(self._deadline, self._is_wanted)
                if parts is None:
                    break
                self._came = time.monotonic()
                self.counts.messages += 1
                found = self._decode(parts)
            except ValueError as error:
                self._refuse(str(error))
                if time.monotonic() > self._deadline:
                    break
                continue
            yield from found
            if found:  # counted from here, for what takes the records may have taken its time
                self._deadline = time.monotonic() + self._silence_s
        if not self.counts.over and self._stopped():
            self.counts.over = "stopped by the user"
        elif not self.counts.over and not self._closed.is_set():
            self.counts.over = f"nothing usable came for {self._silence_s:g} s (--timeout)"

    def _is_wanted(self) -> bool:
        return not self._closed.is_set() and not self._stopped()

    def _decode(self, parts: list[bytes]) -> list[Record]:
        if self._form is None:
            name = next((name for name, tells in _TELLS.items() if tells(parts)), None)
            if name is None:
                raise ValueError(f"a message of {len(parts)} parts that is none of {', '.join(_TELLS)}")
            self._form = FORMATS[name]
            log.info("%s sends the messages of %s", self.address, name)
        return self._form.decode(parts, self._wanted)

    def _refuse(self, why: str) -> None:
        self.counts.refused += 1
        self.counts.first_refusal = self.counts.first_refusal or why
        if self.counts.refused <= _MAX_LOGGED:
            last = "; further ones are counted only" if self.counts.refused == _MAX_LOGGED else ""
            log.warning("%s: left out %s%s", self.address, why, last)

    # Records to events

    def events(self, start: int = 0) -> Iterator[Event]:
        """Give the events that come.

        Raises ValueError for another start than 0, for what has passed is gone, and at the end if there was no event.
        """
        return (event for event in self.events_and_pauses(start) if event is not None)

    def events_and_pauses(self, start: int = 0) -> Iterator[Event | None]:
        """As events, with None wherever the sender pauses."""
        if start:
            raise ValueError(f"{self.address} is a stream: what has passed cannot be read again, nor a run be resumed")
        try:
            with closing(read_ahead(self._arriving(), depth=_AHEAD, pause_s=PAUSE_S)) as ahead:
                try:
                    # "yield from" would close ahead, which waits for its thread, before the finally below
                    for event in ahead:  # noqa: UP028
                        yield event
                finally:
                    self._closed.set()
        finally:
            self.close()
        if not self.counts.frames:
            raise ValueError(f"{self.address}: no image could be used; {'; '.join(self.report())}")

    def _arriving(self) -> Iterator[Event]:
        """Events until the stream is over."""
        waiting, self._waiting = self._waiting, []
        for record in chain(waiting, self._records()):
            if isinstance(record, Start):
                self._begin(record)
            elif isinstance(record, End):
                self._end(record)
                if self.counts.over and not self._silence_s:
                    return
            else:
                yield from self._take(record)

    def _begin(self, start: Start) -> None:
        """A series begins; the geometry of the run stays that of its first."""
        if self._start is not None and start.detector is not None and start.detector != self._start.detector:
            log.warning("series %s has another geometry than the one before, which the run keeps", start.series)
        self._start, self._series = start, start.series
        self._mask = None
        if start.mask is not None:
            try:
                self._mask = arrange(start.mask, self.detector.shape)[0]
            except ValueError as error:
                self._refuse(f"the pixel mask of series {start.series}: {error}")
        self._ids_of(start.series, start.first_id)

    def _end(self, end: End) -> None:
        if self._series is None or end.series not in ("", self._series):
            self._refuse(f"the end of series {end.series or '?'}, which has not begun")
            return
        self.counts.over = f"series {end.series} ended" if end.series else "the series ended"
        self._silence_s = 0.0 if self._form is None else self._form.tail_s
        self._deadline = time.monotonic() + self._silence_s

    def _ids_of(self, series: str, first: int | None = None) -> ImageIds:
        if series not in self._ids:
            while len(self._ids) >= _MAX_SERIES:
                self._ids.pop(next(iter(self._ids)))
            self._ids[series] = ImageIds(first)
        return self._ids[series]

    def _take(self, images: Images) -> Iterator[Event]:
        """Events of one message, each refused on its own where it cannot be used."""
        if images.series not in self._ids:  # its start message went elsewhere, or was before this program came
            log.info("images of series %s, whose start message did not come here", images.series or "without a number")
            self._series = images.series
        ids = self._ids_of(images.series)
        if images.id is not None:
            before, is_new = ids.lost, ids.is_new(images.id)
            self.counts.lost += ids.lost - before
            if not is_new:
                self.counts.repeated += 1
                return
        position = 0
        for packed in images.frames:
            try:
                frames = self._unpack(packed, images)
            except ValueError as error:
                self._refuse(str(error))
                position += 1
                continue
            for frame in frames:
                self.counts.frames += 1
                yield self._event(images, frame, position)
                position += 1

    def _unpack(self, packed: Packed, images: Images) -> list[npt.NDArray[Any]]:
        """Frames (panel, ss, fs) of the run's type; their shape is compared before they are unpacked."""
        shape = packed.shape or self.detector.shape
        how = arrangement(shape, self.detector.shape)
        frames = arrange(unpack(packed, shape), self.detector.shape, how)
        if self.dtype is None:
            self.dtype = frames[0].dtype
        if frames[0].dtype != self.dtype:
            frames = [convert(frame, self.dtype, f"series {images.series}") for frame in frames]
        return frames

    def _event(self, images: Images, frame: npt.NDArray[Any], position: int) -> Event:
        name = images.names[position] if position < len(images.names) else str(self.counts.frames - 1)
        energies = images.photon_energy_eV
        return Event(
            frame=frame,
            mask=self._mask_of(frame),
            file=self.address,
            arrived_s=self._came,
            name=name if "//" in name else f"{images.series}//{name}",
            camera_length_m=self._beam("camera_length", images.camera_length_m, CAMERA_LENGTH_M),
            photon_energy_eV=self._beam(
                "photon_energy", energies[position] if position < len(energies) else None, PHOTON_ENERGY_eV
            ),
            timestamp=images.timestamp,
        )

    def _beam(self, what: str, sent: float | None, bounds: tuple[float, float]) -> float | None:
        """A number of the geometry, else what came with the image, else with the start message."""
        told = None if self._start is None or self._start.detector is None else getattr(self._start.detector, what)
        for value in (getattr(self.detector, what), sent, told):
            if isinstance(value, int | float) and bounds[0] <= value <= bounds[1]:
                return float(value)
        return None

    def _mask_of(self, frame: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
        """Mask of the series: that of its start message, else pixels that hold NODATA in its first image."""
        if self._mask is None and self._start is not None and self._start.nodata is not None:
            self._mask = frame != self._start.nodata
            n_bad = int(np.count_nonzero(~self._mask))
            if n_bad:
                log.info("no pixel mask was sent: %d pixels without a number in the first image are bad", n_bad)
        return self._mask

    def as_record(self) -> dict[str, object]:
        """The counts for other programs."""
        return {"address": self.address, **asdict(self.counts)}

    def report(self) -> list[str]:
        """What there is to say of the stream once it is over, a line each."""
        counts = self.counts
        lines = [f"the stream is over: {counts.over}"] if counts.over else []
        if counts.lost:
            lines.append(f"{counts.lost} images did not come: dropped by the sender, or taken by another program")
        if counts.repeated:
            lines.append(f"{counts.repeated} images came again and were left out")
        if counts.refused:
            lines.append(f"{counts.refused} messages or frames were left out, the first: {counts.first_refusal}")
        return lines

    def close(self) -> None:
        """Leave the sender. Safe to call twice."""
        self._closed.set()
        self._receiver.close()

    def __enter__(self) -> StreamSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
