"""``peakrt-lab simulate``: runs of a simulated detector, with their truth."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from peakrt.commands.options import add_geometry, load_geometry, option_name, override
from peakrt.commands.program import add_command
from peakrt.extras import need

from ..simulate import RESPONSES, Response, Scene, Simulator
from ..truth import Truth, write_run


def add(commands: Any) -> None:
    """Add the command and its options."""
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
                f"{option_name(item.name)} {text}: expected something like {_as_option(default)}"
            ) from None
    return replace(config, **changes)


def _range(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


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
