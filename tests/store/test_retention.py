"""Retention beyond runs: what goes at its own age, what is kept for whom, and how little each step does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.store.builders import a_deployed, a_log, a_project, a_run, a_task_run, an_event, end, ended, new_run

from ostinato.errors import UnknownRunError, UsageError
from ostinato.history import Cuts
from ostinato.records import Commit, Event, RunEnd
from ostinato.states import State
from ostinato.timing import AutomationRow, Decision, Firing, Judgement, Schedule, Tick, Timing

if TYPE_CHECKING:
    from ostinato.clock import ManualClock
    from ostinato.records import Pruned
    from ostinato.store.store import Store

DAY = 86_400


def forget(store: Store, name: str, cuts: Cuts, limit: int = 500) -> list[Pruned]:
    """Take steps until there is no more to do."""
    steps = [store.forget(name, cuts, limit=limit)]
    while steps[-1].more:
        steps.append(store.forget(name, cuts, limit=limit))
    return steps


def happen(store: Store, kind: str = "thing", key: str | None = None) -> int:
    """Have something happen; return its number."""
    store.emit([Event(at=store.now(), kind=kind, run_id="", key=key)])
    return store.newest_event()


def events_before(store: Store, days: float) -> Cuts:
    return Cuts(events=store.now() - round(days * DAY * 1_000_000))


def there(store: Store) -> list[int]:
    return [each.id for each in store.list_events(limit=100_000)]


def a_consumer(store: Store, name: str = "consumer") -> Schedule:
    row = Schedule(name=name, deployment="d", project="p", kind="event", spec="{}")
    store.put_project(a_project(), [a_deployed()], Timing(schedules=[row]))
    return store.get_schedule(name)


def read_up_to(store: Store, name: str, number: int) -> None:
    row = store.get_schedule(name)
    assert store.decide([Decision(schedule=name, turn=row.turn, since=row.since, read=number)]) == [name]


# --- events


def test_old_events_go_and_young_ones_stay(store: Store, clock: ManualClock) -> None:
    old = [happen(store) for _ in range(5)]
    clock.move(10 * DAY)
    young = [happen(store) for _ in range(2)]
    assert set(old + young) <= set(there(store))
    steps = forget(store, "events", events_before(store, 5), limit=2)
    assert there(store) == young
    assert all(step.events <= 2 for step in steps)
    assert happen(store) == young[-1] + 1


def test_events_that_a_consumer_has_not_read_stay_though_it_is_paused(store: Store, clock: ManualClock) -> None:
    a_consumer(store)
    numbers = [happen(store, key="k") for _ in range(6)]
    store.pause_schedule("consumer", paused=True)
    clock.move(100 * DAY)
    read_up_to(store, "consumer", numbers[1])
    forget(store, "events", events_before(store, 5))
    assert there(store)[-4:] == numbers[2:]
    assert not set(numbers[:2]) & set(there(store))
    read_up_to(store, "consumer", numbers[4])
    forget(store, "events", events_before(store, 5))
    assert there(store)[-1:] == numbers[5:]


def test_events_that_the_automations_have_not_read_stay_while_there_are_any(store: Store, clock: ManualClock) -> None:
    first = happen(store)
    store.put_automation(AutomationRow(name="a", spec="{}"))
    start = store.reader_at("automator")
    numbers = [happen(store) for _ in range(4)]
    clock.move(100 * DAY)
    forget(store, "events", events_before(store, 5))
    assert not set(there(store)) & {first}
    assert there(store)[-4:] == numbers
    assert store.judge("automator", start, numbers[1], [])
    forget(store, "events", events_before(store, 5))
    assert there(store)[-2:] == numbers[2:]
    store.pause_automation("a", paused=True)
    forget(store, "events", events_before(store, 5))
    assert not set(there(store)) & set(numbers)


def test_event_that_a_run_may_still_wait_for_stays_until_the_run_has_ended(store: Store, clock: ManualClock) -> None:
    before = happen(store, "paid", "order 0")
    clock.move(DAY)
    run = a_run(store, None)
    wanted, plain = happen(store, "paid", "order 1"), happen(store, "noise")
    clock.move(20 * DAY)
    forget(store, "events", events_before(store, 5))
    assert wanted in there(store)
    assert not {before, plain} & set(there(store))
    store.request_cancel(run.id)
    forget(store, "events", events_before(store, 5))
    assert wanted not in there(store)


def test_event_stays_for_a_run_that_was_interrupted_lately(store: Store, clock: ManualClock) -> None:
    a_run(store)
    wanted = happen(store, "paid", "order 1")
    clock.move(20 * DAY)
    assert [run.state for run in store.sweep()] == [State.CRASHED]
    forget(store, "events", events_before(store, 5))
    assert wanted in there(store)
    clock.move(7 * DAY)
    forget(store, "events", events_before(store, 5))
    assert wanted not in there(store)


def test_event_of_a_run_that_is_forgotten_stays_for_who_has_not_read_it(store: Store, clock: ManualClock) -> None:
    a_consumer(store)
    run = a_run(store)
    store.commit(run.id, 1, Commit(events=[an_event(run, "plain"), an_event(run, "user", key="")]))
    end(store, run)
    last = store.newest_event()
    clock.move(40 * DAY)
    store.prune(clock.now())
    assert store.find_runs(run.id) == []
    kinds = [each.event.kind for each in store.list_events(run.id)]
    assert {"plain", "user"} <= set(kinds)
    read_up_to(store, "consumer", last)
    other = ended(store)
    clock.move(1)
    store.prune(clock.now())
    assert store.find_runs(other.id) == []
    forget(store, "events", events_before(store, 5))
    assert store.list_events(run.id) == []


# --- log lines


def test_old_lines_go_though_their_run_is_kept(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    now = clock.now()
    logs = [a_log(run, n, first_at=now - (9 - n) * DAY * 1_000_000) for n in range(9)]
    store.commit(run.id, 1, Commit(logs=logs))
    forget(store, "logs", Cuts(logs=now - round(4.5 * DAY * 1_000_000)), limit=2)
    left = [batch.n for batch in store.read_logs(run.id)]
    assert left == [5, 6, 7, 8] or left == list(range(9)), "in PostgreSQL a day goes as a whole"


# --- what schedules, sensors and automations came to


def test_old_ticks_go_but_not_what_a_sensor_has_requested(store: Store, clock: ManualClock) -> None:
    rows = [Schedule(name=kind, deployment="d", project="p", kind=kind, spec="{}") for kind in ("time", "sensor")]
    store.put_project(a_project(), [a_deployed()], Timing(schedules=rows))
    for name, keys in (("time", ["1", "2", "3"]), ("sensor", ["look:1", "look:2", "file.csv"])):
        row = store.get_schedule(name)
        ticks = [Tick(schedule=name, key=key, outcome="skipped") for key in keys]
        assert store.decide([Decision(schedule=name, turn=row.turn, since=0, ticks=ticks)]) == [name]
    clock.move(10 * DAY)
    row = store.get_schedule("time")
    store.decide(
        [Decision(schedule="time", turn=row.turn, since=0, ticks=[Tick(schedule="time", key="4", outcome="skipped")])]
    )
    cuts = Cuts(ticks=clock.now() - 7 * DAY * 1_000_000)
    steps = forget(store, "ticks", cuts, limit=2)
    assert {(tick.schedule, tick.key) for tick in store.list_ticks()} == {("time", "4"), ("sensor", "file.csv")}
    assert [step.ticks for step in steps][:2] == [2, 2]
    store.remove_project("p")
    forget(store, "ticks", cuts)
    assert [tick.key for tick in store.list_ticks()] == ["4"]


def test_old_firings_go_but_not_one_that_is_still_to_be_carried_out(store: Store, clock: ManualClock) -> None:
    row = store.put_automation(AutomationRow(name="a", spec="{}"))
    now = clock.now()
    firings = [
        Firing(id="done", automation="a", key="1", at=now, state="done"),
        Firing(id="pending", automation="a", key="2", at=now, state="pending", next_at=now),
    ]
    made = Judgement(automation="a", turn=row.turn, state="{}", firings=firings)
    assert store.judge("automator", store.reader_at("automator"), store.newest_event(), [made])
    clock.move(20 * DAY)
    assert forget(store, "firings", Cuts(firings=clock.now()))[0].firings == 1
    assert [firing.id for firing in store.list_firings()] == ["pending"]


# --- runs, in steps


def test_rows_of_a_large_run_go_a_few_at_a_time_and_nobody_finds_it_meanwhile(store: Store, clock: ManualClock) -> None:
    run, other = a_run(store), a_run(store)
    for start in range(0, 60, 20):
        part = range(start, start + 20)
        logs = [a_log(run, 0, epoch=n) for n in part]
        store.commit(
            run.id, 1, Commit(task_runs=[a_task_run(run, n) for n in part], logs=logs, blobs=[f"{n:064}" for n in part])
        )
    store.commit(other.id, 1, Commit(task_runs=[a_task_run(other)], blobs=[f"{7:064}"]))
    end(store, run)
    clock.move(1)
    cuts = Cuts(runs=clock.now())
    assert store.remove(store.list_old(cuts).ids, cuts).runs == 1
    with pytest.raises(UnknownRunError):
        store.get_run(run.id)
    steps = forget(store, "leftovers", cuts, limit=7)
    assert len(steps) >= 60 * 2 / 7
    counts = store.info().counts
    assert (counts["run"], counts["task_run"], counts["log"], counts["blob"]) == (1, 1, 0, 1)
    gone = [digest for step in steps for digest in step.blobs]
    assert sorted(gone) == [f"{n:064}" for n in range(60) if n != 7]


def test_only_runs_that_were_named_go_and_only_if_they_still_may(store: Store, clock: ManualClock) -> None:
    origin, free = ended(store), ended(store)
    clock.move(1)
    cuts = Cuts(runs=clock.now())
    page = store.list_old(cuts)
    assert sorted(page.ids) == sorted([origin.id, free.id])
    fork = store.create(new_run(store, branch_of=origin.id))
    assert store.remove(page.ids, cuts).runs == 1
    assert store.get_run(origin.id).id == origin.id
    store.request_cancel(fork.id)
    clock.move(1)
    later = Cuts(runs=clock.now())
    assert store.remove([origin.id], later).runs == 0, "its fork was not named: perhaps it is not in the archive"
    assert store.remove([origin.id, fork.id], later).runs == 2


def test_looks_at_sensors_go_earlier_than_runs_even_one_that_crashed(store: Store, clock: ManualClock) -> None:
    store.put_project(a_project(), [a_deployed("s", kind="sensor"), a_deployed("d")])
    looks = [ended(store, state, kind="sensor", deployment="s") for state in (State.SUCCEEDED, State.CRASHED)]
    run = ended(store, deployment="d")
    live = store.create(new_run(store, kind="sensor", deployment="s"))
    clock.move(10 * DAY)
    young = ended(store, kind="sensor", deployment="s")
    cuts = Cuts(runs=clock.now() - 30 * DAY * 1_000_000, looks=clock.now() - 7 * DAY * 1_000_000)
    assert store.list_old(cuts).ids == []
    page = store.list_old(cuts, looks=True)
    assert sorted(page.ids) == sorted(look.id for look in looks)
    assert store.remove(page.ids, cuts).runs == 2
    assert [store.get_run(each.id).id for each in (run, live, young)] == [run.id, live.id, young.id]


def test_what_there_is_and_what_goes_next_is_told(store: Store, clock: ManualClock) -> None:
    a_consumer(store)
    ended(store)
    crashed = ended(store, State.CRASHED)
    started = clock.now()
    number = happen(store)
    clock.move(20 * DAY)
    ended(store)
    before = clock.now() - 5 * DAY * 1_000_000
    cuts = Cuts(runs=before, events=before)
    told = {each.name: each for each in store.list_kept(cuts)}
    assert (told["runs"].rows, told["runs"].going, told["runs"].oldest_at) == (3, 1, started)
    assert told["events"].before == before
    assert [(held.by, held.count > 0) for held in told["events"].held] == [("schedule consumer", True)]
    assert told["logs"].going == told["ticks"].going == 0
    read_up_to(store, "consumer", number)
    told = {each.name: each for each in store.list_kept(Cuts(runs=before, events=before, interrupted=True))}
    assert told["runs"].going == 2
    assert told["events"].going >= 1
    assert store.get_run(crashed.id).id == crashed.id


def test_a_class_that_there_is_not_is_named_with_the_nearest_one(store: Store) -> None:
    with pytest.raises(UsageError, match="events"):
        store.forget("event", Cuts())


def test_results_of_a_removed_run_are_named_with_its_leftovers(store: Store, clock: ManualClock) -> None:
    run = a_run(store)
    store.commit(run.id, 1, Commit(blobs=["aa"], end=RunEnd(state=State.SUCCEEDED, finished_at=clock.now())))
    clock.move(1)
    cuts = Cuts(runs=clock.now())
    assert store.remove([run.id], cuts).blobs == []
    assert [step.blobs for step in forget(store, "leftovers", cuts)] == [["aa"]]
