"""Consumers of events: the four policies, conditions, pauses, replays, two servers at once, crashes between."""

from __future__ import annotations

import itertools
import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.store.conftest import clock, kind, opener, serve, store, url  # noqa: F401

from ostinato.clock import SECOND
from ostinato.io.results import ResultStore
from ostinato.loops.consumer import Consumer
from ostinato.records import Event, RunFilter
from ostinato.schedules import At, On, kind_of, to_spec
from ostinato.timing import Schedule, Timing
from ostinato.work import Deployed, Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ostinato.clock import ManualClock
    from ostinato.records import Run
    from ostinato.store.store import Store
    from ostinato.timing import Tick

SCHEMA = {"type": "object", "properties": {"event": {}, "events": {}, "n": {"type": "integer"}}}


class House:
    """A store, its consumers, and one server's loop or more, each done by hand."""

    def __init__(self, store: Store, folder: Path, clock: ManualClock) -> None:
        self.store, self.clock = store, clock
        self.results = ResultStore(str(folder / "results"))
        self.server = Consumer(self)  # type: ignore[arg-type]  # what it uses of a host
        self.numbers = itertools.count()

    def declare(self, when: Any = None, **options: Any) -> None:
        """Deploy ``load`` with one schedule, or none."""
        schedules = []
        if when is not None:
            made = Schedule(name="load", deployment="load", kind=kind_of(when), spec=to_spec(when), **options)
            schedules = [made]
        deployed = [
            Deployed(name=name, flow=name, project="demo", target=f"/demo/flows.py:{name}", schema=json.dumps(SCHEMA))
            for name in ("load", "other")
        ]
        self.store.put_project(Project(name="demo", root="/demo", host="here"), deployed, Timing(schedules=schedules))

    def emit(self, *labels: Any, kind: str = "landed", key: str = "") -> None:
        for label in labels:
            data = json.dumps({"label": label})
            self.store.emit([Event(at=self.store.now(), kind=kind, run_id="", data=data, key=key)])

    def settle(self, server: Consumer | None = None) -> float:
        """Do a server's rounds until there is nothing to do by itself at once; return in how many seconds there is."""
        server = server or self.server
        server._is_stale = True
        for _ in range(200):
            self.clock.move(0.001)  # so that runs of later rounds are told from those of earlier ones
            _, pause = server._consume()
            if pause:
                return pause
        raise AssertionError("it does not come to rest")

    def runs(self) -> list[Run]:
        """The runs, oldest first."""
        return self.store.list_runs(RunFilter(flow="load", limit=10_000))[::-1]

    def labels(self) -> list[list[Any]]:
        """What events each run was given, oldest first."""
        found = []
        for run in self.runs():
            given = self.results.load(run.parameters or b"")
            found.append([event["data"]["label"] for event in given["events"]])
        return found

    def end(self) -> None:
        """Let all runs end."""
        for run in self.runs():
            if not run.state.is_terminal:
                self.store.request_cancel(run.id)

    def ticks(self) -> list[Tick]:
        return self.store.list_ticks("load", limit=10_000)


@pytest.fixture
def house(store: Store, tmp_path: Path, clock: ManualClock) -> House:
    return House(store, tmp_path, clock)


# --- the policies


def test_each_event_makes_a_run_that_is_given_it(house: House) -> None:
    house.declare(On("landed"))
    house.settle()
    house.emit("a", "b")
    house.emit("not mine", kind="left")
    house.settle()
    assert house.labels() == [["a"], ["b"]]
    run, tick = house.runs()[0], house.ticks()[-1]
    event = house.results.load(run.parameters or b"")["event"]
    assert (event["kind"], event["key"], event["data"]) == ("landed", "", {"label": "a"})
    assert json.loads(run.trigger or "") == {"schedule": "load", "tick": str(event["id"]), "events": [event["id"]]}
    assert (tick.key, tick.outcome, tick.run_id) == (str(event["id"]), "started", run.id)


def test_only_events_with_the_key_count(house: House) -> None:
    house.declare(On("landed", key="eu"))
    house.settle()
    house.emit("a", key="eu")
    house.emit("b", key="us")
    house.settle()
    assert house.labels() == [["a"]]


