"""Where a scene is from: what is deployed, and what the past was like."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.simulate.scenes import deployed, of, row
from tests.store.builders import a_worker, ended, new_run

from ostinato.clock import SECOND, ManualClock
from ostinato.errors import UnknownNameError
from ostinato.fingerprint import fingerprint
from ostinato.io.results import ResultStore
from ostinato.records import Event
from ostinato.schedules import Cron, On
from ostinato.simulate.gather import WINDOW, crews_of, from_project, from_store, with_durations
from ostinato.simulate.play import play
from ostinato.simulate.scene import Crew, Span
from ostinato.states import State
from ostinato.store.sqlite import SqliteStore
from ostinato.timing import Decision, LimitRow, Schedule, Tick, Timing
from ostinato.work import Pool, Project, Queue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_767_225_600 * SECOND + 12 * 3600 * SECOND
DAY = 86_400 * SECOND


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW - 10 * DAY)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "o.db", clock=clock, durability="crash-safe")
    project = Project(name="p", root="/p", host="h")
    sensor = Schedule(name="arrivals", deployment="arrivals", kind="sensor", spec='{"every": 30}')
    things = [deployed("load"), deployed("report"), deployed("arrivals", kind="sensor")]
    schedules = [row("load", Cron("0 * * * *")), row("report", On("landed")), sensor]
    opened.put_project(project, things, Timing(schedules=schedules))
    yield opened
    opened.close()


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path / "results"))


def span(begin: int = NOW, days: float = 1) -> Span:
    return Span(begin=begin, end=begin + round(days * DAY))


def to_now(clock: ManualClock) -> None:
    clock.move((NOW - clock.now()) / SECOND)


def test_what_is_deployed_and_declared_is_in_it(store: SqliteStore, results: ResultStore) -> None:
    store.put_pool(Pool(name="gpu", slots=2))
    store.put_queue(Queue(pool="gpu", name="slow", priority=-10))
    store.put_limit(LimitRow(name="db", slots=3))
    made = from_store(store, results, span())
    assert {each.name for each in made.deployed} == {"load", "report", "arrivals"}
    assert {each.name for each in made.schedules} == {"load", "report", "arrivals"}
    assert [(each.name, each.slots) for each in made.pools if each.name == "gpu"] == [("gpu", 2)]
    assert [each.name for each in made.queues] == ["slow"]
    assert [each.slots for each in made.limits] == [3]


def test_durations_and_ends_are_those_of_the_last_runs(store: SqliteStore, results: ResultStore) -> None:
    for seconds, state in ((10, State.SUCCEEDED), (30, State.FAILED), (20, State.SUCCEEDED)):
        now = store.now()
        ended(store, state, deployment="load", flow="load", started_at=now - seconds * SECOND, finished_at=now)
    ended(store, State.CANCELLED, deployment="load", flow="load")  # it never began
    made = with_durations(from_store(store, results, span()), {})
    assert made.past("load").source == "3 past runs"
    assert {(draw.seconds, draw.state) for draw in made.past("load").draws} == {
        (10.0, State.SUCCEEDED),
        (30.0, State.FAILED),
        (20.0, State.SUCCEEDED),
    }
    assert made.past("report").source == "assumed"
    assert any("60 s each are assumed: report" in note for note in made.notes)


def test_durations_may_be_given_by_flow_or_deployment(store: SqliteStore, results: ResultStore) -> None:
    made = with_durations(from_store(store, results, span()), {"load": 600})
    assert [draw.seconds for draw in made.past("load").draws] == [600]
    with pytest.raises(UnknownNameError, match=r"no flow or deployment 'laod'\. Did you mean 'load'"):
        with_durations(made, {"laod": 1})


def test_what_a_sensor_asked_for_comes_again_on_the_same_day_of_the_week(
    store: SqliteStore, results: ResultStore, clock: ManualClock
) -> None:
    clock.move(3 * 86_400)
    asked_at = store.now()
    wanted = new_run(store, flow="load", deployment="load", pool="default")
    wanted.parameters, _ = results.dump({"tenant": "x"}, fingerprint({"tenant": "x"}), 1 << 20)
    known = store.get_schedule("arrivals")
    tick = Tick(schedule="arrivals", key="file-1", outcome="started", run_id=wanted.id)
    look = Tick(schedule="arrivals", key="look:r", outcome="skipped", reason="nothing new")
    decision = Decision(schedule="arrivals", turn=known.turn, ticks=[tick, look], runs=[wanted], since=known.since)
    assert store.decide([decision]) == ["arrivals"]
    to_now(clock)
    made = from_store(store, results, span(days=40))
    assert [(each.at, each.deployment, each.parameters) for each in made.requests] == [
        (asked_at + WINDOW, "load", {"tenant": "x"})
    ]
    assert not any("asked for no run" in note for note in made.notes)
    outlook = play(made, span(days=40), [Crew()])
    assert of(outlook, "load").runs == 40 * 24 + 1


def test_a_sensor_without_a_past_is_told_of(store: SqliteStore, results: ResultStore) -> None:
    made = from_store(store, results, span())
    assert any("asked for no run lately, so none comes of them: arrivals" in note for note in made.notes)
    assert any("No event was emitted in the last four weeks" in note for note in made.notes)


def test_events_of_users_come_again(store: SqliteStore, results: ResultStore, clock: ManualClock) -> None:
    store.emit([Event(at=store.now(), kind="landed", run_id="", key="")])
    clock.move(86_400)
    for kind, key in (("landed", "a"), ("other", ""), ("landed", "b")):
        clock.move(3600)
        store.emit([Event(at=store.now(), kind=kind, run_id="", key=key)])
    last = store.now()
    to_now(clock)
    made = from_store(store, results, span(days=28))
    assert [each.key for each in made.events] == ["", "a", "b"]
    assert made.events[-1].at == last + WINDOW
    outlook = play(made, span(days=28), [Crew()])
    assert of(outlook, "report").runs == 3


def test_the_first_event_since_an_instant_is_found_among_many(
    store: SqliteStore, results: ResultStore, clock: ManualClock
) -> None:
    for _ in range(300):
        clock.move(86_400 / 2)
        store.emit([Event(at=store.now(), kind="landed", run_id="", key="")])
    begin = store.now() - WINDOW
    expected = sum(
        each.event.at >= begin for each in store.list_events(None, limit=10_000) if each.event.kind == "landed"
    )
    made = from_store(store, results, Span(begin=store.now(), end=store.now() + WINDOW))
    assert len(made.events) == expected == math.ceil(28 * 2) + 1


def test_workers_are_those_that_are_there(store: SqliteStore) -> None:
    assert crews_of(store, 4) == [Crew(workers=1, slots=4)]
    a_worker(store, "w1", pools=["default"], slots=3, resources='{"cpu": 8.0}')
    a_worker(store, "w2", pools=["gpu"], slots=1, draining=True)
    a_worker(store, "script")
    assert crews_of(store, 4) == [Crew(workers=1, slots=3, pools=("default",), resources={"cpu": 8.0})]


def test_a_project_that_is_not_deployed_has_no_past() -> None:
    paused = msgspec.structs.replace(row("b", Cron("0 * * * *")), paused=True)
    made = with_durations(from_project([deployed("a"), deployed("b")], [row("a", Cron("0 * * * *")), paused]), {})
    assert any("60 s each are assumed: a, b" in note for note in made.notes)
    assert any(note.startswith("Paused, so nothing comes of them: b.") for note in made.notes)
    awake = from_project([deployed("b")], [paused], include_paused=True)
    assert [each.paused for each in awake.schedules] == [False]
