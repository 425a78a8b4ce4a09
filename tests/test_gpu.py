"""The CUDA kernels: their bodies on the host everywhere, the kernels themselves where there is a GPU."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peakrt import Peakfinder8, Peakfinder8Config
from peakrt.gpu import batches as gpu
from peakrt.gpu.peakfinder8 import CudaPeakfinder8

from .conftest import crowded_frame
from .host_gpu import HostGpu
from .test_peakfinder8 import CONFIG, case, tiles

ROOT = Path(__file__).resolve().parents[1]


def on_host(
    frames: np.ndarray, mask: Any, radius: np.ndarray, asics: np.ndarray | None = None, **options: Any
) -> list[np.ndarray]:
    """The GPU's finder on the stand-in of host_gpu."""
    finder = CudaPeakfinder8(
        mask, radius, replace(CONFIG, **options), asics=asics, dtype=frames.dtype, batch=2, peak_capacity=4000
    )
    found = list(finder.map(frames))
    assert finder.overflows == 0
    return found


def test_all_name_the_same_kernels() -> None:
    """The kernels, their bodies on the host, and those that the finder launches, with and without frames."""
    cuda = (ROOT / "csrc/cuda/peakfinder8.cu").read_text()
    assert {
        name: of_type == "_##NAME" for name, of_type in re.findall(r"\bpeakfinder8_([a-z]+)(_##NAME)?\(", cuda)
    } == CudaPeakfinder8.kernels
    twin = (ROOT / "csrc/cpu/device_twin.cpp").read_text()
    body = twin[twin.index("void peakfinder8_twin") : twin.index("void proposer_twin")]
    assert set(re.findall(r'name == "([a-z]+)"', body)) == set(CudaPeakfinder8.kernels)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**31),
    masked=st.sampled_from([0, 0.05, 0.5, 1.0]),
    asic=st.sampled_from([(24, 32), (96, 64)]),
    step=st.sampled_from([1.0, 25.0]),
    samples=st.sampled_from([0, 15]),
)
def test_bodies_equal_the_cpu(
    host_gpu: HostGpu, seed: int, masked: float, asic: tuple[int, int], step: float, samples: int
) -> None:
    frame, mask, radius = case(seed, (96, 64), masked, step)
    other = np.roll(frame, 7, axis=1)
    rectangles = tiles(frame.shape, asic)
    finder = Peakfinder8(mask, radius, replace(CONFIG, samples_per_bin=samples), asics=rectangles, original=False)
    found = on_host(np.stack([frame, other]), mask, radius, asics=rectangles, samples_per_bin=samples)
    for peaks, one in zip(found, (frame, other), strict=True):
        assert peaks.tobytes() == finder(one).tobytes()


@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "i4", "f4"])
def test_bodies_take_every_device_dtype(host_gpu: HostGpu, dtype: str) -> None:
    frame, mask, radius = case(5, (64, 84), 0.02)  # 5376 pixels, not a multiple of the vector width in each row
    found = on_host(frame.astype(dtype)[None], mask, radius)
    assert found[0].tobytes() == Peakfinder8(mask, radius, CONFIG, original=False)(frame).tobytes()


def test_one_huge_blob_and_empty_frames(host_gpu: HostGpu) -> None:
    radius = np.hypot(*np.mgrid[-24:24, -32:32]).astype(np.float32)
    empty, blob = np.zeros((48, 64), np.float32), np.full((48, 64), 10.0, np.float32)
    blob[8:40, 8:56] = 5000.0
    noise = np.random.default_rng(0).poisson(20, (48, 64)).astype(np.float32)
    frames = np.stack([empty, blob, noise])
    found = on_host(frames, None, radius)
    for peaks, frame in zip(found, frames, strict=True):
        assert peaks.tobytes() == Peakfinder8(None, radius, CONFIG, original=False)(frame).tobytes()


# On a GPU


@pytest.fixture(scope="module")
def cupy() -> Any:
    try:
        return gpu.load_cupy()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "i4", "f4"])
