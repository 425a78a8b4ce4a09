"""``peakrt-lab calibrate``: photon energy and camera length of a run, from its peaks and the crystals' cell."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from peakrt.commands.find_report import check_json, write_json
from peakrt.commands.options import add_geometry, geometry_of_peaks, override
from peakrt.commands.program import add_command
from peakrt.cxi.reader import SlabPeaks, read_cxi_peaks
from peakrt.extras import need
from peakrt.monitor.cell_file import read_cell
from peakrt_geometry import Detector

from ..cxls.calibrate import Calibration, calibrate

#: Of a frame, the strongest: more take time and tell little.
_MOST_PEAKS = 200
#: Between which the numbers are sought, relative to the geometry's.
_RANGE = (0.5, 2.0)


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "calibrate", _calibrate, help="photon energy and camera length from peaks and a known cell",
        usage="%(prog)s PEAKS.cxi -p CELL [options]",
    )  # fmt: skip
    parser.add_argument("cxi", type=Path, metavar="PEAKS.cxi", help="what peakrt find wrote")
    parser.add_argument("-p", "--cell", type=Path, required=True, metavar="CELL", help="CrystFEL's cell file, or a PDB")
    add_geometry(parser)
    parser.add_argument(
        "--energy-range",
        metavar="LOW,HIGH",
        help="where the photon energy is sought, eV [half to twice the geometry's]",
    )
    parser.add_argument(
        "--length-range", metavar="LOW,HIGH", help="where the camera length is sought, m [half to twice the geometry's]"
    )
    parser.add_argument("-n", "--frames", type=int, default=20, metavar="N", help="frames, those of most peaks [20]")
    parser.add_argument("--json", metavar="FILE", help="write the numbers as JSON as well; - for the standard output")


def _calibrate(parsed: argparse.Namespace) -> int:
    need("peakrt-lab calibrate", "lab", "scipy")
    if parsed.frames < 1:
        raise ValueError(f"--frames is {parsed.frames}, it should be at least 1")
    if parsed.json is not None:
        check_json(parsed.json)
    if not parsed.cxi.is_file():
        raise FileNotFoundError(f"{parsed.cxi} does not exist")
    cell = read_cell(parsed.cell)
    detector = override(geometry_of_peaks(parsed), parsed)
    energy_eV, length_m = (_range(parsed, detector, *names) for names in _RANGES)
    table = read_cxi_peaks(parsed.cxi)
    counts = [len(peaks) for peaks in table]
    rows = np.argsort(counts, kind="stable")[::-1][: parsed.frames]
    found = calibrate(
        [_places(table[int(row)], detector) for row in rows], cell, energy_eV=energy_eV, length_m=length_m,
        pixel_m=detector.panels[0].pixel_size_m,
    )  # fmt: skip
    if parsed.json != "-":
        print("\n".join(_lines(found)))
    if parsed.json is not None:
        keV, p_keV, cm, p_cm = found.nearest()
        record = {**asdict(found), "covariance": found.covariance.tolist(), "nearest_keV": keV, "nearest_cm": cm}
        write_json(parsed.json, {**record, "probability_keV": p_keV, "probability_cm": p_cm})
    return 0


#: Option, quantity of the geometry, unit.
_RANGES = (("energy_range", "photon_energy", "eV"), ("length_range", "camera_length", "m"))


def _range(parsed: argparse.Namespace, detector: Detector, option: str, name: str, unit: str) -> tuple[float, float]:
    """Where a number is sought. Raises ValueError where neither the option nor the geometry says it."""
    text, written = getattr(parsed, option), f"--{option.replace('_', '-')}"
    if text is None:
        value = getattr(detector, name)
        if not isinstance(value, int | float):
            raise ValueError(
                f"the geometry has no {name.replace('_', ' ')} as a number: give {written} LOW,HIGH in {unit}"
            )
        return _RANGE[0] * float(value), _RANGE[1] * float(value)
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{written} {text}: two numbers LOW,HIGH in {unit} are expected") from None
    if not 0 < low < high < np.inf or high / low > 20:
        raise ValueError(f"{written} {text}: LOW should be above 0 and below HIGH, and HIGH at most 20 times LOW")
    return low, high


def _places(peaks: SlabPeaks, detector: Detector) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Where the peaks of a frame lie, the strongest first: (n, 3), m, z beyond the camera length."""
    plane, ss = detector.from_slab(peaks.ss)
    places = np.array(detector.lab_position_m(plane, ss, peaks.fs)).T
    places = places[np.argsort(-peaks.intensity, kind="stable")]
    return places[np.isfinite(places).all(1)][:_MOST_PEAKS]


def _lines(found: Calibration) -> list[str]:
    keV, p_keV, cm, p_cm = found.nearest()
    correlation = found.covariance[0, 1] / np.sqrt(found.covariance[0, 0] * found.covariance[1, 1])
    return [
        f"photon energy {found.photon_energy_eV:.0f} +- {found.sigma_eV:.0f} eV, camera length {found.camera_length_m:.5f} +- "
        f"{found.sigma_m:.5f} m, correlation {correlation:.3f}",
        f"to the nearest {keV} keV (probability {p_keV:.3f}) and {cm} cm ({p_cm:.3f})",
        f"of {found.frames} frames and {found.peaks} peaks, which miss their places by {found.radial_px:.2f} pixels outwards "
        f"and {found.tangential_px:.2f} to the side, rms",
    ]
