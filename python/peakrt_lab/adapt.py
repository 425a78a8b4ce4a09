"""Adapts a candidate model to one experiment, from frames that were indexed: what the lattice predicts is a peak. Needs torch.

The labels are those of the 2025 pipeline: patterns whose found peaks agree with their predictions (PeakDiff precision
above .8), and in them the candidates that lie on a prediction. Predictions are not complete, and to call false what lies
on none taught models to miss one peak in seven: beyond them the lattice speaks (lattice.py), and what the network takes for a peak off
every lattice is left out, for it may be of another crystal. Simulated scenes go along, on which the network is to say what
it said before, so that nothing is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
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
from .candidate_network import CandidateNetwork, predict
from .compare import match, slab_peaks
from .dataset import Candidates
from .export import write_model
from .lattice import OFF_LATTICE, ON_LATTICE, Pattern, index_errors

Floats = npt.NDArray[np.float32]
#: A pattern teaches if this share of its found peaks lies on predictions, and it has so many.
LEAST_PRECISION, LEAST_PEAKS = 0.8, 15
#: And with fewer patterns there is nothing to hold out.
LEAST_PATTERNS = 4
_REACH, _AWAY = 2.0, 4.0  # pixels: on a prediction, on none
STRENGTH = FEATURES.index("sum3_poisson")
_BELIEVED = 0.5  # score from which a candidate far from any prediction is left out rather than called false
#: Significance above which a candidate on a prediction is its peak, not chance: where the distance alone decides, and where
#: the lattice says as well what is noise.
_CLEAR, _CLEAR_ON_LATTICE = 4.5, 3.5
#: Of the simulated scenes that go along.
REPLAY_SEED = 4711
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

    @property
    def better(self) -> bool:
        """Whether the network got worse on neither; of simulated scenes a little is forgiven."""
        return self.after >= self.before and not self.forgets

    @property
    def forgets(self) -> bool:
        """Whether the network has lost more on simulated scenes than is forgiven."""
        return self.simulated_after < self.simulated_before - _FORGIVEN

    def lines(self) -> list[str]:
        """The report."""
        return [
            f"{self.patterns} patterns taught",
            f"F1 on patterns held out    {self.before:.4f} before, {self.after:.4f} after",
            f"F1 on simulated scenes     {self.simulated_before:.4f} before, {self.simulated_after:.4f} after",
        ]


def open_network(model: Model) -> CandidateNetwork:
    """Give a model file's candidate model as a network to train. Raises ValueError for a graph that export.py did not write."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(model.content).graph
    values = {item.name: np.array(numpy_helper.to_array(item)) for item in graph.initializer}
    try:
        hidden = (len(values["first_bias"]), len(values["second_bias"]))
        network = CandidateNetwork(hidden, values["mean"], values["scale"])
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
    network.load_state_dict({name: torch.from_numpy(np.atleast_1d(value)) for name, value in state.items()})
    return network.eval()


def label_patterns(
    events: Iterable[Event],
    patterns: Mapping[int, Pattern],
    detector: Detector,
    network: CandidateNetwork,
    *,
    gain: float,
    threshold: float,
) -> Candidates:
    """Candidates of the patterns that teach, labelled; scene is the event's number.

    patterns : by the event's number; those that do not teach are passed over
    Raises ValueError if none does.
    """
    parts: list[Candidates] = []
    indexed = ((n, event) for n, event in enumerate(events) if n in patterns and len(patterns[n].predicted))
    for number, event, proposer in dataset.proposed(indexed, detector, gain):
        numbers = proposer.describe()
        scores = predict(network, numbers)
        found = slab_peaks(proposer.measure(scores, threshold), event.frame.shape[1])
        lesson = Lesson(detector, patterns[number], event.photon_energy_eV, event.camera_length_m)
        if len(found) < LEAST_PEAKS or lesson.precision(found) < LEAST_PRECISION:
            continue
        labels = lesson.label(proposer.candidates, numbers[:, STRENGTH], scores)
        parts.append(Candidates(numbers, labels, np.full(len(labels), number)))
    if not parts:
        raise ValueError(
            f"no pattern teaches: none has {LEAST_PEAKS} peaks of which {LEAST_PRECISION:.0%} lie on predictions; "
            "check that the stream is of these frames and of this geometry"
        )
    return dataset.join(parts)


