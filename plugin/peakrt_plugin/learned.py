"""What an earlier run learned of a detector: the gain and the bad pixels that a CXI of peakrt find holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from peakrt.cxi.columns import BAD_PIXELS, GAIN

#: More bad pixels than a detector of 16 megapixels can have and still be of use; read before memory is taken.
_MOST = 1 << 22


@dataclass(frozen=True)
class Learned:
    """Gain (ADU a photon, None if it was not known) and bad pixels: (n, 2) ss and fs in the slab of stacked panels."""

    path: Path
    gain: float | None
    bad_pixels: npt.NDArray[np.int64]

    def good(self, shape: tuple[int, ...], segment: int | None = None) -> npt.NDArray[np.bool_]:
        """Mask of frames of a shape (panel, ss, fs), True = good; segment : which of the detector's, for frames of one.

        Raises ValueError for a bad pixel that is not on the detector.
        """
        height, width = int(np.prod(shape[:-1])), shape[-1]
        good = np.ones((height, width), bool)
        ss, fs = self.bad_pixels[:, 0] - (segment or 0) * height, self.bad_pixels[:, 1]
        outside = (fs >= width) | ((ss >= height) & (segment is None))
        if outside.any():
            raise ValueError(
                f"PEAKRT_LEARNED: {self.path} has a bad pixel at ss {ss[outside][0]}, fs {fs[outside][0]}, which is not in "
                f"frames of shape {shape}: it is of another detector"
            )
        here = (ss >= 0) & (ss < height)
        good[ss[here], fs[here]] = False
        return good.reshape(shape)


def read_learned(path: Path) -> Learned:
    """Read gain and bad pixels of a CXI. Raises OSError if it cannot be opened, ValueError if it does not hold them."""
    if not path.is_file():
        raise FileNotFoundError(f"PEAKRT_LEARNED: {path} does not exist")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise OSError(f"PEAKRT_LEARNED: {path} is not a readable HDF5 file: {str(error).splitlines()[0]}") from error
    with file:
        gain, bad = (file.get(name) for name in (GAIN, BAD_PIXELS))
        if not _is_number(gain) or not _is_list(bad):
            raise ValueError(f"PEAKRT_LEARNED: {path} should hold {GAIN}, a number, and {BAD_PIXELS}, (n, 2) integers")
        value = float(gain[()])
        pixels = bad[:].astype(np.int64)
    if (pixels < 0).any():
        raise ValueError(f"PEAKRT_LEARNED: {path} has a bad pixel at a negative position")
    return Learned(path, value if 0 < value < np.inf else None, pixels)


def _is_number(dataset: object) -> bool:
    return isinstance(dataset, h5py.Dataset) and dataset.shape == () and dataset.dtype.kind == "f"


def _is_list(dataset: object) -> bool:
    return (
        isinstance(dataset, h5py.Dataset)
        and dataset.ndim == 2
        and dataset.shape[1] == 2
        and dataset.shape[0] <= _MOST
        and dataset.dtype.kind in "iu"
    )
