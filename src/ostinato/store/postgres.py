"""The store in PostgreSQL.

A commit is one statement, hence one transaction and one round trip: a guard that locks the run's row and yields it
only if the epoch, the state and the lease allow the commit, and one data-modifying CTE for each table, fed by the
guard. Each table's rows travel as one JSON parameter, so a batch of any size is the same prepared statement.

```
WITH guard AS (SELECT … FROM run JOIN worker … FOR NO KEY UPDATE OF run),
     put_task_run AS (INSERT INTO task_run SELECT r.… FROM guard, json_to_recordset(…) AS r (…) ON CONFLICT …),
     put_event AS (…) …
SELECT cancel_requested_at FROM guard          no row: the epoch is stale, and nothing was written
```

Numbers of events are given before their transactions commit, so a reader that goes by number could pass over one
that comes late. A transaction that adds events therefore first takes a shared advisory lock which says above what
number its own will be, and a reader of all events stops at the lowest such number.
"""


# ruff: noqa: S608  what is put into these texts are names of our own columns and states, never a value

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import psycopg
from psycopg import errors

from ostinato.errors import StaleEpochError, StoreError, StoreUnavailableError
from ostinato.records import Commit, Run, StoredEvent, StoreInfo
from ostinato.states import State
from ostinato.store import batch, events, happenings, slots, statements, waits
from ostinato.store.claiming import Marks
from ostinato.store.gating import RUN
from ostinato.store.postgres_hints import Hints
from ostinato.store.postgres_link import Link, is_passing
from ostinato.store.postgres_retention import PostgresRetention
from ostinato.store.postgres_session import GATE, SERVER_NOW, SPACE, TYPES, PostgresSession, encode
from ostinato.store.revisions import HEAD
from ostinato.store.rows import TABLES, Row, cleaned, kinds
from ostinato.store.skew import Skew
from ostinato.store.sql import SqlStore
from ostinato.store.statements_happenings import WITHDRAW_ASKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.clock import Clock
    from ostinato.store.gating import Who
    from ostinato.store.postgres_link import Connection
    from ostinato.store.postgres_session import Step
    from ostinato.store.transactions import Session

T = TypeVar("T")

_BLOB: Final[dict[str, type]] = {"hash": str, "run_id": str}

