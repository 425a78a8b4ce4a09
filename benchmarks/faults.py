"""Stops peakrt find in every way that can be had, and looks at what it leaves.

    python -m benchmarks.faults [--kills 200] [--only kill disk ...] [--seed 1]

It prints the table of docs/reliability.md: what was tried, how often, at which moments, and what was wrong afterwards.
After each fault every file is opened by all HDF5s that are here (this one's, /usr/bin/python3's and those of
``make .venv-readers/h5py-3.8.0``), the rows that were flushed are compared with those of an undisturbed run, and so is,
byte for byte, the table of the run that --resume ends. Some faults need root (a full file system, and a quota, which needs btrfs-progs as well).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import peakrt.models.engine_onnx  # noqa: F401  imported once, before processes are forked
from peakrt.cli import main as peakrt_main
from peakrt.config import CandidateConfig
from peakrt.cxi.columns import BAD_PIXELS, GAIN, LEARNED, PROGRESS, UNUSABLE, UNUSABLE_REASON
from peakrt.cxi.writer import growing
from peakrt.finder import PeakFinder
from peakrt.serve.remote import RemoteFinder, server_status

from .mpi import FLAGS
from .one_panel import one_panel

ROOT = Path(__file__).resolve().parents[1]
N_EVENTS, SIDE = 48, 384  # pixels enough for the gain to be estimated: what is learned has to survive as well
GEOMETRY = one_panel(SIDE)


def write_frames(path: Path, n_events: int = N_EVENTS) -> None:
    """Frames of which the gain is learned late and a hot pixel now and then; one cannot be used."""
    rng = np.random.default_rng(5)
    ss, fs = np.mgrid[:SIDE, :SIDE]
    with h5py.File(path, "w") as file:
        frames = file.create_dataset("/entry_1/data_1/data", (n_events, SIDE, SIDE), np.float32, chunks=(1, SIDE, SIDE))
        for k in range(n_events):
            frame = rng.poisson(np.full((SIDE, SIDE), 0.02) if k < 6 else 2 + fs / 40) * 10.0
            for c_ss, c_fs, width in rng.uniform((5, 5, 0.5), (SIDE - 5, SIDE - 5, 1.2), (25, 3)):
                near = np.s_[max(0, int(c_ss) - 8) : int(c_ss) + 9, max(0, int(c_fs) - 8) : int(c_fs) + 9]
                distance2 = (ss[near] - c_ss) ** 2 + (fs[near] - c_fs) ** 2
                frame[near] += 10 * rng.poisson(40 * np.exp(-distance2 / (2 * width**2)))
            for pixel in range(12):
                if k > 2 * pixel and rng.random() < 0.6:
                    frame[20 * pixel + 3, 11 * pixel + 7] += 900
            frames[k] = np.nan if k == 24 else frame
    path.with_suffix(".geom").write_text(GEOMETRY, encoding="utf-8")


# Readers: each a process of another HDF5 that says what it sees

READER = """
import hashlib, json, sys
import h5py
import numpy
print(json.dumps(h5py.version.hdf5_version), flush=True)
for line in sys.stdin:
    path, names, done_at = json.loads(line)
    try:
        with h5py.File(path, "r") as file:
            done = int(file[done_at][()])
            numbers = file["/LCLS/eventNumber"][:]
            # rows after the last flush may lack their numbers, which are 0 then
            flushed = (numbers < done) & (numpy.diff(numbers, prepend=-1) > 0)
            rows = int(flushed.cumprod().sum()) if len(numbers) else 0
            found = [hashlib.sha256(file[name][:rows].tobytes()).hexdigest() for name in names]
        print(json.dumps([done, rows, found]), flush=True)
    except Exception as error:
        print(json.dumps(str(error) or type(error).__name__), flush=True)
