"""Who waits at this server for events: woken when one of their kind and key is stored, and by nothing else.

An event that this server stores wakes those who wait for its kind and key. What another process has stored is only
hinted at: then all look, the oftener in vain, the later.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from ostinato.loops.loop import call_on
from ostinato.timing import event_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ostinato.records import StoredEvent
    from ostinato.server.served import Served
    from ostinato.timing import Sought

_LOOK_AGAIN: Final = 2.0
"""Seconds after which one looks by himself: a process that died has told nobody."""
_PAUSES: Final = (0.005, 0.5)
"""Seconds between two looks that hints brought about: at first, and at most."""


class Happened:
    """Those who wait, by what they wait for. On one loop, but events may be stored in any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: dict[str, set[asyncio.Future[bool]]] = {}

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say on which loop they wait."""
        self._loop = loop

    def tell(self, keys: Sequence[str]) -> None:
        """Wake those who wait for one of these kinds and keys."""
        if self._waiters and self._loop is not None:
            call_on(self._loop, lambda: self._wake(keys, certain=True))

    def stir(self) -> None:
        """Wake everybody: something may have been stored elsewhere."""
        if self._waiters and self._loop is not None:
            call_on(self._loop, lambda: self._wake(list(self._waiters), certain=False))

    def _wake(self, keys: Iterable[str], *, certain: bool) -> None:
        for key in keys:
            for waiter in self._waiters.get(key, ()):
                if not waiter.done():
                    waiter.set_result(certain)

    def begin(self, keys: Iterable[str]) -> asyncio.Future[bool]:
        """Begin to wait; the result is whether it is certain that there is something. `end` it in any case."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        for key in keys:
            self._waiters.setdefault(key, set()).add(waiter)
        return waiter

    def end(self, keys: Iterable[str], waiter: asyncio.Future[bool]) -> None:
        """Wait no longer."""
        for key in keys:
            waiters = self._waiters[key]
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[key]


async def await_events(served: Served, run_id: str, sought: Sequence[Sought], wait: float) -> list[StoredEvent]:
    """Do as `Store.await_events` does, on the loop."""
    keys = {event_key(each.kind, each.key) for each in sought}
    until, pause = time.monotonic() + wait, _PAUSES[0]
    while True:
        waiter = served.happened.begin(keys)  # before looking, or what is stored in between is not heard
        try:
            found = await served.call(lambda: served.store.await_events(run_id, sought))
            left = until - time.monotonic()
            if found or left <= 0 or served.closing:
                return found
            await asyncio.wait([waiter], timeout=min(left, _LOOK_AGAIN))
            if waiter.done() and not waiter.result():
                await _pause(served, keys, pause)
                pause = min(2 * pause, _PAUSES[1])
        finally:
            served.happened.end(keys, waiter)


async def _pause(served: Served, keys: set[str], seconds: float) -> None:
    """Wait a little, unless something is certain."""
    until = time.monotonic() + seconds
    is_certain = False
    while not is_certain and (left := until - time.monotonic()) > 0:
        waiter = served.happened.begin(keys)
        try:
            await asyncio.wait([waiter], timeout=left)
            is_certain = waiter.done() and waiter.result()
            if not is_certain:
                await asyncio.sleep(0)
        finally:
            served.happened.end(keys, waiter)
