"""Indexing with DIALS where there is no CrystFEL, or for a second opinion: the job for its stills indexer, its results.

A result file (``.jsonl``; ``stream.py`` reads it) has a line of JSON a frame: ``{"file", "event", "fs", "ss", "intensity",
"panel", "crystal", "why"}``, where ``crystal`` is null or what ``dials_program.py`` gives. Positions are raw pixels of the data array, an integer is a pixel's centre; panels are named.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from peakrt.cxi.columns import CAMERA_LENGTH, PHOTON_ENERGY
from peakrt.cxi.reader import SlabPeaks, read_cxi_peaks
from peakrt.event import Event
from peakrt_geometry import Detector, read_geom
from peakrt_geometry.panels import HC_EV_M

#: Centring letter and crystal system of a unit cell file to the lowest symmetry that has them all.
_LOWEST = {
    "triclinic": "P 1", "monoclinic": "{} 1 2 1", "orthorhombic": "{} 2 2 2", "tetragonal": "{} 4", "rhombohedral": "R 3 :R",
    "hexagonal": "{} 3", "cubic": "{} 2 3",
}  # fmt: skip


#: Fewer peaks than this cannot be indexed.
LEAST_PEAKS = 6


@dataclass(frozen=True)
class Cell:
    """a, b, c (A), alpha, beta, gamma (degrees), and a space group of the lattice's symmetry."""

    parameters: tuple[float, ...]
    space_group: str


