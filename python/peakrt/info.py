"""What an input is: lines of text for ``peakrt info``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sized
from pathlib import Path

import h5py
import numpy as np

from peakrt_geometry import Detector, HeaderValue, read_geom

from .cxi.columns import BAD_PIXELS, GAIN, N_PEAKS, PROGRESS, PROVENANCE
from .cxi.reader import CxiPeaks
from .hdf5_items import (
    attribute_text,
    find_dataset,
    find_group,
    first_line,
    first_number,
    get_dataset,
    holds,
    open_hdf5,
    read,
    shape_of,
)
from .sources import open_source

_MOST_LINES = 20


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
    event = next(iter(source.events()), None)
    if event is None:
        return
    good = event.good(source.detector.mask)
    values = event.frame[good]
    finite = values[np.isfinite(values)]
    if finite.size:
        low, middle, high = np.percentile(finite, [0, 50, 100])
        yield f"  first event: {event.frame.dtype}, shape {event.frame.shape}, min {low:g}, median {middle:g}, max {high:g}"
    else:
        yield f"  first event: {event.frame.dtype}, shape {event.frame.shape}, no good pixel of it is a number"
    yield f"  good pixels: {good.mean():.2%}"


def _number(value: float | HeaderValue | None, unit: str, scale: float = 1.0) -> str:
    if isinstance(value, HeaderValue):
        return f"from {value.path}"
    return "not given" if value is None else f"{value * scale:g} {unit}"


def _number_of(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


def _detector_lines(detector: Detector) -> Iterator[str]:
    panel, shape = detector.panels[0], detector.shape
    yield f"  geometry {detector.name}: {_number_of(len(detector.panels), 'ASIC')}, frame {shape[0]} x {shape[1]} x {shape[2]} (panel, ss, fs)"
    yield f"  pixel {panel.pixel_size_m * 1e6:.2f} um, camera length {_number(detector.camera_length, 'mm', 1e3)}, photon energy {_number(detector.photon_energy, 'eV')}"
    yield f"  data {panel.data or 'path not given'}, layout {' '.join(map(str, panel.dims))}, bad regions {len(detector.bad_regions)}"


def _dataset_lines(path: str) -> Iterator[str]:
    found: list[str] = []

    def visit(name: str, item: object) -> bool | None:
        if isinstance(item, h5py.Dataset) and item.ndim >= 2:
            found.append(f"  /{_shown(name)}: {_type_name(item)}, shape {item.shape}, {_filters(item)}")
        return True if len(found) == _MOST_LINES else None

    with open_hdf5(path) as file:
        try:
            file.visititems(visit)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            found.append(f"  the rest of it cannot be read: {first_line(error)}")
    yield f"{_shown(path)}: HDF5"
    yield from found


def _shown(text: str) -> str:
    """Text of a file as a terminal may see it."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _type_name(dataset: h5py.Dataset) -> str:
    try:
        return str(dataset.dtype)
    except TypeError:
        return "of a type that cannot be read"


def _filters(dataset: h5py.Dataset) -> str:
    return ", ".join(map(str, dataset.filter_names)) or "not compressed"


def _peak_lines(path: str) -> Iterator[str]:
    with open_hdf5(path) as file:
        if not holds(file, N_PEAKS):
            return
        ours = find_dataset(file, PROGRESS) is not None
        least = _least_peaks(get_dataset(file, N_PEAKS)) if ours else None
        table = CxiPeaks(path)
        # How many rows have so many peaks: a table of any length in little memory
        rows = sum((np.bincount(counts, minlength=table.width + 1) for counts in table.counts()), np.zeros(1, int))
        peaks = np.flatnonzero(rows)
        yield f"{path}: peak table of {len(table)} events, {int((rows * np.arange(len(rows))).sum())} peaks"
        if len(table):
            middle = int(np.searchsorted(np.cumsum(rows), len(table) / 2))
            yield f"  peaks an event: median {middle}, most {peaks.max()}"
        if least is not None:
            yield f"  hits: {int(rows[least:].sum())} events have {least} peaks or more (--min-peaks)"
        if ours:
            yield from _run_lines(file)


def _least_peaks(dataset: h5py.Dataset) -> int | None:
    """Least peaks of a hit, as the writer noted it; None where it did not."""
    try:
        return max(0, int(dataset.attrs["minPeaks"]))
    except (KeyError, OSError, TypeError, ValueError, OverflowError):
        return None


def _run_lines(file: h5py.File) -> Iterator[str]:
    """What PeakRT noted of the run that wrote the peaks."""
    yield f"  written by PeakRT after {first_number(file, PROGRESS):.0f} events of the input"
    gain, bad = find_dataset(file, GAIN), find_dataset(file, BAD_PIXELS)
    if gain is not None:
        known = float(read(gain)) if shape_of(gain) == () else np.nan
        yield f"  gain: {f'{known:g} ADU a photon' if np.isfinite(known) else 'not known, or not needed by the finder'}"
    if bad is not None:
        yield f"  bad pixels learned from the frames: {shape_of(bad)[0] if bad.ndim else 0}"
    group = find_group(file, PROVENANCE)
    try:
        run = json.loads(attribute_text(group, "run")) if group is not None else {}
        options = {name: value for name, value in run["options"].items() if value is not None}
        inputs = [str(name) for name in run["inputs"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # of another version, or made by hand
    yield _shown(f"  input: {' '.join(inputs[:5])}{' ...' if len(inputs) > 5 else ''}")
    yield _shown(f"  finder: {run.get('finder')} ({', '.join(f'{name} {value}' for name, value in options.items())})")
