"""The laboratory's command line."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from peakrt.commands.options import add_geometry, load_geometry, option_name, override
from peakrt.commands.program import Parser, add_command, run
from peakrt.config import HitConfig
from peakrt.extras import need, to_install
from peakrt.finder import PeakFinder
from peakrt.finders.registry import FINDERS
from peakrt.models.model_file import load_model
from peakrt.sources import open_source

from .compare import PeakSets, compare, cxi_sets, finder_sets, stream_sets, truth_sets
from .dials import dials_python
from .evaluate import INDEXERS, IndexingResult, read_result
from .report import Row, as_html, as_markdown, judge_run, mean_f1
from .simulate import RESPONSES, Response, Scene, Simulator
from .truth import Truth, write_run
from .tune import tune


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``peakrt-lab`` and return its exit status."""
    return run(build_parser(), arguments)


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = Parser(prog="peakrt-lab", description="Simulate, compare and judge.")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_simulate(commands)
    _add_compare(commands)
    _add_evaluate(commands)
    _add_train(commands)
    _add_tune(commands)
    _add_report(commands)
    _add_adapt(commands)
    return parser


# simulate


def _range(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _add_simulate(commands: Any) -> None:
    parser = add_command(commands, "simulate", _simulate, help="simulate stills with their truth")
    add_geometry(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT.cxi", help="run to write; .geom and .cell go beside it"
    )
    parser.add_argument("-n", "--events", type=int, default=100, metavar="N", help="events to simulate [100]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same events [0]")
    parser.add_argument(
        "--cell",
        type=_range,
        metavar="a,b,c,al,be,ga",
        help="cell of the crystals, A and degrees; otherwise one is drawn for each hit",
    )
    parser.add_argument("--space-group", default="P 1", metavar="NAME", help="of --cell, as 'P 43 21 2' [P 1]")
    parser.add_argument("--gzip", action="store_true", help="compress the images")
    _add_fields(parser.add_argument_group("scene", "A range LOW,HIGH is drawn from anew for each event."), Scene())
    of_detector = "Where nothing is given, detectors of the catalogue have values of their own."
    _add_fields(parser.add_argument_group("detector", of_detector), Response())


def _add_fields(group: Any, config: Scene | Response) -> None:
    """Add an option for each field that has a help text, its default written as the option takes it."""
    for item in fields(config):
        if not item.metadata:
            continue
        default, unit = getattr(config, item.name), item.metadata["unit"]
        shown = {bool: "{true,false}", tuple: "LOW,HIGH"}.get(type(default), unit)
        text = item.metadata["help"] + (f", {unit}" if isinstance(default, tuple) else "")
        group.add_argument(option_name(item.name), metavar=shown, help=f"{text} [{_as_option(default)}]")


def _as_option(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, tuple):
        return ",".join(f"{part:g}" for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _changed(config: Any, parsed: argparse.Namespace) -> Any:
    """Config with the fields that the command line gives, each read as its default's type."""
    changes: dict[str, Any] = {}
    for item in fields(config):
        text, default = getattr(parsed, item.name, None), getattr(config, item.name)
        if text is None:
            continue
        try:
            if isinstance(default, tuple):
                low, high = _range(text)
                changes[item.name] = (low, high)
            elif isinstance(default, bool):
                changes[item.name] = {"true": True, "false": False}[text.lower()]
            else:
                changes[item.name] = type(default)(text)
        except (ValueError, KeyError):
            raise ValueError(
                f"--{item.name.replace('_', '-')} {text}: expected something like {_as_option(default)}"
            ) from None
    return replace(config, **changes)


def _say_size(path: Path, n_bytes: int, *, compressed: bool) -> None:
    """Say how large a file will be. Raises OSError where the disk has no room for it."""
    free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else n_bytes
    if not compressed and n_bytes > free:
        raise OSError(
            f"{path} needs {n_bytes / 1e9:.1f} GB, {path.parent.resolve()} has {free / 1e9:.1f} GB free: "
            "fewer events (-n), --gzip, or another disk"
        )
    before = " before compression" if compressed else ""
    print(f"{path} will have {max(n_bytes, 1e6) / 1e6:,.0f} MB{before}", file=sys.stderr)


def _simulate(parsed: argparse.Namespace) -> int:
    need("peakrt-lab simulate", "lab", "scipy", "gemmi")
    if parsed.geometry is None:
        raise ValueError("give a detector with -g: a .geom file or a name")
    if parsed.events < 1:
        raise ValueError("--events should be at least 1")
    if parsed.cell is not None and len(parsed.cell) != 6:
        raise ValueError("--cell needs six numbers: a,b,c,alpha,beta,gamma")
    detector = override(load_geometry(parsed.geometry), parsed)
    response = _changed(RESPONSES.get(parsed.geometry, Response()), parsed)
    try:
        item_bytes = np.dtype(response.dtype).itemsize
    except TypeError:
        raise ValueError(f"--dtype {response.dtype}: expected a type of numpy, such as u2, i4 or f4") from None
    n_bytes = parsed.events * math.prod(detector.shape) * item_bytes
    simulator = Simulator(
        detector,
        scene=_changed(Scene(), parsed),
        response=response,
        cell=parsed.cell,
        space_group=parsed.space_group,
        seed=parsed.seed,
    )
    _say_size(Path(parsed.output), n_bytes, compressed=parsed.gzip)
    events = (simulator.event(n) for n in tqdm(range(parsed.events), unit="event", disable=None))
    n = write_run(parsed.output, simulator, events, compression="gzip" if parsed.gzip else None)
    truth = Truth(parsed.output)
    print(f"{n} events, {int(truth.hit.sum())} with crystals, {len(truth.peaks)} true peaks")
    print(f"wrote {parsed.output} and {Path(parsed.output).with_suffix('.geom')}")
    return 0


# compare


def _add_compare(commands: Any) -> None:
    parser = add_command(
        commands,
        "compare",
        _compare,
        help="compare two peak sets",
        description="A set is FILE.cxi, FILE.stream, FILE.jsonl (of evaluate --indexer dials), or one of these with a suffix: :truth (of a simulated run), "
        ":predictions (of a stream's crystals), :peakfinder8 or :v3r3 (what that finder gives for FILE's frames).",
    )
    parser.add_argument("reference", help="the truth, or what to measure against")
    parser.add_argument("found")
    add_geometry(parser)
    parser.add_argument(
        "--distance",
        type=float,
        default=3.0,
        help="farthest that two peaks may be apart to match, pixels [3]",
    )
    parser.add_argument("--min-snr", type=float, default=0.0, help="reference peaks below need not be found [0]")


def _peak_sets(text: str, parsed: argparse.Namespace) -> PeakSets:
    path, _, kind = (
        text.rpartition(":") if text.rsplit(":", 1)[-1] in ("truth", "predictions", *FINDERS) else (text, "", "")
    )
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist")
    beside = Path(path).with_suffix(".geom")
    chosen = parsed.geometry or (str(beside) if beside.exists() else None)
    detector = None if chosen is None else load_geometry(chosen)
    if kind == "truth":
        if detector is None:
            raise ValueError(f"{text} needs its geometry: -g")
        return truth_sets(path, detector)
    if kind in FINDERS:
        source = open_source([path], detector)
        return finder_sets(source.events(), PeakFinder(FINDERS[kind].config(), geometry=source.detector))
    if path.endswith((".stream", ".jsonl")) or kind == "predictions":
        return stream_sets(path, detector, predictions=kind == "predictions")
    return cxi_sets(path)


def _compare(parsed: argparse.Namespace) -> int:
    need("peakrt-lab compare", "lab", "scipy")
    if parsed.distance <= 0:
        raise ValueError("--distance should be above 0 pixels")
    reference, found = _peak_sets(parsed.reference, parsed), _peak_sets(parsed.found, parsed)
    blank = None
    if parsed.reference.endswith(":truth"):
        hit = Truth(parsed.reference.removesuffix(":truth")).hit
        blank = lambda event: not hit[event]  # noqa: E731
    agreement = compare(reference, found, distance=parsed.distance, min_snr=parsed.min_snr, blank=blank)
    print("\n".join(agreement.lines()))
    return 0


# evaluate


def _add_evaluate(commands: Any) -> None:
    parser = add_command(commands, "evaluate", _evaluate, help="index the peaks of a CXI and count")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="IN",
        help="CXI files of peakrt find; or streams, or results, that are there already",
    )
    parser.add_argument("--indexer", default="crystfel", choices=INDEXERS, help="[crystfel: indexamajig]")
    parser.add_argument("-g", "--geometry", help="CrystFEL geometry; otherwise the .geom beside each CXI")
    parser.add_argument("-p", "--cell", type=Path, help="CrystFEL unit cell file")
    parser.add_argument("--truth", help="simulated run: orientation error and false hits are counted against it")
    parser.add_argument("--frames", type=int, help="frames of the whole run, where the input holds only hits")
    parser.add_argument("--min-peaks", type=int, default=HitConfig().min_peaks, help="least peaks of a hit [15]")
    parser.add_argument("-j", "--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the streams (of DIALS: results, .jsonl) there"
    )


def _evaluate(parsed: argparse.Namespace) -> int:
    truth = None if parsed.truth is None else Truth(parsed.truth)
    if parsed.keep is not None and not parsed.keep.is_dir():
        raise FileNotFoundError(f"folder {parsed.keep} does not exist")
    for text in parsed.inputs:
        path = Path(text)
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        print(f"{path}")
        print("\n".join("  " + line for line in _evaluate_one(path, parsed, truth).lines()))
    return 0


def _evaluate_one(path: Path, parsed: argparse.Namespace, truth: Truth | None) -> IndexingResult:
    count = {"frames": parsed.frames, "min_peaks": parsed.min_peaks, "truth": truth}
    if path.suffix in (".stream", ".jsonl"):
        return read_result(path, **count)
    geometry = Path(parsed.geometry) if parsed.geometry else path.with_suffix(".geom")
    if not geometry.exists():
        raise FileNotFoundError(f"{geometry} does not exist: give the geometry with -g")
    index, suffix = INDEXERS[parsed.indexer]
    with tempfile.TemporaryDirectory(prefix="peakrt-") as scratch:
        out = (parsed.keep or Path(scratch)) / path.with_suffix(suffix).name
        index(path, geometry, out, cell=parsed.cell, processes=parsed.processes, min_peaks=parsed.min_peaks)
        return read_result(out, **count)


# train


def _add_train(commands: Any) -> None:
    parser = add_command(commands, "train", _train, help=f"train a judge from nothing: {to_install('train')}")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="MODEL.onnx", help="a .png goes beside it")
    parser.add_argument(
        "--work", type=Path, required=True, metavar="FOLDER", help="of intermediate results; a second call goes on"
    )
    parser.add_argument("--dense", action="store_true", help="the dense network and its teacher instead, in 90 minutes")
    parser.add_argument("-n", "--scenes", type=int, help="training scenes [9000; dense 2400]")
    parser.add_argument("--steps", type=int, help="of the network's training [10000]")
    parser.add_argument("--teacher-steps", type=int, help="of the dense teacher's [3000]")
    parser.add_argument("--rival-steps", type=int, help="of the 2023 paper's network, for the report [0: not trained]")
    parser.add_argument("--parallel", help="what processes of torchrun do for --dense: ddp or fsdp2 [ddp]")
    parser.add_argument("--seed", type=int, help="of the scenes [2026]")
    parser.add_argument(
        "--blanks", nargs="+", metavar="IN", help="real frames without a crystal, to learn from as well"
    )
    parser.add_argument("-g", "--geometry", help="of --blanks, where they do not bring their own")
    parser.add_argument("-j", "--processes", type=int, default=os.cpu_count() or 1)


