"""Live events: one reader of the store for all who watch, each with a small buffer of his own.

```
commit ─► served.stored ─► Feed: the events beyond the last one read ─► each watcher's buffer ─► his connection
```

While nobody watches nothing is read. A watcher who is too slow for his buffer is dropped, comes back with
`Last-Event-ID` and is given what he missed from the store: so nothing is lost and nothing piles up.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.clock import to_rfc3339
from ostinato.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from ostinato.records import StoredEvent
    from ostinato.server.metrics import Metrics
    from ostinato.server.served import Served
    from ostinato.store.store import Store

HEARTBEAT: Final = 15.0
_BUFFER: Final = 2_000
_PAGE: Final = 500
_LOOK: Final = 1.0
"""Seconds after which the store is looked at though nobody said that something changed: other servers write too."""
_PACE: Final = 0.02
"""Seconds between two reads, however many commits there are: a hundred events cost one read."""


class Wanted(msgspec.Struct, frozen=True):
    """Which events somebody watches."""

    kind: str = ""
    """The beginning of their kind: ``run.``."""
    run_id: str = ""
    key: str | None = None
    """What they are about, whole."""

    def has(self, stored: StoredEvent) -> bool:
        """Tell whether an event is among them."""
        event = stored.event
        if self.key is not None and event.key != self.key:
            return False
        return event.kind.startswith(self.kind) and (not self.run_id or event.run_id == self.run_id)


class Watcher:
    """Somebody who watches, and what he has not been sent yet."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.buffer: deque[StoredEvent] = deque()
        self.woken = asyncio.Event()
        self.is_over = False
        self.last = 0
        """The last event that he was sent, or that was not for him."""

    def give(self, events: list[StoredEvent]) -> None:
        """Take over what is wanted; end when there is too much of it."""
        self.buffer.extend(stored for stored in events if self.wanted.has(stored))
        self.is_over = self.is_over or len(self.buffer) > _BUFFER
        self.woken.set()


class Feed:
    """Reads the events of the store once for all who watch."""

    def __init__(self, served: Served, metrics: Metrics) -> None:
        self._served = served
        self._metrics = metrics
        self._watchers: set[Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self._last = 0
        served.on_close(self.close)

    def close(self) -> None:
        """Send all watchers away."""
        for watcher in self._watchers:
            watcher.is_over = True
            watcher.woken.set()
        if self._task is not None:
            self._task.cancel()

    async def watch(self, wanted: Wanted, after: int | None) -> AsyncIterator[bytes]:
        """Yield events as server-sent events, from the first beyond `after`; from now on if it is None."""
        watcher = Watcher(wanted)
        self._metrics.watching.inc()
        try:
            yield b"retry: 1000\n\n"
            await self._join(watcher)
            watcher.last = self._last if after is None else after
            async for stored in self._missed(watcher):
                yield self._sent(stored)
            async for text in self._live(watcher):
                yield text
        finally:
            self._watchers.discard(watcher)
            self._metrics.watching.dec()

    async def _join(self, watcher: Watcher) -> None:
        """Begin to listen: what is stored from now on comes into the buffer."""
        if not self._watchers:
            last = await self._served.call(self._served.store.newest_event)
            self._last = self._last if self._watchers else last
        self._watchers.add(watcher)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._read(), name="ostinato-feed")

    async def _missed(self, watcher: Watcher) -> AsyncIterator[StoredEvent]:
        """Yield what is in the store already; what comes meanwhile may be there and in the buffer."""
        found: list[StoredEvent] | None = None
        while (found is None or len(found) == _PAGE) and not self._served.closing:
            found = await self._page(watcher.wanted.run_id or None, watcher.last)
            for stored in found:
                watcher.last = stored.id
                if watcher.wanted.has(stored):
                    yield stored

    async def _live(self, watcher: Watcher) -> AsyncIterator[bytes]:
        while not (watcher.is_over or self._served.closing):
            while watcher.buffer:
                stored = watcher.buffer.popleft()
                if stored.id > watcher.last:
                    watcher.last = stored.id
                    yield self._sent(stored)
            watcher.woken.clear()
            try:
                await asyncio.wait_for(watcher.woken.wait(), HEARTBEAT)
            except TimeoutError:
                yield b": still here\n\n"

    async def _read(self) -> None:
        """Read for all, as long as anybody watches."""
        while self._watchers:
            began, seen = time.monotonic(), self._served.stored.count
            try:
                found = await self._page(None, self._last)
            except StoreError:
                found = []
            if found:
                self._last = found[-1].id
                for watcher in tuple(self._watchers):
                    watcher.give(found)
            if len(found) < _PAGE:
                await self._served.stored.wait(_LOOK, seen=seen)
                await asyncio.sleep(max(0.0, _PACE - (time.monotonic() - began)))

    async def _page(self, run_id: str | None, after: int) -> list[StoredEvent]:
        store = self._served.store
        return await self._served.call(lambda: store.list_events(run_id, after=after, limit=_PAGE))

    def _sent(self, stored: StoredEvent) -> bytes:
        self._metrics.events.inc()
        return b"id: %d\ndata: %s\n\n" % (stored.id, msgspec.json.encode(event_of(stored)))


def event_of(stored: StoredEvent) -> dict[str, Any]:
    """Describe an event."""
    event = stored.event
    return {
        "id": stored.id,
        "at": to_rfc3339(event.at),
        "kind": event.kind,
        "run_id": event.run_id or None,
        "seq": event.seq,
        "key": event.key,
        "data": msgspec.json.decode(event.data),
    }


def last_before(store: Store, instant: int) -> int:
    """Find the number of the last event before an instant, in some twenty reads of one row each."""

    def goes_on(number: int) -> bool:
        found = store.list_events(after=number, limit=1)
        return bool(found) and found[0].event.at < instant

    return _bisect(goes_on, 0, store.newest_event())


def _bisect(beyond: Callable[[int], bool], low: int, high: int) -> int:
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if beyond(middle) else (low, middle)
    return low
