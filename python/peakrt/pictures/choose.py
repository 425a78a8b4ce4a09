"""What peakrt view draws: events with the peaks that are saved of them or found anew, and powders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from ..cxi.saved_peaks import SavedPeaks, has_peaks
from ..event import Event
from ..finder import PeakFinder
from ..sources import open_source
from .assemble import Canvas
from .draw import Picture, Positions

Mask = npt.NDArray[np.bool_]
NO_PEAKS: Positions = np.empty((0, 2))


def geometry_beside(inputs: Sequence[str]) -> Path | None:
    """The .geom that peakrt find wrote beside its CXI or list: the first input's name with another ending."""
    first = Path(inputs[0].removesuffix(".inprogress"))
    beside = first.with_suffix(".geom")
    return beside if first.suffix in (".cxi", ".h5", ".lst") and beside.is_file() else None


def check_images(inputs: Sequence[str]) -> None:
    """Raise ValueError for an input that holds peaks but not the frames that they were found in."""
    for path in inputs:
        if has_peaks(path):
            with SavedPeaks(path) as saved:
                if not saved.has_images:
                    raise ValueError(
                        f"{path} holds peaks without images: view the frames that were searched, with --peaks {path}; "
                        "or --powder"
                    )


def mark_mm(detector: Detector, panel: npt.ArrayLike, ss: npt.ArrayLike, fs: npt.ArrayLike) -> Positions:
    """Laboratory x and y in mm, (n, 2), of raw positions; those on no panel are left out."""
    x, y, _ = detector.lab_position_m(panel, ss, fs)
    both = np.stack([x, y], axis=-1) * 1e3
    return both[np.isfinite(both).all(axis=1)]


class EventPictures:
    """Makes the picture of an event. A context manager: it keeps files of peaks open.

    canvas : to draw on
    make_finder : called once an event needs its peaks found, because none are saved
    peaks : CXI file with the peaks to show; otherwise those that the event's own file holds
    anew : find peaks even where some are saved
    mask : (panel, ss, fs) or of its size, True = good, on top of what geometry and data say
    """

    def __init__(
        self,
        canvas: Canvas,
        make_finder: Callable[[], PeakFinder],
        *,
        peaks: str | None = None,
        anew: bool = False,
        mask: Mask | None = None,
    ) -> None:
        self._canvas, self._make_finder, self._anew = canvas, make_finder, anew
        self.detector = detector = canvas.detector
        self._known = detector.mask if mask is None else detector.mask & _fit(mask, detector)
        self._finder: PeakFinder | None = None
        self._stack = ExitStack()
        self._other = None if peaks is None else self._stack.enter_context(SavedPeaks(peaks))
        self._own: dict[str, SavedPeaks | None] = {}

    def __enter__(self) -> EventPictures:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def draw(self, event: Event, place: int) -> Picture:
        """Picture of an event, place in the input."""
        marks, origin = self._peaks(event, place)
        name = f"{Path(event.file).name} {event.name}".strip()
        return Picture(
            *self._canvas.assemble(event.frame, event.good(self._known)),
            f"{name}: {len(marks)} peaks{origin}",
            marks,
            event.camera_length_m,
            event.photon_energy_eV,
        )

    def _peaks(self, event: Event, place: int) -> tuple[Positions, str]:
        saved, row = self._saved(event, place)
        if saved is None:
            if self._finder is None:
                self._finder = self._make_finder()
            found = self._finder(event.frame, event.mask)
            return mark_mm(self.detector, found["panel"], found["ss"], found["fs"]), ""
        if row is None:
            return NO_PEAKS, f", no row in {saved.path.name}"
        return saved_mm(self.detector, saved, *saved.row(row)), "" if self._other is None else f" of {saved.path.name}"

    def _saved(self, event: Event, place: int) -> tuple[SavedPeaks | None, int | None]:
        """File with the peaks of an event, and their row; None, None where they are to be found."""
        if self._other is not None:
            return self._other, self._other.row_of(event, place)
        if self._anew:
            return None, None
        if event.file not in self._own:
            there = has_peaks(event.file)
            self._own[event.file] = self._stack.enter_context(SavedPeaks(event.file)) if there else None
        own = self._own[event.file]
        return own, None if own is None else own.row_of_own(event)

    def hits(self, events: Iterable[Event], wanted: int, min_peaks: int) -> list[Picture]:
        """Pictures of the first so many events with at least min_peaks peaks."""
        drawn = (self.draw(event, place) for place, event in enumerate(events))
        return list(islice((picture for picture in drawn if len(picture.peaks_mm) >= min_peaks), wanted))


