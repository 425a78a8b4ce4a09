"""The PEAKRT_* environment variables: what each means and which values it takes, in one table.

They are for jobs that keep their own code, such as a psana or OM job with one changed import (docs/hosts.md lists them). An
empty variable counts as not set.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

log = logging.getLogger("peakrt")


class Variable(NamedTuple):
    """One variable: parse raises ValueError with what was expected; default is what counts where it is not set."""

    parse: Callable[[str], Any]
    default: Any
    meaning: str


def _word(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(" or ".join(words))
        return text

    return parse


def _yes_or_no(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        raise ValueError("1, true, yes or on, or 0, false, no or off")
    return word in ("1", "true", "yes", "on")


def _gain(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError("a number of ADU a photon, above 0")
    return value


VARIABLES = {
    "PEAKRT_MODE": Variable(
        _word("compat", "model"),
        "compat",
        "compat: the algorithm of the replaced function; model: the candidate finder",
    ),
    "PEAKRT_GEOMETRY": Variable(
        Path, None, "geometry of the frames, for the candidate finder: CrystFEL's .geom or psana's .data"
    ),
    "PEAKRT_GAIN": Variable(
        _gain, None, "data units a photon, for the candidate finder: the photon energy where data are in keV"
    ),
    "PEAKRT_LEARNED": Variable(Path, None, "CXI of peakrt find whose gain and bad pixels the candidate finder takes"),
    "PEAKRT_BAD_PIXELS": Variable(
        _word("keep", "learn"), "keep", "learn: each process learns to leave out pixels that stay bright"
    ),
    "PEAKRT_SERVE": Variable(_yes_or_no, False, "whether one server for the node finds for all its processes"),
    "PEAKRT_CACHE": Variable(Path, None, "folder of compiled TensorRT engines, instead of ~/.cache/peakrt"),
    "PEAKRT_CCTBX": Variable(Path, None, "folder of a cctbx, for peakrt-lab evaluate with a DIALS that lacks stills"),
}
#: Of the tests and of the build, not of the package.
_OTHERS = ("PEAKRT_PSANA_PYTHON", "PEAKRT_OM_PYTHON", "PEAKRT_CUDA")


def setting(name: str) -> Any:
    """Value of a variable, or its default. Raises ValueError, in one line, for a value that it does not take."""
    variable, text = VARIABLES[name], os.environ.get(name, "")
    if not text:
        return variable.default
    try:
        return variable.parse(text)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}, it should be {error}") from None


def warn_of_unknown() -> None:
    """Log each PEAKRT_* variable of the environment that is none of ours: most likely it is misspelt."""
    for name in sorted(os.environ):
        if name.startswith("PEAKRT_") and name not in VARIABLES and name not in _OTHERS:
            log.warning("%s is no variable of PeakRT and has no effect: there are %s", name, ", ".join(VARIABLES))
