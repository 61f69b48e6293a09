"""Schedules, their ticks, and what is decided about them."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.store.builders import a_deployed, a_project, ended, new_run

from ostinato.clock import SECOND, ManualClock
from ostinato.errors import UnknownNameError, UsageError
from ostinato.limits import Passing, to_json
from ostinato.records import RunFilter
from ostinato.states import State
from ostinato.timing import Decision, Schedule, ScheduleFilter, Tick, Timing

if TYPE_CHECKING:
    from tests.store.conftest import Opener

    from ostinato.store.store import Store

SPEC = json.dumps({"every": 60})


def a_schedule(name: str = "s", **fields: Any) -> Schedule:
    return Schedule(name=name, **({"deployment": "f", "spec": SPEC} | fields))


def deploy(store: Store, *schedules: Schedule, names: tuple[str, ...] = ("f",), **fields: Any) -> None:
    deployed = [a_deployed(name, **fields) for name in names]
    store.put_project(a_project(), deployed, Timing(schedules=list(schedules)))


def a_decision(store: Store, row: Schedule, *keys: str, **fields: Any) -> Decision:
    """Decide that a run is started for each key."""
    runs = [new_run(store, pool="default", deployment="f", created_by=f"schedule:{row.name}") for _ in keys]
    ticks = [
        Tick(schedule=row.name, key=key, scheduled_at=row.since, outcome="started", run_id=run.id)
        for key, run in zip(keys, runs, strict=True)
    ]
    values = {"since": store.now(), "next_at": store.now() + 60 * SECOND, "read": row.read} | fields
    return Decision(schedule=row.name, turn=row.turn, ticks=ticks, runs=runs, **values)


def kinds(store: Store) -> list[str]:
    return [each.event.kind for each in store.list_events() if each.event.kind.startswith("schedule.")]


# --- declared, added, kept


def test_a_declared_schedule_begins_now_and_is_looked_at_at_once(store: Store):
    deploy(store, a_schedule())
    found = store.get_schedule("s")
    assert (found.since, found.next_at, found.project) == (store.now(), store.now(), "p")
    assert store.survey().next_look_at == store.now()


def test_deploying_the_same_keeps_what_a_schedule_remembers(store: Store, clock: ManualClock):
    deploy(store, a_schedule())
    store.decide([a_decision(store, store.get_schedule("s"), "1", state='{"x": 1}', trouble="oh", cursor="c")])
    store.pause_schedule("s", paused=True)
    before = store.get_schedule("s")
    clock.move(1000)
    deploy(store, a_schedule(tags=["new"]))
    assert store.get_schedule("s") == msgspec.structs.replace(before, tags=["new"], turn=before.turn + 1)


def test_a_changed_schedule_begins_anew_but_stays_paused_and_does_not_read_twice(store: Store, clock: ManualClock):
    deploy(store, a_schedule())
    store.decide([a_decision(store, store.get_schedule("s"), "1", state='{"x": 1}', read=7, cursor="c")])
    store.pause_schedule("s", paused=True)
    store.rewind_schedule("s", read=7)
    clock.move(1000)
    deploy(store, a_schedule(spec='{"every": 30}'))
    found = store.get_schedule("s")
    assert (found.since, found.paused, found.read, found.cursor) == (store.now(), True, 7, "c")
    assert json.loads(found.state) == {"generation": 1}


def test_what_a_project_declares_no_more_is_gone_but_not_what_its_broken_modules_declared(store: Store):
    deploy(store, a_schedule("f:a"), a_schedule("g", deployment="g"), names=("f", "g"))
    broken = a_deployed("g", broken="it cannot be imported")
    store.put_project(a_project(), [a_deployed("f"), broken], Timing(schedules=[a_schedule("f:b")]))
    assert [each.name for each in store.list_schedules(ScheduleFilter())] == ["f:b", "g"]
    store.remove_project("p")
    assert store.list_schedules(ScheduleFilter()) == []


def test_one_that_was_added_by_hand_outlives_its_project(store: Store):
    deploy(store)
    store.put_schedule(a_schedule("mine"))
    deploy(store)
    assert store.get_schedule("mine").project == ""
    with pytest.raises(UsageError, match="added by hand"):
        deploy(store, a_schedule("mine"))
    store.remove_project("p")
    store.remove_schedule("mine")
    assert store.list_schedules(ScheduleFilter()) == []


def test_errors_name_what_is_near_and_who_declares_it(store: Store):
    deploy(store, a_schedule("nightly"))
    with pytest.raises(UnknownNameError, match="nightly"):
        store.get_schedule("nigthly")
    with pytest.raises(UnknownNameError, match="no deployment 'F'"):
        store.put_schedule(a_schedule("x", deployment="F"))
    for act in (lambda: store.put_schedule(a_schedule("nightly")), lambda: store.remove_schedule("nightly")):
        with pytest.raises(UsageError, match="project 'p' declares"):
            act()


def test_a_schedule_reads_from_the_newest_event_on(store: Store):
    deploy(store)
    newest = max((each.id for each in store.list_events()), default=0)
    assert store.put_schedule(a_schedule("mine")).read == newest


# --- listed, paused, rewound


def test_schedules_are_listed_by_name_in_pages_and_by_when_they_are_due(store: Store):
    deploy(store, *(a_schedule(name) for name in "abc"), a_schedule("d", kind="sensor"))
    now = store.now()
    rows = {name: store.get_schedule(name) for name in "abcd"}
    store.decide([a_decision(store, rows[name], next_at=now + at) for name, at in (("a", 30), ("b", 10), ("c", 20))])
    store.pause_schedule("c", paused=True)

    def listed(**which: Any) -> list[str]:
        return [each.name for each in store.list_schedules(ScheduleFilter(**which))]

    assert listed(limit=2) == ["a", "b"]
    assert listed(after="b") == ["c", "d"]
    assert listed(due_before=now + 30) == ["d", "b", "a"]
    assert listed(due_before=now + 29, kinds=["time"]) == ["b"]
    assert listed(kinds=["sensor"]) == ["d"]
    assert listed(deployment="g") == listed(project="q") == []
    assert store.survey().next_look_at == now  # the sensor's
    store.pause_schedule("d", paused=True)
    assert store.survey().next_look_at == now + 10


def test_a_schedule_goes_on_from_now_when_it_is_resumed(store: Store, clock: ManualClock):
    deploy(store, a_schedule())
    assert store.pause_schedule("s", paused=True).paused
    clock.move(3600)
    found = store.pause_schedule("s", paused=False)
    assert (found.since, found.next_at, found.paused) == (store.now(), store.now(), False)


def test_resuming_under_a_clock_that_was_set_back_decides_nothing_again(store: Store, clock: ManualClock):
    deploy(store, a_schedule())
    since = store.get_schedule("s").since
    store.pause_schedule("s", paused=True)
    clock.move(-3600)
    assert store.pause_schedule("s", paused=False).since == since


def test_pausing_what_is_paused_changes_nothing(store: Store):
    deploy(store, a_schedule())
    paused = store.pause_schedule("s", paused=True)
    assert store.pause_schedule("s", paused=True) == paused


def test_rewinding_counts_and_says_up_to_where_it_is_a_replay(store: Store):
    deploy(store, a_schedule())
    store.rewind_schedule("s", since=5)
    found = store.rewind_schedule("s", since=7, read=3)
    assert (found.since, found.read, found.next_at) == (7, 3, store.now())
    assert json.loads(found.state) == {"generation": 2, "until": store.now()}


# --- decided


def test_a_decision_is_stored_whole_ticks_runs_tickets_and_events(store: Store):
    deploy(store, a_schedule())
    row = store.get_schedule("s")
    decision = a_decision(store, row, "1", "2", cursor="c", state='{"x": 1}', trouble="hm")
    skipped = Tick(schedule="s", key="3", outcome="skipped", reason="missed", data='{"count":4}')
    failed = Tick(schedule="s", key="4", outcome="failed", reason="refused", data='{"error":"no"}')
    decision = msgspec.structs.replace(decision, ticks=[*decision.ticks, skipped, failed])
    assert store.decide([decision]) == ["s"]
    after = store.get_schedule("s")
    assert (after.cursor, after.state, after.trouble, after.turn) == ("c", '{"x": 1}', "hm", row.turn + 1)
    assert (after.since, after.next_at) == (decision.since, decision.next_at)
    assert [tick.key for tick in store.list_ticks("s")] == ["4", "3", "2", "1"]
    ids = [run.id for run in decision.runs]
    assert sorted(ticket.run_id for ticket in store.list_tickets()) == sorted(ids)
    for run in decision.runs:
        stored = store.get_run(run.id)
        assert (stored.state, stored.created_at, stored.tags) == (State.QUEUED, store.now(), run.tags)
        told = {each.event.kind for each in store.list_events(run.id)}
        assert told == {"run.queued", "schedule.started"}
    assert kinds(store) == ["schedule.started", "schedule.started", "schedule.skipped", "schedule.failed"]


def test_all_of_a_run_comes_back_as_it_was_decided(store: Store):
    deploy(store, a_schedule())
    run = new_run(
        store,
        pool="default",
        deployment="f",
        tags=["a,b", 'q"uote', "ø"],
        parameters=b"\x00\xffbytes",
        scheduled_at=store.now(),
        trigger='{"schedule":"s"}',
        branch_cut=["x"],
        error="nul \0 and \ud800 lone",
    )
    tick = Tick(schedule="s", key="1", outcome="started", run_id=run.id)
    row = store.get_schedule("s")
    store.decide([Decision(schedule="s", turn=row.turn, ticks=[tick], runs=[run], since=1, next_at=None)])
    clean = "nul � and � lone"
    assert store.get_run(run.id) == msgspec.structs.replace(run, error=clean, created_at=store.now())
    assert [found.id for found in store.list_runs(RunFilter(tag='q"uote'))] == [run.id]


def test_a_run_that_begins_later_waits_for_its_time(store: Store, clock: ManualClock):
    deploy(store, a_schedule())
    row = store.get_schedule("s")
    decision = a_decision(store, row, "1")
    decision.runs[0].state, decision.runs[0].scheduled_at = State.SCHEDULED, store.now() + 60 * SECOND
    store.decide([decision])
    assert store.list_tickets() == []
    clock.move(61)
    assert store.wake() == 1


def test_a_decision_whose_turn_has_passed_is_left_out_and_the_others_are_stored(store: Store):
    deploy(store, a_schedule("s"), a_schedule("t"))
    first, second = store.get_schedule("s"), store.get_schedule("t")
    store.pause_schedule("s", paused=True)
    decisions = [a_decision(store, first, "1"), a_decision(store, second, "1")]
    assert store.decide(decisions) == ["t"]
    assert store.decide(decisions) == []
    assert [tick.schedule for tick in store.list_ticks()] == ["t"]
    assert store.get_schedule("s").turn == first.turn + 1


def test_changing_its_deployment_makes_what_is_being_decided_stale(store: Store):
    deploy(store)
    row = store.put_schedule(a_schedule("mine"))
    deploy(store, priority=5)
    assert store.decide([a_decision(store, row, "1")]) == []


def test_a_tick_that_is_there_is_not_made_again_nor_its_run(store: Store):
    deploy(store, a_schedule())
    store.decide([a_decision(store, store.get_schedule("s"), "1")])
    again = a_decision(store, store.get_schedule("s"), "1", "2")
    assert store.decide([again]) == ["s"]
    assert len(store.list_ticks("s")) == len(store.list_tickets()) == 2
    assert kinds(store) == ["schedule.started"] * 2


def test_ticks_come_in_pages_by_when_they_were_decided(store: Store):
    deploy(store, a_schedule())
    store.decide([a_decision(store, store.get_schedule("s"), *(f"{number:02}" for number in range(7)))])
    first = store.list_ticks("s", limit=3)
    second = store.list_ticks("s", before=first[-1].at, limit=3)
    assert [tick.key for tick in (*first, *second)] == ["06", "05", "04", "03", "02", "01"]


def test_of_many_who_decide_the_same_at_once_one_is_heard(opener: Opener, clock: ManualClock):
    stores = [opener(clock=clock) for _ in range(4)]
    deploy(stores[0], *(a_schedule(f"s{number:02}") for number in range(20)))
    rows = stores[0].list_schedules(ScheduleFilter())
    barrier, changed, lock = threading.Barrier(len(stores)), [], threading.Lock()

    def act(store: Store, number: int) -> None:
        decisions = [a_decision(store, row, "1", "2") for row in rows[number:] + rows[:number]]
        barrier.wait()
        found = store.decide(decisions)
        with lock:
            changed.extend(found)

    threads = [threading.Thread(target=act, args=(store, 3 * number)) for number, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(changed) == [row.name for row in rows]
    assert len(stores[0].list_ticks(limit=1000)) == len(stores[0].list_tickets(limit=1000)) == 40


def test_deciding_and_deploying_at_once_do_not_lock_each_other_out(opener: Opener, clock: ManualClock):
    one, other = opener(clock=clock), opener(clock=clock)
    schedules = [a_schedule(f"s{number:02}") for number in range(10)]
    deploy(one, *schedules)
    stop = threading.Event()
    failures: list[Exception] = []

    def decide() -> None:
        number = 0
        while not stop.is_set():
            try:
                rows = other.list_schedules(ScheduleFilter())
                other.decide([a_decision(other, row, str(number)) for row in rows])
            except Exception as error:
                failures.append(error)
            number += 1

    thread = threading.Thread(target=decide)
    thread.start()
    for number in range(10):
        deploy(one, *schedules, priority=number)
        one.pause_schedule("s05", paused=number % 2 == 0)
    stop.set()
    thread.join()
    assert failures == []


def test_the_usual_duration_is_the_median_of_successes(store: Store):
    assert store.usual_duration("f") is None
    for seconds in (10, 20, 90):
        ended(store, deployment="f", started_at=store.now(), finished_at=store.now() + seconds * SECOND)
    ended(store, State.FAILED, deployment="f", started_at=store.now(), finished_at=store.now() + SECOND)
    assert store.usual_duration("f") == 20.0


# --- overlap


def one_at_a_time(policy: str) -> str:
    return to_json([Passing(gate="overlap:f", limit="overlap:f", slots=1, policy=policy)]) or ""


def gated(store: Store, row: Schedule, policy: str, *keys: str) -> Decision:
    decision = a_decision(store, row, *keys)
    for run in decision.runs:
        run.gates = one_at_a_time(policy)
    return decision


def test_an_overlap_that_skips_leaves_a_tick_and_no_run(store: Store):
    deploy(store, a_schedule())
    store.decide([gated(store, store.get_schedule("s"), "skip", "1", "2")])
    assert [(tick.key, tick.outcome, tick.reason) for tick in store.list_ticks("s")] == [
        ("2", "skipped", "overlap"),
        ("1", "started", None),
    ]
    assert store.list_ticks("s")[0].run_id is None
    assert len(store.list_runs(RunFilter())) == len(store.list_tickets()) == 1
    assert kinds(store) == ["schedule.started", "schedule.skipped"]


def test_an_overlap_that_cancels_the_new_one_leaves_it_cancelled(store: Store):
    deploy(store, a_schedule())
    store.decide([gated(store, store.get_schedule("s"), "cancel_new", "1", "2")])
    newest = store.list_ticks("s")[0]
    assert (newest.outcome, newest.reason) == ("skipped", "overlap")
    assert newest.run_id is not None
    assert store.get_run(newest.run_id).state is State.CANCELLED


def test_an_overlap_that_queues_makes_both_runs_and_one_may_be_claimed(store: Store):
    deploy(store, a_schedule())
    store.decide([gated(store, store.get_schedule("s"), "queue", "1", "2")])
    assert [tick.outcome for tick in store.list_ticks("s")] == ["started"] * 2
    assert (len(store.list_runs(RunFilter())), len(store.list_tickets())) == (2, 1)
