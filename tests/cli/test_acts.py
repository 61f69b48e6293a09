"""`ostinato runs resume | retry | rerun | fork | cancel | mark`, and `debug`."""

from __future__ import annotations

import signal

import pytest


def _only(cli):
    return cli("runs", "list", "--json").data[0]


def test_a_killed_run_is_listed_as_crashed_and_resumes_from_its_last_finished_task(cli):
    assert cli("run", "shop.py", DIE="1").code == -signal.SIGKILL
    run = _only(cli)
    assert (run["state"], run["reason"]) == ("crashed", "lost")
    assert f"ostinato runs resume {run['id']}" in cli("runs", "list").out
    cli.done()
    said = cli("runs", "resume", run["id"], "--json")
    assert (said.code, said.data["state"], said.data["result"]) == (0, "succeeded", "Sum: 9.0")
    assert cli.done() == ["report", "sign"]


def test_a_script_that_was_killed_resumes_with_the_classes_it_pickled_as_main(cli):
    script = cli.folder / "shop.py"
    script.write_text(script.read_text() + "\nif __name__ == '__main__':\n    shop()\n")
    import subprocess
    import sys

    killed = subprocess.run(
        [sys.executable, "shop.py"],
        cwd=cli.folder,
        env=cli.environment | {"DIE": "1"},
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL
    cli.done()
    assert cli("runs", "resume", "latest", "--json").data["result"] == "Sum: 9.0"
    assert cli.done() == ["report", "sign"]


def test_resume_works_from_another_folder(cli):
    cli("run", "shop.py", DIE="1")
    elsewhere = cli.folder / "elsewhere"
    elsewhere.mkdir()
    cli.folder = elsewhere
    assert cli("runs", "resume", "latest").code == 0


@pytest.mark.parametrize(
    ("environment", "verb", "expected"),
    [
        ({}, ["resume"], "succeeded; it was not interrupted. To run a part of it again: `ostinato runs rerun"),
        ({"BAD": "1"}, ["resume"], "failed; it was not interrupted. To run what has not succeeded again: `ostinato"),
        ({}, ["retry"], "succeeded; there is nothing to retry"),
        ({}, ["cancel"], "has already ended"),
        ({}, ["rerun", "--from", "lod"], "Did you mean 'load'?"),
        ({}, ["fork", "--from", "lod"], "Did you mean 'load'?"),
    ],
)
def test_a_verb_that_does_not_fit_names_the_one_that_does(cli, environment, verb, expected):
    cli.run("shop.py", **environment)
    said = cli("runs", verb[0], "latest", *verb[1:])
    assert said.code == 1
    assert expected in said.err


def test_retry_runs_what_failed_and_keeps_what_succeeded(cli):
    run = cli.run("shop.py", BAD="1")
    assert run["state"] == "failed"
    cli.done()
    said = cli("runs", "retry", run["id"], "--json")
    assert (said.data["state"], said.data["attempt"]) == ("succeeded", 2)
    assert cli.done() == ["price 1", "report", "sign", "total"]


def test_rerun_stops_early_where_nothing_changed(cli):
    cli.run("shop.py")
    cli.done()
    assert cli("runs", "rerun", "latest", "--from", "load", "--json").data["result"] == "Sum: 9.0"
    assert cli.done() == ["load"]


def test_rerun_goes_on_where_the_result_changed(cli):
    cli.run("shop.py")
    cli.done()
    said = cli("runs", "rerun", "latest", "--from", "total", "--json", EXTRA="1")
    assert said.data["result"] == "Sum: 10.0"
    assert cli.done() == ["report", "sign", "total"]


def test_rerun_of_one_item_of_a_map_runs_only_that(cli):
    cli.run("shop.py")
    cli.done()
    assert cli("runs", "rerun", "latest", "--from", "price[2]").code == 0
    assert cli.done() == ["price 2"]


def test_rerun_with_all_runs_everything_that_depends_on_it(cli):
    cli.run("shop.py")
    cli.done()
    assert cli("runs", "rerun", "latest", "--from", "price[2]", "--all").code == 0
    assert {"price 2", "total"} <= set(cli.done())


def test_rerun_leaves_no_task_run_waiting_behind(cli):
    cli.run("shop.py")
    cli("runs", "rerun", "latest", "--from", "load")
    states = {row["state"] for row in cli("runs", "show", "latest", "--json").data["task_runs"]}
    assert states == {"succeeded"}


NESTED = """
import os
from pathlib import Path
from ostinato import flow, task

def note(text):
    with Path(os.environ["LEDGER"]).open("a") as file:
        file.write(text + "\\n")

@task
def inner(x: int) -> int:
    note(f"inner {x}")
    return x

@task
def other(x: int) -> int:
    note("other")
    return x

@task
def outer(x: int) -> int:
    note("outer")
    return inner(x) + other(x)

@task
def after(x: int) -> int:
    note("after")
    return x

@flow
def child(x: int) -> int:
    return inner(x + 100)

@flow
def nested() -> int:
    return after(outer(1)) + child(1)
"""


def test_rerun_of_a_nested_task_runs_its_caller_again_to_reach_it(cli):
    cli.write("nested.py", NESTED)
    cli.run("nested.py:nested")
    cli.done()
    assert cli("runs", "rerun", "latest", "--from", "inner").code == 0
    assert cli.done() == ["inner 1", "outer"]
    states = {row["state"] for row in cli("runs", "show", "latest", "--json").data["task_runs"]}
    assert states == {"succeeded"}


def test_rerun_of_a_child_flow_runs_its_tasks_again(cli):
    cli.write("nested.py", NESTED)
    cli.run("nested.py:nested")
    cli.done()
    assert cli("runs", "rerun", "latest", "--from", "child").code == 0
    assert cli.done() == ["inner 101"]


@pytest.mark.parametrize("verb", ["resume", "retry", "rerun", "fork"])
def test_a_child_run_is_taken_up_through_its_parent(cli, verb):
    cli.write("nested.py", NESTED)
    parent = cli.run("nested.py:nested")["id"]
    child = next(run for run in cli("runs", "list", "--all", "--json").data if run["parent_run_id"] == parent)
    more = ["--from", "inner"] if verb in {"rerun", "fork"} else []
    said = cli("runs", verb, child["id"], *more)
    assert said.code == 1
    assert f"ostinato runs {verb} {parent}" in said.err


def test_fork_reads_through_what_is_unchanged_and_takes_changed_parameters(cli):
    old = cli.run("shop.py")
    cli.done()
    said = cli("runs", "fork", old["id"], "--from", "report", "-p", "title=New", "--json")
    assert said.data["result"] == "New: 9.0"
    assert said.data["branch_of"] == old["id"]
    assert cli.done() == ["report"]
    assert cli("runs", "show", old["id"], "--json").data["result"] == "Sum: 9.0"
    rows = cli("runs", "show", said.data["id"], "--json").data["task_runs"]
    assert {row["run_id"] for row in rows if row["task"] == "shop.load"} == {old["id"]}


def test_fork_of_a_failed_run_does_not_repeat_its_failures(cli):
    old = cli.run("shop.py", BAD="1")
    said = cli("runs", "fork", old["id"], "--from", "load", "--json")
    assert said.data["state"] == "succeeded"


def test_fork_refuses_wrong_parameters_and_makes_no_run(cli):
    cli.run("shop.py")
    said = cli("runs", "fork", "latest", "--from", "report", "-p", "titel=x")
    assert said.code == 1
    assert "Did you mean 'title'?" in said.err
    assert len(cli("runs", "list", "--json").data) == 1


def test_a_marked_task_run_gives_its_value_to_what_depends_on_it(cli):
    run = cli.run("shop.py", BAD="1")
    said = cli("runs", "mark", run["id"], "price[1]", "succeeded", "--value", "50.0")
    assert (said.code, said.out.split(" of run ")[0]) == (0, "price[1]")
    cli.done()
    assert cli("runs", "retry", run["id"], "--json", BAD="1").data["result"] == "Sum: 56.0"
    assert "price 1" not in cli.done()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["price", "succeeded"], "'price' names 3 task runs; choose one: price[0]"),
        (["price[1]", "done"], "not as 'done'"),
        (["price[1]", "succeded"], "Did you mean 'succeeded'?"),
        (["price[1]", "succeeded", "--value", "x"], "is not JSON"),
        (["price[1]", "skipped", "--value", "1"], "Only a task run that is marked as succeeded has a value"),
    ],
)
def test_a_mark_that_makes_no_sense_is_refused(cli, arguments, expected):
    cli.run("shop.py")
    said = cli("runs", "mark", "latest", *arguments)
    assert said.code == 1
    assert expected in said.err


