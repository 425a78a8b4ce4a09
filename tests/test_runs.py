"""Runs of facilities as sources, with the data their own packages write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from peakrt.sources import open_source
from peakrt_geometry import HeaderValue, load_detector


@pytest.fixture(scope="module")
def agipd_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    examples = pytest.importorskip("extra_data.tests.make_examples", reason="needs EXtra-data: pip install '.[xfel]'")
    folder = tmp_path_factory.mktemp("r0012")
    examples.make_agipd1m_run(str(folder))
    return folder


def test_agipd_run_gives_what_extra_data_reads(agipd_run: Path) -> None:
    from extra_data import RunDirectory, by_index
    from extra_data.components import AGIPD1M

    detector = load_detector("agipd1m")
    source = open_source([f"xfel={agipd_run}"], detector)
    theirs = AGIPD1M(RunDirectory(str(agipd_run)), raw=True)
    assert len(source) == len(theirs.train_ids) * theirs.frames_per_train
    expected = theirs.select_trains(by_index[:2]).get_array("image.data", unstack_pulses=False).values
    expected = expected[:, :, 0] if expected.ndim == 5 else expected
    for number, event in zip(range(3), source.events(), strict=False):
        assert event.frame.shape == (16, 512, 128)
        np.testing.assert_array_equal(event.frame, expected[:, number])
        assert event.timestamp[2] == int(theirs.train_ids[0])
    later = next(source.events(theirs.frames_per_train + 1))
    np.testing.assert_array_equal(later.frame, expected[:, theirs.frames_per_train + 1])


def test_agipd_run_is_found_and_written(agipd_run: Path, tmp_path: Path) -> None:
    command = [
        "find",
        f"xfel={agipd_run}",
        "-g",
        "agipd1m",
        "-o",
        str(tmp_path / "out.cxi"),
        "-n",
        "5",
        "--events",
        "all",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "peakrt.cli", *command, "--gain", "8"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "out.cxi") as file:
        assert len(file["/entry_1/result_1/nPeaks"]) == 5
        assert file["/LCLS/fiducial"][0] == 10000


@pytest.mark.parametrize(("text", "geometry", "message"), [
    ("xfel=/nowhere", "agipd1m", "no run that EXtra-data can open"), ("RUN", None, "give a geometry"),
    ("RUN", "jungfrau1m", "do not fit"), ("exp=mfx100", "agipd1m", "expected exp=NAME,run=NUMBER"),
    ("moon=1", "agipd1m", "neither a file nor a run"), ("exp=mfx100,run=3,colour=red", None, "expected exp=NAME"),
])  # fmt: skip
def test_wrong_runs_are_said(agipd_run: Path, text: str, geometry: str | None, message: str) -> None:
    detector = None if geometry is None else load_detector(geometry)
    with pytest.raises((ValueError, OSError), match=message):
        next(open_source([text.replace("RUN", f"xfel={agipd_run}")], detector).events())


def test_a_missing_host_is_one_line_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psana", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[psana\]'"):
        open_source(["exp=mfx100,run=3"])
    monkeypatch.setitem(sys.modules, "extra_data", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[xfel\]'"):
        open_source(["xfel=/nowhere"], load_detector("agipd1m"))


# psana1, which can only be installed at LCLS: a module of its shape


class EventId:
    pass


class OldDetector:
    """Gives a stack of two Jungfrau-like segments; the third event lacks it."""

    def __init__(self, folder: Path) -> None:
        self.buffer = np.zeros((2, 512, 1024), np.float32)
        self.pyda = self
        self.path = str(folder / "0-end.data")

    def geoaccess(self, run: int) -> OldDetector:
        return self

    def calib(self, event: int) -> np.ndarray | None:
        self.buffer[:] = event
        return None if event == 3 else self.buffer

    def mask(self, event: int, **choices: bool) -> np.ndarray:
        assert choices["status"]
        mask = np.ones(self.buffer.shape, np.uint8)
        mask[1, 5, 6] = 0
        return mask


class OldBeam:
    """Gives the photon energy; the monitors missed the second event."""

    def get(self, event: int) -> OldBeam | None:
        self.event = event
        return None if event == 4 else self

    def ebeamPhotonEnergy(self) -> float:
        return 0.0 if self.event == 2 else 9000.0 + self.event


class OldEvent(int):
    def get(self, kind: type) -> OldEvent:
        assert kind is EventId
        return self

    def time(self) -> tuple[int, int]:
        return 100, int(self)

    def fiducials(self) -> int:
        return 7 * int(self)


@pytest.fixture
def psana1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import types

    lines = ["# jungfrau", "IP 0 CAMERA 0 0 0 -100000 0 0 0 0 0 0"]
    lines += [f"CAMERA 0 JUNGFRAU:V1 {k} 0 {40000 * k} 0 0 0 0 0 0 0" for k in range(2)]
    (tmp_path / "0-end.data").write_text("\n".join(lines))
    asked: list[str] = []

    def data_source(name: str):
        asked.append(name)
        return types.SimpleNamespace(events=lambda: (OldEvent(k) for k in range(1, 8)))

    def detector(name: str) -> OldDetector:
        return {"jungfrau": OldDetector(tmp_path), "EBeam": OldBeam()}[name]

    module = types.SimpleNamespace(EventId=EventId, DataSource=data_source, Detector=detector)
    monkeypatch.setitem(sys.modules, "psana", module)
    return asked


def test_psana1_run(psana1: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(["exp=cxi123,run=4"], name="jungfrau")
    assert psana1 == ["exp=cxi123:run=4:smd"]
    events = list(source.events())  # all kept: the detector fills one buffer again and again
    assert [event.frame[0, 0, 0] for event in events] == [1, 2, 4, 5, 6, 7]
    assert events[0].frame.shape == source.detector.shape == (1, 1024, 1024)
    assert events[2].timestamp == (100, 4, 28)
    assert not events[0].mask[0, 512 + 5, 6]
    assert [event.photon_energy_eV for event in events] == [9001, None, None, 9005, 9006, 9007]
    assert source.detector.photon_energy == HeaderValue("/LCLS/photon_energy_eV")
    source.done = frozenset({(100, 2), (100, 5)})
    assert [event.frame[0, 0, 0] for event in source.events()] == [1, 4, 6, 7]
    source.done = frozenset()
    shares = []
    for rank in range(3):
        monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
        monkeypatch.setenv("OMPI_COMM_WORLD_RANK", str(rank))
        shares += [int(event.frame[0, 0, 0]) for event in source.events()]
    assert sorted(shares) == [1, 2, 4, 5, 6, 7]
    limited = open_source(["exp=cxi123,run=4,dir=/data,events=2"], name="jungfrau")
    monkeypatch.delenv("OMPI_COMM_WORLD_SIZE")
    assert len(list(limited.events())) == 2
    assert psana1[-1] == "exp=cxi123:run=4:smd:dir=/data"
    with pytest.raises(ValueError, match="no detector epix"):
        open_source(["exp=cxi123,run=4"], name="epix")
    with pytest.raises(ValueError, match="say which detector"):
        open_source(["exp=cxi123,run=4"])
    with pytest.raises(ValueError, match="do not fit"):
        next(open_source(["exp=cxi123,run=4"], load_detector("eiger4m"), name="jungfrau").events())
