"""What an input is: lines of text for ``peakrt info``."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from pathlib import Path

import h5py
import numpy as np

from peakrt_geometry import Detector, HeaderValue, read_geom

from .columns import N_PEAKS, PROGRESS, PROVENANCE
from .finder import PeakFinder
from .sources import open_source


def describe_input(path: str, detector: Detector | None) -> Iterator[str]:
    """Lines about a geometry, data file, list or folder. Raises what reading it raises."""
    if path.endswith(".geom"):
        yield from _detector_lines(read_geom(path))
        return
    hdf5 = Path(path).is_file() and not path.endswith(".lst") and h5py.is_hdf5(path)
    if hdf5:
        yield from _peak_lines(path)
    try:
        source = open_source([path], detector)
    except ValueError:
        if detector is not None or not hdf5:
            raise
        yield from _dataset_lines(path)  # no geometry: say at least what is there
        yield "  give a geometry with -g to read its frames"
        return
    yield f"{path}: {len(source)} events" if isinstance(source, Sized) else f"{path}: a run"
    yield from _detector_lines(source.detector)
    event = next(source.events())
    values = event.frame[event.mask] if event.mask is not None else event.frame[source.detector.mask]
    finite = values[np.isfinite(values)]
    if finite.size:
        low, middle, high = np.percentile(finite, [0, 50, 100])
        yield f"  first event: {event.frame.dtype}, shape {event.frame.shape}, min {low:g}, median {middle:g}, max {high:g}"
        good = PeakFinder(geometry=source.detector).mask_for(event.mask, event.frame.shape)
        yield f"  good pixels: {good.mean():.2%}"


def _number(value: float | HeaderValue | None, unit: str, scale: float = 1.0) -> str:
    if isinstance(value, HeaderValue):
        return f"from {value.path}"
    return "not given" if value is None else f"{value * scale:g} {unit}"


def _detector_lines(detector: Detector) -> Iterator[str]:
    panel, shape = detector.panels[0], detector.shape
    yield f"  geometry {detector.name}: {len(detector.panels)} panels, frame {shape[0]} x {shape[1]} x {shape[2]} (panel, ss, fs)"
    yield f"  pixel {panel.pixel_size_m * 1e6:.2f} um, camera length {_number(detector.camera_length, 'mm', 1e3)}, photon energy {_number(detector.photon_energy, 'eV')}"
    yield f"  data {panel.data or 'path not given'}, layout {' '.join(map(str, panel.dims))}, bad regions {len(detector.bad_regions)}"


def _dataset_lines(path: str) -> Iterator[str]:
    found: list[str] = []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim >= 2:
            found.append(
                f"  /{name}: {item.dtype}, shape {item.shape}, {', '.join(item.filter_names) or 'not compressed'}"
            )

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    yield f"{path}: HDF5"
    yield from found[:20]


def _peak_lines(path: str) -> Iterator[str]:
    with h5py.File(path, "r") as file:
        if N_PEAKS not in file:
            return
        counts = file[N_PEAKS][:]
        yield f"{path}: peak table of {len(counts)} events, {int(counts.sum())} peaks"
        if len(counts):
            yield f"  peaks an event: median {np.median(counts):g}, most {counts.max()}"
        if PROGRESS in file:
            yield f"  written by PeakRT after {int(file[PROGRESS][()])} events: {file[PROVENANCE].attrs['run']}"
