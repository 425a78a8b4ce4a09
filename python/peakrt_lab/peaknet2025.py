"""The segmentation network of the 2025 PeakNet pipeline (Wang et al., "seed 001"). Needs torch.

ConvNeXt V2 backbone; four blocks of a bidirectional feature pyramid (Tan, Pang & Le, CVPR 2020, arXiv:1911.09070) of 512
channels with depthwise-separable convolutions and LayerNorm in place of BatchNorm; a head of two paths, one layer each
before the classes. The paper gives totals of 673.1, 41.5 and 16.6 million parameters with huge, tiny and atto backbones,
which these are (a test counts); what it leaves open (two pyramid levels above the backbone's, the head's widths)
is chosen so.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .convnextv2 import ChannelNorm, ConvNeXtV2

#: 0 background, 1 Bragg peak, 2 artifact scattering
CLASSES = 3
WIDTH, BLOCKS, EXTRA_LEVELS = 512, 4, 2
HEAD_WIDTH, UPSAMPLED_WIDTH = 256, 176


class SeparableConv(nn.Module):
    """Depthwise 3 x 3, pointwise, norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise, self.norm = nn.Conv2d(channels, channels, 1), ChannelNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(event, channel, ss, fs) to the same."""
        return F.silu(self.norm(self.pointwise(self.depthwise(x))))


class Fusion(nn.Module):
    """Fast normalised fusion of maps of one shape (arXiv:1911.09070, section 3.3), then a convolution."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(inputs))
        self.conv = SeparableConv(channels)

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        """Weighted mean of the maps, convolved."""
        weights = F.relu(self.weights)
        return self.conv(sum(w * m for w, m in zip(weights, maps, strict=True)) / (weights.sum() + 1e-4))


class PyramidBlock(nn.Module):
    """One pass down the pyramid and one up. Levels run from fine to coarse."""

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__()
        self.to_fine = nn.ModuleList(Fusion(2, channels) for _ in range(levels - 1))
        inner = [Fusion(3, channels) for _ in range(levels - 2)]
        self.to_coarse = nn.ModuleList([*inner, Fusion(2, channels)])

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Maps of every level to the same shapes."""
        down = [maps[-1]]
        for level in range(len(maps) - 2, -1, -1):
            coarse = F.interpolate(down[0], size=maps[level].shape[-2:], mode="nearest")
            down.insert(0, self.to_fine[level](maps[level], coarse))
        up = [down[0]]
        for level in range(1, len(maps)):
            fine = F.adaptive_max_pool2d(up[-1], maps[level].shape[-2:])
            last = level == len(maps) - 1
            inputs = (maps[level], fine) if last else (maps[level], down[level], fine)
            up.append(self.to_coarse[level - 1](*inputs))
        return up


class Pyramid(nn.Module):
    """Laterals to one width, coarser levels on top, and the blocks."""

    def __init__(self, channels: tuple[int, ...], width: int, blocks: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.coarser = nn.Conv2d(width, width, 1)
        self.blocks = nn.ModuleList(PyramidBlock(len(channels) + EXTRA_LEVELS, width) for _ in range(blocks))

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """The backbone's features to the finest fused map."""
        maps = [lateral(f) for lateral, f in zip(self.lateral, features, strict=True)]
        maps.append(F.max_pool2d(self.coarser(maps[-1]), 2, ceil_mode=True))
        for _ in range(EXTRA_LEVELS - 1):
            maps.append(F.max_pool2d(maps[-1], 2, ceil_mode=True))
        for block in self.blocks:
            maps = block(maps)
        return maps[0]


class DualHead(nn.Module):
    """Large peaks from the coarse map, single pixels from learned upsampling; the sum of both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(width, CLASSES, 1)
        reduced, upsampled = (channels * width // WIDTH for channels in (HEAD_WIDTH, UPSAMPLED_WIDTH))
        self.reduce = nn.Conv2d(width, reduced, 3, padding=1)
        self.upsample = nn.ConvTranspose2d(reduced, upsampled, 4, stride=4)
        self.fine = nn.Conv2d(upsampled, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(event, width, ss / 4, fs / 4) to logits (event, CLASSES, ss, fs)."""
        coarse = F.interpolate(self.coarse(x), scale_factor=4, mode="bilinear", align_corners=False)
        return coarse + self.fine(F.gelu(self.upsample(F.gelu(self.reduce(x)))))


class PeakNet2025(nn.Module):
    """Logits of each pixel's classes.

    backbone : a name in convnextv2.SIZES; width, blocks : of the pyramid; in_channels : 1 in the paper
    frames : (event, in_channels, ss, fs), ss and fs multiples of 32; the paper's are standardised (standardise)
    """

    def __init__(self, backbone: str = "atto", width: int = WIDTH, blocks: int = BLOCKS, in_channels: int = 1) -> None:
        super().__init__()
        self.backbone = ConvNeXtV2(backbone, in_channels)
        self.neck, self.head = Pyramid(self.backbone.channels, width, blocks), DualHead(width)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(event, in_channels, ss, fs) to (event, CLASSES, ss, fs)."""
        return self.head(self.neck(self.backbone(frames)))


def standardise(frames: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit deviation of each image, as the paper does."""
    mean, deviation = frames.mean((-2, -1), keepdim=True), frames.std((-2, -1), keepdim=True)
    return (frames - mean) / (deviation + 1e-6)


def pad_and_crop(frames: torch.Tensor, side: int = 1920) -> torch.Tensor:
    """Pad with zeros, or cut, to side x side, about the middle."""
    for axis in (-2, -1):
        short = side - frames.shape[axis]
        if short < 0:
            frames = frames.narrow(axis, -short // 2, side)
        elif short > 0:
            before = short // 2
            pads = (0, 0, before, short - before) if axis == -2 else (before, short - before)
            frames = F.pad(frames, pads)
    return frames


def focal_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    alpha: tuple[float, ...] = (0.25, 0.75, 0.25),
    gamma: float = 2.0,
) -> torch.Tensor:
    """Mean focal loss (Lin et al., ICCV 2017): alpha by class, .75 for peaks and .25 for the rest.

    logits : (event, class, ss, fs); target : (event, ss, fs) class, negative = left out
    """
    known = target >= 0
    log_p = F.log_softmax(logits, 1).gather(1, target.clamp(min=0)[:, None])[:, 0]
    weight = torch.tensor(alpha, device=logits.device)[target.clamp(min=0)]
    loss = -weight * (1 - log_p.exp()) ** gamma * log_p
    return loss[known].mean() if known.any() else logits.sum() * 0


def distillation_loss(student: torch.Tensor, teacher: torch.Tensor, *, temperature: float = 2.0) -> torch.Tensor:
    """Of a student on a teacher's cached logits: .4 MSE + .4 KL (T = 2, times T^2) + .2 focal on the teacher's classes.

    student, teacher : (event, class, ss, fs) logits. The divergence is a mean over events and pixels.
    """
    t = temperature
    log_student, log_teacher = (F.log_softmax(x / t, 1).movedim(1, -1).flatten(0, -2) for x in (student, teacher))
    divergence = F.kl_div(log_student, log_teacher, log_target=True, reduction="batchmean") * t * t
    return 0.4 * F.mse_loss(student, teacher) + 0.4 * divergence + 0.2 * focal_loss(student, teacher.argmax(1))
