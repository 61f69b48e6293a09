"""The scheduler: what is due makes its runs, once, however many servers look and whatever the clock does."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.loops.conftest import play, seen
from tests.store.builders import a_deployed, a_project

from ostinato.clock import SECOND, to_datetime
from ostinato.errors import StoreUnavailableError
from ostinato.io.serializers import to_json
from ostinato.loops.scheduler import Scheduler
from ostinato.loops.start import start_loops
from ostinato.records import RunFilter
from ostinato.runtime.ticking import Order, decision_of, skip
from ostinato.schedules import Cron, Every, delay_of, to_spec
from ostinato.timing import Schedule, ScheduleFilter, Tick, Timing

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.loops.conftest import House

    from ostinato.clock import ManualClock
    from ostinato.records import Run
    from ostinato.store.store import Store

MINUTE = 60 * SECOND
SCHEMA = json.dumps(
    {"type": "object", "properties": {"n": {"type": "integer"}, "city": {"type": "string"}}, "required": ["n"]}
)


def a_schedule(name: str = "s", when: Any = None, **fields: Any) -> Schedule:
    when = Every(seconds=60) if when is None else when
    return Schedule(name=name, **({"deployment": "f", "spec": to_spec(when)} | fields))


def deploy(store: Store, *schedules: Schedule, **fields: Any) -> None:
    store.put_project(a_project(), [a_deployed("f", **fields)], Timing(schedules=list(schedules)))


async def look(scheduler: Scheduler, store: Store, times: int = 3) -> None:
    """Let a scheduler look as often as it may want to at one moment."""
    for _ in range(times):
        scheduler.heard(store.survey())
        await scheduler.look()


def runs_of(store: Store) -> list[Run]:
    return sorted(store.list_runs(RunFilter(limit=10_000)), key=lambda run: (run.scheduled_at or 0, run.id))


def ticks_of(store: Store, name: str | None = None) -> list[Tick]:
    return list(reversed(store.list_ticks(name, limit=10_000)))


def whole_minute(store: Store, clock: ManualClock) -> int:
    clock.move((MINUTE - store.now() % MINUTE) / SECOND)
    return store.now()


# --- what is due


def test_a_due_schedule_makes_its_run_with_everything_that_belongs_to_it(house: House, clock: ManualClock):
    store = house.store
    begin = whole_minute(store, clock)
    own = a_schedule(parameters='{"n": 3}', tags=["nightly"])
    deploy(store, own, schema=SCHEMA, parameters='{"city": "Oslo"}', tags=["w"], priority=7)

    async def body() -> None:
        scheduler = Scheduler(house)
        await look(scheduler, store)
        assert runs_of(store) == []
        clock.move(60)
        await look(scheduler, store)

    play(body)
    run = runs_of(store)[0]
    assert (run.scheduled_at, run.created_by, run.deployment, run.priority) == (begin + MINUTE, "schedule:s", "f", 7)
    assert run.tags == ["w", "nightly"]
    assert run.parameters is not None
    assert to_json(run.parameters) == {"city": "Oslo", "n": 3}
    assert json.loads(run.trigger or "") == {"schedule": "s", "tick": str(begin + MINUTE), "events": []}
    tick = ticks_of(store)[0]
    assert (tick.outcome, tick.scheduled_at, tick.run_id) == ("started", begin + MINUTE, run.id)
    row = store.get_schedule("s")
    assert (row.since, row.next_at) == (begin + MINUTE, begin + 2 * MINUTE)
    assert [ticket.run_id for ticket in store.list_tickets()] == [run.id]
    assert house.changes > 0


def test_parameters_too_large_for_a_row_go_to_the_result_store(house: House, clock: ManualClock):
    store = house.store
    whole_minute(store, clock)
    deploy(store, a_schedule(parameters=json.dumps({"n": 1, "city": "x" * (1 << 20)})), schema=SCHEMA)

    async def body() -> None:
        await look(scheduler := Scheduler(house), store)
        clock.move(60)
        await look(scheduler, store)

    play(body)
    data = runs_of(store)[0].parameters
    assert data is not None
    assert len(data) < 1000
    assert len(house.results.load(data)["city"]) == 1 << 20


def test_it_is_prepared_ahead_and_stored_at_its_time_not_before(house: House, clock: ManualClock):
    store = house.store
    whole_minute(store, clock)
    deploy(store, a_schedule())

    async def body() -> None:
        scheduler = Scheduler(house)
        await look(scheduler, store)
        clock.move(57)
        scheduler.heard(store.survey())
        left = await scheduler.look()
        assert 2.5 < left <= 3.0
        assert runs_of(store) == []
        clock.move(2.999)
        scheduler.heard(store.survey())
        assert await scheduler.look() <= 0.001
        assert runs_of(store) == []
        clock.move(0.001)
        await look(scheduler, store)
        assert len(runs_of(store)) == 1

    play(body)


def test_what_was_prepared_is_thrown_away_when_the_schedule_is_paused_or_its_deployment_changed(
    house: House, clock: ManualClock
):
    store = house.store
    whole_minute(store, clock)
    deploy(store, a_schedule("a"), a_schedule("b"))

    async def body() -> None:
        scheduler = Scheduler(house)
        await look(scheduler, store)
        clock.move(57)
        await look(scheduler, store)
        store.pause_schedule("a", paused=True)
        deploy(store, a_schedule("a"), a_schedule("b"), priority=9)
        clock.move(3)
        await look(scheduler, store)

    play(body)
    assert [(tick.schedule, tick.outcome) for tick in ticks_of(store)] == [("b", "started")]
    assert [run.priority for run in runs_of(store)] == [9]


def test_one_whose_parameters_are_refused_says_so_and_keeps_nobody_else_waiting(house: House, clock: ManualClock):
    store = house.store
    whole_minute(store, clock)
    deploy(store, a_schedule("bad"), a_schedule("good", parameters='{"n": 1}'), schema=SCHEMA)

    async def body() -> None:
        await look(scheduler := Scheduler(house), store)
        for _ in range(2):
            clock.move(60)
            await look(scheduler, store)

    play(body)
    assert [tick.outcome for tick in ticks_of(store, "good")] == ["started"] * 2
    assert [(tick.outcome, tick.reason, tick.run_id) for tick in ticks_of(store, "bad")] == [
        ("failed", "refused", None)
    ] * 2
    trouble = store.get_schedule("bad").trouble
    assert trouble is not None
    assert "n: is missing" in trouble
    assert store.get_schedule("good").trouble is None
    told = [each.event for each in store.list_events() if each.event.kind == "schedule.failed"]
    assert "n: is missing" in json.loads(told[0].data)["error"]
    deploy(store, a_schedule("bad", parameters='{"n": 2}'), schema=SCHEMA)
    assert store.get_schedule("bad").trouble is None


@pytest.mark.parametrize("spec", ['{"type": "Nonsense"}', "[]", '{"type": "Cron", "expr": "99 * * * *"}'])
def test_one_that_cannot_be_read_is_in_trouble_and_nobody_else(house: House, clock: ManualClock, spec: str):
    store = house.store
    whole_minute(store, clock)
    deploy(store, a_schedule("bad", spec=spec), a_schedule("good"))

    async def body() -> None:
        await look(scheduler := Scheduler(house), store)
        clock.move(60)
        await look(scheduler, store)

    play(body)
    assert [tick.schedule for tick in ticks_of(store)] == ["good"]
    assert "cannot be read" in (store.get_schedule("bad").trouble or "")


def test_one_whose_deployment_is_gone_fails_its_ticks(house: House, clock: ManualClock):
    store = house.store
    whole_minute(store, clock)
    deploy(store)
    store.put_schedule(a_schedule("mine"))
    store.remove_project("p")

    async def body() -> None:
        await look(scheduler := Scheduler(house), store)
        clock.move(60)
        await look(scheduler, store)

    play(body)
    assert [tick.outcome for tick in ticks_of(store)] == ["failed"]
    assert "no deployment 'f'" in (store.get_schedule("mine").trouble or "")


def test_jitter_puts_each_schedule_at_a_time_of_its_own(house: House, clock: ManualClock):
    store = house.store
    begin = whole_minute(store, clock)
    when = Every(seconds=60, jitter=30)
    names = [f"s{number}" for number in range(8)]
    deploy(store, *(a_schedule(name, when) for name in names))
    began: dict[str, int] = {}

    async def body() -> None:
        await look(scheduler := Scheduler(house), store)
        clock.move(60)
        for _ in range(31):
            await look(scheduler, store)
            for tick in ticks_of(store):
                began.setdefault(tick.schedule, store.now())
            clock.move(1)

    play(body)
    assert {run.scheduled_at for run in runs_of(store)} == {begin + MINUTE}
    for name in names:
        due = begin + MINUTE + delay_of(when, name, begin + MINUTE)
        assert 0 <= began[name] - due <= SECOND


# --- missed, clocks


def test_asleep_for_a_day_each_policy_holds(house: House, clock: ManualClock):
    store = house.store
    begin = whole_minute(store, clock)
    hour = Every(hours=1)
    deploy(
        store,
        *(a_schedule(policy, hour.with_options(catchup=policy)) for policy in ("last", "all", "none")),
        a_schedule("often", Every(seconds=60, catchup="all")),
    )

    async def body() -> None:
        scheduler = Scheduler(house)
        await look(scheduler, store)
        clock.move(86_400 + 1800)
        scheduler = Scheduler(house)  # the server was away
        await look(scheduler, store, times=8)

    play(body)
    counts = {name: len(ticks_of(store, name)) for name in ("last", "all", "none", "often")}
    assert counts == {"last": 2, "all": 24, "none": 1, "often": 1470}
    skipped, started = ticks_of(store, "last")
    assert (skipped.outcome, skipped.reason, json.loads(skipped.data)["count"]) == ("skipped", "missed", 23)
    assert started.scheduled_at is not None
    assert begin < started.scheduled_at <= store.now()
    assert started.scheduled_at == max(
        run.scheduled_at or 0 for run in runs_of(store) if run.created_by == "schedule:last"
    )
    assert json.loads(ticks_of(store, "none")[0].data)["count"] == 24
    expected = [begin + MINUTE * number for number in range(1, 1471)]
    assert sorted(run.scheduled_at or 0 for run in runs_of(store) if run.created_by == "schedule:often") == expected


def test_a_clock_that_is_set_back_starts_nothing_twice_and_schedules_wait(house: House, clock: ManualClock):
    store = house.store
    begin = whole_minute(store, clock)
    deploy(store, a_schedule())

    async def body() -> None:
        await look(scheduler := Scheduler(house), store)
        for _ in range(5):
            clock.move(60)
            await look(scheduler, store)
        clock.move(-3600)
        for _ in range(60):
            await look(scheduler, store)
            clock.move(60)
        await look(scheduler, store)
        assert len(runs_of(store)) == 5
        clock.move(60)
        await look(scheduler, store)

    play(body)
    assert [run.scheduled_at for run in runs_of(store)] == [begin + MINUTE * number for number in range(1, 7)]


def test_a_clock_that_is_set_ahead_while_something_is_prepared_catches_up_by_the_policy(
    house: House, clock: ManualClock
):
    store = house.store
    begin = whole_minute(store, clock)
    deploy(store, a_schedule("s", Every(seconds=60, catchup="none")))

    async def body() -> None:
        await look(scheduler := Scheduler(house), store)
        clock.move(57)
        await look(scheduler, store)
        clock.move(3600)
        await look(scheduler, store)

    play(body)
    skipped, started = ticks_of(store)
    assert (skipped.reason, json.loads(skipped.data)["first"]) == ("missed", begin + MINUTE)
    assert (started.outcome, started.scheduled_at) == ("started", begin + 60 * MINUTE)


def test_what_passes_while_it_is_paused_is_not_missed(house: House, clock: ManualClock):
    store = house.store
    begin = whole_minute(store, clock)
    deploy(store, a_schedule("s", Every(seconds=60, catchup="all")))

    async def body() -> None:
        await look(scheduler := Scheduler(house), store)
        store.pause_schedule("s", paused=True)
        clock.move(3600)
        await look(scheduler, store)
        store.pause_schedule("s", paused=False)
        await look(scheduler, store)
        assert ticks_of(store) == []
        clock.move(60)
        await look(scheduler, store)

    play(body)
    assert [run.scheduled_at for run in runs_of(store)] == [begin + 61 * MINUTE]


def test_a_replay_starts_new_runs_for_what_was_done_and_then_goes_on(house: House, clock: ManualClock):
    store = house.store
    begin = whole_minute(store, clock)
    deploy(store, a_schedule())

    async def body() -> None:
        await look(scheduler := Scheduler(house), store)
        for _ in range(5):
            clock.move(60)
            await look(scheduler, store)
        clock.move(1)
        store.rewind_schedule("s", since=begin + 2 * MINUTE)
        await look(scheduler, store)
        clock.move(59)
        await look(scheduler, store)

    play(body)
    minutes = sorted(((run.scheduled_at or 0) - begin) // MINUTE for run in runs_of(store))
    assert minutes == [1, 2, 3, 3, 4, 4, 5, 5, 6]
    keys = [tick.key for tick in ticks_of(store)]
    assert keys[-4:] == [f"{begin + minute * MINUTE}/1" for minute in (3, 4, 5, 6)]


# --- several servers


def test_two_servers_that_look_at_once_make_each_run_once(open_house: Callable[..., House], clock: ManualClock):
    houses = [open_house("one"), open_house("two")]
    store = houses[0].store
    begin = whole_minute(store, clock)
    deploy(store, *(a_schedule(f"s{number:03}") for number in range(300)))

    async def body() -> None:
        schedulers = [Scheduler(house) for house in houses]
        for step in (0, 57, 3, 60):
            clock.move(step)
            await asyncio.gather(*(look(one, house.store) for one, house in zip(schedulers, houses, strict=True)))

    play(body)
    runs = runs_of(store)
    assert len(runs) == len({run.id for run in runs}) == 600
    keys = [(run.created_by, run.scheduled_at) for run in runs]
    assert len(set(keys)) == 600
    assert {scheduled_at for _, scheduled_at in keys} == {begin + MINUTE, begin + 2 * MINUTE}
    assert len(store.list_tickets(limit=1000)) == 600


def test_the_loops_of_a_server_start_runs_by_themselves(open_house: Callable[..., House], url: str):
    from ostinato.store.open import open_store  # with the real clock

    house = open_house()
    house.store = open_store(url, durability="crash-safe")
    deploy(house.store, a_schedule("s", Every(seconds=1)))

    async def body() -> None:
        stop = start_loops(house)
        try:
            await seen(lambda: len(runs_of(house.store)) >= 3, 15)
        finally:
            await stop()

    try:
        play(body)
        runs = runs_of(house.store)
        instants = [run.scheduled_at or 0 for run in runs]
        assert instants == list(range(instants[0], instants[0] + len(runs) * SECOND, SECOND))
        late = [run.created_at - (run.scheduled_at or 0) for run in runs]
        assert all(each >= 0 for each in late)
        assert min(late) < SECOND // 2
    finally:
        house.store.close()


# --- others that decide


def test_other_kinds_are_decided_by_whoever_was_named_for_them_when_they_are_due(house: House, clock: ManualClock):
    store = house.store
    deploy(store, a_schedule("e", kind="event"), a_schedule("x", kind="unheard-of"))
    asked: list[tuple[str, int]] = []

    def decide(row: Schedule, now: int, desk: Any) -> Any:
        asked.append((row.name, now))
        assert desk.find_deployed("f") is not None
        ticks = [skip(row, Order(key=f"k{len(asked)}", data={"x": 1}), "nothing"), desk.start(row, Order(key="r"), now)]
        return decision_of(row, ticks, next_at=now + 10 * SECOND, read=4)

    async def body() -> None:
        scheduler = Scheduler(house, {"event": decide})
        await look(scheduler, store)
        assert len(asked) == 1
        clock.move(9)
        await look(scheduler, store)
        assert len(asked) == 1
        clock.move(1)
        await look(scheduler, store)

    play(body)
    assert [name for name, _ in asked] == ["e", "e"]
    assert [(tick.key, tick.outcome) for tick in ticks_of(store)] == [
        ("k1", "skipped"), ("r", "started"), ("k2", "skipped"),
    ]  # fmt: skip
    assert store.get_schedule("e").read == 4
    assert len(runs_of(store)) == 1


def test_a_decider_that_fails_is_in_trouble_for_a_minute_and_keeps_nobody_else_waiting(
    house: House, clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    store = house.store
    whole_minute(store, clock)
    deploy(store, a_schedule("e", kind="event"), a_schedule("good"))

    def decide(*_: Any) -> Any:
        raise ZeroDivisionError("oh")

    async def body() -> None:
        await look(scheduler := Scheduler(house, {"event": decide}), store)
        clock.move(60)
        await look(scheduler, store)

    play(body)
    assert "ZeroDivisionError" in (store.get_schedule("e").trouble or "")
    assert len(runs_of(store)) == 1
    assert "nobody foresaw" in caplog.text


def test_a_decider_that_gets_nowhere_is_not_asked_again_at_once(house: House):
    store = house.store
    deploy(store, a_schedule("e", kind="event"))
    asked: list[int] = []

    def decide(row: Schedule, now: int, _: Any) -> Any:
        asked.append(now)
        return decision_of(row, [], next_at=now)

    play(lambda: look(Scheduler(house, {"event": decide}), store, times=5))
    assert len(asked) == 1


def test_a_store_that_is_away_loses_nothing(house: House, clock: ManualClock):
    store = house.store
    whole_minute(store, clock)
    deploy(store, a_schedule("a"), a_schedule("b"))
    away = Away(store)

    async def body() -> None:
        house.store = away  # type: ignore[assignment]
        await look(scheduler := Scheduler(house), store)
        clock.move(60)
        away.failing = True
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await look(scheduler, store)
        away.failing = False
        clock.move(30)
        await look(scheduler, store)

    play(body)
    assert sorted(tick.schedule for tick in ticks_of(store)) == ["a", "b"]


class Away:
    """A store of which nothing can be stored while it fails."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.failing = False

    def __getattr__(self, name: str) -> Any:
        if name == "decide" and self.failing:
            raise StoreUnavailableError("the database is away")
        return getattr(self._store, name)


