"""One command from nothing to a model file: scenes, trees, network, calibration, scores, curves. Needs torch.

Every step leaves its result in the work folder and is not done again: a training that was stopped goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from peakrt.models.model_file import Model, load_model

from . import recipe
from .calibration import calibration_error, log_loss
from .candidate_network import CandidateNetwork, CandidateTraining, TrainingSet, calibrate, predict, prepare, train
from .dataset import PROPOSER, Candidates, generate, join, load
from .export import write_model, write_quantised, write_with_frame_network
from .frame_network import FrameTraining, fit, for_model
from .trees import TREES
from .trees import predict as ask_trees
from .trees import train as grow_trees
from .work_folder import claim, commit

Floats = npt.NDArray[np.float32]
Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainConfig:
    """What the default network is trained on. The last sixth of the scenes is for calibration and scores."""

    scenes: int = 9000
    seed: int = 2026
    # Of the weighed score: F1 is flat around it on the own runs, and precision abroad above 0.997
    threshold: float = 0.7
    rounds: int = 400  # of boosting
    network: CandidateTraining = field(default_factory=CandidateTraining)


def train_judge(
    config: TrainConfig, folder: Path, out: Path, *, processes: int, say: Say, blanks: Candidates | None = None
) -> dict[str, Any]:
    """Train a network and write its model file; returns its scores.

    folder : of intermediate results; processes : for the simulation; blanks : of real frames, to learn from as well
    Raises ValueError if the folder holds a training of another configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    of_blanks = 0 if blanks is None else len(blanks.labels)
    claim(folder, {"recipe": recipe.VERSION, "proposer": PROPOSER, "of_real_blanks": of_blanks, **asdict(config)})
    torch.set_num_threads(processes)
    for done, total in generate(folder, seed=config.seed, first=0, scenes=config.scenes, processes=processes):
        say(f"simulated {done} of {total} parts")
    everything = load(folder, seed=config.seed, first=0, scenes=config.scenes)
    held_out = everything.scene >= config.scenes * 5 // 6
    data, rest = everything.only(~held_out), everything.only(held_out)
    if blanks is not None:
        data = join([data, blanks])
    say(f"{len(data.labels)} candidates to learn from, {len(rest.labels)} to be judged on")
    trees = grow_trees(data, rounds=config.rounds, threads=processes)
    trees.save_model(folder / TREES)
    say("trees grown; asking them")
    training_set = prepare(config.network, data, lambda numbers: ask_trees(trees, numbers))
    losses: list[float] = []
    network = _train_on(config, folder, training_set, losses, say)
    # Calibrated on one half of what is held out, scored on the other.
    half = rest.scene % 2 == 0
    calibrate(network, rest.only(half))
    final = rest.only(~half)
    scores = {
        "judge": score(predict(network, final.numbers), final),
        "trees": score(ask_trees(trees, final.numbers), final),
    }
    provenance = {
        "commit": commit(), "config": asdict(config), "recipe": recipe.VERSION, "proposer": PROPOSER,
        "held_out": scores,
        "candidates": len(data.labels), "of_real_blanks": of_blanks,
        "parameters": sum(p.numel() for p in network.parameters()),
    }  # fmt: skip
    first = folder / "first.onnx"
    write_model(first, network, threshold=config.threshold, threshold_in_hits=None, provenance=provenance)
    add_frame_network(load_model(str(first)), out, for_model(config.scenes), processes=processes, say=say)
    write_quantised(out, final.numbers[:: max(1, len(final.numbers) // 20000)])
    plot(out.with_suffix(".png"), losses, predict(network, final.numbers), final)
    return scores


def add_frame_network(
    model: Model,
    out: Path,
    config: FrameTraining,
    *,
    processes: int,
    say: Say,
    threshold: float = TrainConfig.threshold,
) -> dict[str, Any]:
    """Fit the second network for a model's first one and write the model with it; gives its provenance, with scores."""
    weights, provenance = fit(config, model, processes=processes, say=say)
    write_with_frame_network(out, model, weights, threshold=threshold, provenance=provenance)
    return provenance


def _train_on(
    config: TrainConfig, folder: Path, training_set: TrainingSet, losses: list[float], say: Say
) -> CandidateNetwork:
    """Train, from where an earlier training in the folder stopped."""
    state = folder / "judge.pt"
    resume = torch.load(state, weights_only=True) if state.exists() else None
    if resume is not None:
        losses.extend(resume.pop("losses"))

    def on_step(step: int, loss: float) -> None:
        losses.append(loss)
        if step % 1000 == 0:
            say(f"step {step} of {config.network.steps}, loss {np.mean(losses[-200:]):.4f}")

    def save(now: dict[str, Any]) -> None:
        torch.save({**now, "losses": losses}, state.with_suffix(".inprogress"))
        os.replace(state.with_suffix(".inprogress"), state)

    return train(config.network, training_set, on_step=on_step, resume=resume, save=save)


def score(probability: Floats, data: Candidates) -> dict[str, float]:
    """Log loss, best F1 over thresholds and calibration error of candidates' probabilities."""
    known = data.labels != 2
    p, truth = probability[known], data.labels[known] == 1
    loss = log_loss(p, truth, data.only(known).weights())
    f1 = max(
        2 * float((truth & (p > t)).sum()) / max(1.0, float(truth.sum() + (p > t).sum()))
        for t in np.arange(0.05, 1, 0.05)
    )
    error = calibration_error(p, truth)
    return {"log_loss": loss, "f1": round(f1, 4), "calibration_error": round(error, 4)}


def plot(path: Path, losses: list[float], probability: Floats, data: Candidates) -> None:
    """Draw the loss by step, and how often a candidate of a score is a peak."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    width = max(1, len(losses) // 200)
    smooth = np.convolve(losses, np.ones(width) / width, "valid")
    left.plot(np.arange(len(smooth)) + width, smooth)
    left.set(xlabel="step", ylabel="loss", title="training", yscale="log")
    known = data.labels != 2
    p, truth = probability[known], data.labels[known] == 1
    place = np.minimum((p * 15).astype(int), 14)
    bins = [b for b in range(15) if (place == b).sum() > 20]
    right.plot([0, 1], [0, 1], color="0.7")
    right.plot([p[place == b].mean() for b in bins], [truth[place == b].mean() for b in bins], "o-")
    right.set(xlabel="score", ylabel="share of true peaks", title="calibration on held-out scenes")
    figure.savefig(path, dpi=100)
