"""indexamajig as a child of the broker, and the parts of a stream that it leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..stream_file import BLOCK_BYTES, EVENT_HEADER, NUMBER_HEADER, Chunk, ChunkReader, StreamFollower, read_chunk
from .waiting import Numbers

#: Options that the broker sets itself, and one that would keep the broker waiting for a chunk that never comes.
OURS = (
    "-i", "--input", "-g", "--geometry", "-o", "--output", "--zmq-input", "--zmq-request", "--zmq-subscribe", "--data-format",
    "--peaks", "--temp-dir", "--no-non-hits-in-stream", "--serial-start", "--asapo-endpoint", "--basename", "--prefix",
)  # fmt: skip
#: Serial numbers of a part of the stream begin so far from those of the last: they name the events of the chunks.
_SERIALS = 10_000_000
_END_S = 5.0
#: Among its last lines the first with such a word says what went wrong; those after it follow from it.
_LAST_LINES, _WRONG = 8, ("rror", "ailed", "nrecogni", "nvalid", "Bad ", "annot", "ouldn't", "ould not", "not found")
_CHUNK_END = b"----- End chunk -----\n"


def check_options(options: Sequence[str]) -> None:
    """Raise ValueError for options of indexamajig that the broker sets itself."""
    for option in options:
        name = option.partition("=")[0]
        if name in OURS or (option[:2] in ("-i", "-g", "-o") and option[:2] != option and option[1] != "-"):
            why = "every hit needs its chunk" if name.startswith("--no-non-hits") else "PeakRT sets it itself"
            raise ValueError(f"{name} cannot be given to indexamajig here: {why}")


def has_option(options: Sequence[str], *names: str) -> bool:
    """Whether one of these options is among the options; short ones may be followed by their value at once."""
    return any(
        option.partition("=")[0] in names or (option[:2] in names and not option.startswith("--")) for option in options
    )


def part_path(stream: Path, part: int) -> Path:
    """Where the part of a stream grows that a start of indexamajig writes; part : counts from 1."""
    return stream.with_name(f"{stream.name}.inprogress" + (f".{part}" if part > 1 else ""))


def parts_of(stream: Path) -> list[Path]:
    """The parts of a stream that are there, in their order."""
    parts: list[Path] = []
    while (path := part_path(stream, len(parts) + 1)).exists():
        parts.append(path)
    return parts


@dataclass(frozen=True)
class Indexer:
    """How to start indexamajig: its geometry, number of workers, and the user's options; stream : of the whole run."""

    geometry: Path
    stream: Path
    workers: int
    options: tuple[str, ...] = ()
    program: str = "indexamajig"

    @property
    def log(self) -> Path:
        """What indexamajig says."""
        return self.stream.with_name(self.stream.name + ".log")

    def command(self, address: str, part: int, *extra: str) -> list[str]:
        """The command line. Asdf is part of CrystFEL wherever FFTW is; other indexers may be missing."""
        given = list(self.options)
        if not has_option(given, "--indexing"):
            given.append("--indexing=asdf")
        if not has_option(given, "-p", "--pdb") and not has_option(given, "--no-check-cell"):
            given.append("--no-check-cell")
        if not has_option(given, "-j"):
            given += ["-j", str(self.workers)]
        return [
            self.program, f"--zmq-input={address}", "--zmq-request=next", "--data-format=msgpack", "--peaks=msgpack",
            f"--copy-header={EVENT_HEADER}", f"--copy-header={NUMBER_HEADER}", "-g", str(self.geometry), "-o",
            str(part_path(self.stream, part)), *extra, *given,
        ]  # fmt: skip


