"""What a monitor knows, in a file that the run holds open: one that is started again goes on from there."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .history import History
from .statistics import Newest, Number, RunStatistics


def save(run: RunStatistics, file: BinaryIO) -> None:
    """Put a run's statistics into a file, in place of what it holds; pictures are left out, for frames keep coming."""
    buffer = io.BytesIO()
    words = {
        "counts": run.counts, "numbers": run.numbers, "reason": run.unusable_reason, "last_hit": run.last_hit_event,
        "first_at": run.first_at, "last_at": run.last_at, "names": list(run.number_history),
    }  # fmt: skip
    np.savez(buffer, allow_pickle=False, words=np.array(json.dumps(words)), **_arrays(run))
    file.seek(0)
    file.truncate()
    file.write(buffer.getvalue())
    file.flush()


def restore(run: RunStatistics, file: BinaryIO) -> bool:
    """Take up what save has left; False where it left nothing whole, and the run's statistics begin anew."""
    file.seek(0)
    try:
        with np.load(io.BytesIO(file.read()), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        words = json.loads(str(arrays.pop("words")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False
    run.counts.update(words["counts"])
    run.numbers.update(words["numbers"])
    run.unusable_reason, run.last_hit_event = words["reason"], words["last_hit"]
    run.first_at, run.last_at = words["first_at"], words["last_at"]
    run.number_history.update({name: Number.of_width(run.whole.width, run.recent.width) for name in words["names"]})
    for name, history in _histories(run).items():
        history.restore({key: arrays[f"{name}/{key}"] for key in history.state()})
    run.peaks_a_frame, run.peakogram = arrays["peaks_a_frame"], arrays["peakogram"]
    for name, newest in _newest(run).items():
        newest.values[:] = arrays[name]
        newest.n = int(arrays[f"{name}_n"])
    return True


def _arrays(run: RunStatistics) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {"peaks_a_frame": run.peaks_a_frame, "peakogram": run.peakogram}
    for name, newest in _newest(run).items():
        arrays |= {name: newest.values, f"{name}_n": np.array(newest.n)}
    for name, history in _histories(run).items():
        arrays |= {f"{name}/{key}": array for key, array in history.state().items()}
    return arrays


def _newest(run: RunStatistics) -> dict[str, Newest]:
    return {"cells": run.cells_seen, "shifts": run.shifts_seen}


def _histories(run: RunStatistics) -> dict[str, History]:
    found = {"whole": run.whole, "recent": run.recent, "profiles": run.profiles}
    for name, number in run.number_history.items():
        found |= {f"number/{name}": number.whole, f"number_recent/{name}": number.recent}
    return found
