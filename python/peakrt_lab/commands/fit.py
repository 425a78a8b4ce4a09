"""``peakrt-lab fit``: a profile fitted to each peak of a CXI."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt.commands.options import add_geometry, load_geometry
from peakrt.commands.program import add_command
from peakrt.cxi.learned_file import read_learned
from peakrt.cxi.reader import read_cxi_peaks
from peakrt.sources import open_source
from peakrt_geometry import Detector

from ..profile_fit import FITTED, RADIUS, fit_profiles, on_panels, write_fits


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "fit", _fit, help="fit a pseudo-Voigt profile to each peak of a CXI",
        description="Fit a pseudo-Voigt profile on a plane (Wang et al. 2025) to each peak of a CXI of peakrt find, "
        "and write what was found to an HDF5 file: one dataset for each parameter and each error, and of which row and peak it is.",
    )  # fmt: skip
    parser.add_argument("peaks", type=Path, metavar="PEAKS.cxi", help="frames with their peaks")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FITS.h5", help="file to write")
    add_geometry(parser)
    parser.add_argument("--gain", type=float, metavar="ADU/photon", help="otherwise the CXI's or the geometry's")
    parser.add_argument(
        "--radius", type=int, default=RADIUS, help=f"windows have 2 radius + 1 pixels a side [{RADIUS}]"
    )


def _fit(parsed: argparse.Namespace) -> int:
    if parsed.output.exists():
        raise FileExistsError(f"{parsed.output} exists: choose another name")
    beside = parsed.peaks.with_suffix(".geom")
    detector = load_geometry(parsed.geometry or str(beside))
    source = open_source([str(parsed.peaks)], detector)
    gain = parsed.gain or _gain(parsed.peaks, detector)
    tables = read_cxi_peaks(parsed.peaks)
    found, spent = [], 0.0
    for slab, event in zip(tables, source.events(), strict=True):
        began = time.process_time()
        found.append(
            fit_profiles(
                event.frame, on_panels(slab, event.frame.shape[1]), gain=gain, mask=event.good(detector.mask),
                asics=detector.asics, radius=parsed.radius,
            )
        )  # fmt: skip
        spent += time.process_time() - began
    write_fits(parsed.output, found)
    print("\n".join(_summary(np.concatenate(found), spent)))
    print(f"wrote {parsed.output}")
    return 0


def _gain(path: Path, detector: Detector) -> float:
    """ADU a photon, of the geometry or of what the CXI's finder used."""
    gain = detector.photon_gain or read_learned(path).gain
    if gain is None:
        raise ValueError(f"neither the geometry nor {path} says the gain: give it with --gain")
    return gain


def _summary(fits: npt.NDArray[np.void], seconds: float) -> list[str]:
    """What the fits say of the run."""
    if not len(fits):
        return ["no peaks"]
    good = fits[fits["end"] == FITTED]
    lines = [f"{len(fits)} peaks, {len(good) / len(fits):.1%} fitted, {len(fits) / max(seconds, 1e-9):.0f} a second"]
    if len(good):
        middle = {
            name: np.median(good[name]) for name in ("chi2", "eta", "sigma_ss", "sigma_fs", "gamma_ss", "gamma_fs")
        }
        lines.append("medians: " + ", ".join(f"{name} {value:.2f}" for name, value in middle.items()))
    return lines
