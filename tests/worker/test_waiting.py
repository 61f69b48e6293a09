"""Runs that wait, and scripts that die, with everything real: a server, workers of two pools, each a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.process import Script, environment, run_script, until
from tests.worker.conftest import marked_of

from ostinato.io.results import ResultStore
from ostinato.records import Run, RunFilter
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOWS = """
import asyncio, os, sys, time
from datetime import timedelta
from ostinato import Deployment, Retry, flow, task
from tests.process import write_line

def say(label):
    write_line(os.environ["LEDGER"], label)

def hold(label):
    while not os.path.exists(f"{os.environ['LEDGER']}.{label}"):
        time.sleep(0.005)

@task
def near(label: str) -> str:
    say(label)
    return label

@task(pool="other")
def far(n: int) -> int:
    say(f"far {n}")
    hold("far")
    return n * 10

@task(pool="other")
async def far_async(n: int) -> int:
    say(f"far {n}")
    while not os.path.exists(f"{os.environ['LEDGER']}.far"):
        await asyncio.sleep(0.005)
    return n * 10

@flow
def called() -> int:
    near("begun")
    return far(2)

@flow
def submitted() -> int:
    near("begun")
    return sum(future.result() for future in [far.submit(n) for n in range(3)])

@flow
def mapped() -> int:
    near("begun")
    return sum(far.map(range(3)))

@flow
async def gathered() -> int:
    near("begun")
    return sum(await asyncio.gather(*[far_async(n) for n in range(3)]))

@flow
def starts() -> int:
    near("begun")
    return middle.start(2).result()

@flow(pool="other")
def middle(n: int) -> int:
    near("middle")
    return leaf(n) + 1

@task(pool="default")
def leaf(n: int) -> int:
    say("leaf")
    hold("leaf")
    return n * 10

@flow
def cancels() -> str:
    handle = middle.start(3)
    near("begun")
    hold("cancel")
    handle.cancel()
    handle.wait()
    return str(handle.state)

@task(retry=Retry(1, delay=2))
def flaky() -> int:
    say(f"flaky {time.time()}")
    if not os.path.exists(f"{os.environ['LEDGER']}.fine"):
        open(f"{os.environ['LEDGER']}.fine", "w").close()
        raise ConnectionError("no")
    return 1

@flow
def delays() -> int:
    return flaky()

@flow(retry=Retry(1, delay=2))
def delays_itself() -> int:
    near("begun")
    return flaky.with_options(retry=None)()

@flow
def quick(n: int = 1) -> int:
    return n + 1

@flow
def greets(name: str, times: int = 1) -> str:
    return name * times

loud = Deployment(greets, name="loud", parameters={"name": "ada", "times": 2})

@flow
def greets_elsewhere(times: int) -> str:
    start = greets.with_options(deployment="greets/loud").start
    return start().result() + start(times=times).result()

@flow
def goes_on(n: int) -> int:
    near("first")
    say("holds")
    hold("go")
    near("second")
    return n + 1

if __name__ == "__main__":
    what = sys.argv[1]
    if what == "start":
        print("RESULT", greets.with_options(deployment="greets/loud").start(times=3).result(), submitted.start().result())
    else:
        print("RESULT", goes_on(1))
