"""psana's v3r3 on a block of frames: read with h5py, found by psana's compiled finder panel by panel, hits written with h5py.

    python psana_job.py JOB.json        keys: frames, mask, planes, output, options, min_peaks, max_peaks

A program of its own, without PeakRT, for any Python with psana (``pip install --no-deps psana==4.3.4`` is enough).
"""

from __future__ import annotations

import glob
import importlib.util
import json
import sys
import types
from typing import Any

import h5py
import numpy as np

DATA, RESULT = "/entry_1/data_1/data", "/entry_1/result_1"


def psana_finder() -> Any:
    """The compiled finders of psana, without the start-up of the package, which wants MPI."""
    spec = importlib.util.find_spec("psana")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("psana is not installed (pip install --no-deps psana==4.3.4)")
    package = types.ModuleType("psana")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["psana"] = package
    (library,) = glob.glob(f"{package.__path__[0]}/psalg_ext*.so")
    inner = importlib.util.spec_from_file_location("psana.psalg_ext", library)
    assert inner is not None
    assert inner.loader is not None
    module = importlib.util.module_from_spec(inner)
    inner.loader.exec_module(module)
    return module


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    options = job["options"]
    algorithms = psana_finder().peak_finder_algos(seg=0, pbits=0)
    algorithms.set_peak_selection_parameters(
        options["npix_min"], options["npix_max"], options["amax_thr"], options["atot_thr"], options["son_min"]
    )
    with h5py.File(job["mask"], "r") as file:
        mask = np.ascontiguousarray(file["good"][()].reshape(job["planes"]), np.uint16)
    with h5py.File(job["frames"], "r") as source, h5py.File(job["output"], "w") as out:
        frames = source[DATA]
        slab, wide = frames.shape[1:], job["max_peaks"]
        images = out.create_dataset(DATA, (0, *slab), frames.dtype, maxshape=(None, *slab), chunks=(1, *slab))
        names = ("peakXPosRaw", "peakYPosRaw", "peakTotalIntensity")
        columns = [
            out.create_dataset(f"{RESULT}/{n}", (0, wide), "f4", maxshape=(None, wide), chunks=(1, wide)) for n in names
        ]
        counts, events = [], []
        for number in range(len(frames)):
            frame = frames[number]
            panels = frame.reshape(job["planes"])
            peaks = np.array(
                [
                    (p[7], p[6] + panel * panels.shape[1], p[5])  # col_cgrav, row_cgrav, amp_tot
                    for panel in range(len(panels))
                    for p in (
                        peak.parameters()
                        for peak in algorithms.peak_finder_v3r3_d2(
                            panels[panel], mask[panel], options["rank"], options["r0"], options["dr"], options["nsigm"]
                        )
                    )
                ]
            ).reshape(-1, 3)
            if len(peaks) < job["min_peaks"]:
                continue
            peaks = peaks[np.argsort(-peaks[:, 2], kind="stable")[:wide]]
            row = len(counts)
            for dataset in (images, *columns):
                dataset.resize(row + 1, axis=0)
            images[row] = frame
            for dataset, values in zip(columns, peaks.T, strict=True):
                dataset[row, : len(values)] = values
            counts.append(len(peaks))
            events.append(number)
        out[f"{RESULT}/nPeaks"] = np.array(counts, np.int32)
        out["/LCLS/eventNumber"] = np.array(events, np.int64)


if __name__ == "__main__":
    main()
