"""Virtual time: what waits in the real world does not wait here, and everything else is as it is there."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

import ostinato
from ostinato import Retry, flow, task
from ostinato.authoring.deployment import Deployment
from ostinato.automations import Absent, Automation, Emit, Happened, Notify, RunFailed
from ostinato.errors import DefinitionError, ParameterError, UnknownNameError, UsageError, WaitTimeout
from ostinato.limits import Limit
from ostinato.schedules import At, Cron, Every, On
from ostinato.sensors import RunRequest, sensor
from ostinato.testing import virtual_time
from ostinato.waiting import ask, emit, sleep, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.testing import World


@pytest.fixture
def world() -> Iterator[World]:
    with virtual_time("2026-01-01") as opened:
        yield opened


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, 1, day, hour, minute, tzinfo=UTC)


# --- schedules


def test_a_year_of_daily_runs_takes_about_a_second_and_each_is_there_once(world: World) -> None:
    @flow(schedule=Cron("0 6 * * *"))
    def report() -> int:
        return 1

    world.deploy(report)
    began = time.perf_counter()
    world.run_until("2027-01-01")
    took = time.perf_counter() - began
    runs = world.runs(report)
    assert len(runs) == 365
    assert {run.state for run in runs} == {"succeeded"}
    assert [run.scheduled_at for run in runs[:2]] == [at(1, 6), at(2, 6)]
    assert all(run.started_at == run.scheduled_at for run in runs)
    assert took < 10, f"{took:.1f} s for 365 runs"


def test_an_instant_at_the_very_end_is_still_done(world: World) -> None:
    @flow(schedule=Every(hours=1))
    def hourly() -> None: ...

    world.deploy(hourly)
    world.run_until("2026-01-01T03:00")
    assert [run.started_at for run in world.runs()] == [at(1, 1), at(1, 2), at(1, 3)]
    assert world.now == at(1, 3)


def test_a_preview_of_a_year_makes_no_run(world: World) -> None:
    @flow(schedule=[Cron("0 * * * *", name="hourly"), At([datetime(2026, 6, 1, 12, 30, tzinfo=UTC)], name="once")])
    def report() -> None: ...

    world.deploy(report)
    began = time.perf_counter()
    seen = world.preview(report)
    assert time.perf_counter() - began < 1
    assert len(seen) == 8760 + 1
    assert datetime(2026, 6, 1, 12, 30, tzinfo=UTC) in seen
    assert world.preview("report:once") == [datetime(2026, 6, 1, 12, 30, tzinfo=UTC)]
    assert len(world.preview(Cron("0 0 1 * *"), count=5)) == 5
    assert world.runs() == []


def test_a_deployment_gives_its_parameters_and_is_a_schedule_of_its_own(world: World) -> None:
    @flow
    def report(day: str = "today") -> str:
        return day

    nightly = Deployment(report, name="nightly", parameters={"day": "yesterday"}, schedule=Cron("0 2 * * *"))
    world.deploy(nightly)
    world.run_until("2026-01-03")
    assert [run.result() for run in world.runs(nightly)] == ["yesterday", "yesterday"]
    assert len(world.runs("report")) == 2
    assert world.run(nightly, day="then").result() == "then"


def test_the_end_of_a_flow_starts_another_at_the_same_instant(world: World) -> None:
    @flow(schedule=Cron("0 6 * * *"))
    def load() -> None: ...

    @flow(schedule=On(load))
    def report() -> None: ...

    world.deploy(load, report)
    world.run_until("2026-01-04")
    assert [run.started_at for run in world.runs(report)] == [at(1, 6), at(2, 6), at(3, 6)]


# --- waits


def test_sleeping_takes_virtual_time_only_and_the_body_goes_on_where_it_was(world: World) -> None:
    passes = []

    @flow
    def slow() -> timedelta:
        passes.append(1)
        began = ostinato.now()
        sleep(timedelta(days=30))
        return ostinato.now() - began

    world.deploy(slow)
    began = time.perf_counter()
    run = world.run(slow)
    assert time.perf_counter() - began < 5
    assert run.result() == timedelta(days=30)
    assert (run.started_at, run.finished_at) == (at(1), at(31))
    assert len(passes) == 2


def test_many_waits_take_next_to_no_real_time(world: World) -> None:
    @flow
    def steps() -> int:
        for _ in range(20):
            sleep(3600)
        return 20

    world.deploy(steps)
    began = time.perf_counter()
    assert world.run(steps).result() == 20
    assert time.perf_counter() - began < 3
    assert world.now == at(1, 20)


def test_an_async_flow_waits_for_several_things_at_once(world: World) -> None:
    @flow
    async def both() -> list[str]:
        one, other = await asyncio.gather(wait_for("landed", key="a"), wait_for("landed", key="b"))
        await sleep(60)
        return [one.data, other.data]

    world.deploy(both)
    run = world.start(both)
    world.emit("landed", key="b", data="B")
    assert world.get(run.id).state == "waiting"
    world.emit("landed", key="a", data="A")
    assert world.finish(run).result() == ["A", "B"]
    assert world.now == at(1, 0, 1)


def test_a_wait_that_times_out_does_so_at_its_instant(world: World) -> None:
    @flow
    def patient() -> str:
        try:
            wait_for("approved", key="42", timeout=3 * 86_400)
        except WaitTimeout:
            return "nobody came"
        return "approved"

    world.deploy(patient)
    run = world.run(patient)
    assert (run.result(), run.finished_at) == ("nobody came", at(4))


def test_an_event_that_came_before_the_wait_is_not_lost(world: World) -> None:
    @flow
    def late() -> str:
        sleep(3600)
        found: str = wait_for("approved").data
        return found

    world.deploy(late)
    run = world.start(late)
    world.settle()
    world.emit("approved", data="early")
    assert world.finish(run).result() == "early"


class Verdict(BaseModel):
    approved: bool
    remark: str = ""


def test_a_question_is_answered_by_the_test(world: World) -> None:
    @flow
    def order(total: int) -> str:
        verdict = ask(Verdict, to="finance", title=f"Pay {total}?", timeout=86_400)
        return f"{verdict.value.approved} by {verdict.by}"

    world.deploy(order)
    run = world.start(order, total=7)
    world.settle()
    assert [each.title for each in world.asks()] == ["Pay 7?"]
    with pytest.raises(ParameterError, match="approved"):
        world.answer(remark="no verdict")
    world.answer("Pay 7?", approved=True, by="ada")
    assert world.get(run.id).result() == "True by ada"
    with pytest.raises(UnknownNameError, match="open are: none"):
        world.answer(approved=True)


def test_a_question_that_nobody_answers_expires(world: World) -> None:
    @flow
    def order() -> str:
        try:
            ask(bool, timeout=86_400)
        except WaitTimeout:
            return "expired"
        return "answered"

    world.deploy(order)
    run = world.run(order)
    assert (run.result(), run.finished_at) == ("expired", at(2))
    assert [event.event.kind for event in world.events("ask.expired")] == ["ask.expired"]


def test_what_nothing_brings_about_is_said_at_once(world: World) -> None:
    @flow
    def stuck() -> None:
        wait_for("never")

    world.deploy(stuck)
    with pytest.raises(UsageError, match=r"stuck never ends by itself: it is waiting and waits for: event"):
        world.run(stuck)


# --- retries


def test_the_delays_of_retries_pass_without_waiting(world: World) -> None:
    tried: list[datetime] = []

    @task(retry=Retry(3, delay=3600, backoff=2))
    def fetch() -> int:
        tried.append(world.now)
        if len(tried) < 3:
            raise ConnectionError("not yet")
        return 7

    @flow
    def load() -> int:
        return fetch()

    world.deploy(load)
    run = world.run(load)
    assert run.result() == 7
    assert tried == [at(1, 0), at(1, 1), at(1, 3)]
    assert [row.attempt for row in run.task_runs] == [3]


def test_delays_of_tasks_that_were_submitted_pass_too(world: World) -> None:
    tried: list[int] = []

    @task(retry=Retry(1, delay=600))
    def fetch(number: int) -> int:
        tried.append(number)
        if tried.count(number) < 2:
            raise ConnectionError("not yet")
        return number

    @flow
    def load() -> list[int]:
        return list(fetch.map([1, 2, 3]))

    world.deploy(load)
    run = world.run(load)
    assert run.result() == [1, 2, 3]
    assert run.finished_at == at(1, 0, 10)


def test_a_flow_is_tried_again_as_a_whole(world: World) -> None:
    tried: list[datetime] = []

    @flow(retry=Retry(2, delay=60))
    def load() -> int:
        tried.append(world.now)
        raise ValueError("no rows")

    world.deploy(load)
    run = world.run(load)
    assert (run.state, run.attempt, run.error) == ("failed", 3, "ValueError: no rows")
    assert tried == [at(1), at(1, 0, 1), at(1, 0, 2)]


# --- other runs


def test_runs_start_others_and_wait_for_them(world: World) -> None:
    @flow
    def part(number: int) -> int:
        sleep(3600 * number)
        return number

    @flow
    def whole() -> int:
        handles = [part.start(number) for number in (1, 2, 3)]
        return sum(handle.result() for handle in handles)

    world.deploy(whole, part)
    run = world.run(whole)
    assert (run.result(), run.finished_at) == (6, at(1, 3))


@task(pool="gpu")
def train(rows: int) -> int:
    return rows * 2


@flow
def model(rows: int) -> int:
    return train(rows)


def test_a_task_of_another_pool_is_found_and_run(world: World) -> None:
    world.deploy(model)
    run = world.run(model, rows=4)
    assert run.result() == 8
    assert [each.row.pool for each in world.runs() if each.row.kind == "task"] == ["gpu"]


def test_limits_and_overlap_hold_in_virtual_time(world: World) -> None:
    @flow(schedule=Every(minutes=10), overlap="skip")
    def sync() -> None:
        sleep(25 * 60)

    @flow(limits=Limit("db", 1))
    def load() -> None:
        sleep(3600)

    world.deploy(sync, load)
    world.run_until("2026-01-01T01:00")
    assert [run.started_at for run in world.runs(sync) if run.started_at] == [at(1, 0, 10), at(1, 0, 40)]
    loads = [world.start(load) for _ in range(3)]  # at one instant: in no particular order
    assert sorted(world.finish(run).finished_at or at(1) for run in loads) == [at(1, 2), at(1, 3), at(1, 4)]


# --- sensors and automations


def test_a_sensor_looks_in_its_rhythm_and_starts_runs(world: World) -> None:
    @flow
    def load(file: str) -> str:
        return file

    @sensor(every=60)
    def arrivals(context: object) -> Iterator[RunRequest]:
        seen = getattr(context, "cursor", None) or 0
        context.cursor = seen + 1  # type: ignore[attr-defined]
        if seen % 2:
            yield RunRequest(load, key=f"file-{seen}", parameters={"file": f"f{seen}"})

    world.deploy(load, arrivals)
    world.run_for(600)
    assert [run.result() for run in world.runs(load)] == ["f1", "f3", "f5", "f7", "f9"]
    assert {tick.outcome for tick in world.ticks("arrivals")} == {"started", "skipped"}


def test_an_automation_acts_and_what_it_would_send_is_noted(world: World) -> None:
    @flow
    def load() -> None:
        raise ValueError("no rows")

    alarm = Automation(
        name="alarm", when=RunFailed(), then=Notify("mailto://ops@example.org", title="{flow}", body="{error}")
    )
    told = Automation(name="told", when=RunFailed(), then=Emit("load.broken"))
    world.deploy(load, alarm, told)
    world.run(load)
    assert [(each.automation, each.to, each.title, each.body) for each in world.notifications] == [
        ("alarm", "mailto://ops@example.org", "load", "ValueError: no rows")
    ]
    assert len(world.events("load.broken")) == 1


def test_an_absence_is_noticed_when_its_time_has_come(world: World) -> None:
    alarm = Automation(
        name="silence",
        when=Absent(Happened("heartbeat"), within=3600),
        then=Notify("mailto://ops@example.org", body="?"),
    )
    world.deploy(alarm)
    for _ in range(5):
        world.run_for(1800)
        world.emit("heartbeat")
    assert world.notifications == []
    world.run_for(2 * 3600)
    assert [each.at for each in world.notifications] == [at(1, 3, 30)]


# --- what is refused


def test_what_cannot_be_deployed_is_refused(world: World) -> None:
    @flow
    def one(number: int) -> None: ...

    with pytest.raises(UsageError, match="not 3"):
        world.deploy(3)
    with pytest.raises(DefinitionError, match="number"):
        world.deploy(Deployment(one, name="nightly", schedule=Every(hours=1)))


def test_time_does_not_go_back(world: World) -> None:
    with pytest.raises(UsageError, match="time does not go back"):
        world.run_until("2025-12-31")
    with pytest.raises(UsageError, match="span of time"):
        world.run_for(-1)


def test_a_body_that_sleeps_in_real_time_is_stopped() -> None:
    @flow
    def asleep() -> None:
        for _ in range(2000):
            time.sleep(0.01)

    with virtual_time(patience=0.3) as world:
        world.deploy(asleep)
        began = time.perf_counter()
        with pytest.raises(TimeoutError, match="asleep was at work for 0.3 s of real time"):
            world.run(asleep)
        assert time.perf_counter() - began < 10


def test_worlds_know_nothing_of_one_another(world: World) -> None:
    @flow(schedule=Every(hours=1))
    def hourly() -> None:
        emit("ticked")

    with virtual_time("2030-01-01") as other:
        other.deploy(hourly)
        other.run_for(7200)
        assert len(other.events("ticked")) == 2
    assert world.events() == []
