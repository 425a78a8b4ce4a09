"""The networks of the papers, and the judge: counts, equal outputs, losses, training, calibration, export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install '.[train]'")

from peakrt_lab import peaknet2023, peaknet2025  # noqa: E402
from peakrt_lab.convnextv2 import SIZES, ConvNeXtV2  # noqa: E402


def millions(module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


@pytest.mark.parametrize(("backbone", "paper"), [("huge", 673.1), ("tiny", 41.5), ("atto", 16.6)])
def test_parameters_of_the_2025_paper(backbone: str, paper: float) -> None:
    with torch.device("meta"):
        assert round(millions(peaknet2025.PeakNet2025(backbone)), 1) == paper


@pytest.mark.parametrize(
    ("size", "paper"), [("atto", 3.7), ("nano", 15.6), ("tiny", 28.6), ("base", 89), ("large", 198), ("huge", 660)]
)
def test_parameters_of_convnextv2(size: str, paper: float) -> None:
    """Table 10 of arXiv:2301.00808 counts three input channels, one final norm and a classifier of 1000 classes."""
    with torch.device("meta"):
        net = ConvNeXtV2(size, in_channels=3)
        last = SIZES[size].channels[-1]
        classifier = (last * 1000 + 1000) / 1e6
    norms = sum(2 * c for c in SIZES[size].channels[:-1]) / 1e6
    assert millions(net) - norms + classifier == pytest.approx(paper, rel=0.01)


@pytest.mark.parametrize("size", ["atto", "nano"])
def test_convnextv2_equals_transformers(size: str) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    shape = SIZES[size]
    stages = [f"stage{k}" for k in range(1, 5)]
    config = transformers.ConvNextV2Config(
        num_channels=1,
        hidden_sizes=list(shape.channels),
        depths=list(shape.blocks),
        drop_path_rate=0.0,
        out_features=stages,
    )
    torch.manual_seed(0)
    theirs = transformers.ConvNextV2Backbone(config).eval()
    for parameter in theirs.parameters():  # response normalisation starts at zero, where it cannot be wrong
        torch.nn.init.normal_(parameter, std=0.05)
    ours = ConvNeXtV2(size).eval()
    ours.load_state_dict(renamed(theirs.state_dict()))
    frames = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        for a, b in zip(ours(frames), theirs(frames).feature_maps, strict=True):
            assert torch.allclose(a, b, atol=1e-4, rtol=1e-4)


def renamed(state: dict) -> dict:
    """Weights of transformers' ConvNextV2Backbone under our names."""
    out = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "embeddings":
            out[f"down.0.{0 if 'patch' in parts[1] else 1}.{parts[-1]}"] = value
        elif parts[0] == "hidden_states_norms":
            out[f"norms.{int(parts[1][-1]) - 1}.{parts[-1]}"] = value
        elif "downsampling_layer" in parts:
            out[f"down.{parts[2]}.{parts[4]}.{parts[-1]}"] = value
        else:
            inner = {
                "dwconv": "depthwise",
                "layernorm": "norm",
                "pwconv1": "widen",
                "grn": "response",
                "pwconv2": "narrow",
            }
            out[f"stages.{parts[2]}.{parts[4]}.{inner[parts[5]]}.{parts[-1]}"] = (
                value.reshape(-1) if parts[5] == "grn" else value
            )
    return out


