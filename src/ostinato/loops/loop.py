"""One background duty of a server: done now and then, and at once when somebody says so.

A duty is a function that does a little and says when it is to be done again. All else is here: the wait between,
with some jitter so that servers do not go in step, the patience while the store is away, the end in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from ostinato.errors import OstinatoError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ostinato.io.results import ResultStore
    from ostinato.loops.dispatcher import Dispatcher
    from ostinato.settings import Settings
    from ostinato.store.store import Store

T = TypeVar("T")
_log = logging.getLogger("ostinato.internal")
_JITTER: Final = 0.1
_LONGEST: Final = 2.0
"""A store that is back is found within so many seconds."""


class Host(Protocol):
    """What the loops need of the server they run in."""

    store: Store
    results: ResultStore
    settings: Settings
    dispatcher: Dispatcher
    name: str

    async def call(self, work: Callable[[], T]) -> T:
        """Do something that blocks in a thread."""
        ...

    def changed(self) -> None:
        """Say that runs may have been queued or have ended."""
        ...

    def on_stored(self, heard: Callable[[], None]) -> None:
        """Call something, which only takes note, whenever something was stored here; from any thread."""
        ...


class Observed(Protocol):
    """Counts a round of a duty."""

    def __call__(self, name: str, seconds: float, *, failed: bool) -> None:
        """Count it."""
        ...


class Loop:
    """A duty that is done again and again on the event loop, until it is stopped.

    Args:
        name: What it is called in logs and metrics.
        duty: Does it once. Seconds until the next time, or None for `every`.
        every: Seconds between two times; infinite for one that only others wake.
        first: Seconds until the first time.
        least: Seconds between two times even when it is woken again and again.
    """

    def __init__(
        self,
        name: str,
        duty: Callable[[], Awaitable[float | None]],
        *,
        every: float,
        first: float = 0.0,
        least: float = 0.0,
    ) -> None:
        self.name = name
        self.rounds = 0
        self.failures = 0
        """In a row; 0 when the last time went well."""
        self.observed: Observed = _unobserved
        """Told of every round: for metrics."""
        self._duty, self._every, self._first, self._least = duty, every, first, least
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name=f"ostinato-{self.name}")

    def wake(self) -> None:
        """Have it done soon; from any thread. Cheap when it was asked for already and has not begun."""
        if not self._woken.is_set() and self._loop is not None:
            call_on(self._loop, self._woken.set)

    async def stop(self) -> None:
        """End it; what blocks in a thread is waited for there."""
        self._ending = True  # for in Python 3.11 `wait_for` may swallow a cancellation
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = self._first
        while True:
            await self._wait(pause)
            if self._ending:
                return
            self._woken.clear()
            began = time.monotonic()
            pause = await self._once()
            self.rounds += 1
            self.observed(self.name, time.monotonic() - began, failed=self.failures > 0)

    async def _wait(self, seconds: float) -> None:
        """Wait until it is time or somebody wakes it; after a failure, and for `least`, whoever wakes it."""
        patience = seconds if self.failures else self._least if self.rounds else 0.0
        if patience:
            await asyncio.sleep(patience)
            seconds -= patience
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), None if seconds == float("inf") else max(seconds, 0.0))

    async def _once(self) -> float:
        try:
            asked = await self._duty()
        except OstinatoError as error:
            return self._failed(str(error))
        except Exception as error:  # a defect of one duty must not end it for good, nor the others
            _log.exception("The %s failed in a way that nobody foresaw.", self.name)
            return self._failed(repr(error))
        if self.failures:
            _log.warning("The %s works again, after %d failures.", self.name, self.failures)
            self.failures = 0
        if asked is not None:
            return asked
        return self._every * random.uniform(1 - _JITTER, 1 + _JITTER)

    def _failed(self, why: str) -> float:
        self.failures += 1
        pause: float = min(_LONGEST, 0.25 * 2.0 ** min(self.failures, 10))
        if self.failures & (self.failures - 1) == 0:  # the 1st, 2nd, 4th, 8th … of a row
            _log.warning(
                "The %s failed (%d in a row) and tries again in %.1f s: %s", self.name, self.failures, pause, why
            )
        return pause


def call_on(loop: asyncio.AbstractEventLoop, act: Callable[[], object]) -> None:
    """Call something on an event loop: at once if this is its thread, for to wake a loop takes a system call or two."""
    try:
        is_here = asyncio.get_running_loop() is loop
    except RuntimeError:
        is_here = False
    if is_here:
        act()
    elif not loop.is_closed():
        loop.call_soon_threadsafe(act)


def _unobserved(name: str, seconds: float, *, failed: bool) -> None:
    """Count nothing."""
    del name, seconds, failed
