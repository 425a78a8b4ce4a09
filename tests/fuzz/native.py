"""The compiled code given frames, masks, geometries and options that make no sense: what its callers let through it has to stand."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from peakrt import PEAK
from peakrt.arrays import NATIVE_TYPES, GoodPixels
from peakrt.config import CandidateConfig, Config, Peakfinder8Config, V3r3Config
from peakrt.finder import PeakFinder
from peakrt.finders.components import label, measure
from peakrt.finders.peakfinder8 import Peakfinder8
from peakrt.finders.proposer import Proposer
from peakrt.finders.psana_algos import v3r3, v4r3
from peakrt_geometry.crystfel import parse_geom

from ..conftest import SMALL_GEOM

Target = Callable[..., None]
Shape = tuple[int, int, int]
_SMALL = parse_geom(SMALL_GEOM)
_SHAPE: Shape = (_SMALL.shape[0], _SMALL.shape[1], _SMALL.shape[2])
_REALS = (0.0, -1.0, 0.5, 1.0, 3.0, 7.5, 1e-40, 1e10, 1e39, -1e300, float("inf"), float("-inf"), float("nan"))
_WHOLE = (0, -1, 1, 2, 3, 10, 100, 1000, 2**15, 2**31 - 1, 2**31, 2**40, -(2**31))
#: Shares of inputs: most have to get past the checks.
_ODD = 0.05


def draw_shape(draw: random.Random) -> Shape:
    """Panels of a shape that vectors do not divide, or that is smaller than any window."""
    side = (1, 2, 3, 7, 8, 9, 16, 31, 40, 64, 97)
    return draw.choice((1, 1, 2, 3)), draw.choice(side), draw.choice(side)


def draw_frame(draw: random.Random, shape: Shape) -> np.ndarray[Any, Any]:
    """A frame of any type: photons and peaks, one value, or anything; with impossible values here and there."""
    rng = np.random.default_rng(draw.randrange(2**32))
    way = draw.randrange(4)
    values = rng.poisson(draw.choice((0.01, 1, 30)), shape) * draw.choice((1.0, 10.0, -2.0))
    if way == 1:
        values = np.full(shape, draw.choice(_REALS))
    elif way == 2:
        values = rng.normal(0, draw.choice((1.0, 1e4, 1e30)), shape)
    for _ in range(draw.choice((0, 3, 20))):
        at = (rng.integers(shape[0]), rng.integers(shape[1]), rng.integers(shape[2]))
        values[at[0], max(0, at[1] - 1) : at[1] + 2, max(0, at[2] - 1) : at[2] + 2] += draw.choice((50, 900, 1e6))
    for _ in range(draw.choice((0, 0, 1, 30))):
        values[rng.integers(shape[0]), rng.integers(shape[1]), rng.integers(shape[2])] = draw.choice(_REALS)
    kind = draw.choice((*NATIVE_TYPES, "f4", "f4", "?", "f2", ">u2", ">f8", "c8" if draw.random() < _ODD else "u2"))
    with np.errstate(all="ignore"):
        frame = values.astype(kind)
    if frame.dtype.kind in "ui" and draw.random() < 0.3:  # the ends of its range
        limits = np.iinfo(frame.dtype)
        frame[rng.random(shape) < draw.choice((0.01, 0.5))] = draw.choice((limits.min, limits.max))
    if draw.random() < _ODD:
        frame = draw.choice((frame[:, ::-1], np.asfortranarray(frame), frame[0], frame[..., :0], frame[None]))
    return frame


def draw_mask(draw: random.Random, shape: Shape) -> np.ndarray[Any, Any] | None:
    """A mask: of any share of good pixels, none, or of another shape."""
    if draw.random() < 0.3:
        return None
    rng = np.random.default_rng(draw.randrange(2**32))
    mask = rng.random(shape) < draw.choice((0.0, 0.05, 0.5, 0.95, 1.0))
    if draw.random() < _ODD:
        return mask[..., 1:]
    return mask.astype(draw.choice(("?", "?", "u1", "i4", "f4"))) * draw.choice((1, 255))


def draw_radius(draw: random.Random, shape: Shape) -> np.ndarray[Any, Any]:
    """Distances from a beam axis, one distance, any distances, or some that are none."""
    rng = np.random.default_rng(draw.randrange(2**32))
    ss, fs = np.mgrid[: shape[1], : shape[2]]
    centre = draw.choice((0, 20, -500)), draw.choice((0, 31.5, 5e4))
    radius = np.broadcast_to(np.hypot(ss - centre[0], fs - centre[1]), shape).astype(np.float32)
    way = draw.randrange(4)
    if way == 1:
        radius = np.full(shape, draw.choice((0, 0.49, 0.5, 59999.5, 60000)), np.float32)
    elif way == 2:
        radius = rng.uniform(0, draw.choice((1, 300, 60000)), shape).astype(np.float32)
    if draw.random() < _ODD:
        radius = radius.copy()
        with np.errstate(all="ignore"):
            radius[0, rng.integers(shape[1]), rng.integers(shape[2])] = draw.choice((*_REALS, 60001))
    return radius


def draw_asics(draw: random.Random, shape: Shape) -> np.ndarray[Any, Any] | None:
    """Rectangles in a frame, which may overlap; now and then beyond its edge."""
    if draw.random() < 0.4:
        return None
    rows = []
    for _ in range(draw.choice((1, 1, 2, 5))):
        (ss, end_ss), (fs, end_fs) = (sorted(draw.sample(range(n + 1), 2)) for n in shape[1:])
        rows.append([draw.randrange(shape[0]), ss, end_ss, fs, end_fs])
    if draw.random() < _ODD:
        rows[0][draw.randrange(5)] = draw.choice((-1, 0, 98, 2**31 - 1))
    return np.array(rows, np.int32)


def draw_options(draw: random.Random, usual: dict[str, Any]) -> dict[str, Any]:
    """Options, of which some have another value than the usual."""
    return {
        name: draw.choice(_WHOLE if isinstance(value, int) else _REALS) if draw.random() < 0.05 else value
        for name, value in usual.items()
    }


def components(folder: Path) -> Target:
    def job(draw: random.Random, *, harmless: bool = False) -> None:
        shape = draw_shape(draw)
        rng = np.random.default_rng(draw.randrange(2**32))
        labels, n = label(rng.random(shape) < draw.choice((0, 0.02, 0.5, 0.9, 1)))
        if not harmless and draw.random() < _ODD:
            labels[0, 0, 0] = draw.choice((-1, n + 1, 2**31 - 1, -(2**31)))
        frame = np.zeros(shape) if harmless else draw_frame(draw, shape)
        with np.errstate(all="ignore"):
            background, variance, score = (
                np.full(shape, draw.choice(_REALS)).astype(np.float32) if draw.random() < 0.5 else np.float32(1)
                for _ in range(3)
            )
        peaks = measure(frame, labels, n, background=background, variance=variance, score=score if score.ndim else None)
        assert len(peaks) == n
        assert peaks["npix"].sum() == (labels > 0).sum()

    return job


def classical(folder: Path) -> Target:
    usual = {
        "adc_threshold": 5.0, "min_snr": 6.0, "min_pixels": 2, "max_pixels": 100, "background_radius": 4, "samples_per_bin": 0,
    }  # fmt: skip

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        shape = draw_shape(draw)
        options = usual if harmless else draw_options(draw, usual | {"samples_per_bin": draw.choice((0, 3, 100))})
        finder = Peakfinder8(
            draw_mask(draw, shape),
            draw_radius(draw, shape),
            Peakfinder8Config(**options),
            asics=draw_asics(draw, shape),
            original=draw.random() < 0.5,
        )
        if draw.random() < 0.3:
            finder = finder.with_good(GoodPixels.of(draw_mask(draw, shape), shape))
        for _ in range(2):  # the second over what the first has left behind
            _check(finder(draw_frame(draw, shape)), shape)

    return job


def psana(folder: Path) -> Target:
    usual = {
        "rank": 3, "r0": 3.0, "dr": 2.0, "npix_min": 1.0, "npix_max": 1e6, "amax_thr": 0.0, "atot_thr": 0.0, "son_min": 2.0,
    }  # fmt: skip

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        shape = draw_shape(draw)
        options = dict(usual) if harmless else draw_options(draw, usual)
        frame, mask = draw_frame(draw, shape), draw_mask(draw, shape)
        if draw.random() < 0.5:
            _check(v3r3(frame, mask, **options, **draw_options(draw, {"nsigm": 3.0})), shape)
        else:
            _check(v4r3(frame, mask, **options, **draw_options(draw, {"thr_low": 5.0, "thr_high": 10.0})), shape)

    return job


def proposer(folder: Path) -> Target:
    def job(draw: random.Random, *, harmless: bool = False) -> None:
        shape = draw_shape(draw)
        mask = draw_mask(draw, shape)
        radius = draw_radius(draw, shape) if draw.random() < 0.5 else None
        finder = Proposer(np.ones(shape) if mask is None else mask, radius, asics=draw_asics(draw, shape))
        if draw.random() < 0.3:
            finder = finder.with_good(GoodPixels.of(draw_mask(draw, shape), shape))
        for _ in range(2):
            gain = draw.choice(_REALS) if draw.random() < 0.2 else draw.choice((0.5, 1.0, 10.0))
            frame = draw_frame(draw, shape)
            if draw.random() < 0.3:
                assert finder.segmentation_inputs(frame, gain).shape[0] == shape[0]
            n = finder.propose(frame, gain)
            assert len(finder.candidates) == len(finder.describe()) == n
            with np.errstate(all="ignore"):
                scores = np.array([draw.choice((0, 0.4, 0.99, 1, *_REALS)) for _ in range(n)]).astype(np.float32)
            if draw.random() < _ODD:
                scores = scores[1:]
            _check(finder.measure(scores, draw.choice((0.5, 0.1, *_REALS)), draw.choice((None, 0.3))), shape)

    return job


def finder(folder: Path) -> Target:
    """Whole finders, which go on after a frame that they refuse, and learn from the others."""

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        configs: list[Config] = [
            CandidateConfig(bad_pixels=draw.choice(("learn", "keep"))),
            CandidateConfig(gain=draw.choice((1.0, 1e-300, 1e300))),
            Peakfinder8Config(samples_per_bin=draw.choice((0, 100))),
            V3r3Config(),
        ]
        which, refusal = PeakFinder(draw.choice(configs), geometry=_SMALL), None
        for _ in range(3):
            try:
                _check(which(draw_frame(draw, _SHAPE)), _SHAPE)
            except ValueError as error:
                refusal = error
        if refusal is not None:
            raise refusal

    return job


def _check(peaks: Any, shape: tuple[int, ...]) -> None:
    """Whether peaks lie in the frame."""
    assert peaks.dtype == PEAK
    for name, n in zip(("panel", "top_ss", "top_fs", "min_ss", "max_ss"), (*shape, shape[1], shape[1]), strict=False):
        assert ((peaks[name] >= 0) & (peaks[name] < n)).all(), name
    assert (peaks["npix"] > 0).all()


TARGETS: dict[str, Callable[[Path], Target]] = {
    "components": components, "peakfinder8": classical, "psana": psana, "proposer": proposer, "finder": finder,
}  # fmt: skip
