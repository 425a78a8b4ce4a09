"""The data engine on simulated experiments that the shipped model does badly on: the curve by round, against the truth.

    python -m benchmarks.improve FOLDER [-n 210] [--rounds 2] [--experiments rings blur streaks]

Each experiment is one crystal form on one detector of a megapixel. ``peakrt-lab improve`` is given its frames and the cell, and
never the truth. The models of all rounds are then judged on as many frames of another seed, whose truth is known: F1, precision and
recall of peaks with an SNR of at least 4, false peaks a blank frame, and the yields of indexing. Needs indexamajig, or DIALS.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from benchmarks.one_panel import one_panel
from peakrt.cxi.reader import SlabPeaks
from peakrt.models.model_file import Model
from peakrt.sources import open_source
from peakrt_geometry import read_geom
from peakrt_geometry.crystfel import parse_geom
from peakrt_lab.compare import Agreement, compare, cxi_sets, near_any, stream_sets, truth_sets
from peakrt_lab.evaluate import INDEXERS, IndexingResult, read_result
from peakrt_lab.improve import ImproveConfig, Improvement, look
from peakrt_lab.simulate import Response, Scene, Simulator
from peakrt_lab.truth import Truth, write_run

#: Hen egg-white lysozyme.
CELL, SPACE_GROUP = (79.1, 79.1, 38.4, 90.0, 90.0, 90.0), "P 43 21 2"
#: What a CCD with a wide point spread and long tails makes of photons.
_CCD = Response(
    psf=2.2, psf_after=True, psf_tail=0.4, read_noise=0.4, offset=10.0, dtype="u2", low=0, high=65535
)  # fmt: skip
EXPERIMENTS = {
    "rings": (
        Scene(background=(3.0, 30.0), photons=(50.0, 1000.0), ice=1.0, salt=1.0, jet=1.0, shadow=0.5, zingers=50.0, size_px=(0.3, 1.0)),
        Response(psf=0.5, read_noise=0.2),
    ),
    "blur": (
        Scene(background=(1.0, 30.0), photons=(100.0, 2000.0), ice=1.0, salt=1.0, jet=0.5, zingers=30.0, bandwidth=(0.004, 0.012), size_px=(0.5, 2.0)),
        _CCD,
    ),
    "streaks": (
        Scene(background=(0.1, 20.0), photons=(50.0, 1500.0), bandwidth=(0.006, 0.015), size_px=(0.5, 3.0)),
        Response(psf=0.5),
    ),
}  # fmt: skip


def simulate(path: Path, name: str, events: int, seed: int) -> None:
    """A run of an experiment, unless it is there. Raises ValueError if what is there has another number of events."""
    if path.exists():
        if len(Truth(path)) != events:
            raise ValueError(f"{path} has {len(Truth(path))} events, not {events}: choose another folder")
        return
    scene, response = EXPERIMENTS[name]
    detector = parse_geom(one_panel(1024, "adu_per_photon = 1\n").replace("res = 5000", "res = 8000"), name="one.geom")
    simulator = Simulator(detector, scene, response, cell=CELL, space_group=SPACE_GROUP, seed=seed)
    write_run(path, simulator, (simulator.event(number) for number in range(events)))


@dataclass(frozen=True)
class Judged:
    """What a model does on a run whose truth is known."""

    crystals: int
    peaks: Agreement
    indexing: IndexingResult

    @property
    def rate(self) -> float:
        """Share of hits that index."""
        return self.indexing.indexed / max(1, self.indexing.hits)

    def row(self) -> str:
        """The columns of a table."""
        peaks, indexing = self.peaks, self.indexing
        return (
            f"{peaks.f1:8.3f}{peaks.precision:11.3f}{peaks.recall:8.3f}{peaks.blank_found / max(1, peaks.blank_events):8.2f}"
            f"{self.crystals:10}{indexing.hits:6}{indexing.false_hits:7}{len(indexing.orientation_deg):7}{indexing.wrong:7}"
            f"{self.rate:7.3f}{np.median(indexing.orientation_deg or [np.nan]):8.4f}"
        )


def judge(run: Path, model: Model, config: ImproveConfig, at: Path) -> Judged:
    """Find and index with a model, and compare with the truth; at : folder of what it finds."""
    truth, detector = Truth(run), read_geom(run.with_suffix(".geom"))
    stream = look(open_source([str(run)], detector), at, model, config, processes=os.cpu_count() or 1)
    found = cxi_sets(at / "peaks.cxi")
    peaks = compare(truth_sets(run, detector), found, min_snr=4, blank=lambda event: not truth.hit[event])
    return Judged(int(truth.hit.sum()), peaks, read_result(stream, truth=truth, min_peaks=config.min_peaks))


def draw(path: Path, curves: dict[str, dict[int, Judged]]) -> None:
    """Draw F1 and the yields of each experiment by round."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    shown = {
        "F1 of peaks, by the truth": lambda judged: judged.peaks.f1,
        "hits that index, %": lambda judged: 100 * judged.rate,
        "crystals rightly indexed, %": lambda judged: 100 * len(judged.indexing.orientation_deg) / judged.crystals,
    }
    for axes, (title, value) in zip(figure.subplots(1, 3), shown.items(), strict=True):
        for name, curve in curves.items():
            axes.plot(list(curve), [value(judged) for judged in curve.values()], "o-", label=name)
        axes.set(title=title, xlabel="round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    figure.savefig(path, dpi=100)


def quality(run: Path, improve: Path, number: int, indexer: str) -> str:
    """How true the labels of a round are, and how much of the truth its predictions hold.

    improve : folder of the rounds, whose labels are of the patterns that the round before indexed
    """
    detector = read_geom(run.with_suffix(".geom"))
    truth = truth_sets(run, detector)
    with h5py.File(improve / f"round-{number}/fits.h5") as file:
        events, panels = file["row"][:], file["panel"][:]
        ss, fs = (file[f"middle_{axis}"][:] for axis in ("ss", "fs"))
    labelled = SlabPeaks(detector.to_slab(panels, ss), fs, np.ones(len(ss)), np.ones(len(ss)))
    right = sum(near_any(labelled.only(events == event), truth[event]).sum() for event in np.unique(events))
    stream = (improve / f"round-{number - 1}/peaks.cxi").with_suffix(INDEXERS[indexer][1])
    predicted = {event: peaks for event, peaks in stream_sets(stream, detector, predictions=True).items() if len(peaks)}
    clear = {event: truth[event].only(truth[event].snr >= 5) for event in predicted}
    held = sum(near_any(clear[event], peaks).sum() for event, peaks in predicted.items())
    return (
        f"  labels of round {number}: {right / max(1, len(ss)):.2%} of {len(ss)} are within 3 pixels of a true peak; of true peaks with "
        f"an SNR of 5 in what indexed, {held / max(1, sum(map(len, clear.values()))):.1%} are within 3 pixels of a prediction"
    )


def main() -> None:
    """Simulate, improve, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the runs and of what is made; a second call goes on")
    parser.add_argument("-n", "--events", type=int, default=210, help="of each run [210]")
    parser.add_argument("--rounds", type=int, default=2, help="[2]")
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--indexer", choices=INDEXERS, default="crystfel")
    parser.add_argument("--seed", type=int, default=11)
    parsed = parser.parse_args()
    print(
        f"{'experiment':11}{'round':>6}{'patterns':>9}{'peaks':>7}{'F1':>8}{'precision':>11}{'recall':>8}{'blank':>8}{'crystals':>10}{'hits':>6}"
        f"{'false':>7}{'right':>7}{'wrong':>7}{'rate':>7}{'deg':>8}",
        flush=True,
    )
    curves: dict[str, dict[int, Judged]] = {}
    for name in parsed.experiments:
        folder = parsed.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        run, fresh = folder / "run.cxi", folder / "fresh.cxi"
        simulate(run, name, parsed.events, parsed.seed)
        simulate(fresh, name, parsed.events, parsed.seed + 1)
        config = ImproveConfig(run.with_suffix(".cell"), parsed.indexer, rounds=parsed.rounds)
        source = open_source([str(run)], read_geom(run.with_suffix(".geom")))
        processes = os.cpu_count() or 1
        with Improvement(source, folder / "improve", config, processes=processes, say=lambda text: None) as work:
            reports = {0: None, **{report["round"]: report for report in work.run()}}
            for number, report in reports.items():
                teaching = {"patterns": "", "peaks": ""} if report is None else report["teaching"]
                row = f"{name:11}{number:6}{teaching['patterns']:>9}{teaching['peaks']:>7}"
                if report is not None and not report["training"]["written"]:
                    print(f"{row}  {report['why']}", flush=True)
                    continue
                judged = judge(fresh, work.model(number), config, folder / f"fresh-{number}")
                curves.setdefault(name, {})[number] = judged
                ended = "" if report is None or report["kept"] else f"  not kept: {report['why']}"
                print(row + judged.row() + ended, flush=True)
            for number in list(reports)[1:]:
                print(quality(run, folder / "improve", number, config.indexer), flush=True)
    draw(parsed.folder / "curves.png", curves)
    print(f"wrote {parsed.folder / 'curves.png'}")


if __name__ == "__main__":
    main()
