"""NeXus NXmx files (DECTRIS, Jungfraujoch): their geometry, so that none need be given.

NXmx application definition, nexusformat.org, and Bernstein et al., IUCrJ 7 (2020) 784. Flat detectors with a beam
centre are read; detectors of several modules with axis chains need a CrystFEL geometry (-g).
"""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path

import h5py

from peakrt_geometry import Detector, MaskSource, Panel
from peakrt_geometry.checks import MAX_PIXELS
from peakrt_geometry.panels import HC_EV_M

from ..hdf5_items import (
    attribute_text,
    children,
    find_dataset,
    find_group,
    first_number,
    get_dataset,
    holds,
    open_hdf5,
    shape_of,
    where,
)

log = logging.getLogger("peakrt")
_METRES = {
    "": 1.0,
    "m": 1.0,
    "metre": 1.0,
    "meter": 1.0,
    "cm": 1e-2,
    "mm": 1e-3,
    "millimetre": 1e-3,
    "millimeter": 1e-3,
}
_METRES |= {
    name: 1e-6 for name in ("um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", "micron", "micrometre", "micrometer")
}
_METRES |= {name: 1e-9 for name in ("nm", "nanometre", "nanometer")}
_ANGSTROM = {"angstrom": 1.0, "a": 1.0, "\N{LATIN SMALL LETTER A WITH RING ABOVE}": 1.0, "": 1.0}
_ANGSTROM |= {name: metres * 1e10 for name, metres in _METRES.items() if name}
_GIVE = "give a CrystFEL geometry with -g"


def nexus_detector(path: Path) -> Detector:
    """Detector of an NXmx file. Raises ValueError that says what the file lacks, OSError where it cannot be read."""
    with open_hdf5(path) as file:
        entry = _first_of_class(file, "NXentry")
        if entry is None:
            raise ValueError(f"{path} describes no detector: {_GIVE}")
        detector = _detector_group(entry)
        if detector is None:
            raise ValueError(f"{path} has no NXdetector: {_GIVE}")
        missing = [name for name in ("beam_center_x", "beam_center_y", "x_pixel_size") if not holds(detector, name)]
        if missing:
            raise ValueError(f"{path}: {detector.name} lacks {', '.join(missing)}: {_GIVE}")
        data, shape = _data_paths(entry)
        size = _quantity(detector, "x_pixel_size", _METRES)
        if not 1e-7 < size < 0.1:
            raise ValueError(f"{detector.name}/x_pixel_size in {path} is {size:g} m, which no pixel has: {_GIVE}")
        beam_x, beam_y = first_number(detector, "beam_center_x"), first_number(detector, "beam_center_y")
        masks = _masks(detector)
        distance = _positive(detector, ("detector_distance", "distance"), _METRES)
        wavelength = _positive(
            entry, ("instrument/beam/incident_wavelength", "sample/beam/incident_wavelength"), _ANGSTROM
        )
    panel = Panel(
        name="p0",
        min_ss=0,
        end_ss=shape[-2],
        min_fs=0,
        end_fs=shape[-1],
        corner_m=(-beam_x * size, -beam_y * size, 0.0),
        ss_m=(0.0, size, 0.0),
        fs_m=(size, 0.0, 0.0),
        dims=("%", "ss", "fs") if len(shape) == 3 else ("ss", "fs"),
        data=data,
        masks=masks,
        settings={"res": repr(1 / size)},
    )
    energy = None if wavelength is None else HC_EV_M / (wavelength * 1e-10)
    return Detector((panel,), camera_length=distance, photon_energy=energy, name=path.name)


def is_nexus(path: Path) -> bool:
    """Whether a file has a NeXus detector. Raises OSError for one that is not readable HDF5."""
    with open_hdf5(path) as file:
        entry = _first_of_class(file, "NXentry")
        return entry is not None and _detector_group(entry) is not None


def _detector_group(entry: h5py.Group) -> h5py.Group | None:
    instrument = find_group(entry, "instrument")
    return None if instrument is None else _first_of_class(instrument, "NXdetector")


def _first_of_class(group: h5py.Group, name: str) -> h5py.Group | None:
    for key in children(group):
        child = find_group(group, key)
        if child is not None and attribute_text(child, "NX_class") == name:
            return child
    return None


def _data_paths(entry: h5py.Group) -> tuple[str, tuple[int, ...]]:
    """Path of the images and the shape of the first array of them.

    entry/data/data, or with "%" for data_000001, data_000002, ... as DECTRIS writes them.
    """
    data = find_group(entry, "data")
    names = [] if data is None else children(data)
    parts = sorted(name for name in names if re.fullmatch(r"data_\d+", name)) or [
        name for name in names if name == "data"
    ]
    if data is None or not parts:
        raise ValueError(f"{entry.file.filename} has no images under {entry.name}/data")
    opened = (find_dataset(data, name) for name in parts)
    dataset = next((found for found in opened if found is not None), None) or get_dataset(data, parts[0])
    shape = shape_of(dataset)
    if len(shape) not in (2, 3):
        raise ValueError(f"{where(dataset)} has shape {shape}: images, or a stack of them, are expected")
    if not 0 < shape[-2] * shape[-1] <= MAX_PIXELS:
        raise ValueError(
            f"{where(dataset)} has frames of {shape[-2]} x {shape[-1]} pixels, at most {MAX_PIXELS} are read"
        )
    return f"{data.name}/{parts[0] if len(parts) == 1 else 'data_%'}", shape


def _masks(detector: h5py.Group) -> tuple[MaskSource, ...]:
    for name in ("pixel_mask", "detectorSpecific/pixel_mask"):
        if holds(detector, name):
            return (MaskSource(get_dataset(detector, name).name, None, 0, 0xFFFFFFFF),)
    return ()


def _quantity(group: h5py.Group, name: str, units: dict[str, float]) -> float:
    """A number with its unit. Raises ValueError for a unit that is not among those known."""
    value = first_number(group, name)
    unit = attribute_text(get_dataset(group, name), "units").strip().lower()
    for known in (unit, unit.removesuffix("s")):
        if known in units:
            return value * units[known]
    raise ValueError(
        f"{group.name}/{name} in {group.file.filename} is in {unit!r}, known are {', '.join(filter(None, units))}: {_GIVE}"
    )


def _positive(group: h5py.Group, names: tuple[str, ...], units: dict[str, float]) -> float | None:
    """A quantity by the first of its names that is there; None where there is none, or 0 stands for not known."""
    name = next((name for name in names if holds(group, name)), None)
    value = 0.0 if name is None else _quantity(group, name, units)
    if value > 0 and math.isfinite(value):
        return value
    if name is not None:
        log.warning("%s/%s in %s is %g: taken for not known", group.name, name, group.file.filename, value)
    return None


def describe_hdf5(path: Path) -> Detector:
    """Detector that an HDF5 file describes: NXmx does. Raises ValueError where it does not."""
    if is_nexus(path):
        return nexus_detector(path)
    raise ValueError(f"{path} does not describe its detector: give a CrystFEL geometry with -g")
