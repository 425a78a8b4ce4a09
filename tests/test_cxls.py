"""``peakrt-lab calibrate``: orientations, and photon energy and camera length as a posterior."""

from __future__ import annotations

import json
from pathlib import Path

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peakrt.cli import main as peakrt
from peakrt_lab.cli import main
from peakrt_lab.crystal import Beam, excited, make_crystal, random_rotation
from peakrt_lab.cxls.calibrate import Calibration, calibrate
from peakrt_lab.cxls.orient import assign, lattice_of, orient
from peakrt_lab.evaluate import misorientation_deg

PROTEINASE_K = (58.3, 58.3, 63.6, 90.0, 90.0, 90.0)
TRICLINIC = (41.0, 52.0, 63.0, 81.0, 95.0, 102.0)
PIXEL = 75e-6


def places(
    rng: np.random.Generator, energy_eV: float, length_m: float, n: int, cell: tuple[float, ...] = PROTEINASE_K
) -> tuple[np.ndarray, np.ndarray]:
    """Where up to n reflections of a randomly oriented crystal lie, m, with a fifth of a pixel of noise; its lattice."""
    wavelength = 12398.42 / energy_eV
    crystal = make_crystal(cell, "P 1", 1.7, 1)
    rotation = random_rotation(rng)
    beam = Beam(wavelength, 3e-3, 1e-4)
    _, intensity, direction = excited(crystal, rotation, beam, mosaicity=1e-3, size_A=5000.0, b_factor=20.0)
    at = np.c_[length_m * direction[:, :2] / direction[:, 2:], np.zeros(len(direction))]
    on = (np.abs(at[:, :2]) < 0.078).all(1) & (np.hypot(at[:, 0], at[:, 1]) > 0.003)
    at, intensity = at[on], intensity[on]
    at = at[np.argsort(-intensity)[:n]]
    at[:, :2] += rng.normal(0, 0.2 * PIXEL, (len(at), 2))
    return at, crystal.reciprocal @ rotation.T


def stray(rng: np.random.Generator, n: int) -> np.ndarray:
    """Places of n peaks of no crystal."""
    return np.c_[rng.uniform(-0.078, 0.078, (n, 2)), np.zeros(n)]


def test_the_lattice_has_the_lengths_of_gemmi() -> None:
    lattice = lattice_of(TRICLINIC, 0.15)
    unit = gemmi.UnitCell(*TRICLINIC)
    expected = [1 / unit.calculate_d(tuple(int(i) for i in hkl)) for hkl in lattice.hkl]
    assert lattice.length == pytest.approx(expected, rel=1e-9)
    assert len(lattice.hkl) == 2 * len(gemmi.make_miller_array(unit, gemmi.SpaceGroup("P 1"), 1 / 0.15, unique=True))


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_an_orientation_is_found_among_stray_peaks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    at, true = places(rng, 9000.0, 0.15, 30, TRICLINIC)
    if len(at) < 20:
        return
    both = rng.permutation(np.concatenate([at, stray(rng, 6)]))
    rays = both + [0, 0, 0.15]
    q = (rays / np.linalg.norm(rays, axis=1)[:, None] - [0, 0, 1]) * 9000.0 / 12398.42
    lattice = lattice_of(TRICLINIC, 0.7)
    rotation, explained = orient(q, lattice)
    assert explained >= 0.9 * len(at)
    assert misorientation_deg(lattice.reciprocal @ rotation.T, true) < 0.3
    assert assign(q, rotation, lattice)[1].sum() == explained


@pytest.mark.parametrize(("energy", "length"), [(6000.0, 0.15), (7123.0, 0.2471), (8000.0, 0.35)])
def test_energy_and_length_are_where_the_posterior_says(energy: float, length: float) -> None:
    rng = np.random.default_rng(int(energy))
    frames = [places(rng, energy, length, 60)[0] for _ in range(20)] + [stray(rng, 30), stray(rng, 3)]
    found = calibrate(frames, PROTEINASE_K, energy_eV=(5000.0, 10000.0), length_m=(0.1, 0.5), pixel_m=PIXEL)
    assert abs(found.photon_energy_eV - energy) < 4 * found.sigma_eV < 100
    assert abs(found.camera_length_m - length) < 4 * found.sigma_m < 0.005
    assert found.frames >= 15
    keV, _, cm, _ = found.nearest()
    assert (keV, cm) == (round(energy / 1e3), round(length * 100))


def test_fewer_frames_say_less() -> None:
    rng = np.random.default_rng(8)
    frames = [places(rng, 7000.0, 0.25, 60)[0] for _ in range(9)]
    ranges = {"energy_eV": (5000.0, 10000.0), "length_m": (0.1, 0.5)}
    one, nine = (calibrate(some, PROTEINASE_K, pixel_m=PIXEL, **ranges) for some in (frames[:1], frames))
    assert nine.sigma_eV < one.sigma_eV / 2
    assert abs(one.photon_energy_eV - 7000) < 4 * one.sigma_eV
    with pytest.raises(ValueError, match="no frame could be oriented"):
        calibrate([stray(rng, 40)], PROTEINASE_K, pixel_m=PIXEL, **ranges)
    with pytest.raises(ValueError, match="no frame has 6 peaks"):
        calibrate([stray(rng, 5)], PROTEINASE_K, pixel_m=PIXEL, **ranges)


def test_the_nearest_whole_numbers_come_with_their_probability() -> None:
    found = Calibration(7400.0, 0.2451, np.diag([(100 / 7400) ** 2, (0.001 / 0.2451) ** 2]), 1, 9, 0.1, 0.1)
    keV, p_keV, cm, p_cm = found.nearest()
    assert (keV, cm) == (7, 25)
    assert p_keV == pytest.approx(0.8413, abs=1e-3)  # half a keV is one sigma away
    assert p_cm == pytest.approx(0.5398, abs=1e-3)


def test_calibrate_reads_a_run(run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, cell = tmp_path / "found.cxi", str(run_file.with_suffix(".cell"))
    assert peakrt(["find", str(run_file), "-g", str(run_file.with_suffix(".geom")), "-o", str(found)]) == 0
    capsys.readouterr()
    numbers = tmp_path / "numbers.json"
    assert main(["calibrate", str(found), "-p", cell, "-n", "5", "--json", str(numbers)]) == 0
    record = json.loads(numbers.read_text())
    assert "to the nearest" in capsys.readouterr().out
    assert abs(record["photon_energy_eV"] - 9500) < 200  # of a detector of 256 x 256 pixels
    assert abs(record["camera_length_m"] - 0.1) < 0.002
    assert record["nearest_cm"] == 10
    for options, message in (
        (["--energy-range", "9000"], "two numbers LOW,HIGH in eV"),
        (["--length-range", "0.5,0.1"], "LOW should be above 0"),
        (["-n", "0"], "--frames is 0"),
    ):
        assert main(["calibrate", str(found), "-p", cell, *options]) == 1
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
