"""What becomes of a run whose process or worker is gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.store.builders import (
    a_deployed,
    a_project,
    a_run,
    a_task_run,
    a_worker,
    claim,
    end,
    ended,
    kinds,
    queued,
)

from ostinato.errors import RunStateError, StaleEpochError
from ostinato.outcomes import parse_failure
from ostinato.records import Commit
from ostinato.states import State
from ostinato.work import ProcessEnd

if TYPE_CHECKING:
    from ostinato.clock import ManualClock
    from ostinato.records import Run
    from ostinato.store.store import Store


def ending(reason: str = "killed", **fields: Any) -> ProcessEnd:
    return ProcessEnd(reason=reason, message=f"the process: {reason}", **fields)


def give_back(store: Store, run: Run, reason: str = "killed", **fields: Any) -> Run:
    assert run.worker_id is not None
    return store.give_back(run.worker_id, run.id, run.epoch, ending(reason, **fields))


def test_lost_run_goes_back_to_its_queue_until_it_is_poisonous(store: Store, clock: ManualClock) -> None:
    run = queued(store)
    for recovery in (1, 2, 3):
        (claimed,) = claim(store)
        store.commit(run.id, claimed.epoch, Commit(task_runs=[a_task_run(claimed, state=State.RUNNING)]))
        clock.move(9)
        (swept,) = store.sweep()
        assert (swept.state, swept.reason, swept.recoveries, swept.worker_id) == (State.QUEUED, None, recovery, None)
        assert swept.epoch == claimed.epoch + 1
        assert [t.state for t in store.load(run.id)] == [State.CRASHED]
        with pytest.raises(StaleEpochError):
            store.commit(run.id, claimed.epoch, Commit())
    claim(store)
    clock.move(9)
    (swept,) = store.sweep()
    assert (swept.state, swept.reason, swept.recoveries) == (State.CRASHED, "poisonous", 3)
    assert store.list_tickets() == []
    assert kinds(store, run) == [
        "run.queued",
        "run.claimed",
        *["run.recovering", "run.queued", "run.claimed"] * 3,
        "run.crashed",
    ]


def test_lease_that_ended_while_no_server_was_there_does_not_count(store: Store, clock: ManualClock) -> None:
    queued(store)
    for _ in range(5):
        claim(store)
        clock.move(8 + 60)  # the lease, and a minute in which nobody swept
        (swept,) = store.sweep()
        assert (swept.state, swept.recoveries) == (State.QUEUED, 0)


def test_progress_makes_a_run_wholesome_again(store: Store) -> None:
    queued(store)
    for _ in range(6):
        (claimed,) = claim(store)
        store.commit(claimed.id, claimed.epoch, Commit(task_runs=[a_task_run(claimed)]))
        assert give_back(store, claimed).recoveries == 1


def test_run_that_was_to_be_cancelled_is_cancelled_when_lost(store: Store) -> None:
    for lose in (lambda run: store.sweep(["w1"]), lambda run: give_back(store, run)):
        queued(store)
        (run,) = claim(store)
        store.request_cancel(run.id)
        lose(run)
        assert store.get_run(run.id).state is State.CANCELLED
        assert store.list_tickets() == []


@pytest.mark.parametrize("reason", ["exited", "killed", "unstartable"])
def test_given_back_run_is_queued_again_as_a_recovery(store: Store, reason: str) -> None:
    queued(store)
    (run,) = claim(store)
    back = give_back(store, run, reason, exit_code=-9)
    assert (back.state, back.recoveries, back.epoch, back.worker_id) == (State.QUEUED, 1, 2, None)
    event = next(e.event for e in store.list_events(run.id) if e.event.kind == "run.recovering")
    assert json.loads(event.data)["reason"] == reason
    assert json.loads(event.data)["exit_code"] == -9
    assert give_back(store, run, reason) == back, "a repetition does nothing"


def test_run_given_back_too_often_is_poisonous_and_says_why(store: Store) -> None:
    queued(store)
    for _ in range(4):
        back = give_back(store, claim(store)[0])
    assert (back.state, back.reason) == (State.CRASHED, "poisonous")
    failure = parse_failure(back.error)
    assert failure is not None
    assert failure.message == "the process: killed"


def test_drained_run_goes_back_and_counts_as_no_recovery(store: Store) -> None:
    queued(store)
    for _ in range(6):
        back = give_back(store, claim(store)[0], "drained")
        assert (back.state, back.recoveries) == (State.QUEUED, 0)


def test_unloadable_flow_fails_the_run(store: Store) -> None:
    queued(store)
    back = give_back(store, claim(store)[0], "unloadable")
    assert (back.state, back.reason, back.worker_id) == (State.FAILED, "unloadable", None)
    assert kinds(store, back)[-1] == "run.failed"


def test_out_of_memory_fails_unless_the_deployment_gives_more(store: Store) -> None:
    queued(store)
    back = give_back(store, claim(store)[0], "out_of_memory")
    assert (back.state, back.reason) == (State.FAILED, "out_of_memory")
    store.put_project(a_project(), [a_deployed("d", options='{"retry_on_oom":{"times":2,"memory":2.0}}')])
    queued(store, deployment="d", resources='{"cpu":1,"memory":100}')
    for attempt, memory in ((2, 200), (3, 400)):
        (run,) = claim(store, cpu=1, memory=1000)
        back = give_back(store, run, "out_of_memory")
        assert (back.state, back.attempt, back.recoveries) == (State.QUEUED, attempt, 0)
        assert json.loads(back.resources or "") == {"cpu": 1, "memory": memory}
        ticket = store.find_ticket(run.id)
        assert ticket is not None
        assert ticket.resources == back.resources
    (run,) = claim(store, cpu=1, memory=1000)
    assert give_back(store, run, "out_of_memory").state is State.FAILED


def test_children_carried_out_in_the_process_crash_with_it(store: Store) -> None:
    queued(store)
    (run,) = claim(store)
    child = a_run(store, parent_run_id=run.id)
    grandchild = a_run(store, parent_run_id=child.id)
    own = queued(store, parent_run_id=run.id)
    claim(store)
    give_back(store, run)
    for each in (child, grandchild):
        found = store.get_run(each.id)
        assert (found.state, found.reason, found.epoch) == (State.CRASHED, "killed", 2)
    assert store.get_run(own.id).state is State.RUNNING


def test_only_the_holder_can_give_a_run_back(store: Store) -> None:
    queued(store)
    (run,) = claim(store)
    assert store.give_back("w2", run.id, run.epoch, ending()) == run
    assert store.give_back("w1", run.id, run.epoch - 1, ending()) == run
    end(store, run)
    assert store.give_back("w1", run.id, run.epoch, ending()).state is State.SUCCEEDED


def test_lost_script_run_is_given_to_a_pool(store: Store) -> None:
    run = a_run(store)
    store.sweep(["w1"])
    back = store.requeue(run.id, "default", queue="q")
    assert (back.state, back.pool, back.queue, back.recoveries) == (State.QUEUED, "default", "q", 1)
    assert store.requeue(run.id, "default", queue="q") == back
    assert [r.id for r in claim(store)] == [run.id]


def test_run_that_is_held_or_was_not_lost_is_not_requeued(store: Store) -> None:
    for run in (a_run(store), ended(store), ended(store, State.CRASHED, reason="poisonous")):
        with pytest.raises(RunStateError):
            store.requeue(run.id, "default")
        assert store.get_run(run.id) == run


def test_worker_that_leaves_puts_its_runs_back(store: Store) -> None:
    queued(store)
    (run,) = claim(store)
    store.leave("w1")
    assert store.get_run(run.id).state is State.QUEUED
    assert [r.id for r in claim(store, a_worker(store, "w2"))] == [run.id]
