"""Fixtures: where the real data are, small detectors, a simulated run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from peakrt import _native
from peakrt.gpu.batches import check_gpu
from peakrt_geometry import Detector
from peakrt_geometry.crystfel import parse_geom
from peakrt_lab.simulate import Response, Scene, Simulator
from peakrt_lab.truth import write_run

from .host_gpu import HostGpu

# CI draws the same cases every time; elsewhere every run draws new ones.
settings.register_profile("same-cases", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("same-cases")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The one place that skips what needs a program that is not here."""
    for marker, program in (("crystfel", "indexamajig"), ("dials", "dials.index")):
        if item.get_closest_marker(marker) and shutil.which(program) is None:
            pytest.skip(f"{program} is not on PATH")


SMALL_GEOM = """
photon_energy = 9500 eV
clen = 0.1 m
adu_per_photon = 10
res = 5000
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs
p0/min_fs = 0
p0/max_fs = 255
p0/min_ss = 0
p0/max_ss = 127
p0/corner_x = -128
p0/corner_y = -130
p0/fs = +1.0x
p0/ss = +1.0y
p1/min_fs = 0
p1/max_fs = 255
p1/min_ss = 128
p1/max_ss = 255
p1/corner_x = -128
p1/corner_y = 2
p1/fs = +1.0x
p1/ss = +1.0y
"""


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the real frames of ../shared/data are not here")
    return SHARED


@pytest.fixture(scope="session")
def small_detector() -> Detector:
    return parse_geom(SMALL_GEOM, name="small.geom")


@pytest.fixture(scope="session")
def run_file(tmp_path_factory: pytest.TempPathFactory, small_detector: Detector) -> Path:
    """Twelve simulated events, their .geom beside them."""
    folder = tmp_path_factory.mktemp("run")
    scene = Scene(hit_fraction=0.7, photons=(3000.0, 30000.0), background=(1.0, 3.0), d_min=2.5, zingers=0, jet=0, shadow=0, ice=0, salt=0)  # fmt: skip
    simulator = Simulator(
        small_detector, scene=scene, response=Response(hot=0), cell=(60.0, 70.0, 80.0, 90.0, 90.0, 90.0), space_group="P 21 21 21", seed=4
    )  # fmt: skip
    write_run(folder / "run.cxi", simulator, (simulator.event(n) for n in range(12)))
    return folder / "run.cxi"


def instruction_sets() -> Iterator[str]:
    """Switch to each instruction set that this CPU has, in turn, and back."""
    before = _native.instruction_set()
    try:
        for name in ("plain", "avx2", "avx512"):
            try:
                _native.set_instruction_set(name)
            except ValueError:
                continue
            yield name
    finally:
        _native.set_instruction_set(before)


def crowded_frame(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    peaks: int,
    background: float = 20.0,
    step: float = 1.0,
) -> np.ndarray:
    """Poisson background with Gaussian peaks, touching ones and ones at the edges included, in steps of ADU."""
    ss, fs = np.mgrid[: shape[0], : shape[1]]
    mean = np.full(shape, background)
    for _ in range(peaks):
        c_ss, c_fs, width = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(0.4, 1.8)
        mean += np.exp(rng.uniform(2, 7)) * np.exp(-((ss - c_ss) ** 2 + (fs - c_fs) ** 2) / (2 * width**2))
    return np.rint(rng.poisson(mean) / step) * step


@pytest.fixture
def host_gpu(monkeypatch: pytest.MonkeyPatch) -> HostGpu:
    """The finders' view of a machine with a GPU, whose memory and kernels are the host's."""
    stand_in = HostGpu()
    for name in ("gpu.batches", "gpu.peakfinder8", "gpu.candidate", "gpu.segmentation"):
        monkeypatch.setattr(f"peakrt.{name}.check_gpu", lambda: stand_in)
    return stand_in


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Any:
    """CuPy, or its stand-in on the host: the same tests run on both."""
    if request.param == "host":
        return request.getfixturevalue("host_gpu")
    try:
        return check_gpu()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def psana_python() -> str:
    python = os.environ.get("PEAKRT_PSANA_PYTHON", "")
    if not python or shutil.which(python) is None:
        pytest.skip(
            "PEAKRT_PSANA_PYTHON names no interpreter with psana, mpi4py and this PeakRT (make demo-psana makes one)"
        )
    return python
