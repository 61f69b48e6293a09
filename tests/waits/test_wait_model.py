"""Runs that emit and runs that wait, crashed at any commit, in any order: against what a person would say must be true.

The stores, the runtime and the flows are real; a worker's process is a `Session` in this one, which "dies" when a commit
fails before or after it was made. The model knows how many events of a key there were when a run was made. So it can say
what the run must get: the events after those, each once, in the order of their numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.inside import Faulty, Home
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.runtime import fleet as fleets
from tests.runtime.fleet import Fleet

from ostinato import flow, task
from ostinato.io.results import ResultStore
from ostinato.records import Event
from ostinato.runtime import session
from ostinato.states import State
from ostinato.waiting import emit, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.records import Run

KEYS = ("a", "b")
WENT: Counter[str] = Counter()
"""How often the interesting things happened: a model that never gets there proves nothing."""


@task
def beside(n: int) -> int:
    return n


@flow
def takes(key: str, count: int) -> list:
    found = []
    for n in range(count):
        found.append(wait_for("model", key, timeout=3600 if n % 2 else None).data)
        beside(n)
    return found


@flow
async def takes_at_once(key: str, count: int) -> list:
    found = await asyncio.gather(*(wait_for("model", key) for _ in range(count)))
    return sorted(each.data for each in found)


@flow
def takes_of_both(key: str, count: int) -> list:
    other = KEYS[1 - KEYS.index(key)]
    found = [wait_for("model", key).data for _ in range(count)]
    return [*found, wait_for("model", other).data]


@flow
def tells(key: str, count: int) -> int:
    for n in range(count):
        emit("model", key, f"{beside(n)}")
    return count


class Model(RuleBasedStateMachine):
    """Keys, runs that take and runs that tell."""

    database: ClassVar[str] = ""
    folder: ClassVar[Path]

    @initialize()
    def begin(self) -> None:
        home = Home(Path(tempfile.mkdtemp(dir=self.folder)), suspend_after=0.01, database=self.database)
        self.fleet = Fleet(home, takes, takes_at_once, takes_of_both, tells)
        self.store, self.results = self.fleet.store, ResultStore(home.settings.results_url)
        self.runs: dict[str, tuple[str, str, int, dict[str, int]]] = {}
        self.mark = self.store.newest_event()

    def told(self, key: str) -> list[Event]:
        """The events of a key so far, in the order of their numbers."""
        found, after = [], self.mark
        while (stored := self.store.find_event("model", key, after=after)) is not None:
            after = stored.id
            found.append(stored.event)
        return found

    @rule(
        kind=st.sampled_from([takes, takes_at_once, takes_of_both]), key=st.sampled_from(KEYS), count=st.integers(1, 3)
    )
    def start(self, kind: Any, key: str, count: int) -> None:
        before = {each: len(self.told(each)) for each in KEYS}
        run = self.fleet.order(kind, key=key, count=count)
        self.runs[run.id] = (kind.name, key, count, before)

    @rule(key=st.sampled_from(KEYS), count=st.integers(1, 3))
    def start_telling(self, key: str, count: int) -> None:
        run = self.fleet.order(tells, key=key, count=count)
        self.runs[run.id] = ("tells", key, count, {})

    @rule(key=st.sampled_from(KEYS), data=st.integers(0, 99))
    def tell(self, key: str, data: int) -> None:
        event = Event(at=self.store.now(), kind="model", run_id="", data=json.dumps(str(data)), key=key)
        self.store.emit([event])

    @rule(at=st.none() | st.integers(0, 8), how=st.sampled_from(["before", "after"]))
    def carry_out(self, at: int | None, how: str) -> None:
        if not self.store.list_tickets():
            return
        worker = self.fleet.register("default")
        faulty = Faulty(self.store, lambda n, _: how if n == at else None)
        _, ending = self.fleet.carry_out(store=faulty, worker=worker)
        WENT[ending.how if faulty.failed_at is None else f"died {how}"] += 1
        self.store.sweep([worker])

    @rule()
    def wake(self) -> None:
        self.store.wake()

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        for run_id in getattr(self, "runs", ()):
            if self.store.get_run(run_id).state is not State.WAITING:
                continue
            WENT["waiting"] += 1
            for wait in self.store.list_waits(run_id):
                kind, _, key = (wait.key or "").partition("\n")
                assert self.store.find_event(kind, key, after=wait.after) is None, f"{run_id} waits for what is there"

    def teardown(self) -> None:
        if not hasattr(self, "runs"):
            return
        for key in KEYS:
            for n in range(4):
                self.tell(key, n)
        with contextlib.suppress(StopIteration):
            while self._left():
                assert self.store.list_tickets(), f"nobody goes on with {self._left()}"
                WENT[self.fleet.carry_out()[1].how] += 1
        for run_id, (kind, key, count, before) in self.runs.items():
            self._check(self.store.get_run(run_id), kind, key, count, before)
        fleets.close_all()

    def _left(self) -> list[str]:
        return [run_id for run_id in self.runs if not self.store.get_run(run_id).state.is_terminal]

    def _check(self, run: Run, kind: str, key: str, count: int, before: dict[str, int]) -> None:
        assert run.state is State.SUCCEEDED, (run.state, run.reason, run.error)
        value = self.results.load(run.result)
        if kind == "tells":
            own = [json.loads(event.data) for event in self.told(key) if event.run_id == run.id]
            assert (value, own) == (count, [str(n) for n in range(count)]), "each is told once, in order"
            return
        wanted = [json.loads(event.data) for event in self.told(key)[before[key] :][:count]]
        if kind == "takes_at_once":
            wanted = sorted(wanted)
        elif kind == "takes_of_both":
            other = KEYS[1 - KEYS.index(key)]
            wanted.append(json.loads(self.told(other)[before[other]].data))
        assert value == wanted, f"{kind} {key}: got {value}, not {wanted}"
        WENT[kind] += 1


@pytest.fixture(params=["sqlite", "postgres"])
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Model]]:
    monkeypatch.setenv("OSTINATO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(session, "_FLUSH_EVERY", 0.01)  # or each suspension takes a fifth of a second
    url = str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""
    yield type("Model", (Model,), {"database": url, "folder": tmp_path})
    fleets.close_all()


def test_no_wake_up_is_lost_and_no_event_taken_twice(model: type[Model]) -> None:
    WENT.clear()
    examples = 20 if model.database else 25
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=examples, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    assert {"suspended", "waiting", "takes", "takes_at_once", "takes_of_both"} <= set(WENT)
    assert WENT["died before"] + WENT["died after"]
