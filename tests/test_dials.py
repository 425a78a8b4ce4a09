"""DIALS: as a second opinion on real frames, and as an indexer of our peaks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from peakrt_geometry import load_detector, read_geom
from peakrt_lab.cli import main as lab_main
from peakrt_lab.compare import stream_sets
from peakrt_lab.dials import find_spots, make_job, read_cell, read_frames
from peakrt_lab.evaluate import read_result
from peakrt_lab.simulate import RESPONSES, Scene, Simulator
from peakrt_lab.stream import read_chunks
from peakrt_lab.truth import Truth, write_cell, write_run

from .conftest import SHARED

CELL = (79.1, 79.1, 38.4, 90.0, 90.0, 90.0)


@pytest.fixture(scope="module")
def second() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks/dials.py"
    spec = importlib.util.spec_from_file_location("second_opinion", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.dials
@pytest.mark.realdata
@pytest.mark.parametrize("number", ["01", "09"])
def test_what_dials_finds_is_found(second: ModuleType, tmp_path: Path, number: str) -> None:
    frame = SHARED / f"thaumatin_pilatus6M/thau_3_2_00{number}.cbf.bz2"
    if not frame.exists():
        pytest.skip("the real frames are not here")
    result = second.opinions(second.read(frame, tmp_path))
    theirs, ours, share, rms = result["candidate"]
    assert theirs > 200
    assert share > 0.95
    assert share > result["peakfinder8, defaults"][2]
    assert ours < 3 * theirs
    assert rms < 0.6  # DIALS weighs all pixels of a spot, we a window


@pytest.fixture(scope="module")
def lysozyme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of one crystal form on a detector of many panels, and what the network finds on them."""
    folder = tmp_path_factory.mktemp("lysozyme")
    simulator = Simulator(
        load_detector("epix10k2m"), Scene(hit_fraction=0.8), RESPONSES["epix10k2m"], cell=CELL, space_group="P 43 21 2",
        seed=5,
    )  # fmt: skip
    write_run(folder / "sim.cxi", simulator, (simulator.event(n) for n in range(6)))
    command = [
        sys.executable,
        "-m",
        "peakrt.cli",
        "find",
        "sim.cxi",
        "-g",
        "sim.geom",
        "-o",
        "peaks.cxi",
        "--events",
        "all",
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return folder


def test_job_has_the_geometry_of_the_file(lysozyme: Path) -> None:
    """From DIALS' panels and pixels to the laboratory: where the geometry says that each peak is."""
    detector = read_geom(lysozyme / "peaks.geom")
    job = make_job(read_frames(lysozyme / "peaks.cxi", detector), detector, None, 1)
    with h5py.File(lysozyme / "peaks.cxi") as file:
        ss, fs = (file[f"/entry_1/result_1/peak{axis}PosRaw"][0] for axis in "YX")
        n = int(file["/entry_1/result_1/nPeaks"][0])
    frame = job["frames"][0]
    assert len(frame["fs"]) == n > 20
    at = detector.lab_position_m(*detector.from_slab(ss[:n]), fs[:n])
    length = frame["camera_length"] * 1e-3
    for k, number in enumerate(frame["panel"]):
        panel = job["panels"][number]
        place = np.array(panel["origin"])
        for axis, pixel, direction in zip(("fs", "ss"), panel["pixel"], ("fast", "slow"), strict=True):
            place = place + (frame[axis][k] + 0.5) * pixel * np.array(panel[direction])
        np.testing.assert_allclose(place * 1e-3, [axis[k] for axis in at], atol=1e-8)
    assert length == pytest.approx(detector.number("camera_length"))
    assert frame["wavelength"] == pytest.approx(12398.4 / detector.number("photon_energy"), rel=1e-4)


@pytest.mark.dials
def test_dials_finds_spots_of_frames() -> None:
    rng = np.random.default_rng(0)
    light = np.full((2, 200, 300), 2.0)
    places = [(40, 50), (90, 210), (150, 120)]
    for ss, fs in places:
        light[0, ss - 1 : ss + 2, fs - 1 : fs + 2] += [[20, 60, 20], [60, 200, 60], [20, 60, 20]]
    frames = rng.poisson(light).astype(np.int32)
    frames[:, 100:103] = -2
    frames[:, :, :2] = 0
    first, second = find_spots(list(frames))
    assert len(second) == 0
    assert len(first) == len(places)
    found = sorted(zip(first.ss, first.fs, strict=True))
    np.testing.assert_allclose(found, places, atol=0.3)


@pytest.mark.dials
def test_dials_indexes_our_peaks(lysozyme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "evaluate", str(lysozyme / "peaks.cxi"), "--indexer", "dials", "-p", str(lysozyme / "sim.cell"), "--truth",
        str(lysozyme / "sim.cxi"), "-j", "2", "--keep", str(lysozyme),
    ]  # fmt: skip
    if lab_main(arguments) != 0:
        said = capsys.readouterr().err
        if "PEAKRT_CCTBX" in said:
            pytest.skip("this DIALS cannot refine stills, and PEAKRT_CCTBX names no cctbx that can")
        pytest.fail(said)
    truth, results = Truth(lysozyme / "sim.cxi"), lysozyme / "peaks.jsonl"
    result = read_result(results, truth=truth)
    assert result.frames == len(truth)
    assert result.indexed == len(result.orientation_deg) == truth.hit.sum()
    assert result.wrong == result.false_hits == 0
    assert np.median(result.orientation_deg) < 0.05
    np.testing.assert_allclose(np.median(result.cells, 0), CELL, atol=0.05)
    # what was found lies on what is predicted, and both can be had as peak sets
    detector = read_geom(lysozyme / "peaks.geom")
    found, predicted = (stream_sets(results, detector, predictions=flag) for flag in (False, True))
    for event, peaks in predicted.items():
        if not truth.hit[event]:
            assert len(peaks) == 0
            continue
        apart = np.hypot(
            found[event].ss[:, None] - peaks.ss[None], found[event].fs[:, None] - peaks.fs[None]
        ).min(1)  # fmt: skip
        assert np.mean(apart < 2) > 0.8


def test_errors_of_the_dials_indexer(
    lysozyme: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", str(lysozyme / "peaks.cxi"), "--indexer", "dials", "-p", str(lysozyme / "sim.cell")]
    monkeypatch.setenv("DIALS_PYTHON", sys.executable)  # a Python without DIALS
    monkeypatch.delenv("PEAKRT_CCTBX", raising=False)
    assert lab_main(arguments) == 1
    assert "cctbx" in capsys.readouterr().err
    monkeypatch.delenv("DIALS_PYTHON")
    monkeypatch.setenv("PATH", "/nowhere")
    assert lab_main(arguments) == 1
    assert "DIALS is not on PATH" in capsys.readouterr().err
    cut = lysozyme / "cut.cxi"
    cut.write_bytes((lysozyme / "peaks.cxi").read_bytes()[:100000])
    assert lab_main(["evaluate", str(cut), "-g", str(lysozyme / "peaks.geom"), "--indexer", "dials"]) == 1
    assert f"{cut} is not a readable HDF5 file" in capsys.readouterr().err


def test_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.cell"
    for cell, group, expected in (
        ((79.1, 79.1, 38.4, 90.0, 90.0, 90.0), "P 43 21 2", "P 4"),
        ((50.0, 60.0, 70.0, 90.0, 101.0, 90.0), "C 1 2 1", "C 1 2 1"),
        ((50.0, 60.0, 70.0, 90.0, 90.0, 90.0), "I 2 2 2", "I 2 2 2"),
        ((50.0, 50.0, 70.0, 90.0, 90.0, 120.0), "P 61 2 2", "P 3"),
        ((50.0, 50.0, 50.0, 90.0, 90.0, 90.0), "F 4 3 2", "F 2 3"),
        ((50.0, 60.0, 70.0, 80.0, 85.0, 95.0), "P 1", "P 1"),
    ):
        write_cell(path, cell, group)
        read = read_cell(path)
        assert read.parameters == pytest.approx(cell)
        assert read.space_group == expected
    path.write_text("hello")
    with pytest.raises(ValueError, match="not a CrystFEL unit cell"):
        read_cell(path)
    write_cell(path, CELL, "P 43 21 2")
    path.write_text(path.read_text().replace("a = 79.1000 A\n", ""))
    with pytest.raises(ValueError, match="'a' is missing"):
        read_cell(path)
    path.write_text(path.read_text().replace("unique_axis = c", "unique_axis = a") + "a = 79.1 A\n")
    with pytest.raises(ValueError, match="unique_axis a"):
        read_cell(path)


def test_not_a_result(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = {
        "file": "x.cxi",
        "event": "//0",
        "panel": [],
        "fs": [],
        "ss": [],
        "intensity": [],
        "crystal": None,
        "why": "",
    }
    path.write_text(json.dumps(good) + "\n{}\n")
    chunks = read_chunks(path)
    assert next(chunks).number == 0
    with pytest.raises(ValueError, match="line 2: not a line of a DIALS result"):
        next(chunks)
    for crystal in ({}, {"reciprocal": [1, 2], "cell": [1] * 6, "panel": [], "fs": [], "ss": []}, 3):
        path.write_text(json.dumps({**good, "crystal": crystal}))
        with pytest.raises(ValueError, match="line 1"):
            list(read_chunks(path))
