"""The detector of a frame, asked of psana2 in the process where the frame was read.

psana2 4.3 keeps the interface of each detector of a run in ``psana.detector.detector_impl.DetectorImpl._registry``, whether
the job asked for it or not. A frame carries no name: it belongs to the one area detector that is read out in its shape.

Units: for Jungfrau, ePix10ka, ePixHR and ePix100 ``calib`` divides by gains in ADU a keV and so gives keV (psana 4.3.4:
detector/UtilsJungfrau.py, UtilsEpix10ka.py, epix100.py, "gfac"). Where there are no constants of type pixel_gain, a Jungfrau's
factor is 1 and it gives ADU; the ePix take a default gain in ADU a keV.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from peakrt_geometry import Detector, parse_psana_geometry

from .mode import HostDetector
from .segments import of_segments

log = logging.getLogger("peakrt")
#: keV of a photon where data are in keV and the energy is not said: usual for crystallography at LCLS. It hardly matters: in
#: 24 events of 9.5 keV recall stays within .982 to .989 and precision within .956 to .971 for 6 to 16 keV.
USUAL_PHOTON_keV = 9.5
_IN_keV = ("jungfrau", "epix10ka", "epixhr", "epix100")

#: By shape and place: the calibration constants that were current, and what was made of them.
_known: dict[tuple[Any, ...], tuple[object, HostDetector | None]] = {}


def calib_is_in_keV(raw: Any) -> bool:
    """Whether calib of a psana2 detector interface (``det.raw``) gives keV."""
    kind = str(raw._dettype)
    if kind == "jungfrau":
        entry = (raw._calibconst or {}).get("pixel_gain")
        return entry is not None and entry[0] is not None
    return kind.startswith(_IN_keV)


def own_geometry(raw: Any, name: str) -> Detector | None:
    """Psana's geometry of all segments of a detector: the run's constants', else psana's default; None without either.

    raw : ``det.raw``; name : for messages. Raises ValueError for a sensor type that is not known.
    """
    text = (raw._det_geotxt_and_meta() or (None,))[0]
    if text is None and raw._path_geo_default is not None:
        text = raw._det_geotxt_default()
        log.warning("%s: psana's default geometry, there is none among the constants", name)
    if text is None:
        return None
    geometry = parse_psana_geometry(text, name=name)
    return replace(geometry, adu_per_eV=1e-3) if calib_is_in_keV(raw) else geometry


def detector_of(frame: npt.NDArray[Any], place: object) -> HostDetector | None:
    """The detector of a frame, as psana2 holds it in this process; None where it cannot be told.

    frame : (seg, row, col); place : number of the segment where it is of one segment. The same object is given for as long
    as the run's calibration constants are the same.
    """
    fitting = [raw for raw in _area_detectors() if _segments_in(raw, frame.shape, place) is not None]
    matches = list({raw._det_name: raw for raw in fitting}.values())  # raw and fex of a detector are one
    key = (frame.shape, place, frame.dtype.kind == "f")
    if len(matches) != 1:
        if matches and key not in _known:
            names = ", ".join(raw._det_name for raw in matches)
            log.warning("frames of shape %s can be of %s: none of their geometries is taken", frame.shape, names)
            _known[key] = (None, None)
        return None
    raw = matches[0]
    if key not in _known or _known[key][0] is not raw._calibconst:
        _known[key] = (raw._calibconst, _describe(raw, frame, place))
    return _known[key][1]


def _area_detectors() -> list[Any]:
    """psana2's interfaces to detectors of segments of pixels; none where psana2 is not in use."""
    module = sys.modules.get("psana.detector.detector_impl")
    registry = getattr(getattr(module, "DetectorImpl", None), "_registry", {})
    return [raw for raw in registry.values() if getattr(raw, "_seg_geo", None) is not None]


def _segments_in(raw: Any, shape: tuple[int, ...], place: object) -> list[int] | None:
    """Numbers of the segments in a frame, None if it is not of this detector."""
    numbers = [int(number) for number in raw._segment_numbers]
    rows, columns = raw._seg_geo.shape()
    if shape in ((len(numbers), rows, columns), (1, len(numbers) * rows, columns)):
        return numbers
    if shape == (1, rows, columns) and place in numbers and numbers == list(range(len(numbers))):
        return [int(place)]
    return None


def _describe(raw: Any, frame: npt.NDArray[Any], place: object) -> HostDetector | None:
    name = f"psana's {raw._det_name}"
    try:
        geometry = own_geometry(raw, name)
    except ValueError as error:
        log.warning("%s: its geometry cannot be used: %s", name, error)
        return None
    if geometry is None:
        log.warning("%s: psana knows no geometry of it", name)
        return None
    numbers = _segments_in(raw, frame.shape, place)
    assert numbers is not None
    rows = int(raw._seg_geo.shape()[0])
    if numbers != list(range(geometry.shape[1] // rows)):
        geometry = of_segments(geometry, rows, numbers)
    if frame.dtype.kind != "f" or not calib_is_in_keV(raw):  # raw data are integers
        return HostDetector(name, replace(geometry, adu_per_eV=None))
    log.info("%s: data are in keV, a photon of %g keV is assumed; PEAKRT_GAIN changes it", name, USUAL_PHOTON_keV)
    return HostDetector(name, geometry, USUAL_PHOTON_keV)
