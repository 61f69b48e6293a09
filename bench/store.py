"""The store against its floors: what a commit costs beyond the bare driver's transaction.

Run it with ``python bench/store.py [--postgres URL]``; without a URL it starts a PostgreSQL of its own where one is
installed. Every figure names its durability and stands beside the floor measured in the same run: the same table and
row, the same file settings, one prepared statement, nothing else. Medians of several rounds, with the spread.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ostinato.ids import new_id
from ostinato.records import Commit, Run, TaskRun, Worker
from ostinato.states import State
from ostinato.store import sqlite, sqlite_file
from ostinato.store.open import open_store
from ostinato.store.rows import columns, to_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ostinato.store.store import Store

DURABILITIES = ("durable", "crash-safe")


def task_run(run_id: str, seq: int, size: int = 100) -> TaskRun:
    """Make a finished task run with a result of `size` bytes."""
    return TaskRun(
        run_id=run_id,
        seq=seq,
        id=f"{seq:032x}",
        task="pipeline.extract",
        key="0123456789abcdef0123456789abcdef:0",
        state=State.SUCCEEDED,
        epoch=1,
        created_at=1_700_000_000_000_000 + seq,
        started_at=1_700_000_000_000_000 + seq,
        finished_at=1_700_000_000_000_000 + seq,
        result=b"x" * size,
        result_fp=b"f" * 16,
        code="c" * 16,
    )


def a_run(store: Store, worker: str = "bench") -> str:
    """Register a worker and store a run that it holds; return the run's id."""
    now = store.now()
    store.register(
        Worker(id=worker, kind="script", host="bench", pid=1, pid_started="", version="", started_at=now, expires_at=0)
    )
    run_id = new_id(now)
    store.create(Run(id=run_id, flow="bench", state=State.RUNNING, lineage=run_id, worker_id=worker, created_at=now))
    return run_id


Writer = tuple["Callable[[list[TaskRun]], None]", str]
"""What writes a batch of task runs, and the run they are of."""


