"""Looks every few seconds, in one cheap read, whether any of the other loops has something to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ostinato.clock import SECOND
from ostinato.loops.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.loops.loop import Host
    from ostinato.work import Survey

EVERY: Final = 2.5
_LEAST: Final = 0.25
_JUST_AFTER: Final = 0.02


class Surveyor:
    """Reads one `Survey` and hands it to all who want it.

    It is woken by every hint that runs have changed, so that a timer that was set a moment ago is known before it is
    due; its own rhythm is for what nobody hinted at.
    """

    def __init__(self, host: Host, *, every: float = EVERY) -> None:
        self.listeners: Sequence[Callable[[Survey], None]] = ()
        self._host, self._every = host, every
        self.loop = Loop("surveyor", self.survey, every=every, least=min(_LEAST, every))

    async def survey(self) -> float | None:
        """Look once; again in its own rhythm, or when a lease ends that is not renewed before."""
        found = await self._host.call(self._host.store.survey)
        if found.tickets:
            self._host.dispatcher.look()
        for listener in self.listeners:
            listener(found)
        if found.next_expiry_at is None:
            return None
        left = (found.next_expiry_at - found.now) / SECOND + _JUST_AFTER
        return left if left < self._every else None
