"""ConvNeXt V2, the backbone of the 2025 PeakNet pipeline: Woo et al., CVPR 2023, arXiv:2301.00808. Needs torch.

Outputs are those of the transformers library's ConvNextV2 with the same weights (a test compares them). No weights come
with it: those its authors publish are for non-commercial use.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Size:
    """Channels and blocks of the four stages."""

    channels: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]


#: Table 1 of the paper's appendix.
SIZES = {
    "atto": Size((40, 80, 160, 320), (2, 2, 6, 2)),
    "femto": Size((48, 96, 192, 384), (2, 2, 6, 2)),
    "pico": Size((64, 128, 256, 512), (2, 2, 6, 2)),
    "nano": Size((80, 160, 320, 640), (2, 2, 8, 2)),
    "tiny": Size((96, 192, 384, 768), (3, 3, 9, 3)),
    "base": Size((128, 256, 512, 1024), (3, 3, 27, 3)),
    "large": Size((192, 384, 768, 1536), (3, 3, 27, 3)),
    "huge": Size((352, 704, 1408, 2816), (3, 3, 27, 3)),
}


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (event, channel, ss, fs)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise each pixel's channels."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    """Global response normalisation, channels last (eq. 1-3 of the paper)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale each channel by its share of the whole image's response."""
        response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        share = response / (response.mean(dim=-1, keepdim=True) + 1e-6)
        return self.weight * (x * share) + self.bias + x


class Block(nn.Module):
    """Depthwise 7 x 7, then a perceptron over channels with response normalisation; residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.widen, self.response = nn.Linear(channels, 4 * channels), ResponseNorm(4 * channels)
        self.narrow = nn.Linear(4 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(event, channel, ss, fs) to the same."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(self.response(F.gelu(self.widen(y))))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXtV2(nn.Module):
    """Features at strides 4, 8, 16 and 32, each normalised.

    size : a name in SIZES; frames : (event, in_channels, ss, fs), ss and fs multiples of 32
    """

    def __init__(self, size: str, in_channels: int = 1) -> None:
        super().__init__()
        channels, blocks = SIZES[size].channels, SIZES[size].blocks
        self.channels = channels
        stem = nn.Sequential(nn.Conv2d(in_channels, channels[0], 4, stride=4), ChannelNorm(channels[0]))
        down = [
            nn.Sequential(ChannelNorm(a), nn.Conv2d(a, b, 2, stride=2))
            for a, b in zip(channels, channels[1:], strict=False)
        ]
        self.down = nn.ModuleList([stem, *down])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(c) for _ in range(n))) for c, n in zip(channels, blocks, strict=True)
        )
        self.norms = nn.ModuleList(ChannelNorm(c) for c in channels)

    def forward(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """Give the four feature maps."""
        out, x = [], frames
        for down, stage, norm in zip(self.down, self.stages, self.norms, strict=True):
            x = stage(down(x))
            out.append(norm(x))
        return out
