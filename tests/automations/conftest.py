"""What the tests of automations share: events about runs without a store, and servers without routes with one."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.loops.conftest import House
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401

from ostinato.automations.automation import row_of
from ostinato.clock import SECOND, ManualClock
from ostinato.engine.judging import alarm_of, judge, moment_of
from ostinato.engine.seen import Seen
from ostinato.engine.triggering import Moment
from ostinato.loops.automator import Automator
from ostinato.loops.notifier import Notifier
from ostinato.records import Event, Run
from ostinato.states import State
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ostinato.automations import Automation
    from ostinato.engine.judging import Verdict
    from ostinato.store.store import Store
    from ostinato.timing import Firing

START = 1_700_000_000 * SECOND
_numbers = itertools.count(1)


def a_run(run_id: str = "r1", flow: str = "etl", **fields: Any) -> Run:
    values: dict[str, Any] = {"state": State.FAILED, "lineage": run_id, "started_at": START}
    return Run(id=run_id, flow=flow, **(values | fields))


def an_event(kind: str, at: float = 0.0, **fields: Any) -> Seen:
    """An event so many seconds after the beginning; what is about a run has one."""
    run = fields.pop("run", None)
    if run is None and kind.startswith(("run.", "task_run.")):
        run = a_run(fields.pop("run_id", "r1"), fields.pop("flow", "etl"))
    return Seen(
        number=next(_numbers),
        at=START + round(at * SECOND),
        kind=kind,
        run=run,
        run_id=run.id if run else "",
        **fields,
    )


class Player:
    """Shows events and the time to one automation, as the loop does, but without a store."""

    def __init__(self, automation: Automation, name: str = "a") -> None:
        self.automation, self.name = automation, name
        self.memory: dict[str, Any] = {}
        self.verdicts: list[Verdict] = []
        self.silenced_until: int | None = None
        self.tick(0)

    def see(self, *events: Seen) -> list[Verdict]:
        """Show events; what came of them."""
        found: list[Verdict] = []
        for seen in events:
            found += self._pass(seen.at)
            moment = moment_of(self.automation, self.name, seen)
            if moment is not None:
                found += self._judge(moment)
        self.verdicts += found
        return found

    def tick(self, at: float) -> list[Verdict]:
        """Let it be so many seconds after the beginning."""
        found = self._judge(Moment(START + round(at * SECOND)))
        self.verdicts += found
        return found

    def _pass(self, at: int) -> list[Verdict]:
        found: list[Verdict] = []
        while (due := alarm_of(self.automation, self.memory)) is not None and due <= at:
            found += self._judge(Moment(due))
        return found

    def _judge(self, moment: Moment) -> list[Verdict]:
        self.memory = json.loads(json.dumps(self.memory))  # it is JSON between any two moments
        return judge(self.automation, self.memory, moment, self.silenced_until)

    @property
    def at(self) -> list[float]:
        """When it fired, in seconds after the beginning."""
        return [(verdict.at - START) / SECOND for verdict in self.verdicts]


# --- with a store


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/home/ostinato.db"


class Post:
    """A server's automator and notifier, driven by hand."""

    def __init__(self, house: House, patience: float = 5.0) -> None:
        self.house, self.store = house, house.store
        self.notifier = Notifier(house, patience=patience)
        self.automator = Automator(house, fired=self.notifier.fired)

    async def judge(self) -> float:
        """Have the automator look until it is level."""
        self.automator.heard(self.store.survey())
        while (pause := await self.automator.look()) == 0.0:
            pass
        return pause

    async def deliver(self) -> None:
        """Have the notifier carry out what is due now."""
        self.notifier.fired()
        await self.notifier.look()
        await self.notifier.settled()

    def run(self, *, deliver: bool = True) -> list[Firing]:
        """Judge, and deliver; the firings there are, newest first."""

        async def body() -> None:
            await self.judge()
            if deliver:
                await self.deliver()

        asyncio.run(asyncio.wait_for(body(), 60))
        return self.store.list_firings()


@pytest.fixture
def post(url: str, clock: ManualClock, tmp_path: Path) -> Iterator[Callable[..., Post]]:
    """Open servers on the test's database."""
    opened: list[House] = []

    def make(name: str = "here", **options: Any) -> Post:
        house = House(open_store(url, clock=clock, durability="crash-safe"), tmp_path, name)
        opened.append(house)
        return Post(house, **options)

    yield make
    for house in opened:
        house.close()
        house.store.close()


def add(store: Store, automation: Automation, name: str = "alarm") -> None:
    store.put_automation(row_of(automation, name))


def emit(store: Store, kind: str = "orders.landed", key: str = "", **data: Any) -> None:
    store.emit([Event(at=store.now(), kind=kind, run_id="", key=key, data=json.dumps(data))])


def fail(store: Store, flow: str = "etl", **fields: Any) -> Run:
    """Store a run that has failed, with its event."""
    from tests.store.builders import ended

    run = ended(store, State.FAILED, flow=flow, started_at=store.now(), **fields)
    store.emit([Event(at=store.now(), kind="run.failed", run_id=run.id, data='{"reason": null}')])
    return run


def progress(firing: Firing) -> list[dict[str, Any]]:
    return json.loads(firing.progress)
