"""The network of Ke et al. 2018 that sees a whole frame: Hit, Maybe or Miss from pixels.

Source: J. Synchrotron Rad. 25 (2018) 655, sections 2.1 and 2.2: four times a 3 x 3 convolution of stride 2, batch
normalisation, ReLU and 2 x 2 max-pooling; 4, 8, 16 and 32 maps; 288 features; softmax. Frames are binned 2 x 2, cut to
720 x 720 around the beam, in training shifted by up to 120 pixels, and normalised by contrast, first of the image, then
of each pixel's neighbours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from peakrt_geometry import Detector

SIDE, SHIFT = 720, 120
#: Pixels of the neighbourhood; the paper does not say how many.
_NEIGHBOURS = 9
Images = npt.NDArray[np.float16]


class Assembler:
    """Puts frames of a detector together as binned images around the beam: (SIDE + 2 SHIFT) squared."""

    def __init__(self, detector: Detector) -> None:
        self._side = SIDE + 2 * SHIFT
        size = 2 * detector.panels[0].pixel_size_m
        row, column = (np.rint(m / size + self._side / 2 - 0.5).astype(np.int64) for m in (detector.y_m, detector.x_m))
        inside = (row >= 0) & (row < self._side) & (column >= 0) & (column < self._side) & detector.covered
        self._pixels = np.flatnonzero(inside)
        self._to = (row * self._side + column).ravel()[self._pixels]

    def __call__(self, frame: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """The sum of the pixels of each bin; 0 where there are none. frame : (panel, ss, fs)"""
        values = frame.ravel()[self._pixels].astype(np.float64)
        image = np.bincount(self._to, values, self._side**2)
        return image.reshape(self._side, self._side).astype(np.float32)


def local_contrast(image: npt.NDArray[np.float32]) -> Images:
    """The image less its local mean, over its local standard deviation (equations 6 to 9)."""
    from scipy.ndimage import uniform_filter

    whole = (image - image.mean()) / max(float(image.std()), 1e-6)
    mean = uniform_filter(whole, _NEIGHBOURS)
    variance = uniform_filter(whole * whole, _NEIGHBOURS) - mean * mean
    return ((whole - mean) / np.sqrt(np.maximum(variance, 1e-6))).astype(np.float16)


def linear_contrast(image: npt.NDArray[np.float32]) -> Images:
    """Grey as dials.image_viewer shows it: min(1, 0.4 P / P90) (Figure 6)."""
    bright = max(float(np.percentile(image, 90)), 1e-6)
    return np.clip(0.4 * image / bright, 0, 1).astype(np.float16)


class ScreeningNet(nn.Module):
    """Images (n, 1, 720, 720) to three logits, in the order Hit, Maybe, Miss."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, 4), (4, 8), (8, 16), (16, 32)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classify = nn.Linear(288, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, 3)."""
        logits: torch.Tensor = self.classify(self.features(images).flatten(1))
        return logits


def train(images: Images, labels: npt.NDArray[np.int64], *, steps: int, batch: int, seed: int) -> ScreeningNet:
    """Train on images (n, 960, 960) and labels (n,) by plain steps down the gradient (equation 5).

    Each mini-batch has as many of each class; the rate falls from 0.1 to 0.0001 as an exponential.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = ScreeningNet()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on CPUs
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, (1e-4 / 0.1) ** (1 / steps))
    of_class = [np.flatnonzero(labels == kind) for kind in np.unique(labels)]
    net.train()
    for _ in range(steps):
        chosen = np.concatenate([rng.choice(rows, -(-batch // len(of_class))) for rows in of_class])
        at = rng.integers(0, 2 * SHIFT + 1, (len(chosen), 2))
        crops = np.stack([images[k, y : y + SIDE, x : x + SIDE] for k, (y, x) in zip(chosen, at, strict=True)])
        loss = nn.functional.cross_entropy(net(_tensor(crops)), torch.from_numpy(labels[chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def predict(net: ScreeningNet, images: Images) -> npt.NDArray[np.float64]:
    """P(Hit), P(Maybe), P(Miss) of the centres of images (n, 960, 960): (n, 3)."""
    centre = slice(SHIFT, SHIFT + SIDE)
    parts = [
        torch.softmax(net(_tensor(images[first : first + 16, centre, centre])), 1)
        for first in range(0, len(images), 16)
    ]
    return torch.cat(parts).numpy().astype(np.float64)


def _tensor(images: Images) -> torch.Tensor:
    return torch.from_numpy(images.astype(np.float32))[:, None]
