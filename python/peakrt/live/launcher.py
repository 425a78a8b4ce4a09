"""Starts the broker of a live run, keeps it alive, and says what became of the hits."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from peakrt_geometry import Detector
from peakrt_geometry.crystfel import format_geom

from ..contracts import Watcher
from ..stream_file import StreamFollower
from .broker import LEAVE
from .handing import HitSender, ask_state
from .hits import Hit
from .indexing import PartsFollower, join_parts, parts_of
from .waiting import Numbers

log = logging.getLogger("peakrt")

_LOOK_S = 0.25
#: indexamajig reads its geometry and cell, and prepares its indexers, before its workers ask for a hit.
_START_S = 120.0
#: A broker that is to leave lets indexamajig end first, which it waits for half as long.
_LEAVE_S = 10.0
#: Deaths of the broker in a row, none of which left a chunk, after which the run goes on without indexing.
_MOST_DEATHS = 5


class Indexing:
    """The broker of a run in a process of its own, looked after by a thread; for hits that count from 1.

    detector : of the frames; stream : to be written; options : of ``peakrt broker``, those of indexamajig after "--"
    wanted : asked while a hit waits, whether anybody still wants it handed over
    watcher : is shown each chunk; is_ours : whether the broker starts indexamajig, and not somebody else
    """

    def __init__(
        self,
        detector: Detector,
        stream: Path,
        options: Sequence[str],
        *,
        wanted: Callable[[], bool] = lambda: True,
        watcher: Watcher | None = None,
        is_ours: bool = True,
    ) -> None:
        self._is_ours = is_ours
        self.stream, self._options, self._watcher = stream, list(options), watcher
        self._folder = tempfile.TemporaryDirectory(prefix="peakrt-live-")
        folder = Path(self._folder.name)
        self._geometry = folder / "detector.geom"
        self._geometry.write_text(format_geom(detector), encoding="utf-8")
        self._hits, self._status = f"ipc://{folder}/hits", f"ipc://{folder}/status"
        self._follower = PartsFollower(stream)
        self.restarts = self._deaths_in_a_row = 0
        self._told_end = -1  # restarts when the broker was told that no more hits come
        self._is_left = False
        self.state: dict[str, Any] = {}
        self.has_failed = False  # nothing more is indexed
        self._why = f"indexamajig has not asked for a hit in {_START_S:.0f} s"
        self._is_waited_for = True  # who waits is told why it failed, and says it
        self.done = Numbers()  # of the hits that have a chunk
        self._is_over = threading.Event()
        self._sender = HitSender(self._hits, lambda: not self.has_failed and wanted())
        self._has_printed = False
        self._process = self._start()
        self._thread = threading.Thread(target=self._look_after, name="peakrt-indexing", daemon=True)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        before, after = self._options, []
        if "--" in before:
            at = before.index("--")
            before, after = before[:at], before[at:]
        command = [
            sys.executable, "-m", "peakrt.cli", "broker", "--hits", self._hits, "--status", self._status, "--stream",
            str(self.stream), "-g", str(self._geometry), "--with-parent", "--number", str(self.restarts), *before, *after,
        ]  # fmt: skip
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    # Hits out

    def send(self, hit: Hit) -> bool:
        """Hand a hit to the broker; waits while it takes none. False where nothing is indexed any more."""
        return self._sender.send(hit)

    def wait_until_ready(self, stopped: Callable[[], bool]) -> None:
        """Wait until indexamajig asks for hits. Raises RuntimeError, with what it said, where it does not come to that."""
        until = time.monotonic() + (_START_S if self._is_ours else float("inf"))
        while not self.state.get("is_ready") and not stopped():
            if self.has_failed or time.monotonic() > until:
                self._is_waited_for = False
                raise RuntimeError(f"{self._why}; --no-indexing finds peaks alone")
            time.sleep(0.05)
        self._is_waited_for = False

    # Looking after

    def _look_after(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            if self._process.poll() is not None:
                if self._process.returncode >= 0:  # it has ended by itself
                    in_order = self._is_left or self._told_end == self.restarts
                    if self._process.returncode > 0 or not in_order:
                        self._fail()
                    break
                self._restart()
            else:
                self.state = ask_state(self._status, 1.0) or self.state
            self._show_chunks()
        self._show_chunks()

    def _fail(self) -> None:
        """After the broker has given up: take what it says of it, and say it where nobody else does."""
        self._take_last_state()
        self._why = self.state.get("error", "the broker has ended")
        if not self._is_waited_for:
            log.error("%s: nothing more is indexed", self._why)
        self.has_failed = True

    def _take_last_state(self) -> None:
        """Read what the broker printed at its end."""
        if not self._has_printed and self._process.stdout is not None:
            with suppress(ValueError):
                self.state = {**self.state, **json.loads(self._process.stdout.read())}
            self._has_printed = True

    def _restart(self) -> None:
        """After the broker's death: end what it started, and start it anew; indexamajig would never ask another one."""
        end_session(self._process.pid)
        self.restarts += 1
        self._deaths_in_a_row += 1
        held = self.state.get("waiting", 0) + self.state.get("out", 0)
        if self._deaths_in_a_row > _MOST_DEATHS:
            log.error("the broker dies whenever it is started: the run goes on without indexing")
            self.has_failed = True
            self._is_over.set()
            return
        what = (
            "it and indexamajig are started again"
            if self._is_ours
            else "it is started again, do so with your indexamajig"
        )
        log.warning("the broker was killed: %s; it held about %d hits", what, held)
        self._close_pipes()
        self._has_printed = False
        self._process = self._start()

    def _show_chunks(self) -> None:
        for chunk in self._follower.new_chunks():
            self._deaths_in_a_row = 0
            if chunk.number is not None:
                self.done.add(chunk.number)
            if self._watcher is not None:
                self._watcher.indexed(chunk)

    # The end

    def finish(
        self, leave: Callable[[], bool], show: Callable[[str], None], again: Callable[[], Iterable[Hit]] = list
    ) -> dict[str, Any]:
        """Wait until all hits are indexed, or until the user wants to leave the rest; returns the broker's last state.

        show : is given a line on how it goes, now and then
        again : gives the hits that have no chunk, for a broker that was started anew and may lack them
        """
        told = -1
        while (not self.has_failed and self._process.poll() is None) or self._needs_restart():
            if told != self.restarts:
                told = self.restarts
                for hit in again() if told else ():
                    self.send(hit)
                self._told_end = told
                if told == self.restarts:
                    self._sender.end(told)
                continue
            if leave():
                self._leave()
                break
            show(f"indexing the last {self.state.get('waiting', 0) + self.state.get('out', 0)} hits")
            time.sleep(0.1)
        self._is_over.set()
        self._thread.join()
        if self._process.poll() is None:
            self._process.kill()
        self._take_last_state()
        end_session(self._process.pid)
        if parts_of(self.stream):  # the broker did not come to it
            join_parts(self.stream)
        return self.state

    def _leave(self) -> None:
        """Let the broker end without what waits. It takes no signal for that: a batch system sends one to all processes."""
        self._is_left = True
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.write(LEAVE)
                self._process.stdin.flush()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LEAVE_S)

    def _needs_restart(self) -> bool:
        return not self.has_failed and self._process.poll() is not None and self._process.returncode < 0

    def close(self) -> None:
        """End everything at once, if it runs still."""
        self._is_over.set()
        self._thread.join()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        end_session(self._process.pid)
        self._close_pipes()
        self._sender.close()
        self._folder.cleanup()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def __enter__(self) -> Indexing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def end_session(session: int) -> None:
    """Kill all processes of a session, whoever their parent is by now."""
    for _ in range(50):
        left = [pid for pid in _pids() if _session_of(pid) == session]
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _pids() -> Iterable[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _session_of(pid: int) -> int | None:
    """Session of a process that lives; None of one that has gone, or only waits to be waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, _, _, session = text[text.rindex(")") + 2 :].split()[:4]
    return None if state == "Z" else int(session)


def unindexed(stream: Path, hits: int) -> list[int]:
    """Numbers of the hits of a run, 1 to hits, that have no chunk in its stream."""
    done, follower = Numbers(), StreamFollower(stream)
    while chunks := follower.new_chunks():
        for chunk in chunks:
            if chunk.number is not None:
                done.add(chunk.number)
    return [number for number in range(1, hits + 1) if number not in done]
