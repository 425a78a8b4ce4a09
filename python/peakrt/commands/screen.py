"""``peakrt screen``: which events of a run are hits, in probabilities, and which to keep, with a promise."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cxi.saved_peaks import has_peaks
from ..sources import is_stream
from . import find
from .find_report import check_json, write_json
from .options import add_geometry
from .program import Parser, add_command

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..screening.promise import Promise
    from ..screening.sample import Sample
    from ..screening.table import Probabilities

#: Of the lists, after the CXI's name without its ending.
LISTS = ("hit", "maybe", "miss", "keep", "audit")


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "screen", _screen, help="probabilities of Hit, Maybe and Miss; which events to keep",
        usage="%(prog)s PEAKS.cxi [options]  |  %(prog)s RUN [RUN ...] -o PEAKS.cxi [options] [-- options of peakrt find]",
        description="Say of each event of a CXI with peaks how likely it is a Hit (10 or more visible peaks), a Maybe (4 to "
        "9) or a Miss, and that it can be indexed; write lists of them; and choose which events to keep. Of a run without "
        "peaks these are found first. What follows -- is passed to peakrt find.",
    )  # fmt: skip
    parser.takes_rest = True
    parser.add_argument("inputs", nargs="+", metavar="IN", help="the CXI of peakrt find, or what peakrt find takes")
    add_geometry(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="PEAKS.cxi", help="of a run: CXI to write the peaks to")
    parser.add_argument(
        "--sample", type=Path, metavar="FILE",
        help="events of which it is known whether they matter: the .stream of a random part of the run, or lines of "
        "an event and Hit, Maybe or Miss",
    )  # fmt: skip
    parser.add_argument(
        "--keep-recall",
        type=float,
        metavar="SHARE",
        help="keep at least this share of the events that matter, as 0.995",
    )
    parser.add_argument(
        "--keep-above", type=float, metavar="P", help="keep what has at least this P(indexable), without a promise"
    )
    parser.add_argument(
        "--audit", type=float, default=0.01, metavar="SHARE", help="of what is dropped, kept at random [0.01]"
    )
    parser.add_argument("--reduce", type=Path, metavar="KEPT.cxi", help="write a CXI of the events that are kept")
    parser.add_argument("--no-write", action="store_true", help="do not add probabilities to a CXI that lacks them")
    parser.add_argument("--overwrite", action="store_true", help="replace lists and CXIs that are there")
    parser.add_argument("--json", metavar="FILE", help="write the numbers as JSON as well; - for the standard output")


def _screen(parsed: argparse.Namespace) -> int:
    import numpy as np

    from ..cxi.writer import write_list
    from ..screening.sample import read_sample
    from ..screening.table import add_probabilities, read_probabilities

    _check(parsed)
    cxi = _cxi_with_peaks(parsed)
    lists = {name: cxi.with_suffix(f".{name}.lst") for name in LISTS}
    _refuse(parsed, cxi, lists)
    found = read_probabilities(cxi)
    lines = [] if parsed.no_write or not add_probabilities(cxi, found) else [f"added the probabilities to {cxi}"]
    sample = None if parsed.sample is None else read_sample(parsed.sample, cxi, found)
    record = _summary(found)
    lines = [*_in_words(record, found), *lines]
    written = {name: np.flatnonzero(found.labels == k) for k, name in enumerate(LISTS[:3])}
    promise, threshold = _threshold(parsed, sample)
    if threshold is not None:
        keep, audit = _choose(found, threshold, parsed.audit)
        written |= {"keep": np.flatnonzero(keep), "audit": audit}
        lines += _said_of_choice(found, keep, audit, threshold, promise, sample)
        record |= {"threshold": threshold, "kept": int(keep.sum()), "audit": len(audit)}
        if promise is not None:
            record |= {"promise": promise.text(), "expected_loss": promise.expected_loss}
    for name, rows in written.items():
        write_list(lists[name], cxi, rows)
    lines.append("wrote " + ", ".join(str(lists[name]) for name in written))
    if parsed.reduce is not None:
        lines.append(_reduce(parsed.reduce, cxi, written, record))
    if parsed.json != "-":
        print("\n".join(lines))
    if parsed.json is not None:
        write_json(parsed.json, record)
    return 0


def _check(parsed: argparse.Namespace) -> None:
    """Raise ValueError or FileNotFoundError for options that could only fail later."""
    for name in ("keep_recall", "keep_above", "audit"):
        value = getattr(parsed, name)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"--{name.replace('_', '-')} is {value}, a share between 0 and 1 is expected")
    if parsed.keep_recall is not None and parsed.sample is None:
        raise ValueError("--keep-recall needs --sample: the stream of a random part of the run, or labels")
    if parsed.keep_recall is not None and parsed.keep_above is not None:
        raise ValueError("--keep-recall finds the threshold that --keep-above gives: leave one of them out")
    if parsed.reduce is not None and parsed.keep_recall is None and parsed.keep_above is None:
        raise ValueError("--reduce needs to know what to keep: --keep-recall with --sample, or --keep-above")
    if parsed.sample is not None and parsed.keep_recall is None:
        raise ValueError("--sample is what --keep-recall goes by: give a recall, as --keep-recall 0.995")
    if parsed.json is not None:
        check_json(parsed.json)


def _cxi_with_peaks(parsed: argparse.Namespace) -> Path:
    """The CXI that is given, or the one that peakrt find makes of the run."""
    if len(parsed.inputs) == 1 and not is_stream(parsed.inputs) and has_peaks(parsed.inputs[0]):
        if parsed.output is not None or parsed.rest:
            raise ValueError(f"{parsed.inputs[0]} has peaks: leave out -o and what follows --")
        return Path(parsed.inputs[0])
    if parsed.output is None:
        if not Path(parsed.inputs[0]).exists():
            raise FileNotFoundError(f"{parsed.inputs[0]} does not exist")
        raise ValueError(f"{parsed.inputs[0]} has no peaks: give -o PEAKS.cxi to find them")
    given = {"-g": parsed.geometry, "--camera-length": parsed.camera_length, "--photon-energy": parsed.photon_energy}
    options = [text for name, value in given.items() if value is not None for text in (name, str(value))]
    if parsed.overwrite:
        options.append("--overwrite")
    finds = Parser(prog="peakrt")
    find.add(finds.add_subparsers(required=True))
    arguments = ["find", *parsed.inputs, *options, "-o", str(parsed.output), "--events", "all", *parsed.rest]
    finding = finds.parse_args(arguments)
    finding.given = arguments
    if finding.run(finding) != 0 or not parsed.output.is_file():
        raise ValueError(f"no peaks were found for {parsed.output}")
    return Path(parsed.output)


def _refuse(parsed: argparse.Namespace, cxi: Path, lists: dict[str, Path]) -> None:
    """Refuse, before anything is written, what would replace something of the user's."""
    chosen = list(lists)[: 5 if parsed.keep_recall is not None or parsed.keep_above is not None else 3]
    outputs = [lists[name] for name in chosen]
    if parsed.reduce is not None:
        outputs += [parsed.reduce, *(parsed.reduce.with_suffix(ending) for ending in (".lst", ".geom"))]
        if not parsed.reduce.parent.is_dir():
            raise FileNotFoundError(f"folder {parsed.reduce.parent} of --reduce does not exist")
        if parsed.reduce.suffix in (".lst", ".geom"):
            raise ValueError(f"--reduce {parsed.reduce}: a {parsed.reduce.suffix} goes beside the CXI, call it .cxi")
    read = {path.resolve() for path in (cxi, cxi.with_suffix(".geom"), cxi.with_suffix(".lst"), parsed.sample) if path}
    for path in outputs:
        if path.resolve() in read:
            raise FileExistsError(f"{path} is read, or belongs to what is read: choose another name")
        if path.exists() and not parsed.overwrite:
            raise FileExistsError(f"{path} exists: replace it with --overwrite")


