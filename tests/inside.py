"""Runs inside the test's own process: on a store that the test hands in, crashed by it and resumed."""

from __future__ import annotations

import contextlib
import inspect
import threading
from typing import TYPE_CHECKING, Any

from ostinato.clock import SECOND
from ostinato.engine.clearing import unfinished
from ostinato.errors import StoreUnavailableError
from ostinato.records import RunFilter
from ostinato.runtime.passes import Passes
from ostinato.runtime.session import Session
from ostinato.runtime.start import begin, take_up
from ostinato.settings import Settings
from ostinato.store import batch
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ostinato.authoring.flow import Flow
    from ostinato.records import Commit, Run, TaskRun
    from ostinato.store.store import Store


class Faulty:
    """A store whose commits fail where the test says: before, after, or in the middle of the transaction."""

    def __init__(self, store: Store, fails: Callable[[int, Commit], str | None] = lambda n, entries: None) -> None:
        self.store, self.fails = store, fails
        self.commits = 0
        self.failed_at: int | None = None
        self.down = False
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def commit(self, run_id: str, epoch: int, entries: Commit) -> bool:
        with self._lock:
            n = self.commits
            self.commits += 1
        how = "before" if self.down else self.fails(n, entries)
        if how is None:
            return self.store.commit(run_id, epoch, entries)
        self.down, self.failed_at = True, n
        if how == "after":
            self.store.commit(run_id, epoch, entries)
        if how == "middle":
            with _error_inside(self.store, run_id, entries):
                self.store.commit(run_id, epoch, entries)
            raise AssertionError("the error inside the transaction was swallowed")
        raise StoreUnavailableError(f"the store failed {how} commit {n}")


@contextlib.contextmanager
def _error_inside(store: Any, run_id: str, entries: Commit) -> Iterator[None]:
    """Have SQLite itself fail half-way through the rows of the next transaction."""
    rows = sum(len(rows) for rows in batch.puts(run_id, entries).values()) + (entries.end is not None)
    left = [max(1, (rows + 1) // 2)]

    def boom() -> int:
        left[0] -= 1
        if left[0] == 0:
            raise OSError("no")
        return 0

    db, names = store._writer, []
    db.create_function("boom", 0, boom)
    for table in (*batch_tables(), "run"):
        for when in ("INSERT", "UPDATE"):
            names.append(f"boom_{table}_{when}")
            db.execute(f"CREATE TEMP TRIGGER {names[-1]} AFTER {when} ON main.{table} BEGIN SELECT boom(); END")
    try:
        yield
    finally:
        for name in names:
            db.execute(f"DROP TRIGGER temp.{name}")


def batch_tables() -> tuple[str, ...]:
    return ("task_run", "attempt", "log", "event", "state_value", "cache", "blob")


class Home:
    """A home of its own for runs inside the test."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.settings = Settings(home=str(path), display="none", durability="crash-safe", **settings)

    def open(self) -> Store:
        return open_store(self.settings.database_url, durability="crash-safe", lease=self.settings.lease)

    @contextlib.contextmanager
    def session(self, store: Any = None) -> Iterator[tuple[Session, Passes]]:
        with Session(self.settings, store=store or self.open()) as session:
            yield session, Passes(session)

    def run(self, flow: Flow[Any, Any], *args: Any, store: Any = None, **kwargs: Any) -> Any:
        """Run a flow to its end."""
        with self.session(store) as (session, passes):
            run, given, finished = begin(session, flow, flow.validate(args, kwargs))
            assert not finished
            return _finish(passes.run_async if flow.spec.is_async else passes.run_here, run, flow, given)

    def resume(self, flow: Flow[Any, Any], run_id: str | None = None, *, store: Any = None, retry: bool = False) -> Any:
        """Take a run up again."""
        with self.session(store) as (session, passes):
            run_id = run_id or self.last().id
            again = unfinished(session.store.load(run_id)) if retry else []
            run = session.store.reopen(run_id, session.worker_id, again=again, attempt=retry)
            return _finish(take_up, session, passes, run, flow)

    # --- looking on

    def last(self) -> Run:
        """The newest run that is no child."""
        return self.runs()[0]

    def runs(self, **which: Any) -> list[Run]:
        with contextlib.closing(self.open()) as store:
            return store.list_runs(RunFilter(**({"top_level": True} | which)))

    def task_runs(self, run_id: str | None = None) -> list[TaskRun]:
        with contextlib.closing(self.open()) as store:
            return store.list_task_runs(run_id or self.last().id)

    def all_task_runs(self) -> list[TaskRun]:
        return [row for run in self.runs(top_level=False, limit=1000) for row in self.task_runs(run.id)]

    def states(self, run_id: str | None = None) -> dict[str, list[str]]:
        """The states of the task runs by the task's own name."""
        found: dict[str, list[str]] = {}
        for row in self.task_runs(run_id):
            found.setdefault(row.task.rpartition(".")[2], []).append(str(row.state))
        return found

    def attempts(self, run_id: str | None = None) -> list[Any]:
        with contextlib.closing(self.open()) as store:
            return store.list_attempts(run_id or self.last().id)

    def events(self, run_id: str | None = None) -> list[Any]:
        with contextlib.closing(self.open()) as store:
            return [stored.event for stored in store.list_events(run_id or self.last().id)]

    def log(self, run_id: str | None = None) -> list[Any]:
        import msgspec

        from ostinato.records import LogLine

        with contextlib.closing(self.open()) as store:
            batches = store.read_logs(run_id or self.last().id, limit=1000)
        return [line for batch in batches for line in msgspec.json.decode(batch.lines, type=list[LogLine])]


def _finish(function: Callable[..., Any], *args: Any) -> Any:
    import asyncio

    made = function(*args)
    if not inspect.iscoroutine(made):
        return made

    async def await_it() -> Any:
        return await made

    return asyncio.run(await_it())


def seconds(n: float) -> int:
    return round(n * SECOND)
