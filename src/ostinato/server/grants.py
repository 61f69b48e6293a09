"""Who waits at this server until task runs of a run have the slots of limits that they asked for.

A slot that this server hands on wakes those who wait for that run, and nobody else. What another process hands on is
only hinted at: then all look, the oftener in vain, the later.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from ostinato.clock import SECOND
from ostinato.loops.loop import call_on
from ostinato.store.sql import SqlStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ostinato.server.served import Served
    from ostinato.store.gating import Who

_LOOK_AGAIN: Final = 2.0
"""Seconds after which one looks by himself: a process that died has told nobody."""
_PAUSES: Final = (0.001, 0.25)
"""Seconds between two looks that hints brought about: at first, and at most."""


class Grants:
    """Those who wait, by run. On one loop, but slots may be handed on in any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: dict[str, set[asyncio.Future[bool]]] = {}

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say on which loop they wait."""
        self._loop = loop

    def set(self, who: Sequence[Who]) -> None:
        """Wake those who wait for these runs."""
        if self._waiters and self._loop is not None:
            ids = {run_id for run_id, _ in who}
            call_on(self._loop, lambda: self._wake(ids, certain=True))

    def set_all(self) -> None:
        """Wake everybody: something may have changed."""
        if self._waiters and self._loop is not None:
            call_on(self._loop, lambda: self._wake(list(self._waiters), certain=False))

    def _wake(self, run_ids: Iterable[str], *, certain: bool) -> None:
        for run_id in run_ids:
            for waiter in self._waiters.get(run_id, ()):
                if not waiter.done():
                    waiter.set_result(certain)

    def begin(self, run_id: str) -> asyncio.Future[bool]:
        """Begin to wait for a run; the result is whether it is certain that it was meant. `end` it in any case."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(run_id, set()).add(waiter)
        return waiter

    def end(self, run_id: str, waiter: asyncio.Future[bool]) -> None:
        """Wait no longer."""
        waiters = self._waiters[run_id]
        waiters.discard(waiter)
        if not waiters:
            del self._waiters[run_id]


async def await_slots(served: Served, run_id: str, epoch: int, known: Sequence[int], wait: float) -> list[int]:
    """Do as `Store.await_slots` does, on the loop."""
    until, pause = time.monotonic() + wait, _PAUSES[0]
    while True:
        waiter = served.granted.begin(run_id)  # before looking, or what is handed on in between is not heard
        try:
            found, until_token = await served.call(lambda: _find(served, run_id, epoch, known))
            left = until - time.monotonic()
            if found or left <= 0 or served.closing:
                return found
            await asyncio.wait([waiter], timeout=min(left, until_token))
            if waiter.done() and not waiter.result():
                await asyncio.sleep(pause)
                pause = min(2 * pause, _PAUSES[1])
        finally:
            served.granted.end(run_id, waiter)


def _find(served: Served, run_id: str, epoch: int, known: Sequence[int]) -> tuple[list[int], float]:
    """Return what `Store.await_slots` finds now, and in how many seconds it is worth looking again."""
    store = served.store
    if not isinstance(store, SqlStore):
        return store.await_slots(run_id, epoch, known), _LOOK_AGAIN
    found, token_at = store.find_slots(run_id, epoch, known)
    return found, _LOOK_AGAIN if token_at is None else max(0.001, (token_at - store.now()) / SECOND)
