"""A call that is made once several things have ended: how a task run waits for what it depends on."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Countdown:
    """Calls back when it has been called so often, once or more.

    Args:
        count: How often.
        last: Called then, in turn.
        ready: Called right before that, at once.
    """

    def __init__(self, count: int, last: Callable[[], None], ready: Callable[[], object]) -> None:
        self._count, self._last, self._ready, self._lock = count, last, ready, threading.Lock()

    def __call__(self, _: Any) -> None:
        """Count one that has ended."""
        with self._lock:
            self._count -= 1
            is_last = self._count == 0
        if is_last:
            self._ready()
            _in_turn(self._last)


class _Turns(threading.local):
    waiting: deque[Callable[[], None]] | None = None


_turns = _Turns()


def _in_turn(work: Callable[[], None]) -> None:
    """Do it now; from within such work, right after that: a chain of thousands of calls needs no stack."""
    if _turns.waiting is not None:
        _turns.waiting.append(work)
        return
    waiting = _turns.waiting = deque([work])
    try:
        while waiting:
            waiting.popleft()()
    finally:
        _turns.waiting = None
