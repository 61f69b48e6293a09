"""Migrations: bring a database to the revision of this version, with the raw drivers.

Each revision is SQL in ``migrations/<revision>.<dialect>.sql``, written by Alembic when it was made (`rendering.py`,
``python -m ostinato.store.migrate``). It is applied in one transaction, under the file lock of SQLite or an advisory
lock of PostgreSQL, so that several who upgrade at once do it once.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ostinato.errors import SchemaError, StoreUnavailableError
from ostinato.store import sqlite_file
from ostinato.store.filelock import FileLock
from ostinato.store.open import sqlite_path
from ostinato.store.revisions import HISTORY, History

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK: Final = 0x4F53746D
_ABSENT: Final = ("no such table", "does not exist")
_BUSY: Final = ("40P01", "55P03")
"""A deadlock with somebody who works, or a lock that did not come in time."""
_TRIES: Final = 10
_PAUSE: Final = 0.3


class _Database(Protocol):
    """A database that is being upgraded, nobody else at it."""

    dialect: str

    def rows(self, query: str) -> list[Any]: ...

    def script(self, text: str) -> None:
        """Run statements in one transaction."""
        ...


def upgrade(url: str, *, finish: bool = False, history: History = HISTORY) -> tuple[str | None, str]:
    """Bring a database to the last revision that expands, or, to finish, to the last; make it when it is empty.

    Args:
        url: As for `ostinato.store.open.open_store`.
        finish: Whether revisions that contract come too: no process of a version before runs any more. A new
            database gets them in any case.
        history: The revisions.

    Returns:
        The revision before and the one after.

    Raises:
        SchemaError: If the database is newer than the history and does not fit it.
        StoreUnavailableError: If it cannot be reached or changed.
    """
    with _opened(url) as database:
        before = _revision(database)
        if before is not None and before not in history.revisions:
            history.check(before, url.rpartition("@")[2], _fits_from(database))
            return before, before
        start = 0 if before is None else history.revisions.index(before) + 1
        stop = len(history.revisions)
        if before is not None and not finish:
            stop = history.revisions.index(history.needed) + 1
        for revision in history.revisions[start:stop]:
            database.script(history.sql(revision, database.dialect) + _fit(history, revision))
        return before, _revision(database) or ""


def current(url: str) -> str | None:
    """Tell the revision of a database, None when it has none."""
    with _opened(url) as database:
        return _revision(database)


def _fit(history: History, revision: str) -> str:
    if revision not in history.contracting:
        return ""
    return f"\nUPDATE fits_from SET revision = '{history.fits_from(revision)}';"


def _revision(database: _Database) -> str | None:
    found = _cell(database, "SELECT version_num FROM alembic_version")
    return None if found is None else str(found)


def _fits_from(database: _Database) -> str | None:
    found = _cell(database, "SELECT revision FROM fits_from")
    return None if found is None else str(found)


def _cell(database: _Database, query: str) -> Any:
    try:
        rows = database.rows(query)
    except Exception as error:
        if any(text in str(error) for text in _ABSENT):
            return None
        raise
    return rows[0][0] if rows else None


@contextlib.contextmanager
def _opened(url: str) -> Iterator[_Database]:
    if "://" not in url or url.startswith("sqlite:"):
        with _sqlite(str(Path(sqlite_path(url)).expanduser().absolute())) as database:
            yield database
    else:
        with _postgres("postgresql://" + url.partition("://")[2]) as database:
            yield database


class _Sqlite:
    dialect = "sqlite"

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def rows(self, query: str) -> list[Any]:
        return self._db.execute(query).fetchall()

    def script(self, text: str) -> None:
        """Run statements in one transaction."""
        try:
            self._db.executescript(f"BEGIN IMMEDIATE;\n{text}\nCOMMIT;")
        except BaseException:
            sqlite_file.roll_back(self._db)
            raise


@contextlib.contextmanager
def _sqlite(path: str) -> Iterator[_Database]:
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(path + ".lock")
    try:
        lock.acquire()
        with contextlib.closing(sqlite_file.connect(path, "durable")) as db:
            db.execute("PRAGMA journal_mode = WAL")
            yield _Sqlite(db)
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"The database {path} could not be upgraded: {error}.") from error
    finally:
        lock.close()


class _Postgres:
    dialect = "postgres"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, query: str) -> list[Any]:
        return list(self._connection.execute(query).fetchall())

    def script(self, text: str) -> None:
        """Run statements in one transaction; again where others held what it needs."""
        for left in reversed(range(_TRIES)):
            try:
                self._connection.execute(f"BEGIN;\n{text}\nCOMMIT;")
            except Exception as error:
                if not left or getattr(error, "sqlstate", None) not in _BUSY:
                    raise
                self._connection.execute("ROLLBACK")
                time.sleep(_PAUSE)
            else:
                return


@contextlib.contextmanager
def _postgres(url: str) -> Iterator[_Database]:
    try:
        import psycopg
    except ModuleNotFoundError as error:
        raise SchemaError("PostgreSQL needs the driver psycopg: pip install 'ostinato[postgres]'.") from error
    try:
        with contextlib.closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
            yield _Postgres(connection)
    except psycopg.Error as error:
        raise StoreUnavailableError(f"The database could not be upgraded: {error}") from error


if __name__ == "__main__":
    from ostinato.store.rendering import write_sql

    for written in write_sql():
        print(written)  # noqa: T201
