"""Queues runs again when what they wait for is over: timers and later starts exactly when they are due."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ostinato.clock import SECOND
from ostinato.loops.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.loops.loop import Host
    from ostinato.work import Survey

_AT_ONCE: Final = 500
_REPAIR_EVERY: Final = 60.0
_NEVER: Final = float("inf")


class Waker:
    """Sets an alarm for the first wait that will be over, as the last survey saw it.

    Now and then it looks without an alarm, for runs whose waits were over when a process died between two
    transactions.
    """

    def __init__(self, host: Host, *, survey_again: Callable[[], None] = lambda: None) -> None:
        self._host, self._survey_again = host, survey_again
        self._due, self._repair = _NEVER, 0.0
        self.loop = Loop("waker", self.wake, every=_REPAIR_EVERY)

    def heard(self, survey: Survey) -> None:
        """Set the alarm by what a survey saw."""
        if survey.next_due_at is None:
            self._due = _NEVER
            return
        self._due = time.monotonic() + max(0, survey.next_due_at - survey.now) / SECOND
        self.loop.wake()

    async def wake(self) -> float:
        """Wake runs if it is time; say in how many seconds it will be."""
        now = time.monotonic()
        if now < min(self._due, self._repair):
            return min(self._due, self._repair) - now
        woken = await self._host.call(lambda: self._host.store.wake(limit=_AT_ONCE))
        if woken:
            self._host.changed()
        if woken >= _AT_ONCE:
            return 0.0
        if now >= self._due:
            self._survey_again()  # for the wait after this one
        self._due, self._repair = _NEVER, now + _REPAIR_EVERY
        return _REPAIR_EVERY
