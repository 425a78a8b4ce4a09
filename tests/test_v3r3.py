"""v3r3 against its twin and against psana."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peakrt import v3r3
from peakrt_plugin.psana1 import COLUMNS, PyAlgos, as_columns

from . import peers, twins
from .conftest import crowded_frame, instruction_sets

DTYPES = ["f4", "f8", "u2", "i2", "i4", "u4", "i8", "u8"]


def case(seed: int, dtype: str, masked: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(6, 70, 2))
    frame = np.minimum(
        crowded_frame(rng, shape, peaks=max(1, shape[0] * shape[1] // 200), step=step), 250
    )  # saturation: plateaus
    if np.dtype(dtype).kind == "f" and step == 1:
        frame = frame + rng.standard_normal(shape)
    elif np.dtype(dtype).kind == "i":
        frame = frame - 30
    return np.ascontiguousarray(frame.astype(dtype)), rng.random(shape) >= masked


cases = {
    "seed": st.integers(0, 2**31),
    "masked": st.sampled_from([0, 0.05, 0.3]),
    "step": st.sampled_from([1.0, 20.0]),
    "rank": st.integers(1, 8),
    "ring": st.sampled_from([(2.0, 1.0), (3.0, 2.0), (3.5, 2.5), (7.0, 2.0), (4.0, 0.0)]),
    "nsigm": st.sampled_from([0.0, 2.0, 5.0]),
    "son_min": st.sampled_from([0.0, 4.0]),
}


@settings(max_examples=40, deadline=None)
@given(dtype=st.sampled_from(["f4", "u2", "i4"]), **cases)
def test_equals_its_twin(
    dtype: str,
    seed: int,
    masked: float,
    step: float,
    rank: int,
    ring: tuple[float, float],
    nsigm: float,
    son_min: float,
) -> None:
    frame, mask = case(seed, dtype, masked, step)
    options = {"rank": rank, "r0": ring[0], "dr": ring[1], "nsigm": nsigm, "son_min": son_min}
    peaks = v3r3(frame, mask, npix_min=1, npix_max=60, **options)  # type: ignore[arg-type]
    expected = np.array(twins.v3r3(frame, mask, npix=(1, 60), **options), float).reshape(-1, 12)  # type: ignore[arg-type]
    names = (
        "top_ss",
        "top_fs",
        "npix",
        "max",
        "intensity",
        "background",
        "noise",
        "snr",
        "min_ss",
        "max_ss",
        "min_fs",
        "max_fs",
    )
    found = np.array([peaks[name] for name in names], float).T.reshape(-1, 12)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found[:, [0, 1, 2, 8, 9, 10, 11]], expected[:, [0, 1, 2, 8, 9, 10, 11]])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.psana
@settings(max_examples=250, deadline=None)
@given(dtype=st.sampled_from(DTYPES), amax=st.sampled_from([0.0, 60.0]), **cases)
def test_equals_psana(
    dtype: str,
    amax: float,
    seed: int,
    masked: float,
    step: float,
    rank: int,
    ring: tuple[float, float],
    nsigm: float,
    son_min: float,
) -> None:
    frame, mask = case(seed, dtype, masked, step)
    theirs = peers.psana_finder().peak_finder_algos(seg=0, pbits=0)
    theirs.set_peak_selection_parameters(1, 60, amax, 0.0, son_min)
    expected = np.array(
        [p.parameters() for p in theirs.peak_finder_v3r3_d2(frame, mask.astype(np.uint16), rank, *ring, nsigm)]
    )
    ours = v3r3(
        frame,
        mask,
        rank=rank,
        r0=ring[0],
        dr=ring[1],
        nsigm=nsigm,
        npix_min=1,
        npix_max=60,
        amax_thr=amax,
        son_min=son_min,
    )
    found = as_columns(ours)
    assert len(found) == len(expected)
    if len(found):
        whole = [COLUMNS.index(n) for n in ("seg", "row", "col", "npix", "row_min", "row_max", "col_min", "col_max")]
        np.testing.assert_array_equal(found[:, whole], expected[:, whole])
        # psana's own columns are float32: sums about a mean near zero keep 1e-6 of what was summed
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=5e-4 if nsigm == 0 else 1e-5)


def test_every_instruction_set_gives_the_same_peaks() -> None:
    frame, mask = case(11, "f4", 0.05, 1.0)
    results = {v3r3(frame, mask, rank=3, son_min=3).tobytes() for _ in instruction_sets()}
    assert len(results) == 1


def test_pyalgos_takes_what_jobs_pass() -> None:
    rng = np.random.default_rng(2)
    frame = np.stack([crowded_frame(rng, (40, 50), peaks=8) for _ in range(3)]).astype(np.float32)
    mask = rng.random(frame.shape) > 0.02
    reference = None
    for given_mask in (mask, mask.astype(np.uint16), mask.astype(np.float64), mask.reshape(-1, 50)):
        algorithm = PyAlgos(mask=given_mask)
        algorithm.set_peak_selection_pars(npix_min=2, npix_max=30, amax_thr=30, atot_thr=60, son_min=5)
        shapes = frame.shape, given_mask.shape
        rows = algorithm.peak_finder_v3r3(frame, rank=3, r0=3, dr=2, nsigm=3)
        assert (frame.shape, given_mask.shape) == shapes
        reference = rows if reference is None else reference
        np.testing.assert_array_equal(rows, reference)
    assert reference is not None
    assert reference.dtype == np.float32
    assert reference.shape[1] == 17
    assert set(reference[:, 0]) == {0, 1, 2}
    assert PyAlgos().peak_finder_v3r3(np.zeros((30, 30), np.float32)).shape == (0,)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="rank"):
        v3r3(np.zeros((9, 9)), None, rank=0)
    with pytest.raises(ValueError, match="rank"):
        v3r3(np.zeros((9, 9)), None, rank=2**40)
    with pytest.raises(ValueError, match="ring"):
        v3r3(np.zeros((9, 9)), None, r0=-1)


def test_nan_pixels_are_bad() -> None:
    frame, mask = case(12, "f4", 0.0, 1.0)
    holes = np.random.default_rng(0).random(frame.shape) < 0.02
    broken = np.where(holes, np.nan, frame).astype(np.float32)
    found = v3r3(broken, mask, rank=2, son_min=3)
    assert len(found)
    assert not holes[found["top_ss"], found["top_fs"]].any()
