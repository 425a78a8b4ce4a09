"""Finders of others that take whole photons: DIALS, and Jungfraujoch's rule as the laboratory has it.

    python -m benchmarks.cheetah.photon_rivals JOB.json     keys: rival, frames, geometry, output, options, gain, pedestal

Frames are turned into whole photons as a counting detector would have written them; gain and pedestal are known.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt.cxi.reader import SlabPeaks
from peakrt.event import Event
from peakrt.sources import open_source
from peakrt_geometry import Detector, read_geom
from peakrt_lab.dials import DialsConfig, find_spots, whole_photons
from peakrt_lab.jungfraujoch import Jungfraujoch, JungfraujochConfig

from .jobs import Found, Job, Options, Tools, event_numbers, read_hits, write_hits

#: Frames that DIALS is given at a time.
AT_ONCE = 50

Photons = npt.NDArray[np.int32]
Search = Callable[[Iterable[Photons]], Iterator[SlabPeaks]]


def on_photons(job: Job, options: Options, rival: str) -> Found:
    """A rival in a program of its own."""
    out, order = job.scratch / f"{job.frames.stem}-{rival}.h5", job.scratch / "job.json"
    given = {
        "rival": rival, "frames": str(job.frames), "geometry": str(job.run.geometry), "output": str(out),
        "options": options or {}, "gain": job.run.gain, "pedestal": job.run.pedestal,
    }  # fmt: skip
    order.write_text(json.dumps(given))
    job.clock.run([sys.executable, "-m", "benchmarks.cheetah.photon_rivals", order])
    return Found(read_hits(out, event_numbers(out)))


def search_of(rival: str, options: dict[str, Any], detector: Detector) -> Search:
    """From frames in whole photons, (panel, ss, fs), to their peaks."""
    if rival == "dials":

        def dials(frames: Iterable[Photons]) -> Iterator[SlabPeaks]:
            slabs = [frame.reshape(-1, frame.shape[2]) for frame in frames]
            for start in range(0, len(slabs), AT_ONCE):
                yield from find_spots(slabs[start : start + AT_ONCE], DialsConfig(**options))

        return dials
    finder = Jungfraujoch(JungfraujochConfig(**options), detector)
    return lambda frames: map(finder, frames)


def photons_of(events: Iterable[Event], detector: Detector, gain: float, pedestal: float) -> Iterator[Photons]:
    """Frames in whole photons."""
    return (whole_photons(event, detector, gain=gain, pedestal=pedestal) for event in events)


def dials_missing(tools: Tools) -> str | None:
    """Whether DIALS is on PATH."""
    return None if shutil.which("dials.find_spots") else "not run: no DIALS here"


def main() -> None:
    """Do the job."""
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    source = open_source([given["frames"]], read_geom(given["geometry"]))
    search = search_of(given["rival"], given["options"], source.detector)
    found = search(photons_of(source.events(), source.detector, given["gain"], given["pedestal"]))
    write_hits(Path(given["output"]), Path(given["frames"]), dict(enumerate(found)))


if __name__ == "__main__":
    main()
