"""The command line: the only place that prints or exits."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import signal
import sys
from collections.abc import Callable, Sequence, Sized
from dataclasses import Field, asdict, fields
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import h5py
import numpy as np

from peakrt_geometry import Detector, detector_names, load_detector, read_geom
from peakrt_geometry.crystfel import format_geom

from .arrays import as_mask
from .config import CandidateConfig, Config, HitConfig, OutputConfig
from .contracts import Writer
from .cxi.columns import UNUSABLE
from .cxi.indexing import index_command
from .cxi.learned_file import read_learned, write_learned
from .cxi.outputs import check_outputs, fingerprints
from .extras import need
from .finder import ENGINES, PeakFinder
from .finders.registry import FINDERS, kind_of
from .info import describe_input
from .models.model_file import load_model
from .mpi import Job, find_in_job, in_job, rank_of_job, summarise
from .pipeline import Summary, find_run
from .progress import Progress
from .sources import Source, Stream, is_stream, open_source
from .writers import open_writer

if TYPE_CHECKING:
    from .pictures.assemble import Canvas
    from .pictures.choose import EventPictures

AnyConfig = TypeVar("AnyConfig", bound=Config)

DEFAULT_FINDER = kind_of(CandidateConfig()).name
LOG_LEVELS = ("debug", "info", "warning", "error")


class Interrupted(Exception):
    """The user, or the batch system, asked to stop."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``peakrt`` and return its exit status."""
    return run(build_parser(), arguments)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors are."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}; {self.prog} --help lists the options\n")


def add_command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], **words: Any) -> Parser:
    """Add a command that calls ``run`` to the parsers of a program's commands; words : argparse's, help among them."""
    parser: Parser = commands.add_parser(name, **{"description": words.get("help", ""), **words})
    parser.add_argument(
        "--log-level", default="info", choices=LOG_LEVELS, help="least serious messages to show on stderr [info]"
    )
    parser.set_defaults(run=run)
    return parser


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Parse and run a command; errors that a user can mend come out as one line."""
    parsed = parser.parse_args(arguments)
    logging.basicConfig(format="%(name)s: %(message)s")
    logging.getLogger("peakrt").setLevel(parsed.log_level.upper())
    try:
        status: int = parsed.run(parsed)
    except Interrupted as interrupted:
        print(f"\n{parser.prog}: {interrupted}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except (OSError, ValueError, RuntimeError, MemoryError, ImportError) as error:
        print(f"{parser.prog}: error: {one_line(error)}", file=sys.stderr)
        return 1
    return status


def one_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if "No space left" in text:
        text = "no space left on the disk"
    return " ".join(text.split()) or type(error).__name__


def option_name(name: str) -> str:
    """What a field of a config is called on the command line."""
    return f"--{name.replace('_', '-')}"


def add_config(parser: Any, config: type[Config]) -> None:
    """Give a parser or a group one option for each field of a config."""
    for item in fields(config):
        _add_option(parser, item, "" if item.default is None else f" [{item.default}]")


def _add_option(parser: Any, item: Field[Any], default: str) -> None:
    """Add one field of a config; default : as the help shows it. The config checks the choices itself."""
    kind = {"int": int, "float": float, "str": str}[str(item.type).removesuffix(" | None")]
    choices, unit = item.metadata["choices"], item.metadata["unit"]
    shown = "{" + ",".join(choices) + "}" if choices else unit or {int: "N", float: "X", str: "NAME"}[kind]
    parser.add_argument(option_name(item.name), type=kind, metavar=shown, help=item.metadata["help"] + default)


def take_config(config: type[AnyConfig], parsed: argparse.Namespace) -> AnyConfig:
    """Make a config from the options given; the others keep their defaults."""
    given = {item.name: getattr(parsed, item.name, None) for item in fields(config)}
    return config(**{name: value for name, value in given.items() if value is not None})


def add_geometry(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what the detector is."""
    parser.add_argument("-g", "--geometry", help="CrystFEL .geom, or a detector's name; NXmx and CBF bring their own")
    parser.add_argument("--camera-length", type=float, metavar="m", help="camera length instead of the geometry's")
    parser.add_argument("--photon-energy", type=float, metavar="eV", help="photon energy instead of the geometry's")


