"""Fits P(indexable) of peakrt screen on simulated runs that indexamajig has indexed, and judges it on detectors left out.

    python benchmarks/indexable.py FOLDER [-n EVENTS] [-j PROCESSES]

Needs CrystFEL. Each run is weak crystals of one cell on one detector, so that about half can be indexed. A frame counts as
indexed where a lattice lies within a degree of a true one. Printed: the coefficients for peakrt/screening/counts.py, and for each detector
the calibration error and the Brier score of a model that was fitted on the others alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np
from scipy.optimize import minimize

from peakrt.cli import main as peakrt
from peakrt.cxi.columns import N_PEAKS, RESULT
from peakrt.screening.counts import chances
from peakrt_geometry import load_detector
from peakrt_lab.calibration import calibration_error
from peakrt_lab.compare import event_number
from peakrt_lab.evaluate import RIGHT_DEG, misorientation_deg, run_indexamajig
from peakrt_lab.simulate import RESPONSES, Scene, Simulator
from peakrt_lab.stream import read_chunks
from peakrt_lab.truth import Truth, write_run

#: Detector, cell, space group, photons of a full reflection.
RUNS = {
    "epix10k2m": ((79.0, 79.0, 38.0, 90.0, 90.0, 90.0), "P 43 21 2", (5.0, 300.0)),
    "jungfrau4m": ((58.0, 58.0, 151.0, 90.0, 90.0, 90.0), "P 41 21 2", (3.0, 150.0)),
    "eiger4m": ((68.0, 107.0, 107.0, 90.0, 90.0, 90.0), "P 21 21 21", (3.0, 150.0)),
    "cspad": ((93.0, 93.0, 130.0, 90.0, 90.0, 120.0), "P 61 2 2", (2.0, 100.0)),
    "rayonix_mx170": ((73.0, 96.0, 119.0, 90.0, 90.0, 90.0), "P 21 21 21", (3.0, 150.0)),
    "agipd1m": ((42.0, 52.0, 88.0, 90.0, 90.0, 90.0), "P 21 21 21", (10.0, 600.0)),
}


def features_and_labels(folder: Path, name: str, n: int, processes: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulate, find and index one run: (n, 1) features and (n,) whether it was indexed."""
    cell, group, photons = RUNS[name]
    run, found, stream = (folder / f"{name}{suffix}" for suffix in (".cxi", "-found.cxi", ".stream"))
    if not stream.exists():
        scene = Scene(hit_fraction=0.9, photons=photons)
        simulator = Simulator(
            load_detector(name), scene, RESPONSES[name], cell=cell, space_group=group, seed=list(RUNS).index(name)
        )
        write_run(run, simulator, (simulator.event(k) for k in range(n)))
        arguments = ["find", str(run), "-g", str(run.with_suffix(".geom")), "-o", str(found), "--events", "all"]
        assert peakrt([*arguments, "--engine", "cpu", "--overwrite"]) == 0
        run_indexamajig(found, found.with_suffix(".geom"), stream, cell=run.with_suffix(".cell"), processes=processes)
    with h5py.File(found) as file:
        counts = file[N_PEAKS][:]
        score, snr = file[f"{RESULT}/peakScore"][:], file[f"{RESULT}/peakSNR"][:]
    features = np.array([[np.log1p(chances(score[k, :c], snr[k, :c]).sum())] for k, c in enumerate(counts)])
    truth, indexed, numbers = Truth(run), np.zeros(len(counts), bool), {}
    for order, chunk in enumerate(read_chunks(stream)):
        event = event_number(chunk, order, numbers)
        errors = [
            misorientation_deg(c.reciprocal, true) for c in chunk.crystals for true in truth.event_lattices(event)
        ]
        indexed[event] = any(error < RIGHT_DEG for error in errors)
    return features, indexed


def fit(features: np.ndarray, indexed: np.ndarray) -> np.ndarray:
    """Coefficients of a logistic model, the constant first, with a weak prior against large ones."""
    x = np.c_[np.ones(len(features)), features]

    def loss(w: np.ndarray) -> float:
        z = x @ w
        return float((np.logaddexp(0, z) - indexed * z).mean() + 1e-4 * (w @ w))

    return minimize(loss, np.zeros(x.shape[1])).x


def probability(features: np.ndarray, w: np.ndarray) -> np.ndarray:
    """P(indexable) of rows of features."""
    return 1 / (1 + np.exp(-w[0] - features @ w[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", "--events", type=int, default=150)
    parser.add_argument("-j", "--processes", type=int, default=1)
    parsed = parser.parse_args()
    parsed.folder.mkdir(exist_ok=True)
    data = {name: features_and_labels(parsed.folder, name, parsed.events, parsed.processes) for name in RUNS}
    for name, (features, indexed) in data.items():
        others = [data[other] for other in RUNS if other != name]
        p = probability(features, fit(*(np.concatenate(parts) for parts in zip(*others, strict=True))))
        error = calibration_error(p.astype(np.float32), indexed, bins=5)
        print(
            f"{name}: {indexed.sum()} of {len(indexed)} indexed, calibration error {error:.3f}, Brier {((p - indexed) ** 2).mean():.3f}"
        )
    features, indexed = (np.concatenate(parts) for parts in zip(*data.values(), strict=True))
    print("INDEXABLE =", tuple(round(float(w), 2) for w in fit(features, indexed)))


if __name__ == "__main__":
    main()
