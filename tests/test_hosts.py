"""Host programs with PeakRT in them: OM's processing layers for real, LUTE's task in modules of LUTE's shape."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest

from peakrt_geometry import write_geom
from peakrt_lab.simulate import Response, Scene, Simulator

# OM


@pytest.fixture
def om(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """OM 23.8 as far as it can be imported beside numpy 2, which has no float_."""
    monkeypatch.setattr(np, "float_", np.float64, raising=False)
    pytest.importorskip("om.processing_layer.crystallography", exc_type=ImportError)
    import peakrt_plugin.om_processing as layers

    yield layers
    sys.modules.pop("peakrt_plugin.om_processing", None)


def monitor_file(folder: Path, geometry: Path, thresholds: str) -> Path:
    """OM's configuration of a crystallography monitor."""
    path = folder / "monitor.yaml"
    path.write_text(
        f"""
om:
  parallelization_layer: MultiprocessingParallelization
  data_retrieval_layer: FilesRetrieval
  processing_layer: CrystallographyProcessing
  required_data: [timestamp, event_id, beam_energy, detector_distance, detector_data]
crystallography:
  geometry_file: {geometry}
  geometry_is_optimized: true
  min_num_peaks_for_hit: 10
  max_num_peaks_for_hit: 5000
  speed_report_interval: 10
  data_broadcast_interval: 10
  running_average_window_size: 10
peakfinder8_peak_detection: {{{thresholds}}}
""",
        encoding="utf-8",
    )
    return path


VALUES = {
    "max_num_peaks": 2048, "adc_threshold": 10.0, "minimum_snr": 5.0, "min_pixel_count": 2, "max_pixel_count": 60,
    "local_bg_radius": 3, "min_res": 5, "max_res": 300, "fast_mode": False,
}  # fmt: skip
THRESHOLDS = ", ".join(f"{name}: {json.dumps(value)}" for name, value in VALUES.items())


@pytest.fixture
def shots(small_detector: Any, tmp_path: Path) -> tuple[list[np.ndarray], Path]:
    simulator = Simulator(small_detector, Scene(hit_fraction=1.0, photons=(2000.0, 9000.0)), Response(), seed=3)
    frames = [simulator.event(k).frame for k in range(3)]
    write_geom(small_detector.as_slab("/data"), tmp_path / "small.geom")
    text = (tmp_path / "small.geom").read_text()  # OM knows no units
    (tmp_path / "small.geom").write_text(text.replace(" eV\n", "\n").replace(" m\n", "\n"))
    slab = (-1, frames[0].shape[-1])
    return [frame.reshape(slab).astype(np.float32) for frame in frames], tmp_path / "small.geom"


def process(layer: Any, config: Path, frames: list[np.ndarray]) -> list[dict[str, Any]]:
    from om.lib.parameters import MonitorParameters

    monitor = layer(monitor_parameters=MonitorParameters(config=str(config)))
    monitor.initialize_processing_node(node_rank=1, node_pool_size=2)
    data = {"timestamp": 1.0, "event_id": "0", "beam_energy": 9500.0, "detector_distance": 100.0}
    return [
        monitor.process_data(node_rank=1, node_pool_size=2, data={**data, "detector_data": frame})[0]
        for frame in frames
    ]


def test_om_layer_finds_what_om_finds(om: Any, shots: Any, tmp_path: Path) -> None:
    frames, geometry = shots
    from om.processing_layer.crystallography import CrystallographyProcessing

    config = monitor_file(tmp_path, geometry, THRESHOLDS)
    theirs = process(CrystallographyProcessing, config, frames)
    ours = process(om.CrystallographyProcessing, config, frames)
    assert sum(result["peak_list"]["num_peaks"] for result in theirs) > 30
    for found, expected in zip(ours, theirs, strict=True):
        assert found["frame_is_hit"] == expected["frame_is_hit"]
        assert found["peak_list"]["num_peaks"] == expected["peak_list"]["num_peaks"]
        # Under "snr" OM 23.8 hands out the noise: a slip of an index that ours does not repeat
        for name in ("fs", "ss", "intensity", "num_pixels", "max_pixel_intensity"):
            np.testing.assert_allclose(found["peak_list"][name], expected["peak_list"][name], rtol=1e-4, atol=1e-3)


