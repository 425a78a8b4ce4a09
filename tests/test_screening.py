"""``peakrt screen``: probabilities of classes, the promise of a recall, drift, lists and the reduced CXI."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peakrt.cli import main
from peakrt.cxi.columns import DATA, N_PEAKS, RESULT, SCREENING_COLUMNS
from peakrt.screening.counts import chances, class_probabilities
from peakrt.screening.promise import audit_rows, differs, drift, keep_recall
from peakrt.screening.reduced import AUDIT
from peakrt.screening.table import read_probabilities
from peakrt_lab.truth import Truth


@given(st.lists(st.floats(0, 1), max_size=60))
def test_classes_are_the_poisson_binomial_distribution(chance: list[float]) -> None:
    counts = np.ones(1)
    for p in chance:  # the slow twin: the distribution of all counts
        counts = np.convolve(counts, [1 - p, p])
    expected = counts[10:].sum(), counts[4:10].sum(), counts[:4].sum()
    assert class_probabilities(chance) == pytest.approx(expected, abs=2e-9)  # less than 1e-9 is left out


def test_chances_follow_score_and_snr() -> None:
    score = np.array([1.0, 1.0, 0.5, np.nan, 1.0], np.float32)
    snr = np.array([4.35, 6.35, 30.0, 30.0, np.nan], np.float32)
    normal_at_2 = 0.9772498680518208  # Abramowitz & Stegun, table 26.1
    assert chances(score, snr) == pytest.approx([0.5, normal_at_2, 0.5, 1.0, 1.0], abs=2e-7)


@pytest.mark.parametrize(("n", "recall"), [(800, 0.995), (3000, 0.995), (150, 0.95)])
def test_the_promise_of_a_recall_holds(n: int, recall: float) -> None:
    """Scores that are even over 0..1: at a threshold t the share t of all events is lost."""
    rng = np.random.default_rng(n)
    losses = np.array([keep_recall(rng.random(n), recall).threshold for _ in range(2000)])
    held = (losses <= 1 - recall).mean()
    assert held >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 2000)
    assert held <= 0.995  # and no more is kept than the promise needs
    assert losses.mean() <= 1 - recall  # conformal risk control: on average


def test_a_sample_too_small_for_its_promise_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 598 events that matter and has 597"):
        keep_recall(np.arange(597), 0.995)
    assert keep_recall(np.arange(598), 0.995).threshold == 0
    with pytest.raises(ValueError, match=r"or ask for 0\.941"):
        keep_recall(np.arange(50), 0.995)
    assert keep_recall(np.arange(50), 0.941).lost == 0


def test_drift_is_told_where_it_begins_and_not_without() -> None:
    rng = np.random.default_rng(3)
    sample = rng.beta(4, 1, 600)
    assert sum(drift(sample, rng.beta(4, 1, 4000)) is not None for _ in range(100)) <= 1
    changed = np.concatenate([rng.beta(4, 1, 1000), rng.beta(2, 1, 1000)])
    assert drift(sample, changed) == 1000
    assert not differs(sample, rng.beta(4, 1, 500))
    assert differs(sample, rng.beta(2, 1, 500))


def test_audit_takes_a_share_of_the_dropped() -> None:
    dropped = np.arange(5, 2005)
    rows = audit_rows(dropped, 0.01)
    assert len(np.unique(rows)) == 20
    assert np.isin(rows, dropped).all()
    assert (rows == audit_rows(dropped, 0.01)).all()
    assert len(audit_rows(dropped[:3], 0.01)) == 1
    assert len(audit_rows(dropped[:0], 0.01)) == 0


@pytest.fixture(scope="module")
def screened(run_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What screen makes of a run: peaks, probabilities and lists."""
    out = tmp_path_factory.mktemp("screened") / "peaks.cxi"
    geometry = str(run_file.with_suffix(".geom"))
    assert main(["screen", str(run_file), "-g", geometry, "-o", str(out), "--", "--engine", "cpu"]) == 0
    return out