def take_geometry(parsed: argparse.Namespace) -> Detector | None:
    """Detector of the options, or None where the data are to describe it."""
    return None if parsed.geometry is None else load_geometry(parsed.geometry)


def load_geometry(text: str) -> Detector:
    """Read a .geom file, or one of PeakRT's own detectors by name."""
    if Path(text).suffix == ".geom" or Path(text).exists():
        return read_geom(text)
    if text in detector_names():
        return load_detector(text)
    raise ValueError(f"{text} is neither a .geom file nor a detector's name ({', '.join(detector_names())})")


def override(detector: Detector, parsed: argparse.Namespace) -> Detector:
    """Put the command line's camera length and photon energy in place of the geometry's."""
    if parsed.camera_length is not None:
        detector = detector.with_camera_length(parsed.camera_length)
    if parsed.photon_energy is not None:
        detector = detector.with_photon_energy(parsed.photon_energy)
    return detector


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = Parser(prog="peakrt", description="Bragg peaks from X-ray detector frames.")
    parser.add_argument("--version", action="version", version=f"peakrt {version('peakrt')}")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_find(commands)
    _add_learn(commands)
    _add_view(commands)
    _add_info(commands)
    _add_serve(commands)
    _add_engine(commands)
    _add_bench(commands)
    return parser