def test_om_layer_needs_no_thresholds_with_a_model(
    om: Any, shots: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, geometry = shots
    monkeypatch.setenv("PEAKRT_MODE", "model")
    results = process(om.CrystallographyProcessing, monitor_file(tmp_path, geometry, ""), frames)
    assert all(result["peak_list"]["num_peaks"] > 5 for result in results)
    monkeypatch.setenv("PEAKRT_MODE", "compat")
    with pytest.raises(ValueError, match="lacks"):
        process(om.CrystallographyProcessing, monitor_file(tmp_path, geometry, ""), frames)


def test_om_takes_our_layers_by_the_names_of_its_own(om: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = importlib.import_module("om.processing_layer")
    from om.lib.layer_management import import_class_from_layer

    for name in ("CrystallographyProcessing", "CheetahProcessing"):
        monkeypatch.setattr(theirs, name, getattr(theirs, name))  # put back afterwards
    om.install()
    for name in ("CrystallographyProcessing", "CheetahProcessing"):
        found = import_class_from_layer(layer_name="processing_layer", class_name=name)
        assert found is getattr(om, name)


def test_om_class_has_the_methods_of_oms(om: Any) -> None:
    from om.algorithms.crystallography import Peakfinder8PeakDetection as Theirs

    from peakrt_plugin.om import Peakfinder8PeakDetection as Ours

    public = {name for name in dir(Theirs) if not name.startswith("_")}
    assert len(public) == 19
    assert public == {name for name in dir(Ours) if not name.startswith("_")}
    for name in public | {"__init__"}:
        theirs, ours = (inspect.signature(getattr(cls, name)).parameters for cls in (Theirs, Ours))
        for parameter in theirs.values():
            assert ours[parameter.name].kind == parameter.kind, f"{name}({parameter.name})"
        more = [parameter for parameter in ours.values() if parameter.name not in theirs]
        assert all(parameter.default is not parameter.empty for parameter in more)


CHANGES = {
    "adc_thresh": 60.0, "minimum_snr": 9.0, "min_pixel_count": 4, "max_pixel_count": 8, "local_bg_radius": 5, "min_res": 40,
    "max_res": 100,
}  # fmt: skip


def test_om_class_is_tweaked_as_oms(om: Any, shots: Any, tmp_path: Path) -> None:
    """Each parameter that OM's tweaker sets changes the peaks as it changes OM's, and is given back."""
    from om.algorithms.crystallography import Peakfinder8PeakDetection as Theirs
    from om.lib.geometry import GeometryInformation

    from peakrt_plugin.om import Peakfinder8PeakDetection as Ours

    frames, path = shots
    geometry = GeometryInformation.from_file(geometry_filename=str(path))
    radius = geometry.get_pixel_maps()["radius"]
    given = {"name": "peakfinder8_peak_detection", **VALUES}
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["/data"] = (radius < 120).astype(np.int32)
    for extra in ({}, {"bad_pixel_map_filename": str(tmp_path / "bad.h5"), "bad_pixel_map_hdf5_path": "/data"}):
        pair = [
            cls(
                radius_pixel_map=radius.astype(np.float32),
                layout_info=geometry.get_layout_info(),
                crystallography_parameters={**given, **extra},
            )
            for cls in (Theirs, Ours)
        ]
        counts = [same_peaks(pair, frames)]
        for name, value in CHANGES.items():
            before = getattr(pair[0], f"get_{name}")()
            assert getattr(pair[1], f"get_{name}")() == before
            for changed in (value, before):
                for finder in pair:
                    getattr(finder, f"set_{name}")(**{name: changed})
                    assert getattr(finder, f"get_{name}")() == changed
                counts.append(same_peaks(pair, frames))
        assert min(counts) > 0
        assert len(set(counts)) > 4
    np.testing.assert_array_equal(pair[1].get_bad_pixel_map(), pair[0].get_bad_pixel_map())
    for finder in pair:
        finder.set_bad_pixel_map(None)
        finder.set_radius_pixel_map(radius / 2)
        finder.set_layout_info({"asic_nx": 128, "asic_ny": 128, "nasics_x": 2, "nasics_y": 2})
        finder.set_max_res(90)
    assert same_peaks(pair, frames) > 5


def same_peaks(pair: list[Any], frames: list[np.ndarray]) -> int:
    """Compare OM's finder and ours on frames: the number of peaks."""
    total = 0
    for frame in frames:
        expected, found = (finder.find_peaks(data=frame) for finder in pair)
        assert found["num_peaks"] == expected["num_peaks"]
        for name in ("fs", "ss", "intensity", "num_pixels", "max_pixel_intensity"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-3)
        total += found["num_peaks"]
    return total


MONITOR = """
om:
  parallelization_layer: MultiprocessingParallelization
  data_retrieval_layer: PilatusFilesDataRetrieval
  processing_layer: CheetahProcessing
data_retrieval_layer:
  required_data: [timestamp, event_id, beam_energy, detector_distance, detector_data]
  num_events_in_source: {events}
  fallback_beam_energy_in_eV: 9500
  fallback_detector_distance_in_mm: 100
crystallography:
  geometry_file: {geometry}
  geometry_is_optimized: true
  min_num_peaks_for_hit: 10
  max_num_peaks_for_hit: 5000
  speed_report_interval: 10
peakfinder8_peak_detection: {{{thresholds}}}
cheetah:
  processed_directory: {out}
  processed_filename_prefix: hits
  processed_filename_extension: h5
  status_file_update_interval: 100
  class_sums_sending_interval: 1
  class_sums_update_interval: 100
  write_class_sums: true
  class_sum_filename_prefix: sum
  hdf5_file_data_type: float32
  hdf5_file_max_num_peaks: 1024
  hdf5_fields: {{detector_data: /data/data, event_id: /data/event_id, peak_list: /entry_1/result_1}}
"""


@pytest.fixture
def om_python() -> str:
    """An interpreter that runs the whole of OM: with numpy below 2."""
    python = os.environ.get("PEAKRT_OM_PYTHON", "")
    if not python or shutil.which(python) is None:
        pytest.skip(
            "PEAKRT_OM_PYTHON names no interpreter with this PeakRT and OM: pip install 'numpy<2' ondamonitor==23.8.3"
        )
    return python


@pytest.mark.parametrize("mode", ["compat", "model"])
def test_oms_monitor_runs_with_our_finder(om_python: str, shots: Any, tmp_path: Path, mode: str) -> None:
    """OM's own monitor reads files and writes Cheetah's, once with its finder and once with ours."""
    frames, geometry = shots
    paths = [tmp_path / f"frame{k}.cbf" for k in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        fabio.cbfimage.CbfImage(data=np.rint(frame).astype(np.int32)).write(str(path))
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in paths))
    tables = []
    for name, module in (("theirs", "om.monitor"), ("ours", "peakrt_plugin.om_processing")):
        out = tmp_path / name
        out.mkdir()
        thresholds = THRESHOLDS if name == "theirs" or mode == "compat" else ""
        text = MONITOR.format(events=len(frames), geometry=geometry, thresholds=thresholds, out=out)
        (tmp_path / f"{name}.yaml").write_text(text)
        start = ["-m", module] if name == "ours" else ["-c", f"from {module} import main; main()"]
        done = subprocess.run(
            [om_python, *start, "-c", f"{name}.yaml", "-n", "2", "list.txt"], cwd=tmp_path, capture_output=True, text=True,
            timeout=200, check=False, env={**os.environ, "PEAKRT_MODE": mode},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        with h5py.File(out / "hits_1.h5") as file:
            assert file["/data/data"].shape == (len(frames), *frames[0].shape)
            tables.append(
                {name: file[f"/entry_1/result_1/{name}"][:] for name in ("nPeaks", "peakXPosRaw", "peakYPosRaw")}
            )
    theirs, ours = tables
    if mode == "compat":
        for name, values in theirs.items():
            np.testing.assert_allclose(ours[name], values, rtol=1e-5, atol=1e-3)
    else:
        assert (ours["nPeaks"] >= 0.8 * theirs["nPeaks"]).all()


# LUTE, which is in no registry: modules of its shape


@pytest.fixture
def lute(monkeypatch: pytest.MonkeyPatch) -> Any:
    def field(default: Any = ..., **options: Any) -> Any:
        return default

    class TaskParameters:
        def __init__(self, **values: Any) -> None:
            for name in self.__annotations__:
                setattr(self, name, getattr(type(self), name))
            for name, value in values.items():
                setattr(self, name, value)

    class Task:
        def __init__(self, *, params: Any, use_mpi: bool = False) -> None:
            self._task_parameters, self._result = params, types.SimpleNamespace(task_status="PENDING")

        def run(self) -> None:
            self._run()  # type: ignore[attr-defined]
            self._post_run()

        def _post_run(self) -> None:
            pass

    modules = {
        "lute": {}, "lute.io": {}, "lute.io.models": {}, "lute.tasks": {},
        "lute.io.models.base": {"TaskParameters": TaskParameters}, "lute.tasks.task": {"Task": Task},
        "lute.tasks.dataclasses": {"TaskStatus": types.SimpleNamespace(COMPLETED="COMPLETED")},
        "pydantic": {"Field": field},
    }  # fmt: skip
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules.pop("peakrt_plugin.lute", None)
    import peakrt_plugin.lute as task

    yield task
    sys.modules.pop("peakrt_plugin.lute", None)


def test_lute_task_writes_the_cxi(lute: Any, tmp_path: Path, run_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = types.SimpleNamespace(experiment="mfx100", run="7", work_dir=str(tmp_path))
    parameters = lute.FindPeaksPeakRTParameters(det_name="jungfrau", lute_config=config, min_peaks=5, n_events=4)
    command = lute.command_line(parameters)
    assert command[:2] == ["find", "exp=mfx100,run=7,events=4"]
    assert command[command.index("--detector") + 1] == "jungfrau"
    assert "--camera-length" not in command
    assert command[-1] == str(tmp_path / "mfx100_r0007_peakrt.cxi")
    # Where there is no psana, a file takes the run's place; all else is the task's own way.
    parameters.geometry = str(run_file.with_suffix(".geom"))
    from peakrt.cli import main

    def find_in_file(arguments: list[str]) -> int:
        where = arguments.index("--detector")
        return main(["find", str(run_file), *arguments[2:where], *arguments[where + 2 :]])

    monkeypatch.setattr(lute, "main", find_in_file)
    task = lute.FindPeaksPeakRT(params=parameters)
    task.run()
    assert task._result.task_status == "COMPLETED"
    with h5py.File(tmp_path / "mfx100_r0007_peakrt.cxi") as file:
        assert file["/entry_1/result_1/nPeaks"].shape[0] > 0
    assert Path(task._result.payload).exists()
    with pytest.raises(RuntimeError, match="failed"):  # the file is there already
        lute.FindPeaksPeakRT(params=parameters).run()


# The examples of docs/hosts.md, as they stand there


def example(heading: str) -> str:
    """The code under a heading of docs/hosts.md."""
    text = (Path(__file__).parents[1] / "docs/hosts.md").read_text(encoding="utf-8")
    return text.split(f"\n## {heading}\n")[1].split("```python\n")[1].split("```")[0]


def test_example_of_psana1(capsys: pytest.CaptureFixture[str]) -> None:
    exec(example("psana1: PyAlgos"), {})
    assert "(1, 17) [ 3. 50. 60.]" in capsys.readouterr().out.replace("51.", "50.").replace("61.", "60.")


def test_example_of_om(capsys: pytest.CaptureFixture[str]) -> None:
    exec(example("OM"), {})
    assert capsys.readouterr().out == "1\n"


def test_example_of_extra_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = pytest.importorskip("extra_data.tests.make_examples", reason="needs EXtra-data")
    examples.make_agipd1m_run(str(tmp_path))
    code = example("European XFEL, through EXtra-data")
    exec(code.replace("/gpfs/exfel/exp/SPB/202601/p900000/raw/r0012", str(tmp_path)), {})
    assert "//10000.0 0" in capsys.readouterr().out


@pytest.mark.psana
def test_examples_of_psana2(tmp_path: Path, psana_python: str) -> None:
    """Both of psana2's, on a run that the example of examples/psana2 writes, alone and without a network."""
    write = Path(__file__).parents[1] / "examples/psana2/write_run.py"
    subprocess.run([psana_python, str(write), "run", "4"], cwd=tmp_path, check=True, capture_output=True)
    job = example("psana2: a job that keeps its loop").replace(
        'exp="mfx100", run=7', 'exp="mfxpeakrt", run=7, dir="run", skip_calib_load="all"'
    )
    job = (
        "from psana.psexp.ds_base import DataSourceBase\nDataSourceBase._get_file_info_from_db = lambda s, r: {}\n"
        + job
    )
    # Raw ADU: without a calibration service there are no constants
    job = job.replace("raw.calib(event)", "raw.raw(event)").replace("detector.raw._mask()", "None")
    source = example("psana2: a run as a source").replace("exp=mfx100,run=7", "exp=mfxpeakrt,run=7,dir=run,calib=none")
    for code, expected in ((job, "("), (source, "9500.0")):
        done = subprocess.run(
            [psana_python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == 4
        assert all(expected in line for line in lines)
