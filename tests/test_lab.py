"""Simulation, comparison and evaluation."""

from __future__ import annotations

import html
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gemmi
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from peakrt import _native
from peakrt.cxi.reader import SlabPeaks
from peakrt.finder import PeakFinder
from peakrt.sources import open_source
from peakrt_geometry import load_detector, read_geom
from peakrt_lab.compare import compare, cxi_sets, match, slab_peaks, stream_sets, truth_sets
from peakrt_lab.crystal import Beam, excited, make_crystal, random_cell, random_rotation
from peakrt_lab.evaluate import misorientation_deg, read_result
from peakrt_lab.report import THRESHOLDS
from peakrt_lab.simulate import RESPONSES, SPOT, Response, Scene, Simulator
from peakrt_lab.stream import read_stream
from peakrt_lab.truth import Truth, write_run


def lab(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "peakrt_lab.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# Crystals


def test_reflections_equal_gemmi() -> None:
    cell, group = (60.0, 60.0, 110.0, 90.0, 90.0, 120.0), "P 61 2 2"
    crystal = make_crystal(cell, group, 4.0, seed=1)
    unit, operations = gemmi.UnitCell(*cell), gemmi.find_spacegroup_by_name(group).operations()
    expected = gemmi.make_miller_array(unit, gemmi.find_spacegroup_by_name(group), 4.0, 1e9, unique=False)
    allowed = {tuple(int(x) for x in hkl) for hkl in expected if not operations.is_systematically_absent(hkl)}
    assert {tuple(hkl) for hkl in crystal.hkl.tolist()} == allowed
    d = 1 / np.linalg.norm(crystal.q, axis=1)
    np.testing.assert_allclose(d[:200], [unit.calculate_d(hkl) for hkl in crystal.hkl[:200].tolist()], rtol=1e-9)
    by_hkl = dict(zip(map(tuple, crystal.hkl.tolist()), crystal.strength, strict=True))
    asu = gemmi.ReciprocalAsu(gemmi.find_spacegroup_by_name(group))
    for hkl, strength in list(by_hkl.items())[:300]:
        unique, _ = asu.to_asu(hkl, operations)
        assert by_hkl[tuple(unique)] == strength
    acentric = ~operations.centric_flag_array(crystal.hkl.astype(np.int32))
    assert crystal.strength[acentric].mean() == pytest.approx(1, abs=0.15)


def test_excited_reflections_lie_near_the_ewald_sphere() -> None:
    crystal = make_crystal((50.0, 60.0, 70.0, 90.0, 90.0, 90.0), "P 21 21 21", 3.0, seed=0)
    rotation = random_rotation(np.random.default_rng(0))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    near, intensity, direction = excited(
        crystal, rotation, Beam(1.3, 1e-3, 1e-4), mosaicity=1e-3, size_A=5000, b_factor=20
    )
    q = crystal.q[near] @ rotation.T
    error = np.linalg.norm(q + [0, 0, 1 / 1.3], axis=1) - 1 / 1.3
    assert np.abs(error).max() < 5e-3 * np.linalg.norm(q, axis=1).max() + 4e-4
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 1)
    assert (intensity >= 0).all()


def test_random_cells_fit_their_groups() -> None:
    for seed in range(30):
        cell, group = random_cell(np.random.default_rng(seed))
        assert len(make_crystal(cell, group, 6.0, seed).hkl) > 50
    with pytest.raises(ValueError, match="not known"):
        make_crystal((50, 50, 50, 90, 90, 90), "P 7", 3.0, 0)
    with pytest.raises(ValueError, match="does not fit"):
        make_crystal((50, 60, 50, 90, 90, 90), "P 4", 3.0, 0)


# Noise