def test_a_batch_is_full_or_ripe_and_comes_when_the_last_has_ended(house: House) -> None:
    house.declare(On("landed", policy="batch", size=3, window=60))
    house.settle()
    house.emit(1, 2)
    assert 59 < house.settle() <= 60
    assert house.labels() == []
    house.emit(3, 4)
    house.settle()
    assert house.labels() == [[1, 2, 3]]
    house.clock.move(61)
    assert house.settle() == float("inf"), "it waits for the run's end, not for a time"
    assert house.labels() == [[1, 2, 3]]
    house.end()
    house.settle()
    assert house.labels() == [[1, 2, 3], [4]]


def test_of_several_that_wait_only_the_latest_makes_a_run(house: House) -> None:
    house.declare(On("landed", policy="latest"))
    house.settle()
    house.emit(1, 2, 3)
    house.settle()
    assert house.labels() == [[3]]
    assert json.loads(house.ticks()[0].data)["left_out"] == 2
    house.emit(4, 5)
    house.settle()
    assert house.labels() == [[3]]
    house.end()
    house.settle()
    assert house.labels() == [[3], [5]]


def test_a_window_takes_all_that_come_within_it(house: House) -> None:
    house.declare(On("landed", policy="window", window=30))
    house.settle()
    house.emit(1)
    assert 29 < house.settle() <= 30
    house.clock.move(20)
    house.emit(2)
    house.settle()
    house.clock.move(10.001)
    house.emit(3)
    house.settle()
    assert house.labels() == [[1, 2]]
    house.clock.move(30)
    house.settle()
    assert house.labels() == [[1, 2], [3]]


# --- pauses, replays, deploys


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (On("landed"), [[1], [2], [3]]),
        (On("landed", policy="batch", size=2), [[1, 2]]),
        (On("landed", policy="latest"), [[3]]),
        (On("landed", policy="window", window=1), [[1, 2, 3]]),
    ],
    ids=["each", "batch", "latest", "window"],
)
def test_nothing_is_lost_while_it_is_paused(house: House, when: On, expected: list[list[int]]) -> None:
    house.declare(when)
    house.settle()
    house.store.pause_schedule("load", paused=True)
    house.emit(1, 2, 3)
    house.clock.move(5)
    house.settle()
    assert house.labels() == []
    house.store.pause_schedule("load", paused=False)
    house.settle()
    assert house.labels() == expected


def test_one_that_is_rewound_decides_again_and_what_it_starts_is_new(house: House) -> None:
    house.declare(On("landed"))
    house.settle()
    before = house.store.newest_event()
    house.emit(1, 2)
    house.settle()
    house.store.rewind_schedule("load", read=before)
    house.settle()
    assert house.labels() == [[1], [2], [1], [2]]
    assert len({tick.key for tick in house.ticks()}) == 4


def test_a_deploy_in_between_loses_nothing_and_repeats_nothing(house: House) -> None:
    house.declare(On("landed", policy="batch", size=2))
    house.settle()
    house.emit(1)
    house.settle()
    house.declare(On("landed", policy="batch", size=2), tags=["new"])
    house.emit(2)
    house.settle()
    house.declare(On("landed", policy="each"))
    house.emit(3)
    house.settle()
    assert house.labels() == [[1, 2], [3]]


def test_one_that_was_away_for_long_catches_up_page_by_page_while_others_go_on(house: House) -> None:
    house.declare(On("landed", policy="window", window=1))
    house.settle()
    house.store.pause_schedule("load", paused=True)
    now = house.store.now()
    for _ in range(5):
        house.store.emit([Event(at=now, kind="landed", run_id="", data='{"label": 0}', key="") for _ in range(500)])
    house.store.emit([Event(at=now, kind="noise", run_id="", key="") for _ in range(1500)])
    house.store.pause_schedule("load", paused=False)
    house.clock.move(2)
    house.settle()
    assert [len(one) for one in house.labels()] == [1000, 1000, 500]


def test_how_far_it_has_read_is_stored_now_and_then_though_nothing_was_wanted(house: House) -> None:
    house.declare(On("landed"))
    house.settle()
    house.store.emit([Event(at=house.store.now(), kind="noise", run_id="", key="") for _ in range(6000)])
    house.settle()
    assert house.store.newest_event() - house.store.get_schedule("load").read < 6000


# --- what is wrong


