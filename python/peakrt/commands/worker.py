"""``peakrt worker``: one worker more for a run that is under way on this machine."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import Any

from .program import add_command


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "worker", _worker, help="work for a run of peakrt run that is under way on this machine",
        description="Work for a run of peakrt run --backend process until it is over. It can be ended at any time: what it "
        "was working on is given to another worker.",
    )  # fmt: skip
    parser.add_argument("address", type=Path, metavar="ADDRESS", help="where the run listens, as it said when it began")


def _worker(parsed: argparse.Namespace) -> int:
    from ..distributed.processes import join
    from .run import open_run

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not parsed.address.exists():
        raise FileNotFoundError(f"no run listens at {parsed.address}: it is over, or on another machine")
    join(parsed.address, open_run)
    return 0