@pytest.mark.parametrize("mean", [0.01, 0.5, 5.0, 9.9, 10.1, 40.0, 1000.0])
def test_counts_are_poisson(mean: float) -> None:
    from scipy.stats import chisquare, poisson

    photons = np.full((1, 200, 500), mean, np.float32)
    _native.count_photons(photons, 7)
    counts = photons.ravel().astype(int)
    edges = np.unique(poisson.ppf(np.linspace(0, 1, 12)[1:-1], mean))
    classes = np.searchsorted(edges, counts)
    expected = np.diff(np.r_[0, poisson.cdf(edges, np.float32(mean)), 1])
    keep = expected * len(counts) > 5
    observed = np.bincount(classes, minlength=len(expected))
    assert (
        chisquare(
            np.r_[observed[keep], 0.0 + observed[~keep].sum() + 1],
            np.r_[expected[keep] * len(counts), len(counts) - expected[keep].sum() * len(counts) + 1],
        ).pvalue
        > 1e-4
    )


def test_read_out() -> None:
    photons = np.full((1, 400, 400), 5, np.float32)
    frame = np.empty_like(photons)
    _native.read_out(
        photons,
        frame,
        offset=10,
        gain=2,
        gain_spread=0.1,
        read_noise=0.5,
        low=0,
        high=1e6,
        whole=False,
        pixel_seed=1,
        seed=2,
    )
    assert frame.mean() == pytest.approx(20, abs=0.02)
    assert frame.std() == pytest.approx(np.hypot(1.0, 0.5), rel=0.02)
    again = np.empty_like(frame)
    _native.read_out(
        photons,
        again,
        offset=10,
        gain=2,
        gain_spread=0.1,
        read_noise=0.0,
        low=0,
        high=21,
        whole=True,
        pixel_seed=1,
        seed=9,
    )
    assert again.max() == 21
    np.testing.assert_array_equal(again, np.rint(again))


def test_spots_keep_their_photons_and_places() -> None:
    spot = np.zeros(1, SPOT)
    spot["ss"], spot["fs"], spot["photons"], spot["sigma_along"], spot["sigma_across"] = (
        20.3,
        30.8,
        1000,
        2.0,
        0.6,
    )
    spot["cos_fs"], spot["sin_ss"] = np.cos(0.5), np.sin(0.5)
    image = np.zeros((1, 64, 64), np.float32)
    _native.draw_spots(spot, image)
    ss, fs = np.mgrid[:64, :64]
    assert image.sum() == pytest.approx(1000, rel=0.01)
    assert (image[0] * ss).sum() / image.sum() == pytest.approx(20.3, abs=0.01)
    assert (image[0] * fs).sum() / image.sum() == pytest.approx(30.8, abs=0.01)
    covariance = (image[0] * (ss - 20.3) * (fs - 30.8)).sum() / image.sum()
    assert covariance == pytest.approx((4 - 0.36) * np.cos(0.5) * np.sin(0.5), rel=0.05)


# Simulated events


def test_events_depend_on_seed_and_number_alone() -> None:
    def make(seed: int) -> Simulator:
        return Simulator(load_detector("jungfrau1m"), response=RESPONSES["jungfrau1m"], seed=seed)

    a, b = make(5), make(5)
    a.event(0)
    one, two = a.event(3), b.event(3)
    np.testing.assert_array_equal(one.frame, two.frame)
    np.testing.assert_array_equal(one.peaks, two.peaks)
    assert not np.array_equal(make(6).event(3).frame, one.frame)


