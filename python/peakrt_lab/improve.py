"""The data engine: a model made better on an experiment's own frames, round by round, without a human. Needs torch.

A round curates the frames that indexed, labels and fits their peaks, retrains, finds and indexes with the new model,
compares it with the old one on frames that never teach, and keeps it only if it is better (Wang et al. 2025, PeakNet,
section 2; what differs is said in docs/improve.md). Every step leaves its result whole in the folder and is not done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from peakrt.config import CandidateConfig, HitConfig, OutputConfig
from peakrt.cxi.columns import CAMERA_LENGTH, PHOTON_ENERGY
from peakrt.cxi.learned_file import read_learned
from peakrt.cxi.outputs import OutputLock, companion_paths, fingerprints, unfinished_path, whole_file
from peakrt.cxi.reader import SlabPeaks, read_cxi_peaks
from peakrt.cxi.writer import CxiWriter, write_companions
from peakrt.event import Event
from peakrt.finder import PeakFinder
from peakrt.models.model_file import Model, load_model
from peakrt.pipeline import find_run
from peakrt.sources import Source
from peakrt.sources.open import FileSource
from peakrt_geometry.crystfel import format_geom

from . import dataset
from .adapt import (
    LEAST_PATTERNS,
    LEAST_PEAKS,
    LEAST_PRECISION,
    REPLAY_SEED,
    STRENGTH,
    AdaptConfig,
    Lesson,
    open_network,
    retrain,
    write_adapted,
)
from .candidate_network import predict
from .compare import cxi_numbers, match, stream_patterns
from .curate import Classes, spread
from .dataset import Candidates
from .evaluate import INDEXERS
from .profile_fit import FITTED, fit_profiles, write_fits
from .work_folder import claim, commit, write_text

Say = Callable[[str], None]
Sets = dict[int, SlabPeaks]

#: Every third event never teaches: on these the models are compared.
HOLD_OUT = 3
#: Patterns that teach in a round; more bring little and take longer.
MOST_PATTERNS = 400
#: A label whose fit's deviance is so many times the median of all is left out: what lies there has no peak's profile.
_MOST_DEVIANCE = 5.0
#: F1 that may be lost where more is indexed.
_FORGIVEN = 0.02
_SAME_PX = 3.0  # two peaks no farther apart are one
#: Options with which indexamajig takes peaks alone: images are not copied into the rounds' files. Second lattices are
#: sought, so that their peaks are not taken for false ones.
_PEAKS_ALONE = ("--multi", "--no-image-data", "--no-revalidate")


@dataclass(frozen=True)
class ImproveConfig:
    """What is asked of the engine.

    cell : CrystFEL unit cell file; indexer : in INDEXERS; model : to start from; gain : ADU a photon, None: the
    geometry's or what the finder learns; rounds : most of them
    """

    cell: Path
    indexer: str = "crystfel"
    model: str = "default"
    gain: float | None = None
    rounds: int = 2
    min_peaks: int = HitConfig().min_peaks
    adapt: AdaptConfig = field(default_factory=lambda: AdaptConfig(steps=2000, learning_rate=3e-4))


class TooFewPatterns(ValueError):
    """Too few indexed patterns are explained by their crystals for a model to be taught."""


def look(source: Source, folder: Path, model: Model, config: ImproveConfig, *, processes: int) -> Path:
    """Find the peaks of all events with a model and index them; what is there is not done again, what was begun goes on.

    folder : of peaks.cxi, which has a row for each event and no frames, and of what the indexer leaves
    Returns the path of the latter.
    """
    folder.mkdir(exist_ok=True)
    cxi = folder / "peaks.cxi"
    if not cxi.exists():
        _find(source, cxi, model, config, processes)
    geometry = companion_paths(cxi)[1]
    if not geometry.exists():
        hits = np.flatnonzero([len(peaks) >= config.min_peaks for peaks in read_cxi_peaks(cxi)])
        write_companions(cxi, source.detector, hits, read_learned(cxi).gain)
    index, suffix = INDEXERS[config.indexer]
    results = cxi.with_suffix(suffix)
    if results.exists():
        return results
    for left in folder.glob("indexing-*"):
        shutil.rmtree(left, ignore_errors=True)
    more = {"extra": _PEAKS_ALONE} if config.indexer == "crystfel" else {}
    with tempfile.TemporaryDirectory(prefix="indexing-", dir=folder) as scratch:
        unfinished = Path(scratch) / results.name
        index(
            cxi, geometry, unfinished, cell=config.cell, processes=processes, min_peaks=config.min_peaks, **more
        )  # fmt: skip
        os.replace(unfinished, results)
    return results


def _find(source: Source, cxi: Path, model: Model, config: ImproveConfig, threads: int) -> None:
    finder = PeakFinder(CandidateConfig(model=model.name, gain=config.gain), geometry=source.detector)
    writer = CxiWriter(
        cxi, source.detector, hits=HitConfig(min_peaks=config.min_peaks),
        output=OutputConfig(events="all", images="none"),
        provenance={"model": model.digest, "inputs": [list(each) for each in fingerprints(source.files)]},
        resume=unfinished_path(cxi).exists(),
    )  # fmt: skip
    with writer:
        find_run(source, finder, writer, threads=threads)


@dataclass(frozen=True)
class Judged:
    """What a model does on the events held out, beside others, where any of them indexed.

    precision : share of its peaks that the crystals explain; recall : of all explained peaks that any of them found
    indexed : events with a crystal, among held_out; elsewhere : peaks an event where none of them indexed
    """

    precision: float
    recall: float
    f1: float
    found: int
    indexed: int
    held_out: int
    elsewhere: float


class Improvement:
    """An experiment, its folder and the rounds in it.

    source : of the frames, which can be read by number; folder : of everything that is made
    Raises ValueError if the folder holds the work on something else, FileExistsError if another process works there.
    """

    def __init__(self, source: Source, folder: Path, config: ImproveConfig, *, processes: int, say: Say) -> None:
        if not isinstance(source, FileSource):
            raise ValueError("frames are read again and again: give files, not a stream and not a facility's run")
        self.source, self.detector, self.folder, self.config = source, source.detector, folder, config
        self.processes, self._say = processes, say
        self._given = load_model(config.model)
        source.keep_open()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = OutputLock(folder / "improve")
        try:
            claim(folder, self._described(), what="the work", name="given.json")
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Improvement:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _described(self) -> dict[str, Any]:
        """What decides the outcome; the number of rounds does not, so that more can be asked for."""
        cell = self.config.cell.read_bytes()
        return {
            "peakrt": version("peakrt"),
            "inputs": [list(each) for each in fingerprints(self.source.files)],
            "geometry": _digest(format_geom(self.detector).encode()),
            "cell": {"file": str(self.config.cell.absolute()), "sha256": _digest(cell)},
            "model": {"name": self.config.model, "sha256": self._given.digest},
            "indexer": self.config.indexer,
            "gain": self.config.gain,
            "min_peaks": self.config.min_peaks,
            "adapt": asdict(self.config.adapt),
            "held_out": HOLD_OUT,
            "most_patterns": MOST_PATTERNS,
        }

    def run(self) -> list[dict[str, Any]]:
        """Go from round to round until one brings nothing, has too few patterns, or all are done; gives the report of each.

        The best model is ``model.onnx`` in the folder, if any is better than the given one.
        Raises ValueError where nothing can be learned, RuntimeError where the indexer fails, OSError.
        """
        self._look(0, self._given)
        reports: list[dict[str, Any]] = []
        model = self._given
        for number in range(1, self.config.rounds + 1):
            try:
                report = self._round(number, model)
            except TooFewPatterns as error:
                if number == 1:
                    raise
                self._say(f"round {number}: not begun: {error}")
                break
            reports.append(report)
            self._say(f"round {number}: {'kept' if report['kept'] else 'not kept'}: {report['why']}")
            if not report["kept"]:
                break
            model = self.model(number)
            for name in ("model.onnx", "model.json"):
                _copy(self._at(number) / name, self.folder / name)
        return reports

    # A round

    def _round(self, number: int, model: Model) -> dict[str, Any]:
        """Make and judge the model of a round; gives its report."""
        folder = self._at(number)
        report = folder / "report.json"
        if report.exists():
            return json.loads(report.read_text(encoding="utf-8"))
        folder.mkdir(exist_ok=True)
        counts = self._teach(number, model)
        trained = self._retrain(number, model, counts)
        result: dict[str, Any] = {"round": number, "labelled_by": model.digest, "teaching": counts, "training": trained}
        if trained["written"]:
            self._look(number, self.model(number))
            result |= self._compare(number)
        else:
            result |= {"kept": False, "why": "the retrained model has forgotten too much of simulated scenes"}
        write_text(report, json.dumps(result, indent=1))
        return result

    def _look(self, number: int, model: Model) -> None:
        """Find and index with a round's model, unless that is done."""
        self._say(f"round {number}: finding and indexing with {self._name_of(number)}, where that is not done yet")
        look(self.source, self._at(number), model, self.config, processes=self.processes)

    @cached_property
    def gain(self) -> float:
        """ADU a photon: given, of the geometry, or what the finder learned. Raises ValueError where nothing tells."""
        gain = self.config.gain or self.detector.photon_gain or read_learned(self._at(0) / "peaks.cxi").gain
        if gain is None:
            raise ValueError("the gain is not known and the frames do not tell it: give it with --gain")
        return gain

    def _teach(self, number: int, model: Model) -> dict[str, Any]:
        """Choose the patterns that teach, label their candidates and fit their peaks, unless that is done."""
        folder = self._at(number)
        note = folder / "patterns.json"
        if note.exists():
            return json.loads(note.read_text(encoding="utf-8"))["counts"]
        found, seen = self._seen(number - 1)
        lessons = {
            event: lesson for event, lesson in seen.items() if event % HOLD_OUT and len(lesson.pattern.predicted)
        }
        rows = _admitted(lessons, found, Classes.of(self.detector))
        self._say(f"round {number}: {len(rows)} of {len(lessons)} indexed patterns are explained and teach")
        if len(rows) < LEAST_PATTERNS:
            raise TooFewPatterns(
                f"{len(rows)} of {len(lessons)} indexed patterns can teach, at least {LEAST_PATTERNS} are needed: each "
                f"with {LEAST_PEAKS} peaks of which its crystals explain {LEAST_PRECISION:.0%}; "
                "check the geometry and the cell, or bring more frames"
            )
        chosen = sorted(rows, key=lambda row: int(row["event"]))
        data, fits = self._label([row["event"] for row in chosen], lessons, model)
        misfits = _leave_out_misfits(data, np.concatenate(list(fits.values())))
        with whole_file(folder / "labels.npz") as started, started.open("wb") as file:
            np.savez_compressed(file, numbers=data.numbers, labels=data.labels, scene=data.scene)
        write_fits(folder / "fits.h5", list(fits.values()), list(fits))
        counts = {
            "indexed": len(lessons), "patterns": len(chosen), "peaks": int((data.labels == 1).sum()),
            "not_peaks": int((data.labels == 0).sum()), "left_out": int((data.labels == 2).sum()),
            "fitted": int(sum((fit["end"] == FITTED).sum() for fit in fits.values())),
            "misfits": misfits,
        }  # fmt: skip
        write_text(note, json.dumps({"counts": counts, "patterns": chosen}, indent=1))
        return counts

    def _label(
        self, events: list[int], lessons: Mapping[int, Lesson], model: Model
    ) -> tuple[Candidates, dict[int, npt.NDArray[np.void]]]:
        """Candidates of chosen events with labels, and the fits of those that are peaks."""
        network = open_network(model)
        parts: list[Candidates] = []
        fits: dict[int, npt.NDArray[np.void]] = {}
        for number, event, proposer in dataset.proposed(self._events(events), self.detector, self.gain):
            numbers = proposer.describe()
            candidates = proposer.candidates
            labels = lessons[number].label(candidates, numbers[:, STRENGTH], predict(network, numbers), doubt=False)
            fits[number] = fit_profiles(
                event.frame, candidates[labels == 1], gain=self.gain, mask=event.good(self.detector.mask),
                asics=self.detector.asics,
            )  # fmt: skip
            parts.append(Candidates(numbers, labels, np.full(len(labels), number)))
        return dataset.join(parts), fits

    def _retrain(self, number: int, model: Model, counts: dict[str, Any]) -> dict[str, Any]:
        """Retrain the given model on a round's labels and write it, unless that is done; gives how it went.

        Not the last round's: what each of them forgets would add up, and whatever it was taught wrong would stay.
        """
        folder = self._at(number)
        note = folder / "training.json"
        if note.exists():
            return json.loads(note.read_text(encoding="utf-8"))
        config = self.config.adapt
        replay_at = {"seed": REPLAY_SEED, "first": 0, "scenes": config.replay_scenes}
        self._say(f"round {number}: simulating what goes along, where it is not there yet")
        for _ in dataset.generate(self.folder / "scenes", processes=self.processes, shard=10, **replay_at):
            pass
        replay = dataset.load(self.folder / "scenes", shard=10, **replay_at)
        with np.load(folder / "labels.npz", allow_pickle=False) as file:
            data = Candidates(file["numbers"], file["labels"], file["scene"])
        self._say(f"round {number}: retraining on {counts['peaks']} peaks of {counts['patterns']} patterns")
        gently = replace(config, steps=max(1, config.steps // 3), learning_rate=config.learning_rate / 3)
        for way in (config, gently):  # the second only if the first forgets too much
            network, outcome = retrain(self._given, data, replay, way)
            if not outcome.forgets:
                break
        result = {"written": not outcome.forgets, "learning_rate": way.learning_rate, **asdict(outcome)}
        if result["written"]:
            record = self._provenance(number, model, counts, result)
            write_adapted(folder / "model.onnx", self._given, network, {"improved": record})
            write_text(folder / "model.json", json.dumps(record, indent=1))
        write_text(note, json.dumps(result, indent=1))
        return result

    def _provenance(
        self, number: int, model: Model, counts: dict[str, Any], training: dict[str, Any]
    ) -> dict[str, Any]:
        """From frames to model: what went into a round's model, and into the model that labelled."""
        patterns = json.loads((self._at(number) / "patterns.json").read_text(encoding="utf-8"))["patterns"]
        return {
            "round": number, "from": self._given.digest, "labelled_by": model.digest,
            "before": model.provenance.get("improved"), "commit": commit(), "indexed_by": self._indexed_by(number - 1),
            **self._described(), "events": [row["event"] for row in patterns], "teaching": counts, "training": training,
        }  # fmt: skip

    # Old against new

    def _compare(self, number: int) -> dict[str, Any]:
        """Judge a round's model and the one it came from, and decide which is kept."""
        old, new = self.judge([number - 1, number])
        before, after = ({event for event in self._seen(n)[1] if event % HOLD_OUT == 0} for n in (number - 1, number))
        gained, lost = len(after - before), len(before - after)
        kept, why = decide(old, new, gained, lost)
        return {"kept": kept, "why": why, "old": asdict(old), "new": asdict(new), "gained": gained, "lost": lost}

    def judge(self, rounds: Sequence[int]) -> list[Judged]:
        """What the models of some rounds do on the events held out, against the crystals that the first of them has."""
        seen = [self._seen(number) for number in rounds]
        held = range(0, len(self.source), HOLD_OUT)
        tallies = [_Tally() for _ in rounds]
        pooled = blank = 0
        for event in held:
            lessons = [lessons.get(event) for _, lessons in seen]
            peaks = [found.get(event, _NO_PEAKS) for found, _ in seen]
            lesson = next((lesson for lesson in lessons if lesson is not None), None)
            blank += lesson is None
            pool = _NO_PEAKS
            for tally, own, these in zip(tallies, lessons, peaks, strict=True):
                if lesson is None:
                    tally.elsewhere += len(these)
                    continue
                explained = these.only(lesson.explained(these))
                pool = _union(pool, explained)
                tally.indexed += own is not None
                tally.found += len(these)
                tally.explained += len(explained)
            pooled += len(pool)
        return [tally.judged(pooled, len(held), blank) for tally in tallies]

    # What is in the folder

    def _at(self, number: int) -> Path:
        return self.folder / f"round-{number}"

    def model(self, number: int) -> Model:
        """The model of a round; of round 0, the given one."""
        return load_model(str(self._at(number) / "model.onnx")) if number else self._given

    def _name_of(self, number: int) -> str:
        return f"the model of round {number}" if number else f"the model {self.config.model}"

    def _seen(self, number: int) -> tuple[Sets, dict[int, Lesson]]:
        """What a round's model found, and the events that indexed, by their numbers."""
        cxi = self._at(number) / "peaks.cxi"
        numbers = cxi_numbers(cxi)
        with h5py.File(cxi, "r") as file:
            beam = {
                event: (None if np.isnan(energy) else float(energy), None if np.isnan(length) else 1e-3 * float(length))
                for event, energy, length in zip(numbers, file[PHOTON_ENERGY][:], file[CAMERA_LENGTH][:], strict=True)
            }
        patterns = stream_patterns(cxi.with_suffix(INDEXERS[self.config.indexer][1]), self.detector)
        return dict(zip(numbers, read_cxi_peaks(cxi), strict=True)), {
            event: Lesson(self.detector, pattern, *beam[event])
            for event, pattern in patterns.items()
            if pattern.crystals
        }

    def _indexed_by(self, number: int) -> str:
        """Name and version of a round's indexer, where its results say it."""
        stream = (self._at(number) / "peaks.cxi").with_suffix(".stream")
        if not stream.exists():
            return self.config.indexer
        with stream.open(encoding="utf-8", errors="replace") as file:
            head = [file.readline().strip() for _ in range(2)]
        return head[1].removeprefix("Generated by ")

    def _events(self, numbers: Iterable[int]) -> Iterator[tuple[int, Event]]:
        """Events of the run by their numbers."""
        for number in numbers:
            yield number, next(iter(self.source.events(number)))


_NO_PEAKS = SlabPeaks(*(np.empty(0) for _ in range(4)))


def _union(a: SlabPeaks, b: SlabPeaks) -> SlabPeaks:
    """The peaks of a, and those of b that are none of them."""
    new = np.ones(len(b), bool)
    new[match(a, b, distance=_SAME_PX)[1]] = False
    more = b.only(new)
    return SlabPeaks(*(np.r_[getattr(a, name), getattr(more, name)] for name in ("ss", "fs", "intensity", "snr")))


@dataclass
class _Tally:
    """Counts of one model over the events held out."""

    found: int = 0
    explained: int = 0
    indexed: int = 0
    elsewhere: int = 0

    def judged(self, pooled: int, held_out: int, blank: int) -> Judged:
        """Pooled : explained peaks that either model found; blank : events where neither indexed."""
        return Judged(
            self.explained / max(1, self.found), self.explained / max(1, pooled),
            2 * self.explained / max(1, self.found + pooled), self.found, self.indexed, held_out,
            self.elsewhere / max(1, blank),
        )  # fmt: skip


def decide(old: Judged, new: Judged, gained: int, lost: int) -> tuple[bool, str]:
    """Whether a new model is kept, and why.

    gained, lost : events that index with the new one only, with the old one only. Either number is chance where they
    differ by no more than the square root of their sum (McNemar, Psychometrika 12 (1947) 153).
    """
    more, chance = gained - lost, (gained + lost) ** 0.5
    indexing = f"{gained} more events indexed and {lost} fewer"
    f1 = f"F1 {old.f1:.4f} before, {new.f1:.4f} after"
    if more < -chance:
        return False, f"fewer events index: {indexing}"
    if more > chance and new.f1 > old.f1 - _FORGIVEN:
        return True, f"more events index: {indexing}; {f1}"
    if new.f1 > old.f1:
        return True, f"its peaks agree better with the crystals: {f1}; {indexing}"
    return False, f"it is no better: {f1}; {indexing}"


def _admitted(lessons: Mapping[int, Lesson], found: Sets, classes: Classes) -> list[dict[str, Any]]:
    """The patterns that may teach, at most MOST_PATTERNS, in the order in which they add kinds of peaks."""
    rows, counts = [], []
    for event, lesson in lessons.items():
        explained = lesson.explained(found[event])
        if explained.sum() < LEAST_PEAKS or explained.mean() < LEAST_PRECISION:
            continue
        rows.append({"event": event, "peaks": len(explained), "precision": round(float(explained.mean()), 4)})
        counts.append(classes.count(found[event].only(explained)))
    return [rows[k] for k in spread(np.array(counts), MOST_PATTERNS)] if rows else []


def _leave_out_misfits(data: Candidates, fits: npt.NDArray[np.void]) -> int:
    """Leave out the labels of peaks whose fits are much worse than usual; gives their number.

    fits : of the candidates that are labelled as peaks, in their order. A fit that could not be made says nothing.
    """
    at = np.flatnonzero(data.labels == 1)
    done = fits["end"] == FITTED
    if not done.any():
        return 0
    bad = done & (fits["deviance"] > _MOST_DEVIANCE * np.median(fits["deviance"][done]))
    data.labels[at[bad]] = 2
    return int(bad.sum())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _copy(source: Path, target: Path) -> None:
    """Copy a file, which gets its name when it is whole."""
    with whole_file(target) as started:
        shutil.copyfile(source, started)
