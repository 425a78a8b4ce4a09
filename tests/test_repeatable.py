"""The same run gives the same table: with any number of threads, and however often it was killed and resumed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from peakrt.cxi.columns import LEARNED, PROGRESS, UNUSABLE, UNUSABLE_REASON
from peakrt.cxi.writer import growing
from peakrt.finder import PeakFinder
from peakrt_geometry import Detector, write_geom

from .test_run import peakrt

N, SIDE = 160, 384  # enough pixels for the gain to be estimated


def detector_without_gain(small_detector: Detector) -> Detector:
    panel = replace(small_detector.panels[0], end_ss=SIDE, end_fs=SIDE)
    return replace(small_detector, panels=(panel,), adu_per_photon=None)


@pytest.fixture(scope="module")
def hot_run(tmp_path_factory: pytest.TempPathFactory, small_detector: Detector) -> Path:
    """Frames from which a finder learns the gain late and a hot pixel now and then, and a few that cannot be used."""
    folder = tmp_path_factory.mktemp("hot")
    rng = np.random.default_rng(5)
    ss, fs = np.mgrid[:SIDE, :SIDE]
    frames = np.zeros((N, SIDE, SIDE), np.float32)
    for k in range(N):
        background = 0.02 if k < 6 else 2 + fs / 40
        frames[k] = rng.poisson(np.full((SIDE, SIDE), background)) * 10
        for _ in range(25):
            c_ss, c_fs, width = rng.uniform(5, SIDE - 5), rng.uniform(5, SIDE - 5), rng.uniform(0.5, 1.2)
            frames[k] += 10 * rng.poisson(40 * np.exp(-((ss - c_ss) ** 2 + (fs - c_fs) ** 2) / (2 * width**2)))
        for pixel in range(12):  # each shines in a part of the frames, from some frame on
            if k > 6 * pixel and rng.random() < 0.6:
                frames[k, 20 * pixel + 3, 11 * pixel + 7] += 900
    frames[[3, 50, 51]] = np.nan
    with h5py.File(folder / "hot.h5", "w") as file:
        file.create_dataset("/entry_1/data_1/data", data=frames, chunks=(1, SIDE, SIDE), compression="gzip")
    write_geom(detector_without_gain(small_detector), folder / "hot.geom")
    return folder / "hot.h5"


def table(path: Path) -> dict[str, Any]:
    """All that a finder decides: the rows, what was learned, and what could not be used."""
    with h5py.File(path) as file:
        found = {name: file[name][()] for name in growing(file)}
        copies = file[LEARNED][:]
        newest = int(copies[:, 0].argmax())
        found["state"], found["pixels"] = copies[newest], file[f"/peakrt/learned/pixels_{newest}"][:]
        for name in (UNUSABLE, UNUSABLE_REASON, "/peakrt/gain", "/peakrt/bad_pixels"):
            found[name] = file[name][()]
    return found


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name, values in a.items():
        assert np.asarray(values).tobytes() == np.asarray(b[name]).tobytes(), name


@pytest.fixture(scope="module")
def undisturbed(hot_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("whole") / "out.cxi"
    done = peakrt("find", hot_run, "-g", hot_run.with_suffix(".geom"), "-o", out, "--flush-s", "1000")
    assert done.returncode == 0, done.stderr
    assert "3 events could not be used" in done.stdout
    found = table(out)
    assert found[UNUSABLE].tolist() == [3, 50, 51]
    assert b"no good pixel" in found[UNUSABLE_REASON][0]
    assert len(found["/peakrt/bad_pixels"]) > 5
    assert found["/peakrt/gain"] == pytest.approx(10, rel=0.2)
    return found


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_nothing(hot_run: Path, tmp_path: Path, undisturbed: dict[str, Any], threads: int) -> None:
    done = peakrt(
        "find", hot_run, "-g", hot_run.with_suffix(".geom"), "-o", tmp_path / "out.cxi", "-j", threads, "--flush-s", 0.05
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_same(table(tmp_path / "out.cxi"), undisturbed)


@pytest.mark.parametrize("attempt", range(3))
def test_killed_and_resumed_equals_undisturbed(
    hot_run: Path, tmp_path: Path, undisturbed: dict[str, Any], attempt: int
) -> None:
    """Killed several times, at random moments, the last time perhaps while closing; then run to the end."""
    rng = random.Random(attempt)
    command = [
        sys.executable, "-m", "peakrt.cli", "find", str(hot_run), "-g", str(hot_run.with_suffix(".geom")),
        "-o", str(tmp_path / "out.cxi"), "--flush-s", "0.05", "--resume", "-j", str(1 + attempt),
    ]  # fmt: skip
    for kill in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            until = time.monotonic() + 60
            unfinished = tmp_path / "out.cxi.inprogress"
            while not unfinished.exists() and process.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.05, 0.6))
            process.send_signal(kill)
            process.wait()
        if (tmp_path / "out.cxi").exists():
            break
        with h5py.File(unfinished, "r") as file:
            assert 0 <= file[PROGRESS][()] <= N
    if not (tmp_path / "out.cxi").exists():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert_same(table(tmp_path / "out.cxi"), undisturbed)
    assert (tmp_path / "out.lst").exists()
    assert (tmp_path / "out.geom").exists()


def test_damaged_chunks_are_passed_over(hot_run: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(hot_run.read_bytes())
    with h5py.File(damaged, "r") as file:
        chunks = {k: file["/entry_1/data_1/data"].id.get_chunk_info_by_coord((k, 0, 0)) for k in (10, 20)}
    with damaged.open("r+b") as raw:
        for chunk in chunks.values():
            raw.seek(chunk.byte_offset + 40)
            raw.write(b"\xff" * 60)
    arguments = ("find", damaged, "-g", hot_run.with_suffix(".geom"), "-n", 40, "--events", "all")
    done = peakrt(*arguments, "-o", tmp_path / "out.cxi")
    assert done.returncode == 0, done.stderr
    assert table(tmp_path / "out.cxi")[UNUSABLE].tolist() == [3, 10, 20]
    done = peakrt(*arguments, "-o", tmp_path / "stop.cxi", "--on-bad-event", "stop")
    assert done.returncode == 1
    assert "//3: no good pixel" in done.stderr


def test_a_run_of_nothing_usable_is_an_error(hot_run: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "nan.h5", "w") as file:
        file["/entry_1/data_1/data"] = np.full((30, SIDE, SIDE), np.nan, np.float32)
    for limit in (5, 30):
        done = peakrt(
            "find", tmp_path / "nan.h5", "-g", hot_run.with_suffix(".geom"), "-o", tmp_path / "out.cxi", "-n", limit
        )
        assert done.returncode == 1
        assert "no good pixel of the frame is a number" in done.stderr
        assert ("10 events in a row" in done.stderr) == (limit == 30)
        assert not list(tmp_path.glob("out*"))


def test_a_finder_goes_on_from_a_saved_state(hot_run: Path, small_detector: Detector) -> None:
    with h5py.File(hot_run, "r") as file:
        frames = [frame[None] for frame in file["/entry_1/data_1/data"][60:]]
    geometry = detector_without_gain(small_detector)
    whole, first, second = (PeakFinder(geometry=geometry) for _ in range(3))
    expected = [whole(frame) for frame in frames]
    found = [first(frame) for frame in frames[:55]]
    second.restore(first.learned_state())
    found += [second(frame) for frame in frames[55:]]
    for one, other in zip(found, expected, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.fixture(scope="module")
def learned(hot_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("learned") / "detector.h5"
    done = peakrt("learn", hot_run, "-g", hot_run.with_suffix(".geom"), "-o", out, "-n", 100, "-j", 2)
    assert done.returncode == 0, done.stderr
    assert "97 events: gain" in done.stdout
    return out


def test_what_is_learned_beforehand_is_what_a_run_learns(hot_run: Path, tmp_path: Path, learned: Path) -> None:
    done = peakrt("find", hot_run, "-g", hot_run.with_suffix(".geom"), "-o", tmp_path / "out.cxi", "-n", 100)
    assert done.returncode == 0, done.stderr
    with h5py.File(learned) as file, h5py.File(tmp_path / "out.cxi") as run:
        for name in ("/peakrt/gain", "/peakrt/bad_pixels"):
            np.testing.assert_array_equal(file[name][()], run[name][()])
        assert len(file["/peakrt/bad_pixels"]) > 3
    again = peakrt("learn", hot_run, "-g", hot_run.with_suffix(".geom"), "-o", learned)
    assert again.returncode == 1
    assert f"{learned} exists" in again.stderr


def test_with_a_learned_file_peaks_depend_on_their_event_alone(hot_run: Path, tmp_path: Path, learned: Path) -> None:
    """In any order, with any number of threads, from the file of learn or from a CXI, an event has the same peaks."""
    backwards = tmp_path / "backwards.lst"
    backwards.write_text("".join(f"{hot_run} //{k}\n" for k in reversed(range(N))))
    found = []
    for name, frames, threads, source in (
        ("a", hot_run, 1, learned), ("b", backwards, 3, learned), ("c", backwards, 1, tmp_path / "a.cxi"),
    ):  # fmt: skip
        done = peakrt(
            "find", frames, "-g", hot_run.with_suffix(".geom"), "-o", tmp_path / f"{name}.cxi", "-j", threads,
            "--learned", source, "--flush-s", 0.05,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        with h5py.File(tmp_path / f"{name}.cxi") as file:
            events = [int(text.rpartition(b"//")[2]) for text in file["/peakrt/source"][:]]
            rows = {path: file[path][()][np.argsort(events)] for path in growing(file) if path != "/LCLS/eventNumber"}
            found.append({**rows, "bad": file["/peakrt/bad_pixels"][:], "gain": file["/peakrt/gain"][()]})
    assert len(found[0]["bad"]) > 3
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


def test_learned_files_that_do_not_fit(hot_run: Path, tmp_path: Path, learned: Path) -> None:
    def refused(*extra: object) -> str:
        done = peakrt("find", hot_run, "-g", hot_run.with_suffix(".geom"), "-o", tmp_path / "out.cxi", *extra)
        assert done.returncode == 1
        assert not list(tmp_path.glob("out*"))
        return done.stderr

    assert "does not exist" in refused("--learned", tmp_path / "absent.h5")
    assert "exclude each other" in refused("--learned", learned, "--bad-pixels", "learn")
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["/peakrt/gain"], file["/peakrt/bad_pixels"] = np.nan, np.zeros((0, 2), np.int32)
    assert "holds no gain" in refused("--learned", tmp_path / "none.h5")
    with h5py.File(tmp_path / "none.h5", "r+") as file:
        del file["/peakrt/bad_pixels"]
        file["/peakrt/bad_pixels"] = np.array([[SIDE, 3]], np.int32)
    assert "of another detector" in refused("--learned", tmp_path / "none.h5", "--gain", 10)


def test_a_frame_that_cannot_be_used_teaches_nothing(hot_run: Path, small_detector: Detector) -> None:
    """It is not counted as done before a usable one follows: learned from now, it would be learned from again."""
    finder = PeakFinder(geometry=detector_without_gain(small_detector))
    with h5py.File(hot_run, "r") as file:
        finder(file["/entry_1/data_1/data"][60][None])
        before = finder.learned_state()
        with pytest.raises(ValueError, match="no good pixel"):
            finder(file["/entry_1/data_1/data"][50][None])
    assert finder.learned_state().frames == before.frames == 1
    assert finder.learned_state().pixels.tobytes() == before.pixels.tobytes()