def rates(writers: list[Writer], batch: int, rows: int, rounds: int = 7) -> list[list[float]]:
    """Let writers take turns, `rows` task runs in batches each round; return each one's seconds a commit by round."""
    times: list[list[float]] = [[] for _ in writers]
    for number in range(rounds + 1):
        for (write, run_id), mine in zip(writers, times, strict=True):
            first = number * rows
            batches = [[task_run(run_id, first + n * batch + m) for m in range(batch)] for n in range(rows // batch)]
            begun = time.perf_counter()
            for each in batches:
                write(each)
            mine.append((time.perf_counter() - begun) / len(batches))
    return [mine[1:] for mine in times]


def sqlite_floor(path: Path, durability: str) -> Callable[[list[TaskRun]], None]:
    """Return what writes rows to our table in a bare SQLite transaction, checkpointing as often as the store."""
    sqlite.SqliteStore(path, durability=durability).close()
    db = sqlite_file.connect(str(path), durability)
    put, make, pages = sqlite._PUT["task_run"], to_row(TaskRun), 0  # noqa: SLF001

    def write(batch: list[TaskRun]) -> None:
        nonlocal pages
        db.execute("BEGIN IMMEDIATE")
        db.executemany(put, list(map(make, batch)))
        db.execute("COMMIT")
        pages += len(batch) + 3
        if pages > 2000:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            pages = 0

    return write


def postgres_floor(url: str, durability: str, batch: int) -> Callable[[list[TaskRun]], None]:
    """Return what writes rows to our table by a bare INSERT, or where there are several by COPY."""
    import psycopg

    db = psycopg.connect(url, autocommit=True)
    db.execute(f"SET synchronous_commit = {'on' if durability == 'durable' else 'off'}")
    names = columns(TaskRun)
    insert = f"INSERT INTO task_run ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})"  # noqa: S608
    copy = f"COPY task_run ({', '.join(names)}) FROM STDIN"

    def values(row: TaskRun) -> tuple[Any, ...]:
        return tuple(str(v) if isinstance(v, State) else v for v in (getattr(row, name) for name in names))

    def write_one(rows: list[TaskRun]) -> None:
        db.execute(insert, values(rows[0]), prepare=True)

    def write_many(rows: list[TaskRun]) -> None:
        with db.cursor() as cursor, cursor.copy(copy) as out:
            for row in rows:
                out.write_row(values(row))

    return write_one if batch == 1 else write_many


def store_writer(store: Store, run_id: str) -> Callable[[list[TaskRun]], None]:
    """Return what commits rows through a store."""

    def write(rows: list[TaskRun]) -> None:
        store.commit(run_id, 1, Commit(task_runs=rows))

    return write


def compare(name: str, floor: list[float], ours: list[float], batch: int) -> None:
    """Print one line: the floor, the store, and how they relate."""
    low, own = statistics.median(floor), statistics.median(ours)
    spread = (max(ours) - min(ours)) / own
    print(
        f"{name:<34} batch {batch:>5}: floor {low * 1e6:>8,.0f} µs  store {own * 1e6:>8,.0f} µs a commit "
        f"(+{(own - low) * 1e6:,.0f} µs, {own / low:.2f} times, spread {spread:.0%})  {batch / own:>9,.0f} rows/s"
    )


def bench_sqlite(home: Path, durability: str, batch: int, rows: int) -> None:
    """Compare commits to a SQLite file with the bare driver's."""
    name = f"{durability}-{batch}"
    store = open_store(str(home / f"{name}.db"), durability=durability, lease=3600)
    run_id = a_run(store)
    bare = sqlite_floor(home / f"{name}-floor.db", durability)
    floor, ours = rates([(bare, "r"), (store_writer(store, run_id), run_id)], batch, rows)
    store.close()
    compare(f"SQLite {sqlite3.sqlite_version} {durability}", floor, ours, batch)


def bench_postgres(url: str, durability: str, batch: int, rows: int) -> None:
    """Compare commits to a PostgreSQL database with the bare driver's."""
    store = open_store(url, durability=durability, lease=3600)
    run_id, other = a_run(store), new_id(store.now())
    bare = postgres_floor(url, durability, batch)
    floor, ours = rates([(bare, other), (store_writer(store, run_id), run_id)], batch, rows)
    store.close()
    compare(f"PostgreSQL {durability}" + (" (floor: COPY)" if batch > 1 else ""), floor, ours, batch)


PROCESS = """
import sys, time
sys.path.insert(0, sys.argv[1])
from bench.store import a_run, open_store, store_writer, task_run
store = open_store(sys.argv[2], durability=sys.argv[3], lease=3600)
batch, seconds = int(sys.argv[5]), float(sys.argv[6])
write = store_writer(store, run := a_run(store, sys.argv[4]))
print("ready", flush=True); sys.stdin.readline()
until, seq = time.monotonic() + seconds, 0
while time.monotonic() < until:
    write([task_run(run, seq + n) for n in range(batch)])
    seq += batch
print(seq)
"""


def bench_processes(url: str, durability: str, count: int = 8, batch: int = 10, seconds: float = 3.0) -> list[int]:
    """Let several processes commit batches to one database for a while; print and return each one's rows."""
    root = str(Path(__file__).resolve().parent.parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, root, url, durability, f"p{number}", str(batch), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        for number in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    rows = sorted(int(process.communicate()[0]) for process in processes)
    name = f"{url.split(':', maxsplit=1)[0] if '://' in url else 'sqlite'} {durability}"
    print(
        f"{name:<34} {count} processes, batches of {batch}: {sum(rows) / seconds:,.0f} rows/s in all, "
        f"the slowest {rows[0] / rows[-1]:.2f} of the quickest"
    )
    return rows


@contextlib.contextmanager
def a_postgres(url: str | None) -> Iterator[str | None]:
    """Yield the address of a PostgreSQL database with our tables: the one given, or one of our own."""
    from ostinato.store import migrate

    if url is not None:
        migrate.upgrade(url)
        yield url
        return
    from tests.postgres import MissingError, PostgresServer

    try:
        server = PostgresServer()
    except MissingError as error:
        print(error)
        yield None
        return
    try:
        own = server.url(server.new_database())
        migrate.upgrade(own)
        yield own
    finally:
        server.stop()


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", help="address of a PostgreSQL database to fill")
    parser.add_argument("--rows", type=int, default=1000, help="one-row commits a round; batches write ten times that")
    options = parser.parse_args()
    sizes = [(1, options.rows), (10, options.rows * 3), (100, options.rows * 10), (1000, options.rows * 10)]
    with tempfile.TemporaryDirectory() as home, a_postgres(options.postgres) as url:
        for durability in DURABILITIES:
            for batch, rows in sizes:
                bench_sqlite(Path(home), durability, batch, rows)
            bench_processes(f"{home}/many-{durability}.db", durability)
            bench_processes(f"{home}/many1-{durability}.db", durability, batch=1)
        for durability in DURABILITIES if url else ():
            for batch, rows in sizes:
                bench_postgres(str(url), durability, batch, rows)
            bench_processes(str(url), durability)


if __name__ == "__main__":
    main()
