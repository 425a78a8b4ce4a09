"""Good pixels: the one place where the geometry's mask, the caller's and an event's own are put together.

Finders make a plan for a mask, which takes about as long as finding the peaks of a frame, so plans are kept by mask
(:class:`ByMask`), and new ones derived from the last: a source may change between masks, or bring one for every event.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

Good = npt.NDArray[np.bool_]
Plan = TypeVar("Plan")

#: Plans kept at a time. One for 4 megapixels takes some 14 MB beside what all share, so eight stay below the memory of a rank.
MOST_PLANS = 8


class Masks:
    """Combines masks for one detector.

    geometry : its bad regions, edges and panels that are off; None: all pixels are good
    given : the caller's, (panel, ss, fs) or (ss, fs), nonzero = good, or None
    Raises ValueError for a mask of another size than the geometry.
    """

    def __init__(self, geometry: Detector | None, given: npt.ArrayLike | None) -> None:
        self._geometry = geometry
        self._static = _static_mask(geometry, given)

    def combine(self, event_mask: Good | None, shape: tuple[int, ...]) -> Good:
        """The good pixels of an event: (panel, ss, fs).

        event_mask : of the event itself, True = good, or None; shape : of its frame
        Raises ValueError for another shape, and for a panel that is left without a good pixel.
        """
        good = np.ones(shape, bool) if self._static is None else self._static
        if good.shape != shape:
            raise ValueError(f"frame has shape {shape}, the geometry or mask needs {good.shape}")
        if event_mask is not None:
            good = good & event_mask
        self._check_panels(good)
        return good

    def _check_panels(self, good: Good) -> None:
        geometry = self._geometry
        if geometry is None:
            return
        for panel, (plane, min_ss, end_ss, min_fs, end_fs) in zip(geometry.panels, geometry.asics, strict=True):
            if not panel.no_index and not good[plane, min_ss:end_ss, min_fs:end_fs].any():
                raise ValueError(
                    f"panel {panel.name} of {geometry.name} has no good pixel: check the mask, or write "
                    f"'{panel.name}/no_index = 1' into the geometry if the panel is off"
                )


def _static_mask(geometry: Detector | None, given: npt.ArrayLike | None) -> Good | None:
    mask = None if given is None else np.asarray(given) != 0
    if geometry is None:
        return mask[None] if mask is not None and mask.ndim == 2 else mask
    if mask is None:
        return geometry.mask
    if mask.size != geometry.mask.size:
        raise ValueError(f"mask has shape {mask.shape}, geometry {geometry.name} needs {geometry.mask.shape}")
    return geometry.mask & mask.reshape(geometry.mask.shape)


class Prepared(Generic[Plan]):
    """The good pixels of an event, and the plan for them, which is made when it is first asked for."""

    def __init__(self, good: Good, make: Callable[[Good], Plan]) -> None:
        self.good, self._make = good, make

    @cached_property
    def plan(self) -> Plan:
        """The plan for these pixels."""
        return self._make(self.good)


class ByMask(Generic[Plan]):
    """Plans by the mask of an event, the last MOST_PLANS of them.

    make : a plan for good pixels, given one for other pixels to derive it from, or None
    """

    def __init__(self, masks: Masks, make: Callable[[Good, Plan | None], Plan]) -> None:
        self._masks, self._make = masks, make
        self._kept: OrderedDict[bytes, Prepared[Plan]] = OrderedDict()
        self._newest: tuple[tuple[int, ...], Plan] | None = None
        self._last_mask: Good | None = None
        self._last: Prepared[Plan] | None = None

    def get(self, event_mask: Good | None, shape: tuple[int, ...]) -> Prepared[Plan]:
        """The good pixels of an event and their plan. Raises ValueError as :meth:`Masks.combine` does."""
        if self._last is not None and event_mask is self._last_mask and self._last.good.shape == shape:
            return self._last
        key = _digest(event_mask, shape)
        if key not in self._kept:
            self._kept[key] = Prepared(self._masks.combine(event_mask, shape), self._make_plan)
            if len(self._kept) > MOST_PLANS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        self._last_mask, self._last = event_mask, self._kept[key]
        return self._last

    def _make_plan(self, good: Good) -> Plan:
        similar = None if self._newest is None or self._newest[0] != good.shape else self._newest[1]
        plan = self._make(good, similar)
        self._newest = good.shape, plan
        return plan

    def clone(self, clone_plan: Callable[[Plan], Plan], make: Callable[[Good, Plan | None], Plan]) -> ByMask[Plan]:
        """The plans that were made, for another thread. clone_plan : gives a plan that may be used beside the first."""
        other = ByMask(self._masks, make)
        for key, prepared in self._kept.items():
            if "plan" in vars(prepared):
                plan = clone_plan(prepared.plan)
                other._kept[key] = Prepared(prepared.good, lambda good, plan=plan: plan)  # type: ignore[misc]
                other._newest = prepared.good.shape, plan
        return other


def _digest(event_mask: Good | None, shape: tuple[int, ...]) -> bytes:
    """What tells masks apart, in half a millisecond for 4 megapixels."""
    digest = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    if event_mask is not None:
        digest.update(np.packbits(event_mask).data)
    return digest.digest()