def read_cell(path: Path) -> Cell:
    """Read a CrystFEL unit cell file. Raises ValueError, naming what is missing or wrong."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or not lines[0].startswith("CrystFEL unit cell file"):
        raise ValueError(f"{path} is not a CrystFEL unit cell file")
    values = {key.strip(): text.strip() for key, _, text in (line.partition("=") for line in lines[1:]) if text}
    try:
        numbers = tuple(float(values[name].split()[0]) for name in ("a", "b", "c", "al", "be", "ga"))
        lowest = _LOWEST[values["lattice_type"]]
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: {error} is missing or cannot be read") from None
    axis = values.get("unique_axis", "b" if values["lattice_type"] == "monoclinic" else "c")
    if axis not in "bc" or (axis == "b") != (values["lattice_type"] == "monoclinic"):
        raise ValueError(f"{path}: unique_axis {axis}: DIALS needs the standard setting, b if monoclinic, else c")
    return Cell(numbers, lowest.format(values.get("centering", "P")))


def dials_python() -> str:
    """The Python that DIALS runs in: DIALS_PYTHON, else what its programs name. Raises FileNotFoundError without DIALS."""
    given = os.environ.get("DIALS_PYTHON")
    if given:
        return given
    program = shutil.which("dials.index")
    if program is None:
        raise FileNotFoundError("DIALS is not on PATH: install it (https://dials.github.io), or use CrystFEL")
    first = Path(program).read_text(encoding="utf-8", errors="replace").splitlines()[0]
    return first.removeprefix("#!").strip()


@dataclass(frozen=True)
class Frame:
    """Peaks of one event, photon energy (eV) and camera length (m)."""

    peaks: SlabPeaks
    photon_energy_eV: float
    camera_length_m: float


def run_dials(
    cxi: Path, geometry: Path, results: Path, *, cell: Path | None, processes: int, min_peaks: int = LEAST_PEAKS
) -> None:
    """Index all events of a CXI that have min_peaks by its peak table, with DIALS' stills indexer at its defaults.

    Raises FileNotFoundError where there is no DIALS, RuntimeError with its last words where it fails, ValueError where
    neither the CXI nor the geometry has photon energy and camera length.
    """
    detector = read_geom(geometry)
    job = make_job(
        read_frames(cxi, detector), detector, None if cell is None else read_cell(cell), processes, min_peaks
    )
    found = index(job)
    lines = [json.dumps(_line(cxi, frame, found[frame["row"]], detector)) + "\n" for frame in job["frames"]]
    unfinished = results.with_name(results.name + ".inprogress")
    unfinished.write_text("".join(lines), encoding="utf-8")
    os.replace(unfinished, results)


@dataclass(frozen=True)
class DialsConfig:
    """Options of DIALS' search by dispersion, extended (its default), with DIALS' defaults."""

    sigma_strong: float = 3.0
    sigma_background: float = 6.0
    kernel: int = 3  # half the side of the window, less one half: 7 x 7 pixels
    global_threshold: float = 0.0  # photons
    min_pixels: int | None = None  # otherwise what DIALS takes for this kind of detector
    max_pixels: int = 1000

    def lines(self) -> list[str]:
        """In the words of ``dials.find_spots``."""
        dispersion, spot = "spotfinder.threshold.dispersion", "spotfinder.filter"
        least = [] if self.min_pixels is None else [f"{spot}.min_spot_size={self.min_pixels}"]
        return [
            "spotfinder.threshold.algorithm=dispersion_extended",
            f"{dispersion}.sigma_strong={self.sigma_strong:g}",
            f"{dispersion}.sigma_background={self.sigma_background:g}",
            f"{dispersion}.global_threshold={self.global_threshold:g}",
            f"{dispersion}.kernel_size={self.kernel},{self.kernel}",
            f"{spot}.max_spot_size={self.max_pixels}",
            *least,
        ]


def whole_photons(event: Event, detector: Detector, *, gain: float, pedestal: float) -> npt.NDArray[np.int32]:
    """A frame as a photon-counting detector would have written it; bad pixels -2.

    gain : ADU a photon; pedestal : ADU of no photon
    """
    photons = np.rint((event.frame - np.float32(pedestal)) / np.float32(gain)).clip(0, 2**30)
    return np.where(event.good(detector.mask), photons, -2).astype(np.int32)


def find_spots(frames: Sequence[npt.NDArray[np.int32]], config: DialsConfig | None = None) -> list[SlabPeaks]:
    """Spots that DIALS finds, with its defaults unless there is a config.

    frames : (ss, fs) each, all of one shape; photons, bad pixels -2
    Raises as :func:`run_dials`.
    """
    with tempfile.TemporaryDirectory(prefix="peakrt-") as folder:
        path = Path(folder) / "frames.npy"
        np.save(path, np.stack(frames))
        lines = [json.loads(line) for line in _ask("find", str(path), *(config or DialsConfig()).lines()).splitlines()]
    if len(lines) != len(frames):
        raise RuntimeError(f"DIALS gave back {len(lines)} of {len(frames)} frames")
    tables = [{name: np.array(line[name], float) for name in ("ss", "fs", "intensity")} for line in lines]
    return [SlabPeaks(**table, snr=np.full(len(table["ss"]), np.nan)) for table in tables]


def _ask(*arguments: str, given: str | None = None) -> str:
    """What ``dials_program.py`` prints in the Python of DIALS."""
    path = Path(__file__).with_name("dials_program.py")
    done = subprocess.run(
        [dials_python(), str(path), *arguments], input=given, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"DIALS failed ({done.returncode}): {last}")
    return done.stdout


def index(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Run ``dials_program.py`` on a job; gives the line of each of its frames. Raises as :func:`run_dials`."""
    found = {line["row"]: line for line in map(json.loads, _ask("index", given=json.dumps(job)).splitlines())}
    if len(found) != len(job["frames"]):
        raise RuntimeError(f"DIALS gave back {len(found)} of {len(job['frames'])} frames")
    return [found[row] for row in range(len(found))]


