"""What is written of a run, and the options that say how: for the commands that write a CXI."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from peakrt_geometry.crystfel import format_geom

from ..config import HitConfig, OutputConfig
from ..contracts import Watcher, Writer
from ..cxi.learned_file import read_learned
from ..cxi.outputs import check_outputs, fingerprints
from ..finder import PeakFinder
from ..finders.registry import FINDERS
from ..models.model_file import load_model
from ..progress import Progress
from ..search import Summary
from ..sources import Source, Stream
from ..writers import open_writer
from .find_report import check_json
from .monitor_option import add_monitor, watch
from .options import add_config, read_mask, take_config
from .program import Interrupted, one_line


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add what is written, and the options that say how."""
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT.cxi", help="CXI to write; .lst and .geom go beside it"
    )
    parser.add_argument("-n", "--limit", type=int, metavar="N", help="stop after so many events")
    parser.add_argument("--resume", action="store_true", help="go on with OUT.cxi.inprogress")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUT.cxi, its .lst and .geom, and what an earlier run left"
    )
    parser.add_argument("--json", metavar="FILE", help="write the summary as JSON as well; - for the standard output")
    add_monitor(parser)
    add_config(parser.add_argument_group("hits"), HitConfig)
    add_config(parser.add_argument_group("output"), OutputConfig)


def check_options(parsed: argparse.Namespace) -> None:
    """Raise ValueError or FileNotFoundError for options that could only fail later."""
    if parsed.limit is not None and parsed.limit < 1:
        raise ValueError(f"--limit is {parsed.limit}, it should be at least 1")
    if parsed.json is not None:
        check_json(parsed.json)


@contextmanager
def writing(
    parsed: argparse.Namespace,
    source: Source,
    finder: PeakFinder,
    writer: Writer,
    total: int | None,
    stop: list[int],
) -> Iterator[tuple[Progress, Callable[[Summary], None], Watcher | None]]:
    """Show how a run goes while it is written; gives its progress, what is to be called after each event, and its monitor.

    stop : signals that end the run; what was written before it ended, for whatever reason, is said in the error.
    """
    progress = Progress(total, done=writer.events_done, hits=writer.n_hits)

    def on_event(summary: Summary) -> None:
        progress(summary)
        if stop:
            of_all = "" if total is None else f" of {total}"
            raise Interrupted(
                f"stopped after {writer.events_done}{of_all} events; {writer.n_hits} hits are in "
                f"{writer.unfinished}, which can be read; --resume goes on"
            )

    try:
        with progress, writer, watch(parsed, source, finder, writer.hits.min_peaks) as watcher:
            yield progress, on_event, watcher
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        if not writer.unfinished.exists():
            raise
        goes_on = "" if isinstance(source, Stream) else " (--resume goes on)"
        raise RuntimeError(f"{one_line(error)}; what was found before is in {writer.unfinished}{goes_on}") from error


def refuse_outputs(parsed: argparse.Namespace) -> None:
    """Refuse, before anything is read, an output that would replace something of the user's."""
    check_outputs(Path(parsed.output), _given_files(parsed), overwrite=parsed.overwrite, resume=parsed.resume)


def _given_files(parsed: argparse.Namespace) -> list[Path]:
    """The files that the command line names for reading."""
    mask = None if parsed.mask is None else parsed.mask.partition(":")[0]
    names = [*parsed.inputs, parsed.geometry, mask, parsed.learned]
    return [Path(name) for name in names if name is not None and Path(name).is_file()]


def make_writer(parsed: argparse.Namespace, path: Path, source: Source, resume: bool) -> Writer:
    """Writer of the options for a path."""
    return open_writer(
        path,
        source.detector,
        hits=take_config(HitConfig, parsed),
        output=take_config(OutputConfig, parsed),
        provenance=_provenance(parsed, source),
        resume=resume,
        overwrite=parsed.overwrite,
        read=[*_given_files(parsed), *source.files],
    )


def _provenance(parsed: argparse.Namespace, source: Source) -> dict[str, Any]:
    """What decides the outcome of a run: a run is resumed only with the same, down to the files' sizes and times."""
    config = take_config(FINDERS[parsed.finder].config, parsed)
    found: dict[str, Any] = {
        "peakrt": version("peakrt"),
        "inputs": parsed.inputs,
        "input_files": _digest(json.dumps(list(fingerprints(source.files))).encode()),
        "geometry": parsed.geometry,
        "detector": _digest(format_geom(source.detector).encode()),
        "finder": parsed.finder,
        "options": asdict(config),
        "hits": asdict(take_config(HitConfig, parsed)),
        # A run that stopped at a bad event goes on with skip; neither this nor the time between flushes changes a row.
        "output": {
            k: v for k, v in asdict(take_config(OutputConfig, parsed)).items() if k not in ("on_bad_event", "flush_s")
        },
    }
    if parsed.mask is not None:
        found["mask"] = _digest(np.ascontiguousarray(read_mask(parsed.mask)).tobytes())
    if parsed.learned is not None:
        learned = read_learned(parsed.learned)
        found["learned"] = _digest(repr(learned.gain).encode() + learned.bad_pixels.tobytes())
    if hasattr(config, "model"):
        found["model"] = _digest(load_model(config.model, None).content)
    return found


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