def _need_training() -> None:
    need("training", "train", "scipy", "matplotlib", "gemmi", "lightgbm", "onnx", "torch")


def _train(parsed: argparse.Namespace) -> int:
    _need_training()
    from .judge import JudgeConfig
    from .train import TrainConfig, train_judge

    if parsed.output.suffix != ".onnx" or not parsed.output.parent.is_dir():
        raise ValueError(f"{parsed.output}: a model's name ends in .onnx, in a folder that exists")
    if parsed.dense and parsed.blanks is not None:
        raise ValueError("--blanks is not for --dense")
    if parsed.dense:
        return _train_dense(parsed)
    if any(given is not None for given in (parsed.teacher_steps, parsed.rival_steps, parsed.parallel)):
        raise ValueError("--teacher-steps, --rival-steps and --parallel are for --dense")
    judge = JudgeConfig() if parsed.steps is None else JudgeConfig(steps=parsed.steps)
    given = {name: getattr(parsed, name) for name in ("scenes", "seed") if getattr(parsed, name) is not None}
    config = TrainConfig(judge=judge, **given)
    if config.scenes < 60 or judge.steps < 1:
        raise ValueError("a training needs at least 60 scenes and one step")
    scores = train_judge(
        config, parsed.work, parsed.output, processes=parsed.processes, say=lambda t: print(t, flush=True),
        blanks=_blanks(parsed),
    )  # fmt: skip
    for name, values in scores.items():
        print(f"{name:6} " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items()))
    print(f"wrote {parsed.output}")
    return 0


