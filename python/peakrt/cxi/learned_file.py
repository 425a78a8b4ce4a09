"""What an earlier run learned of a detector, in a file: the gain and the bad pixels.

``peakrt learn`` writes such a file, and each CXI of ``peakrt find`` holds the same datasets. Where one is given nothing
more is learned, so that peaks depend neither on the number of threads or ranks nor on which events each of them gets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from ..config import Config
from ..finders.bad_pixels import COUNTED_PIXEL
from ..finders.learned import LearnedState
from ..hdf5_items import find_dataset, number_type, open_hdf5, read, shape_of
from .columns import BAD_PIXELS, FILE_FORMAT, GAIN, PROVENANCE
from .outputs import whole_file

#: More bad pixels than a detector of 16 megapixels can have and still be of use; read before memory is taken.
_MOST = 1 << 22
AnyConfig = TypeVar("AnyConfig", bound=Config)


@dataclass(frozen=True)
class LearnedFile:
    """Gain (ADU a photon, None if it was not known) and bad pixels: (n, 2) ss and fs in the slab of stacked panels.

    name : what error messages call it
    """

    name: str
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
                f"{self.name} has a bad pixel at ss {ss[outside][0]}, fs {fs[outside][0]}, which is not in "
                f"frames of shape {shape}: it is of another detector"
            )
        here = (ss >= 0) & (ss < height)
        good[ss[here], fs[here]] = False
        return good.reshape(shape)

    def state(self, shape: tuple[int, ...], gain: float | None) -> LearnedState:
        """The same as a finder's state, so that a CXI of this run passes the bad pixels on; gain : the one in force."""
        pixels = np.flatnonzero(~self.good(shape))
        rows = np.zeros(len(pixels), COUNTED_PIXEL)
        rows["pixel"], rows["bad"] = pixels, 1
        return LearnedState(gain, 0, rows)

    def fix(self, config: AnyConfig, gain: float | None) -> AnyConfig:
        """Options of a finder with which it learns nothing from frames.

        gain : that of the geometry, in force where the options and this file have none
        Raises ValueError where nothing says the gain.
        """
        names = {item.name for item in fields(config)}
        fixed: dict[str, Any] = {"bad_pixels": "keep"} if "bad_pixels" in names else {}
        if "gain" in names:
            offers = (getattr(config, "gain", None), self.gain, gain)
            fixed["gain"] = next((offer for offer in offers if offer is not None), None)
            if fixed["gain"] is None:
                raise ValueError(f"{self.name} holds no gain: learn from more events, or give the gain with --gain")
        return replace(config, **fixed)


def read_learned(path: Path, *, said_by: str = "") -> LearnedFile:
    """Read gain and bad pixels of a file. Raises OSError if it cannot be opened, ValueError if it does not hold them.

    said_by : the setting that named the file, for messages
    """
    name = f"{said_by}: {path}" if said_by else str(path)
    if not path.is_file():
        raise FileNotFoundError(f"{name} does not exist")
    try:
        with open_hdf5(path) as file:
            gain, bad = find_dataset(file, GAIN), find_dataset(file, BAD_PIXELS)
            if gain is None or bad is None or not _is_number(gain) or not _is_list(bad):
                raise ValueError(f"{path} should hold {GAIN}, a number, and {BAD_PIXELS}, (n, 2) integers")
            value = float(read(gain))
            pixels = read(bad).astype(np.int64)
        if (pixels < 0).any():
            raise ValueError(f"{path} has a bad pixel at a negative position")
    except (OSError, ValueError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{said_by}: {error}" if said_by else str(error)) from error
    return LearnedFile(name, value if 0 < value < np.inf else None, pixels)


def write_learned(path: Path, state: LearnedState, width: int, provenance: Mapping[str, Any]) -> None:
    """Write what a finder has learned, whole or not at all; width : of its frames' slab, pixels."""
    with whole_file(path) as started, h5py.File(started, "w", libver=FILE_FORMAT) as file:
        file[GAIN] = np.float64(np.nan if state.gain is None else state.gain)
        file[BAD_PIXELS] = state.bad_pixels(width)
        file[PROVENANCE].attrs["run"] = json.dumps(provenance, sort_keys=True, default=str)


def _is_number(dataset: h5py.Dataset) -> bool:
    return shape_of(dataset) == () and number_type(dataset).kind == "f"


def _is_list(dataset: h5py.Dataset) -> bool:
    shape = shape_of(dataset)
    return len(shape) == 2 and shape[1] == 2 and shape[0] <= _MOST and number_type(dataset).kind in "iu"