def rows_of(path: Path) -> list[int]:
    return [int(line.rpartition("//")[2]) for line in path.read_text().splitlines()]


def test_screen_finds_and_sorts_a_run(screened: Path, run_file: Path) -> None:
    truth = Truth(run_file)
    with h5py.File(screened) as file:
        found = {name: file[path][:] for name, path in zip(("hit", "maybe", "miss"), SCREENING_COLUMNS, strict=False)}
        counts = file[N_PEAKS][:]
    assert sum(found.values()) == pytest.approx(np.ones(len(truth)), abs=1e-6)
    visible = np.array([(truth.event_peaks(n)["snr"] >= 5).sum() for n in range(len(truth))])
    assert (counts >= 0).all()
    assert (found["hit"][visible >= 12] > 0.5).all()
    assert (found["miss"][visible <= 1] > 0.5).all()
    assert visible.max() >= 12
    assert visible.min() <= 1
    lists = {name: rows_of(screened.with_suffix(f".{name}.lst")) for name in found}
    assert sorted(row for rows in lists.values() for row in rows) == list(range(len(truth)))
    assert set(np.flatnonzero(visible >= 12)) <= set(lists["hit"])


def copy_without_probabilities(screened: Path, folder: Path) -> Path:
    """The CXI as one of an earlier version is."""
    old = folder / "old.cxi"
    old.write_bytes(screened.read_bytes())
    old.with_suffix(".geom").write_bytes(screened.with_suffix(".geom").read_bytes())
    with h5py.File(old, "r+", libver=("v110", "v110")) as file:
        for path in SCREENING_COLUMNS:
            del file[path]
    return old


