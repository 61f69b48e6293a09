"""Resources of a process, and its own line before a limit: named gates, first come, first served.

What is given back goes to the next in line in the same moment, without a thread being woken to ask.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


_EXACT = 1e-9


class Gates:
    """All gates of a process, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[str, float] = {}
        self._lines: dict[str, deque[tuple[float, float, Callable[[], None]]]] = {}

    def enter(self, name: str, room: float, amount: float, go: Callable[[], None]) -> bool:
        """Take some of a gate's room, or stand in line.

        Args:
            name: The gate.
            room: How much it has in all.
            amount: How much is taken; at most that.
            go: Called, from any thread, when it is ours, unless it was free at once.

        Returns:
            Whether it was free at once.
        """
        with self._lock:
            taken = self._taken.get(name, 0)
            if taken + amount <= room + _EXACT and name not in self._lines:
                self._taken[name] = taken + amount
                return True
            self._lines.setdefault(name, deque()).append((room, amount, go))
            return False

    def withdraw(self, name: str, go: Callable[[], None]) -> bool:
        """Leave the line; False when room has been given in the meantime and must be given back."""
        with self._lock:
            line = self._lines.get(name)
            place = next((at for at, (*_, other) in enumerate(line or ()) if other == go), None)
            if line is None or place is None:
                return False
            del line[place]
            due = self._admit(name)
        for call in due:
            call()
        return True

    def widen(self, name: str, room: float) -> None:
        """Give a gate more room, or less, for those who stand in its line."""
        with self._lock:
            line = self._lines.get(name)
            if line is None:
                return
            self._lines[name] = deque((room, amount, go) for _, amount, go in line)
            due = self._admit(name)
        for call in due:
            call()

    def leave(self, name: str, amount: float) -> None:
        """Give room back: to the next in line, if there is one."""
        with self._lock:
            self._taken[name] -= amount
            due = self._admit(name)
        for call in due:
            call()

    def _admit(self, name: str) -> list[Callable[[], None]]:
        """Give what is free to those who stand first, as far as it goes."""
        line, taken = self._lines.get(name), self._taken.get(name, 0)
        due: list[Callable[[], None]] = []
        while line and taken + line[0][1] <= line[0][0] + _EXACT:
            _, amount, go = line.popleft()
            taken += amount
            due.append(go)
        self._taken[name] = taken
        if not line:
            self._lines.pop(name, None)
            if taken <= _EXACT:
                self._taken.pop(name, None)
        return due

    def held(self) -> dict[str, float]:
        """Return how much is taken, by gate."""
        with self._lock:
            return dict(self._taken)
