"""indexamajig reads what we write, as it is; and without CrystFEL, the rules of its reader hold for every file.

The rules are those of CrystFEL 0.12.0, libcrystfel/src/image-hdf5.c, image.c and datatemplate.c.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from peakrt.cxi.columns import CAMERA_LENGTH, DATA, MASK, N_PEAKS, PHOTON_ENERGY, RESULT
from peakrt.cxi.reader import SlabPeaks, read_cxi_peaks
from peakrt_geometry import Detector, HeaderValue, load_detector, missing_for_crystfel, read_geom, write_geom
from peakrt_lab.simulate import RESPONSES, Scene, Simulator
from peakrt_lab.stream import read_stream
from peakrt_lab.truth import write_run

from .test_run import peakrt

#: What indexamajig says without a unit cell, which the printed command has none of.
_SAYS_ANYWAY = "No reference unit cell provided."
MPIRUN = shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")


# Files, one for each way of making them


def simulate(folder: Path, detector: Detector, name: str, n: int = 6) -> Path:
    scene = Scene(hit_fraction=0.99, photons=(3000.0, 30000.0), background=(1.0, 3.0), d_min=2.5)
    simulator = Simulator(
        detector, scene=scene, response=RESPONSES[name], cell=(60.0, 70.0, 80.0, 90.0, 90.0, 90.0), space_group="P 21 21 21", seed=4
    )  # fmt: skip
    write_run(folder / "in.cxi", simulator, (simulator.event(k) for k in range(n)))
    return folder / "in.cxi"


def find(run: Path, *extra: object, geometry: Path | None = None, output: str = "out.cxi") -> tuple[Path, str]:
    """Run find on a run, its output beside it; returns the CXI and what was printed."""
    out = run.with_name(output)
    done = peakrt(
        "find", run, "-g", geometry or run.with_suffix(".geom"), "-o", out, "--min-peaks", 5, "--overwrite", *extra
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("small"), load_detector("jungfrau1m"), "jungfrau1m")


def files_of_images(run: Path, images: str) -> tuple[Path, str]:
    return find(run, "--images", images, output=f"{images}.cxi")


def file_of_many_panels(run: Path) -> tuple[Path, str]:
    """AGIPD: 16 panels of 8 ASICs, stacked into one slab."""
    folder = run.parent / "agipd"
    folder.mkdir(exist_ok=True)
    detector = replace(load_detector("agipd1m"), photon_energy=9300.0, camera_length=0.12)
    return find(simulate(folder, detector, "agipd1m", n=3))


def file_with_headers(run: Path) -> tuple[Path, str]:
    """Photon energy and camera length of each event, from the file that is read."""
    detector = replace(
        read_geom(run.with_suffix(".geom")),
        photon_energy=HeaderValue("/measured/eV"), camera_length=HeaderValue("/measured/mm", 1e-3),
    )  # fmt: skip
    copied = run.with_name("headers.cxi")
    if not copied.exists():
        shutil.copy(run, copied)
        with h5py.File(copied, "r+") as file:
            file["/measured/eV"] = 9000.0 + np.arange(6)
            file["/measured/mm"] = 100.0 + np.arange(6)
    write_geom(detector, run.with_name("headers-in.geom"))
    return find(copied, geometry=run.with_name("headers-in.geom"), output="with-headers.cxi")


def file_without_gain(run: Path) -> tuple[Path, str]:
    """A geometry without a gain, as psana's are: CrystFEL refuses such a one."""
    detector = replace(read_geom(run.with_suffix(".geom")), adu_per_photon=None, adu_per_eV=None)
    write_geom(detector, run.with_name("no-gain-in.geom"))
    return find(run, geometry=run.with_name("no-gain-in.geom"), output="no-gain.cxi")


def file_of_classical_finder_without_gain(run: Path) -> tuple[Path, str]:
    """Nothing estimates a gain here."""
    file_without_gain(run)
    options = ("--finder", "peakfinder8", "--adc-threshold", "40")
    return find(run, *options, geometry=run.with_name("no-gain-in.geom"), output="pf8.cxi")


