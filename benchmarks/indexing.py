"""Indexing yields on simulated runs: the candidate finder, peakfinder8 with defaults, and peakfinder8 tuned on a third of each run.

    python benchmarks/indexing.py FOLDER [-n EVENTS] [--indexer dials]

Lysozyme on several detectors, from crystals of which many are too weak to index. Every finder's peaks go to the same indexer
with the same settings (``peakrt-lab evaluate``); frames below --min-peaks are not hits. Needs indexamajig, or DIALS.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from peakrt.config import CandidateConfig, HitConfig, OutputConfig, Peakfinder8Config
from peakrt.cxi.writer import CxiWriter
from peakrt.finder import PeakFinder
from peakrt.sources import open_source
from peakrt_geometry import Detector, load_detector, read_geom
from peakrt_lab.compare import truth_sets
from peakrt_lab.evaluate import INDEXERS, IndexingResult, read_result
from peakrt_lab.simulate import RESPONSES, Scene, Simulator
from peakrt_lab.truth import Truth, write_run
from peakrt_lab.tune import tune

#: Hen egg-white lysozyme.
CELL, SPACE_GROUP = (79.1, 79.1, 38.4, 90.0, 90.0, 90.0), "P 43 21 2"
DETECTORS = ("epix10k2m", "jungfrau4m", "cspad", "eiger4m", "rayonix_mx340", "pilatus6m")


def simulate(path: Path, detector: str, photons: tuple[float, float], events: int, seed: int) -> None:
    """A run of one crystal form, unless it is there already. Raises ValueError if what is there is another one."""
    if path.exists():
        if len(Truth(path)) != events:
            raise ValueError(f"{path} has {len(Truth(path))} events, not {events}: choose another folder")
        return
    scene = Scene(photons=photons, hit_fraction=0.8)
    known = {"cell": CELL, "space_group": SPACE_GROUP, "seed": seed}
    simulator = Simulator(load_detector(detector), scene, RESPONSES[detector], **known)
    write_run(path, simulator, (simulator.event(n) for n in range(events)))


def finders(detector: Detector, learn: Path) -> dict[str, PeakFinder]:
    """By name, peakfinder8 tuned on the events of a run of its own."""
    source = open_source([str(learn)], detector)
    events, gain = list(source.events()), detector.photon_gain or 1.0
    tuned, _ = tune("peakfinder8", events, truth_sets(learn, detector), detector, gain=gain)
    configs = {"candidate": CandidateConfig(), "pf8": Peakfinder8Config(), "pf8 tuned": tuned}
    return {name: PeakFinder(config, geometry=detector) for name, config in configs.items()}


def judge(run: Path, finder: PeakFinder, folder: Path, parsed: argparse.Namespace) -> IndexingResult:
    """Find, write, index, count."""
    source = open_source([str(run)], read_geom(run.with_suffix(".geom")))
    peaks = folder / "peaks.cxi"
    with CxiWriter(peaks, source.detector, output=OutputConfig(events="all")) as writer:
        for number, event in enumerate(source.events()):
            writer.append(
                event, finder(event.frame, event.mask), number, finder.mask_for(event.mask, event.frame.shape)
            )
    options = {"cell": run.with_suffix(".cell"), "processes": os.cpu_count() or 1, "min_peaks": parsed.min_peaks}
    index, suffix = INDEXERS[parsed.indexer]
    out = peaks.with_suffix(suffix)
    index(peaks, writer.geom_path, out, **options)
    return read_result(out, truth=Truth(run), min_peaks=parsed.min_peaks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the runs, simulated where they are not there yet")
    parser.add_argument("-n", "--events", type=int, default=60)
    parser.add_argument("--photons", type=float, nargs=2, default=(30.0, 600.0), help="of a strong reflection")
    parser.add_argument("--min-peaks", type=int, default=HitConfig().min_peaks)
    parser.add_argument("--indexer", choices=INDEXERS, default="crystfel")
    parser.add_argument("--detectors", nargs="+", default=DETECTORS)
    parser.add_argument("--seed", type=int, default=404)
    parsed = parser.parse_args()
    parsed.folder.mkdir(exist_ok=True)
    print(
        f"{'detector':15}{'finder':11}{'crystals':>9}{'hits':>6}{'indexed':>8}{'right':>6}{'wrong':>6}{'false':>6}"
        f"{'of tuned':>9}{'a +-':>8}{'c +-':>8}{'deg':>8}"
    )
    for name in parsed.detectors:
        learn, run = (parsed.folder / f"{kind}-{name}.cxi" for kind in ("tune", "run"))
        simulate(learn, name, parsed.photons, parsed.events // 3, parsed.seed + 1)
        simulate(run, name, parsed.photons, parsed.events, parsed.seed)
        crystals = int(Truth(run).hit.sum())
        results = {}
        for finder, found in finders(read_geom(run.with_suffix(".geom")), learn).items():
            with tempfile.TemporaryDirectory(prefix="peakrt-") as scratch:
                results[finder] = judge(run, found, Path(scratch), parsed)
        tuned = len(results["pf8 tuned"].orientation_deg)
        for finder, result in results.items():
            right = len(result.orientation_deg)
            spread = result.cell_spread()
            print(
                f"{name:15}{finder:11}{crystals:9}{result.hits:6}{result.indexed:8}{right:6}{result.wrong:6}"
                f"{result.false_hits:6}{right / max(1, tuned):9.3f}{spread[0]:8.3f}{spread[2]:8.3f}"
                f"{np.median(result.orientation_deg or [np.nan]):8.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