def test_a_cxi_without_probabilities_gets_them_whole_or_not_at_all(
    screened: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = copy_without_probabilities(screened, tmp_path)
    before = old.read_bytes()

    def fails(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fails)
        assert main(["screen", str(old)]) == 1
    assert old.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.cxi", "old.geom"]
    assert main(["screen", str(old)]) == 0
    with h5py.File(old) as file, h5py.File(screened) as expected:
        for path in SCREENING_COLUMNS:
            assert file[path][:] == pytest.approx(expected[path][:], abs=1e-6), path
        assert (file[DATA][:] == expected[DATA][:]).all()


def test_reduced_cxi_holds_the_kept_events(screened: Path, tmp_path: Path) -> None:
    kept, numbers = tmp_path / "kept.cxi", tmp_path / "numbers.json"
    arguments = ["screen", str(screened), "--keep-above", "0.3", "--audit", "0.3", "--reduce", str(kept), "--overwrite"]
    assert main([*arguments, "--json", str(numbers)]) == 0
    record = json.loads(numbers.read_text())
    rows = sorted(rows_of(screened.with_suffix(".keep.lst")) + rows_of(screened.with_suffix(".audit.lst")))
    probabilities = read_probabilities(screened)
    assert rows_of(screened.with_suffix(".keep.lst")) == np.flatnonzero(probabilities.indexable >= 0.3).tolist()
    assert record["kept"] + record["audit"] == len(rows) < len(probabilities)
    with h5py.File(screened) as whole, h5py.File(kept) as file:
        for path in (DATA, N_PEAKS, f"{RESULT}/peakXPosRaw", "/LCLS/eventNumber", "/peakrt/source", *SCREENING_COLUMNS):
            assert (file[path][:] == whole[path][:][rows]).all(), path
        assert file[AUDIT][:].sum() == record["audit"] > 0
        assert (file["/entry_1/data_1/mask"][:] == whole["/entry_1/data_1/mask"][:]).all()
        assert file["/peakrt"].attrs["run"] == whole["/peakrt"].attrs["run"]
    assert rows_of(kept.with_suffix(".lst")) == [k for k, row in enumerate(rows) if probabilities.indexable[row] >= 0.3]
    again = tmp_path / "again.cxi"
    assert main(["screen", str(kept), "-o", str(again)]) == 1  # it has peaks
    assert main(["find", str(kept), "-g", str(kept.with_suffix(".geom")), "-o", str(again)]) == 0


@pytest.mark.parametrize("images", ["gzip", "lz4", "none"])
def test_reduced_cxi_keeps_the_compression(screened: Path, run_file: Path, tmp_path: Path, images: str) -> None:
    found, kept = tmp_path / "found.cxi", tmp_path / "kept.cxi"
    geometry = str(run_file.with_suffix(".geom"))
    assert main(["screen", str(run_file), "-g", geometry, "-o", str(found), "--", "--images", images]) == 0
    assert main(["screen", str(found), "--keep-above", "0.3", "--reduce", str(kept), "--overwrite"]) == 0
    rows = sorted(rows_of(found.with_suffix(".keep.lst")) + rows_of(found.with_suffix(".audit.lst")))
    with h5py.File(screened) as whole, h5py.File(kept) as file:
        assert (DATA in file) == (images != "none")
        if images != "none":
            assert (file[DATA][:] == whole[DATA][:][rows]).all()
            assert file[DATA].filter_ids


def test_a_veto_decides_what_is_a_hit(
    screened: Path, run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    p = read_probabilities(screened).indexable
    least = float(np.sort(p)[len(p) // 2])
    expected = np.flatnonzero(p >= least)
    out, shared = tmp_path / "veto.cxi", tmp_path / "shared.cxi"
    options = ["-g", str(run_file.with_suffix(".geom")), "--min-peaks", "0", "--min-indexable", f"{least:.9g}"]
    assert main(["find", str(run_file), *options, "-o", str(out)]) == 0
    assert main(["run", str(run_file), *options, "-o", str(shared), "--workers", "1"]) == 0
    for path in (out, shared):
        with h5py.File(path) as file:
            assert file["/LCLS/eventNumber"][:].tolist() == expected.tolist()
    capsys.readouterr()
    assert main(["screen", str(out)]) == 0
    assert f"warning: {len(p) - len(expected)} events of the run are not in the CXI" in capsys.readouterr().out
    everything = tmp_path / "all.cxi"
    assert main(["find", str(run_file), *options, "-o", str(everything), "--events", "all"]) == 0
    assert rows_of(everything.with_suffix(".lst")) == expected.tolist()
    assert main(["find", str(run_file), *options[:-1], "1.5", "-o", str(tmp_path / "x.cxi")]) == 1


def test_keep_recall_by_labels(screened: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probabilities = read_probabilities(screened)
    names = np.array(["Hit", "Maybe", "Miss"])[probabilities.labels]
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{screened} //{row} {name}\n" for row, name in enumerate(names)))
    arguments = ["screen", str(screened), "--sample", str(labels), "--overwrite", "--keep-recall"]
    matter = int((names != "Miss").sum())
    assert main([*arguments, "0.995"]) == 1
    assert f"needs 598 events that matter and has {matter}" in capsys.readouterr().err
    assert main([*arguments, "0.5"]) == 0
    said = capsys.readouterr().out
    assert "with 95% confidence at least 50.00% of the events that matter are kept" in said
    kept = rows_of(screened.with_suffix(".keep.lst"))
    assert set(kept) >= set(
        np.flatnonzero(probabilities.indexable >= np.median(probabilities.indexable[names != "Miss"]))
    )


def test_bad_input_is_one_line(
    screened: Path, run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, stream = tmp_path / "labels.txt", tmp_path / "a.stream"
    labels.write_text("//0 Hit\n//1 perhaps\n")
    stream.write_text("nothing\n")
    cases = {
        "needs --sample": ["--keep-recall", "0.9"],
        "a share between 0 and 1": ["--keep-recall", "90", "--sample", str(labels)],
        "labels.txt:2": ["--keep-recall", "0.9", "--sample", str(labels)],
        "has no whole chunk": ["--keep-recall", "0.9", "--sample", str(stream)],
        "exists: replace it with --overwrite": [],
        "needs to know what to keep": ["--reduce", str(tmp_path / "kept.cxi")],
        "belongs to what is read": ["--keep-above", "0.5", "--reduce", str(screened)],
    }
    for message, options in cases.items():
        overwrite = [] if "exists" in message else ["--overwrite"]
        assert main(["screen", str(screened), *options, *overwrite]) == 1, message
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert main(["screen", str(tmp_path / "nothing.cxi")]) == 1
    assert "nothing.cxi does not exist" in capsys.readouterr().err
    assert main(["screen", str(run_file)]) == 1
    assert "has no peaks: give -o PEAKS.cxi" in capsys.readouterr().err


@pytest.mark.crystfel
def test_indexamajig_takes_the_lists_and_the_reduced_cxi(screened: Path, run_file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.cxi"
    assert main(["screen", str(screened), "--keep-above", "0.3", "--reduce", str(kept), "--overwrite"]) == 0
    indexed = []
    for name, listed, geometry in (
        ("whole", screened.with_suffix(".hit.lst"), screened.with_suffix(".geom")),
        ("reduced", kept.with_suffix(".lst"), kept.with_suffix(".geom")),
    ):
        stream = tmp_path / f"{name}.stream"
        command = [
            "indexamajig",
            "-i",
            str(listed),
            "-g",
            str(geometry),
            "--peaks=cxi",
            "--indexing=asdf",
            "-o",
            str(stream),
        ]
        command += ["-p", str(run_file.with_suffix(".cell")), f"--temp-dir={tmp_path}"]
        subprocess.run(command, check=True, capture_output=True)
        indexed.append(stream.read_text().count("Begin crystal"))
    assert min(indexed) >= 3
    assert (
        main(
            ["screen", str(screened), "--sample", str(tmp_path / "whole.stream"), "--keep-recall", "0.5", "--overwrite"]
        )
        == 0
    )


def test_twins_come_in_the_experts_mix() -> None:
    from peakrt_lab.screening.twins import TWINS, class_of, frames

    twin = TWINS["LN83"]
    labels = []
    for event, label in frames(twin, 12, seed=3):
        assert class_of(event) == label
        labels.append(label)
    assert np.bincount(labels, minlength=3).tolist() == [2, 0, 10]  # 346, 63 and 1,591 of 2,000
    assert {len(counts) for counts in (twin.counts, TWINS["L498"].counts)} == {3}
    assert all(sum(other.counts) == 2000 for other in TWINS.values())


def test_the_network_learns_to_see_spots() -> None:
    torch = pytest.importorskip("torch")
    from peakrt_lab.screening import cnn

    rng = np.random.default_rng(0)
    images = rng.normal(0, 0.3, (6, 960, 960)).astype(np.float16)
    labels = np.array([0, 2, 0, 2, 0, 2])
    for image in images[::2]:
        at = rng.integers(150, 810, (2, 300))
        image[at[0], at[1]] = 6
    net = cnn.train(images, labels, steps=60, batch=4, seed=0)
    assert net.features(torch.zeros(1, 1, cnn.SIDE, cnn.SIDE)).numel() == 288
    probability = cnn.predict(net, images)
    assert probability.sum(1) == pytest.approx(np.ones(6), abs=1e-5)
    assert probability[::2, 0].min() > probability[1::2, 0].max()


def test_local_contrast_is_that_of_the_neighbours() -> None:
    pytest.importorskip("torch")
    from peakrt_lab.screening.cnn import local_contrast

    rng = np.random.default_rng(1)
    image = rng.normal(5, 2, (40, 40)).astype(np.float32)
    whole = (image - image.mean()) / image.std()
    patch = whole[16:25, 16:25]
    assert float(local_contrast(image)[20, 20]) == pytest.approx((whole[20, 20] - patch.mean()) / patch.std(), abs=5e-3)
