"""Forgets what is old, a little at a time, on one server of all, and makes room for what comes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from ostinato.loops.loop import Loop
from ostinato.runtime.retention import archive_of, cuts_of, steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.loops.loop import Host
    from ostinato.records import Pruned

_EVERY: Final = 600.0
_FIRST: Final = 60.0
_LEAD: Final = 30.0
_SHARE: Final = 0.2
"""Of the time, while there is something to forget: for each second of it four go by."""
_AT_ONCE: Final = 0.02
"""Seconds of work after which it pauses; a step is not broken off."""
_ROUND: Final = 10.0
"""Seconds after which it is looked whether this server still leads."""


class Pruner:
    """Forgets in short steps with pauses between, so that nobody waits long behind one."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._steps: Iterator[Pruned] | None = None
        self.loop = Loop("pruner", self.prune, every=_EVERY, first=_FIRST)

    async def prune(self) -> float | None:
        """Go on forgetting for a moment, if this server leads; again soon where there is more."""
        host = self._host
        if not await host.call(lambda: host.store.lead("pruner", host.name, _LEAD)):
            self._steps = None
            return None
        if self._steps is not None:  # in the middle of much work, which began with this
            await host.call(host.store.make_room)
        until = time.monotonic() + _ROUND
        while (spent := await host.call(self._work)) is not None:
            await asyncio.sleep(spent * (1 - _SHARE) / _SHARE)
            if time.monotonic() >= until:
                return 0.0
        return None

    def _work(self) -> float | None:
        """Take steps for a moment; return the seconds they took, None when there is nothing left to forget."""
        began, host = time.monotonic(), self._host
        if self._steps is None:
            settings = host.settings
            self._steps = steps(host.store, host.results, cuts_of(settings, host.store.now()), archive_of(settings))
        going, self._steps = self._steps, None  # after a failure it begins anew
        for _ in going:
            if (spent := time.monotonic() - began) >= _AT_ONCE:
                self._steps = going
                return spent
        return None
