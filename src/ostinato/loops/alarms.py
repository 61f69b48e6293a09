"""Tells what has become late by itself: deadlines that runs have missed, questions that nobody has answered in time."""

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
_NEVER: Final = float("inf")
_LEAST: Final = 0.5
"""Seconds between two looks, should something stay due."""


class Alarms:
    """Sets an alarm for the first of what may become late, as the last survey saw it.

    What is due may as well be an automation's or a firing's: then there is nothing to do here.

    Args:
        host: The server.
        survey_again: Called when something was told, for the alarm after this one.
    """

    def __init__(self, host: Host, *, survey_again: Callable[[], None] = lambda: None) -> None:
        self._host, self._survey_again = host, survey_again
        self._due = _NEVER
        self.loop = Loop("alarms", self.look, every=_NEVER, first=_NEVER, least=_LEAST)

    def heard(self, survey: Survey) -> None:
        """Set the alarm by what a survey saw."""
        if survey.next_alarm_at is None:
            self._due = _NEVER
            return
        self._due = time.monotonic() + max(0, survey.next_alarm_at - survey.now) / SECOND
        self.loop.wake()

    async def look(self) -> float:
        """Tell what is late if it is time; say in how many seconds it will be."""
        now = time.monotonic()
        if now < self._due:
            return self._due - now
        self._due = _NEVER
        told = await self._host.call(self.tell)
        if told:
            self._host.changed()
        self._survey_again()
        return 0.0 if told >= _AT_ONCE else _NEVER

    def tell(self) -> int:
        """Tell what is late by now; say how much it was."""
        store = self._host.store
        return len(store.pass_deadlines(limit=_AT_ONCE)) + store.expire_asks(limit=_AT_ONCE)
