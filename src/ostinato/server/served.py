"""What a server's routes share: the store, and the signals that something has changed in it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ostinato.loops.loop import call_on
from ostinato.server.grants import Grants
from ostinato.server.happened import Happened
from ostinato.store.gating import RUN
from ostinato.store.sql import SqlStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.io.results import ResultStore
    from ostinato.loops.dispatcher import Dispatcher
    from ostinato.server.threads import Threads
    from ostinato.server.writer import Writer
    from ostinato.settings import Settings
    from ostinato.store.gating import Who
    from ostinato.store.store import Store

T = TypeVar("T")


class Signal:
    """Wakes all who wait for something to change. On one loop, but `set` may come from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self.count = 0
        """Differs from what it was if something has changed since."""
        self.listeners: list[Callable[[], None]] = []
        """Called each time, in whatever thread it is: they only take note."""

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say on which loop waiters wait."""
        self._loop = loop

    def set(self) -> None:
        """Wake those who wait now; cheap when nobody does."""
        self.count += 1
        for heard in self.listeners:
            heard()
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
    happened: Happened = field(default_factory=Happened)
    """Events that somebody may wait for."""
    granted: Grants = field(default_factory=Grants)
    """Runs whose task runs have got slots of limits."""
    closing: bool = False
    """The server is being stopped: whoever only waits is sent away."""
    _closers: list[Callable[[], None]] = field(default_factory=list)

    def bind(self) -> None:
        """Say that the running loop is the one on which all waiters wait."""
        loop = asyncio.get_running_loop()
        self.stored.bind(loop)
        self.ended.bind(loop)
        self.granted.bind(loop)
        self.happened.bind(loop)
        if isinstance(self.store, SqlStore):
            self.on_close(self.store.on_events(self.happened.tell))
            self.on_close(self.store.bell.listen(self._handed_on))

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
        self.granted.set_all()
        self.happened.stir()

    def _handed_on(self, who: Sequence[Who]) -> None:
        """Hear, from any thread, that slots were handed to runs that wait for a worker, or to task runs."""
        self.granted.set(who)
        if any(seq == RUN for _, seq in who):
            self.changed()

    def on_stored(self, heard: Callable[[], None]) -> None:
        """Call something, which only takes note, whenever something was stored; from any thread."""
        self.stored.listeners.append(heard)

    def on_close(self, closer: Callable[[], None]) -> None:
        """Call something, on the server's loop, when the server begins to stop."""
        self._closers.append(closer)

    def close(self) -> None:
        """Send away all who only wait, so that the server can stop at once."""
        self.closing = True
        self.stored.set()
        self.ended.set()
        self.granted.set_all()
        self.happened.stir()
        for closer in self._closers:
            closer()
