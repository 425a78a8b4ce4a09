"""Adapts a candidate model to one experiment, from frames that were indexed: what the lattice predicts is a peak. Needs torch.

The labels are those of the 2025 pipeline: patterns whose found peaks agree with their predictions (PeakDiff precision
above .8), and in them the candidates that lie on a prediction. What the judge takes for a peak far from every prediction
is left out: predictions are not complete (another lattice, a reflection just outside the predicted zone), and to
call all of these false taught models to miss one peak in seven. Simulated scenes go along, on which the judge
is to say what it said before, so that nothing is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree

from peakrt.cxi.reader import SlabPeaks
from peakrt.event import Event
from peakrt.finders.proposer import FEATURES
from peakrt.models.model_file import Model
from peakrt_geometry import Detector

from . import dataset
from .compare import match, slab_peaks
from .dataset import Candidates
from .export import write_model
from .judge import Judge, predict

Floats = npt.NDArray[np.float32]
#: A pattern teaches if this share of its found peaks lies on predictions, and it has so many.
LEAST_PRECISION, LEAST_PEAKS = 0.8, 15
_REACH, _AWAY = 2.0, 4.0  # pixels: on a prediction, on none
_STRENGTH = FEATURES.index("sum3_poisson")
_BELIEVED = 0.5  # score from which a candidate far from any prediction is left out rather than called false
_CLEAR = 4.5  # significance above which a candidate on a prediction is its peak, not chance
_REPLAY_SEED = 4711
_FORGIVEN = 0.03  # of F1 on simulated scenes of every kind: the model is for one experiment


@dataclass(frozen=True)
class AdaptConfig:
    """How long and how far a model is adapted."""

    steps: int = 600
    batch: int = 512
    learning_rate: float = 1e-4
    replay_scenes: int = 150
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """F1 of candidates on patterns held out, and on simulated scenes held out, before and after; patterns that taught."""

    patterns: int
    before: float
    after: float
    simulated_before: float
    simulated_after: float

    def lines(self) -> list[str]:
        """The report."""
        return [
            f"{self.patterns} patterns taught",
            f"F1 on patterns held out    {self.before:.4f} before, {self.after:.4f} after",
            f"F1 on simulated scenes     {self.simulated_before:.4f} before, {self.simulated_after:.4f} after",
        ]


def open_judge(model: Model) -> Judge:
    """Give a model file's candidate model as a network to train. Raises ValueError for a graph that export.py did not write."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(model.content).graph
    values = {item.name: np.array(numpy_helper.to_array(item)) for item in graph.initializer}
    try:
        hidden = (len(values["first_bias"]), len(values["second_bias"]))
        judge = Judge(hidden, values["mean"], values["scale"])
        state = {
            "mean": values["mean"],
            "scale": values["scale"],
            "sharpness": values["sharpness"],
            "bias": values["bias"],
        }
        for layer in ("first", "second", "last"):
            state[f"{layer}.weight"], state[f"{layer}.bias"] = values[f"{layer}_weight"], values[f"{layer}_bias"]
    except KeyError as error:
        raise ValueError(
            f"model {model.name} has no {error}: it is not a candidate model that can be adapted"
        ) from error
    judge.load_state_dict({name: torch.from_numpy(np.atleast_1d(value)) for name, value in state.items()})
    return judge.eval()


def label_patterns(
    events: Iterable[Event],
    predictions: Mapping[int, SlabPeaks],
    detector: Detector,
    judge: Judge,
    *,
    gain: float,
    threshold: float,
) -> Candidates:
    """Candidates of the patterns that teach, labelled; scene is the event's number.

    predictions : slab positions by the event's number. Candidates on a prediction are peaks if they are clear, and left
    out if not; those far from any are none, but for those that the judge takes for peaks, which are left out.
    """
    parts: list[Candidates] = []
    indexed = ((number, event) for number, event in enumerate(events) if number in predictions)
    for number, event, proposer in dataset.proposed(indexed, detector, gain):
        numbers = proposer.describe()
        scores = predict(judge, numbers)
        peaks = slab_peaks(proposer.measure(scores, threshold), event.frame.shape[1])
        predicted = predictions[number]
        found, _ = match(peaks, predicted, distance=_REACH + 1)
        if len(peaks) < LEAST_PEAKS or len(found) < LEAST_PRECISION * len(peaks):
            continue
        labels = _on_predictions(proposer.candidates, numbers[:, _STRENGTH], predicted, event.frame.shape[1])
        labels[(labels == 0) & (scores >= _BELIEVED)] = 2
        parts.append(Candidates(numbers, labels, np.full(len(labels), number)))
    if not parts:
        raise ValueError(
            f"no pattern teaches: none has {LEAST_PEAKS} peaks of which {LEAST_PRECISION:.0%} lie on predictions; "
            "check that the stream is of these frames and of this geometry"
        )
    return dataset.join(parts)


