"""Pictures: a frame with its peaks and resolution rings, and a contact sheet of hits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector
from peakrt_geometry.panels import HC_EV_M

from .event import Event
from .peaks import PeakArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RINGS_A = (20.0, 10.0, 7.0, 5.0, 4.0, 3.0, 2.5, 2.0, 1.7, 1.5, 1.2, 1.0)


def assemble(
    detector: Detector, frame: npt.NDArray[Any], good: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], tuple[float, float, float]]:
    """Frame as seen from the sample's side, NaN where nothing is: image (y, x), and x0, y0, step in mm.

    Every pixel goes to the nearest of an even grid; for looking only.
    """
    size = detector.panels[0].pixel_size_m
    on = detector.covered
    x, y = detector.x_m[on] / size, detector.y_m[on] / size
    column, row = np.rint(x - x.min()).astype(int), np.rint(y - y.min()).astype(int)
    image = np.full((row.max() + 1, column.max() + 1), np.nan, np.float32)
    image[row, column] = np.where(good[on], frame[on].astype(np.float32), np.nan)
    step = size * 1e3
    return image, ((float(x.min()) - 0.5) * step, (float(y.min()) - 0.5) * step, step)


def shrink(image: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """Maximum of each factor x factor block, so that peaks stay visible."""
    if factor == 1:
        return image
    rows, columns = image.shape[0] // factor, image.shape[1] // factor
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return np.fmax.reduce(np.fmax.reduce(blocks, axis=3), axis=1)


def caption(event: Event, peaks: PeakArray) -> str:
    """File, event and number of peaks."""
    return f"{Path(event.file).name} {event.name}".strip() + f": {len(peaks)} peaks"


def draw_event(
    axes: Axes,
    detector: Detector,
    event: Event,
    peaks: PeakArray,
    good: npt.NDArray[np.bool_],
    *,
    pixels: int,
    rings: bool = True,
) -> None:
    """Draw a frame, its peaks as circles, and rings of resolution where camera length and energy are known."""
    image, (x0, y0, step) = assemble(detector, event.frame, good)
    factor = max(1, max(image.shape) // pixels)
    small = shrink(image, factor)
    known = small[np.isfinite(small)]
    low, high = np.percentile(known, [5, 99.7]) if known.size else (0.0, 1.0)
    extent = (x0, x0 + image.shape[1] * step, y0, y0 + image.shape[0] * step)
    axes.set_facecolor("0.75")
    axes.imshow(
        small,
        cmap="Greys",
        vmin=low,
        vmax=max(high, low + 1),
        origin="lower",
        extent=extent,
        interpolation="nearest",
    )
    x, y, _ = detector.lab_position_m(peaks["panel"], peaks["ss"], peaks["fs"])
    axes.scatter(
        x * 1e3,
        y * 1e3,
        s=26 * (pixels / 1000) ** 2 + 6,
        facecolors="none",
        edgecolors="tab:red",
        linewidths=0.7,
    )
    if rings:
        _draw_rings(axes, detector, event, extent)
    axes.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")


def _draw_rings(axes: Axes, detector: Detector, event: Event, extent: tuple[float, float, float, float]) -> None:
    length, energy = event.camera_length_m, event.photon_energy_eV
    if not length or not energy:
        return
    offset = float(np.median([panel.corner_m[2] for panel in detector.panels]))
    wavelength_A = HC_EV_M / energy * 1e10
    angle = np.linspace(0, 2 * np.pi, 361)
    reach = max(abs(v) for v in extent)
    for d in RINGS_A:
        if wavelength_A / (2 * d) >= np.sin(np.pi / 4):
            continue
        radius_mm = (length + offset) * 1e3 * np.tan(2 * np.arcsin(wavelength_A / (2 * d)))
        if radius_mm < reach:
            axes.plot(radius_mm * np.cos(angle), radius_mm * np.sin(angle), lw=0.5, ls="--", color="tab:blue")
            axes.text(0, radius_mm, f"{d:g} Å", fontsize=7, color="tab:blue", ha="center", va="bottom", clip_on=True)


def save_picture(
    path: str | Path, detector: Detector, event: Event, peaks: PeakArray, good: npt.NDArray[np.bool_]
) -> None:
    """Write a picture of one event."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 10), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw_event(axes, detector, event, peaks, good, pixels=1000)
    axes.set(xlabel="x / mm", ylabel="y / mm", title=caption(event, peaks))
    figure.savefig(path, dpi=110)


def save_sheet(
    path: str | Path, detector: Detector, hits: Sequence[tuple[Event, PeakArray, npt.NDArray[np.bool_]]]
) -> None:
    """Write a contact sheet of events."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(4, len(hits))
    rows = -(-len(hits) // columns)
    figure = Figure(figsize=(4 * columns, 4.3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(hits) :]:
        axes.set_visible(False)
    for axes, (event, peaks, good) in zip(grid.flat, hits, strict=False):
        draw_event(axes, detector, event, peaks, good, pixels=380, rings=False)
        axes.set(xticks=[], yticks=[])
        axes.set_title(caption(event, peaks), fontsize=9)
    figure.savefig(path, dpi=100)
