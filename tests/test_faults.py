"""Short versions of benchmarks/faults.py: a run that is stopped leaves a sound file and says so in one line."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults import Bench, file_size, memory, signals, source, two
from peakrt.config import HitConfig, OutputConfig
from peakrt.cxi.writer import CxiWriter
from peakrt.event import Event
from peakrt.peaks import PEAK
from peakrt_geometry import Detector


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("faults"), random.Random(1))
    yield bench
    bench.close()


@pytest.mark.parametrize("fault", [signals, file_size, source, two, memory])
def test_faults_lose_nothing(bench: Bench, fault) -> None:
    for row in fault(bench, 2):
        assert row.times
        assert not row.wrong, row.what


def test_what_is_learned_matters_here(bench: Bench) -> None:
    """Or else the comparisons above would say nothing of it."""
    assert bench.expected["/peakrt/bad_pixels"]
    assert Path(bench.frames).exists()


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, small_detector: Detector) -> None:
    frame, peaks = np.zeros((1, 8, 8), np.uint8), np.zeros(20, PEAK)
    good, output = np.ones(frame.shape, bool), OutputConfig(events="all")
    taken = []
    with CxiWriter(tmp_path / "out.cxi", small_detector, hits=HitConfig(max_peaks=20), output=output) as writer:
        for number in range(7500):
            writer.append(Event(frame), peaks, number, good)
            if number % 500 == 499:
                writer.flush()
                taken.append(resident_mb())
    assert taken[-1] - taken[4] < 30, taken  # 60 MB where the file is never closed in between
