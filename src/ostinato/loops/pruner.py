"""Forgets runs that ended long ago, a little at a time, on one server of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ostinato.loops.loop import Loop
from ostinato.runtime.retention import prune

if TYPE_CHECKING:
    from ostinato.loops.loop import Host

_EVERY: Final = 3600.0
_FIRST: Final = 60.0
_AT_ONCE: Final = 200
_PAUSE: Final = 0.5
_LEAD: Final = 30.0


class Pruner:
    """Prunes in short transactions with pauses between, so that nobody waits long behind one."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.loop = Loop("pruner", self.prune, every=_EVERY, first=_FIRST)

    async def prune(self) -> float | None:
        """Prune once, if this server leads; again soon where there was much."""
        host = self._host
        if not await host.call(lambda: host.store.lead("pruner", host.name, _LEAD)):
            return None
        days = host.settings.retention_days
        pruned = await host.call(lambda: prune(host.store, host.results, days, limit=_AT_ONCE))
        return _PAUSE if pruned.runs >= _AT_ONCE else None
