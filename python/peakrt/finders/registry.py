"""The list of the finders.

To add one: its options as a dataclass in config.py, its module here, and its entry in ``FINDERS``. The command line, the
server, the plug-ins and the lab take the rest from there.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..config import CandidateConfig, Config, Peakfinder8Config, SegmentationConfig, V3r3Config
from ..contracts import FinderKind
from . import candidate, peakfinder8, psana_algos, segmentation

FINDERS: dict[str, FinderKind] = {}


def register(kind: FinderKind) -> None:
    """Add a finder. Raises ValueError for a name that is taken."""
    if kind.name in FINDERS:
        raise ValueError(f"there is a finder {kind.name} already")
    FINDERS[kind.name] = kind


def kind_of(config: Config) -> FinderKind:
    """The finder that a config is of. Raises TypeError for one that is of none."""
    for kind in FINDERS.values():
        if isinstance(config, kind.config):
            return kind
    raise TypeError(f"{type(config).__name__} is the config of no finder: {', '.join(FINDERS)}")


def named(config: Config) -> tuple[str, dict[str, Any]]:
    """Name and options of a finder's config."""
    return kind_of(config).name, asdict(config)


register(
    FinderKind(
        "candidate",
        CandidateConfig,
        candidate.on_cpu,
        candidate.on_gpu,
        engines=("cuda", "tensorrt"),
        model_kind="candidate",
    )
)
register(
    FinderKind(
        "segmentation", SegmentationConfig, segmentation.on_cpu, segmentation.on_gpu, engines=("cuda", "tensorrt"),
        model_kind="segmentation",
    )
)  # fmt: skip
register(
    FinderKind(
        "peakfinder8", Peakfinder8Config, peakfinder8.on_cpu, peakfinder8.on_gpu, engines=("cuda",), needs_geometry=True
    )
)
register(FinderKind("v3r3", V3r3Config, psana_algos.on_cpu))
