"""TensorRT's engines and their cache. TensorRT-RTX builds engines without a GPU, so building is tested wherever it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from peakrt import PeakFinder
from peakrt.cli import main
from peakrt.config import Peakfinder8Config, V3r3Config
from peakrt.gpu.segmentation import engine_shape
from peakrt.models import engine_cache
from peakrt.models.engine_tensorrt import build_engine, load_tensorrt
from peakrt.models.model_file import Model, load_model, shipped_models

KEY = {"gpu": "A", "driver": 1, "shape": [4, 53]}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PEAKRT_CACHE", str(folder))
    return folder


def build_counted() -> tuple[list[int], Any]:
    times: list[int] = []

    def build() -> bytes:
        times.append(1)
        return b"engine" * 1000

    return times, build


def test_cache_keeps_what_was_built(cache: Path) -> None:
    times, build = build_counted()
    for _ in range(3):
        assert engine_cache.cached(KEY, build) == b"engine" * 1000
    assert len(times) == 1
    assert engine_cache.cached({**KEY, "driver": 2}, build)
    assert len(times) == 2
    assert [entry.built_for["driver"] for entry in engine_cache.entries()] == [1, 2]
    assert oct(cache.stat().st_mode & 0o777) == "0o700"
    assert {oct(path.stat().st_mode & 0o777) for path in cache.iterdir()} == {"0o600"}
    assert engine_cache.clear() == 2
    assert engine_cache.entries() == []


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


def foreign(path: Path) -> None:
    path.write_bytes(b"ftrt" * 100)


def stale(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"gpu": "A"', b'"gpu": "B"'))


def writable(path: Path) -> None:
    path.chmod(0o666)


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [truncated, damaged, foreign, stale, writable, linked, empty])
def test_what_cannot_be_trusted_is_built_again_and_said(cache: Path, spoil: Any, caplog: Any) -> None:
    times, build = build_counted()
    engine_cache.cached(KEY, build)
    (path,) = cache.glob("*.engine")
    spoil(path)
    assert engine_cache.cached(KEY, build) == b"engine" * 1000
    assert len(times) == 2
    assert "is built again" in caplog.text
    assert engine_cache.cached(KEY, build)
    assert len(times) == 2


def test_cache_of_others_is_refused(cache: Path) -> None:
    cache.mkdir(mode=0o700)
    cache.chmod(0o777)
    with pytest.raises(PermissionError, match="chmod 700"):
        engine_cache.cache_folder()
    cache.rmdir()
    cache.symlink_to("/tmp")
    with pytest.raises(PermissionError, match="PEAKRT_CACHE"):
        engine_cache.cache_folder()


def test_interrupted_build_leaves_nothing_that_is_believed(cache: Path) -> None:
    def interrupted() -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine_cache.cached(KEY, interrupted)
    assert engine_cache.entries() == []
    (cache / "x.1.inprogress").write_bytes(b"half")
    assert engine_cache.entries() == []
    assert engine_cache.clear() == 1


def rtx() -> Any:
    try:
        return load_tensorrt()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", shipped_models())
def test_every_shipped_model_becomes_an_engine(name: str) -> None:
    trt, model = rtx(), load_model(name, None)
    engine = build_engine(trt, model, engine_shape(model, (2, 64, 96)))
    assert len(engine) > 10000


def test_a_model_that_tensorrt_cannot_read_says_so() -> None:
    with pytest.raises(RuntimeError, match="cannot read model broken"):
        build_engine(rtx(), Model("broken", b"no onnx", 0.5, {}), (1, 53))


def test_engine_command(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rtx()
    assert main(["engine", "build", "default"]) == 0
    out = capsys.readouterr().out
    assert "default: " in out
    engine_cache.cached(KEY, lambda: b"x" * 2048)
    assert main(["engine", "list"]) == 0
    assert "2 KiB  gpu A, driver 1" in capsys.readouterr().out
    assert main(["engine", "clear"]) == 0
    assert "removed" in capsys.readouterr().out


def test_engine_build_wants_a_geometry_for_panels(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rtx()
    assert main(["engine", "build", "segmentation"]) == 1
    assert "-g" in capsys.readouterr().err


def test_without_tensorrt_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeError, match="pip install tensorrt"):
        load_tensorrt()
    assert main(["engine", "build"]) == 1
    assert "pip install tensorrt" in capsys.readouterr().err


def test_finders_without_a_network_say_so(small_detector: Any) -> None:
    frame = [[[0] * 256] * 256]
    with pytest.raises(ValueError, match="its GPU engine is cuda"):
        PeakFinder(Peakfinder8Config(), geometry=small_detector, engine="tensorrt")(frame)
    with pytest.raises(ValueError, match="v3r3 runs on the CPU only"):
        PeakFinder(V3r3Config(), engine="cuda")(frame)


def test_errors_of_the_gpu_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from peakrt.gpu import batches as gpu

    def fails(text: str) -> Any:
        def count() -> int:
            raise RuntimeError(text)

        return SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count)))

    monkeypatch.setitem(
        sys.modules, "cupy", fails("cudaErrorInsufficientDriver: CUDA driver version is insufficient\nfor more")
    )
    with pytest.raises(RuntimeError, match="driver is too old"):
        gpu.load_cupy()
    monkeypatch.setitem(sys.modules, "cupy", fails("cudaErrorNoDevice: no CUDA-capable device is detected"))
    with pytest.raises(RuntimeError, match="nvidia-smi"):
        gpu.load_cupy()


def test_import_needs_nothing_of_the_gpu() -> None:
    code = (
        "import peakrt.gpu.candidate, peakrt.gpu.segmentation, peakrt.models.engine_tensorrt, sys; "
        "assert not {'cupy', 'tensorrt', 'tensorrt_rtx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})
