"""Candidates of simulated scenes, labelled: what judges learn from and are judged on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from peakrt.event import Event
from peakrt.finders.proposer import FEATURES, Proposer
from peakrt_geometry import Detector

from . import recipe

Floats = npt.NDArray[np.float32]
#: Changes with the proposer, whose candidates these are: those of another one are not mixed in.
PROPOSER = 2
_STRENGTH = FEATURES.index("sum3_poisson")


@dataclass(frozen=True)
class Candidates:
    """Candidates of many scenes.

    numbers : (n, features); labels : (n,) 1 a peak, 0 none, 2 left out
    scene : (n,) the scene of each
    """

    numbers: Floats
    labels: npt.NDArray[np.int8]
    scene: npt.NDArray[np.int64]

    def weights(self) -> Floats:
        """Weight of each, so that a crowded scene does not speak for all: 1 / sqrt(candidates of its scene)."""
        _, place, count = np.unique(self.scene, return_inverse=True, return_counts=True)
        weight = 1 / np.sqrt(np.maximum(count[place], 50))
        return (weight / weight.mean()).astype(np.float32)

    def only(self, which: npt.NDArray[np.bool_]) -> Candidates:
        """Those that a mask keeps."""
        return Candidates(self.numbers[which], self.labels[which], self.scene[which])


def of_scene(seed: int, number: int) -> Candidates:
    """Candidates of one training scene."""
    scene = recipe.draw(seed, number)
    proposer = scene.proposer()
    proposer.propose(scene.event.frame, scene.gain)
    numbers = proposer.describe()
    labels = recipe.label(proposer.candidates, numbers[:, _STRENGTH], scene.event.peaks)
    return Candidates(numbers, labels, np.full(len(labels), number))


def of_blanks(events: Iterable[Event], detector: Detector, gain: float) -> Candidates:
    """Candidates of real frames that hold no crystal: none of them is a peak. scene counts down from -1.

    gain : ADU a photon
    """
    parts = []
    for number, _, proposer in proposed(enumerate(events, 1), detector, gain):
        numbers = proposer.describe()
        parts.append(Candidates(numbers, np.zeros(len(numbers), np.int8), np.full(len(numbers), -number)))
    return join(parts)


def proposed(
    events: Iterable[tuple[int, Event]], detector: Detector, gain: float
) -> Iterator[tuple[int, Event, Proposer]]:
    """Each numbered frame with the proposer that has its candidates until the next; gain : ADU a photon."""
    proposer: Proposer | None = None
    known: npt.NDArray[np.bool_] | None = None
    for number, event in events:
        good = event.good(detector.mask)
        if proposer is None or known is None or not np.array_equal(good, known):
            proposer, known = Proposer(good, detector.radius, asics=detector.asics), good
        proposer.propose(event.frame, gain)
        yield number, event, proposer


def join(parts: list[Candidates]) -> Candidates:
    """All of several as one."""
    names = ("numbers", "labels", "scene")
    return Candidates(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _path(folder: Path, seed: int, first: int, size: int) -> Path:
    return folder / f"{seed}-{recipe.VERSION}.{PROPOSER}-{first:07d}-{size}.npz"


def _write_shard(folder: Path, seed: int, first: int, size: int) -> None:
    path = _path(folder, seed, first, size)
    if path.exists():
        return
    shard = join([of_scene(seed, number) for number in range(first, first + size)])
    unfinished = path.with_suffix(".inprogress")
    with open(unfinished, "wb") as file:
        np.savez(file, numbers=shard.numbers, labels=shard.labels, scene=shard.scene)
    os.replace(unfinished, path)


def generate(
    folder: Path, *, seed: int, first: int, scenes: int, processes: int, shard: int = 50
) -> Iterator[tuple[int, int]]:
    """Simulate scenes first .. first + scenes into shards in a folder; those there already are kept.

    Yields (shards done, shards in all).
    """
    folder.mkdir(parents=True, exist_ok=True)
    starts = list(range(first, first + scenes, shard))
    with ProcessPoolExecutor(processes) as pool:
        for done, _ in enumerate(pool.map(partial(_shard, folder, seed, shard, first + scenes), starts), 1):
            yield done, len(starts)


def _shard(folder: Path, seed: int, size: int, end: int, start: int) -> None:
    _write_shard(folder, seed, start, min(size, end - start))


def load(folder: Path, *, seed: int, first: int, scenes: int, shard: int = 50) -> Candidates:
    """Load what generate() wrote. Raises FileNotFoundError where a shard is missing."""
    parts = []
    for start in range(first, first + scenes, shard):
        path = _path(folder, seed, start, min(shard, first + scenes - start))
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: generate the scenes first")
        with np.load(path, allow_pickle=False) as file:
            parts.append(Candidates(file["numbers"], file["labels"], file["scene"]))
    return join(parts)
