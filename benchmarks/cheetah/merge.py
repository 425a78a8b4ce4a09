"""Merging the indexed frames of each finder with CrystFEL, and what the merged intensities are worth."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.indexing import CELL, SPACE_GROUP
from peakrt_lab.crystal import make_crystal
from peakrt_lab.truth import write_reflections

from .finders import FINDERS
from .index import CHUNK, Outcome, Results
from .jobs import MIN_PEAKS
from .programs import Stopwatch
from .recipe import POINT_GROUP, Run

SHELLS = 10
OURS = "candidate"
#: Partiality is not modelled: scaling and averaging is what serial data sets of this size are merged with first.
PARTIALATOR = ("--model=unity", "--iterations=1")


@dataclass(frozen=True)
class Merged:
    """What a finder's indexed frames come to.

    offered : frames that the finder was given; indexed : of those; reflections : merged, of so many possible
    rsplit, cc_half, cc_star : of the two halves; r_truth, cc_truth : R on intensities and correlation with the truth
    by_shell : for plots, each a column over the shells, d_A their middles
    process_hkl : r_truth and cc_truth of its merging, without scaling by partialator
    profile_radius, crystal_reflections : medians over the crystals: 1/nm, and how many reflections were integrated
    same : of on_same_crystals
    common : r_truth on the reflections that the candidate finder's data have too, and the candidate finder's on the same; how many they are
    """

    finder: str
    offered: int
    indexed: int
    reflections: int
    possible: int
    redundancy: float
    rsplit: float
    cc_half: float
    cc_star: float
    r_truth: float
    cc_truth: float
    by_shell: dict[str, list[float]] = field(default_factory=dict)
    process_hkl: dict[str, float] = field(default_factory=dict)
    profile_radius: float = np.nan
    crystal_reflections: float = np.nan
    common: dict[str, float] = field(default_factory=dict)
    same: dict[str, float] = field(default_factory=dict)


def merge_all(
    run: Run, finders: Sequence[str], frames: int, folder: Path, cores: int, say: Callable[[str], None]
) -> list[Merged]:
    """Merge the first frames of a run as each finder had them; finders that were not given all of them are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = folder / "truth.hkl"
    write_truth(run, truth)
    out = []
    for finder in finders:
        results = Results(run.folder / finder).read()
        offered = sum(result.stop - result.start for result in results if result.stop <= frames)
        if offered != frames:
            continue
        stream = folder / f"{finder}.stream"
        indexed = join(run, finder, frames, stream)
        say(f"{run.name}: merging {indexed} frames of {FINDERS[finder].name}, {FINDERS[finder].settings}")
        try:
            out.append(_merge(run, finder, frames, indexed, stream, truth, cores))
        except RuntimeError as error:  # partialator gives up where crystals are few
            say(f"not merged: {error}")
        stream.unlink()
    if OURS not in (merged.finder for merged in out):
        return out
    out = [replace(merged, common=on_common(run, folder, merged.finder, truth)) for merged in out]
    return [
        merged if merged.finder == OURS else replace(merged, same=on_same_crystals(run, folder, merged, truth, cores))
        for merged in out
    ]


def on_same_crystals(run: Run, folder: Path, merged: Merged, truth: Path, cores: int) -> dict[str, float]:
    """R to the truth of a finder's data and of the candidate finder's, both from the crystals alone that both indexed."""
    names = {"r_truth": merged.finder, "candidate": OURS}
    both = set.intersection(*(indexed_frames(run, name, merged.offered) for name in names.values()))
    out = {"crystals": float(len(both))}
    for key, name in names.items():
        stream = folder / f"{name}-same.stream"
        indexed = join(run, name, merged.offered, stream, both)
        out[key] = _merge(run, name, merged.offered, indexed, stream, truth, cores).r_truth
        stream.unlink()
    return out


def indexed_frames(run: Run, finder: str, frames: int) -> set[int]:
    """Frames that a finder's peaks were indexed of."""
    parts = [part for part in Results(run.folder / finder).read() if part.stop <= frames]
    return {hit.event for part in parts for hit in part.hits if _counts(hit)}


def _counts(hit: Outcome) -> bool:
    return hit.cell is not None and hit.peaks >= MIN_PEAKS


def on_common(run: Run, folder: Path, finder: str, truth: Path) -> dict[str, float]:
    """R to the truth on equal terms: more crystals also give more, and weaker, reflections."""
    lists = {name: folder / f"{name}.hkl" for name in (finder, OURS)}
    keys = {name: {tuple(line.split()[:3]) for line in _rows(path)} for name, path in lists.items()}
    both = set.intersection(*keys.values())
    out: dict[str, float] = {}
    for name, path in lists.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = set(_rows(path))
        kept = folder / "common.hkl"
        text = [line for line in lines if line not in rows or tuple(line.split()[:3]) in both]
        kept.write_text("\n".join(text) + "\n", encoding="utf-8")
        figure = compare_hkl((kept, truth), "R1I", run.cell, folder / "common.shells")
        out["candidate" if name == OURS else "r_truth"] = figure.overall
        out["pairs"] = figure.pairs
    return {"r_truth": out["candidate"], **out}


