"""``peakrt engine``: TensorRT engines, built beforehand, listed or removed."""

from __future__ import annotations

import argparse
from typing import Any

from .options import take_geometry
from .program import add_command


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("engine", help="TensorRT engines: build them beforehand, list or remove them")
    what = parser.add_subparsers(required=True, metavar="what")
    build = add_command(
        what, "build", _build_engines, help="build the engines that a job will want, or check that they can be"
    )
    build.add_argument(
        "models", nargs="*", metavar="MODEL", help="files, or names of shipped ones [all that are shipped]"
    )
    build.add_argument(
        "-g", "--geometry", help="of the detector: the engines of segmentation models are for its panels"
    )
    add_command(what, "list", _list_engines, help="list the engines of the cache")
    add_command(what, "clear", _clear_engines, help="remove all engines of the cache")


def _build_engines(parsed: argparse.Namespace) -> int:
    from ..gpu.segmentation import engine_shape
    from ..models.engine_tensorrt import build_engine, built_for, get_engine, load_tensorrt
    from ..models.model_file import load_model, shipped_models

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
    from ..models.engine_cache import cache_folder, entries

    found = entries()
    for entry in found:
        what = ", ".join(f"{name} {value}" for name, value in entry.built_for.items())
        print(f"{entry.path.name}  {entry.size >> 10} KiB  {what}")
    print(f"{len(found)} engines in {cache_folder()}")
    return 0


def _clear_engines(parsed: argparse.Namespace) -> int:
    from ..models.engine_cache import cache_folder, clear

    print(f"removed {clear()} files from {cache_folder()}")
    return 0
