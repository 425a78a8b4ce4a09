"""The peak table: one numpy record a peak, all peaks of a batch in one array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: One peak; field for field the ``struct Peak`` of ``csrc/include/peakrt/peak.hpp``.
#: Positions are pixels within the panel, an integer is a pixel's centre; intensities are ADU.
PEAK = np.dtype(
    [
        ("panel", np.int32),
        ("ss", np.float32),  # centroid
        ("fs", np.float32),
        ("intensity", np.float32),  # sum above background
        ("max", np.float32),  # brightest pixel above background
        ("background", np.float32),
        ("noise", np.float32),
        ("snr", np.float32),
        ("npix", np.int32),
        ("top_ss", np.int32),  # the brightest pixel
        ("top_fs", np.int32),
        ("min_ss", np.int32),  # extent, both ends included
        ("max_ss", np.int32),
        ("min_fs", np.int32),
        ("max_fs", np.int32),
        ("var_ss", np.float32),  # second central moments, pixel^2
        ("var_fs", np.float32),
        ("cov", np.float32),
        ("score", np.float32),  # 0..1; NaN for classical finders
        ("err_ss", np.float32),  # standard errors of the centroid; NaN for classical finders
        ("err_fs", np.float32),
    ]
)

PeakArray = npt.NDArray[np.void]


@dataclass(frozen=True)
class PeakTable:
    """Peaks of a batch of events: ``peaks[offsets[i]:offsets[i + 1]]`` are event i's.

    peaks : (n,) PEAK
    offsets : (n_events + 1,) int64
    """

    peaks: PeakArray
    offsets: npt.NDArray[np.int64]

    @classmethod
    def from_events(cls, events: Sequence[PeakArray]) -> PeakTable:
        """Join one PEAK array per event."""
        offsets = np.zeros(len(events) + 1, np.int64)
        np.cumsum([len(peaks) for peaks in events], out=offsets[1:])
        peaks = np.concatenate(events) if events else np.empty(0, PEAK)
        return cls(peaks, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, event: int) -> PeakArray:
        if not 0 <= event < len(self):
            raise IndexError(f"event {event} of a table of {len(self)}")
        return self.peaks[self.offsets[event] : self.offsets[event + 1]]

    def __iter__(self) -> Iterator[PeakArray]:
        return (self[event] for event in range(len(self)))


def slab_ss(peaks: PeakArray, n_ss: int) -> npt.NDArray[np.float64]:
    """Slow-scan position in the Cheetah slab, where the panels of n_ss rows lie one under another."""
    return peaks["panel"] * float(n_ss) + peaks["ss"].astype(np.float64)
