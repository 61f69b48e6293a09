"""Rung when a slot was handed to somebody: whoever waits for it in this process need not look again and again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.store.gating import Who


class Bell:
    """Wakes threads that wait, and tells whoever listens."""

    def __init__(self) -> None:
        self._rung = threading.Condition()
        self._count = 0
        self._listeners: list[Callable[[Sequence[Who]], None]] = []

    @property
    def count(self) -> int:
        """How often it was rung: differs if it was since one looked."""
        return self._count

    def ring(self, who: Sequence[Who]) -> None:
        """Say, once that is committed, who has got all that he waited for."""
        with self._rung:
            self._count += 1
            self._rung.notify_all()
        for heard in list(self._listeners):
            heard(who)

    def wait(self, seen: int, seconds: float) -> None:
        """Wait until it is rung, if it was not since it had been rung `seen` times; so many seconds at most."""
        with self._rung:
            self._rung.wait_for(lambda: self._count != seen, seconds)

    def listen(self, heard: Callable[[Sequence[Who]], None]) -> Callable[[], None]:
        """Call `heard` whenever it is rung, from whichever thread; return what ends that."""
        self._listeners.append(heard)
        return lambda: self._listeners.remove(heard)
