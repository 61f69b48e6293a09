"""The verbs for time and events over HTTP: the third part of a `RemoteStore`."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from ostinato.errors import AccessError
from ostinato.store import wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.limits import Entered, Entrance
    from ostinato.records import Event, Run, StoredEvent
    from ostinato.timing import (
        Ask,
        AutomationRow,
        Deadline,
        Decision,
        Delivery,
        Firing,
        Gate,
        Judgement,
        LimitRow,
        Passage,
        Schedule,
        ScheduleFilter,
        Sought,
        Tick,
        Webhook,
    )


class RemoteTiming:
    """Schedules, events and waits, limits, automations."""

    @abstractmethod
    def _call(self, name: str, *arguments: Any, wait: float = 0.0) -> Any: ...

    def put_schedule(self, schedule: Schedule) -> Schedule:
        """Add a schedule that no project declares, or change it."""
        found: Schedule = self._call("put_schedule", schedule)
        return found

    def remove_schedule(self, name: str) -> None:
        """Remove a schedule that no project declares. Its ticks stay until retention takes them."""
        self._call("remove_schedule", name)

    def list_schedules(self, which: ScheduleFilter) -> list[Schedule]:
        """List schedules by name, or those that are due, the longest due first."""
        found: list[Schedule] = self._call("list_schedules", which)
        return found

    def get_schedule(self, name: str) -> Schedule:
        """Return a schedule; the error (`UnknownNameError`) names the nearest one."""
        found: Schedule = self._call("get_schedule", name)
        return found

    def pause_schedule(self, name: str, *, paused: bool) -> Schedule:
        """Pause a schedule or resume it."""
        found: Schedule = self._call("pause_schedule", name, paused)
        return found

    def rewind_schedule(self, name: str, *, since: int | None = None, read: int | None = None) -> Schedule:
        """Have a schedule decide again from an instant, a consumer from an event; what is started then is new."""
        found: Schedule = self._call("rewind_schedule", name, since, read)
        return found

    def decide(self, decisions: Sequence[Decision]) -> list[str]:
        """Store what some schedules have come to: their ticks, the runs of these, how far they are."""
        found: list[str] = self._call("decide", decisions)
        return found

    def report_look(self, run_id: str, epoch: int, decision: Decision) -> bool:
        """Store what a look at a sensor came to, whole and once; tell whether it was stored."""
        found: bool = self._call("report_look", run_id, epoch, decision)
        return found

    def put_cursor(self, name: str, cursor: str | None) -> Schedule:
        """Set a sensor's cursor by hand and have it looked at now."""
        found: Schedule = self._call("put_cursor", name, cursor)
        return found

    def list_ticks(self, schedule: str | None = None, *, before: int | None = None, limit: int = 50) -> list[Tick]:
        """List ticks, the newest decision first, those decided before an instant."""
        found: list[Tick] = self._call("list_ticks", schedule, before, limit)
        return found

    def usual_duration(self, deployment: str, *, last: int = 50) -> float | None:
        """Return the median of seconds that a deployment's last successful runs took; None where there are none."""
        found: float | None = self._call("usual_duration", deployment, last)
        return found

    def emit(self, events: Sequence[Event]) -> None:
        """Append events that belong to no commit."""
        self._call("emit", events)

    def find_event(self, kind: str, key: str, *, after: int = 0, since: int = 0) -> StoredEvent | None:
        """Return the first event of a kind and key with a number above `after` and not before an instant."""
        found: StoredEvent | None = self._call("find_event", kind, key, after, since)
        return found

    def place_before(self, kind: str, key: str, instant: int) -> int:
        """Return the number of the last event of a kind and key before an instant; 0 where there is none."""
        found: int = self._call("place_before", kind, key, instant)
        return found

    def await_events(self, run_id: str, sought: Sequence[Sought], *, wait: float = 0.0) -> list[StoredEvent]:
        """Return the first event of each that a run seeks, and wait until there is one for so many seconds at most."""
        until = time.monotonic() + wait
        while True:
            part = max(0.0, min(until - time.monotonic(), wire.LONGEST_WAIT))
            found: list[StoredEvent] = self._call("await_events", run_id, sought, part, wait=part)
            if found or time.monotonic() >= until:
                return found

    def newest_event(self) -> int:
        """Return the number of the newest event that every reader may have read; 0 where there is none."""
        found: int = self._call("newest_event")
        return found

    def put_ask(self, ask: Ask) -> Ask:
        """Keep a question, unless one of its id is there; return what is there. With an event ``ask.opened``."""
        found: Ask = self._call("put_ask", ask)
        return found

    def get_ask(self, ask_id: str) -> Ask:
        """Return a question."""
        found: Ask = self._call("get_ask", ask_id)
        return found

    def list_asks(self, *, is_open: bool = True, run_id: str | None = None, limit: int = 200) -> list[Ask]:
        """List questions, newest first."""
        found: list[Ask] = self._call("list_asks", is_open, run_id, limit)
        return found

    def answer(self, ask_id: str, by: str, values: str) -> Ask:
        """Add somebody's answer (JSON); with the last that is needed the question is ``answered``, its run woken."""
        found: Ask = self._call("answer", ask_id, by, values)
        return found

    def close_asks(self, ids: Sequence[str], state: str) -> None:
        """Close those of some questions that are open: ``expired`` (tells ``ask.expired``) or ``withdrawn``."""
        self._call("close_asks", ids, state)

    def expire_asks(self, *, limit: int = 500) -> int:
        """Close the questions whose time is over; `limit` means there may be more."""
        found: int = self._call("expire_asks", limit)
        return found

    def put_webhook(self, hook: Webhook) -> None:
        """Add a webhook, or change it."""
        self._call("put_webhook", hook)

    def list_webhooks(self) -> list[Webhook]:
        """List webhooks by name, without their secrets."""
        found: list[Webhook] = self._call("list_webhooks")
        return found

    def get_webhook(self, name: str) -> Webhook:
        """Refuse: a webhook's secret never leaves the server."""
        raise AccessError(f"The secret of webhook {name} never leaves the server.")

    def remove_webhook(self, name: str) -> None:
        """Forget a webhook."""
        self._call("remove_webhook", name)

    def receive(self, delivery: Delivery, event: Event) -> Literal["taken", "duplicate", "replayed"]:
        """Refuse: what a webhook delivers is taken by the server itself."""
        raise AccessError(f"What webhook {delivery.webhook} delivers ({event.kind}) is taken by the server itself.")

    def enter(self, run_id: str, epoch: int, wanted: Sequence[Entrance]) -> Entered:
        """Take slots for some task runs of a run, or stand in line."""
        found: Entered = self._call("enter", run_id, epoch, wanted)
        return found

    def await_slots(self, run_id: str, epoch: int, known: Sequence[int], *, wait: float = 0.0) -> list[int]:
        """Return which task runs of a run hold all that they asked for, but those that are known to."""
        until = time.monotonic() + wait
        while True:
            part = max(0.0, min(until - time.monotonic(), wire.LONGEST_WAIT))
            found: list[int] = self._call("await_slots", run_id, epoch, known, part, wait=part)
            if found or time.monotonic() >= until:
                return found

    def leave_gates(self, run_id: str, epoch: int, seqs: Sequence[int]) -> None:
        """Return what some task runs hold, and their places in the line."""
        self._call("leave_gates", run_id, epoch, seqs)

    def put_limit(self, limit: LimitRow) -> None:
        """Declare a limit by hand: it goes before what code says. Those who wait are let in as far as there is room."""
        self._call("put_limit", limit)

    def remove_limit(self, name: str) -> None:
        """Forget what was declared by hand."""
        self._call("remove_limit", name)

    def list_limits(self) -> list[LimitRow]:
        """List what was declared by hand, by name."""
        found: list[LimitRow] = self._call("list_limits")
        return found

    def list_gates(self, limit_name: str | None = None, *, limit: int = 200) -> list[Gate]:
        """List gates that somebody holds or waits for, or has, by name."""
        found: list[Gate] = self._call("list_gates", limit_name, limit)
        return found

    def list_passages(self, gate: str | None = None, *, run_id: str | None = None, limit: int = 200) -> list[Passage]:
        """List who holds a gate, then who waits for it in the order of the line; or what a run holds and waits for."""
        found: list[Passage] = self._call("list_passages", gate, run_id, limit)
        return found

    def put_automation(self, row: AutomationRow) -> AutomationRow:
        """Add an automation that no project declares, or change it (`UsageError` if a project declares it)."""
        found: AutomationRow = self._call("put_automation", row)
        return found

    def remove_automation(self, name: str) -> None:
        """Remove an automation that no project declares."""
        self._call("remove_automation", name)

    def list_automations(self) -> list[AutomationRow]:
        """List automations by name."""
        found: list[AutomationRow] = self._call("list_automations")
        return found

    def pause_automation(self, name: str, *, paused: bool, silenced_until: int | None = None) -> AutomationRow:
        """Pause an automation, resume it, or silence it until an instant."""
        found: AutomationRow = self._call("pause_automation", name, paused, silenced_until)
        return found

    def reader_at(self, name: str) -> int:
        """Return the number of the last event that a reader has read; the newest where it is a new one."""
        found: int = self._call("reader_at", name)
        return found

    def judge(
        self, reader: str, read: int, upto: int, judgements: Sequence[Judgement], *, known: int | None = None
    ) -> bool:
        """Store what automations have come to and that the reader has read from `read` up to `upto`; all or nothing."""
        found: bool = self._call("judge", reader, read, upto, judgements, known)
        return found

    def list_firings(
        self,
        automation: str | None = None,
        *,
        due_before: int | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Firing]:
        """List firings, newest first; or those with something to do by an instant, the longest due first."""
        found: list[Firing] = self._call("list_firings", automation, due_before, before, limit)
        return found

    def get_firing(self, firing_id: str) -> Firing:
        """Return a firing."""
        found: Firing = self._call("get_firing", firing_id)
        return found

    def put_firing(self, firing: Firing, *, next_at: int | None) -> bool:
        """Replace a firing by what became of it, if its `next_at` is still the one given; tell whether it was."""
        found: bool = self._call("put_firing", firing, next_at)
        return found

    def acknowledge(self, firing_id: str, by: str) -> Firing:
        """Note that somebody looks after it: it is not escalated."""
        found: Firing = self._call("acknowledge", firing_id, by)
        return found

    def put_deadlines(self, deadlines: Sequence[Deadline]) -> None:
        """Keep by when some runs must have begun or ended."""
        self._call("put_deadlines", deadlines)

    def get_runs(self, run_ids: Sequence[str]) -> list[Run]:
        """Return those of some runs that there are, in no order."""
        found: list[Run] = self._call("get_runs", run_ids)
        return found

    def past_durations(self, flow: str, deployment: str | None, *, last: int = 100) -> list[float]:
        """Return the seconds that the last successful runs of a deployment took, or those of a flow without one."""
        found: list[float] = self._call("past_durations", flow, deployment, last)
        return found

    def pass_deadlines(self, *, limit: int = 500) -> list[Event]:
        """Tell (``run.late``) which runs have missed a deadline that is due, and forget those deadlines."""
        found: list[Event] = self._call("pass_deadlines", limit)
        return found