def master_of_ranks(run: Path) -> tuple[Path, str]:
    if MPIRUN is None:
        pytest.skip("there is no mpirun")
    out = run.with_name("ranks.cxi")
    command = [
        MPIRUN, "--allow-run-as-root", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1", "-n", "2", sys.executable, "-m",
        "peakrt.cli", "find", str(run), "-g", str(run.with_suffix(".geom")), "-o", str(out), "--min-peaks", "5",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


MAKERS: dict[str, Callable[[Path], tuple[Path, str]]] = {
    **{name: lambda run, name=name: files_of_images(run, name) for name in ("raw", "gzip", "lz4")},  # type: ignore[misc]
    "many panels": file_of_many_panels,
    "headers": file_with_headers,
    "no gain": file_without_gain,
    "classical, no gain": file_of_classical_finder_without_gain,
    "ranks": master_of_ranks,
}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def made(request: pytest.FixtureRequest, small_run: Path) -> tuple[Path, str]:
    """A CXI, its companions beside it, and what was printed when it was made."""
    return MAKERS[request.param](small_run)


# Without CrystFEL: the rules of its reader


def test_the_rules_of_the_peak_table(made: tuple[Path, str]) -> None:
    cxi, _ = made
    with h5py.File(cxi, "r") as file:
        n_events, n_ss, n_fs = file[DATA].shape
        counts = file[N_PEAKS]
        assert counts.ndim == 1
        assert counts.dtype.kind in "iu"
        assert len(counts) == n_events > 0
        assert counts[:].min() >= 0
        assert counts[:].max() > 0
        columns = {name: file[f"{RESULT}/{name}"] for name in ("peakXPosRaw", "peakYPosRaw", "peakTotalIntensity")}
        for column in columns.values():
            assert column.ndim == 2
            assert column.dtype.kind == "f"
            assert column.dtype.itemsize >= 4  # half floats would lose the position
            assert len(column) == n_events
            assert column.shape[1] >= counts[:].max()
        for row, n in enumerate(counts[:]):
            fs, ss, intensity = (column[row, :n] for column in columns.values())
            assert ((fs >= -0.5) & (fs < n_fs - 0.5)).all()
            assert ((ss >= -0.5) & (ss < n_ss - 0.5)).all()
            assert (np.isfinite(intensity)).all()
        assert file[MASK].shape == (n_ss, n_fs)
        assert set(np.unique(file[MASK][:])) <= {0, 1}


def test_the_rules_of_the_geometry(made: tuple[Path, str]) -> None:
    cxi, _ = made
    geometry = read_geom(cxi.with_suffix(".geom"))
    assert not missing_for_crystfel(geometry)
    assert geometry.settings["peak_list_type"] == "cxi"
    with h5py.File(cxi, "r") as file:
        assert geometry.settings["peak_list"] in file
        n_ss, n_fs = file[DATA].shape[1:]
        for panel in geometry.panels:
            assert panel.data == DATA
            assert panel.dims == ("%", "ss", "fs")
            assert panel.end_ss <= n_ss
            assert panel.end_fs <= n_fs
            assert [mask.path for mask in panel.masks] == [MASK]
            assert (panel.masks[0].good, panel.masks[0].bad) == (0, 1)  # CrystFEL's masks: 1 is bad
        for value, path in ((geometry.photon_energy, PHOTON_ENERGY), (geometry.camera_length, CAMERA_LENGTH)):
            if isinstance(value, HeaderValue):
                assert value.path == path
                assert np.isfinite(file[path][:]).all()


def test_the_list_names_the_hits(made: tuple[Path, str]) -> None:
    cxi, _ = made
    with h5py.File(cxi, "r") as file:
        hits = np.flatnonzero(file[N_PEAKS][:] >= 5)
    expected = [f"{cxi.resolve()} //{row}" for row in hits]
    assert cxi.with_suffix(".lst").read_text().splitlines() == expected


# With CrystFEL


def index(command: str, folder: Path) -> str:
    """Run an indexamajig command line in a folder; returns what it said."""
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "HDF5_PLUGIN_PATH"},
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def complaints(said: str) -> list[str]:
    words = ("warning", "error", "fail", "couldn't", "unable", "bad ")
    return [line for line in said.splitlines() if any(word in line.lower() for word in words) and line != _SAYS_ANYWAY]


