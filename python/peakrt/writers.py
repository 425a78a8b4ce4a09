"""The output formats, by the ending of the output's name, in one list.

To add one: a module with a class that is a :class:`peakrt.contracts.Writer` and takes what CxiWriter takes; and its entry in
``WRITERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .contracts import Writer
from .cxi.writer import CxiWriter

#: Makes a writer, given path, detector and the keywords of CxiWriter.
WRITERS: dict[str, Callable[..., Writer]] = {".cxi": CxiWriter, ".h5": CxiWriter, ".hdf5": CxiWriter}


def open_writer(path: Path, *arguments: Any, **options: Any) -> Writer:
    """A writer for an output; a name with an ending that is in no list is a CXI.

    Raises what the writer raises.
    """
    return WRITERS.get(path.suffix, CxiWriter)(path, *arguments, **options)
