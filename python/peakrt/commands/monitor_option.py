"""The option ``--monitor``: a page in the browser that shows the run while it lasts."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..contracts import Watcher
from ..finder import PeakFinder
from ..sources import Source, Stream

#: Seconds between two looks at what a stream has lost.
_LOOK_s = 2.0


def add_monitor(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--monitor", nargs="?", const="", metavar="[HOST:]PORT",
        help="show the run in the browser; the address is printed. Without a host this machine alone reaches it",
    )  # fmt: skip


@contextmanager
def watch(
    parsed: argparse.Namespace, source: Source, finder: PeakFinder, min_peaks: int, cell: str | None = None
) -> Iterator[Watcher | None]:
    """The monitor of a run, if one is wanted, until the run is over.

    cell : file of the cell that the crystals should have
    Raises what open_monitor raises.
    """
    if parsed.monitor is None:
        yield None
        return
    from ..monitor.cell_file import read_cell
    from ..monitor.feed import open_monitor

    detector = source.detector
    title = (
        f"{', '.join(Path(name).name or name for name in parsed.inputs[:3])}{' ...' if len(parsed.inputs) > 3 else ''}"
    )
    feed = open_monitor(
        parsed.monitor, detector, title=title, min_peaks=min_peaks, cell=None if cell is None else read_cell(cell), good=finder.mask_for(None, detector.shape)
    )  # fmt: skip
    over = threading.Event()
    looking = threading.Thread(target=_look_at_stream, args=(source, feed, over), daemon=True)
    try:
        print(f"monitor: {feed.url}", file=sys.stderr, flush=True)
        looking.start()
        yield feed
    finally:
        over.set()
        feed.close()


def _look_at_stream(source: Source, watcher: Watcher, over: threading.Event) -> None:
    """Tell what a stream has lost and refused, now and then."""
    while isinstance(source, Stream) and not over.wait(_LOOK_s):
        watcher.state(_counts(source.as_record()))


def _counts(record: Mapping[str, object]) -> dict[str, float | str]:
    told = {f"stream {name}": record.get(name) for name in ("lost", "refused")}
    return {name: float(value) for name, value in told.items() if isinstance(value, int)}