def _add_finder(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_argument_group("finder")
    about = "; ".join(f"{name}: {kind.config.about}" for name, kind in FINDERS.items())
    chosen.add_argument("--finder", choices=list(FINDERS), default=DEFAULT_FINDER, help=f"{about} [{DEFAULT_FINDER}]")
    chosen.add_argument(
        "--engine", choices=ENGINES, default="auto", help="where it runs; auto takes a GPU where there is one [auto]"
    )
    chosen.add_argument(
        "--mask", metavar="FILE[:PATH]", help="HDF5 or .npy mask, nonzero = good, on top of the geometry's"
    )
    chosen.add_argument(
        "--learned",
        metavar="FILE",
        type=Path,
        help="of peakrt learn, or a CXI: its gain and bad pixels; nothing is learned",
    )
    groups: dict[tuple[str, ...], Any] = {}
    configs = {name: kind.config for name, kind in FINDERS.items()}
    for name, config in configs.items():
        for item in fields(config):
            sharing = {n: getattr(c, item.name, None) for n, c in configs.items() if item.name in _names(c)}
            if name != next(iter(sharing)):
                continue
            owners = tuple(sharing)
            if owners not in groups:
                groups[owners] = parser.add_argument_group(f"--finder {' or '.join(owners)}")
            _add_option(groups[owners], item, _defaults(sharing))


def _names(config: type[Config]) -> set[str]:
    return {item.name for item in fields(config)}


def _defaults(values: dict[str, Any]) -> str:
    """Default of an option as the help shows it, of each finder where they differ."""
    different = {name: value for name, value in values.items() if value is not None}
    if not different:
        return ""
    if len(set(different.values())) == 1:
        return f" [{next(iter(different.values()))}]"
    return " [" + ", ".join(f"{name}: {value}" for name, value in different.items()) + "]"


def take_finder(parsed: argparse.Namespace, detector: Detector) -> PeakFinder:
    """Finder of the options."""
    config = FINDERS[parsed.finder].config
    for name in sorted({name for other in FINDERS.values() for name in _names(other.config)} - _names(config)):
        if getattr(parsed, name) is not None:
            raise ValueError(f"{option_name(name)} is not an option of {parsed.finder}, the finder chosen (--finder)")
    mask, options = None if parsed.mask is None else read_mask(parsed.mask), take_config(config, parsed)
    if parsed.learned is None:
        return PeakFinder(options, geometry=detector, mask=mask, engine=parsed.engine)
    if getattr(options, "bad_pixels", None) == "learn" and parsed.bad_pixels is not None:
        raise ValueError("--bad-pixels learn and --learned exclude each other")
    learned = read_learned(parsed.learned)
    options = learned.fix(options, detector.photon_gain)
    good = learned.good(detector.shape) & as_mask(mask, detector.shape).view(bool)
    finder = PeakFinder(options, geometry=detector, mask=good, engine=parsed.engine)
    finder.restore(learned.state(detector.shape, finder.gain))
    return finder


def read_mask(text: str) -> Any:
    """Read a mask from ``file.npy``, or from ``file.h5:/path``."""
    name, _, path = text.partition(":")
    if not Path(name).exists():
        raise FileNotFoundError(f"mask {name} does not exist")
    if name.endswith(".npy"):
        return np.load(name, allow_pickle=False)
    with h5py.File(name, "r") as file:
        if not path or path not in file:
            raise ValueError(f"mask {name} needs the path of a dataset: {name}:/path")
        return file[path][()]


# find


def _add_find(commands: Any) -> None:
    parser = add_command(
        commands, "find", _find, help="find the peaks of frames and write a CXI for CrystFEL",
        usage="%(prog)s IN [IN ...] [-g GEOMETRY] -o OUT.cxi [options]",
    )  # fmt: skip
    parser.add_argument(
        "inputs", nargs="+", metavar="IN",
        help="HDF5, CXI, NXmx, .lst, CBF and other images, folders; an LCLS run: exp=mfx100,run=7[,dir=FOLDER]; or a "
        "stream: [FORMAT+]tcp://HOST:PORT",
    )  # fmt: skip
    add_geometry(parser)
    parser.add_argument("--detector", metavar="NAME", help="of an LCLS run; of a stream's channel, source or dataset")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="s", help="a stream is over after so long without a frame [60]"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT.cxi", help="CXI to write; .lst and .geom go beside it"
    )
    parser.add_argument("-j", "--threads", type=int, default=1, metavar="N", help="finder threads [1]")
    parser.add_argument("-n", "--limit", type=int, metavar="N", help="stop after so many events")
    parser.add_argument("--resume", action="store_true", help="go on with OUT.cxi.inprogress")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUT.cxi, its .lst and .geom, and what an earlier run left"
    )
    parser.add_argument("--json", metavar="FILE", help="write the summary as JSON as well; - for the standard output")
    add_config(parser.add_argument_group("hits"), HitConfig)
    add_config(parser.add_argument_group("output"), OutputConfig)
    _add_finder(parser)


