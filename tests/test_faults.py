"""Short versions of benchmarks/faults.py: a run that is stopped leaves a sound file and says so in one line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.faults import Bench, file_size, memory, signals, source, two


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("faults"), random.Random(1))


@pytest.mark.parametrize("fault", [signals, file_size, source, two, memory])
def test_faults_lose_nothing(bench: Bench, fault) -> None:
    for row in fault(bench, 2):
        assert row.times
        assert not row.wrong, row.what


def test_what_is_learned_matters_here(bench: Bench) -> None:
    """Or else the comparisons above would say nothing of it."""
    assert bench.expected["/peakrt/bad_pixels"]
    assert Path(bench.frames).exists()
