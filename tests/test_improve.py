"""The data engine: what teaches, what is kept, and that every step is done once whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install '.[train]'")
pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("lightgbm", reason="needs LightGBM")

import h5py

import peakrt_lab.cli
from peakrt.cxi.reader import SlabPeaks
from peakrt.models.model_file import Model, load_model
from peakrt.sources import open_source
from peakrt_geometry import load_detector, read_geom
from peakrt_lab.adapt import AdaptConfig
from peakrt_lab.compare import cxi_numbers
from peakrt_lab.curate import CLASSES, Classes, spread
from peakrt_lab.evaluate import INDEXERS
from peakrt_lab.improve import HOLD_OUT, ImproveConfig, Improvement, Judged, TooFewPatterns, decide
from peakrt_lab.improve_summary import write_summary
from peakrt_lab.simulate import Scene, Simulator
from peakrt_lab.truth import Truth, write_run

QUICK = AdaptConfig(steps=60, replay_scenes=10)


def simulate(path: Path, events: int, hit_fraction: float) -> Path:
    """Crystals behind strong rings."""
    scene = Scene(hit_fraction=hit_fraction, photons=(500.0, 5000.0), background=(1.0, 10.0), ice=1.0, salt=1.0)
    simulator = Simulator(
        load_detector("jungfrau1m"), scene, cell=(79.1, 79.1, 38.4, 90.0, 90.0, 90.0), space_group="P 43 21 2", seed=8
    )
    write_run(path, simulator, (simulator.event(number) for number in range(events)))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("run") / "run.cxi", 24, 0.8)


class Indexer:
    """Stands in for an indexing program: gives each event with enough peaks the crystal that was simulated."""

    def __init__(self, run: Path) -> None:
        self.truth, self.calls = Truth(run), 0
        self.panel = read_geom(run.with_suffix(".geom")).panels[0].name

    def __call__(self, cxi: Path, geometry: Path, results: Path, *, cell: Path, processes: int, min_peaks: int) -> None:
        self.calls += 1
        with h5py.File(cxi) as file:
            counts = file["/entry_1/result_1/nPeaks"][:]
        lines = []
        for row, event in enumerate(cxi_numbers(cxi)):
            crystal, peaks = None, self.truth.event_peaks(event)
            if counts[row] >= min_peaks and self.truth.hit[event]:
                strong = peaks[peaks["snr"] > 2]
                crystal = {
                    "reciprocal": self.truth.event_lattices(event)[0].tolist(), "cell": list(self.truth.cell or ()),
                    "ss": strong["ss"].tolist(), "fs": strong["fs"].tolist(), "panel": [self.panel] * len(strong),
                }  # fmt: skip
            nothing = {"ss": [], "fs": [], "intensity": [], "panel": []}
            lines.append(json.dumps({"file": str(cxi.resolve()), "event": f"//{row}", **nothing, "crystal": crystal}))
        results.write_text("\n".join(lines) + "\n")


@pytest.fixture
def indexer(run: Path, monkeypatch: pytest.MonkeyPatch) -> Indexer:
    stand_in = Indexer(run)
    monkeypatch.setitem(INDEXERS, "dials", (stand_in, ".jsonl"))
    return stand_in


def improvement(run: Path, folder: Path, **changes: object) -> Improvement:
    config = replace(ImproveConfig(run.with_suffix(".cell"), "dials", rounds=2, adapt=QUICK), **changes)  # type: ignore[arg-type]
    source = open_source([str(run)], read_geom(run.with_suffix(".geom")))
    return Improvement(source, folder, config, processes=1, say=lambda text: None)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that a finished work leaves, by its place; of streams not the line with the command, a passing name in it."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in [name for name in found if name.endswith(".stream")]:
        found[name] = b"\n".join(line for line in found[name].split(b"\n") if b"indexamajig" not in line)
    return found


def test_two_rounds_leave_a_model_that_says_where_it_comes_from(run: Path, indexer: Indexer, tmp_path: Path) -> None:
    with improvement(run, tmp_path / "work") as work:
        reports = work.run()
        lines = write_summary(work, reports)
    assert reports[0]["kept"], reports
    assert reports[0]["new"]["f1"] > reports[0]["old"]["f1"]
    assert reports[0]["new"]["indexed"] >= reports[0]["old"]["indexed"]
    assert indexer.calls == 1 + sum(report["training"]["written"] for report in reports)
    best = max(report["round"] for report in reports if report["kept"])
    model = load_model(str(tmp_path / "work/model.onnx"))
    assert model.content == (tmp_path / f"work/round-{best}/model.onnx").read_bytes()
    record = model.provenance["improved"]
    assert record == json.loads((tmp_path / "work/model.json").read_text())
    assert record["round"] == best
    given = load_model("default").digest
    first = record
    while first["before"]:
        assert first["labelled_by"] != given
        first = first["before"]
    assert (first["labelled_by"], first["from"], record["from"]) == (given, given, given)
    assert len(record["events"]) >= 4
    assert all(event % HOLD_OUT and indexer.truth.hit[event] for event in record["events"])
    assert record["inputs"][0][0] == str(run.absolute())
    assert len(lines) == 2 + 1 + len(reports)
    assert (tmp_path / "work/summary.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_done_is_not_done_again_and_more_rounds_can_follow(run: Path, indexer: Indexer, tmp_path: Path) -> None:
    with improvement(run, tmp_path, rounds=1) as work:
        first = work.run()
    before, calls = contents(tmp_path), indexer.calls
    with improvement(run, tmp_path, rounds=1) as work:
        assert work.run() == first
    assert indexer.calls == calls
    assert contents(tmp_path) == before
    # A step whose result is gone is done again, from those before it, to the same end.
    for name in ("report.json", "peaks.jsonl"):
        (tmp_path / "round-1" / name).unlink()
    with improvement(run, tmp_path, rounds=1) as work:
        assert work.run() == first
    assert indexer.calls == calls + 1
    assert contents(tmp_path) == before
    with improvement(run, tmp_path, rounds=2) as work:
        assert work.run()[0] == first[0]


def test_an_indexer_that_fails_is_asked_again(run: Path, indexer: Indexer, tmp_path: Path, monkeypatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("indexing failed")

    with monkeypatch.context() as patched:
        patched.setitem(INDEXERS, "dials", (broken, ".jsonl"))
        with improvement(run, tmp_path, rounds=1) as work, pytest.raises(RuntimeError, match="indexing failed"):
            work.run()
    found = (tmp_path / "round-0/peaks.cxi").stat()
    with improvement(run, tmp_path, rounds=1) as work:
        assert work.run()
    assert (tmp_path / "round-0/peaks.cxi").stat() == found


def test_a_folder_keeps_to_one_experiment(run: Path, indexer: Indexer, tmp_path: Path) -> None:
    with improvement(run, tmp_path), pytest.raises(FileExistsError, match="is being written by process"):
        improvement(run, tmp_path)
    with pytest.raises(ValueError, match="another configuration: remove it or choose another folder"):
        improvement(run, tmp_path, min_peaks=20)


def test_frames_that_do_not_index_teach_nothing(run: Path, indexer: Indexer, tmp_path: Path) -> None:
    indexer.truth.hit[:] = False
    with improvement(run, tmp_path) as work, pytest.raises(ValueError, match="0 of 0 indexed patterns can teach"):
        work.run()


def test_a_later_round_with_too_few_patterns_ends_the_work_in_order(
    run: Path, indexer: Indexer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the rounds before brought is summed up."""
    teach = Improvement._teach

    def few(self: Improvement, number: int, model: Model) -> dict[str, Any]:
        if number == 2:
            raise TooFewPatterns("3 of 9 indexed patterns can teach")
        return teach(self, number, model)

    monkeypatch.setattr(Improvement, "_teach", few)
    monkeypatch.setattr("peakrt_lab.improve.decide", lambda *_: (True, "it is better"))
    said: list[str] = []
    with improvement(run, tmp_path) as work:
        monkeypatch.setattr(work, "_say", said.append)
        reports = work.run()
        lines = write_summary(work, reports)
    assert [report["round"] for report in reports] == [1]
    assert said[-1] == "round 2: not begun: 3 of 9 indexed patterns can teach"
    assert len(lines) == 4