def test_cron_and_every_are_due_where_their_words_say(house: House, clock: ManualClock):
    store = house.store
    whole_minute(store, clock)
    deploy(store, a_schedule("c", Cron("*/7 * * * *", timezone="Asia/Kolkata")))

    async def body() -> None:
        scheduler = Scheduler(house)
        for _ in range(60):
            await look(scheduler, store, times=2)
            clock.move(30)

    play(body)
    minutes = [to_datetime((run.scheduled_at or 0) + 30 * MINUTE).minute for run in runs_of(store)]
    assert len(minutes) >= 4
    assert all(minute % 7 == 0 for minute in minutes)


def test_nothing_is_asked_of_the_store_while_nothing_is_due(house: House):
    store = house.store
    deploy(store, a_schedule())

    async def body() -> None:
        await look(scheduler := Scheduler(house), store)
        house.store = None  # type: ignore[assignment]
        for _ in range(5):
            assert await scheduler.look() > 1

    play(body)
    assert [row.name for row in store.list_schedules(ScheduleFilter())] == ["s"]
    assert msgspec.structs.replace(store.survey(), now=0).next_look_at is not None


def test_the_overlap_of_its_deployment_holds_for_what_a_schedule_starts(house: House, clock: ManualClock):
    store = house.store
    whole_minute(store, clock)
    deploy(store, a_schedule(), options='{"overlap": {"policy": "skip"}}')

    async def body() -> None:
        await look(scheduler := Scheduler(house), store)
        for _ in range(3):
            clock.move(60)
            await look(scheduler, store)

    play(body)
    assert [(tick.outcome, tick.reason) for tick in ticks_of(store)] == [
        ("started", None),
        ("skipped", "overlap"),
        ("skipped", "overlap"),
    ]
    assert len(runs_of(store)) == 1
