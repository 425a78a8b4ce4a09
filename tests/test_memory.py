"""Too little memory ends a run, which can be gone on with: it is no fault of the event at hand, which would be left out."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from peakrt.cli import main
from peakrt.cxi.columns import UNUSABLE
from peakrt.hdf5_items import read
from peakrt.memory import wants_memory
from peakrt.models.engine_onnx import OnnxEngine
from peakrt.models.model_file import load_model
from peakrt.pipeline import _WriteBehind
from peakrt.sources import hdf5


def chained(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OSError("Can't synchronously read data (memory allocation failed for chunk)"),
        RuntimeError("Can't malloc 8 bytes"),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"),
        chained(OSError("a.h5 //3 cannot be read"), chained(OSError("frame"), MemoryError())),
    ],
)
def test_want_of_memory_is_told(error: BaseException) -> None:
    assert wants_memory(error)


@pytest.mark.parametrize(
    "error", [None, OSError(errno.ENOSPC, "No space left on device"), ValueError("memory of a mask")]
)
def test_other_errors_are_none(error: BaseException | None) -> None:
    assert not wants_memory(error)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_run_without_memory_ends_and_is_gone_on_with(
    run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], threads: int
) -> None:
    command = ["find", str(run_file), "-g", str(run_file.with_suffix(".geom")), "-j", str(threads)]
    assert main([*command, "-o", str(tmp_path / "whole.cxi")]) == 0
    calls = 0

    def scarce(dataset: h5py.Dataset, selection: Any = ()) -> Any:
        nonlocal calls
        calls += dataset.ndim > 2
        if calls == 4:
            raise OSError(f"{dataset.name} cannot be read") from MemoryError("Unable to allocate 576. KiB")
        return read(dataset, selection)

    with monkeypatch.context() as patched:
        patched.setattr(hdf5, "read", scarce)
        capsys.readouterr()
        assert main([*command, "-o", str(tmp_path / "out.cxi")]) == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert "too little memory" in said
    assert "--resume goes on" in said
    assert main([*command, "-o", str(tmp_path / "out.cxi"), "--resume"]) == 0
    with h5py.File(tmp_path / "out.cxi") as found, h5py.File(tmp_path / "whole.cxi") as whole:
        for name in ("/LCLS/eventNumber", "/entry_1/result_1/peakXPosRaw", UNUSABLE):
            np.testing.assert_array_equal(found[name], whole[name])


def test_a_model_without_memory_is_no_bad_event(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = OnnxEngine(load_model("default"))

    class Session:
        def run(self, *_: object) -> None:
            raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr(engine, "_session", Session())
    with pytest.raises(MemoryError, match="default"):
        engine(np.ones((3, 4), np.float32))


def test_a_writers_thread_that_fails_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    behind = _WriteBehind(depth=1)

    def no_lock() -> None:
        raise RuntimeError("can't allocate lock")

    monkeypatch.setattr(behind._waiting, "get", no_lock)

    def work() -> None:
        with behind:
            for _ in range(5):
                behind.do(lambda: None)

    with pytest.raises(RuntimeError, match="lock"):
        work()