@pytest.mark.parametrize("name", ["epix10k2m", "rayonix_mx170", "agipd1m", "pilatus6m"])
def test_truth_is_where_the_photons_are(name: str) -> None:
    """Strong true peaks stand out of the frame at their place: their own pixels, summed, are their photons."""
    detector, quiet = (
        load_detector(name),
        {"jet": 0.0, "shadow": 0.0, "ice": 0.0, "salt": 0.0, "zingers": 0.0},
    )
    scene = Scene(hit_fraction=1, photons=(3e4, 5e4), background=(0.1, 0.2), d_min=3.0, **quiet)  # type: ignore[arg-type]
    response = RESPONSES[name]
    simulator = Simulator(detector, scene=scene, response=response, cell=(50.0, 60.0, 70.0, 90.0, 90.0, 90.0), seed=2)
    ratios, offsets = [], []
    for number in range(2):
        event = simulator.event(number)
        strong = event.peaks[(event.peaks["photons"] > 500) & (event.peaks["sigma"] < 2)]
        for peak in strong:
            c_ss, c_fs, panel = round(float(peak["ss"])), round(float(peak["fs"])), int(peak["panel"])
            row = next(r for r in detector.asics if r[0] == panel and r[1] <= c_ss < r[2] and r[3] <= c_fs < r[4])
            if min(c_ss - row[1], row[2] - 1 - c_ss, c_fs - row[3], row[4] - 1 - c_fs) < 8:
                continue
            others = np.hypot(event.peaks["ss"] - peak["ss"], event.peaks["fs"] - peak["fs"])[
                event.peaks["panel"] == panel
            ]
            box = np.s_[panel, c_ss - 7 : c_ss + 8, c_fs - 7 : c_fs + 8]
            if np.sort(others)[1:2].min(initial=99) < 12 or not simulator.good[box].all():
                continue
            adu = event.frame[box].astype(float) - response.offset
            light = np.clip(adu / simulator.gain - peak["background"], 0, None) * (adu / simulator.gain > 2)
            ss, fs = np.mgrid[c_ss - 7 : c_ss + 8, c_fs - 7 : c_fs + 8]
            ratios.append((adu / simulator.gain - peak["background"]).sum() / peak["photons"])
            offsets.append(
                ((light * ss).sum() / light.sum() - peak["ss"], (light * fs).sum() / light.sum() - peak["fs"])
            )
    assert len(ratios) > 10
    assert np.median(ratios) == pytest.approx(1, abs=0.04)
    assert np.abs(np.median(offsets, axis=0)).max() < 0.03  # no half pixel anywhere


def test_blanks_are_blank_and_masks_listed() -> None:
    simulator = Simulator(
        load_detector("jungfrau1m"), scene=Scene(hit_fraction=0), response=Response(hot=1e-4, dead=1e-4)
    )
    event = simulator.event(0)
    assert not event.hit
    assert len(event.peaks) == 0
    assert (~simulator.good).sum() > 50


def test_every_disturbance_draws() -> None:
    scene = Scene(hit_fraction=1, lattices=3, jet=1, shadow=1, ice=1, salt=1, zingers=20)
    event = Simulator(load_detector("jungfrau1m"), scene=scene, response=RESPONSES["jungfrau1m"], seed=3).event(1)
    assert np.isfinite(event.frame).all()
    assert len(event.lattices) >= 1


def test_simulate_command(tmp_path: Path) -> None:
    done = lab(
        "simulate",
        "-g",
        "jungfrau1m",
        "-n",
        3,
        "-o",
        tmp_path / "a.cxi",
        "--cell",
        "79,79,38,90,90,90",
        "--space-group",
        "P 43 21 2",
        "--background",
        "1,2",
    )
    assert done.returncode == 0, done.stderr
    truth = Truth(tmp_path / "a.cxi")
    assert len(truth) == 3
    assert truth.cell == (79, 79, 38, 90, 90, 90)
    assert "lattice_type = tetragonal" in (tmp_path / "a.cell").read_text()
    with h5py.File(tmp_path / "a.cxi") as file:
        assert file["/entry_1/data_1/data"].shape == (3, 1024, 1024)
    for change, message in (
        (("--cell", "1,2,3"), "six numbers"),
        (("-g", "nosuch"), "neither"),
        (("--photons", "many"), "expected something like"),
        (("--space-group", "P 9"), "not known"),
        ((), "exists"),
    ):
        arguments = [
            "simulate",
            "-g",
            "jungfrau1m",
            "-n",
            1,
            "-o",
            tmp_path / "a.cxi",
            "--cell",
            "79,79,38,90,90,90",
            *change,
        ]
        done = lab(*arguments)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr


