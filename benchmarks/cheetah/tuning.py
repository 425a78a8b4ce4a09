"""Thresholds of the finders, tuned for each run by the search of peakrt-lab tune."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from peakrt.config import Peakfinder8Config
from peakrt.event import Event
from peakrt.sources import open_source
from peakrt_lab import jungfraujoch
from peakrt_lab.compare import Agreement, PeakSets, compare, truth_sets
from peakrt_lab.dials import DialsConfig
from peakrt_lab.tune import GRIDS, search, tune

from .crystfel import Peakfinder9Config, crystfel_search, search_options
from .jobs import Job, Tools
from .photon_rivals import Photons, photons_of, search_of
from .programs import Stopwatch
from .recipe import Run, write_atomically

#: What is tried of the rivals' options, as in peakrt_lab.tune; min_sig in photons.
RIVAL_GRIDS: dict[str, dict[str, Sequence[float]]] = {
    "peakfinder9": {
        "min_sig": (0.3, 0.6, 1.2, 2.0),
        "min_snr_biggest_pix": (3.0, 5.0, 7.0, 9.0),
        "min_snr_peak_pix": (2.0, 3.0, 4.0, 6.0),
        "min_snr": (3.0, 5.0, 8.0, 12.0),
        "background_radius": (3, 4, 5),
    },
    "dials": {
        "global_threshold": (0.0, 2.0, 3.0, 5.0),
        "sigma_strong": (3.0, 5.0, 7.0),
        "min_pixels": (1, 2, 3),
    },
    "jungfraujoch": jungfraujoch.GRID,
}


@dataclass(frozen=True)
class Frames:
    """The frames that thresholds are tuned on, and what is true of them."""

    run: Run
    tools: Tools
    scratch: Path

    @cached_property
    def events(self) -> list[Event]:
        """With their frames."""
        return list(open_source([str(self.run.tuning())], self.run.detector).events())

    @cached_property
    def truth(self) -> PeakSets:
        """True peaks."""
        return truth_sets(self.run.tuning(), self.run.detector)

    @cached_property
    def photons(self) -> list[Photons]:
        """In whole photons."""
        return list(photons_of(self.events, self.run.detector, self.run.gain, self.run.pedestal))

    def by_crystfel(self, config: Peakfinder8Config | Peakfinder9Config, *, method: str) -> Agreement:
        """Of a search by CrystFEL with the truth."""
        job = Job(self.run, self.run.tuning(), self.scratch, self.tools, Stopwatch())
        hits = crystfel_search(job, search_options(method, asdict(config)), least=0)
        return compare(self.truth, {hit.event: hit.peaks for hit in hits}, min_snr=4.0)

    def by_photons(self, config: DialsConfig | jungfraujoch.JungfraujochConfig, *, rival: str) -> Agreement:
        """Of a rival that takes whole photons with the truth."""
        found = search_of(rival, asdict(config), self.run.detector)(self.photons)
        return compare(self.truth, dict(enumerate(found)), min_snr=4.0)


def tune_all(
    run: Run, names: Iterable[str], tools: Tools, scratch: Path, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Options by the name of the search, tuned on frames of the run that are not judged; from its folder if there.

    names : of the searches that are wanted: peakfinder8, v3r3, crystfel (its peakfinder8), peakfinder9, dials, jungfraujoch
    """
    note = run.folder / "tuned.json"
    tuned: dict[str, dict[str, Any]] = json.loads(note.read_text()) if note.exists() else {}
    wanted = list(dict.fromkeys(names))
    if "crystfel" in wanted:  # it begins with what is best for ours
        wanted = list(dict.fromkeys(["peakfinder8", *wanted]))
    frames = Frames(run, tools, scratch)
    for name in wanted:
        if name not in tuned:
            config, reached = _tune_one(name, frames, tuned)
            tuned[name] = asdict(config)
            write_atomically(note, json.dumps(tuned, indent=1))
            say(f"tuned {run.name}: {name}, F1 {reached.f1:.3f}")
    path = run.tuning_path
    for left in (path, path.with_suffix(".geom"), path.with_suffix(".cell")):
        left.unlink(missing_ok=True)
    return tuned


def _tune_one(name: str, frames: Frames, tuned: dict[str, dict[str, Any]]) -> tuple[Any, Agreement]:
    gain = frames.run.gain
    if name in GRIDS:
        return tune(name, frames.events, frames.truth, frames.run.detector, gain=gain)
    if name == "crystfel":
        start = Peakfinder8Config(**tuned["peakfinder8"])
        return search(start, GRIDS["peakfinder8"], partial(frames.by_crystfel, method="peakfinder8"), gain=gain)
    grid = RIVAL_GRIDS[name]
    if name == "peakfinder9":
        return search(Peakfinder9Config(), grid, partial(frames.by_crystfel, method="peakfinder9"), gain=gain)
    rival: DialsConfig | jungfraujoch.JungfraujochConfig = (
        DialsConfig() if name == "dials" else jungfraujoch.JungfraujochConfig()
    )
    return search(rival, grid, partial(frames.by_photons, rival=name), gain=gain)
