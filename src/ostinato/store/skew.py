"""The clock of a database or a server that is elsewhere, without asking it each time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_TRUST: Final = 15.0
"""Seconds for which the difference between that clock and ours is taken to stand."""


class Skew:
    """The server's clock, asked now and then; in between, ours and the difference."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._difference = 0
        self._asked_at = float("-inf")

    def now(self, ask: Callable[[], int]) -> int:
        """Return the instant now there; `ask` for it when the last time is too long ago."""
        with self._lock:
            if time.monotonic() - self._asked_at > _TRUST:
                before = time.monotonic_ns()
                there = ask()
                here = (before + time.monotonic_ns()) // 2000
                self._difference, self._asked_at = there - here, time.monotonic()
            return time.monotonic_ns() // 1000 + self._difference
