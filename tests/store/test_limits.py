"""Limits in the store: who is let in, what is kept over a crash or a suspension, overlap, limits declared by hand."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.store.builders import a_run, a_worker, new_run

from ostinato.errors import DefinitionError, StaleEpochError, UnknownNameError, UsageError
from ostinato.limits import Entrance, Limit, Overlap, in_order, to_json
from ostinato.records import Commit, RunEnd, Suspension, Wait
from ostinato.states import State
from ostinato.timing import LimitRow
from ostinato.work import Offer, ProcessEnd

if TYPE_CHECKING:
    from tests.store.conftest import Opener

    from ostinato.clock import ManualClock
    from ostinato.limits import Passing
    from ostinato.records import Run
    from ostinato.store.store import Store

DB = Limit("db", 1)


def queued(store: Store, *passings: Passing, **fields: Any) -> Run:
    return store.create(new_run(store, pool="default", gates=to_json(in_order(passings)), **fields))


def claimed(store: Store, count: int = 1, worker_id: str = "w1") -> list[Run]:
    if worker_id not in {worker.id for worker in store.list_workers()}:
        a_worker(store, worker_id, pools=["default"], slots=10)
    return [claim.run for claim in store.claim(worker_id, Offer(pools=["default"], slots=count))]


def end(store: Store, run: Run, **fields: Any) -> None:
    over = RunEnd(state=State.SUCCEEDED, finished_at=store.now())
    store.commit(run.id, run.epoch, Commit(end=over, **fields))


def entrance(seq: int, *limits: Limit, **named: Any) -> Entrance:
    return Entrance(seq, in_order(limit.passing(named) for limit in limits))


# --- runs


def test_a_run_has_a_ticket_only_once_it_holds_its_limit(store: Store) -> None:
    first, second = queued(store, DB.passing({})), queued(store, DB.passing({}))
    assert [ticket.run_id for ticket in store.list_tickets()] == [first.id]
    (run,) = claimed(store)
    end(store, run)
    assert [ticket.run_id for ticket in store.list_tickets()] == [second.id]


def test_why_a_run_is_held_is_an_event(store: Store) -> None:
    first, second = queued(store, DB.passing({})), queued(store, DB.passing({}))
    (held,) = [found.event for found in store.list_events(second.id) if found.event.kind == "run.held"]
    data = json.loads(held.data)
    assert (data["reason"], data["gate"], data["held_by"], data["waiting"]) == ("limit", "db", [first.id], 1)


def test_each_value_of_the_key_has_slots_of_its_own(store: Store) -> None:
    per_tenant = Limit("db", 1, key="tenant")
    for tenant in ("a", "a", "b"):
        queued(store, per_tenant.passing({"tenant": tenant}))
    assert len(store.list_tickets()) == 2
    assert [gate.id for gate in store.list_gates("db")] == ["db[a]", "db[b]"]


def test_a_run_that_needs_several_takes_them_in_order_and_holds_what_it_has(store: Store) -> None:
    one, other = Limit("a", 1), Limit("b", 1)
    blocker = queued(store, other.passing({}))
    waiting = queued(store, one.passing({}), other.passing({}))
    held = {passage.gate: passage.held for passage in store.list_passages(run_id=waiting.id)}
    assert held == {"a": True, "b": False}
    (run,) = claimed(store)
    assert run.id == blocker.id
    end(store, run)
    assert [ticket.run_id for ticket in store.list_tickets()] == [waiting.id]


def test_a_run_keeps_its_slots_while_it_is_recovered(store: Store) -> None:
    first, second = queued(store, DB.passing({})), queued(store, DB.passing({}))
    claimed(store)
    store.sweep(["w1"])
    assert [ticket.run_id for ticket in store.list_tickets()] == [first.id]
    (again,) = claimed(store, worker_id="w2")
    assert (again.id, again.epoch) == (first.id, 3)
    end(store, again)
    assert [ticket.run_id for ticket in store.list_tickets()] == [second.id]


def test_a_run_that_is_given_up_returns_its_slots(store: Store) -> None:
    _, second = queued(store, DB.passing({})), queued(store, DB.passing({}))
    (run,) = claimed(store)
    store.give_back("w1", run.id, run.epoch, ProcessEnd(reason="unloadable", message="no such flow"))
    assert store.get_run(run.id).state is State.FAILED
    assert [ticket.run_id for ticket in store.list_tickets()] == [second.id]


def test_a_cancelled_run_leaves_the_line_and_returns_what_it_holds(store: Store) -> None:
    first, second, third = (queued(store, DB.passing({})) for _ in range(3))
    store.request_cancel(second.id)
    store.request_cancel(first.id)
    assert [ticket.run_id for ticket in store.list_tickets()] == [third.id]
    assert {passage.run_id for passage in store.list_passages()} == {third.id}


def test_a_run_that_is_to_start_later_takes_its_limits_when_it_starts(store: Store, clock: ManualClock) -> None:
    later = queued(store, DB.passing({}), state=State.SCHEDULED, scheduled_at=store.now() + 60_000_000)
    assert store.list_passages() == []
    first = queued(store, DB.passing({}))
    clock.move(61)
    store.wake()
    assert store.get_run(later.id).state is State.QUEUED
    assert [ticket.run_id for ticket in store.list_tickets()] == [first.id]
    assert [(p.run_id, p.held) for p in store.list_passages("db")] == [(first.id, True), (later.id, False)]


def test_a_run_of_higher_priority_goes_before_and_one_that_waits_long_is_not_starved(
    store: Store, clock: ManualClock
) -> None:
    queued(store, DB.passing({}))
    low = queued(store, DB.passing({}, priority=0))
    clock.move(30)
    high = queued(store, DB.passing({}, priority=1))
    clock.move(31)
    late = queued(store, DB.passing({}, priority=1))
    assert [p.run_id for p in store.list_passages("db")][1:] == [high.id, low.id, late.id]


def test_shares_take_turns_by_their_weight(store: Store) -> None:
    fair = Limit("api", 1, fair="tenant", weights={"gold": 3})
    run = a_run(store)
    store.enter(run.id, run.epoch, [entrance(0, Limit("api", 1))])
    calls = [(1 + n, "tin") for n in range(8)] + [(100 + n, "gold") for n in range(8)]
    store.enter(run.id, run.epoch, [entrance(seq, fair, tenant=tenant) for seq, tenant in calls])
    line = [passage.seq for passage in store.list_passages("api") if not passage.held]
    turns = []
    holds = 0
    for _ in range(8):
        store.commit(run.id, run.epoch, Commit(leaves=[holds]))
        holds = next(passage.seq for passage in store.list_passages("api") if passage.held)
        turns.append(holds)
    assert turns == line[:8], "the line is shown in the order in which turns come"
    assert sum(seq >= 100 for seq in turns) == 6, "three of four turns"


# --- task runs


def test_a_task_run_waits_until_another_commits_that_it_leaves(store: Store) -> None:
    run = a_run(store)
    assert store.enter(run.id, run.epoch, [entrance(0, DB)]).held == [0]
    assert store.enter(run.id, run.epoch, [entrance(1, DB)]).held == []
    assert store.await_slots(run.id, run.epoch, [0]) == []
    store.commit(run.id, run.epoch, Commit(leaves=[0]))
    assert store.await_slots(run.id, run.epoch, [0]) == [1]


def test_who_waits_is_woken_at_once(store: Store) -> None:
    run = a_run(store)
    store.enter(run.id, run.epoch, [entrance(0, DB), entrance(1, DB)])
    woken: list[float] = []

    def wait() -> None:
        assert store.await_slots(run.id, run.epoch, [0], wait=10) == [1]
        woken.append(time.monotonic())

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.6)  # it has long been waiting, and looks seldom by itself
    begun = time.monotonic()
    store.commit(run.id, run.epoch, Commit(leaves=[0]))
    waiter.join(10)
    assert woken
    assert woken[0] - begun < 0.2, "the bell, not the next look"


def test_asking_again_keeps_the_place_and_another_call_of_that_number_does_not(store: Store) -> None:
    run = a_run(store)
    store.enter(run.id, run.epoch, [entrance(0, DB), entrance(1, DB), entrance(2, DB)])
    store.enter(run.id, run.epoch, [entrance(1, DB)])
    assert [p.seq for p in store.list_passages("db")] == [0, 1, 2]
    other = Limit("other", 1)
    assert store.enter(run.id, run.epoch, [entrance(1, other)]).held == [1]
    assert [p.seq for p in store.list_passages("db")] == [0, 2]


def test_a_lost_process_returns_the_slots_of_its_task_runs(store: Store) -> None:
    (run,) = (queued(store), *claimed(store))[1:]
    other = a_run(store, "w2")
    store.enter(run.id, run.epoch, [entrance(0, DB), entrance(1, DB)])
    store.enter(other.id, other.epoch, [entrance(7, DB)])
    store.sweep(["w1"])
    assert [(p.run_id, p.held) for p in store.list_passages("db")] == [(other.id, True)]
    with pytest.raises(StaleEpochError):
        store.enter(run.id, run.epoch, [entrance(2, DB)])


def test_what_a_run_has_goes_with_its_end(store: Store) -> None:
    run, other = a_run(store), a_run(store)
    store.enter(run.id, run.epoch, [entrance(0, DB), entrance(1, DB)])
    store.enter(other.id, other.epoch, [entrance(0, DB)])
    end(store, run, leaves=[-1])
    assert [(p.run_id, p.held) for p in store.list_passages("db")] == [(other.id, True)]


def test_a_run_that_has_given_up_its_process_goes_on_with_its_slot(store: Store) -> None:
    (run,) = (queued(store), *claimed(store))[1:]
    other = a_run(store, "w2")
    store.enter(other.id, other.epoch, [entrance(0, DB)])
    store.enter(run.id, run.epoch, [entrance(3, DB)])
    wait = Wait(run_id=run.id, n=0, kind="slot", key=run.id, seq=3, created_at=store.now())
    store.commit(run.id, run.epoch, Commit(suspend=Suspension(state=State.WAITING, reason="limit", waits=[wait])))
    assert store.get_run(run.id).state is State.WAITING
    store.commit(other.id, other.epoch, Commit(leaves=[0]))
    assert store.get_run(run.id).state is State.QUEUED
    (again,) = claimed(store)
    assert store.enter(again.id, again.epoch, [entrance(3, DB)]).held == [3]


def test_a_slot_that_came_before_the_run_was_suspended_wakes_it(store: Store) -> None:
    (run,) = (queued(store), *claimed(store))[1:]
    store.enter(run.id, run.epoch, [entrance(3, DB)])
    wait = Wait(run_id=run.id, n=0, kind="slot", key=run.id, seq=3, created_at=store.now())
    store.commit(run.id, run.epoch, Commit(suspend=Suspension(state=State.WAITING, reason="limit", waits=[wait])))
    assert store.get_run(run.id).state is State.QUEUED


def test_what_an_ended_run_still_has_is_repaired(opener: Opener, clock: ManualClock, not_over_http: None) -> None:
    store: Any = opener(clock=clock)
    run, other = a_run(store), a_run(store)
    store.enter(run.id, run.epoch, [entrance(0, DB)])
    store.enter(other.id, other.epoch, [entrance(0, DB)])
    end(store, run)  # it does not say that its task run leaves
    assert store.await_slots(other.id, other.epoch, []) == []
    assert store.repair_gates() == 1
    assert store.await_slots(other.id, other.epoch, []) == [0]


# --- rates


def test_a_rate_lets_so_many_begin_and_the_survey_knows_when(store: Store, clock: ManualClock) -> None:
    limit = Limit("api", rate="2/s", burst=3)
    runs = [queued(store, limit.passing({})) for _ in range(6)]
    assert len(store.list_tickets()) == 3
    assert store.survey().next_due_at == store.now() + 500_000
    for expected in (4, 5, 6):
        clock.move(0.5)
        store.wake()
        assert len(store.list_tickets()) == expected
    assert store.survey().next_due_at is None
    assert {run.id for run in runs} == {ticket.run_id for ticket in store.list_tickets()}


def test_a_token_that_has_come_is_handed_out_to_who_looks(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    limit = Limit("api", rate="1/s")
    store.enter(run.id, run.epoch, [entrance(0, limit), entrance(1, limit)])
    assert store.await_slots(run.id, run.epoch, [0]) == []
    clock.move(1.0)
    assert store.await_slots(run.id, run.epoch, [0]) == [1]


# --- overlap


def overlapping(policy: str, key: str | None = None, **parameters: Any) -> Passing:
    return Overlap(policy, key).passing("nightly", parameters)


@pytest.mark.parametrize(("policy", "state"), [("skip", State.SKIPPED), ("cancel_new", State.CANCELLED)])
def test_a_run_that_overlaps_is_refused(store: Store, policy: str, state: State) -> None:
    first, second = queued(store, overlapping(policy)), queued(store, overlapping(policy))
    assert (second.state, second.reason, second.finished_at) == (state, "overlap", store.now())
    assert [ticket.run_id for ticket in store.list_tickets()] == [first.id]
    assert any(found.event.kind == f"run.{state}" for found in store.list_events(second.id))
    (run,) = claimed(store)
    end(store, run)
    assert queued(store, overlapping(policy)).state is State.QUEUED


def test_only_runs_of_the_same_key_overlap(store: Store) -> None:
    queued(store, overlapping("skip", "tenant", tenant="a"))
    assert queued(store, overlapping("skip", "tenant", tenant="b")).state is State.QUEUED
    assert queued(store, overlapping("skip", "tenant", tenant="a")).state is State.SKIPPED


def test_runs_that_overlap_stand_in_line(store: Store) -> None:
    queued(store, overlapping("queue"))
    second = queued(store, overlapping("queue"))
    assert second.state is State.QUEUED
    end(store, claimed(store)[0])
    assert [ticket.run_id for ticket in store.list_tickets()] == [second.id]


def test_the_newest_run_cancels_those_before_it(store: Store, clock: ManualClock) -> None:
    first = queued(store, overlapping("cancel_running"))
    (running,) = claimed(store)
    clock.move(0.001)
    second = queued(store, overlapping("cancel_running"))
    assert store.get_run(first.id).cancel_requested_at is not None
    clock.move(0.001)
    third = queued(store, overlapping("cancel_running"))
    assert store.get_run(second.id).state is State.CANCELLED
    assert store.list_tickets() == []
    end(store, running)
    assert [ticket.run_id for ticket in store.list_tickets()] == [third.id]


def test_overlap_is_judged_before_any_limit_is_waited_for(store: Store) -> None:
    queued(store, DB.passing({}))
    first = queued(store, DB.passing({}), overlapping("skip"))
    assert first.state is State.QUEUED
    assert queued(store, DB.passing({}), overlapping("skip")).state is State.SKIPPED


# --- limits declared by hand


def test_more_slots_let_in_who_waits_at_once(store: Store) -> None:
    for _ in range(5):
        queued(store, DB.passing({}))
    store.put_limit(LimitRow(name="db", slots=3))
    assert len(store.list_tickets()) == 3
    queued(store, DB.passing({}))
    (gate,) = store.list_gates("db")
    assert (gate.slots, gate.held, gate.waiting) == (3, 3, 3)


def test_fewer_slots_take_nothing_away_but_let_nobody_in(store: Store) -> None:
    wide = Limit("db", 3)
    for _ in range(4):
        queued(store, wide.passing({}))
    store.put_limit(LimitRow(name="db", slots=1))
    runs = claimed(store, 3)
    end(store, runs[0])
    end(store, runs[1])
    assert store.list_tickets() == []
    end(store, runs[2])
    assert len(store.list_tickets()) == 1


def test_what_code_says_holds_again_when_the_hand_is_withdrawn(store: Store) -> None:
    store.put_limit(LimitRow(name="db", slots=0))
    queued(store, DB.passing({}))
    assert store.list_tickets() == []
    store.remove_limit("db")
    assert len(store.list_tickets()) == 1
    with pytest.raises(UnknownNameError):
        store.remove_limit("db")


def test_a_limit_by_hand_can_be_for_one_key(store: Store) -> None:
    per_tenant = Limit("db", 1, key="tenant")
    for tenant in ("a", "a", "b", "b"):
        queued(store, per_tenant.passing({"tenant": tenant}))
    store.put_limit(LimitRow(name="db[a]", slots=2))
    assert {gate.id: gate.held for gate in store.list_gates("db")} == {"db[a]": 2, "db[b]": 1}


def test_who_asks_is_told_of_slots_that_differ_from_the_code(store: Store) -> None:
    run = a_run(store)
    store.put_limit(LimitRow(name="db", slots=4))
    assert store.enter(run.id, run.epoch, [entrance(0, DB)]).rooms == {"db": 4}


@pytest.mark.parametrize(
    "row",
    [
        LimitRow(name="db"),
        LimitRow(name="db", slots=-1),
        LimitRow(name="db", rate=0.0),
        LimitRow(name="db", slots=1, burst=0),
        LimitRow(name="db", slots=1, weights="[]"),
        LimitRow(name="", slots=1),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(store: Store, row: LimitRow) -> None:
    with pytest.raises(UsageError):
        store.put_limit(row)


def test_gates_that_nobody_uses_are_forgotten(opener: Opener, clock: ManualClock, not_over_http: None) -> None:
    store: Any = opener(clock=clock)
    run = a_run(store)
    keyed = Limit("db", 1, key="k")
    for seq in range(5):
        store.enter(run.id, run.epoch, [entrance(seq, keyed, k=str(seq))])
    store.commit(run.id, run.epoch, Commit(leaves=[0, 1, 2, 3]))
    store.repair_gates()
    assert [gate.id for gate in store.list_gates()] == ["db[4]"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Limit("db"), "limits nothing"),
        (lambda: Limit("db", 0), "1 or more"),
        (lambda: Limit("db", rate="fast"), '"100/m"'),
        (lambda: Limit("db", rate="0/s"), '"100/m"'),
        (lambda: Limit("db[x]", 1), "without '['"),
        (lambda: Limit("db", 1, weights={"gold": 3}), "fair="),
        (lambda: Limit("db", 1, fair="t", weights={"gold": 0}), "weight"),
        (lambda: Overlap("skp"), "Did you mean"),
    ],
)
def test_limits_that_make_no_sense_say_why(wrong: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(says)):
        wrong()
