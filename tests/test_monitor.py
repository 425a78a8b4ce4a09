"""What the monitor tells of a run: histories, statistics, panels and the verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest

from peakrt.monitor import panels, snapshot
from peakrt.monitor.cells import Cells, as_picture
from peakrt.monitor.history import History, percentile_of_counts
from peakrt.monitor.optics import Optics, RadialSample
from peakrt.monitor.statistics import CRYSTALS, RESOLUTION_BINS, RunStatistics, Setting, _percentile_in_groups
from peakrt.monitor.verdict import OK, UNUSABLE, WARNINGS, camera_length_m, judge
from peakrt.peaks import PEAK
from peakrt.pictures.assemble import Canvas
from peakrt.stream_file import Chunk, Crystal
from peakrt_geometry import Detector, load_detector

CELL = (79.0, 79.0, 38.0, 90.0, 90.0, 90.0)
T0 = 1.7e9


def make_peaks(rng: np.random.Generator, detector: Detector, n: int) -> np.ndarray:
    peaks = np.zeros(n, PEAK)
    peaks["panel"] = rng.integers(0, detector.shape[0], n)
    peaks["ss"], peaks["fs"] = rng.uniform(0, detector.shape[1] - 1, n), rng.uniform(0, detector.shape[2] - 1, n)
    peaks["max"], peaks["intensity"], peaks["background"] = rng.uniform(10, 5000, n), rng.uniform(50, 9000, n), 2.0
    return peaks


def add_events(run: RunStatistics, rng: np.random.Generator, at: np.ndarray, n_peaks: np.ndarray) -> np.ndarray:
    peaks = make_peaks(rng, run.setting.detector, int(n_peaks.sum()))
    run.look(None, None)
    run.events(at, n_peaks, n_peaks >= run.setting.min_peaks, peaks, n_peaks)
    return peaks


# Histories


def test_a_history_of_a_million_events_stays_small_and_loses_nothing() -> None:
    rng = np.random.default_rng(1)
    history = History({"events": 1, "hits": 1, "shape": 4}, width=0.5)
    at = T0 + np.sort(rng.uniform(0, 3 * 86400, 1_000_000))
    hits = rng.random(len(at)) < 0.1
    shape = rng.random((len(at), 4))
    for block in np.array_split(np.arange(len(at)), 50):
        history.add(at[block], {"events": 1, "hits": hits[block], "shape": shape[block]})
    assert history.n_bins <= 2000
    assert history.n_bins > 900
    bins = np.floor((at - history.start) / history.width).astype(int)
    np.testing.assert_array_equal(history.sums("events"), np.bincount(bins))
    np.testing.assert_array_equal(history.sums("hits"), np.bincount(bins, hits))
    np.testing.assert_allclose(history.sums("shape")[:, 2], np.bincount(bins, shape[:, 2]), rtol=1e-9)
    assert sum(array.nbytes for array in history._sums.values()) == 2000 * 6 * 8


def test_a_history_that_forgets_keeps_the_newest() -> None:
    history = History({"events": 1}, width=1.0, most=10, forget=True)
    for second in range(25):
        history.add([second + 0.5, second + 0.6], {"events": 1})
    np.testing.assert_array_equal(history.times, np.arange(15, 25) + 0.5)
    np.testing.assert_array_equal(history.sums("events"), np.full(10, 2))
    history.add([3.0], {"events": 1})  # long forgotten
    assert history.sums("events").sum() == 20
    history.add([1e6], {"events": 1})  # after a pause of days
    assert history.sums("events").sum() == 1
    assert history.times[-1] == 1e6 + 0.5


def test_a_history_takes_a_sample_from_before_its_beginning_and_refuses_no_time() -> None:
    history = History({"events": 1}, width=1.0, most=10)
    history.add([5.0, 6.0], {"events": 1})
    history.add([1.0], {"events": 1})
    np.testing.assert_array_equal(history.sums("events"), [2, 1])
    with pytest.raises(ValueError, match="not finite"):
        history.add([np.nan], {"events": 1})


def test_a_history_goes_on_after_it_was_saved() -> None:
    one, two = History({"events": 1}, width=1.0, most=10), History({"events": 1}, width=1.0, most=10)
    one.add(np.arange(37.0), {"events": 1})
    two.restore(one.state())
    for history in (one, two):
        history.add([50.0], {"events": 3})
    np.testing.assert_array_equal(one.sums("events"), two.sums("events"))
    assert one.width == two.width == 8
    with pytest.raises(ValueError, match="no history"):
        two.restore({"": np.array([0.0, 0.0, 5.0])})


def test_percentiles_of_counts_are_those_of_the_numbers() -> None:
    rng = np.random.default_rng(2)
    edges = np.linspace(0, 10, 201)
    values = rng.gamma(3, 1, (3, 5000)).clip(0, 9.99)
    counts = np.stack([np.histogram(row, edges)[0] for row in values] + [np.zeros(200)]).astype(float)
    for share in (0.1, 0.5, 0.9):
        found = percentile_of_counts(counts, edges, share)
        np.testing.assert_allclose(found[:3], np.quantile(values, share, axis=1), atol=0.05)
        assert np.isnan(found[3])


def test_percentiles_in_groups() -> None:
    rng = np.random.default_rng(3)
    sizes = np.array([1, 0, 7, 20])
    values = rng.random(sizes.sum())
    found = _percentile_in_groups(values, np.repeat(np.arange(4), sizes), sizes, 0.9)
    parts = np.split(values, np.cumsum(sizes)[:-1])
    for part, value in zip(parts, found, strict=True):
        assert np.isnan(value) if not len(part) else value == np.quantile(part, 0.9, method="inverted_cdf")


# Statistics


def test_the_numbers_of_a_run_are_exact(small_detector: Detector) -> None:
    rng = np.random.default_rng(4)
    run = RunStatistics(Setting(small_detector))
    n_peaks = rng.integers(0, 60, 3000)
    at = T0 + np.sort(rng.uniform(0, 600, 3000))
    all_peaks = [add_events(run, rng, a, n) for a, n in zip(np.split(at, 30), np.split(n_peaks, 30), strict=True)]
    hits = n_peaks >= 15
    assert (run.counts["events"], run.counts["hits"], run.counts["peaks"]) == (3000, hits.sum(), n_peaks[hits].sum())
    np.testing.assert_array_equal(run.peaks_a_frame, np.bincount(n_peaks, minlength=4097))
    overview = panels.overview(run, now=float(at[-1]))
    assert overview["hit_rate"] == pytest.approx(hits.mean(), rel=1e-4)
    # Resolution: the peak that nine in ten of a hit's peaks do not exceed, from the map of 1/d
    peaks = np.concatenate(all_peaks)
    inverse_d = small_detector.resolution()
    q = inverse_d[peaks["panel"], np.rint(peaks["ss"]).astype(int), np.rint(peaks["fs"]).astype(int)]
    event = np.repeat(np.arange(3000), n_peaks)
    limits = [np.quantile(q[event == k], 0.9, method="inverted_cdf") for k in np.flatnonzero(hits)]
    edges = run.optics.edges(RESOLUTION_BINS)
    np.testing.assert_array_equal(run.whole.sums("resolution").sum(axis=0), np.histogram(limits, edges)[0])
    assert overview["resolution_A"] == pytest.approx(10 / np.median(limits), rel=0.02)
    # The peakogram and the powder of peaks hold every peak of the hits, at its place
    of_hits = hits[event]
    assert run.peakogram.sum() == of_hits.sum()
    rows = np.floor((np.log10(peaks["max"] + 2.0)[of_hits] + 1) * 10).astype(int)
    np.testing.assert_array_equal(run.peakogram.sum(axis=1), np.bincount(rows, minlength=80))
    x, y, _ = small_detector.lab_position_m(peaks["panel"], np.rint(peaks["ss"]), np.rint(peaks["fs"]))
    column, row = run.picture_cells.place(x[of_hits], y[of_hits])
    expected = np.zeros(run.picture_cells.shape)
    np.add.at(expected, (row.astype(int), column.astype(int)), 1)
    np.testing.assert_array_equal(run.powder_of_peaks, expected)


def test_a_million_events_are_told_in_bounded_memory(small_detector: Detector) -> None:
    rng = np.random.default_rng(5)
    run = RunStatistics(Setting(small_detector))
    run.look(None, None)
    empty = np.zeros(0, PEAK)
    chunk = Chunk("e", "f", 30, "xgandalf", (Crystal(CELL, det_shift_mm=(0.01, 0.02)),))
    sizes = []
    for block in range(200):
        at = T0 + 1000 * block + np.sort(rng.uniform(0, 1000, 5000))
        n_peaks = rng.integers(0, 40, 5000)
        run.events(at, n_peaks, n_peaks >= 15, empty, np.zeros(5000, int))
        run.chunks(at[:100], [chunk] * 100)
        run.state(float(at[-1]), {f"number{k}": 1.0 for k in range(100)} | {"word": "x" * 1000})
        if block % 40 == 39:
            file = BytesIO()
            snapshot.save(run, file)
            sizes.append(len(file.getvalue()))
    assert run.counts["events"] == 1_000_000
    assert max(sizes) < 12e6
    assert len(run.number_history) == 32
    assert run.cells_seen.n == 20_000
    assert len(run.cells_seen.rows) == CRYSTALS
    for scope in ("whole", "recent"):
        assert len(json.dumps(panels.series(run, scope))) < 2e6
    json.dumps(panels.everything(run), allow_nan=False)


def test_numbers_that_do_not_belong_together_are_refused(small_detector: Detector) -> None:
    run = RunStatistics(Setting(small_detector))
    with pytest.raises(ValueError, match="not those of the events"):
        run.events(np.array([T0]), np.array([3]), np.array([False]), np.zeros(2, PEAK), np.array([3]))
    with pytest.raises(ValueError, match="shape"):
        run.frame(T0, np.zeros((1, 4, 4)), True)


def test_a_snapshot_brings_the_history_back(small_detector: Detector) -> None:
    rng = np.random.default_rng(6)
    run, again = (RunStatistics(Setting(small_detector)) for _ in range(2))
    add_events(run, rng, T0 + np.arange(500.0), rng.integers(0, 40, 500))
    run.chunks(T0, [Chunk("e", "f", 30, "asdf", (Crystal(CELL),))])
    run.state(T0, {"queue length": 3.0, "limited_by": "reading"})
    file = BytesIO()
    snapshot.save(run, file)
    assert snapshot.restore(again, file)
    assert panels.series(again, "whole") == panels.series(run, "whole")
    assert again.counts == run.counts
    assert again.numbers == {"queue_length": 3.0, "limited_by": "reading"}
    damaged = BytesIO(file.getvalue()[:-200])
    assert not snapshot.restore(RunStatistics(Setting(small_detector)), damaged)


# Frames


@pytest.mark.parametrize("name", ["jungfrau1m", "agipd1m", "cspad"])
def test_pictures_are_those_of_view(name: str) -> None:
    detector = load_detector(name)
    frame = np.random.default_rng(7).poisson(3, detector.shape).astype(np.uint16)
    expected, _ = Canvas(detector, 600).assemble(frame, detector.mask)
    np.testing.assert_array_equal(Cells(detector).assemble(frame, detector.mask), expected[::-1])


def test_the_levels_of_a_picture_are_its_values() -> None:
    rng = np.random.default_rng(8)
    image = rng.normal(10, 2, (40, 50)).astype(np.float32)
    image[3, 4], image[5, 6] = 60000, np.nan
    picture = as_picture(image)
    levels = read_png(picture["png"])
    scale = picture["scale"]
    told = scale["middle"] + scale["step"] * np.sinh(scale["low"] + (levels.astype(float) - 1) * scale["slope"])
    assert levels[5, 6] == 0
    known = np.isfinite(image)
    # Half a level, which is as wide as the slope of sinh makes it
    half = 0.5 * scale["slope"] * np.hypot(image - scale["middle"], scale["step"])
    assert (np.abs(told - image)[known] < 1.05 * half[known]).all()
    assert half[known].max() < 0.03 * 60000


def read_png(text: str) -> np.ndarray:
    """A grey picture in base64, as matplotlib's own reader sees it."""
    import base64

    from matplotlib.image import imread

    return np.rint(imread(BytesIO(base64.b64decode(text))) * 255).astype(np.uint8)


