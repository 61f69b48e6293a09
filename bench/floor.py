"""The floors: the bare drivers writing our rows to our tables, and the store's own commit.

A row is copied from a task run that the engine recorded in the same run, so it has the size of what is compared.
The bare driver has its own database beside the measured one: same folder or server, same durability, one prepared
INSERT and a commit (for batches of PostgreSQL: COPY), no lease, no epoch, no file lock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.ids import new_id
from ostinato.records import Commit, Run, TaskRun, Worker
from ostinato.states import State
from ostinato.store import sqlite_file
from ostinato.store.open import open_store, sqlite_path
from ostinato.store.rows import columns, to_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.store.store import Store

    Write = Callable[[list[TaskRun]], None]

_NAMES = columns(TaskRun)
_PAGES = 2000


def bare(url: str, durability: str) -> Write:
    """Return what writes rows to the database at an address by its bare driver, one commit a call."""
    return bare_postgres(url, durability) if url.startswith("postgres") else bare_sqlite(url, durability)


def bare_sqlite(url: str, durability: str) -> Write:
    """Write through `sqlite3`, with a checkpoint as often as the store makes one."""
    path = sqlite_path(url)
    open_store(path, durability=durability).close()
    db = sqlite_file.connect(path, durability)
    names = ", ".join(f'"{name}"' for name in _NAMES)
    put = f"INSERT INTO task_run ({names}) VALUES ({', '.join('?' * len(_NAMES))})"  # noqa: S608
    make, pages = to_row(TaskRun), 0

    def write(rows: list[TaskRun]) -> None:
        nonlocal pages
        db.execute("BEGIN IMMEDIATE")
        db.executemany(put, list(map(make, rows)))
        db.execute("COMMIT")
        pages += len(rows) + 3
        if pages > _PAGES:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            pages = 0

    return write


def bare_postgres(url: str, durability: str) -> Write:
    """Write through `psycopg`: a prepared INSERT for one row, COPY for several."""
    import psycopg  # not installed everywhere

    db = psycopg.connect(url, autocommit=True)
    db.execute(f"SET synchronous_commit = {'on' if durability == 'durable' else 'off'}")
    names = ", ".join(f'"{name}"' for name in _NAMES)
    insert = f"INSERT INTO task_run ({names}) VALUES ({', '.join(['%s'] * len(_NAMES))})"  # noqa: S608
    copy = f"COPY task_run ({names}) FROM STDIN"

    def values(row: TaskRun) -> tuple[Any, ...]:
        return tuple(str(v) if isinstance(v, State) else v for v in (getattr(row, name) for name in _NAMES))

    def write(rows: list[TaskRun]) -> None:
        if len(rows) == 1:
            db.execute(insert, values(rows[0]), prepare=True)
            return
        with db.cursor() as cursor, cursor.copy(copy) as out:
            for row in rows:
                out.write_row(values(row))

    return write


def held_run(store: Store) -> str:
    """Register a worker and store a run that it holds; return the run's id."""
    now = store.now()
    worker = Worker(
        id=new_id(now), kind="script", host="bench", pid=1, pid_started="", version="", started_at=now, expires_at=0
    )
    store.register(worker)
    run_id = new_id(now)
    store.create(
        Run(id=run_id, flow="bench", state=State.RUNNING, epoch=1, lineage=run_id, worker_id=worker.id, created_at=now)
    )
    return run_id


def through_store(store: Store) -> Write:
    """Return what commits rows through a store, to a run made for it."""
    run_id = held_run(store)

    def write(rows: list[TaskRun]) -> None:
        store.commit(run_id, 1, Commit(task_runs=rows))

    write.run_id = run_id  # type: ignore[attr-defined]
    return write


def copies(row: TaskRun, run_id: str, first: int, count: int) -> list[TaskRun]:
    """Make task runs like one that was recorded."""
    return [
        msgspec.structs.replace(row, run_id=run_id, seq=seq, id=f"{seq:032x}") for seq in range(first, first + count)
    ]


class Writer:
    """Writes copies of one row, and says how long that takes."""

    def __init__(self, write: Write, row: TaskRun) -> None:
        self._write, self._row = write, row
        self._run_id = getattr(write, "run_id", None) or new_id(time.time_ns() // 1000)
        self._next = 0

    def seconds(self, count: int, batch: int = 1) -> float:
        """Write rows in batches; return the seconds that took, the making of the rows not counted."""
        rows = copies(self._row, self._run_id, self._next, count)
        self._next += count
        batches = [rows[at : at + batch] for at in range(0, count, batch)]
        begun = time.perf_counter()
        for each in batches:
            self._write(each)
        return time.perf_counter() - begun