def test_debug_repeats_a_failure_with_the_recorded_inputs_and_journals_nothing(cli):
    cli.run("shop.py", BAD="1")
    before = cli("runs", "show", "latest", "--json").out
    cli.done()
    said = cli("debug", "latest", "price", BAD="1")
    assert said.code == 1
    assert "shop.price[1](order=Order(id=1, lines=[1.0, 1.0, 1.0]), rate=1.0)" in said.err
    assert "shop.price failed as it did in the run." in said.err
    assert cli.done() == ["price 1"]
    assert cli("runs", "show", "latest", "--json").out == before


def test_debug_takes_results_of_other_tasks_from_the_store(cli):
    cli.run("shop.py")
    cli.done()
    said = cli("debug", "latest", "total")
    assert (said.code, said.out) == (0, "9.0\n")
    assert cli.done() == ["total"]


def test_debug_enters_the_debugger_where_it_failed(cli):
    cli.run("shop.py", BAD="1")
    said = cli("debug", "latest", "price", "--pdb", typed="p order.id * 111\nq\n", BAD="1")
    assert "(Pdb) 111" in said.out


def test_debug_steps_from_the_first_line_of_the_task(cli):
    cli.run("shop.py")
    said = cli("debug", "latest", "price[2]", "--step", typed="p order.id * 111\nc\n")
    assert "(Pdb) 222" in said.out


