"""LCLS runs by name: through psana2 or psana1, whichever is installed."""

from __future__ import annotations

from peakrt.extras import to_install
from peakrt.sources import Source
from peakrt_geometry import Detector

KEYS = {"exp", "run", "dir", "calib", "events"}


def open_run(text: str, geometry: Detector | None, name: str | None) -> Source:
    """Open ``exp=...,run=...[,dir=FOLDER][,calib=none][,events=N]``; name : of the detector.

    Raises ValueError for a key or a detector that is not there, ImportError, with the remedy, without psana.
    """
    keys = parse(text)
    try:
        import psana
    except ImportError as error:
        raise ImportError(f"runs need psana, and MPI libraries it can load: {to_install('psana')} ({error})") from error
    calibrated, events = "calib" not in keys, int(keys.get("events", "0"))
    if hasattr(psana, "EventId"):  # psana1; psana2 has none
        from .psana1_source import Psana1Source

        if not calibrated:
            raise ValueError(f"{text}: calib=none is for psana2")
        return Psana1Source(
            keys["exp"], int(keys["run"]), name, folder=keys.get("dir"), geometry=geometry, max_events=events
        )
    from .psana2_source import Psana2Source

    return Psana2Source(
        keys["exp"], int(keys["run"]), name, folder=keys.get("dir"), calibrated=calibrated, geometry=geometry,
        max_events=events,
    )  # fmt: skip


def parse(text: str) -> dict[str, str]:
    """Keys of a run's name. Raises ValueError for those that are missing, unknown or no number."""
    keys = dict(part.partition("=")[::2] for part in text.split(","))
    if not keys.keys() <= KEYS or not {"exp", "run"} <= keys.keys():
        raise ValueError(
            f"{text}: expected exp=NAME,run=NUMBER and, if need be, {', '.join(sorted(KEYS - {'exp', 'run'}))}"
        )
    for key in ("run", "events"):
        if not keys.get(key, "0").isdigit():
            raise ValueError(f"{text}: {key} should be a number")
    if keys.get("calib", "none") != "none":
        raise ValueError(f"{text}: calib can only be none; otherwise psana asks its calibration service")
    return keys
