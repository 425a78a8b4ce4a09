"""One command from nothing to a segmentation model file: scenes, teacher, student, scores, curves. Needs torch.

Every step leaves its result in the work folder and is not done again: a training that was stopped goes on. Under
``torchrun`` the processes share each batch (``SegmentationTraining.parallel``); the first of them writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from peakrt.config import SegmentationConfig
from peakrt.contracts import Engine, Setup
from peakrt.cxi.reader import SlabPeaks
from peakrt.finders.learned import Learned
from peakrt.finders.segmentation import PEAK_CLASS, SegmentationFinder
from peakrt.models.model_file import Model
from peakrt.peaks import PeakArray, slab_ss

from . import recipe
from .calibration import platt
from .compare import PeakSets, compare, near_any, slab_peaks
from .export import write_segmentation_models
from .peaknet2025 import CLASSES
from .segmentation_data import THRESHOLDS, Crops, generate, load
from .segmentation_network import (
    Rival,
    SegmentationStudent,
    SegmentationTraining,
    describe_config,
    fit,
    make_teacher,
    pixel_scores,
    process_group,
    rival_loss,
    student_loss,
    teacher_loss,
)
from .work_folder import claim, commit

Floats = npt.NDArray[np.float32]
Say = Callable[[str], None]


def train_segmentation(
    config: SegmentationTraining, folder: Path, out: Path, *, processes: int, say: Say
) -> dict[str, Any]:
    """Train teacher and student and write the student's model file; returns the pixel scores of both.

    folder : of intermediate results; processes : for the simulation, and threads of a process for training
    Raises ValueError if the folder holds a training of another configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(processes)
    with process_group() as (rank, size):
        say = say if rank == 0 else _silent
        if rank == 0:
            claim(folder, {"recipe": recipe.VERSION, **describe_config(config)})
            parts = generate(folder, seed=config.seed, scenes=config.scenes, crops=config.crops, processes=processes)
            for done, total in parts:
                say(f"simulated {done} of {total} parts")
        if size > 1:
            torch.distributed.barrier()
        crops = load(folder, seed=config.seed, scenes=config.scenes, crops=config.crops)
        # Held out: the last sixth of the scenes
        cut = len(crops.inputs) * 5 // 6
        data = Crops(crops.inputs[:cut], crops.classes[:cut])
        rest = Crops(crops.inputs[cut:], crops.classes[cut:])
        torch.manual_seed(config.seed)
        shared: dict[str, Any] = {"config": config, "say": say, "rank": rank, "size": size}
        teacher = make_teacher(config)
        fit(teacher, teacher_loss, data, steps=config.teacher_steps, state=folder / "teacher.pt", **shared)
        teacher = _whole(make_teacher(config), folder / "teacher.pt")
        say("teacher trained")
        student = SegmentationStudent(config.student_width)
        training_set = student_loss(teacher)
        losses = fit(student, training_set, data, steps=config.student_steps, state=folder / "student.pt", **shared)
        student = _whole(SegmentationStudent(config.student_width), folder / "student.pt")
        if config.rival_steps:
            say("training the rival")
            fit(Rival(), rival_loss, data, steps=config.rival_steps, state=folder / "rival.pt", **shared)
    if rank != 0:
        return {}
    held_out = HeldOut(config)
    say("calibrating")
    calibrate(student, held_out)
    scores = {"student": pixel_scores(student, rest), "teacher": pixel_scores(teacher, rest)}
    others = {"teacher": teacher}
    if config.rival_steps:
        others["rival"] = _whole(Rival(), folder / "rival.pt")
        scores["rival"] = pixel_scores(others["rival"], rest)
    for name, network in others.items():
        say(f"choosing the {name}'s threshold")
        chosen, _ = _choose_threshold(network, held_out)
        (folder / f"{name}.json").write_text(json.dumps({"threshold": chosen}), encoding="utf-8")
    provenance = {
        "commit": commit(), "config": describe_config(config), "recipe": recipe.VERSION, "held_out_pixels": scores,
        "parameters": sum(p.numel() for p in student.parameters()),
    }  # fmt: skip
    say("choosing the threshold")
    threshold, by_threshold = _choose_threshold(student, held_out)
    provenance["held_out_f1_by_threshold"] = by_threshold
    student = student.cpu()
    examples = rest.inputs[:: max(1, len(rest.inputs) // 128)].astype(np.float32)
    write_segmentation_models(out, student, examples, threshold=threshold, provenance=provenance)
    _plot(out.with_suffix(".png"), losses, student, rest)
    (folder / "scores.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    return scores


class HeldOut:
    """Whole scenes that no network of a training has seen, and what a network finds in them."""

    def __init__(self, config: SegmentationTraining) -> None:
        held_out = range(config.scenes * 5 // 6, config.scenes)
        self._scenes = {n: recipe.draw(config.seed, n) for n in list(held_out)[:: max(1, len(held_out) // 130)]}
        self.truth = {number: _true_peaks(scene) for number, scene in self._scenes.items()}

    def find(self, engine: Engine, thresholds: Iterable[float]) -> dict[float, dict[int, PeakArray]]:
        """PEAK arrays by threshold and scene; the engine is asked once a scene."""
        found: dict[float, dict[int, PeakArray]] = {threshold: {} for threshold in thresholds}
        for number, scene in self._scenes.items():
            detector = scene.simulator.detector
            shares = engine(scene.proposer().segmentation_inputs(scene.event.frame, scene.gain))
            radius = detector.radius if scene.with_geometry else None
            for threshold, of_scene in found.items():
                setup = Setup(
                    SegmentationConfig(min_score=threshold), scene.simulator.good, radius, detector.asics,
                    Learned(scene.gain), model=Model("student", b"", threshold, {}, "segmentation"),
                    engine=partial(_answered, shares),
                )  # fmt: skip
                of_scene[number] = SegmentationFinder(setup)(scene.event.frame)
        return found

    def in_slab(self, found: Mapping[int, PeakArray]) -> PeakSets:
        """Found peaks in the slab of stacked panels, as the truth is."""
        return {k: slab_peaks(peaks, self._scenes[k].event.frame.shape[1]) for k, peaks in found.items()}


def _true_peaks(scene: recipe.TrainingScene) -> SlabPeaks:
    peaks = scene.event.peaks
    rest = (peaks[name].astype(float) for name in ("fs", "photons", "snr"))
    return SlabPeaks(slab_ss(peaks, scene.event.frame.shape[1]), *rest)


def calibrate(student: SegmentationStudent, held_out: HeldOut) -> None:
    """Change the head so that the scores of found peaks are the shares of true ones (Platt 1999).

    The logits are scaled, and a bias is added to the peak's: where one other class counts, that is Platt's line.
    """
    least = min(THRESHOLDS)
    for _ in range(2):  # where both count, the second round takes what the first left
        found = held_out.find(partial(_shares, student), [least])[least]
        sets = held_out.in_slab(found)
        right = np.concatenate([near_any(sets[k], held_out.truth[k]) for k in found])
        score = np.concatenate([peaks["score"] for peaks in found.values()]).clip(1e-6, 1 - 1e-6)
        sharpness, bias = platt(np.log(score / (1 - score)), right)
        weight, offset = student.head.state_dict().values()  # which share the head's memory
        weight.mul_(sharpness)
        offset.mul_(sharpness).view(CLASSES, -1)[PEAK_CLASS] += bias


def _choose_threshold(network: nn.Module, held_out: HeldOut) -> tuple[float, dict[str, float]]:
    """The probability from which pixels are a peak's, by the F1 of peaks on held-out scenes; and all that were tried."""
    f1 = {}
    for threshold, found in held_out.find(partial(_shares, network), THRESHOLDS).items():
        agreement = compare(held_out.truth, held_out.in_slab(found), min_snr=4.0)
        f1[str(threshold)] = round(agreement.f1, 4)
    return max(THRESHOLDS, key=lambda t: f1[str(t)]), f1


def segmentation_rivals(folder: Path) -> dict[str, tuple[Engine, float]]:
    """The segmentation networks of the papers that a training left in its work folder: name to engine and threshold."""
    rivals: dict[str, tuple[Engine, float]] = {}
    for name, shown, make in (
        ("teacher", "segmentation teacher (2025 paper's)", partial(_teacher_of, folder)),
        ("rival", "2023 paper's network", Rival),
    ):
        if (folder / f"{name}.json").exists():
            threshold = float(json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["threshold"])
            rivals[shown] = (partial(_shares, _whole(make(), folder / f"{name}.pt")), threshold)
    return rivals


def _teacher_of(folder: Path) -> nn.Module:
    given = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = {name: given[name] for name in ("backbone", "teacher_width", "teacher_blocks")}
    return make_teacher(SegmentationTraining(**sizes))


def _shares(network: nn.Module, inputs: Floats) -> Floats:
    """Probabilities of the classes, panel by panel; panels are made multiples of 32 pixels for the while."""
    n_ss, n_fs = inputs.shape[2:]
    padded = np.pad(inputs, ((0, 0), (0, 0), (0, -n_ss % 32), (0, -n_fs % 32)))
    device = next(network.parameters()).device
    with torch.no_grad():
        logits = [network(torch.from_numpy(image[None]).to(device)) for image in padded]
    return np.concatenate([torch.softmax(part, 1).cpu().numpy() for part in logits])[:, :, :n_ss, :n_fs]


def _answered(answer: Floats, inputs: Floats) -> Floats:
    return answer


def _silent(text: str) -> None:
    pass


def _whole(model: nn.Module, state: Path) -> Any:
    """The model with the weights that a training left, on the device it is used on."""
    model.load_state_dict(torch.load(state, weights_only=True, map_location="cpu")["model"])
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _plot(path: Path, losses: list[float], student: nn.Module, rest: Crops) -> None:
    """Draw the loss by step, and some crops with what the student makes of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(3, 5)
    gs = axes[0, 0].get_gridspec()
    for axis in axes[:, 0]:
        axis.remove()
    curve = figure.add_subplot(gs[:, 0])
    width = max(1, len(losses) // 200)
    smooth = np.convolve(losses, np.ones(width) / width, "valid")
    curve.plot(np.arange(len(smooth)) + width, smooth)
    curve.set(xlabel="step", ylabel="loss", title="student", yscale="log")
    lively = np.argsort(-(rest.classes > 0).sum((1, 2)))[:: max(1, len(rest.classes) // 12)][:4]
    x = torch.from_numpy(rest.inputs[lively].astype(np.float32))
    with torch.no_grad():
        said = student(x).argmax(1).numpy()
    for column, (image, true, answer) in enumerate(zip(x[:, 0].numpy(), rest.classes[lively], said, strict=True), 1):
        axes[0, column].imshow(image, vmin=-0.5, vmax=1.5, cmap="gray_r")
        axes[1, column].imshow(true, vmin=-1, vmax=2, cmap="viridis")
        axes[2, column].imshow(answer, vmin=-1, vmax=2, cmap="viridis")
    for row, title in enumerate(("height in sigmas", "truth", "student")):
        axes[row, 1].set_ylabel(title)
    for axis in axes[:, 1:].flat:
        axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=100)
