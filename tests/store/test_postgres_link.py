"""PostgreSQL: what happens when the server goes away, and what is special about it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.postgres import PostgresServer
from tests.store.builders import a_run, a_task_run, an_event, ended

from ostinato.clock import ManualClock
from ostinato.errors import SchemaError, SettingError, StaleEpochError, StoreError, StoreUnavailableError
from ostinato.records import Commit, RunEnd
from ostinato.states import State
from ostinato.store import migrate, postgres, postgres_link, postgres_session, statements
from ostinato.store.open import open_store
from ostinato.store.postgres import PostgresStore
from ostinato.store.revisions import HEAD

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    """A store with a clock that stands still."""
    store = PostgresStore(postgres_url, clock=ManualClock())
    yield store
    store.close()


@pytest.fixture
def raw(postgres_url: str) -> Iterator[psycopg.Connection]:
    """A connection beside the store's."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def end_backends(raw: psycopg.Connection) -> None:
    """End the server's side of every connection of a store."""
    raw.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'ostinato-%'")


def test_server_that_does_not_run_is_named(tmp_path) -> None:
    with pytest.raises(StoreUnavailableError, match=r"me@.*cannot be reached") as caught:
        open_store(f"postgresql://me:secret@/db?host={tmp_path}")
    assert "secret" not in str(caught.value)


def test_database_without_tables_asks_for_an_upgrade(postgres_server: PostgresServer) -> None:
    name = postgres_server.new_database()
    url = postgres_server.url(name)
    with pytest.raises(SchemaError, match="ostinato db upgrade"):
        open_store(url)
    assert migrate.current(url) is None
    assert migrate.upgrade(url) == (None, HEAD)
    assert migrate.upgrade(url) == (HEAD, HEAD)
    open_store(url).close()
    postgres_server.drop_database(name)


def test_database_of_another_program_or_a_newer_version_is_refused(postgres_url: str, raw: psycopg.Connection) -> None:
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    open_store(postgres_url).close()
    raw.execute("UPDATE fits_from SET revision = '9998'")
    with pytest.raises(SchemaError, match="newer Ostinato"):
        open_store(postgres_url)
    raw.execute("DROP TABLE task_run")
    with pytest.raises(SchemaError, match="another program"):
        open_store(postgres_url)


def test_missing_driver_is_named_with_its_extra() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from ostinato.store.open import open_store\n"
        "try: open_store('postgresql://x/y')\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert "SettingError" in done.stdout
    assert "ostinato[postgres]" in done.stdout


@pytest.mark.parametrize("url", ["mysql://x", "sqlite://x.db", "sqlite:///", ":memory:", ""])
def test_address_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(SettingError):
        open_store(url)


def test_durability_is_what_the_server_is_told(postgres_url: str) -> None:
    for durability, setting in (("durable", "on"), ("crash-safe", "off")):
        store = PostgresStore(postgres_url, durability=durability)
        with store._link._connection() as connection:
            assert connection.execute("SHOW synchronous_commit").fetchone() == (setting,)
        store.close()


def test_every_verb_goes_on_after_its_connections_were_ended(store: PostgresStore, raw: psycopg.Connection) -> None:
    run = a_run(store)
    for seq in range(3):
        end_backends(raw)
        store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, seq)]))
        end_backends(raw)
        assert len(list(store.load(run.id))) == seq + 1
        end_backends(raw)
        assert store.beat("w1").alive
    end_backends(raw)
    assert a_run(store, None, key="k").key == "k"
    end_backends(raw)
    assert store.sweep(["w1"])[0].state is State.CRASHED


def test_commit_waits_for_a_server_that_restarts() -> None:
    server = PostgresServer()
    try:
        name = server.new_database()
        migrate.upgrade(server.url(name))
        store = PostgresStore(server.url(name), lease=600)
        run = a_run(store)
        store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, 0)]))
        server.halt(signal.SIGQUIT)
        waiting = threading.Thread(
            target=lambda: store.commit(run.id, 1, Commit(task_runs=[a_task_run(run, 1)])), daemon=True
        )
        waiting.start()
        server.start()
        waiting.join(20)
        assert [row.seq for row in store.load(run.id)] == [0, 1], "what was acknowledged survived the crash"
        store.close()
    finally:
        server.stop()


def test_store_gives_up_on_a_server_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_link, "PATIENCE", 0.3)
    server = PostgresServer()
    try:
        name = server.new_database()
        migrate.upgrade(server.url(name))
        store = PostgresStore(server.url(name))
        run = a_run(store)
        server.halt(signal.SIGQUIT)
        with pytest.raises(StoreUnavailableError, match="cannot be reached"):
            store.commit(run.id, 1, Commit(task_runs=[a_task_run(run)]))
        store.close()
    finally:
        server.stop()


class AnswerLost:
    """Lets a commit reach the server, then loses the connection before its answer is read."""

    def __init__(self, store: PostgresStore, times: int = 1) -> None:
        self._link, self._times = store._link, times
        self._persist = store._link.persist
        self.tries = 0
        store._link.persist = self  # type: ignore[method-assign,assignment]

    def __call__(self, work):
        def losing(connection, lost):
            self.tries += 1
            result = work(connection, lost)
            if self.tries <= self._times:
                connection.close()
                raise psycopg.OperationalError("the answer was lost")
            return result

        return self._persist(losing)


