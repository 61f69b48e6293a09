"""What the store does for time and events: the third part of the `Store` Protocol.

Four groups of verbs: what starts runs (`Schedules`), what happens and who waits for it (`Happenings`), what holds runs
back (`Limits`), what reacts to events (`Reactions`). None of them evaluates anything: a loop or a command reads,
decides purely, and hands in a decision that names the `turn` it was based on; of two at once one is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

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


class Schedules(Protocol):
    """Schedules, sensors and consumers of events, and their ticks.

    Those that a project declares come with `Catalog.put_project`: one that is there already keeps `paused`, and, where
    its `spec` and `parameters` are the same, all that it remembers; else it begins anew from now on. `read` is kept in
    any case, and begins at the newest event.
    """

    def put_schedule(self, schedule: Schedule) -> Schedule:
        """Add a schedule that no project declares, or change it.

        Raises:
            UnknownNameError: If there is no such deployment.
            UsageError: If a project declares one of that name.
        """
        ...

    def remove_schedule(self, name: str) -> None:
        """Remove a schedule that no project declares. Its ticks stay until retention takes them."""
        ...

    def list_schedules(self, which: ScheduleFilter) -> list[Schedule]:
        """List schedules by name, or those that are due, the longest due first."""
        ...

    def get_schedule(self, name: str) -> Schedule:
        """Return a schedule; the error (`UnknownNameError`) names the nearest one."""
        ...

    def pause_schedule(self, name: str, *, paused: bool) -> Schedule:
        """Pause a schedule or resume it.

        Instants that passed while it was paused are not missed: it goes on from now. Events are kept: a consumer goes
        on where it was.
        """
        ...

    def rewind_schedule(self, name: str, *, since: int | None = None, read: int | None = None) -> Schedule:
        """Have a schedule decide again from an instant, a consumer from an event; what is started then is new."""
        ...

    def decide(self, decisions: Sequence[Decision]) -> list[str]:
        """Store what some schedules have come to: their ticks, the runs of these, how far they are; in one transaction.

        A decision whose `turn` has passed is left out, and so are a tick that is there already and its run. Ticks
        ``started`` and ``skipped`` have an event ``schedule.started`` / ``schedule.skipped``.

        Returns:
            The names of the schedules that were changed.
        """
        ...

    def report_look(self, run_id: str, epoch: int, decision: Decision) -> bool:
        """Store what a look at a sensor came to, whole and once; tell whether it was stored.

        Looks at a sensor are numbered by `Schedule.read`. A report is left out where its `read` is another: somebody
        has set the cursor meanwhile, or a newer look has begun. `turn` does not matter. A repeated one is harmless.

        Raises:
            StaleEpochError: If the run, which is that look's, is not held in this epoch. Nothing was written.
        """
        ...

    def put_cursor(self, name: str, cursor: str | None) -> Schedule:
        """Set a sensor's cursor (JSON) by hand and have it looked at now; a look under way does not count.

        Raises:
            UsageError: If there is no such sensor.
        """
        ...

    def list_ticks(self, schedule: str | None = None, *, before: int | None = None, limit: int = 50) -> list[Tick]:
        """List ticks, the newest decision first, those decided before an instant."""
        ...

    def usual_duration(self, deployment: str, *, last: int = 50) -> float | None:
        """Return the median of seconds that a deployment's last successful runs took; None where there are none."""
        ...


class Happenings(Protocol):
    """Events that users emit, who waits for them, and questions to people.

    A user's event has a `key` (``""`` for nothing in particular). `Fleet.emit` stores it and, in the same transaction,
    queues the runs that have given up their process until it comes.
    """

    def find_event(self, kind: str, key: str, *, after: int = 0, since: int = 0) -> StoredEvent | None:
        """Return the first event of a kind and key with a number above `after` and not before an instant."""
        ...

    def place_before(self, kind: str, key: str, instant: int) -> int:
        """Return the number of the last event of a kind and key before an instant; 0 where there is none."""
        ...

    def await_events(self, run_id: str, sought: Sequence[Sought], *, wait: float = 0.0) -> list[StoredEvent]:
        """Return the first event of each that a run seeks, as far as it is there.

        Waits for so many seconds at most until one of them is.
        """
        ...

    def newest_event(self) -> int:
        """Return the number of the newest event that every reader may have read; 0 where there is none."""
        ...

    def put_ask(self, ask: Ask) -> Ask:
        """Keep a question, unless one of its id is there; return what is there. With an event ``ask.opened``.

        One that has expired or was withdrawn is opened again where there is time left; none is of a run that has ended.
        """
        ...

    def get_ask(self, ask_id: str) -> Ask:
        """Return a question.

        Raises:
            UnknownNameError: If there is none.
        """
        ...

    def list_asks(self, *, is_open: bool = True, run_id: str | None = None, limit: int = 200) -> list[Ask]:
        """List questions, newest first."""
        ...

    def answer(self, ask_id: str, by: str, values: str) -> Ask:
        """Add somebody's answer (JSON); with the last that is needed the question is ``answered``, its run woken.

        The same person's second answer replaces the first. Tells ``ask.answered``, or ``ask.progressed`` before that.

        Raises:
            RunStateError: If the question is not open any more.
        """
        ...

    def close_asks(self, ids: Sequence[str], state: str) -> None:
        """Close those of some questions that are open: ``expired`` (tells ``ask.expired``) or ``withdrawn``.

        Those of a run that ends are withdrawn with its end.
        """
        ...

    def expire_asks(self, *, limit: int = 500) -> int:
        """Close the questions whose time is over; `limit` means there may be more."""
        ...

    def put_webhook(self, hook: Webhook) -> None:
        """Add a webhook, or change it."""
        ...

    def list_webhooks(self) -> list[Webhook]:
        """List webhooks by name, without their secrets."""
        ...

    def get_webhook(self, name: str) -> Webhook:
        """Return a webhook with its secret, which never leaves the server.

        Raises:
            UnknownNameError: If there is none.
        """
        ...

    def remove_webhook(self, name: str) -> None:
        """Forget a webhook."""
        ...

    def receive(self, delivery: Delivery, event: Event) -> Literal["taken", "duplicate", "replayed"]:
        """Emit the event of a delivery, once, and remember the delivery; all in one transaction.

        Returns:
            ``replayed`` where its signature has come before, ``duplicate`` where its id has.
        """
        ...


