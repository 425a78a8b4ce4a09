"""``peakrt-lab train``: a model from nothing."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

from peakrt.commands.options import load_geometry
from peakrt.commands.program import add_command
from peakrt.extras import need, to_install
from peakrt.models.model_file import load_model
from peakrt.sources import open_source


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "train", _train, help=f"train a model from nothing: {to_install('train')}")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="MODEL.onnx", help="a .png goes beside it")
    parser.add_argument(
        "--work", type=Path, required=True, metavar="FOLDER", help="of intermediate results; a second call goes on"
    )
    parser.add_argument(
        "--segmentation", action="store_true", help="the segmentation model and its teacher instead, in 90 minutes"
    )
    parser.add_argument("--dense", action="store_true", dest="segmentation", help=argparse.SUPPRESS)  # its old name
    parser.add_argument("-n", "--scenes", type=int, help="training scenes [9000; segmentation 2400]")
    parser.add_argument(
        "--frame-network",
        metavar="MODEL",
        help="make only the second network, which weighs scores by their frame, for the first one of a model",
    )
    parser.add_argument("--steps", type=int, help="of the model's training [10000]")
    parser.add_argument("--teacher-steps", type=int, help="of the segmentation model's teacher [3000]")
    parser.add_argument("--rival-steps", type=int, help="of the 2023 paper's network, for the report [0: not trained]")
    parser.add_argument("--parallel", help="what processes of torchrun do for --segmentation: ddp or fsdp2 [ddp]")
    parser.add_argument("--seed", type=int, help="of the scenes [2026]")
    parser.add_argument(
        "--blanks", nargs="+", metavar="IN", help="real frames without a crystal, to learn from as well"
    )
    parser.add_argument("-g", "--geometry", help="of --blanks, where they do not bring their own")
    parser.add_argument("-j", "--processes", type=int, default=os.cpu_count() or 1)


def need_training() -> None:
    """Raise ImportError with its remedy where what a training needs is not installed."""
    need("training", "train", "scipy", "matplotlib", "gemmi", "lightgbm", "onnx", "torch")


def _train(parsed: argparse.Namespace) -> int:
    need_training()
    from ..candidate_network import CandidateTraining
    from ..train import TrainConfig, train_judge

    if parsed.output.suffix != ".onnx" or not parsed.output.parent.is_dir():
        raise ValueError(f"{parsed.output}: a model's name ends in .onnx, in a folder that exists")
    if parsed.segmentation and parsed.blanks is not None:
        raise ValueError("--blanks is not for --segmentation")
    if parsed.segmentation and parsed.frame_network is not None:
        raise ValueError("--frame-network is not for --segmentation")
    if parsed.segmentation:
        return _train_segmentation(parsed)
    if any(given is not None for given in (parsed.teacher_steps, parsed.rival_steps, parsed.parallel)):
        raise ValueError("--teacher-steps, --rival-steps and --parallel are for --segmentation")
    network = CandidateTraining() if parsed.steps is None else CandidateTraining(steps=parsed.steps)
    given = {name: getattr(parsed, name) for name in ("scenes", "seed") if getattr(parsed, name) is not None}
    config = TrainConfig(network=network, **given)
    if config.scenes < 60 or network.steps < 1:
        raise ValueError("a training needs at least 60 scenes and one step")
    if parsed.frame_network is not None:
        return _train_frame_network(parsed, config.scenes)
    scores = train_judge(
        config, parsed.work, parsed.output, processes=parsed.processes, say=lambda t: print(t, flush=True),
        blanks=_blanks(parsed),
    )  # fmt: skip
    for name, values in scores.items():
        print(f"{name:6} " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items()))
    print(f"wrote {parsed.output}")
    return 0


def _train_frame_network(parsed: argparse.Namespace, scenes: int) -> int:
    from ..frame_network import for_model
    from ..train import add_frame_network

    model = load_model(parsed.frame_network)
    say = partial(print, flush=True)
    made = add_frame_network(model, parsed.output, for_model(scenes), processes=parsed.processes, say=say)
    print(", ".join(f"{name.replace('_', ' ')} {made[name]}" for name in made if name.startswith(("log", "calib"))))
    print(f"wrote {parsed.output}")
    return 0


def _blanks(parsed: argparse.Namespace) -> Any:
    """Candidates of the blank frames that were given, None without."""
    from ..dataset import of_blanks

    if parsed.blanks is None:
        return None
    source = open_source(parsed.blanks, None if parsed.geometry is None else load_geometry(parsed.geometry))
    gain = source.detector.photon_gain
    if gain is None:
        raise ValueError("the blanks' geometry has no gain: add adu_per_photon or adu_per_eV to it")
    return of_blanks(source.events(), source.detector, gain)


def _train_segmentation(parsed: argparse.Namespace) -> int:
    from ..segmentation_data import SHARD
    from ..segmentation_network import SegmentationTraining
    from ..train_segmentation import train_segmentation

    names = {
        "scenes": "scenes", "seed": "seed", "steps": "student_steps", "teacher_steps": "teacher_steps",
        "rival_steps": "rival_steps", "parallel": "parallel",
    }  # fmt: skip
    given = {field: getattr(parsed, name) for name, field in names.items() if getattr(parsed, name) is not None}
    config = SegmentationTraining(**given)
    if config.scenes < 2 * SHARD or config.scenes % SHARD or min(config.student_steps, config.teacher_steps) < 1:
        raise ValueError(
            f"a training of the segmentation model needs scenes in multiples of {SHARD}, at least {2 * SHARD}, and one step"
        )
    if config.parallel not in ("ddp", "fsdp2"):
        raise ValueError(f"--parallel is {config.parallel}, it should be ddp or fsdp2")
    scores = train_segmentation(
        config, parsed.work, parsed.output, processes=parsed.processes, say=lambda t: print(t, flush=True)
    )
    for name, values in scores.items():
        print(f"{name:8} " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items()))
    if scores:
        print(f"wrote {parsed.output}, and beside it its fp16 and int8")
    return 0
