"""Finders of others in the benchmark: Jungfraujoch's rule, DIALS, CrystFEL's peakfinder9, and how they are tuned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.cheetah.crystfel import Peakfinder9Config, crystfel_search, peakfinder9_missing, search_options
from benchmarks.cheetah.jobs import OFFERED_PEAKS, Job, Tools, read_hits, write_hits
from benchmarks.cheetah.photon_rivals import on_photons
from benchmarks.cheetah.programs import Stopwatch
from benchmarks.cheetah.recipe import Recipe, Run
from benchmarks.cheetah.tuning import tune_all
from peakrt.cxi.columns import DATA
from peakrt.cxi.reader import SlabPeaks
from peakrt.sources import open_source
from peakrt_geometry import Detector
from peakrt_lab.compare import compare, truth_sets
from peakrt_lab.dials import DialsConfig, find_spots
from peakrt_lab.jungfraujoch import RING, WINDOW, Jungfraujoch, JungfraujochConfig, ring_thresholds, stands_out
from peakrt_lab.truth import Truth
from peakrt_lab.tune import search

from .conftest import SMALL_GEOM

SPOT = np.array([[20, 40, 20], [40, 60, 40], [20, 40, 20]])
PLACES = ((0, 40, 50), (0, 90, 210), (0, 158, 120), (0, 254, 200))


def light(detector: Detector) -> np.ndarray:
    """Expected photons: a background that falls from 8 to 0.1 with the resolution, and four spots."""
    q = 2 * np.pi * detector.resolution() / 10
    out = (0.1 + 8 * np.exp(-((q / 0.3) ** 2))).astype(float)
    for panel, ss, fs in PLACES:
        out[panel, ss - 1 : ss + 2, fs - 1 : fs + 2] += SPOT
    return out


def test_jungfraujochs_rule_finds_planted_spots(small_detector: Detector) -> None:
    rng = np.random.default_rng(1)
    frame = rng.poisson(light(small_detector)).astype(np.int32)
    frame[0, :, 5] = -2  # bad pixels
    finder = Jungfraujoch(JungfraujochConfig(false_pixels=1), small_detector)
    found = finder(frame)
    assert len(found) == len(PLACES)
    np.testing.assert_allclose(sorted(zip(found.ss, found.fs, strict=True)), [place[1:] for place in PLACES], atol=0.4)
    np.testing.assert_allclose(found.intensity, SPOT.sum(), rtol=0.5)  # what the bright middle hides is left out
    assert len(Jungfraujoch(JungfraujochConfig(max_pixels=2), small_detector)(frame)) == 0
    assert len(finder(np.zeros_like(frame))) == 0


@pytest.mark.parametrize("false_pixels", [10, 100])
def test_as_many_noise_pixels_as_are_tolerated(small_detector: Detector, false_pixels: float) -> None:
    """Of Poisson noise, ring by ring: never more, but for chance, and not far less: counts are whole."""
    q = 2 * np.pi * small_detector.resolution() / 10
    ring = np.floor(q / RING).astype(np.int64)
    mean = 0.3 + 8 * np.exp(-((q / 0.3) ** 2))
    good = np.ones(mean.shape, bool)
    above = []
    for seed in range(10):
        frame = np.random.default_rng(seed).poisson(mean).astype(np.int32)
        above.append(int((frame > ring_thresholds(frame, good, ring, false_pixels)[ring]).sum()))
    assert 0.15 * false_pixels < np.mean(above) < 1.3 * false_pixels


def test_a_pixel_stands_out_as_numpy_says() -> None:
    rng = np.random.default_rng(2)
    frame = rng.poisson(2.0, (2, 40, 30)).astype(np.int32)
    good = rng.random(frame.shape) < 0.9
    at = np.argwhere(np.ones(frame.shape, bool))
    expected = []
    for panel, ss, fs in at:
        rows = slice(max(0, ss - WINDOW), ss + WINDOW + 1), slice(max(0, fs - WINDOW), fs + WINDOW + 1)
        window, here = frame[panel][rows].astype(float), good[panel][rows].copy()
        here[min(ss, WINDOW), min(fs, WINDOW)] = False
        others = window[here]
        expected.append(frame[panel, ss, fs] - others.mean() > 2.5 * others.std(ddof=1))
    usable = good[tuple(at.T)]  # of a bad pixel nothing is asked
    np.testing.assert_array_equal(stands_out(frame, good, at, 2.5)[usable], np.array(expected)[usable])
    assert 0 < np.sum(expected) < len(at) / 10


def test_spots_behind_a_gap_are_dropped(small_detector: Detector) -> None:
    frame = np.random.default_rng(3).poisson(light(small_detector)).astype(np.int32)
    found = {
        gap: Jungfraujoch(JungfraujochConfig(false_pixels=1, gap=gap), small_detector)(frame) for gap in (1.5, 0.2)
    }
    q = 2 * np.pi * small_detector.resolution() / 10
    places = np.array(sorted(q[place] for place in PLACES))
    assert np.diff(places).max() > 0.2
    assert len(found[1.5]) == len(PLACES)
    assert len(found[0.2]) == int(np.argmax(np.diff(places) >= 0.2)) + 1


@pytest.mark.dials
def test_dials_defaults_are_its_own(small_detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    slabs = [
        np.random.default_rng(seed).poisson(light(small_detector)).astype(np.int32).reshape(-1, 256)
        for seed in range(2)
    ]
    ours = find_spots(slabs)
    monkeypatch.setattr(DialsConfig, "lines", lambda self: [])
    for a, b in zip(ours, find_spots(slabs), strict=True):
        np.testing.assert_array_equal(np.array([a.ss, a.fs, a.intensity]), np.array([b.ss, b.fs, b.intensity]))
    assert all(len(spots) >= len(PLACES) for spots in ours)
    monkeypatch.undo()
    for spots in find_spots(slabs, DialsConfig(global_threshold=30.0, min_pixels=1)):
        apart = np.hypot(*(np.c_[spots.ss, spots.fs][:, None] - [place[1:] for place in PLACES]).transpose(2, 0, 1))
        assert sorted(apart.argmin(1)) == list(range(len(PLACES)))
        assert apart.min(1).max() < 1
    assert all(len(spots) == 0 for spots in find_spots(slabs, DialsConfig(min_pixels=60, max_pixels=1000)))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    geometry = tmp_path / "small.geom"
    geometry.write_text(SMALL_GEOM)
    run = Run(Recipe(photons=(20000, 60000), hit_fraction=1.0, block=4, tune=3), str(geometry), tmp_path / "small")
    run.prepare()
    return run


def job_of(run: Run) -> Job:
    scratch = run.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return Job(run, run.block(0, 4), scratch, Tools(), Stopwatch())


def test_a_block_that_was_left_is_not_taken_for_a_shorter_one(run: Run) -> None:
    for frames in (4, 2):
        assert len(Truth(run.block(0, frames))) == frames


@pytest.mark.crystfel
def test_peakfinder9_finds_true_peaks_with_our_options(run: Run) -> None:
    missing = peakfinder9_missing(Tools())
    if missing:
        pytest.skip(missing)
    job = job_of(run)
    truth = truth_sets(job.frames, run.detector)
    reached = {}
    for name, config in (("defaults", None), ("same", Peakfinder9Config()), ("shy", Peakfinder9Config(min_sig=1e6))):
        options = None if config is None else config.__dict__
        hits = crystfel_search(job, search_options("peakfinder9", options), least=0)
        reached[name] = compare(truth, {hit.event: hit.peaks for hit in hits}, min_snr=8.0)
    assert reached["defaults"].precision > 0.7
    assert reached["defaults"].recall > 0.3
    assert reached["same"].matched == reached["defaults"].matched
    assert reached["same"].found == reached["defaults"].found
    assert reached["shy"].found == 0


def test_a_rival_on_photons_leaves_hits_for_indexamajig(run: Run) -> None:
    job = job_of(run)
    found = on_photons(job, None, "jungfraujoch")
    assert [hit.event for hit in found.hits] == [0, 1, 2, 3]
    truth = truth_sets(job.frames, run.detector)
    reached = compare(truth, {hit.event: hit.peaks for hit in found.hits}, min_snr=8.0)
    assert reached.precision > 0.8
    assert reached.recall > 0.5
    with h5py.File(job.frames) as file, h5py.File(found.hits[0].file) as out:
        np.testing.assert_array_equal(out[DATA][()], file[DATA][()])
    assert job.clock.cpu_s > 0
    assert on_photons(job, {"min_pixels": 40}, "jungfraujoch").hits == []


def test_hits_are_written_strongest_first(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)

    def peaks(n: int) -> SlabPeaks:
        return SlabPeaks(*rng.uniform(0, 100, (4, n)))

    found = {0: peaks(OFFERED_PEAKS - 1), 2: peaks(OFFERED_PEAKS), 3: peaks(3000)}
    write_hits(tmp_path / "hits.h5", run.block(0, 4), found)
    hits = read_hits(tmp_path / "hits.h5", [2, 3])
    assert [(hit.row, hit.event, len(hit.peaks)) for hit in hits] == [(0, 2, OFFERED_PEAKS), (1, 3, 2048)]
    order = np.argsort(-found[3].intensity)[:2048]
    for name in ("ss", "fs", "intensity"):
        np.testing.assert_allclose(getattr(hits[1].peaks, name), getattr(found[3], name)[order], rtol=1e-6)


def test_a_rival_is_tuned_once(run: Run, tmp_path: Path) -> None:
    said: list[str] = []
    tuned = tune_all(run, ["jungfraujoch"], Tools(), tmp_path, said.append)
    assert set(tuned) == {"jungfraujoch"}
    assert len(said) == 1
    assert tune_all(run, ["jungfraujoch"], Tools(), tmp_path, said.append) == tuned
    assert len(said) == 1
    assert not run.tuning_path.exists()
    # No worse than the defaults on the frames that it was tuned on
    events = list(open_source([str(run.tuning())], run.detector).events())
    truth = truth_sets(run.tuning(), run.detector)
    reached = {}
    for name, config in (("tuned", JungfraujochConfig(**tuned["jungfraujoch"])), ("defaults", JungfraujochConfig())):
        finder = Jungfraujoch(config, run.detector)
        found = {n: finder(np.rint(event.frame / run.gain).astype(np.int32)) for n, event in enumerate(events)}
        reached[name] = compare(truth, found, min_snr=4.0).f1
    assert reached["tuned"] >= reached["defaults"]


def test_the_search_takes_any_options() -> None:
    class Result:
        def __init__(self, f1: float) -> None:
            self.f1 = f1

    def agreement(config: Peakfinder9Config) -> Result:
        return Result(1 - abs(config.min_sig - 3.0) / 10 - abs(config.min_snr - 4) / 10)

    best, reached = search(
        replace(Peakfinder9Config()), {"min_sig": (1.0, 1.5, 2.0), "min_snr": (3.0, 4.0, 5.0)}, agreement, gain=2.0
    )  # min_sig is in photons there
    assert (best.min_sig, best.min_snr) == (3.0, 4.0)
    assert reached.f1 == 1
