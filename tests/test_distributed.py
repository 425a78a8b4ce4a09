"""A run by many workers: each event once and in order, whoever dies, and the same file as one process writes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peakrt.cxi.columns import (
    BAD_PIXELS,
    DATA,
    GAIN,
    POWDER_HITS,
    POWDER_MISSES,
    PROGRESS,
    UNUSABLE,
    UNUSABLE_REASON,
)
from peakrt.cxi.writer import growing
from peakrt.distributed.processes import folder_of_runs
from peakrt.distributed.ranges import MOST_DEATHS, STRAGGLER_S, Range, Ranges
from peakrt.distributed.tables import Refused, Table, decode, encode
from peakrt.peaks import PEAK
from peakrt.serve import wire
from peakrt_geometry import Detector
from peakrt_lab.simulate import Response, Scene, Simulator
from peakrt_lab.truth import write_run

from .fuzz.targets import mutate
from .test_mpi import MPI_FLAGS
from .test_run import peakrt

# Who gets what, and in what order it is taken


def table_of(events: Range) -> Table:
    return Table(events.first, [np.zeros(number % 3, PEAK) for number in range(events.first, events.end)])


@given(st.integers(0, 70), st.integers(1, 9), st.integers(1, 5), st.randoms(use_true_random=False))
def test_each_event_is_taken_once_and_in_order_whoever_dies(n: int, size: int, ahead: int, draw: random.Random) -> None:
    ranges, now, taken = Ranges(3, 3 + n, size=size, ahead=ahead), 0.0, []
    alive: dict[int, list[Range]] = {0: [], 1: [], 2: []}
    newest = 2
    for _ in range(5000):
        now += draw.choice((0.1, 0.1, 2 * STRAGGLER_S))
        worker = draw.choice(list(alive))
        deed = draw.random()
        if deed < 0.5 and len(alive[worker]) < 2:
            dealt = ranges.deal(worker, now)
            if dealt is not None:
                alive[worker].append(dealt)
        elif deed < 0.93 and alive[worker]:
            ranges.came(worker, table_of(alive[worker].pop(0)), now)
        elif deed > 0.97:
            del alive[worker]
            ranges.gone(worker)
            newest += 1
            alive[newest] = []
        while (table := ranges.take()) is not None:
            taken += range(table.first, table.end)
        waiting = ranges._next - ranges._taken
        assert waiting <= ahead * size + size
        if ranges.finished:
            break
    assert taken == list(range(3, 3 + n))


def test_a_straggler_is_given_to_another_and_the_second_table_is_dropped() -> None:
    ranges = Ranges(0, 8, size=4, ahead=4)
    slow, quick = ranges.deal("slow", 0.0), ranges.deal("quick", 0.0)
    assert (slow, quick) == (Range(0, 4), Range(4, 8))
    assert ranges.came("quick", table_of(quick), 0.1)
    assert ranges.deal("quick", 1.0) is None  # not much longer than usual
    assert ranges.deal("quick", STRAGGLER_S + 1) == slow
    assert ranges.deal("third", STRAGGLER_S + 2) is None  # two are enough
    assert ranges.came("quick", table_of(slow), STRAGGLER_S + 3)
    assert not ranges.came("slow", table_of(slow), STRAGGLER_S + 4)
    assert [ranges.take().first for _ in range(2)] == [0, 4]  # type: ignore[union-attr]
    assert ranges.finished
    assert (ranges.counts.again, ranges.counts.dropped) == (1, 1)


def test_an_event_that_kills_its_workers_is_left_out() -> None:
    ranges, outcomes = Ranges(0, 3, size=3), []
    for worker in range(100):
        dealt = ranges.deal(worker, 0.0)
        if dealt is None:
            break
        if 1 in range(dealt.first, dealt.end):
            ranges.gone(worker)
        else:
            ranges.came(worker, table_of(dealt), 0.0)
    while (table := ranges.take()) is not None:
        outcomes += table.outcomes
    assert ranges.finished
    assert ranges.counts.lost == 2 * MOST_DEATHS
    assert [isinstance(outcome, Refused) for outcome in outcomes] == [False, True, False]


def test_a_table_that_nobody_asked_for_is_refused() -> None:
    ranges = Ranges(0, 8, size=4)
    ranges.deal(1, 0.0)
    with pytest.raises(ValueError, match="events 0 to 7, which it was not given"):
        ranges.came(1, table_of(Range(0, 8)), 0.0)


# Tables


def a_table() -> Table:
    peaks = np.zeros(5, PEAK)
    peaks["ss"] = np.arange(5)
    return Table(7, [peaks[:2], Refused("run.h5 //8", OSError, "cannot be read"), peaks[:0], peaks[2:]], 0.5, 0.25)


def message(table: Table) -> tuple[dict[str, Any], bytes]:
    decoder = wire.Decoder(1 << 20, 1 << 20)
    decoder.feed(encode(table))
    taken = decoder.take()
    assert taken is not None
    return taken


def test_a_table_arrives_as_it_was_sent() -> None:
    sent, there = a_table(), decode(*message(a_table()))
    assert (there.first, there.end, there.reading_s, there.finding_s) == (7, 11, 0.5, 0.25)
    assert there.outcomes[1] == sent.outcomes[1]
    for number in (0, 2, 3):
        np.testing.assert_array_equal(there.outcomes[number], sent.outcomes[number])


@pytest.mark.parametrize(
    "changes",
    [
        {"first": -1}, {"first": True}, {"counts": []}, {"counts": [2, -1, 0, 4]}, {"counts": [2, -2, 0, 3]},
        {"counts": [2, -1, -1, 3]}, {"counts": "2103"}, {"refused": [["a"]]}, {"reading_s": None}, {"counts": None},
    ],
)  # fmt: skip
def test_a_message_that_is_no_table_is_refused(changes: dict[str, Any]) -> None:
    header, payload = message(a_table())
    with pytest.raises(ValueError, match="sent no table"):
        decode({**header, **changes}, payload)


def test_any_damage_of_a_table_is_a_table_or_refused() -> None:
    draw, sent = random.Random(2), encode(a_table())
    for _ in range(500):
        decoder = wire.Decoder(1 << 20, 1 << 20)
        with suppress(ValueError):
            decoder.feed(mutate(draw, sent))
            if (taken := decoder.take()) is not None:
                assert decode(*taken).outcomes


# The command


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory, small_detector: Detector) -> Path:
    """120 events with their .geom, one of them of NaN alone."""
    folder = tmp_path_factory.mktemp("distributed")
    scene = Scene(hit_fraction=0.5, photons=(3000.0, 30000.0), background=(1.0, 3.0), d_min=2.5)
    simulator = Simulator(
        small_detector, scene=scene, response=Response(hot=1e-4), cell=(60.0, 70.0, 80.0, 90.0, 90.0, 90.0), space_group="P 21 21 21", seed=4
    )  # fmt: skip
    path = folder / "run.cxi"
    write_run(path, simulator, (simulator.event(n) for n in range(120)))
    with h5py.File(path, "r+") as file:
        frames = file[DATA][()].astype(np.float32)
        frames[70] = np.nan
        del file[DATA]
        file[DATA] = frames
    return path


@pytest.fixture(scope="module")
def undisturbed(long_run: Path) -> Path:
    """The same run by one process that has learned the same beforehand."""
    out = long_run.with_name("run_out.cxi")
    command = ["run", long_run, "-g", long_run.with_suffix(".geom"), "--workers", 2]
    assert peakrt(*command, "-o", long_run.with_name("first.cxi")).returncode == 0
    learned = long_run.with_name("first.learned.h5")
    done = peakrt("find", long_run, "-g", long_run.with_suffix(".geom"), "-o", out, "--learned", learned)
    assert done.returncode == 0, done.stderr
    return out


def assert_same(one: Path, other: Path) -> None:
    """Every dataset is the same, bit for bit."""
    with h5py.File(one) as ours, h5py.File(other) as theirs:
        for path in [*growing(theirs), PROGRESS, UNUSABLE, UNUSABLE_REASON, GAIN, BAD_PIXELS]:
            assert ours[path][()].tobytes() == theirs[path][()].tobytes(), path


def command_of(run: Path, out: Path, *extra: object) -> list[str]:
    learned = run.with_name("first.learned.h5")
    given = ["run", run, "-g", run.with_suffix(".geom"), "-o", out, "--learned", learned, *extra]
    return [sys.executable, "-m", "peakrt.cli", *map(str, given)]


def started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(what: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def workers_of(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def test_workers_write_what_one_process_writes(undisturbed: Path, long_run: Path) -> None:
    first = long_run.with_name("first.cxi")
    assert_same(first, undisturbed)
    with h5py.File(first) as file:
        assert file[PROGRESS][()] == 120
        (reason,) = file[UNUSABLE_REASON][:]
        assert b"not a number" in reason or b"NaN" in reason
    assert {path.name for path in first.parent.glob("first.*")} == {
        "first.cxi", "first.lst", "first.geom", "first.learned.h5",
    }  # fmt: skip


def test_all_events_and_powder_are_those_of_one_process(undisturbed: Path, long_run: Path, tmp_path: Path) -> None:
    extra = ["--events", "all", "--powder", "max", "-n", "40"]
    done = subprocess.run(command_of(long_run, tmp_path / "a.cxi", *extra), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    learned = ["--learned", long_run.with_name("first.learned.h5")]
    one = peakrt("find", long_run, "-g", long_run.with_suffix(".geom"), "-o", tmp_path / "b.cxi", *learned, *extra)
    assert one.returncode == 0, one.stderr
    assert_same(tmp_path / "a.cxi", tmp_path / "b.cxi")
    with h5py.File(tmp_path / "a.cxi") as ours, h5py.File(tmp_path / "b.cxi") as theirs:
        for name in (POWDER_HITS, POWDER_MISSES):
            assert theirs[name][()].max() > 0
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_worker_is_killed_and_one_joins(undisturbed: Path, long_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.cxi"
    process = started(command_of(long_run, out, "--workers", 1, "--flush-s", 0.01, "--json", tmp_path / "out.json"))
    address = folder_of_runs() / str(process.pid) / "workers.sock"
    wait_for(address.exists)
    (child,) = wait_for(lambda: workers_of(process.pid))
    os.kill(child, signal.SIGSTOP)  # it may hold events, and gives none back
    joined = started([sys.executable, "-m", "peakrt.cli", "worker", str(address)])
    time.sleep(3)  # the other one finds what it can
    with suppress(ProcessLookupError):  # the run is over already
        os.kill(child, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert joined.wait(30) == 0
    joined.communicate()
    workers = json.loads((tmp_path / "out.json").read_text())["workers"]
    assert sum(worker["events"] for worker in workers if worker["name"].endswith("which has joined")) > 0
    assert_same(out, undisturbed)
    assert not address.parent.exists()


def test_killed_at_any_moment_a_run_is_gone_on_with(undisturbed: Path, long_run: Path, tmp_path: Path) -> None:
    out, draw = tmp_path / "out.cxi", random.Random(8)
    for _ in range(3):
        process = started(command_of(long_run, out, "--workers", 2, "--flush-s", 0.01, "--resume"))
        # Where all was found before it was killed, the next one only closes the file.
        wait_for(lambda run=process: len(workers_of(run.pid)) >= 2 or run.poll() is not None)  # type: ignore[misc]
        children = workers_of(process.pid)
        time.sleep(draw.uniform(0, 2))
        process.kill()
        process.communicate()
        wait_for(lambda children=children: not any(is_working(child) for child in children))  # type: ignore[misc]
        if out.exists():
            break
    else:
        done = subprocess.run(command_of(long_run, out, "--resume"), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert_same(out, undisturbed)
    shutil.rmtree(folder_of_runs() / str(process.pid), ignore_errors=True)


def is_working(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def test_ctrl_c_ends_workers_and_leaves_what_can_be_gone_on_with(
    undisturbed: Path, long_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.cxi"
    process = started(command_of(long_run, out, "--workers", 2, "--flush-s", 0.01))
    wait_for(lambda: Path(f"{out}.inprogress").exists() or process.poll() is not None)
    children = workers_of(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    if process.returncode == 130:  # else it was over before
        assert "--resume goes on" in errors
        assert not any(is_working(child) for child in children)
        done = subprocess.run(command_of(long_run, out, "--resume"), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert_same(out, undisturbed)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--workers", "0"], "--workers is 0"),
        (["--bad-pixels", "learn"], "leave the option out"),
        (["--backend", "mpi"], "at least 2 ranks"),
        (["--finder", "peakfinder8", "--min-score", "0.5"], "not an option of peakfinder8"),
        (["--limit", "0"], "--limit is 0"),
    ],
)
def test_what_cannot_be_is_one_line(long_run: Path, tmp_path: Path, extra: list[str], said: str) -> None:
    if "mpi" in extra:
        pytest.importorskip("mpi4py")
    done = peakrt("run", long_run, "-g", long_run.with_suffix(".geom"), "-o", tmp_path / "out.cxi", *extra)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("peakrt: error:")]
    assert said in line
    assert not list(tmp_path.glob("*.inprogress*"))


def test_a_stream_is_refused(tmp_path: Path) -> None:
    done = peakrt("run", "tcp://127.0.0.1:1", "-o", tmp_path / "out.cxi")
    assert done.returncode == 1
    assert "peakrt find" in done.stderr


def test_workers_that_cannot_open_the_run_end_it_with_their_reason(
    undisturbed: Path, long_run: Path, tmp_path: Path
) -> None:
    """The file goes once the run has looked at it."""
    copy = tmp_path / "run.cxi"
    shutil.copy(long_run, copy)
    shutil.copy(long_run.with_name("first.learned.h5"), tmp_path / "first.learned.h5")
    shutil.copy(long_run.with_suffix(".geom"), copy.with_suffix(".geom"))
    process = started(command_of(copy, tmp_path / "out.cxi", "--workers", 1))
    address = folder_of_runs() / str(process.pid) / "workers.sock"
    wait_for(address.exists)
    copy.unlink()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "workers end before they find anything" in errors
    assert "run.cxi" in errors


def test_nobody_else_may_join(tmp_path: Path) -> None:
    done = peakrt("worker", tmp_path / "none.sock")
    assert done.returncode == 1
    assert "it is over, or on another machine" in done.stderr
    assert folder_of_runs().stat().st_mode & 0o077 == 0


@pytest.fixture
def mpirun() -> list[str]:
    pytest.importorskip("mpi4py")
    launcher = shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")
    if launcher is None:
        pytest.skip("mpirun is not here")
    return [launcher, *MPI_FLAGS]


def test_the_ranks_of_a_job_write_what_one_process_writes(
    undisturbed: Path, long_run: Path, tmp_path: Path, mpirun: list[str]
) -> None:
    command = [*mpirun, "-n", "3", *command_of(long_run, tmp_path / "out.cxi")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "spent" in done.stdout
    assert_same(tmp_path / "out.cxi", undisturbed)


def test_a_job_that_cannot_begin_ends_on_every_rank(long_run: Path, tmp_path: Path, mpirun: list[str]) -> None:
    (tmp_path / "out.cxi").write_bytes(b"mine")
    command = [*mpirun, "-n", "3", *command_of(long_run, tmp_path / "out.cxi")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert done.stderr.count("peakrt: error:") == 1
    assert "out.cxi exists" in done.stderr
    assert (tmp_path / "out.cxi").read_bytes() == b"mine"


def test_the_actors_of_ray_write_what_one_process_writes(undisturbed: Path, long_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    out = tmp_path / "out.cxi"
    command = command_of(long_run, out, "--backend", "ray", "--workers", 2)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "spent" in done.stdout
    assert_same(out, undisturbed)
