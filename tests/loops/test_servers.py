"""Two servers of one PostgreSQL, each with a worker, in real processes that are really killed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.process import environment, until

from ostinato.clock import SECOND
from ostinato.io.results import ResultStore
from ostinato.runtime.deploying import deploy
from ostinato.runtime.starting import StartOrder, start
from ostinato.states import State
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FLOWS = """
import os, time
from pathlib import Path
from ostinato import flow

GO = Path(os.environ["GO"])

@flow
def quick() -> int:
    return 1

@flow
def slow() -> int:
    while not GO.exists():
        time.sleep(0.01)
    return 2
"""


class Started:
    """A command that runs, and what it has said."""

    def __init__(self, folder: Path, url: str, *arguments: str, **more: str) -> None:
        env = environment(folder / "home", OSTINATO_DATABASE=url, GO=str(folder / "go"), **more)
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ostinato", *arguments],
            cwd=folder, env=env, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line for line in self.process.stdout)

    def says(self, pattern: str) -> re.Match[str]:
        found = until(lambda: re.search(pattern, "".join(self.lines)), lambda: f"{pattern} in {self.lines}")
        assert isinstance(found, re.Match)
        return found

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(30)
        self._reader.join(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def command(tmp_path: Path, postgres_url: str) -> Iterator[Callable[..., Started]]:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "flows.py").write_text(FLOWS)
    all_of: list[Started] = []

    def begin(*arguments: str, **more: str) -> Started:
        all_of.append(Started(tmp_path, postgres_url, *arguments, **more))
        return all_of[-1]

    yield begin
    for one in reversed(all_of):
        one.end()


def test_either_server_may_be_killed_and_the_other_does_all_of_its_work(
    command: Callable[..., Started],
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("GO", str(tmp_path / "go"))
    store = open_store(postgres_url)
    request.addfinalizer(store.close)
    results = ResultStore(str(tmp_path / "home" / "results"))
    deploy(store, results, tmp_path / "project", bundle=False)

    def ask(name: str, **order: int) -> str:
        return start(store, results, StartOrder(deployment=name, **order)).run.id

    def serve() -> tuple[Started, Started]:
        server = command("server", "--port", "0")
        url = server.says(r"http://\S+:\d+")[0]
        worker = command("worker", "--slots", "2", "--project", "project", OSTINATO_API=url)
        worker.says("serves default")
        return server, worker

    first, its_worker = serve()
    slow = ask("slow")
    until(lambda: store.get_run(slow).state is State.RUNNING, "the first worker to take it")
    serve()
    later = ask("quick", start_at=store.now() + 3 * SECOND)
    first.end()
    its_worker.end()
    killed = time.monotonic()
    quick = ask("quick")
    until(lambda: store.get_run(quick).state is State.SUCCEEDED, "a run at the server that is left", 10)
    until(
        lambda: store.get_run(slow).recoveries == 1 and store.get_run(slow).state is State.RUNNING,
        "its run to go on",
        10,
    )
    assert time.monotonic() - killed < 10
    (tmp_path / "go").touch()
    until(lambda: store.get_run(slow).state is State.SUCCEEDED, "its end")
    until(lambda: store.get_run(later).state is State.SUCCEEDED, "what was to start later", 10)
    late = (store.get_run(later).started_at or 0) - (store.get_run(later).scheduled_at or 0)
    assert late < 2 * SECOND
