"""Events of an LCLS run through psana1 (LCLS-I), in one process or, every n-th event each, on the ranks of an MPI job.

psana1 can only be installed at LCLS. This file is tested against a module of its shape, not against itself.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt.event import Event
from peakrt_geometry import Detector, parse_psana_geometry

from .beam import sensible_energy, with_energy

log = logging.getLogger("peakrt")
#: Rank and size of an MPI job, as Open MPI, MPICH and Slurm tell them.
_RANK = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)


class Psana1Source:
    """Events of one detector of a run; frames are one (1, ss, fs) slab of all its segments, as in LUTE's CXI.

    detector : psana's name or alias; geometry : None takes the one deployed for the run
    done : time stamps of events to leave out, for a run that is resumed
    """

    #: psana1 is read from the thread that asks.
    read_ahead = False

    dtype: np.dtype[Any] | None = None  # told by the first event
    files: Sequence[Path] = ()  # the host opens them

    def __init__(
        self,
        exp: str,
        run: int,
        detector: str | None,
        *,
        folder: str | None = None,
        geometry: Detector | None = None,
        max_events: int = 0,
    ) -> None:
        import psana

        if detector is None:
            raise ValueError(f"exp={exp},run={run}: say which detector (--detector)")
        self.done: frozenset[tuple[int, int]] = frozenset()
        self._psana: Any = psana
        self._name, self._run, self._max = f"exp={exp},run={run}", run, max_events
        where = "" if folder is None else f":dir={folder}"
        self._events = psana.DataSource(f"exp={exp}:run={run}:smd{where}")
        try:
            self._detector = psana.Detector(detector)
        except KeyError as error:
            raise ValueError(f"{self._name} has no detector {detector}") from error
        self._beam = self._open_beam()
        self._mask: npt.NDArray[np.bool_] | None = None
        self.detector = geometry or self._own_geometry()
        if self._beam is not None:
            self.detector = with_energy(self.detector)

    def _open_beam(self) -> Any:
        try:
            return self._psana.Detector("EBeam")
        except KeyError:
            return None

    def _own_geometry(self) -> Detector:
        path = self._detector.pyda.geoaccess(self._run)
        if path is None:
            raise ValueError(f"{self._name}: no geometry is deployed for this detector, give one with -g")
        with open(path.path, encoding="utf-8", errors="replace") as file:
            return parse_psana_geometry(file.read(), name=os.path.basename(path.path))

    def events(self, start: int = 0) -> Iterator[Event]:
        """Give this rank's events from its number start on; those without this detector, and done ones, are left out."""
        rank, size = _place_in_job()
        number = 0
        for count, event in enumerate(self._events.events()):
            if self._max and count >= self._max:
                return
            if count % size != rank:
                continue
            identity = event.get(self._psana.EventId)
            seconds, nanoseconds = (int(part) for part in identity.time())
            if (seconds, nanoseconds) in self.done:
                continue
            stack = self._detector.calib(event)
            if stack is None:
                continue
            number += 1
            if number <= start:
                continue
            beam = None if self._beam is None else self._beam.get(event)
            yield Event(
                self._slab(stack), self._good(event), self._name, f"//{seconds}-{nanoseconds}",
                timestamp=(seconds, nanoseconds, int(identity.fiducials())),
                photon_energy_eV=None if beam is None else sensible_energy(beam.ebeamPhotonEnergy()),
            )  # fmt: skip

    def _slab(self, stack: npt.ArrayLike) -> npt.NDArray[Any]:
        array = np.array(stack)  # a copy: psana may fill its buffer again
        if array.size != int(np.prod(self.detector.shape)):
            raise ValueError(
                f"{self._name}: frames of shape {array.shape} do not fit the geometry's {self.detector.shape}"
            )
        return array.reshape(self.detector.shape)

    def _good(self, event: Any) -> npt.NDArray[np.bool_] | None:
        if self._mask is None:
            mask = self._detector.mask(
                event, calib=True, status=True, edges=True, central=True, unbond=True, unbondnbrs=True
            )
            if mask is None:
                log.warning("%s: no mask is deployed for this detector, every pixel counts", self._name)
                mask = np.ones(self.detector.shape, bool)
            self._mask = np.asarray(mask).reshape(self.detector.shape) != 0
        return self._mask


def _place_in_job() -> tuple[int, int]:
    for rank, size in _RANK:
        if int(os.environ.get(size, "1") or 1) > 1:
            return int(os.environ.get(rank, "0")), int(os.environ[size])
    return 0, 1
