"""`ostinato deployments | workers | pools | events | users | tokens`, and what doctor says of a deployment."""

from __future__ import annotations

from contextlib import closing

import pytest
from tests.serving import running
from tests.store.builders import new_run

from ostinato.clock import SECOND, ManualClock
from ostinato.records import Worker
from ostinato.settings import Settings
from ostinato.states import State
from ostinato.store.open import open_store
from ostinato.work import Deployed, Project


@pytest.fixture
def stored(cli):
    store = open_store(f"sqlite:///{cli.folder}/home/ostinato.db", durability="crash-safe")
    yield store
    store.close()


SCHEMA = '{"type": "object", "properties": {"cities": {"type": "array", "items": {"type": "string"}}, "n": {"type": "integer"}, "name": {"type": "string"}}, "required": ["n"], "additionalProperties": false}'


@pytest.fixture
def deployed(stored):
    weather = Deployed(
        name="weather", flow="weather", project="demo", target="/demo/w.py:weather", schema=SCHEMA,
        parameters='{"n": 1}', updated_at=stored.now(),
    )  # fmt: skip
    errors = '{"/demo/broken.py": "Traceback\\nNameError: nothing"}'
    stored.put_project(Project(name="demo", root="/demo", host="box", errors=errors), [weather])
    return stored


def _worker(store, name="w1", **fields):
    values = {"kind": "worker", "host": "box", "pid": 42, "pid_started": "", "version": "0", "pools": ["default"]}
    store.register(Worker(id=name, started_at=store.now(), expires_at=0, slots=4, **(values | fields)))


def test_deployments_are_listed_shown_paused_and_removed(cli, deployed):
    assert cli("deployments", "list", "--json").data[0]["name"] == "weather"
    assert "weather" in cli("deployments", "list").out
    shown = cli("deployments", "show", "weather").out
    assert "array of string" in shown
    assert "w.py:weather" in shown
    assert "ostinato deployments resume weather" in cli("deployments", "pause", "weather").out
    assert deployed.get_deployed("weather").paused
    cli("deployments", "resume", "weather")
    assert not deployed.get_deployed("weather").paused
    assert "Did you mean 'demo'?" in cli("deployments", "remove", "dem").err
    assert cli("deployments", "remove", "demo", "--json").data == {"project": "demo", "deployments": ["weather"]}


def test_an_unknown_deployment_is_refused_with_the_nearest(cli, deployed):
    said = cli("deployments", "show", "wether")
    assert said.code == 1
    assert "weather" in said.err


def test_start_puts_a_run_into_the_queue_with_values_read_by_the_schema(cli, deployed):
    run = cli("start", "weather", "-p", "n=3", "-p", "name=5", "-p", 'cities=["Oslo"]', "--json").data
    assert (run["state"], run["pool"], run["deployment"]) == ("queued", "default", "weather")
    assert run["parameters"] == {"n": 3, "name": "5", "cities": ["Oslo"]}
    assert run["created"]


def test_start_refuses_parameters_field_by_field_and_makes_no_run(cli, deployed):
    said = cli("start", "weather", "-p", "n=many", "-p", "citis=[]")
    assert said.code == 1
    assert "n: must be integer, got str ('many')" in said.err
    assert "Did you mean 'cities'?" in said.err
    assert cli("runs", "list", "--json").data == []


def test_start_says_which_kind_of_text_was_expected_and_where(cli):
    cli.write(
        "project/dated.py",
        "from datetime import date\nfrom ostinato import flow\n\n@flow\n"
        "def dated(day: date | None = None, names: list[str] = []) -> None: ...\n",
    )
    cli("deploy", "project")
    said = cli("start", "dated", "-p", "day=2013-13-45", "-p", "names=[1]")
    assert "day: must be date or null, got str ('2013-13-45')" in said.err
    assert "names: [0] must be string, got int (1)" in said.err


def test_start_says_when_no_worker_serves_the_pool(cli, deployed):
    _worker(deployed, pools=["default"])
    assert "No worker serves" not in cli("start", "weather").out
    said = cli("start", "weather", "--pool", "nope").out
    assert "No worker serves that pool now. Start one: ostinato worker --pool nope" in said


def test_start_refuses_a_queue_that_nobody_has_declared(cli, deployed):
    cli("pools", "create", "default", "nightly")
    assert cli("start", "weather", "--queue", "nightly").code == 0
    said = cli("start", "weather", "--queue", "nightlie")
    assert said.code == 1
    assert "Work pool default has no queue 'nightlie'. Did you mean 'nightly'?" in said.err
    assert "ostinato pools create default nightlie" in said.err
    assert len(cli("runs", "list", "--json").data) == 1


def test_start_with_a_key_gives_the_same_run_again(cli, deployed):
    first, second = (cli("start", "weather", "--key", "k1", "--json").data for _ in range(2))
    assert (first["id"], second["created"]) == (second["id"], False)


def test_start_later_is_scheduled_and_says_so_in_runs_why(cli, deployed):
    run = cli("start", "weather", "--at", "10min", "--json").data
    assert run["state"] == "scheduled"
    assert "It is to start in" in cli("runs", "why", run["id"]).out
    assert "is no time" in cli("start", "weather", "--at", "soonish").err


def test_a_run_of_a_pool_is_queued_again_by_retry(cli, deployed):
    run = cli("start", "weather", "--json").data["id"]
    cli("runs", "cancel", run)
    said = cli("runs", "retry", run)
    assert said.code == 0
    assert "is queued in pool default" in said.out
    assert deployed.get_run(run).state is State.QUEUED
    assert deployed.find_ticket(run) is not None