"""


class Town:
    """A server and a worker for each of two pools."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder, self.ledger = folder, folder / "ledger"
        self.ledger.touch()
        self.file = folder / "project" / "flows.py"
        self.file.parent.mkdir()
        self.file.write_text(FLOWS)
        self.database = database or f"sqlite:///{folder}/town.db"
        self.env = environment(folder / "home", OSTINATO_DATABASE=self.database, LEDGER=str(self.ledger))
        self.env |= {"OSTINATO_SUSPEND_AFTER": "0.2", "OSTINATO_DURABILITY": "crash-safe", "OSTINATO_DISPLAY": "none"}
        self.env["OSTINATO_MAX_RECOVERIES"] = "100"  # who is killed again and again is not poisonous here
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = self.port = ""
        self.serve()
        self.store = open_store(self.database)
        self.results = ResultStore(str(folder / "home" / "results"))

    @property
    def remote(self) -> dict[str, str]:
        """The environment of who knows the server only."""
        return {k: v for k, v in self.env.items() if k != "OSTINATO_DATABASE"} | {"OSTINATO_API": self.url}

    def begin(self, name: str, *arguments: str, env: dict[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "ostinato", *arguments],
                cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def serve(self) -> None:
        log = self.folder / "server.log"
        before = log.stat().st_size if log.exists() else 0
        self.begin("server", "server", "--port", self.port or "0", env=self.env)
        found: Any = until(lambda: re.search(r"http://\S+:(\d+)", log.read_text()[before:]), log.read_text)
        self.url, self.port = found[0], found[1]

    def work(self, pool: str, *, env: dict[str, str] | None = None, slots: int = 1) -> None:
        project = str(self.file.parent)
        self.begin(pool, "worker", "--pool", pool, "--slots", str(slots), "--project", project, env=env or self.remote)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait(30)

    def cli(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ostinato", *arguments],
            env=self.remote, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name: str, *given: str) -> str:
        found: str = json.loads(self.cli("start", name, *given, "--json"))["id"]
        return found

    def run(self, run_id: str) -> Run:
        return self.store.get_run(run_id)

    def is_(self, run_id: str, state: str, seconds: float = 30) -> Run:
        until(lambda: self.run(run_id).state == state, lambda: f"{state}: {self.run(run_id)}\n{self.logs()}", seconds)
        return self.run(run_id)

    def value(self, run_id: str, seconds: float = 30) -> Any:
        run = self.is_(run_id, "succeeded", seconds)
        return None if run.result is None else self.results.load(run.result)

    def children(self, run_id: str) -> list[Run]:
        return self.store.list_runs(RunFilter(parent_run_id=run_id))

    def says(self, label: str, times: int = 1) -> None:
        until(lambda: self.lines().count(label) >= times, lambda: f"{label} in {self.lines()}\n{self.logs()}")

    def lines(self) -> list[str]:
        return self.ledger.read_text().splitlines()

    def allow(self, label: str) -> None:
        (self.folder / f"ledger.{label}").touch()

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait(30)
        self.store.close()
        until(lambda: not marked_of(self.folder), lambda: f"{marked_of(self.folder)} to end", 15)


@pytest.fixture(params=["sqlite", "postgres"])
def any_town(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Town]:
    yield from _town(tmp_path, str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else "")


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    yield from _town(tmp_path, "")


def _town(folder: Path, database: str) -> Iterator[Town]:
    with ExitStack() as stack:
        made = Town(folder, database)
        stack.callback(made.close)
        made.cli("deploy", "project")
        yield made


def test_a_parent_that_waits_gives_its_slot_to_others_and_comes_back(any_town: Town) -> None:
    town = any_town
    town.work("default")
    town.work("other", slots=3)
    parents = {name: town.start(name) for name in ("called", "submitted", "mapped", "gathered")}
    for run_id in parents.values():
        assert town.is_(run_id, "waiting").worker_id is None
    assert town.value(town.start("quick")) == 2, "the only slot is free"
    assert [len(town.children(run_id)) for run_id in parents.values()] == [1, 3, 3, 3]
    town.allow("far")
    assert [town.value(run_id) for run_id in parents.values()] == [20, 30, 30, 30]
    assert (town.lines().count("begun"), sum(line.startswith("far") for line in town.lines())) == (4, 10)
    assert all(town.run(run_id).recoveries == 0 for run_id in parents.values())


def test_what_waits_outlives_its_worker_and_its_server(any_town: Town) -> None:
    town = any_town
    town.work("default")
    town.work("other", slots=3)
    run_id = town.start("submitted")
    town.is_(run_id, "waiting")
    town.says("far 2")
    town.kill("default")
    town.kill("server")
    town.serve()
    assert town.is_(run_id, "waiting").worker_id is None
    town.work("default")
    town.allow("far")
    assert town.value(run_id) == 30
    assert (town.lines().count("begun"), len(town.children(run_id))) == (1, 3)


def test_a_worker_that_dies_with_what_is_waited_for_costs_the_parent_nothing(town: Town) -> None:
    town.work("default")
    town.work("other", slots=3)
    run_id = town.start("submitted")
    town.is_(run_id, "waiting")
    town.says("far 2")
    town.kill("other")
    town.allow("far")
    town.work("other", slots=3)
    assert town.value(run_id) == 30
    assert town.run(run_id).recoveries == 0


@pytest.mark.parametrize("name", ["delays", "delays_itself"])
def test_a_long_delay_is_waited_for_without_a_process_and_ends_in_time(town: Town, name: str) -> None:
    town.work("default")
    run_id = town.start(name)
    waiting = "waiting" if name == "delays" else "retrying"
    assert town.is_(run_id, waiting).worker_id is None
    until(lambda: town.run(run_id).worker_id is None, "it to give up its process")
    assert town.value(town.start("quick")) == 2
    assert town.value(run_id) == 1
    first, second = (float(line.split()[1]) for line in town.lines() if line.startswith("flaky"))
    assert 2 <= second - first < 3.5


def test_a_run_that_starts_another_which_waits_itself_comes_back(town: Town) -> None:
    town.work("default")
    town.work("other")
    run_id = town.start("starts")
    town.is_(run_id, "waiting")
    (child,) = town.children(run_id)
    town.says("leaf")
    assert town.is_(child.id, "waiting").worker_id is None
    town.allow("leaf")
    assert town.value(run_id) == 21


def test_a_cancel_takes_along_what_was_asked_for_elsewhere(town: Town) -> None:
    town.work("default")
    town.work("other", slots=3)
    waits = town.start("submitted")
    town.is_(waits, "waiting")
    town.says("far 2")
    town.cli("runs", "cancel", waits)
    town.is_(waits, "cancelled", 5)
    for child in town.children(waits):
        town.is_(child.id, "cancelled")
    run_id = town.start("cancels")
    town.says("begun", 2)
    (middle,) = until(lambda: town.children(run_id))
    until(lambda: town.children(middle.id), "the child to have sent its own")
    town.allow("cancel")
    assert town.value(run_id) == "cancelled"
    town.is_(town.children(middle.id)[0].id, "cancelled")


def test_a_script_starts_runs_over_http_with_what_their_deployment_gives(town: Town) -> None:
    town.work("default", slots=2)
    town.work("other", slots=3)
    town.allow("far")
    script = run_script(town.file, "start", env=town.remote | {"OSTINATO_RESULTS": ""})
    assert script.out.strip() == "RESULT adaadaada 30", script.err
    assert town.value(town.start("greets_elsewhere", "-p", "times=1")) == "adaada" + "ada"


@pytest.mark.parametrize("through", ["database", "server"])
def test_a_script_that_dies_is_taken_up_by_a_worker_that_has_its_project(town: Town, through: str) -> None:
    town.work("default")
    until(lambda: [worker for worker in town.store.list_workers() if worker.kind == "worker"], "the worker")
    env = town.env if through == "database" else town.remote
    script = Script(town.file, "here", env=env)
    town.says("holds")
    (run,) = town.store.list_runs(RunFilter(flow="goes_on"))
    os.kill(script.process.pid, signal.SIGKILL)
    script.wait()
    town.says("holds", 2)
    town.allow("go")
    assert town.value(run.id) == 2
    assert (town.lines().count("first"), town.lines().count("second")) == (1, 1)


def test_a_worker_waits_as_long_as_it_is_told_for_what_runs(town: Town) -> None:
    town.begin("default", "worker", "--project", "project", "--grace", "0.2", env=town.remote)
    run_id = town.start("goes_on", "-p", "n=1")
    town.says("holds")
    town.processes["default"].send_signal(signal.SIGTERM)
    assert town.processes["default"].wait(10) == 0
    assert (town.run(run_id).state, town.run(run_id).recoveries) == ("queued", 0)
