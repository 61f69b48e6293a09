"""Migrations: bring a database to the revision of this version, and render the schema as SQL.

Imports SQLAlchemy and Alembic, so only `ostinato db upgrade` and the tests load it. A fresh SQLite file does not need
it: it is made from `schema.sqlite.sql`, which ``python -m ostinato.store.migrate`` writes, with its PostgreSQL twin,
from the metadata in `schema.py`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from ostinato.errors import StoreUnavailableError
from ostinato.store import revisions, sqlite_file
from ostinato.store.filelock import FileLock
from ostinato.store.open import sqlite_path
from ostinato.store.schema import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE: Final = Path(__file__).parent
DIALECTS: Final[dict[str, Any]] = {"sqlite": sqlite.dialect, "postgres": postgresql.dialect}


def upgrade(url: str) -> tuple[str | None, str]:
    """Bring a database to the head revision; make its tables when there are none.

    Args:
        url: As for `ostinato.store.open.open_store`.

    Returns:
        The revision before and the one after.
    """
    with _connection(url) as connection:
        before = _revision(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return before, _revision(connection) or ""


def current(url: str) -> str | None:
    """Tell the revision of a database, None when it has none."""
    with _connection(url) as connection:
        return _revision(connection)


def head() -> str:
    """Tell the revision that the migrations lead to."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def render(name: Literal["sqlite", "postgres"]) -> str:
    """Write the whole schema as SQL for a dialect, stamped with the head revision."""
    dialect = DIALECTS[name]()
    lines = ["-- Made from schema.py by `python -m ostinato.store.migrate`: do not edit.", ""]
    for table in metadata.tables.values():
        lines.append(_sql(CreateTable(table), dialect))
        lines += [_sql(CreateIndex(index), dialect) for index in sorted(table.indexes, key=lambda i: str(i.name))]
    lines.append(
        "CREATE TABLE alembic_version (\n\tversion_num VARCHAR(32) NOT NULL, \n"
        "\tCONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)\n);\n"
    )
    lines.append(f"INSERT INTO alembic_version (version_num) VALUES ('{revisions.HEAD}');")  # noqa: S608
    if name == "sqlite":
        lines.append(f"PRAGMA application_id = {revisions.APPLICATION_ID};")
    return "\n".join(lines) + "\n"


def write_sql() -> list[Path]:
    """Write both renderings beside this file and return where."""
    paths = []
    for name in ("sqlite", "postgres"):
        path = HERE / f"schema.{name}.sql"
        path.write_text(render(name), encoding="utf-8")
        paths.append(path)
    return paths


def _sql(element: Any, dialect: Any) -> str:
    text = str(element.compile(dialect=dialect)).strip()
    return "\n".join(line.rstrip() for line in text.splitlines()) + ";\n"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


@contextlib.contextmanager
def _connection(url: str) -> Iterator[sa.Connection]:
    """Connect through SQLAlchemy: to SQLite under the file lock, to PostgreSQL by psycopg."""
    is_sqlite = "://" not in url or url.startswith("sqlite:")
    with contextlib.ExitStack() as stack:
        if is_sqlite:
            path = str(Path(sqlite_path(url)).expanduser().absolute())
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(path + ".lock")
            stack.callback(lock.close)
            lock.acquire()
            engine = sa.create_engine(
                "sqlite://", creator=lambda: sqlite_file.connect(path, "durable"), poolclass=sa.NullPool
            )
        else:
            address = sa.make_url(url).set(drivername="postgresql+psycopg")
            engine = sa.create_engine(address, poolclass=sa.NullPool)
        try:
            with engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise StoreUnavailableError(f"The database could not be upgraded: {error.orig}") from error


if __name__ == "__main__":
    for written in write_sql():
        print(written)  # noqa: T201
