"""PeakNet of 2023 (Wang, Li, Thayer & Yoon, arXiv:2303.15301, "seed 000"): a residual attention U-Net. Needs torch.

Backbone of residual double convolutions, neck of gated feature fusions (Oktay et al., arXiv:1804.03999), head of one
1 x 1 convolution. Three classes: background, Bragg peak, artifact scattering.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

CLASSES = 3


class ResidualDoubleConv(nn.Module):
    """Two 3 x 3 convolutions beside a 1 x 1 one (figure 2b)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.beside = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(event, inputs, ss, fs) to (event, outputs, ss, fs)."""
        return F.relu(self.main(x) + self.beside(x))


class GatedFusion(nn.Module):
    """Merges a coarse map into a fine one, after an attention gate over the fine one (figure 2c)."""

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        inner = max(1, fine // 2)
        self.of_fine, self.of_coarse = nn.Conv2d(fine, inner, 1), nn.Conv2d(coarse, inner, 1)
        self.gate = nn.Conv2d(inner, 1, 1)
        self.merge = ResidualDoubleConv(fine + coarse, fine)

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Maps at two resolutions to one at the finer."""
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        attention = torch.sigmoid(self.gate(F.relu(self.of_fine(fine) + self.of_coarse(coarse))))
        return self.merge(torch.cat([attention * fine, coarse], 1))


class PeakNet2023(nn.Module):
    """Logits of each pixel's classes; any image size and batch.

    base : channels at full resolution (8 in the authors' code); depth : halvings
    frames : (event, 1, ss, fs)
    """

    def __init__(self, base: int = 8, depth: int = 4) -> None:
        super().__init__()
        channels = [base * 2**level for level in range(depth + 1)]
        self.backbone = nn.ModuleList(ResidualDoubleConv(a, b) for a, b in zip([1, *channels], channels, strict=False))
        self.neck = nn.ModuleList(GatedFusion(a, b) for a, b in zip(channels, channels[1:], strict=False))
        self.head = nn.Conv2d(base, CLASSES, 1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(event, 1, ss, fs) to (event, CLASSES, ss, fs)."""
        maps, x = [], frames
        for level, block in enumerate(self.backbone):
            x = block(x if level == 0 else F.max_pool2d(x, 2, ceil_mode=True))
            maps.append(x)
        for level in range(len(self.neck) - 1, -1, -1):
            x = self.neck[level](maps[level], x)
        return self.head(x)


def focal_loss(logits: torch.Tensor, target: torch.Tensor, *, alpha: float = 1.2, gamma: float = 2.0) -> torch.Tensor:
    """Mean categorical focal loss of the paper: gamma 2.0, alpha 1.2.

    logits : (event, class, ss, fs); target : (event, ss, fs) class, -1 leaves a pixel out
    """
    log_p = F.log_softmax(logits, 1).gather(1, target.clamp(min=0)[:, None])[:, 0]
    return -(alpha * (1 - log_p.exp()) ** gamma * log_p)[target >= 0].mean()


def augment(
    frame: torch.Tensor, target: torch.Tensor, rng: np.random.Generator, *, masks: int = 50
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn about the middle, shift, and blank random rectangles of 80 to 120 pixels, as the paper does.

    frame : (ss, fs); target : (ss, fs) class. What is turned or shifted in from outside is 0.
    """
    n_ss, n_fs = frame.shape
    angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(-0.1, 0.1, 2)
    c, s = float(np.cos(angle)), float(np.sin(angle))
    # affine_grid works on a square of side 2: undo the frame's aspect around the rotation.
    matrix = torch.tensor([[[c, -s * n_ss / n_fs, shift[0]], [s * n_fs / n_ss, c, shift[1]]]], dtype=frame.dtype)
    grid = F.affine_grid(matrix, [1, 1, n_ss, n_fs], align_corners=False)
    turned = F.grid_sample(frame[None, None], grid, mode="bilinear", align_corners=False)[0, 0]
    classes = F.grid_sample(target[None, None].to(frame.dtype), grid, mode="nearest", align_corners=False)[0, 0]
    for _ in range(masks):
        height, width = (int(v) for v in rng.integers(80, 121, 2))
        ss, fs = int(rng.integers(0, n_ss)), int(rng.integers(0, n_fs))
        turned[ss : ss + height, fs : fs + width] = 0
        classes[ss : ss + height, fs : fs + width] = 0
    return turned, classes.round().long()