_GIVEN: Final = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM event_id_seq"
_Found = tuple[bool, bool, bool]
"""Of a run: whether somebody asked to cancel it, whether one awaits it, whether it passes gates."""
_LOWEST_OPEN: Final = f"""
    SELECT min(((classid::bigint & 65535) << 32) | objid::bigint) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = {SPACE}
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


class PostgresStore(PostgresRetention, SqlStore):
    """A `Store` in a PostgreSQL database, for any number of processes and machines."""

    def __init__(
        self,
        url: str,
        *,
        durability: str = "durable",
        clock: Clock | None = None,
        lease: float = 8.0,
        max_recoveries: int = 3,
    ) -> None:
        """Connect to the database.

        Args:
            url: ``postgresql://user@host/database``, or anything else that libpq understands.
            durability: ``durable`` (what was acknowledged survives a loss of power) or ``crash-safe`` (it
                survives the end of any process, the server's postmaster excepted).
            clock: What tells the time, the server's clock if None.
            lease: Seconds that a worker's lease lasts.
            max_recoveries: How often in a row, without progress, a lost run goes back to its queue.

        Raises:
            StoreUnavailableError: If the server cannot be reached.
            SchemaError: If the database is older or newer than this version, or not ours.
        """
        super().__init__(lease, max_recoveries)
        self._marks = Marks()
        self._durability = durability
        self._clock = clock
        self._link = Link(url, durability)
        self._skew = Skew()
        self._hints = Hints(self._link)

    def now(self) -> int:
        """Return the instant now by the store's own clock, which judges leases."""
        if self._clock is not None:
            return self._clock.now()
        return self._skew.now(lambda: self._read(lambda tx: tx.now()))

    def close(self) -> None:
        """Let go of the database. Closing twice is harmless."""
        self._hints.close()
        self._link.close()

    # --- the hot path

    def create(self, run: Run) -> Run:
        """Insert a run, or return the one that has its id, or its flow and key, already.

        One that is to be queued, and has no key, is there already only if this is the repetition of a request. So it
        is taken to be new, which makes all of it one round trip; where the database refuses it, it is looked for.
        """
        if run.key is None and run.state is State.QUEUED:
            try:
                return self._create(run, is_new=True)
            except StoreError as error:
                if not isinstance(error.__cause__, errors.UniqueViolation):
                    raise
        return self._create(run, is_new=False)

    def commit(self, run_id: str, epoch: int, entries: Commit, *, number: int | None = None) -> bool:
        """Write what a running run did: all of it or nothing."""
        has_clock = self._clock is not None
        composed = _compose(run_id, epoch, entries, number, has_clock=has_clock)

        handed_on: list[Who] = []

        def work(connection: Connection, lost: int | None) -> _Found | None:
            statement, values = composed
            rest = entries
            if lost is not None:
                self._link.end_backend(connection, lost)
                if (gone := _gone(connection, run_id, epoch, entries)) is not None:
                    return gone
                if number is None and _has_events(connection, entries):
                    rest = msgspec.structs.replace(entries, events=[])
                    statement, values = _compose(run_id, epoch, rest, number, has_clock=has_clock)
            if self._clock is not None:
                values["now"] = self._clock.now()
            if entries.suspend is not None or entries.leaves or happenings.keys_of(rest.events):
                handed_on.clear()
                return self._commit_with_others(connection, run_id, rest, (statement, values), handed_on)
            return _put(PostgresSession(connection, self._clock), (statement, values))

        found = self._link.persist(work)
        if found is None and number is not None:
            found = self._link.persist(lambda connection, _: _numbered(connection, run_id, epoch, number))
        if found is None:
            raise StaleEpochError(
                f"Run {run_id} is no longer held in epoch {epoch}: its lease ended, another process took it "
                f"up or it has ended. Nothing was written."
            )
        self._handed_on(handed_on)
        if entries.end is not None:
            self._after_end(run_id, is_awaited=found[1], has_gates=found[2] and RUN not in entries.leaves)
        return found[0]

    def _commit_with_others(
        self, connection: Connection, run_id: str, entries: Commit, composed: Step, handed_on: list[Who]
    ) -> _Found | None:
        """Commit a suspension, events that others may wait for, slots that are returned.

        What runs and events are about is locked before the run itself, the gates after it.
        """
        tx = PostgresSession(connection, self._clock, begins=True)
        keys = happenings.keys_of(entries.events)
        if entries.suspend is not None:
            waits.mark_awaited(tx, entries.suspend, keys)
        else:
            happenings.lock(tx, keys)
        found = _put(tx, composed)
        if found is None:
            connection.execute("ROLLBACK")
            return None
        woken: object = happenings.wake(tx, keys, tx.now())
        if entries.suspend is not None:
            woken = waits.suspend(tx, run_id, entries.suspend, tx.now()) or woken
        if entries.leaves:
            slots.give_back(tx, run_id, tx.now(), seqs=entries.leaves)
        tx.commit()
        handed_on += tx.handed_on
        if woken or keys:
            self._hint()
        return found

    def _after_end(self, run_id: str, *, is_awaited: bool, has_gates: bool) -> None:
        """Wake those who wait; where that fails `wake` repairs it, for the end itself is committed."""
        with contextlib.suppress(StoreUnavailableError):
            if is_awaited:
                self._write(lambda tx: waits.wake_waiters(tx, [run_id], tx.now()))
            if has_gates:
                self._write(lambda tx: slots.give_back_of_ended(tx, run_id, tx.now()))
        self._hint()

    # --- transactions of the other verbs

    def _read(self, work: Callable[[Session], T]) -> T:
        return self._link.persist(lambda connection, _: work(PostgresSession(connection, self._clock)))

    def _write(self, work: Callable[[Session], T], *, again: bool = True) -> T:
        handed_on: list[Who] = []

        def attempt(connection: Connection, _: int | None) -> T:
            tx = PostgresSession(connection, self._clock, begins=True)
            result = work(tx)
            handed_on[:] = tx.handed_on
            try:
                tx.commit()
            except psycopg.Error as error:
                if again or not connection.closed or not is_passing(error):
                    raise
                raise StoreUnavailableError(
                    f"The connection to {self._link.location} was lost in the middle of a commit, so it is not known "
                    f"whether it went through. Look at the run before you try again."
                ) from error
            return result

        found = self._link.persist(attempt)
        self._handed_on(handed_on)
        return found

    def _watch(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Listen on a connection of its own."""
        return self._hints.listen(heard)

    def _hint(self) -> None:
        """Tell other processes that runs were queued or have ended."""
        self._hints.send()

    def list_events(self, run_id: str | None = None, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """List events in the order they were stored, from the first beyond `after`."""

        def work(tx: Session) -> list[Row]:
            if run_id is not None:
                return tx.rows(statements.EVENTS_OF, run_id=run_id, after=after, limit=limit)
            last = _last_readable(tx)
            rows = tx.rows(statements.EVENTS, after=after, limit=limit)
            return [row for row in rows if row[0] <= last]

        return events.stored(self._read(work))

    def newest_event(self) -> int:
        """Return the number of the newest event that every reader may have read; 0 where there is none."""
        return self._read(_last_readable)

    def info(self) -> StoreInfo:
        """Describe the database."""

        def work(tx: Session) -> StoreInfo:
            names = (*TABLES, "blob")
            counts = {name: tx.rows(f"SELECT count(*) FROM {name}")[0][0] for name in names}
            return StoreInfo(
                dialect="postgresql",
                version=tx.rows("SHOW server_version")[0][0],
                location=self._link.location,
                revision=tx.rows("SELECT version_num FROM alembic_version")[0][0],
                head=HEAD,
                durability=self._durability,
                size=tx.rows("SELECT pg_database_size(current_database())")[0][0],
                counts=counts,
            )

        return self._read(work)


def _last_readable(tx: Session) -> int:
    """Return the number below which no event is still to be committed."""
    # three snapshots with what is read then, in this order, or one that commits in between is passed over
    given: int = tx.rows(_GIVEN)[0][0]
    lowest: int | None = tx.rows(_LOWEST_OPEN)[0][0]
    return given if lowest is None else min(given, lowest)


# --- the one statement of a commit


def _compose(
    run_id: str, epoch: int, entries: Commit, number: int | None, *, has_clock: bool
) -> tuple[str, dict[str, Any]]:
    """Choose the statement for what a commit holds, and encode its parameters."""
    values: dict[str, Any] = {"run": run_id, "epoch": epoch}
    puts = batch.puts(run_id, entries)
    for table, records in puts.items():
        values[table] = encode(records)
    gone = batch.removed_states(entries)
    if gone:
        values["gone"] = encode(gone)
    if entries.orphans:
        values["orphans"] = list(entries.orphans)
    if entries.end is not None:
        end = cleaned(entries.end)
        values |= {name: getattr(end, name) for name in ("reason", "finished_at", "result", "error")}
        values["state"] = str(end.state)
    progress = entries.end is None and batch.shows_progress(entries)
    statement = _statement(
        (*puts, *(name for name in ("gone", "orphans") if name in values)),
        has_end=entries.end is not None,
        has_progress=progress,
        has_number=number is not None,
        has_clock=has_clock,
    )
    if number is not None:
        values["number"] = number
    return statement, values


@functools.cache
def _statement(parts: tuple[str, ...], *, has_end: bool, has_progress: bool, has_number: bool, has_clock: bool) -> str:
    """Write the statement for a commit with these parts, in psycopg's tongue."""
    now = ":now::bigint" if has_clock else SERVER_NOW
    ctes = [
        f"""guard AS MATERIALIZED (
        SELECT run.id, run.cancel_requested_at, run.recoveries, run.awaited, run.gates
        FROM run JOIN worker ON worker.id = run.worker_id
        WHERE run.id = :run AND run.epoch = :epoch AND run.state IN ({statements.LIVE_STATES})
            AND worker.expires_at > {now}{" AND run.commits < :number" if has_number else ""}
        FOR NO KEY UPDATE OF run)"""
    ]
    if "event" in parts:
        ctes.append(f"gate AS MATERIALIZED ({GATE}, guard)")
    ctes += [_cte(part) for part in parts]
    if changes := _changes(has_end=has_end, has_progress=has_progress, has_number=has_number):
        ctes.append(changes)
    if has_end:
        ctes.append(f"withdrawn AS ({WITHDRAW_ASKS.replace(':run_id', '(SELECT id FROM guard)')})")
    answer = "SELECT cancel_requested_at IS NOT NULL, awaited, gates IS NOT NULL FROM guard"
    return statements.for_postgres(f"WITH {', '.join(ctes)}\n{answer}")


def _changes(*, has_end: bool, has_progress: bool, has_number: bool) -> str:
    """Write the one change of the run itself: a statement may touch a row only once."""
    sets: list[str] = []
    where = ""
    if has_end:
        sets.append(
            """state = :state::text, reason = :reason, finished_at = :finished_at, result = :result, error = :error,
            worker_id = NULL, recoveries = CASE WHEN :state::text = 'crashed' THEN run.recoveries ELSE 0 END"""
        )
    if has_number:
        sets.append("commits = :number")
    if has_progress:
        where = "" if sets else " AND guard.recoveries > 0"
        sets.append("recoveries = 0")
    if not sets:
        return ""
    return f"change AS (UPDATE run SET {', '.join(sets)} FROM guard WHERE run.id = guard.id{where})"


def _cte(part: str) -> str:
    if part == "orphans":
        return """orphan AS (UPDATE task_run SET orphaned = TRUE FROM guard
            WHERE task_run.run_id = guard.id AND seq = ANY(:orphans::integer[]))"""
    if part == "gone":
        return """forget AS (DELETE FROM state_value USING guard,
            json_to_recordset(:gone::json) AS r (run_id text, task_run_id text, name text)
            WHERE state_value.run_id = r.run_id AND state_value.task_run_id = r.task_run_id
                AND state_value.name = r.name)"""
    fields = kinds(TABLES[part]) if part in TABLES else _BLOB
    names = ", ".join(fields)
    cells = ", ".join(f"decode(r.{n}, 'base64')" if kind is bytes else f"r.{n}" for n, kind in fields.items())
    types = ", ".join(f"{name} {TYPES[kind]}" for name, kind in fields.items())
    gate, condition = (", gate", " WHERE gate.locked IS NOT NULL") if part == "event" else ("", "")
    return f"""put_{part} AS (INSERT INTO {part} ({names}) SELECT {cells}
        FROM guard{gate}, json_to_recordset(:{part}::json) AS r ({types}){condition}
        {statements.ON_CONFLICT[part]})"""


def _put(tx: PostgresSession, composed: Step) -> _Found | None:
    """Run a commit's statement."""
    found: _Found | None = tx.send(composed)[-1].fetchone()
    return found


# --- when the answer to a commit was lost: everything in it may be put twice without harm but a few things


def _numbered(connection: Connection, run_id: str, epoch: int, number: int) -> _Found | None:
    """Look whether a commit of that number is there already."""
    found: _Found | None = connection.execute(
        "SELECT cancel_requested_at IS NOT NULL, awaited, gates IS NOT NULL FROM run "
        "WHERE id = %s AND epoch = %s AND commits >= %s",
        (run_id, epoch, number),
    ).fetchone()
    return found


def _gone(connection: Connection, run_id: str, epoch: int, entries: Commit) -> _Found | None:
    """Look whether the end, or the suspension, in a commit is there already; then all of the commit is."""
    if entries.end is not None:
        condition, values = "state = %s AND finished_at = %s", (str(entries.end.state), entries.end.finished_at)
    elif entries.suspend is not None and not entries.suspend.waits:
        condition, values = "state = %s", (str(entries.suspend.state),)  # type: ignore[assignment]
    elif entries.suspend is not None:
        condition, values = "worker_id IS NULL AND state IN (%s, %s)", (str(entries.suspend.state), "queued")  # type: ignore[assignment]
    else:
        return None
    found: _Found | None = connection.execute(
        f"SELECT cancel_requested_at IS NOT NULL, awaited, gates IS NOT NULL FROM run "
        f"WHERE id = %s AND epoch = %s AND {condition}",
        (run_id, epoch, *values),
    ).fetchone()
    return found


def _has_events(connection: Connection, entries: Commit) -> bool:
    """Look whether the events of a commit are there already."""
    if not entries.events:
        return False
    event = cleaned(entries.events[-1])
    found = connection.execute(
        """SELECT 1 FROM event
        WHERE run_id = %s AND at = %s AND kind = %s AND seq IS NOT DISTINCT FROM %s AND data = %s""",
        (event.run_id, event.at, event.kind, event.seq, event.data),
    ).fetchone()
    return found is not None