# PeakDiff


def peaks_at(points: np.ndarray) -> SlabPeaks:
    n = len(points)
    return SlabPeaks(points[:, 0], points[:, 1], np.ones(n), np.full(n, np.nan))


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 40),
    m=st.integers(0, 40),
    size=st.sampled_from([10.0, 30.0, 200.0]),
)
def test_match_equals_one_big_assignment(seed: int, n: int, m: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, size, (n, 2)), rng.uniform(0, size, (m, 2))
    i, j = match(peaks_at(a), peaks_at(b), distance=4.0)
    assert len(set(i)) == len(i) == len(set(j))
    cost = np.linalg.norm(a[:, None] - b[None], axis=2) if n and m else np.zeros((n, m))
    far = 1e4
    gated = np.where(cost <= 4.0, cost, far)
    rows, columns = linear_sum_assignment(gated)
    kept = gated[rows, columns] < far
    assert len(i) == kept.sum()
    assert cost[i, j].sum() == pytest.approx(gated[rows, columns][kept].sum(), abs=1e-9)


@pytest.mark.realdata
def test_outliers_of_real_stills(shared: Path) -> None:
    """CuNiR stills: of the peaks found, those of the indexed lattice are matched and the outliers are not."""
    data = np.load(shared / "peaklists" / "cunir_peaks_and_truth.npz", allow_pickle=False)
    for crystal in range(5):
        lattice = data[f"crystal{crystal}_xy"][:, ::-1]
        found = data[f"img{int(data[f'crystal{crystal}_image'])}_xy"][:, ::-1]
        i, j = match(peaks_at(lattice), peaks_at(found), distance=3.0)
        assert len(i) == len(lattice)
        np.testing.assert_allclose(lattice[i], found[j], atol=1e-6)
        assert 0.2 <= len(i) / len(found) < 0.85


def test_compare_counts() -> None:
    truth = {
        0: SlabPeaks(
            np.array([10.0, 50.0, 90.0]), np.array([10.0, 50.0, 90.0]), np.ones(3), np.array([20.0, 6.0, 2.0])
        ),
        1: peaks_at(np.zeros((0, 2))),
    }
    found = {
        0: peaks_at(np.array([[10.5, 10.0], [90.0, 90.0], [200.0, 200.0]])),
        1: peaks_at(np.array([[5.0, 5.0]])),
    }
    result = compare(truth, found, distance=3, min_snr=5, blank=lambda event: event == 1)
    assert (result.reference, result.found, result.matched) == (2, 3, 1)
    assert (result.blank_events, result.blank_found) == (1, 1)
    assert result.by_snr[(15.0, np.inf)] == [1, 1]
    assert result.by_snr[(5.0, 7.0)] == [1, 0]
    mean, _ = result.position_error()
    assert mean[0] == pytest.approx(0.25)


def test_found_against_truth(run_file: Path, tmp_path: Path) -> None:
    """The whole way: simulate, find, write, compare; positions show no shift."""
    done = subprocess.run([sys.executable, "-m", "peakrt.cli", "find", str(run_file), "-g", str(run_file.with_suffix(".geom")), "-o", str(tmp_path / "f.cxi")], check=True, capture_output=True)  # fmt: skip
    assert done.returncode == 0
    detector = read_geom(run_file.with_suffix(".geom"))
    truth, found = truth_sets(run_file, detector), cxi_sets(tmp_path / "f.cxi")
    hits = {event: peaks for event, peaks in truth.items() if event in found}
    result = compare(hits, found, distance=3, min_snr=8)
    assert result.precision > 0.95
    assert result.recall > 0.85
    mean, rms = result.position_error()
    assert np.abs(mean).max() < 0.03
    assert rms.max() < 0.5
    report = lab("compare", f"{run_file}:truth", tmp_path / "f.cxi", "--min-snr", 8)
    assert report.returncode == 0, report.stderr
    assert "recall at SNR" in report.stdout
    same = lab("compare", tmp_path / "f.cxi", f"{run_file}:peakfinder8")
    assert "1.0000" in same.stdout


