"""PeakDiff: how two sets of peaks agree (seed: Wang et al. 2025, "PeakNet pipeline").

Assignment of least total distance, gated: only pairs within a distance may match, so that the problem falls apart
into small ones (connected components of a KD-tree's pairs), each solved exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from peakrt.cxi.reader import SlabPeaks, read_cxi_peaks
from peakrt.event import Event
from peakrt.finder import PeakFinder
from peakrt.peaks import PeakArray, slab_ss
from peakrt_geometry import Detector

from .lattice import Pattern
from .stream import Chunk, read_chunks
from .truth import Truth

Floats = npt.NDArray[np.float64]
PeakSets = dict[int, SlabPeaks]

#: Edges of the SNR classes in which recall is given.
SNR_EDGES = (0.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, np.inf)


def match(a: SlabPeaks, b: SlabPeaks, *, distance: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs of peaks of a and b no farther apart than distance (pixels): their numbers in a and in b.

    As many pairs as can be, and among those the least sum of distances. One peak is in one pair at most.
    """
    from scipy.optimize import linear_sum_assignment  # late: commands that compare nothing do without SciPy
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    none = np.empty(0, np.int64)
    if len(a) == 0 or len(b) == 0:
        return none, none
    near = cKDTree(np.c_[a.ss, a.fs]).sparse_distance_matrix(
        cKDTree(np.c_[b.ss, b.fs]), distance, output_type="coo_matrix"
    )
    if near.nnz == 0:
        return none, none
    n = len(a) + len(b)
    joined = coo_matrix((np.ones(near.nnz), (near.row, near.col + len(a))), (n, n))
    _, group = connected_components(joined, directed=False)
    order = np.argsort(group[near.row], kind="stable")
    rows, columns, lengths = near.row[order], near.col[order], near.data[order]
    starts = np.flatnonzero(np.r_[True, np.diff(group[rows]) != 0])
    found_a, found_b = [], []
    for start, end in zip(starts, np.r_[starts[1:], len(rows)], strict=True):
        in_a, at_a = np.unique(rows[start:end], return_inverse=True)
        in_b, at_b = np.unique(columns[start:end], return_inverse=True)
        # A pair out of reach costs more than any set of pairs in reach.
        cost = np.full((len(in_a), len(in_b)), (distance + 1) * (min(len(in_a), len(in_b)) + 1))
        cost[at_a, at_b] = lengths[start:end]
        i, j = linear_sum_assignment(cost)
        kept = cost[i, j] <= distance
        found_a.append(in_a[i[kept]])
        found_b.append(in_b[j[kept]])
    return np.concatenate(found_a).astype(np.int64), np.concatenate(found_b).astype(np.int64)


def near_any(found: SlabPeaks, truth: SlabPeaks, *, distance: float = 3.0) -> npt.NDArray[np.bool_]:
    """Whether each found peak has a true one, however faint, within a distance (pixels)."""
    from scipy.spatial import cKDTree

    if len(truth) == 0 or len(found) == 0:
        return np.zeros(len(found), bool)
    nearest, _ = cKDTree(np.c_[truth.ss, truth.fs]).query(np.c_[found.ss, found.fs])
    return np.asarray(nearest <= distance)


@dataclass
class Agreement:
    """Counts over events; b is measured against a (the reference, or the truth)."""

    distance: float
    events: int = 0
    reference: int = 0
    found: int = 0
    matched: int = 0
    offsets: list[Floats] = field(default_factory=list)  # (n, 2): found minus reference, ss and fs
    by_snr: dict[tuple[float, float], list[int]] = field(default_factory=dict)  # reference, matched
    blank_events: int = 0
    blank_found: int = 0

    @property
    def precision(self) -> float:
        """Share of found peaks that match one of the reference."""
        return self.matched / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        """Share of the reference's peaks that were found."""
        return self.matched / self.reference if self.reference else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.found + self.reference
        return 2 * self.matched / total if total else float("nan")

    def position_error(self) -> tuple[Floats, Floats]:
        """Mean and rms offset along ss and fs, pixels."""
        everything = np.concatenate([*self.offsets, np.empty((0, 2))])
        if not len(everything):
            return np.full(2, np.nan), np.full(2, np.nan)
        return everything.mean(0), np.sqrt((everything**2).mean(0))

    def lines(self) -> list[str]:
        """The report."""
        mean, rms = self.position_error()
        lines = [
            f"events             {self.events}",
            f"peaks              {self.reference} reference, {self.found} found, {self.matched} matched within {self.distance:g} px",
            f"precision, recall  {self.precision:.4f}, {self.recall:.4f}   F1 {self.f1:.4f}",
            f"position ss, fs    mean {mean[0]:+.3f}, {mean[1]:+.3f} px   rms {rms[0]:.3f}, {rms[1]:.3f} px",
        ]
        if self.blank_events:
            lines.append(
                f"blank events       {self.blank_events}, {self.blank_found / self.blank_events:.2f} false peaks each"
            )
        for (low, high), (n, hit) in sorted(self.by_snr.items()):
            if n:
                lines.append(f"recall at SNR      {low:g} to {high:g}: {hit / n:.3f} of {n}")
        return lines


