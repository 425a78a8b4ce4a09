"""A short run of the fuzzer (``make fuzz`` is the long one): no crash, no hang, no error but OSError and ValueError."""

from __future__ import annotations

import os
import random

import pytest

from .fuzz.runner import run
from .fuzz.targets import TARGETS

INPUTS = {"image": 40, "model": 60, "tables": 60}


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_inputs(name: str) -> None:
    if name == "frames":
        pytest.importorskip("zmq", reason="needs the extra [live]")
        pytest.importorskip("karabo_bridge.serializer", reason="needs karabo-bridge")
    seed = "1" if os.environ.get("CI") else str(random.randrange(1000))
    report = run(name, INPUTS.get(name, 200), seed=seed)
    assert report.failures == [], f"seed {seed}"
    assert report.tried == INPUTS.get(name, 200)
    assert report.refused or name == "cache"  # which builds again what it cannot read


def test_what_the_fuzzer_notes() -> None:
    """A crash, a hang and a wrong error are told apart, and the inputs behind them are still tried."""
    report = run("bad reader", 7, slow_s=0.3, stuck_s=15.0)
    assert report.tried == 7
    assert report.refused == 1
    assert [failure.number for failure in report.failures] == [1, 2, 3, 4, 6]
    crash, wrong, hang, memory, slow = (failure.what for failure in report.failures)
    assert "status -6" in crash
    assert "KeyError at targets.py" in wrong
    assert hang == "no end to it"
    assert "MemoryError" in memory
    assert "took more than" in slow
