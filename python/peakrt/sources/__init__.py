"""Where events come from: CXI and HDF5 in any layout that a geometry describes, NXmx, event lists, image files, streams."""

from .open import Source, is_stream, open_source, source_files
from .readahead import read_ahead

__all__ = ["Source", "is_stream", "open_source", "read_ahead", "source_files"]