class Indexamajig:
    """indexamajig while it runs: a master and its workers, in a process group of their own.

    Raises FileNotFoundError where there is no such program.
    """

    def __init__(self, how: Indexer, address: str, part: int) -> None:
        if shutil.which(how.program) is None:
            raise FileNotFoundError(f"there is no {how.program} on PATH: install CrystFEL 0.10 or later with ZeroMQ")
        self._how = how
        self._folder = tempfile.TemporaryDirectory(prefix="peakrt-indexamajig-")
        with how.log.open("ab") as log:
            self._said_from = log.tell()
            ours = (f"--temp-dir={self._folder.name}", f"--serial-start={1 + (part - 1) * _SERIALS}")
            self._process = subprocess.Popen(
                how.command(address, part, *ours), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=os.setpgrp,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Process of the master."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the master is no more."""
        return self._process.poll() is not None

    def why(self) -> str:
        """What it said of its end, in one line."""
        with self._how.log.open("rb") as log:
            log.seek(max(self._said_from, log.seek(0, os.SEEK_END) - 4000))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        wrong = [line for line in lines[-_LAST_LINES:] if any(word in line for word in _WRONG)] or lines[-1:]
        said = f": {wrong[0][:200]}" if wrong else ""
        return f"indexamajig ended with status {self._process.returncode}{said} (its log is {self._how.log})"

    def end(self) -> None:
        """End the master as Ctrl-C does, and whatever is left of its workers. The stream is whole: it grows by chunks."""
        self._signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


class PartsFollower:
    """The chunks of all parts of a stream, as they grow."""

    def __init__(self, stream: Path) -> None:
        self._stream = stream
        self._followers = [StreamFollower(part_path(stream, 1))]

    @property
    def is_clean(self) -> bool:
        """Whether all that was read so far is whole chunks."""
        return not any(follower.reader.damaged or follower.reader.unfinished for follower in self._followers)

    def new_chunks(self) -> list[Chunk]:
        """The chunks that were finished since the last call."""
        following = part_path(self._stream, len(self._followers) + 1)
        if following.exists():
            self._followers.append(StreamFollower(following))
        return [chunk for follower in self._followers for chunk in follower.new_chunks()]


def join_parts(stream: Path, *, is_clean: bool = False) -> Counter[str]:
    """Make one stream of its parts, each hit once; returns how many chunks were "kept", "repeated" and "damaged".

    is_clean : whether all chunks were seen to be whole and each hit to have one: a single part is then renamed unread.
    The parts go once the stream has its name, so that it may be done again.
    """
    parts, found = parts_of(stream), Counter[str]()
    if not parts:
        return found
    if len(parts) > 1 or not is_clean:
        found.update(verdict for _, verdict in _judged(parts))
    if len(parts) > 1 or found["repeated"] or found["damaged"]:
        started = stream.with_name(stream.name + ".started")
        try:
            with started.open("wb") as file:
                file.write(_head(parts[0]))
                file.writelines(text + _CHUNK_END for text, verdict in _judged(parts) if verdict == "kept")
                file.flush()
                os.fsync(file.fileno())
            os.replace(started, stream)
        except OSError:  # a full disk: the parts stay
            started.unlink(missing_ok=True)
            raise
        for part in parts:
            part.unlink()
    else:
        os.replace(parts[0], stream)
    return found


def _head(path: Path) -> bytes:
    """What stands before the first chunk: format, command line, geometry, cell."""
    with path.open("rb") as file:
        data = file.read(BLOCK_BYTES)
    return data[: data.index(b"----- Begin chunk")] if b"----- Begin chunk" in data else data


def _judged(parts: Sequence[Path]) -> Iterator[tuple[bytes, str]]:
    """The chunks of all parts, without their last lines, and whether each is to be kept: the first whole one of each hit."""
    seen = Numbers()
    for part in parts:
        reader = ChunkReader()
        with part.open("rb") as file:
            while data := file.read(BLOCK_BYTES):
                for text in reader.texts(data):
                    yield text[1:], _verdict(text, seen)
        for _ in range(reader.damaged + reader.unfinished):
            yield b"", "damaged"


def _verdict(text: bytes, seen: Numbers) -> str:
    try:
        number = read_chunk(text).number
    except ValueError:
        return "damaged"
    return "kept" if number is None or seen.add(number) else "repeated"