"""


class Reader:
    """An interpreter whose h5py reads files for us."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"]}
        )  # fmt: skip
        self.version = self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline() or '"the reader died"')

    def look(self, path: Path, names: Sequence[str]) -> Any:
        """Events done, rows and their digests; text if the file could not be read."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([str(path), list(names), PROGRESS]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End its process."""
        self._process.communicate()


def readers() -> list[Reader]:
    """One for each HDF5 that is here."""
    found = [Reader(sys.executable)]
    for python in ["/usr/bin/python3", *map(str, sorted(ROOT.glob(".venv-readers/*/bin/python")))]:
        has_h5py = subprocess.run([python, "-c", "import h5py"], capture_output=True, check=False)
        if has_h5py.returncode == 0:
            found.append(Reader(python))
    return found


# Runs


@dataclass
class Ended:
    """How a run ended: exit status, or minus the signal; and what it said."""

    status: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """Its error lines: those that are not the log's."""
        said = ("peakrt: engine auto", "monitor: http")
        return "\n".join(line for line in self.stderr.splitlines() if line and not line.startswith(said))


class Find:
    """A peakrt find in a process forked from this one, which spares it the seconds of importing."""

    def __init__(self, arguments: Sequence[object], folder: Path, before: Callable[[], object] | None = None) -> None:
        self._said = [folder / f"said.{stream}.{time.monotonic_ns()}" for stream in ("stdout", "stderr")]
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 70
            try:
                for descriptor, path in enumerate(self._said, 1):
                    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), descriptor)
                sys.stdout, sys.stderr = (os.fdopen(k, "w") for k in (1, 2))  # whatever they were before
                signal.signal(signal.SIGHUP, signal.SIG_DFL)  # this process itself may be under nohup
                if before is not None:
                    before()
                status = peakrt_main(["find", *map(str, arguments)])
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Wait for its end."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        texts = [path.read_text(encoding="utf-8", errors="replace") if path.exists() else "" for path in self._said]
        for path in self._said:
            path.unlink(missing_ok=True)
        return Ended(status, *texts)


def table(path: Path) -> dict[str, bytes]:
    """All that a run decides, as bytes: rows, what was learned, what could not be used."""
    with h5py.File(path, "r") as file:
        found = {
            name: file[name][()].tobytes() for name in (*growing(file), UNUSABLE, UNUSABLE_REASON, GAIN, BAD_PIXELS)
        }
        if LEARNED in file:
            copies = file[LEARNED][:]
            newest = int(copies[:, 0].argmax())
            found["state"] = copies[newest].tobytes() + file[f"/peakrt/learned/pixels_{newest}"][:].tobytes()
    return found


def rows_of(path: Path) -> dict[str, Any]:
    """Every dataset with a row an event."""
    with h5py.File(path, "r") as file:
        return {name: file[name][()] for name in growing(file)}


@dataclass
class Row:
    """A row of the printed table. moments : where the fault struck, and how often; wrong : what was not as it should be."""

    what: str
    times: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        moments = ", ".join(f"{n} {moment}" for moment, n in self.moments.most_common())
        return f"| {self.what} | {self.times} | {moments} | {'nothing' if not self.wrong else f'{len(self.wrong)}: {self.wrong[0]}'} |"