def _blanks(parsed: argparse.Namespace) -> Any:
    """Candidates of the blank frames that were given, None without."""
    from .dataset import of_blanks

    if parsed.blanks is None:
        return None
    source = open_source(parsed.blanks, None if parsed.geometry is None else load_geometry(parsed.geometry))
    gain = source.detector.photon_gain
    if gain is None:
        raise ValueError("the blanks' geometry has no gain: add adu_per_photon or adu_per_eV to it")
    return of_blanks(source.events(), source.detector, gain)


# tune, report


def _add_tune(commands: Any) -> None:
    parser = add_command(commands, "tune", _tune, help="tune peakfinder8 on a simulated run, knowing its truth")
    parser.add_argument("input", type=Path, metavar="RUN.cxi")
    parser.add_argument("-g", "--geometry", help="otherwise the .geom beside the run")
    parser.add_argument("-n", "--events", type=int, default=10, help="events to tune on [10]")


def _tune(parsed: argparse.Namespace) -> int:
    need("peakrt-lab tune", "lab", "scipy")
    from itertools import islice

    detector = load_geometry(parsed.geometry or str(parsed.input.with_suffix(".geom")))
    events = list(islice(open_source([str(parsed.input)], detector).events(), parsed.events))
    truth = truth_sets(parsed.input, detector)
    config, reached = tune(
        events, {k: truth[k] for k in range(len(events))}, detector, gain=detector.photon_gain or 1.0
    )
    options = " ".join(
        f"--{name.replace('_', '-')} {value:g}" for name, value in asdict(config).items() if value is not None
    )
    print("\n".join(reached.lines()))
    print(f"peakrt find {parsed.input} --finder peakfinder8 {options}")
    return 0


