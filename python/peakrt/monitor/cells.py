"""Frames as small pictures: which pixels each cell of a picture takes, and the picture as a grey PNG.

A cell takes the brightest of its pixels, as the pictures of ``peakrt view`` do, so no peak is lost. A PNG is what every
browser reads without a program of ours, in the live page as in the report.
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from ..pictures.assemble import Canvas, Image

#: Cells along the longer side of a picture: four of them and the rest of a report stay below 2 MB.
SIDE = 600
#: Grey levels of a picture; level 0 is where there is no good pixel.
_LEVELS = 254


class Cells:
    """The cells of a picture of a detector, seen from the sample, x to the right, y up, row 0 at the top.

    shape : cells along y and x
    """

    def __init__(self, detector: Detector, side: int = SIDE) -> None:
        self._canvas = canvas = Canvas(detector, side)
        self.shape, self.cell_m, self.factor = canvas.shape, canvas.cell_m, canvas.factor
        of_pixel = canvas.cell_of_pixels()
        self._of_pixel = of_pixel
        pixels = np.flatnonzero(of_pixel.ravel() >= 0).astype(np.int32)
        cells = of_pixel.ravel()[pixels]
        holes = canvas.pixels_of_holes(of_pixel)
        pixels, cells = np.concatenate([pixels, holes[0]]), np.concatenate([cells, holes[1]])
        order = np.argsort(cells, kind="stable")
        self._order = pixels[order]
        self._cells, self._starts = np.unique(cells[order], return_index=True)

    def assemble(self, frame: npt.NDArray[Any], good: npt.NDArray[np.bool_]) -> Image:
        """Brightest good pixel of each cell, NaN where there is none: (y, x) float32. frame, good : (panel, ss, fs)"""
        values = frame.reshape(-1)[self._order].astype(np.float32)
        with np.errstate(invalid="ignore"):
            values[~good.reshape(-1)[self._order] | ~np.isfinite(values)] = -np.inf
        image = np.full(self.shape, np.nan, np.float32)
        image.reshape(-1)[self._cells] = np.maximum.reduceat(values, self._starts)
        image[np.isneginf(image)] = np.nan
        return image[::-1]

    def of_peaks(self, peaks: npt.NDArray[np.void]) -> npt.NDArray[np.int32]:
        """Cell of each peak's pixel, counted from the bottom row, -1 off the panels. peaks : PEAK"""
        return self._of_pixel[nearest_pixels(peaks, self._of_pixel.shape)]

    def counts(self, cells: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """How many of these cells, from of_peaks, there are of each: (y, x), row 0 at the top."""
        n = self.shape[0] * self.shape[1]
        return np.bincount(cells[cells >= 0], minlength=n).reshape(self.shape)[::-1].astype(np.float64)

    def place(self, x_m: npt.ArrayLike, y_m: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Column and row of laboratory positions, counted from the outer corner of the picture's first cell."""
        left, _, _, top = self._canvas.extent_mm
        return (np.asarray(x_m) - left * 1e-3) / self.cell_m, (top * 1e-3 - np.asarray(y_m)) / self.cell_m


def nearest_pixels(peaks: npt.NDArray[np.void], shape: tuple[int, ...]) -> tuple[npt.NDArray[np.intp], ...]:
    """Panel, ss and fs of the pixel that holds each peak's centroid, within a frame of a shape."""
    places = peaks["panel"], np.rint(peaks["ss"]), np.rint(peaks["fs"])
    with np.errstate(invalid="ignore"):
        return tuple(np.clip(np.nan_to_num(p), 0, n - 1).astype(np.intp) for p, n in zip(places, shape, strict=True))


def as_picture(image: npt.NDArray[Any]) -> dict[str, Any]:
    """A picture for the page: a grey PNG in base64, and what its levels mean.

    image : (y, x), NaN where there is nothing
    Level v > 0 stands for middle + step * sinh(low + (v - 1) * slope): about linear over the spread of the background,
    logarithmic above, to 2 or 3 % of the value.
    """
    known = image[np.isfinite(image)].astype(np.float64)
    if not len(known):
        known = np.zeros(1)
    middle = float(np.median(known))
    spread = 1.4826 * float(np.median(np.abs(known - middle)))
    step = 3 * spread if spread > 0 else max(float(known.std()), 1e-6)
    low, high = (float(np.arcsinh((edge - middle) / step)) for edge in (known.min(), known.max()))
    slope = (high - low) / _LEVELS or 1.0
    with np.errstate(invalid="ignore"):
        levels = np.rint((np.arcsinh((image - middle) / step) - low) / slope) + 1
    grey = np.nan_to_num(levels, nan=0).astype(np.uint8)
    return {
        "png": base64.b64encode(_png(grey)).decode(),
        "width": image.shape[1],
        "height": image.shape[0],
        "scale": {"middle": middle, "step": step, "low": low, "slope": slope},
    }


def _png(grey: npt.NDArray[np.uint8]) -> bytes:
    """A grey picture (y, x) as a PNG file (ISO/IEC 15948)."""
    height, width = grey.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each begins with its filter: none
    lines[:, 1:] = grey

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(lines.tobytes(), 6))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")
