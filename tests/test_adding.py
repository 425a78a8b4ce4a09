"""A finder, a file format and an output are added by what docs/architecture.md names: a module and an entry in a list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest

from peakrt import PeakFinder
from peakrt.cli import main
from peakrt.config import Config, HitConfig, OutputConfig, option
from peakrt.contracts import FinderKind, FrameFinder, Setup, Stateless
from peakrt.cxi.columns import N_PEAKS
from peakrt.cxi.reader import read_cxi_peaks
from peakrt.event import Event
from peakrt.finders.learned import LearnedState
from peakrt.finders.registry import FINDERS, register
from peakrt.peaks import PEAK, PeakArray
from peakrt.sources import open_source
from peakrt.sources.formats import FORMATS, FileFormat, register_format
from peakrt.writers import WRITERS
from peakrt_geometry import Detector, read_geom

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


# A file format: frames as .npy files


class NpyFrames:
    def __init__(self, path: Path, detector: Detector) -> None:
        self._path = path
        self._frames = np.load(path, mmap_mode="r", allow_pickle=False)
        if self._frames.shape[1:] != detector.shape:
            raise ValueError(
                f"{path} has frames of shape {self._frames.shape[1:]}, the geometry needs {detector.shape}"
            )

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._frames.dtype

    def __len__(self) -> int:
        return len(self._frames)

    def read(self, number: int) -> Event:
        return Event(np.array(self._frames[number]), file=str(self._path), name=f"//{number}")

    def close(self) -> None:
        pass


def no_detector(path: Path) -> Detector:
    raise ValueError(f"{path} does not describe its detector: give a CrystFEL geometry with -g")


@pytest.fixture
def npy_format() -> Iterator[None]:
    def named_so(path: Path) -> bool:
        return path.suffix == ".npy"

    new = FileFormat(
        "numpy's .npy", named_so, named_so, lambda path, detector, wanted: NpyFrames(path, detector), no_detector
    )
    register_format(new)
    yield
    FORMATS.remove(new)


@pytest.fixture
def npy_run(run_file: Path, tmp_path: Path, npy_format: None) -> Path:
    """The frames of the simulated run, as the toy format."""
    source = open_source([str(run_file)], read_geom(run_file.with_suffix(".geom")))
    np.save(tmp_path / "run.npy", np.stack([event.frame for event in source.events()]))
    return tmp_path / "run.npy"


def test_a_format_is_read_and_resumed(
    run_file: Path, npy_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    geometry = str(run_file.with_suffix(".geom"))
    assert main(["find", str(npy_run), "-g", geometry, "-o", str(tmp_path / "out.cxi"), "--events", "all"]) == 0
    tables = read_cxi_peaks(tmp_path / "out.cxi")
    assert [len(table) for table in tables] == [len(peaks) for peaks in expected_peaks(run_file)]
    assert main(["info", str(npy_run), "-g", geometry]) == 0
    assert "12 events" in capsys.readouterr().out
    assert main(["find", str(npy_run), "-o", str(tmp_path / "other.cxi")]) == 1
    assert "give a CrystFEL geometry" in capsys.readouterr().err
    assert open_source([str(npy_run)], read_geom(geometry)).files == [npy_run]


# An output: one line a peak


class CsvWriter:
    """Peaks as text; a run that is stopped leaves nothing."""

    def __init__(self, path: Path, detector: Detector, *, hits: HitConfig, output: OutputConfig, **_: Any) -> None:
        self.path, self.unfinished = path, path.with_name(path.name + ".inprogress")
        self.hits, self.output = hits, output
        self.n_hits = self.n_cut = self.events_done = 0
        self.learned: LearnedState | None = None
        self._lines: list[str] = []

    def append(self, event: Event, peaks: PeakArray, number: int, good: np.ndarray) -> bool:
        self._lines += [f"{number},{p['panel']},{p['ss']:.2f},{p['fs']:.2f}" for p in peaks]
        self.events_done = number + 1
        self.n_hits += len(peaks) >= self.hits.min_peaks
        return len(peaks) >= self.hits.min_peaks

    def skip(self, number: int, event: str, reason: str) -> None:
        self.events_done = number + 1

    def flush(self, learned: LearnedState | None = None) -> None:
        pass

    def close(self) -> None:
        self.path.write_text("\n".join(["event,panel,ss,fs", *self._lines]) + "\n")

    def report(self) -> list[str]:
        return [f"wrote {self.path}"]

    def __enter__(self) -> CsvWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


def test_an_output_is_written(
    run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(WRITERS, ".csv", CsvWriter)
    common = ["find", str(run_file), "-g", str(run_file.with_suffix(".geom")), "-o", str(tmp_path / "peaks.csv")]
    assert main(common) == 0
    assert f"wrote {tmp_path / 'peaks.csv'}" in capsys.readouterr().out
    lines = (tmp_path / "peaks.csv").read_text().splitlines()
    assert len(lines) == 1 + sum(len(peaks) for peaks in expected_peaks(run_file))
    assert main(common) == 1  # it is not overwritten
