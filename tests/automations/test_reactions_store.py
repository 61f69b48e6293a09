"""The store's verbs for automations and deadlines, on SQLite, PostgreSQL and over HTTP."""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.store.builders import a_deployed, a_project, a_run, end, ended, new_run
from tests.store.conftest import clock, kind, opener, serve, store, url  # noqa: F401

from ostinato.clock import SECOND
from ostinato.errors import UnknownNameError, UsageError
from ostinato.records import Event
from ostinato.states import State
from ostinato.timing import AutomationRow, Deadline, Firing, Judgement, Timing


def row(name="alarm", spec="{}", **fields):
    return AutomationRow(name=name, spec=spec, **fields)


def happen(store, kind="x.y", key=""):
    store.emit([Event(at=store.now(), kind=kind, run_id="", key=key)])
    return newest(store)


def newest(store):
    return store.list_events(None, limit=1000)[-1].id if store.list_events(None, limit=1) else 0


def firing(store, name="f1", **fields):
    values = {"automation": "alarm", "key": "etl", "at": store.now(), "state": "pending", "next_at": store.now()}
    return Firing(id=name, **(values | fields))


def judged(store, name="alarm", **fields):
    there = next(each for each in store.list_automations() if each.name == name)
    return Judgement(**({"automation": name, "turn": there.turn, "state": '{"n": 1}'} | fields))


# --- automations


def test_an_automation_begins_with_the_events_after_it_and_is_looked_at_once(store):
    last = happen(store)
    before = store.survey()
    stored = store.put_automation(row())
    assert (stored.after, stored.state, stored.next_at) == (last, "{}", store.now())
    assert store.list_automations() == [stored]
    after = store.survey()
    assert after.automations > before.automations
    assert after.next_alarm_at == store.now()


def test_an_automation_that_is_put_again_remembers_unless_its_spec_changed(store):
    store.put_automation(row())
    assert store.judge("r", store.reader_at("r"), 5, [judged(store, next_at=77)])
    store.pause_automation("alarm", paused=False, silenced_until=99)
    same = store.put_automation(row(description="new"))
    assert (same.state, same.next_at, same.silenced_until, same.description) == ('{"n": 1}', 77, 99, "new")
    last = happen(store)
    other = store.put_automation(row(spec='{"a": 1}'))
    assert (other.state, other.after, other.silenced_until) == ("{}", last, 99)


def test_a_project_declares_automations_and_takes_them_back(store):
    def deploy(*rows, project="p"):
        store.put_project(
            a_project(project), [a_deployed(f"d{project}", project=project)], Timing(automations=list(rows))
        )

    deploy(row("a"), row("b", paused=True))
    assert [(each.name, each.project, each.paused) for each in store.list_automations()] == [
        ("a", "p", False),
        ("b", "p", True),
    ]
    store.pause_automation("a", paused=True)
    deploy(row("a"), row("c"))
    assert [(each.name, each.paused) for each in store.list_automations()] == [("a", True), ("c", False)]
    with pytest.raises(UsageError, match="'p' declares an automation 'a' already"):
        deploy(row("a"), project="q")
    with pytest.raises(UsageError, match="The project 'p' declares the automation 'a'"):
        store.put_automation(row("a"))
    with pytest.raises(UsageError, match="Take it out of its code"):
        store.remove_automation("a")
    store.remove_project("p")
    assert store.list_automations() == []


def test_what_one_has_made_by_hand_can_be_removed_and_names_the_nearest(store):
    store.put_automation(row())
    store.remove_automation("alarm")
    assert store.list_automations() == []
    store.put_automation(row("alarms"))
    for act in (lambda: store.remove_automation("alarm"), lambda: store.pause_automation("alarm", paused=True)):
        with pytest.raises(UnknownNameError, match="Did you mean 'alarms'"):
            act()


def test_events_of_a_pause_are_no_concern_of_an_automation_afterwards(store):
    store.put_automation(row())
    store.judge("r", store.reader_at("r"), 5, [judged(store)])
    store.pause_automation("alarm", paused=True)
    assert store.survey().next_alarm_at is None
    last = happen(store)
    resumed = store.pause_automation("alarm", paused=False)
    assert (resumed.after, resumed.state, resumed.next_at) == (last, "{}", store.now())


# --- judging


def test_a_new_reader_begins_at_the_newest_event(store):
    last = happen(store)
    assert store.reader_at("r") == last
    happen(store)
    assert store.reader_at("r") == last


def test_of_two_judgements_from_the_same_place_one_is_stored(store):
    store.put_automation(row())
    read = store.reader_at("r")
    first = judged(store, firings=[firing(store)])
    second = judged(store, firings=[firing(store, "f2")])
    assert store.judge("r", read, read + 10, [first]) is True
    assert store.judge("r", read, read + 10, [second]) is False
    assert [each.id for each in store.list_firings()] == ["f1"]
    assert store.reader_at("r") == read + 10


def test_a_judgement_that_knows_less_than_all_automations_is_refused(store):
    store.put_automation(row())
    known, read = store.reader_at("automations"), store.reader_at("r")
    store.put_automation(row("other"))
    assert store.judge("r", read, read + 1, [judged(store)], known=known) is False
    assert store.reader_at("r") == read
    assert store.judge("r", read, read + 1, [judged(store)], known=store.reader_at("automations")) is True


def test_a_judgement_of_an_automation_that_was_changed_undoes_all_of_it(store):
    store.put_automation(row())
    store.put_automation(row("other"))
    read = store.reader_at("r")
    stale = judged(store, "other", firings=[firing(store, "f2", automation="other")])
    store.pause_automation("other", paused=True)
    assert store.judge("r", read, read + 1, [judged(store, firings=[firing(store)]), stale]) is False
    assert store.list_firings() == []
    assert store.reader_at("r") == read


