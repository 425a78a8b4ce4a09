"""The runs: what is simulated, in blocks, each frame from the run's seed and the frame's number alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from benchmarks.indexing import CELL, SPACE_GROUP
from peakrt.commands.options import load_geometry
from peakrt.cxi.columns import DATA, MASK, RESULT
from peakrt_geometry import Detector, MaskSource, write_geom
from peakrt_lab.simulate import RESPONSES, Response, Scene, Simulator
from peakrt_lab.truth import Truth, write_cell, write_run

DETECTORS = ("epix10k2m", "jungfrau4m", "rayonix_mx340")
#: True peaks with at least this SNR count as visible.
VISIBLE_SNR = 4.0
#: Laue class of the lysozyme that is simulated, in CrystFEL's words.
POINT_GROUP = "4/mmm"
#: Number of the first frame to tune on: beyond all that are judged.
TUNING_START = 1_000_000_000


@dataclass(frozen=True)
class Recipe:
    """What makes a run; with another recipe it is another run.

    photons : of a full reflection of mean strength at low angle. With the default about half of the frames are hits, as in
        Wang et al. 2025, and most crystals give a dozen to a few hundred peaks.
    block : frames that are on disk at once; tune : frames that thresholds are tuned on and nobody is judged on
    """

    seed: int = 2026
    photons: tuple[float, float] = (30.0, 600.0)
    hit_fraction: float = 0.75
    block: int = 200
    tune: int = 20


@dataclass(frozen=True)
class Run:
    """The run of one detector in a folder of its own.

    detector_name : of the catalogue, or a .geom file with numbers for camera length and photon energy
    """

    recipe: Recipe
    detector_name: str
    folder: Path

    @cached_property
    def simulator(self) -> Simulator:
        """Of all its frames."""
        scene = Scene(photons=self.recipe.photons, hit_fraction=self.recipe.hit_fraction)
        response = RESPONSES.get(self.detector_name, Response())
        detector = load_geometry(self.detector_name)
        return Simulator(detector, scene, response, cell=CELL, space_group=SPACE_GROUP, seed=self.recipe.seed)

    @property
    def name(self) -> str:
        """Of the detector, in tables."""
        return Path(self.detector_name).stem

    @property
    def geometry(self) -> Path:
        """CrystFEL geometry of the frames and of every finder's file, with the mask in a file of its own."""
        return self.folder / "run.geom"

    @property
    def mask(self) -> Path:
        """HDF5: MASK, 1 = bad (for CrystFEL), and /good, 1 = good (for OM and psana)."""
        return self.folder / "mask.h5"

    @property
    def cell(self) -> Path:
        """CrystFEL cell file."""
        return self.folder / "crystal.cell"

    @cached_property
    def detector(self) -> Detector:
        """With its frames as slabs and the mask of the run."""
        slab = self.simulator.detector.as_slab(DATA)
        mask = (MaskSource(MASK, str(self.mask.resolve()), 0, 1),)
        settings = {**slab.settings, "peak_list": RESULT, "peak_list_type": "cxi"}
        return replace(slab, panels=tuple(replace(panel, masks=mask) for panel in slab.panels), settings=settings)

    @property
    def planes(self) -> tuple[int, int, int]:
        """Shape of a frame as the detector has it: (panel, ss, fs)."""
        return self.simulator.detector.shape

    @property
    def gain(self) -> float:
        """ADU a photon."""
        return self.simulator.gain

    @property
    def pedestal(self) -> float:
        """ADU of no photon."""
        return self.simulator.response.offset

    def prepare(self) -> None:
        """Write the geometry, the mask, the cell. Raises ValueError where the folder holds another recipe's run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        recipe = self.folder / "recipe.json"
        given = json.loads(json.dumps(asdict(self.recipe)))
        if recipe.exists() and json.loads(recipe.read_text()) != given:
            raise ValueError(
                f"{self.folder} holds the run of another recipe ({recipe.read_text()}): choose another folder"
            )
        write_atomically(recipe, json.dumps(given))
        good = self.simulator.good.reshape(-1, self.planes[2])
        temporary = self.mask.with_suffix(".tmp")
        with h5py.File(temporary, "w") as file:
            file[MASK] = (~good).astype(np.uint16)
            file["good"] = good.astype(np.int8)
        temporary.replace(self.mask)
        write_geom(self.detector, self.geometry, comment=f"Geometry of the simulated run of {self.name}.")
        write_cell(self.cell, CELL, SPACE_GROUP)

    def block(self, start: int, stop: int) -> Path:
        """The file of a block of frames, simulated unless it is there."""
        return self._frames(self.folder / f"frames-{start:06}-{stop:06}.cxi", range(start, stop))

    def tuning(self) -> Path:
        """The file of the frames that thresholds are tuned on: other shots of the same run."""
        return self._frames(self.tuning_path, range(TUNING_START, TUNING_START + self.recipe.tune))

    @property
    def tuning_path(self) -> Path:
        """Where the frames to tune on are, while they are needed."""
        return self.folder / "tuning.cxi"

    def _frames(self, path: Path, numbers: Sequence[int]) -> Path:
        if not path.exists():
            write_run(path, self.simulator, (self.simulator.event(number) for number in numbers))
        return path

    def note_truth(self, path: Path, start: int, stop: int) -> None:
        """Note which frames of a block hold a crystal, and how many of its peaks are visible."""
        truth = Truth(path)
        visible = [int((truth.event_peaks(n)["snr"] >= VISIBLE_SNR).sum()) for n in range(len(truth))]
        note = json.dumps({"hit": truth.hit.tolist(), "visible": visible})
        write_atomically(self.folder / "truth" / f"{start:06}-{stop:06}.json", note)

    def visible(self) -> dict[int, int]:
        """Visible peaks of the frames that were simulated, by number; -1 where there is no crystal."""
        out = {}
        for path in sorted((self.folder / "truth").glob("*.json")):
            note = json.loads(path.read_text(encoding="utf-8"))
            pairs = zip(note["hit"], note["visible"], strict=True)
            out |= {int(path.stem.split("-")[0]) + n: v if hit else -1 for n, (hit, v) in enumerate(pairs)}
        return out


def write_atomically(path: Path, text: str) -> None:
    """Write a file that appears under its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
