"""Plans: what finders derive from geometry and mask. New ones against a numpy twin, derived ones against new ones."""

from __future__ import annotations

import gc
import resource
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peakrt import _native
from peakrt.arrays import GoodPixels, as_mask, as_mask_bits, whole_panels
from peakrt.config import Peakfinder8Config
from peakrt.finders.peakfinder8 import Peakfinder8
from peakrt.finders.proposer import CANDIDATE, Proposer

from .twins import samples_of_bin

SAMPLES, LANES, TILE, WINDOW, WINDOWS = 128, 32, 8, 16, 512  # candidate.hpp, radial_plan.hpp
OPTIONS: dict[str, Any] = {"adc_threshold": 20.0, "min_snr": 4.0, "min_pixels": 1, "max_pixels": 50, "background_radius": 3}  # fmt: skip


class Case:
    """A geometry, several masks and a frame, drawn from a seed."""

    def __init__(self, seed: int, n_masks: int) -> None:
        rng = np.random.default_rng(seed)
        self.shape = tuple(int(n) for n in rng.integers((1, 1, 1), (4, 90, 140)))
        self.radius = self._radius(rng)
        self.asics = self._asics(rng)
        self.masks = [self._mask(rng) for _ in range(n_masks)]
        self.frame = rng.poisson(3.0, self.shape).astype(np.float32)
        self.frame[rng.random(self.shape) < 0.01] += 60

    def _radius(self, rng: np.random.Generator) -> np.ndarray:
        """Rings, or any radii at all; some halfway between two bins, where rounding is to the even one."""
        if rng.random() < 0.5:
            ss, fs = np.mgrid[: self.shape[1], : self.shape[2]]
            radius = (
                np.hypot(ss - rng.uniform(0, 90), fs - rng.uniform(0, 140))
                + 100 * np.arange(self.shape[0])[:, None, None]
            )
        else:
            radius = rng.random(self.shape) * rng.choice([0, 1, 3, 40, 300])
        return (radius if rng.random() < 0.5 else np.round(2 * radius) / 2).astype(np.float32)

    def _asics(self, rng: np.random.Generator) -> np.ndarray:
        """Panels cut into rectangles, some of which are left out."""
        rows = []
        for panel in range(self.shape[0]):
            cuts = [sorted({0, n, int(rng.integers(0, n + 1))}) for n in self.shape[1:]]
            for min_ss, end_ss in zip(cuts[0], cuts[0][1:], strict=False):
                rows += [(panel, min_ss, end_ss, *fs) for fs in zip(cuts[1], cuts[1][1:], strict=False)]
        kept = [row for row in rows if rng.random() < 0.8] or rows[:1]
        return np.array(kept, np.int32)

    def _mask(self, rng: np.random.Generator) -> np.ndarray:
        mask = rng.random(self.shape) >= rng.choice([0, 0.02, 0.02, 0.3, 0.7, 1])
        if rng.random() < 0.3:
            mask[rng.integers(self.shape[0])] = False
        return mask

    def proposer(self, mask: np.ndarray, radial: bool) -> Proposer:
        return Proposer(mask, self.radius if radial else None, asics=self.asics)


def cases(n_masks: int) -> st.SearchStrategy[Case]:
    return st.integers(0, 10**9).map(lambda seed: Case(seed, n_masks))