def _find(parsed: argparse.Namespace) -> int:
    if in_job():
        return _find_in_job(parsed)
    if parsed.limit is not None and parsed.limit < 1:
        raise ValueError(f"--limit is {parsed.limit}, it should be at least 1")
    check_json(parsed)
    live = is_stream(parsed.inputs)
    if live and parsed.resume:
        raise ValueError("--resume: a stream cannot be resumed, for what has passed is gone; begin another output")
    stop = _catch_signals()
    _check_outputs(parsed)
    source = _open(parsed, stop)
    finder = take_finder(parsed, source.detector)
    finder.on_gpu()  # says what auto has chosen before the run begins
    writer = _make_writer(parsed, Path(parsed.output), source, parsed.resume)
    total = min((n for n in (known_length(source), parsed.limit) if n is not None), default=None)
    limit = None if parsed.limit is None else max(0, parsed.limit - writer.events_done)
    progress = Progress(total, done=writer.events_done, hits=writer.n_hits)

    def show(summary: Summary) -> None:
        progress(summary)
        if stop and not live:  # a stream ends by itself then, and its files are finished
            of_all = "" if total is None else f" of {total}"
            raise Interrupted(
                f"stopped after {writer.events_done}{of_all} events; {writer.n_hits} hits are in "
                f"{writer.unfinished}, which can be read; --resume goes on"
            )

    try:
        with progress, writer:
            summary = find_run(
                source, finder, writer, threads=parsed.threads, limit=limit, on_event=show,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        if not writer.unfinished.exists():
            raise
        kept = f"what was found before is in {writer.unfinished}{'' if live else ' (--resume goes on)'}"
        raise RuntimeError(f"{one_line(error)}; {kept}") from error
    report = report_lines(summary, writer, progress.peaks_per_hit(summary))
    if isinstance(source, Stream):
        report = [*source.report(), *report]
    print("\n".join(report), file=sys.stderr if parsed.json == "-" else sys.stdout)
    if parsed.json is not None:
        record = as_record(summary, writer, finder, progress.peaks_per_hit(summary))
        write_json(parsed.json, {**record, "stream": source.as_record()} if isinstance(source, Stream) else record)
    return 0


def _open(parsed: argparse.Namespace, stop: list[int]) -> Source:
    if is_stream(parsed.inputs):
        from .sources.streams import open_stream

        source: Source = open_stream(
            parsed.inputs[0], take_geometry(parsed), name=parsed.detector, timeout_s=parsed.timeout,
            stopped=lambda: bool(stop),
        )  # fmt: skip
    else:
        source = open_source(parsed.inputs, take_geometry(parsed), name=parsed.detector)
    source.detector = override(source.detector, parsed)
    return source


def known_length(source: Source) -> int | None:
    """Events of a source; None of a run that is dealt out on the way."""
    return len(source) if isinstance(source, Sized) else None


def _check_outputs(parsed: argparse.Namespace) -> None:
    """Refuse, before anything is read, an output that would replace something of the user's."""
    check_outputs(Path(parsed.output), _given_files(parsed), overwrite=parsed.overwrite, resume=parsed.resume)


def _given_files(parsed: argparse.Namespace) -> list[Path]:
    """The files that the command line names for reading."""
    mask = None if parsed.mask is None else parsed.mask.partition(":")[0]
    names = [*parsed.inputs, parsed.geometry, mask, parsed.learned]
    return [Path(name) for name in names if name is not None and Path(name).is_file()]


def _make_writer(parsed: argparse.Namespace, path: Path, source: Source, resume: bool) -> Writer:
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


def _find_in_job(parsed: argparse.Namespace) -> int:
    if parsed.limit is not None:
        raise ValueError("--limit is for one process; an LCLS run takes events=N")
    if parsed.json is not None:
        raise ValueError("--json is for one process; a job leaves a .summary beside its master file")
    if is_stream(parsed.inputs):
        raise ValueError("a stream is read by one process, not by the ranks of a job: start peakrt find without mpirun")
    stop = _catch_signals()
    _check_outputs(parsed)
    rank, size = rank_of_job()
    if rank != size - 1:  # one rank speaks for all; the last one, for psana keeps the first two to itself
        logging.getLogger("peakrt").setLevel(max(logging.WARNING, logging.getLogger("peakrt").level))
    progress = Progress(None, prefix=f"rank {rank} of {size}: ", terminal=False)

    def on_event(summary: Summary) -> None:
        progress(summary)
        if stop:
            raise Interrupted(f"stopped after {summary.events} events of this rank; --resume goes on")

    job = Job(
        open_source=lambda: _open(parsed, stop),
        make_finder=lambda source: take_finder(parsed, source.detector),
        make_writer=lambda path, source, resume: _make_writer(parsed, path, source, resume),
        out=Path(parsed.output),
        resume=parsed.resume,
        on_event=on_event,
        overwrite=parsed.overwrite,
    )
    results = find_in_job(job)
    if results is not None:
        print(summarise(results), end="")
        print(f"wrote {parsed.output}, the master of the rank files beside it")
        images = take_config(OutputConfig, parsed).images
        if images != "none":
            print(f"to index:\n\n  {index_command(Path(parsed.output), images)}")
    return 0


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


def _catch_signals() -> list[int]:
    """Collect SIGINT, SIGTERM and SIGHUP instead of dying of them; a second one is not caught."""
    caught: list[int] = []

    def take(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, take)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup a run outlives its terminal
        signal.signal(signal.SIGHUP, take)
    return caught


def report_lines(summary: Summary, writer: Writer, peaks_per_hit: float) -> list[str]:
    """What find says at its end."""
    done = max(1, writer.events_done)
    lines = [
        f"{writer.events_done} events, {writer.n_hits} hits ({writer.n_hits / done:.1%}), {peaks_per_hit:.0f} peaks a hit"
    ]
    if summary.events:
        parts = {"reading": summary.waiting_s, "finding": summary.finding_s, "writing": summary.writing_s}
        shares = ", ".join(f"{name} {value:.1f} s" for name, value in parts.items())
        lines.append(
            f"{summary.seconds:.1f} s, {summary.rate:.1f} events/s; waited for {shares}: "
            f"{max(parts, key=lambda name: parts[name])} limits"
        )
    if writer.n_cut:
        lines.append(
            f"{writer.n_cut} events had more than {writer.hits.max_peaks} peaks: the strongest were written (--max-peaks)"
        )
    if summary.unusable:
        lines.append(
            f"{summary.unusable} events could not be used (listed in {UNUSABLE}), the first: {summary.first_unusable}"
        )
    return [*lines, *writer.report()]


def as_record(summary: Summary, writer: Writer, finder: PeakFinder, peaks_per_hit: float) -> dict[str, Any]:
    """A run for other programs: what --json writes. Times are seconds of this call, counts of the whole file."""
    return {
        "peakrt": version("peakrt"),
        "output": str(writer.path),
        "engine": finder.engine,
        "events": writer.events_done,
        "hits": writer.n_hits,
        "hit_rate": writer.n_hits / max(1, writer.events_done),
        "peaks_per_hit": peaks_per_hit,
        "events_cut": writer.n_cut,
        "events_of_this_call": summary.events,
        "seconds": summary.seconds,
        "events_per_s": summary.rate,
        **{name: getattr(summary, name) for name in ("waiting_s", "finding_s", "writing_s")},
    }


def check_json(parsed: argparse.Namespace) -> None:
    """Raise FileNotFoundError for a --json that could not be written at the end."""
    if parsed.json not in (None, "-") and not Path(parsed.json).parent.is_dir():
        raise FileNotFoundError(f"folder {Path(parsed.json).parent} of --json does not exist")


def write_json(name: str, record: dict[str, Any]) -> None:
    """Write a record to a file, or print it for "-"."""
    text = json.dumps(record, indent=2)
    if name == "-":
        print(text)
    else:
        Path(name).write_text(text + "\n", encoding="utf-8")


# learn


def _add_learn(commands: Any) -> None:
    parser = add_command(
        commands, "learn", _learn, help="learn the gain and the bad pixels of a detector beforehand",
        usage="%(prog)s IN [IN ...] [-g GEOMETRY] -o DETECTOR.h5 [options]",
        description="Learn the gain and the bad pixels of a detector from the first events of a run. With the file, "
        "peakrt find --learned and jobs with PEAKRT_LEARNED learn nothing more: their peaks do not depend on the number of "
        "threads, ranks or servers.",
    )  # fmt: skip
    parser.add_argument("inputs", nargs="+", metavar="IN", help="what peakrt find takes")
    add_geometry(parser)
    parser.add_argument("--detector", metavar="NAME", help="of an LCLS run")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DETECTOR.h5", help="file to write")
    parser.add_argument("-n", "--limit", type=int, default=1000, metavar="N", help="learn from so many events [1000]")
    parser.add_argument("-j", "--threads", type=int, default=1, metavar="N", help="finder threads [1]")
    parser.add_argument("--mask", metavar="FILE[:PATH]", help="HDF5 or .npy mask, nonzero = good")
    parser.add_argument("--gain", type=float, metavar="ADU/photon", help="gain, where it is known")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="where the finder runs [auto]")


