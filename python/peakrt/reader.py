"""Reading back a CXI's peak tables, ours or anybody's in the same layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from .columns import N_PEAKS, PEAK_COLUMNS, RESULT

_X, _Y, _I, _SNR = (f"{RESULT}/{name}" for name in ("peakXPosRaw", "peakYPosRaw", "peakTotalIntensity", "peakSNR"))
assert {_X, _Y, _I, _SNR} <= {column.path for column in PEAK_COLUMNS}


@dataclass(frozen=True)
class SlabPeaks:
    """Peaks of one event in the slab of stacked panels: positions in pixels, an integer is a pixel's centre."""

    ss: npt.NDArray[np.float64]
    fs: npt.NDArray[np.float64]
    intensity: npt.NDArray[np.float64]
    snr: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ss)

    def only(self, which: npt.NDArray[np.bool_]) -> SlabPeaks:
        """Those that a mask keeps."""
        return SlabPeaks(self.ss[which], self.fs[which], self.intensity[which], self.snr[which])


def read_cxi_peaks(path: str | Path) -> list[SlabPeaks]:
    """Peaks of each row of a CXI file.

    Raises OSError if it cannot be opened, ValueError if it has no peak table.
    """
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except OSError as error:
        raise OSError(f"{path} is not a readable HDF5 file: {str(error).splitlines()[0]}") from error
    with file:
        missing = [name for name in (N_PEAKS, _X, _Y, _I) if name not in file]
        if missing:
            raise ValueError(f"{path} has no {missing[0]}: it is not a CXI with peaks")
        counts = file[N_PEAKS][:]
        columns = {name: file[name] for name in (_X, _Y, _I)}
        n_rows = min(len(counts), *(len(c) for c in columns.values()))
        rows = []
        for row in range(n_rows):
            n = int(counts[row])
            fs, ss, intensity = (columns[name][row, :n].astype(np.float64) for name in (_X, _Y, _I))
            snr = file[_SNR][row, :n].astype(np.float64) if _SNR in file else np.full(n, np.nan)
            rows.append(SlabPeaks(ss, fs, intensity, snr))
        return rows