def _summary(found: Probabilities) -> dict[str, Any]:
    import numpy as np

    hit, maybe, miss = np.bincount(found.labels, minlength=3).tolist()
    return {
        "events": len(found), "absent": found.absent, "hit": hit, "maybe": maybe, "miss": miss,
        "expected_hit_or_maybe": float(found.classes[:, :2].sum()), "expected_indexable": float(found.indexable.sum()),
    }  # fmt: skip


def _in_words(record: dict[str, Any], found: Probabilities) -> list[str]:
    scored = "" if found.scored else "; the peaks have no scores, each counted as certain"
    lines = [
        f"{record['events']} events: {record['hit']} Hit, {record['maybe']} Maybe, {record['miss']} Miss; to be expected are "
        f"{record['expected_hit_or_maybe']:.1f} Hit or Maybe and {record['expected_indexable']:.1f} that index{scored}"
    ]
    if found.absent:
        lines.append(
            f"warning: {found.absent} events of the run are not in the CXI, and nothing is said of them: find with --events all"
        )
    return lines


def _threshold(parsed: argparse.Namespace, sample: Sample | None) -> tuple[Promise | None, float | None]:
    from ..screening.promise import keep_recall

    if sample is None or parsed.keep_recall is None:
        return None, parsed.keep_above
    promise = keep_recall(sample.scores[sample.matters], parsed.keep_recall)
    return promise, promise.threshold


