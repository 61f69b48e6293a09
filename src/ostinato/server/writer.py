"""Short writes to the store: those that come together are committed together, on the loop while that is quick.

A commit to a SQLite file takes a quarter of a millisecond, nearly all of it the disk's. To have a thread make it costs
as much again: two hand-overs, and a fight for the interpreter. So writes are made right here as long as the last ones
were quick; meanwhile others arrive, and the next commit is for all of them. When the disk is slow or another process
writes, a thread makes them and the loop goes on.

```
call ─► waiting ─► the loop's next turn, or the thread ─► one transaction, each write for itself ─► the callers
```

PostgreSQL commits for many at once by itself: there each write has a thread and a connection.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from ostinato.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.server.threads import Threads
    from ostinato.store.store import Store

T = TypeVar("T")

_QUICK: Final = 0.002
"""Seconds for which the loop may be held."""
_WEIGHT: Final = 1 / 8
"""Of the latest commit in what is usual; one that takes much longer counts whole."""
_MOST: Final = 50
"""Writes of one commit."""


class _Asked(NamedTuple):
    work: Callable[[], Any]
    answer: asyncio.Future[Any]


class _Came(NamedTuple):
    """What came of a write."""

    value: Any = None
    error: BaseException | None = None


class Writer:
    """Makes short writes, on one loop.

    Args:
        store: Where to.
        threads: Where writes are made that the loop must not wait for.
    """

    def __init__(self, store: Store, threads: Threads) -> None:
        self._store = store if isinstance(store, SqliteStore) else None
        self._threads = threads
        self._waiting: list[_Asked] = []
        self._usual = 0.0
        self._is_due = False
        self._round: asyncio.Task[None] | None = None

    async def call(self, work: Callable[[], T]) -> T:
        """Make a write; it may share its transaction with others, and sees theirs."""
        if self._store is None:
            return await self._threads.call(work)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting.append(_Asked(work, answer))
        if not self._is_due and self._round is None:
            self._is_due = True
            loop.call_soon(self._flush)
        return await answer

    def shutdown(self) -> None:
        """End the threads when all that was asked for is done."""
        self._threads.shutdown()

    def _flush(self) -> None:
        self._is_due = False
        while self._waiting:
            if self._usual > _QUICK:
                self._round = asyncio.get_running_loop().create_task(self._flush_in_thread(), name="ostinato-write")
                return
            group = self._next()
            _tell(group, self._make(group))

    async def _flush_in_thread(self) -> None:
        try:
            while self._waiting:
                group = self._next()
                try:
                    came = await self._threads.call(lambda group=group: self._make(group))  # type: ignore[misc]
                except Exception as error:  # the threads are gone: the server is being stopped
                    came = [_Came(error=error)] * len(group)
                _tell(group, came)
        finally:
            self._round = None

    def _next(self) -> list[_Asked]:
        group, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        return group

    def _make(self, group: Sequence[_Asked]) -> list[_Came]:
        """Make some writes in one transaction: each succeeds or fails by itself, unless their commit fails for all."""
        assert self._store is not None
        begun = time.perf_counter()
        try:
            if len(group) == 1:
                return [_try(group[0].work)]
            with self._store.together():
                came = [_try(each.work) for each in group]
        except Exception as error:
            return [_Came(error=error)] * len(group)
        else:
            return came
        finally:
            took = time.perf_counter() - begun
            self._usual = took if took > 4 * _QUICK else self._usual + (took - self._usual) * _WEIGHT


def _try(work: Callable[[], Any]) -> _Came:
    try:
        return _Came(work())
    except Exception as error:  # it is for whoever waits
        return _Came(error=error)


def _tell(group: Sequence[_Asked], came: Sequence[_Came]) -> None:
    for asked, what in zip(group, came, strict=True):
        if asked.answer.done():
            continue
        if what.error is None:
            asked.answer.set_result(what.value)
        else:
            asked.answer.set_exception(what.error)