def _train_dense(parsed: argparse.Namespace) -> int:
    from .dense import DenseTraining
    from .dense_data import SHARD
    from .train_dense import train_dense

    names = {
        "scenes": "scenes", "seed": "seed", "steps": "student_steps", "teacher_steps": "teacher_steps",
        "rival_steps": "rival_steps", "parallel": "parallel",
    }  # fmt: skip
    given = {field: getattr(parsed, name) for name, field in names.items() if getattr(parsed, name) is not None}
    config = DenseTraining(**given)
    if config.scenes < 2 * SHARD or config.scenes % SHARD or min(config.student_steps, config.teacher_steps) < 1:
        raise ValueError(f"a dense training needs scenes in multiples of {SHARD}, at least {2 * SHARD}, and one step")
    if config.parallel not in ("ddp", "fsdp2"):
        raise ValueError(f"--parallel is {config.parallel}, it should be ddp or fsdp2")
    scores = train_dense(
        config, parsed.work, parsed.output, processes=parsed.processes, say=lambda t: print(t, flush=True)
    )
    for name, values in scores.items():
        print(f"{name:8} " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items()))
    if scores:
        print(f"wrote {parsed.output}, and beside it its fp16 and int8")
    return 0


def _add_report(commands: Any) -> None:
    parser = add_command(
        commands, "report", _report, help="judge every finder on simulated runs: a .md and an .html with plots"
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="RUN.cxi", help="with truth, a .geom beside each")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="REPORT", help="REPORT.md and REPORT.html")
    parser.add_argument("--title", default="Finders on simulated runs")
    parser.add_argument("-j", "--processes", type=int, default=1, help="runs judged side by side [1]")
    parser.add_argument(
        "--work",
        type=Path,
        nargs="+",
        default=(),
        metavar="WORK",
        help="work folders of train: judge what they hold too",
    )
    parser.add_argument("--dials", action="store_true", help="ask DIALS too, which is on PATH")


