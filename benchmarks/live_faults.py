"""Kills the processes of a live run at random moments, and checks that no hit is lost and none doubled.

    python benchmarks/live_faults.py [-n TIMES] [--events N] [--only WHOM ...] [--indexing METHODS] [--program FOLDER]

Each run plays simulated events of a small detector at a rate into ``peakrt live`` and the indexamajig on PATH (or in FOLDER), and
one process is killed with SIGKILL at a random moment of it: the finder's, a worker of indexamajig, its master, the broker, the
monitor, or ``peakrt live`` itself, which is the broker's client. Of each run the table counts the hits that are not in the stream and those that are
there twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from peakrt.live.indexing import part_path
from peakrt.stream_file import StreamFollower
from peakrt_geometry.crystfel import parse_geom
from peakrt_lab.simulate import Response, Scene, Simulator
from peakrt_lab.truth import write_run

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.conftest import SMALL_GEOM

WHOM = ("finder", "worker", "indexamajig", "broker", "monitor", "client")
RATE = 15.0


@dataclass
class Row:
    """What came of the runs in which one process was killed. lost, doubled : hits; wrong : runs that did not end well"""

    whom: str
    runs: int = 0
    hits: int = 0
    lost: int = 0
    doubled: int = 0
    left_out: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        line = f"{self.whom:<12}{self.runs:6}{self.hits:8}{self.lost:8}{self.doubled:9}{self.left_out:10}{len(self.wrong):7}"
        return line + (f"  {self.wrong[0]}" if self.wrong else "")


def simulated(path: Path, n: int) -> None:
    """Write events of a small detector, half of them hits."""
    scene = Scene(hit_fraction=0.6, photons=(3000.0, 30000.0), background=(1.0, 3.0), d_min=2.5)
    cell = (60.0, 70.0, 80.0, 90.0, 90.0, 90.0)
    detector = parse_geom(SMALL_GEOM, name="small.geom")
    simulator = Simulator(detector, scene=scene, response=Response(hot=0), cell=cell, space_group="P 21 21 21", seed=4)
    write_run(path, simulator, (simulator.event(k) for k in range(n)))


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def named(pids: list[int], word: str) -> list[int]:
    """Those with a word in their command line."""
    found = []
    for pid in pids:
        with suppress(OSError):
            if word in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
    return found


def processes(live: int) -> dict[str, list[int]]:
    """The processes of a live run."""
    brokers = named(children(live), "broker")
    masters = [child for broker in brokers for child in children(broker)]
    workers = [child for master in masters for child in children(master)]
    return {
        "finder": named(children(live), "finder_child"), "worker": workers, "indexamajig": masters, "broker": brokers,
        "monitor": named(children(live), "peakrt.monitor"), "client": [live],
    }  # fmt: skip


def one_run(
    run: Path, folder: Path, whom: str, draw: random.Random, row: Row, environment: dict[str, str], indexing: str
) -> None:
    """Play the run, kill one process, and count."""
    out = folder / "out.cxi"
    command = [
        sys.executable, "-m", "peakrt.cli", "live", run, "-g", run.with_suffix(".geom"), "-p", run.with_suffix(".cell"), "-o", out,
        "--rate", RATE, "--indexers", "2", "--json", folder / "out.json", "--log-level", "error",
        *(["--monitor"] if whom == "monitor" else []), "--", f"--indexing={indexing}",
    ]  # fmt: skip
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    part = part_path(folder / "out.stream", 1)
    wait_until(lambda: (part.exists() and b"End chunk" in part.read_bytes()) or process.poll() is not None)
    time.sleep(draw.uniform(0.0, 2.5))
    before = processes(process.pid)
    victims = before[whom]
    if victims:
        with suppress(ProcessLookupError):
            os.kill(draw.choice(victims), signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    row.runs += 1
    if whom == "client":
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before["broker"] + before["worker"]))
    elif process.returncode:
        row.wrong.append(" ".join(errors.split())[-200:])
        return
    count(folder, whom, row)


def count(folder: Path, whom: str, row: Row) -> None:
    """Add up what one run has left."""
    follower, seen = StreamFollower(folder / "out.stream"), Counter[int]()
    while chunks := follower.new_chunks():
        seen.update(chunk.number for chunk in chunks if chunk.number is not None)
    if whom == "client":  # it took the number of hits with it: those that it had handed over are numbered from 1 on
        hits = max(seen, default=0)
    else:
        record = json.loads((folder / "out.json").read_text())
        hits = record["hits"]
        row.left_out += record["indexing"].get("left_out", 0)
        if len(seen) + record["indexing"]["not_in_the_stream"] != hits:
            row.wrong.append("the summary counts otherwise than the stream")
    row.hits += hits
    row.lost += hits - len(seen)
    row.doubled += sum(n - 1 for n in seen.values())
    if follower.reader.damaged or follower.reader.unfinished:
        row.wrong.append("a chunk is not whole")


def wait_until(what: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for something to be so. Raises TimeoutError."""
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.02)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-n", type=int, default=20, help="times that each is killed [20]")
    parser.add_argument("--events", type=int, default=60)
    parser.add_argument("--only", nargs="+", choices=WHOM, default=list(WHOM))
    parser.add_argument(
        "--indexing", default="asdf", help="methods of indexamajig; none: it only copies the peaks [asdf]"
    )
    parser.add_argument("--program", type=Path, help="folder of an indexamajig")
    parser.add_argument("--seed", type=int, default=1)
    parsed = parser.parse_args()
    environment, draw = dict(os.environ), random.Random(parsed.seed)
    if parsed.program is not None:
        environment["PATH"] = f"{parsed.program}:{environment['PATH']}"
    print(f"{'killed':<12}{'runs':>6}{'hits':>8}{'lost':>8}{'doubled':>9}{'left out':>10}{'wrong':>7}")
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run.cxi"
        simulated(run, parsed.events)
        for whom in parsed.only:
            row = Row(whom)
            for _ in range(parsed.n):
                with tempfile.TemporaryDirectory() as folder:
                    one_run(run, Path(folder), whom, draw, row, environment, parsed.indexing)
            print(row, flush=True)


if __name__ == "__main__":
    main()
