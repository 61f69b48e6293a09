"""Waits with everything real: a server and workers in processes of their own, killed, restarted, deployed anew."""

from __future__ import annotations

import json
import random
import signal
import time
from typing import TYPE_CHECKING

from tests.process import Script, until

from ostinato.records import RunFilter

if TYPE_CHECKING:
    from tests.waits.conftest import WaitingTown


def test_a_wait_holds_no_process_and_survives_worker_server_and_a_deploy(any_waiting_town: WaitingTown) -> None:
    town = any_waiting_town
    town.work("default")
    run_id = town.start("waits", "-p", "key=k")
    (wait,) = town.waits(run_id)
    assert (wait.kind, wait.key, town.run(run_id).worker_id, town.run(run_id).reason) == (
        "event",
        "landed\nk",
        None,
        "event",
    )
    town.kill("default")
    town.kill("server")
    town.serve()
    changed = town.file.read_text().replace('near("begun")\n    received', 'near("more"); near("begun")\n    received')
    assert changed != town.file.read_text()
    town.file.write_text(changed)
    town.cli("deploy", "project")
    town.work("default")
    town.emit("landed", "other", '"not this"')
    assert town.is_(run_id, "waiting").worker_id is None
    town.emit("landed", "k", '{"n": 1}')
    assert town.value(run_id) == {"n": 1}
    assert (town.lines().count("begun"), town.lines().count("more")) == (1, 1)
    assert town.run(run_id).recoveries == 0


def test_an_event_that_came_before_the_wait_but_after_the_run_is_not_lost(any_waiting_town: WaitingTown) -> None:
    town = any_waiting_town
    town.emit("landed", "k", '"before there was a run"')
    run_id = town.start("waits", "-p", "key=k")
    town.emit("landed", "k", '"first"')
    town.emit("landed", "k", '"second"')
    town.work("default")
    assert town.value(run_id) == "first"


def test_a_sleep_is_over_when_it_was_to_be_whatever_happened_meanwhile(any_waiting_town: WaitingTown) -> None:
    town = any_waiting_town
    town.work("default")
    run_id = town.start("sleeps", "-p", "seconds=4")
    (wait,) = town.waits(run_id)
    assert wait.kind == "timer"
    town.kill("default")
    town.kill("server")
    town.serve()
    town.work("default")
    woke = town.value(run_id)
    assert 0 <= woke - wait.due_at / 1e6 < 3
    assert town.lines().count("begun") == 1


def test_several_waits_at_once_go_on_when_each_has_what_it_waits_for(any_waiting_town: WaitingTown) -> None:
    town = any_waiting_town
    town.work("default")
    run_id = town.start("gathers")
    assert len(town.waits(run_id)) == 3
    town.emit("landed", "b", '"B"')
    until(lambda: len(town.store.list_waits(run_id)) == 1, lambda: str(town.store.list_waits(run_id)))
    town.emit("landed", "a", '"A"')
    assert town.value(run_id) == ["A", "B"]
    assert town.lines().count("begun") == 1


def test_what_does_not_come_in_time_is_an_error_the_same_in_every_pass(waiting_town: WaitingTown) -> None:
    town = waiting_town
    town.work("default")
    run_id = town.start("gives_up", "-p", "seconds=1.5")
    assert town.waits(run_id)[0].due_at is not None
    town.says("gave up")
    town.kill("default")
    town.emit("landed", "never")
    town.work("default")
    town.allow("late")
    assert "No event landed with the key 'never' came in time" in town.value(run_id)
    assert town.lines().count("gave up") == 1


def test_people_answer_and_the_run_goes_on(any_waiting_town: WaitingTown) -> None:
    town = any_waiting_town
    town.work("default")
    run_id = town.start("asks", "-p", "needed=2")
    town.waits(run_id)
    assert town.run(run_id).reason == "question"
    (ask,) = town.store.list_asks()
    assert (ask.run_id, ask.title, ask.description, ask.needed) == (run_id, "Ship it?", "May it go out?", 2)
    assert json.loads(ask.schema)["required"] == ["ok"]
    town.store.answer(ask.id, "user:ada", '{"ok": true, "note": "fine"}')
    assert town.is_(run_id, "waiting").worker_id is None
    town.store.answer(ask.id, "user:bob", '{"ok": false}')
    assert town.value(run_id) == [["user:ada", True, "fine"], ["user:bob", False, ""]]
    assert town.lines().count("begun") == 1


