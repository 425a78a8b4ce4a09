"""Detector geometry: panels in metres, CrystFEL and psana geometry files, pixel maps.

cfelpyutils would read ``.geom`` files too, but it is GPL-3 and drops what it does not use; EXtra-geom keeps
neither bad regions nor ``dimN`` layouts. Both are used by the tests as second opinions where they apply.
"""

from .catalogue import detector_names, load_detector
from .checks import check_camera_length_m, check_photon_energy_eV
from .crystfel import for_crystfel, missing_for_crystfel, read_geom, write_geom
from .panels import BadRegion, Detector, HeaderValue, MaskSource, Panel
from .psana import parse_psana_geometry, read_psana_geometry

__all__ = [
    "BadRegion",
    "Detector",
    "HeaderValue",
    "MaskSource",
    "Panel",
    "check_camera_length_m",
    "check_photon_energy_eV",
    "detector_names",
    "for_crystfel",
    "load_detector",
    "missing_for_crystfel",
    "parse_psana_geometry",
    "read_geom",
    "read_psana_geometry",
    "write_geom",
]
