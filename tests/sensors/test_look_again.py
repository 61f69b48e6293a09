"""A look that has reported and whose process is killed before its run ends does not look again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.store.builders import a_worker
from tests.store.conftest import clock, kind, opener, serve, store, url  # noqa: F401

from ostinato.io.results import ResultStore
from ostinato.outcomes import Skip
from ostinato.records import RunFilter
from ostinato.runtime.lone_sensor import _Looking
from ostinato.runtime.sensing import decide_look
from ostinato.runtime.ticking import Desk
from ostinato.sensors import RunRequest, sensor
from ostinato.states import State
from ostinato.timing import Schedule, Timing
from ostinato.work import Deployed, Offer, Project

if TYPE_CHECKING:
    from pathlib import Path

    from ostinato.clock import ManualClock
    from ostinato.store.store import Store

called = []


@sensor(every=5)
def asks_each_time() -> Any:
    called.append(1)
    return [RunRequest("load")]


def test_a_look_that_is_taken_up_again_after_its_report_does_nothing(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    target = {"project": "demo", "target": "/demo/w.py:s"}
    deployed = [Deployed(name="s", flow="s", kind="sensor", **target), Deployed(name="load", flow="load", **target)]
    row = Schedule(name="s", deployment="s", kind="sensor", spec='{"every": 5}')
    store.put_project(Project(name="demo", root="/demo", host="box"), deployed, Timing(schedules=[row]))
    results = ResultStore(str(tmp_path / "results"))
    session: Any = SimpleNamespace(store=store, results=results, clock=clock)

    store.decide([decide_look(store.get_schedule("s"), clock.now(), Desk(store, results))])
    a_worker(store, "w1", pools=["default"], slots=1)
    (claim,) = store.claim("w1", Offer(pools=["default"], slots=1))
    called.clear()
    assert _Looking(session, claim.run, asks_each_time).look() == {"requested": 1, "refused": 0}

    store.sweep(["w1"])  # its process is gone: the run is queued again
    a_worker(store, "w2", pools=["default"], slots=1)
    offered = store.claim("w2", Offer(pools=["default"], slots=5))
    again = next(each.run for each in offered if each.run.id == claim.run.id)
    assert again.epoch > claim.run.epoch
    assert isinstance(_Looking(session, again, asks_each_time).look(), Skip)
    assert len(called) == 1
    assert len(store.list_runs(RunFilter(flow="load"))) == 1
    assert store.get_run(again.id).state is State.RUNNING


def test_a_look_is_asked_for_once_while_one_is_open(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    deployed = [Deployed(name="s", flow="s", kind="sensor", project="demo", target="/demo/w.py:s")]
    row = Schedule(name="s", deployment="s", kind="sensor", spec='{"every": 5}')
    store.put_project(Project(name="demo", root="/demo", host="box"), deployed, Timing(schedules=[row]))
    desk = Desk(store, ResultStore(str(tmp_path / "results")))
    for _ in range(5):
        store.decide([decide_look(store.get_schedule("s"), clock.now(), desk)])
        clock.move(5)
    assert len(store.list_runs(RunFilter(flow="s"))) == 1
    (run,) = store.list_runs(RunFilter(flow="s"))
    store.request_cancel(run.id)
    store.decide([decide_look(store.get_schedule("s"), clock.now(), desk)])
    (tick,) = store.list_ticks("s")
    assert (tick.outcome, tick.reason) == ("failed", "cancelled")
    store.decide([decide_look(store.get_schedule("s"), clock.now(), desk)])
    assert len(store.list_runs(RunFilter(flow="s"))) == 2
