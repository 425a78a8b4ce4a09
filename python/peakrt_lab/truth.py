"""Simulated runs on disk: a CXI with images and, under /truth, what is in them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from peakrt.cxi.columns import CAMERA_LENGTH, DATA, FILE_FORMAT, MASK, PHOTON_ENERGY
from peakrt_geometry import MaskSource, write_geom

from .simulate import TRUTH, SimulatedEvent, Simulator

PEAKS, OFFSETS, HIT, FLUX = "/truth/peaks", "/truth/offsets", "/truth/hit", "/truth/flux"
LATTICES, LATTICE_OFFSETS = "/truth/lattices", "/truth/lattice_offsets"


def write_run(
    path: str | Path,
    simulator: Simulator,
    events: Iterable[SimulatedEvent],
    *,
    compression: str | None = None,
) -> int:
    """Write simulated events as a CXI slab with their truth; a .geom, and a .cell if all share one, go beside it.

    The file appears under its name only when it is whole. compression : None or "gzip".
    Returns the number of events. Raises FileExistsError if the file is there already.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists: remove it or choose another name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"folder {path.parent} does not exist")
    unfinished = path.with_name(path.name + ".inprogress")
    n_panels, n_ss, n_fs = simulator.detector.shape
    slab = (n_panels * n_ss, n_fs)
    peaks: list[npt.NDArray[np.void]] = []
    lattices: list[npt.NDArray[np.float64]] = []
    hits: list[bool] = []
    fluxes: list[float] = []
    try:
        with h5py.File(unfinished, "w", libver=FILE_FORMAT) as file:
            data = file.create_dataset(
                DATA, (0, *slab), np.dtype(simulator.response.dtype), maxshape=(None, *slab), chunks=(1, *slab),
                compression=compression,
            )  # fmt: skip
            for number, event in enumerate(events):
                data.resize(number + 1, axis=0)
                data[number] = event.frame.reshape(slab)
                # In the slab that the file holds, however many panels the detector has
                in_slab = event.peaks.copy()
                in_slab["ss"] += in_slab["panel"] * np.float32(n_ss)
                in_slab["panel"] = 0
                peaks.append(in_slab)
                lattices.append(event.lattices.reshape(-1, 3, 3))
                hits.append(event.hit)
                fluxes.append(event.flux)
            n = len(hits)
            file.create_dataset(MASK, data=(~simulator.good).reshape(slab).astype(np.uint16), compression="gzip")
            file[PHOTON_ENERGY] = np.full(n, simulator.energy)
            file[CAMERA_LENGTH] = np.full(n, simulator.camera_length * 1e3)
            file[HIT], file[FLUX] = np.array(hits, bool), np.array(fluxes)
            for name, offsets, rows, empty in (
                (PEAKS, OFFSETS, peaks, np.zeros(0, TRUTH)),
                (LATTICES, LATTICE_OFFSETS, lattices, np.zeros((0, 3, 3))),
            ):
                file[name] = np.concatenate([*rows, empty])
                file[offsets] = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
            recipe: dict[str, Any] = {
                "seed": simulator.seed,
                "cell": simulator.cell,
                "space_group": simulator.space_group,
            }
            recipe.update(scene=asdict(simulator.scene), response=asdict(simulator.response))
            file["/truth"].attrs["recipe"] = json.dumps({**recipe, "detector": simulator.detector.name})
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    geometry = simulator.detector.as_slab(DATA)
    mask = (MaskSource(MASK, None, 0, 1),)
    geometry = replace(geometry, panels=tuple(replace(panel, masks=mask) for panel in geometry.panels))
    write_geom(geometry, path.with_suffix(".geom"), comment=f"Geometry of the simulated run {path.name}.")
    if simulator.cell is not None:
        write_cell(path.with_suffix(".cell"), simulator.cell, simulator.space_group)
    return n


def write_reflections(path: Path, hkl: npt.ArrayLike, intensity: npt.ArrayLike, symmetry: str) -> None:
    """Write a CrystFEL reflection list. hkl : (n, 3); intensity : (n,); symmetry : point group in CrystFEL's words"""
    rows = [
        "{:4} {:4} {:4} {:10.2f} {:>8} {:10.2f} {:7}".format(*index, value, "-", 1.0, 1)
        for index, value in zip(np.asarray(hkl), np.asarray(intensity), strict=True)
    ]
    head = ["CrystFEL reflection list version 2.0", f"Symmetry: {symmetry}"]
    head += ["   h    k    l          I    phase   sigma(I)   nmeas"]
    path.write_text("\n".join([*head, *rows, "End of reflections", ""]), encoding="utf-8")


def write_cell(path: Path, cell: tuple[float, ...], space_group: str) -> None:
    """Write a CrystFEL unit cell file."""
    import gemmi

    group = gemmi.find_spacegroup_by_name(space_group)
    system = group.crystal_system_str()
    lattice = "rhombohedral" if group.hm.startswith("R") else {"trigonal": "hexagonal"}.get(system, system)
    unique = {"monoclinic": "b", "tetragonal": "c", "hexagonal": "c"}.get(lattice)
    lines = [
        "CrystFEL unit cell file version 1.0",
        "",
        f"lattice_type = {lattice}",
        f"centering = {group.hm[0]}",
    ]
    lines += [f"unique_axis = {unique}"] if unique else []
    lines += [f"{name} = {value:.4f} A" for name, value in zip("abc", cell[:3], strict=True)]
    lines += [f"{name} = {value:.4f} deg" for name, value in zip(("al", "be", "ga"), cell[3:], strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class Truth:
    """What is in a simulated run.

    Raises ValueError for a file without truth.
    """

    def __init__(self, path: str | Path) -> None:
        if Path(path).is_file() and not h5py.is_hdf5(path):
            raise OSError(f"{path} is not a readable HDF5 file")
        with h5py.File(path, "r") as file:
            if PEAKS not in file:
                raise ValueError(f"{path} has no {PEAKS}: it was not written by peakrt-lab simulate")
            self.peaks = file[PEAKS][:]
            self.offsets = file[OFFSETS][:]
            self.hit = file[HIT][:]
            self.lattices = file[LATTICES][:]
            self.lattice_offsets = file[LATTICE_OFFSETS][:]
            recipe = json.loads(file["/truth"].attrs["recipe"])
        #: Of the pixels, ADU, as a detector's header gives it.
        self.pedestal = float(recipe.get("response", {}).get("offset", 0.0))
        self.cell: tuple[float, ...] | None = None if recipe["cell"] is None else tuple(recipe["cell"])

    def __len__(self) -> int:
        return len(self.hit)

    def event_peaks(self, event: int) -> npt.NDArray[np.void]:
        """True peaks of an event: TRUTH."""
        return self.peaks[self.offsets[event] : self.offsets[event + 1]]

    def event_lattices(self, event: int) -> npt.NDArray[np.float64]:
        """Lattices of an event: (n, 3, 3), rows a*, b*, c* in 1/A."""
        return self.lattices[self.lattice_offsets[event] : self.lattice_offsets[event + 1]]