def test_compare_errors(tmp_path: Path, run_file: Path) -> None:
    for arguments, message in (
        (("nosuch.cxi", run_file), "does not exist"),
        ((f"{run_file}:truth", run_file), "no /entry_1/result_1/nPeaks"),
        ((f"{run_file}:truth", f"{run_file}:v3r3", "--distance", "0"), "above 0"),
    ):
        done = lab("compare", *arguments)
        assert done.returncode == 1
        assert message in done.stderr


# Streams


@pytest.mark.realdata
def test_real_stream(shared: Path) -> None:
    path = shared / "peaklists" / "crystfel_test_5HT2B_LCLS_CSPAD.stream"
    chunks = list(read_stream(path))
    assert len(chunks) == 70
    assert sum(len(chunk.ss) for chunk in chunks) == 2172
    crystals = [crystal for chunk in chunks for crystal in chunk.crystals]
    assert len(crystals) == 32
    for crystal in crystals:
        a, b, c = np.linalg.norm(np.linalg.inv(crystal.reciprocal).T, axis=1)
        np.testing.assert_allclose((a, b, c), crystal.cell[:3], rtol=2e-3)
        assert len(crystal.ss) == len(crystal.panel) > 0
    result = read_result(path)
    assert (result.frames, result.crystals) == (70, 32)
    # found peaks lie on the predictions of their own crystals: the two tables share their coordinates
    predicted, found = (stream_sets(path, None, predictions=flag) for flag in (True, False))
    both = {event: peaks for event, peaks in predicted.items() if len(peaks)}
    agreement = compare(both, {event: found[event] for event in both}, distance=5)
    assert agreement.precision > 0.5
    mean, _ = agreement.position_error()
    assert np.abs(mean).max() < 0.5


def test_not_a_stream(tmp_path: Path) -> None:
    (tmp_path / "a.stream").write_text("hello\n")
    done = lab("evaluate", tmp_path / "a.stream")
    assert done.returncode == 1
    assert "not a CrystFEL stream" in done.stderr
    text = "CrystFEL stream format 2.3\n----- Begin chunk -----\nPeaks from peak search\n  head\n 1.0 x 2 3 p\nEnd of peak list\n"
    (tmp_path / "a.stream").write_text(text)
    assert "line 6" in lab("evaluate", tmp_path / "a.stream").stderr


def test_misorientation() -> None:
    rng = np.random.default_rng(0)
    lattice = make_crystal((40.0, 50.0, 60.0, 80.0, 95.0, 100.0), "P 1", 10.0, 0).reciprocal @ random_rotation(rng).T
    angle = np.deg2rad(0.3)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    change = np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1]])  # the indexer's choice of axes
    assert misorientation_deg(change @ lattice @ turn.T, lattice) == pytest.approx(0.3, abs=1e-6)
    assert misorientation_deg(1.004 * lattice @ turn.T, lattice) == pytest.approx(0.3, abs=1e-6)
    assert np.isnan(misorientation_deg(lattice @ random_rotation(rng).T * 1.3, lattice))


def test_evaluate_needs_indexamajig(run_file: Path, tmp_path: Path) -> None:
    if shutil.which("indexamajig"):
        pytest.skip("CrystFEL is here: test_crystfel runs it")
    done = lab("evaluate", run_file)
    assert done.returncode == 1
    assert "indexamajig is not on PATH" in done.stderr


