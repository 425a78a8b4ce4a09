"""Options that several commands share: those of a config, the geometry, the mask, the inputs."""

from __future__ import annotations

import argparse
from collections.abc import Sized
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, TypeVar

from peakrt_geometry import Detector, detector_names, load_detector, read_geom

from ..config import Config
from ..cxi.outputs import companion_paths
from ..hdf5_items import get_dataset, open_hdf5, read
from ..npy import read_npy
from ..sources import Source, is_stream, open_source

AnyConfig = TypeVar("AnyConfig", bound=Config)


def option_name(name: str) -> str:
    """What a field of a config is called on the command line."""
    return f"--{name.replace('_', '-')}"


def add_config(parser: Any, config: type[Config]) -> None:
    """Give a parser or a group one option for each field of a config."""
    for item in fields(config):
        add_option(parser, item, "" if item.default is None else f" [{item.default}]")


def add_option(parser: Any, item: Field[Any], default: str) -> None:
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


def geometry_of_peaks(parsed: argparse.Namespace) -> Detector:
    """The geometry of the options, or the one beside the CXI (parsed.cxi). Raises FileNotFoundError without either."""
    given = take_geometry(parsed)
    if given is not None:
        return given
    beside = companion_paths(parsed.cxi)[1]
    if not beside.is_file():
        raise FileNotFoundError(f"{beside} is not there: give the geometry that the run was found with (-g)")
    return read_geom(beside)


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


def read_mask(text: str) -> Any:
    """Read a mask from ``file.npy``, or from ``file.h5:/path``."""
    name, _, path = text.partition(":")
    if not Path(name).exists():
        raise FileNotFoundError(f"mask {name} does not exist")
    if name.endswith(".npy"):
        return read_npy(name)
    with open_hdf5(name) as file:
        if not path:
            raise ValueError(f"mask {name} needs the path of a dataset: {name}:/path")
        return read(get_dataset(file, path))


def open_inputs(parsed: argparse.Namespace, stop: list[int]) -> Source:
    """Source of the inputs, with the detector of the options; a stream ends when ``stop`` is no longer empty."""
    if is_stream(parsed.inputs):
        from ..sources.streams import open_stream

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


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add what is read, and the options that say how."""
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
