"""Which image ids of a series have come, in memory that does not grow."""

from __future__ import annotations

#: Gaps that are remembered; ids in older ones that still come are taken for repeated.
_MAX_GAPS = 1024


class ImageIds:
    """Counts the ids that were left out, in a series where they rise by one.

    first : id of the first image, None where the series was joined on its way
    lost : ids between the first and the last that have not come
    """

    def __init__(self, first: int | None) -> None:
        self._next = first
        self._gaps: list[tuple[int, int]] = []
        self.lost = 0

    def is_new(self, number: int) -> bool:
        """Note an id; returns whether it comes for the first time."""
        if self._next is None:
            self._next = number
        if number >= self._next:
            if number > self._next:
                self.lost += number - self._next
                self._gaps = [*self._gaps[1 - _MAX_GAPS :], (self._next, number)]
            self._next = number + 1
            return True
        for k, (low, high) in enumerate(self._gaps):
            if low <= number < high:
                self._gaps[k : k + 1] = [gap for gap in ((low, number), (number + 1, high)) if gap[0] < gap[1]]
                self.lost -= 1
                return True
        return False
