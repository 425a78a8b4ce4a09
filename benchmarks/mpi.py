"""How the benchmarks start a job of MPI ranks."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

#: The launcher beside the interpreter, else the one on PATH; None: there is none.
MPIRUN = shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")
#: More ranks than cores, which wait without burning them.
FLAGS = ("--allow-run-as-root", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1", "--mca", "osc", "^ucx")
