"""Where events come from: CXI and HDF5 in any layout that a geometry describes, NXmx, event lists, image files."""

from .open import Source, open_source, source_files
from .readahead import read_ahead

__all__ = ["Source", "open_source", "read_ahead", "source_files"]
