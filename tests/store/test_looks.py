"""What a look at a sensor came to is stored whole, once, and only by who holds its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.store.builders import a_worker, new_run

from ostinato.errors import StaleEpochError, UsageError
from ostinato.records import Commit, Run, RunEnd, RunFilter
from ostinato.states import State
from ostinato.timing import LOOK, Decision, Schedule, Tick, Timing
from ostinato.work import Deployed, Project

if TYPE_CHECKING:
    from ostinato.store.store import Store


@pytest.fixture
def look(store: Store) -> Run:
    """A look that is under way, number 1."""
    target = {"project": "demo", "target": "/demo/w.py:s"}
    deployed = [Deployed(name="s", flow="s", kind="sensor", **target), Deployed(name="load", flow="load", **target)]
    row = Schedule(name="s", deployment="s", kind="sensor", spec='{"every": 5}', cursor="0")
    store.put_project(Project(name="demo", root="/demo", host="box"), deployed, Timing(schedules=[row]))
    stored = store.get_schedule("s")
    worker = a_worker(store)
    run = new_run(
        store, flow="s", kind="sensor", created_by="schedule:s", state=State.RUNNING, worker_id=worker, epoch=1
    )
    asked = Decision(schedule="s", turn=stored.turn, runs=[run], since=0, next_at=9, read=1, cursor="0")
    assert store.decide([asked]) == ["s"]
    return store.get_run(run.id)


def report(store: Store, cursor: str = "5", *keys: str, read: int = 1, run: Run | None = None) -> Decision:
    runs = [new_run(store, flow="load", pool="default") for _ in keys]
    ticks = [
        Tick(schedule="s", key=key, outcome="started", run_id=run.id) for key, run in zip(keys, runs, strict=True)
    ] or [Tick(schedule="s", key=f"{LOOK}x", outcome="skipped", reason="nothing new")]
    return Decision(schedule="s", turn=-1, ticks=ticks, runs=runs, since=0, next_at=20, read=read, cursor=cursor)


def started(store: Store) -> int:
    return len(store.list_runs(RunFilter(flow="load")))


def test_a_report_is_stored_whatever_the_turn_is(store: Store, look: Run) -> None:
    store.pause_schedule("s", paused=True)
    assert store.report_look(look.id, look.epoch, report(store, "5", "a", "b"))
    row = store.get_schedule("s")
    assert (row.cursor, row.next_at, row.paused) == ("5", 20, True)
    assert started(store) == 2


def test_a_repeated_report_changes_nothing(store: Store, look: Run) -> None:
    told = report(store, "5", "a")
    assert store.report_look(look.id, look.epoch, told)
    assert store.report_look(look.id, look.epoch, told)
    assert started(store) == 1


def test_a_run_key_that_was_there_makes_no_second_run(store: Store, look: Run) -> None:
    store.report_look(look.id, look.epoch, report(store, "5", "a"))
    store.report_look(look.id, look.epoch, report(store, "6", "a", "b"))
    assert started(store) == 2
    assert store.get_schedule("s").cursor == "6"


def test_a_report_after_the_cursor_was_set_by_hand_is_left_out(store: Store, look: Run) -> None:
    changed = store.put_cursor("s", "100")
    assert (changed.cursor, changed.read) == ("100", 2)
    assert not store.report_look(look.id, look.epoch, report(store, "5", "a"))
    assert store.get_schedule("s").cursor == "100"
    assert started(store) == 0
    assert store.list_ticks("s") == []


def test_a_report_of_who_does_not_hold_the_run_is_refused(store: Store, look: Run) -> None:
    with pytest.raises(StaleEpochError, match="Nothing was written"):
        store.report_look(look.id, look.epoch + 1, report(store, "5", "a"))
    store.commit(look.id, look.epoch, Commit(end=RunEnd(state=State.SUCCEEDED, finished_at=1)))
    with pytest.raises(StaleEpochError):
        store.report_look(look.id, look.epoch, report(store, "5", "a"))
    assert store.get_schedule("s").cursor == "0"
    assert started(store) == 0


def test_a_run_that_is_no_look_at_it_reports_nothing(store: Store, look: Run) -> None:
    for changes in ({"kind": "flow"}, {"created_by": "schedule:other"}, {"created_by": None}):
        run = new_run(store, flow="s", state=State.RUNNING, worker_id=look.worker_id)
        for name, value in {"kind": "sensor", "created_by": "schedule:s", **changes}.items():
            setattr(run, name, value)
        held = store.create(run)
        with pytest.raises(StaleEpochError, match="no look at s"):
            store.report_look(held.id, held.epoch, report(store, "5", "a"))
    assert started(store) == 0


def test_a_skip_is_a_tick_and_no_event_a_failure_is_both(store: Store, look: Run) -> None:
    store.report_look(look.id, look.epoch, report(store))
    (tick,) = store.list_ticks("s")
    assert (tick.outcome, tick.reason) == ("skipped", "nothing new")
    failed = msgspec.structs.replace(
        report(store), ticks=[Tick(schedule="s", key=f"{LOOK}y", outcome="failed", reason="raised")]
    )
    store.report_look(look.id, look.epoch, failed)
    kinds = [each.event.kind for each in store.list_events() if each.event.kind.startswith(("sensor", "schedule"))]
    assert kinds == ["sensor.failed"]


def test_only_a_sensor_has_a_cursor(store: Store, look: Run) -> None:
    store.put_schedule(Schedule(name="timed", deployment="load", spec='{"every": 5}'))
    for name in ("timed", "nothing"):
        with pytest.raises(UsageError, match="no sensor"):
            store.put_cursor(name, "1")


def test_looks_are_listed_only_by_name_or_on_request(store: Store, look: Run) -> None:
    assert store.list_runs(RunFilter()) == []
    assert [run.id for run in store.list_runs(RunFilter(looks=True))] == [look.id]
    assert [run.id for run in store.list_runs(RunFilter(flow="s"))] == [look.id]
