"""Runs that wait without a process: suspended, woken, and never forgotten, in whatever order things happen."""

from __future__ import annotations

import itertools
import random
import threading
from typing import TYPE_CHECKING

import pytest
from tests.store.builders import a_run, a_task_run, claim, end, kinds, new_run, queued

from ostinato.errors import StaleEpochError
from ostinato.records import Commit, RunEnd, Suspension, Wait
from ostinato.states import State
from ostinato.work import RunBrief

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.store.conftest import Opener

    from ostinato.clock import ManualClock
    from ostinato.records import Run
    from ostinato.store.store import Store


def for_runs(store: Store, run: Run, *keys: str, due_at: int | None = None, attempt: bool = False) -> Suspension:
    waits = [Wait(run_id=run.id, n=n, kind="run", key=key, created_at=store.now()) for n, key in enumerate(keys)]
    if due_at is not None:
        waits.append(Wait(run_id=run.id, n=len(keys), kind="timer", due_at=due_at, created_at=store.now()))
    return Suspension(state=State.WAITING, reason="child", waits=waits, attempt=attempt)


def suspend(store: Store, run: Run, suspension: Suspension, number: int | None = None) -> bool:
    return store.commit(run.id, run.epoch, Commit(suspend=suspension), number=number)


def parent_and_children(store: Store, count: int = 1) -> tuple[Run, list[Run]]:
    queued(store, id="parent")
    (parent,) = claim(store)
    for number in range(count):
        queued(store, id=f"child{number}", parent_run_id="parent")
    return parent, claim(store, "w2", slots=count)


def test_suspended_run_gives_up_its_worker_and_waits(store: Store) -> None:
    parent, (child,) = parent_and_children(store)
    suspension = for_runs(store, parent, child.id, due_at=None)
    assert suspend(store, parent, suspension) is False
    run = store.get_run(parent.id)
    assert (run.state, run.reason, run.worker_id, run.epoch, run.attempt) == (State.WAITING, "child", None, 1, 1)
    assert store.list_waits(run.id) == list(suspension.waits)
    assert store.get_run(child.id).awaited is True
    assert kinds(store, run)[-1] == "run.suspended"
    assert claim(store) == []
    with pytest.raises(StaleEpochError):
        store.commit(parent.id, 1, Commit())


def test_end_of_what_it_waits_for_queues_the_run(store: Store) -> None:
    parent, (child,) = parent_and_children(store)
    suspend(store, parent, for_runs(store, parent, child.id))
    end(store, child)
    run = store.get_run(parent.id)
    assert (run.state, run.reason) == (State.QUEUED, None)
    assert store.list_waits(parent.id) == []
    assert kinds(store, parent) == ["run.queued", "run.claimed", "run.suspended", "run.woken", "run.queued"]
    (again,) = claim(store)
    assert (again.id, again.epoch) == (parent.id, 2)


def test_run_waits_for_all_or_for_a_timer(store: Store, clock: ManualClock) -> None:
    parent, children = parent_and_children(store, 3)
    suspend(store, parent, for_runs(store, parent, *(c.id for c in children), due_at=clock.now() + 5_000_000))
    end(store, children[1])
    end(store, children[0], State.FAILED)
    assert store.get_run(parent.id).state is State.WAITING
    assert store.wake() == 0
    clock.move(5)
    assert store.wake() == 1
    assert store.get_run(parent.id).state is State.QUEUED
    end(store, children[2])
    assert len(claim(store, slots=5)) == 1


def test_suspension_for_what_has_happened_queues_at_once(store: Store, clock: ManualClock) -> None:
    for suspension in (
        lambda run, child: for_runs(store, run, child.id),
        lambda run, child: for_runs(store, run, "unknown"),
        lambda run, child: for_runs(store, run, due_at=clock.now()),
    ):
        parent, child = claim(store, slots=2) if queued(store) and queued(store) else ()
        end(store, child)
        suspend(store, parent, suspension(parent, child))
        assert store.get_run(parent.id).state is State.QUEUED
        assert store.list_waits(parent.id) == []
        end(store, claim(store)[0])


