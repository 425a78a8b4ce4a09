"""The second network of a candidate model: it weighs each candidate's score by the others of its frame. Needs torch.

The first network is trained on everything that detectors do at once, so its scores are those of a world where every frame
may have zingers, wide pixels and hot ones. A frame tells more. Where many candidates are sure and few in between, those few
are peaks too; where none is sure, or very many are in between, they are not; and a peak of one pixel is likely where the sure
ones are as sharp. ``csrc/include/peakrt/frame_network.hpp`` has the inputs, and runs the network.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from peakrt import _native
from peakrt.finders.proposer import FEATURES, FRAME_INPUTS, FRAME_WEIGHTS, Proposer
from peakrt.models.engine_onnx import OnnxEngine
from peakrt.models.model_file import Model
from peakrt_geometry import load_detector

from . import recipe
from .calibration import calibration_error, log_loss
from .simulate import RESPONSES, Scene, Simulator
from .work_folder import commit

Floats = npt.NDArray[np.float32]
_STRENGTH = FEATURES.index("sum3_poisson")
#: Of the first network: what has less is not learned from, for it says nothing of what might be a peak.
_LEAST_SCORE = 1e-3

#: Whole frames of the catalogue's detectors, beside the parts of the recipe: every scene on each detector.
DETECTORS = (
    "epix10k2m", "jungfrau1m", "cspad", "eiger4m", "rayonix_mx340", "agipd1m", "rayonix_mx170", "jungfrau4m",
)  # fmt: skip
SCENES = (
    Scene(),
    Scene(photons=(20.0, 600.0)),
    Scene(photons=(10.0, 300.0)),
    Scene(ice=0.5, salt=0.5, jet=0.5, shadow=0.5, zingers=20.0),
    Scene(bandwidth=(0.003, 0.01), size_px=(0.3, 2.5)),
    Scene(background=(0.002, 0.1), photons=(20.0, 1000.0)),
    Scene(size_px=(0.02, 0.1), photons=(20.0, 600.0)),
)


@dataclass(frozen=True)
class FrameTraining:
    """What the second network is trained on and how.

    scenes : of the recipe, every second one with faint peaks; whole : frames of SCENES on DETECTORS in turn
    """

    scenes: int = 3000
    whole: int = 112
    steps: int = 8000
    batch: int = 2048
    learning_rate: float = 1e-2
    seed: int = 4711
    whole_seed: int = 90210


@dataclass(frozen=True)
class Weighed:
    """Candidates that stand, of many frames.

    inputs : (n, len(FRAME_INPUTS)); truth : (n,); frame : (n,) the frame of each
    """

    inputs: Floats
    truth: npt.NDArray[np.bool_]
    frame: npt.NDArray[np.int64]

    def weights(self) -> Floats:
        """Weight of each, so that a crowded frame does not speak for all."""
        _, place, count = np.unique(self.frame, return_inverse=True, return_counts=True)
        return np.asarray(1 / np.sqrt(np.maximum(count[place], 30)), np.float32)

    def only(self, which: npt.NDArray[np.bool_]) -> Weighed:
        """Those that a mask keeps."""
        return Weighed(self.inputs[which], self.truth[which], self.frame[which])


def standing(candidates: npt.NDArray[np.void], scores: Floats, strength: Floats) -> npt.NDArray[np.bool_]:
    """Which candidates have the highest score within 3 pixels, of equal ones the strongest: CANDIDATE, (n,), (n,)."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(_places(candidates)).query_pairs(3.0, output_type="ndarray").reshape(-1, 2)
    i, j = pairs[:, 0], pairs[:, 1]
    first = (scores[i] > scores[j]) | ((scores[i] == scores[j]) & (strength[i] >= strength[j]))
    keep = np.ones(len(scores), bool)
    keep[np.where(first, j, i)] = False
    return keep


