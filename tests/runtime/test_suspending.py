"""Runs that wait without a process: for runs elsewhere and for later times, and come back to go on where they were."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.runtime.fleet import Fleet

from ostinato import Retry, Snooze, current, flow, task
from ostinato.clock import SECOND
from ostinato.io.results import ResultStore
from ostinato.runtime.cancelling import cancel_run

if TYPE_CHECKING:
    from tests.inside import Home

SEEN: list[object] = []


@pytest.fixture(autouse=True)
def _fresh():
    SEEN.clear()


@pytest.fixture
def home(waiting_home: Home) -> Home:
    return waiting_home


@task
def note(x: object) -> object:
    SEEN.append(x)
    return x


@task(pool="gpu")
def train(n: int) -> int:
    SEEN.append(("train", n))
    return n * 10


@task(pool="gpu")
async def atrain(n: int) -> int:
    SEEN.append(("train", n))
    return n * 10


@flow
def one() -> int:
    note("before")
    found = train(4)
    note("after")
    return found + 1


@flow
async def aone() -> int:
    note("before")
    found = await atrain(4)
    note("after")
    return found + 1


@flow
def three() -> int:
    futures = [train.submit(n) for n in range(3)]
    return sum(future.result() for future in futures)


@flow
async def athree() -> int:
    return sum(await asyncio.gather(*(atrain(n) for n in range(3))))


@flow
async def agroup() -> int:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(atrain(n)) for n in range(3)]
    return sum(each.result() for each in tasks)


@flow
def twenty() -> int:
    return sum(train.map(range(20)))


CASES = [(one, train, 41), (aone, atrain, 41), (three, train, 30), (athree, atrain, 30), (agroup, atrain, 30),
         (twenty, train, 1900)]  # fmt: skip


@pytest.mark.parametrize(("waits", "sent", "result"), CASES, ids=[case[0].name for case in CASES])
def test_a_run_that_waits_for_another_pool_gives_up_its_process_and_comes_back(home, waits, sent, result):
    fleet = Fleet(home, waits, sent)
    run = fleet.order(waits)
    suspended, ending = fleet.carry_out()
    assert (ending.how, suspended.state, suspended.worker_id) == ("suspended", "waiting", None), ending
    assert [entry for entry in SEEN if isinstance(entry, tuple)] == []
    children = home.runs(top_level=False, parent_run_id=run.id)
    for _ in children:
        assert fleet.carry_out("gpu")[1].how == "ended"
    ended, ending = fleet.carry_out()
    assert (ending.how, ended.state) == ("ended", "succeeded"), ending.error
    assert value(home, ended) == result
    assert len(set(SEEN)) == len(SEEN), "nothing ran twice"
    assert {row.state for row in home.task_runs(run.id)} == {"succeeded"}
    assert (ended.epoch, ended.attempt, ended.recoveries) == (2, 1, 0)


@task(retry=Retry(1, delay=60))
def flaky() -> int:
    SEEN.append("flaky")
    if len([entry for entry in SEEN if entry == "flaky"]) == 1:
        raise ConnectionError("no")
    return 5


@flow
def delayed() -> int:
    note("before")
    return flaky()


@task
def dozing() -> object:
    SEEN.append("dozing")
    return Snooze(60) if len([entry for entry in SEEN if entry == "dozing"]) == 1 else 7


@flow
def snoozing() -> object:
    return dozing()


@flow(retry=Retry(2, delay=60))
def again() -> int:
    note("kept")
    if current.attempt == 1:
        raise LookupError("once")
    return current.attempt


@flow
def child(n: int) -> int:
    return note(n) + 1


@flow
def starting() -> int:
    handle = child.start(4)
    note("started")
    return handle.result() + 100


@flow
async def astarting() -> int:
    first, second = child.start(4), child.start(5)
    return await first + await second


@flow
def nesting() -> int:
    return one() + 1


@flow
def grand() -> int:
    return starting.start().result()


def value(home, run):
    return ResultStore(home.settings.results_url).load(run.result)


def change(fleet, statement):
    fleet.store._write(lambda tx: tx.change(statement))


def make_due(fleet, run):
    """Let the delay that a run waits for be over."""
    (wait,) = [wait for wait in fleet.store.list_waits(run.id) if wait.kind == "timer"]
    assert wait.due_at - fleet.store.now() > 50 * SECOND
    rows = fleet.home.task_runs(run.id)
    change(fleet, "UPDATE wait SET due_at = 1")
    change(fleet, "UPDATE task_run SET due_at = 1 WHERE due_at IS NOT NULL")
    assert fleet.store.wake() == 1
    return rows


@pytest.mark.parametrize(("waits", "result", "state"), [(delayed, 5, "retrying"), (snoozing, 7, "waiting")])
def test_a_long_delay_before_another_attempt_is_waited_for_without_a_process(home, waits, result, state):
    fleet = Fleet(home, waits)
    run = fleet.order(waits)
    suspended, ending = fleet.carry_out()
    assert (ending.how, suspended.state) == ("suspended", "waiting")
    rows = make_due(fleet, run)
    assert state in [row.state for row in rows]
    ended, _ = fleet.carry_out()
    assert (ended.state, value(home, ended)) == ("succeeded", result)
    last = home.task_runs(run.id)[-1]
    assert (last.attempt, last.failures, last.due_at) == (2, 1 if waits is delayed else 0, None)
    assert [attempt.attempt for attempt in home.attempts(run.id)] == [1]


def test_a_delay_that_is_not_over_when_its_run_comes_back_is_waited_for_on(home):
    fleet = Fleet(home, delayed)
    run = fleet.order(delayed)
    fleet.carry_out()
    due = home.task_runs(run.id)[-1].due_at
    change(fleet, "UPDATE wait SET due_at = 1")
    assert fleet.store.wake() == 1
    suspended, ending = fleet.carry_out()
    assert (ending.how, suspended.epoch) == ("suspended", 2)
    last = home.task_runs(run.id)[-1]
    assert (last.state, last.attempt, last.failures, last.due_at) == ("retrying", 1, 1, due)
    assert SEEN.count("flaky") == 1
    assert [wait.due_at for wait in fleet.store.list_waits(run.id)] == [due]


def test_a_flow_that_is_tried_again_much_later_gives_up_its_process_between_its_attempts(home):
    fleet = Fleet(home, again)
    run = fleet.order(again)
    suspended, ending = fleet.carry_out()
    assert (ending.how, suspended.state, suspended.attempt) == ("suspended", "retrying", 2)
    make_due(fleet, run)
    ended, _ = fleet.carry_out()
    assert (ended.state, value(home, ended), SEEN) == ("succeeded", 2, ["kept"])


@pytest.mark.parametrize(("waits", "result", "children"), [(starting, 105, 1), (astarting, 11, 2)])
def test_a_run_that_is_started_is_the_same_in_every_pass(home, waits, result, children):
    fleet = Fleet(home, waits, child)
    run = fleet.order(waits)
    assert fleet.carry_out()[1].how == "suspended"
    found = home.runs(top_level=False, parent_run_id=run.id)
    assert [(each.flow, each.state) for each in found] == [("child", "queued")] * children
    for _ in found:
        assert fleet.carry_out()[0].state == "succeeded"
    ended, ending = fleet.carry_out()
    assert (ended.state, ending.error) == ("succeeded", None)
    assert value(home, ended) == result
    assert len(home.runs(top_level=False, parent_run_id=run.id)) == children


def test_a_child_run_carried_out_inline_is_given_up_with_its_parent(home):
    fleet = Fleet(home, nesting, train)
    run = fleet.order(nesting)
    suspended, ending = fleet.carry_out()
    assert (ending.how, suspended.state) == ("suspended", "waiting")
    (inline,) = home.runs(top_level=False, parent_run_id=run.id)
    assert (inline.state, inline.worker_id) == ("waiting", None)
    assert fleet.carry_out("gpu")[0].state == "succeeded"
    ended, ending = fleet.carry_out()
    assert (ended.state, ending.error) == ("succeeded", None)
    assert (value(home, ended), SEEN) == (42, ["before", ("train", 4), "after"])


def test_a_child_run_may_itself_wait_for_another(home):
    fleet = Fleet(home, grand, starting, child)
    run = fleet.order(grand)
    hows = [fleet.carry_out()[1].how for _ in range(5)]
    assert hows == ["suspended", "suspended", "ended", "ended", "ended"]
    assert value(home, fleet.store.get_run(run.id)) == 105


def test_a_run_that_is_cancelled_while_it_waits_takes_its_child_runs_along(home):
    fleet = Fleet(home, three, train)
    run = fleet.order(three)
    fleet.carry_out()
    assert cancel_run(fleet.store, run.id).state == "cancelled"
    assert {child.state for child in home.runs(top_level=False, parent_run_id=run.id)} == {"cancelled"}
    assert fleet.claim(fleet.register("default")) is None


def test_the_failure_of_a_task_that_was_sent_away_is_raised_with_its_own_type_and_tried_again_as_another_run(home):
    fleet = Fleet(home, failing, broken)
    run = fleet.order(failing)
    assert fleet.carry_out()[1].how == "suspended"
    assert fleet.carry_out("gpu")[0].state == "failed"
    assert fleet.carry_out()[1].how == "suspended"
    assert fleet.carry_out("gpu")[0].state == "failed"
    ended, _ = fleet.carry_out()
    assert (ended.state, value(home, ended)) == ("succeeded", "caught no")
    assert len(home.runs(top_level=False, parent_run_id=run.id)) == 2


@task(pool="gpu", retry=Retry(1, on=ConnectionError))
def broken() -> None:
    raise ConnectionError("no")


@flow
def failing() -> str:
    try:
        broken()
    except ConnectionError as error:
        return f"caught {error}"
    return "not raised"