def test_a_firing_tells_an_event_unless_nothing_is_done_about_it(store):
    store.put_automation(row())
    made = [firing(store), firing(store, "f2", state="duplicate", next_at=None)]
    store.judge("r", store.reader_at("r"), 1, [judged(store, firings=made)])
    told = [each.event for each in store.list_events(None) if each.event.kind.startswith("automation.")]
    assert [(event.kind, json.loads(event.data)["firing"]) for event in told] == [("automation.fired", "f1")]


# --- firings


def given(store, *firings):
    if not store.list_automations():
        store.put_automation(row())
    assert store.judge("r", store.reader_at("r"), store.reader_at("r"), [judged(store, firings=list(firings))])


def test_firings_are_listed_newest_first_and_by_pages(store):
    given(store, *(firing(store, f"f{n}", at=n, next_at=100 - n) for n in range(5)))
    assert [each.id for each in store.list_firings(limit=2)] == ["f4", "f3"]
    assert [each.id for each in store.list_firings(before="f3", limit=2)] == ["f2", "f1"]
    assert store.list_firings("other") == []
    assert [each.id for each in store.list_firings(due_before=98)] == ["f4", "f3", "f2"]
    assert store.survey().next_alarm_at == 96


def test_of_two_who_claim_a_firing_one_has_it(store):
    given(store, firing(store, next_at=5))
    found = store.get_firing("f1")
    claimed = msgspec.structs.replace(found, next_at=50)
    assert store.put_firing(claimed, next_at=5) is True
    assert store.put_firing(claimed, next_at=5) is False
    done = msgspec.structs.replace(claimed, state="done", next_at=None)
    assert store.put_firing(done, next_at=50) is True
    assert store.get_firing("f1").state == "done"
    assert store.list_firings(due_before=10**18) == []


def test_an_acknowledgement_outlives_what_becomes_of_the_firing(store):
    given(store, firing(store, next_at=5))
    before = store.get_firing("f1")
    store.acknowledge("f1", "ada")
    store.acknowledge("f1", "bob")
    store.put_firing(msgspec.structs.replace(before, state="done", next_at=None), next_at=5)
    found = store.get_firing("f1")
    assert (found.state, found.acknowledged_by, found.acknowledged_at) == ("done", "ada", store.now())
    with pytest.raises(UnknownNameError, match="no firing 'f9'"):
        store.acknowledge("f9", "ada")


# --- deadlines


def late(store):
    return [
        (event.run_id, json.loads(event.data)["kind"], json.loads(event.data)["by"]) for event in store.pass_deadlines()
    ]


def test_a_run_that_misses_a_deadline_is_late_once(store, clock):
    run, now = store.create(new_run(store)), store.now()
    store.put_deadlines(
        [
            Deadline(run_id=run.id, kind="start", due_at=now + 5 * SECOND),
            Deadline(run_id=run.id, kind="end", due_at=now + 60 * SECOND),
        ]
    )
    assert store.survey().next_alarm_at == now + 5 * SECOND
    assert late(store) == []
    clock.move(7)
    assert late(store) == [(run.id, "start", 2.0)]
    assert late(store) == []
    clock.move(60)
    assert late(store) == [(run.id, "end", 7.0)]
    assert store.survey().next_alarm_at is None
    kinds = [each.event.kind for each in store.list_events(run.id)]
    assert kinds.count("run.late") == 2


def test_a_deadline_that_was_kept_or_whose_run_was_never_made_says_nothing(store, clock):
    now = store.now()
    run = a_run(store, started_at=now)
    over = ended(store, State.CANCELLED, finished_at=now + 1)
    rows = [(run.id, "start"), (over.id, "start"), (over.id, "end"), ("never", "end")]
    store.put_deadlines([Deadline(run_id=run_id, kind=kind, due_at=now + 5) for run_id, kind in rows])
    clock.move(1)
    assert late(store) == []
    assert store.survey().next_alarm_at is None


def test_a_run_that_ended_after_its_deadline_is_late_though_nobody_looked_in_time(store, clock):
    run = a_run(store, started_at=store.now())
    store.put_deadlines([Deadline(run_id=run.id, kind="end", due_at=store.now() + SECOND)])
    clock.move(3)
    end(store, run)
    clock.move(3600)
    assert late(store) == [(run.id, "end", 2.0)]


def test_many_deadlines_are_passed_a_few_at_a_time(store, clock):
    run = store.create(new_run(store))
    runs = [run, *(store.create(new_run(store)) for _ in range(4))]
    store.put_deadlines([Deadline(run_id=each.id, kind="end", due_at=store.now() + n) for n, each in enumerate(runs)])
    clock.move(1)
    assert [len(store.pass_deadlines(limit=2)) for _ in range(4)] == [2, 2, 1, 0]


def test_durations_are_those_of_the_last_successes(store):
    for seconds, state in ((10, State.SUCCEEDED), (20, State.SUCCEEDED), (99, State.FAILED)):
        ended(store, state, flow="f", deployment="d", started_at=0, finished_at=seconds * SECOND)
    ended(store, flow="f", started_at=0, finished_at=5 * SECOND)
    assert sorted(store.past_durations("f", "d")) == [10, 20]
    assert store.past_durations("f", None) == [5]
    assert store.past_durations("f", "d", last=1) in ([10], [20])


def test_runs_are_found_together(store):
    runs = [store.create(new_run(store)) for _ in range(3)]
    wanted = [runs[0].id, runs[2].id, "gone"]
    assert {run.id for run in store.get_runs(wanted)} == {runs[0].id, runs[2].id}
    assert store.get_runs([]) == []
