"""``peakrt-lab spi``: the patterns of single particles in a run."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from peakrt.commands.find_report import check_json, write_json
from peakrt.commands.options import add_geometry, option_name, override, take_geometry
from peakrt.commands.program import add_command
from peakrt.cxi.outputs import whole_file
from peakrt.extras import need
from peakrt.sources import open_source

from ..spi.features import Measured, Measurer
from ..spi.patterns import Particles

#: Options of the simulation that a run may need otherwise: numbers, not the range of photons.
_OPTIONS = tuple(item for item in fields(Particles) if isinstance(item.default, float))
#: Lit pixels of a hit, sigmas above those of blanks.
_HIT_SIGMA = 10.0


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "spi", _spi, help="the patterns of single particles in a run",
        usage="%(prog)s RUN [RUN ...] -g GEOMETRY -o singles.lst [options]",
        description="Find hits by lit pixels, fit a sphere to each, and say which are of one particle: by trees that are "
        "trained, at the beginning, on patterns simulated for this detector, photon energy, camera length and particle.",
    )  # fmt: skip
    parser.add_argument(
        "inputs", nargs="+", metavar="IN", help="what peakrt find takes: CXI, HDF5, images, a facility's run"
    )
    add_geometry(parser)
    parser.add_argument("--detector", metavar="NAME", help="of a facility's run")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.lst", help="list of single particles")
    parser.add_argument(
        "--share", type=float, default=0.06, help="of single particles among the hits, as expected [0.06]"
    )
    parser.add_argument(
        "--min-probability", type=float, default=0.5, metavar="P", help="least of a single particle [0.5]"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.lst")
    parser.add_argument(
        "--json", metavar="FILE", help="write the numbers of each hit as JSON; - for the standard output"
    )
    group = parser.add_argument_group("particle and detector, as they are simulated")
    for item in _OPTIONS:
        group.add_argument(
            option_name(item.name), type=float, metavar=item.metadata["unit"],
            help=f"{item.metadata['help']} [{item.default}]",
        )  # fmt: skip


def _spi(parsed: argparse.Namespace) -> int:
    need("peakrt-lab spi", "train", "lightgbm", "scipy")
    particles = _particles(parsed)
    _check(parsed)
    source = open_source(parsed.inputs, take_geometry(parsed), name=parsed.detector)
    detector = override(source.detector, parsed)
    gain = detector.photon_gain or 1.0
    measurer = Measurer(detector, particles.size_nm, gain=gain, noise=particles.noise, background=particles.background)
    names: list[str] = []
    hits: list[Measured] = []
    n = 0
    for event in source.events():
        n += 1
        found = measurer(event.frame)
        if found.lit_sigma >= _HIT_SIGMA:
            names.append(str(event))
            hits.append(found)
    probability = np.zeros(0)
    if hits:
        from ..spi.classifier import train

        classify = train(detector, particles, measurer)
        probability = classify(np.array([hit.numbers for hit in hits]), parsed.share)
    single = probability >= parsed.min_probability
    with whole_file(parsed.output) as started:
        started.write_text(
            "".join(f"{name}\n" for name, one in zip(names, single, strict=True) if one), encoding="utf-8"
        )
    record = {"events": n, "hits": len(hits), "single": int(single.sum()), "expected_single": float(probability.sum())}
    if parsed.json != "-":
        print(
            f"{n} events, {len(hits)} hits, {single.sum()} single particles ({probability.sum():.1f} are to be expected)\n"
            f"wrote {parsed.output}"
        )
    if parsed.json is not None:
        rows = [
            {"event": name, "lit": hit.lit, "lit_sigma": hit.lit_sigma, "size_nm": hit.size_nm, "misfit": hit.misfit, "probability": float(p)}
            for name, hit, p in zip(names, hits, probability, strict=True)
        ]  # fmt: skip
        write_json(parsed.json, {**record, "of_hits": rows})
    return 0


def _particles(parsed: argparse.Namespace) -> Particles:
    given = {item.name: getattr(parsed, item.name) for item in _OPTIONS if getattr(parsed, item.name) is not None}
    for name, value in given.items():
        if not (value > 0 or (value == 0 and name in ("background", "noise"))) or not np.isfinite(value):
            raise ValueError(f"{option_name(name)} is {value}, a number above 0 is expected")
    return replace(Particles(), **given)


def _check(parsed: argparse.Namespace) -> None:
    for name in ("share", "min_probability"):
        if not 0 < getattr(parsed, name) < 1:
            raise ValueError(f"{option_name(name)} is {getattr(parsed, name)}, a number between 0 and 1 is expected")
    if parsed.geometry is None:
        raise ValueError("give the detector with -g: a .geom file or a name")
    if parsed.output.exists() and not parsed.overwrite:
        raise FileExistsError(f"{parsed.output} exists: replace it with --overwrite")
    if not parsed.output.parent.is_dir():
        raise FileNotFoundError(f"folder {parsed.output.parent} does not exist")
    if any(Path(text).exists() and Path(text).resolve() == parsed.output.resolve() for text in parsed.inputs):
        raise FileExistsError(f"{parsed.output} is read: choose another -o")
    if parsed.json is not None:
        check_json(parsed.json)
