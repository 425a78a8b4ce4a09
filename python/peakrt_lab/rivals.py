"""The networks and trees that trainings leave in their work folders, as finders to be judged beside ours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from peakrt.config import CandidateConfig, SegmentationConfig
from peakrt.contracts import Engine
from peakrt.finder import PeakFinder
from peakrt_geometry import Detector

from .trees import TREES, load, predict


@dataclass(frozen=True)
class Rival:
    """engine : in the place of the shipped network of the configuration's finder."""

    name: str
    config: CandidateConfig | SegmentationConfig
    engine: Engine

    def finder(self, detector: Detector) -> PeakFinder:
        """Its finder for a detector."""
        return PeakFinder(self.config, geometry=detector, cpu_engine=self.engine)


def find_rivals(folders: Iterable[Path]) -> list[Rival]:
    """What work folders of ``peakrt-lab train`` hold. Raises FileNotFoundError for a folder that holds nothing."""
    rivals = []
    for folder in folders:
        here = []
        if (folder / TREES).exists():
            trees = partial(predict, load(folder / TREES))
            here.append(Rival("boosted trees", CandidateConfig(), trees))
        if (folder / "teacher.json").exists():
            from .train_segmentation import segmentation_rivals

            for name, (engine, threshold) in segmentation_rivals(folder).items():
                here.append(Rival(name, SegmentationConfig(min_score=threshold), engine))
        if not here:
            raise FileNotFoundError(
                f"{folder} holds neither trees nor networks: it is a work folder of train, once done"
            )
        rivals += here
    return rivals
