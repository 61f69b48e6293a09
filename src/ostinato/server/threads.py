"""Threads in which a server does what blocks, for one event loop.

```
call ─► queue ─► a thread ─► done ─► one wake-up of the loop for all that is done by then ─► the callers
```

What `concurrent.futures` does for this takes twice the time, and wakes the loop for each call by itself: with four
calls to a run that was a tenth of the server's time.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ostinato.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class _Work(NamedTuple):
    """What is to be done, and who waits for it."""

    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]
    work: Callable[[], Any]


class Threads:
    """A few threads, started as they are needed.

    Args:
        most: How many there are at most.
        name: What they are called.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._works: SimpleQueue[_Work | None] = SimpleQueue()
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._threads: list[threading.Thread] = []
        self._under_way = 0
        self._is_woken = self._is_over = False

    async def call(self, work: Callable[[], T]) -> T:
        """Do something in one of the threads."""
        if self._is_over:
            raise StoreUnavailableError("This server is being stopped. Ask again: another may answer.")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._under_way += 1
        if self._under_way > len(self._threads) and len(self._threads) < self._most:
            thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._works.put(_Work(loop, answer, work))
        return await answer

    def shutdown(self) -> None:
        """End the threads when all that was asked for is done, and wait for that."""
        self._is_over = True
        for _ in self._threads:
            self._works.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (found := self._works.get()) is not None:
            try:
                value, error = found.work(), None
            except BaseException as raised:  # it is for whoever waits, whatever it is
                value, error = None, raised
            self._done.append((found.answer, value, error))
            if not self._is_woken and not found.loop.is_closed():
                self._is_woken = True
                found.loop.call_soon_threadsafe(self._tell)
            del found, value, error

    def _tell(self) -> None:
        self._is_woken = False  # before looking: what is done from now on wakes the loop again
        while self._done:
            answer, value, error = self._done.popleft()
            self._under_way -= 1
            if answer.done():
                continue
            if error is None:
                answer.set_result(value)
            else:
                answer.set_exception(error)