def _learn(parsed: argparse.Namespace) -> int:
    if parsed.limit < 1:
        raise ValueError(f"--limit is {parsed.limit}, it should be at least 1")
    if parsed.output.exists():
        raise FileExistsError(f"{parsed.output} exists: choose another name")
    if is_stream(parsed.inputs):
        raise ValueError("frames of a stream pass but once: learn from a file, or from the CXI of an earlier find")
    source, mask = _open(parsed, []), None if parsed.mask is None else read_mask(parsed.mask)
    finder = PeakFinder(CandidateConfig(gain=parsed.gain), geometry=source.detector, mask=mask, engine=parsed.engine)
    frames = ((event.frame, event.mask) for event in islice(source.events(), parsed.limit))
    used, refused = 0, None
    for outcome in finder.outcomes(frames, threads=parsed.threads):
        if isinstance(outcome, ValueError):
            refused = refused or outcome
        else:
            used += 1
    if not used:
        raise refused or ValueError("there are no events to learn from")
    state, width = finder.learned_state(), source.detector.shape[-1]
    write_learned(parsed.output, state, width, {"inputs": parsed.inputs, "events": used, "peakrt": version("peakrt")})
    gain = "the gain is not known: give it with --gain" if state.gain is None else f"gain {state.gain:.4g} ADU a photon"
    print(f"{used} events: {gain}; {len(state.bad_pixels(width))} bad pixels\nwrote {parsed.output}")
    return 0