def test_a_question_that_nobody_answers_in_time_expires(waiting_town: WaitingTown) -> None:
    town = waiting_town
    town.work("default")
    run_id = town.start("asks_in_time", "-p", "seconds=1.5")
    town.waits(run_id)
    assert "Nobody has answered the question 'bool?' in time" in town.value(run_id)
    until(lambda: town.store.list_asks() == [], "the question to expire")
    assert [ask.state for ask in town.store.list_asks(is_open=False)] == ["expired"]


def test_a_question_of_a_run_that_is_cancelled_is_withdrawn(waiting_town: WaitingTown) -> None:
    town = waiting_town
    town.work("default")
    run_id = town.start("asks", "-p", "needed=1")
    town.waits(run_id)
    town.cli("runs", "cancel", run_id)
    assert [ask.state for ask in town.store.list_asks(is_open=False)] == ["withdrawn"]


def test_a_body_that_is_run_again_emits_once(any_waiting_town: WaitingTown) -> None:
    town = any_waiting_town
    town.work("default")
    first, second = town.start("waits", "-p", "key=e"), ""
    town.waits(first)
    run_id = town.start("emits", "-p", "key=e")
    town.says("emitted")
    town.kill("default")
    town.work("default", slots=2)
    second = town.start("waits", "-p", "key=e")
    town.allow("emit")
    assert town.value(run_id) == 2
    assert town.value(first) == {"n": 1}
    assert town.value(second) == {"n": 2}
    found = [event for event in town.store.list_events(limit=1000) if event.event.kind == "landed"]
    assert [event.event.data for event in found] == ['{"n":1}', '{"n":2}']
    assert {event.event.run_id for event in found} == {run_id}


def test_a_wait_inside_a_task_keeps_its_process(waiting_town: WaitingTown) -> None:
    town = waiting_town
    town.work("default", slots=2)
    run_id, other = town.start("waits_in_a_task"), town.start("waits_in_async_tasks")
    town.says("in t2")
    time.sleep(1.0)  # five times what a body may rest before it gives up its process
    assert town.run(run_id).state == town.run(other).state == "running"
    town.emit("landed", "task", "7")
    for key in ("t2", "t1"):
        town.emit("landed", key, f'"{key}"')
    assert (town.value(run_id), town.value(other)) == (7, ["t1", "t2"])
    assert town.lines().count("in t1") == 1


def test_a_script_waits_in_its_process_and_goes_on_after_kill(waiting_town: WaitingTown) -> None:
    town = waiting_town
    town.kill("server")
    script = Script(town.file, "waits", "s", env=town.env)
    (run,) = until(lambda: town.store.list_runs(RunFilter()), "the run")
    until(lambda: [row for row in town.store.list_task_runs(run.id) if row.kind == "wait"], "the wait to be on record")
    script.signal(signal.SIGKILL)
    script.wait()
    town.emit("landed", "s", '"while it was down"')
    until(lambda: town.store.sweep() or town.run(run.id).state == "crashed", "the script to be missed")
    town.cli_here("runs", "resume", run.id)
    assert town.value(run.id) == "while it was down"
    assert town.lines().count("begun") == 1


def test_every_event_is_taken_once_and_in_order_while_workers_are_killed(any_waiting_town: WaitingTown) -> None:
    town, dice = any_waiting_town, random.Random(7)
    town.work("default")
    run_id = town.start("takes", "-p", "count=30")
    for n in range(30):
        town.emit("numbered", "x", str(n))
        if dice.random() < 0.15:
            town.kill("default")
            town.work("default")
        if dice.random() < 0.5:
            time.sleep(dice.random() * 0.4)
    assert town.value(run_id, 90) == list(range(30))
    took = [line for line in town.lines() if line.startswith("took")]
    assert set(took) == {f"took {n}" for n in range(30)}
    assert town.run(run_id).state == "succeeded"