@dataclass(frozen=True)
class Lesson:
    """What an indexed frame teaches."""

    detector: Detector
    pattern: Pattern
    photon_energy_eV: float | None = None
    camera_length_m: float | None = None

    def errors(self, slab_ss: npt.ArrayLike, fs: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """How far places are from the lattices, as :func:`peakrt_lab.lattice.index_errors`."""
        if not self.pattern.crystals:
            return np.full(np.shape(slab_ss), np.nan)
        known = {"photon_energy_eV": self.photon_energy_eV, "camera_length_m": self.camera_length_m}
        return index_errors(self.detector, self.pattern.crystals, slab_ss, fs, **known)

    def explained(self, found: SlabPeaks) -> npt.NDArray[np.bool_]:
        """Which found peaks are assigned to a prediction (PeakDiff), or lie on a lattice beyond the predictions."""
        assigned, _ = match(found, self.pattern.predicted, distance=_REACH + 1)
        out = self.errors(found.ss, found.fs) < ON_LATTICE
        out[assigned] = True
        return out

    def precision(self, found: SlabPeaks) -> float:
        """Share of found peaks that the crystals explain; NaN without peaks."""
        return float(self.explained(found).mean()) if len(found) else float("nan")

    def label(
        self, candidates: npt.NDArray[np.void], strength: Floats, scores: Floats, *, doubt: bool = True
    ) -> npt.NDArray[np.int8]:
        """Label candidates: 1 a peak, 0 none, 2 left out.

        Peaks are the strongest on each prediction, if it is clear, and what the network believes that lies on a lattice
        where nothing is predicted. None are those off every lattice, or, where reflections lie too close to tell, away
        from all predictions.
        doubt : leave out what the network believes and no crystal explains: it may be another crystal's
        """
        ss = candidates["ss"] + candidates["panel"] * float(self.detector.shape[1])
        at, errors = np.c_[ss, candidates["fs"]], self.errors(ss, candidates["fs"])
        predicted = self.pattern.predicted
        distance, nearest = cKDTree(np.c_[predicted.ss, predicted.fs]).query(at)
        believed = scores >= _BELIEVED
        off = np.where(np.isnan(errors), ~believed, errors > OFF_LATTICE) & (distance > _AWAY)
        labels = np.where(off & ~(believed & doubt), 0, 2).astype(np.int8)
        clear = strength > np.where(np.isnan(errors), _CLEAR, _CLEAR_ON_LATTICE)
        on = np.flatnonzero((distance <= _REACH) & clear)
        order = on[np.argsort(-strength[on], kind="stable")]
        _, first = np.unique(nearest[order], return_index=True)
        labels[order[first]] = 1
        labels[_best_around(at, scores, believed & (distance > _AWAY) & (errors < ON_LATTICE))] = 1
        return labels


def _best_around(at: npt.NDArray[np.float64], scores: Floats, these: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Those of some candidates that no other of them within the distance of two peaks outdoes."""
    which = np.flatnonzero(these)
    if not len(which):
        return which
    pairs = cKDTree(at[which]).query_pairs(_REACH + 1, output_type="ndarray")
    beaten = np.where(scores[which[pairs[:, 0]]] < scores[which[pairs[:, 1]]], pairs[:, 0], pairs[:, 1])
    return np.delete(which, beaten)


def f1_of(network: CandidateNetwork, data: Candidates, threshold: float) -> float:
    """F1 of candidates at a threshold."""
    known = data.labels != 2
    truth, said = data.labels[known] == 1, predict(network, data.numbers[known]) >= threshold
    return 2 * float((truth & said).sum()) / max(1.0, float(truth.sum() + said.sum()))


def adapt(
    model: Model, data: Candidates, out: Path, *, config: AdaptConfig | None = None, say: Callable[[str], None] = print
) -> Outcome:
    """Fine-tune a candidate model on labelled patterns and write it.

    A quarter of the patterns, and of the simulated scenes, is held out. Raises ValueError, and writes nothing, if the
    network got worse on either, or if there are fewer than four patterns.
    """
    config = config or AdaptConfig()
    enough(data)
    say(f"simulating {config.replay_scenes} scenes to go along")
    replay = dataset.join([dataset.of_scene(REPLAY_SEED, k) for k in range(config.replay_scenes)])
    network, outcome = retrain(model, data, replay, config)
    if not outcome.better:
        raise ValueError("; ".join([*outcome.lines(), "it got worse: the model is not written"]))
    write_adapted(out, model, network, {"adapted": {"from": model.digest, **asdict(outcome)}})
    return outcome


def enough(data: Candidates) -> None:
    """Raise ValueError if too few patterns teach."""
    patterns = len(np.unique(data.scene))
    if patterns < LEAST_PATTERNS:
        raise ValueError(f"{patterns} patterns teach, adapting needs at least {LEAST_PATTERNS}")


def retrain(
    model: Model, data: Candidates, replay: Candidates, config: AdaptConfig
) -> tuple[CandidateNetwork, Outcome]:
    """Fine-tune a candidate model on labelled patterns, with simulated scenes along; a quarter of both is held out."""
    held, replay_held = np.isin(data.scene, np.unique(data.scene)[::4]), replay.scene % 4 == 0
    learn, test = data.only(~held), data.only(held)
    old, network = open_network(model), open_network(model)
    _fine_tune(network, learn, replay.only(~replay_held), config)
    simulated = replay.only(replay_held)
    before, after = (f1_of(j, test, model.threshold) for j in (old, network))
    simulated_before, simulated_after = (f1_of(j, simulated, model.threshold) for j in (old, network))
    return network, Outcome(len(np.unique(data.scene)), before, after, simulated_before, simulated_after)


def write_adapted(out: Path, model: Model, network: CandidateNetwork, more: dict[str, Any]) -> None:
    """Write a network that was made from a model's; more : entries of its provenance."""
    write_model(
        out, network, threshold=model.threshold, threshold_in_hits=model.threshold_in_hits,
        provenance={**model.provenance, **more}, frame=model.frame,
    )  # fmt: skip


def _fine_tune(network: CandidateNetwork, learn: Candidates, replay: Candidates, config: AdaptConfig) -> None:
    """Train on the labels of the patterns, and on the replay's candidates towards what the network says of them now."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=1e-3)
    known = np.flatnonzero(learn.labels != 2)
    sides = [
        (learn.numbers[known], (learn.labels[known] == 1).astype(np.float32), 1),
        (replay.numbers, predict(network, replay.numbers).astype(np.float32), 2),
    ]
    network.train()
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * (0.5 + 0.5 * float(np.cos(np.pi * step / config.steps)))
        loss = torch.zeros(())
        for numbers, targets, share in sides:
            at = rng.integers(0, len(targets), share * config.batch)
            logits = network(torch.from_numpy(numbers[at]))
            target = torch.from_numpy(targets[at])
            loss = loss + share * torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
