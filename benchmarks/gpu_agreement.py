"""The candidate finder's peaks on a GPU against those on the CPU, frame by frame, on the ten runs of sets.py.

    python benchmarks/gpu_agreement.py [-n FRAMES] [-j PROCESSES]

Both are given each run's gain, and keep bad pixels, so that no frame depends on another. Exponentials and logarithms of a
GPU differ from the CPU's in their last bits; what that does to peaks is counted here. A peak that only one side has is one
whose score is at a threshold: how near is said.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections import defaultdict
from typing import Any

import numpy as np
from sets import SETS

from peakrt import PeakFinder
from peakrt.config import CandidateConfig
from peakrt.models.model_file import load_model
from peakrt_geometry import load_detector
from peakrt_lab.simulate import RESPONSES, Simulator

_SAME = 0.02  # pixels


def compare(task: tuple[str, int, int]) -> tuple[str, dict[str, Any]]:
    """Some frames of a run: counts and the largest differences."""
    name, first, n = task
    detector, scene, response, cell = SETS[name]
    simulator = Simulator(
        load_detector(detector), scene, response or RESPONSES[detector], cell=cell, space_group="P 21 21 21", seed=177
    )
    config = CandidateConfig(bad_pixels="keep", gain=simulator.gain)
    finders = [PeakFinder(config, geometry=simulator.detector, engine=engine) for engine in ("cpu", "cuda")]
    frames = [simulator.event(k).frame for k in range(first, first + n)]
    cpu, gpu = (finder.find(frames) for finder in finders)
    thresholds = np.array(load_model("default").least_scores(None))
    out: dict[str, Any] = {
        "frames": n, "peaks": sum(map(len, cpu)), "same": 0, "alone": 0, "score": 0.0, "place": 0.0, "intensity": 0.0,
        "from threshold": 0.0,
    }  # fmt: skip
    for ours, theirs in zip(gpu, cpu, strict=True):
        both = [_keys(ours), _keys(theirs)]
        common = sorted(both[0].keys() & both[1].keys())
        alone = [peaks[k]["score"] for keys, peaks in zip(both, (ours, theirs), strict=True) for key, k in keys.items() if key not in both[0] or key not in both[1]]  # fmt: skip
        out["alone"] += len(alone)
        for score in alone:
            out["from threshold"] = max(out["from threshold"], float(np.abs(thresholds - score).min()))
        a, b = ours[[both[0][key] for key in common]], theirs[[both[1][key] for key in common]]
        place = max((float(np.abs(a[axis] - b[axis]).max(initial=0)) for axis in ("ss", "fs")), default=0.0)
        out["same"] += not alone and place <= _SAME
        out["place"] = max(out["place"], place)
        out["score"] = max(out["score"], float(np.abs(a["score"] - b["score"]).max(initial=0)))
        off = np.abs(a["intensity"] - b["intensity"]) / np.maximum(np.abs(b["intensity"]), 1e-6)
        out["intensity"] = max(out["intensity"], float(off.max(initial=0)))
    return name, out


def _keys(peaks: Any) -> dict[tuple[int, int, int], int]:
    """Peaks by panel and brightest pixel."""
    return {(int(p["panel"]), int(p["top_ss"]), int(p["top_fs"])): k for k, p in enumerate(peaks)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=1000, help="frames of each run [1000]")
    parser.add_argument("-j", type=int, default=os.cpu_count(), help="processes [as many as cores]")
    parsed = parser.parse_args()
    piece = min(32, -(-parsed.n * len(SETS) // (2 * parsed.j)))
    tasks = [(name, k, min(piece, parsed.n - k)) for k in range(0, parsed.n, piece) for name in SETS]
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with multiprocessing.get_context("spawn").Pool(parsed.j) as pool:
        for name, out in pool.imap_unordered(compare, tasks):
            rows[name].append(out)
    rows["all"] = [row for name in SETS for row in rows[name]]
    print("run | frames | peaks | frames with the same peaks | peaks of one side alone, farthest from a threshold | largest difference of place, px | of score | of intensity, relative")  # fmt: skip
    for name, parts in rows.items():
        total = {key: (sum if key in ("frames", "peaks", "same", "alone") else max)(part[key] for part in parts) for key in parts[0]}  # fmt: skip
        print(
            f"{name} | {total['frames']} | {total['peaks']} | {total['same']} | {total['alone']}, "
            f"{total['from threshold']:.1e} | {total['place']:.1e} | {total['score']:.1e} | {total['intensity']:.1e}"
        )


if __name__ == "__main__":
    main()
