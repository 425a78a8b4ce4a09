"""A finder is added by what docs/architecture.md names: its options, its function, and its entry in the registry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest

from peakrt import PeakFinder
from peakrt.cli import main
from peakrt.config import Config, option
from peakrt.contracts import FinderKind, FrameFinder, Setup, Stateless
from peakrt.cxi.columns import N_PEAKS
from peakrt.finders.registry import FINDERS, register
from peakrt.peaks import PEAK, PeakArray

from .test_run import expected_peaks


@dataclass(frozen=True)
class BrightestConfig(Config):
    """Options of the toy: every pixel above a threshold is a peak."""

    about: ClassVar[str] = "every bright pixel"
    threshold: float = option(300.0, "least value of a peak's pixel", unit="ADU")

    def check(self) -> None:
        if self.threshold <= 0:
            raise ValueError(f"threshold is {self.threshold} ADU, it should be above 0")


def brightest(frame: np.ndarray, good: np.ndarray, threshold: float) -> PeakArray:
    panel, ss, fs = np.nonzero((frame > threshold) & good)
    peaks = np.zeros(len(panel), PEAK)
    peaks["panel"], peaks["ss"], peaks["fs"], peaks["intensity"] = panel, ss, fs, frame[panel, ss, fs]
    return peaks


def on_cpu(setup: Setup) -> FrameFinder:
    assert isinstance(setup.config, BrightestConfig)
    return Stateless(partial(brightest, good=setup.good, threshold=setup.config.threshold))


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    register(FinderKind("brightest", BrightestConfig, on_cpu))
    yield
    del FINDERS["brightest"]


def test_from_python(run_file: Path, small_detector: Any) -> None:
    frame = np.full(small_detector.shape, 5.0, np.float32)
    frame[0, 7, 9] = 400
    finder = PeakFinder(BrightestConfig(), geometry=small_detector)
    assert [(p["ss"], p["fs"]) for p in finder(frame)] == [(7, 9)]
    mask = np.ones(small_detector.shape, bool)
    mask[0, 7, 9] = False
    assert len(finder(frame, mask)) == 0
    assert len(finder.find([frame, frame], threads=2)) == 2
    with pytest.raises(ValueError, match="runs on the CPU only"):
        PeakFinder(BrightestConfig(), engine="cuda")(frame)


def test_from_the_command_line(run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["find", str(run_file), "-g", str(run_file.with_suffix(".geom")), "-o", str(tmp_path / "out.cxi")]
    assert main([*common, "--finder", "brightest", "--threshold", "-1"]) == 1
    assert "threshold is -1.0 ADU" in capsys.readouterr().err
    assert main([*common, "--finder", "candidate", "--threshold", "500"]) == 1
    assert "--threshold is not an option of candidate" in capsys.readouterr().err
    assert main([*common, "--finder", "brightest", "--threshold", "500", "--events", "all"]) == 0
    with h5py.File(tmp_path / "out.cxi") as file:
        assert len(file[N_PEAKS]) == 12
        assert file[N_PEAKS][:].max() > 10


def test_through_the_server(small_detector: Any) -> None:
    from peakrt.finders.registry import kind_of, named

    assert kind_of(BrightestConfig()).name == "brightest"
    assert named(BrightestConfig(400.0)) == ("brightest", {"threshold": 400.0})
    with pytest.raises(ValueError, match="a finder brightest already"):
        register(FinderKind("brightest", BrightestConfig, on_cpu))


def test_the_toy_does_not_change_the_others(run_file: Path) -> None:
    assert sum(len(peaks) for peaks in expected_peaks(run_file)) > 100
