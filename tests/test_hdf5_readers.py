"""Every HDF5 file that we write opens and reads whole with the HDF5 libraries that our users' programs stand on.

The readers are not ours: h5py wheels that carry an older HDF5, each in an environment of its own, and h5dump. ``make test``
makes the environments in ``.venv-readers`` (h5py 3.8.0 carries HDF5 1.12.2, h5py 3.10.0 carries HDF5 1.14.2); PEAKRT_HDF5_READERS
names more interpreters, separated by colons (Debian 12's python3-h5py stands on HDF5 1.10.8, as does its h5dump).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from peakrt.config import HitConfig, OutputConfig
from peakrt.cxi.columns import FILE_FORMAT, PROGRESS
from peakrt.cxi.master import write_master
from peakrt.cxi.writer import CxiWriter
from peakrt.event import Event
from peakrt.finders.bad_pixels import COUNTED_PIXEL
from peakrt.finders.learned import LearnedState
from peakrt.peaks import PEAK
from peakrt_geometry import Detector

ROOT = Path(__file__).resolve().parents[1]

#: Reads every dataset whole and prints the sum of its bytes, in any h5py.
READ_ALL = """
import json, sys, h5py, numpy as np
sums = {}
def visit(name, item):
    if isinstance(item, h5py.Dataset):
        sums[name] = [list(item.shape), int(np.frombuffer(np.ascontiguousarray(item[()]).tobytes(), np.uint8).sum(dtype=np.uint64))]
    for key in item.attrs:
        item.attrs[key]
for path in sys.argv[1:]:
    with h5py.File(path, "r") as file:
        visit("/", file)
        file.visititems(visit)
        print(json.dumps(sums))
        sums.clear()
"""


def readers() -> list[str]:
    """Interpreters with another HDF5."""
    found = [str(path) for path in sorted(ROOT.glob(".venv-readers/*/bin/python"))]
    return found + [text for text in os.environ.get("PEAKRT_HDF5_READERS", "").split(":") if text]


def read_all(python: str, *paths: Path) -> list[dict[str, Any]]:
    """Shape and byte sum of every dataset of files, as an interpreter's h5py reads them."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HDF5"))}
    environment["HDF5_PLUGIN_PATH"] = hdf5plugin.PLUGIN_PATH
    command = [python, "-c", READ_ALL, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{python}: {done.stderr[-2000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(params=["h5py", "h5dump"])
def reads_whole(request: pytest.FixtureRequest) -> Any:
    """A check that other HDF5 libraries read files as ours does."""
    if request.param == "h5dump":
        program = shutil.which("h5dump")
        if program is None:
            pytest.skip("h5dump is not installed (Debian: hdf5-tools)")

        def dump(*paths: Path) -> None:
            environment = {**os.environ, "HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH}
            for path in paths:
                done = subprocess.run([program, path], capture_output=True, check=False, env=environment)
                assert done.returncode == 0, f"{path}: {done.stderr.decode()[-2000:]}"

        return dump
    others = readers()
    if not others:
        pytest.skip("no other h5py: make test makes .venv-readers, PEAKRT_HDF5_READERS names interpreters")

    def compare(*paths: Path) -> None:
        ours = read_all(sys.executable, *paths)
        for python in others:
            assert read_all(python, *paths) == ours, python

    return compare


def write_cxi(path: Path, detector: Detector, images: str, n: int = 20) -> CxiWriter:
    """A file in work, with everything that a file can hold; its caller closes it."""
    output = OutputConfig(images=images, mask_out="artifacts", powder="max", flush_s=1e9)
    writer = CxiWriter(path, detector, hits=HitConfig(min_peaks=1, max_peaks=40), output=output)
    rng, good = np.random.default_rng(0), np.ones(detector.shape, bool)
    for k in range(n):
        frame = rng.poisson(20, detector.shape).astype(np.uint16)
        peaks = np.zeros(k, PEAK)
        peaks["fs"], peaks["ss"], peaks["intensity"] = rng.uniform(0, 50, k), rng.uniform(0, 50, k), 100
        writer.append(Event(frame, artifacts=frame > 30, file="in.h5", name=f"//{k}"), peaks, k, good)
        if k % 6 == 0:
            pixels = np.zeros(k, COUNTED_PIXEL)
            pixels["pixel"], pixels["bad"] = np.arange(k), 1
            writer.flush(LearnedState(12.5, k, pixels))
        elif k % 5 == 0:
            writer.skip(k, f"in.h5 //{k}", "no good pixel is a number")
    return writer


@pytest.mark.parametrize("images", ["raw", "gzip", "lz4", "none"])
def test_cxi_in_work_and_finished(tmp_path: Path, small_detector: Detector, reads_whole: Any, images: str) -> None:
    writer = write_cxi(tmp_path / "a.cxi", small_detector, images)
    reads_whole(writer.unfinished)
    writer.close()
    reads_whole(tmp_path / "a.cxi")


def test_master_over_rank_files(tmp_path: Path, small_detector: Detector, reads_whole: Any) -> None:
    ranks = [tmp_path / f"a_{rank}.cxi" for rank in range(3)]
    for rank, path in enumerate(ranks):
        write_cxi(path, small_detector, "raw", 5 + rank).close()
    write_master(tmp_path / "a.cxi", ranks, small_detector)
    reads_whole(tmp_path / "a.cxi")


def test_simulated_run(run_file: Path, reads_whole: Any) -> None:
    reads_whole(run_file)


def events_done(path: Path) -> int:
    with h5py.File(path, "r") as file:
        return int(file[PROGRESS][()])


def test_what_a_killed_process_leaves(tmp_path: Path, run_file: Path, reads_whole: Any) -> None:
    command = [
        sys.executable, "-m", "peakrt.cli", "find", *[str(run_file)] * 40, "-g", str(run_file.with_suffix(".geom")),
        "-o", str(tmp_path / "a.cxi"), "--flush-s", "0.05", "--events", "all",
    ]  # fmt: skip
    unfinished = tmp_path / "a.cxi.inprogress"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if unfinished.exists() and events_done(unfinished) > 0:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    left = unfinished if unfinished.exists() else tmp_path / "a.cxi"  # on a fast machine it had finished
    assert events_done(left) > 0
    reads_whole(left)


def test_nothing_is_written_in_another_format() -> None:
    """Every place that makes a file says the format: HDF5's own default changes between versions."""
    for folder in ("python", "plugin", "geometry"):
        for path in (ROOT / folder).rglob("*.py"):
            for line in path.read_text(encoding="utf-8").splitlines():
                if "h5py.File(" in line and ('"w"' in line or '"r+"' in line):
                    assert "libver=FILE_FORMAT" in line, f"{path}: {line.strip()}"
    assert FILE_FORMAT == ("v110", "v110")
