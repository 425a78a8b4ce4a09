"""OM's processing layers for crystallography and Cheetah with our finder in them.

Start the monitor with ``python -m peakrt_plugin.om_processing`` in place of ``om_monitor.py``, with the same arguments: the
layers named CrystallographyProcessing and CheetahProcessing are then ours. (A ``processing_layer.py`` in the working folder,
as OM's manual has it, is found by OM 23.8.3 but not used.) The peaks are those of OM's own peakfinder8, faster, or with
PEAKRT_MODE=model in the environment the candidate finder's, for which the group ``peakfinder8_peak_detection`` needs no thresholds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from om.processing_layer import cheetah, crystallography

from peakrt_geometry import Detector, read_geom

from .mode import choose
from .om import THRESHOLDS, Peakfinder8PeakDetection, PeakList

log = logging.getLogger("peakrt")
_GROUP = "peakfinder8_peak_detection"


class PeakFinding:
    """In the place of om.lib.crystallography.CrystallographyPeakFinding: what OM asks of a peak finder."""

    def __init__(self, *, monitor_parameters: Any, geometry_information: Any) -> None:
        given = dict(monitor_parameters.get_parameter_group(group=_GROUP))
        if choose(None) == "model":
            given = {**THRESHOLDS, **given}
        radius = geometry_information.get_pixel_maps()["radius"]
        path = monitor_parameters.get_parameter_group(group="crystallography").get("geometry_file")
        self._finder = Peakfinder8PeakDetection(
            radius_pixel_map=radius,
            layout_info=geometry_information.get_layout_info(),
            crystallography_parameters=given,
            geometry=_geometry(path, radius.shape) if path else None,
        )

    def find_peaks(self, detector_data: npt.NDArray[Any]) -> PeakList:
        """Peaks of one slab (ss, fs)."""
        return self._finder.find_peaks(data=np.asarray(detector_data))


def _geometry(path: str, shape: tuple[int, ...]) -> Detector | None:
    """OM's geometry file for the candidate finder, which wants to know the panels; None where it is not of slabs of a shape."""
    try:
        geometry = read_geom(path)
    except ValueError as error:  # OM reads files that CrystFEL would refuse; it has given the radii
        log.warning("%s: the candidate finder is not told of its panels: %s", path, error)
        return None
    return geometry if geometry.shape == (1, *shape) else None


@contextmanager
def _finding_with(module: ModuleType) -> Iterator[None]:
    """OM's layer makes its finder by this name."""
    before = module.CrystallographyPeakFinding
    module.CrystallographyPeakFinding = PeakFinding  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.CrystallographyPeakFinding = before  # type: ignore[attr-defined]


class CrystallographyProcessing(crystallography.CrystallographyProcessing):
    """OM's monitor for serial crystallography."""

    def initialize_processing_node(self, *, node_rank: int, node_pool_size: int) -> None:
        """Initialise as OM does, with our finder."""
        with _finding_with(crystallography):
            super().initialize_processing_node(node_rank=node_rank, node_pool_size=node_pool_size)


class CheetahProcessing(cheetah.CheetahProcessing):
    """OM's Cheetah: hits and their peaks into HDF5 files."""

    def initialize_processing_node(self, *, node_rank: int, node_pool_size: int) -> None:
        """Initialise as OM does, with our finder."""
        with _finding_with(cheetah):
            super().initialize_processing_node(node_rank=node_rank, node_pool_size=node_pool_size)


def install() -> None:
    """Put our layers in the places of OM's."""
    import om.processing_layer as layers

    layers.CrystallographyProcessing = CrystallographyProcessing
    layers.CheetahProcessing = CheetahProcessing


if __name__ == "__main__":
    install()
    from om.monitor import main

    main()
