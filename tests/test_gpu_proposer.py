"""The network on a GPU: its kernels' bodies on the host against the CPU's finder, and on a GPU where there is one."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peakrt import PEAK, PeakFinder, _native
from peakrt.config import CandidateConfig, Config, Peakfinder8Config, SegmentationConfig
from peakrt.contracts import Setup
from peakrt.finders.candidate import CandidateFinder
from peakrt.finders.learned import Learned
from peakrt.finders.proposer import CANDIDATE, FEATURES, FRAME_WEIGHTS
from peakrt.finders.segmentation import SegmentationFinder
from peakrt.gpu.batches import pack
from peakrt.gpu.candidate import CudaCandidateFinder, model_arrays
from peakrt.gpu.segmentation import CudaSegmentationFinder
from peakrt.models.engine_onnx import OnnxEngine
from peakrt.models.model_file import Model, load_model

from .host_gpu import HostGpu
from .test_candidate import GAIN, crowded_frame, frames
from .test_peakfinder8 import tiles

ROOT = Path(__file__).resolve().parents[1]
MODEL = load_model("default")
ENGINE = OnnxEngine(MODEL)
#: Kernel and ONNX Runtime sum in other orders; a device's logarithms and exponentials differ in their last bits.
SCORES_AGREE = 1e-4


def pair(
    good: np.ndarray,
    radius: np.ndarray | None,
    *,
    asics: Any = None,
    gain: float | None = GAIN,
    config: CandidateConfig | None = None,
    model: Model = MODEL,
    **options: Any,
) -> tuple[CudaCandidateFinder, CandidateFinder]:
    """The GPU's finder and the CPU's, each with what it learns."""
    config = config or CandidateConfig(bad_pixels="keep")
    both = [Setup(config, good, radius, asics, Learned(gain), model=model, engine=ENGINE) for _ in range(2)]
    finder = CudaCandidateFinder(both[1], cpu=CandidateFinder(both[1]), **{"dtype": "f4", "batch": 2, **options})
    return finder, CandidateFinder(both[0])


def check_same(
    found: np.ndarray,
    expected: np.ndarray,
    *,
    exact: bool = True,
    thresholds: tuple[float, ...] = MODEL.least_scores(None),
) -> None:
    """The same peaks, but for scores at a threshold.

    exact : every number but the score to the last bit, as on the host; on a device, whose exponentials are others, a
    centroid to 0.02 px and an intensity to 1e-3.
    """
    sure, near = (
        peaks[(np.abs(peaks["score"][:, None] - np.float32(thresholds)) >= SCORES_AGREE).all(1)]
        for peaks in (expected, found)
    )
    assert len(near) == len(sure)
    for name in PEAK.names:
        if name == "score":
            np.testing.assert_allclose(near[name], sure[name], atol=SCORES_AGREE)
        elif not exact and np.dtype(PEAK[name]).kind == "f":
            np.testing.assert_allclose(near[name], sure[name], rtol=1e-3, atol=0.02, err_msg=name)
        else:
            np.testing.assert_array_equal(near[name], sure[name], err_msg=name)


def is_host(device: Any) -> bool:
    """Whether the tests' device is the host."""
    return isinstance(device, HostGpu)


def scene(rng: np.random.Generator, shape: tuple[int, int, int], peaks: int, background: float = 8.0) -> np.ndarray:
    """Photons of a frame with Gaussian peaks, in ADU."""
    panels, n_ss, n_fs = shape
    ss, fs = np.mgrid[:n_ss, :n_fs]
    mean = np.full(shape, background)
    for _ in range(peaks):
        at, width = rng.uniform(0, (n_ss, n_fs)), rng.uniform(0.4, 1.5)
        height = np.exp(rng.uniform(3, 7)) / (2 * np.pi * width**2)
        mean[rng.integers(panels)] += height * np.exp(-((ss - at[0]) ** 2 + (fs - at[1]) ** 2) / (2 * width**2))
    return (rng.poisson(mean) * GAIN).astype(np.float32)