# view


def _add_view(commands: Any) -> None:
    parser = add_command(
        commands,
        "view",
        _view,
        help="draw a frame with its peaks, a contact sheet of hits, or powder patterns",
        description="Draw a frame with its peaks, a contact sheet of hits, or powder patterns. Peaks saved in the input, "
        "or in --peaks, are shown as they are; where none are saved, or an option of the finders is given, they are found.",
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help="what peakrt find takes, or the CXI that it wrote")
    add_geometry(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT.png", help="picture to write (.png, .pdf or .svg)"
    )
    parser.add_argument("--peaks", metavar="PEAKS.cxi", help="show the peaks saved in this file")
    parser.add_argument("-e", "--event", type=int, default=0, help="number of the event in the input [0]")
    parser.add_argument("--sheet", type=int, metavar="N", help="a contact sheet of the first N hits instead")
    parser.add_argument(
        "--min-peaks", type=int, default=HitConfig().min_peaks, help="least peaks of a hit of the sheet"
    )
    parser.add_argument(
        "--powder",
        action="store_true",
        help="powder patterns instead: those in the file or the maximum of its events, and where all its peaks are",
    )
    parser.add_argument("-n", "--limit", type=int, default=1000, help="events that the maximum is taken of [1000]")
    _add_finder(parser)


def _view(parsed: argparse.Namespace) -> int:
    if Path(parsed.output).suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"{parsed.output} should end in .png, .pdf or .svg")
    need("peakrt view", "view", "matplotlib")
    for name, least in (("sheet", 1), ("limit", 1), ("event", 0)):
        value = getattr(parsed, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} is {value}, it should be at least {least}")
    if parsed.powder:
        return _view_powder(parsed)
    return _view_event(parsed) if parsed.sheet is None else _view_sheet(parsed)


def _view_geometry(parsed: argparse.Namespace) -> Detector | None:
    """Detector of the options, or of the .geom beside the input; None where the data are to describe it."""
    from .pictures.choose import geometry_beside

    detector, beside = take_geometry(parsed), geometry_beside(parsed.inputs)
    return read_geom(beside) if detector is None and beside is not None else detector


def _view_source(parsed: argparse.Namespace) -> Source:
    from .pictures.choose import check_images

    check_images(parsed.inputs)
    source = open_source(parsed.inputs, _view_geometry(parsed))
    source.detector = override(source.detector, parsed)
    return source