class Bench:
    """The frames, the undisturbed run of them, and the eyes that look at what a fault left."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng, self.readers = folder, rng, readers()
        self.frames = folder / "frames.h5"
        write_frames(self.frames)
        began = time.monotonic()
        ended = Find(self.arguments(folder / "whole.cxi"), folder).wait()
        self.seconds = time.monotonic() - began
        if ended.status:
            raise RuntimeError(f"the undisturbed run failed: {ended.stderr}")
        self.expected = table(folder / "whole.cxi")
        self.rows = rows_of(folder / "whole.cxi")
        self.names = list(self.rows)

    def close(self) -> None:
        """End the readers."""
        for reader in self.readers:
            reader.close()

    def arguments(self, out: Path, *extra: object) -> list[object]:
        """What find is called with."""
        return [
            self.frames,
            "-g",
            self.frames.with_suffix(".geom"),
            "-o",
            out,
            "--flush-s",
            0.05,
            "--log-level",
            "error",
            *extra,
        ]

    def fresh(self) -> Path:
        """The output of a trial, in an empty folder of its own."""
        return Path(tempfile.mkdtemp(dir=self.folder)) / "out.cxi"

    def check_file(self, path: Path) -> Iterator[str]:
        """What is wrong with a file that a fault left: with any HDF5, every flushed row has to be right."""
        numbers = self.rows["/LCLS/eventNumber"]
        for reader in self.readers:
            seen = reader.look(path, self.names)
            if isinstance(seen, str):
                yield f"HDF5 {reader.version} cannot read {path.name}: {seen}"
                continue
            done, rows, digests = seen
            expected = numbers < done
            if rows != expected.sum():
                yield f"{path.name}: {rows} rows of {done} events, there should be {expected.sum()}"
            for name, digest in zip(self.names, digests, strict=True):
                if digest != hashlib.sha256(self.rows[name][expected].tobytes()).hexdigest():
                    yield f"{path.name}: {name} has wrong rows"

    def check_left(self, out: Path) -> Iterator[str]:
        """What is wrong with what a run left that did not reach its end."""
        unfinished = out.with_name(out.name + ".inprogress")
        if unfinished.exists():
            yield from self.check_file(unfinished)
        if out.exists():
            yield from self.check_file(out)

    def moment(self, out: Path) -> str:
        """How far a run has come, by what it left."""
        if out.exists():
            return "at the end"
        return "in the run" if out.with_name(out.name + ".inprogress").exists() else "before the first event"

    def check_resumed(self, out: Path, *extra: object) -> Iterator[str]:
        """What is wrong with the table once --resume has ended the run."""
        if not out.exists():
            ended = Find(self.arguments(out, *extra, "--resume"), out.parent).wait()
            if ended.status:
                yield f"--resume ended with {ended.status}: {ended.error}"
                return
        found = table(out)
        yield from (
            f"{name} differs from the undisturbed run's" for name in self.expected if found[name] != self.expected[name]
        )
        yield from (
            f"{path} is missing" for path in (out.with_suffix(".lst"), out.with_suffix(".geom")) if not path.exists()
        )
        left = [
            path.name
            for path in out.parent.iterdir()
            if path.name.rpartition(".")[2] in ("started", "inprogress", "lock")
        ]
        if left:
            yield f"{', '.join(left)} left behind"


def one_line(ended: Ended, status: int, *words: str) -> Iterator[str]:
    """What is wrong with how a run ended: it should be a status, and one line with some words."""
    lines = ended.error.splitlines()
    if ended.status != status or len(lines) != 1 or any(word not in lines[0] for word in words):
        yield f"status {ended.status} (not {status}), {len(lines)} lines: {ended.error[-300:]!r}"


# The faults: each gives rows of the table


def kill(bench: Bench, kills: int) -> Iterator[Row]:
    """SIGKILL at random moments, up to three times in a row."""
    for what, extra, share in (("find", (), 0.5), ("find -j 3", ("-j", 3), 0.5)):
        first, again = Row(f"{what} killed"), Row(f"{what} --resume killed")
        while first.times + again.times < kills * share:
            out = bench.fresh()
            for attempt in range(bench.rng.choice([1, 2, 3])):
                row = again if attempt else first
                find = Find(bench.arguments(out, "--resume", *extra), out.parent)
                time.sleep(bench.rng.uniform(0, 1.05 * bench.seconds))
                find.kill()
                find.wait()
                row.times += 1
                row.moments[bench.moment(out)] += 1
                row.wrong += bench.check_left(out)
                if out.exists():
                    break
            row.wrong += bench.check_resumed(out, *extra)
            shutil.rmtree(out.parent)
        yield first
        yield again


def _mpi(launcher: Path, arguments: Sequence[object], folder: Path) -> subprocess.Popen[bytes]:
    rank = 'echo $$ > "$1.$OMPI_COMM_WORLD_RANK"; shift; exec "$@"'
    command = [
        launcher, *FLAGS,
        "-n", 2, "sh", "-c", rank, "sh", folder / "pid", sys.executable, "-m", "peakrt.cli", "find", *arguments,
    ]  # fmt: skip
    environment = {**os.environ, "PATH": f"{launcher.parent}:{os.environ['PATH']}"}
    with (folder / "said").open("wb") as said:
        return subprocess.Popen([str(part) for part in command], stdout=said, stderr=said, env=environment)


SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def signals(bench: Bench, times: int) -> Iterator[Row]:
    """Asked to stop: the run says so in one line, and --resume goes on."""
    for what, extra in (("find", ()), ("find -j 3", ("-j", 3)), ("find --monitor", ("--monitor", "127.0.0.1:0"))):
        for number in SIGNALS:
            row = Row(f"{what}, {number.name}")
            for _ in range(times):
                out = bench.fresh()
                find = Find(bench.arguments(out, *extra), out.parent)
                _wait_for(out.with_name("out.cxi.inprogress"), out)
                time.sleep(bench.rng.uniform(0, 0.7 * bench.seconds))
                started = children(find.pid)
                find.kill(number)
                ended = find.wait()
                row.times += 1
                row.moments[bench.moment(out)] += 1
                if not out.exists():
                    row.wrong += one_line(ended, 130, "stopped after", "--resume goes on")
                row.wrong += _still_there(started)
                row.wrong += bench.check_left(out)
                row.wrong += bench.check_resumed(out)
                shutil.rmtree(out.parent)
            yield row


def children(pid: int) -> list[int]:
    """Processes that a process has started and not waited for."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _still_there(pids: Sequence[int], seconds: float = 20) -> Iterator[str]:
    """What is wrong with processes that should end with the run that started them."""
    until = time.monotonic() + seconds
    while (left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]) and time.monotonic() < until:
        time.sleep(0.05)
    if left:
        yield f"{len(left)} processes that the run has started are left"