def test_a_model_that_loses_crystals_or_agreement_is_not_kept() -> None:
    old = Judged(0.9, 0.8, 0.85, 1000, 50, 100, 1.0)
    assert decide(old, replace(old, f1=0.86), 0, 0)[0]
    assert decide(old, replace(old, f1=0.86), 2, 4)[0]  # by chance
    assert decide(old, replace(old, f1=0.847), 9, 1)[0]
    for new, gained, lost in ((replace(old, f1=0.9), 1, 9), (replace(old, f1=0.82), 9, 1), (old, 0, 0)):
        kept, why = decide(old, new, gained, lost)
        assert not kept
        assert "F1" in why or "fewer events" in why


def test_patterns_are_chosen_for_what_they_add() -> None:
    counts = np.zeros((5, 4), int)
    counts[0, 0], counts[1, 0], counts[2, 1], counts[3, 2], counts[4, 3] = 100, 90, 20, 10, 5
    assert spread(counts, 4).tolist() == [0, 2, 1, 3]
    assert sorted(spread(counts, 9)) == [0, 1, 2, 3, 4]


def test_classes_tell_resolution_brightness_and_place() -> None:
    detector = load_detector("jungfrau1m")
    rng = np.random.default_rng(3)
    n = 4000
    ss, fs = rng.uniform(0, detector.shape[1] - 1, n), rng.uniform(0, detector.shape[2] - 1, n)
    counts = Classes.of(detector).count(SlabPeaks(ss, fs, np.ones(n), np.exp(rng.uniform(1, 4, n))))
    assert counts.sum() == n
    assert len(counts) == CLASSES
    assert (counts > 0).sum() > 36
    one = Classes.of(detector).count(SlabPeaks(ss[:1], fs[:1], np.ones(1), np.full(1, np.nan)))
    assert one.sum() == 1