def _judge_one(path: Path, work: Sequence[Path], dials: bool) -> list[Row]:
    """All finders on one run, in a process of its own."""
    from .rivals import find_rivals

    rivals = find_rivals(work)
    return judge_run(path, say=lambda text: print(text, file=sys.stderr), rivals=rivals, dials=dials)


def _report(parsed: argparse.Namespace) -> int:
    need("peakrt-lab report", "lab", "scipy", "matplotlib")
    if not parsed.output.parent.is_dir():
        raise FileNotFoundError(f"folder {parsed.output.parent} does not exist")
    for path in parsed.inputs:
        Truth(path)  # before the first of them takes its time
    if parsed.work:
        _need_training()
    if parsed.dials:
        dials_python()
    with ProcessPoolExecutor(max(1, parsed.processes)) as pool:
        parts = pool.map(partial(_judge_one, work=parsed.work, dials=parsed.dials), parsed.inputs)
        rows = [row for part in parts for row in part]
    parsed.output.with_suffix(".md").write_text(as_markdown(rows, title=parsed.title), encoding="utf-8")
    parsed.output.with_suffix(".html").write_text(as_html(rows, title=parsed.title), encoding="utf-8")
    for name, value in mean_f1(rows).items():
        print(f"{name:28} mean F1 {value:.3f}")
    print(f"wrote {parsed.output.with_suffix('.md')} and {parsed.output.with_suffix('.html')}")
    return 0


# adapt


def _add_adapt(commands: Any) -> None:
    parser = add_command(
        commands, "adapt", _adapt, help=f"fine-tune the network on frames that indexed: {to_install('train')}"
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help="the frames, as peakrt find takes them")
    add_geometry(parser)
    parser.add_argument(
        "--stream",
        required=True,
        type=Path,
        help="CrystFEL stream of these frames, or .jsonl of evaluate --indexer dials --keep",
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="MODEL.onnx")
    parser.add_argument("--model", default="default", help="to start from [default]")
    parser.add_argument("--gain", type=float, help="ADU a photon; otherwise the geometry's")


def _adapt(parsed: argparse.Namespace) -> int:
    _need_training()
    from .adapt import adapt, label_patterns, open_judge

    if parsed.output.suffix != ".onnx" or not parsed.output.parent.is_dir():
        raise ValueError(f"{parsed.output}: a model's name ends in .onnx, in a folder that exists")
    model = load_model(parsed.model)
    source = open_source(parsed.inputs, None if parsed.geometry is None else load_geometry(parsed.geometry))
    detector = override(source.detector, parsed)
    gain = parsed.gain or detector.photon_gain
    if gain is None:
        raise ValueError("the geometry has no gain (adu_per_photon or adu_per_eV): give it with --gain")
    predictions = stream_sets(parsed.stream, detector, predictions=True)
    predictions = {event: peaks for event, peaks in predictions.items() if len(peaks)}
    judge = open_judge(model)
    data = label_patterns(source.events(), predictions, detector, judge, gain=gain, threshold=model.threshold)
    outcome = adapt(model, data, parsed.output)
    print("\n".join(outcome.lines()))
    print(f"wrote {parsed.output}: peakrt find --model {parsed.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