def test_refused_parameters_are_a_failed_tick_and_the_others_go_on(house: House) -> None:
    house.declare(On("landed"), parameters='{"n": "many"}')
    house.settle()
    house.emit(1)
    house.settle()
    assert house.runs() == []
    assert [(tick.outcome, tick.reason) for tick in house.ticks()] == [("failed", "refused")]
    assert "n: must be integer" in (house.store.get_schedule("load").trouble or "")
    house.declare(On("landed"))
    house.emit(2)
    house.settle()
    assert house.labels() == [[2]]
    assert house.store.get_schedule("load").trouble is None


def test_a_spec_that_cannot_be_read_harms_no_other(house: House) -> None:
    house.declare(On("landed"))
    house.store.put_schedule(Schedule(name="odd", deployment="other", kind="event", spec='{"on": 5}'))
    house.emit(1)
    house.settle()
    assert house.labels() == [[1]]


# --- ends of flows, conditions


def test_the_end_of_a_flows_run_starts_the_next(house: House) -> None:
    house.declare(On("flow:other", states=["cancelled"]))
    house.settle()
    from ostinato.runtime.starting import StartOrder, start

    first = start(house.store, house.results, StartOrder(deployment="other")).run
    start(house.store, house.results, StartOrder(deployment="load"))
    house.settle()
    assert len(house.runs()) == 1
    house.end()  # of load: not the flow that counts
    house.settle()
    assert len(house.runs()) == 1
    house.store.request_cancel(first.id)
    house.settle()
    assert len(house.runs()) == 2
    assert house.results.load(house.runs()[1].parameters or b"")["event"]["run_id"] == first.id


def test_both_must_have_happened_since_it_fired_last(house: House) -> None:
    house.declare(On("landed") & On("checked"))
    house.settle()
    house.emit(1, 2)
    house.settle()
    assert house.runs() == []
    other = Consumer(house)  # type: ignore[arg-type]  # another server, which knows nothing yet
    house.emit("ok", kind="checked")
    house.settle(other)
    assert house.labels() == [[1, 2, "ok"]]
    house.emit("ok", kind="checked")
    house.settle(other)
    assert len(house.runs()) == 1
    house.emit(3)
    house.settle()
    assert house.labels() == [[1, 2, "ok"], ["ok", 3]]


def test_either_may_happen(house: House) -> None:
    house.declare(On("landed") | On("checked"))
    house.settle()
    house.emit(1)
    house.emit(2, kind="checked")
    house.settle()
    assert house.labels() == [[1], [2]]


def test_a_time_and_an_event_together(house: House) -> None:
    later = datetime.fromtimestamp(house.store.now() / SECOND + 60, UTC)
    house.declare(At([later]) & On("landed"))
    house.settle()
    house.emit(1)
    assert 58 < house.settle() <= 60
    assert house.runs() == []
    house.clock.move(61)
    house.settle()
    assert house.labels() == [[1]]


# --- two servers, crashes


@pytest.mark.parametrize(
    "when",
    [
        On("landed"),
        On("landed", policy="batch", size=3, window=2),
        On("landed", policy="window", window=2),
    ],
    ids=["each", "batch", "window"],
)
@pytest.mark.parametrize("seed", range(3))
def test_every_event_is_in_one_run_whatever_servers_do(house: House, when: On, seed: int) -> None:
    """Two servers that take turns at random, forget what they knew, pause, resume and lose a round's decision."""
    chance = random.Random(seed)
    house.declare(when)
    house.settle()
    servers = [Consumer(house), Consumer(house)]  # type: ignore[arg-type]
    emitted = 0

    def emit() -> None:
        nonlocal emitted
        house.emit(*range(emitted, emitted + (n := chance.randint(1, 4))))
        house.emit("noise", kind="noise")
        emitted += n

    def look() -> None:
        chance.choice(servers)._consume()

    def forget() -> None:
        servers[chance.randrange(2)] = Consumer(house)  # type: ignore[arg-type]

    def pause() -> None:
        house.store.pause_schedule("load", paused=chance.random() < 0.5)

    def deploy() -> None:
        house.declare(when)

    acts: list[Callable[[], None]] = [emit, emit, look, look, look, forget, pause, deploy, house.end]
    for _ in range(60):
        chance.choice(acts)()
        house.clock.move(chance.random())
    house.store.pause_schedule("load", paused=False)
    for _ in range(100):
        house.clock.move(3)
        house.end()
        house.settle(servers[0])
        house.settle(servers[1])
        if sum(map(len, house.labels())) >= emitted:
            break
    assert sorted(itertools.chain(*house.labels())) == list(range(emitted))
    house.end()
