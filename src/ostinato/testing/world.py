"""A world of its own for one test: a store that is thrown away, a clock that is moved by hand, the real engine."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ostinato.clock import SECOND, ManualClock, to_datetime
from ostinato.errors import UnknownNameError, UsageError
from ostinato.records import Event, RunFilter, StoredEvent
from ostinato.runtime.asking import answer as answer_ask
from ostinato.runtime.session import Session, version
from ostinato.runtime.starting import StartOrder, start
from ostinato.schedules import from_spec, instants
from ostinato.settings import Settings
from ostinato.store.sqlite import SqliteStore
from ostinato.testing.carrying import WORKER, Carrier, Known
from ostinato.testing.declaring import PROJECT, Declared
from ostinato.testing.duties import Duties, WorldHost
from ostinato.testing.moments import to_instant, to_span
from ostinato.testing.views import Notification, WorldRun
from ostinato.timing import Ask, ScheduleFilter
from ostinato.waiting import check_emitted, to_json
from ostinato.work import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime, timedelta

    from ostinato.authoring.flow import Flow
    from ostinato.io.results import ResultStore
    from ostinato.schedules import When
    from ostinato.timing import Tick

_PAGE: Final = 1000
_FOR_EVER: Final = 1e9
"""Seconds of a lease: nobody else is there to take a run, and days pass in no time."""
_MOST_MOVES: Final = 1_000_000
_MOST_SCHEDULES: Final = 100_000


@contextmanager
def virtual_time(
    begin: datetime | date | str = "2026-01-01", *, patience: float = 60.0, store: Any = None
) -> Iterator[World]:
    """Open a world in which time passes only when it is told to.

    Args:
        begin: Its first instant; in UTC where no zone is given.
        patience: Real seconds that one pass of a run may take.
        store: A store of your own instead of a SQLite file that is removed; with a `ManualClock` for its clock.
    """
    with tempfile.TemporaryDirectory(prefix="ostinato-world-") as folder:
        clock = ManualClock(to_instant(begin))
        opened = store or SqliteStore(Path(folder) / "world.db", durability="crash-safe", clock=clock, lease=_FOR_EVER)
        settings = Settings(
            home=folder,
            results=str(Path(folder) / "results"),
            durability="crash-safe",
            suspend_after=1e-3,
            display="none",
        )
        try:
            with Session(settings, store=opened, guest=WORKER, clock=clock) as session:
                world = World(session, clock, patience)
                try:
                    yield world
                finally:
                    world.close()
        finally:
            opened.close()


class World:
    """Made by `virtual_time`.

    Args:
        session: In which runs are carried out; its store and clock are the world's.
        clock: Its clock.
        patience: Real seconds that one pass of a run may take.
    """

    def __init__(self, session: Session, clock: ManualClock, patience: float) -> None:
        self.store = session.store
        """The store, with everything that there is."""
        self.notifications: list[Notification] = []
        """What automations would have sent, in order."""
        self._results: ResultStore = session.results
        self._clock, self._known = clock, Known()
        self._declared = Declared(self._known)
        self._carrier = Carrier(session, self._known, patience)
        self._duties = Duties(WorldHost(session.store, session.results, session.settings), self.notifications)

    def close(self) -> None:
        """End it."""
        self._carrier.close()
        self._duties.close()

    # --- what there is

    def deploy(self, *things: Any) -> None:
        """Deploy flows, deployments, sensors and automations, with their schedules; what is deployed stays.

        Tasks may be given too, where a flow sends them to another work pool.

        Raises:
            DefinitionError: If one of them cannot be deployed as it is.
        """
        self._declared.add(things)
        deployed, timing = self._declared.describe()
        now = self.store.now()
        project = Project(name=PROJECT, root="/world", host="world", version=version(), updated_at=now)
        self.store.put_project(project, deployed, timing)
        self._duties.has_consumers = any(row.kind in {"event", "condition"} for row in timing.schedules)

    # --- time

    @property
    def now(self) -> datetime:
        """The instant now, aware, in UTC."""
        return to_datetime(self._clock.now())

    def settle(self) -> None:
        """Do everything that can be done now, without time passing."""
        self._settle()

    def run_until(self, moment: datetime | date | str) -> None:
        """Let time pass up to an instant; what is due then is done too."""
        end = to_instant(moment)
        if end < self._clock.now():
            raise UsageError(f"It is {self.now:%Y-%m-%d %H:%M:%S} already: time does not go back.")
        self._pass(end)

    def run_for(self, span: timedelta | float) -> None:
        """Let so much time pass: a `timedelta`, or seconds."""
        self._pass(self._clock.now() + to_span(span))

    def run(self, flow: Flow[..., Any] | str, **parameters: Any) -> WorldRun:
        """Start a run and let time pass until it has ended.

        Raises:
            UsageError: If it never will: it waits for something that nothing in the world brings about.
        """
        run = self.start(flow, **parameters)
        return self.finish(run)

    def finish(self, run: WorldRun) -> WorldRun:
        """Let time pass until a run has ended; see `run`."""
        for _ in range(_MOST_MOVES):
            due = self._settle()
            found = self.get(run.id)
            if found.state.is_terminal:
                return found
            if due is None:
                break
            self._move(due)
        waits = ", ".join(wait.kind for wait in self.store.list_waits(run.id)) or "a worker"
        raise UsageError(
            f"The run of {found.flow} never ends by itself: it is {found.state} and waits for: {waits}. Bring that "
            "about with world.emit, world.answer or world.start."
        )

    def _pass(self, end: int) -> None:
        while True:
            due = self._settle()
            if due is None or due > end:
                break
            self._move(due)
        self._move(end)
        self._settle()

    def _move(self, to: int) -> None:
        self._clock.move((to - self._clock.now()) / SECOND)

    def _settle(self) -> int | None:
        """Do what can be done now; return when there will be more to do, if nothing else happens."""
        for _ in range(_MOST_MOVES):
            survey = self.store.survey()
            moved = self._duties.done(survey)
            moved = (survey.tickets > 0 and self._carrier.carry_out_one()) or moved
            if not moved:
                return self._duties.next_at(survey)
        raise UsageError(f"At {self.now} one thing follows another without end: does a flow start itself?")

    # --- what happens

    def start(self, flow: Flow[..., Any] | str, **parameters: Any) -> WorldRun:
        """Ask for a run of a flow or deployment; it begins when time passes, or with `settle`.

        Raises:
            ParameterError: If its parameters are refused.
        """
        order = StartOrder(deployment=_name_of(flow), parameters=parameters)
        return self._view(start(self.store, self._results, order).run)

    def emit(self, kind: str, key: str = "", data: Any = None) -> None:
        """Tell that something has happened, and let those that wait for it go on."""
        check_emitted(kind, key)
        self.store.emit([Event(at=self._clock.now(), kind=kind, run_id="", key=key, data=to_json(data))])
        self._settle()

    def asks(self) -> list[Ask]:
        """List the questions that are open, the oldest first."""
        return sorted(self.store.list_asks(), key=lambda ask: (ask.created_at, ask.id))

    def answer(self, ask: Ask | str | None = None, /, *, by: str = "somebody", **values: Any) -> None:
        """Answer a question, and let the run that asked go on.

        Args:
            ask: The question, or its title; None where only one is open.
            by: Who answers.
            **values: The fields of its form; ``value`` where the form is a plain type.

        Raises:
            UnknownNameError: If there is no such question.
            ParameterError: If the answer does not fit the form.
        """
        answer_ask(self.store, self._choose(ask).id, by, values)
        self._settle()

    def _choose(self, ask: Ask | str | None) -> Ask:
        if isinstance(ask, Ask):
            return ask
        found = [each for each in self.asks() if ask is None or ask in (each.title, each.id)]
        if len(found) != 1:
            titles = ", ".join(repr(each.title) for each in self.asks()) or "none"
            which = "exactly one question" if ask is None else f"one question {ask!r}"
            raise UnknownNameError(f"There should be {which} open; open are: {titles}.")
        return found[0]

    # --- what has come of it

    def runs(self, flow: Flow[..., Any] | str | None = None) -> list[WorldRun]:
        """List the runs, the oldest first: all, or those of a flow or a deployment."""
        name = None if flow is None else _name_of(flow)
        found: list[Any] = []
        while True:
            before = found[-1].id if found else None
            page = self.store.list_runs(RunFilter(before=before, limit=_PAGE, looks=name is None))
            found += page
            if len(page) < _PAGE:
                break
        found = [row for row in found if name is None or name in (row.deployment, row.flow)]
        return [self._view(row) for row in sorted(found, key=lambda row: (row.created_at, row.id))]

    def get(self, run_id: str) -> WorldRun:
        """Return a run as it is now."""
        return self._view(self.store.get_run(run_id))

    def events(self, kind: str | None = None) -> list[StoredEvent]:
        """List what has happened, or what of one kind: ``run.failed``, ``orders.landed``."""
        found: list[StoredEvent] = []
        while True:
            page = self.store.list_events(None, after=found[-1].id if found else 0, limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                return [event for event in found if kind is None or event.event.kind == kind]

    def ticks(self, schedule: str) -> list[Tick]:
        """List what a schedule or sensor has decided, the oldest first."""
        self.store.get_schedule(schedule)
        return self.store.list_ticks(schedule, limit=100_000)[::-1]

    def preview(
        self,
        schedule: When | Flow[..., Any] | str,
        *,
        until: datetime | date | str | None = None,
        count: int | None = None,
    ) -> list[datetime]:
        """Say when a schedule will fire, without any run: of a schedule, or of a flow's or deployment's schedules.

        Args:
            schedule: Which.
            until: Up to which instant; a year from now by default, unless a count is given.
            count: How many at most.
        """
        now = self._clock.now()
        end = to_instant(until) if until is not None else None if count is not None else now + to_span(365 * 86_400)
        found: list[int] = []
        for when in self._schedules(schedule):
            found += instants(when, now, end, count)
        return [to_datetime(instant) for instant in sorted(found)[:count]]

    def _schedules(self, schedule: Any) -> list[Any]:
        if hasattr(schedule, "series"):
            return [schedule]
        name = _name_of(schedule)
        every = self.store.list_schedules(ScheduleFilter(limit=_MOST_SCHEDULES))
        rows = [row for row in every if row.kind != "sensor" and name in (row.name, row.deployment)]
        if not rows:
            raise UnknownNameError(f"There is no schedule {name!r}, and no deployment of that name has one.")
        return [from_spec(row.spec) for row in rows]

    def _view(self, run: Any) -> WorldRun:
        return WorldRun(run, self.store, self._results)


def _name_of(flow: Any) -> str:
    if isinstance(flow, str):
        return flow
    name = getattr(flow, "full_name", None) or getattr(flow, "name", None)
    if not isinstance(name, str):
        raise UsageError(f"A flow, a deployment or its name is expected, got {flow!r}.")
    return name
