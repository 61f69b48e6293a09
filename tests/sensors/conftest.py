"""A server, a worker and a project with sensors in it; all real, all ended with the test."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.process import until
from tests.worker.conftest import Bench, _bench

from ostinato.runtime.deploying import deploy
from ostinato.server.serving import Serving
from ostinato.timing import ScheduleFilter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.records import Run
    from ostinato.timing import Schedule, Tick

PROJECT = Path(__file__).parent / "watched.py"


class System:
    """A store that the test looks into, a server, and workers that know the server only."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.store = bench, bench.store
        self.direct = bench.settings
        bench.file.unlink()
        self.file = bench.project / "watched.py"
        self.file.write_text(PROJECT.read_text())
        self.serving: Serving | None = None
        self._thread: threading.Thread | None = None

    def deploy(self, *only: str) -> None:
        """Deploy the project; all of its sensors are paused but for those named."""
        report = deploy(self.store, self.bench.results, self.bench.project, bundle=False)
        assert not report.errors, report.errors
        for name in only:
            self.store.pause_schedule(name, paused=False)

    def serve(self) -> None:
        self.serving = Serving(self.direct, port=0)
        up = threading.Event()
        self._thread = threading.Thread(target=self.serving.run, args=(lambda _: up.set(),), name="test-server")
        self._thread.start()
        assert up.wait(20)
        self.bench.settings = msgspec.structs.replace(self.direct, database="", api=self.serving.url)

    def stop_serving(self) -> None:
        if self.serving is not None and self._thread is not None:
            self.serving.stop()
            self._thread.join(20)
            assert not self._thread.is_alive()
            self.serving = None

    def say(self, name: str, text: str) -> None:
        """Leave something for a sensor of the project to find."""
        (self.bench.folder / name).write_text(text)

    def schedule(self, name: str) -> Schedule:
        return self.store.get_schedule(name)

    def ticks(self, name: str, outcome: str = "") -> list[Tick]:
        found = self.store.list_ticks(name, limit=1000)
        return [tick for tick in found if not outcome or tick.outcome == outcome]

    def tick(self, name: str, outcome: str, reason: str = "", seconds: float = 30.0) -> Tick:
        """Wait for a tick."""

        def found() -> Tick | None:
            return next((t for t in self.ticks(name, outcome) if not reason or t.reason == reason), None)

        return until(found, lambda: f"{outcome} {reason} of {self.schedule(name)}: {self.ticks(name)}", seconds)

    def runs(self, flow: str) -> list[Run]:
        from ostinato.records import RunFilter

        return self.store.list_runs(RunFilter(flow=flow, limit=10_000))

    def parameters(self, run: Run) -> Any:
        return self.bench.results.load(run.parameters or b"")

    def trigger(self, run: Run) -> dict[str, Any]:
        return json.loads(run.trigger or "{}")

    def schedules(self) -> list[Schedule]:
        return self.store.list_schedules(ScheduleFilter())


@pytest.fixture(params=["sqlite", "postgres"])
def either_system(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    url = str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""
    yield from _system(tmp_path, monkeypatch, url)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    yield from _system(tmp_path, monkeypatch, "")


def _system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Iterator[System]:
    for bench in _bench(tmp_path, monkeypatch, url):
        made = System(bench)
        try:
            yield made
        finally:
            bench.end_workers()
            made.stop_serving()
