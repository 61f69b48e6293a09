"""Upgrades: what the shipped files make, what they leave alone, and old and new code at one database."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401

from ostinato.errors import SchemaError, StoreUnavailableError
from ostinato.records import RunFilter
from ostinato.states import State
from ostinato.store import migrate, rendering
from ostinato.store.open import open_store
from ostinato.store.revisions import HISTORY, History

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/x.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.url(server.new_database())


def execute(url: str, *statements: str) -> None:
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as db:
            for statement in statements:
                db.execute(statement)
        db.close()
        return
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
@pytest.mark.parametrize("revision", HISTORY.revisions)
def test_shipped_sql_of_a_revision_is_what_alembic_writes(revision: str, dialect: str) -> None:
    assert HISTORY.sql(revision, dialect) == rendering.render_revision(revision, dialect), (
        "run `python -m ostinato.store.migrate`"
    )


def test_rows_of_the_first_revision_survive_and_work(empty: str) -> None:
    first = History(HISTORY.folder, HISTORY.revisions[:1])
    assert migrate.upgrade(empty, history=first) == (None, "0001")
    execute(
        empty,
        """INSERT INTO worker (id, kind, host, pid, pid_started, version, started_at, expires_at)
        VALUES ('w', 'script', 'box', 1, '', '0', 1, 2)""",
        """INSERT INTO run (id, flow, state, epoch, attempt, recoveries, lineage, branch_cut, tags, version, created_at,
            worker_id) VALUES ('r', 'f', 'running', 1, 1, 0, 'r', '[]', '["t"]', '0', 5, 'w')""",
        """INSERT INTO task_run (run_id, seq, id, kind, task, key, state, epoch, attempt, failures, clears, created_at,
            critical, orphaned) VALUES ('r', 0, 'x', 'task', 'm.f', 'k', 'running', 1, 1, 0, 0, 5, TRUE, FALSE)""",
        "INSERT INTO event (at, kind, run_id, data) VALUES (1, 'run.started', 'r', '{}')",
    )
    with pytest.raises(SchemaError, match="ostinato db upgrade"):
        open_store(empty)
    assert migrate.upgrade(empty) == ("0001", HISTORY.needed)
    assert migrate.current(empty) == HISTORY.needed
    store = open_store(empty)
    run = store.get_run("r")
    assert (run.kind, run.queue, run.pool, run.commits, run.awaited, run.tags) == (
        "flow",
        "default",
        None,
        0,
        False,
        ["t"],
    )
    (worker,) = store.list_workers()
    assert (worker.pools, worker.slots, worker.resources, worker.draining) == ([], 0, "{}", False)
    assert [r.state for r in store.sweep()] == [State.CRASHED]
    assert [t.state for t in store.load("r")] == [State.CRASHED]
    assert store.requeue("r", "default").state is State.QUEUED
    assert [r.id for r in store.list_runs(RunFilter())] == ["r"]
    store.close()


def test_several_who_upgrade_at_once_do_it_once(empty: str) -> None:
    found: list[tuple[str | None, str]] = []
    threads = [threading.Thread(target=lambda: found.append(migrate.upgrade(empty))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    head = HISTORY.head
    assert sorted(found, key=str) == sorted([(None, head), *[(head, head)] * 3], key=str)


def invented(folder: Path, *, upto: int, contracting: bool = True) -> History:
    """Go on from the real history: 9001 adds a column, 9002 removes what code before 9001 used, 9003 adds again."""
    folder.mkdir(exist_ok=True)
    for revision in HISTORY.revisions:
        for dialect in ("sqlite", "postgres"):
            (folder / f"{revision}.{dialect}.sql").write_text(HISTORY.sql(revision, dialect))
    steps = {
        "9001": "ALTER TABLE pool ADD COLUMN colour TEXT; UPDATE alembic_version SET version_num = '9001';",
        "9002": "DROP INDEX run_deployment; UPDATE alembic_version SET version_num = '9002';",
        "9003": "ALTER TABLE pool ADD COLUMN shape TEXT; UPDATE alembic_version SET version_num = '9003';",
    }
    for revision, sql in steps.items():
        for dialect in ("sqlite", "postgres"):
            (folder / f"{revision}.{dialect}.sql").write_text(sql)
    return History(folder, (*HISTORY.revisions, *list(steps)[:upto]), frozenset({"9002"} if contracting else ()))


def test_code_of_the_version_before_goes_on_until_the_upgrade_is_finished(empty: str, tmp_path: Path) -> None:
    newer = invented(tmp_path / "sql", upto=2)
    migrate.upgrade(empty)
    before = open_store(empty)
    assert migrate.upgrade(empty, history=newer) == (HISTORY.head, "9001")
    before.secret("x")
    open_store(empty).close()
    newer.check("9001", "here")
    assert migrate.upgrade(empty) == ("9001", "9001"), "an older upgrade leaves it as it is"
    assert migrate.upgrade(empty, history=newer) == ("9001", "9001"), "what contracts waits"
    assert migrate.upgrade(empty, history=newer, finish=True) == ("9001", "9002")
    newer.check("9002", "here")
    with pytest.raises(SchemaError, match=r"newer Ostinato.*9002"):
        open_store(empty)
    with pytest.raises(SchemaError, match="newer Ostinato"):
        migrate.upgrade(empty)
    before.close()


def test_version_that_was_skipped_is_finished_by_the_next(empty: str, tmp_path: Path) -> None:
    newest = invented(tmp_path / "sql", upto=3)
    migrate.upgrade(empty)
    assert newest.needed == "9003"
    assert migrate.upgrade(empty, history=newest) == (HISTORY.head, "9003")
    with pytest.raises(SchemaError, match="newer"):
        open_store(empty)


def test_new_database_gets_everything_at_once(empty: str, tmp_path: Path) -> None:
    assert migrate.upgrade(empty, history=invented(tmp_path / "sql", upto=2)) == (None, "9002")


def test_revision_that_fails_leaves_the_one_before(empty: str, tmp_path: Path) -> None:
    broken = invented(tmp_path / "sql", upto=1)
    for dialect in ("sqlite", "postgres"):
        (broken.folder / f"9001.{dialect}.sql").write_text("CREATE TABLE made (x TEXT); SELECT nonsense FROM nowhere;")
    migrate.upgrade(empty)
    with pytest.raises(StoreUnavailableError, match="nowhere"):
        migrate.upgrade(empty, history=broken)
    assert migrate.current(empty) == HISTORY.head
    with pytest.raises(StoreUnavailableError):
        migrate.upgrade(empty, history=broken)
    open_store(empty).close()


def test_upgrade_loads_neither_alembic_nor_sqlalchemy(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from ostinato.store import migrate; migrate.upgrade(sys.argv[1]);"
        "print([m for m in ('alembic', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"sqlite:///{tmp_path}/x.db"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


WRITE_EVENT = """
    WITH guard AS MATERIALIZED (SELECT count(*) AS n FROM run),
        gate AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(last_value) IS NULL AS locked FROM event_id_seq, guard),
        line AS (INSERT INTO log (run_id, epoch, n, first_at, last_at, level, lines)
            SELECT %(run)s, 1, %(n)s, %(at)s, %(at)s, 20, '[]' FROM gate ON CONFLICT DO NOTHING)
    INSERT INTO event (at, kind, run_id, data, key)
    SELECT %(at)s, 'thing', %(run)s, '{}', 'k' FROM gate WHERE locked IS NOT NULL"""


def test_tables_become_partitions_beneath_a_writer_of_the_version_before(postgres_server: PostgresServer) -> None:
    url = postgres_server.url(postgres_server.new_database())
    before = History(HISTORY.folder, HISTORY.revisions[:3])
    migrate.upgrade(url, history=before)
    written, failed, going = [0], list[Exception](), threading.Event()
    done = threading.Event()

    def write() -> None:
        with psycopg.connect(url, autocommit=True, prepare_threshold=2) as connection:
            while not done.is_set():
                values = {"run": "r", "n": written[0] // 2, "at": 1_000_000 + written[0]}
                try:
                    connection.execute(WRITE_EVENT, values)
                except psycopg.errors.DeadlockDetected:
                    continue  # a worker tries it again
                except psycopg.Error as error:
                    failed.append(error)
                    return
                written[0] += 1
                if written[0] == 50:
                    going.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert going.wait(30)
    assert migrate.upgrade(url) == ("0003", HISTORY.head)
    goal = written[0] + 50
    while written[0] < goal and thread.is_alive():
        done.wait(0.01)
    done.set()
    thread.join(30)
    assert not failed
    store = open_store(url)
    events = store.list_events(None, limit=100_000)
    assert [event.id for event in events] == list(range(1, written[0] + 1))
    assert len(store.read_logs("r", limit=100_000)) == -(-written[0] // 2)
    found = store.find_event("thing", "k")
    assert found is not None
    assert found.id == 1
    store.close()
    with psycopg.connect(url) as connection:
        kept = connection.execute("SELECT tableoid::regclass::text, count(*) FROM event GROUP BY 1").fetchall()
        assert kept == [("event_0", written[0])]
        (checks,) = (
            connection.execute("SELECT count(*) FROM pg_constraint WHERE conname LIKE '%_bound'").fetchone() or ()
        )
        assert checks == 0


def test_conversion_that_broke_off_is_taken_up_again(postgres_server: PostgresServer) -> None:
    url = postgres_server.url(postgres_server.new_database())
    migrate.upgrade(url, history=History(HISTORY.folder, HISTORY.revisions[:3]))
    execute(url, "INSERT INTO event (at, kind, run_id, data) VALUES (1, 'run.started', 'r', '{}')")
    whole = HISTORY.sql("0004", "postgres")
    parts = whole.split("COMMIT; BEGIN;")
    for upto in range(1, len(parts)):
        execute(url, "BEGIN;" + "COMMIT; BEGIN;".join(parts[:upto]) + "COMMIT;")
        assert migrate.current(url) == "0003"
    migrate.upgrade(url)
    store = open_store(url)
    assert [event.event.kind for event in store.list_events()] == ["run.started"]
    store.close()
