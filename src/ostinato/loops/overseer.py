"""Records why queued runs are not claimed, so that ``ostinato runs why`` can answer from what was seen.

It works only while tickets wait for longer than a second, on one server of all, and looks at no more than the first
few of each pool: of a queue that moves, those further back need no reason but their turn.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from ostinato.clock import SECOND
from ostinato.loops.holds import Scene, why_held
from ostinato.loops.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ostinato.loops.loop import Host
    from ostinato.work import Held, Survey, Ticket

_LEAST: Final = 2.0
_FIRST: Final = 200
"""So many tickets of each pool are looked at."""
_MOVING: Final = 20
"""So many where tickets have been claimed since the last look."""
_OLD: Final = 1 * SECOND
_REPEAT: Final = 15.0
"""Seconds after which a reason that stays is recorded again where what goes with it has changed."""
_LEAD: Final = 6.0
_HELD: Final = 2000


class Overseer:
    """Compares what waits with who could take it, and records what is new."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._heads: dict[str, str] = {}
        self._told: dict[str, tuple[str, str, float]] = {}
        self.loop = Loop("overseer", self.oversee, every=float("inf"), first=float("inf"), least=_LEAST)

    def heard(self, survey: Survey) -> None:
        """Look when something waits."""
        if survey.tickets:
            self.loop.wake()

    async def oversee(self) -> None:
        """Record once why what waits is not claimed, if this server leads."""
        host = self._host
        if await host.call(lambda: host.store.lead("overseer", host.name, _LEAD)):
            await host.call(self._oversee)

    def _oversee(self) -> None:
        store = self._host.store
        waiting = list(self._old_tickets())
        if not waiting:
            self._told.clear()
            return
        now = store.now()
        scene = Scene(
            workers=[worker for worker in store.list_workers() if worker.pools and worker.expires_at > now],
            held=store.list_held_runs(limit=_HELD),
            pools={pool.name: pool for pool in store.list_pools()},
            queues={(queue.pool, queue.name): queue for queue in store.list_queues()},
        )
        notes = [(ticket, why_held(ticket, scene, ahead)) for ticket, ahead in waiting]
        self._record(notes)

    def _old_tickets(self) -> Iterator[tuple[Ticket, int]]:
        """Yield the tickets that wait for long, each with how many of its pool come before it."""
        store = self._host.store
        now, pools = store.now(), {pool.name for pool in store.list_pools()}
        pools |= {ticket.pool for ticket in store.list_tickets(limit=_FIRST)}
        heads: dict[str, str] = {}
        for pool in sorted(pools):
            tickets = store.list_tickets(pool, limit=_FIRST)
            if not tickets:
                continue
            heads[pool] = tickets[0].run_id
            is_moving = self._heads.get(pool, heads[pool]) != heads[pool]
            for ahead, ticket in enumerate(tickets[:_MOVING] if is_moving else tickets):
                if now - ticket.created_at >= _OLD:
                    yield ticket, ahead
        self._heads = heads

    def _record(self, notes: Sequence[tuple[Ticket, Held]]) -> None:
        """Record what differs from what was recorded, and forget what waits no more."""
        now, told, new = time.monotonic(), {}, []
        for ticket, note in notes:
            before = self._told.get(ticket.run_id)
            if before is None or ticket.why is None:
                stale = _recorded(ticket).get("reason") != note.reason
            else:
                reason, data, at = before
                stale = reason != note.reason or (data != note.data and now - at > _REPEAT)
            if stale:
                new.append(note)
            told[ticket.run_id] = (note.reason, note.data, now) if stale or before is None else before
        self._told = told
        if new:
            self._host.store.hold(new)


def _recorded(ticket: Ticket) -> dict[str, Any]:
    found = json.loads(ticket.why or "{}")
    return found if isinstance(found, dict) else {}
