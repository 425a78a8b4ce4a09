"""Fits of peaks' profiles: peaks a second, beside lmfit on the same windows.

    python benchmarks/profile_fit.py [-n 2000] [--lmfit 40]

Both fit the eleven parameters of Wang et al. (2025) with the same weights and bounds, from the same starting values, on one
core. Times are of the processor, so that other programs count little. lmfit: pip install lmfit.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from peakrt import PeakFinder
from peakrt_geometry import load_detector
from peakrt_lab.profile_fit import FITTED, PARAMETERS, RADIUS, fit_profiles
from peakrt_lab.simulate import Scene, Simulator


def model(p: dict[str, float], y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The profile as the paper writes it, apart from the product's own: y and x from the middle of the window, pixels."""
    dy, dx = y - p["centre_ss"], x - p["centre_fs"]
    gauss = np.exp(-(dy**2) / (2 * p["sigma_ss"] ** 2) - dx**2 / (2 * p["sigma_fs"] ** 2))
    lorentz = 1 / (1 + dy**2 / p["gamma_ss"] ** 2 + dx**2 / p["gamma_fs"] ** 2)
    plane = p["slope_ss"] * y + p["slope_fs"] * x + p["level"]
    return p["amplitude"] * (p["eta"] * lorentz + (1 - p["eta"]) * gauss) + plane


def by_lmfit(counts: np.ndarray, start: tuple[float, float]) -> Any:
    """Fit one window with lmfit, from start, ss and fs in pixels from its middle; returns lmfit's result."""
    import lmfit

    y, x = np.indices(counts.shape) - RADIUS
    given = lmfit.Parameters()
    for name in PARAMETERS:
        given.add(name, value=1.0, min=0.2, max=6.0)
    given.add("amplitude", value=float(counts.max()), min=0)
    given.add("eta", value=0.5, min=0, max=1)
    for name, value in zip(("centre_ss", "centre_fs"), start, strict=True):
        given.add(name, value=value, min=value - 2, max=value + 2)
    for name, value in (("slope_ss", 0.0), ("slope_fs", 0.0), ("level", float(np.median(counts)))):
        given.add(name, value=value)
    weight = 1 / np.sqrt(np.maximum(counts, 0) + 1)
    return lmfit.minimize(lambda p: ((model(p.valuesdict(), y, x) - counts) * weight).ravel(), given)


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=2000, help="peaks [2000]")
    parser.add_argument("--lmfit", type=int, default=40, help="of which lmfit fits so many [40]")
    given = parser.parse_args()
    detector = load_detector("jungfrau4m")
    simulator = Simulator(detector, scene=Scene(hit_fraction=1.0, photons=(3000.0, 30000.0)), seed=1)
    gain, finder = detector.photon_gain or 1.0, PeakFinder(geometry=detector)
    frames, n = [], 0
    while n < given.n:
        frame = simulator.event(len(frames)).frame
        peaks = finder(frame)
        frames.append((frame, peaks))
        n += len(peaks)
    spent, fits = 0.0, []
    for frame, peaks in frames:
        began = time.process_time()
        fits.append(fit_profiles(frame, peaks, gain=gain, asics=detector.asics))
        spent += time.process_time() - began
    whole = np.concatenate(fits)
    ours = len(whole) / spent
    print(
        f"peakrt_lab: {len(whole)} peaks of a Jungfrau 4M, {ours:.0f} a second, {(whole['end'] == FITTED).mean():.1%} fitted"
    )
    chosen = [(f, p, fit) for (f, peaks), found in zip(frames, fits, strict=True) for p, fit in zip(peaks, found, strict=True)
              if fit["pixels"] == (2 * RADIUS + 1) ** 2 and fit["end"] == FITTED][: given.lmfit]  # fmt: skip
    began, deeper = time.process_time(), 0
    for frame, peak, fit in chosen:
        ss, fs = int(fit["middle_ss"]), int(fit["middle_fs"])
        window = frame[peak["panel"], ss - RADIUS : ss + RADIUS + 1, fs - RADIUS : fs + RADIUS + 1] / gain
        theirs = by_lmfit(window.astype(float), (float(peak["ss"]) - ss, float(peak["fs"]) - fs)).chisqr
        deeper += (
            fit["chi2"] * (fit["pixels"] - np.isfinite([fit[f"{name}_error"] for name in PARAMETERS]).sum())
            <= theirs * 1.001
        )
    rate = len(chosen) / (time.process_time() - began)
    print(
        f"lmfit: {rate:.1f} a second; ours {ours / rate:.0f} times as fast, chi-square as low or lower in {deeper} of {len(chosen)}"
    )


if __name__ == "__main__":
    main()
