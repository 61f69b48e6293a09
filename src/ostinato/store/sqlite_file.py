"""A SQLite file: opened, made when there is none, looked at with suspicion, and its errors explained."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.errors import SchemaError, StoreError, StoreUnavailableError
from ostinato.store import revisions
from ostinato.store.filelock import FileLock
from ostinato.store.rows import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYNCHRONOUS: Final = {"durable": "FULL", "crash-safe": "NORMAL"}
_OLDEST: Final = (3, 35, 0)
_PATIENCE: Final = 10.0
"""Seconds to wait for a program that locks the database without taking our file lock."""


def open_file(path: str, durability: str) -> tuple[FileLock, sqlite3.Connection]:
    """Open a database for writing, with its file lock; make it when there is none.

    Raises:
        StoreUnavailableError: If it cannot be opened, made or read.
        SchemaError: If it is something else than a database of this version.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise StoreUnavailableError(
            f"SQLite {'.'.join(map(str, _OLDEST))} or later is needed; this Python comes with {sqlite3.sqlite_version}."
        )
    lock: FileLock | None = None
    try:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(path + ".lock")
        with _held(lock):
            db = connect(path, durability)
            try:
                _prepare(db, path)
            except BaseException:
                db.close()
                raise
    except (sqlite3.Error, OSError, StoreError) as error:
        if lock is not None:
            lock.close()
        if isinstance(error, StoreError):
            raise
        raise explain(error, path) from error
    return lock, db


@contextlib.contextmanager
def _held(lock: FileLock) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def connect(path: str, durability: str) -> sqlite3.Connection:
    """Open a connection that never checkpoints by itself."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE, cached_statements=256)
    try:
        db.executescript(
            f"""PRAGMA synchronous = {_SYNCHRONOUS[durability]};
            PRAGMA wal_autocheckpoint = 0;
            PRAGMA journal_size_limit = {64 << 20};
            PRAGMA cache_size = {-(16 << 10)};
            PRAGMA temp_store = MEMORY;"""
        )
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: str) -> None:
    """Look whether the database is ours and of this version; make it when it is empty."""
    try:
        found = db.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise _not_ours(path) from None
        _make(db)
        return
    if db.execute("PRAGMA application_id").fetchone()[0] != revisions.APPLICATION_ID:
        raise _not_ours(path)
    revision = found[0][0] if found else None
    revisions.HISTORY.check(revision, path, _fits_from(db))
    db.execute("PRAGMA journal_mode = WAL")


def _fits_from(db: sqlite3.Connection) -> str | None:
    """Tell the oldest revision whose code fits the database, None for one too old to know."""
    try:
        found = db.execute("SELECT revision FROM fits_from").fetchone()
    except sqlite3.OperationalError:
        return None
    return found[0] if found else None


def _not_ours(path: str) -> SchemaError:
    return SchemaError(
        f"{path} is a SQLite database, but of another program: Ostinato's tables are not in it. Name another file "
        f"in OSTINATO_DATABASE; it is made when there is none."
    )


def _make(db: sqlite3.Connection) -> None:
    script = Path(__file__).with_name("schema.sqlite.sql").read_text(encoding="utf-8")
    db.execute("PRAGMA journal_mode = WAL")
    try:
        db.executescript(f"BEGIN IMMEDIATE;\n{script}\nCOMMIT;")
    except BaseException:
        roll_back(db)
        raise


def roll_back(db: sqlite3.Connection) -> None:
    """Undo what a transaction has done; where SQLite has already done so, nothing."""
    with contextlib.suppress(sqlite3.Error):
        db.execute("ROLLBACK")


def identity(path: str) -> tuple[int, int] | None:
    """Tell which file is at a path, None when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116  on the hot path
    except OSError:
        return None
    return found.st_dev, found.st_ino


def size(path: str) -> int:
    """Tell the bytes that the database and its log take on disk."""
    total = 0
    for name in (path, path + "-wal"):
        with contextlib.suppress(OSError):
            total += Path(name).stat().st_size
    return total


def as_json(values: list[Any]) -> str:
    """Write a list for ``json_each``."""
    return msgspec.json.encode([clean(value) if isinstance(value, str) else value for value in values]).decode()


def explain(error: sqlite3.Error | OSError, path: str) -> StoreError:
    """Say what an error means for the one who operates this: what happened, and what to do."""
    if isinstance(error, OSError):
        return StoreUnavailableError(
            f"The database {path} cannot be used: {error.strerror or error}"
            f"{f' ({error.filename})' if error.filename else ''}. Ostinato needs a directory it can write to; set "
            f"OSTINATO_HOME or OSTINATO_DATABASE to another one."
        )
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _MEANINGS:
        kind, text = _MEANINGS[code]
        return kind(" ".join(text.split()).format(path=path, error=error))
    if isinstance(error, sqlite3.IntegrityError):
        return StoreError(
            f"The database {path} refused a row: {error}. This is a defect of Ostinato: please report it."
        )
    return StoreUnavailableError(f"The database {path} failed: {error}.")


_DENIED: Final = (
    StoreUnavailableError,
    """The database {path} cannot be opened or written ({error}). Look at the rights and mount options of its
    directory, or name another file in OSTINATO_DATABASE.""",
)
_LOCKED: Final = (
    StoreUnavailableError,
    """Another program holds the database {path} locked ({error}). Close what has it open (a database browser, a
    backup) and try again.""",
)
_MEANINGS: Final[dict[int, tuple[type[StoreError], str]]] = {
    sqlite3.SQLITE_FULL: (
        StoreUnavailableError,
        """The disk with {path} is full, nothing was written. Make room (`ostinato db prune` helps later) and
        resume.""",
    ),
    sqlite3.SQLITE_IOERR: (
        StoreUnavailableError,
        """Reading or writing {path} failed ({error}), nothing was written. Look at the disk: it may be full,
        read-only, detached or failing.""",
    ),
    sqlite3.SQLITE_CORRUPT: (
        SchemaError,
        """The database {path} is damaged ({error}). Keep a copy; `sqlite3 {path} .recover` may save what is in it.
        Name another file in OSTINATO_DATABASE to go on with.""",
    ),
    sqlite3.SQLITE_NOTADB: (
        SchemaError,
        """{path} is not a SQLite database ({error}), or it is damaged at its very beginning. Name another file in
        OSTINATO_DATABASE; it is made when there is none.""",
    ),
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: _DENIED,
    sqlite3.SQLITE_CANTOPEN: _DENIED,
    sqlite3.SQLITE_PERM: _DENIED,
}
