"""A run that should have begun or ended by now says so before anybody asks."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from tests.automations.conftest import add
from tests.store.builders import a_deployed, a_project, ended, new_run

from ostinato import flow
from ostinato.authoring.deployment import Deployment
from ostinato.automations import Automation, Late, Notify
from ostinato.clock import SECOND
from ostinato.deadlines import Due
from ostinato.errors import DefinitionError
from ostinato.loops.alarms import Alarms
from ostinato.runtime.lateness import deadlines_of, deadlines_of_all
from ostinato.runtime.starting import StartOrder, start
from ostinato.runtime.why import explain
from ostinato.states import State
from ostinato.timing import Ask, Decision


def deployed(store, due, name="etl"):
    store.put_project(a_project(), [a_deployed(name, options=json.dumps({"deadline": due}))])
    return store.get_deployed(name)


def test_spans_are_counted_from_the_scheduled_instant_and_of_two_ends_the_earlier_counts():
    due = Due(start=60, end=timedelta(hours=1), times=2)
    assert [(row.kind, row.due_at) for row in due.rows("r", 0)] == [("start", 60 * SECOND), ("end", 3600 * SECOND)]
    assert due.rows("r", 0, average=10)[1].due_at == 20 * SECOND
    assert due.rows("r", 0, average=9999)[1].due_at == 3600 * SECOND
    assert Due(times=2).rows("r", 0) == []


def test_a_deadline_is_an_option_of_flows_and_their_deployments():
    @flow(deadline=timedelta(hours=1))
    def etl() -> None: ...

    assert etl.options.deadline == Due(end=timedelta(hours=1))
    assert Deployment(etl).deadline == etl.options.deadline
    assert Deployment(etl, name="x", deadline=Due(start=5)).deadline == Due(start=5)
    with pytest.raises(DefinitionError, match=r"must be Due\(...\)"):
        etl.with_options(deadline="soon")


def test_a_run_that_is_started_has_its_deadlines(post, clock):
    here = post()
    deployed(here.store, {"start": 60, "end": 600})
    run = start(here.store, here.house.results, StartOrder(deployment="etl")).run
    assert here.store.survey().next_alarm_at == clock.now() + 60 * SECOND
    clock.move(61)
    assert [event.run_id for event in here.store.pass_deadlines()] == [run.id]
    later = start(
        here.store, here.house.results, StartOrder(deployment="etl", start_at=clock.now() + 3600 * SECOND)
    ).run
    clock.move(3600 + 59)
    assert later.id not in {event.run_id for event in here.store.pass_deadlines()}
    clock.move(1)
    assert [event.run_id for event in here.store.pass_deadlines()] == [later.id]


def test_what_is_usual_is_the_average_of_the_last_successes(post):
    here = post()
    found = deployed(here.store, {"times": 2})
    assert deadlines_of(here.store, found, [new_run(here.store)]) == []
    for seconds in (10, 30):
        ended(here.store, flow="etl", deployment="etl", started_at=0, finished_at=seconds * SECOND)
    (row,) = deadlines_of(here.store, found, [new_run(here.store, created_at=0)])
    assert row.due_at == 40 * SECOND


def test_runs_of_schedules_have_theirs_too(post):
    here = post()
    deployed(here.store, {"end": 5})
    runs = [new_run(here.store, deployment="etl", scheduled_at=100 * SECOND), new_run(here.store, deployment="gone")]
    decision = Decision(schedule="etl", turn=0, runs=runs, since=0)
    for find in (None, lambda name: here.store.get_deployed(name) if name == "etl" else None):
        (row,) = deadlines_of_all(here.store, [decision], find)
        assert (row.run_id, row.due_at) == (runs[0].id, 105 * SECOND)


def test_the_alarm_tells_what_is_late_and_an_automation_hears_it(post, clock):
    here = post()
    deployed(here.store, {"start": 60})
    add(here.store, Automation(when=Late("start"), then=Notify("ops")))
    run = start(here.store, here.house.results, StartOrder(deployment="etl")).run
    here.run(deliver=False)
    asked = []
    alarms = Alarms(here.house, survey_again=lambda: asked.append(1))

    async def ring():
        alarms.heard(here.store.survey())
        return await alarms.look()

    assert asyncio.run(ring()) == pytest.approx(60, abs=1)
    assert asked == []
    clock.move(60)
    assert asyncio.run(ring()) == float("inf")
    assert asked == [1]
    (firing,) = here.run(deliver=False)
    values = json.loads(firing.data)["values"]
    assert (firing.key, values["data"]["kind"]) == ("etl", "start")
    assert values["summary"].startswith(f"etl (run {run.id}) is late: it should have begun by 2023-11-14T22:14:20")
    clock.move(5)
    assert any(
        "It is late: it should have begun by 2023-11-14 22:14:20 UTC; it has not begun yet." in each
        for each in explain(here.store, run).because
    )


def test_a_late_run_that_has_ended_says_by_how_much(post, clock):
    here = post()
    run = ended(here.store, State.SUCCEEDED, started_at=clock.now(), finished_at=clock.now() + 90 * SECOND)
    here.store.put_deadlines(Due(end=60).rows(run.id, clock.now()))
    clock.move(600)
    here.store.pass_deadlines()
    assert any("it ended 30 s after that" in each for each in explain(here.store, run).because)


def test_a_question_that_nobody_answered_in_time_expires(post, clock):
    here = post()
    values = {"run_id": "r", "flow": "etl", "title": "?", "created_at": clock.now()}
    for name, expires_at in (("a", clock.now() + 10 * SECOND), ("b", None), ("c", clock.now() + 99 * SECOND)):
        here.store.put_ask(Ask(id=name, expires_at=expires_at, **values))
    assert here.store.survey().next_alarm_at == clock.now() + 10 * SECOND
    clock.move(10)
    assert Alarms(here.house).tell() == 1
    assert {ask.id for ask in here.store.list_asks()} == {"b", "c"}
