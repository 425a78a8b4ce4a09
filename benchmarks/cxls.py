"""A compact X-ray light source (CXLS): photon energy and camera length from frames, and peaks against flux.

    python benchmarks/cxls.py calibrate [-n FRAMES] [--sets SETS]
    python benchmarks/cxls.py flux [-n FRAMES]

Simulated are the nine sets of the paper on the CXLS: proteinase K (PDB 1IC6: P 43 21 2, 58.3 and 63.6 A) on an Eiger 4M at 0.15, 0.25 and
0.35 m and 6, 7 and 8 keV, a bandwidth of 1 % (a top hat), a water background, empty frames among the others, and Poisson noise, which the
paper's frames lack.

calibrate: of each set of frames, drawn from those of one of the nine, whether the posterior of peakrt-lab calibrate has the right keV and
cm, from one frame and from twenty; it seeks between 5 and 10 keV and between 0.1 and 0.5 m. And the error in units of the standard error.
flux: whether there is a crystal at all, by the number of peaks that the scores let expect, against the flux: area under the ROC curve; and the
recall and precision of single peaks by SNR.
"""

from __future__ import annotations

import argparse

import numpy as np

from peakrt import PeakFinder
from peakrt.peaks import PeakArray
from peakrt.screening.counts import chances
from peakrt_geometry import Detector, load_detector
from peakrt_lab.compare import match, slab_peaks
from peakrt_lab.cxls.calibrate import calibrate
from peakrt_lab.simulate import RESPONSES, Scene, SimulatedEvent, Simulator

CELL, GROUP = (58.3, 58.3, 63.6, 90.0, 90.0, 90.0), "P 43 21 2"
LENGTHS_M, ENERGIES_EV = (0.15, 0.25, 0.35), (6000.0, 7000.0, 8000.0)
#: A top hat of full width 1 %, as rms.
BANDWIDTH = 0.01 / np.sqrt(12)


def simulator(energy_eV: float, length_m: float, photons: tuple[float, float], empty: float, seed: int) -> Simulator:
    """One of the nine sets. photons : of a full reflection of mean strength; empty : share of frames without a crystal"""
    scene = Scene(
        hit_fraction=1 - empty, photons=photons, bandwidth=(BANDWIDTH, BANDWIDTH), mosaicity=(5e-4, 2e-3), background=(0.2, 2.0),
        jet=0.0, ice=0.0, salt=0.0, shadow=0.0, d_min=1.5,
    )  # fmt: skip
    detector = load_detector("eiger4m").with_camera_length(length_m).with_photon_energy(energy_eV)
    return Simulator(detector, scene, RESPONSES["eiger4m"], cell=CELL, space_group=GROUP, seed=seed)


def places(peaks: PeakArray, detector: Detector) -> np.ndarray:
    """Where peaks lie, the strongest first, m."""
    strongest = peaks[np.argsort(-peaks["intensity"])][:200]
    return np.array(detector.lab_position_m(strongest["panel"], strongest["ss"], strongest["fs"])).T


