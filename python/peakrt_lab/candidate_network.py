"""The network of the candidate model: it says of a candidate how likely it is a peak. Needs torch.

Two hidden layers over the candidate's numbers. It learns from true labels and from boosted trees (trees.py), the trees
also speaking on candidates that no simulation made: real ones with some numbers exchanged. So it inherits how trees
behave beyond the training data, where a network left alone is sure of itself and wrong.
Normalisation and calibration are layers of the network: a model file needs nothing beside itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from peakrt.finders.proposer import FEATURES

from .calibration import platt
from .dataset import Candidates

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CandidateTraining:
    """Size of the network and how it is trained."""

    hidden: tuple[int, int] = (96, 64)
    steps: int = 10000
    batch: int = 1024
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    warm_up: int = 200
    teacher_share: float = 0.7  # of a target; the rest is the label
    exchanged: int = 1_000_000  # candidates with exchanged numbers
    seed: int = 0


class CandidateNetwork(nn.Module):
    """Calibrated logit of each candidate from its numbers (n, features).

    mean, scale : of the compressed numbers, (features,)
    """

    mean: torch.Tensor
    scale: torch.Tensor
    sharpness: torch.Tensor
    bias: torch.Tensor

    def __init__(self, hidden: tuple[int, int], mean: Floats, scale: Floats) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(len(FEATURES), hidden[0]), nn.Linear(hidden[0], hidden[1])
        self.last = nn.Linear(hidden[1], 1)
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("scale", torch.from_numpy(scale))
        # p = sigmoid(sharpness * logit + bias): Platt, in: Advances in Large Margin Classifiers (1999) 61
        self.register_buffer("sharpness", torch.ones(1))
        self.register_buffer("bias", torch.zeros(1))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Give calibrated logits (n,)."""
        x = torch.clamp((compress(numbers) - self.mean) * self.scale, -5.0, 5.0)
        x = F.relu(self.second(F.relu(self.first(x))))
        return self.last(x)[:, 0] * self.sharpness + self.bias


def compress(numbers: torch.Tensor) -> torch.Tensor:
    """Signed log1p: significances run to thousands."""
    return torch.sign(numbers) * torch.log1p(torch.abs(numbers))


@dataclass(frozen=True)
class TrainingSet:
    """What a network learns from: candidates, a teacher's probability of each, and exchanged ones with theirs."""

    data: Candidates
    teacher: Floats
    exchanged: Floats
    exchanged_teacher: Floats


def prepare(config: CandidateTraining, data: Candidates, teach: Callable[[Floats], Floats]) -> TrainingSet:
    """Ask a teacher about all candidates, and about as many with some numbers exchanged among them."""
    rng = np.random.default_rng(config.seed)
    pick = _Picker(data)
    mixed = data.numbers[pick(rng, config.exchanged)].copy()
    share = rng.choice([0.05, 0.15, 0.4], len(mixed))
    for feature in range(mixed.shape[1]):
        swapped = np.flatnonzero(rng.random(len(mixed)) < share)
        mixed[swapped, feature] = data.numbers[pick(rng, len(swapped)), feature]
    return TrainingSet(data, teach(data.numbers), mixed, teach(mixed))


class _Picker:
    """Draws candidates that are labelled, by weight."""

    def __init__(self, data: Candidates) -> None:
        self._labelled = np.flatnonzero(data.labels != 2)
        chance = np.cumsum(data.weights()[self._labelled], dtype=np.float64)
        self._chance = chance / chance[-1]

    def __call__(self, rng: np.random.Generator, n: int) -> npt.NDArray[np.int64]:
        at = np.searchsorted(self._chance, rng.random(n))
        return self._labelled[np.minimum(at, len(self._labelled) - 1)]


def train(
    config: CandidateTraining,
    training_set: TrainingSet,
    *,
    on_step: Callable[[int, float], None] | None = None,
    resume: dict[str, Any] | None = None,
    save: Callable[[dict[str, Any]], None] | None = None,
) -> CandidateNetwork:
    """Train a network: AdamW, cosine schedule with warm-up.

    on_step is given the step and the loss; save is given the state every 1000 steps, resume takes it.
    Raises ValueError for a state of another configuration.
    """
    torch.manual_seed(config.seed)
    data, pick = training_set.data, _Picker(training_set.data)
    compressed = compress(torch.from_numpy(data.numbers[data.labels != 2]))
    network = CandidateNetwork(config.hidden, compressed.mean(0).numpy(), (1 / (compressed.std(0) + 1e-3)).numpy())
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    start = 0
    if resume is not None:
        if resume["config"] != asdict(config):
            raise ValueError("the training to resume had another configuration: remove its folder or choose another")
        network.load_state_dict(resume["judge"])
        optimiser.load_state_dict(resume["optimiser"])
        start = resume["step"]
    label = (data.labels == 1).astype(np.float32)
    target = (1 - config.teacher_share) * label + config.teacher_share * training_set.teacher
    for step in range(start, config.steps):
        rng = np.random.default_rng([config.seed, step])  # so that a resumed training takes the same batches
        for group in optimiser.param_groups:
            group["lr"] = _rate(config, step)
        at, mixed = pick(rng, config.batch), rng.integers(0, len(training_set.exchanged), config.batch)
        loss = F.binary_cross_entropy_with_logits(
            network(torch.from_numpy(data.numbers[at])), torch.from_numpy(target[at])
        ) + F.binary_cross_entropy_with_logits(
            network(torch.from_numpy(training_set.exchanged[mixed])),
            torch.from_numpy(training_set.exchanged_teacher[mixed]),
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if on_step is not None:
            on_step(step, loss.item())
        if save is not None and (step + 1) % 1000 == 0:
            state = {"judge": network.state_dict(), "optimiser": optimiser.state_dict()}
            save({"config": asdict(config), "step": step + 1, **state})
    return network.eval()


def _rate(config: CandidateTraining, step: int) -> float:
    cosine = 0.5 + 0.5 * float(np.cos(np.pi * step / config.steps)) + 1e-3
    return config.learning_rate * cosine * min(1.0, (step + 1) / config.warm_up)


def predict(network: CandidateNetwork, numbers: Floats) -> Floats:
    """Probability of each candidate."""
    with torch.no_grad():
        return np.asarray(torch.sigmoid(network(torch.from_numpy(numbers))).numpy())


def calibrate(network: CandidateNetwork, data: Candidates) -> None:
    """Set the network's last two numbers so that its scores are the shares of true peaks (Platt 1999)."""
    known = data.labels != 2
    with torch.no_grad():
        logit = network(torch.from_numpy(data.numbers[known])).numpy()
    sharpness, bias = platt(logit, data.labels[known] == 1)
    network.bias.mul_(sharpness).add_(bias)
    network.sharpness.mul_(sharpness)
