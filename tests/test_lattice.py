"""Places on a detector by Miller index: on a lattice, off it, or too close to tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from peakrt.cxi.reader import SlabPeaks
from peakrt_geometry import Detector
from peakrt_lab.compare import stream_patterns
from peakrt_lab.lattice import OFF_LATTICE, ON_LATTICE, index_errors
from peakrt_lab.simulate import Response, Scene, Simulator
from peakrt_lab.stream import IndexedCrystal


def crystal_of(lattice: np.ndarray, shift_m: tuple[float, float] = (0.0, 0.0)) -> IndexedCrystal:
    """A crystal without predictions."""
    return IndexedCrystal(np.full(6, np.nan), lattice, np.empty(0), np.empty(0), [], np.array(shift_m))


@pytest.fixture(scope="module")
def shot(small_detector: Detector) -> tuple[Detector, np.ndarray, SlabPeaks]:
    """A detector, the lattice of a crystal on it, and the true positions of its peaks."""
    scene = Scene(hit_fraction=1.0, photons=(3000.0, 30000.0), mosaicity=(2e-4, 5e-4), bandwidth=(5e-4, 1e-3))
    simulator = Simulator(
        small_detector, scene, Response(hot=0), cell=(45.0, 50.0, 55.0, 90.0, 90.0, 90.0), space_group="P 21 21 21", seed=4
    )  # fmt: skip
    event = simulator.event(0)
    ss = small_detector.to_slab(event.peaks["panel"], event.peaks["ss"])
    nothing = np.full(len(ss), np.nan)
    return small_detector, event.lattices[0], SlabPeaks(ss, event.peaks["fs"], nothing, nothing)


def test_true_peaks_lie_on_the_lattice_and_other_places_do_not(shot) -> None:
    detector, lattice, true = shot
    on = index_errors(detector, (crystal_of(lattice),), true.ss, true.fs)
    assert len(on) > 40
    assert np.mean(on < ON_LATTICE) > 0.9
    assert not (on > OFF_LATTICE).any()
    rng = np.random.default_rng(1)
    anywhere = index_errors(detector, (crystal_of(lattice),), rng.uniform(0, 255, 4000), rng.uniform(0, 255, 4000))
    # Of whole numbers at random, 0.8 % are within 0.1 in all three indices, and 78 % beyond 0.3 in one.
    assert np.mean(anywhere < ON_LATTICE) < 0.03
    assert np.mean(anywhere > OFF_LATTICE) > 0.7


def test_any_of_several_crystals_will_do_and_none_says_nothing(shot) -> None:
    detector, lattice, true = shot
    turned = lattice[:, [1, 2, 0]]
    alone = index_errors(detector, (crystal_of(turned),), true.ss, true.fs)
    both = index_errors(detector, (crystal_of(turned), crystal_of(lattice)), true.ss, true.fs)
    assert np.mean(alone < ON_LATTICE) < 0.2
    assert np.mean(both < ON_LATTICE) > 0.9
    assert np.isnan(index_errors(detector, (), true.ss, true.fs)).all()


def test_the_indexers_shift_of_the_detector_counts(shot) -> None:
    detector, lattice, true = shot
    moved = replace(detector, panels=tuple(
        replace(panel, corner_m=(panel.corner_m[0] - 1e-3, panel.corner_m[1] + 5e-4, panel.corner_m[2]))
        for panel in detector.panels
    ))  # fmt: skip
    wrong = index_errors(moved, (crystal_of(lattice),), true.ss, true.fs)
    right = index_errors(moved, (crystal_of(lattice, (1e-3, -5e-4)),), true.ss, true.fs)
    assert np.mean(wrong < ON_LATTICE) < 0.5
    np.testing.assert_allclose(right, index_errors(detector, (crystal_of(lattice),), true.ss, true.fs), atol=1e-6)


def test_reflections_too_close_together_say_nothing(shot) -> None:
    detector, lattice, true = shot
    assert np.isnan(index_errors(detector, (crystal_of(lattice / 20),), true.ss, true.fs)).all()


def test_the_shift_is_read_from_the_stream(tmp_path, small_detector) -> None:
    stream = tmp_path / "some.stream"
    crystal = """--- Begin crystal
Cell parameters 6.0 7.0 8.0 nm, 90.0 90.0 90.0 deg
astar = +0.1666667 +0.0000000 +0.0000000 nm^-1
bstar = +0.0000000 +0.1428571 +0.0000000 nm^-1
cstar = +0.0000000 +0.0000000 +0.1250000 nm^-1
predict_refine/det_shift x = -0.125 y = 0.050 mm
Reflections measured after indexing
   h    k    l          I   sigma(I)       peak background  fs/px  ss/px panel
   1    2    3       1.00       1.00       1.00       1.00   10.5   20.5 p0
End of reflections
--- End crystal
"""
    stream.write_text(
        "CrystFEL stream format 2.3\n----- Begin chunk -----\nImage filename: x.h5\nEvent: //3\nindexed_by = asdf\n"
        + crystal + crystal.replace("-0.125", "0.000").replace("0.050", "0.000") + "----- End chunk -----\n"
    )  # fmt: skip
    pattern = stream_patterns(stream, small_detector)[3]
    np.testing.assert_allclose([c.shift_m for c in pattern.crystals], [[-1.25e-4, 5e-5], [0, 0]])
    np.testing.assert_allclose(pattern.crystals[0].reciprocal, np.diag([1 / 60, 1 / 70, 1 / 80]), atol=1e-7)
    np.testing.assert_allclose(np.c_[pattern.predicted.ss, pattern.predicted.fs], [[20, 10], [20, 10]])