@pytest.mark.crystfel
def test_crystfel_indexes_our_peaks(tmp_path: Path) -> None:
    """indexamajig's yield from our tables against its own peakfinder8: the same from ours, no less from the candidate finder."""
    from peakrt_lab.evaluate import run_indexamajig

    detector = load_detector("rayonix_mx170")
    scene = Scene(hit_fraction=0.6, photons=(300.0, 10000.0))
    simulator = Simulator(detector, scene=scene, response=RESPONSES["rayonix_mx170"], cell=(79.0, 79.0, 38.0, 90.0, 90.0, 90.0), space_group="P 43 21 2", seed=8)  # fmt: skip
    write_run(tmp_path / "sim.cxi", simulator, (simulator.event(n) for n in range(250)))
    truth, cell = Truth(tmp_path / "sim.cxi"), tmp_path / "sim.cell"
    for name, finder in (("ours", ("--finder", "peakfinder8", "--adc-threshold", "0")), ("candidate", ())):
        subprocess.run(
            [
                sys.executable, "-m", "peakrt.cli", "find", str(tmp_path / "sim.cxi"), "-g", str(tmp_path / "sim.geom"),
                "-o", str(tmp_path / f"{name}.cxi"), "--events", "all", *finder,
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        run_indexamajig(
            tmp_path / f"{name}.cxi", tmp_path / f"{name}.geom", tmp_path / f"{name}.stream", cell=cell, processes=2
        )
    own = ("--threshold=0", "--min-snr=6", "--min-pix-count=2", "--max-pix-count=100", "--local-bg-radius=4")
    run_indexamajig(
        tmp_path / "sim.cxi",
        tmp_path / "sim.geom",
        tmp_path / "theirs.stream",
        cell=cell,
        processes=2,
        peaks="peakfinder8",
        extra=own,
    )
    ours, theirs, network = (
        read_result(tmp_path / f"{name}.stream", truth=truth) for name in ("ours", "theirs", "candidate")
    )
    assert network.indexed >= theirs.indexed
    assert np.median(network.orientation_deg) < 1.2 * np.median(theirs.orientation_deg) + 0.01
    assert abs(ours.indexed - theirs.indexed) <= 2
    assert np.median(ours.orientation_deg) < 1.2 * np.median(theirs.orientation_deg) + 0.01


def test_finder_sets_agree_with_files(run_file: Path) -> None:
    source = open_source([str(run_file)], read_geom(run_file.with_suffix(".geom")))
    finder = PeakFinder(geometry=source.detector)
    event = next(source.events())
    peaks = slab_peaks(finder(event.frame), event.frame.shape[1])
    i, j = match(peaks, peaks, distance=1.0)
    np.testing.assert_array_equal(i, j)


def test_truth_of_many_planes_is_in_the_slab(tmp_path: Path) -> None:
    """AGIPD's sixteen planes become one slab: a bright true peak lies on the brightest pixels there."""
    from dataclasses import replace

    from peakrt_geometry import load_detector
    from peakrt_lab.compare import truth_sets
    from peakrt_lab.simulate import RESPONSES, Scene, Simulator
    from peakrt_lab.truth import write_run

    scene = Scene(hit_fraction=1.0, photons=(3000.0, 10000.0), background=(0.1, 0.2), zingers=0, jet=0, shadow=0)
    simulator = Simulator(load_detector("agipd1m"), scene, replace(RESPONSES["agipd1m"], hot=0.0), seed=3)
    write_run(tmp_path / "a.cxi", simulator, [simulator.event(0), simulator.event(1)])
    detector = read_geom(tmp_path / "a.geom")
    with h5py.File(tmp_path / "a.cxi") as file:
        for event, peaks in truth_sets(tmp_path / "a.cxi", detector).items():
            frame = file["/entry_1/data_1/data"][event]
            bright = peaks.snr > 20
            assert bright.sum() > 5
            at = frame[np.rint(peaks.ss[bright]).astype(int), np.rint(peaks.fs[bright]).astype(int)]
            assert np.median(at) > 20 * np.median(frame[frame > 0])


# tune, report, train


def test_tune_prints_a_command_that_finds_more(run_file: Path) -> None:
    text = lab("tune", run_file, "-n", 6).stdout
    assert "--finder peakfinder8 --adc-threshold" in text
    from peakrt.config import Peakfinder8Config
    from peakrt_lab.compare import finder_sets
    from peakrt_lab.tune import tune

    detector = read_geom(run_file.with_suffix(".geom"))
    events = list(open_source([str(run_file)], detector).events())
    truth = truth_sets(run_file, detector)
    _, reached = tune("peakfinder8", events, truth, detector, gain=10.0)
    plain = compare(truth, finder_sets(events, PeakFinder(Peakfinder8Config(), geometry=detector)), min_snr=4)
    assert reached.f1 >= plain.f1
    with pytest.raises(ValueError, match="no events"):
        tune("v3r3", [], {}, detector, gain=1.0)
    with pytest.raises(ValueError, match="tuned are peakfinder8 and v3r3"):
        tune("candidate", events, truth, detector, gain=1.0)


def test_report_judges_every_finder(run_file: Path, tmp_path: Path) -> None:
    text = lab("report", run_file, "-o", tmp_path / "report").stdout
    assert "mean F1" in text
    page, table = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    for name in (
        "candidate",
        "candidate, gain estimated",
        "candidate, no geometry",
        "peakfinder8, defaults",
        "peakfinder8, tuned here",
        "v3r3",
        "Jungfraujoch's rule",
        "Jungfraujoch's rule, tuned here",
    ):
        assert f"| {name} |" in table
        assert f"<td>{html.escape(name)}</td>" in page
    assert page.count("<svg") == 1
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in table.splitlines() if line.startswith("| ")}
    assert float(rows["candidate"][0]) >= float(rows["peakfinder8, defaults"][0])
    # by threshold: fewer false ones and fewer found, and the line of the default is that of the network
    by_threshold = {float(name): [float(c) for c in cells[:3]] for name, cells in rows.items() if name[0].isdigit()}
    assert set(by_threshold) == set(THRESHOLDS)
    recall = [by_threshold[t][2] for t in THRESHOLDS]
    assert recall == sorted(recall, reverse=True)
    assert recall[0] > recall[-1]
    assert by_threshold[0.1][1] < by_threshold[0.95][1]
    assert by_threshold[0.8] == pytest.approx([float(cell) for cell in rows["candidate"][:3]], abs=0.01)
    done = subprocess.run(
        [sys.executable, "-m", "peakrt_lab.cli", "report", str(run_file.with_suffix(".geom")), "-o", str(tmp_path / "x")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_train_goes_on_in_its_folder_and_makes_a_model(run_file: Path, tmp_path: Path) -> None:
    for module in ("torch", "lightgbm", "onnx"):
        pytest.importorskip(module, reason="needs pip install '.[train]'")
    from peakrt.models.model_file import load_model

    command = ("train", "-o", tmp_path / "small.onnx", "--work", tmp_path / "work", "-n", 60, "--steps", 1100, "-j", 1)
    text = lab(*command).stdout
    assert "calibration error" in text
    model = load_model(str(tmp_path / "small.onnx"))
    assert model.provenance["config"]["scenes"] == 60
    assert model.provenance["recipe"] >= 1
    assert (tmp_path / "small.png").stat().st_size > 5000
    (tmp_path / "small.onnx").unlink()
    assert "step 0 of" not in lab(*command).stdout  # simulated and mostly trained already
    again = load_model(str(tmp_path / "small.onnx"))
    assert again.provenance["held_out"] == model.provenance["held_out"]
    other = subprocess.run(
        [sys.executable, "-m", "peakrt_lab.cli", *(str(c) for c in command), "--seed", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert other.returncode == 1
    assert "another configuration" in other.stderr
    # real blanks to learn from: another training_set, and the file says so
    blank = Simulator(
        load_detector("rayonix_mx170"), Scene(hit_fraction=0.0, zingers=200.0), RESPONSES["rayonix_mx170"], seed=4
    )
    write_run(tmp_path / "blank.cxi", blank, [blank.event(0)])
    lab(*command, "--work", tmp_path / "other", "--blanks", tmp_path / "blank.cxi", "-g", tmp_path / "blank.geom")
    done = lab(*command, "--blanks", tmp_path / "blank.cxi", "-g", tmp_path / "blank.geom")
    assert "another configuration" in done.stderr  # what was trained without them has not seen them
    with_blanks = load_model(str(tmp_path / "small.onnx")).provenance
    assert with_blanks["of_real_blanks"] > 20
    assert with_blanks["candidates"] == model.provenance["candidates"] + with_blanks["of_real_blanks"]
    # its trees can be judged beside it
    lab("report", run_file, "-o", tmp_path / "report", "--work", tmp_path / "work")
    assert "| boosted trees |" in (tmp_path / "report.md").read_text()
    (tmp_path / "empty").mkdir()
    done = lab("report", run_file, "-o", tmp_path / "report", "--work", tmp_path / "empty")
    assert done.returncode == 1
    assert "holds neither trees nor networks" in done.stderr
    (tmp_path / "empty/trees.txt").write_text("hello")
    done = lab("report", run_file, "-o", tmp_path / "report", "--work", tmp_path / "empty")
    assert done.returncode == 1
    assert "holds no trees" in done.stderr


def zingers(response: Response, n: int = 300) -> np.ndarray:
    """What zingers alone leave on a dark detector, in photons."""
    scene = Scene(hit_fraction=0, background=(1e-4, 2e-4), jet=0, shadow=0, ice=0, salt=0, zingers=n)
    simulator = Simulator(load_detector("jungfrau1m"), scene, replace(response, hot=0, dead=0), seed=6)
    return simulator.event(0).frame.astype(float) / simulator.gain


def test_zingers_are_tracks_of_charge() -> None:
    """They run in all directions, and no two of their pixels are alike."""
    light = zingers(Response(read_noise=1e-6, gain_spread=0))
    lit = light > 0.5
    assert lit.sum() > 300
    along, across, aslant = (lit & np.roll(lit, shift, (1, 2)) for shift in ((0, 1), (1, 0), (1, 1)))
    assert min(along.sum(), across.sum(), aslant.sum()) > 0.3 * max(along.sum(), across.sum())
    pairs = np.sort(np.c_[light[along], np.roll(light, (0, 1), (1, 2))[along]])
    assert np.median(pairs[:, 0] / pairs[:, 1]) < 0.7
    # A muon leaves some 3 photons' charge in a pixel that it crosses, an electron all it has.
    assert 1 < np.median(light[lit]) < 20


def test_photon_counters_count_a_particle_once() -> None:
    light = zingers(replace(RESPONSES["eiger4m"], psf=0.1))
    assert (light > 0).sum() > 300
    assert light.max() <= 2  # where two cross


def test_pixels_at_edges_collect_more() -> None:
    scene = Scene(hit_fraction=0, background=(200.0, 201.0), jet=0, shadow=0, ice=0, salt=0, zingers=0)
    detector = load_detector("jungfrau1m")
    plain, wide = (Simulator(detector, scene, Response(edge=edge), seed=2).event(0).frame for edge in (1.0, 2.0))
    panel, min_ss, end_ss, min_fs, end_fs = detector.asics[0]
    ratio = wide[panel, min_ss:end_ss, min_fs:end_fs] / np.maximum(plain[panel, min_ss:end_ss, min_fs:end_fs], 1)
    assert np.median(ratio[0]) == pytest.approx(2, rel=0.1)
    assert np.median(ratio[:, -1]) == pytest.approx(2, rel=0.1)
    assert np.median(ratio[1:-1, 1:-1]) == pytest.approx(1, rel=0.1)
