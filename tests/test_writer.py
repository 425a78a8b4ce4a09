"""The file while it is written: after every single write it opens, reads, and holds the events that it counts."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

import peakrt.cxi.writer
from peakrt._native import SoundFile
from peakrt.config import HitConfig, OutputConfig
from peakrt.cxi.columns import BAD_PIXELS, DATA, GAIN, N_PEAKS, PEAK_COLUMNS, POWDER_HITS, PROGRESS
from peakrt.cxi.writer import CxiWriter, growing
from peakrt.event import Event
from peakrt.finders.bad_pixels import COUNTED_PIXEL
from peakrt.finders.learned import LearnedState
from peakrt.peaks import PEAK
from peakrt_geometry import Detector
from peakrt_geometry.crystfel import parse_geom

GEOM = """
photon_energy = 9500 eV
clen = 0.1 m
res = 5000
p0/min_fs = 0
p0/max_fs = 19
p0/min_ss = 0
p0/max_ss = 9
p0/corner_x = 0
p0/corner_y = 0
p0/fs = x
p0/ss = y
"""
MIN_PEAKS = 2


class Watched(SoundFile):
    """Keeps what lies on the disk after each write."""

    states: list[bytes] = []  # noqa: RUF012

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._keep()

    def _keep(self) -> None:
        state = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        if not self.states or state != self.states[-1]:
            self.states.append(state)

    def write(self, data: memoryview) -> int:
        n = super().write(data)
        self._keep()
        return n

    def truncate(self, size: int) -> int:
        super().truncate(size)
        self._keep()
        return size


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    monkeypatch.setattr(peakrt.cxi.writer, "SoundFile", Watched)
    Watched.states.clear()
    yield Watched.states
    Watched.states.clear()


@pytest.fixture(scope="module")
def detector() -> Detector:
    return parse_geom(GEOM, name="tiny.geom")


def write(path: Path, detector: Detector, numbers: range, *, images: str, resume: bool = False) -> None:
    """Event k has k peaks and shines with k; every fifth is flushed. Fewer than 16 leave the file unfinished."""
    output = OutputConfig(images=images, mask_out="artifacts", powder="max", flush_s=1e9)
    hits = HitConfig(min_peaks=MIN_PEAKS, max_peaks=30)
    with CxiWriter(path, detector, hits=hits, output=output, resume=resume) as writer:
        if writer.events_done:
            assert_state(writer.learned, writer.events_done - 1)
        for k in numbers[writer.events_done :]:
            frame = np.full((1, 10, 20), k, np.uint16)
            peaks = np.zeros(k, PEAK)
            peaks["fs"] = k
            writer.append(Event(frame, artifacts=frame > 3), peaks, k, np.ones(frame.shape, bool))
            if k % 5 == 0:
                writer.flush(state_after(k))
        writer.flush(state_after(numbers[-1]))
        if len(numbers) < 16:
            writer.abandon()


def state_after(k: int) -> LearnedState:
    """What a finder might have learned from events 0 to k."""
    pixels = np.zeros(k + 1, COUNTED_PIXEL)
    pixels["pixel"], pixels["times"], pixels["bad"] = np.arange(k + 1) * 7, k, np.arange(k + 1) % 2
    return LearnedState(10.0 + k, k + 1, pixels)


def assert_state(learned: LearnedState | None, k: int) -> None:
    assert learned is not None
    expected = state_after(k)
    assert (learned.gain, learned.frames) == (expected.gain, expected.frames)
    np.testing.assert_array_equal(learned.pixels, expected.pixels)


def events_counted(path: Path) -> int:
    """Read all there is; what is counted is right."""
    with h5py.File(path) as file:
        done = int(file[PROGRESS][()])
        rows = {name: file[name][:] for name in growing(file)}
        assert file[BAD_PIXELS][:].shape[1] == 2
        assert file[POWDER_HITS][:].max() >= 0
        assert not file[GAIN][()] < 10
    hits = list(range(MIN_PEAKS, done))
    n = len(hits)
    assert rows["/LCLS/eventNumber"][:n].tolist() == hits
    assert rows[N_PEAKS][:n].tolist() == hits
    for row, k in enumerate(hits):
        assert (rows[PEAK_COLUMNS[0].path][row, :k] == k).all()
        if DATA in rows:
            assert (rows[DATA][row] == k).all()
    return done


@pytest.mark.parametrize("images", ["raw", "lz4"])
def test_readable_after_every_write(tmp_path: Path, detector: Detector, states: list[bytes], images: str) -> None:
    write(tmp_path / "a.cxi", detector, range(14), images=images)
    write(tmp_path / "a.cxi", detector, range(18), images=images, resume=True)
    assert len(states) > 300
    assert (tmp_path / "a.cxi").read_bytes() == states[-1]
    counted = []
    for state in states:
        (tmp_path / "state.cxi").write_bytes(state)
        counted.append(events_counted(tmp_path / "state.cxi"))
    assert counted == sorted(counted)
    assert (counted[0], counted[-1]) == (0, 18)


def test_resume_after_any_write(tmp_path: Path, detector: Detector, states: list[bytes]) -> None:
    write(tmp_path / "a.cxi", detector, range(14), images="raw")
    for k, state in enumerate(states[::17]):
        (tmp_path / f"{k}.cxi.inprogress").write_bytes(state)
        write(tmp_path / f"{k}.cxi", detector, range(16), images="raw", resume=True)
        assert events_counted(tmp_path / f"{k}.cxi") == 16


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A limit on a file's size stands in for a full disk: the same failing write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_at_any_write(tmp_path: Path, detector: Detector, states: list[bytes]) -> None:
    """The write that fails is told with the file's name, and what was there stays."""
    write(tmp_path / "a.cxi", detector, range(16), images="raw")
    first, last = len(states[0]), len(states[-1])
    for room in np.linspace(first // 2, last - 1, 25).astype(int):
        path = tmp_path / f"{room}.cxi"
        with pytest.raises(OSError, match=f"File too large.*{path.name}"), largest_file(int(room)):
            write(path, detector, range(16), images="raw")
        assert not path.exists()
        unfinished = tmp_path / f"{path.name}.inprogress"
        assert events_counted(unfinished) <= 16 if room >= first else not unfinished.exists()
