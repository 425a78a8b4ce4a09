"""What a run writes: nothing of the user's is overwritten, two runs do not write one file, and resume believes nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from peakrt.config import OutputConfig
from peakrt.cxi.columns import DATA
from peakrt.cxi.outputs import OutputLock, check_outputs
from peakrt.cxi.writer import CxiWriter
from peakrt.event import Event
from peakrt.peaks import PEAK
from peakrt_geometry import Detector

from .test_run import find, peakrt


@pytest.fixture
def run(run_file: Path, tmp_path: Path) -> Path:
    """A run of one's own, its geometry beside it."""
    for suffix in (".cxi", ".geom"):
        shutil.copy(run_file.with_suffix(suffix), tmp_path / f"run{suffix}")
    return tmp_path / "run.cxi"


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout
    error = [line for line in done.stderr.splitlines() if not line.startswith("peakrt: engine auto")]
    assert len(error) == 1, done.stderr
    for word in words:
        assert word in error[0]


def test_the_geometry_that_is_read_is_not_overwritten(run: Path) -> None:
    shutil.copy(run, run.with_name("in.cxi"))
    before = run.with_suffix(".geom").read_bytes()
    run.unlink()
    for extra in ((), ("--overwrite",)):
        done = peakrt("find", run.with_name("in.cxi"), "-g", run.with_suffix(".geom"), "-o", run, *extra)
        refused(done, "run.geom is read by this run")
    assert run.with_suffix(".geom").read_bytes() == before
    assert not run.exists()


def test_the_list_that_is_read_is_not_overwritten(run: Path) -> None:
    frames = run.with_name("frames.lst")
    frames.write_text(f"{run} //0\n{run} //1\n")
    done = peakrt("find", frames, "-g", run.with_suffix(".geom"), "-o", run.with_name("frames.cxi"))
    refused(done, "frames.lst is read by this run")
    assert frames.read_text().count("//") == 2


def test_a_file_that_a_list_names_is_not_overwritten(run: Path) -> None:
    frames = run.with_name("frames.lst")
    frames.write_text(f"{run} //0\n")
    shutil.copy(run.with_suffix(".geom"), run.with_name("other.geom"))
    before = run.read_bytes()
    for output in (run, run.with_name("link.cxi")):
        if output != run:
            output.symlink_to(run)
        done = peakrt("find", frames, "-g", run.with_name("other.geom"), "-o", output, "--overwrite")
        refused(done, "is read by this run")
    assert run.read_bytes() == before


@pytest.mark.parametrize("name", ["mine.geom", "mine.lst"])
def test_companions_that_are_there_are_not_overwritten(run: Path, name: str) -> None:
    run.with_name(name).write_text("mine")
    refused(find(run, run.with_name("mine.cxi")), f"{name} exists", "--overwrite")
    assert run.with_name(name).read_text() == "mine"
    done = find(run, run.with_name("mine.cxi"), "--overwrite")
    assert done.returncode == 0, done.stderr
    assert run.with_name(name).read_text() != "mine"


@pytest.mark.parametrize("suffix", [".geom", ".lst"])
def test_an_output_that_is_its_own_companion_is_refused(run: Path, suffix: str) -> None:
    refused(find(run, run.with_name(f"z{suffix}")), "another ending")
    assert not list(run.parent.glob("z*"))


def test_two_outputs_do_not_share_companions(run: Path) -> None:
    assert find(run, run.with_name("x.cxi")).returncode == 0
    refused(find(run, run.with_name("x.h5")), "x.lst exists")


def test_overwrite_replaces_what_a_run_wrote(run: Path) -> None:
    assert find(run, run.with_name("x.cxi"), "--events", "all").returncode == 0
    first = run.with_name("x.cxi").stat().st_size
    refused(find(run, run.with_name("x.cxi")), "x.cxi exists", "--overwrite")
    assert find(run, run.with_name("x.cxi"), "--overwrite", "--images", "none").returncode == 0
    assert run.with_name("x.cxi").stat().st_size < first


# The lock