def test_a_run_that_a_process_holds_is_refused_naming_it_and_can_be_cancelled(cli):
    cli.write(
        "slow.py",
        "import time\nfrom ostinato import flow, task\n@task\ndef wait():\n    print('waiting', flush=True)\n"
        "    time.sleep(30)\n@flow\ndef slow():\n    wait()\n",
    )
    process = cli.start("run", "slow.py", OSTINATO_DISPLAY="none")
    assert process.stdout.readline() == "waiting\n"
    refused = cli("runs", "retry", "latest")
    assert refused.code == 1
    assert f"process {process.pid} of this machine (cli) holds it since" in refused.err
    assert "is asked to stop" in cli("runs", "cancel", "latest").out
    watched = cli("runs", "watch", "latest")
    process.communicate(timeout=20)
    assert (process.returncode, watched.code) == (130, 130)
    assert cli("runs", "show", "latest", "--json").data["state"] == "cancelled"


def test_debug_takes_futures_from_the_store_also_inside_lists(cli):
    cli.write(
        "chain.py",
        "from ostinato import flow, task\n@task\ndef one(x: int) -> list[int]:\n    return [x] * 40\n"
        "@task\ndef both(pair: list[list[int]], more: list[int]) -> int:\n    return sum(map(sum, pair)) + sum(more)\n"
        "@flow\ndef chain() -> int:\n    a, b = one.submit(1), one.submit(2)\n    return both(pair=[a, b], more=b)\n",
    )
    assert cli.run("chain.py")["result"] == 200
    assert cli("debug", "latest", "both").out == "200\n"


def test_a_run_held_on_another_machine_says_when_it_is_free(cli):
    from ostinato.records import Run, Worker
    from ostinato.states import State
    from ostinato.store.open import open_store

    store = open_store(f"sqlite:///{cli.folder}/home/ostinato.db", lease=600)
    worker = Worker(
        id="w", kind="worker", host="elsewhere/1/2", pid=7, pid_started="1", version="", started_at=0, expires_at=0
    )
    store.register(worker)
    store.create(Run(id="held", flow="shop", state=State.RUNNING, epoch=1, lineage="held", worker_id="w"))
    store.close()
    said = cli("runs", "resume", "held")
    assert said.code == 1
    assert "process 7 on elsewhere (worker) holds it since" in said.err
    assert "If that machine is gone, the run is free in " in said.err