@pytest.mark.parametrize("samples", [0, 40])
def test_kernels_equal_the_cpu(cupy: Any, dtype: str, samples: int) -> None:
    rng = np.random.default_rng(3)
    shape = (4, 128, 192)
    ss, fs = np.mgrid[:512, :192]
    radius = np.hypot(ss - 250, fs - 90).astype(np.float32).reshape(shape)
    mask = rng.random(shape) > 0.02
    frames = [crowded_frame(rng, (512, 192), peaks=150).astype(dtype).reshape(shape) for _ in range(21)]
    asics = np.array([(p, s, s + 64, 0, 192) for p in range(4) for s in (0, 64)], np.int32)
    cpu = Peakfinder8(mask, radius, replace(CONFIG, samples_per_bin=samples), asics=asics, original=False)
    finder = CudaPeakfinder8(mask, radius, replace(CONFIG, samples_per_bin=samples), asics=asics, dtype=dtype, batch=4)
    found = list(finder.map(frames))
    assert len(found) == len(frames)
    for peaks, frame in zip(found, frames, strict=True):
        assert peaks.tobytes() == cpu(frame).tobytes()
    assert sum(map(len, found)) > 500
    resident = [peaks for batch in finder.find_resident([cupy.asarray(np.stack(frames[:4]))]) for peaks in batch]
    for a, b in zip(resident, found, strict=False):
        assert a.tobytes() == b.tobytes()
    pinned = finder.pinned(4)
    pinned[...] = np.stack(frames[:4])
    for a, b in zip(next(finder.find_pinned([pinned])), found, strict=False):
        assert a.tobytes() == b.tobytes()


@pytest.mark.gpu
@pytest.mark.parametrize("capacity", [{"foreground_capacity": 8}, {"peak_capacity": 1}])
def test_overflow_is_counted_and_goes_to_the_cpu(cupy: Any, capacity: dict[str, int]) -> None:
    frame, mask, radius = case(3, (96, 64), 0.0)
    finder = CudaPeakfinder8(mask, radius, CONFIG, dtype="f4", batch=2, **capacity)
    expected = Peakfinder8(mask, radius, CONFIG, original=False)(frame)
    assert finder(frame).tobytes() == expected.tobytes()
    assert finder.overflows == 1
    (found,) = next(finder.find_resident([cupy.asarray(frame)[None, None]]))
    assert found.tobytes() == expected.tobytes()


@pytest.mark.gpu
@pytest.mark.parametrize("finder", ["candidate", "peakfinder8"])
def test_find_on_the_gpu_writes_the_same_file(cupy: Any, run_file: Any, tmp_path: Any, finder: str) -> None:
    """peakfinder8's to the last bit; the candidate finder's as near as a device's exponentials are."""
    for engine in ("cpu", "cuda"):
        command = [
            sys.executable, "-m", "peakrt.cli", "find", run_file, "-g", run_file.with_suffix(".geom"),
            "--finder", finder, "--engine", engine, "-o", tmp_path / f"{engine}.cxi",
        ]  # fmt: skip
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    near = 0.0 if finder == "peakfinder8" else 1e-4
    with h5py.File(tmp_path / "cpu.cxi") as one, h5py.File(tmp_path / "cuda.cxi") as two:
        np.testing.assert_array_equal(one["/entry_1/result_1/nPeaks"][:], two["/entry_1/result_1/nPeaks"][:])
        for name in ("peakXPosRaw", "peakYPosRaw", "peakTotalIntensity", "peakSNR"):
            expected, found = (file[f"/entry_1/result_1/{name}"][:] for file in (one, two))
            np.testing.assert_allclose(found, expected, rtol=near, atol=near, err_msg=name)


def test_auto_goes_to_the_cpu_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, small_detector: Any
) -> None:
    from peakrt.finder import PeakFinder

    monkeypatch.setitem(sys.modules, "cupy", None)
    finder = PeakFinder(geometry=small_detector, engine="auto")
    with caplog.at_level("INFO", logger="peakrt"):
        frames = [np.random.default_rng(k).poisson(20, (1, 256, 256)) for k in range(3)]
        assert len(finder.find(frames)) == 3
    assert sum("using the CPU" in record.message for record in caplog.records) == 1
    with pytest.raises(RuntimeError, match="pip install|without CUDA kernels"):
        PeakFinder(Peakfinder8Config(), geometry=small_detector, engine="cuda").find(frames)
    with pytest.raises(ValueError, match="engine is 'tpu'"):
        PeakFinder(geometry=small_detector, engine="tpu")


def test_errors_say_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"pip install '\.\[gpu\]'"):
        gpu.load_cupy()
    monkeypatch.setattr(gpu, "KERNELS", tmp_path)
    with pytest.raises(RuntimeError, match="without CUDA kernels"):
        CudaPeakfinder8(None, np.zeros((8, 8)), CONFIG)
