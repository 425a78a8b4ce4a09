"""peakrt find, view and info as a user meets them: files out, Ctrl-C, kill -9, resume, wrong input."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from peakrt.commands.find_report import report_lines
from peakrt.config import HitConfig, OutputConfig, Peakfinder8Config
from peakrt.cxi.columns import DATA, EVENT_COLUMNS, MASK, N_PEAKS, PEAK_COLUMNS, PROGRESS
from peakrt.cxi.reader import read_cxi_peaks
from peakrt.cxi.writer import CxiWriter, growing, strongest
from peakrt.event import Event
from peakrt.finder import PeakFinder
from peakrt.live.rehearsal import Rehearsal
from peakrt.peaks import PEAK
from peakrt.pipeline import find_run
from peakrt.search import Summary
from peakrt.sources import open_source
from peakrt.stream_file import Chunk
from peakrt_geometry import Detector, load_detector, read_geom

from .conftest import SMALL_GEOM


def peakrt(*arguments: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "peakrt.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)  # type: ignore[call-overload, no-any-return]


def find(run_file: Path, output: Path, *extra: object) -> subprocess.CompletedProcess[str]:
    return peakrt("find", run_file, "-g", run_file.with_suffix(".geom"), "-o", output, *extra)


def expected_peaks(run_file: Path) -> list[np.ndarray]:
    source = open_source([str(run_file)], read_geom(run_file.with_suffix(".geom")))
    finder = PeakFinder(geometry=source.detector)
    return [finder(event.frame, event.mask) for event in source.events()]


def test_find_writes_what_the_finder_finds(run_file: Path, tmp_path: Path) -> None:
    done = find(run_file, tmp_path / "out.cxi")
    assert done.returncode == 0, done.stderr
    assert "indexamajig -i" in done.stdout
    expected = expected_peaks(run_file)
    hits = [n for n, peaks in enumerate(expected) if len(peaks) >= 15]
    assert 2 < len(hits) < len(expected)
    with h5py.File(tmp_path / "out.cxi") as file, h5py.File(run_file) as source:
        assert list(file["/LCLS/eventNumber"]) == hits
        assert list(file[N_PEAKS]) == [len(expected[n]) for n in hits]
        np.testing.assert_array_equal(file[DATA][:], source[DATA][hits])
        np.testing.assert_array_equal(file[MASK][:], source[MASK][:])
        assert file[DATA].chunks == (1, 256, 256)
        for column in PEAK_COLUMNS:
            assert file[column.path].shape == (len(hits), 2048)
            for row, n in enumerate(hits):
                np.testing.assert_array_equal(
                    file[column.path][row, : len(expected[n])],
                    column.value(expected[n], 256).astype(column.dtype),
                )
                assert not file[column.path][row, len(expected[n]) :].any()
        for event_column in EVENT_COLUMNS:
            assert file[event_column.path].shape == (len(hits),)
        assert file["/peakrt/source"][0].decode() == f"{run_file} //{hits[0]}"
        assert file[PROGRESS][()] == len(expected)
    lines = (tmp_path / "out.lst").read_text().splitlines()
    assert lines == [f"{tmp_path / 'out.cxi'} //{row}" for row in range(len(hits))]
    geometry = read_geom(tmp_path / "out.geom")
    assert geometry.settings["peak_list"] == "/entry_1/result_1"
    assert geometry.settings["peak_list_type"] == "cxi"
    assert len(open_source([str(tmp_path / "out.lst")], geometry)) == len(hits)
    assert not list(tmp_path.glob("*.inprogress"))


@pytest.mark.parametrize("images", ["raw", "gzip", "lz4", "none"])
def test_images_by_choice(run_file: Path, tmp_path: Path, images: str) -> None:
    done = find(run_file, tmp_path / "out.cxi", "--images", images, "--events", "all", "-j", 2)
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "out.cxi") as file, h5py.File(run_file) as source:
        assert len(file[N_PEAKS]) == 12
        assert list(file["/LCLS/eventNumber"]) == list(range(12))
        if images == "none":
            assert DATA not in file
        else:
            np.testing.assert_array_equal(file[DATA][:], source[DATA][:])


def test_threads_change_nothing(run_file: Path, tmp_path: Path) -> None:
    for threads in (1, 3):
        assert find(run_file, tmp_path / f"{threads}.cxi", "-j", threads).returncode == 0
    one, three = (read_cxi_peaks(tmp_path / f"{t}.cxi") for t in (1, 3))
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a.ss, b.ss)
        np.testing.assert_array_equal(a.intensity, b.intensity)


def test_powder(run_file: Path, tmp_path: Path) -> None:
    done = find(run_file, tmp_path / "out.cxi", "--powder", "max")
    assert done.returncode == 0, done.stderr
    hits = np.array([len(peaks) >= 15 for peaks in expected_peaks(run_file)])
    with h5py.File(tmp_path / "out.cxi") as file, h5py.File(run_file) as source:
        frames = source[DATA][:]
        np.testing.assert_array_equal(file["/entry_1/data_1/powderHits"][:], np.maximum(frames[hits].max(0), 0))
        np.testing.assert_array_equal(file["/entry_1/data_1/powderMisses"][:], np.maximum(frames[~hits].max(0), 0))


def test_more_peaks_than_columns(run_file: Path, tmp_path: Path) -> None:
    done = find(run_file, tmp_path / "out.cxi", "--max-peaks", 20)
    assert "more than 20 peaks" in done.stdout
    with h5py.File(tmp_path / "out.cxi") as file:
        assert file[N_PEAKS][:].max() == 20
        assert file["/entry_1/result_1/nPeaksFound"][:].max() > 20
    peaks = np.zeros(5, PEAK)
    peaks["intensity"] = [3, 9, 1, 7, 8]
    np.testing.assert_array_equal(strongest(peaks, 3)["intensity"], [9, 7, 8])


def test_chunks_hold_whole_panels(tmp_path: Path) -> None:
    """CrystFEL reads panel by panel, through a cache of 1 MB."""
    for name in ("epix10k2m", "jungfrau4m", "agipd1m", "cspad"):
        detector = load_detector(name)
        writer = CxiWriter(tmp_path / f"{name}.cxi", detector, output=OutputConfig(images="gzip"))
        planes, n_ss, n_fs = detector.shape
        rows, columns = writer._chunk((planes * n_ss, n_fs), np.dtype(np.float32))
        assert rows * columns * 4 <= 2**20
        for panel, row in zip(detector.panels, detector.asics, strict=True):
            first = int(row[0]) * n_ss + panel.min_ss
            assert first // rows == (first + panel.end_ss - panel.min_ss - 1) // rows
            assert panel.min_fs // columns == (panel.end_fs - 1) // columns


# Interruption


def slow_run(run_file: Path, folder: Path, events: int = 3000) -> Path:
    """A run long enough to be interrupted: a list that names the same events again and again."""
    path = folder / "long.lst"
    path.write_text("".join(f"{run_file} //{n % 12}\n" for n in range(events)))
    return path


def start(run_file: Path, folder: Path, *extra: object) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "peakrt.cli",
        "find",
        slow_run(run_file, folder),
        "-g",
        run_file.with_suffix(".geom"),
    ]
    command += ["-o", folder / "out.cxi", "--flush-s", "0.05", "--max-peaks", "200", *extra]
    return subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_rows(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(400):
        if path.exists() and path.stat().st_size > 2_000_000:
            return
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.02)
    raise AssertionError("the run wrote nothing")


def check_rows(path: Path, run_file: Path, at_least: int) -> int:
    """Every row that counts is right; returns how many there are."""
    expected = expected_peaks(run_file)
    with h5py.File(path, "r") as file:
        # A full disk may leave rows behind the last flush that have no number of peaks: they do not count
        n = int(np.flatnonzero(file[N_PEAKS][:]).max(initial=-1)) + 1
        assert n >= at_least
        for row in range(n):
            event = int(file["/LCLS/eventNumber"][row]) % 12
            count = int(file[N_PEAKS][row])
            assert count == len(expected[event])
            np.testing.assert_array_equal(file["/entry_1/result_1/peakXPosRaw"][row, :count], expected[event]["fs"])
            if row % 50 == 0:
                assert file[DATA][row].any()
        numbers = file["/LCLS/eventNumber"][:n]
        assert (np.diff(numbers) > 0).all()
        return n


def test_ctrl_c_leaves_a_file_that_resume_finishes(run_file: Path, tmp_path: Path) -> None:
    process = start(run_file, tmp_path)
    wait_for_rows(tmp_path / "out.cxi.inprogress", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume goes on" in errors
    assert "Traceback" not in errors
    before = check_rows(tmp_path / "out.cxi.inprogress", run_file, 1)
    again = start(run_file, tmp_path)
    _, errors = again.communicate(timeout=60)
    assert again.returncode == 1
    assert "go on with --resume" in errors
    process = start(run_file, tmp_path, "--resume")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    total = check_rows(tmp_path / "out.cxi", run_file, before)
    hits = sum(len(peaks) >= 15 for peaks in expected_peaks(run_file))
    assert total == 3000 // 12 * hits
    assert f"3000 events, {total} hits" in output


@pytest.mark.parametrize("attempt", range(4))
def test_kill_at_any_moment(run_file: Path, tmp_path: Path, attempt: int) -> None:
    process = start(run_file, tmp_path)
    unfinished = tmp_path / "out.cxi.inprogress"
    wait_for_rows(unfinished, process)
    time.sleep(random.Random(attempt).uniform(0, 0.5))
    process.kill()
    process.communicate()
    if not unfinished.exists():
        pytest.skip("the run was over before it was killed")
    with h5py.File(unfinished, "r") as file:
        done = int(file[PROGRESS][()])
    check_rows(unfinished, run_file, sum(len(expected_peaks(run_file)[n % 12]) >= 15 for n in range(done)))
    process = start(run_file, tmp_path, "--resume")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert check_rows(tmp_path / "out.cxi", run_file, 1) == 250 * sum(len(p) >= 15 for p in expected_peaks(run_file))


@pytest.mark.parametrize("attempt", range(6))
def test_kill_at_the_start(run_file: Path, tmp_path: Path, attempt: int) -> None:
    """Whatever has the run's name can be opened, however early the run is killed."""
    process = start(run_file, tmp_path)
    until = time.monotonic() + 20
    while not list(tmp_path.glob("out*")) and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(0.005 * attempt)
    process.kill()
    process.communicate()
    if (tmp_path / "out.cxi.inprogress").exists():
        check_rows(tmp_path / "out.cxi.inprogress", run_file, 0)
    unfinished = tmp_path / "out.cxi.inprogress"
    before = unfinished.stat().st_mtime_ns if unfinished.exists() else 0
    process = start(run_file, tmp_path, "--resume")
    while not unfinished.exists() or unfinished.stat().st_mtime_ns == before:
        assert process.poll() is None
        time.sleep(0.01)
    wait_for_rows(unfinished, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_resume_refuses_another_run(run_file: Path, tmp_path: Path) -> None:
    process = start(run_file, tmp_path)
    wait_for_rows(tmp_path / "out.cxi.inprogress", process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    other = find(run_file, tmp_path / "out.cxi", "--resume", "--min-score", 0.9)
    assert other.returncode == 1
    assert "other inputs or options" in other.stderr
    assert (tmp_path / "out.cxi.inprogress").exists()


def test_resume_of_something_else(run_file: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "out.cxi.inprogress", "w", libver="earliest") as file:
        file["a"] = 1
    before = (tmp_path / "out.cxi.inprogress").read_bytes()
    done = find(run_file, tmp_path / "out.cxi", "--resume")
    assert done.returncode == 1
    assert "out.cxi.inprogress cannot be gone on with" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out.cxi.inprogress").read_bytes() == before


# Wrong input: one line, a status that is not zero, nothing half written


def refused(done: subprocess.CompletedProcess[str], folder: Path, message: str) -> None:
    assert done.returncode in (1, 2), done.stdout
    lines = done.stderr.strip().splitlines()
    assert message in lines[-1], done.stderr
    assert lines[-1].startswith("peakrt")
    assert "Traceback" not in done.stderr
    assert not list(folder.glob("out*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("find",), "the following arguments are required"),
        (("find", "nosuch.h5", "-g", "GEOM", "-o", "out.cxi"), "does not exist"),
        (("find", "RUN", "-g", "nosuch.geom", "-o", "out.cxi"), "nosuch.geom"),
        (("find", "RUN", "-g", "nosuch", "-o", "out.cxi"), "neither a .geom file nor a detector's name"),
        (("find", "RUN", "-g", "rayonix_mx170", "-o", "out.cxi"), "needs 1920 x 1920"),
        (("find", "RUN", "-g", "GEOM", "-o", "nosuch/out.cxi"), "folder nosuch does not exist"),
        (("find", "RUN", "-g", "GEOM", "-o", "out.cxi", "--finder", "v3r3", "--min-pixels", "3"), "not an option of v3r3"),
        (("find", "RUN", "-g", "GEOM", "-o", "out.cxi", "--finder", "peakfinder8", "--min-pixels", "0"), "min_pixels 0"),
        (("find", "RUN", "-g", "GEOM", "-o", "out.cxi", "--min-score", "7"), "min_score is 7"),
        (("find", "RUN", "-g", "GEOM", "-o", "out.cxi", "--min-snr", "7"), "not an option of candidate"),
        (("find", "RUN", "-g", "GEOM", "-o", "out.cxi", "--model", "none.onnx"), "none.onnx does not exist"),
        (("find", "RUN", "-g", "GEOM", "-o", "out.cxi", "-j", "0"), "threads is 0"),
        (("find", "RUN", "-g", "GEOM", "-o", "out.cxi", "--images", "jpeg"), "images is 'jpeg'"),
        (("find", "RUN", "-g", "GEOM", "-o", "out.cxi", "--mask", "nosuch.h5:/m"), "mask nosuch.h5 does not exist"),
        (("view", "RUN", "-g", "GEOM", "-o", "out.png", "-e", "99"), "there is no event 99"),
        (("view", "RUN", "-g", "GEOM", "-o", "out.docx"), ".png, .pdf or .svg"),
        (("info", "nosuch.h5"), "does not exist"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else None,
)  # fmt: skip
def test_wrong_arguments(run_file: Path, tmp_path: Path, change: tuple[str, ...], message: str) -> None:
    names = {"RUN": str(run_file), "GEOM": str(run_file.with_suffix(".geom"))}
    refused(peakrt(*(names.get(a, a) for a in change), cwd=tmp_path), tmp_path, message)


def broken_run(folder: Path, kind: str) -> tuple[Path, str]:
    """A run with one thing wrong; and its geometry."""
    frames = np.random.default_rng(0).poisson(20, (2, 256, 256)).astype(np.float32)
    text = SMALL_GEOM
    if kind == "nan":
        frames[1] = np.nan
    elif kind == "masked":
        text = "mask = /m\nmask_bad = 1\n" + text
    elif kind == "unknown key":
        text += "p0/colour = red\n"
    elif kind == "no data path":
        text = text.replace("data = /entry_1/data_1/data\n", "")
    with h5py.File(folder / "in.h5", "w") as file:
        file["/entry_1/data_1/data"] = frames if kind != "no frames" else frames[:0]
        bad = np.zeros((256, 256), np.uint8)
        bad[:128] = 1
        file["/m"] = bad
    (folder / "in.geom").write_text(text)
    return folder / "in.h5", text


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "in.h5 //1: no good pixel of the frame is a number"),
        ("masked", "panel p0 of in.geom has no good pixel"),
        ("unknown key", "line 26: unknown key 'colour'"),
        ("no data path", "no 'data =' line"),
        ("no frames", "no frames in"),
    ],
)
def test_wrong_data(tmp_path: Path, kind: str, message: str) -> None:
    run, _ = broken_run(tmp_path, kind)
    stop = ("--on-bad-event", "stop") if kind == "nan" else ()
    done = peakrt("find", run, "-g", tmp_path / "in.geom", "-o", tmp_path / "out.cxi", *stop)
    if kind == "nan":  # what came before is kept, and said so
        assert "out.cxi.inprogress" in done.stderr
        (tmp_path / "out.cxi.inprogress").unlink()
    refused(done, tmp_path, message)


def test_a_panel_that_is_off_may_be_masked(tmp_path: Path) -> None:
    run, text = broken_run(tmp_path, "masked")
    (tmp_path / "in.geom").write_text(text + "p0/no_index = 1\n")
    done = peakrt("find", run, "-g", tmp_path / "in.geom", "-o", tmp_path / "out.cxi")
    assert done.returncode == 0, done.stderr


def test_folder_that_cannot_be_written(run_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # root may write anywhere: take a user who may not
        command = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", "import peakrt"]
        if shutil.which("setpriv") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no user at hand who may not write everywhere")
        done = subprocess.run(
            [*command[:3], sys.executable, "-m", "peakrt.cli", "find", str(run_file), "-g", str(run_file.with_suffix(".geom")), "-o", str(folder / "out.cxi")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    else:
        done = find(run_file, folder / "out.cxi")
    assert done.returncode == 1
    assert "cannot be" in done.stderr or "Permission" in done.stderr or "does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_full_disk(run_file: Path, tmp_path: Path) -> None:
    """A limit on the file's size stands in for a full disk: the same failing write."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))

    done = peakrt(
        "find", slow_run(run_file, tmp_path), "-g", run_file.with_suffix(".geom"), "-o", tmp_path / "out.cxi", "--flush-s", 0.05,
        "--max-peaks", 200, preexec_fn=limit,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert not (tmp_path / "out.cxi").exists()
    check_rows(tmp_path / "out.cxi.inprogress", run_file, 1)
    process = start(run_file, tmp_path, "--resume")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    check_rows(tmp_path / "out.cxi", run_file, 1)


def test_resume_after_rows_without_numbers(run_file: Path, tmp_path: Path) -> None:
    """What a full disk may leave behind the last flush is written again, not kept."""
    process = start(run_file, tmp_path)
    wait_for_rows(tmp_path / "out.cxi.inprogress", process)
    process.kill()
    process.communicate()
    with h5py.File(tmp_path / "out.cxi.inprogress", "r+") as file:
        for path in growing(file):
            file[path].resize(len(file[path]) + 3, axis=0)
    process = start(run_file, tmp_path, "--resume")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    rows = check_rows(tmp_path / "out.cxi", run_file, 1)
    with h5py.File(tmp_path / "out.cxi") as file:
        assert len(file[N_PEAKS]) == rows
        assert (np.diff(file["/LCLS/eventNumber"][:]) > 0).all()


def test_disk_that_is_full_from_the_start(run_file: Path, tmp_path: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    done = find(run_file, tmp_path / "out.cxi", "--max-peaks", 200)
    assert done.returncode == 0
    done = peakrt("find", run_file, "-g", run_file.with_suffix(".geom"), "-o", tmp_path / "full.cxi", preexec_fn=limit)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("full*"))


def test_output_that_is_there_already(run_file: Path, tmp_path: Path) -> None:
    (tmp_path / "out.cxi").write_text("mine")
    done = find(run_file, tmp_path / "out.cxi")
    assert done.returncode == 1
    assert "exists" in done.stderr
    assert (tmp_path / "out.cxi").read_text() == "mine"


# info


def test_info(run_file: Path, tmp_path: Path) -> None:
    geometry = run_file.with_suffix(".geom")
    done = peakrt("info", run_file, geometry, "-g", geometry)
    assert "12 events" in done.stdout
    assert "2 ASICs" in done.stdout
    assert "200.00 um" in done.stdout
    assert find(run_file, tmp_path / "out.cxi").returncode == 0
    done = peakrt("info", tmp_path / "out.cxi")
    assert "peak table of" in done.stdout
    assert "shape" in done.stdout


# The library behind


def test_finder_api(run_file: Path) -> None:
    source = open_source([str(run_file)], read_geom(run_file.with_suffix(".geom")))
    frames = [event.frame for event in source.events()]
    finder = PeakFinder(Peakfinder8Config(min_snr=7), geometry=source.detector)
    table = finder.find(frames, threads=2)
    assert len(table) == 12
    for peaks, frame in zip(table, frames, strict=True):
        np.testing.assert_array_equal(peaks["intensity"], finder(frame)["intensity"])
    with pytest.raises(ValueError, match="needs a geometry"):
        PeakFinder(Peakfinder8Config())
    with pytest.raises(ValueError, match="mask has shape"):
        PeakFinder(geometry=source.detector, mask=np.ones((3, 3)))


def test_writer_api(tmp_path: Path, small_detector: object) -> None:
    frame = np.zeros((1, 256, 256), np.float32)
    good = np.ones(frame.shape, bool)
    with CxiWriter(tmp_path / "a.cxi", small_detector, hits=HitConfig(min_peaks=1)) as writer:  # type: ignore[arg-type]
        assert not writer.append(Event(frame), np.zeros(0, PEAK), 0, good)
        assert writer.append(
            Event(frame, photon_energy_eV=9000.0, camera_length_m=0.2, timestamp=(1, 2, 3)),
            np.ones(2, PEAK),
            1,
            good,
        )
    with h5py.File(tmp_path / "a.cxi") as file:
        assert file["/LCLS/photon_energy_eV"][0] == 9000
        assert file["/LCLS/detector_1/EncoderValue"][0] == 200
        assert [file[f"/LCLS/{n}"][0] for n in ("machineTime", "machineTimeNanoSeconds", "fiducial")] == [
            1,
            2,
            3,
        ]
    with pytest.raises(RuntimeError), CxiWriter(tmp_path / "b.cxi", small_detector) as writer:  # type: ignore[arg-type]
        raise RuntimeError("before the first event")
    assert not list(tmp_path.glob("b*"))


@pytest.mark.realdata
def test_thaumatin_hits_and_blanks(shared: Path, tmp_path: Path) -> None:
    folder = shared / "thaumatin_pilatus6M"
    done = peakrt("find", folder, "-o", tmp_path / "t.cxi", "--events", "all", "--images", "none")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "t.cxi") as file:
        counts = dict(zip((s.decode().strip()[-12:-8] for s in file["/peakrt/source"]), file[N_PEAKS][:], strict=True))
    for frame, count in counts.items():
        number = int(frame)
        assert (count >= 15) == (number <= 15), f"frame {number}: {count} peaks"
        if number <= 13:
            assert count > 250


class Onlooker:
    """Notes what a run shows it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, bool]] = []
        self.refused: list[tuple[str, str]] = []
        self.numbers: dict[str, float | str] = {}

    def event(self, event: Event | None, peaks: np.ndarray, is_hit: bool) -> None:
        self.seen.append((event.name, len(peaks), is_hit))

    def unusable(self, event: str, reason: str) -> None:
        self.refused.append((event, reason))

    def indexed(self, chunk: Chunk) -> None:
        raise AssertionError("nothing is indexed here")

    def state(self, numbers: Mapping[str, float | str]) -> None:
        self.numbers |= numbers

    def close(self) -> None:
        pass


def test_a_watcher_sees_every_event(run_file: Path, tmp_path: Path) -> None:
    source = open_source([str(run_file)], read_geom(run_file.with_suffix(".geom")))
    given = list(source.events())
    given[3] = replace(given[3], mask=np.zeros_like(given[3].frame, bool))  # no good pixel
    source.events = lambda start=0: iter(given[start:])  # type: ignore[method-assign]
    watcher = Onlooker()
    writer = CxiWriter(tmp_path / "out.cxi", source.detector, hits=HitConfig(), output=OutputConfig())
    with writer:
        summary = find_run(source, PeakFinder(geometry=source.detector), writer, watcher=watcher)
    assert summary.unusable == 1
    ((name, reason),) = watcher.refused
    assert name == str(given[3])
    assert "no good pixel" in reason or "mask" in reason
    assert [name for name, _, _ in watcher.seen] == [event.name for event in given if event is not given[3]]
    assert sum(is_hit for _, _, is_hit in watcher.seen) == writer.n_hits
    assert "latency_p50_ms" not in watcher.numbers  # of frames that are read ahead
    assert sum(n for _, n, _ in watcher.seen) == summary.peaks


def test_a_watcher_is_told_how_late_the_peaks_of_a_stream_are(run_file: Path, tmp_path: Path) -> None:
    source = open_source([str(run_file)], read_geom(run_file.with_suffix(".geom")))
    watcher = Onlooker()
    writer = CxiWriter(tmp_path / "out.cxi", source.detector, hits=HitConfig(), output=OutputConfig())
    with writer:
        played = Rehearsal(source, 1000.0, lambda: False)
        find_run(played, PeakFinder(geometry=source.detector), writer, limit=8, watcher=watcher)
    low, high = watcher.numbers["latency_p50_ms"], watcher.numbers["latency_p99_ms"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert 0 < low <= high


def test_a_run_without_an_event_does_not_say_that_it_wrote(small_detector: Detector, tmp_path: Path) -> None:
    with CxiWriter(tmp_path / "out.cxi", small_detector) as writer:
        pass
    assert report_lines(Summary(), writer, 0.0)[1:] == ["no event came: nothing was written"]
    assert list(tmp_path.iterdir()) == []