def compare(
    reference: Mapping[int, SlabPeaks],
    found: Mapping[int, SlabPeaks],
    *,
    distance: float = 3.0,
    min_snr: float = 0.0,
    blank: Callable[[int], bool] | None = None,
) -> Agreement:
    """Compare two peak sets event by event; events that one of them lacks have no peaks there.

    min_snr : reference peaks below it may be found but need not be (with SNR known)
    blank : tells the events that hold no crystal
    """
    out = Agreement(distance)
    nothing = SlabPeaks(*(np.empty(0) for _ in range(4)))
    for event in sorted(set(reference) | set(found)):
        a, b = reference.get(event, nothing), found.get(event, nothing)
        i, j = match(a, b, distance=distance)
        known = np.isfinite(a.snr)
        counted = ~known | (a.snr >= min_snr)
        ignored = int((~counted[i]).sum())
        out.events += 1
        out.reference += int(counted.sum())
        out.found += len(b) - ignored
        out.matched += len(i) - ignored
        out.offsets.append(np.c_[b.ss[j] - a.ss[i], b.fs[j] - a.fs[i]])
        for low, high in zip(SNR_EDGES[:-1], SNR_EDGES[1:], strict=True):
            here = known & (a.snr >= low) & (a.snr < high)
            tally = out.by_snr.setdefault((low, high), [0, 0])
            tally[0] += int(here.sum())
            tally[1] += int(here[i].sum())
        if blank is not None and blank(event):
            out.blank_events += 1
            out.blank_found += len(b)
    return out


# Peak sets from wherever they are


def slab_peaks(peaks: PeakArray, n_ss: int) -> SlabPeaks:
    """PEAK array to slab positions."""
    return SlabPeaks(
        slab_ss(peaks, n_ss), peaks["fs"].astype(float), peaks["intensity"].astype(float), peaks["snr"].astype(float)
    )


def truth_sets(path: str | Path, detector: Detector) -> PeakSets:
    """True peaks of a simulated run."""
    truth = Truth(path)
    sets = {}
    for event in range(len(truth)):
        peaks = truth.event_peaks(event)
        ss = detector.to_slab(peaks["panel"], peaks["ss"])
        sets[event] = SlabPeaks(
            ss, peaks["fs"].astype(float), peaks["photons"].astype(float), peaks["snr"].astype(float)
        )
    return sets


def cxi_sets(path: str | Path) -> PeakSets:
    """Peaks of a CXI, by the number of the event in the run it was made from."""
    return dict(zip(cxi_numbers(path), read_cxi_peaks(path), strict=False))


def cxi_numbers(path: str | Path) -> list[int]:
    """For each row of a CXI the number of the event in the input of ``peakrt find``; else the row itself."""
    import h5py

    with h5py.File(path, "r") as file:
        if "/LCLS/eventNumber" in file:
            return [int(number) for number in file["/LCLS/eventNumber"][:]]
        n = len(file["/entry_1/result_1/nPeaks"]) if "/entry_1/result_1/nPeaks" in file else 0
        return list(range(n))


def stream_sets(path: str | Path, detector: Detector | None, *, predictions: bool) -> PeakSets:
    """Peaks of a stream, or the reflections predicted for its crystals."""
    if predictions:
        return {event: pattern.predicted for event, pattern in stream_patterns(path, detector).items()}
    return {
        event: SlabPeaks(_stream_slab(chunk.ss, chunk.panel, detector), chunk.fs, chunk.intensity, np.full(len(chunk.ss), np.nan))
        for event, chunk in _numbered(path)
    }  # fmt: skip


def stream_patterns(path: str | Path, detector: Detector | None) -> dict[int, Pattern]:
    """The crystals of each frame of a stream and the reflections predicted for them; without crystals both are empty."""
    patterns = {}
    for event, chunk in _numbered(path):
        ss = [_stream_slab(crystal.ss, crystal.panel, detector) for crystal in chunk.crystals]
        fs = np.concatenate([*(crystal.fs for crystal in chunk.crystals), np.empty(0)])
        unknown = np.full(len(fs), np.nan)
        patterns[event] = Pattern(
            SlabPeaks(np.concatenate([*ss, np.empty(0)]), fs, unknown, unknown), tuple(chunk.crystals)
        )
    return patterns


def _numbered(path: str | Path) -> Iterator[tuple[int, Chunk]]:
    """The chunks of a stream with the numbers of their events."""
    numbers: dict[str, list[int]] = {}
    for order, chunk in enumerate(read_chunks(path)):
        yield event_number(chunk, order, numbers), chunk


def event_number(chunk: Chunk, order: int, numbers: dict[str, list[int]]) -> int:
    """Number of a chunk's event in the original run: through the CXI's own list where it is one of ours."""
    if not chunk.event:
        return order
    if chunk.filename not in numbers:
        there = Path(chunk.filename).is_file()
        numbers[chunk.filename] = cxi_numbers(chunk.filename) if there else []
    rows = numbers[chunk.filename]
    return rows[chunk.number] if chunk.number < len(rows) else chunk.number


def _stream_slab(ss: Floats, panels: list[str], detector: Detector | None) -> Floats:
    """Positions of a stream are in the data array of their panel; stack the panels of the frame."""
    if detector is None or detector.shape[0] == 1:
        return ss
    panel_of = {panel.name: int(row[0]) for panel, row in zip(detector.panels, detector.asics, strict=True)}
    return ss + np.array([panel_of[name] for name in panels], float) * detector.shape[1]


def finder_sets(events: Iterable[Event], finder: PeakFinder) -> PeakSets:
    """Peaks that a finder gives for events, numbered as they come."""
    return {n: slab_peaks(finder(e.frame, e.mask), e.frame.shape[1]) for n, e in enumerate(events)}
