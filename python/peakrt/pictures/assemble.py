"""A frame as an image: the panels where they stand in the laboratory, for looking only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector, Panel

Image = npt.NDArray[np.float32]
_PIXELS_AT_ONCE = 2**20  # whose cells are worked out in one go: 24 MB


@dataclass(frozen=True)
class Canvas:
    """An even grid of square cells over a detector, seen from the sample, x to the right and y up.

    side : most cells along the longer side. A cell is as large as the smallest pixel of the detector, or a whole
    number of them, so that every cell of a panel holds the same number of pixels.
    """

    detector: Detector
    side: int

    @cached_property
    def pixel_m(self) -> float:
        """Edge of the smallest pixel."""
        steps = [np.linalg.norm(step) for panel in self.detector.panels for step in (panel.fs_m, panel.ss_m)]
        return float(min(steps))

    @cached_property
    def _bounds_m(self) -> tuple[float, float, float, float]:
        """Lowest x and y, highest x and y of the panels' corners."""
        corners = np.concatenate([_corners(panel) for panel in self.detector.panels])
        low, high = corners.min(axis=0), corners.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @cached_property
    def factor(self) -> int:
        """Pixels along the edge of a cell."""
        x0, y0, x1, y1 = self._bounds_m
        # Two cells less, because a panel's corner may be moved outwards to the border of a cell.
        return max(1, int(np.ceil(max(x1 - x0, y1 - y0) / self.pixel_m / max(1, self.side - 2))))

    @property
    def cell_m(self) -> float:
        """Edge of a cell."""
        return self.pixel_m * self.factor

    @property
    def shape(self) -> tuple[int, int]:
        """Cells along y and x; a border of one cell lies around the panels."""
        x0, y0, x1, y1 = self._bounds_m
        return int(np.ceil((y1 - y0) / self.cell_m - 1e-6)) + 2, int(np.ceil((x1 - x0) / self.cell_m - 1e-6)) + 2

    @property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge, as matplotlib's imshow wants them."""
        x0, y0 = self._bounds_m[0] - self.cell_m, self._bounds_m[1] - self.cell_m
        rows, columns = self.shape
        return x0 * 1e3, (x0 + columns * self.cell_m) * 1e3, y0 * 1e3, (y0 + rows * self.cell_m) * 1e3

    def assemble(self, frame: npt.NDArray[Any], good: npt.NDArray[np.bool_]) -> tuple[Image, npt.NDArray[np.bool_]]:
        """Brightest good pixel of each cell (NaN where there is none), and which cells are on a panel: (y, x).

        frame, good : (panel, ss, fs)
        Every pixel counts in the cell of its centre, so none is lost. A cell of a panel that no centre falls into,
        as rotated panels and wide pixels have them, takes the pixel that covers its own centre.
        """
        image = np.full(self.shape, -np.inf, np.float32)
        covered = np.zeros(self.shape, bool)
        for asic, (panel, min_ss, end_ss, min_fs, end_fs) in zip(
            self.detector.panels, self.detector.asics, strict=True
        ):
            tile = (panel, slice(min_ss, end_ss), slice(min_fs, end_fs))
            values = np.where(good[tile] & np.isfinite(frame[tile]), frame[tile], -np.inf).astype(np.float32)
            self._put(asic, values, image, covered)
        image[np.isneginf(image)] = np.nan
        return image, covered

    def cell_of_pixels(self) -> npt.NDArray[np.int32]:
        """Cell that holds each pixel's centre: (panel, ss, fs), row by row from the bottom, -1 off the panels."""
        cells = np.full(self.detector.shape, -1, np.int32)
        for asic, (panel, min_ss, end_ss, min_fs, end_fs) in zip(
            self.detector.panels, self.detector.asics, strict=True
        ):
            corner, steps = self._placed(asic)
            ss, fs = (np.arange(n) + 0.5 for n in asic.shape)
            row = np.floor(corner[1] + ss[:, None] * steps[0, 1] + fs * steps[1, 1])
            column = np.floor(corner[0] + ss[:, None] * steps[0, 0] + fs * steps[1, 0])
            cells[panel, min_ss:end_ss, min_fs:end_fs] = row * self.shape[1] + column
        return cells

    def pixels_of_holes(self, cells: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Pixels, by their place in the frame, that cover cells of a panel which hold no centre, and those cells.

        cells : of cell_of_pixels
        """
        covered = np.zeros(self.shape, bool)
        covered.reshape(-1)[cells[cells >= 0]] = True
        found: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
        for asic, (panel, min_ss, _, min_fs, _) in zip(self.detector.panels, self.detector.asics, strict=True):
            corner, steps = self._placed(asic)
            if abs(np.linalg.det(steps)) > 1e-3:  # an ASIC seen edge-on has no inside
                row, column, ss, fs = _holes(corner, steps, asic.shape, covered)
                pixels = np.ravel_multi_index((np.full_like(ss, panel), ss + min_ss, fs + min_fs), cells.shape)
                found.append((pixels, row * self.shape[1] + column))
                covered[row, column] = True
        found.append((np.zeros(0, np.intp), np.zeros(0, np.intp)))
        return (
            np.concatenate([pixels for pixels, _ in found]).astype(np.int32),
            np.concatenate([holes for _, holes in found]).astype(np.int32),
        )

    def _put(self, panel: Panel, values: Image, image: Image, covered: npt.NDArray[np.bool_]) -> None:
        corner, steps = self._placed(panel)
        n_ss, n_fs = values.shape
        fs = np.arange(n_fs)[None, :] + 0.5
        lines = max(1, _PIXELS_AT_ONCE // n_fs)
        for start in range(0, n_ss, lines):
            block = values[start : start + lines]
            ss = np.arange(start, start + len(block))[:, None] + 0.5
            row = np.floor(corner[1] + ss * steps[0, 1] + fs * steps[1, 1]).astype(np.intp)
            column = np.floor(corner[0] + ss * steps[0, 0] + fs * steps[1, 0]).astype(np.intp)
            index = (row * self.shape[1] + column).ravel()
            np.maximum.at(image.reshape(-1), index, block.ravel())
            covered.reshape(-1)[index] = True
        if abs(np.linalg.det(steps)) > 1e-3:  # a panel seen edge-on has no inside
            self._fill(corner, steps, values, image, covered)

    def _fill(
        self,
        corner: npt.NDArray[np.float64],
        steps: npt.NDArray[np.float64],
        values: Image,
        image: Image,
        covered: npt.NDArray[np.bool_],
    ) -> None:
        """Give the cells of a panel that have no pixel's centre the pixel that covers theirs."""
        row, column, ss, fs = _holes(corner, steps, values.shape, covered)
        image[row, column] = values[ss, fs]
        covered[row, column] = True

    def _placed(self, panel: Panel) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Corner of a panel in cells, moved to the nearest border of a cell, and its steps along ss and fs.

        So the pixels of a panel that lies straight fill its cells evenly, wherever it stands.
        """
        origin = np.array([self.extent_mm[0], self.extent_mm[2]]) * 1e-3
        exact = (np.array(panel.corner_m[:2]) - origin) / self.cell_m
        steps = np.array([panel.ss_m[:2], panel.fs_m[:2]]) / self.cell_m
        # Not 0.5: corners of ideal geometries stand at exactly half a cell and should all go the same way.
        return np.floor(exact + 0.45), steps

    def count(self, positions_mm: npt.NDArray[np.float64]) -> tuple[Image, float]:
        """Number of positions (n, 2) in square bins, given to each cell of the bin: (y, x); and a bin's edge in mm.

        A bin is a number of cells: so many that one holds a position or two where they are spread evenly.
        """
        rows, columns = self.shape
        step = int(np.clip(np.sqrt(rows * columns / max(1, len(positions_mm))), 1, 8))
        bins = -(-rows // step), -(-columns // step)
        left, _, bottom, _ = self.extent_mm
        edge = self.cell_m * 1e3 * step
        limits = (bottom, bottom + bins[0] * edge), (left, left + bins[1] * edge)
        counts, _, _ = np.histogram2d(positions_mm[:, 1], positions_mm[:, 0], bins=bins, range=limits)
        cells = counts.astype(np.float32).repeat(step, axis=0).repeat(step, axis=1)
        return cells[:rows, :columns], edge


def _holes(
    corner: npt.NDArray[np.float64],
    steps: npt.NDArray[np.float64],
    shape: tuple[int, ...],
    covered: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row and column of the cells of a panel that are not covered yet, ss and fs of the pixel that covers their centre.

    corner, steps : of :meth:`Canvas._placed`; shape : pixels of the panel along ss and fs
    """
    ends = corner + np.array([(a * shape[0], b * shape[1]) for a in (0, 1) for b in (0, 1)]) @ steps
    (left, top), (right, bottom) = np.floor(ends.min(axis=0)).astype(int), np.ceil(ends.max(axis=0)).astype(int)
    row, column = np.nonzero(~covered[top:bottom, left:right])
    row, column = row + top, column + left
    centre = np.stack([column + 0.5 - corner[0], row + 0.5 - corner[1]], axis=-1)
    ss, fs = np.floor(centre @ np.linalg.inv(steps)).astype(np.intp).T
    on = (ss >= 0) & (ss < shape[0]) & (fs >= 0) & (fs < shape[1])
    return row[on], column[on], ss[on], fs[on]


def _corners(panel: Panel) -> npt.NDArray[np.float64]:
    """Laboratory x and y of the four corners of a panel, metres."""
    n_ss, n_fs = panel.shape
    corner, ss, fs = (np.array(v[:2]) for v in (panel.corner_m, panel.ss_m, panel.fs_m))
    return np.array([corner + a * n_ss * ss + b * n_fs * fs for a in (0, 1) for b in (0, 1)])