def _event_pictures(parsed: argparse.Namespace, canvas: Canvas) -> EventPictures:
    from .pictures.choose import EventPictures

    names = {item.name for kind in FINDERS.values() for item in fields(kind.config)}
    return EventPictures(
        canvas,
        lambda: take_finder(parsed, canvas.detector),
        peaks=parsed.peaks,
        anew=parsed.finder != DEFAULT_FINDER or any(getattr(parsed, name) is not None for name in names),
        mask=None if parsed.mask is None else read_mask(parsed.mask),
    )


def _view_event(parsed: argparse.Namespace) -> int:
    from .pictures.assemble import Canvas
    from .pictures.draw import ONE, save_pictures

    source = _view_source(parsed)
    event = next(iter(source.events(parsed.event)), None)
    if event is None:
        length = known_length(source)
        raise ValueError(f"there is no event {parsed.event}: the input has {'fewer' if length is None else length}")
    canvas = Canvas(source.detector, ONE.side)
    with _event_pictures(parsed, canvas) as pictures:
        picture = pictures.draw(event, parsed.event)
    save_pictures(parsed.output, canvas, [picture], ONE)
    print(f"{picture.title}\nwrote {parsed.output}")
    return 0


def _view_sheet(parsed: argparse.Namespace) -> int:
    from .pictures.assemble import Canvas
    from .pictures.draw import MANY, save_pictures

    source = _view_source(parsed)
    canvas = Canvas(source.detector, MANY.side)
    with _event_pictures(parsed, canvas) as pictures:
        hits = pictures.hits(source.events(), parsed.sheet, parsed.min_peaks)
    if not hits:
        raise ValueError(f"no event has {parsed.min_peaks} peaks: lower --min-peaks, or look at single events with -e")
    save_pictures(parsed.output, canvas, hits, MANY)
    print(f"{len(hits)} hits\nwrote {parsed.output}")
    return 0


def _view_powder(parsed: argparse.Namespace) -> int:
    from .pictures.assemble import Canvas
    from .pictures.choose import powders
    from .pictures.draw import FEW, save_pictures

    detector = override(_view_geometry(parsed) or open_source(parsed.inputs).detector, parsed)
    mask = None if parsed.mask is None else read_mask(parsed.mask)
    canvas = Canvas(detector, FEW.side)
    pictures = powders(parsed.inputs, canvas, peaks=parsed.peaks, limit=parsed.limit, mask=mask)
    save_pictures(parsed.output, canvas, pictures, FEW)
    for picture in pictures:
        print(picture.title)
    print(f"wrote {parsed.output}")
    return 0


# info


def _add_info(commands: Any) -> None:
    parser = add_command(commands, "info", _info, help="say what a file is")
    parser.add_argument("inputs", nargs="+", metavar="IN", help="geometry, HDF5, CXI, .lst, image or folder")
    add_geometry(parser)


def _info(parsed: argparse.Namespace) -> int:
    detector = take_geometry(parsed)
    for path in parsed.inputs:
        for line in describe_input(path, None if detector is None else override(detector, parsed)):
            print(line)
    return 0


# serve


def _add_serve(commands: Any) -> None:
    parser = add_command(commands, "serve", _serve, help="find for the ranks of this node; they start it themselves")
    parser.add_argument("--socket", type=Path, help="where to listen [a folder of yours alone]")
    parser.add_argument("--status", action="store_true", help="print the numbers of the server that runs, and end")
    parser.add_argument("--linger", type=float, default=5.0, metavar="s", help="stay so long without anybody [5]")
    parser.add_argument("-j", "--threads", type=int, help="frames at a time on the CPU [cores]")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="where the finders run [auto]")


def _serve(parsed: argparse.Namespace) -> int:
    from .serve.wire import socket_path

    path = parsed.socket or socket_path()
    if parsed.status:
        return _print_status(path)
    from .serve.server import Server

    server = Server(path, linger_s=parsed.linger, workers=parsed.threads, engine=parsed.engine)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: server.stop())
    print(f"serving at {path}", flush=True)
    server.run()
    return 0