def saved_mm(
    detector: Detector, saved: SavedPeaks, ss: npt.NDArray[np.float64], fs: npt.NDArray[np.float64]
) -> Positions:
    """Laboratory positions of peaks of a CXI. Raises ValueError if they are outside the detector's frames."""
    n_panel, n_ss, n_fs = detector.shape
    if len(ss) and not (ss.max() < n_panel * n_ss and fs.max() < n_fs):
        raise ValueError(
            f"{saved.path} has peaks at ss {ss.max():g}, fs {fs.max():g}, geometry {detector.name} has "
            f"{n_panel * n_ss} x {n_fs} pixels: are they of this detector?"
        )
    panel, ss_of_panel = detector.from_slab(ss)
    return mark_mm(detector, panel, ss_of_panel, fs)


def _fit(mask: Mask, detector: Detector) -> Mask:
    if mask.size != detector.mask.size:
        raise ValueError(f"mask has shape {mask.shape}, geometry {detector.name} needs {detector.shape}")
    return (mask != 0).reshape(detector.shape)


def powders(
    inputs: Sequence[str], canvas: Canvas, *, peaks: str | None, limit: int, mask: Mask | None = None
) -> list[Picture]:
    """Pictures of the powder patterns of files, or else of their events' maximum; and of where all peaks are.

    peaks : CXI file whose peaks are counted instead of those in the inputs
    limit : events that the maximum is taken of
    """
    detector = canvas.detector
    known = detector.mask if mask is None else detector.mask & _fit(mask, detector)
    with ExitStack() as stack:
        own = [stack.enter_context(SavedPeaks(path)) for path in inputs if has_peaks(path)]
        pictures = _saved_powders(canvas, own, known)
        if not pictures and (not own or own[0].has_images):
            pictures = [_maximum(open_source(list(inputs), detector).events(), canvas, limit, known)]
        counted = own if peaks is None else [stack.enter_context(SavedPeaks(peaks))]
        return pictures + ([_peak_powder(canvas, counted, known)] if counted else [])


def _maximum(events: Iterator[Event], canvas: Canvas, limit: int, known: Mask) -> Picture:
    """Picture of the maximum over the first events."""
    detector = canvas.detector
    powder, good, number = np.full(detector.shape, -np.inf, np.float32), np.zeros(detector.shape, bool), 0
    length, energy = _numbers(detector)
    for event in islice(events, limit):
        number += 1
        usable = event.good(known) & np.isfinite(event.frame)
        np.maximum(powder, event.frame, out=powder, where=usable)
        good |= usable
        length, energy = length or event.camera_length_m, energy or event.photon_energy_eV
    image, covered = canvas.assemble(powder, good)
    return Picture(image, covered, f"maximum of {number} events", NO_PEAKS, length, energy)


def _saved_powders(canvas: Canvas, files: Sequence[SavedPeaks], known: Mask) -> list[Picture]:
    """Pictures of the powder patterns that CXI files hold, of several files the maximum."""
    detector = canvas.detector
    joined: dict[str, npt.NDArray[np.float32]] = {}
    for file in files:
        for what, powder in file.powders().items():
            if powder.size != known.size:
                raise ValueError(
                    f"{file.path} has a powder of shape {powder.shape}, geometry {detector.name} needs {detector.shape}"
                )
            joined[what] = np.fmax(joined.get(what, powder), powder)
    length, energy = _numbers(detector)
    return [
        Picture(*canvas.assemble(array.reshape(detector.shape), known), f"maximum of {what}", NO_PEAKS, length, energy)
        for what, array in joined.items()
    ]


def _peak_powder(canvas: Canvas, files: Sequence[SavedPeaks], known: Mask) -> Picture:
    """Picture of the number of peaks in each place, all events together."""
    detector = canvas.detector
    marks = np.concatenate([saved_mm(detector, file, *file.all()) for file in files])
    usable, covered = canvas.assemble(np.zeros(detector.shape, np.float32), known)
    counts, bin_mm = canvas.count(marks)
    return Picture(
        usable + counts,
        covered,
        f"{len(marks)} peaks of {sum(len(file) for file in files)} events",
        NO_PEAKS,
        *_numbers(detector),
        unit=f"peaks in {bin_mm:.2g} mm x {bin_mm:.2g} mm",
    )


def _numbers(detector: Detector) -> tuple[float | None, float | None]:
    """Camera length and photon energy where the geometry has them as numbers."""
    both = (detector.camera_length, detector.photon_energy)
    length, energy = (float(value) if isinstance(value, int | float) else None for value in both)
    return length, energy