def monitor(bench: Bench, times: int) -> Iterator[Row]:
    """The process that shows a run killed: the run does not notice."""
    row = Row("monitor of find killed")
    for _ in range(times):
        out = bench.fresh()
        find = Find(bench.arguments(out, "--monitor", "127.0.0.1:0"), out.parent)
        _wait_for(out.with_name("out.cxi.inprogress"), out)
        time.sleep(bench.rng.uniform(0, 0.7 * bench.seconds))
        for child in children(find.pid):
            os.kill(child, signal.SIGKILL)
        row.moments[bench.moment(out)] += 1
        ended = find.wait()
        row.times += 1
        if ended.status:
            row.wrong.append(f"status {ended.status}: {ended.error}")
        row.wrong += bench.check_resumed(out)
        shutil.rmtree(out.parent)
    yield row


def ranks_asked(bench: Bench, times: int) -> Iterator[Row]:
    """A job asked to stop, as a batch system does."""
    launcher = Path(sys.executable).parent / "mpirun"
    if not launcher.exists():
        return
    row = Row("mpirun with 2 ranks, SIGTERM")
    expected: dict[str, bytes] = {}
    for trial in range(times + 1):
        out = bench.fresh()
        if trial:
            job = _mpi(launcher, bench.arguments(out), out.parent)
            _wait_for(out, out.with_name("out.cxi.inprogress"))
            time.sleep(bench.rng.uniform(0, bench.seconds / 2))
            job.terminate()
            job.wait()
            row.times += 1
            row.moments["at the end" if out.exists() else "in the run"] += 1
            if job.returncode == 0 and not out.exists():
                row.wrong.append("status 0 of a job that was stopped")
            if "Traceback" in (out.parent / "said").read_text():
                row.wrong.append(f"a traceback: {(out.parent / 'said').read_text()[-500:]}")
        if not out.exists() and _mpi(launcher, bench.arguments(out, "--resume"), out.parent).wait():
            row.wrong.append(f"--resume of the job failed: {(out.parent / 'said').read_text()[-300:]}")
        elif not trial:
            expected = table(out)
        else:
            row.wrong += [f"{name} differs" for name, values in table(out).items() if values != expected[name]]
        shutil.rmtree(out.parent)
    yield row


