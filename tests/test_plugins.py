"""The plug-ins against the programs whose names they take."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from peakrt_plugin import psana2
from peakrt_plugin.om import Peakfinder8PeakDetection
from peakrt_plugin.psana1 import COLUMNS

from . import peers
from .conftest import crowded_frame
from .test_peakfinder8 import OPTIONS, case

PARAMETERS = {"rank": 3, "r0": 3.0, "dr": 2.0, "nsigm": 4.0, "npix_min": 2, "npix_max": 30, "amax_thr": 30.0, "atot_thr": 60.0, "son_min": 4.0}  # fmt: skip


def stack(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    frames = np.stack([crowded_frame(rng, (60, 80), peaks=12) for _ in range(4)]).astype(np.float32)
    return frames, rng.random(frames.shape) > 0.03


def rows(peaks: list[Any]) -> np.ndarray:
    return np.array([peak.parameters() for peak in peaks]).reshape(-1, 17)


@pytest.mark.psana
@pytest.mark.parametrize("seed", range(4))
def test_peaks_adaptive_equals_psana(seed: int) -> None:
    peers.psana_package()
    theirs = importlib.import_module("psana.peakFinder.pypsalg")
    frames, mask = stack(seed)
    expected = rows(theirs.peaks_adaptive(frames.copy(), mask.astype(np.uint16), **PARAMETERS))
    assert len(expected) > 5
    for given_data, given_mask in (
        (frames, mask),
        (frames, mask.reshape(-1, 80).astype(np.float64)),
        (list(frames), list(mask)),
    ):
        found = psana2.peaks_adaptive(given_data, given_mask, **PARAMETERS)  # type: ignore[arg-type]
        np.testing.assert_allclose(rows(found), expected, rtol=1e-6, atol=1e-5)
    assert frames.shape == (4, 60, 80)
    first = found[0]
    seg, row, son = (expected[0][COLUMNS.index(name)] for name in ("seg", "row", "son"))
    assert (first.seg, first.row) == (seg, row)
    assert first.son == pytest.approx(son, rel=1e-6)
    with pytest.raises(AttributeError, match="has no colour"):
        _ = first.colour
    defaults = rows(theirs.peaks_adaptive(frames.copy(), mask.astype(np.uint16)))
    np.testing.assert_allclose(rows(psana2.peaks_adaptive(frames, mask)), defaults, rtol=1e-6, atol=1e-5)


@pytest.mark.psana
def test_algos_object_equals_psana() -> None:
    frames, mask = stack(9)
    results = []
    for algorithm in (psana2.peak_finder_algos(seg=2, pbits=0), peers.psana_finder().peak_finder_algos(seg=2, pbits=0)):
        algorithm.set_peak_selection_parameters(1, 50, 0.0, 0.0, 4.0)
        results.append(rows(algorithm.peak_finder_v3r3_d2(frames[0], mask[0].astype(np.uint16), 4, 4.0, 2.0, 3.0)))
        assert len(algorithm.list_of_peaks_selected()) == len(results[-1])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6, atol=1e-5)


@pytest.mark.psana
def test_peakfinder_8_equals_psana() -> None:
    peers.psana_package()
    theirs = importlib.import_module("psana.peakfinder8")
    frame, mask, radius = case(17, (96, 64), 0.03)
    arguments = (500, frame, mask.astype(np.int8), radius, 32, 48, 2, 2, 30.0, 5.0, 2, 60, 3)
    expected, found = theirs.peakfinder_8(*arguments), psana2.peakfinder_8(*arguments)
    assert len(found) == len(expected) == 8
    assert len(found[0]) > 3
    for ours, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("fast", [False, True])
def test_om_class(fast: bool) -> None:
    frame, _, radius = case(21, (96, 64), 0.0)
    parameters = {
        "max_num_peaks": 100, "adc_threshold": 30.0, "minimum_snr": 5.0, "min_pixel_count": 2, "max_pixel_count": 60,
        "local_bg_radius": 3, "min_res": 4, "max_res": 70, "fast_mode": fast,
    }  # fmt: skip
    layout = {"asic_nx": 64, "asic_ny": 48, "nasics_x": 1, "nasics_y": 2}
    finder = Peakfinder8PeakDetection(
        radius_pixel_map=radius, layout_info=layout, crystallography_parameters=parameters
    )
    found = finder.find_peaks(data=frame)
    mask = (radius >= 4) & (radius <= 70)
    expected = peers.om_peakfinder8(frame, mask, radius, (48, 64), OPTIONS)
    if not fast:  # the fast mode of OM draws its sample at random
        assert found["num_peaks"] == len(expected)
        np.testing.assert_allclose(found["ss"], expected[:, 0], atol=1e-3)
        np.testing.assert_allclose(found["intensity"], expected[:, 2], rtol=1e-4)
    assert found["num_peaks"] == len(found["fs"]) > 3
    del parameters["min_res"]
    with pytest.raises(ValueError, match="lacks min_res"):
        Peakfinder8PeakDetection(radius_pixel_map=radius, layout_info=layout, crystallography_parameters=parameters)
