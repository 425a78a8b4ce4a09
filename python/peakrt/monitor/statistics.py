"""What a run has told so far, in bounded memory: the one source of the monitor's panels and of the report's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from ..peaks import PEAK
from ..pictures.assemble import Image
from ..stream_file import Chunk
from .cells import Cells, nearest_pixels
from .history import History
from .optics import Optics, RadialSample

Floats = npt.NDArray[np.float64]
Cell = tuple[float, float, float, float, float, float]
#: Bins: of a hit's resolution, of the radial profile, of the peakogram along the radius and a decade of intensity.
RESOLUTION_BINS, RADIAL_BINS, PEAKOGRAM_BINS, BINS_A_DECADE = 64, 160, 80, 10
#: Decades of ADU that the peakogram spans.
DECADES = (-1, 7)
#: Times of the radial profile's history: as many lines as its picture has.
PROFILES = 240
#: Numbers of peaks that are told apart; an event with more counts as one with so many.
MOST_PEAKS = 4096
#: Crystals that the cells' histograms are of, the newest.
CRYSTALS = 5000
#: The share of a hit's peaks that lie within its resolution: the outermost few may be noise.
WITHIN = 0.9
#: A cell's axes differ from the others' median by less than this share, or it counts in no mean: it is another lattice.
SAME_LATTICE = 0.05
#: Seconds of a bin, at the beginning: at 120 Hz a hit rate has then an error of 3 %.
WIDTH_s = 2.0
#: Bins of the recent history: the last 20 minutes.
RECENT_BINS = 600
#: Names of a run's own numbers that are kept over time; further ones are only shown.
MOST_NUMBERS = 32
_LONGEST_TEXT, _LONGEST_NAME = 200, 60
AXES = ("a", "b", "c", "alpha", "beta", "gamma")
_COLUMNS = {
    **dict.fromkeys(("events", "hits", "unusable", "peaks", "saturated"), 1),
    **dict.fromkeys(("background_hits", "background_misses", "misses_measured", "hits_measured"), 1),
    **dict.fromkeys(("chunks", "indexed", "several", "crystals", "cells", *AXES), 1),
    **dict.fromkeys(("shifts", "shift_x", "shift_y", "energies", "energy"), 1),
    "resolution": RESOLUTION_BINS,
}
COUNTS = ("events", "hits", "peaks", "unusable", "saturated", "chunks", "indexed", "several", "crystals", "unseen")
PICTURES = ("hit", "powder_hits", "powder_misses", "powder_peaks")


@dataclass(frozen=True)
class Setting:
    """What is known of a run before its first event.

    axis : "time", seconds since 1970, or "event", numbers, along which everything is told
    min_peaks : of a hit; cell : that the crystals should have, A and degrees, None where it is not known
    good : (panel, ss, fs), the mask in force but for the events' own; None: the geometry's
    width : of the first bins, seconds or events
    """

    detector: Detector
    title: str = ""
    axis: str = "time"
    min_peaks: int = 15
    cell: Cell | None = None
    good: npt.NDArray[np.bool_] | None = None
    width: float = WIDTH_s


@dataclass
class Powder:
    """Brightest value of each cell over some frames. image : None before the first; whole : it is of all frames"""

    frames: int = 0
    image: Image | None = None
    whole: bool = False

    def add(self, image: Image) -> None:
        """Take one more frame."""
        self.frames += 1
        self.image = image.copy() if self.image is None else np.fmax(self.image, image)

    def take_whole(self, image: Image) -> None:
        """Take a powder that is of all frames of the run already."""
        self.image, self.whole = image, True


@dataclass(frozen=True)
class Hit:
    """The newest hit that was shown. image : its cells; peaks : PEAK"""

    image: Image
    peaks: npt.NDArray[np.void]
    name: str
    at: float


@dataclass
class Newest:
    """The last values of a row of numbers. values : (most, columns), n : how many there were"""

    values: Floats
    n: int = 0

    def add(self, rows: Floats) -> None:
        """Take more rows, the newest last."""
        most = len(self.values)
        kept = rows[-most:]
        self.values[(self.n + len(rows) - len(kept) + np.arange(len(kept))) % most] = kept
        self.n += len(rows)

    @property
    def rows(self) -> Floats:
        """Those that are kept, in no order."""
        return self.values[: min(self.n, len(self.values))]


@dataclass
class Number:
    """One of the run's own numbers over time."""

    whole: History
    recent: History

    @classmethod
    def of_width(cls, whole: float, recent: float) -> Number:
        """One without a value yet; the widths of the bins."""
        columns = {"value": 1, "times": 1}
        return cls(History(columns, width=whole), History(columns, width=recent, most=RECENT_BINS, forget=True))


