"""Compare the jobs: python compare.py FOLDER psana.npz compat.npz model.npz [model.npz of the same job run again ...]"""

from __future__ import annotations

import sys

import numpy as np
from scipy.spatial import cKDTree


def events(path: str) -> tuple[dict[int, np.ndarray], float]:
    """Peaks by time stamp, and ms of peak finding an event (median)."""
    with np.load(path) as file:
        parts = np.split(file["peaks"], file["offsets"][1:-1])
        return dict(zip(file["timestamp"].tolist(), parts)), float(np.median(file["seconds"])) * 1e3


def score(found: dict[int, np.ndarray], truth: dict[int, np.ndarray]) -> tuple[float, float]:
    """Recall of true peaks above SNR 5, and precision by all true peaks, within 2 pixels."""
    hits = total = right = count = 0
    for stamp, peaks in found.items():
        true = truth[stamp]
        at, clear = np.c_[true["ss"], true["fs"]], true["snr"] > 5
        positions = np.c_[peaks[:, 0] * 512 + peaks[:, 6], peaks[:, 7]]
        total, count = total + clear.sum(), count + len(positions)
        if len(positions) and len(at):
            hits += (cKDTree(positions).query(at[clear])[0] < 2).sum()
            right += (cKDTree(at).query(positions)[0] < 3).sum()
    return hits / max(1, total), right / max(1, count)


def main() -> None:
    with np.load(f"{sys.argv[1]}/truth.npz") as file:
        truth = dict(zip(file["timestamp"].tolist(), np.split(file["peaks"], file["offsets"][1:-1])))
    (psana, psana_ms), (compat, compat_ms), (model, model_ms), *again = (events(path) for path in sys.argv[2:])
    same = sum(p.shape == compat[s].shape and np.allclose(p, compat[s], rtol=1e-5, atol=1e-3) for s, p in psana.items())
    print(f"same peaks in compat mode: {same} of {len(psana)} events")
    repeated = sum(all(np.array_equal(p, other[s]) for other, _ in again) for s, p in model.items())
    print(f"same peaks in {1 + len(again)} runs in model mode: {repeated} of {len(model)} events")
    print(f"{'':24}{'ms an event':>12}{'ratio':>8}{'recall, SNR > 5':>17}{'precision':>11}")
    for name, found, ms in (
        ("psana peaks_adaptive", psana, psana_ms),
        ("peakrt, compat", compat, compat_ms),
        ("peakrt, model", model, model_ms),
    ):
        recall, precision = score(found, truth)
        print(f"{name:24}{ms:12.1f}{psana_ms / ms:8.1f}{recall:17.3f}{precision:11.3f}")
    if same != len(psana):
        sys.exit("compat mode differs from psana")
    if repeated != len(model):
        sys.exit("model mode found other peaks in another run")


if __name__ == "__main__":
    main()