def test_commit_whose_answer_was_lost_is_not_written_twice(store: PostgresStore) -> None:
    run = a_run(store)
    loser = AnswerLost(store)
    assert store.commit(run.id, 1, Commit(task_runs=[a_task_run(run)], events=[an_event(run)])) is False
    assert loser.tries == 2
    assert len(store.list_events()) == 1
    assert len(list(store.load(run.id))) == 1


def test_end_whose_answer_was_lost_is_not_taken_for_stale(store: PostgresStore) -> None:
    run = a_run(store)
    store.request_cancel(run.id)
    AnswerLost(store)
    finish = RunEnd(state=State.CANCELLED, finished_at=5)
    assert store.commit(run.id, 1, Commit(events=[an_event(run)], end=finish)) is True
    assert len(store.list_events()) == 1
    with pytest.raises(StaleEpochError):
        store.commit(run.id, 1, Commit(end=RunEnd(state=State.FAILED, finished_at=6)))


def test_reopen_whose_answer_was_lost_says_that_it_is_not_known(
    store: PostgresStore, raw: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended(store)
    # the backend dies when it is told to commit: a deferred trigger runs just then
    raw.execute("""
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER die AFTER UPDATE ON run DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION die()""")
    with pytest.raises(StoreUnavailableError, match="not known"):
        store.reopen(run.id, None)
    raw.execute("DROP TRIGGER die ON run")
    assert store.reopen(run.id, None).epoch == 2


def test_event_that_commits_late_is_not_passed_over(
    store: PostgresStore, postgres_url: str, raw: psycopg.Connection
) -> None:
    run = a_run(store)
    store.commit(run.id, 1, Commit(events=[an_event(run, "first")]))
    with psycopg.connect(postgres_url) as late:
        statement = statements.for_postgres(postgres_session.OWN[statements.INSERT_EVENT])
        late.execute(statement, {"at": 1, "kind": "late", "run_id": "x", "seq": None, "data": "{}"})
        store.commit(run.id, 1, Commit(events=[an_event(run, "second")]))
        seen = store.list_events()
        assert [stored.event.kind for stored in seen] == ["first"]
        late.commit()
    seen += store.list_events(after=seen[-1].id)
    assert [stored.event.kind for stored in seen] == ["first", "late", "second"]


def test_commit_takes_the_gate_before_the_numbers_of_its_events(store: PostgresStore, raw: psycopg.Connection) -> None:
    run = a_run(store)
    statement, values = postgres._compose(run.id, 1, Commit(events=[an_event(run)]), None, has_clock=True)
    with store._link._connection() as connection:
        connection.execute("BEGIN")
        connection.execute(statement, values | {"now": store.now()})
        (lowest,) = raw.execute(postgres._LOWEST_OPEN).fetchone() or (None,)
        given = raw.execute("SELECT last_value FROM event_id_seq").fetchone()
        assert (lowest, given) == (0, (1,))
        connection.execute("ROLLBACK")


def test_deadlock_and_conflicts_are_tried_again(store: PostgresStore) -> None:
    tries = []

    def work(tx) -> int:
        tries.append(1)
        tx.change("UPDATE worker SET pid = pid")
        if len(tries) < 3:
            raise psycopg.errors.DeadlockDetected
        return tx.change("INSERT INTO blob (hash, run_id) VALUES ('a', 'b')")

    original = psycopg.errors.DeadlockDetected.sqlstate
    assert original == "40P01"
    assert store._write(work) == 1
    assert len(tries) == 3


def test_what_is_put_and_refused_takes_its_transaction_along(store: PostgresStore) -> None:
    run = a_run(store)

    def work(tx) -> None:
        tx.put("UPDATE run SET flow = 'changed'")
        tx.put("INSERT INTO blob (hash) VALUES ('a')")

    with pytest.raises(StoreError, match="refused a row"):
        store._write(work)
    assert store.get_run(run.id).flow == run.flow


def test_what_is_put_is_seen_by_the_next_question(store: PostgresStore) -> None:
    def work(tx) -> tuple[list[object], int]:
        tx.put("INSERT INTO blob (hash, run_id) VALUES ('a', 'b'), ('a', 'c')")
        found = tx.ask(("SELECT count(*) FROM blob", {}), ("SELECT run_id FROM blob WHERE run_id > :id", {"id": "b"}))
        tx.put("INSERT INTO blob (hash, run_id) VALUES ('a', 'd')")
        return found, tx.change("DELETE FROM blob WHERE hash = :hash", hash="a")

    assert store._write(work) == ([[(2,)], [("c",)]], 3)


def test_statement_that_was_passed_over_is_prepared_when_it_is_run(store: PostgresStore) -> None:
    def work(tx, digest: str) -> list[object]:
        tx.put("INSERT INTO blob (hash, run_id) VALUES (:hash, 'b')", hash=digest)
        tx.put("UPDATE blob SET run_id = 'c' WHERE run_id = 'never'")
        return tx.rows("SELECT count(*) FROM blob")

    assert store._write(lambda tx: work(tx, "a")) == [(1,)]
    for _ in range(4):
        with pytest.raises(StoreError, match="refused a row"):
            store._write(lambda tx: work(tx, "a"))
    assert store._write(lambda tx: work(tx, "b")) == [(2,)]
