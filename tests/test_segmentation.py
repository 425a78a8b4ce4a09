"""The segmentation model: its finder, automatic masks, training, exports, and processes that share a training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from peakrt import PEAK, PeakFinder
from peakrt.cli import main
from peakrt.config import SegmentationConfig
from peakrt.cxi.reader import SlabPeaks
from peakrt.finders.components import label, label_asics
from peakrt.finders.proposer import SEGMENTATION_CHANNELS, Proposer
from peakrt.finders.segmentation import PEAK_CLASS
from peakrt.models.engine_onnx import OnnxEngine
from peakrt.models.model_file import load_model
from peakrt_geometry import load_detector
from peakrt_lab.calibration import calibration_error
from peakrt_lab.cli import main as lab_main
from peakrt_lab.compare import compare, slab_peaks
from peakrt_lab.rivals import find_rivals
from peakrt_lab.segmentation_data import THRESHOLDS
from peakrt_lab.simulate import RESPONSES, Scene, Simulator


def truth_of(event: Any, n_ss: int) -> SlabPeaks:
    peaks = event.peaks
    return SlabPeaks(
        peaks["ss"] + peaks["panel"] * float(n_ss), *(peaks[n].astype(float) for n in ("fs", "photons", "snr"))
    )


@pytest.fixture(scope="module")
def rings() -> tuple[Simulator, list[Any]]:
    scene = Scene(hit_fraction=1.0, ice=1.0, jet=1.0, photons=(1000.0, 5000.0))
    simulator = Simulator(load_detector("jungfrau1m"), scene, RESPONSES["jungfrau1m"], seed=11)
    return simulator, [simulator.event(k, artifacts=True) for k in range(3)]


def test_asking_for_artifacts_changes_no_frame(rings: Any) -> None:
    simulator, events = rings
    for number, event in enumerate(events):
        again = simulator.event(number)
        np.testing.assert_array_equal(again.frame, event.frame)
        assert again.artifacts is None
        assert 0 < event.artifacts.mean() < 0.5


def test_inputs_are_heights_levels_and_good_pixels() -> None:
    rng = np.random.default_rng(0)
    frame = rng.poisson(20, (1, 64, 64)).astype(np.float32) * 10
    frame[0, 5, 5], frame[0, 6, 6] = np.nan, 3000
    good = np.ones(frame.shape, bool)
    good[0, 10] = False
    proposer = Proposer(good)
    inputs = proposer.segmentation_inputs(frame, 10.0)
    assert inputs.shape == (1, SEGMENTATION_CHANNELS, 64, 64)
    height, level, counts = inputs[0]
    np.testing.assert_array_equal(counts == 1, good[0] & np.isfinite(frame[0]))
    assert not height[counts == 0].any()
    tables, bins = proposer.noise, proposer.plan_arrays()["bin"].reshape(64, 64)
    z = (frame[0] - tables["mean"][bins]) * tables["inverse"][bins]
    expected = np.where(counts == 1, 0.5 * np.sign(z) * np.log1p(np.abs(z)), 0)
    np.testing.assert_allclose(height, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(level[20], 0.2 * np.log(tables["photons"][bins[20]]), rtol=1e-5)


def test_components_end_at_an_asic() -> None:
    foreground = np.zeros((1, 20, 20), bool)
    foreground[0, 8:12, 3:6] = True
    asics = np.array([(0, 0, 10, 0, 20), (0, 10, 20, 0, 20)], np.int32)
    labels, n = label_asics(foreground, asics)
    assert (n, label(foreground)[1]) == (2, 1)
    assert set(labels[0, 8:10, 3:6].ravel()) == {1}
    assert set(labels[0, 10:12, 3:6].ravel()) == {2}
    assert label_asics(foreground & False, asics)[1] == 0


def test_shipped_student_finds_peaks_and_leaves_rings(rings: Any) -> None:
    simulator, events = rings
    finder = PeakFinder(SegmentationConfig(), geometry=simulator.detector, mask=simulator.good)
    n_ss = simulator.detector.shape[1]
    found = {k: slab_peaks(finder(event.frame), n_ss) for k, event in enumerate(events)}
    reached = compare({k: truth_of(event, n_ss) for k, event in enumerate(events)}, found, min_snr=5.0)
    assert reached.f1 > 0.6
    peaks = finder(events[0].frame)
    assert ((peaks["score"] > 0) & (peaks["score"] <= 1)).all()
    assert np.isfinite(peaks["err_ss"]).all()
    many = PeakFinder(SegmentationConfig(min_score=0.2), geometry=simulator.detector, mask=simulator.good)
    assert len(many(events[0].frame)) >= len(peaks)


def test_automatic_mask_covers_artifacts_and_spares_peaks(rings: Any) -> None:
    simulator, events = rings
    finder = PeakFinder(geometry=simulator.detector, mask=simulator.good)
    covered = spared = 0.0
    for event in events:
        mask = finder.artifacts(event.frame)
        assert mask.shape == event.frame.shape
        covered += mask[event.artifacts & simulator.good].mean() / len(events)
        clear = event.peaks[event.peaks["snr"] > 8]
        at = (clear["panel"], np.rint(clear["ss"]).astype(int), np.rint(clear["fs"]).astype(int))
        spared += (~mask[at]).mean() / len(events)
        assert mask[~event.artifacts].mean() < 0.02
    assert covered > 0.4
    assert spared > 0.8


def test_precisions_agree(rings: Any) -> None:
    simulator, events = rings
    proposer = Proposer(simulator.good, simulator.detector.radius, asics=simulator.detector.asics)
    inputs = proposer.segmentation_inputs(events[0].frame, simulator.gain)[:, :, :256, :256]
    answers = {
        name: OnnxEngine(load_model(name, "segmentation"))(inputs)
        for name in ("segmentation", "segmentation-fp16", "segmentation-int8")
    }
    np.testing.assert_allclose(answers["segmentation"].sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(answers["segmentation-fp16"], answers["segmentation"], atol=0.02)
    assert (answers["segmentation-int8"].argmax(1) == answers["segmentation"].argmax(1)).mean() > 0.99
    for name in answers:
        model = load_model(name, None)
        assert model.kind == "segmentation"
        assert len(model.content) < 1 << 20
        assert model.provenance["held_out_pixels"]["student"]
        assert model.threshold in THRESHOLDS


def test_a_candidate_model_is_no_segmentation_model() -> None:
    with pytest.raises(ValueError, match="is a segmentation model of version 1; wanted is a candidate"):
        load_model("segmentation")
    with pytest.raises(ValueError, match="wanted is a segmentation"):
        PeakFinder(SegmentationConfig(model="default"))


def test_a_folder_of_a_models_name_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dense").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_model("dense", "segmentation").kind == "segmentation"  # the name it had
    with pytest.raises(FileNotFoundError, match="neither a file nor one of default"):
        load_model("other")


def test_find_writes_masks_and_segmentation_peaks(run_file: Path, tmp_path: Path) -> None:
    common = ["-g", str(run_file.with_suffix(".geom")), "-n", "4", "--events", "all"]
    out = tmp_path / "out.cxi"
    assert (
        main(["find", str(run_file), *common, "--finder", "segmentation", "--mask-out", "artifacts", "-o", str(out)])
        == 0
    )
    with h5py.File(out) as file:
        masks, images = file["/entry_1/data_1/artifacts"], file["/entry_1/data_1/data"]
        assert masks.shape == images.shape
        assert set(np.unique(masks[:])) <= {0, 1}
        assert file["/entry_1/result_1/nPeaks"][:].max() > 0
        assert json.loads(file["/peakrt"].attrs["run"])["finder"] == "segmentation"
    assert main(["find", str(run_file), *common, "--mask-out", "all", "-o", str(tmp_path / "no.cxi")]) == 1


@pytest.mark.timeout(1800)  # it trains teacher and model, which a busy machine takes ten minutes for
def test_segmentation_training_from_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("lightgbm")
    arguments = [
        "train", "--segmentation", "-o", str(tmp_path / "m.onnx"), "--work", str(tmp_path / "work"), "-n", "100", "--steps", "3",
        "--teacher-steps", "2", "--rival-steps", "2", "-j", "2",
    ]  # fmt: skip
    assert lab_main(arguments) == 0
    assert "threshold" in capsys.readouterr().out
    rivals = {rival.name: rival for rival in find_rivals([tmp_path / "work"])}
    assert set(rivals) == {"segmentation teacher (2025 paper's)", "2023 paper's network"}
    for rival in rivals.values():
        shares = rival.engine(np.random.default_rng(0).normal(size=(2, 3, 50, 70)).astype(np.float32))
        assert shares.shape == (2, 3, 50, 70)
        np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert rivals["2023 paper's network"].config.min_score in THRESHOLDS
    for name in ("m", "m-fp16", "m-int8"):
        model = load_model(str(tmp_path / f"{name}.onnx"), "segmentation")
        assert model.provenance["config"]["scenes"] == 100
        assert len(model.provenance["held_out_f1_by_threshold"]) == len(THRESHOLDS)
    assert (tmp_path / "m.png").stat().st_size > 10000
    before = (tmp_path / "work/student.pt").stat().st_mtime_ns
    assert lab_main(arguments) == 0  # all is there already
    assert (tmp_path / "work/student.pt").stat().st_mtime_ns == before
    assert lab_main([*arguments, "--seed", "5"]) == 1
    assert "another configuration" in capsys.readouterr().err
    assert lab_main([*arguments[:-2], "-n", "70"]) == 1
    assert "multiples of 50" in capsys.readouterr().err


def test_scores_of_the_segmentation_student_become_shares_of_true_peaks() -> None:
    torch = pytest.importorskip("torch")
    from peakrt_lab.segmentation_network import SegmentationStudent
    from peakrt_lab.train_segmentation import calibrate

    torch.manual_seed(0)
    student = SegmentationStudent(8).eval()
    with torch.no_grad():
        student.head.weight.mul_(500)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(1, 3, 800, 800)).astype(np.float32)

    class HeldOut:
        """Peaks eight pixels apart, true as often as a line over their first logits says."""

        truth: dict[int, SlabPeaks] = {}  # noqa: RUF012

        def find(self, engine: Any, thresholds: list[float]) -> dict[float, dict[int, np.ndarray]]:
            peaks = np.zeros((100, 100), PEAK)
            peaks["ss"], peaks["fs"] = 8 * np.indices(peaks.shape)
            peaks["score"] = engine(inputs)[0, PEAK_CLASS, ::8, ::8]
            return {thresholds[0]: {0: peaks.ravel()}}

        def in_slab(self, found: dict[int, np.ndarray]) -> dict[int, SlabPeaks]:
            return {k: SlabPeaks(*(p[n].astype(float) for n in ("ss", "fs", "score", "snr"))) for k, p in found.items()}

    def engine(inputs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return torch.softmax(student(torch.from_numpy(inputs)), 1).numpy()

    held_out = HeldOut()
    first = held_out.in_slab(held_out.find(engine, [0.0])[0.0])[0]
    logit = np.log(first.intensity / (1 - first.intensity))
    assert logit.std() > 0.5
    true = rng.random(len(logit)) < 1 / (1 + np.exp(-1 - 0.4 * logit))
    held_out.truth = {0: first.only(true)}
    assert calibration_error(first.intensity, true) > 0.1
    calibrate(student, held_out)  # type: ignore[arg-type]
    after = held_out.find(engine, [0.0])[0.0][0]["score"]
    assert calibration_error(after, true) < 0.03
    shares = [true[(after > low) & (after <= low + 0.2)].mean() for low in (0.2, 0.4, 0.6)]
    assert shares == sorted(shares)


PROGRAM = """
import sys, numpy as np, torch
from peakrt_lab.segmentation_network import SegmentationStudent, SegmentationTraining, fit, process_group, teacher_loss, whole_state
from peakrt_lab.segmentation_data import Crops
torch.manual_seed(1); torch.set_num_threads(1)
rng = np.random.default_rng(0)
crops = Crops(rng.normal(size=(12, 3, 32, 32)).astype(np.float16), rng.integers(-1, 3, (12, 32, 32)).astype(np.int8))
config = SegmentationTraining(batch=4, warm_up=1, parallel=sys.argv[1])
student = SegmentationStudent(8)
for norm in student.norms: norm.momentum = 0.0  # each process has statistics of its own share
student.norms.apply(lambda m: setattr(m, "track_running_stats", True))
from pathlib import Path
with process_group() as (rank, size):
    losses = fit(student.train(), teacher_loss, crops, config, steps=3, state=Path(sys.argv[2]), rank=rank, size=size)
    assert torch.load(sys.argv[2], weights_only=True)["step"] == 3  # of every process, as a teacher's is
"""


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_processes_share_a_training(tmp_path: Path, parallel: str) -> None:
    """Two processes leave a state that one can load, and weights near those of one process on the same batches."""
    torch = pytest.importorskip("torch")
    (tmp_path / "program.py").write_text(PROGRAM)
    states = []
    for size in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size), "--master-port", "0"]
        command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
        done = subprocess.run(
            [*command, str(tmp_path / "program.py"), parallel, str(tmp_path / f"{size}.pt")], capture_output=True,
            text=True, check=False, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        states.append(torch.load(tmp_path / f"{size}.pt", weights_only=True))
    one, two = (state["model"] for state in states)
    assert one.keys() == two.keys()
    assert states[0]["step"] == states[1]["step"] == 3
    for name, value in one.items():
        assert two[name].shape == value.shape
        if value.dtype.is_floating_point:
            # Batch statistics are of half a batch each: near, not equal.
            assert (two[name] - value).abs().max() < 0.02, name
