"""Running the programs: what they take, and what they say when they fail."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: One thread a process: a core is what a finder is given, and what the table says.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass
class Stopwatch:
    """Wall and CPU seconds of the programs that ran under it."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    def run(self, command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None) -> str:
        """Run a program to its end; returns what it printed.

        Raises RuntimeError with its last words where it fails.
        """
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, **ONE_THREAD, **(environment or {})},
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.wall_s += time.monotonic() - started
        self.cpu_s += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if done.returncode != 0:
            last = " | ".join(done.stdout.strip().splitlines()[-5:]) or "no message"
            raise RuntimeError(f"{Path(command[0]).name} failed ({done.returncode}): {last}")
        return done.stdout