def make_job(
    frames: Iterable[Frame],
    detector: Detector,
    cell: Cell | None,
    processes: int,
    min_peaks: int = LEAST_PEAKS,
    experiment: Path | None = None,
) -> dict[str, Any]:
    """What ``dials_program.py`` is given: panels in mm, and each frame's peaks in pixels of their panels.

    experiment : file of DIALS that has the beam and the detector instead, sensors with their depth
    """
    return {
        "min_peaks": max(min_peaks, LEAST_PEAKS),
        "experiment": None if experiment is None else str(experiment.resolve()),
        "processes": processes,
        "cell": None if cell is None else cell.parameters,
        "space_group": None if cell is None else cell.space_group,
        "panels": [_panel(detector, number) for number in range(len(detector.panels))],
        "frames": [_frame(row, frame, detector) for row, frame in enumerate(frames)],
    }


def read_frames(cxi: Path, detector: Detector) -> list[Frame]:
    """Read the peak tables of a CXI. Raises ValueError where neither it nor the geometry has energy and length."""
    tables = read_cxi_peaks(cxi)
    with h5py.File(cxi, "r") as file:
        energies, lengths = (file[name][:] if name in file else None for name in (PHOTON_ENERGY, CAMERA_LENGTH))
    return [
        Frame(
            peaks,
            detector.number("photon_energy", None if energies is None else float(energies[row])),
            detector.number("camera_length", None if lengths is None else float(lengths[row]) * 1e-3),
        )
        for row, peaks in enumerate(tables)
    ]


def _panel(detector: Detector, number: int) -> dict[str, Any]:
    """In mm, from the outer corner of the first pixel, as DIALS has it; z without the camera length."""
    panel = detector.panels[number]
    size = panel.pixel_size_m
    ss = np.array(panel.ss_m) / np.linalg.norm(panel.ss_m)
    return {
        "name": panel.name, "origin": [1e3 * x for x in panel.corner_m], "fast": [x / size for x in panel.fs_m],
        "slow": ss.tolist(), "pixel": [1e3 * size, 1e3 * float(np.linalg.norm(panel.ss_m))], "size": panel.shape[::-1],
    }  # fmt: skip


def _frame(row: int, frame: Frame, detector: Detector) -> dict[str, Any]:
    panel, ss, fs, intensity = _on_panels(frame.peaks, detector)
    return {
        "row": row, "wavelength": HC_EV_M / frame.photon_energy_eV * 1e10, "camera_length": 1e3 * frame.camera_length_m,
        "panel": panel.tolist(), "ss": ss.tolist(), "fs": fs.tolist(), "intensity": intensity.tolist(),
    }  # fmt: skip


def _on_panels(peaks: SlabPeaks, detector: Detector) -> tuple[npt.NDArray[Any], ...]:
    """Panel and position in it of each peak that lies on one."""
    panel_of_frame, ss = detector.from_slab(peaks.ss)
    panel = detector.panel_at(panel_of_frame, ss, peaks.fs)
    on = panel >= 0
    corner = detector.asics[panel[on]]
    return panel[on], ss[on] - corner[:, 1], peaks.fs[on] - corner[:, 3], peaks.intensity[on]


def _line(cxi: Path, frame: dict[str, Any], found: dict[str, Any], detector: Detector) -> dict[str, Any]:
    crystal = found["crystal"]
    if crystal is not None:
        crystal = {**crystal, **_in_array(crystal, detector)}
    peaks = {**_in_array(frame, detector), "intensity": frame["intensity"]}
    return {"file": str(cxi.resolve()), "event": f"//{frame['row']}", **peaks, "crystal": crystal, "why": found["why"]}


def _in_array(table: dict[str, Any], detector: Detector) -> dict[str, Any]:
    """From positions in a panel to raw ones of the data array, with the panels' names."""
    panel = np.array(table["panel"], np.int64)
    corner = detector.asics[panel]
    return {
        "panel": [detector.panels[number].name for number in panel],
        "ss": (np.array(table["ss"], float) + corner[:, 1]).tolist(),
        "fs": (np.array(table["fs"], float) + corner[:, 3]).tolist(),
    }
