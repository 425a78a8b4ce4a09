"""Connected components and their measurement, against scipy and a numpy twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from peakrt import PEAK, _native
from peakrt.finders.components import label, measure
from peakrt.peaks import PeakTable


def foregrounds() -> st.SearchStrategy[np.ndarray]:
    def draw(args: tuple[int, float, tuple[int, int, int]]) -> np.ndarray:
        seed, density, shape = args
        return np.random.default_rng(seed).random(shape) < density

    shapes = st.tuples(st.integers(1, 3), st.integers(1, 24), st.integers(1, 40))
    return st.tuples(st.integers(0, 10**6), st.sampled_from([0.0, 0.02, 0.2, 0.5, 0.9, 1.0]), shapes).map(draw)


@settings(max_examples=150, deadline=None)
@given(foregrounds())
def test_labels_equal_scipy(foreground: np.ndarray) -> None:
    labels, n = label(foreground)
    total = 0
    for panel, found in zip(foreground, labels, strict=True):
        expected, count = ndimage.label(panel, np.ones((3, 3)))
        np.testing.assert_array_equal(found, np.where(expected > 0, expected + total, 0))
        total += count
    assert n == total


@settings(max_examples=80, deadline=None)
@given(foregrounds(), st.sampled_from(["f4", "u2", "i4"]))
def test_measures_equal_numpy(foreground: np.ndarray, dtype: str) -> None:
    rng = np.random.default_rng(0)
    frame = rng.poisson(50, foreground.shape).astype(dtype)
    background, variance, score = (rng.uniform(1, 20, foreground.shape).astype(np.float32) for _ in range(3))
    score /= 20
    labels, n = label(foreground)
    peaks = measure(frame, labels, n, background=background, variance=variance, score=score)
    assert len(peaks) == n
    for k, peak in enumerate(peaks, 1):
        at = np.nonzero(labels == k)
        adu = frame[at].astype(float) - background[at]
        weight = np.maximum(adu, 0)
        weight = weight if weight.sum() > 0 else np.ones(len(adu))
        ss, fs = (weight * at[1]).sum() / weight.sum(), (weight * at[2]).sum() / weight.sum()
        assert peak["npix"] == len(adu)
        assert peak["panel"] == at[0][0]
        assert (peak["ss"], peak["fs"]) == pytest.approx((ss, fs), abs=1e-3)
        assert peak["intensity"] == pytest.approx(adu.sum(), rel=1e-3, abs=0.05)
        assert peak["snr"] == pytest.approx(adu.sum() / np.sqrt(variance[at].sum()), rel=1e-3, abs=0.01)
        assert peak["var_fs"] == pytest.approx((weight * (at[2] - fs) ** 2).sum() / weight.sum(), rel=1e-2, abs=0.02)
        assert [peak[f] for f in ("min_ss", "max_ss", "min_fs", "max_fs")] == [
            at[1].min(),
            at[1].max(),
            at[2].min(),
            at[2].max(),
        ]
        assert peak["score"] == score[at].max()
        assert adu.max() == pytest.approx(
            frame[0 + peak["panel"], peak["top_ss"], peak["top_fs"]]
            - background[peak["panel"], peak["top_ss"], peak["top_fs"]],
            abs=1e-4,
        )


def test_peak_dtype_mirrors_the_struct() -> None:
    assert PEAK.itemsize == _native.PEAK_SIZE
    assert {name: PEAK.fields[name][1] for name in PEAK.names} == _native.PEAK_OFFSETS


def test_tables() -> None:
    events = [np.zeros(n, PEAK) for n in (2, 0, 3)]
    table = PeakTable.from_events(events)
    assert [len(peaks) for peaks in table] == [2, 0, 3]
    assert len(PeakTable.from_events([])) == 0
    with pytest.raises(IndexError):
        table[3]
