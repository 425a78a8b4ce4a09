"""The options of the finders: which one, where it runs, its mask, what it has learned, and its config."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from peakrt_geometry import Detector

from ..arrays import as_mask
from ..config import CandidateConfig, Config
from ..cxi.learned_file import read_learned
from ..finder import ENGINES, PeakFinder
from ..finders.registry import FINDERS, kind_of
from .options import add_option, option_name, read_mask, take_config

DEFAULT_FINDER = kind_of(CandidateConfig()).name


def add_finder(parser: argparse.ArgumentParser) -> None:
    """Add --finder, where it runs, its mask, what was learned, and the options of every finder."""
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
    _add_configs(parser)


def _add_configs(parser: argparse.ArgumentParser) -> None:
    """Add every field of the finders' configs once, in a group that names the finders that have it."""
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
            add_option(groups[owners], item, _defaults(sharing))


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