HOLD = """
import sys, time
from pathlib import Path
from peakrt.cxi.outputs import OutputLock
lock = OutputLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_told_who_writes(run: Path) -> None:
    output = run.with_name("x.cxi")
    with subprocess.Popen([sys.executable, "-c", HOLD, str(output)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for extra in ((), ("--resume",), ("--overwrite",)):
            refused(find(run, output, *extra), "x.cxi is being written by process", str(holder.pid))
        holder.send_signal(signal.SIGKILL)
    assert find(run, output).returncode == 0  # a lock ends with its holder
    assert not list(run.parent.glob("*.lock"))


def test_a_lock_that_was_removed_by_its_holder_is_taken_anew(tmp_path: Path) -> None:
    first = OutputLock(tmp_path / "x.cxi")
    with pytest.raises(FileExistsError, match=f"process {os.getpid()}"):
        OutputLock(tmp_path / "x.cxi")
    first.release()
    first.release()
    second = OutputLock(tmp_path / "x.cxi")
    assert (tmp_path / "x.cxi.lock").exists()
    second.release()


# Resume believes nothing


def stopped(run: Path, output: Path, *extra: object) -> list[object]:
    """Arguments of a run that was stopped after some events."""
    arguments = ["find", *[str(run)] * 60, "-g", run.with_suffix(".geom"), "-o", output, "--flush-s", "0.02", *extra]
    command = [sys.executable, "-m", "peakrt.cli", *map(str, arguments)]
    unfinished = output.with_name(output.name + ".inprogress")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not unfinished.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
    assert unfinished.exists()
    return arguments


def test_resume_refuses_what_has_changed(run: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.npy"
    np.save(mask, np.ones((256, 256), np.uint8))
    output = tmp_path / "out.cxi"
    arguments = stopped(run, output, "--mask", mask)
    for changed, word in [
        ([*arguments, "--photon-energy", "9000"], "detector"),
        ([*arguments, "--camera-length", "0.11"], "detector"),
        ([*arguments, "--min-score", "0.9"], "options"),
    ]:
        refused(peakrt(*changed, "--resume"), "begun with other inputs or options", word)
    good = np.ones((256, 256), np.uint8)
    good[3, 4] = 0
    np.save(mask, good)
    refused(peakrt(*arguments, "--resume"), "mask differ")
    np.save(mask, np.ones((256, 256), np.uint8))
    text = run.with_suffix(".geom").read_text()
    run.with_suffix(".geom").write_text(text.replace("clen = ", "coffset = 0.001\nclen = "))
    refused(peakrt(*arguments, "--resume"), "detector differ")
    run.with_suffix(".geom").write_text(text)
    with h5py.File(run, "r+") as file:  # other frames under the same name
        file[DATA][0] = 0
    refused(peakrt(*arguments, "--resume"), "input_files differ")
    assert output.with_name("out.cxi.inprogress").exists()


# Frames of several types


def test_frames_that_the_file_cannot_hold_are_refused(tmp_path: Path, small_detector: Detector) -> None:
    good = np.ones(small_detector.shape, bool)
    frame = np.full(small_detector.shape, 7, np.uint16)
    with CxiWriter(tmp_path / "a.cxi", small_detector, output=OutputConfig(events="all", powder="max")) as writer:
        writer.append(Event(frame), np.zeros(0, PEAK), 0, good)
        writer.append(Event(frame.astype(np.int32)), np.zeros(0, PEAK), 1, good)  # the same values: no harm
        for values in (frame + np.int32(300_000), frame + np.float32(0.5), np.where(frame, np.nan, 0.0)):
            with pytest.raises(ValueError, match="values do not fit the uint16 images"):
                writer.append(Event(values, file="b.h5", name="//3"), np.zeros(0, PEAK), 2, good)
    with h5py.File(tmp_path / "a.cxi") as file:
        assert (file[DATA][:] == 7).all()


def test_check_outputs_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="folder .*nosuch does not exist"):
        check_outputs(tmp_path / "nosuch" / "out.cxi", [])
