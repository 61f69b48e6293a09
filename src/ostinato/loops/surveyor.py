"""Looks every few seconds, in one cheap read, whether any of the other loops has something to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ostinato.loops.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.loops.loop import Host
    from ostinato.work import Survey

EVERY: Final = 2.5
_LEAST: Final = 0.25


class Surveyor:
    """Reads one `Survey` and hands it to all who want it.

    It is woken by every hint that runs have changed, so that a timer that was set a moment ago is known before it is
    due; its own rhythm is for what nobody hinted at.
    """

    def __init__(self, host: Host, *, every: float = EVERY) -> None:
        self.listeners: Sequence[Callable[[Survey], None]] = ()
        self._host = host
        self.loop = Loop("surveyor", self.survey, every=every, least=min(_LEAST, every))

    async def survey(self) -> None:
        """Look once."""
        found = await self._host.call(self._host.store.survey)
        if found.tickets:
            self._host.dispatcher.look()
        for listener in self.listeners:
            listener(found)
