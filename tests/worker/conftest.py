"""Workers at work: in this process or in one of their own, with run processes that are real and end with the test."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.process import environment, until

from ostinato.fingerprint import fingerprint
from ostinato.ids import new_id
from ostinato.io.results import ResultStore
from ostinato.launchers.tree import marked
from ostinato.records import Run
from ostinato.runtime.finding import store_for
from ostinato.runtime.worker import Worker, WorkerPlan
from ostinato.settings import Settings
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ostinato.store.store import Store

FLOWS = Path(__file__).parent / "flows.py"


class Bench:
    """A store, a project, and workers that are started and ended."""

    def __init__(self, folder: Path, database: str = "", **settings: Any) -> None:
        self.folder = folder
        self.project = folder / "project"
        self.project.mkdir()
        self.file = self.project / "flows.py"
        self.file.write_text(FLOWS.read_text())
        values = {"home": str(folder / "home"), "database": database, "display": "none", "durability": "crash-safe"}
        self.settings = msgspec.convert(values | settings, Settings)
        self.store: Store = store_for(self.settings)
        self.results = ResultStore(self.settings.results_url)
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self._ends: list[Callable[[], None]] = []

    def lease(self, seconds: float) -> None:
        """Let leases end sooner."""
        self.settings = msgspec.structs.replace(self.settings, lease=seconds)
        self.store.close()
        self.store = store_for(self.settings)

    def queue(
        self,
        flow: str,
        /,
        *,
        resources: dict[str, float] | None = None,
        deployment: str | None = None,
        bundle: str | None = None,
        **parameters: Any,
    ) -> str:
        """Put a run into the queue."""
        identity, now = new_id(self.store.now()), self.store.now()
        stored, _ = self.results.dump(parameters, fingerprint(parameters), 1 << 20)
        run = Run(
            id=identity,
            flow=flow,
            state=State.QUEUED,
            lineage=identity,
            target=f"{self.file.name if bundle else self.file}:{flow}",
            bundle=bundle,
            pool="default",
            deployment=deployment,
            parameters=stored,
            created_at=now,
            resources=msgspec.json.encode(resources).decode() if resources else None,
        )
        self.store.create(run)
        return identity

    def run(self, run_id: str) -> Run:
        return self.store.get_run(run_id)

    def ended(self, run_id: str, seconds: float = 30.0) -> Run:
        """Wait for a run's end."""
        return until(
            lambda: (run := self.run(run_id)).state.is_terminal and run, lambda: f"{self.run(run_id)}", seconds
        )

    def value(self, run: Run) -> Any:
        assert run.state is State.SUCCEEDED, (run.state, run.reason, run.error)
        assert run.result is not None
        return self.results.load(run.result)

    def begun(self, label: str, times: int = 1) -> None:
        """Wait until a flow has written a line."""
        until(lambda: self.lines().count(label) >= times, lambda: f"{label} among {self.lines()}")

    def lines(self) -> list[str]:
        return self.ledger.read_text().splitlines()

    def plan(self, **changes: Any) -> WorkerPlan:
        values = {"settings": self.settings, "roots": [str(self.project)], "slots": 2, "warm": 1, "cancel_grace": 0.5}
        return WorkerPlan(**{**values, **changes})

    def work(self, store: Any = None, **changes: Any) -> Worker:
        """Start a worker in this process."""
        worker = Worker(self.plan(**changes), store)
        thread = threading.Thread(target=worker.run, name="test-worker")
        thread.start()

        def end() -> None:
            worker.stop()
            worker.stop()
            thread.join(30)
            assert not thread.is_alive(), "the worker did not end"

        self._ends.append(end)
        until(lambda: worker.worker_id and worker._launcher is not None, "the worker to be registered")
        return worker

    def work_apart(self, **changes: Any) -> subprocess.Popen[str]:
        """Start a worker in a process of its own."""
        plan = msgspec.json.encode(self.plan(**changes)).decode()
        code = (
            "import sys, msgspec, logging; from ostinato.runtime.worker import run_worker, WorkerPlan; "
            "logging.basicConfig(level='INFO'); run_worker(msgspec.json.decode(sys.argv[1], type=WorkerPlan))"
        )
        log = (self.folder / f"worker-{len(self._ends)}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-c", code, plan],
            env=environment(self.folder / "home", LEDGER=str(self.ledger)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        log.close()

        def end() -> None:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(30)

        self._ends.append(end)
        return process

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("worker-*.log")))

    def printed(self, run_id: str) -> list[str]:
        """What a run has in its log."""
        return [line[5] for batch in self.store.read_logs(run_id) for line in msgspec.json.decode(batch.lines)]

    def kinds(self, run_id: str) -> list[str]:
        return [stored.event.kind for stored in self.store.list_events(run_id)]

    def end_workers(self) -> None:
        while self._ends:
            self._ends.pop()()

    def close(self) -> None:
        self.end_workers()
        self.store.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    yield from _bench(tmp_path, monkeypatch, "")


@pytest.fixture(params=["sqlite", "postgres"])
def any_bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    url = str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""
    yield from _bench(tmp_path, monkeypatch, url)


def _bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Iterator[Bench]:
    kept = environment(tmp_path / "home", LEDGER=str(tmp_path / "ledger"))
    for name in set(os.environ) - set(kept):
        monkeypatch.delenv(name)
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    logging.getLogger("ostinato.worker").setLevel("DEBUG")
    made = Bench(tmp_path, url)
    try:
        yield made
    finally:
        made.close()
        until(lambda: not marked_of(tmp_path), lambda: f"{marked_of(tmp_path)} to end", 10)


def marked_of(folder: Path) -> list[int]:
    """The processes of a test that are alive: its ledger is in their environment."""
    return [pid for pid in marked(str(folder / "ledger"), variable="LEDGER") if pid != os.getpid()]
