"""The geometry of some of a detector's segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from peakrt_geometry import BadRegion, Detector


def of_segments(detector: Detector, rows: int, numbers: Sequence[int]) -> Detector:
    """The geometry of frames that hold only some segments, one under another in the order given.

    detector : a slab (1, ss, fs) of all segments; rows : of a segment; numbers : of the segments, counted from 0
    Raises ValueError for a segment that the geometry does not have.
    """
    panels, regions = [], [region for region in detector.bad_regions if region.kind == "xy"]
    for place, number in enumerate(numbers):
        mine = [panel for panel in detector.panels if panel.min_ss // rows == number]
        if not mine:
            raise ValueError(f"geometry {detector.name} has no segment {number} of {rows} rows")
        shift = (place - number) * rows
        for panel in mine:
            panels.append(replace(panel, min_ss=panel.min_ss + shift, end_ss=panel.end_ss + shift))
            for region in detector.bad_regions:
                if region.kind != "xy" and region.panel in (None, panel.name):
                    min_fs, max_fs, min_ss, max_ss = region.bounds
                    bounds = (min_fs, max_fs, min_ss + shift, max_ss + shift)
                    regions.append(BadRegion(f"{region.name}_{panel.name}", region.kind, bounds, panel.name))
    kept = {panel.name for panel in panels}
    groups = {name: tuple(p for p in names if p in kept) for name, names in detector.groups.items()}
    collections = {name: tuple(p for p in names if p in kept) for name, names in detector.collections.items()}
    return replace(detector, panels=tuple(panels), bad_regions=tuple(regions), groups=groups, collections=collections)
