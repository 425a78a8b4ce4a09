"""peakfinder8 against its twin, against ondamonitor, and on every instruction set."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peakrt import Peakfinder8, Peakfinder8Config
from peakrt.sources import open_source
from peakrt_geometry import detector_names, load_detector
from peakrt_lab.simulate import RESPONSES, Scene, Simulator

from . import peers, twins
from .conftest import crowded_frame, instruction_sets

OPTIONS = {"adc_threshold": 30.0, "min_snr": 5.0, "min_pixels": 2, "max_pixels": 60, "background_radius": 3}
CONFIG = Peakfinder8Config(**OPTIONS)  # type: ignore[arg-type]
OM_FIELDS = ("ss", "fs", "intensity", "npix", "max", "noise", "snr")


def tiles(shape: tuple[int, int], asic: tuple[int, int]) -> np.ndarray:
    return np.array(
        [
            (0, s, min(s + asic[0], shape[0]), f, min(f + asic[1], shape[1]))
            for s in range(0, shape[0], asic[0])
            for f in range(0, shape[1], asic[1])
        ],
        np.int32,
    )


def case(
    seed: int, shape: tuple[int, int], masked: float, step: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = crowded_frame(rng, shape, peaks=shape[0] * shape[1] // 300, step=step).astype(np.float32)
    ss, fs = np.mgrid[: shape[0], : shape[1]]
    radius = np.hypot(ss - rng.uniform(-20, shape[0]), fs - rng.uniform(-20, shape[1])).astype(np.float32)
    return frame, rng.random(shape) >= masked, radius


def same_as_om(peaks: np.ndarray, expected: np.ndarray) -> None:
    assert len(peaks) == len(expected)
    found = np.array([peaks[name] for name in OM_FIELDS], float).T.reshape(-1, 7)
    np.testing.assert_allclose(found[:, :2], expected[:, :2], atol=1e-3)
    np.testing.assert_array_equal(found[:, 3], expected[:, 3])
    np.testing.assert_allclose(found[:, [2, 4, 5, 6]], expected[:, [2, 4, 5, 6]], rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), masked=st.sampled_from([0, 0.05, 0.5]), step=st.sampled_from([1.0, 25.0]))
@example(seed=4424183, masked=0, step=1.0)  # here the original looks past its queue and joins two groups
def test_equals_its_twin(seed: int, masked: float, step: float) -> None:
    frame, mask, radius = case(seed, (40, 56), masked, step)
    peaks = Peakfinder8(mask, radius, CONFIG, original=False)(frame)
    expected = twins.peakfinder8(frame, mask, radius, **OPTIONS)
    assert len(peaks) == len(expected)
    for column, name in enumerate(("ss", "fs", "intensity", "npix", "max", "background", "noise", "snr")):
        # the twin sums the pixels of a group in float64, the original 60 of them at most in float32
        np.testing.assert_allclose(peaks[name], expected[:, column], rtol=1e-5, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    masked=st.sampled_from([0, 0.05, 0.5]),
    asic=st.sampled_from([(24, 32), (48, 16), (96, 64)]),
    step=st.sampled_from([1.0, 25.0]),
    max_pixels=st.sampled_from([4, 60]),
)
def test_equals_ondamonitor(seed: int, masked: float, asic: tuple[int, int], step: float, max_pixels: int) -> None:
    frame, mask, radius = case(seed, (96, 64), masked, step)
    options = {**OPTIONS, "max_pixels": max_pixels}
    peaks = Peakfinder8(mask, radius, Peakfinder8Config(**options), asics=tiles(frame.shape, asic))(frame)
    same_as_om(peaks, peers.om_peakfinder8(frame, mask, radius, asic, options))


@pytest.mark.parametrize("name", detector_names())
def test_equals_ondamonitor_on_every_detector(name: str) -> None:
    """Simulated frames; ASICs that do not tile a slab evenly count as one."""
    detector = load_detector(name)
    scene = Scene(hit_fraction=1.0)
    simulator = Simulator(
        detector, scene=scene, response=RESPONSES[name], cell=(60.0, 60.0, 150.0, 90.0, 90.0, 90.0), seed=3
    )
    planes, n_ss, n_fs = detector.shape
    slab = (planes * n_ss, n_fs)
    radius, mask = detector.radius.reshape(slab), simulator.good.reshape(slab)
    asic = (detector.asics[0][2] - detector.asics[0][1], detector.asics[0][4] - detector.asics[0][3])
    options = {
        "adc_threshold": 5 * simulator.gain,
        "min_snr": 5.0,
        "min_pixels": 2,
        "max_pixels": 100,
        "background_radius": 4,
    }
    finder = Peakfinder8(mask, radius, Peakfinder8Config(**options), asics=tiles(slab, asic))
    n = 0
    for event in range(1 if slab[0] > 4200 else 2):
        frame = simulator.event(event).frame.reshape(slab)
        peaks = finder(frame)
        same_as_om(peaks, peers.om_peakfinder8(frame, mask, radius, asic, options))
        n += len(peaks)
    assert n > 5


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["thau_3_2_0003.cbf.bz2", "thau_3_2_0013.cbf.bz2", "thau_3_2_0018.cbf.bz2", "rayonix"])
def test_equals_ondamonitor_on_real_frames(name: str, shared: Path) -> None:
    if name == "rayonix":
        pytest.importorskip("pycbf")
        path = next((shared / "rayonix_mx340").glob("*.cbf"))
    else:
        path = shared / "thaumatin_pilatus6M" / name
    source = open_source([str(path)])
    event = next(source.events())
    assert event.mask is not None
    frame, mask, radius = event.frame[0], event.mask[0], source.detector.radius[0]
    for min_snr in (4.0, 6.0):
        options = {**OPTIONS, "adc_threshold": 2.0, "min_snr": min_snr, "background_radius": 4}
        peaks = Peakfinder8(mask, radius, Peakfinder8Config(**options))(frame)
        same_as_om(peaks, peers.om_peakfinder8(frame, mask, radius, frame.shape, options))
        sampled = Peakfinder8(mask, radius, Peakfinder8Config(samples_per_bin=100, **options))(frame)
        assert len(sampled) == pytest.approx(len(peaks), rel=0.3, abs=3 if min_snr > 4 else 150)


def test_sampled_equals_ondamonitor_with_the_same_sample() -> None:
    frame, mask, radius = case(7, (192, 192), 0.02)
    plan = Peakfinder8(mask, radius, replace(CONFIG, samples_per_bin=20))
    bins = np.rint(radius).astype(int).ravel()
    pixels, owners = [], []
    for b in range(bins.max() + 1):
        members = np.flatnonzero(bins == b)
        listed = twins.samples_of_bin(members, mask.ravel()[members] != 0, 20)
        pixels += list(listed[listed >= 0])
        owners += [b] * int((listed >= 0).sum())
    sample = (np.array(pixels, np.int32), np.array(owners, np.int32))
    same_as_om(plan(frame), peers.om_peakfinder8(frame, mask, radius, (192, 192), OPTIONS, sample))


def test_sampled_is_deterministic() -> None:
    frame, mask, radius = case(8, (192, 192), 0.02)
    first, second = (Peakfinder8(mask, radius, replace(CONFIG, samples_per_bin=20))(frame) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("samples", [0, 30])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.uint32, np.float64, np.uint8, ">i2"])
def test_every_dtype_gives_the_same_peaks(dtype: object, samples: int) -> None:
    frame, mask, radius = case(5, (64, 80), 0.02)
    frame = np.minimum(frame, 250)
    finder = Peakfinder8(mask, radius, replace(CONFIG, samples_per_bin=samples))
    assert finder(frame.astype(dtype)).tobytes() == finder(frame).tobytes()


def test_every_instruction_set_gives_the_same_bits() -> None:
    frame, mask, radius = case(6, (200, 120), 0.02)
    results = []
    for _ in instruction_sets():
        results += [Peakfinder8(mask, radius, replace(CONFIG, samples_per_bin=n))(frame).tobytes() for n in (0, 40)]
    assert len(set(results[0::2])) == 1
    assert len(set(results[1::2])) == 1


def test_stack_and_slab_agree() -> None:
    frame, mask, radius = case(9, (128, 64), 0.0)
    asics = np.array([(p, 0, 32, 0, 64) for p in range(4)], np.int32)
    stack = Peakfinder8(mask.reshape(4, 32, 64), radius.reshape(4, 32, 64), CONFIG, asics=asics)(
        frame.reshape(4, 32, 64)
    )
    slab = Peakfinder8(mask, radius, CONFIG, asics=tiles((128, 64), (32, 64)))(frame)
    np.testing.assert_allclose(stack["panel"] * 32 + stack["ss"], slab["ss"], atol=1e-5)
    np.testing.assert_array_equal(stack["intensity"], slab["intensity"])


def test_describes_its_peaks() -> None:
    frame = np.zeros((32, 40), np.float32)
    frame[10:13, 20:22] = [[50, 60], [200, 90], [55, 70]]
    frame += np.random.default_rng(0).normal(0, 1, frame.shape)
    radius = np.full(frame.shape, 3, np.float32)
    (peak,) = Peakfinder8(None, radius, CONFIG)(frame)
    extent = [int(peak[n]) for n in ("panel", "top_ss", "top_fs", "min_ss", "max_ss", "min_fs", "max_fs", "npix")]
    assert extent == [0, 11, 20, 10, 12, 20, 21, 6]
    weights = frame[10:13, 20:22] - peak["background"]
    ss, fs = np.mgrid[10:13, 20:22]
    mean_ss, mean_fs = (weights * ss).sum() / weights.sum(), (weights * fs).sum() / weights.sum()
    assert peak["var_ss"] == pytest.approx((weights * (ss - mean_ss) ** 2).sum() / weights.sum(), rel=1e-4)
    assert peak["cov"] == pytest.approx(
        (weights * (ss - mean_ss) * (fs - mean_fs)).sum() / weights.sum(), rel=1e-3, abs=1e-5
    )
    assert np.isnan(peak["score"])


def test_leaves_the_callers_arrays_alone() -> None:
    frame, mask, radius = case(3, (48, 48), 0.1)
    copies = frame.copy(), mask.copy(), radius.copy()
    for array in (frame, mask, radius):
        array.setflags(write=False)
    Peakfinder8(mask, radius, CONFIG)(frame)
    for array, copy in zip((frame, mask, radius), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_bad(value: float) -> None:
    frame, mask, radius = case(4, (64, 64), 0.0)
    holes = np.random.default_rng(1).random(frame.shape) < 0.01
    broken = np.where(holes, value, frame).astype(np.float32)
    expected = Peakfinder8(mask & ~holes, radius, CONFIG)(frame)
    if value == -np.inf:  # never above threshold, but in the ring of the local background
        assert len(Peakfinder8(mask, radius, CONFIG)(broken)) > 0
    else:
        found = Peakfinder8(mask, radius, CONFIG)(broken)
        np.testing.assert_array_equal(found["npix"], expected["npix"])


def test_nothing_to_find() -> None:
    radius = np.hypot(*np.mgrid[:32, :32]).astype(np.float32)
    for frame, mask in ((np.zeros((32, 32)), None), (np.ones((32, 32)), np.zeros((32, 32)))):
        assert len(Peakfinder8(mask, radius, CONFIG)(frame)) == 0


def test_no_limit_on_pixels_takes_no_memory() -> None:
    limit = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2**30, limit[1]))
    try:
        finder = Peakfinder8(None, np.zeros((32, 32)), replace(CONFIG, max_pixels=2**31 - 1))
        assert len(finder(np.zeros((32, 32)))) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_pixels": 0}, "min_pixels"),
        ({"max_pixels": 1}, "max_pixels"),
        ({"background_radius": 0}, "background_radius"),
        ({"background_radius": 2**30}, "background_radius 1 to 100"),
        ({"max_pixels": 2**31}, "none above"),
        ({"samples_per_bin": 2**40}, "none above"),
    ],
)
def test_bad_options(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Peakfinder8(None, np.zeros((32, 32)), replace(CONFIG, **change))  # type: ignore[arg-type]


def test_bad_arrays() -> None:
    for asics, message in (([[0, 0, 99, 0, 4]], "not inside"), ([[0, 0, 4]], "should be")):
        with pytest.raises(ValueError, match=message):
            Peakfinder8(None, np.zeros((32, 32)), CONFIG, asics=asics)
    with pytest.raises(ValueError, match="mask has shape"):
        Peakfinder8(np.ones((3, 3)), np.zeros((32, 32)), CONFIG)
    with pytest.raises(ValueError, match="metres"):
        Peakfinder8(None, np.full((4, 4), 1e6), CONFIG)
    with pytest.raises(ValueError, match="not negative"):
        Peakfinder8(None, np.full((4, 4), np.nan), CONFIG)
    finder = Peakfinder8(None, np.zeros((32, 32)), CONFIG)
    with pytest.raises(ValueError, match="made for"):
        finder(np.zeros((31, 32)))
    with pytest.raises(ValueError, match="real numbers"):
        finder(np.zeros((32, 32), complex))