def test_suspension_without_waits_only_shows_the_state(store: Store) -> None:
    queued(store)
    (run,) = claim(store)
    store.commit(run.id, 1, Commit(suspend=Suspension(state=State.RETRYING, reason="soon", waits=[])))
    shown = store.get_run(run.id)
    assert (shown.state, shown.reason, shown.worker_id) == (State.RETRYING, "soon", "w1")
    end(store, run)


def test_delay_before_a_new_attempt_of_the_run(store: Store, clock: ManualClock) -> None:
    queued(store)
    (run,) = claim(store)
    timer = Wait(run_id=run.id, n=0, kind="timer", due_at=clock.now() + 60_000_000, created_at=clock.now())
    suspend(store, run, Suspension(state=State.RETRYING, waits=[timer], attempt=True))
    found = store.get_run(run.id)
    assert (found.state, found.attempt) == (State.RETRYING, 2)
    assert store.survey().next_due_at == timer.due_at
    clock.move(59)
    assert store.wake() == 0
    clock.move(1)
    assert store.wake() == 1
    assert store.wake() == 0


def test_scheduled_run_starts_when_it_is_time(store: Store, clock: ManualClock) -> None:
    at = clock.now() + 3_000_000
    run = store.create(new_run(store, pool="default", state=State.SCHEDULED, scheduled_at=at))
    own = store.create(new_run(store, state=State.SCHEDULED, scheduled_at=at))
    assert [(w.kind, w.due_at) for w in store.list_waits(run.id)] == [("start", at)]
    assert store.list_tickets() == []
    clock.move(3)
    assert store.wake(limit=1) == 1
    assert store.wake() == 1
    assert store.get_run(own.id).state is State.QUEUED
    assert [c.id for c in claim(store, slots=5)] == [run.id]
    assert kinds(store, run) == ["run.queued", "run.claimed"]


@pytest.mark.parametrize("how", ["cancel", "sweep", "leave", "reopened"])
def test_every_kind_of_end_wakes(store: Store, clock: ManualClock, how: str) -> None:
    queued(store, id="parent")
    (parent,) = claim(store)
    child = a_run(store, "w2", id="child")
    suspend(store, parent, for_runs(store, parent, child.id))
    if how == "cancel":
        clock.move(9)
        store.request_cancel(child.id)
    elif how == "sweep":
        store.sweep(["w2"])
    elif how == "leave":
        store.leave("w2")
    else:
        store.sweep(["w2"])
        assert store.reopen(parent.id, None).state is State.QUEUED
    assert store.get_run(parent.id).state is State.QUEUED
    assert store.find_ticket(parent.id) is not None


def test_cancelled_waiter_is_forgotten_and_what_it_waits_for_left_alone(store: Store) -> None:
    parent, (child,) = parent_and_children(store)
    suspend(store, parent, for_runs(store, parent, child.id))
    cancelled = store.request_cancel(parent.id)
    assert (cancelled.state, cancelled.epoch) == (State.CANCELLED, 2)
    assert store.list_waits(parent.id) == []
    assert store.get_run(child.id).state is State.RUNNING
    end(store, child)
    assert store.get_run(parent.id).state is State.CANCELLED
    assert store.list_tickets() == []


def test_taken_over_waiter_is_not_woken(store: Store) -> None:
    parent, (child,) = parent_and_children(store)
    suspend(store, parent, for_runs(store, parent, child.id))
    taken = store.reopen(parent.id, "w1", epoch=1)
    assert store.list_waits(parent.id) == []
    end(store, child)
    assert store.get_run(parent.id) == taken
    assert store.list_tickets() == []


def test_repeated_suspension_is_answered_and_not_done_twice(store: Store) -> None:
    parent, (child,) = parent_and_children(store)
    suspension = for_runs(store, parent, child.id)
    suspend(store, parent, suspension, number=1)
    assert suspend(store, parent, suspension, number=1) is False
    end(store, child)
    assert suspend(store, parent, suspension, number=1) is False
    assert store.get_run(parent.id).state is State.QUEUED
    assert kinds(store, parent).count("run.suspended") == 1


