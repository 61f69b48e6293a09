"""What a server's routes share: the store, and the signals that something has changed in it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ostinato.loops.loop import call_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.io.results import ResultStore
    from ostinato.loops.dispatcher import Dispatcher
    from ostinato.server.threads import Threads
    from ostinato.server.writer import Writer
    from ostinato.settings import Settings
    from ostinato.store.store import Store

T = TypeVar("T")


class Signal:
    """Wakes all who wait for something to change. On one loop, but `set` may come from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self.count = 0
        """Differs from what it was if something has changed since."""

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say on which loop waiters wait."""
        self._loop = loop

    def set(self) -> None:
        """Wake those who wait now; cheap when nobody does."""
        self.count += 1
        if self._waiters and self._loop is not None:
            call_on(self._loop, self._wake)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout: float, *, seen: int | None = None) -> bool:  # noqa: ASYNC109  # seconds, as everywhere here
        """Wait for the next change, so many seconds at most; tell whether there was one.

        Args:
            timeout: Seconds.
            seen: The `count` before one looked: what has changed since then counts.
        """
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            if seen is None or seen == self.count:  # looked at after the waiter is there: no change is missed
                await asyncio.wait_for(waiter, timeout)
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True


@dataclass(slots=True)
class Served:
    """One server. It is in ``app.state.served``."""

    store: Store
    results: ResultStore
    settings: Settings
    dispatcher: Dispatcher
    threads: Threads
    """Where the store, which blocks, is called."""
    writer: Writer
    """Makes short writes."""
    name: str
    """This server among those of one store."""
    is_open: bool = True
    """No token is asked for: it listens on loopback only, and nobody has made a user."""
    own_token: str = ""
    """A worker's token that holds at this server only, for as long as it lives: that of `ostinato dev`'s own worker."""
    stored: Signal = field(default_factory=Signal)
    """Something was committed that whoever watches may want to see."""
    ended: Signal = field(default_factory=Signal)
    """A run has ended."""
    closing: bool = False
    """The server is being stopped: whoever only waits is sent away."""
    _closers: list[Callable[[], None]] = field(default_factory=list)

    def bind(self) -> None:
        """Say that the running loop is the one on which all waiters wait."""
        loop = asyncio.get_running_loop()
        self.stored.bind(loop)
        self.ended.bind(loop)

    async def call(self, work: Callable[[], T]) -> T:
        """Do something that blocks in a thread."""
        return await self.threads.call(work)

    async def write(self, work: Callable[[], T]) -> T:
        """Do something short that writes to the store."""
        return await self.writer.call(work)

    def changed(self) -> None:
        """Say that runs may have been queued, or have ended: the dispatcher looks, and so does whoever waits."""
        self.dispatcher.hint()
        self.ended.set()
        self.stored.set()

    def on_close(self, closer: Callable[[], None]) -> None:
        """Call something, on the server's loop, when the server begins to stop."""
        self._closers.append(closer)

    def close(self) -> None:
        """Send away all who only wait, so that the server can stop at once."""
        self.closing = True
        self.stored.set()
        self.ended.set()
        for closer in self._closers:
            closer()
