"""The CXI's datasets, once: creation, growth, filling, reading and the documentation walk this table.

Paths, names and meanings are those of LUTE and btx (LCLS); CrystFEL reads nPeaks, peakXPosRaw, peakYPosRaw and
peakTotalIntensity. X is fs, Y is ss in the slab of stacked panels, counted from 0, an integer is a pixel's centre.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..event import Event
from ..peaks import PeakArray, slab_ss

#: Bounds of HDF5's file format, for every file we write: what HDF5 1.10 and all later ones read. CrystFEL, OM, DIALS and
#: psana stand on HDF5 1.10 to 1.14, which cannot open the layouts that "latest" means to HDF5 2.0.
FILE_FORMAT = ("v110", "v110")

RESULT = "/entry_1/result_1"
DATA = "/entry_1/data_1/data"
MASK = "/entry_1/data_1/mask"
ARTIFACTS = "/entry_1/data_1/artifacts"
POWDER_HITS = "/entry_1/data_1/powderHits"
POWDER_MISSES = "/entry_1/data_1/powderMisses"
CAMERA_LENGTH = "/LCLS/detector_1/EncoderValue"
PHOTON_ENERGY = "/LCLS/photon_energy_eV"
PROVENANCE = "/peakrt"
PROGRESS = "/peakrt/events_done"
GAIN = "/peakrt/gain"
BAD_PIXELS = "/peakrt/bad_pixels"
SOURCE = "/peakrt/source"
#: Events that could not be used, and why.
UNUSABLE, UNUSABLE_REASON = "/peakrt/unusable_events", "/peakrt/unusable_reasons"
#: What the finder had learned after events_done events, twice: a process that is killed while one copy is written leaves
#: the other. Each copy's row of LEARNED is events_done, frames counted and gain; its LEARNED_PIXELS are the counted pixels.
LEARNED = "/peakrt/learned/state"
#: LEARNED_CURVE is what the frames so far say of the gain while it is not known.
LEARNED_PIXELS = ("/peakrt/learned/pixels_0", "/peakrt/learned/pixels_1")
LEARNED_CURVE = ("/peakrt/learned/gain_curve_0", "/peakrt/learned/gain_curve_1")


@dataclass(frozen=True)
class PeakColumn:
    """A (N, max_peaks) dataset: one row an event, one column a peak."""

    path: str
    dtype: type
    value: Callable[[PeakArray, int], npt.NDArray[Any]]
    meaning: str


@dataclass(frozen=True)
class EventColumn:
    """A (N,) dataset: one number an event. value is given the event, its peaks and its place in the input."""

    path: str
    dtype: type
    value: Callable[[Event, PeakArray, int], Any]
    meaning: str


def _radius(peaks: PeakArray, n_ss: int) -> npt.NDArray[Any]:
    return np.sqrt(peaks["npix"] / np.pi)


PEAK_COLUMNS = (
    PeakColumn(f"{RESULT}/peakXPosRaw", np.float32, lambda p, n: p["fs"], "fs of the centroid"),
    PeakColumn(f"{RESULT}/peakYPosRaw", np.float32, slab_ss, "ss of the centroid in the slab"),
    PeakColumn(f"{RESULT}/rcent", np.float32, lambda p, n: p["ss"], "ss of the centroid in its panel"),
    PeakColumn(f"{RESULT}/ccent", np.float32, lambda p, n: p["fs"], "fs of the centroid in its panel"),
    PeakColumn(f"{RESULT}/rmin", np.float32, lambda p, n: p["min_ss"], "lowest ss in its panel"),
    PeakColumn(f"{RESULT}/rmax", np.float32, lambda p, n: p["max_ss"], "highest ss in its panel"),
    PeakColumn(f"{RESULT}/cmin", np.float32, lambda p, n: p["min_fs"], "lowest fs"),
    PeakColumn(f"{RESULT}/cmax", np.float32, lambda p, n: p["max_fs"], "highest fs"),
    PeakColumn(f"{RESULT}/peakTotalIntensity", np.float32, lambda p, n: p["intensity"], "sum above background, ADU"),
    PeakColumn(f"{RESULT}/peakMaxIntensity", np.float32, lambda p, n: p["max"], "maximum above background, ADU"),
    PeakColumn(f"{RESULT}/peakRadius", np.float32, _radius, "radius of a disc of as many pixels"),
    PeakColumn(f"{RESULT}/peakNPixels", np.float32, lambda p, n: p["npix"], "pixels"),
    PeakColumn(f"{RESULT}/peakSNR", np.float32, lambda p, n: p["snr"], "signal over noise"),
    PeakColumn(f"{RESULT}/peakBackground", np.float32, lambda p, n: p["background"], "background, ADU a pixel"),
    PeakColumn(
        f"{RESULT}/peakXPosErr", np.float32, lambda p, n: p["err_fs"], "standard error of fs; NaN for classical finders"
    ),
    PeakColumn(
        f"{RESULT}/peakYPosErr", np.float32, lambda p, n: p["err_ss"], "standard error of ss; NaN for classical finders"
    ),
    PeakColumn(f"{RESULT}/peakScore", np.float32, lambda p, n: p["score"], "probability; NaN for classical finders"),
)

EVENT_COLUMNS = (
    EventColumn("/LCLS/eventNumber", np.int64, lambda e, p, i: i, "place of the event in the input"),
    EventColumn("/LCLS/machineTime", np.int64, lambda e, p, i: e.timestamp[0], "seconds"),
    EventColumn("/LCLS/machineTimeNanoSeconds", np.int64, lambda e, p, i: e.timestamp[1], "nanoseconds"),
    EventColumn("/LCLS/fiducial", np.int64, lambda e, p, i: e.timestamp[2], "pulse"),
    EventColumn(PHOTON_ENERGY, np.float64, lambda e, p, i: _or_nan(e.photon_energy_eV), "photon energy, eV"),
    EventColumn(
        CAMERA_LENGTH,
        np.float64,
        lambda e, p, i: _or_nan(e.camera_length_m) * 1e3,
        "camera length, mm, without coffset",
    ),
    EventColumn(f"{RESULT}/nPeaksFound", np.int32, lambda e, p, i: len(p), "peaks found, before the columns ran out"),
)

#: Probabilities of each event, in the order in which of_peaks gives them: path and meaning, all (N,) float32.
SCREENING_COLUMNS = {
    f"{RESULT}/probabilityHit": "of 10 or more visible peaks",
    f"{RESULT}/probabilityMaybe": "of 4 to 9 visible peaks",
    f"{RESULT}/probabilityMiss": "of fewer visible peaks",
    f"{RESULT}/probabilityIndexable": "that an indexer finds the lattice",
}

#: Written last: a row counts once its number of peaks stands.
N_PEAKS = f"{RESULT}/nPeaks"


#: Attributes of N_PEAKS: what makes a row a hit.
MIN_PEAKS, MIN_INDEXABLE = "minPeaks", "minIndexable"


def hit_rows(file: h5py.File) -> npt.NDArray[np.bool_]:
    """Whether each row of a CXI of ours is a hit, by the attributes of its N_PEAKS."""
    counts, indexable = file[N_PEAKS], tuple(SCREENING_COLUMNS)[-1]
    hits = counts[:] >= counts.attrs[MIN_PEAKS]
    least = np.float32(counts.attrs.get(MIN_INDEXABLE, 0))
    if least > 0:
        hits &= file[indexable][: len(hits)] >= least
    return np.asarray(hits)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
