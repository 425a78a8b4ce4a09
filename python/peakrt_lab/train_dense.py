"""One command from nothing to a dense model file: scenes, teacher, student, scores, curves. Needs torch.

Every step leaves its result in the work folder and is not done again: a training that was stopped goes on. Under
``torchrun`` the processes share each batch (``DenseTraining.parallel``); the first of them writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from peakrt.config import DenseConfig
from peakrt.dense import DenseFinder
from peakrt.model import Model
from peakrt.network import DetectorLore
from peakrt.reader import SlabPeaks

from . import recipe
from .compare import PeakSets, compare, slab_peaks
from .dense import (
    DenseStudent,
    DenseTraining,
    Rival,
    describe_config,
    fit,
    make_teacher,
    pixel_scores,
    process_group,
    rival_loss,
    student_loss,
    teacher_loss,
)
from .dense_data import Crops, generate, load
from .export import write_dense_models
from .train import claim, commit

Floats = npt.NDArray[np.float32]
Say = Callable[[str], None]
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def train_dense(config: DenseTraining, folder: Path, out: Path, *, processes: int, say: Say) -> dict[str, Any]:
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
        student = DenseStudent(config.student_width)
        lesson = student_loss(teacher)
        losses = fit(student, lesson, data, steps=config.student_steps, state=folder / "student.pt", **shared)
        student = _whole(DenseStudent(config.student_width), folder / "student.pt")
        if config.rival_steps:
            say("training the rival")
            fit(Rival(), rival_loss, data, steps=config.rival_steps, state=folder / "rival.pt", **shared)
    if rank != 0:
        return {}
    scores = {"student": pixel_scores(student, rest), "teacher": pixel_scores(teacher, rest)}
    if config.rival_steps:
        rival = _whole(Rival(), folder / "rival.pt")
        scores["rival"] = pixel_scores(rival, rest)
        say("choosing the rival's threshold")
        chosen, _ = _choose_threshold(rival.cpu(), config)
        (folder / "rival.json").write_text(json.dumps({"threshold": chosen}), encoding="utf-8")
    provenance = {
        "commit": commit(), "config": describe_config(config), "recipe": recipe.VERSION, "held_out_pixels": scores,
        "parameters": sum(p.numel() for p in student.parameters()),
    }  # fmt: skip
    student = student.cpu()
    say("choosing the threshold")
    threshold, by_threshold = _choose_threshold(student, config)
    provenance["held_out_f1_by_threshold"] = by_threshold
    examples = rest.inputs[:: max(1, len(rest.inputs) // 128)].astype(np.float32)
    write_dense_models(out, student, examples, threshold=threshold, provenance=provenance)
    _plot(out.with_suffix(".png"), losses, student, rest)
    (folder / "scores.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    return scores


def _choose_threshold(network: nn.Module, config: DenseTraining) -> tuple[float, dict[str, float]]:
    """The probability from which pixels are a peak's, by the F1 of peaks on held-out scenes; and all that were tried."""
    found: dict[float, PeakSets] = {threshold: {} for threshold in THRESHOLDS}
    truth: PeakSets = {}
    held_out = range(config.scenes * 5 // 6, config.scenes)
    for number in list(held_out)[:: max(1, len(held_out) // 60)]:
        scene = recipe.draw(config.seed, number)
        detector, n_ss = scene.simulator.detector, scene.event.frame.shape[1]
        inputs = scene.proposer().dense_inputs(scene.event.frame, scene.gain)
        with torch.no_grad():
            shares = torch.softmax(network(torch.from_numpy(inputs)), 1).numpy()
        radius = detector.radius if scene.with_geometry else None
        for threshold, sets in found.items():
            finder = DenseFinder(
                scene.simulator.good, radius, detector.asics, DenseConfig(min_score=threshold),
                model=Model("student", b"", threshold, {}, "dense"), engine=partial(_answered, shares),
                lore=DetectorLore(scene.gain),
            )  # fmt: skip
            sets[number] = slab_peaks(finder(scene.event.frame), n_ss)
        peaks = scene.event.peaks
        truth[number] = SlabPeaks(
            peaks["ss"] + peaks["panel"] * float(n_ss),
            *(peaks[name].astype(float) for name in ("fs", "photons", "snr")),
        )
    f1 = {str(t): round(compare(truth, sets, min_snr=4.0).f1, 4) for t, sets in found.items()}
    return max(THRESHOLDS, key=lambda t: f1[str(t)]), f1


def dense_rivals(folder: Path) -> dict[str, tuple[Callable[[Floats], Floats], float | None]]:
    """The dense networks of the papers that a training left in its work folder: name to engine and threshold.

    A threshold of None is the student's.
    """
    rivals: dict[str, tuple[Callable[[Floats], Floats], float | None]] = {}
    if (folder / "teacher.pt").exists():
        given = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names = ("backbone", "teacher_width", "teacher_blocks")
        teacher = _whole(make_teacher(DenseTraining(**{name: given[name] for name in names})), folder / "teacher.pt")
        rivals["dense teacher (2025 paper's)"] = (partial(_shares, teacher), None)
    if (folder / "rival.json").exists():
        threshold = float(json.loads((folder / "rival.json").read_text(encoding="utf-8"))["threshold"])
        rivals["2023 paper's network"] = (partial(_shares, _whole(Rival(), folder / "rival.pt")), threshold)
    return rivals


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
