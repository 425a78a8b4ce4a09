"""Crops of simulated scenes in the segmentation network's terms, each pixel with its class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from . import recipe

#: Classes of the PeakNet papers; UNKNOWN is not learned from.
BACKGROUND, PEAK_CLASS, ARTIFACT, UNKNOWN = 0, 1, 2, -1
SIDE = 128  # pixels of a crop
SHARD = 50  # scenes of a file
#: Scores that a segmentation model's threshold is chosen from.
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_CLEAR_SNR = 4.0


@dataclass(frozen=True)
class Crops:
    """Crops to learn from.

    inputs : (n, SEGMENTATION_CHANNELS, SIDE, SIDE) float16; classes : (n, SIDE, SIDE) int8
    """

    inputs: npt.NDArray[np.float16]
    classes: npt.NDArray[np.int8]


def classes_of(scene: recipe.TrainingScene) -> npt.NDArray[np.int8]:
    """Class of each pixel of a scene: (panel, ss, fs).

    A peak covers one and a half times its width, at least 3 x 3 pixels; faint ones are not learned from.
    """
    event = scene.event
    assert event.artifacts is not None
    out = np.where(event.artifacts, ARTIFACT, BACKGROUND).astype(np.int8)
    for clear in (False, True):  # clear peaks over faint ones
        for peak in event.peaks[(event.peaks["snr"] >= _CLEAR_SNR) == clear]:
            reach = float(np.clip(1.5 * peak["sigma"], 1.5, 6.0))
            centre = np.array([round(float(peak["ss"])), round(float(peak["fs"]))])
            low = np.maximum(centre - int(reach), 0)
            ss, fs = np.ogrid[low[0] : centre[0] + int(reach) + 1, low[1] : centre[1] + int(reach) + 1]
            disc = (ss - centre[0]) ** 2 + (fs - centre[1]) ** 2 <= reach**2
            here = out[peak["panel"], low[0] : centre[0] + int(reach) + 1, low[1] : centre[1] + int(reach) + 1]
            here[disc[: here.shape[0], : here.shape[1]]] = PEAK_CLASS if clear else UNKNOWN
    out[~scene.simulator.good] = UNKNOWN
    return out


def of_scene(seed: int, number: int, crops: int) -> Crops:
    """Crops of one training scene: half around peaks or artifacts where there are any, half anywhere."""
    scene = recipe.draw(seed, number, artifacts=True)
    inputs, classes = scene.proposer().segmentation_inputs(scene.event.frame, scene.gain), classes_of(scene)
    rng = np.random.default_rng([seed, 8, number])
    bright = np.argwhere((classes == PEAK_CLASS) | (classes == ARTIFACT))
    panels, n_ss, n_fs = classes.shape
    xs, ys = [], []
    for k in range(crops):
        if k % 2 and len(bright):
            panel, ss, fs = bright[rng.integers(len(bright))] - [0, *rng.integers(20, SIDE - 20, 2)]
        else:
            panel, ss, fs = rng.integers(panels), rng.integers(n_ss), rng.integers(n_fs)
        ss, fs = np.clip(ss, 0, n_ss - SIDE), np.clip(fs, 0, n_fs - SIDE)
        xs.append(inputs[panel, :, ss : ss + SIDE, fs : fs + SIDE])
        ys.append(classes[panel, ss : ss + SIDE, fs : fs + SIDE])
    return Crops(np.stack(xs).astype(np.float16), np.stack(ys))


def _join(parts: list[Crops]) -> Crops:
    return Crops(np.concatenate([p.inputs for p in parts]), np.concatenate([p.classes for p in parts]))


def _shard(folder: Path, seed: int, size: int, crops: int, start: int) -> None:
    path = _path(folder, seed, start, size, crops)
    if path.exists():
        return
    shard = _join([of_scene(seed, number, crops) for number in range(start, start + size)])
    unfinished = path.with_suffix(".inprogress")
    with open(unfinished, "wb") as file:
        np.savez(file, inputs=shard.inputs, classes=shard.classes)
    os.replace(unfinished, path)


def _path(folder: Path, seed: int, start: int, size: int, crops: int) -> Path:
    return folder / f"segmentation-{seed}-{recipe.VERSION}-{start:07d}-{size}x{crops}.npz"


def generate(
    folder: Path, *, seed: int, scenes: int, crops: int, processes: int, shard: int = SHARD
) -> Iterator[tuple[int, int]]:
    """Simulate scenes into shards of crops in a folder; those there already are kept.

    scenes : a multiple of shard. Yields (shards done, shards in all).
    """
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, scenes, shard)
    with ProcessPoolExecutor(processes) as pool:
        for done, _ in enumerate(pool.map(partial(_shard, folder, seed, shard, crops), starts), 1):
            yield done, len(starts)


def load(folder: Path, *, seed: int, scenes: int, crops: int, shard: int = SHARD) -> Crops:
    """Load what generate() wrote. Raises FileNotFoundError where a shard is missing."""
    parts = []
    for start in range(0, scenes, shard):
        path = _path(folder, seed, start, shard, crops)
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: generate the scenes first")
        with np.load(path, allow_pickle=False) as file:
            parts.append(Crops(file["inputs"], file["classes"]))
    return _join(parts)
