"""One thread that calls back later: retries that wait, and timeouts. Waiting holds no thread of its own."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer:
    """A call that is due later, unless it is cancelled."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> bool:
        """Do not call; False when it has been called, or is about to be."""
        due, self.call = self.call is not None, None
        return due


class Timers:
    """Calls that are due later. The thread starts with the first."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call back after so many seconds, on the timers' thread; be quick there."""
        timer = Timer(call)
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), timer))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ostinato-timers", daemon=True)
                self._thread.start()
            elif self._due[0][2] is timer:
                self._changed.notify()
        return timer

    def close(self) -> None:
        """Forget what is due."""
        with self._changed:
            self._closed = True
            self._due.clear()
            self._changed.notify()

    def _run(self) -> None:
        while (timer := self._next()) is not None:
            call, timer.call = timer.call, None
            if call is not None:
                try:
                    call()
                except Exception:
                    logging.getLogger("ostinato").exception("A timer's call failed.")

    def _next(self) -> Timer | None:
        with self._changed:
            while not self._closed:
                wait = None if not self._due else self._due[0][0] - time.monotonic()
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            return None
