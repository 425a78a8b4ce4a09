"""Spots and crystals by DIALS: a program for the Python that DIALS runs in, without PeakRT.

    python dials_program.py find FRAMES.npy [OPTION=VALUE ...] > spots.jsonl
    python dials_program.py index < job.json > results.jsonl

find, with DIALS' defaults, or with options in its own words (Winter et al. (2018) Acta Cryst. D74, 85). FRAMES: (event, ss, fs)
int32, photons, bad pixels -2.
A line of JSON a frame, ``{"ss", "fs", "intensity"}``; an integer is a pixel's centre.

index, with DIALS' stills indexer (Sauter et al. (2014) Acta Cryst. D70, 3299; Brewster et al. (2018) Acta Cryst. D74, 877).
A job is what ``dials.make_job`` of this folder makes; a line comes back for each frame, in the order in which they are done:
``{"row", "crystal": {"reciprocal", "cell", "n_indexed", "rmsd_px", "panel", "fs", "ss"} or null, "why"}``.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import sys
from functools import partial
from importlib import import_module
from typing import Any

#: In DIALS a pixel's centre is at one half.
HALF = 0.5
METHODS = ("fft1d", "real_space_grid_search")


def stand_in_for_xfel() -> None:
    """Debian's DIALS lacks a compiled module of cctbx.xfel; newer cctbx has what is needed of it in plain Python.

    PEAKRT_CCTBX names the folder of such a cctbx. It comes last on the path: everything else stays DIALS' own.
    """
    try:
        import xfel.mono_simulation.max_like  # noqa: F401
    except ImportError:
        sys.path.append(os.environ.get("PEAKRT_CCTBX", ""))
        try:
            for name in ("", ".max_like", ".util"):
                sys.modules["xfel.mono_simulation" + name] = import_module("serialtbx.mono_simulation" + name)
        except ImportError:
            sys.exit(
                "this DIALS has neither xfel.mono_simulation nor serialtbx: "
                "pip install --no-deps --target FOLDER cctbx-base, and set PEAKRT_CCTBX=FOLDER"
            )


def models(job: dict[str, Any], frame: dict[str, Any]) -> tuple[Any, Any]:
    """Beam and detector of a frame, in CrystFEL's laboratory system: the beam goes along +z.

    A job may name a file of DIALS that has them instead.
    """
    if job["experiment"]:
        from dxtbx.model.experiment_list import ExperimentList

        imported = ExperimentList.from_file(job["experiment"], check_format=False)[0]
        return imported.beam, imported.detector
    from dxtbx.model import BeamFactory, Detector

    detector = Detector()
    for given in job["panels"]:
        panel = detector.add_panel()
        panel.set_name(given["name"])
        x, y, z = given["origin"]
        panel.set_local_frame(given["fast"], given["slow"], (x, y, z + frame["camera_length"]))
        panel.set_pixel_size(given["pixel"])
        panel.set_image_size(given["size"])
        panel.set_trusted_range((-1e9, 1e9))
    beam = BeamFactory.make_beam(sample_to_source=(0, 0, -1), wavelength=frame["wavelength"])
    return beam, detector


def parameters(job: dict[str, Any], method: str) -> Any:
    """DIALS' own defaults for stills, with the models of beam and detector as they are."""
    from dials.command_line.index import phil_scope
    from libtbx.phil import parse

    lines = [
        "indexing.stills.indexer=stills",
        f"indexing.method={method}",
        "refinement.parameterisation.beam.fix=all",
        "refinement.parameterisation.detector.fix=all",
        "refinement.reflections.outlier.algorithm=null",
        "refinement.parameterisation.scan_varying=False",
    ]
    if job["cell"]:
        lines.append("indexing.known_symmetry.unit_cell=" + ",".join(str(x) for x in job["cell"]))
        lines.append(f"indexing.known_symmetry.space_group={job['space_group']}")
    return phil_scope.fetch(parse("\n".join(lines))).extract()


def index_one(job: dict[str, Any], frame: dict[str, Any]) -> tuple[Any, Any]:
    """Index one frame: its experiment and reflections. Raises what DIALS raises if it cannot."""
    from dials.algorithms.indexing.indexer import Indexer
    from dials.array_family import flex
    from dxtbx.model import Experiment, ExperimentList

    beam, detector = models(job, frame)
    n = len(frame["fs"])
    table = flex.reflection_table.empty_standard(n)
    centre = [flex.double(v + HALF for v in frame[name]) for name in ("fs", "ss")]
    table["xyzobs.px.value"] = flex.vec3_double(*centre, flex.double(n, 0.5))
    table["xyzobs.px.variance"] = flex.vec3_double(n, (0.25, 0.25, 0.25))
    table["panel"] = flex.size_t(frame["panel"])
    table["id"] = flex.int(n, 0)
    table["intensity.sum.value"] = flex.double(frame["intensity"])
    table["intensity.sum.variance"] = flex.double(max(1.0, v) for v in frame["intensity"])
    table.set_flags(flex.bool(n, True), table.flags.strong)
    problem: Exception = RuntimeError()
    for method in METHODS if job["cell"] else METHODS[:1]:  # the second needs a cell
        images = image_set(beam, detector)
        experiment = Experiment(beam=beam, detector=detector, imageset=images, identifier=str(frame["row"]))
        indexer = Indexer.from_parameters(table.copy(), ExperimentList([experiment]), params=parameters(job, method))
        try:
            indexer.index()
        except Exception as error:
            problem = error
        else:
            return indexer.refined_experiments[0], indexer.refined_reflections
    raise problem


