"""The benchmark of benchmarks/cheetah: killed and gone on with, its tables are those of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cheetah.document import readme_table, verdict
from benchmarks.cheetah.index import CHUNK, Outcome, Result, Results
from benchmarks.cheetah.loop import Extent, alone, estimate, missing_work
from benchmarks.cheetah.merge import SHELLS, compare_hkl, indexed_frames, join, on_common, stream_median, write_truth
from benchmarks.cheetah.recipe import Recipe, Run
from benchmarks.cheetah.table import half_of_all, summarize_run, table
from benchmarks.indexing import CELL, SPACE_GROUP
from peakrt_lab.truth import write_cell

from . import peers
from .conftest import SMALL_GEOM

ROOT = Path(__file__).resolve().parents[1]
FRAMES = 8
CHOSEN = ("candidate", "pf8", "pf8-tuned", "crystfel-tuned")


def command(what: str, folder: Path, geometry: Path, *more: str) -> list[str]:
    options = ["--detectors", str(geometry), "--block", "4", "--tune", "2", "--photons", "20000", "60000"]
    finders = ["--finders", *CHOSEN] if what == "run" else []
    return [sys.executable, "-m", "benchmarks.cheetah", what, str(folder), "-n", str(FRAMES), *options, *finders, *more]


def benchmark(what: str, folder: Path, geometry: Path, *more: str) -> str:
    done = subprocess.run(command(what, folder, geometry, *more), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tables(summary: Path) -> Any:
    """All but times."""
    found = json.loads(summary.read_text())
    for run in found["runs"]:
        for row in run["rows"].values():
            for name in ("wall_min", "cpu_min", "index_cpu_min"):
                del row[name]
    return found


def results(run: Path) -> int:
    return sum(len(list((run / finder).glob("*.json"))) for finder in CHOSEN)


@pytest.fixture
def geometry(tmp_path: Path) -> Path:
    path = tmp_path / "small.geom"
    path.write_text(SMALL_GEOM)
    return path


@pytest.mark.crystfel
def test_killed_and_gone_on_with_it_gives_the_same_tables(tmp_path: Path, geometry: Path) -> None:
    said = benchmark("run", tmp_path / "undisturbed", geometry)
    assert "hours of one core are left" in said
    benchmark("report", tmp_path / "undisturbed", geometry, "-o", str(tmp_path / "one"))

    killed = 0
    for wanted in (1, 3, 6):  # results that are there when it is killed, of 2 blocks of 4 finders
        process = subprocess.Popen(
            command("run", tmp_path / "killed", geometry), cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
        )
        while process.poll() is None and results(tmp_path / "killed" / "small") < wanted:
            time.sleep(0.02)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed
    benchmark("run", tmp_path / "killed", geometry)
    benchmark("report", tmp_path / "killed", geometry, "-o", str(tmp_path / "two"))

    assert tables(tmp_path / "one.json") == tables(tmp_path / "two.json")
    rows = tables(tmp_path / "one.json")["runs"][0]["rows"]
    assert set(rows) == set(CHOSEN)
    assert all(row["images"] == FRAMES for row in rows.values())
    assert rows["candidate"]["indexed"] > 0
    assert not list((tmp_path / "killed" / "small").glob("frames-*"))  # frames are not kept
    assert (tmp_path / "one.md").read_text().count("| PeakRT, candidate |") == 1


def outcome(event: int, *, peaks: int = 20, indexed: bool = True, right: bool = True, true: bool = True) -> Outcome:
    cell = [79.1, 79.1, 38.4, 90.0, 90.0, 90.0] if indexed else None
    return Outcome(event, true, peaks, f"key {event}", cell, 0.02 if indexed and right else None)


@pytest.fixture
def run(tmp_path: Path, geometry: Path) -> Run:
    """Six frames of which the first four hold crystals; the candidate finder and peakfinder8 were run."""
    run = Run(Recipe(block=6, tune=2), str(geometry), tmp_path / "small")
    (run.folder / "truth").mkdir(parents=True)
    note = {"hit": [True] * 4 + [False] * 2, "visible": [12, 30, 40, 60, 0, 0]}
    (run.folder / "truth" / "000000-000006.json").write_text(json.dumps(note))
    ours = [outcome(0, peaks=14), outcome(1, peaks=15), outcome(2), outcome(3)]  # 14 are no hit
    theirs = [
        outcome(0),
        outcome(1),
        outcome(2, right=False),
        outcome(3, indexed=False),
        outcome(4, indexed=False, true=False),
    ]
    for name, hits in (("candidate", ours), ("pf8", theirs)):
        Results(run.folder / name).write(Result(0, 6, 60.0, 30.0, 1, 5.0, hits), "head\n")
    return run


def test_rows_count_what_came_of_the_hits(run: Run) -> None:
    rows = summarize_run(run)["rows"]
    assert set(rows) == {"candidate", "pf8"}
    assert [rows[name]["offered"] for name in rows] == [4, 5]
    assert [rows[name]["right_offered"] for name in rows] == [4, 2]
    names = ("images", "crystals", "hits", "indexed", "wrong", "false_hits", "wall_min", "cpu_min")
    assert [rows["candidate"][name] for name in names] == [6, 4, 3, 3, 0, 0, 1.0, 0.5]
    assert [rows["pf8"][name] for name in names] == [6, 4, 5, 3, 1, 1, 1.0, 0.5]
    # Rightly indexed by the candidate finder alone: 2 and 3; by peakfinder8 alone: 0
    behind = rows["pf8"]["behind"]
    assert (behind["only_ours"], behind["only_theirs"]) == (2, 1)
    assert behind["frames"] == 6
    differences = np.array([-1, 0, 1, 1, 0, 0])
    assert behind["points"] == pytest.approx(differences.mean())
    assert behind["error"] == pytest.approx(differences.std() / np.sqrt(6))
    assert rows["candidate"]["by_visible"] == [(0, 0), (1, 0), (0, 0), (0, 0), (2, 2), (1, 1), (0, 0)]
    lines = table({"rows": rows}, {"om": "not run: no Python with OM was given"})
    assert sum("not run" in line for line in lines) == 1
    assert "| 50.00 | 100.00 | **50.00** |" in lines[2]


def test_the_readme_has_the_table_of_the_document() -> None:
    summary = json.loads((ROOT / "docs/benchmark.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = readme_table(summary)
    assert len(lines) > 4
    assert "\n".join(lines) in readme


def test_a_verdict_asks_for_half_of_the_frames(run: Run) -> None:
    """A rival that is ahead on one frame, but had no more, does not make the verdict."""
    Results(run.folder / "om-tuned").write(Result(0, 6, 1.0, 1.0, 1, 1.0, [outcome(2)]), "head\n")
    rows = summarize_run(run)["rows"]
    few = {
        **rows["om-tuned"],
        "images": 1,
        "behind": {"frames": 1, "points": -1.0, "error": 0.0, "only_ours": 0, "only_theirs": 1},
    }
    summary = {"rows": {**rows, "dials-tuned": few}}
    assert half_of_all(summary) == 3
    said = " ".join(verdict(summary))
    assert "OM 23.8.3, Cheetah (tuned), is" in said
    assert "DIALS, dispersion extended (defaults), is" not in said
    assert (
        "not ahead by two standard errors of: PeakRT, peakfinder8 (defaults), +16.67 +- 28.05 points behind on 6 frames"
        in said
    )
    # Of crystals with 10 to 14 peaks it has none, peakfinder8 has one
    assert (
        "Behind, by true peaks with an SNR of at least 4: 10 to 14 such peaks, 0 % of 1 crystals (100 %, PeakRT, peakfinder8"
        in said
    )


def test_a_longer_run_does_anew_the_block_that_was_cut_short(run: Run) -> None:
    chosen = ("candidate", "pf8")
    assert missing_work(run, Extent(6, chosen, 1000)) == {}
    assert missing_work(run, Extent(8, chosen, 1000)) == {6: ["candidate", "pf8"]}
    Results(run.folder / "pf8").write(Result(6, 8, 1.0, 1.0, 1, 1.0, []), "head\n")
    assert missing_work(run, Extent(12, chosen, 1000)) == {6: ["candidate", "pf8"]}
    Results(run.folder / "pf8").write(Result(6, 12, 1.0, 1.0, 1, 1.0, []), "head\n")
    assert [(part.start, part.stop) for part in Results(run.folder / "pf8").read()] == [(0, 6), (6, 12)]
    # Slow finders are given the first frames only
    assert missing_work(run, Extent(18, ("segmentation",), 7)) == {0: ["segmentation"], 6: ["segmentation"]}
    assert estimate([run], Extent(6, chosen, 1000)).startswith("about 0.0 hours")
    assert float(estimate([run], Extent(60_000, ("segmentation",), 60_000)).split()[1]) > 1


def test_true_intensities_are_equal_over_symmetry_mates(run: Run, tmp_path: Path) -> None:
    write_truth(run, tmp_path / "truth.hkl")
    lines = (tmp_path / "truth.hkl").read_text().splitlines()
    listed = {tuple(map(int, line.split()[:3])): float(line.split()[3]) for line in lines[3:-1]}
    crystal = run.simulator._crystal
    assert crystal is not None
    gemmi = pytest.importorskip("gemmi")
    group = gemmi.find_spacegroup_by_name("P 4/m m m")
    asu = gemmi.ReciprocalAsu(group)
    seen: dict[tuple[int, ...], float] = {}
    for hkl, strength in zip(crystal.hkl.tolist(), crystal.strength, strict=True):
        mate = tuple(asu.to_asu(hkl, group.operations())[0])
        assert seen.setdefault(mate, strength) == strength
    assert len(listed) == len(seen)
    mates = {tuple(asu.to_asu(list(hkl), group.operations())[0]): value for hkl, value in listed.items()}
    assert all(mates[hkl] == pytest.approx(1e4 * strength, abs=0.01) for hkl, strength in seen.items())


def test_the_job_with_psana_finds_what_v3r3_finds(run_file: Path, small_detector: Any, tmp_path: Path) -> None:
    import h5py

    from peakrt.cxi.columns import DATA
    from peakrt.cxi.reader import read_cxi_peaks
    from peakrt.finders.psana_algos import v3r3
    from peakrt.peaks import slab_ss

    peers.psana_finder()
    planes = (2, 128, 256)
    with h5py.File(tmp_path / "mask.h5", "w") as file:
        file["good"] = np.ones((256, 256), np.int8)
    options = {"rank": 3, "r0": 3.0, "dr": 2.0, "nsigm": 5.0, "npix_min": 1, "npix_max": 60, "amax_thr": 0.0, "atot_thr": 0.0, "son_min": 5.0}  # fmt: skip
    order = {"frames": str(run_file), "mask": str(tmp_path / "mask.h5"), "planes": planes, "output": str(tmp_path / "out.h5"), "options": options, "min_peaks": 15, "max_peaks": 2048}  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(order))
    subprocess.run([sys.executable, ROOT / "benchmarks/cheetah/psana_job.py", tmp_path / "job.json"], check=True)
    with h5py.File(run_file) as file, h5py.File(tmp_path / "out.h5") as out:
        ours = {n: v3r3(frame.reshape(planes), None, **options) for n, frame in enumerate(file[DATA][()])}
        events = out["/LCLS/eventNumber"][()].tolist()
        for row, event in enumerate(events):
            np.testing.assert_array_equal(out[DATA][row], file[DATA][event])
    assert events == [n for n, peaks in ours.items() if len(peaks) >= 15]
    assert events
    for event, found in zip(events, read_cxi_peaks(tmp_path / "out.h5"), strict=True):
        expected = ours[event][np.argsort(-ours[event]["intensity"], kind="stable")]
        np.testing.assert_allclose(found.ss, slab_ss(expected, 128), atol=1e-3)
        np.testing.assert_allclose(found.fs, expected["fs"], atol=1e-3)
        np.testing.assert_allclose(found.intensity, expected["intensity"], rtol=1e-5)


def test_a_stream_of_the_crystals_that_two_finders_have(run: Run, tmp_path: Path) -> None:
    hits = [outcome(0), outcome(1, peaks=14), outcome(2, indexed=False), outcome(3)]  # 14 are no hit
    chunks = [
        f"profile_radius = {radius} nm^-1\nnum_reflections = {n}\n" for radius, n in ((0.2, 10), (0.4, 20), (0.3, 40))
    ]
    Results(run.folder / "candidate").write(Result(0, 6, 1.0, 1.0, 1, 1.0, hits), CHUNK.join(["head\n", *chunks]))
    assert indexed_frames(run, "candidate", 6) == {0, 3}
    assert indexed_frames(run, "candidate", 5) == set()
    assert join(run, "candidate", 6, tmp_path / "all.stream") == 2
    assert (tmp_path / "all.stream").read_text() == CHUNK.join(["head\n", chunks[0], chunks[2]])
    assert stream_median(tmp_path / "all.stream", "profile_radius") == pytest.approx(0.25)
    assert stream_median(tmp_path / "all.stream", "num_reflections") == 25
    assert join(run, "candidate", 6, tmp_path / "some.stream", {1, 3, 5}) == 1
    assert (tmp_path / "some.stream").read_text() == CHUNK.join(["head\n", chunks[2]])


@pytest.mark.crystfel
def test_figures_of_merit_are_those_of_numpy(run: Run, tmp_path: Path) -> None:
    write_cell(tmp_path / "crystal.cell", CELL, SPACE_GROUP)
    write_truth(run, tmp_path / "truth.hkl")
    lines = (tmp_path / "truth.hkl").read_text().splitlines()
    true = np.array([float(line.split()[3]) for line in lines[3:-1]])
    found = 0.3 * true + np.random.default_rng(1).normal(0, 1000, len(true))
    rows = [f"{line[:15]}{value:11.2f}{line[26:]}" for line, value in zip(lines[3:-1], found, strict=True)]
    (tmp_path / "found.hkl").write_text("\n".join([*lines[:3], *rows, lines[-1], ""]))
    figure = compare_hkl(
        (tmp_path / "found.hkl", tmp_path / "truth.hkl"), "CC", tmp_path / "crystal.cell", tmp_path / "shells"
    )
    assert figure.pairs == len(true)
    assert figure.overall == pytest.approx(np.corrcoef(found, true)[0, 1], abs=2e-3)
    assert len(figure.by_shell) == len(figure.d_A) == SHELLS
    assert np.all(np.diff(figure.d_A) < 0)

    # Of two finders' lists the R of both on what both have: the finder's is the truth itself, the candidate finder's is not
    (tmp_path / "pf8.hkl").write_text("\n".join([*lines[:3003], lines[-1], ""]))
    (tmp_path / "found.hkl").rename(tmp_path / "candidate.hkl")
    write_cell(run.cell, CELL, SPACE_GROUP)
    common = on_common(run, tmp_path, "pf8", tmp_path / "truth.hkl")
    assert common["pairs"] == 3000
    assert common["r_truth"] == pytest.approx(0, abs=0.01)
    assert common["candidate"] > 1


def test_a_run_has_its_folder_to_itself(tmp_path: Path) -> None:
    with (
        alone(tmp_path / "small"),
        pytest.raises(ValueError, match="another run is at work"),
        alone(tmp_path / "small"),
    ):
        pass
    with alone(tmp_path / "small"):
        pass


def test_another_recipe_is_another_run(run: Run, geometry: Path) -> None:
    run.prepare()
    run.prepare()
    with pytest.raises(ValueError, match="another recipe"):
        Run(Recipe(block=7, tune=2), str(geometry), run.folder).prepare()
