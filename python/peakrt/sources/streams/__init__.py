"""Frames that come over the network: DECTRIS Stream V2, Jungfraujoch, LCLStreamer, Karabo bridge, OM."""

from __future__ import annotations

from collections.abc import Callable

from peakrt_geometry import Detector

from ...extras import need
from ...filters import register_filters

need("a stream", "live", "zmq", "cbor2", "msgpack", "hdf5plugin")
register_filters()

from .source import FORMATS, TIMEOUT_S, StreamSource  # noqa: E402  (says first what is missing)

__all__ = ["FORMATS", "TIMEOUT_S", "StreamSource", "open_stream"]


def open_stream(
    text: str,
    detector: Detector | None = None,
    *,
    name: str | None = None,
    timeout_s: float = TIMEOUT_S,
    stopped: Callable[[], bool] = lambda: False,
) -> StreamSource:
    """Connect to ``tcp://HOST:PORT`` or ``FORMAT+tcp://HOST:PORT`` and wait for its first message.

    Without a format it is told by the first message, where the sender pushes. The other arguments are those of StreamSource.
    """
    form, plus, address = text.rpartition("+") if "+tcp://" in text else ("", "", text)
    if plus and form not in FORMATS:
        raise ValueError(f"{text}: streams are {', '.join(f'{known}+tcp://HOST:PORT' for known in FORMATS)}, or tcp://")
    return StreamSource(address, form or None, detector, name=name, timeout_s=timeout_s, stopped=stopped)