def plan_twin(case: Case, mask: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of a proposer's plan, one plain step after the other."""
    n_bins = int(np.ceil(case.radius.max())) + 1
    every = np.rint(case.radius).astype(int).ravel()
    bins = np.where(mask.ravel(), every, n_bins)
    chosen, depth = [], []
    for b in range(n_bins):
        pixels = np.flatnonzero(every == b)
        depth.append(min(len(pixels), SAMPLES))
        chosen.append(samples_of_bin(pixels, mask.ravel()[pixels], SAMPLES))
    order, first, deep = [], [], []
    for group in range(0, n_bins, LANES):
        lanes = chosen[group : group + LANES]
        block = np.full((max(depth[group : group + LANES]), LANES), -1)
        for lane, pixels in enumerate(lanes):
            block[: len(pixels), lane] = pixels
        first.append(sum(map(len, order)))
        deep.append(len(block))
        order.append(block.ravel())
    weights, first_tile, windows = tiles_twin(case, mask)
    return {
        "bin": bins.astype(np.uint16), "order": np.concatenate(order).astype(np.int32),
        "group_first": np.array(first, np.int64), "group_deep": np.array(deep, np.int32),
        "bin_pixels": np.bincount(bins, minlength=n_bins + 1).astype(np.int32),
        "tile_weight": weights, "tile_first": first_tile, "windows": windows,
        "megapixels": np.float32(max(1, mask.sum())) / np.float32(1e6),
    }  # fmt: skip


def tiles_twin(case: Case, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights of the tiles, where each ASIC's start, and the windows."""
    weights: list[np.float32] = []
    first, windows = [], []
    for number, (panel, min_ss, end_ss, min_fs, end_fs) in enumerate(case.asics):
        good = mask[panel, min_ss:end_ss, min_fs:end_fs]
        first.append(len(weights))
        for ss in range(0, good.shape[0], TILE):
            for fs in range(0, good.shape[1], TILE):
                n = good[max(0, ss - TILE) : ss + 2 * TILE, max(0, fs - TILE) : fs + 2 * TILE].sum()
                weights.append(np.float32(1) / np.float32(n) if n > 9 else np.float32(0))
        for ss in range(0, good.shape[0] - WINDOW + 1, WINDOW):
            for fs in range(0, good.shape[1] - WINDOW + 1, WINDOW):
                if good[ss : ss + WINDOW, fs : fs + WINDOW].sum() >= WINDOW * WINDOW * 9 // 10:
                    windows.append((number, ss, fs))
    keep = min(len(windows), WINDOWS)
    spread = [windows[(2 * k + 1) * len(windows) // (2 * keep)] for k in range(keep)]
    return np.array(weights, np.float32), np.array(first, np.int64), np.array(spread, np.int32).reshape(-1, 3)


def assert_same_arrays(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name, values in a.items():
        assert np.asarray(values).tobytes() == np.asarray(b[name]).tobytes(), name


def assert_same_results(a: Proposer, b: Proposer, frame: np.ndarray) -> None:
    """Plans, candidates, their numbers and the peaks of two proposers are the same to the bit."""
    assert_same_arrays(a.plan_arrays(), b.plan_arrays())
    assert a.propose(frame, 1.0) == b.propose(frame, 1.0)
    assert a.candidates.tobytes() == b.candidates.tobytes()
    assert a.describe().tobytes() == b.describe().tobytes()
    scores = np.ones(len(a.candidates), np.float32)
    assert a.measure(scores, 0.5).tobytes() == b.measure(scores, 0.5).tobytes()


@settings(max_examples=60, deadline=None)
@given(cases(1))
def test_new_plan_equals_the_twin(case: Case) -> None:
    twin = plan_twin(case, case.masks[0])
    arrays = case.proposer(case.masks[0], radial=True).plan_arrays()
    assert arrays.pop("n_bins") == len(twin["bin_pixels"]) - 1
    assert arrays.pop("radial") == 1
    arrays["megapixels"] = np.float32(arrays["megapixels"])
    assert_same_arrays({name: twin[name] for name in arrays}, arrays)


@settings(max_examples=80, deadline=None)
@given(cases(4), st.booleans(), st.lists(st.integers(0, 3), min_size=1, max_size=3))
def test_derived_proposer_equals_a_new_one(case: Case, radial: bool, parents: list[int]) -> None:
    """Along a chain, and from a proposer that was derived from already; with no change of the mask as well."""
    made = [case.proposer(case.masks[0], radial)]
    for parent, mask in zip(parents, case.masks[1:], strict=False):
        made.append(made[parent % len(made)].with_good(GoodPixels.of(mask, case.shape)))
        assert_same_results(made[-1], case.proposer(mask, radial), case.frame)
    assert_same_results(made[-1].with_good(GoodPixels.of(mask, case.shape)), made[-1], case.frame)
    assert_same_results(made[0], case.proposer(case.masks[0], radial), case.frame)


@settings(max_examples=40, deadline=None)
@given(cases(3), st.sampled_from([0, 7]))
def test_derived_peakfinder8_equals_a_new_one(case: Case, samples: int) -> None:
    config = Peakfinder8Config(**OPTIONS, samples_per_bin=samples)
    finder = Peakfinder8(case.masks[0], case.radius, config, asics=case.asics)
    plan = _native.Plan(as_mask(case.masks[0], case.shape), case.radius, case.asics, samples)
    for mask in case.masks[1:]:
        finder = finder.with_good(GoodPixels.of(mask, case.shape))
        plan = plan.with_mask(as_mask_bits(mask, case.shape))
        new = _native.Plan(as_mask(mask, case.shape), case.radius, case.asics, samples)
        assert_same_arrays(plan.arrays(), new.arrays())
        expected = Peakfinder8(mask, case.radius, config, asics=case.asics)(case.frame)
        assert finder(case.frame).tobytes() == expected.tobytes()


def test_bins_that_lose_many_pixels_are_listed_anew() -> None:
    """A beam stop's arm and a panel that is off: all that is good of a bin counts, up to as many pixels as elsewhere."""
    shape = (2, 300, 300)
    radius = np.tile(np.hypot(*np.mgrid[:300, :300]), (2, 1, 1)).astype(np.float32)
    mask = np.ones(shape, bool)
    mask[0, :, 20:140] = False
    mask[1] = False
    new = Proposer(mask, radius)
    listed = new.plan_arrays()["order"]
    pixels = np.bincount(np.rint(radius).astype(int)[mask])
    of_bin = np.bincount(np.rint(radius.flat[listed[listed >= 0]]).astype(int), minlength=len(pixels))[: len(pixels)]
    least = np.minimum(pixels, SAMPLES)
    assert (of_bin >= 3 * least // 4).all()
    assert (of_bin == least).sum() > 200
    derived = Proposer(np.ones(shape, bool), radius).with_good(GoodPixels.of(mask, shape))
    assert_same_results(derived, new, np.random.default_rng(1).poisson(5.0, shape).astype(np.float32))


def test_mask_of_another_size_is_refused() -> None:
    proposer = Proposer(np.ones((1, 32, 32), bool))
    with pytest.raises(ValueError, match=r"mask has shape \(1, 32, 31\), the frame needs \(1, 32, 32\)"):
        GoodPixels.of(np.ones((1, 32, 31), bool), (1, 32, 32))
    with pytest.raises(ValueError, match="a mask of 152 words"):
        proposer.with_good(GoodPixels.of(None, (1, 32, 300)))


def test_any_true_byte_is_good() -> None:
    """A bool array that was cast from bytes may hold other true values than 1."""
    mask = np.random.default_rng(2).choice(np.array([0, 1, 2, 255], np.uint8), (1, 50, 60)).view(bool)
    proposer = Proposer(np.ones(mask.shape, bool)).with_good(GoodPixels.of(mask, mask.shape))
    assert_same_arrays(proposer.plan_arrays(), Proposer(mask.view(np.uint8) > 0).plan_arrays())


def test_threads_derive_from_one_new_proposer() -> None:
    """The first derivation makes what all of them share, in whichever thread it runs."""
    case = Case(7, 8)
    first = case.proposer(case.masks[0], radial=True)
    start, derived = threading.Barrier(len(case.masks)), [first] * len(case.masks)

    def derive(number: int) -> None:
        start.wait()
        derived[number] = first.with_good(GoodPixels.of(case.masks[number], case.shape))

    threads = [threading.Thread(target=derive, args=(number,)) for number in range(len(case.masks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for proposer, mask in zip(derived, case.masks, strict=True):
        assert_same_arrays(proposer.plan_arrays(), case.proposer(mask, radial=True).plan_arrays())


def test_plans_outlive_their_parents_and_are_freed() -> None:
    """A chain of plans holds its last one and what all share: 3 MB here, where 200 kept plans would take 500 MB."""
    rng = np.random.default_rng(3)
    frame = rng.poisson(5.0, (1, 1024, 1024)).astype(np.float32)
    radius = np.hypot(*np.mgrid[:1024, :1024]).astype(np.float32)[None]
    masks = [rng.random(frame.shape) > 0.03 for _ in range(2)]
    bits = [GoodPixels.of(mask, frame.shape) for mask in masks]
    proposer = Proposer(masks[0], radius).with_good(bits[1])
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(200):
        proposer = proposer.with_good(bits[number % 2])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    assert proposer.candidates.dtype == CANDIDATE
    assert_same_results(proposer, Proposer(masks[1], radius), frame)


def test_default_asics_are_the_panels() -> None:
    mask = np.random.default_rng(4).random((2, 40, 50)) > 0.1
    derived = Proposer(np.ones(mask.shape, bool)).with_good(GoodPixels.of(mask, mask.shape))
    assert_same_arrays(derived.plan_arrays(), Proposer(mask, asics=whole_panels(mask.shape)).plan_arrays())
