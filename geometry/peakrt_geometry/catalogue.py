"""The detectors that PeakRT knows by name: ``detectors/*.geom``, each with its source in its head."""

from __future__ import annotations

from importlib.resources import files

from .crystfel import parse_geom
from .panels import Detector

_FOLDER = files(__package__) / "detectors"


def detector_names() -> list[str]:
    """Names that :func:`load_detector` takes."""
    return sorted(entry.name.removesuffix(".geom") for entry in _FOLDER.iterdir() if entry.name.endswith(".geom"))


def load_detector(name: str) -> Detector:
    """Read one of PeakRT's own detectors, e.g. ``epix10k2m``. Raises ValueError for a name it does not know."""
    if name not in detector_names():
        raise ValueError(f"unknown detector {name!r}; known: {', '.join(detector_names())}")
    return parse_geom((_FOLDER / f"{name}.geom").read_text(encoding="utf-8"), name=f"{name}.geom")
