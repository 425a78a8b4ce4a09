"""``peakrt-lab spi``: patterns of single particles, their lit pixels and sizes, and which are of one particle."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from peakrt_geometry import Detector
from peakrt_geometry.crystfel import parse_geom
from peakrt_lab.cli import main
from peakrt_lab.spi.classifier import measured_patterns, train
from peakrt_lab.spi.features import Measurer
from peakrt_lab.spi.patterns import KINDS, Particles, Simulator, icosahedron

GEOMETRY = """
photon_energy = 1700 eV
clen = 0.26 m
adu_per_photon = 50
res = 6666.667
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs
p/min_fs = 0
p/max_fs = 127
p/min_ss = 0
p/max_ss = 127
p/corner_x = -64
p/corner_y = -64
p/fs = +1.0x
p/ss = +1.0y
"""
BRIGHT = Particles(photons=(1e4, 1e5), size_spread=0.0)


@pytest.fixture(scope="module")
def pnccd() -> Detector:
    return parse_geom(GEOMETRY, name="pnccd.geom")


def test_an_icosahedron_has_the_volume_of_its_sphere() -> None:
    side = np.linspace(-60, 60, 481)
    x, y = np.meshgrid(side, side)
    for seed in range(4):
        thickness = icosahedron(np.random.default_rng(seed), 70.0, x, y)
        assert thickness.sum() * (side[1] - side[0]) ** 2 == pytest.approx(np.pi / 6 * 70**3, rel=0.01)


def test_a_sphere_gives_its_own_size(pnccd: Detector) -> None:
    """Droplets that are spheres: the analytical profile against the transform of the projected density."""
    simulator = Simulator(pnccd, BRIGHT)
    x, y = simulator.x, simulator.y
    for diameter in (50.0, 70.0, 95.0):
        density = 2 * np.sqrt(np.maximum((diameter / 2) ** 2 - x**2 - y**2, 0))
        frame = 1e6 * simulator.scattered(density)
        measured = Measurer(pnccd, 70.0, gain=1.0)(frame)
        assert measured.size_nm == pytest.approx(diameter, rel=0.04)
        assert measured.misfit < 0.03


def test_numbers_do_not_change_when_the_pattern_turns(pnccd: Detector) -> None:
    simulator, measurer = (
        Simulator(pnccd, Particles(photons=(1e6, 1e6), noise=0.0, background=0.0)),
        Measurer(pnccd, 70.0),
    )
    for kind in ("single", "dimer", "aggregate"):
        frame = simulator.pattern(5, kind)
        turned = np.rot90(frame, axes=(1, 2)).copy()
        assert measurer(turned).numbers == pytest.approx(measurer(frame).numbers, abs=0.05)


def test_lit_pixels_tell_hits_from_blanks(pnccd: Detector) -> None:
    simulator, measurer = Simulator(pnccd, BRIGHT, seed=2), Measurer(pnccd, 70.0)
    blank = [measurer(simulator.pattern(k, "nothing")).lit_sigma for k in range(40)]
    assert np.mean(blank) == pytest.approx(0, abs=0.8)
    assert max(blank) < 6
    assert min(measurer(simulator.pattern(k, "single")).lit_sigma for k in range(40)) > 20


def test_single_particles_are_told_from_others(pnccd: Detector) -> None:
    measurer = Measurer(pnccd, 70.0)
    classify = train(pnccd, BRIGHT, measurer, each=80)
    kinds = np.repeat(np.array(KINDS), 40)
    probability = classify(measured_patterns(pnccd, BRIGHT, measurer, kinds, 9))
    single = kinds == "single"
    both = ((probability > 0.5) & single).sum()
    assert 2 * both / ((probability > 0.5).sum() + single.sum()) > 0.75
    assert probability.sum() == pytest.approx(40, abs=12)  # calibrated
    assert (classify(measured_patterns(pnccd, BRIGHT, measurer, kinds[:4], 9), 0.01) < probability[:4]).all()


def test_spi_lists_the_single_particles_of_a_run(
    pnccd: Detector, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peakrt_lab.spi.classifier.TRAINING", 60)
    run, geometry, out, numbers = (tmp_path / name for name in ("run.h5", "pnccd.geom", "singles.lst", "n.json"))
    geometry.write_text(GEOMETRY)
    kinds = ["single", "dimer", "nothing", "aggregate", "pair", "droplet"] * 4
    simulator = Simulator(pnccd, BRIGHT, seed=4)
    with h5py.File(run, "w") as file:  # 50 ADU a photon, as the geometry says
        file["/entry_1/data_1/data"] = 50 * np.concatenate([simulator.pattern(k, kind) for k, kind in enumerate(kinds)])
    arguments = ["spi", str(run), "-g", str(geometry), "-o", str(out)]
    assert main([*arguments, "--share", "0.2", "--size-spread", "0.01", "--json", str(numbers)]) == 0
    record = json.loads(numbers.read_text())
    assert record["events"] == 24
    assert record["hits"] == 20
    picked = [int(line.rpartition("//")[2]) for line in out.read_text().splitlines()]
    right = [n for n in picked if kinds[n] == "single"]
    assert len(right) >= 3
    assert len(picked) - len(right) <= 2
    capsys.readouterr()
    for options, message in (
        ([], "exists: replace it with --overwrite"),
        (["--overwrite", "--share", "2"], "--share is 2.0, a number between 0 and 1"),
        (["--overwrite", "--size-nm", "-3"], "--size-nm is -3.0, a number above 0"),
        (["--overwrite", "--size-nm", "900"], "is the size right, or the camera length?"),
    ):
        assert main([*arguments, *options]) == 1
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