def is_peak(
    candidates: npt.NDArray[np.void], label: npt.NDArray[np.int8], stands: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Which of the candidates that stand are peaks, by :func:`peakrt_lab.recipe.label`'s labels.

    The candidates of clear peaks, labelled 1, and those that stand within 3 pixels in their stead; and of those labelled 2,
    which the first network does not learn from, the candidates of faint peaks. Others beside a clear peak are none.
    """
    from scipy.spatial import cKDTree

    clear = np.flatnonzero(label == 1)
    if not len(clear):
        return label == 2
    places = _places(candidates)
    distance, nearest = cKDTree(places[clear]).query(places)
    instead = ~stands[clear[nearest]] & (distance <= 3)
    return (label == 1) | ((label == 2) & ((distance >= 6) | instead))


def _places(candidates: npt.NDArray[np.void]) -> npt.NDArray[np.float64]:
    """Positions that are far apart on different ASICs, (n, 2)."""
    return np.c_[candidates["asic"] * 1e5 + candidates["ss"], candidates["fs"]].astype(float)


def of_frame(
    proposer: Proposer, frame: npt.NDArray[np.generic], gain: float, truth: npt.NDArray[np.void], engine: OnnxEngine
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Inputs of the candidates of a frame that stand, and whether each is a peak. truth : TRUTH"""
    proposer.propose(frame, gain)
    numbers, candidates = proposer.describe(), proposer.candidates
    scores = engine(numbers)
    keep = standing(candidates, scores, numbers[:, _STRENGTH]) & (scores >= _LEAST_SCORE)
    label = recipe.label(candidates, numbers[:, _STRENGTH], truth)
    return _native.frame_inputs(numbers, scores)[keep], is_peak(candidates, label, keep)[keep]


def _recipe_frame(seed: int, number: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    faint = number % 2
    scene = recipe.draw(seed + faint, number // 2, faint=faint == 1)
    return of_frame(scene.proposer(), scene.event.frame, scene.gain, scene.event.peaks, _first[0])


def _catalogue_frame(seed: int, number: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    name, turn = DETECTORS[number % len(DETECTORS)], number // len(DETECTORS)
    detector = load_detector(name)
    simulator = Simulator(detector, SCENES[turn % len(SCENES)], RESPONSES[name], seed=seed + turn)
    event = simulator.event(0)
    proposer = Proposer(simulator.good, detector.radius, asics=detector.asics)
    return of_frame(proposer, event.frame, simulator.gain, event.peaks, _first[0])


#: In a process that simulates: the engine of the first network.
_first: list[OnnxEngine] = []


def _start(model: Model) -> None:
    _first[:] = [OnnxEngine(model)]


def frames(config: FrameTraining, model: Model, *, processes: int, say: Callable[[str], None]) -> Weighed:
    """Simulate frames and weigh their candidates' inputs against the truth, as a model's first network sees them."""
    inputs: list[Floats] = []
    truth: list[npt.NDArray[np.bool_]] = []
    frame: list[npt.NDArray[np.int64]] = []
    jobs = ((_recipe_frame, config.seed, config.scenes), (_catalogue_frame, config.whole_seed, config.whole))
    with ProcessPoolExecutor(processes, initializer=_start, initargs=(model,)) as pool:
        for job, seed, count in jobs:
            for one, true in pool.map(partial(job, seed), range(count), chunksize=8):
                inputs.append(one)
                truth.append(true)
                frame.append(np.full(len(true), len(frame)))
                if len(frame) % 500 == 0:
                    say(f"{len(frame)} frames for the second network")
    return Weighed(np.concatenate(inputs), np.concatenate(truth), np.concatenate(frame))


class FrameNetwork(nn.Module):
    """Logit of each candidate from its inputs (n, len(FRAME_INPUTS)): one hidden layer, as the finder has it."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, mean: Floats, scale: Floats) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("scale", torch.from_numpy(scale))
        self.hidden = nn.Linear(len(FRAME_INPUTS), _native.FRAME_HIDDEN)
        self.last = nn.Linear(_native.FRAME_HIDDEN, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Give logits (n,)."""
        x = torch.clamp((inputs - self.mean) * self.scale, -4.0, 4.0)
        return self.last(F.relu(self.hidden(x)))[:, 0]

    def weights(self) -> list[float]:
        """All weights in the order in which the model file and ``frame_network.hpp`` have them."""
        layers = (self.mean, self.scale, self.hidden.weight.T, self.hidden.bias, self.last.weight, self.last.bias)
        flat = np.concatenate([layer.detach().numpy().ravel() for layer in layers])
        assert len(flat) == FRAME_WEIGHTS
        return [float(f"{value:.7g}") for value in flat]


def train(config: FrameTraining, data: Weighed) -> FrameNetwork:
    """Train a second network: AdamW, cosine schedule."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    network = FrameNetwork(data.inputs.mean(0), 1 / (data.inputs.std(0) + 1e-3))
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    chance = np.cumsum(data.weights(), dtype=np.float64)
    inputs, truth = torch.from_numpy(data.inputs), torch.from_numpy(data.truth.astype(np.float32))
    for _ in range(config.steps):
        at = np.minimum(np.searchsorted(chance, rng.random(config.batch) * chance[-1]), len(truth) - 1)
        loss = F.binary_cross_entropy_with_logits(network(inputs[at]), truth[at])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def predict(network: FrameNetwork, inputs: Floats) -> Floats:
    """Probability of each candidate."""
    with torch.no_grad():
        return np.asarray(torch.sigmoid(network(torch.from_numpy(inputs))).numpy())


def for_model(scenes: int) -> FrameTraining:
    """What is fit for a model that was trained on so many scenes."""
    return FrameTraining(scenes=scenes // 3, whole=scenes // 80)


def fit(
    config: FrameTraining, model: Model, *, processes: int, say: Callable[[str], None]
) -> tuple[list[float], dict[str, Any]]:
    """Weights of the second network for a model, and its provenance with scores on a fifth of the frames, held out."""
    data = frames(config, model, processes=processes, say=say)
    held_out = data.frame % 5 == 4
    network = train(config, data.only(~held_out))
    test = data.only(held_out)
    before = np.asarray(1 / (1 + np.exp(-test.inputs[:, FRAME_INPUTS.index("logit")])), np.float32)
    after = predict(network, test.inputs)
    scores = {
        "commit": commit(), "config": asdict(config), "recipe": recipe.VERSION, "frames": int(data.frame.max()) + 1,
        "log_loss_before": log_loss(before, test.truth, test.weights()),
        "log_loss": log_loss(after, test.truth, test.weights()),
        "calibration_error_before": round(calibration_error(before, test.truth), 4),
        "calibration_error": round(calibration_error(after, test.truth), 4),
    }  # fmt: skip
    return network.weights(), scores