def test_the_radial_profile_is_the_mean_without_peaks(small_detector: Detector) -> None:
    rng = np.random.default_rng(9)
    optics = Optics(small_detector, None, None)
    edges = optics.edges(20)
    expected = 5 + 3 * np.exp(-optics.coordinate)
    frame = rng.poisson(expected).astype(np.float64)
    at = rng.integers(0, frame.size, 300)
    frame.reshape(-1)[at] += 4000
    profile = RadialSample(optics.coordinate, small_detector.mask, edges).profile(frame, small_detector.mask)
    bins = np.digitize(optics.coordinate[small_detector.mask], edges) - 1
    truth = np.bincount(bins, expected[small_detector.mask]) / np.bincount(bins)
    np.testing.assert_allclose(profile, truth, rtol=0.1)


def test_without_length_or_energy_radii_are_pixels(small_detector: Detector) -> None:
    optics = Optics(replace(small_detector, photon_energy=None), None, None)
    assert (optics.unit, optics.rings) == ("pixels", [])
    np.testing.assert_array_equal(optics.coordinate, small_detector.radius)
    assert Optics(replace(small_detector, photon_energy=None), None, 9500.0).unit == "1/nm"


def test_background_and_powders_of_frames(small_detector: Detector) -> None:
    run = RunStatistics(Setting(small_detector))
    rng = np.random.default_rng(10)
    frames = [rng.poisson(4.0, small_detector.shape).astype(np.uint16) for _ in range(4)]
    for k, frame in enumerate(frames):
        run.frame(T0 + k, frame, k % 2 == 0, peaks=make_peaks(rng, small_detector, 20), name=f"run.cxi //{k}")
    assert panels.series(run, "whole")["background_misses"][0] == pytest.approx(4.0, abs=0.1)
    expected, _ = Canvas(small_detector, 600).assemble(np.maximum(frames[0], frames[2]), small_detector.mask)
    np.testing.assert_array_equal(run.powder_hits.image, expected[::-1])
    hit = panels.picture(run, "hit")
    assert hit is not None
    assert (hit["title"], len(hit["peaks"]), hit["heading"]) == ("run.cxi //2", 20, "Newest hit")
    assert hit["rings"][0][0] > hit["rings"][-1][0]
    with pytest.raises(KeyError):
        panels.picture(run, "/etc/passwd")


