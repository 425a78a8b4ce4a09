"""NeXus NXmx files (DECTRIS, Jungfraujoch): their geometry, so that none need be given.

NXmx application definition, nexusformat.org, and Bernstein et al., IUCrJ 7 (2020) 784. Flat detectors with a beam
centre are read; detectors of several modules with axis chains need a CrystFEL geometry (-g).
"""

from __future__ import annotations

from pathlib import Path

import h5py

from peakrt_geometry import Detector, MaskSource, Panel
from peakrt_geometry.panels import HC_EV_M

_METRES = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "cm": 1e-2}
_ANGSTROM = {"angstrom": 1.0, "angstroms": 1.0, "a": 1.0, "å": 1.0, "nm": 10.0, "m": 1e10}


def nexus_detector(path: Path) -> Detector:
    """Detector of an NXmx file. Raises ValueError that says what the file lacks."""
    with h5py.File(path, "r") as file:
        entry = _entry(file)
        if entry is None:
            raise ValueError(f"{path} describes no detector: give a CrystFEL geometry with -g")
        instrument = entry.get("instrument")
        detector = None if instrument is None else _first_of_class(instrument, "NXdetector")
        if detector is None:
            raise ValueError(f"{path} has no NXdetector: give a CrystFEL geometry with -g")
        needed = ("beam_center_x", "beam_center_y", "x_pixel_size")
        missing = [name for name in needed if name not in detector]
        if missing:
            raise ValueError(f"{path}: {detector.name} lacks {', '.join(missing)}: give a CrystFEL geometry with -g")
        data = _data_paths(entry)
        if not data:
            raise ValueError(f"{path} has no images under {entry.name}/data")
        shape = file[data[0]].shape
        size = _quantity(detector["x_pixel_size"], _METRES)
        beam_x, beam_y = float(detector["beam_center_x"][()]), float(detector["beam_center_y"][()])
        masks: tuple[MaskSource, ...] = ()
        for folder in (detector, detector.get("detectorSpecific")):
            if folder is not None and "pixel_mask" in folder and not masks:
                masks = (MaskSource(folder["pixel_mask"].name, None, 0, 0xFFFFFFFF),)
        distance = _distance(detector)
        wavelength = _wavelength(entry)
    path_in_file = data[0] if len(data) == 1 else _numbered(data)
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
        data=path_in_file,
        masks=masks,
        settings={"res": repr(1 / size)},
    )
    energy = None if wavelength is None else HC_EV_M / (wavelength * 1e-10)
    return Detector((panel,), camera_length=distance, photon_energy=energy, name=path.name)


def is_nexus(path: Path) -> bool:
    """Whether a file claims to be NXmx or has a NeXus detector."""
    with h5py.File(path, "r") as file:
        entry = _entry(file)
        return (
            entry is not None
            and "instrument" in entry
            and _first_of_class(entry["instrument"], "NXdetector") is not None
        )


def _entry(file: h5py.File) -> h5py.Group | None:
    return _first_of_class(file, "NXentry")


def _first_of_class(group: h5py.Group, name: str) -> h5py.Group | None:
    for key in group:
        child = group.get(key)
        if isinstance(child, h5py.Group):
            found = child.attrs.get("NX_class", b"")
            if (found.decode() if isinstance(found, bytes) else str(found)) == name:
                return child
    return None


def _data_paths(entry: h5py.Group) -> list[str]:
    """entry/data/data, or data_000001, data_000002, ... as DECTRIS writes them."""
    data = entry.get("data")
    if not isinstance(data, h5py.Group):
        return []
    parts = sorted(key for key in data if key.startswith("data_") and isinstance(data.get(key), h5py.Dataset))
    names = parts or [key for key in data if key == "data" and isinstance(data.get(key), h5py.Dataset)]
    return [f"{data.name}/{name}" for name in names if data[name].ndim in (2, 3)]


def _numbered(paths: list[str]) -> str:
    return paths[0].rsplit("_", 1)[0] + "_%"


def _quantity(dataset: h5py.Dataset, units: dict[str, float]) -> float:
    unit = dataset.attrs.get("units", "")
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    return float(dataset[()].flat[0] if dataset.ndim else dataset[()]) * units.get(unit.lower(), 1.0)


def _distance(detector: h5py.Group) -> float | None:
    for name in ("detector_distance", "distance"):
        if name in detector:
            return _quantity(detector[name], _METRES)
    return None


def _wavelength(entry: h5py.Group) -> float | None:
    for path in ("instrument/beam/incident_wavelength", "sample/beam/incident_wavelength"):
        if path in entry:
            return _quantity(entry[path], _ANGSTROM)
    return None