def test_2025_takes_any_multiple_of_32_and_learns() -> None:
    torch.manual_seed(0)
    net = peaknet2025.PeakNet2025("atto", width=32, blocks=2)
    frames = peaknet2025.standardise(torch.rand(1, 1, 64, 96))
    target = torch.zeros(1, 64, 96, dtype=torch.long)
    target[0, 20:23, 40:43] = 1
    frames[0, 0, 20:23, 40:43] += 20
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    losses = []
    for _ in range(25):
        loss = peaknet2025.focal_loss(net(frames), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert net(frames).shape == (1, 3, 64, 96)
    assert losses[-1] < 0.3 * losses[0]


def test_pad_and_crop_keeps_the_middle() -> None:
    frame = torch.arange(6.0).reshape(1, 1, 2, 3)
    padded = peaknet2025.pad_and_crop(frame, 6)
    assert padded.shape == (1, 1, 6, 6)
    assert padded.sum() == frame.sum()
    assert torch.equal(peaknet2025.pad_and_crop(padded, 2)[0, 0], padded[0, 0, 2:4, 2:4])
    standard = peaknet2025.standardise(torch.rand(2, 1, 9, 9) * 7 + 3)
    assert torch.allclose(standard.mean((-2, -1)), torch.zeros(2, 1), atol=1e-5)


def test_focal_loss_is_cross_entropy_where_gamma_is_0() -> None:
    logits, target = torch.randn(2, 3, 5, 4), torch.randint(0, 3, (2, 5, 4))
    expected = torch.nn.functional.cross_entropy(logits, target)
    assert torch.allclose(peaknet2025.focal_loss(logits, target, alpha=(1.0, 1.0, 1.0), gamma=0), expected)
    assert torch.allclose(peaknet2023.focal_loss(logits, target, alpha=1.0, gamma=0), expected)
    unknown = torch.cat([target, torch.full_like(target, -1)])  # pixels that are left out change nothing
    twice = torch.cat([logits, -logits])
    assert torch.allclose(peaknet2023.focal_loss(twice, unknown, alpha=1.0, gamma=0), expected)
    # by hand: p = 1/3 everywhere; .75 (2/3)^2 ln 3 on peaks
    flat = torch.zeros(1, 3, 1, 1)
    by_hand = 0.75 * (2 / 3) ** 2 * np.log(3)
    assert peaknet2025.focal_loss(flat, torch.ones(1, 1, 1, dtype=torch.long)).item() == pytest.approx(
        by_hand, rel=1e-5
    )
    left_out = torch.full((1, 1, 1), -1)
    assert peaknet2025.focal_loss(flat, left_out).item() == 0


def test_distillation_loss_by_hand() -> None:
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    p = torch.softmax(teacher.double() / 2, 1)
    divergence = (p * (torch.log(p) - torch.log_softmax(student.double() / 2, 1))).sum(1).mean() * 4
    squares = ((student - teacher) ** 2).mean()
    focal = peaknet2025.focal_loss(student, teacher.argmax(1))
    expected = 0.4 * squares + 0.4 * divergence + 0.2 * focal
    assert peaknet2025.distillation_loss(student, teacher).item() == pytest.approx(expected.item(), rel=1e-5)
    at_rest = peaknet2025.distillation_loss(teacher, teacher) - 0.2 * peaknet2025.focal_loss(teacher, teacher.argmax(1))
    assert at_rest.item() == pytest.approx(0, abs=1e-6)


def test_2023_takes_any_size_and_batch() -> None:
    net = peaknet2023.PeakNet2023(base=2).eval()
    for shape in ((1, 1, 33, 47), (3, 1, 64, 64)):
        assert net(torch.rand(shape)).shape == (shape[0], 3, *shape[2:])


def test_2023_augmentation_masks_and_keeps_labels_with_pixels() -> None:
    frame, target = torch.ones(400, 500), torch.zeros(400, 500, dtype=torch.long)
    target[150:250, 200:300] = 1
    frame[target == 1] = 5
    turned, classes = peaknet2023.augment(frame, target, np.random.default_rng(1), masks=0)
    assert set(classes.unique().tolist()) == {0, 1}
    assert (turned[classes == 1] > 2.5).float().mean() > 0.95
    blanked, none = peaknet2023.augment(frame, target, np.random.default_rng(1), masks=50)
    assert (blanked == 0).float().mean() > 0.5
    assert (none[blanked == 0] == 0).all()


# The judge


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory):
    pytest.importorskip("lightgbm", reason="needs lightgbm")
    from peakrt_lab import dataset

    folder = tmp_path_factory.mktemp("scenes")
    list(dataset.generate(folder, seed=5, first=0, scenes=60, processes=1, shard=30))
    return folder, dataset.load(folder, seed=5, first=0, scenes=60, shard=30)


def test_scenes_depend_on_seed_and_number_alone(scenes) -> None:
    from peakrt_lab import dataset

    _, data = scenes
    again = dataset.of_scene(5, 17)
    assert np.array_equal(again.numbers, data.only(data.scene == 17).numbers)
    assert np.array_equal(again.labels, data.only(data.scene == 17).labels)
    assert set(np.unique(data.labels)) == {0, 1, 2}
    assert np.isfinite(data.numbers).all()


def test_training_resumes_where_it_stopped(scenes) -> None:
    from peakrt_lab.candidate_network import CandidateTraining, predict, prepare, train

    config = CandidateTraining(hidden=(8, 8), steps=1500, batch=64, exchanged=500)
    training_set = prepare(config, scenes[1], lambda numbers: np.full(len(numbers), 0.3, np.float32))
    states: list[dict] = []
    whole = train(config, training_set, save=lambda state: states.append(json.loads(json.dumps({"step": state["step"]})) | {
        "config": state["config"], "judge": {k: v.clone() for k, v in state["judge"].items()},
        "optimiser": {**state["optimiser"], "state": {k: {n: t.clone() for n, t in s.items()} for k, s in state["optimiser"]["state"].items()}},
    }))  # fmt: skip
    resumed = train(config, training_set, resume=states[0])
    assert states[0]["step"] == 1000
    assert np.array_equal(predict(whole, scenes[1].numbers), predict(resumed, scenes[1].numbers))
    with pytest.raises(ValueError, match="another configuration"):
        train(CandidateTraining(hidden=(8, 8), steps=1200, batch=64), training_set, resume=states[0])