def test_stale_suspension_writes_nothing(store: Store) -> None:
    parent, (child,) = parent_and_children(store)
    store.sweep(["w1"])
    with pytest.raises(StaleEpochError):
        suspend(store, parent, for_runs(store, parent, child.id))
    assert store.list_waits(parent.id) == []
    assert not store.get_run(child.id).awaited


def test_suspension_is_one_with_what_is_committed_beside_it(store: Store) -> None:
    parent, (child,) = parent_and_children(store)
    row = a_task_run(parent, state=State.WAITING)
    store.commit(parent.id, 1, Commit(task_runs=[row], suspend=for_runs(store, parent, child.id)))
    assert [t.state for t in store.load(parent.id)] == [State.WAITING]


def test_prune_keeps_a_run_that_somebody_waits_for(store: Store, clock: ManualClock) -> None:
    parent, children = parent_and_children(store, 2)
    end(store, children[0])
    suspend(store, parent, for_runs(store, parent, *(c.id for c in children)))
    other = store.create(new_run(store, state=State.SUCCEEDED, finished_at=clock.now()))
    clock.move(5)
    assert store.prune(clock.now()).runs == 1
    assert store.get_run(children[0].id).state is State.SUCCEEDED
    assert other.id not in {run.id for run in store.find_runs(other.id)}
    end(store, children[1])
    store.request_cancel(parent.id)
    clock.move(1)
    assert store.prune(clock.now()).runs == 3
    counts = store.info().counts
    assert (counts["wait"], counts["ticket"]) == (0, 0)


def test_await_runs_tells_of_those_that_have_ended(store: Store, opener: Opener, clock: ManualClock) -> None:
    one, two = a_run(store), a_run(store)
    ids = [one.id, "unknown", two.id]
    assert store.await_runs(ids) == []
    other = opener(clock=clock)
    found: list[list[RunBrief]] = []
    waiter = threading.Thread(target=lambda: found.append(other.await_runs(ids, wait=30.0)))
    waiter.start()
    end(store, two, State.FAILED, reason="timed_out")
    waiter.join(30)
    assert found == [[RunBrief(id=two.id, state=State.FAILED, reason="timed_out")]]


STEPS = ("suspend", "end0", "end1", "wake")


@pytest.mark.parametrize("order", list(itertools.permutations(STEPS)), ids="-".join)
def test_no_wake_up_is_lost_in_any_order_of_two_stores(
    store: Store, opener: Opener, clock: ManualClock, order: tuple[str, ...]
) -> None:
    other = opener(clock=clock)
    parent, children = parent_and_children(store, 2)
    steps: dict[str, Callable[[], object]] = {
        "suspend": lambda: suspend(store, parent, for_runs(store, parent, *(c.id for c in children))),
        "end0": lambda: end(other, children[0]),
        "end1": lambda: end(store, children[1]),
        "wake": other.wake,
    }
    for name in order:
        steps[name]()
    assert store.get_run(parent.id).state is State.QUEUED
    assert len(claim(store, slots=9)) == 1
    assert kinds(store, parent).count("run.woken") == 1


def test_no_wake_up_is_lost_when_ends_and_suspension_happen_at_once(
    store: Store, opener: Opener, clock: ManualClock
) -> None:
    stores = [store, opener(clock=clock), opener(clock=clock)]
    for _ in range(12):
        runs = [queued(store) for _ in range(3)]
        parent, *children = claim(store, slots=3)
        assert {run.id for run in runs} == {parent.id, *(c.id for c in children)}
        suspension = for_runs(store, parent, *(c.id for c in children))
        jobs: list[Callable[[], object]] = [
            lambda s=suspension, p=parent: suspend(stores[0], p, s),  # type: ignore[misc]
            lambda c=children[0]: end(stores[1], c),  # type: ignore[misc]
            lambda c=children[1]: end(stores[2], c),  # type: ignore[misc]
        ]
        random.shuffle(jobs)
        threads = [threading.Thread(target=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert store.get_run(parent.id).state is State.QUEUED
        (again,) = claim(store, slots=9)
        store.commit(again.id, again.epoch, Commit(end=RunEnd(state=State.SUCCEEDED, finished_at=store.now())))