# Indexing


def indexed(
    rng: np.random.Generator, n: int, *, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> list[Chunk]:
    """Chunks with a crystal each, whose cells are too large by a factor."""
    chunks = []
    for _ in range(n):
        axes = np.array(CELL[:3]) * scale * (1 + rng.normal(0, 0.002, 3))
        moved = (shift[0] + rng.normal(0, 0.01), shift[1] + rng.normal(0, 0.01))
        cell = (float(axes[0]), float(axes[1]), float(axes[2]), 90.0, 90.0, 90.0)
        chunks.append(Chunk("e", "f", 40, "xgandalf", (Crystal(cell, det_shift_mm=moved),)))
    return chunks


def test_the_camera_length_comes_out_of_the_cells(small_detector: Detector) -> None:
    run = RunStatistics(Setting(small_detector, cell=CELL))
    assert camera_length_m(run) is None
    run.chunks(T0, indexed(np.random.default_rng(11), 400, scale=1.01))  # taken 1 % too long
    found = camera_length_m(run)
    assert found is not None
    length, error, given = found
    assert given == 0.1
    assert abs(length - 0.1 / 1.01) < 5 * error
    assert error < 2e-5
    assert camera_length_m(RunStatistics(Setting(small_detector))) is None


def test_another_lattice_does_not_move_the_mean_cell(small_detector: Detector) -> None:
    run = RunStatistics(Setting(small_detector))
    chunks = indexed(np.random.default_rng(12), 200)
    wrong = Chunk("e", "f", 40, "asdf", (Crystal((30.0, 40.0, 50.0, 90.0, 100.0, 90.0)),))
    run.chunks(T0, chunks + [wrong] * 20)
    assert run.counts["crystals"] == 220
    assert panels.series(run, "whole")["a"][0] == pytest.approx(79.0, rel=1e-3)


# The verdict


def steady(
    detector: Detector, *, hit_rate: float = 0.2, n: int = 6000, seconds: float = 600.0, **setting: object
) -> RunStatistics:
    """A run in good order."""
    rng = np.random.default_rng(13)
    run = RunStatistics(Setting(detector, **setting))  # type: ignore[arg-type]
    run.look(None, None)
    n_peaks = np.where(rng.random(n) < hit_rate, 40, 2)
    run.events(T0 + np.linspace(0, seconds, n), n_peaks, n_peaks >= 15, np.zeros(0, PEAK), np.zeros(n, int))
    return run


def test_a_run_in_order_is_ok(small_detector: Detector) -> None:
    run = steady(small_detector, cell=CELL)
    run.chunks(T0 + 300, indexed(np.random.default_rng(14), 300))
    verdict = judge(run, T0 + 601)
    assert (verdict.level, verdict.findings) == (OK, ())
    assert "of the events are hits, 100 % of them indexed" in verdict.text
    assert judge(RunStatistics(Setting(small_detector)), T0).text == "too few to judge: 0 events so far"


def blank(run: RunStatistics, n: int, seconds: float = 60.0) -> None:
    """Misses alone, after what there was."""
    assert run.last_at is not None
    at = run.last_at + np.linspace(0.01, seconds, n)
    run.events(at, np.full(n, 2), np.zeros(n, bool), np.zeros(0, PEAK), np.zeros(n, int))


def hit_rate_falls(run: RunStatistics) -> None:
    blank(run, 600)


def no_hits(run: RunStatistics) -> None:
    blank(run, 3000, 300)


def few_indexed(run: RunStatistics) -> None:
    run.chunks(T0 + 300, indexed(np.random.default_rng(15), 40) + [Chunk("e", "f", 30)] * 260)


def none_indexed(run: RunStatistics) -> None:
    run.chunks(T0 + 300, [Chunk("e", "f", 30)] * 200)


def saturated(run: RunStatistics) -> None:
    peaks = np.zeros(20 * 300, PEAK)
    peaks["max"] = 20000
    peaks["ss"] = peaks["fs"] = 100
    run.events(T0 + np.linspace(0, 500, 300), np.full(300, 20), np.ones(300, bool), peaks, np.full(300, 20))


def length_off(run: RunStatistics) -> None:
    run.chunks(T0 + 300, indexed(np.random.default_rng(16), 300, scale=1.005))


def centre_off(run: RunStatistics) -> None:
    run.chunks(T0 + 300, indexed(np.random.default_rng(17), 300, shift=(0.5, -0.2)))


def cell_drifts(run: RunStatistics) -> None:
    rng = np.random.default_rng(18)
    run.chunks(T0, indexed(rng, 200))
    run.chunks(T0 + 4000, indexed(rng, 200, scale=1.0035))


def background_rises(run: RunStatistics, level: float = 9.0) -> None:
    rng = np.random.default_rng(19)
    for k in range(60):
        frame = rng.poisson(level if k >= 45 else 4.0, run.setting.detector.shape).astype(np.uint16)
        run.frame(T0 + 4 * k, frame, False)


def beam_goes(run: RunStatistics) -> None:
    background_rises(run, 0.1)


def frames_lost(run: RunStatistics) -> None:
    run.state(T0 + 600, {"stream lost": 200.0})


def most_lost(run: RunStatistics) -> None:
    run.state(T0 + 600, {"stream lost": 6000.0})


def hits_not_indexed(run: RunStatistics) -> None:
    run.state(T0 + 600, {"indexing dropped": 60.0, "indexing given up": 3.0})


def broken(run: RunStatistics) -> None:
    run.unusable(T0 + 600, 100, "no good pixel is a number")


def bad_pixels(run: RunStatistics) -> None:
    run.state(T0 + 600, {"bad_pixels": 2000.0})


@pytest.mark.parametrize(
    ("trouble", "level", "words"),
    [
        (hit_rate_falls, WARNINGS, "the hit rate fell from 19 % to 0 %"),
        (no_hits, UNUSABLE, "no hit in the last 3,0"),
        (few_indexed, WARNINGS, "only 13 % of 300 hits were indexed"),
        (none_indexed, UNUSABLE, "only 0 % of 200 hits were indexed"),
        (saturated, WARNINGS, "of the hits have peaks at max_adu (15000 ADU)"),
        (length_off, WARNINGS, "mm of camera length, -0.4"),
        (centre_off, WARNINGS, "beam centre by +"),
        (cell_drifts, WARNINGS, "the cell's a went from 78.99 to 79.2"),
        (background_rises, WARNINGS, "the background rose from 4.01 to"),
        (beam_goes, UNUSABLE, "the background fell from 4 to 0.09"),
        (frames_lost, WARNINGS, "200 frames were lost, 3.2 %"),
        (most_lost, UNUSABLE, "6,000 frames were lost, 50 %"),
        (hits_not_indexed, WARNINGS, "63 hits were not given to the indexer, 5"),
        (broken, WARNINGS, "100 events could not be used"),
        (bad_pixels, WARNINGS, "2,000 pixels were learned to be bad"),
    ],
)
def test_trouble_is_said(small_detector: Detector, trouble: object, level: str, words: str) -> None:
    detector = replace(small_detector, settings={**small_detector.settings, "max_adu": "15000"})
    run = steady(detector, cell=CELL)
    trouble(run)  # type: ignore[operator]
    assert run.last_at is not None
    verdict = judge(run, run.last_at + 1)
    assert verdict.level == level, verdict
    assert any(words in finding.text for finding in verdict.findings), verdict
    assert all(finding.advice for finding in verdict.findings)
    assert verdict.findings[0].level == level


def test_a_run_that_stands_still_is_said(small_detector: Detector) -> None:
    run = steady(small_detector)
    assert "no event for 45 s" in judge(run, T0 + 645).text
    assert judge(run, None).level == OK  # it is over