class Reader:
    """Gives DIALS one frame; an indexer never asks for its pixels."""

    def __init__(self, frame: Any = None) -> None:
        self.frame = frame

    def read(self, index: int) -> Any:
        """The pixels of the one panel."""
        return (self.frame,)

    def paths(self) -> list[str]:
        """One frame."""
        return ["frame"]

    def identifiers(self) -> list[str]:
        """One frame."""
        return ["frame"]

    def __len__(self) -> int:
        return 1

    def is_single_file_reader(self) -> bool:
        """It reads no file."""
        return False


def image_set(beam: Any, detector: Any, frame: Any = None) -> Any:
    """An image set of one frame."""
    from dials.array_family import flex
    from dxtbx.imageset import ImageSet, ImageSetData

    images = ImageSet(ImageSetData(Reader(frame), None), flex.size_t([0]))
    images.set_beam(beam, 0)
    images.set_detector(detector, 0)
    return images


def find(frame: Any, options: list[str]) -> dict[str, list[float]]:
    """Spots of one frame. The detector stands anywhere: no filter asks for the resolution.

    options : as ``dials.find_spots`` takes them
    """
    from dials.array_family import flex
    from dials.command_line.find_spots import phil_scope
    from dxtbx.model import BeamFactory, Detector, Experiment, ExperimentList
    from libtbx.phil import parse

    detector = Detector()
    panel = detector.add_panel()
    panel.set_local_frame((1, 0, 0), (0, 1, 0), (-100, -100, 200))
    panel.set_pixel_size((0.1, 0.1))
    panel.set_image_size((frame.shape[1], frame.shape[0]))
    panel.set_trusted_range((-1, 2**31 - 1))
    beam = BeamFactory.make_beam(sample_to_source=(0, 0, -1), wavelength=1.0)
    lines = "\n".join(["spotfinder.threshold.dispersion.gain=1", "spotfinder.mp.nproc=1", *options, ""])
    images = image_set(beam, detector, flex.int(frame))
    experiments = ExperimentList([Experiment(beam=beam, detector=detector, imageset=images)])
    spots = flex.reflection_table.from_observations(experiments, phil_scope.fetch(parse(lines)).extract())
    fs, ss, _ = spots["xyzobs.px.value"].parts()
    return {
        "ss": [v - HALF for v in ss], "fs": [v - HALF for v in fs], "intensity": list(spots["intensity.sum.value"]),
    }  # fmt: skip


def predict(experiment: Any, used: Any) -> Any:
    """Reflections that the crystal gives on this frame, to the resolution of those indexed.

    DIALS' estimate of mosaicity is widened step by step until 95 % of the indexed reflections are among the predicted.
    """
    from dials.array_family import flex

    crystal = experiment.crystal
    indexed = set(used["miller_index"])
    d_min = min(crystal.get_unit_cell().d(hkl) for hkl in indexed)
    half, size = crystal.get_half_mosaicity_deg(), crystal.get_domain_size_ang()
    for factor in (1, 1.4, 2, 2.8, 4):
        crystal.set_half_mosaicity_deg(half * factor)
        crystal.set_domain_size_ang(size / factor)
        predicted = flex.reflection_table.from_predictions(experiment, force_static=True, dmin=d_min)
        if len(indexed & set(predicted["miller_index"])) >= 0.95 * len(indexed):
            break
    return predicted


def describe(experiment: Any, reflections: Any) -> dict[str, Any]:
    """Crystal and the positions predicted for it on the frame."""
    from scitbx import matrix

    used = reflections.select(reflections["id"] == 0)
    offsets = used["xyzobs.px.value"] - used["xyzcal.px"]
    predicted = predict(experiment, used)
    x, y, _ = predicted["xyzcal.px"].parts()
    a = matrix.sqr(experiment.crystal.get_A())
    return {
        "reciprocal": [list(a[k::3]) for k in range(3)],  # A's columns are a*, b*, c*
        "n_indexed": len(used),
        "rmsd_px": math.sqrt(sum(x * x + y * y for x, y, _ in offsets) / len(used)),
        "cell": list(experiment.crystal.get_unit_cell().parameters()),
        "panel": list(predicted["panel"]),
        "fs": [v - HALF for v in x],
        "ss": [v - HALF for v in y],
    }


def result(job: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    """The line of a frame."""
    out: dict[str, Any] = {"row": frame["row"], "crystal": None, "why": ""}
    if len(frame["fs"]) < job["min_peaks"]:
        return {**out, "why": "too few peaks"}
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            out["crystal"] = describe(*index_one(job, frame))
        except Exception as error:
            out["why"] = f"{type(error).__name__}: {error}"
    return out


def main() -> None:
    """Do what the command line says."""
    sys.path.pop(0)  # this folder, whose dials.py is not DIALS
    if sys.argv[1] == "find":
        find_all(sys.argv[2], sys.argv[3:])
    else:
        index_all()


def find_all(path: str, options: list[str]) -> None:
    """Find the spots of all frames of a file."""
    import numpy as np

    for frame in np.load(path, mmap_mode="r", allow_pickle=False):
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            spots = find(np.ascontiguousarray(frame), options)
        print(json.dumps(spots), flush=True)


def index_all() -> None:
    """Index all frames of the job on stdin, several at a time."""
    stand_in_for_xfel()
    import_module("dials.algorithms.indexing.indexer")  # once, and to fail at once
    job = json.load(sys.stdin)
    frames = job.pop("frames")
    with multiprocessing.Pool(job["processes"]) as pool:
        for line in pool.imap_unordered(partial(result, job), frames):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
