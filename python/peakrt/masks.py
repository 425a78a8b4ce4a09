"""Good pixels: the one place where the geometry's mask, the caller's and an event's own are put together.

Finders make a plan for a mask, which takes about as long as finding the peaks of a frame, so plans are kept by mask
(:class:`ByMask`), and new ones derived from the last: a source may change between masks, or bring one for every event.
"""

from __future__ import annotations

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
#: Plans kept until a mask comes again that was dropped: where every event has its own, more would only take memory.
FIRST_PLANS = 3


class Masks:
    """Combines masks for one detector.

    geometry : its bad regions, edges and panels that are off; None: all pixels are good
    given : the caller's, (panel, ss, fs) or (ss, fs), nonzero = good, or None
    Raises ValueError for a mask of another size than the geometry.
    """

    def __init__(self, geometry: Detector | None, given: npt.ArrayLike | None) -> None:
        self._geometry = geometry
        self._static = _static_mask(geometry, given)
        self._all_good = self._static is None or bool(self._static.all())
        self._looks = None if geometry is None else _looks(geometry)

    def combine(self, event_mask: Good | None, shape: tuple[int, ...]) -> Good:
        """The good pixels of an event: (panel, ss, fs).

        event_mask : of the event itself, True = good, or None; shape : of its frame
        Raises ValueError for another shape, and for a panel that is left without a good pixel.
        """
        if self._static is not None and self._static.shape != shape:
            raise ValueError(f"frame has shape {shape}, the geometry or mask needs {self._static.shape}")
        if event_mask is not None and self._all_good and event_mask.shape == shape and event_mask.dtype == np.bool_:
            good = event_mask
        else:
            good = np.ones(shape, bool) if self._static is None else self._static
            good = good if event_mask is None else good & event_mask
        self._check_panels(good)
        return good

    def _check_panels(self, good: Good) -> None:
        geometry = self._geometry
        if geometry is None:
            return
        for number in np.flatnonzero(~good.reshape(-1)[self._looks].any(1)):
            asic = geometry.panels[number]
            panel, min_ss, end_ss, min_fs, end_fs = geometry.asics[number]
            if not asic.no_index and not good[panel, min_ss:end_ss, min_fs:end_fs].any():
                raise ValueError(
                    f"panel {asic.name} of {geometry.name} has no good pixel: check the mask, or write "
                    f"'{asic.name}/no_index = 1' into the geometry if the panel is off"
                )


def _looks(geometry: Detector) -> npt.NDArray[np.intp]:
    """A few pixels of each ASIC, (n, 16) by their place in a flat frame: one good one among them settles most masks."""
    panel, min_ss, end_ss, min_fs, end_fs = geometry.asics.T[:, :, None, None]
    quarter = np.array([1, 3, 5, 7])
    ss = min_ss + (end_ss - min_ss) * quarter[:, None] // 8
    fs = min_fs + (end_fs - min_fs) * quarter // 8
    return np.ravel_multi_index(np.broadcast_arrays(panel, ss, fs), geometry.shape).reshape(len(geometry.asics), -1)


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


class _Key:
    """Tells the masks of events apart: the shape of the frame and the mask's bits, none where it has no mask.

    Masks are compared whole, but some of their bytes first, which settles it where they differ.
    """

    def __init__(self, event_mask: Good | None, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._bits = np.empty(0, np.uint8) if event_mask is None else np.packbits(event_mask)
        self._some = self._bits[::_LOOK]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Key) and self._shape == other._shape
            and np.array_equal(self._some, other._some) and np.array_equal(self._bits, other._bits)
        )  # fmt: skip

    __hash__ = None  # type: ignore[assignment]


#: Of so many bytes of a mask one is looked at first: a prime, which no multiple of a detector's row is.
_LOOK = 251


class ByMask(Generic[Plan]):
    """Plans by the mask of an event, the last FIRST_PLANS of them, or up to MOST_PLANS where masks come again.

    make : a plan for good pixels, given one for other pixels to derive it from, or None
    """

    def __init__(self, masks: Masks, make: Callable[[Good, Plan | None], Plan]) -> None:
        self._masks, self._make = masks, make
        self._kept: list[tuple[_Key, Prepared[Plan]]] = []  # the last one used at the end
        self._room = FIRST_PLANS
        self._dropped: list[_Key] = []  # the last ones
        self._newest: tuple[tuple[int, ...], Plan] | None = None
        self._last_mask: Good | None = None
        self._last: Prepared[Plan] | None = None

    def get(self, event_mask: Good | None, shape: tuple[int, ...]) -> Prepared[Plan]:
        """The good pixels of an event and their plan. Raises ValueError as :meth:`Masks.combine` does."""
        if self._last is not None and event_mask is self._last_mask and self._last.good.shape == shape:
            return self._last
        key = _Key(event_mask, shape)
        prepared = self._take(key)
        if prepared is None:
            prepared = Prepared(self._masks.combine(event_mask, shape), self._make_plan)
            if key in self._dropped:
                self._room = min(self._room + 1, MOST_PLANS)
        self._kept.append((key, prepared))
        while len(self._kept) > self._room:
            self._dropped = [*self._dropped[-MOST_PLANS + 1 :], self._kept.pop(0)[0]]
        self._last_mask, self._last = event_mask, prepared
        return prepared

    def _take(self, key: _Key) -> Prepared[Plan] | None:
        for number, (kept, prepared) in enumerate(self._kept):
            if kept == key:
                del self._kept[number]
                return prepared
        return None

    def _make_plan(self, good: Good) -> Plan:
        similar = None if self._newest is None or self._newest[0] != good.shape else self._newest[1]
        plan = self._make(good, similar)
        self._newest = good.shape, plan
        return plan

    def clone(self, clone_plan: Callable[[Plan], Plan], make: Callable[[Good, Plan | None], Plan]) -> ByMask[Plan]:
        """The plans that were made, for another thread. clone_plan : gives a plan that may be used beside the first."""
        other = ByMask(self._masks, make)
        for key, prepared in self._kept:
            if "plan" in vars(prepared):
                plan = clone_plan(prepared.plan)
                other._kept.append((key, Prepared(prepared.good, lambda good, plan=plan: plan)))  # type: ignore[misc]
                other._newest = prepared.good.shape, plan
        return other
