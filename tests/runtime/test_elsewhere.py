"""The processes executor through real runs; and that importing Ostinato does nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.process import SOURCE

from ostinato import Retry, current, flow, task
from ostinato.errors import TaskFailedError


@task(executor="processes")
def work(i: int) -> tuple[int, int]:
    return i * 2, os.getpid()


def test_tasks_run_in_other_processes(home):
    @flow
    def f() -> list[tuple[int, int]]:
        return [work(1), work.submit(2).result(), *work.map([3, 4])]

    found = f()
    assert [value for value, _ in found] == [2, 4, 6, 8]
    assert os.getpid() not in {pid for _, pid in found}


def test_what_they_print_log_and_keep_is_kept(home):
    @task(executor="processes", retry=1)
    def talk() -> str:
        print("from there")
        current.logger.warning("logged there")
        if "kept" not in current.state:
            current.state["kept"] = [1, 2]
            raise ConnectionError
        return f"{current.state['kept']} {current.attempt} {current.flow}"

    @flow
    def f() -> str:
        return talk()

    assert f() == "[1, 2] 2 f"
    assert [(line.attempt, line.message) for line in home.log()] == [
        (1, "from there"), (1, "logged there"), (2, "from there"), (2, "logged there"),
    ]  # fmt: skip


def test_a_process_that_dies_is_tried_again_or_is_a_crash_of_the_task(home):
    @task(executor="processes")
    def die() -> int:
        if "died" not in current.state:
            current.state["died"] = True
            os.kill(os.getpid(), 9)
        return 1

    @flow
    def again() -> int:
        return die.with_options(retry=Retry(1, on=KeyError))()

    @flow
    def never() -> int:
        return die()

    assert again() == 1
    with pytest.raises(TaskFailedError, match="was lost"):
        never()
    assert [(row.state, row.reason) for row in home.task_runs()] == [("crashed", "lost")]


def test_errors_come_back_with_their_type(home):
    @task(executor="processes")
    def bad() -> None:
        raise LookupError("there")

    @flow
    def f() -> None:
        bad()

    with pytest.raises(LookupError, match="there"):
        f()


WATCH = """
import json, os, sys, threading
opened, real = [], os.environ
def hook(event, args):
    if event in ("open", "socket.connect", "subprocess.Popen", "sqlite3.connect", "os.mkdir"):
        name = str(args[0])  # a number is the file that the interpreter itself writes byte code to
        if not name.isdigit() and not name.endswith((".py", ".pyc", ".so", ".pth")) and "pycache" not in name and "site-packages" not in name:
            opened.append((event, name))
class Watched(type(os.environ)):
    def __getitem__(self, key):
        read.append(key)
        return super().__getitem__(key)
read = []
before = set(sys.modules)
os.environ.__class__ = Watched
sys.addaudithook(hook)
import ostinato
from ostinato import flow, task
@task
def f(x: int) -> int: return x
@flow
def g(): f(1)
files, env = list(opened), list(read)
print(json.dumps({"threads": threading.active_count(), "opened": files, "read": [k for k in env if "OSTI" in k],
    "modules": len(sys.modules), "heavy": [m for m in ("pydantic", "sqlalchemy", "alembic", "rich", "numpy", "asyncio.base_events", "sqlite3") if m in sys.modules]}))
"""


def test_importing_does_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WATCH], capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(SOURCE), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["threads"] == 1
    assert found["opened"] == []
    assert found["read"] == []
    assert found["modules"] < 300
    assert not set(found["heavy"]) & {"pydantic", "sqlalchemy", "alembic", "rich", "numpy"}
    assert list(tmp_path.iterdir()) == []
