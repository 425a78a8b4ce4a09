"""Hits of a finished CXI, to be handed out once more: a broker that dies takes those that it held with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np

from ..cxi.columns import CAMERA_LENGTH, DATA, MASK, N_PEAKS, PHOTON_ENERGY, RESULT, SOURCE, hit_rows
from .hits import Beam, Hit, clean

#: How the positions and intensities of a hit's peaks are called.
_PEAKS = tuple(f"{RESULT}/{name}" for name in ("peakYPosRaw", "peakXPosRaw", "peakTotalIntensity"))


def hits_of_cxi(path: Path, numbers: Iterable[int], shape: tuple[int, int, int], beam: Beam) -> Iterator[Hit]:
    """Hits of a CXI that a run has written, as the run handed them out; none where it has no images.

    numbers : count the hits from 1; shape : (panel, ss, fs) of the frames
    The mask is the file's, which is that of the first event.
    """
    with h5py.File(path, "r") as file:
        if DATA not in file:
            return
        rows = np.flatnonzero(hit_rows(file))
        mask = np.packbits(file[MASK][()] == 0)
        for number in numbers:
            if not 0 < number <= len(rows):
                continue
            row = int(rows[number - 1])
            n_peaks = int(file[N_PEAKS][row])
            energy = beam.photon_energy_eV or float(file[PHOTON_ENERGY][row])
            length = beam.camera_length_m or 1e-3 * float(file[CAMERA_LENGTH][row])
            if not np.isfinite([energy, length]).all():
                continue
            peaks = np.stack([file[name][row, :n_peaks] for name in _PEAKS]).astype(np.float32)
            frame = np.ascontiguousarray(file[DATA][row]).reshape(shape)
            yield Hit(number, clean(file[SOURCE][row].decode(errors="replace")), frame, mask, peaks, energy, length)