def _print_status(path: Path) -> int:
    from .serve.remote import server_status

    now = server_status(path)
    print(f"server {now['pid']} at {path}, up {now['uptime_s']:.0f} s, {now['workers']} workers")
    print(f"clients    {now['clients']}, {now['finders']} finders, {now['refused']} refused")
    print(
        f"requests   {now['waiting']} waiting, {now['served']} served, {now['unread_bytes']} bytes of answers not read"
    )
    print(f"latency    p50 {now['p50_ms']:.2f} ms, p99 {now['p99_ms']:.2f} ms")
    print(f"restarts   {now['restarts']}, {now['resent']} requests sent again")
    print(
        f"memory     {now['memory_bytes'] >> 20} MiB, {now['mapped_bytes'] >> 20} MiB of slots; "
        f"{now['threads']} threads, {now['descriptors']} descriptors"
    )
    return 0


# engine


def _add_engine(commands: Any) -> None:
    parser = commands.add_parser("engine", help="TensorRT engines: build them beforehand, list or remove them")
    what = parser.add_subparsers(required=True, metavar="what")
    build = add_command(
        what, "build", _build_engines, help="build the engines that a job will want, or check that they can be"
    )
    build.add_argument(
        "models", nargs="*", metavar="MODEL", help="files, or names of shipped ones [all that are shipped]"
    )
    build.add_argument("-g", "--geometry", help="of the detector: the dense networks' engines are for its panels")
    add_command(what, "list", _list_engines, help="list the engines of the cache")
    add_command(what, "clear", _clear_engines, help="remove all engines of the cache")


def _build_engines(parsed: argparse.Namespace) -> int:
    from .gpu.segmentation import engine_shape
    from .models.engine_tensorrt import build_engine, built_for, get_engine, load_tensorrt
    from .models.model_file import load_model, shipped_models

    trt, detector = load_tensorrt(), take_geometry(parsed)
    for name in parsed.models or shipped_models():
        model = load_model(name, None)
        shape = engine_shape(model, None if detector is None else detector.shape)
        target = built_for(trt, model, shape)
        if target["gpu"] == "none":
            size = len(build_engine(trt, model, shape))
            print(f"{name}: can be built, {size >> 10} KiB; not kept, for there is no GPU here that it would be for")
            continue
        size = len(get_engine(model, shape))
        print(f"{name}: {size >> 10} KiB for {target['gpu']}, {target['library']}, input {'x'.join(map(str, shape))}")
    return 0


def _list_engines(parsed: argparse.Namespace) -> int:
    from .models.engine_cache import cache_folder, entries

    found = entries()
    for entry in found:
        what = ", ".join(f"{name} {value}" for name, value in entry.built_for.items())
        print(f"{entry.path.name}  {entry.size >> 10} KiB  {what}")
    print(f"{len(found)} engines in {cache_folder()}")
    return 0


def _clear_engines(parsed: argparse.Namespace) -> int:
    from .models.engine_cache import cache_folder, clear

    print(f"removed {clear()} files from {cache_folder()}")
    return 0


# bench


def _add_bench(commands: Any) -> None:
    parser = commands.add_parser("bench", help="measure this machine")
    what = parser.add_subparsers(required=True, metavar="what")
    serve = add_command(
        what, "serve", _bench_serve, help="the node's server for 1 to 16 processes, against a finder in each"
    )
    serve.add_argument("detector", nargs="?", default="jungfrau1m", help="[jungfrau1m]")
    serve.add_argument("--finder", action="append", help="candidate or peakfinder8 [both]")
    serve.add_argument("--clients", type=int, nargs="+", help="processes [1 2 4 8 16]")


def _bench_serve(parsed: argparse.Namespace) -> int:
    from .bench import CLIENTS, CONFIGS, bench_serve

    if parsed.clients and min(parsed.clients) < 1:
        raise ValueError("--clients needs at least 1")
    for line in bench_serve(parsed.detector, parsed.finder or list(CONFIGS), parsed.clients or list(CLIENTS)):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
