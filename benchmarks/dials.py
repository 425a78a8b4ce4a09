"""DIALS as a second opinion on real frames: how many of its spots are among our peaks, and what it indexes from either.

    python benchmarks/dials.py FRAME.cbf ... [-p CELL]

Needs DIALS on PATH (``dials.import``, ``dials.find_spots``) and an interpreter that imports it (DIALS_PYTHON, else the first
line of ``dials.find_spots``). Frames as DIALS and PeakRT read them: CBFs with a header, also packed by bzip2.
"""

from __future__ import annotations

import argparse
import bz2
import json
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from peakrt import PeakFinder, Peakfinder8Config
from peakrt.cxi.reader import SlabPeaks
from peakrt.sources import open_source
from peakrt_geometry import Detector
from peakrt_lab.compare import match, slab_peaks
from peakrt_lab.dials import Cell, Frame, dials_python, index, make_job, read_cell

# In DIALS a pixel's centre is at one half.
DUMP = """
import json, sys
from dials.array_family import flex
fs, ss, _ = flex.reflection_table.from_file(sys.argv[1])["xyzobs.px.value"].parts()
json.dump({"fs": [v - 0.5 for v in fs], "ss": [v - 0.5 for v in ss]}, sys.stdout)
"""


def dials_spots(frame: Path, folder: Path) -> SlabPeaks:
    """Spots that DIALS finds with its defaults. Raises RuntimeError with its message if it fails."""
    for command in (
        ["dials.import", str(frame), "output.experiments=imported.expt"],
        ["dials.find_spots", "imported.expt", "nproc=1", "output.reflections=strong.refl"],
        [dials_python(), "-c", DUMP, "strong.refl"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    spots = json.loads(done.stdout)
    n = len(spots["ss"])
    return SlabPeaks(np.array(spots["ss"]), np.array(spots["fs"]), np.ones(n), np.full(n, np.nan))


@dataclass(frozen=True)
class Read:
    """A frame as DIALS and our finders see it.

    sets : spots of DIALS and peaks of our finders, by name; frame : with those of DIALS
    experiment : file of DIALS that has its beam and detector
    """

    sets: dict[str, SlabPeaks]
    frame: Frame
    detector: Detector
    experiment: Path


def read(path: Path, folder: Path) -> Read:
    """Find everybody's peaks on a frame; folder : for DIALS' files, which are read as long as the result is used."""
    if path.suffix == ".bz2":
        plain = folder / path.stem
        plain.write_bytes(bz2.decompress(path.read_bytes()))
        path = plain
    sets = {"DIALS": dials_spots(path.resolve(), folder)}
    source = open_source([str(path)])
    event, detector = next(iter(source.events())), source.detector
    for name, config in (("candidate", None), ("peakfinder8, defaults", Peakfinder8Config())):
        peaks = PeakFinder(config, geometry=detector)(event.frame, event.mask)
        sets[name] = slab_peaks(peaks, event.frame.shape[1])
    energy = detector.number("photon_energy", event.photon_energy_eV)
    length = detector.number("camera_length", event.camera_length_m)
    return Read(sets, Frame(sets["DIALS"], energy, length), detector, folder / "imported.expt")


def opinions(read: Read) -> dict[str, tuple[int, int, float, float]]:
    """By finder: spots of DIALS, our peaks, share of DIALS's spots among ours, rms distance of those in pixels."""
    theirs, out = read.frame.peaks, {}
    for finder, ours in read.sets.items():
        if ours is theirs:
            continue
        i, j = match(theirs, ours, distance=2.0)
        apart = np.hypot(ours.ss[j] - theirs.ss[i], ours.fs[j] - theirs.fs[i])
        rms = float(np.sqrt((apart**2).mean())) if len(i) else np.nan
        out[finder] = (len(theirs), len(ours), len(i) / max(1, len(theirs)), rms)
    return out


def indexings(read: Read, cell: Cell) -> dict[str, tuple[int, int, float] | None]:
    """By finder, DIALS among them: peaks, how many of them are indexed, rmsd in pixels; None if the frame is not."""
    frames = [replace(read.frame, peaks=peaks) for peaks in read.sets.values()]
    lines = index(make_job(frames, read.detector, cell, 2, experiment=read.experiment))
    out: dict[str, tuple[int, int, float] | None] = {}
    for (finder, peaks), line in zip(read.sets.items(), lines, strict=True):
        crystal = line["crystal"]
        out[finder] = None if crystal is None else (len(peaks), crystal["n_indexed"], crystal["rmsd_px"])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", nargs="+", type=Path)
    parser.add_argument("-p", "--cell", type=Path, help="CrystFEL unit cell file: DIALS indexes all peak sets as well")
    parsed = parser.parse_args()
    cell = None if parsed.cell is None else read_cell(parsed.cell)
    print(f"{'frame':24}{'finder':24}{'DIALS':>7}{'peaks':>7}{'of DIALS':>10}{'rms px':>8}{'indexed':>9}{'rmsd px':>9}")
    for path in parsed.frames:
        with tempfile.TemporaryDirectory() as folder:
            one = read(path, Path(folder))
            agreement, indexed = opinions(one), {} if cell is None else indexings(one, cell)
        for finder, peaks in one.sets.items():
            theirs, _, share, rms = agreement.get(finder, (len(peaks), len(peaks), 1.0, 0.0))
            row = f"{path.name:24}{finder:24}{theirs:7}{len(peaks):7}{share:10.3f}{rms:8.2f}"
            if cell is not None:
                result = indexed[finder]
                row += f"{'not':>9}" if result is None else f"{result[1]:9}{result[2]:9.2f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
