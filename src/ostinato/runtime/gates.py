"""Concurrency limits inside a process: named gates with slots, first come, first served.

A slot that is given back goes to the next in line in the same moment, without a thread being woken to ask.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Gates:
    """All gates of a process, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[str, int] = {}
        self._lines: dict[str, deque[Callable[[], None]]] = {}

    def enter(self, name: str, slots: int, go: Callable[[], None]) -> bool:
        """Take a slot, or stand in line.

        Args:
            name: The gate.
            slots: How many it has.
            go: Called, from any thread, when the slot is ours, unless it was free at once.

        Returns:
            Whether it was free at once.
        """
        with self._lock:
            taken = self._taken.get(name, 0)
            if taken < slots:
                self._taken[name] = taken + 1
                return True
            self._lines.setdefault(name, deque()).append(go)
            return False

    def withdraw(self, name: str, go: Callable[[], None]) -> bool:
        """Leave the line; False when the slot has been given in the meantime and must be left."""
        with self._lock:
            line = self._lines.get(name)
            if line is None or go not in line:
                return False
            line.remove(go)
            return True

    def leave(self, name: str) -> None:
        """Give a slot back: to the next in line, if there is one."""
        with self._lock:
            line = self._lines.get(name)
            if line:
                go = line.popleft()
            else:
                self._lines.pop(name, None)
                left = self._taken[name] - 1
                if left:
                    self._taken[name] = left
                else:
                    del self._taken[name]
                return
        go()

    def held(self) -> dict[str, int]:
        """Return how many slots are taken, by gate."""
        with self._lock:
            return dict(self._taken)
