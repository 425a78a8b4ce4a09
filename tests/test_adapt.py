"""Adapting a judge to an experiment: labels from predictions, better or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

torch = pytest.importorskip("torch", reason="needs torch: pip install '.[train]'")
pytest.importorskip("onnx", reason="needs onnx")

from peakrt import CandidateConfig, PeakFinder  # noqa: E402
from peakrt.cxi.reader import SlabPeaks  # noqa: E402
from peakrt.event import Event  # noqa: E402
from peakrt.finders.proposer import FEATURES  # noqa: E402
from peakrt.models.engine_onnx import OnnxEngine  # noqa: E402
from peakrt.models.model_file import load_model  # noqa: E402
from peakrt_geometry import load_detector  # noqa: E402
from peakrt_lab.adapt import AdaptConfig, Lesson, adapt, label_patterns, open_network  # noqa: E402
from peakrt_lab.candidate_network import predict  # noqa: E402
from peakrt_lab.compare import slab_peaks  # noqa: E402
from peakrt_lab.dataset import proposed  # noqa: E402
from peakrt_lab.lattice import Pattern  # noqa: E402
from peakrt_lab.simulate import RESPONSES, Scene, Simulator  # noqa: E402
from peakrt_lab.stream import IndexedCrystal  # noqa: E402


@pytest.fixture(scope="module")
def experiment():
    """Frames of crystals with large cells on a blurring detector, and what their lattices predict."""
    detector = load_detector("rayonix_mx170")
    response = replace(RESPONSES["rayonix_mx170"], psf=1.3, psf_tail=0.15)
    scene = Scene(hit_fraction=1.0, photons=(1000.0, 10000.0))
    simulator = Simulator(
        detector, scene, response, cell=(210.0, 230.0, 260.0, 90.0, 90.0, 90.0), space_group="P 21 21 21", seed=3
    )
    simulated = [simulator.event(k) for k in range(8)]
    predictions = {
        k: Pattern(SlabPeaks(*(e.peaks[name].astype(float) for name in ("ss", "fs", "photons", "snr"))))
        for k, e in enumerate(simulated)
    }
    return detector, [Event(e.frame, simulator.good) for e in simulated], predictions, simulator.gain


def test_a_model_opens_as_the_network_it_was(experiment) -> None:
    model = load_model("default")
    numbers = np.random.default_rng(0).normal(2, 3, (500, 53)).astype(np.float32)
    np.testing.assert_allclose(predict(open_network(model), numbers), OnnxEngine(model)(numbers), atol=1e-5)


def test_adapting_helps_and_says_so(experiment, tmp_path: Path) -> None:
    detector, events, predictions, gain = experiment
    model = load_model("default")
    data = label_patterns(events, predictions, detector, open_network(model), gain=gain, threshold=model.threshold)
    assert set(np.unique(data.labels)) == {0, 1, 2}
    said: list[str] = []
    outcome = adapt(
        model, data, tmp_path / "adapted.onnx", config=AdaptConfig(steps=300, replay_scenes=100), say=said.append
    )
    assert outcome.after >= outcome.before
    assert outcome.patterns >= 4
    assert said
    adapted = load_model(str(tmp_path / "adapted.onnx"))
    assert adapted.provenance["adapted"]["from"] == model.digest
    finder = PeakFinder(CandidateConfig(model=str(tmp_path / "adapted.onnx"), gain=gain), geometry=detector)
    assert len(slab_peaks(finder(events[0].frame, events[0].mask), 1920)) > 15


def test_predictions_of_other_frames_teach_nothing(experiment) -> None:
    detector, events, predictions, gain = experiment
    model = load_model("default")
    moved = {
        k: Pattern(SlabPeaks(p.ss[:5] + 7, p.fs[:5] + 9, p.intensity[:5], p.snr[:5]))
        for k, p in ((k, predictions[k].predicted) for k in range(2))
    }
    with pytest.raises(ValueError, match="no pattern teaches"):
        label_patterns(events[:2], moved, detector, open_network(model), gain=gain, threshold=model.threshold)


def test_what_gets_worse_is_not_written(experiment, tmp_path: Path) -> None:
    detector, events, predictions, gain = experiment
    model = load_model("default")
    data = label_patterns(events, predictions, detector, open_network(model), gain=gain, threshold=model.threshold)
    wrong = replace(data, labels=np.where(data.scene % 2 == 1, 1 - data.labels % 2, data.labels).astype(np.int8))
    with pytest.raises(ValueError, match="it got worse"):
        adapt(
            model,
            wrong,
            tmp_path / "worse.onnx",
            config=AdaptConfig(steps=200, learning_rate=1e-2, replay_scenes=8),
            say=lambda text: None,
        )
    assert not list(tmp_path.iterdir())
    few = data.only(data.scene < 2)
    with pytest.raises(ValueError, match="at least 4"):
        adapt(model, few, tmp_path / "few.onnx", say=lambda text: None)


def test_a_peak_that_the_lattice_does_not_predict_is_not_called_false(experiment) -> None:
    """Every tenth prediction is left out, as the reflections of a second lattice are."""
    detector, events, predictions, gain = experiment
    model = load_model("default")
    judge = open_network(model)
    kept = {k: Pattern(p.predicted.only(np.arange(len(p.predicted)) % 10 != 0)) for k, p in predictions.items()}
    whole, partial = (
        label_patterns(events[:3], given, detector, judge, gain=gain, threshold=model.threshold)
        for given in (predictions, kept)
    )
    both = np.isin(whole.scene, np.unique(partial.scene))
    scores, lost = predict(judge, partial.numbers), (whole.labels[both] == 1) & (partial.labels != 1)
    assert lost.sum() > 20
    assert (partial.labels[lost & (scores >= 0.5)] == 2).all()


def test_the_lattice_speaks_where_nothing_is_predicted() -> None:
    """Only reflections near the beam are predicted; peaks farther out teach as peaks, grains of powder as none."""
    detector = load_detector("jungfrau1m")
    scene = Scene(hit_fraction=1.0, photons=(1000.0, 10000.0), ice=1.0, salt=1.0, mosaicity=(2e-4, 1e-3))
    simulator = Simulator(detector, scene, cell=(79.1, 79.1, 38.4, 90.0, 90.0, 90.0), space_group="P 43 21 2", seed=2)
    model = load_model("default")
    judge = open_network(model)
    true_ones = beyond = false_ones = 0
    for number in range(4):
        shot = simulator.event(number)
        true = SlabPeaks(*(shot.peaks[name].astype(float) for name in ("ss", "fs", "photons", "snr")))
        near = detector.radius[0, np.rint(true.ss).astype(int), np.rint(true.fs).astype(int)] < 250
        crystal = IndexedCrystal(np.full(6, np.nan), shot.lattices[0], true.ss[near], true.fs[near], [])
        event = Event(shot.frame, simulator.good)
        (_, _, proposer) = next(proposed([(0, event)], detector, simulator.gain))
        scores = predict(judge, proposer.describe())
        strength = proposer.describe()[:, FEATURES.index("sum3_poisson")]
        at = np.c_[proposer.candidates["ss"], proposer.candidates["fs"]]
        is_true = cKDTree(np.c_[true.ss, true.fs]).query(at)[0] < 3
        lesson = Lesson(detector, Pattern(true.only(near), (crystal,)))
        labels = lesson.label(proposer.candidates, strength, scores, doubt=False)
        assert not is_true[labels == 0].any()
        true_ones += is_true[labels == 1].sum()
        beyond += (is_true & (detector.radius[0, at[:, 0], at[:, 1]] > 300) & (labels == 1)).sum()
        false_ones += (~is_true[labels == 1]).sum()
        doubtful = lesson.label(proposer.candidates, strength, scores)
        assert (doubtful[(scores >= 0.5) & (labels == 0)] == 2).all()
    assert beyond > 100
    assert false_ones < 0.05 * true_ones
