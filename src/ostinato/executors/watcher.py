"""Calls that are due later: how an executor finds out that stopped work has not ended.

One thread, started by the first call and gone when nothing is due, instead of a `threading.Timer` each.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("ostinato.executors")


class Watcher:
    """Makes calls when they are due, in a thread of its own."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def after(self, delay: float, call: Callable[[], None]) -> None:
        """Make `call`, which must be quick, in `delay` seconds; never once closed."""
        entry = (time.monotonic() + delay, next(self._numbers), call)
        with self._changed:
            if self._closed:
                return
            heapq.heappush(self._due, entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="ostinato-watcher", daemon=True)
                self._thread.start()
            elif self._due[0] is entry:
                self._changed.notify()

    def close(self) -> None:
        """Forget what is due and end the thread. Idempotent."""
        with self._changed:
            self._closed = True
            self._due.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=1)

    def _watch(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except Exception:
                logger.exception("A watcher's call failed; this is a defect in Ostinato.")

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next call; None when nothing is due any more."""
        with self._changed:
            while self._due:
                wait = self._due[0][0] - time.monotonic()
                if wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            self._thread = None
            return None