def _on_predictions(
    candidates: npt.NDArray[np.void], strength: Floats, predicted: SlabPeaks, n_ss: int
) -> npt.NDArray[np.int8]:
    at = np.c_[candidates["ss"] + candidates["panel"] * n_ss, candidates["fs"]]
    distance, nearest = cKDTree(np.c_[predicted.ss, predicted.fs]).query(at)
    labels = np.where(distance > _AWAY, 0, 2).astype(np.int8)
    on = np.flatnonzero((distance <= _REACH) & (strength > _CLEAR))
    order = on[np.argsort(-strength[on], kind="stable")]
    _, first = np.unique(nearest[order], return_index=True)
    labels[order[first]] = 1
    return labels


def f1_of(judge: Judge, data: Candidates, threshold: float) -> float:
    """F1 of candidates at a threshold."""
    known = data.labels != 2
    truth, said = data.labels[known] == 1, predict(judge, data.numbers[known]) >= threshold
    return 2 * float((truth & said).sum()) / max(1.0, float(truth.sum() + said.sum()))


def adapt(
    model: Model, data: Candidates, out: Path, *, config: AdaptConfig | None = None, say: Callable[[str], None] = print
) -> Outcome:
    """Fine-tune a candidate model on labelled patterns and write it.

    A quarter of the patterns, and of the simulated scenes, is held out. Raises ValueError, and writes nothing, if the
    judge got worse on either, or if there are fewer than four patterns.
    """
    config = config or AdaptConfig()
    patterns = np.unique(data.scene)
    if len(patterns) < 4:
        raise ValueError(f"{len(patterns)} patterns teach, adapting needs at least 4")
    say(f"simulating {config.replay_scenes} scenes to go along")
    replay = dataset.join([dataset.of_scene(_REPLAY_SEED, k) for k in range(config.replay_scenes)])
    held, replay_held = np.isin(data.scene, patterns[::4]), replay.scene % 4 == 0
    learn, test = data.only(~held), data.only(held)
    old, judge = open_judge(model), open_judge(model)
    _fine_tune(judge, learn, replay.only(~replay_held), config)
    simulated = replay.only(replay_held)
    before, after = (f1_of(j, test, model.threshold) for j in (old, judge))
    simulated_before, simulated_after = (f1_of(j, simulated, model.threshold) for j in (old, judge))
    outcome = Outcome(len(patterns), before, after, simulated_before, simulated_after)
    if after < before or simulated_after < simulated_before - _FORGIVEN:
        raise ValueError("; ".join([*outcome.lines(), "it got worse: the model is not written"]))
    provenance: dict[str, Any] = {**model.provenance, "adapted": {"from": model.digest, **vars(outcome)}}
    in_hits = model.threshold_in_hits
    write_model(out, judge, threshold=model.threshold, threshold_in_hits=in_hits, provenance=provenance)
    return outcome


def _fine_tune(judge: Judge, learn: Candidates, replay: Candidates, config: AdaptConfig) -> None:
    """Train on the labels of the patterns, and on the replay's candidates towards what the judge says of them now."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    optimiser = torch.optim.AdamW(judge.parameters(), config.learning_rate, weight_decay=1e-3)
    known = np.flatnonzero(learn.labels != 2)
    sides = [
        (learn.numbers[known], (learn.labels[known] == 1).astype(np.float32), 1),
        (replay.numbers, predict(judge, replay.numbers).astype(np.float32), 2),
    ]
    judge.train()
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * (0.5 + 0.5 * float(np.cos(np.pi * step / config.steps)))
        loss = torch.zeros(())
        for numbers, targets, share in sides:
            at = rng.integers(0, len(targets), share * config.batch)
            logits = judge(torch.from_numpy(numbers[at]))
            target = torch.from_numpy(targets[at])
            loss = loss + share * torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    judge.eval()
