"""The networks of the segmentation model: a teacher of the 2025 paper's kind, and the student that is shipped. Needs torch.

Both see pixels in units of sigma (``Proposer.segmentation_inputs``) and give each the paper's three classes: background, Bragg
peak, artifact. The student is plain 3 x 3 convolutions at half resolution, wider apart in the middle so that it sees 50
pixels around, with norms that fold into them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from peakrt.finders.proposer import SEGMENTATION_CHANNELS

from . import peaknet2023
from .peaknet2023 import PeakNet2023
from .peaknet2025 import CLASSES, PeakNet2025, distillation_loss, focal_loss
from .segmentation_data import SIDE, Crops

Say = Callable[[str], None]


@dataclass(frozen=True)
class SegmentationTraining:
    """Sizes of both networks and how they are trained. The defaults suit two cores.

    rival_steps : of the 2023 paper's network, on the same crops, for the report; 0 leaves it out
    parallel : what ``torchrun`` with several processes does: ddp, or fsdp2, which splits the weights as well
    """

    scenes: int = 2400
    crops: int = 6
    seed: int = 2026
    backbone: str = "atto"
    teacher_width: int = 64
    teacher_blocks: int = 2
    teacher_steps: int = 3000
    student_width: int = 16
    student_steps: int = 10000
    rival_steps: int = 0
    batch: int = 16
    accumulate: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warm_up: int = 200
    clip: float = 1.0
    parallel: str = "ddp"


class SegmentationStudent(nn.Module):
    """Logits of each pixel's classes: (event, SEGMENTATION_CHANNELS, ss, fs), ss and fs even, to (event, CLASSES, ss, fs)."""

    dilations = (1, 2, 4, 2, 1)

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        convs = [nn.Conv2d(SEGMENTATION_CHANNELS, width, 4, stride=2, padding=1, bias=False)]
        convs += [nn.Conv2d(width, width, 3, padding=d, dilation=d, bias=False) for d in self.dilations]
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in convs)
        self.head = nn.Conv2d(width, 4 * CLASSES, 3, padding=1)

    def layers(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Each convolution with its norm; the head has none."""
        return list(zip(self.convs, self.norms, strict=True))  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give the logits."""
        for conv, norm in self.layers():
            x = F.relu(norm(conv(x)))
        return F.pixel_shuffle(self.head(x), 2)


def make_teacher(config: SegmentationTraining) -> PeakNet2025:
    """A segmentation teacher: the 2025 paper's network on three channels in units of sigma."""
    return PeakNet2025(config.backbone, config.teacher_width, config.teacher_blocks, in_channels=SEGMENTATION_CHANNELS)


class Rival(nn.Module):
    """The 2023 paper's network on the first channel, heights in units of sigma."""

    def __init__(self) -> None:
        super().__init__()
        self.net = PeakNet2023()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(event, SEGMENTATION_CHANNELS, ss, fs) to logits (event, CLASSES, ss, fs)."""
        return self.net(x[:, :1])


@contextmanager
def process_group() -> Iterator[tuple[int, int]]:
    """Join the processes that ``torchrun`` started, if it did; gives rank and number of processes."""
    import torch.distributed as dist

    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield 0, 1
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank(), size
    finally:
        dist.destroy_process_group()


def spread(model: nn.Module, parallel: str, size: int) -> nn.Module:
    """The model over the processes of a job: DDP, or FSDP2. One process keeps it as it is.

    Raises ValueError for another word.
    """
    if parallel not in ("ddp", "fsdp2"):
        raise ValueError(f"parallel is {parallel!r}, it should be ddp or fsdp2")
    if size == 1:
        return model
    if parallel == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (size,))
    for stage in getattr(getattr(model, "backbone", None), "stages", ()):
        fully_shard(stage, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def whole_state(model: nn.Module) -> dict[str, Any]:
    """Weights of a model that may be spread over processes, whole on the CPU. All processes call it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def draw_batch(crops: Crops, at: npt.NDArray[np.int64], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and classes of some crops, turned and flipped at random."""
    x, y = crops.inputs[at].astype(np.float32), crops.classes[at].astype(np.int64)
    turn, flip = int(rng.integers(4)), bool(rng.integers(2))
    x, y = np.rot90(x, turn, (2, 3)), np.rot90(y, turn, (1, 2))
    if flip:
        x, y = x[..., ::-1], y[..., ::-1]
    return torch.from_numpy(x.copy()), torch.from_numpy(y.copy())


Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def fit(
    model: nn.Module,
    loss_of: Loss,
    crops: Crops,
    config: SegmentationTraining,
    *,
    steps: int,
    state: Path | None = None,
    say: Say = lambda text: None,
    rank: int = 0,
    size: int = 1,
) -> list[float]:
    """Train a model in place and return its losses; goes on from a state file that an earlier training left.

    loss_of : given logits, inputs and classes of a batch. AdamW with warm-up, cosine, clipping and accumulation; a job
    of several processes splits each batch. Raises ValueError for a batch that they cannot split evenly.
    """
    if config.batch % size:
        raise ValueError(f"a batch of {config.batch} cannot be split among {size} processes")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    losses: list[float] = []
    start = 0
    old = torch.load(state, weights_only=True, map_location=device) if state is not None and state.exists() else None
    if old is not None:
        model.load_state_dict(old["model"])
        start, losses = old["step"], old["losses"]
    spread_model = spread(model.train(), config.parallel, size)
    optimiser = torch.optim.AdamW(
        spread_model.parameters(), config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
    )
    if old is not None and size == 1:
        optimiser.load_state_dict(old["optimiser"])
    each = config.batch // size
    for step in range(start, steps):
        cosine = 0.5 + 0.5 * float(np.cos(np.pi * step / steps)) + 1e-3
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * cosine * min(1.0, (step + 1) / config.warm_up)
        optimiser.zero_grad()
        total = 0.0
        for part in range(config.accumulate):
            rng = np.random.default_rng([config.seed, step, part])  # the same batches however they are split
            at = rng.integers(0, len(crops.inputs), config.batch)[rank * each : (rank + 1) * each]
            x, y = (v.to(device) for v in draw_batch(crops, at, rng))
            loss = loss_of(spread_model(x), x, y) / config.accumulate
            loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_(spread_model.parameters(), config.clip)
        optimiser.step()
        losses.append(total)
        if (step + 1) % 500 == 0:
            say(f"step {step + 1} of {steps}, loss {np.mean(losses[-200:]):.5f}")
        if state is not None and ((step + 1) % 1000 == 0 or step + 1 == steps):
            weights = whole_state(spread_model) if size > 1 else model.state_dict()
            if rank == 0:
                kept = {"model": weights, "step": step + 1, "losses": losses}
                kept |= {"optimiser": optimiser.state_dict()} if size == 1 else {}
                torch.save(kept, state.with_suffix(".inprogress"))
                os.replace(state.with_suffix(".inprogress"), state)
            if size > 1:
                torch.distributed.barrier()  # nobody reads the file, or leaves, before it stands
    return losses


def teacher_loss(logits: torch.Tensor, inputs: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The paper's focal loss."""
    return 20 * focal_loss(logits, classes)


def rival_loss(logits: torch.Tensor, inputs: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The 2023 paper's focal loss."""
    return peaknet2023.focal_loss(logits, classes)


def student_loss(teacher: nn.Module) -> Loss:
    """The paper's distillation from a teacher's logits, and the true classes."""

    def loss(logits: torch.Tensor, inputs: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            training_set = teacher(inputs)
        return 0.1 * distillation_loss(logits, training_set) + 20 * focal_loss(logits, classes)

    return loss


def pixel_scores(model: nn.Module, crops: Crops, *, batch: int = 32) -> dict[str, float]:
    """Precision and recall of each class's pixels on crops held out, pixels of unknown class left out."""
    device = next(model.parameters()).device
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    model.eval()
    with torch.no_grad():
        for start in range(0, len(crops.inputs), batch):
            x = torch.from_numpy(crops.inputs[start : start + batch].astype(np.float32)).to(device)
            said, true = model(x).argmax(1).cpu().numpy(), crops.classes[start : start + batch]
            known = true >= 0
            np.add.at(counts, (true[known], said[known]), 1)
    out = {}
    for number, name in ((1, "peak"), (2, "artifact")):
        right = float(counts[number, number])
        out[f"{name}_precision"] = round(right / max(1, int(counts[:, number].sum())), 4)
        out[f"{name}_recall"] = round(right / max(1, int(counts[number].sum())), 4)
    return out


def describe_config(config: SegmentationTraining) -> dict[str, Any]:
    """The configuration of teacher and student, for provenance."""
    return {**{name: value for name, value in asdict(config).items() if name != "rival_steps"}, "side": SIDE}
