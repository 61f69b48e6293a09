"""Records for the store's tests, with as little in them as can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ostinato.ids import new_id
from ostinato.records import Attempt, CacheEntry, Commit, Event, LogBatch, Run, RunEnd, TaskRun, Worker
from ostinato.states import State
from ostinato.work import Deployed, Offer, Project

if TYPE_CHECKING:
    from ostinato.store.store import Store


def a_worker(store: Store, worker_id: str = "w1", **fields: Any) -> str:
    """Register a worker and return its id."""
    store.register(
        Worker(
            id=worker_id,
            kind="script",
            host="box",
            pid=42,
            pid_started="",
            version="0",
            started_at=store.now(),
            expires_at=0,
            **fields,
        )
    )
    return worker_id


def new_run(store: Store, **fields: Any) -> Run:
    """Make the record of a run, not stored."""
    now = store.now()
    run_id = fields.pop("id", None) or new_id(now)
    values: dict[str, Any] = {"flow": "f", "state": State.QUEUED, "lineage": run_id, "created_at": now}
    return Run(id=run_id, **(values | fields))


def a_run(store: Store, worker_id: str | None = "w1", **fields: Any) -> Run:
    """Store a run; leased to the worker, and running, unless that is None."""
    if worker_id is not None:
        if worker_id not in {worker.id for worker in store.list_workers()}:
            a_worker(store, worker_id)
        fields = {"state": State.RUNNING, "worker_id": worker_id, "started_at": store.now()} | fields
    return store.create(new_run(store, **fields))


def ended(store: Store, state: State = State.SUCCEEDED, **fields: Any) -> Run:
    """Store a run that has ended."""
    fields = {"finished_at": store.now()} | fields
    return store.create(new_run(store, state=state, epoch=1, **fields))


def a_task_run(run: Run, seq: int = 0, **fields: Any) -> TaskRun:
    """Make the record of a task run."""
    values: dict[str, Any] = {
        "id": f"{seq:032x}",
        "task": "m.f",
        "key": f"k{seq}",
        "state": State.SUCCEEDED,
        "epoch": run.epoch,
        "created_at": run.created_at,
    }
    return TaskRun(run_id=run.id, seq=seq, **(values | fields))


def an_attempt(run: Run, seq: int = 0, number: int = 1) -> Attempt:
    """Make the record of a failed attempt."""
    return Attempt(run_id=run.id, seq=seq, attempt=number, epoch=run.epoch, state=State.FAILED)


def an_event(run: Run, kind: str = "run.started", **fields: Any) -> Event:
    """Make an event."""
    return Event(at=run.created_at, kind=kind, run_id=run.id, **fields)


def a_log(run: Run, n: int = 0, **fields: Any) -> LogBatch:
    """Make a batch of log lines."""
    values: dict[str, Any] = {"epoch": run.epoch, "first_at": 1, "last_at": 2, "level": 20, "lines": b"[]"}
    return LogBatch(run_id=run.id, n=n, **(values | fields))


def cached(run: Run, key: str = "c1", **fields: Any) -> CacheEntry:
    """Make a cache entry."""
    values: dict[str, Any] = {
        "task": "m.f",
        "seq": 0,
        "result": b"r",
        "result_fp": b"f" * 16,
        "created_at": run.created_at,
    }
    return CacheEntry(key=key, run_id=run.id, **(values | fields))


def end(store: Store, run: Run, state: State = State.SUCCEEDED, **fields: Any) -> None:
    """Commit the end of a run."""
    store.commit(run.id, run.epoch, Commit(end=RunEnd(state=state, finished_at=store.now(), **fields)))


def contents(store: Store, run: Run) -> tuple[object, ...]:
    """Return all that the store says of a run, to compare before and after."""
    return (
        store.get_run(run.id),
        store.list_task_runs(run.id),
        store.list_attempts(run.id),
        store.read_logs(run.id),
        store.list_events(run.id),
        store.info().counts,
    )


def queued(store: Store, **fields: Any) -> Run:
    """Store a run that waits in a pool."""
    return store.create(new_run(store, **({"pool": "default"} | fields)))


def claim(
    store: Store, worker_id: str = "w1", slots: int = 1, pools: tuple[str, ...] = ("default",), **free: float
) -> list[Run]:
    """Claim runs for a worker, registered if it is not."""
    if worker_id not in {worker.id for worker in store.list_workers()}:
        a_worker(store, worker_id)
    return [each.run for each in store.claim(worker_id, Offer(pools=list(pools), slots=slots, resources=free))]


def a_deployed(name: str = "d", **fields: Any) -> Deployed:
    """Make a deployment."""
    return Deployed(**({"name": name, "flow": name, "project": "p", "target": f"f.py:{name}"} | fields))


def a_project(name: str = "p", **fields: Any) -> Project:
    """Make a project."""
    return Project(**({"name": name, "root": "/p", "host": "box"} | fields))


def kinds(store: Store, run: Run) -> list[str]:
    """Return the kinds of a run's events, in order."""
    return [each.event.kind for each in store.list_events(run.id)]