def write_truth(run: Run, path: Path) -> None:
    """The intensities that were simulated, as a CrystFEL reflection list, one of each set of symmetry mates."""
    crystal = make_crystal(CELL, SPACE_GROUP, run.simulator.scene.d_min, run.recipe.seed)
    mates = np.abs(crystal.hkl)  # 4/mmm: signs do not matter, nor the order of h and k
    mates[:, :2] = -np.sort(-mates[:, :2], axis=1)
    unique, first = np.unique(mates, axis=0, return_index=True)
    write_reflections(path, unique, 1e4 * crystal.strength[first], POINT_GROUP)


def join(run: Run, finder: str, frames: int, path: Path, events: set[int] | None = None) -> int:
    """Write one stream of the indexed hits of the first frames of a run; returns how many there are.

    events : these frames alone
    """
    count, header = 0, ""
    results = Results(run.folder / finder)
    with path.open("w", encoding="utf-8") as out:
        for part in results.read():
            if part.stop > frames:
                continue
            head, chunks = results.stream(part)
            if not header:
                header = head
                out.write(header)
            indexed = [hit for hit in part.hits if hit.cell is not None]
            kept = [
                chunk
                for hit, chunk in zip(indexed, chunks, strict=True)
                if _counts(hit) and (events is None or hit.event in events)
            ]
            out.writelines(CHUNK + chunk for chunk in kept)
            count += len(kept)
    return count


def _merge(run: Run, finder: str, frames: int, indexed: int, stream: Path, truth: Path, cores: int) -> Merged:
    hkl, clock = stream.with_suffix(".hkl"), Stopwatch()
    clock.run(
        ["partialator", "-i", stream, "-o", hkl, "-y", POINT_GROUP, "-j", str(cores), "--no-logs"] + list(PARTIALATOR)
    )
    halves = (hkl.with_suffix(".hkl1"), hkl.with_suffix(".hkl2"))
    overall, shells = {}, {}
    for name, fom, pair in (
        ("rsplit", "Rsplit", halves), ("cc_half", "CC", halves), ("cc_star", "CCstar", halves),
        ("r_truth", "R1I", (hkl, truth)), ("cc_truth", "CC", (hkl, truth)),
    ):  # fmt: skip
        figure = compare_hkl(pair, fom, run.cell, stream.with_suffix(".shells"))
        overall[name], shells[name], shells["d_A"] = figure.overall, figure.by_shell, figure.d_A
    fast = stream.with_suffix(".process.hkl")
    clock.run(["process_hkl", "-i", stream, "-o", fast, "-y", POINT_GROUP, "--scale"])
    second = {
        name: compare_hkl((fast, truth), fom, run.cell, stream.with_suffix(".shells")).overall
        for name, fom in (("r_truth", "R1I"), ("cc_truth", "CC"))
    }
    measured = [int(line.split()[6]) for line in _rows(hkl)]
    return Merged(
        finder, frames, indexed, figure.pairs, len(_rows(truth)), float(np.mean(measured)), **overall,
        by_shell=shells, process_hkl=second, profile_radius=stream_median(stream, "profile_radius"),
        crystal_reflections=stream_median(stream, "num_reflections"),
    )  # fmt: skip


def stream_median(stream: Path, name: str) -> float:
    """Of a number that a stream has for each crystal."""
    found = re.findall(rf"^{name} = ([-+.\deE]+)", stream.read_text(encoding="utf-8"), re.MULTILINE)
    return float(np.median([float(text) for text in found] or [np.nan]))


def _rows(hkl: Path) -> list[str]:
    lines = hkl.read_text(encoding="utf-8").splitlines()
    first = next(n for n, line in enumerate(lines) if line.split()[:3] == ["h", "k", "l"]) + 1
    return lines[first : lines.index("End of reflections")]


@dataclass(frozen=True)
class Figure:
    """A figure of merit of two lists of reflections, in percent where it is an R, by shells with these middles."""

    overall: float
    pairs: int
    by_shell: list[float]
    d_A: list[float]


def compare_hkl(lists: Sequence[Path], fom: str, cell: Path, shells: Path) -> Figure:
    """A figure of merit by CrystFEL's compare_hkl."""
    said = Stopwatch().run(
        ["compare_hkl", *lists, "-y", POINT_GROUP, "-p", cell, f"--fom={fom}", f"--nshells={SHELLS}"]
        + [f"--shell-file={shells}"]
    )
    overall = re.search(r"Overall [^=]*= *([-+.\deE]+|-?nan)", said)
    pairs = re.search(r"(\d+) reflection pairs? accepted", said)
    if overall is None or pairs is None:
        raise RuntimeError(f"compare_hkl gave no overall {fom}: {said.strip().splitlines()[-1]}")
    table = [line.split() for line in shells.read_text(encoding="utf-8").splitlines()[1:]]
    return Figure(float(overall[1]), int(pairs[1]), [float(row[1]) for row in table], [float(row[3]) for row in table])
