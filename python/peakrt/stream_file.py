"""The chunks of a CrystFEL stream, read while indexamajig still writes it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: A chunk of an indexed 16-megapixel frame with 20,000 reflections is 2 MB; what is longer than this is no chunk.
MAX_CHUNK_BYTES = 64 << 20
MAX_LINE_BYTES = 4096
MAX_LINES = 50_000  # outside the tables; a crystal has 14
#: Bytes that one look at a growing file takes at a time.
BLOCK_BYTES = 4 << 20

#: Headers that `peakrt live` sends with a hit and indexamajig copies into its chunk.
EVENT_HEADER, NUMBER_HEADER = "event_id", "hit_number"

_BEGIN, _END = b"\n----- Begin chunk -----\n", b"\n----- End chunk -----\n"
_TABLES = (
    (b"\nPeaks from peak search\n", b"\nEnd of peak list\n"),
    (b"\nReflections measured after indexing\n", b"\nEnd of reflections\n"),
)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Crystal:
    """One crystal of a chunk. cell : a, b, c in Angstrom, alpha, beta, gamma in degrees.

    det_shift_mm : x, y of the beam centre's refinement; None, as for the others, where the stream does not say
    """

    cell: tuple[float, float, float, float, float, float]
    resolution_limit_per_nm: float | None = None
    profile_radius_per_nm: float | None = None
    det_shift_mm: tuple[float, float] | None = None


@dataclass(frozen=True)
class Chunk:
    """One frame of a stream, without its tables of peaks and reflections.

    event : its name: the header event_id where the sender gave one, else the stream's Event
    number : of the hit in a run of `peakrt live` (header hit_number), None in other streams
    indexed_by : the method, None for a frame that was not indexed
    """

    event: str
    file: str
    n_peaks: int
    indexed_by: str | None = None
    crystals: tuple[Crystal, ...] = ()
    camera_length_m: float | None = None
    photon_energy_eV: float | None = None
    number: int | None = None


class ChunkReader:
    """Takes a stream in pieces of any length and gives its chunks as they become whole.

    damaged : chunks that could not be read and were left out
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._rest = bytearray(b"\n")
        self._inside = False  # whether the rest begins with the first line of a chunk
        self._looked = 0  # so much of the rest holds no end

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that these bytes complete."""
        chunks = []
        for text in self.texts(data):
            try:
                chunks.append(read_chunk(text))
            except ValueError:
                self.damaged += 1
        return chunks

    def texts(self, data: bytes) -> Iterator[bytes]:
        """The text of each chunk that these bytes complete, from the end of the line before to the one that ends it."""
        self._rest += data
        while (text := self._next_text()) is not None:
            yield text

    @property
    def unfinished(self) -> bool:
        """Whether a chunk has begun that is not whole yet."""
        return self._inside

    def _next_text(self) -> bytes | None:
        """The next whole chunk, cut out of what came so far."""
        if not self._inside:
            start = self._rest.find(_BEGIN)
            if start < 0:
                del self._rest[: max(0, len(self._rest) - len(_BEGIN) + 1)]
                return None
            del self._rest[:start]
            self._inside, self._looked = True, len(_BEGIN) - 1
        end = self._rest.find(_END, self._looked)
        if end < 0:
            self._looked = max(len(_BEGIN) - 1, len(self._rest) - len(_END) + 1)
            if len(self._rest) > MAX_CHUNK_BYTES:
                self.damaged += 1
                self._inside = False
                del self._rest[: self._looked]
            return None
        text = bytes(self._rest[: end + 1])
        del self._rest[: end + len(_END) - 1]
        self._inside = False
        start = text.rfind(_BEGIN)
        self.damaged += start > 0  # an earlier chunk that never ended
        return text[start:]


class StreamFollower:
    """Reads a stream file as it grows. The file need not be there yet."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.position = 0
        self.reader = ChunkReader()

    def new_chunks(self) -> list[Chunk]:
        """The next chunks that are whole, of BLOCK_BYTES of the file or of more until there is one; none at its end."""
        chunks: list[Chunk] = []
        while not chunks and (data := self._next_block()):
            chunks = self.reader.feed(data)
        return chunks

    def _next_block(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size <= self.position:
                    return b""
                file.seek(self.position)
                data = file.read(BLOCK_BYTES)
        except FileNotFoundError:
            return b""
        self.position += len(data)
        return data


def read_chunk(text: bytes) -> Chunk:
    """Read the lines of one chunk. Raises ValueError for lines too long or too many, and for numbers that are none."""
    for begin, end in _TABLES:
        text = _without_tables(text, begin, end)
    if text.count(b"\n") > MAX_LINES:
        raise ValueError(f"there are more than {MAX_LINES} lines outside the tables")
    head: dict[str, str] = {}
    crystals: list[dict[str, str]] = []
    for raw in text.split(b"\n"):
        if len(raw) > MAX_LINE_BYTES:
            raise ValueError(f"a line is longer than {MAX_LINE_BYTES} bytes")
        line = raw.decode(errors="replace")
        if line.startswith("--- Begin crystal"):
            crystals.append({})
        elif line.startswith("Cell parameters") and crystals:
            crystals[-1]["cell"] = line
        else:
            key, _, value = line.partition(": " if line.startswith(("Image filename: ", "Event: ")) else " = ")
            (crystals[-1] if crystals else head).setdefault(key, value)
    if "Image filename" not in head:
        raise ValueError("the chunk has no file name")
    indexed_by = head.get("indexed_by", "none")
    number = head.get(f"header/int/{NUMBER_HEADER}")
    return Chunk(
        head.get(f"header/str/{EVENT_HEADER}", head.get("Event", "")),
        head["Image filename"],
        max(0, int(head.get("num_peaks", "0"))),
        None if indexed_by == "none" else indexed_by,
        tuple(_read_crystal(lines) for lines in crystals),
        _first_number(head.get("average_camera_length")),
        _first_number(head.get("photon_energy_eV")),
        None if number is None else int(number),
    )


def _without_tables(text: bytes, begin: bytes, end: bytes) -> bytes:
    """Cut out what lies between two lines. Raises ValueError where the second is missing."""
    kept, at = [], 0
    while (start := text.find(begin, at)) >= 0:
        kept.append(text[at : start + 1])
        stop = text.find(end, start + len(begin) - 1)
        if stop < 0:
            raise ValueError("a table has no end")
        at = stop + len(end)
    return b"".join([*kept, text[at:]])


def _read_crystal(lines: dict[str, str]) -> Crystal:
    """Raises ValueError for a crystal without a cell."""
    numbers = _numbers(lines.get("cell", ""))
    if len(numbers) != 6 or min(numbers) <= 0:
        raise ValueError("a cell has six positive numbers")
    a, b, c, *angles = numbers
    shift = _numbers(lines.get("predict_refine/det_shift x", ""))
    return Crystal(
        (10 * a, 10 * b, 10 * c, angles[0], angles[1], angles[2]),  # the stream has nm
        _first_number(lines.get("diffraction_resolution_limit")),
        _first_number(lines.get("profile_radius")),
        (shift[0], shift[1]) if len(shift) == 2 else None,
    )


def _numbers(text: str) -> list[float]:
    """The finite numbers of a line, in their order."""
    return [value for found in _NUMBER.findall(text) if math.isfinite(value := float(found))]


def _first_number(text: str | None) -> float | None:
    numbers = [] if text is None else _numbers(text)
    return numbers[0] if numbers else None
