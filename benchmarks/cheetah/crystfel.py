"""CrystFEL's own searches for peaks."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from peakrt.cxi.columns import DATA
from peakrt.cxi.reader import SlabPeaks
from peakrt_lab.stream import read_chunks

from .jobs import OFFERED_PEAKS, Found, Hit, Job, Options, Tools
from .programs import Stopwatch


@dataclass(frozen=True)
class Peakfinder9Config:
    """Options of CrystFEL's peakfinder9 (Gevorkov's, of the library fdip), with CrystFEL's defaults.

    min_sig : least standard deviation of a background, ADU; the others are in standard deviations, or pixels
    """

    min_snr: float = 5.0
    min_snr_biggest_pix: float = 7.0
    min_snr_peak_pix: float = 6.0
    min_sig: float = 11.0
    background_radius: int = 3


#: Our names of options to CrystFEL's.
_NAMES = {
    "peakfinder8": {
        "adc_threshold": "threshold", "min_snr": "min-snr", "min_pixels": "min-pix-count", "max_pixels": "max-pix-count",
        "background_radius": "local-bg-radius",
    },
    "peakfinder9": {
        "min_snr": "min-snr", "min_snr_biggest_pix": "min-snr-biggest-pix", "min_snr_peak_pix": "min-snr-peak-pix",
        "min_sig": "min-sig", "background_radius": "local-bg-radius",
    },
}  # fmt: skip


def crystfel(job: Job, options: Options, method: str) -> Found:
    """CrystFEL's own search. The time is that of a search without indexing, which reads all frames and writes a stream."""
    search = search_options(method, options)
    return Found(crystfel_search(job, search), search)


def search_options(method: str, options: Options) -> tuple[str, ...]:
    """Of indexamajig, for a search by peakfinder8 or peakfinder9."""
    if options is None:
        return (f"--peaks={method}",)
    chosen = [f"--{theirs}={options[ours]:g}" for ours, theirs in _NAMES[method].items()]
    # The default leaves out what is farther than 1200 pixels from the beam
    return (f"--peaks={method}", *chosen, *(["--max-res=100000"] if method == "peakfinder8" else []))


def crystfel_search(job: Job, search: tuple[str, ...], *, least: int = OFFERED_PEAKS) -> list[Hit]:
    """Frames in which CrystFEL finds at least so many peaks."""
    stream, names = job.scratch / "search.stream", job.scratch / "search.lst"
    with h5py.File(job.frames, "r") as file:
        n = len(file[DATA])
    names.write_text("".join(f"{job.frames.resolve()} //{row}\n" for row in range(n)))
    job.clock.run(
        ["indexamajig", "-i", names, "-g", job.run.geometry, "-o", stream, "-j", str(job.tools.cores)]
        + ["--indexing=none", f"--temp-dir={job.scratch}", *search]
    )
    hits = []
    for chunk in read_chunks(stream):
        peaks = SlabPeaks(chunk.ss, chunk.fs, chunk.intensity, np.full(len(chunk.ss), np.nan))
        if len(peaks) >= least:
            hits.append(Hit(job.frames, chunk.number, chunk.number, peaks))
    return sorted(hits, key=lambda hit: hit.event)


def peakfinder9_missing(tools: Tools) -> str | None:
    """Whether this CrystFEL was built with fdip, which its peakfinder9 is of."""
    program = shutil.which("indexamajig")
    assert program is not None
    libraries = Stopwatch().run(["ldd", program])
    paths = [line.split("=>")[1].split()[0] for line in libraries.splitlines() if "libcrystfel" in line]
    here = b"compiled without peakfinder9 support" in Path(paths[0]).read_bytes() if paths else False
    return "not in this CrystFEL (built without fdip)" if here else None