def test_workers_are_listed_and_drained(cli, stored):
    assert "ostinato worker" in cli("workers", "list").out
    _worker(stored, "w1abc", resources='{"memory": 1e9, "gpu": 1}')
    (found,) = cli("workers", "list", "--json").data
    assert (found["id"], found["busy"], found["state"], found["resources"]["gpu"]) == ("w1abc", 0, "alive", 1)
    assert "memory 1.0 GB" in cli("workers", "list").out
    assert "There is no worker 'nobody'" in cli("workers", "drain", "nobody").err
    assert cli("workers", "drain", "w1").code == 0
    assert stored.list_workers()[0].draining


@pytest.mark.parametrize(("amount", "told"), [("0", "above 0, like 2GiB, not '0'"), ("much", "got 'much'")])
def test_a_worker_refuses_a_memory_for_runs_that_makes_no_sense(cli, amount, told):
    said = cli("worker", "--memory-per-run", amount)
    assert said.code == 1
    assert told in said.err


def test_pools_are_made_changed_paused_and_forgotten(cli, stored):
    assert cli("pools", "create", "gpu", "--slots", "2").code == 0
    assert cli("pools", "create", "gpu", "slow", "--priority", "-5").code == 0
    assert cli("pools", "pause", "gpu", "slow").code == 0
    pool = next(pool for pool in cli("pools", "list", "--json").data if pool["name"] == "gpu")
    assert pool["slots"] == 2
    assert [(q["name"], q["priority"], q["paused"]) for q in pool["queues"]] == [
        ("default", 0, False),
        ("slow", -5, True),
    ]
    assert cli("pools", "pause", "gpu").code == 0
    assert "pool paused" in cli("pools", "list").out
    assert cli("pools", "resume", "gpu").code == 0
    assert "Did you mean 'gpu'?" in cli("pools", "pause", "gppu").err
    stored.create(new_run(stored, state=State.QUEUED, pool="gpu"))
    assert cli("pools", "remove", "gpu").code == 1


def test_events_tail_shows_the_last_ones_in_order(cli, deployed):
    runs = [cli("start", "weather", "--json").data["id"] for _ in range(3)]
    for run in runs:
        cli("runs", "cancel", run)
    lines = cli("events", "tail", "-n", "2", "--kind", "run.cancelled", "--json").out.splitlines()
    assert [run for run in runs[1:] if run in lines[0] + lines[1]] == runs[1:]
    assert runs[1] in lines[0]
    assert "run.cancelled" in cli("events", "tail", "--run", runs[0]).out
    assert cli("events", "tail", "--kind", "nothing", "--json").out == ""


def test_users_and_tokens_are_made_shown_once_and_revoked(cli, stored):
    made = cli("users", "create", "ada", "--role", "admin", "--json").data
    assert made["token"].startswith("ost_")
    token = cli("tokens", "create", "ci", "--role", "worker", "--pool", "gpu", "--expires", "30d", "--json").data
    listed = cli("tokens", "list")
    assert made["token"] not in listed.out
    assert {found["name"] for found in cli("tokens", "list", "--json").data} == {"ada", "ci"}
    assert cli("tokens", "revoke", token["id"]).code == 0
    assert "revoked" in cli("tokens", "list").out
    assert "last admin" in cli("users", "disable", "ada").err
    cli("users", "create", "bob", "--no-token")
    assert cli("users", "disable", "bob").code == 0
    assert "disabled" in cli("users", "list").out


def test_doctor_tells_of_broken_modules_and_of_runs_that_nobody_can_take(cli, deployed):
    cli("start", "weather")
    answers = {answer["check"]: answer for answer in cli("doctor", "--json").data}
    assert answers["projects"]["status"] == "error"
    assert "broken.py of demo: NameError: nothing" in answers["projects"]["found"]
    assert "no worker serves pool default" in answers["queue"]["found"]
    assert cli("doctor").code == 1


def test_doctor_names_every_pool_in_which_runs_wait_for_a_worker(cli, stored):
    _worker(stored, pools=["default"])
    past = ManualClock(stored.now() - 60 * SECOND)
    with closing(open_store(f"sqlite:///{cli.folder}/home/ostinato.db", clock=past)) as earlier:
        for pool in ("gpu", "big", "default"):
            earlier.create(new_run(earlier, state=State.QUEUED, pool=pool))
    (answer,) = (answer for answer in cli("doctor", "--json").data if answer["check"] == "queue")
    assert "no worker serves pool big, gpu, where one waits for 1 min" in answer["found"]
    assert answer["advice"] == "Start one: ostinato worker --pool big --pool gpu"


def test_doctor_looks_at_every_server_that_is_named(cli):
    with running(Settings(home=str(cli.folder / "home"), durability="crash-safe")) as server:
        said = cli("doctor", "--json", OSTINATO_API=f"http://127.0.0.1:9,{server.url}")
    answers = {answer["check"]: answer for answer in said.data}
    assert answers["server"]["status"] == "warning"
    assert "http://127.0.0.1:9 cannot be reached" in answers["server"]["found"]
    assert f"{server.url}, version" in answers["server"]["found"]
    assert answers["workers"]["status"] == "ok"


def test_doctor_says_when_the_server_does_not_answer(cli):
    said = cli("doctor", OSTINATO_API="http://127.0.0.1:9")
    assert said.code == 1
    assert "127.0.0.1:9" in said.out
