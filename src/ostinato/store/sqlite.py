"""The store in one SQLite file.

One connection writes and one reads, each behind a lock. Every write transaction, of every process, first takes
the file lock beside the database and then ``BEGIN IMMEDIATE``; checkpoints happen only under that lock and never by
themselves (`filelock` says why). Reads are single statements, fetched at once, so they hold no snapshot that
would keep the write-ahead log from being reused.

```
commit:  rows made ──► thread lock ─► file lock ─► BEGIN ─ guard ─ puts ─ COMMIT ─► (checkpoint) ─► released
```

The log is overwritten in place after each checkpoint (PASSIVE, not TRUNCATE): overwriting blocks that exist makes
an fsync about a third quicker than growing the file again.
"""


# ruff: noqa: S608  what is put into these texts are names of our own columns and states, never a value

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ostinato.clock import SystemClock
from ostinato.errors import StaleEpochError, StoreUnavailableError
from ostinato.records import Commit, Pruned, RunEnd, StoredEvent, StoreInfo
from ostinato.store import batch, events, forgetting, happenings, slots, sqlite_file, statements, waits
from ostinato.store.revisions import HEAD
from ostinato.store.rows import TABLES, Row, clean, cleaned, columns, to_row
from ostinato.store.sql import SqlStore
from ostinato.store.statements_happenings import LOCK_HAPPENINGS, WITHDRAW_ASKS
from ostinato.store.statements_limits import LOCK_GATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import msgspec

    from ostinato.clock import Clock
    from ostinato.store.transactions import Session

T = TypeVar("T")

_CHECKPOINT_PAGES: Final = 2000
"""About how many pages (4 KiB) this process writes between two checkpoints."""
_PAGES_OF_A_COMMIT: Final = 3
_WATCH_EVERY: Final = 0.05
"""Seconds between two looks whether another process has committed; a look reads no file."""

_GUARD: Final = f"""
    SELECT run.cancel_requested_at, run.recoveries, run.awaited, run.commits, run.gates
    FROM run JOIN worker ON worker.id = run.worker_id
    WHERE run.id = ? AND run.epoch = ? AND run.state IN ({statements.LIVE_STATES}) AND worker.expires_at > ?"""
_END: Final = """
    UPDATE run SET state = ?, reason = ?, finished_at = ?, result = ?, error = ?, worker_id = NULL,
        recoveries = CASE WHEN ? = 'crashed' THEN recoveries ELSE 0 END
    WHERE id = ?"""
_NUMBERED: Final = "SELECT cancel_requested_at FROM run WHERE id = ? AND epoch = ? AND commits >= ?"
_NUMBER: Final = "UPDATE run SET commits = ? WHERE id = ?"
_WITHDRAW: Final = WITHDRAW_ASKS.replace(":run_id", "?")
_PROGRESS: Final = "UPDATE run SET recoveries = 0 WHERE id = ?"
_NEEDLESS: Final = (statements.SHARE_CATALOG, statements.CHANGE_CATALOG, LOCK_HAPPENINGS, LOCK_GATES)
"""A write transaction is alone here."""
_ORPHAN: Final = "UPDATE task_run SET orphaned = 1 WHERE run_id = ? AND seq = ?"
_REMOVE_LOGS: Final = """
    DELETE FROM log WHERE rowid IN (SELECT rowid FROM log ORDER BY rowid LIMIT :limit) AND first_at < :before"""
_REMOVE_STATE: Final = "DELETE FROM state_value WHERE run_id = ? AND task_run_id = ? AND name = ?"


