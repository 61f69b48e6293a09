"""One schema: the metadata, the rendered SQL, the migrations, the records and the statements agree."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ostinato.access import Role
from ostinato.states import TERMINAL, State
from ostinato.store import migrate, rendering, revisions, schema, statements
from ostinato.store.rows import TABLES, cleaned, columns, kinds, to_record, to_row
from ostinato.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import PostgresServer


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
def test_rendered_schema_is_up_to_date(name: str) -> None:
    committed = (rendering.HERE / f"schema.{name}.sql").read_text(encoding="utf-8")
    assert committed == rendering.render(name), "run `python -m ostinato.store.migrate`"  # type: ignore[arg-type]


@pytest.mark.parametrize("table", TABLES)
def test_columns_are_the_fields_of_the_record_in_order(table: str) -> None:
    names = [column.name for column in schema.metadata.tables[table].columns]
    assert tuple(names[1:] if table == "event" else names) == columns(TABLES[table])


@pytest.mark.parametrize("table", TABLES)
def test_column_is_nullable_where_its_field_may_be_none(table: str) -> None:
    for field in msgspec.structs.fields(TABLES[table]):
        may_be_none = "None" in str(TABLES[table].__annotations__[field.name])
        if (table, field.name) != ("state_value", "value"):
            assert schema.metadata.tables[table].columns[field.name].nullable is may_be_none, field.name


def test_heads_of_the_migrations_and_of_the_store_are_the_same() -> None:
    versions = sorted(path.name[:4] for path in (rendering.HERE / "migrations" / "versions").glob("[0-9]*.py"))
    assert versions == list(revisions.HISTORY.revisions)
    assert versions[-1] == revisions.HEAD


def sqlite_schema(path: Path) -> tuple[dict[str, str], int]:
    db = sqlite3.connect(path)
    rows = db.execute("SELECT type || ' ' || name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    application = db.execute("PRAGMA application_id").fetchone()[0]
    db.close()
    return {name: re.sub(r"\s+(?=[,)])", "", re.sub(r"\s+", " ", sql)).strip() for name, sql in rows}, application


def test_sqlite_file_is_the_same_whether_made_at_once_or_by_migrations(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "made.db").close()
    assert migrate.upgrade(f"sqlite:///{tmp_path}/migrated.db") == (None, revisions.HEAD)
    made, migrated = sqlite_schema(tmp_path / "made.db"), sqlite_schema(tmp_path / "migrated.db")
    assert made == migrated
    assert made[1] == revisions.APPLICATION_ID
    assert migrate.current(str(tmp_path / "made.db")) == revisions.HEAD
    SqliteStore(tmp_path / "migrated.db").close()


POSTGRES_SCHEMA = """
    SELECT 'column', table_name || '.' || column_name,
        concat_ws(' ', ordinal_position, data_type, is_nullable, collation_name, identity_generation)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    ORDER BY 1, 2"""


def test_postgres_database_is_the_same_whether_made_at_once_or_by_migrations(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = postgres_server.new_database()
    with psycopg.connect(postgres_server.url(name), autocommit=True) as made, psycopg.connect(postgres_url) as migrated:
        made.execute((rendering.HERE / "schema.postgres.sql").read_text())  # type: ignore[call-overload]
        expected = made.execute(POSTGRES_SCHEMA).fetchall()
        assert expected == migrated.execute(POSTGRES_SCHEMA).fetchall()
        assert made.execute("SELECT * FROM alembic_version").fetchall() == [(revisions.HEAD,)]
    assert len(expected) > 100
    postgres_server.drop_database(name)


def is_no_partition(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or not re.fullmatch(r"(event|log)_(\w+)", name or "")


def test_migrations_and_metadata_agree_in_alembics_own_eyes(postgres_url: str, tmp_path: Path) -> None:
    migrate.upgrade(f"sqlite:///{tmp_path}/x.db")
    for url in (f"sqlite:///{tmp_path}/x.db", postgres_url.replace("postgresql://", "postgresql+psycopg://")):
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"include_name": is_no_partition})
            assert compare_metadata(context, schema.metadata) == []
        engine.dispose()


def test_state_checks_are_the_states(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "x.db").close()
    tables, _ = sqlite_schema(tmp_path / "x.db")
    for name in ("run", "task_run", "attempt"):
        found = re.search(r"CHECK \(state IN \(([^)]*)\)", tables[f"table {name}"])
        assert found is not None
        assert re.findall(r"'(\w+)'", found[1]) == [str(state) for state in State]


def test_conditions_of_open_and_of_failed_runs_are_those_of_their_indexes() -> None:
    conditions = {index.name: str(index.dialect_options["sqlite"]["where"]) for index in schema.run.indexes}
    assert (conditions["run_open"], conditions["run_failed"]) == (statements.OPEN, statements.FAILED)
    assert set(re.findall(r"'(\w+)'", statements.OPEN)) == {str(state) for state in set(State) - TERMINAL}


PLANS = {
    "listing of live runs": (
        f"SELECT id FROM run WHERE state = ANY(:states) AND {statements.OPEN} ORDER BY created_at DESC, id DESC",
        {"states": "[]"},
        "run_open",
    ),
    "listing of failed runs": (
        f"SELECT id FROM run WHERE state = ANY(:states) AND {statements.FAILED} ORDER BY created_at DESC, id DESC",
        {"states": "[]"},
        "run_failed",
    ),
    "what a worker holds": (statements.HELD_BY, {"id": "x"}, "run_worker"),
    "tickets to claim": (
        statements.LOCK_TICKETS,
        {"pool": "p", "priority": 0, "after": 0, "limit": 1},
        "ticket_order",
    ),
    "who waits for a run": (statements.WAITERS, {"ids": "[]"}, "wait_key"),
    "what is due": (statements.WAITS_DUE, {"now": 1, "limit": 1}, "wait_due"),
    "runs of a deployment": (
        "SELECT id FROM run WHERE deployment = :name ORDER BY created_at DESC, id DESC",
        {"name": "d"},
        "run_deployment",
    ),
    "run by key": (statements.RUN_BY_KEY, {"flow": "f", "key": "k"}, "run_key"),
    "events of a run": (statements.EVENTS_OF, {"run_id": "x", "after": 0, "limit": 1}, "event_run"),
    "ended runs": (statements.ENDED, {"before": 1, "after_at": 0, "after_id": "", "limit": 1}, "run_finished"),
    "what reaches a run": (statements.REACHED_BY, {"ids": "[]"}, "run_branch"),
    "blobs of a run": (statements.BLOBS_OF, {"owners": "[]"}, "blob_run"),
    "expired cache": (statements.EXPIRED, {"now": 1, "limit": 1}, "cache_expires"),
}


@pytest.mark.parametrize("what", PLANS)
def test_query_uses_its_index(what: str, tmp_path: Path) -> None:
    statement, values, index = PLANS[what]
    SqliteStore(tmp_path / "x.db").close()
    db = sqlite3.connect(tmp_path / "x.db")
    plan = db.execute("EXPLAIN QUERY PLAN " + statements.for_sqlite(statement), values).fetchall()
    details = [row[3] for row in plan]
    assert any(index in detail for detail in details), details
    assert not any(re.match(r"SCAN (run|task_run|event|blob|cache)\b(?!.*INDEX)", detail) for detail in details), (
        details
    )
    db.close()


def test_statements_are_translated_for_each_driver() -> None:
    shared = "SELECT x::text, ':y' FROM t WHERE a = :a AND b = ANY(:b) AND right(c, 3) LIKE '%' FOR UPDATE SKIP LOCKED"
    assert statements.for_postgres(shared).endswith(
        "WHERE a = %(a)s AND b = ANY(%(b)s) AND right(c, 3) LIKE '%%' FOR UPDATE SKIP LOCKED"
    )
    assert statements.for_sqlite(shared).endswith(
        "a = :a AND b IN (SELECT value FROM json_each(:b)) AND substr(c, -3) LIKE '%'"
    )


@pytest.mark.parametrize("table", TABLES)
def test_record_becomes_a_row_and_the_same_record_again(table: str) -> None:
    record = TABLES[table]
    samples = {str: "a", int: 7, bool: True, bytes: b"\x00", list: ["x", "y"], State: State.WAITING, Role: Role.ADMIN}
    samples[float] = 0.5
    full = record(**{name: samples[kind] for name, kind in kinds(record).items()})
    row = to_row(record)(full)
    assert {type(cell) for cell in row} <= {str, int, float, bool, bytes}
    assert to_record(record)(row) == full


def test_cleaning_replaces_what_no_database_can_keep_and_nothing_else() -> None:
    event = TABLES["event"](at=1, kind="a\0b\ud800c\U0001f600", run_id="r")
    assert cleaned(event).kind == "a\ufffdb\ufffdc\U0001f600"  # type: ignore[attr-defined]
    plain = TABLES["event"](at=1, kind="plain", run_id="r")
    assert cleaned(plain) is plain