@dataclass
class RunStatistics:
    """Takes what a run tells; see :mod:`peakrt.monitor.panels` for what is made of it.

    versions : of each picture, changed when it has
    """

    setting: Setting
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    numbers: dict[str, float | str] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PICTURES, 0))

    def __post_init__(self) -> None:
        detector = self.setting.detector
        width = self.setting.width
        self.whole = History(_COLUMNS, width=width)
        self.recent = History(_COLUMNS, width=width, most=RECENT_BINS, forget=True)
        self.profiles = History({"profile": RADIAL_BINS, "frames": 1}, width=width, most=PROFILES)
        self.number_history: dict[str, Number] = {}
        self.peaks_a_frame = np.zeros(MOST_PEAKS + 1, np.int64)
        self.peakogram = np.zeros((BINS_A_DECADE * (DECADES[1] - DECADES[0]), PEAKOGRAM_BINS), np.int64)
        self.cells_seen = Newest(np.zeros((CRYSTALS, 6)))
        self.shifts_seen = Newest(np.zeros((CRYSTALS, 2)))
        self.powder_hits, self.powder_misses = Powder(), Powder()
        self.hit: Hit | None = None
        self.hit_is = "Newest hit"
        self.last_profile: dict[str, Floats] = {}
        self.unusable_reason = ""
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.last_hit_event = 0  # events when the last hit came
        self.good = detector.mask if self.setting.good is None else self.setting.good
        self.saturation_ADU = _saturation(detector)
        self.photon_energy_eV: float | None = None
        self._cells: Cells | None = None
        self._optics: Optics | None = None
        self._sample: RadialSample | None = None
        self.powder_of_peaks: Floats | None = None

    # What the run is like, known from its first event on

    def look(self, camera_length_m: float | None, photon_energy_eV: float | None) -> None:
        """Take what an event says of the beam; the first one settles the radial coordinate."""
        if self._optics is None:
            self._optics = Optics(self.setting.detector, camera_length_m, photon_energy_eV)
        if photon_energy_eV is not None:
            self.photon_energy_eV = photon_energy_eV

    @property
    def optics(self) -> Optics:
        """The radial coordinate."""
        if self._optics is None:
            self._optics = Optics(self.setting.detector, None, None)
        return self._optics

    @property
    def picture_cells(self) -> Cells:
        """The cells of the pictures."""
        if self._cells is None:
            self._cells = Cells(self.setting.detector)
        return self._cells

    # Events

    def events(
        self,
        at: Floats,
        n_peaks: npt.NDArray[np.integer[Any]],
        is_hit: npt.NDArray[np.bool_],
        peaks: npt.NDArray[np.void],
        told: npt.NDArray[np.integer[Any]],
    ) -> None:
        """Take events.

        at, n_peaks, is_hit : (n,); peaks : PEAK, those of all events in their order; told : (n,) how many of them are an
        event's, fewer than n_peaks where there were too many to tell
        Raises ValueError for numbers that do not belong together.
        """
        if told.sum() != len(peaks) or (told < 0).any() or (n_peaks < 0).any():
            raise ValueError("the peaks are not those of the events")
        if not len(at):
            return
        hits = np.asarray(is_hit, bool)
        self._add(at, {"events": 1, "hits": hits, "peaks": np.where(hits, n_peaks, 0)})
        if hits.any():
            self.last_hit_event = self.counts["events"] + int(np.flatnonzero(hits)[-1]) + 1
        self.counts["events"] += len(at)
        self.counts["hits"] += int(hits.sum())
        self.counts["peaks"] += int(n_peaks[hits].sum())
        self.peaks_a_frame += np.bincount(np.minimum(n_peaks, MOST_PEAKS), minlength=MOST_PEAKS + 1)
        if len(peaks):
            self._peaks(at, hits, peaks, told)

    def _peaks(
        self,
        at: Floats,
        hits: npt.NDArray[np.bool_],
        peaks: npt.NDArray[np.void],
        told: npt.NDArray[np.integer[Any]],
    ) -> None:
        event = np.repeat(np.arange(len(at)), told)
        coordinate = self.optics.coordinate[nearest_pixels(peaks, self.optics.coordinate.shape)].astype(np.float64)
        of_hits = hits[event]
        top = peaks["max"] + np.nan_to_num(peaks["background"])
        self._count_peaks(peaks[of_hits], coordinate[of_hits], top[of_hits])
        with_peaks = np.flatnonzero(hits & (told > 0))
        if not len(with_peaks):
            return
        limits = _percentile_in_groups(coordinate, event, told, WITHIN)[with_peaks]
        rows = np.zeros((len(with_peaks), RESOLUTION_BINS))
        bins = np.digitize(limits, self.optics.edges(RESOLUTION_BINS)) - 1
        rows[np.arange(len(rows)), np.clip(bins, 0, RESOLUTION_BINS - 1)] = 1
        background = _percentile_in_groups(peaks["background"].astype(np.float64), event, told, 0.5)[with_peaks]
        measured = np.isfinite(background)
        values: dict[str, npt.ArrayLike] = {
            "resolution": rows, "background_hits": np.where(measured, background, 0), "hits_measured": measured,
        }  # fmt: skip
        if self.saturation_ADU is not None:
            full = np.bincount(event, top >= self.saturation_ADU, len(at))[with_peaks] > 0
            values["saturated"] = full
            self.counts["saturated"] += int(full.sum())
        self._add(at[with_peaks], values)

    def _count_peaks(self, peaks: npt.NDArray[np.void], coordinate: Floats, top: npt.NDArray[np.floating[Any]]) -> None:
        """Add the peaks of hits to the peakogram and to the powder of peaks."""
        with np.errstate(invalid="ignore", divide="ignore"):
            height = np.floor((np.log10(top) - DECADES[0]) * BINS_A_DECADE)
        known = np.isfinite(height)
        row = np.clip(height[known], 0, len(self.peakogram) - 1).astype(np.int64)
        column = np.clip(coordinate[known] / self.optics.farthest * PEAKOGRAM_BINS, 0, PEAKOGRAM_BINS - 1)
        flat = row * PEAKOGRAM_BINS + column.astype(np.int64)
        self.peakogram += np.bincount(flat, minlength=self.peakogram.size).reshape(self.peakogram.shape)
        counted = self.picture_cells.counts(self.picture_cells.of_peaks(peaks))
        self.powder_of_peaks = counted if self.powder_of_peaks is None else self.powder_of_peaks + counted
        self.versions["powder_peaks"] += 1

    def misses_without_peaks(self, at: Floats) -> None:
        """Take misses of which only their times or numbers are known."""
        if len(at):
            self._add(at, {"events": 1})
            self.counts["events"] += len(at)

    def unusable(self, at: float, n: int, reason: str) -> None:
        """Take note of events that could not be used, and of the last one's reason."""
        self.counts["unusable"] += n
        self.unusable_reason = reason[:_LONGEST_TEXT]
        self._add(np.array([at]), {"unusable": n})

    def unseen(self, n: int) -> None:
        """Take note of events that the run had no time to tell of; they are in its output all the same."""
        self.counts["unseen"] += n

    def frame(
        self,
        at: float,
        frame: npt.NDArray[Any],
        is_hit: bool,
        *,
        mask: npt.NDArray[np.bool_] | None = None,
        peaks: npt.NDArray[np.void] | None = None,
        name: str = "",
    ) -> None:
        """Take a whole frame (panel, ss, fs), which is shown and measured. mask : the event's own; peaks : PEAK"""
        if frame.shape != self.good.shape:
            raise ValueError(f"a frame has shape {frame.shape}, the geometry needs {self.good.shape}")
        good = self.good if mask is None else self.good & mask
        image = self.picture_cells.assemble(frame, good)
        kind, powder = ("hits", self.powder_hits) if is_hit else ("misses", self.powder_misses)
        powder.add(image)
        self.versions[f"powder_{kind}"] += 1
        if is_hit:
            self.hit = Hit(image, np.zeros(0, PEAK) if peaks is None else peaks, name, at)
            self.versions["hit"] += 1
        if self._sample is None:
            self._sample = RadialSample(self.optics.coordinate, self.good, self.optics.edges(RADIAL_BINS))
        profile = self._sample.profile(frame, good)
        self.last_profile[kind] = profile
        known = np.nan_to_num(profile)
        self.profiles.add([at], {"profile": known[None], "frames": 1})
        if not is_hit:
            weights = np.where(np.isfinite(profile), self._sample.weights, 0)
            level = float((known * weights).sum() / max(weights.sum(), 1))
            self._add(np.array([at]), {"background_misses": level, "misses_measured": 1})

    # Indexing

    def chunks(self, at: npt.ArrayLike, chunks: Sequence[Chunk]) -> None:
        """Take frames that the indexer has finished; at : (n,) or one for all."""
        if not chunks:
            return
        times = np.broadcast_to(np.asarray(at, np.float64), len(chunks))
        n = np.array([len(chunk.crystals) for chunk in chunks])
        indexed = np.array([chunk.indexed_by is not None for chunk in chunks])
        self._add(times, {"chunks": 1, "indexed": indexed, "several": n > 1, "crystals": n})
        for name, value in (("chunks", len(chunks)), ("indexed", indexed.sum()), ("several", (n > 1).sum()), ("crystals", n.sum())):  # fmt: skip
            self.counts[name] += int(value)
        crystals = [(t, crystal) for t, chunk in zip(times, chunks, strict=True) for crystal in chunk.crystals]
        if not crystals:
            return
        cells = np.array([crystal.cell for _, crystal in crystals])
        self.cells_seen.add(cells)
        middle = np.median(self.cells_seen.rows, axis=0)
        same = (np.abs(cells / middle - 1) < SAME_LATTICE).all(axis=1)
        if same.any():
            when = np.array([t for t, _ in crystals])[same]
            self._add(when, {"cells": 1, **dict(zip(AXES, cells[same].T, strict=True))})
        shifts = [(t, *crystal.det_shift_mm) for t, crystal in crystals if crystal.det_shift_mm is not None]
        if shifts:
            table = np.array(shifts)
            self.shifts_seen.add(table[:, 1:])
            self._add(table[:, 0], {"shifts": 1, "shift_x": table[:, 1], "shift_y": table[:, 2]})

    # The run's own numbers

    def state(self, at: float, numbers: Mapping[str, float | str]) -> None:
        """Take the run's own numbers and words by name."""
        for given, value in numbers.items():
            name = re.sub(r"\W", "_", given, flags=re.ASCII)[:_LONGEST_NAME]
            if isinstance(value, str):
                if name in self.numbers or len(self.numbers) < 2 * MOST_NUMBERS:
                    self.numbers[name] = value[:_LONGEST_TEXT]
                continue
            if not np.isfinite(value):
                continue
            if name not in self.number_history:
                if len(self.number_history) == MOST_NUMBERS:
                    continue
                self.number_history[name] = Number.of_width(self.whole.width, self.recent.width)
            self.numbers[name] = float(value)
            for history in (self.number_history[name].whole, self.number_history[name].recent):
                history.add([at], {"value": float(value), "times": 1})

    def energy(self, at: float, photon_energy_eV: float) -> None:
        """Take an event's photon energy."""
        self.photon_energy_eV = photon_energy_eV
        self._add(np.array([at]), {"energy": photon_energy_eV, "energies": 1})

    def _add(self, at: Floats, values: Mapping[str, npt.ArrayLike]) -> None:
        self.first_at = float(at.min()) if self.first_at is None else min(self.first_at, float(at.min()))
        self.last_at = float(at.max()) if self.last_at is None else max(self.last_at, float(at.max()))
        self.whole.add(at, values)
        self.recent.add(at, values)


def _percentile_in_groups(
    values: Floats, group: npt.NDArray[np.intp], sizes: npt.NDArray[np.integer[Any]], share: float
) -> Floats:
    """Value of each group that a share of its values do not exceed, NaN for an empty group: (groups,).

    group : of each value, rising; sizes : of the groups
    """
    ordered = values[np.lexsort((values, group))]
    first = np.cumsum(sizes) - sizes
    at = first + np.maximum(np.ceil(share * sizes).astype(np.int64) - 1, 0)
    return np.where(sizes > 0, ordered[np.minimum(at, len(ordered) - 1)], np.nan)


def _saturation(detector: Detector) -> float | None:
    """The lowest max_adu of the geometry: CrystFEL's word for where a pixel is full."""
    found = [detector.settings.get("max_adu"), *(panel.settings.get("max_adu") for panel in detector.panels)]
    values = [float(text) for text in found if text is not None]
    known = [value for value in values if np.isfinite(value) and value > 0]
    return min(known, default=None)
