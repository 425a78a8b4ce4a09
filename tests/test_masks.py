"""Masks are put together in one place, and plans are kept by mask."""

from __future__ import annotations

import numpy as np
import pytest

from peakrt.arrays import GoodPixels, as_mask_bits
from peakrt.config import CandidateConfig, Config, Peakfinder8Config
from peakrt.finder import PeakFinder
from peakrt.finders.candidate import CandidateFinder
from peakrt.masks import MOST_PLANS, ByMask, Masks
from peakrt_geometry import Detector


def frame_of(detector: Detector, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ss, fs = np.mgrid[: detector.shape[1], : detector.shape[2]]
    frame = rng.poisson(5, detector.shape).astype(np.float64)
    for _ in range(30):
        c_ss, c_fs = rng.uniform(5, detector.shape[1] - 5), rng.uniform(5, detector.shape[2] - 5)
        frame[0] += rng.poisson(60 * np.exp(-((ss - c_ss) ** 2 + (fs - c_fs) ** 2) / 1.5))
    return (10 * frame).astype(np.float32)


def mask_of(detector: Detector, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(detector.shape) > 0.02


@pytest.fixture
def plans_made(monkeypatch: pytest.MonkeyPatch) -> list[CandidateFinder]:
    """Every plan that a candidate finder makes, from nothing or from another mask's."""
    made: list[CandidateFinder] = []
    real = CandidateFinder.__init__

    def counting(self: CandidateFinder, setup: object) -> None:
        made.append(self)
        real(self, setup)  # type: ignore[arg-type]

    monkeypatch.setattr(CandidateFinder, "__init__", counting)
    derive = CandidateFinder.with_good

    def counting_derived(self: CandidateFinder, good: GoodPixels) -> CandidateFinder:
        made.append(derive(self, good))
        return made[-1]

    monkeypatch.setattr(CandidateFinder, "with_good", counting_derived)
    return made


def test_a_mask_that_comes_again_needs_no_new_plan(small_detector: Detector, plans_made: list[object]) -> None:
    """A new array with the same mask for every event, and masks that alternate."""
    frame, finder = frame_of(small_detector), PeakFinder(geometry=small_detector)
    expected = {k: PeakFinder(geometry=small_detector)(frame, mask_of(small_detector, k)) for k in range(3)}
    made = []
    for k in (0, 0, 1, 2, 0, 2, 1, 1, 0, 2):
        plans_made.clear()
        found = finder(frame, mask_of(small_detector, k))
        assert found.tobytes() == expected[k].tobytes()
        made.append(len(plans_made))
    assert made[:2] == [1, 0]
    assert made[-3:] == [0, 0, 0]  # by then room has been made for three


def test_masks_of_threads(small_detector: Detector) -> None:
    frames = [frame_of(small_detector, k) for k in range(24)]
    items = [(frame, mask_of(small_detector, k % 5)) for k, frame in enumerate(frames)]
    one = [peaks.tobytes() for _, peaks in PeakFinder(geometry=small_detector).map(items)]
    assert [peaks.tobytes() for _, peaks in PeakFinder(geometry=small_detector).map(items, threads=3)] == one


def test_more_plans_are_kept_where_masks_come_again() -> None:
    """Masks that go round: at first each is dropped before it comes again, later all are kept."""
    made: list[float] = []

    def make(good: GoodPixels, similar: float | None) -> float:
        made.append(good.array.mean())
        return made[-1]

    plans = ByMask(Masks(None, None), make)
    masks = [np.arange(100).reshape(1, 10, 10) >= k for k in range(MOST_PLANS - 2)]
    for _ in range(4):
        for mask in masks:
            assert plans.get(mask.copy(), mask.shape).plan == mask.mean()
    before = len(made)
    for mask in masks:
        _ = plans.get(mask.copy(), mask.shape).plan
    assert len(made) == before


def test_only_so_many_plans_are_kept() -> None:
    made: list[float] = []

    def make(good: GoodPixels, similar: float | None) -> float:
        made.append(good.array.mean())
        return good.array.mean()

    plans = ByMask(Masks(None, None), make)
    masks = [np.arange(100).reshape(1, 10, 10) >= k for k in range(MOST_PLANS + 1)]
    for mask in masks:
        prepared = plans.get(mask, mask.shape)
        np.testing.assert_array_equal(prepared.good.array, mask)
        assert prepared.plan == mask.mean()
    _ = plans.get(masks[-1].copy(), mask.shape).plan
    assert len(made) == MOST_PLANS + 1
    _ = plans.get(masks[0], mask.shape).plan  # the first was dropped for the last
    assert len(made) == MOST_PLANS + 2


def test_plans_are_derived_from_the_first_one() -> None:
    given: list[str | None] = []

    def make(good: GoodPixels, similar: str | None) -> str:
        given.append(similar)
        return f"plan {len(given)}"

    plans = ByMask(Masks(None, None), make)
    for k in range(3):
        _ = plans.get(np.arange(9).reshape(1, 3, 3) > k, (1, 3, 3)).plan
    _ = plans.get(None, (2, 3, 3)).plan
    assert given == [None, "plan 1", "plan 1", None]


def test_what_masks_refuse(small_detector: Detector) -> None:
    with pytest.raises(ValueError, match="mask has shape"):
        Masks(small_detector, np.ones((3, 3)))
    masks = Masks(small_detector, None)
    with pytest.raises(ValueError, match="frame has shape"):
        masks.combine(None, (1, 3, 3))
    off = np.ones(small_detector.shape, bool)
    off[:, :128] = False
    with pytest.raises(ValueError, match="panel p0 of small.geom has no good pixel"):
        masks.combine(as_mask_bits(off, off.shape), off.shape)


def test_a_flat_mask_is_for_flat_frames() -> None:
    good = Masks(None, np.eye(4)).combine(None, (1, 4, 4))
    np.testing.assert_array_equal(good.array[0], np.eye(4) != 0)


@pytest.mark.parametrize("config", [CandidateConfig(), Peakfinder8Config(), Peakfinder8Config(samples_per_bin=50)])
def test_a_mask_for_every_event_gives_the_peaks_of_a_new_finder(small_detector: Detector, config: Config) -> None:
    """Gain and bad pixels are known beforehand or not learned: what a finder learned before would count, too."""
    if isinstance(config, CandidateConfig):
        config = CandidateConfig(gain=10.0, bad_pixels="keep")
    frame, finder = frame_of(small_detector), PeakFinder(config, geometry=small_detector)
    n_peaks = 0
    for k in range(6):
        mask = mask_of(small_detector, k) if k != 3 else None
        found = finder(frame, mask)
        n_peaks += len(found)
        assert found.tobytes() == PeakFinder(config, geometry=small_detector)(frame, mask).tobytes()
    assert n_peaks > 60


def test_a_mask_alone_needs_no_plan(small_detector: Detector, plans_made: list[object]) -> None:
    """Who writes asks for the mask of every event, beside the threads that have the plans."""
    finder = PeakFinder(geometry=small_detector)
    for k in range(3):
        mask = mask_of(small_detector, k)
        np.testing.assert_array_equal(finder.mask_for(mask, small_detector.shape), mask & small_detector.mask)
    assert not plans_made
