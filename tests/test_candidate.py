"""The network's finder: proposer against its numpy twin, gain, bad pixels, measurement against the truth, model files."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peakrt import PeakFinder
from peakrt.config import CandidateConfig, V3r3Config
from peakrt.contracts import Setup
from peakrt.finders.bad_pixels import BadPixels
from peakrt.finders.candidate import CandidateFinder
from peakrt.finders.gain import GainCurve, estimate_gain
from peakrt.finders.learned import Learned
from peakrt.finders.proposer import CANDIDATE, FEATURES, FRAME_INPUTS, FRAME_WEIGHTS, Proposer, weigh_scores
from peakrt.models.engine_onnx import OnnxEngine
from peakrt.models.model_file import load_model, read_metadata, shipped_models
from peakrt_geometry import load_detector
from peakrt_lab.simulate import RESPONSES, Response, Scene, Simulator

from .conftest import instruction_sets
from .twins import deviance, propose

GAIN = 10.0


def frames() -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Frames of one panel and their masks: empty, flat, crowded, saturated, with NaN, with masked corners."""

    def draw(args: tuple[int, tuple[int, int], float, int, bool, str]) -> tuple[np.ndarray, np.ndarray]:
        seed, shape, background, peaks, holes, dtype = args
        rng = np.random.default_rng(seed)
        ss, fs = np.mgrid[: shape[0], : shape[1]]
        mean = np.full(shape, background)
        for _ in range(peaks):
            at, width = rng.uniform(0, shape), rng.uniform(0.4, 2.5)
            mean += np.exp(rng.uniform(1, 6)) * np.exp(-((ss - at[0]) ** 2 + (fs - at[1]) ** 2) / (2 * width**2))
        frame = rng.poisson(mean) * GAIN + (rng.normal(0, 2, shape) if dtype == "f4" else 0)
        mask = np.ones(shape, bool)
        if holes:
            mask &= rng.random(shape) > 0.02
            mask[: shape[0] // 3, : shape[1] // 4] = False
            if dtype == "f4":
                frame[rng.random(shape) < 0.01] = np.nan
                frame[-1, -1] = np.inf
        return frame.astype(dtype), mask

    shapes = st.sampled_from([(40, 40), (64, 48), (37, 61), (100, 33)])
    return st.tuples(
        st.integers(0, 10**6), shapes, st.sampled_from([0.0, 0.05, 1.0, 30.0]), st.sampled_from([0, 5, 60]),
        st.booleans(), st.sampled_from(["f4", "u2", "i4"]),
    ).map(draw)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(frames(), st.booleans())
def test_candidates_equal_the_twin(case: tuple[np.ndarray, np.ndarray], radial: bool) -> None:
    frame, mask = case
    n_ss, n_fs = frame.shape
    radius = np.hypot(*np.mgrid[-5 : n_ss - 5, 3 : n_fs + 3]).astype(np.float32)
    proposer = Proposer(mask[None], radius[None] if radial else None)
    proposer.propose(frame[None], GAIN)
    assert not proposer.noise["crowded"]
    check_against_twin(proposer, frame, mask, radius if radial else tile_numbers(frame.shape), radial=radial)


def check_against_twin(
    proposer: Proposer, frame: np.ndarray, mask: np.ndarray, bins: np.ndarray, *, radial: bool, crowded: bool = False
) -> None:
    found = {(int(c["ss"]), int(c["fs"])): c for c in proposer.candidates}
    noise = proposer.noise["noise3"], proposer.noise["noise5"]
    expected, z = propose(frame, mask, bins, GAIN, noise, radial=radial, crowded=crowded)
    for place in set(found) ^ {p for p, margin in expected.items() if margin > 0}:
        assert abs(expected.get(place, np.inf)) < 2e-2, f"candidate at {place}: margin {expected.get(place)}"
    for place, c in found.items():
        assert c["z"] == pytest.approx(z[place], abs=0.02, rel=1e-3)
    assert list(found) == sorted(found)


def crowded_frame(peaks: int, photons: float = 400) -> np.ndarray:
    """A frame of 0.26 megapixels on which peaks of one brightness stand in rows, each with wings."""
    frame = np.full((512, 512), 10.0)
    ss, fs = np.mgrid[-10:11, -10:11]
    light = 0.7 * np.exp(-(ss**2 + fs**2) / 2) / (2 * np.pi) + 0.3 * np.exp(-(ss**2 + fs**2) / 50) / (50 * np.pi)
    for k in range(peaks):
        i, j = 24 + 40 * (k // 12), 20 + 40 * (k % 12)
        frame[i - 10 : i + 11, j - 10 : j + 11] += photons * light
    return np.random.default_rng(peaks).poisson(frame).astype(np.float32) * np.float32(GAIN)


@pytest.mark.parametrize(("peaks", "crowded"), [(80, False), (130, True)])
@pytest.mark.parametrize("radial", [True, False])
def test_crowded_frames_are_searched_once_more(peaks: int, crowded: bool, radial: bool) -> None:
    frame, mask = crowded_frame(peaks), np.ones((512, 512), bool)
    radius = np.hypot(*np.mgrid[-5:507, 3:515]).astype(np.float32)
    proposer = Proposer(mask[None], radius[None] if radial else None)
    proposer.propose(frame[None], GAIN)
    assert proposer.noise["crowded"] == crowded
    bins = radius if radial else tile_numbers(frame.shape)
    check_against_twin(proposer, frame, mask, bins, radial=radial, crowded=crowded)
    proposer.propose(crowded_frame(0)[None], GAIN)  # and the next frame is none the wiser
    assert not proposer.noise["crowded"]


def test_textured_noise_is_not_crowded() -> None:
    """Many significant maxima with hardly a photon in them, as on a dark, smooth frame, are no crowd of peaks."""
    rng = np.random.default_rng(4)
    smooth = rng.normal(0, 0.2, (512, 512))
    for axis in (0, 1):
        smooth = sum(np.roll(smooth, k, axis) for k in (-1, 0, 1))
    proposer = Proposer(np.ones((1, 512, 512), bool))
    proposer.propose((GAIN * smooth)[None].astype(np.float32), GAIN)
    assert not proposer.noise["crowded"]


def tile_numbers(shape: tuple[int, int]) -> np.ndarray:
    columns = -(-shape[1] // 32)
    ss, fs = np.mgrid[: shape[0], : shape[1]] // 32
    return (ss * columns + fs).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(frames())
def test_instruction_sets_agree_to_the_bit(case: tuple[np.ndarray, np.ndarray]) -> None:
    frame, mask = case
    proposer = Proposer(mask[None])
    results = []
    for _ in instruction_sets():
        proposer.propose(frame[None], GAIN)
        results.append((proposer.candidates.tobytes(), proposer.describe().tobytes()))
    assert all(result == results[0] for result in results)


def one_peak(at: tuple[float, float], width: float, photons: float, shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    ss, fs = np.mgrid[: shape[0], : shape[1]]
    light = np.exp(-((ss - at[0]) ** 2 + (fs - at[1]) ** 2) / (2 * width**2))
    return photons * light / light.sum()


def test_features_by_hand() -> None:
    """On a flat frame with one bright pixel and one bright neighbour, the numbers are plain arithmetic."""
    rng = np.random.default_rng(0)
    frame = rng.poisson(100, (64, 64)).astype(np.float32)
    frame[30, 40] += 200
    frame[30, 41] += 80
    proposer = Proposer(np.ones((1, 64, 64), bool))
    proposer.propose(frame[None], 1.0)
    candidates, numbers = proposer.candidates, proposer.describe()
    k = int(np.flatnonzero((candidates["ss"] == 30) & (np.abs(candidates["fs"] - 40) <= 1))[0])
    f, c = dict(zip(FEATURES, numbers[k], strict=True)), candidates[k]
    bins = tile_numbers(frame.shape).astype(int)
    tables = proposer.noise
    z = (frame - tables["mean"][bins]) * tables["inverse"][bins] - c["local"]
    at = np.s_[c["ss"] - 1 : c["ss"] + 2, c["fs"] - 1 : c["fs"] + 2]
    b = tables["photons"][bins[c["ss"], c["fs"]]]
    assert f["height"] == pytest.approx(np.log1p(z[c["ss"], c["fs"]]), rel=1e-4)
    assert f["sum3"] * f["noise3"] == pytest.approx(z[at].sum() / 3, rel=1e-4)
    around = (z[at].sum() - z[c["ss"], c["fs"]]) * np.sqrt(b)
    assert f["around3_poisson"] * f["noise3"] == pytest.approx(float(deviance(around, 8 * b)), rel=1e-3)
    assert f["background"] == pytest.approx(np.log(b), rel=1e-4)
    assert f["masked5"] == f["masked13"] == 0
    assert f["rival_distance"] == 9
    assert 0.2 < f["second_of_height"] < 0.6


def test_features_know_the_edge_and_the_mask() -> None:
    frame = np.random.default_rng(1).poisson(5, (1, 48, 48)).astype(np.float32)
    frame[0, 0, 20] += 60
    frame[0, 30, 30] += 60
    mask = np.ones(frame.shape, bool)
    mask[0, 28, 28:33] = False
    proposer = Proposer(mask)
    proposer.propose(frame, 1.0)
    found = {(int(c["ss"]), int(c["fs"])): dict(zip(FEATURES, n, strict=True)) for c, n in zip(proposer.candidates, proposer.describe(), strict=True)}  # fmt: skip
    assert found[0, 20]["masked5"] == 10
    assert found[0, 20]["masked13"] == 6 * 13
    assert found[30, 30]["masked5"] == 5


def test_capacity_keeps_the_most_significant() -> None:
    rng = np.random.default_rng(2)
    frame = rng.poisson(4, (1, 600, 600)).astype(np.float32)
    frame[0, ::5, ::5] += rng.integers(30, 200, (120, 120))
    proposer = Proposer(np.ones(frame.shape, bool))
    assert proposer.propose(frame, 1.0) == 8192
    assert proposer.noise["dropped"] > 0


def test_candidate_mirrors_the_struct() -> None:
    assert CANDIDATE.itemsize == 32


@pytest.mark.parametrize(("frame", "gain", "message"), [
    (np.zeros((1, 8, 9)), 1.0, "frame has shape"), (np.zeros((1, 8, 8)), 0.0, "gain is 0"), (np.zeros((1, 8, 8)), np.nan, "gain"),
])  # fmt: skip
def test_wrong_input_is_said(frame: np.ndarray, gain: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Proposer(np.ones((1, 8, 8), bool)).propose(frame, gain)


def test_empty_masked_and_constant_frames_have_no_candidates() -> None:
    for frame in (np.zeros((2, 40, 40), "u2"), np.full((2, 40, 40), 7.0), np.full((2, 40, 40), np.nan)):
        proposer = Proposer(np.ones(frame.shape, bool))
        assert proposer.propose(frame, 1.0) == 0
        assert proposer.describe().shape == (0, len(FEATURES))
        assert len(proposer.measure(np.zeros(0, np.float32), 0.5)) == 0
    masked = Proposer(np.zeros((1, 40, 40), bool))
    assert masked.propose(np.random.default_rng(0).poisson(5, (1, 40, 40)), 1.0) == 0


# Measurement


def test_positions_and_intensities_are_right_and_their_errors_hold() -> None:
    """Pulls of isolated Gaussian peaks: mean 0, width 1."""
    rng = np.random.default_rng(3)
    pulls: dict[str, list[float]] = {"ss": [], "fs": [], "intensity": []}
    for _ in range(40):
        truth = [
            (25 + 45 * i + rng.uniform(-3, 3), 25 + 45 * j + rng.uniform(-3, 3)) for i in range(6) for j in range(6)
        ]
        photons = rng.uniform(150, 1500, len(truth))
        mean = np.full((300, 300), 4.0)
        for at, n in zip(truth, photons, strict=True):
            mean += one_peak(at, float(rng.uniform(0.7, 1.4)), n, (300, 300))
        frame = (rng.poisson(mean) * GAIN).astype(np.float32)[None]
        proposer = Proposer(np.ones(frame.shape, bool))
        n = proposer.propose(frame, GAIN)
        peaks = proposer.measure((proposer.candidates["s3"] > 7).astype(np.float32) + np.zeros(n, np.float32), 0.5)
        for at, count in zip(truth, photons, strict=True):
            near = np.hypot(peaks["ss"] - at[0], peaks["fs"] - at[1])
            assert near.min() < 1
            p = peaks[np.argmin(near)]
            pulls["ss"].append((p["ss"] - at[0]) / p["err_ss"])
            pulls["fs"].append((p["fs"] - at[1]) / p["err_fs"])
            pulls["intensity"].append((p["intensity"] - count * GAIN) / (p["intensity"] / p["snr"]))
    for name, values in pulls.items():
        assert abs(np.median(values)) < 0.15, name
        assert np.diff(np.quantile(values, [0.16, 0.84]))[0] / 2 == pytest.approx(1, abs=0.15), name


def windowed_centroid(light: np.ndarray, width: float) -> np.ndarray:
    """Gaussian-windowed centroid of a patch from its middle (SExtractor's XWIN), in pixels from the middle."""
    reach = light.shape[0] // 2
    ss, fs = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    at = np.zeros(2)
    for _ in range(20):
        weight = light * np.exp(-((ss - at[0]) ** 2 + (fs - at[1]) ** 2) / (2 * width**2))
        step = [(weight * (ss - at[0])).sum(), (weight * (fs - at[1])).sum()]
        at = np.clip(at + 2 * np.array(step) / max(weight.sum(), 1e-9), -2, 2)
    return at


def plain_centroid(light: np.ndarray) -> np.ndarray:
    """Centroid of the 3 x 3 pixels around the brightest of a patch, in pixels from its middle."""
    reach = light.shape[0] // 2
    inner = light[1:-1, 1:-1]
    top = np.array(np.unravel_index(np.argmax(inner), inner.shape)) + 1
    nine = light[top[0] - 1 : top[0] + 2, top[1] - 1 : top[1] + 2]
    about = [(nine.sum(1) @ [-1, 0, 1]), (nine.sum(0) @ [-1, 0, 1])]
    return top - reach + np.array(about) / nine.sum()


@pytest.mark.parametrize("photons", [60, 250, 3000])
@pytest.mark.parametrize("width", [0.12, 0.25, 0.4, 0.8, 1.2])
def test_positions_are_as_good_as_the_better_centroid(width: float, photons: int) -> None:
    """Sharp peaks call for a plain centroid, wide ones for a windowed one."""
    from scipy.special import erf

    rng = np.random.default_rng([int(100 * width), photons])
    mean, reach, truth = np.ones((600, 600)), 7, []
    for i in range(20, 590, 24):
        for j in range(20, 590, 24):
            off = rng.uniform(-0.5, 0.5, 2)
            edges = (np.arange(-reach, reach + 2) - 0.5)[:, None] - off
            share = np.diff(0.5 * (1 + erf(edges / (width * np.sqrt(2)))), axis=0)
            mean[i - reach : i + reach + 1, j - reach : j + reach + 1] += photons * np.outer(share[:, 0], share[:, 1])
            truth.append((i, j, *off))
    counts = rng.poisson(mean)
    proposer = Proposer(np.ones((1, 600, 600), bool))
    n = proposer.propose((GAIN * counts)[None].astype(np.float32), GAIN)
    peaks = proposer.measure(np.ones(n, np.float32), 0.5)
    errors: dict[str, list[np.ndarray]] = {"ours": [], "windowed": [], "plain": []}
    for i, j, *off in truth:
        near = np.hypot(peaks["ss"] - i, peaks["fs"] - j)
        if near.min() > 1.5:
            continue
        p = peaks[np.argmin(near)]
        light = counts[i - 5 : i + 6, j - 5 : j + 6] - 1.0
        errors["ours"].append(np.array([p["ss"] - i, p["fs"] - j]) - off)
        errors["windowed"].append(windowed_centroid(light, max(width, 0.9)) - off)
        errors["plain"].append(plain_centroid(light[2:-2, 2:-2]) - off)
    assert len(errors["ours"]) > 300
    rms = {name: float(np.sqrt(np.mean(np.square(values)))) for name, values in errors.items()}
    assert rms["ours"] < 1.2 * min(rms["windowed"], rms["plain"]), rms


def test_touching_peaks_share_no_pixel() -> None:
    rng = np.random.default_rng(4)
    mean = 2 + one_peak((30, 30), 0.8, 900) + one_peak((30, 34), 0.8, 300)
    frame = rng.poisson(mean).astype(np.float32)[None]
    proposer = Proposer(np.ones(frame.shape, bool))
    proposer.propose(frame, 1.0)
    scores = (proposer.candidates["s3"] > 10).astype(np.float32)
    peaks = np.sort(proposer.measure(scores, 0.5), order="fs")
    assert len(peaks) == 2
    assert peaks["fs"] == pytest.approx([30, 34], abs=0.3)
    assert peaks["intensity"] == pytest.approx([900, 300], rel=0.15)
    assert peaks["max_fs"][0] < peaks["min_fs"][1]


@pytest.mark.parametrize(("sure", "peaks"), [(0, 0), (9, 9), (10, 20), (20, 20)])
def test_hits_have_a_lower_bar(sure: int, peaks: int) -> None:
    proposer = Proposer(np.ones((1, 512, 512), bool))
    proposer.propose(crowded_frame(20)[None], GAIN)
    order = np.argsort(-proposer.describe()[:, FEATURES.index("sum3_poisson")])
    scores = np.full(len(order), 0.1, np.float32)
    scores[order[:20]] = 0.7
    scores[order[:sure]] = 0.8
    assert len(proposer.measure(scores, 0.8, 0.65)) == peaks
    assert len(proposer.measure(scores, 0.8)) == sure


def weighed_twin(numbers: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """frame_network.hpp in numpy."""
    sure = scores >= np.float32(0.8)
    middling, doubtful = (
        (scores >= np.float32(low)) & (scores < np.float32(high)) for low, high in ((0.2, 0.8), (0.05, 0.2))
    )
    inside = numbers[:, FEATURES.index("masked13")] <= 13
    bins = np.clip(numbers[:, FEATURES.index("height_of_sum3")] * 16, 0, 15).astype(int)
    as_sharp = np.array([(bins[sure] >= b - 1).sum() for b in bins])
    p = np.clip(scores, 1e-6, 1 - 1e-6).astype(np.float64)
    inputs = np.stack(
        [
            np.clip(np.log(p / (1 - p)), -9, 9), np.full(len(p), np.log1p(sure.sum())),
            np.full(len(p), np.log1p(middling.sum())), np.full(len(p), np.log1p(doubtful.sum())), as_sharp / (sure.sum() + 1),
        ], 1,
    )  # fmt: skip
    mean, scale, hidden, bias, last, end = np.split(weights.astype(np.float64), np.cumsum([5, 5, 40, 8, 8]))
    x = np.clip((inputs - mean) * scale, -4, 4)
    logit = np.maximum(x @ hidden.reshape(5, 8) + bias, 0) @ last + end
    if (sure & inside).sum() >= 10:
        logit = np.where(inside, np.maximum(logit, inputs[:, 0]), logit)
    return np.where(scores > 0, 1 / (1 + np.exp(-logit)), 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 7, 300]), st.sampled_from([0.3, 2.0, 8.0]))
def test_scores_are_weighed_as_by_the_twin(seed: int, n: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    assert FRAME_INPUTS == ("logit", "sure", "middling", "doubtful", "as_sharp")
    numbers = rng.normal(0, 1, (n, len(FEATURES))).astype(np.float32)
    numbers[:, FEATURES.index("masked13")] = rng.choice([0, 13, 14, 78], n)
    scores = (1 / (1 + np.exp(-rng.normal(0, spread, n)))).astype(np.float32)
    scores[: n // 3] = 0
    weights = rng.normal(0, 0.7, FRAME_WEIGHTS).astype(np.float32)
    weighed = weigh_scores(numbers, scores, weights)
    np.testing.assert_allclose(weighed, weighed_twin(numbers, scores, weights), atol=2e-5)
    assert (weighed[scores == 0] == 0).all()
    order = rng.permutation(n)  # the frame's counts do not depend on it
    assert weigh_scores(numbers[order], scores[order], weights).tobytes() == weighed[order].tobytes()
    with pytest.raises(ValueError, match="fit"):
        weigh_scores(numbers, scores, weights[1:])


def test_a_model_without_a_frame_network_gives_its_own_scores() -> None:
    rng = np.random.default_rng(2)
    model = replace(load_model("default"), frame=tuple(rng.normal(0, 0.7, FRAME_WEIGHTS)))
    frame = rng.poisson(5 + one_peak((30, 30), 0.8, 900) + one_peak((44, 20), 0.8, 70)).astype(np.float32)[None]
    good = np.ones(frame.shape, bool)
    scores = {}
    for name, one in (("weighed", model), ("own", replace(model, frame=None))):
        config = CandidateConfig(min_score=1e-6, bad_pixels="keep")
        setup = Setup(config, good, None, None, Learned(1.0), model=one, engine=OnnxEngine(one))
        scores[name] = CandidateFinder(setup)(frame)["score"]
    proposer = Proposer(good)
    proposer.propose(frame, 1.0)
    numbers = proposer.describe()
    own = OnnxEngine(model)(numbers)
    assert scores["own"].tobytes() == proposer.measure(own, 1e-6)["score"].tobytes()
    weighed = weigh_scores(numbers, own, model.frame_weights)
    assert scores["weighed"].tobytes() == proposer.measure(weighed, 1e-6)["score"].tobytes()
    assert not np.array_equal(scores["own"], scores["weighed"])


def test_a_given_least_score_holds_everywhere() -> None:
    model = load_model("default")
    assert model.least_scores(None) == (model.threshold, model.threshold_in_hits)
    assert replace(model, threshold=0.7, threshold_in_hits=None).least_scores(None) == (0.7, 0.7)
    assert model.least_scores(0.3) == (0.3, 0.3)
    assert (
        load_model("segmentation", "segmentation").least_scores(None)[0]
        == load_model("segmentation", "segmentation").least_scores(None)[1]
    )


def test_the_best_of_near_candidates_stands() -> None:
    frame = np.random.default_rng(5).poisson(2 + one_peak((20, 20), 1.5, 4000)).astype(np.float32)[None]
    proposer = Proposer(np.ones(frame.shape, bool))
    n = proposer.propose(frame, 1.0)
    near = np.hypot(proposer.candidates["ss"] - 20, proposer.candidates["fs"] - 20) < 3
    peaks = proposer.measure(np.where(near, 0.9, 0.1).astype(np.float32), 0.5)
    assert n >= 1
    assert len(peaks) == 1
    assert peaks["score"][0] == np.float32(0.9)


# Gain and bad pixels


@pytest.mark.parametrize(("name", "gain"), [
    ("jungfrau1m", 41.0), ("jungfrau1m", 1.0), ("epix10k2m", 16.0), ("cspad", 25.0), ("eiger4m", 1.0), ("rayonix_mx340", 0.7),
])  # fmt: skip
def test_gain_is_estimated_from_a_frame(name: str, gain: float) -> None:
    from dataclasses import replace

    detector = replace(load_detector(name), adu_per_photon=gain, adu_per_eV=None)
    scene = Scene(background=(0.3, 8.0), hit_fraction=0.5, jet=0.5)
    simulator = Simulator(detector, scene=scene, response=RESPONSES[name], seed=8)
    for n in range(3):
        frame = simulator.event(n).frame
        proposer = Proposer(simulator.good, asics=detector.asics)
        proposer.propose(frame, gain)
        estimate = estimate_gain(frame, simulator.good, detector.asics, noise5=proposer.noise["noise5"])
        assert estimate is not None
        # A CCD's blur, known from the noise of sums alone, makes it the least certain.
        assert (0.5 if name.startswith("rayonix") else 0.85) < estimate / gain < 1.2


def planted_frame(rng: np.random.Generator, gain: float, read: float, common: float, light: float) -> np.ndarray:
    """Rings of scattered light and some peaks on 16 ASICs, whose offsets and columns have noises of their own.

    read, common : noise of a pixel and of an ASIC in photons (a third of it of each column); light : photons a pixel
    """
    ss, fs = np.mgrid[:1024, :1024]
    radius = np.hypot(ss - 100, fs + 50)
    mean = light * (np.exp(-0.5 * ((radius - 450) / 90) ** 2) + 0.15 + 0.8 * np.exp(-radius / 150))
    for at in rng.integers(4, 1020, (60, 2)):
        mean[at[0] - 1 : at[0] + 2, at[1]] += rng.exponential(60)
    frame = rng.poisson(mean) + read * rng.standard_normal(mean.shape)
    for _, min_ss, end_ss, min_fs, end_fs in PLANTED_ASICS:
        columns = rng.standard_normal((1, end_fs - min_fs)) / 3
        frame[min_ss:end_ss, min_fs:end_fs] += common * (rng.standard_normal() + columns)
    return (gain * frame)[None].astype(np.float32)


PLANTED_ASICS = np.array(
    [[0, a, a + 256, b, b + 256] for a in range(0, 1024, 256) for b in range(0, 1024, 256)], np.int32
)


@pytest.mark.parametrize("gain", [0.5, 7.0, 100.0])
@pytest.mark.parametrize(("read", "common", "light", "known"), [
    (0.0, 0.0, 0.5, True), (0.1, 0.3, 3.0, True), (0.3, 1.0, 0.5, True), (1.0, 0.3, 3.0, True), (2.0, 1.0, 3.0, True),
    (2.0, 0.0, 30.0, True), (2.0, 1.0, 0.1, False), (1.0, 0.3, 0.1, False),
])  # fmt: skip
def test_planted_gain_is_found_or_unknown(gain: float, read: float, common: float, light: float, known: bool) -> None:
    """Read noise and common mode are not taken for photons; where they hide the photons nothing is said."""
    rng = np.random.default_rng([int(gain), int(10 * read), int(10 * common), int(10 * light)])
    curve, mask = GainCurve(), np.ones((1, 1024, 1024), bool)
    for _ in range(2):
        curve.add(planted_frame(rng, gain, read, common, light), mask, PLANTED_ASICS, 1.0)
        estimate = curve.gain()
        assert estimate is None or 1 / 1.4 < estimate / gain < 1.4
    assert (estimate is not None) == known


def test_frames_together_tell_a_gain_that_one_does_not() -> None:
    """A finder asks its first frames one by one, and takes the gain as known once all of them tell it."""
    from peakrt.arrays import GoodPixels
    from peakrt.finders.candidate import GainEstimator
    from peakrt.finders.learned import Learned

    mask, lore, gain = np.ones((1, 1024, 1024), bool), Learned(None), 20.0
    keeper = GainEstimator(GoodPixels.of(mask, mask.shape), PLANTED_ASICS, lore)
    proposer = Proposer(mask, asics=PLANTED_ASICS)
    given = [keeper(planted_frame(np.random.default_rng([9, k]), gain, 1.5, 1.0, 0.5), proposer) for k in range(8)]
    assert lore.gain == pytest.approx(gain, rel=0.4)
    assert given[-1] == lore.gain
    assert 1 < lore.curve.frames < 8
    assert given[0] > lore.gain  # noise alone, which never takes less than a photon for one


def test_gain_of_a_dark_frame_is_not_guessed() -> None:
    frame = np.random.default_rng(0).normal(0, 3, (1, 256, 256)).astype(np.float32)
    asics = np.array([[0, 0, 256, 0, 256]], np.int32)
    assert estimate_gain(frame, np.ones(frame.shape, bool), asics) is None
    assert (
        estimate_gain(np.zeros((1, 16, 16)), np.ones((1, 16, 16), bool), np.array([[0, 0, 16, 0, 16]], np.int32))
        is None
    )


def test_bad_pixels_are_learned_kept_and_forgotten(small_detector) -> None:
    scene = Scene(hit_fraction=0.5, photons=(3000.0, 30000.0), background=(1.0, 3.0), d_min=2.5, zingers=0)
    simulator = Simulator(small_detector, scene=scene, response=Response(hot=3e-4, photon_gain=10.0), seed=11)
    unlisted = simulator._hot[
        simulator.good.flat[simulator._hot] & (simulator._hot_photons[: len(simulator._hot)] > 60)
    ]
    assert len(unlisted) > 2
    finder = PeakFinder(geometry=small_detector, mask=simulator.good)
    for n in range(8):
        finder(simulator.event(n).frame)
    bad = finder.bad_pixels
    assert bad is not None
    assert bad.flat[unlisted].mean() > 0.8
    assert bad.sum() - bad.flat[simulator._hot].sum() <= 1  # hardly anything else
    finder.reset()
    assert finder.bad_pixels is None
    kept = PeakFinder(CandidateConfig(bad_pixels="keep"), geometry=small_detector)
    kept(simulator.event(0).frame)
    assert kept.bad_pixels is None


def test_a_peak_with_light_around_is_never_bad() -> None:
    bad = BadPixels((1, 8, 8))
    candidates, numbers = np.zeros(1, CANDIDATE), np.zeros((1, len(FEATURES)), np.float32)
    numbers[0, FEATURES.index("height_poisson")] = 30
    numbers[0, FEATURES.index("around3_poisson")] = 5
    for _ in range(50):
        bad.learn(candidates, numbers)
    assert not bad.bad.any()
    numbers[0, FEATURES.index("around3_poisson")] = 0
    for _ in range(50):
        bad.learn(candidates, numbers)
    assert bad.bad.sum() == 1
    assert bad.suspects(candidates).all()


# The finder


@pytest.mark.parametrize("with_geometry", [True, False])
def test_default_finder_beats_peakfinder8_with_defaults(with_geometry: bool) -> None:
    from peakrt.config import Peakfinder8Config
    from peakrt_lab.compare import compare, slab_peaks
    from peakrt_lab.simulate import SimulatedEvent

    detector = load_detector("jungfrau1m")
    simulator = Simulator(detector, response=RESPONSES["jungfrau1m"], seed=21)
    events: list[SimulatedEvent] = [simulator.event(n) for n in range(14)]
    geometry = detector if with_geometry else None
    ours = PeakFinder(CandidateConfig(gain=simulator.gain), geometry=geometry, mask=simulator.good)
    theirs = PeakFinder(Peakfinder8Config(), geometry=detector, mask=simulator.good)
    n_ss = detector.shape[1]
    truth = {k: truth_of(e, n_ss) for k, e in enumerate(events)}
    found = [{k: slab_peaks(f(e.frame), n_ss) for k, e in enumerate(events)} for f in (ours, theirs)]
    blank = lambda k: not events[k].hit  # noqa: E731
    a, b = (compare(truth, peaks, min_snr=4, blank=blank) for peaks in found)
    assert a.f1 > b.f1
    assert a.f1 > 0.93
    assert a.precision > 0.95
    assert a.blank_found <= a.blank_events


def truth_of(event, n_ss: int):
    from peakrt.cxi.reader import SlabPeaks

    p = event.peaks
    return SlabPeaks(p["ss"] + p["panel"] * n_ss, p["fs"], p["photons"], p["snr"])


def test_threads_give_the_peaks_of_one(run_file: Path, small_detector) -> None:
    import h5py

    with h5py.File(run_file) as file:
        frames = file["/entry_1/data_1/data"][:][:, None]
    config = CandidateConfig(bad_pixels="keep")
    one = PeakFinder(config, geometry=small_detector).find(frames)
    three = PeakFinder(config, geometry=small_detector).find(frames, threads=3)
    assert one.peaks.tobytes() == three.peaks.tobytes()
    assert np.array_equal(one.offsets, three.offsets)


def test_bad_pixels_survive_threads() -> None:
    bad = BadPixels((1, 64, 64))
    candidates, numbers = np.zeros(4, CANDIDATE), np.zeros((4, len(FEATURES)), np.float32)
    candidates["fs"] = [3, 9, 15, 21]
    numbers[:, FEATURES.index("height_poisson")] = 30
    threads = [threading.Thread(target=lambda: [bad.learn(candidates, numbers) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bad.frames == 800
    assert bad.bad.sum() == 4


def test_files_record_gain_and_bad_pixels(tmp_path: Path, small_detector) -> None:
    import h5py

    from peakrt.cxi.writer import CxiWriter
    from peakrt.event import Event
    from peakrt.pipeline import find_run

    class Source:
        detector = small_detector
        dtype, files, read_ahead = None, (), True

        def __len__(self) -> int:
            return 9

        def events(self, start: int = 0):
            for k in range(start, 9):
                frame = np.random.default_rng(k).poisson(3, (1, 256, 256)) * 10.0
                frame[0, 20, 30] = frame[0, 200, 7] = 900
                yield Event(frame.astype(np.float32))

    finder = PeakFinder(geometry=small_detector)
    with CxiWriter(tmp_path / "out.cxi", small_detector) as writer:
        find_run(Source(), finder, writer)
    with h5py.File(tmp_path / "out.cxi") as file:
        assert file["/peakrt/gain"][()] == 10
        listed = [tuple(pixel) for pixel in file["/peakrt/bad_pixels"][:].tolist()]
        assert sorted(listed) == [(20, 30), (200, 7)]


@pytest.mark.parametrize(("options", "message"), [
    ({"min_score": 1.5}, "probability"), ({"gain": -1.0}, "gain"), ({"bad_pixels": "perhaps"}, "learn or keep"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CandidateConfig(**options)


# Model files


def test_shipped_models_are_small_and_say_where_they_come_from() -> None:
    assert "default" in shipped_models()
    for name in shipped_models():
        model = load_model(name, None)
        assert len(model.content) < 1_000_000
        assert 0 < model.threshold < 1
        assert model.provenance["commit"]
        assert model.provenance["config"]["seed"] == 2026
        if model.kind != "candidate":
            continue
        assert model.provenance["held_out"]["judge"]["calibration_error"] < 0.02
        assert model.provenance["held_out"]["judge"]["f1"] >= model.provenance["held_out"]["trees"]["f1"] - 0.005


def test_metadata_are_those_onnx_reads() -> None:
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    model = load_model("default")
    expected = {entry.key: entry.value for entry in onnx.load_from_string(model.content).metadata_props}
    assert read_metadata("default", model.content) == expected


def test_wrong_model_files_are_refused(tmp_path: Path) -> None:
    content = load_model("default").content
    cases = {
        "garbage": (b"not a model at all", "not an .onnx file"),
        "empty": (b"", "not one of PeakRT's"),
        "truncated": (content[: len(content) // 2], "damaged|not one of"),
        "newer": (content.replace(b'"version": 1', b'"version": 9'), "update PeakRT"),
        "other": (content.replace(b'"height_poisson"', b'"height_poissom"'), "other features"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / f"{name}.onnx").write_bytes(data)
        with pytest.raises(ValueError, match=message):
            PeakFinder(CandidateConfig(model=str(tmp_path / f"{name}.onnx")))
    with pytest.raises(FileNotFoundError, match="neither a file nor one of default"):
        load_model("no-such-model")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_model("no-such-model.onnx")
    too_large = tmp_path / "large.onnx"
    with open(too_large, "wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(ValueError, match="at most"):
        load_model(str(too_large))
    assert json.loads(read_metadata("default", content)["peakrt"])["kind"] == "judge"


def test_a_mask_of_two_dimensions_is_for_frames_of_two() -> None:
    frame = np.random.default_rng(5).poisson(50, (128, 128)).astype(np.float32)
    for ss in (20, 40, 60, 80):
        frame[ss - 1 : ss + 2, 49:52] += 500
    mask = np.ones((128, 128), bool)
    mask[:50] = False
    flat, stacked = (PeakFinder(V3r3Config(), mask=given) for given in (mask, mask[None]))
    found = flat(frame)
    assert sorted(found["ss"].round()) == [60, 80]
    assert found.tobytes() == stacked(frame[None]).tobytes()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor: a frame has one thread anyway")
def test_a_crowded_frame_has_the_same_peaks_on_one_processor() -> None:
    """Where there are two, the halves of a long list of candidates are described and measured side by side."""
    rng = np.random.default_rng(5)
    frame = rng.poisson(4.0, (1, 512, 512)).astype(np.float32)
    frame[0, 8:504:11, 8:504:11] += rng.integers(60, 900, (46, 46))
    finder = Proposer(np.ones(frame.shape, bool))
    allowed, found = os.sched_getaffinity(0), []
    for processors in (allowed, {min(allowed)}):
        os.sched_setaffinity(0, processors)
        try:
            n = finder.propose(frame, 1.0)
            numbers = finder.describe()
            found.append((n, numbers.tobytes(), finder.measure(np.ones(n, np.float32), 0.5).tobytes()))
        finally:
            os.sched_setaffinity(0, allowed)
    assert found[0][0] > 1500
    assert found[0] == found[1]
