"""The indexamajig command that fits what was written."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..filters import plugin_folder
from .outputs import companion_paths


def index_command(cxi: Path, images: str, hits: Path | None = None) -> str:
    """Command that indexes a CXI of ours by the .lst and .geom beside it, as any CrystFEL takes it.

    hits : another list of its hits, whose name the stream then has
    Asdf is part of CrystFEL wherever FFTW is; other indexers may be missing, and indexamajig stops where one that is
    named is. Without --no-check-cell it warns that it knows no cell. For lz4 images HDF5 is told where the filter is.
    """
    all_hits, geometry = companion_paths(cxi)
    hits = hits or all_hits
    lst, geom, stream = (shlex.quote(str(path)) for path in (hits, geometry, hits.with_suffix(".stream")))
    plugins = f"HDF5_PLUGIN_PATH={shlex.quote(plugin_folder())} " if images == "lz4" else ""
    command = f"indexamajig -i {lst} -g {geom} --peaks=cxi --indexing=asdf --no-check-cell -j $(nproc) -o {stream}"
    return plugins + command
