"""Looks at schedules when they are due: what they come to is decided ahead of the minute, and stored at it.

```
Survey.next_look_at ─► seconds before: read, decide about time ─► prepared ──at the instant──► store.decide, in batches
                                  └─ sensors, events: their decider, when they are due ─────┘
```

Any number of servers may do this: a decision is stored only if nobody has changed the schedule since it was read, and a
tick happens once. Each server begins with another batch, so that two of them share the work rather than meet.
"""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import StoreError
from ostinato.loops.loop import Loop
from ostinato.runtime.due import COUNTED
from ostinato.runtime.lateness import deadlines_of_all
from ostinato.runtime.ticking import Desk, decision_of, tick_time
from ostinato.timing import ScheduleFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ostinato.loops.loop import Host
    from ostinato.runtime.ticking import Decider
    from ostinato.timing import Decision, Schedule
    from ostinato.work import Survey

T = TypeVar("T")
_log = logging.getLogger("ostinato.internal")
_AHEAD: Final = 5 * SECOND
"""So long before they are due decisions are prepared: that of 10,000 takes seconds of a processor."""
_MOST: Final = 10_000
"""Schedules that are prepared at once, for the memory they take; when these are stored come the next."""
_BATCH: Final = 500
_STALE: Final = 2 * SECOND
"""A decision that is stored so late was prepared for another moment: the clock was set, or the server stood still."""
_COUNTING: Final = 20_000
"""Missed instants that are counted in one round, over all schedules."""
_COUNTED_AT_LEAST: Final = 20
_AGAIN: Final = 60 * SECOND
"""After so long a schedule is looked at again whose decider failed."""
_LEAST: Final = SECOND
"""Between two looks at one that wants to be looked at again though nothing came of the last look."""
_NEVER: Final = float("inf")


class _Prepared(NamedTuple):
    """A schedule that will be due, with what that will come to where time alone decides."""

    row: Schedule
    at: int
    decision: Decision | None


class Scheduler:
    """Looks at the schedules of a store.

    Args:
        host: The server.
        deciders: By kind, what decides about schedules that are not driven by time alone.
    """

    def __init__(self, host: Host, deciders: Mapping[str, Decider] | None = None) -> None:
        self._host = host
        self._deciders: dict[str, Decider] = {"time": tick_time, **(deciders or {})}
        self._prepared: dict[str, _Prepared] = {}
        self._first: float = _NEVER
        """When the first of them is due."""
        self._alarm = _NEVER
        """When there is something to do, by the monotonic clock."""
        self.loop = Loop("scheduler", self.look, every=_NEVER, first=_NEVER)

    def heard(self, survey: Survey) -> None:
        """Set the alarm by what a survey saw, and by its clock, which may have been set."""
        at = self._first
        if survey.next_look_at is not None and survey.next_look_at < self._first:  # what is prepared is known
            at = survey.next_look_at - _AHEAD
        alarm = time.monotonic() + (at - survey.now) / SECOND
        if alarm < self._alarm:
            self._alarm = alarm
            self.loop.wake()

    async def look(self) -> float:
        """Store what is due and prepare what will be; say in how many seconds there is more to do."""
        if (left := self._alarm - time.monotonic()) > 0:
            return left
        host, self._alarm = self._host, _NEVER
        now = await host.call(host.store.now)
        await self._store([each for each in self._prepared.values() if each.at <= now], now)
        now = await host.call(host.store.now)
        which = ScheduleFilter(kinds=list(self._deciders), due_before=now + _AHEAD, limit=_MOST)
        await self._prepare(await host.call(lambda: host.store.list_schedules(which)), now)
        self._first = min((each.at for each in self._prepared.values()), default=_NEVER)
        left = (self._first - await host.call(host.store.now)) / SECOND
        self._alarm = min(self._alarm, time.monotonic() + left)  # a survey may have seen more meanwhile
        return max(self._alarm - time.monotonic(), 0.0)

    async def _prepare(self, rows: Sequence[Schedule], now: int) -> None:
        """Decide about those that are new or have changed; forget what is not due any more."""
        known = self._prepared
        self._prepared = {row.name: known[row.name] for row in rows if _is_known(row, known)}
        fresh = [row for row in rows if row.name not in self._prepared]
        desk = self._desk(len(fresh))
        for page in _pages(fresh, _BATCH):
            made = await self._host.call(lambda page=page: [self._ready(row, now, desk) for row in page])  # type: ignore[misc]
            self._prepared.update({each.row.name: each for each in made})

    def _ready(self, row: Schedule, now: int, desk: Desk) -> _Prepared:
        at = max(row.next_at or now, now)
        return _Prepared(row, at, self._decide(row, at, desk) if row.kind == "time" else None)

    def _desk(self, rows: int) -> Desk:
        counted = max(_COUNTED_AT_LEAST, min(COUNTED, _COUNTING // max(rows, 1)))
        return Desk(self._host.store, self._host.results, counted=counted)

    def _decide(self, row: Schedule, now: int, desk: Desk) -> Decision:
        """Ask the decider of its kind. One that fails is no reason to keep the others waiting."""
        try:
            decision = self._deciders[row.kind](row, now, desk)
        except StoreError:
            raise
        except Exception as error:  # whatever is wrong with it
            _log.exception("A look at the schedule %s failed in a way that nobody foresaw.", row.name)
            return decision_of(row, [], next_at=now + _AGAIN, trouble=f"A look at it failed: {error!r}")
        if decision.next_at is not None and decision.next_at <= now and _is_idle(row, decision):
            return msgspec.structs.replace(decision, next_at=now + _LEAST)
        return decision

    async def _store(self, due: Sequence[_Prepared], now: int) -> None:
        """Store what some schedules come to, in batches; what was prepared for another moment is left out."""
        pages = list(_pages([each for each in due if now - each.at < _STALE], _BATCH))
        begin = random.randrange(len(pages)) if pages else 0
        for page in pages[begin:] + pages[:begin]:
            await self._store_page(page, now)
        for each in due:
            self._prepared.pop(each.row.name, None)

    async def _store_page(self, page: Sequence[_Prepared], now: int) -> None:
        store, desk = self._host.store, self._desk(len(page))

        def work() -> bool:
            decisions = [each.decision or self._decide(each.row, now, desk) for each in page]
            if late := deadlines_of_all(store, decisions, desk.find_deployed):
                store.put_deadlines(late)
            store.decide(decisions)
            return any(decision.runs for decision in decisions)

        if await self._host.call(work):
            self._host.changed()


def _is_known(row: Schedule, prepared: Mapping[str, _Prepared]) -> bool:
    return row.name in prepared and prepared[row.name].row.turn == row.turn


def _is_idle(row: Schedule, decision: Decision) -> bool:
    """Tell whether a look has brought a schedule nowhere."""
    return not decision.ticks and (row.since, row.read, row.cursor, row.state) == (
        decision.since,
        decision.read,
        decision.cursor,
        decision.state,
    )


def _pages(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