def server(bench: Bench, kills: int) -> Iterator[Row]:
    """The server of two ranks killed, or asked to stop: they start another, and no answer is lost or another one."""
    with h5py.File(bench.frames) as file:
        frames = [frame[None] for number, frame in enumerate(file["/entry_1/data_1/data"][:]) if number != 24]
    config = CandidateConfig(bad_pixels="keep", gain=10.0)
    expected = [peaks.tobytes() for peaks in PeakFinder(config).find(frames)]
    for what, numbers in (("server of 2 ranks killed", (signal.SIGKILL,)), ("server of 2 ranks, " + ", ".join(n.name for n in SIGNALS), SIGNALS)):  # fmt: skip
        row = Row(what)
        folder = Path(tempfile.mkdtemp(dir=bench.folder))
        folder.chmod(0o700)
        path, stop, lock = folder / "s.sock", threading.Event(), threading.Lock()
        answers = [0, 0]

        def rank(
            number: int,
            row: Row = row,
            path: Path = path,
            stop: threading.Event = stop,
            answers: list[int] = answers,
            lock: Any = lock,
        ) -> None:
            try:
                with RemoteFinder(config, path=path, slots=3) as remote:
                    while not stop.is_set():
                        for peaks, right in zip(remote.map(frames), expected, strict=True):
                            answers[number] += 1
                            if peaks.tobytes() != right:
                                with lock:
                                    row.wrong.append("an answer differs")
            except (OSError, ValueError, RuntimeError) as error:
                with lock:
                    row.wrong.append(f"a rank ended: {error}")

        threads = [threading.Thread(target=rank, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        while row.times < kills and any(thread.is_alive() for thread in threads):
            before = list(answers)
            while any(thread.is_alive() for thread in threads) and not all(
                now > then for now, then in zip(answers, before, strict=True)
            ):
                time.sleep(0.01)
            time.sleep(bench.rng.uniform(0, 0.3))
            try:
                os.kill(server_status(path)["pid"], bench.rng.choice(numbers))
            except (OSError, EOFError):  # it is being started
                continue
            row.times += 1
        stop.set()
        for thread in threads:
            thread.join()
        row.moments[f"of {sum(answers)} answers"] = row.times
        if "Traceback" in path.with_suffix(".log").read_text():
            row.wrong.append(f"a traceback in the server's log: {path.with_suffix('.log').read_text()[-500:]}")
        yield row


def _wait_for(*paths: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not any(path.exists() for path in paths) and time.monotonic() < until:
        time.sleep(0.002)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A file system mounted on a folder for a while."""
    folder.mkdir()
    subprocess.run(["mount", *options, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def disk(bench: Bench, times: int) -> Iterator[Row]:
    """A full file system, and then one with room again."""
    if os.geteuid():
        return
    row = Row("disk full, then room again")
    whole = (bench.folder / "whole.cxi").stat().st_size
    for _ in range(times):
        folder = Path(tempfile.mkdtemp(dir=bench.folder)) / "disk"
        with mounted(folder, "-t", "tmpfs", "-o", f"size={int(bench.rng.uniform(0.02, 1) * whole)}", "none"):
            out = folder / "out.cxi"
            ended = Find(bench.arguments(out), folder.parent).wait()
            row.times += 1
            row.moments[bench.moment(out)] += 1
            row.wrong += one_line(ended, 1, "no space left on the disk")
            row.wrong += bench.check_left(out)
            subprocess.run(["mount", "-o", f"remount,size={4 * whole}", folder], check=True)
            row.wrong += bench.check_resumed(out)
        shutil.rmtree(folder.parent)
    yield row


def limited(what: int, limit: int) -> Callable[[], None]:
    """What a process calls before it runs within a limit, as of ulimit."""
    return lambda: resource.setrlimit(what, (limit, limit))


def quota(bench: Bench, times: int) -> Iterator[Row]:
    """A quota that is reached, of a btrfs subvolume, and then a larger one."""
    if os.geteuid() or shutil.which("mkfs.btrfs") is None:
        return
    row = Row("quota reached, then a larger one")
    whole = (bench.folder / "whole.cxi").stat().st_size
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    image, disk = folder / "image", folder / "disk"
    with image.open("wb") as file:
        file.truncate(2**29 + 4 * whole)
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["mkfs.btrfs", image], **quiet)
    with mounted(disk, "-o", "loop", image):
        subprocess.run(["btrfs", "quota", "enable", disk], **quiet)
        for trial in range(times):
            part = disk / str(trial)
            subprocess.run(["btrfs", "subvolume", "create", part], **quiet)
            subprocess.run(["btrfs", "qgroup", "limit", str(int(bench.rng.uniform(0.02, 0.9) * whole)), part], **quiet)
            out = part / "out.cxi"
            ended = Find(bench.arguments(out), folder).wait()
            row.times += 1
            row.moments[bench.moment(out)] += 1
            row.wrong += one_line(ended, 1, "quota")
            row.wrong += bench.check_left(out)
            subprocess.run(["btrfs", "qgroup", "limit", "none", part], **quiet)
            row.wrong += bench.check_resumed(out)
    shutil.rmtree(folder)
    yield row


def file_size(bench: Bench, times: int) -> Iterator[Row]:
    """A limit on the size of a file, as of ulimit -f."""
    row = Row("ulimit -f")
    whole = (bench.folder / "whole.cxi").stat().st_size
    for _ in range(times):
        out, limit = bench.fresh(), int(bench.rng.uniform(0.05, 1) * whole)
        ended = Find(bench.arguments(out), out.parent, limited(resource.RLIMIT_FSIZE, limit)).wait()
        row.times += 1
        row.moments[bench.moment(out)] += 1
        row.wrong += one_line(ended, 1, "File too large")
        row.wrong += bench.check_left(out)
        row.wrong += bench.check_resumed(out)
        shutil.rmtree(out.parent)
    yield row


#: Exit status of "cannot allocate memory for thread-local data: ABORT".
_GLIBC_GAVE_UP = 127


def memory(bench: Bench, times: int) -> Iterator[Row]:
    """A limit on memory, as of ulimit -v, from what the imports take to what the run needs."""
    row = Row("ulimit -v")
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for trial in range(times):
        out, limit = bench.fresh(), taken + int(600e6 * (trial + 0.5) / times)
        threads = trial % 3 + 1
        find = Find(
            bench.arguments(out, "-j", threads),
            out.parent,
            limited(resource.RLIMIT_AS, limit),
        )
        ended = find.wait()
        row.times += 1
        library = ended.status in (-signal.SIGSEGV, -signal.SIGABRT, _GLIBC_GAVE_UP)
        row.moments["died in HDF5, ONNX Runtime, numpy or glibc" if library else bench.moment(out)] += 1
        if ended.status and not library:
            row.wrong += one_line(ended, 1)
        row.wrong += bench.check_left(out)
        row.wrong += bench.check_resumed(out, "-j", threads)
        shutil.rmtree(out.parent)
    yield row


def source(bench: Bench, times: int) -> Iterator[Row]:
    """The frames removed or truncated while they are read; then they are back as they were."""
    removed, cut, saved = (
        Row("frames removed in the run"),
        Row("frames truncated in the run"),
        bench.folder / "saved.h5",
    )
    shutil.copy2(bench.frames, saved)
    for trial in range(2 * times):
        row, out = (removed, cut)[trial % 2], bench.fresh()
        # With stop the run ends at the first event that is not there, otherwise at the tenth in a row.
        extra = ("--on-bad-event", bench.rng.choice(["stop", "skip"])) if row is cut else ()
        find = Find(bench.arguments(out, *extra), out.parent)
        _wait_for(out.with_name("out.cxi.inprogress"), out)
        if row is removed:  # who has a file open goes on reading it
            bench.frames.unlink()
        else:
            os.truncate(bench.frames, int(bench.rng.uniform(0, 0.7) * bench.frames.stat().st_size))
        ended = find.wait()
        row.times += 1
        row.moments[bench.moment(out)] += 1
        row.wrong += bench.check_left(out)
        if not out.exists():
            row.wrong += one_line(ended, 1, "frames.h5", "--resume goes on")
            row.wrong += one_line(
                Find(bench.arguments(out, "--resume"), out.parent).wait(), 1
            )  # still without its frames
        shutil.copy2(saved, bench.frames)
        row.wrong += bench.check_resumed(out)
        shutil.rmtree(out.parent)
    yield from (removed, cut)


def read_only(bench: Bench, times: int) -> Iterator[Row]:
    """Folders that cannot be written."""
    if os.geteuid():
        return
    row = Row("folder on a read-only file system")
    folder = Path(tempfile.mkdtemp(dir=bench.folder)) / "disk"
    with mounted(folder, "-t", "tmpfs", "-o", "ro", "none"):
        row.wrong += one_line(Find(bench.arguments(folder / "out.cxi"), folder.parent).wait(), 1, "cannot be written")
    row.times += 1
    yield row
    row = Row("folder of another user")
    for path in (folder, folder.parent, bench.folder):
        path.chmod(0o755)
    ended = Find(bench.arguments(folder / "out.cxi"), folder.parent, lambda: os.setuid(65534)).wait()
    row.times += 1
    row.wrong += one_line(ended, 1, "cannot be written")
    yield row


def two(bench: Bench, times: int) -> Iterator[Row]:
    """Two runs on one output, both with --resume."""
    row = Row("two runs on one output")
    for _ in range(times):
        out = bench.fresh()
        finds = [Find(bench.arguments(out, "--resume"), out.parent) for _ in range(2)]
        ended = [find.wait() for find in finds]
        row.times += 1
        row.moments[f"{sum(end.status == 0 for end in ended)} ended well"] += 1
        for end in ended:
            if end.status:
                row.wrong += one_line(end, 1, "out.cxi")
        row.wrong += bench.check_resumed(out)
        shutil.rmtree(out.parent)
    yield row


FAULTS: dict[str, Callable[[Bench, int], Iterator[Row]]] = {
    "kill": kill, "server": server, "signals": signals, "ranks-asked": ranks_asked, "monitor": monitor,
    "disk": disk, "quota": quota, "file-size": file_size, "memory": memory, "source": source,
    "read-only": read_only, "two": two,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--times", type=int, default=10, help="of every other fault [10]")
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--seed", type=int, default=1)
    parsed = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), random.Random(parsed.seed))
        print(
            f"{N_EVENTS} events, {bench.seconds:.1f} s undisturbed; read by HDF5 {', '.join(r.version for r in bench.readers)}"
        )
        print("| fault | times | moment | wrong |\n|---|---|---|---|")
        for name in parsed.only:
            for row in FAULTS[name](bench, parsed.kills if name == "kill" else parsed.times):
                print(row, flush=True)
                for text in row.wrong:
                    print(f"  {text}", file=sys.stderr)
                wrong += len(row.wrong)
        bench.close()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