def test_trained_judge_is_exported_calibrated_and_used(scenes, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs onnx")
    from peakrt.models.engine_onnx import OnnxEngine
    from peakrt.models.model_file import load_model
    from peakrt_lab.calibration import calibration_error
    from peakrt_lab.candidate_network import CandidateTraining, calibrate, predict, prepare, train
    from peakrt_lab.export import write_model
    from peakrt_lab.trees import predict as ask
    from peakrt_lab.trees import train as grow

    data = scenes[1]
    trees = grow(data, rounds=40)
    config = CandidateTraining(steps=600, batch=256, exchanged=5000)
    judge = train(config, prepare(config, data, lambda numbers: ask(trees, numbers)))
    known = data.labels != 2
    truth = data.labels[known] == 1
    assert ((predict(judge, data.numbers)[known] > 0.5) == truth).mean() > 0.9
    assert ((ask(trees, data.numbers)[known] > 0.5) == truth).mean() > 0.9
    calibrate(judge, data)
    assert calibration_error(predict(judge, data.numbers)[known], truth) < 0.03
    write_model(tmp_path / "m.onnx", judge, threshold=0.6, threshold_in_hits=0.5, provenance={"seed": 5})
    model = load_model(str(tmp_path / "m.onnx"))
    assert model.threshold == 0.6
    assert model.provenance == {"seed": 5}
    scores = OnnxEngine(model)(data.numbers)
    assert np.allclose(scores, predict(judge, data.numbers), atol=1e-4)


def test_frame_network_is_fitted_and_runs_as_torch_runs_it(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs onnx")
    from peakrt.finders.proposer import weigh_scores
    from peakrt.models.engine_onnx import OnnxEngine
    from peakrt.models.model_file import load_model
    from peakrt_lab import recipe
    from peakrt_lab.export import write_with_frame_network
    from peakrt_lab.frame_network import FrameTraining, frames, of_frame, predict, standing, train

    model = load_model("default")
    config = FrameTraining(scenes=40, whole=1, steps=400)
    data = frames(config, model, processes=2, say=lambda text: None)
    assert set(data.frame) <= set(range(41))
    network = train(config, data)
    p, weight = predict(network, data.inputs), data.weights()
    before = 1 / (1 + np.exp(-data.inputs[:, 0]))
    loss = [-np.average(np.where(data.truth, np.log(q), np.log(1 - q)), weights=weight) for q in (p, before)]
    assert loss[0] < 0.9 * loss[1]
    write_with_frame_network(tmp_path / "m.onnx", model, network.weights(), threshold=0.4, provenance={"seed": 3})
    written = load_model(str(tmp_path / "m.onnx"))
    assert (written.threshold, written.threshold_in_hits, written.provenance["frame"]) == (0.4, None, {"seed": 3})
    scene, engine = recipe.draw(config.seed, 3, faint=True), OnnxEngine(written)
    proposer = scene.proposer()
    inputs, truth = of_frame(proposer, scene.event.frame, scene.gain, scene.event.peaks, engine)
    numbers = proposer.describe()
    scores = engine(numbers)
    keep = standing(proposer.candidates, scores, numbers[:, 2]) & (scores >= 1e-3)
    assert written.frame_weights is not None
    assert len(truth) == keep.sum() > 0
    np.testing.assert_allclose(
        weigh_scores(numbers, scores, written.frame_weights)[keep], predict(network, inputs), atol=1e-5
    )


def test_what_stands_is_the_best_within_three_pixels() -> None:
    from peakrt.finders.proposer import CANDIDATE
    from peakrt_lab.frame_network import standing

    candidates = np.zeros(5, CANDIDATE)
    candidates["fs"], candidates["asic"] = [10, 12, 16, 17, 17], [0, 0, 0, 0, 1]
    scores, strength = np.array([0.5, 0.6, 0.9, 0.9, 0.1], np.float32), np.array([9, 1, 2, 3, 1], np.float32)
    assert standing(candidates, scores, strength).tolist() == [False, True, False, True, True]


def test_faint_peaks_are_peaks_and_the_shoulders_of_clear_ones_are_not() -> None:
    from peakrt.finders.proposer import CANDIDATE
    from peakrt_lab.frame_network import is_peak

    candidates = np.zeros(6, CANDIDATE)
    candidates["fs"] = [
        10,
        14,
        30,
        50,
        52,
        80,
    ]  # a peak, its shoulder, a faint one; one that stands in for its neighbour
    label, stands = np.array([1, 2, 2, 1, 2, 0], np.int8), np.array([1, 1, 1, 0, 1, 1], bool)
    assert is_peak(candidates, label, stands)[stands].tolist() == [True, False, True, True, False]
    faint_alone = is_peak(candidates, np.array([2, 0, 0, 0, 0, 0], np.int8), stands)
    assert faint_alone.tolist() == [True] + [False] * 5


def test_calibration_error_by_hand() -> None:
    from peakrt_lab.calibration import calibration_error

    score = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.1], np.float32)
    truth = np.array([True, True, True, False, False, False])
    assert calibration_error(score, truth) == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.1, abs=1e-6)
