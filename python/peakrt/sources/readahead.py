"""Reading that runs ahead of finding."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar, overload

T = TypeVar("T")

#: Seconds without an item after which a consumer that wants to know is told: small beside the seconds of a flush, and
#: beside those that peaks of a frame under way may wait for.
PAUSE_S = 0.005


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


@overload
def read_ahead(items: Iterator[T], depth: int = 3) -> Generator[T, None, None]: ...
@overload
def read_ahead(items: Iterator[T], depth: int = 3, *, pause_s: float) -> Generator[T | None, None, None]: ...
def read_ahead(items: Iterator[T], depth: int = 3, *, pause_s: float | None = None) -> Generator[T | None, None, None]:
    """Iterate over items while a thread fetches up to depth more of them.

    pause_s : give None wherever there was no item for so long; None waits for the next item
    Errors of the reader surface at the item they belong to. Closing the iterator ends the thread.
    """
    fetched: queue.Queue[object] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                fetched.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def fetch() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END)
        except BaseException as error:  # handed over to the consumer, who raises it
            put(_Raised(error))

    thread = threading.Thread(target=fetch, name="peakrt-reader", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = fetched.get(timeout=pause_s)
            except queue.Empty:
                yield None
                continue
            if item is _END:
                return
            if isinstance(item, _Raised):
                raise item.error
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