def test_a_struct_takes_no_other_names() -> None:
    assert pack(_native.CONV_LAYER, {"in": 2**60, "pad": 3})["in"] == 2**60
    with pytest.raises(KeyError, match="input"):
        pack(_native.CONV_LAYER, {"input": 2**60})


def test_kernels_written_by_hand_are_in_the_list() -> None:
    """All others are made from the list itself (proposer_kernels.def)."""
    source = (ROOT / "csrc/cuda/proposer.cu").read_text()
    by_hand = set(re.findall(r"\bproposer_([a-z]+)\(", source))
    assert by_hand == {"age"} <= set(_native.PROPOSER_KERNELS)
    assert all(_native.DEVICE["team_threads"] % team == 0 for team in _native.PROPOSER_TEAMS.values())


#: What CUDA adds to C++, as far as these kernels use it.
DEVICE_WORDS = """
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(n)
#define __syncthreads()
static struct { unsigned x, y, z; } blockIdx, blockDim, threadIdx, gridDim;
"""


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("name", ["proposer", "segmentation"])
def test_kernels_are_sound_but_for_the_device(name: str, tmp_path: Path) -> None:
    """nvcc is seldom at hand; the host's compiler finds what is wrong with names and types."""
    source = tmp_path / "kernels.cpp"
    source.write_text(f'{DEVICE_WORDS}#include "{ROOT}/csrc/cuda/{name}.cu"\n')
    command = ["c++", "-std=c++17", "-fsyntax-only", "-I", str(ROOT / "csrc/include"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=frames(), radial=st.booleans(), asic=st.sampled_from([(400, 400), (17, 70), (32, 25)]),
    empty=st.booleans(),
)  # fmt: skip
def test_bodies_find_what_the_cpu_finds(
    device: Any,
    case: tuple[np.ndarray, np.ndarray],
    radial: bool,
    asic: tuple[int, int],
    empty: bool,
) -> None:
    frame, mask = case
    kind = frame.dtype.str[1:]
    good = (mask & (not empty))[None]
    ss, fs = np.indices(frame.shape)
    radius = np.hypot(ss - 30.2, fs - 11.7).astype(np.float32)[None] if radial else None
    finder, cpu = pair(good, radius, asics=tiles(frame.shape, asic), dtype=kind)
    other = np.roll(frame, 3, axis=1)
    for found, one in zip(finder.map([frame, other, frame]), (frame, other, frame), strict=True):
        check_same(found, cpu(one[None]), exact=is_host(device))
    assert finder.overflows == 0


def test_crowded_and_usual_frames_in_one_batch(device: Any) -> None:
    run = [crowded_frame(peaks)[None] for peaks in (0, 130, 80, 140, 3, 135, 130)]
    shape = run[0].shape
    radius = np.hypot(*np.mgrid[-5:507, 3:515]).astype(np.float32)[None]
    finder, cpu = pair(np.ones(shape, bool), radius, batch=3)
    for found, frame in zip(finder.map(run * 2), run * 2, strict=True):  # twice: the second time as graphs
        check_same(found, cpu(frame), exact=is_host(device))
    assert finder.overflows == 0


def test_many_peaks_on_panels_batches_and_graphs(device: Any) -> None:
    rng = np.random.default_rng(5)
    shape = (3, 96, 130)
    radius = rng.permuted(np.hypot(*np.mgrid[:288, :130])).astype(np.float32).reshape(shape)
    mask = rng.random(shape) > 0.01
    run = [scene(rng, shape, 60) for _ in range(11)]
    finder, cpu = pair(mask, np.sort(radius, axis=None).reshape(shape), slots=2)
    expected = [cpu(frame) for frame in run]
    assert sum(map(len, expected)) > 300
    for found, peaks in zip(finder.map(run), expected, strict=True):
        check_same(found, peaks, exact=is_host(device))
    # Six batches over two slots, the last a partial one: the others were captured at their second run and replayed.
    if is_host(device):
        assert sorted(slot.stream.captured for slot in finder._slots) == [2, 2]
    assert all(len(slot.graphs) == 2 for slot in finder._slots)
    resident = device.asarray(np.stack(run[:2]))
    for found, peaks in zip(next(finder.find_resident([resident])), expected, strict=False):
        check_same(found, peaks, exact=is_host(device))
    pinned = finder.pinned(2)
    pinned[...] = np.stack(run[2:4])
    for found, peaks in zip(next(finder.find_pinned([pinned])), expected[2:], strict=False):
        check_same(found, peaks, exact=is_host(device))


def test_models_with_and_without_a_frame_network(device: Any) -> None:
    """A model of the one kind and of the other, on frames without peaks, with a few and with many."""
    rng = np.random.default_rng(8)
    shape = (2, 128, 128)
    run = [scene(rng, shape, peaks) for peaks in (0, 60, 2, 12, 25)]
    found = []
    weights = tuple(rng.normal(0, 0.7, FRAME_WEIGHTS))
    for model in (replace(MODEL, frame=weights, threshold=0.5, threshold_in_hits=None), MODEL):
        finder, cpu = pair(np.ones(shape, bool), None, model=model)
        for gpu, frame in zip(finder.map(run), run, strict=True):
            expected = cpu(frame)
            check_same(gpu, expected, exact=is_host(device), thresholds=model.least_scores(None))
            found.append(expected)
    assert found[1]["score"].tobytes() != found[6]["score"].tobytes()
    assert sum(map(len, found)) > 100


def test_one_huge_blob_and_touching_peaks(device: Any) -> None:
    rng = np.random.default_rng(0)
    blob, touching = scene(rng, (1, 64, 64), 0), scene(rng, (1, 64, 64), 0)
    blob[0, 10:50, 8:60] += 5000
    for fs in range(4, 60, 4):
        touching[0, 30, fs : fs + 2] += 40 * GAIN
        touching[0, 0, fs] += 60 * GAIN  # on the rim
    finder, cpu = pair(np.ones((1, 64, 64), bool), None)
    for found, frame in zip(finder.map([blob, touching]), (blob, touching), strict=True):
        check_same(found, cpu(frame), exact=is_host(device))


@pytest.mark.parametrize("capacity", [{"capacity": 4}, {"peak_capacity": 1}])
def test_what_has_no_room_is_counted_and_goes_to_the_cpu(
    device: Any,
    capacity: dict[str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = [scene(np.random.default_rng(k), (1, 96, 96), 30) for k in range(3)]
    finder, cpu = pair(np.ones((1, 96, 96), bool), None, **capacity)
    with caplog.at_level("WARNING", logger="peakrt"):
        for found, frame in zip(finder.map(run), run, strict=True):
            expected = cpu(frame)
            assert len(expected) > 4
            assert found.tobytes() == expected.tobytes()
    assert finder.overflows == 2
    assert sum("no room" in record.message for record in caplog.records) == 1


def test_gain_and_bad_pixels_are_learned_as_on_the_cpu(device: Any) -> None:
    rng = np.random.default_rng(3)
    shape = (1, 512, 512)
    run = [scene(rng, shape, 20, background=np.linspace(1, 20, 512)) for _ in range(14)]
    hot = [(40, 50), (100, 7), (0, 0)]
    for frame in run:
        for at in hot:
            frame[(0, *at)] += 80 * GAIN
    finder, cpu = pair(np.ones(shape, bool), None, gain=None, config=CandidateConfig(), batch=1, slots=2)
    for found, frame in zip(finder.map(run), run, strict=True):
        check_same(found, cpu(frame), exact=is_host(device))
    finder.tell_learned()
    assert finder._learned.gain == cpu._learned.gain == pytest.approx(GAIN, rel=0.1)
    learned = cpu._learned.bad_pixels(shape).bad
    assert all(learned[(0, *at)] for at in hot[:2])
    np.testing.assert_array_equal(finder._learned.bad_pixels(shape).bad, learned)


def test_counts_of_bad_pixels_age(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peakrt.gpu.candidate.AGE", 8)
    frame = scene(np.random.default_rng(1), (1, 64, 64), 0)
    frame[0, 20, 20] += 100 * GAIN
    finder, _ = pair(np.ones((1, 64, 64), bool), None, config=CandidateConfig(), batch=1)
    list(finder.map([frame] * 8))
    assert finder.frames_seen == 4
    assert int(device.asnumpy(finder._map["times_alone"])[0, 20, 20]) == 7 // 2 + 1


def test_bad_input_says_what_is_wrong(device: Any) -> None:
    finder, _ = pair(np.ones((1, 64, 64), bool), None)
    with pytest.raises(ValueError, match="shape"):
        finder(np.zeros((1, 64, 65), np.float32))
    with pytest.raises(ValueError, match="dtype"):
        finder(np.zeros((1, 64, 64), np.uint16))
    with pytest.raises(ValueError, match="one of u2"):
        pair(np.ones((1, 64, 64), bool), None, dtype="f8")
    with pytest.raises(ValueError, match="batch is 0"):
        pair(np.ones((1, 64, 64), bool), None, batch=0)


def test_too_little_memory_is_one_line(host_gpu: HostGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(shape: Any, dtype: Any) -> Any:
        raise MemoryError("out of memory allocating")

    monkeypatch.setattr(HostGpu, "empty", staticmethod(full))
    with pytest.raises(MemoryError, match="too little memory for batches of 2: make them smaller"):
        pair(np.ones((1, 64, 64), bool), None)


def test_judge_of_another_shape_is_refused() -> None:
    class Wide:
        name = "wide"

        def weights(self) -> dict[str, np.ndarray]:
            return {**MODEL.weights(), "first_bias": np.zeros(500, np.float32)}

    class Other:
        name = "other"

        def weights(self) -> dict[str, np.ndarray]:
            return {}

    for model in (Wide(), Other()):
        with pytest.raises(ValueError, match="use engine tensorrt or cpu"):
            model_arrays(model)  # type: ignore[arg-type]


# Through PeakFinder


def run_of(detector: Any, n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(9)
    return [scene(rng, detector.shape, 25).astype(np.uint16) for _ in range(n)]


@pytest.mark.parametrize("config", [CandidateConfig(), Peakfinder8Config()], ids=["candidate", "peakfinder8"])
def test_peak_finder_on_the_gpu_gives_what_the_cpu_gives(device: Any, small_detector: Any, config: Config) -> None:
    run = run_of(small_detector, 18)
    mask = np.ones(small_detector.shape, bool)
    mask[:, :, 100:110] = False
    items = [(frame, mask if k > 8 else None) for k, frame in enumerate(run)]
    expected = [peaks for _, peaks in PeakFinder(config, geometry=small_detector).map(items)]
    finder = PeakFinder(config, geometry=small_detector, engine="cuda")
    found = list(finder.map(items))
    assert [number for number, _ in found] == list(range(18))
    for (_, peaks), other in zip(found, expected, strict=True):
        if isinstance(config, CandidateConfig):
            check_same(peaks, other, exact=is_host(device))
        else:
            assert peaks.tobytes() == other.tobytes()
    assert sum(map(len, expected)) > 100
    np.testing.assert_array_equal(finder(run[3])["ss"], PeakFinder(config, geometry=small_detector)(run[3])["ss"])


@pytest.mark.parametrize("config", [CandidateConfig(gain=GAIN), SegmentationConfig(gain=GAIN)])
def test_a_mask_for_every_event_is_taken_by_the_finder_at_hand(
    device: Any, small_detector: Any, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One finder on the GPU for all masks; the peaks of each are those of a new finder with that mask from the start."""
    made = []
    for kind in (CudaCandidateFinder, CudaSegmentationFinder):
        monkeypatch.setattr(kind, "__init__", _counted(kind.__init__, made))
    config = replace(config, bad_pixels="keep") if isinstance(config, CandidateConfig) else config
    rng = np.random.default_rng(5)
    masks = [rng.random(small_detector.shape) > share for share in (0.02, 0.3, 0.0, 0.7, 0.02, 0.02)]
    masks[2][:, :, 60:] = False
    items = [(frame, masks[k // 2]) for k, frame in enumerate(run_of(small_detector, 12))]
    finder = PeakFinder(config, geometry=small_detector, engine="cuda")
    found = list(finder.outcomes(items))
    assert len(made) == 1
    assert sum(map(len, found)) > 30
    for (frame, mask), peaks in zip(items, found, strict=True):
        alone = PeakFinder(config, geometry=small_detector, mask=mask, engine="cuda")
        assert alone(frame).tobytes() == peaks.tobytes()


def _counted(real: Any, made: list[Any]) -> Any:
    def init(self: Any, *given: Any, **named: Any) -> None:
        made.append(self)
        real(self, *given, **named)

    return init


def test_bad_pixels_outlive_a_change_of_mask(device: Any, small_detector: Any) -> None:
    run = run_of(small_detector, 12)
    for frame in run:
        frame[0, 40, 50] += 900
    mask = np.ones(small_detector.shape, bool)
    mask[:, :, 100:110] = False
    finder = PeakFinder(geometry=small_detector, engine="cuda")
    list(finder.map((frame, None) for frame in run))
    bad = finder.bad_pixels
    assert bad is not None
    assert bad[0, 40, 50]
    peaks = finder(run[0], mask)
    assert not ((np.abs(peaks["ss"] - 40) < 2) & (np.abs(peaks["fs"] - 50) < 2)).any()
    assert finder.bad_pixels[0, 40, 50]  # type: ignore[index]


class HostEngine:
    """An engine that scores what lies at an address, as TensorRT does, with ONNX Runtime behind it."""

    def __init__(self, shape: tuple[int, ...], network: OnnxEngine, classes: tuple[int, ...] = ()) -> None:
        self.shape, self.network, self.out = shape, network, classes

    def enqueue(self, stream: int, inputs: int, outputs: int) -> None:
        numbers = _at(inputs, self.shape)
        out = self.network(np.nan_to_num(numbers, posinf=0, neginf=0))
        _at(outputs, out.shape)[...] = out


def _at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)


def test_an_engine_may_judge_in_the_kernels_place(host_gpu: HostGpu) -> None:
    run = [scene(np.random.default_rng(k), (1, 96, 96), 30) for k in range(5)]
    good = np.ones((1, 96, 96), bool)
    with_kernel, _ = pair(good, None)
    with_engine, cpu = pair(good, None, engine=lambda rows: HostEngine((rows, len(FEATURES)), ENGINE))
    for found, other, frame in zip(with_engine.map(run), with_kernel.map(run), run, strict=True):
        check_same(found, cpu(frame))
        check_same(found, other)


# The segmentation network


def small_segmentation() -> Model:
    """A student of random weights with a head that takes bright pixels for peaks: what matters here is the arithmetic."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from peakrt_lab.export import build_segmentation_onnx
    from peakrt_lab.segmentation_network import SegmentationStudent

    torch.manual_seed(3)
    student = SegmentationStudent(16).eval()
    layers = tuple((c.kernel_size[0], c.stride[0], c.dilation[0], c.padding[0]) for c in (*student.convs, student.head))
    content = build_segmentation_onnx(student).SerializeToString()
    return Model("small", content, 0.36, {}, "segmentation", "fp32", layers)


@pytest.mark.parametrize("shape", [(2, 48, 64), (1, 51, 67)])
def test_segmentation_on_the_gpu_gives_what_the_cpu_gives(device: Any, shape: tuple[int, int, int]) -> None:
    model = small_segmentation()
    rng = np.random.default_rng(2)
    run = [scene(rng, shape, 12) for _ in range(3)]
    good = rng.random(shape) > 0.02
    asics = np.array([(p, a, b, 0, shape[2]) for p in range(shape[0]) for a, b in ((0, 20), (20, shape[1]))], np.int32)
    engine = OnnxEngine(model)
    setup = Setup(SegmentationConfig(), good, None, asics, Learned(GAIN), model=model, engine=engine)
    inputs = SegmentationFinder(setup)
    p = engine(inputs._proposer.segmentation_inputs(run[0], GAIN)[:, :, : shape[1] // 2 * 2, : shape[2] // 2 * 2])
    config = SegmentationConfig(min_score=float(np.quantile(p[:, 1], 0.985)))
    setup = replace(setup, config=config)
    cpu = SegmentationFinder(setup)
    finder = CudaSegmentationFinder(setup, cpu=cpu, dtype="f4", batch=2)
    total = 0
    for found, frame in zip(finder.map(run), run, strict=True):
        expected = cpu(frame)
        total += len(expected)
        assert len(found) == len(expected)
        np.testing.assert_allclose(found["score"], expected["score"], atol=1e-5)
        for name in ("panel", "ss", "fs", "intensity", "snr", "npix"):
            np.testing.assert_allclose(found[name], expected[name], rtol=0 if is_host(device) else 1e-3, err_msg=name)
    assert total > 10
    assert finder.overflows == 0
    tight = CudaSegmentationFinder(setup, cpu=cpu, dtype="f4", batch=2, foreground_capacity=3)
    np.testing.assert_array_equal(tight(run[0]), cpu(run[0]))
    assert tight.overflows == 1


def test_components_on_the_gpu_are_scipys(host_gpu: HostGpu) -> None:
    """Random foregrounds: as many peaks as scipy has components, each with its component's best score."""
    ndimage = pytest.importorskip("scipy.ndimage")
    model, shape = small_segmentation(), (1, 40, 56)
    good, rng = np.ones(shape, bool), np.random.default_rng(4)
    frame = scene(rng, shape, 3)
    for density in (0.0, 0.05, 0.3, 0.9, 1.0):
        p = np.where(rng.random(shape) < density, rng.uniform(0.5, 1, shape), 0.1).astype(np.float32)
        answer = np.stack([1 - p, p, 0 * p], axis=1)

        def network(inputs: np.ndarray, answer: np.ndarray = answer) -> np.ndarray:
            return answer

        setup = Setup(SegmentationConfig(), good, None, None, Learned(GAIN), model=model, engine=network)
        finder = CudaSegmentationFinder(
            replace(setup, config=SegmentationConfig(min_score=0.5)), cpu=SegmentationFinder(setup), dtype="f4", batch=1,
            engine=lambda size: HostEngine(size, network), foreground_capacity=good.size,  # type: ignore[arg-type]
        )  # fmt: skip
        found = finder(frame)
        labels, n = ndimage.label(p[0] >= 0.5, np.ones((3, 3)))
        rows = np.asarray(finder._slots[0].scratch["candidates"]).view(CANDIDATE).ravel()
        count = int(finder._slots[0].scratch["n_candidates"][0])
        assert count == n
        assert sorted(labels[rows["ss"][:count], rows["fs"][:count]]) == list(range(1, n + 1))
        best = ndimage.maximum(p[0], labels, range(1, n + 1)) if n else []
        scores = np.asarray(finder._slots[0].scratch["scores"])[0, :count]
        order = np.argsort(labels[rows["ss"][:count], rows["fs"][:count]])
        np.testing.assert_array_equal(scores[order], np.asarray(best, np.float32))
        assert len(found) <= n


@settings(max_examples=200, deadline=None)
@given(st.floats(-70000, 70000, width=32))
def test_halves_are_numpys(value: float) -> None:
    with np.errstate(over="ignore"):
        assert _native.to_half(value) == int(np.float32(value).astype(np.float16).view(np.uint16))
