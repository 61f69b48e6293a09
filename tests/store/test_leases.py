"""Workers, their leases, and what becomes of the runs of one that is gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.store.builders import a_run, a_task_run, a_worker, contents, ended

from ostinato.clock import SECOND, ManualClock
from ostinato.records import Commit
from ostinato.states import State
from ostinato.store import sweeping

if TYPE_CHECKING:
    from ostinato.store.sql import SqlStore
    from ostinato.store.store import Store


def test_registered_worker_is_leased_from_the_stores_clock(store: Store, clock: ManualClock) -> None:
    a_worker(store)
    (worker,) = store.list_workers()
    assert worker.expires_at == clock.now() + 8 * SECOND
    assert (worker.id, worker.pid, worker.host) == ("w1", 42, "box")


def test_lease_is_as_long_as_the_store_was_told(opener, clock: ManualClock) -> None:
    store = opener(clock=clock, lease=2.5)
    a_worker(store)
    assert store.list_workers()[0].expires_at == clock.now() + 2_500_000


def test_beat_renews_a_lease_that_has_not_ended(store: Store, clock: ManualClock) -> None:
    a_worker(store)
    for _ in range(3):
        clock.move(7.999_999)
        beat = store.beat("w1")
        assert (beat.alive, beat.expires_at, beat.cancelled) == (True, clock.now() + 8 * SECOND, [])
    clock.move(8)
    assert store.beat("w1").alive is False
    assert store.beat("nobody").alive is False


def test_beat_tells_only_of_the_workers_own_runs(store: Store) -> None:
    mine, other = a_run(store), a_run(store, "w2")
    a_run(store)
    store.request_cancel(mine.id)
    store.request_cancel(other.id)
    assert store.beat("w1").cancelled == [mine.id]


def test_sweep_marks_the_runs_of_a_dead_worker(store: Store, clock: ManualClock) -> None:
    runs = [a_run(store), a_run(store)]
    alive = a_run(store, "w2")
    rows = [
        a_task_run(runs[0], seq, state=state)
        for seq, state in enumerate((State.SUCCEEDED, State.RUNNING, State.RETRYING, State.SCHEDULED))
    ]
    store.commit(runs[0].id, 1, Commit(task_runs=rows))
    clock.move(5)
    store.beat("w2")
    clock.move(3)
    swept = store.sweep()
    assert {run.id for run in swept} == {run.id for run in runs}
    for run in swept:
        assert (run.state, run.reason, run.epoch, run.worker_id) == (State.CRASHED, "lost", 2, None)
        assert run.finished_at == clock.now()
        assert store.get_run(run.id) == run
        (stored,) = store.list_events(run.id)
        assert stored.event.kind == "run.crashed"
        assert json.loads(stored.event.data)["worker_id"] == "w1"
        assert json.loads(stored.event.data)["pid"] == 42
    assert [t.state for t in store.load(runs[0].id)] == [
        State.SUCCEEDED, State.CRASHED, State.CRASHED, State.SCHEDULED,
    ]  # fmt: skip
    assert store.get_run(alive.id) == alive
    assert [worker.id for worker in store.list_workers()] == ["w2"]
    assert store.sweep() == []


@pytest.mark.usefixtures("not_over_http")
def test_worker_that_renews_between_the_look_and_the_burial_is_spared(store: SqlStore, clock: ManualClock) -> None:
    run = a_run(store)
    assert store._write(lambda tx: sweeping.bury(tx, "w1", forced=False)) == []
    assert store.get_run(run.id) == run
    assert store.beat("w1").alive


def test_sweep_takes_those_who_are_known_to_be_dead(store: Store) -> None:
    run, other = a_run(store), a_run(store, "w2")
    assert [r.id for r in store.sweep(["w1", "nobody"])] == [run.id]
    assert store.get_run(other.id) == other


def test_sweep_finds_runs_whose_worker_is_not_registered(store: Store) -> None:
    run = a_run(store)
    store.leave("w1")
    lost = store.reopen(run.id, "w1")
    assert [r.id for r in store.sweep()] == [lost.id]


def test_sweep_leaves_alone_what_nobody_holds(store: Store, clock: ManualClock) -> None:
    runs = [a_run(store, None), ended(store), ended(store, State.FAILED)]
    before = [contents(store, run) for run in runs]
    clock.move(1000)
    assert store.sweep() == []
    assert [contents(store, run) for run in runs] == before


def test_child_keeps_its_parent_when_swept(store: Store, clock: ManualClock) -> None:
    child = a_run(store, parent_run_id="p", parent_seq=3)
    clock.move(9)
    (swept,) = store.sweep()
    assert (swept.id, swept.parent_run_id, swept.parent_seq) == (child.id, "p", 3)


def test_worker_that_leaves_gives_up_its_runs_at_once(store: Store) -> None:
    run = a_run(store)
    store.leave("w1")
    assert store.list_workers() == []
    after = store.get_run(run.id)
    assert (after.state, after.reason, after.epoch) == (State.CRASHED, "lost", 2)
    store.leave("w1")


def test_clock_of_the_machine_or_the_server_serves_without_one(opener) -> None:
    store = opener()
    first = store.now()
    run = a_run(store)
    assert abs(store.list_workers()[0].expires_at - first - 8 * SECOND) < 60 * SECOND
    store.commit(run.id, 1, Commit(task_runs=[a_task_run(run)]))
    assert store.beat("w1").alive
    assert store.sweep() == []
    assert store.now() >= first