def _put(table: str) -> str:
    names = columns(TABLES.get(table, batch.Blob))
    marks = ", ".join("?" * len(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) {statements.ON_CONFLICT[table]}"


_PUT: Final = {table: _put(table) for table in statements.ON_CONFLICT}


class SqliteStore(SqlStore):
    """A `Store` in one SQLite file, for any number of processes of one machine."""

    def __init__(
        self,
        path: str | Path,
        *,
        durability: str = "durable",
        clock: Clock | None = None,
        lease: float = 8.0,
        max_recoveries: int = 3,
    ) -> None:
        """Open the file; make it, and its directory, when there is none.

        Args:
            path: The file.
            durability: ``durable`` (what was acknowledged survives a loss of power) or ``crash-safe`` (it
                survives the end of any process).
            clock: What tells the time, the machine's clock if None.
            lease: Seconds that a worker's lease lasts.
            max_recoveries: How often in a row, without progress, a lost run goes back to its queue.

        Raises:
            StoreUnavailableError: If the file cannot be opened, made or read.
            SchemaError: If it is something else than a database of this version.
        """
        super().__init__(lease, max_recoveries)
        self.path = str(Path(path).expanduser().absolute())
        self._durability = durability
        self._clock = clock or SystemClock()
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._closed = False
        self._together = 0
        """The thread whose writes are committed together now."""
        self._handed_later: list[tuple[str, int]] = []
        """Who is to be woken when they are."""
        self._pages = 0
        self._lock, self._writer = sqlite_file.open_file(self.path, durability)
        self._identity = sqlite_file.identity(self.path)
        self._reader: sqlite3.Connection | None = None

    def now(self) -> int:
        """Return the instant now by the store's own clock, which judges leases."""
        return self._clock.now()

    def close(self) -> None:
        """Let go of the database. Closing twice is harmless."""
        with self._writing, self._reading:
            if self._closed:
                return
            self._closed = True
            # the last connection's close checkpoints; nobody else may at that moment
            with contextlib.suppress(OSError):
                self._lock.acquire()
            for connection in (self._reader, self._writer):
                if connection is not None:
                    with contextlib.suppress(sqlite3.Error):
                        connection.close()
            self._lock.close()

    # --- the hot path

    def commit(self, run_id: str, epoch: int, entries: Commit, *, number: int | None = None) -> bool:
        """Write what a running run did: all of it or nothing."""
        try:
            return self._commit(run_id, epoch, entries, number)
        except UnicodeEncodeError:
            return self._commit(run_id, epoch, batch.cleaned_entries(entries), number)

    def _commit(self, run_id: str, epoch: int, entries: Commit, number: int | None) -> bool:
        steps = _steps(run_id, entries)
        with self._transaction(sum(len(rows) for _, rows in steps)) as db:
            now = self._clock.now()
            guard = db.execute(_GUARD, (run_id, epoch, now)).fetchone()
            if number is not None and (guard is None or guard[3] >= number):
                if (written := db.execute(_NUMBERED, (run_id, epoch, number)).fetchone()) is not None:
                    return written[0] is not None
            elif number is not None:
                steps.append((_NUMBER, [(number, run_id)]))
            if guard is None:
                raise StaleEpochError(
                    f"Run {run_id} is no longer held in epoch {epoch}: its lease ended, another process took it "
                    f"up or it has ended. Nothing was written."
                )
            for statement, rows in steps:
                db.executemany(statement, rows)
            if guard[1] and entries.end is None and batch.shows_progress(entries):
                db.execute(_PROGRESS, (run_id,))
            session = _SqliteSession(db, self._clock)
            if entries.end is not None and guard[2]:
                waits.wake_waiters(session, [run_id], now)
            _follow(session, run_id, entries, now, has_gates=guard[4] is not None)
        self._hand_on(session)
        return guard[0] is not None

    @contextlib.contextmanager
    def _transaction(self, rows: int = 1) -> Iterator[sqlite3.Connection]:
        """Hold a write transaction: committed at the end, rolled back by any exception.

        Args:
            rows: About how many rows it writes, to know when a checkpoint is due.
        """
        if self._together == threading.get_ident():
            with self._part_of_one() as db:
                yield db
            return
        with self._writing:
            self._check_open()
            db = self._writer
            try:
                self._lock.acquire()
                try:
                    db.execute("BEGIN IMMEDIATE")
                    yield db
                    db.execute("COMMIT")
                    self._pages += rows + _PAGES_OF_A_COMMIT
                    if self._pages > _CHECKPOINT_PAGES:
                        self._checkpoint()
                finally:
                    if db.in_transaction:
                        sqlite_file.roll_back(db)
                    self._lock.release()
            except (sqlite3.Error, OSError) as error:
                raise sqlite_file.explain(error, self.path) from error

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Commit all that this thread writes meanwhile at once, at the end.

        Each write succeeds or fails by itself; what has succeeded counts only if the commit does.

        Raises:
            StoreError: If it does not: then nothing was written.
        """
        with self._transaction(0):
            self._together, self._handed_later = threading.get_ident(), []
            try:
                yield
            finally:
                self._together = 0
        if self._handed_later:
            self._handed_on(self._handed_later)

    @contextlib.contextmanager
    def _part_of_one(self) -> Iterator[sqlite3.Connection]:
        db = self._writer
        if not db.in_transaction:  # the database itself has rolled it back: the disk is full
            raise StoreUnavailableError("A write that was to be committed with others failed, and took them along.")
        try:
            db.execute("SAVEPOINT part")
            yield db
            db.execute("RELEASE part")
        except BaseException as error:
            if db.in_transaction:
                db.execute("ROLLBACK TO part")
                db.execute("RELEASE part")
            if isinstance(error, sqlite3.Error):
                raise sqlite_file.explain(error, self.path) from error
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailableError(f"The store {self.path} has been closed.")
        if sqlite_file.identity(self.path) != self._identity:
            raise StoreUnavailableError(
                f"The database file {self.path} has been moved, removed or replaced while it was in use. Put it "
                f"back and start again; nothing can be written until then."
            )

    def _checkpoint(self) -> None:
        """Move the log's content into the database; what readers still need stays for the next time."""
        self._pages = 0
        with contextlib.suppress(sqlite3.OperationalError):
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    # --- transactions of the other verbs

    def _write(self, work: Callable[[Session], T], *, again: bool = True) -> T:  # noqa: ARG002  there is no connection to lose
        with self._transaction() as db:
            session = _SqliteSession(db, self._clock)
            result = work(session)
        self._hand_on(session)
        return result

    def _hand_on(self, session: _SqliteSession) -> None:
        """Wake who has got slots, now that it is committed, or as soon as it is."""
        if not session.handed_on:
            return
        if self._together == threading.get_ident():
            self._handed_later += session.handed_on
        else:
            self._handed_on(session.handed_on)

    def _read(self, work: Callable[[Session], T]) -> T:
        if self._together == threading.get_ident():  # it must see what this thread has written and not committed yet
            with self._part_of_one() as db:
                return work(_SqliteSession(db, self._clock))
        with self._reading:
            if self._closed:
                raise StoreUnavailableError(f"The store {self.path} has been closed.")
            try:
                if self._reader is None:
                    self._reader = sqlite_file.connect(self.path, self._durability)
                    self._reader.execute("PRAGMA query_only = 1")
                return work(_SqliteSession(self._reader, self._clock))
            except sqlite3.Error as error:
                raise sqlite_file.explain(error, self.path) from error

    def _watch(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Look a few times a second at a number that changes with each commit of another connection."""
        ended = threading.Event()

        def version() -> int:
            with self._writing:
                return 0 if self._closed else int(self._writer.execute("PRAGMA data_version").fetchone()[0])

        def watch() -> None:
            before = version()
            while not ended.wait(_WATCH_EVERY) and not self._closed:
                with contextlib.suppress(sqlite3.Error):
                    if (after := version()) != before:
                        before = after
                        heard()

        threading.Thread(target=watch, name="ostinato-watch", daemon=True).start()
        return ended.set

    def list_events(self, run_id: str | None = None, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """List events in the order they were stored, from the first beyond `after`."""
        query = statements.EVENTS if run_id is None else statements.EVENTS_OF
        values = {"after": after, "limit": limit} | ({} if run_id is None else {"run_id": run_id})
        return events.stored(self._read(lambda tx: tx.rows(query, **values)))

    # --- retention: see `SqlRetention`

    def make_room(self) -> int:
        """Do nothing: there are no partitions here."""
        return 0

    def _forget_events(self, before: int, limit: int) -> Pruned:
        return self._write(lambda tx: forgetting.remove_events(tx, before, limit))

    def _forget_logs(self, before: int, limit: int) -> Pruned:
        """Look at the lines that were written first; the table has no index by age."""
        removed = self._write(lambda tx: tx.change(_REMOVE_LOGS, before=before, limit=limit))
        return Pruned(logs=removed, more=removed >= limit)

    def _size(self, tx: Session, table: str) -> int | None:  # noqa: ARG002  SQLite cannot tell
        return None

    def info(self) -> StoreInfo:
        """Describe the database."""

        def work(tx: Session) -> StoreInfo:
            names = (*TABLES, "blob")
            counts = {name: tx.rows(f"SELECT count(*) FROM {name}")[0][0] for name in names}
            return StoreInfo(
                dialect="sqlite",
                version=sqlite3.sqlite_version,
                location=self.path,
                revision=tx.rows("SELECT version_num FROM alembic_version")[0][0],
                head=HEAD,
                durability=self._durability,
                size=sqlite_file.size(self.path),
                counts=counts,
            )

        return self._read(work)


def _steps(run_id: str, entries: Commit) -> list[tuple[str, list[Row]]]:
    """Turn a commit's entries into statements with their rows, before any lock is taken."""
    steps: list[tuple[str, list[Row]]] = []
    for table, records in batch.puts(run_id, entries).items():
        make: Callable[[msgspec.Struct], Row] = to_row(type(records[0]))
        steps.append((_PUT[table], list(map(make, records))))
    if gone := batch.removed_states(entries):
        steps.append((_REMOVE_STATE, [(state.run_id, state.task_run_id, state.name) for state in gone]))
    if entries.orphans:
        steps.append((_ORPHAN, [(run_id, seq) for seq in entries.orphans]))
    if entries.end is not None:
        row = to_row(RunEnd)(entries.end)
        steps.append((_END, [(*row, row[0], run_id)]))
        steps.append((_WITHDRAW, [(run_id,)]))
    return steps


def _follow(session: Session, run_id: str, entries: Commit, now: int, *, has_gates: bool) -> None:
    """Do what follows from a commit for others, and for a run that suspends itself."""
    if entries.events and (keys := happenings.keys_of(entries.events)):
        happenings.wake(session, keys, now)
    if entries.suspend is not None:
        waits.mark_awaited(session, entries.suspend)
        waits.suspend(session, run_id, entries.suspend, now)
    if entries.leaves or (entries.end is not None and has_gates):
        slots.give_back(session, run_id, now, seqs=None if entries.end else entries.leaves)


class _SqliteSession:
    """An open transaction; lists are bound as JSON, texts cleaned."""

    def __init__(self, db: sqlite3.Connection, clock: Clock) -> None:
        self._db = db
        self.now = clock.now
        self.handed_on: list[tuple[str, int]] = []

    def rows(self, statement: str, **values: Any) -> list[Row]:
        """Run a query and return all its rows."""
        if statement in _NEEDLESS:
            return []
        return self._db.execute(statements.for_sqlite(statement), _bound(values)).fetchall()

    def ask(self, *questions: tuple[str, dict[str, Any]]) -> list[list[Row]]:
        """Run queries and return the rows of each."""
        return [self.rows(statement, **values) for statement, values in questions]

    def change(self, statement: str, **values: Any) -> int:
        """Run a statement that changes rows and return how many it touched."""
        return self._db.execute(statements.for_sqlite(statement), _bound(values)).rowcount

    def put(self, statement: str, **values: Any) -> None:
        """Run a statement of which nothing is asked."""
        if statement not in _NEEDLESS:
            self._db.execute(statements.for_sqlite(statement), _bound(values))

    def add(self, table: str, records: Sequence[msgspec.Struct]) -> None:
        """Insert many records of one kind at once; one whose key is there already is left out."""
        kind = TABLES[table]
        make: Callable[[msgspec.Struct], Row] = to_row(kind)
        marks = ", ".join("?" * len(columns(kind)))
        statement = f"INSERT INTO {table} ({', '.join(columns(kind))}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        try:
            self._db.executemany(statement, map(make, records))
        except UnicodeEncodeError:
            self._db.executemany(statement, [make(cleaned(record)) for record in records])


def _bound(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in values.items()}


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return sqlite_file.as_json(value)
    return value
