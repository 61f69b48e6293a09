"""A town of real processes, a server and workers, whose flows wait for times, events and people."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.worker.test_waiting import Town

from ostinato.records import Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOWS = '''
import asyncio, os, sys, time
from dataclasses import dataclass
from ostinato import flow, task
from ostinato.errors import WaitTimeout
from ostinato.waiting import ask, emit, sleep, wait_for
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

@flow
def waits(key: str) -> object:
    near("begun")
    received = wait_for("landed", key)
    near(f"got {received.data}")
    return received.data

@flow
def sleeps(seconds: float) -> float:
    near("begun")
    sleep(seconds)
    return time.time()

@flow
async def gathers() -> list:
    near("begun")
    a, b, _ = await asyncio.gather(wait_for("landed", "a"), wait_for("landed", "b"), sleep(1.5))
    return [a.data, b.data]

@flow
def gives_up(seconds: float) -> str:
    near("begun")
    try:
        wait_for("landed", "never", timeout=seconds)
    except WaitTimeout as error:
        near("gave up")
        hold("late")
        return str(error)
    return "it came"

@dataclass
class Approval:
    """May it go out?"""

    ok: bool
    note: str = ""

@flow
def asks(needed: int) -> list:
    near("begun")
    answer = ask(Approval, title="Ship it?", needed=needed)
    return [[each.by, each.value.ok, each.value.note] for each in answer.all]

@flow
def asks_in_time(seconds: float) -> str:
    try:
        return str(ask(bool, timeout=seconds).value)
    except WaitTimeout as error:
        return str(error)

@flow
def emits(key: str) -> int:
    emit("landed", key, {"n": 1})
    near("emitted")
    hold("emit")
    emit("landed", key, {"n": 2})
    return 2

@flow
def takes(count: int) -> list:
    taken = []
    for _ in range(count):
        taken.append(wait_for("numbered", "x").data)
        near(f"took {taken[-1]}")
    return taken

@task
def waiter() -> object:
    return wait_for("landed", "task").data

@flow
def waits_in_a_task() -> object:
    return waiter()

@flow
async def waits_in_async_tasks() -> list:
    return await asyncio.gather(async_waiter("t1"), async_waiter("t2"))

@task
async def async_waiter(key: str) -> object:
    say(f"in {key}")
    return (await wait_for("landed", key)).data

if __name__ == "__main__":
    arguments = [int(given) if given.isdigit() else given for given in sys.argv[2:]]
    print("RESULT", globals()[sys.argv[1]](*arguments))
'''


class WaitingTown(Town):
    """With flows that wait."""

    def __init__(self, folder: Path, database: str) -> None:
        super().__init__(folder, database)
        self.file.write_text(FLOWS)

    def emit(self, kind: str, key: str = "", data: str = "{}") -> None:
        """Emit as another process would that has the database itself."""
        self.store.emit([Event(at=self.store.now(), kind=kind, run_id="", data=data, key=key)])

    def cli_here(self, *arguments: str) -> str:
        """Give a command to the database itself."""
        done = subprocess.run(
            [sys.executable, "-m", "ostinato", *arguments],
            env=self.env, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def waits(self, run_id: str) -> list[Any]:
        """What a run waits for without a process."""
        self.is_(run_id, "waiting")
        return self.store.list_waits(run_id)


@pytest.fixture(params=["sqlite", "postgres"])
def any_waiting_town(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WaitingTown]:
    yield from _town(tmp_path, str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else "")


@pytest.fixture
def waiting_town(tmp_path: Path) -> Iterator[WaitingTown]:
    yield from _town(tmp_path, "")


def _town(folder: Path, database: str) -> Iterator[WaitingTown]:
    with ExitStack() as stack:
        made = WaitingTown(folder, database)
        stack.callback(made.close)
        made.cli("deploy", "project")
        yield made