def same_peaks(chunk: Any, ours: SlabPeaks) -> None:
    """The stream has our peaks: rounded to .01 px, those near an edge or a bad pixel left out."""
    assert 0 < len(chunk.ss) <= len(ours)
    for ss, fs in zip(chunk.ss, chunk.fs, strict=True):
        nearest = np.hypot(ours.ss - ss, ours.fs - fs).min()
        assert nearest < 0.012, (ss, fs)
    assert len(chunk.ss) > 0.5 * len(ours)


@pytest.mark.crystfel
def test_indexamajig_reads_our_peaks(made: tuple[Path, str], tmp_path: Path) -> None:
    """As printed but for the indexing itself, from another folder."""
    cxi, printed = made
    command = next(line.strip() for line in printed.splitlines() if "indexamajig -i" in line)
    stream = tmp_path / "out.stream"
    said = index(f"{command} --indexing=none -j 1 -o {shlex.quote(str(stream))}", tmp_path)
    n = len(cxi.with_suffix(".lst").read_text().splitlines())
    assert f"Final: {n} images processed, {n} hits" in said
    assert not complaints(said), said
    tables = read_cxi_peaks(cxi)
    chunks = list(read_stream(stream))
    assert len(chunks) == n
    for chunk in chunks:
        same_peaks(chunk, tables[chunk.number])


@pytest.mark.crystfel
def test_indexamajig_takes_energy_and_length_of_each_event(small_run: Path, tmp_path: Path) -> None:
    cxi, _ = file_with_headers(small_run)
    stream = tmp_path / "out.stream"
    files = f"-i {cxi.with_suffix('.lst')} -g {cxi.with_suffix('.geom')}"
    index(f"indexamajig {files} --peaks=cxi --indexing=none -j 1 -o {stream}", tmp_path)
    energies = [
        float(line.split()[2]) for line in stream.read_text().splitlines() if line.startswith("photon_energy_eV")
    ]
    lengths = [
        float(line.split()[2]) for line in stream.read_text().splitlines() if line.startswith("average_camera_length")
    ]
    with h5py.File(cxi, "r") as file:
        rows = file["/LCLS/eventNumber"][:]
    assert sorted(energies) == pytest.approx(sorted(9000.0 + rows))
    assert sorted(lengths) == pytest.approx(sorted(0.1 + 0.001 * rows), abs=1e-5)


@pytest.mark.crystfel
def test_the_printed_command_indexes(tmp_path: Path) -> None:
    """Lysozyme on a Jungfrau, the line pasted as it stands."""
    scene = Scene(hit_fraction=0.99, photons=(3000.0, 30000.0))
    simulator = Simulator(
        load_detector("jungfrau1m"), scene=scene, response=RESPONSES["jungfrau1m"],
        cell=(79.0, 79.0, 38.0, 90.0, 90.0, 90.0), space_group="P 43 21 2", seed=8,
    )  # fmt: skip
    write_run(tmp_path / "in.cxi", simulator, (simulator.event(k) for k in range(8)))
    done = peakrt("find", tmp_path / "in.cxi", "-g", tmp_path / "in.geom", "-o", tmp_path / "out.cxi")
    command = next(line.strip() for line in done.stdout.splitlines() if "indexamajig -i" in line)
    said = index(command, tmp_path)
    assert not complaints(said), said
    chunks = list(read_stream(tmp_path / "out.stream"))
    assert len(chunks) >= 6
    indexed = [chunk for chunk in chunks if chunk.crystals]
    assert len(indexed) >= len(chunks) - 1
    cells = np.array([np.sort(chunk.crystals[0].cell[:3]) for chunk in indexed])
    np.testing.assert_allclose(np.median(cells, 0), [38.0, 79.0, 79.0], rtol=0.01)
