"""What a finder has learned, as a message between a run and its finder's process."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..finders.bad_pixels import COUNTED_PIXEL
from ..finders.learned import LearnedState


def pack_state(state: LearnedState) -> tuple[dict[str, Any], bytes]:
    """Header and payload."""
    header = {"gain": state.gain, "frames": state.frames, "pixels": len(state.pixels)}
    return header, state.pixels.astype(COUNTED_PIXEL).tobytes() + state.curve.astype(np.float64).tobytes()


def unpack_state(header: dict[str, Any], payload: bytes) -> LearnedState:
    """The state of a header and payload. Raises ValueError where they are of another kind."""
    gain, frames, n_pixels = header.get("gain"), header.get("frames"), header.get("pixels")
    if not isinstance(frames, int) or not isinstance(n_pixels, int) or not isinstance(gain, float | None):
        raise ValueError("a message is not about what was learned")
    n_bytes = n_pixels * COUNTED_PIXEL.itemsize
    if not 0 <= n_bytes <= len(payload) or (len(payload) - n_bytes) % 8:
        raise ValueError(f"{n_pixels} pixels in {len(payload)} bytes")
    pixels = np.frombuffer(payload[:n_bytes], COUNTED_PIXEL).copy()
    return LearnedState(gain, frames, pixels, np.frombuffer(payload[n_bytes:], np.float64).copy())
