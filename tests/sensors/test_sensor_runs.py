"""Looks at sensors by a real server and a real worker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.process import until

from ostinato.records import RunFilter

if TYPE_CHECKING:
    from tests.sensors.conftest import System


def test_what_is_new_is_requested_once(either_system: System) -> None:
    system = either_system
    system.deploy("counts")
    system.serve()
    system.bench.work()
    assert system.tick("counts", "skipped").reason == "no new numbers"
    system.say("numbers", "1\n2\n")
    until(lambda: len(system.runs("load")) == 2, lambda: f"{system.ticks('counts')}")
    system.say("numbers", "1\n2\n3\n")
    until(lambda: len(system.runs("load")) == 3, lambda: f"{system.ticks('counts')}")
    for run in system.runs("load"):
        system.bench.ended(run.id)
    assert sorted(system.parameters(run)["n"] for run in system.runs("load")) == [1, 2, 3]
    assert {tick.key for tick in system.ticks("counts", "started")} == {"n1", "n2", "n3"}
    assert json.loads(system.schedule("counts").cursor or "") == 3
    assert {run.created_by for run in system.runs("load")} == {"schedule:counts"}
    assert {system.trigger(run)["tick"] for run in system.runs("load")} == {"n1", "n2", "n3"}


def test_an_async_sensor_with_a_cursor_of_plain_data_looks_too(system: System) -> None:
    system.deploy("counts_async")
    system.say("numbers", "5\n6\n")
    system.serve()
    system.bench.work()
    until(lambda: len(system.runs("load")) == 2, lambda: f"{system.ticks('counts_async')}")
    assert json.loads(system.schedule("counts_async").cursor or "") == {"seen": [5, 6]}


def test_one_run_key_makes_one_run_however_often_it_is_requested(system: System) -> None:
    system.deploy("repeats")
    system.serve()
    system.bench.work()
    until(lambda: len(system.runs("repeats")) >= 4, "four looks")
    assert [system.parameters(run)["n"] for run in system.runs("load")] == [7]


def test_a_sensor_that_raises_is_a_failed_tick_and_its_cursor_stays(either_system: System) -> None:
    system = either_system
    system.deploy("raises")
    system.serve()
    system.bench.work()
    tick = system.tick("raises", "failed", "raised")
    assert "the share is not mounted" in json.loads(tick.data)["error"]
    until(lambda: len(system.ticks("raises", "failed")) >= 2, "the next look, as usual")
    row = system.schedule("raises")
    assert row.cursor is None
    assert row.trouble == "ValueError: the share is not mounted"
    assert system.runs("load") == []
    failed = [found.event for found in system.store.list_events(limit=10_000) if found.event.kind == "sensor.failed"]
    assert failed
    assert "not mounted" in failed[0].data


def test_a_sensor_that_hangs_is_ended(system: System) -> None:
    system.deploy("hangs")
    system.serve()
    system.bench.work()
    tick = system.tick("hangs", "failed", "timed_out")
    assert "0.3 s" in json.loads(tick.data)["error"]
    assert system.schedule("hangs").cursor is None


def test_a_sensor_that_ends_its_process_is_a_failed_tick(system: System) -> None:
    system.deploy("exits")
    system.serve()
    system.bench.work()
    tick = system.tick("exits", "failed")
    assert json.loads(tick.data)["error"]
    assert system.schedule("exits").cursor is None


def test_of_refused_requests_the_others_start_and_the_cursor_moves(either_system: System) -> None:
    system = either_system
    system.deploy("asks_wrongly")
    system.serve()
    system.bench.work()
    system.tick("asks_wrongly", "skipped", "done")
    assert [system.parameters(run)["n"] for run in system.runs("load")] == [6]
    refused = {json.loads(tick.data)["key"]: json.loads(tick.data) for tick in system.ticks("asks_wrongly", "failed")}
    assert "n: must be integer, got str ('five')" in refused["five"]["error"]
    assert "no_such_flow" in refused["lost"]["error"]
    assert {tick.reason for tick in system.ticks("asks_wrongly", "failed")} == {"refused"}
    assert json.loads(system.schedule("asks_wrongly").cursor or "") == "asked"


def test_a_sensor_that_gives_something_else_is_told_what_it_may_give(system: System) -> None:
    system.deploy("gives_nonsense")
    system.serve()
    system.bench.work()
    tick = system.tick("gives_nonsense", "failed", "raised")
    assert "must give RunRequest(...)s or Skip(...), it gave 'soon'" in json.loads(tick.data)["error"]


def test_looks_are_hidden_unless_they_are_asked_for(system: System) -> None:
    system.deploy("counts")
    system.serve()
    system.bench.work()
    system.tick("counts", "skipped")
    assert system.store.list_runs(RunFilter()) == []
    assert {run.kind for run in system.store.list_runs(RunFilter(looks=True))} == {"sensor"}
    assert system.runs("counts")


def test_a_cursor_set_by_hand_is_not_overwritten_by_a_look_under_way(system: System) -> None:
    system.deploy("waits_to_be_let_go")
    system.serve()
    system.bench.work()
    system.bench.begun("looks None")
    system.store.put_cursor("waits_to_be_let_go", '"by hand"')
    system.say("go", "")
    system.bench.begun("looks by hand")
    until(lambda: system.schedule("waits_to_be_let_go").cursor == '"by hand+"', "the next look's cursor", 10)
    assert "None" not in " ".join(system.bench.lines()[1:])
    first = system.runs("waits_to_be_let_go")[-1]
    assert system.bench.ended(first.id).state == "skipped"
    assert first.id not in {system.trigger(run)["look"] for run in system.runs("load")}


def test_a_paused_sensor_is_not_looked_at(system: System) -> None:
    system.deploy("counts", "repeats")
    system.store.pause_schedule("counts", paused=True)
    system.serve()
    system.bench.work()
    until(lambda: len(system.runs("repeats")) >= 3, "looks at another")
    assert system.runs("counts") == []
