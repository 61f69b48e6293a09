"""A run between its commits: created, reopened, cancelled, marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.store.builders import a_run, a_task_run, a_worker, an_attempt, end, ended, new_run

from ostinato.errors import RunStateError, StaleEpochError, UnknownRunError
from ostinato.records import Commit, Run
from ostinato.states import State

if TYPE_CHECKING:
    from ostinato.clock import ManualClock
    from ostinato.store.store import Store


def test_created_run_is_read_back_as_it_was(store: Store) -> None:
    run = new_run(
        store,
        branch_cut=["a", "b"],
        tags=['x"y', "ü"],
        parameters=b"\x00\xff",
        key="k",
        cwd="/ä",
        scheduled_at=5,
        parent_run_id="p",
        parent_seq=3,
    )
    assert store.create(run) == run
    assert store.get_run(run.id) == run


def test_created_run_with_a_worker_starts_in_epoch_one(store: Store) -> None:
    assert a_run(store).epoch == 1
    assert a_run(store, None).epoch == 0


def test_key_gives_the_same_run_again_unchanged(store: Store) -> None:
    first = a_run(store, None, key="order-1", cwd="/one")
    assert a_run(store, None, key="order-1", cwd="/two") == first
    other = a_run(store, None, key="order-1", flow="other")
    assert other.id != first.id
    assert a_run(store, None, key="order-1", flow="other") == other
    assert a_run(store, None, key="order-2").id != first.id
    assert store.info().counts["run"] == 3


def test_same_id_gives_the_same_run_again(store: Store) -> None:
    first = a_run(store, None, id="child")
    assert a_run(store, None, id="child", cwd="/two") == first


def test_fork_of_an_unknown_run_is_refused(store: Store) -> None:
    with pytest.raises(UnknownRunError, match="nobody"):
        a_run(store, None, branch_of="nobody")


def test_unknown_run_is_an_error_everywhere(store: Store) -> None:
    for verb in (
        lambda: store.get_run("no"),
        lambda: store.reopen("no", None),
        lambda: store.request_cancel("no"),
        lambda: store.mark("no", 0, State.SUCCEEDED, result=None, result_fp=None),
        lambda: list(store.load("no")),
    ):
        with pytest.raises(UnknownRunError, match="no run 'no'"):
            verb()


def test_reopen_leases_the_run_and_raises_the_epoch(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    end(store, run, State.FAILED, error="{}", result=b"x")
    clock.move(5)
    again = store.reopen(run.id, a_worker(store, "w2"), attempt=True)
    assert (again.state, again.worker_id, again.epoch, again.attempt) == (State.RUNNING, "w2", 2, 2)
    assert (again.finished_at, again.error, again.result, again.reason) == (None, None, None, None)
    assert again.started_at == run.started_at
    assert store.get_run(run.id) == again
    store.commit(run.id, 2, Commit(task_runs=[a_task_run(again)]))
    with pytest.raises(StaleEpochError):
        store.commit(run.id, 1, Commit(task_runs=[a_task_run(run)]))


def test_reopen_without_a_worker_queues(store: Store) -> None:
    run = store.reopen(ended(store, State.FAILED).id, None)
    assert (run.state, run.worker_id, run.started_at) == (State.QUEUED, None, None)


def test_reopen_of_a_held_run_is_refused_and_says_who_holds_it(store: Store) -> None:
    run = a_run(store)
    with pytest.raises(RunStateError, match="process 42 on box"):
        store.reopen(run.id, a_worker(store, "w2"))
    assert store.get_run(run.id) == run


def test_reopen_of_a_run_whose_lease_ended_counts_as_a_recovery(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, state=State.RUNNING)]))
    clock.move(8)
    again = store.reopen(run.id, a_worker(store, "w2"))
    assert (again.recoveries, again.worker_id) == (1, "w2")
    assert again.epoch > run.epoch
    assert [event.event.kind for event in store.list_events(run.id)] == ["run.crashed"]
    assert [(t.state, t.reason) for t in store.load(run.id)] == [(State.CRASHED, "lost")]


def test_recoveries_count_in_a_row_until_there_is_progress(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    for recovery in (1, 2):
        clock.move(9)
        store.sweep()
        run = store.reopen(run.id, a_worker(store))
        assert run.recoveries == recovery
    store.commit(run.id, run.epoch, Commit(task_runs=[a_task_run(run, state=State.RUNNING)]))
    assert store.get_run(run.id).recoveries == 2
    store.commit(run.id, run.epoch, Commit(task_runs=[a_task_run(run)]))
    assert store.get_run(run.id).recoveries == 0


def test_recoveries_are_kept_while_queued_and_dropped_by_a_deliberate_act(store: Store) -> None:
    crashed = ended(store, State.CRASHED, recoveries=2)
    assert store.reopen(crashed.id, None).recoveries == 3
    assert store.reopen(crashed.id, a_worker(store)).recoveries == 3
    assert store.reopen(ended(store, State.FAILED, recoveries=2).id, None).recoveries == 0


def test_reopen_runs_again_clears_and_makes_stale(store: Store) -> None:
    run = a_run(store)
    rows = [
        a_task_run(run, seq, state=State.FAILED, failures=2, result=b"r", result_fp=b"p", error="e", finished_at=9)
        for seq in range(4)
    ]
    store.commit(run.id, 1, Commit(task_runs=rows))
    end(store, run, State.FAILED)
    store.reopen(run.id, None, again=[0], clear=[1], stale=[2])
    found = list(store.load(run.id))
    assert [(t.state, t.reason, t.failures, t.clears) for t in found] == [
        (State.SCHEDULED, "retried", 0, 0),
        (State.SCHEDULED, "cleared", 0, 1),
        (State.SCHEDULED, "stale", 0, 1),
        (State.FAILED, None, 2, 0),
    ]
    assert [(t.attempt, t.result, t.result_fp) for t in found] == [(1, b"r", b"p")] * 4
    assert (found[0].error, found[0].finished_at) == (None, None)
    kept = store.list_attempts(run.id)
    assert [(a.seq, a.attempt, a.state, a.error) for a in kept] == [(n, 1, State.FAILED, "e") for n in range(3)]
    store.reopen(run.id, None, clear=[0])
    assert store.list_attempts(run.id) == kept, "what was never tried again leaves no attempt"


def test_cancel_of_a_held_run_is_a_request(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    asked = store.request_cancel(run.id)
    assert (asked.state, asked.epoch, asked.cancel_requested_at) == (State.RUNNING, 1, clock.now())
    assert store.beat("w1").cancelled == [run.id]
    assert store.commit(run.id, 1, Commit()) is True
    clock.move(1)
    assert store.request_cancel(run.id).cancel_requested_at == asked.cancel_requested_at, "the first request counts"


def test_cancel_of_a_run_that_nobody_holds_is_at_once(store: Store, clock: ManualClock) -> None:
    queued, held = a_run(store, None), a_run(store)
    store.commit(held.id, 1, Commit(task_runs=[a_task_run(held, state=State.WAITING)]))
    clock.move(8)
    for run in (queued, held):
        done = store.request_cancel(run.id)
        assert (done.state, done.epoch, done.worker_id) == (State.CANCELLED, run.epoch + 1, None)
        assert done.finished_at == clock.now()
        assert [event.event.kind for event in store.list_events(run.id)] == ["run.cancelled"]
    assert [t.state for t in store.load(held.id)] == [State.CANCELLED]
    with pytest.raises(StaleEpochError):
        store.commit(held.id, 1, Commit())


def test_cancel_of_an_ended_run_is_refused(store: Store) -> None:
    run = ended(store)
    with pytest.raises(RunStateError, match="succeeded"):
        store.request_cancel(run.id)
    assert store.get_run(run.id) == run


def test_reopen_forgets_a_request_to_cancel(store: Store) -> None:
    run = a_run(store)
    store.request_cancel(run.id)
    end(store, run, State.CANCELLED)
    assert store.reopen(run.id, None).cancel_requested_at is None


def marked(store: Store, run: Run, seq: int = 0) -> Run:
    return store.mark(run.id, seq, State.SUCCEEDED, result=b"given", result_fp=b"g")


def test_mark_sets_a_task_run_and_keeps_what_it_was(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    failed = a_task_run(run, state=State.FAILED, error="e", finished_at=1)
    store.commit(run.id, 1, Commit(task_runs=[failed, a_task_run(run, 1)]))
    end(store, run, State.FAILED)
    clock.move(1)
    after = marked(store, run)
    assert (after.state, after.epoch) == (State.FAILED, 2)
    found, other = store.load(run.id)
    assert (found.state, found.reason, found.result, found.result_fp) == (State.SUCCEEDED, "marked", b"given", b"g")
    assert (found.attempt, found.epoch, found.error, found.finished_at) == (2, 2, None, clock.now())
    assert [(a.attempt, a.state, a.error) for a in store.list_attempts(run.id, 0)] == [(1, State.FAILED, "e")]
    assert other == a_task_run(run, 1)


def test_mark_is_refused_while_a_worker_holds_the_run(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run)]))
    with pytest.raises(RunStateError, match="holds it"):
        marked(store, run)
    clock.move(8)
    assert marked(store, run).state is State.CRASHED


def test_mark_wants_a_terminal_state_and_a_task_run_that_is_there(store: Store) -> None:
    run = ended(store)
    with pytest.raises(RunStateError, match="waiting"):
        store.mark(run.id, 0, State.WAITING, result=None, result_fp=None)
    with pytest.raises(UnknownRunError, match="number 7"):
        marked(store, run, 7)
    assert store.get_run(run.id) == run, "nothing was written"


def test_attempt_of_two_epochs_are_both_kept(store: Store) -> None:
    run = a_run(store)
    store.commit(run.id, 1, Commit(attempts=[an_attempt(run)]))
    end(store, run, State.FAILED)
    run = store.reopen(run.id, "w1")
    store.commit(run.id, run.epoch, Commit(attempts=[an_attempt(run)]))
    assert [a.epoch for a in store.list_attempts(run.id)] == [1, 2]


def test_child_run_is_refused_to_a_process_that_has_lost_the_parent(store: Store) -> None:
    parent = a_run(store, "w1")
    child = new_run(store, parent_run_id=parent.id, parent_seq=0, worker_id="w1", state=State.RUNNING)
    store.sweep(["w1"])
    with pytest.raises(StaleEpochError, match="not held by worker w1"):
        store.create(child)
    with pytest.raises(UnknownRunError):
        store.get_run(child.id)
