"""The back ends of peakrt run beside peakrt find on the same frames.

    python -m benchmarks.run [-g jungfrau1m] [-n 400] [-j 2] [--repeat 3] [--only find process mpi ray]

Prints events a second and processor time an event: the median of the repeats, which take turns, and the ratio to
peakrt find -j. Starting the workers is part of it, so that short runs are dominated by it: the second column leaves it out by
comparing runs of all and of a quarter of the events. What is learned is learned once, before.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from .mpi import FLAGS, MPIRUN


def peakrt(*arguments: object, before: tuple[str, ...] = (), module: str = "peakrt.cli") -> tuple[float, float]:
    """Run a command; returns its seconds and those of the processor."""
    command = [*before, sys.executable, "-m", module, *map(str, arguments)]
    spent, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr[-500:]}")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime


def command_of(name: str, n_workers: int) -> tuple[tuple[str, ...], list[object]]:
    """What stands before the command, and the command with the options that choose its workers."""
    if name == "find":
        return (), ["find", "-j", n_workers]
    if name == "mpi":
        return (str(MPIRUN), *FLAGS, "-n", str(n_workers + 1)), ["run", "--backend", "mpi"]
    return (), ["run", "--backend", name, "--workers", n_workers]


def main() -> None:
    """Simulate, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-g", "--geometry", default="jungfrau1m", help="detector [jungfrau1m]")
    parser.add_argument("-n", type=int, default=400, help="events [400]")
    parser.add_argument("-j", type=int, default=2, help="threads, or workers [2]")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--hit-fraction", type=float, default=0.3)
    parser.add_argument("--only", nargs="+", default=["find", "process", "mpi", "ray"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peakrt-run-") as folder:
        frames, learned = Path(folder) / "run.cxi", Path(folder) / "learned.h5"
        peakrt("simulate", "-g", given.geometry, "-n", given.n, "--hit-fraction", given.hit_fraction, "-o", frames, module="peakrt_lab.cli")  # fmt: skip
        geometry = frames.with_suffix(".geom")
        peakrt("learn", frames, "-g", geometry, "-n", 50, "-o", learned)
        times: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in given.only}
        for _ in range(given.repeat):
            for name in given.only:
                before, command = command_of(name, given.j)
                measured: list[float] = []
                for n in (given.n // 4, given.n):
                    measured += peakrt(
                        *command, frames, "-g", geometry, "--learned", learned, "-n", n, "-o", Path(folder) / "out.cxi",
                        "--overwrite", "--engine", "cpu", before=before,
                    )  # fmt: skip
                times[name].append(tuple(measured))  # type: ignore[arg-type]
    print(f"{given.n} events of {given.geometry}, {given.j} workers, load {os.getloadavg()[0]:.1f}")
    print("| | events/s | without the start | to find | processor ms an event | to find |\n|---|---|---|---|---|---|")
    first: tuple[float, float] | None = None
    for name, rows in times.items():
        part = given.n - given.n // 4
        whole = given.n / median(row[2] for row in rows)
        rate = part / median(row[2] - row[0] for row in rows)
        cpu = 1000 * median(row[3] - row[1] for row in rows) / part
        first = first or (rate, cpu)
        print(f"| `{name}` | {whole:.1f} | {rate:.1f} | {rate / first[0]:.2f} | {cpu:.1f} | {cpu / first[1]:.2f} |")


if __name__ == "__main__":
    main()
