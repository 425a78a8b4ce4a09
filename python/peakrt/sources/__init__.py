"""Where events come from: CXI and HDF5 in any layout that a geometry describes, NXmx, event lists, image files, streams."""

from ..contracts import Source, Stream
from .open import is_stream, open_source
from .readahead import PAUSE_S, read_ahead

__all__ = ["PAUSE_S", "Source", "Stream", "is_stream", "open_source", "read_ahead"]
