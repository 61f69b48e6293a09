"""The background duties of a server, one a file, and what starts them together.

```
routes, store.watch ─hint─► dispatcher ──► polls of workers
                                └─► surveyor ─Survey─► waker · rescuer · overseer · scheduler · consumer
                                                  └──► alarms · automator ─► notifier         pruner (by itself)
```

Two servers of one store need no agreement for what may be done twice without harm: surveying, sweeping, waking. What
one of them should do alone takes a lease in the store first, each time; whoever is left has it seconds later. An idle
server reads one row every few seconds, and that is all.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ostinato.loops.alarms import Alarms
from ostinato.loops.automator import Automator
from ostinato.loops.consumer import Consumer
from ostinato.loops.loop import Loop
from ostinato.loops.notifier import Notifier
from ostinato.loops.overseer import Overseer
from ostinato.loops.pruner import Pruner
from ostinato.loops.rescuer import Rescuer
from ostinato.loops.scheduler import Scheduler
from ostinato.loops.surveyor import Surveyor
from ostinato.loops.waker import Waker
from ostinato.runtime.sensing import decide_look

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ostinato.loops.loop import Host, Observed


class Loops:
    """All loops of one server."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._surveyor = Surveyor(host)
        self._waker = Waker(host, survey_again=self._surveyor.loop.wake)
        self._rescuer = Rescuer(host)
        overseer, scheduler = Overseer(host), Scheduler(host, {"sensor": decide_look})
        self._consumer = Consumer(host)
        self._notifier = Notifier(host)
        automator = Automator(host, fired=self._notifier.fired)
        alarms = Alarms(host, survey_again=self._surveyor.loop.wake)
        heard = (self._waker.heard, self._rescuer.heard, overseer.heard, scheduler.heard, self._consumer.heard)
        alarming = (alarms.heard, automator.heard, self._notifier.heard)
        self._surveyor.listeners = [*heard, *alarming]
        duties = (self._surveyor, self._waker, self._rescuer, overseer, scheduler, self._consumer, Pruner(host))
        reacting = (alarms, automator, self._notifier)
        self._all = [*(duty.loop for duty in (*duties, *reacting)), Loop("listener", self._watch, every=float("inf"))]
        self._unwatch: Callable[[], None] | None = None

    def start(self, observed: Observed | None) -> None:
        """Begin, on the running event loop."""
        dispatcher = self._host.dispatcher
        dispatcher.heard = self._surveyor.loop.wake
        dispatcher.met = self._rescuer.look
        self._host.on_stored(self._consumer.hint)
        for loop in self._all:
            loop.observed = observed or loop.observed
            loop.start()

    async def _watch(self) -> None:
        """Have the store say when other processes change it: once, but again and again while it is away."""
        self._unwatch = await self._host.call(lambda: self._host.store.watch(self._host.changed))

    async def stop(self) -> None:
        """End them in order; polls that wait are answered with nothing."""
        await asyncio.gather(*(loop.stop() for loop in self._all), self._notifier.stop())
        if self._unwatch is not None:
            await self._host.call(self._unwatch)
        await self._host.dispatcher.close()


def start_loops(host: Host, *, observed: Observed | None = None) -> Callable[[], Awaitable[None]]:
    """Start the background duties of a server, on the running event loop.

    Args:
        host: The server: its store, its dispatcher.
        observed: Told of every round of a duty: for metrics.

    Returns:
        What ends them.
    """
    loops = Loops(host)
    loops.start(observed)
    return loops.stop
