"""Run by the interpreter that has psana: psana2's own detector objects, and what peakrt_plugin.psana2_detector says of them."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import psana
from psana.detector.detector_impl import DetectorImpl

from peakrt_plugin import psana2_detector as ours

DATA = Path(psana.__file__).parent / "pscalib/geometry/data"
META = {"experiment": "mfx100", "run": 7}
#: Module, class, type as the DAQ names it, segments read out, geometry file, pixel size in um.
CASES = (
    ("jungfrau", "jungfrau_raw_0_2_0", "jungfrau", [*range(8)], "jungfrau4M", 75.0),
    ("jungfrau", "jungfrau_raw_0_2_0", "jungfrau", [0, 2, 7], "jungfrau4M", 75.0),
    ("jungfrau", "jungfrau_raw_0_2_0", "jungfrau", [0], "jungfrau05M", 75.0),
    ("epix10ka", "epix10ka_raw_2_0_1", "epix10ka", [*range(4)], "epix10kaquad", 100.0),
    ("epixhr2x2", "epixhr2x2_raw_2_0_1", "epixhr2x2", [0], "epixhr2x2", 100.0),
    ("epix100", "epix100_raw_2_0_1", "epix100", [0], "epix100a", 50.0),
)


def make(case: tuple[Any, ...], number: int, *, gains: bool = True, part: str = "raw") -> Any:
    module, name, kind, segments, geometry, _ = case
    config = types.SimpleNamespace(configs=[], sorted_segment_ids=segments, uniqueid=f"{kind}_1", dettype=kind)
    constants: dict[str, Any] = {"geometry": ((DATA / f"geometry-def-{geometry}.data").read_text(), META)}
    if gains:
        constants["pixel_gain"] = (np.ones((3, 1, 1, 1), np.float32), META)
    cls = getattr(importlib.import_module(f"psana.detector.{module}"), name)
    return cls(f"{kind}{number}", part, config, constants)


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Within .01 pixels; psana puts the centres of the wide pixels between ASICs half a pixel off the grid."""
    difference = np.abs(a - b)
    return a.shape == b.shape and bool(np.quantile(difference, 0.99) < 0.01 and difference.max() < 1)


def main() -> None:
    for number, case in enumerate(CASES):
        DetectorImpl._registry.clear()
        raw = make(case, number)
        x, y, _ = raw._pixel_coords()
        radius = np.hypot(x, y) / case[-1]
        shape = raw._shape_as_daq()
        frame = np.zeros(shape, np.float32)
        known = ours.detector_of(frame, 0)
        assert known is not None, case
        assert close(known.geometry.radius.reshape(shape), radius.reshape(shape)), case
        assert known is ours.detector_of(frame, 0), "asked once"
        assert known.gain == ours.USUAL_PHOTON_keV, case
        assert known.geometry.adu_per_eV == 1e-3
        slab = ours.detector_of(frame.reshape(1, -1, shape[-1]), "slab")
        assert slab is not None
        assert slab.geometry.shape[0] == 1
        counts = ours.detector_of(frame.astype(np.uint16), 0)
        assert counts is not None
        assert counts.gain is None, "raw data are no energies"
        if shape[0] > 1 and case[3] == [*range(shape[0])]:
            one = ours.detector_of(frame[-1:], shape[0] - 1)
            assert one is not None
            assert close(one.geometry.radius[0], radius.reshape(shape)[-1]), case
        assert ours.detector_of(np.zeros((1, 10, 10), np.float32), 0) is None, "of no detector"

    # Constants of another run, and a Jungfrau without gains, which gives ADU
    DetectorImpl._registry.clear()
    frame = np.zeros((8, 512, 1024), np.float32)
    make(CASES[0], 0)
    make(CASES[0], 0, part="fex")
    before = ours.detector_of(frame, 0)
    make(CASES[0], 0, gains=False, part="fex")
    make(CASES[0], 0, gains=False)
    after = ours.detector_of(frame, 0)
    assert before is not None
    assert after is not None
    assert after is not before
    assert after.gain is None
    assert after.geometry.adu_per_eV is None
    make(CASES[0], 1)  # a second detector of the same shape
    assert ours.detector_of(frame, 0) is None
    sys.stdout.write("all as psana says\n")


main()
