"""The duties of a server, done by hand whenever the clock has moved: the real deciders, over the real store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from ostinato.automations.actions import Notify, Webhook
from ostinato.automations.templates import fill, fill_text
from ostinato.clock import SECOND, to_datetime
from ostinato.loops.alarms import Alarms
from ostinato.loops.automator import Automator
from ostinato.loops.consumer import Consumer
from ostinato.loops.notifier import Notifier
from ostinato.runtime.delivering import Delivery
from ostinato.runtime.sensing import decide_look
from ostinato.runtime.ticking import Desk, tick_time
from ostinato.testing.views import Notification
from ostinato.timing import ScheduleFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ostinato.io.results import ResultStore
    from ostinato.loops.dispatcher import Dispatcher
    from ostinato.runtime.delivering import Order
    from ostinato.settings import Settings
    from ostinato.store.store import Store
    from ostinato.timing import Decision, Schedule
    from ostinato.work import Survey

T = TypeVar("T")
_DECIDERS: Final[dict[str, Any]] = {"time": tick_time, "sensor": decide_look}
_MOST_ROUNDS: Final = 1000
_LEAST: Final = SECOND
"""Between two looks at one that wants to be looked at again though nothing came of the last look."""


class WorldHost:
    """What stands where the loops expect a server."""

    dispatcher: Dispatcher
    name = "world"

    def __init__(self, store: Store, results: ResultStore, settings: Settings) -> None:
        self.store, self.results, self.settings = store, results, settings

    async def call(self, work: Callable[[], T]) -> T:
        """Do it here and now."""
        return work()

    def changed(self) -> None:
        """Need no telling."""

    def on_stored(self, heard: Callable[[], None]) -> None:
        """Need no telling."""


class Captured(Delivery):
    """Carries out actions, but for those that leave the process: these are noted."""

    def __init__(self, store: Store, results: ResultStore, sent: list[Notification]) -> None:
        super().__init__(store, results)
        self._clock, self._sent = store.now, sent

    def carry_out(self, order: Order) -> str:
        """Do it, or note what would have been sent."""
        action, values = order.action, order.values
        at = to_datetime(self._clock())
        if isinstance(action, Notify):
            title, body = fill_text(action.title, values), fill_text(action.body, values).strip()
            self._sent += [Notification(order.automation, str(address), title, body, at) for address in action.to]
            return "noted"
        if isinstance(action, Webhook):
            posted: Any = values if action.body is None else fill(action.body, values)
            self._sent.append(Notification(order.automation, action.url, "", posted, at))
            return "noted"
        return super().carry_out(order)


class Duties:
    """Everything that a server does by itself, once each time it is asked to.

    Args:
        host: The world as a server.
        sent: Where notifications are noted.
    """

    def __init__(self, host: Any, sent: list[Notification]) -> None:
        self._host = host
        self._store: Store = host.store
        self._consumer = Consumer(host)
        self._notifier = Notifier(host, delivery=Captured(host.store, host.results, sent))
        self._automator = Automator(host, fired=self._notifier.fired)
        self._alarms = Alarms(host)
        self._loop = asyncio.Runner()
        self.has_consumers = False
        self._wakes: dict[str, int] = {}
        """When somebody wants to be asked again though nothing happens."""

    def close(self) -> None:
        """End it."""
        self._loop.close()

    def done(self, survey: Survey) -> bool:
        """Do what is due now; tell whether anything was."""
        now = survey.now
        before = survey.newest_event
        moved = False
        if survey.next_look_at is not None and survey.next_look_at <= now:
            moved = self._look(now) or moved
        if survey.next_due_at is not None and survey.next_due_at <= now:
            moved = self._store.wake() > 0 or moved
        if self.has_consumers:
            self._consumer.heard(survey)
            self._note("consumer", now, _settle(self._consumer.consume))
        if survey.next_alarm_at is not None and survey.next_alarm_at <= now:
            moved = self._alarms.tell() > 0 or moved
        if survey.automations:
            self._automator.heard(survey)
            self._note("automator", now, _settle(self._automator.look))
            moved = self._notify(now) or moved
        is_heard = self.has_consumers or survey.automations > 0
        return moved or (is_heard and self._store.newest_event() > before)

    def next_at(self, survey: Survey) -> int | None:
        """Say when there will be something to do next."""
        found = [survey.next_look_at, survey.next_due_at, survey.next_alarm_at, *self._wakes.values()]
        return min((at for at in found if at is not None and at > survey.now), default=None)

    def _note(self, who: str, now: int, seconds: float) -> None:
        self._wakes.pop(who, None)
        if 0 < seconds < float("inf"):
            self._wakes[who] = now + max(1, round(seconds * SECOND))

    def _look(self, now: int) -> bool:
        """Look at the schedules that are due."""
        which = ScheduleFilter(kinds=list(_DECIDERS), due_before=now)
        rows = self._store.list_schedules(which)
        desk = Desk(self._store, self._host.results)
        decisions = [_patient(row, _DECIDERS[row.kind](row, now, desk), now) for row in rows]
        return bool(decisions and self._store.decide(decisions))

    def _notify(self, now: int) -> bool:
        """Carry out what automations have come to."""
        if not self._store.list_firings(due_before=now, limit=1):
            return False
        self._notifier.fired()

        async def work() -> None:
            await self._notifier.look()
            await self._notifier.settled()

        self._loop.run(work())
        return True


def _patient(row: Schedule, decision: Decision, now: int) -> Decision:
    """Have a schedule that got nowhere wait a little, as on a server."""
    got_nowhere = not decision.ticks and (row.since, row.read, row.state) == (
        decision.since,
        decision.read,
        decision.state,
    )
    if got_nowhere and decision.next_at is not None and decision.next_at <= now:
        return msgspec.structs.replace(decision, next_at=now + _LEAST)
    return decision


def _settle(duty: Callable[[], Coroutine[Any, Any, float]]) -> float:
    """Do a duty until there is no more to do at once; return in how many seconds there will be."""
    for _ in range(_MOST_ROUNDS):
        if (pause := _finish(duty())) > 0:
            return pause
    return 0.0


def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing but its host, which never lets it wait."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    work.close()
    raise AssertionError("A duty waited for something that a world does not have.")
