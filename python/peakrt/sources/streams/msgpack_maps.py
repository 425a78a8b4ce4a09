"""msgpack from a sender that nobody vouches for: plain maps, few items."""

from __future__ import annotations

from typing import Any

import msgpack

# msgpack-numpy, which OM brings, replaces msgpack.unpackb in the whole process by one that makes arrays of maps and
# unpickles what they say: messages from the network are read by msgpack's own.
try:
    from msgpack._cmsgpack import unpackb
except ImportError:
    from msgpack.fallback import unpackb

from .records import short

#: Items of a message: peak lists and per-pulse values have some thousands.
MAX_ITEMS = 100_000


def load(data: bytes) -> dict[Any, Any]:
    """The map that a message is. Raises ValueError for everything else."""
    left = MAX_ITEMS

    def spend(container: Any) -> Any:
        nonlocal left
        left -= 1 + len(container)
        if left < 0:
            raise ValueError(f"a message has more than {MAX_ITEMS} items")
        return container

    try:
        found = unpackb(
            data, list_hook=spend, object_hook=spend, max_array_len=MAX_ITEMS // 4, max_map_len=MAX_ITEMS // 4,
            max_ext_len=64, strict_map_key=True,
        )  # fmt: skip
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise ValueError(f"a message is not msgpack: {str(error)[:100] or type(error).__name__}") from None
    if not isinstance(found, dict):
        raise ValueError(f"a message is {short(found)}: a map is expected")
    return found
