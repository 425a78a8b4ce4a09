"""Pictures: frames with their peaks and resolution rings, contact sheets, powder patterns.

One cell of the assembled image is one pixel of the picture, or a whole number of them: nothing is resampled when it is
drawn, so a single bright pixel is never lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector
from peakrt_geometry.panels import HC_EV_M

from .assemble import Canvas, Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import FuncNorm
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

#: Resolutions, A, that a ring may be drawn at.
RINGS_A = (100.0, 50.0, 30.0, 20.0, 15.0, 10.0, 7.0, 5.0, 4.0, 3.5, 3.0, 2.5, 2.2, 2.0, 1.8, 1.6, 1.4, 1.2, 1.1, 1.0)
DPI = 100
PEAK, RING, MASKED, OUTSIDE = "#e3201b", "#1663c7", "#f5cf96", "#d5e3f2"
Positions = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Picture:
    """What is drawn of one event or powder.

    image, covered : (y, x) as :meth:`Canvas.assemble` gives them; cells of a panel that are NaN are drawn as masked
    peaks_mm : (n, 2) laboratory x and y of the peaks that get a circle
    camera_length_m, photon_energy_eV : for the rings, which are left out where one of them is not known
    unit : of the image
    """

    image: Image
    covered: npt.NDArray[np.bool_]
    title: str
    peaks_mm: Positions
    camera_length_m: float | None = None
    photon_energy_eV: float | None = None
    unit: str = "ADU"


@dataclass(frozen=True)
class Layout:
    """Sizes in pixels of the picture: most along the longer side of a frame, and what is left around each frame.

    Around a frame of more than 1,000 pixels everything grows with it, so that it can still be read when the whole is
    shown on a screen.
    """

    side: int
    left: int
    right: int
    top: int
    bottom: int
    font: float
    axes_in_mm: bool


ONE = Layout(side=2000, left=70, right=95, top=34, bottom=56, font=9, axes_in_mm=True)
MANY = Layout(side=440, left=12, right=66, top=26, bottom=10, font=7.5, axes_in_mm=False)
FEW = Layout(side=1100, left=70, right=90, top=34, bottom=56, font=9, axes_in_mm=True)
LEGEND_PX = 34


@dataclass(frozen=True)
class Scaled:
    """A layout for one canvas: pixels of the picture to a cell, and how much larger everything around it is."""

    layout: Layout
    canvas: Canvas

    @property
    def zoom(self) -> int:
        """Pixels of the picture along the edge of a cell."""
        return max(1, self.layout.side // max(self.canvas.shape))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame."""
        return self.canvas.shape[1] * self.zoom, self.canvas.shape[0] * self.zoom

    @property
    def scale(self) -> float:
        """Growth of letters, lines and margins."""
        return max(1.0, max(self.size) / 1000)

    @property
    def font(self) -> float:
        """Size of letters, points."""
        return self.layout.font * self.scale

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Left, right, top and bottom of a frame."""
        sides = self.layout.left, self.layout.right, self.layout.top, self.layout.bottom
        left, right, top, bottom = (round(side * self.scale) for side in sides)
        return left, right, top, bottom


def save_pictures(path: str | Path, canvas: Canvas, pictures: Sequence[Picture], layout: Layout) -> None:
    """Write one picture file with all the pictures in it; canvas : that they were made on, of the layout's side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    at = Scaled(layout, canvas)
    (width, height), (left, right, top, bottom) = at.size, at.margins
    columns = _columns(len(pictures))
    rows, legend = -(-len(pictures) // columns), round(LEGEND_PX * at.scale)
    cell = left + width + right, top + height + bottom
    total = columns * cell[0], rows * cell[1] + legend
    figure = Figure(figsize=(total[0] / DPI, total[1] / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)

    def add_axes(x: float, y: float, w: float, h: float) -> Axes:
        return figure.add_axes((x / total[0], y / total[1], w / total[0], h / total[1]))

    signs = set()
    for number, picture in enumerate(pictures):
        x = (number % columns) * cell[0] + left
        y = total[1] - (number // columns + 1) * cell[1] + bottom
        bar = add_axes(x + width + 8 * at.scale, y, 12 * at.scale, height)
        signs |= _draw(add_axes(x, y, width, height), bar, picture, at)
    _explain(figure, signs, at)
    figure.savefig(path, dpi=DPI)


def _columns(n: int) -> int:
    """Pictures in a row: about as many as rows, and few empty places."""
    least = int(np.ceil(np.sqrt(n)))
    return min(range(least, least + 3), key=lambda columns: -n % columns)


def _draw(axes: Axes, bar: Axes, picture: Picture, at: Scaled) -> set[str]:
    """Draw one picture into axes of exactly its size, and its intensity scale. Returns the signs used."""
    from matplotlib.colors import ListedColormap

    canvas = at.canvas
    image, covered = picture.image, picture.covered
    masked = covered & np.isnan(image)
    norm = contrast(image)
    how: dict[str, Any] = {"origin": "lower", "extent": canvas.extent_mm, "interpolation": "none"}
    axes.set_facecolor(OUTSIDE)
    shown = axes.imshow(image, cmap="Greys", norm=norm, **how)
    axes.imshow(np.ma.masked_where(~masked, masked), cmap=ListedColormap([MASKED]), **how)
    left, right, bottom, top = canvas.extent_mm
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="auto")
    signs = _draw_rings(axes, picture, at) | _draw_peaks(axes, picture.peaks_mm, at)
    signs |= {"masked"} if masked.any() else set()
    signs |= {"no detector"} if (~covered[1:-1, 1:-1]).any() else set()
    axes.set_title(_shorten(picture.title, at.size[0] / at.font), fontsize=at.font + 1, loc="left")
    axes.tick_params(labelsize=at.font)
    if at.layout.axes_in_mm:
        axes.set_xlabel("x / mm", fontsize=at.font)
        axes.set_ylabel("y / mm", fontsize=at.font)
    else:
        axes.set(xticks=[], yticks=[])
        _draw_scale(axes, at)
    _draw_colours(bar, shown, norm, image, picture.unit, at)
    return signs


def _draw_colours(bar: Axes, shown: AxesImage, norm: FuncNorm, image: Image, unit: str, at: Scaled) -> None:
    """The intensity scale; a pointed end says that some pixels are beyond it."""
    beyond = bool((image > (norm.vmax or 0.0)).any())
    scale = bar.figure.colorbar(shown, cax=bar, extend="max" if beyond else "neither", extendfrac=0.02)
    scale.set_label(unit, fontsize=at.font, labelpad=1)
    scale.ax.minorticks_off()
    whole = bool((image == np.rint(image))[np.isfinite(image)].all())
    ticks = [value for value in _ticks(norm) if not whole or value == round(value)]
    scale.ax.set_yticks(ticks, [_short(value) for value in ticks])
    scale.ax.tick_params(labelsize=at.font)


def contrast(image: Image) -> FuncNorm:
    """Grey scale of an image: asinh of the distance from the median.

    About linear over the spread of the background, so that rings and weak peaks are seen, and logarithmic above it, so
    that strong peaks differ from each other.
    """
    from matplotlib.colors import FuncNorm

    known = image[np.isfinite(image)]
    if not known.size:
        known = np.zeros(1, np.float32)
    lowest, q25, middle, q75, highest = (float(q) for q in np.percentile(known, [0.5, 25, 50, 75, 99.999]))
    above = known[known > middle]
    # Where most pixels count nothing the quartiles agree; the smallest step upwards is then one photon.
    width = (q75 - q25) / 1.349 or (float(above.min()) - middle if above.size else 1.0)
    # At 150 widths the background still has a quarter of the greys; below 6 noise would look like signal.
    high = min(max(highest, min(middle + 6 * width, float(known.max()))), middle + 150 * width)
    return FuncNorm(
        (lambda v: np.arcsinh((v - middle) / width), lambda t: np.sinh(t) * width + middle),
        vmin=lowest,
        vmax=high if high > lowest else lowest + width,
    )


def _ticks(norm: FuncNorm) -> list[float]:
    """Round values spread evenly over a scale, at least 6 % of it apart."""
    assert norm.vmin is not None
    assert norm.vmax is not None
    span = max(abs(norm.vmin), abs(norm.vmax))
    decades = 10.0 ** np.arange(np.floor(np.log10((norm.vmax - norm.vmin) / 100)), np.ceil(np.log10(span)) + 1)
    tens = np.concatenate([[0.0], *(np.array([1, 2, 5]) * d for d in decades)])
    values = np.union1d(tens, -tens)
    kept: list[float] = []
    for value in sorted(values[(values >= norm.vmin) & (values <= norm.vmax)], key=_roundness):
        if all(abs(float(norm(value)) - float(norm(other))) > 0.06 for other in kept):
            kept.append(float(value) + 0.0)  # never -0.0
    return sorted(kept)


def _roundness(value: float) -> tuple[bool, bool, float]:
    """Sorts 0 before powers of ten before the rest."""
    exponent = np.log10(abs(value)) if value else 0.0
    return value != 0, abs(exponent - round(exponent)) > 1e-9, -abs(value)


def _short(value: float) -> str:
    """1000000 as 1M, 20000 as 20k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / min(size, 1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}"


def _shorten(text: str, length: float) -> str:
    """A text with its middle left out where it has more letters than that."""
    n = max(16, int(length))
    return text if len(text) <= n else f"{text[: n // 3]} ... {text[-(n - n // 3 - 5) :]}"


def _draw_peaks(axes: Axes, peaks_mm: Positions, at: Scaled) -> set[str]:
    """Circles around peaks: wide enough for the peak inside, smaller, thinner and paler where they crowd."""
    if not len(peaks_mm):
        return set()
    # Circles that cover 6 % of the picture leave the frame visible.
    wanted = np.sqrt(0.06 * at.size[0] * at.size[1] / len(peaks_mm) * 4 / np.pi)
    least = max(6.0, 6 * at.zoom / at.canvas.factor)  # the inside of a circle holds a peak of four pixels
    most = max(least, 10.0, 0.014 * max(at.size))
    diameter = float(np.clip(wanted, least, most))
    crowd = min(1.0, wanted / diameter)
    axes.scatter(
        peaks_mm[:, 0],
        peaks_mm[:, 1],
        s=(diameter * 72 / DPI) ** 2,
        facecolors="none",
        edgecolors=PEAK,
        linewidths=(0.35 + 0.45 * crowd) * at.scale,
        alpha=0.45 + 0.45 * crowd,
    )
    return {"peak"}


def _draw_rings(axes: Axes, picture: Picture, at: Scaled) -> set[str]:
    """Rings of resolution with their labels, and a cross where the beam goes through."""
    from matplotlib.patches import Circle

    left, right, bottom, top = at.canvas.extent_mm
    pixel_mm = at.canvas.cell_m * 1e3 / at.zoom
    angle = np.deg2rad((np.arange(360) + 45) % 360)  # the label stands at the first angle inside: upper right
    taken, signs = 0.0, set()
    for d, radius in rings_mm(at.canvas.detector, picture.camera_length_m, picture.photon_energy_eV):
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        room = 2.5 * at.font * pixel_mm
        inside = (x > left + room) & (x < right - room) & (y > bottom + room) & (y < top - room)
        if radius - taken < max(5 * at.font, max(at.size) / 16) * pixel_mm or inside.sum() < 10:
            continue
        taken = radius
        signs.add("resolution")
        circle = Circle((0, 0), radius, fill=False, lw=0.7 * at.scale, ls=(0, (5, 4)), ec=RING, alpha=0.8)
        axes.add_patch(circle)
        label = int(np.argmax(inside))
        _label(axes, x[label], y[label], f"{d:g} Å", at.font, ha="center", va="center")
    if left < 0 < right and bottom < 0 < top:
        axes.plot(0, 0, marker="+", ms=11 * at.scale, mew=3.2 * at.scale, color="white")
        axes.plot(0, 0, marker="+", ms=10 * at.scale, mew=1.3 * at.scale, color=RING)
        signs.add("beam centre")
    return signs


def rings_mm(detector: Detector, length: float | None, energy: float | None) -> list[tuple[float, float]]:
    """Resolution, A, and radius, mm, of each ring in reach of less than 90 degrees; none without length and energy.

    length : camera length, m; energy : photon energy, eV
    """
    if not length or not energy:
        return []
    offset = float(np.median([panel.corner_m[2] for panel in detector.panels]))
    sines = [(d, HC_EV_M / energy * 1e10 / (2 * d)) for d in RINGS_A]
    return [(d, (length + offset) * 1e3 * np.tan(2 * np.arcsin(s))) for d, s in sines if s < np.sin(np.pi / 4)]


def _draw_scale(axes: Axes, at: Scaled) -> None:
    """A bar of a round length in the lower left corner."""
    left, right, bottom, top = at.canvas.extent_mm
    wanted = (right - left) / 5
    decade = 10 ** np.floor(np.log10(wanted))
    length = decade * max(n for n in (1, 2, 5) if n * decade <= wanted)
    x, y = left + 0.04 * (right - left), bottom + 0.04 * (top - bottom)
    axes.plot([x, x + length], [y, y], color="white", lw=4.5, solid_capstyle="butt")
    axes.plot([x, x + length], [y, y], color="black", lw=2, solid_capstyle="butt")
    _label(
        axes,
        x + length / 2,
        y + 0.012 * (top - bottom),
        f"{length:g} mm",
        at.font,
        "black",
        ha="center",
        va="bottom",
    )


def _label(axes: Axes, x: float, y: float, text: str, size: float, color: str = RING, **how: str) -> None:
    from matplotlib.patheffects import withStroke

    effects = [withStroke(linewidth=2.5, foreground="white")]
    axes.text(x, y, text, fontsize=size, color=color, path_effects=effects, clip_on=True, **how)  # type: ignore[arg-type]


def _explain(figure: Figure, signs: set[str], at: Scaled) -> None:
    """One line under everything: what the signs and colours mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: dict[str, Line2D | Patch] = {
        "peak": Line2D([], [], ls="", marker="o", mfc="none", mec=PEAK, ms=6 * at.scale),
        "beam centre": Line2D([], [], ls="", marker="+", ms=8 * at.scale, mew=at.scale, color=RING),
        "resolution": Line2D([], [], lw=at.scale, ls=(0, (5, 4)), color=RING),
        "masked": Patch(color=MASKED),
        "no detector": Patch(color=OUTSIDE),
    }
    used = [name for name in handles if name in signs]
    figure.legend(
        [handles[name] for name in used], used, loc="lower center", ncols=len(handles), frameon=False,
        fontsize=max(9.0, at.font), borderaxespad=0.5, columnspacing=1.5, handletextpad=0.5,
    )  # fmt: skip
