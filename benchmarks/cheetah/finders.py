"""The finders: each is given a block of frames in a file, and leaves the hits in files that indexamajig reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import h5py

from peakrt.config import V3r3Config
from peakrt.cxi.columns import DATA, MASK

from .crystfel import crystfel, peakfinder9_missing
from .jobs import MAX_PEAKS, OFFERED_PEAKS, Found, Job, Options, Tools, event_numbers, plain_geometry, read_hits
from .om import om, om_missing
from .photon_rivals import dials_missing, on_photons
from .programs import Stopwatch


@dataclass(frozen=True)
class Finder:
    """A row of the table.

    settings : where its thresholds come from; tuned : whose tuned options it is given, by the name of a search of tuning.py
    missing : says why it cannot run here, None if it can; slow : it is given the first frames of a run only
    """

    name: str
    settings: str
    find: Callable[[Job, Options], Found]
    tuned: str | None = None
    missing: Callable[[Tools], str | None] = lambda tools: None
    slow: bool = False
    one_core: bool = False


# Ours


def peakrt(job: Job, options: Options, finder: str) -> Found:
    """``peakrt find``: hits with their images into a CXI."""
    out = job.scratch / f"{job.frames.stem}-peaks.cxi"
    job.clock.run(
        [sys.executable, "-m", "peakrt.cli", "find", job.frames, "-g", job.run.geometry, "-o", out]
        + ["--finder", finder, "--engine", "cpu", "-j", str(job.tools.cores), "--min-peaks", str(OFFERED_PEAKS)]
        + [word for name, value in (options or {}).items() for word in (f"--{name.replace('_', '-')}", f"{value:g}")]
    )
    return Found(read_hits(out, event_numbers(out))) if out.exists() else Found()


# psana


def psana(job: Job, options: Options) -> Found:
    """The v3r3 of psana in a program of its own, with h5py around it."""
    out, order = job.scratch / f"{job.frames.stem}-psana.h5", job.scratch / "job.json"
    order.write_text(
        json.dumps(
            {
                "frames": str(job.frames), "mask": str(job.run.mask), "planes": job.run.planes, "output": str(out),
                "options": options or asdict(V3r3Config()), "min_peaks": OFFERED_PEAKS, "max_peaks": MAX_PEAKS,
            }
        )
    )  # fmt: skip
    job.clock.run([job.tools.psana_python, Path(__file__).with_name("psana_job.py"), order])
    return Found(read_hits(out, event_numbers(out)))


def _psana_missing(tools: Tools) -> str | None:
    there = "import importlib.util as u, sys; sys.exit(u.find_spec('psana') is None)"
    try:
        Stopwatch().run([tools.psana_python, "-c", there])
    except RuntimeError:
        return "not run: no psana here"
    return None


# probixi


def probixi(job: Job, options: Options) -> Found:
    """The export of peaks for indexamajig of probixi, on a CPU; it calibrates anew on each block.

    Its CXI has a row for every frame, and the images through a link.
    """
    names, plain, out = job.scratch / "frames.lst", job.scratch / "probixi.geom", job.scratch / "probixi"
    with h5py.File(job.frames, "r") as file:
        n = len(file[DATA])
    names.write_text("".join(f"{job.frames.resolve()} //{row}\n" for row in range(n)))
    # Its reader takes no unit of clen, wants a resolution for all panels, and knows the older names of masks
    lines = [f"res = {1 / job.run.detector.panels[0].pixel_size_m:.9g}", f"mask = {MASK}"]
    lines += [f"mask_file = {job.run.mask.resolve()}", "mask_good = 0x0", "mask_bad = 0x1"]
    plain.write_text("\n".join([*lines, *plain_geometry(job.run)]) + "\n", encoding="utf-8")
    job.clock.run(
        [job.tools.probixi or "", "-i", names, "-g", plain, "-o", out, "--peaks-only", "--device", "cpu", "--quiet"]
    )
    (path,) = out.glob("*.cxi")
    return Found(read_hits(path, range(n)))


def _probixi_missing(tools: Tools) -> str | None:
    return None if tools.probixi else "not run: no probixi was given"


def _finder(name: str) -> Callable[[Job, Options], Found]:
    return partial(peakrt, finder=name)


FINDERS: dict[str, Finder] = {
    "candidate": Finder("PeakRT, candidate", "nothing to tune", _finder("candidate")),
    "segmentation": Finder("PeakRT, segmentation", "nothing to tune", _finder("segmentation"), slow=True),
    "pf8-tuned": Finder("PeakRT, peakfinder8", "tuned", _finder("peakfinder8"), "peakfinder8"),
    "pf8": Finder("PeakRT, peakfinder8", "defaults", _finder("peakfinder8")),
    "v3r3-tuned": Finder("PeakRT, v3r3", "tuned", _finder("v3r3"), "v3r3"),
    "v3r3": Finder("PeakRT, v3r3", "defaults", _finder("v3r3")),
    "om-tuned": Finder("OM 23.8.3, Cheetah", "tuned", om, "peakfinder8", om_missing),
    "om": Finder("OM 23.8.3, Cheetah", "example's", om, None, om_missing),
    "crystfel-tuned": Finder("CrystFEL, peakfinder8", "tuned", partial(crystfel, method="peakfinder8"), "crystfel"),
    "crystfel": Finder("CrystFEL, peakfinder8", "defaults", partial(crystfel, method="peakfinder8")),
    "peakfinder9-tuned": Finder(
        "CrystFEL, peakfinder9", "tuned", partial(crystfel, method="peakfinder9"), "peakfinder9", peakfinder9_missing
    ),
    "peakfinder9": Finder(
        "CrystFEL, peakfinder9", "defaults", partial(crystfel, method="peakfinder9"), None, peakfinder9_missing
    ),
    "dials-tuned": Finder(
        "DIALS, dispersion extended", "tuned", partial(on_photons, rival="dials"), "dials", dials_missing,
        slow=True, one_core=True,
    ),
    "dials": Finder(
        "DIALS, dispersion extended", "defaults", partial(on_photons, rival="dials"), None, dials_missing,
        slow=True, one_core=True,
    ),
    "jungfraujoch-tuned": Finder(
        "Jungfraujoch's rule, written afresh", "tuned", partial(on_photons, rival="jungfraujoch"), "jungfraujoch",
        slow=True, one_core=True,
    ),
    "jungfraujoch": Finder(
        "Jungfraujoch's rule, written afresh", "defaults", partial(on_photons, rival="jungfraujoch"),
        slow=True, one_core=True,
    ),
    "psana-tuned": Finder("psana 4.3.4, v3r3", "tuned", psana, "v3r3", _psana_missing, slow=True, one_core=True),
    "psana": Finder("psana 4.3.4, v3r3", "LUTE's", psana, None, _psana_missing, slow=True, one_core=True),
    "probixi": Finder(
        "probixi 0.10.0, on a CPU", "nothing to tune", probixi, None, _probixi_missing, slow=True, one_core=True
    ),
}  # fmt: skip