def calibrate_sets(n: int, sets: int, seed: int) -> None:
    rng, pulls = np.random.default_rng(seed), []
    print(
        "| set | peaks a frame with a crystal | one frame: keV, cm right | twenty: keV, cm right | error, twenty frames |\n|---|---|---|---|---|"
    )
    total = np.zeros((2, 3), int)
    for length in LENGTHS_M:
        for energy in ENERGIES_EV:
            source = simulator(energy, length, (300.0, 3000.0), 0.3, seed)
            finder = PeakFinder(geometry=source.detector)
            events = [source.event(k) for k in range(n)]
            frames = [places(finder(event.frame), source.detector) for event in events]
            crystals = [frame for frame, event in zip(frames, events, strict=True) if event.hit]
            right, errors = np.zeros((2, 3), int), []
            for _ in range(sets):
                for kind, size in enumerate((1, 20)):
                    pool = crystals if size == 1 else frames  # a single frame is one with a crystal
                    chosen = [pool[k] for k in rng.choice(len(pool), size, replace=False)]
                    right[kind, 2] += 1
                    try:
                        found = calibrate(chosen, CELL, energy_eV=(5000.0, 10000.0), length_m=(0.1, 0.5), pixel_m=75e-6)
                    except ValueError:
                        continue  # counts as wrong
                    keV, _, cm, _ = found.nearest()
                    right[kind, :2] += keV == round(energy / 1e3), cm == round(length * 100)
                    if size == 20:
                        errors.append((found.photon_energy_eV - energy, 1e3 * (found.camera_length_m - length)))
                        pulls.append((errors[-1][0] / found.sigma_eV, errors[-1][1] / 1e3 / found.sigma_m))
            total += right
            off = np.sqrt(np.mean(np.square(errors), 0)) if errors else (np.nan, np.nan)
            shares = [f"{right[kind, 0]} and {right[kind, 1]} of {right[kind, 2]}" for kind in (0, 1)]
            peaks = np.median([len(frame) for frame in crystals])
            print(
                f"| {length} m, {energy / 1e3:.0f} keV | {peaks:.0f} | {shares[0]} | {shares[1]} | {off[0]:.0f} eV, {off[1]:.2f} mm |",
                flush=True,
            )
    print(
        "\nof all sets: "
        + "; ".join(
            f"{name} {100 * row[0] / row[2]:.1f} % keV and {100 * row[1] / row[2]:.1f} % cm right"
            for name, row in zip(("one frame", "twenty"), total, strict=True)
        )
    )
    print(
        f"error over standard error, rms: energy {np.sqrt(np.mean(np.square(pulls), 0))[0]:.2f}, length {np.sqrt(np.mean(np.square(pulls), 0))[1]:.2f}"
    )


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC curve; ties count half."""
    differences = positive[:, None] - negative
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


def flux(n: int, seed: int) -> None:
    blanks = simulator(7000.0, 0.25, (100.0, 100.0), 1.0, seed)
    finder = PeakFinder(geometry=blanks.detector)
    empty = np.array([_expected(finder(blanks.event(k).frame)) for k in range(n)])
    print(
        f"\n7 keV, 0.25 m, {n} frames each; {100 * (empty >= 1.5).mean():.1f} % of the empty ones are taken for crystals\n"
    )
    print(
        "| photons of a full mean reflection | peaks of SNR 5 and more, median | area under ROC | crystals found | strongest SNR, median |\n|---|---|---|---|---|"
    )
    pairs: list[np.ndarray] = []
    false: list[np.ndarray] = []
    for photons in (1000.0, 300.0, 100.0, 50.0, 25.0, 12.0):
        source = simulator(7000.0, 0.25, (photons, photons), 0.0, seed + 1)
        events = [source.event(k) for k in range(n)]
        found = [finder(event.frame) for event in events]
        expected = np.array([_expected(peaks) for peaks in found])
        visible = [int((event.peaks["snr"] >= 5).sum()) for event in events]
        best = np.median([event.peaks["snr"].max(initial=0) for event in events])
        print(
            f"| {photons:g} | {np.median(visible):g} | {area(expected, empty):.3f} | {100 * (expected >= 1.5).mean():.0f} % | {best:.1f} |",
            flush=True,
        )
        for event, peaks in zip(events, found, strict=True):
            _count(event, peaks, pairs, false)
    rows = np.concatenate(pairs)
    wrong = np.concatenate(false)
    print("\n| SNR | true peaks | recall | found peaks | precision | F1 |\n|---|---|---|---|---|---|")
    for low, high in ((3, 4), (4, 5), (5, 7), (7, 10), (10, 1e9), (5, 1e9)):
        true = rows[(rows[:, 0] >= low) & (rows[:, 0] < high)]
        recall = true[:, 1].mean()
        n_false = int(((wrong >= low) & (wrong < high)).sum())
        precision = true[:, 1].sum() / max(1, true[:, 1].sum() + n_false)
        name = f"{low:g} to {high:g}" if high < 1e9 else f"{low:g} and more"
        print(
            f"| {name} | {len(true)} | {recall:.3f} | {int(true[:, 1].sum()) + n_false} | {precision:.3f} | {2 * recall * precision / max(recall + precision, 1e-9):.3f} |"
        )


def _expected(peaks: PeakArray) -> float:
    """Visible peaks to be expected."""
    return float(chances(peaks["score"], peaks["snr"]).sum())


def _count(event: SimulatedEvent, peaks: PeakArray, pairs: list[np.ndarray], false: list[np.ndarray]) -> None:
    """Add SNR and whether it was found of each true peak, and the SNRs of what is near no true peak."""
    n_ss = event.frame.shape[1]
    a = slab_peaks(peaks, n_ss)
    true = event.peaks[event.peaks["snr"] >= 1.5]
    b = type(a)(
        true["panel"] * float(n_ss) + true["ss"],
        true["fs"].astype(float),
        true["photons"].astype(float),
        true["snr"].astype(float),
    )
    of_a, of_b = match(a, b, distance=3.0)
    was_found = np.zeros(len(true), bool)
    was_found[of_b] = True
    pairs.append(np.c_[true["snr"], was_found])
    false.append(np.delete(a.snr, of_a))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("calibrate", "flux"))
    parser.add_argument("-n", "--frames", type=int, default=60, help="simulated of each kind [60]")
    parser.add_argument("--sets", type=int, default=12, help="drawn of each of the nine [12]")
    parser.add_argument("--seed", type=int, default=5)
    parsed = parser.parse_args()
    if parsed.what == "calibrate":
        calibrate_sets(parsed.frames, parsed.sets, parsed.seed)
    else:
        flux(parsed.frames, parsed.seed)


if __name__ == "__main__":
    main()