class Limits(Protocol):
    """Slots: who holds them, who waits, who is next.

    A run that needs slots (`Run.gates`) has no ticket until it holds them all; it takes them one after the other in the
    order of their names, so that none waits in a circle. It keeps them while it is recovered or waits, and returns them
    with its end. A task run returns its own with the commit that names it in `Commit.leaves`, with the end of its
    run's epoch, and with its run. Whoever is next has the slot in the same transaction.
    """

    def enter(self, run_id: str, epoch: int, wanted: Sequence[Entrance]) -> Entered:
        """Take slots for some task runs of a run, or stand in line; -1 stands for a run without a pool itself.

        Asking again does no harm: places in lines are kept.

        Returns:
            Which of them hold all that they asked for now. Of the others `await_slots` tells when they do.

        Raises:
            StaleEpochError: If nobody holds the run in that epoch.
        """
        ...

    def await_slots(self, run_id: str, epoch: int, known: Sequence[int], *, wait: float = 0.0) -> list[int]:
        """Return which task runs of a run hold all that they asked for, but those that are known to.

        Waits for the first for so many seconds at most.

        Raises:
            StaleEpochError: If nobody holds the run in that epoch.
        """
        ...

    def leave_gates(self, run_id: str, epoch: int, seqs: Sequence[int]) -> None:
        """Return what some task runs hold, and their places in the line."""
        ...

    def put_limit(self, limit: LimitRow) -> None:
        """Declare a limit by hand: it goes before what code says. Those who wait are let in as far as there is room."""
        ...

    def remove_limit(self, name: str) -> None:
        """Forget what was declared by hand."""
        ...

    def list_limits(self) -> list[LimitRow]:
        """List what was declared by hand, by name."""
        ...

    def list_gates(self, limit_name: str | None = None, *, limit: int = 200) -> list[Gate]:
        """List gates that somebody holds or waits for, or has, by name."""
        ...

    def list_passages(self, gate: str | None = None, *, run_id: str | None = None, limit: int = 200) -> list[Passage]:
        """List who holds a gate, then who waits for it in the order of the line; or what a run holds and waits for."""
        ...


class Reactions(Protocol):
    """Automations, what they came to, deadlines."""

    def put_automation(self, row: AutomationRow) -> AutomationRow:
        """Add an automation that no project declares, or change it (`UsageError` if a project declares it)."""
        ...

    def remove_automation(self, name: str) -> None:
        """Remove an automation that no project declares."""
        ...

    def list_automations(self) -> list[AutomationRow]:
        """List automations by name."""
        ...

    def pause_automation(self, name: str, *, paused: bool, silenced_until: int | None = None) -> AutomationRow:
        """Pause an automation, resume it, or silence it until an instant."""
        ...

    def reader_at(self, name: str) -> int:
        """Return the number of the last event that a reader has read; the newest where it is a new one."""
        ...

    def judge(
        self, reader: str, read: int, upto: int, judgements: Sequence[Judgement], *, known: int | None = None
    ) -> bool:
        """Store what automations have come to and that the reader has read from `read` up to `upto`; all or nothing.

        A firing that is ``pending`` tells ``automation.fired``.

        Args:
            reader: Its name.
            read: Where it was.
            upto: Where it is now.
            judgements: What automations have come to.
            known: How often automations had been changed when they were read: ``reader_at("automations")``.

        Returns:
            False, and nothing is stored, where the reader is not at `read` any more, or automations were changed.
        """
        ...

    def list_firings(
        self,
        automation: str | None = None,
        *,
        due_before: int | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Firing]:
        """List firings, newest first; or those with something to do by an instant, the longest due first."""
        ...

    def get_firing(self, firing_id: str) -> Firing:
        """Return a firing.

        Raises:
            UnknownNameError: If there is none.
        """
        ...

    def put_firing(self, firing: Firing, *, next_at: int | None) -> bool:
        """Replace a firing by what became of it, if its `next_at` is still the one given; tell whether it was.

        Who has acknowledged it stays. One that has become ``failed`` tells ``automation.failed``.
        """
        ...

    def acknowledge(self, firing_id: str, by: str) -> Firing:
        """Note that somebody looks after it: it is not escalated."""
        ...

    def put_deadlines(self, deadlines: Sequence[Deadline]) -> None:
        """Keep by when some runs must have begun or ended."""
        ...

    def get_runs(self, run_ids: Sequence[str]) -> list[Run]:
        """Return those of some runs that there are, in no order."""
        ...

    def past_durations(self, flow: str, deployment: str | None, *, last: int = 100) -> list[float]:
        """Return the seconds that the last successful runs of a deployment took, or those of a flow without one."""
        ...

    def pass_deadlines(self, *, limit: int = 500) -> list[Event]:
        """Tell (``run.late``) which runs have missed a deadline that is due, and forget those deadlines."""
        ...