def _choose(
    found: Probabilities, threshold: float, share: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Whether each event is kept for its score, and the rows that are kept for audit."""
    import numpy as np

    from ..screening.promise import audit_rows

    keep = found.indexable >= threshold
    return keep, audit_rows(np.flatnonzero(~keep), share)


def _said_of_choice(
    found: Probabilities,
    keep: npt.NDArray[np.bool_],
    audit: npt.NDArray[np.int64],
    threshold: float,
    promise: Promise | None,
    sample: Sample | None,
) -> list[str]:
    from ..screening.promise import differs, drift

    n = max(1, len(found))
    lines = [
        f"kept: {keep.sum()} events of P(indexable) >= {threshold:.3g}, and {len(audit)} of the others at random for audit; "
        f"{1 - (keep.sum() + len(audit)) / n:.1%} go"
    ]
    if promise is None or sample is None:
        return lines
    lines.append(f"promise: {promise.text()}")
    if differs(sample.scores, found.indexable):
        lines.append(
            "warning: the sample's probabilities are not those of the whole run: where it is no random part of it, of all events "
            "and not of the hits alone, the promise does not hold"
        )
    at = drift(sample.scores[sample.scores >= threshold], found.indexable[keep])
    if at is not None:
        row = int(keep.nonzero()[0][at])
        lines.append(
            f"drift: from event {row} on the kept events are not like the sample's: take a new sample from there on"
        )
    return lines


def _reduce(path: Path, cxi: Path, written: dict[str, npt.NDArray[np.int64]], record: dict[str, Any]) -> str:
    """Write the reduced CXI, its list and its geometry; returns what was written."""
    import numpy as np

    from ..cxi.outputs import whole_file
    from ..cxi.writer import write_list
    from ..screening.reduced import write_reduced

    rows = np.union1d(written["keep"], written["audit"])
    notes: dict[str, float | str] = {key: record[key] for key in ("threshold", "promise") if key in record}
    write_reduced(path, cxi, rows, np.isin(rows, written["audit"]), {**notes, "of": json.dumps(str(cxi.resolve()))})
    write_list(path.with_suffix(".lst"), path, np.flatnonzero(~np.isin(rows, written["audit"])))
    geometry = cxi.with_suffix(".geom")
    if geometry.is_file():
        with whole_file(path.with_suffix(".geom")) as started:
            started.write_bytes(geometry.read_bytes())
    before, after = cxi.stat().st_size, path.stat().st_size
    return f"wrote {path}, {len(rows)} events, {after / 1e6:.1f} of {before / 1e6:.1f} MB, with its .lst and .geom"
