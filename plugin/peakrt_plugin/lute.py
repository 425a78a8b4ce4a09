"""A task of LUTE, LCLS's workflow engine, that finds peaks with PeakRT: for psana1 and psana2 runs alike.

Import both names in LUTE's ``lute/io/models/sfx_find_peaks.py`` and ``lute/tasks/sfx_find_peaks.py`` (or wherever a
deployment keeps its own), and declare a managed task as for the others:

    PeakFinderPeakRT = MPIExecutor("FindPeaksPeakRT")

LUTE's own wrappers set the run, the experiment and the folder. There is nothing to tune; the result is the CXI, its .lst and
its .geom, which LUTE's CrystFEL tasks take as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lute.io.models.base import TaskParameters
from lute.tasks.dataclasses import TaskStatus
from lute.tasks.task import Task
from pydantic import Field

from peakrt.cli import main


class FindPeaksPeakRTParameters(TaskParameters):
    """Parameters of the task, in LUTE's configuration file under ``FindPeaksPeakRT``."""

    det_name: str = Field(description="Detector, as psana names it.")
    out_file: str = Field("", description="CXI to write; by default in the work folder, named by experiment and run.")
    geometry: str = Field("", description="CrystFEL .geom; by default psana's own geometry.")
    camera_length: float = Field(0.0, description="Camera length in m; 0 takes the geometry's.")
    photon_energy: float = Field(0.0, description="Photon energy in eV; 0 takes the electron beam's, shot by shot.")
    n_events: int = Field(0, description="Stop after so many events; 0 takes all.")
    min_peaks: int = Field(15, description="Least peaks of a hit.")
    max_peaks: int = Field(2048, description="Columns of the peak table.")
    images: str = Field("raw", description="Images in the CXI: raw, gzip, lz4 or none.")
    finder: str = Field("candidate", description="candidate, segmentation, peakfinder8 or v3r3.")


def command_line(parameters: Any) -> list[str]:
    """What ``peakrt`` is given for a task's parameters."""
    run = f"exp={parameters.lute_config.experiment},run={int(parameters.lute_config.run)}"
    run += f",events={parameters.n_events}" if parameters.n_events else ""
    options = {
        "--detector": parameters.det_name, "--finder": parameters.finder, "--images": parameters.images,
        "--min-peaks": parameters.min_peaks, "--max-peaks": parameters.max_peaks, "--geometry": parameters.geometry,
        "--camera-length": parameters.camera_length, "--photon-energy": parameters.photon_energy,
        "-o": out_file(parameters),
    }  # fmt: skip
    given = [str(part) for option, value in options.items() if value for part in (option, value)]
    return ["find", run, *given]


def out_file(parameters: Any) -> Path:
    """The CXI of a task, named as LUTE names its own."""
    config = parameters.lute_config
    name = f"{config.experiment}_r{int(config.run):04d}_peakrt.cxi"
    return Path(parameters.out_file or Path(config.work_dir) / name)


class FindPeaksPeakRT(Task):
    """Finds the peaks of a run on all ranks of the task, and writes the CXI with its .lst and .geom.

    Raises RuntimeError if it fails; what was found stays, and the same task run again goes on.
    """

    def __init__(self, *, params: Any, use_mpi: bool = True) -> None:
        super().__init__(params=params, use_mpi=use_mpi)

    def _run(self) -> None:
        arguments = command_line(self._task_parameters)
        path = out_file(self._task_parameters)
        if list(path.parent.glob(f"{path.stem}*.inprogress")):
            arguments.append("--resume")
        if main(arguments) != 0:
            raise RuntimeError(f"peakrt {' '.join(arguments)} failed: its message is above")

    def _post_run(self) -> None:
        super()._post_run()
        self._result.summary = f"peaks in {out_file(self._task_parameters)}"
        self._result.payload = str(out_file(self._task_parameters).with_suffix(".lst"))
        self._result.task_status = TaskStatus.COMPLETED
