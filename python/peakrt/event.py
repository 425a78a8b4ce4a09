"""One detector frame and what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Event:
    """One shot.

    frame : (panel, ss, fs), any real dtype, as the detector wrote it
    mask : (panel, ss, fs) bool, True = good, or None: what the data file itself says of its pixels
    file, name : where it came from; name is CrystFEL's event, e.g. ``//12`` ("" for a file with one frame)
    camera_length_m, photon_energy_eV : where the data file has them
    timestamp : seconds, nanoseconds, fiducial, where known
    arrived_s : time.monotonic when its message came, None for what is read from files
    artifacts : (panel, ss, fs) bool, pixels whose light is no peak's and no smooth scatter; None where nobody asked
    """

    frame: npt.NDArray[Any]
    mask: npt.NDArray[Any] | None = None
    file: str = ""
    name: str = ""
    camera_length_m: float | None = None
    photon_energy_eV: float | None = None
    timestamp: tuple[int, int, int] = (0, 0, 0)
    arrived_s: float | None = None
    artifacts: npt.NDArray[np.bool_] | None = None

    def good(self, known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """The pixels that are good by what is known of the detector and by the event itself: (panel, ss, fs)."""
        return known if self.mask is None else known & self.mask

    def __str__(self) -> str:
        return f"{self.file} {self.name}".strip()
