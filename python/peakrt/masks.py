"""Good pixels: the one place where the geometry's mask, the caller's and an event's own are put together.

Finders make a plan for a mask, which takes about as long as finding the peaks of a frame, so plans are kept by mask
(:class:`ByMask`), and new ones derived from the last: a source may change between masks, or bring one for every event.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
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
    """A plan, and the good pixels that it is for."""

    def __init__(self, good: Good, plan: Plan) -> None:
        self.good, self.plan = good, plan


class ByMask(Generic[Plan]):
    """Plans by the mask of an event, the last MOST_PLANS of them.

    make : a plan for good pixels, given one for other pixels to derive it from, or None
    """

    def __init__(self, masks: Masks, make: Callable[[Good, Plan | None], Plan]) -> None:
        self._masks, self._make = masks, make
        self._kept: OrderedDict[bytes, Prepared[Plan]] = OrderedDict()
        self._last_mask: Good | None = None
        self._last: Prepared[Plan] | None = None

    def get(self, event_mask: Good | None, shape: tuple[int, ...]) -> Prepared[Plan]:
        """The plan for an event's mask, made if need be. Raises ValueError as :meth:`Masks.combine` does."""
        if self._last is not None and event_mask is self._last_mask and self._last.good.shape == shape:
            return self._last
        key = _digest(event_mask, shape)
        if key not in self._kept:
            good = self._masks.combine(event_mask, shape)
            similar = None if self._last is None or self._last.good.shape != shape else self._last.plan
            self._kept[key] = Prepared(good, self._make(good, similar))
            if len(self._kept) > MOST_PLANS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        self._last_mask, self._last = event_mask, self._kept[key]
        return self._last

    def clone(self, clone_plan: Callable[[Plan], Plan], make: Callable[[Good, Plan | None], Plan]) -> ByMask[Plan]:
        """The same plans for another thread. clone_plan : gives a plan that may be used beside the first."""
        other = ByMask(self._masks, make)
        other._kept = OrderedDict((key, Prepared(p.good, clone_plan(p.plan))) for key, p in self._kept.items())
        if self._last is not None:
            key = _digest(self._last_mask, self._last.good.shape)
            other._last_mask, other._last = self._last_mask, other._kept.get(key)
        return other


def _digest(event_mask: Good | None, shape: tuple[int, ...]) -> bytes:
    """What tells masks apart, in half a millisecond for 4 megapixels."""
    digest = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    if event_mask is not None:
        digest.update(np.packbits(event_mask).data)
    return digest.digest()