@pytest.mark.crystfel
def test_work_with_crystfel_survives_kills(tmp_path: Path) -> None:
    """Killed at random moments and started again, it ends with what an undisturbed one leaves, byte for byte."""
    script = (
        "import sys; from pathlib import Path; from peakrt.sources import open_source\n"
        "from peakrt_geometry import read_geom; from peakrt_lab.adapt import AdaptConfig\n"
        "from peakrt_lab.improve import ImproveConfig, Improvement\n"
        "run, folder = Path(sys.argv[1]), Path(sys.argv[2])\n"
        f"config = ImproveConfig(run.with_suffix('.cell'), rounds=1, adapt=AdaptConfig(steps={QUICK.steps}, replay_scenes=10))\n"
        "source = open_source([str(run)], read_geom(run.with_suffix('.geom')))\n"
        "with Improvement(source, folder, config, processes=1, say=print) as work: work.run()\n"
    )
    run, work = simulate(tmp_path / "run.cxi", 9, 1.0), tmp_path / "work"
    call = [sys.executable, "-c", script, str(run)]
    began = time.monotonic()
    subprocess.run([*call, str(work)], check=True, capture_output=True)
    took = time.monotonic() - began
    whole = contents(work)
    assert "model.onnx" in whole
    work.rename(tmp_path / "whole")
    rng = np.random.default_rng()
    for _ in range(2):
        process = subprocess.Popen([*call, str(work)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(float(rng.uniform(0.2, 0.9)) * took)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([*call, str(work)], check=True, capture_output=True)
    again = contents(work)
    same = {name for name in whole if not name.endswith((".cxi", ".h5"))}  # HDF5 notes when it was written
    assert {name: again[name] for name in same} == {name: whole[name] for name in same}
    running = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in running
    assert not [name for name in again if "inprogress" in name or "started" in name or "indexing-" in name]


def test_the_command_refuses_in_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = str(run.with_suffix(".cell"))
    for arguments, message in (
        (["-p", cell, "-o", str(tmp_path / "none/work")], "does not exist"),
        (["-p", str(tmp_path / "no.cell"), "-o", str(tmp_path / "work")], "no.cell does not exist"),
        (["-p", cell, "-o", str(tmp_path / "work"), "--rounds", "0"], "--rounds is 0"),
        (["-p", cell, "-o", str(tmp_path / "work"), "--gain", "-1"], "--gain is -1.0"),
        (["-p", cell, "-o", str(run)], "is a file"),
        (["-p", str(run.with_suffix(".geom")), "-o", str(tmp_path / "work")], "unit cell"),
    ):
        status = peakrt_lab.cli.main(["improve", str(run), "-g", str(run.with_suffix(".geom")), *arguments])
        said = capsys.readouterr().err
        assert (status, said.count("\n")) == (1, 1)
        assert message in said
    assert not (tmp_path / "work").exists()
