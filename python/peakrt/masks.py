"""Good pixels: the one place where the geometry's mask, the caller's and an event's own are put together.

Finders make a plan for a mask, which takes about as long as finding the peaks of a frame, so plans are kept by mask
(:class:`ByMask`), and new ones derived from the first: a source may change between masks, or bring one for every event.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector

from .arrays import GoodPixels, as_mask_bits

Good = npt.NDArray[np.bool_]
Plan = TypeVar("Plan")

#: Plans kept at a time. One for 4 megapixels takes some 14 MB beside what all share, so eight stay below the memory of a rank.
MOST_PLANS = 8
#: Plans kept until a mask comes again that was dropped: where every event has its own, each plan changes the lists of the
#: one before in their place, where the processor's cache still has them.
FIRST_PLANS = 1


class Masks:
    """Combines masks for one detector.

    geometry : its bad regions, edges and panels that are off; None: all pixels are good
    given : the caller's, (panel, ss, fs) or (ss, fs), nonzero = good, or None
    Raises ValueError for a mask of another size than the geometry.
    """

    def __init__(self, geometry: Detector | None, given: npt.ArrayLike | None) -> None:
        self._geometry = geometry
        static = _static_mask(geometry, given)
        self._static = None if static is None else GoodPixels.of(static, static.shape)
        self._looks = None if geometry is None else _looks(geometry)

    def combine(self, event_bits: npt.NDArray[np.uint64] | None, shape: tuple[int, ...]) -> GoodPixels:
        """The good pixels of an event.

        event_bits : its own, as :func:`as_mask_bits` gives them, or None; shape : (panel, ss, fs) of its frame
        Raises ValueError for another shape, and for a panel that is left without a good pixel.
        """
        static = self._static
        if static is None:
            good = GoodPixels.of(None, shape) if event_bits is None else GoodPixels(shape, event_bits)
        elif static.shape != shape:
            raise ValueError(f"frame has shape {shape}, the geometry or mask needs {static.shape}")
        else:
            good = static if event_bits is None else GoodPixels(shape, static.bits & event_bits)
        self._check_panels(good)
        return good

    def _check_panels(self, good: GoodPixels) -> None:
        geometry = self._geometry
        if geometry is None or self._looks is None:
            return
        for number in np.flatnonzero(~good.at(self._looks).any(1)):
            asic = geometry.panels[number]
            panel, min_ss, end_ss, min_fs, end_fs = geometry.asics[number]
            if not asic.no_index and not good.array[panel, min_ss:end_ss, min_fs:end_fs].any():
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

    def __init__(self, good: GoodPixels, make: Callable[[GoodPixels], Plan]) -> None:
        self.good, self._make = good, make

    @cached_property
    def plan(self) -> Plan:
        """The plan for these pixels."""
        return self._make(self.good)


class _Key:
    """Tells the masks of events apart: the shape of the frame and the mask's bits, None where it has no mask.

    Masks are compared whole, but some of their words first, which settles it where they differ.
    """

    def __init__(self, event_mask: Good | None, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self.bits = None if event_mask is None else as_mask_bits(event_mask, shape)
        self._some = None if self.bits is None else self.bits[::_LOOK].tobytes()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Key) or self._shape != other._shape or self._some != other._some:
            return False
        return self.bits is None or other.bits is None or np.array_equal(self.bits, other.bits)

    __hash__ = None  # type: ignore[assignment]


#: Of so many words of a mask one is looked at first: a prime, which no multiple of a detector's row is.
_LOOK = 31


class ByMask(Generic[Plan]):
    """Plans by the mask of an event, the last FIRST_PLANS of them, or up to MOST_PLANS where masks come again.

    make : a plan for good pixels, given one for other pixels to derive it from, or None
    """

    def __init__(self, masks: Masks, make: Callable[[GoodPixels, Plan | None], Plan]) -> None:
        self._masks, self._make = masks, make
        self._kept: list[tuple[_Key, Prepared[Plan]]] = []  # the last one used at the end
        self._room = FIRST_PLANS
        self._dropped: list[_Key] = []  # the last ones
        self._parent: tuple[tuple[int, ...], Plan] | None = None  # of which plans are derived: the first of its shape
        self._last_mask: Good | None = None
        self._last: Prepared[Plan] | None = None

    def get(self, event_mask: Good | None, shape: tuple[int, ...]) -> Prepared[Plan]:
        """The good pixels of an event and their plan. Raises ValueError as :meth:`Masks.combine` does."""
        if self._last is not None and event_mask is self._last_mask and self._last.good.shape == shape:
            return self._last
        key = _Key(event_mask, shape)
        prepared = self._take(key)
        if prepared is None:
            prepared = Prepared(self._masks.combine(key.bits, shape), self._make_plan)
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

    def _make_plan(self, good: GoodPixels) -> Plan:
        parent = None if self._parent is None or self._parent[0] != good.shape else self._parent[1]
        plan = self._make(good, parent)
        if parent is None:
            self._parent = good.shape, plan
        return plan

    def clone(
        self, clone_plan: Callable[[Plan], Plan], make: Callable[[GoodPixels, Plan | None], Plan]
    ) -> ByMask[Plan]:
        """The plans that were made, for another thread. clone_plan : gives a plan that may be used beside the first."""
        other = ByMask(self._masks, make)
        for key, prepared in self._kept:
            if "plan" in vars(prepared):
                plan = clone_plan(prepared.plan)
                other._kept.append((key, Prepared(prepared.good, lambda good, plan=plan: plan)))  # type: ignore[misc]
                other._parent = prepared.good.shape, plan
        return other
