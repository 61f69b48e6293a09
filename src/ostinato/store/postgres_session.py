"""A transaction in PostgreSQL, in as few round trips as what it asks for allows.

```
put, put ── kept ──► rows: BEGIN, both, the question ── one round trip ──► put ── kept ──► commit: it and COMMIT ── one
```

Statements that travel together run one after the other all the same, each with a snapshot of its own.
"""


# ruff: noqa: S608  what is put into these texts are names of our own columns and states, never a value

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.states import State
from ostinato.store import statements, statements_timing
from ostinato.store.rows import TABLES, Row, clean, cleaned, columns, kinds
from ostinato.store.statements_happenings import LOCK_HAPPENINGS
from ostinato.store.statements_limits import LOCK_GATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from ostinato.clock import Clock
    from ostinato.store.postgres_link import Connection

Step = tuple[str, dict[str, Any] | None]
"""A statement in psycopg's tongue, and its values."""

TYPES: Final = {
    str: "text",
    State: "text",
    int: "bigint",
    bool: "boolean",
    float: "double precision",
    bytes: "text",
    list: "text",
}
"""The types of a record's fields, as they travel in JSON: bytes as base64, a list as its own text."""
SERVER_NOW: Final = f"(extract(epoch FROM clock_timestamp()) * {SECOND})::bigint"


# The space of our advisory locks: 16 bits of our own, then 48 of the highest event number given so far.
SPACE: Final = 0x4F53
GATE: Final = f"""SELECT pg_advisory_xact_lock_shared({SPACE << 48} | (last_value - (NOT is_called)::integer))
    IS NULL AS locked FROM event_id_seq"""
OWN: Final = {
    statements.INSERT_EVENT: f"""
    WITH gate AS MATERIALIZED ({GATE})
    INSERT INTO event (at, kind, run_id, seq, data)
    SELECT :at::bigint, :kind::text, :run_id::text, :seq::integer, :data::text FROM gate WHERE locked IS NOT NULL""",
    statements.PUT_EVENTS: f"""
    WITH gate AS MATERIALIZED ({GATE})
    INSERT INTO event (at, kind, run_id, seq, data, key)
    SELECT r.at, r.kind, r.run_id, r.seq, r.data, r.key
    FROM gate,
        json_to_recordset(:events::json) AS r (at bigint, kind text, run_id text, seq integer, data text, key text)
    WHERE gate.locked IS NOT NULL""",
    statements.PUT_TICKETS: f"""
    WITH made AS ({statements.PUT_TICKETS}, priority),
        level AS (INSERT INTO ticket_level (pool, priority) SELECT DISTINCT pool, priority FROM made
            ON CONFLICT DO NOTHING)
    SELECT run_id, pool, queue FROM made""",
    statements.SHARE_CATALOG: f"SELECT pg_advisory_xact_lock_shared({SPACE}, 1) IS NULL",
    statements.CHANGE_CATALOG: f"SELECT pg_advisory_xact_lock({SPACE}, 1) IS NULL",
    LOCK_GATES: f"SELECT pg_advisory_xact_lock({SPACE}, 2) IS NULL",
    LOCK_HAPPENINGS: f"""
    SELECT pg_advisory_xact_lock({SPACE + 1}, number) IS NULL
    FROM (SELECT DISTINCT hashtext(name) AS number FROM unnest(:keys::text[]) AS name ORDER BY 1) AS numbers""",
    statements.LEVELS: """
    SELECT level.pool, level.priority,
        (SELECT ticket.id FROM ticket
        WHERE (ticket.pool, ticket.priority, ticket.id) > (level.pool, level.priority, coalesce(known.mark, 0))
            AND (ticket.pool, ticket.priority) <= (level.pool, level.priority) AND NOT ticket.paused
        ORDER BY ticket.pool, ticket.priority, ticket.id LIMIT 1),
        ticket_id_seq.last_value
    FROM ticket_id_seq CROSS JOIN ticket_level AS level
        LEFT JOIN unnest(:known_pools::text[], :known_priorities::integer[], :known_marks::bigint[])
            AS known (pool, priority, mark) ON known.pool = level.pool AND known.priority = level.priority
    WHERE level.pool = ANY(:pools) ORDER BY level.priority DESC""",
    statements_timing.PUT_TICKS: statements_timing.PUT_TICKS_IN_POSTGRES,
    statements_timing.KEEP_PROGRESS: statements_timing.KEEP_PROGRESS_IN_POSTGRES,
}
"""Statements that differ here from what both dialects share."""


_BEGIN: Final[Step] = ("BEGIN", None)
_COMMIT: Final[Step] = ("COMMIT", None)


class PostgresSession:
    """An open transaction, or single statements; texts cleaned."""

    def __init__(self, connection: Connection, clock: Clock | None, *, begins: bool = False) -> None:
        """Use a connection.

        Args:
            connection: Nobody else uses it meanwhile.
            clock: What tells the time, the server's clock if None.
            begins: Whether the first statement begins a transaction, which `commit` ends.
        """
        self.handed_on: list[tuple[str, int]] = []
        self._connection = connection
        self._clock = clock
        self._kept: list[Step] = [_BEGIN] if begins else []

    def now(self) -> int:
        """Return the instant now by the store's clock, after all that was asked for before."""
        if self._clock is not None:
            return self._clock.now()
        return int(self.rows(f"SELECT {SERVER_NOW}")[0][0])

    def rows(self, statement: str, **values: Any) -> list[Row]:
        """Run a query and return all its rows."""
        return self.send(_step(statement, values))[-1].fetchall()

    def ask(self, *questions: tuple[str, dict[str, Any]]) -> list[list[Row]]:
        """Run queries in one round trip and return the rows of each."""
        sent = self.send(*(_step(*question) for question in questions))
        return [cursor.fetchall() for cursor in sent[-len(questions) :]]

    def change(self, statement: str, **values: Any) -> int:
        """Run a statement that changes rows and return how many it touched."""
        return self.send(_step(statement, values))[-1].rowcount

    def put(self, statement: str, **values: Any) -> None:
        """Run a statement of which nothing is asked, when the next one travels."""
        if statement != statements.PUT_LEVELS:  # done with the tickets
            self._kept.append(_step(statement, values))

    def add(self, table: str, records: Sequence[msgspec.Struct]) -> None:
        """Insert many records of one kind at once; one whose key is there already is left out."""
        self._kept.append((_adding(table), {"rows": encode(records)}))

    def commit(self) -> None:
        """Run what is still kept, and commit."""
        self.send(_COMMIT)

    def send(self, *steps: Step) -> list[psycopg.Cursor[Any]]:
        """Run what is kept and then these, in one round trip."""
        steps, self._kept = (*self._kept, *steps), []
        if len(steps) == 1:
            return [self._connection.execute(*steps[0], binary=True)]
        with self._connection.pipeline():
            return [self._connection.execute(*step, binary=True) for step in steps]


def encode(records: Sequence[msgspec.Struct]) -> str:
    """Encode records as a JSON array; bytes in it as base64, texts such that PostgreSQL takes them."""
    try:
        text = msgspec.json.encode(records).decode()
    except UnicodeEncodeError:
        text = "\\u0000"
    if "\\u0000" in text:
        text = msgspec.json.encode([cleaned(record) for record in records]).decode()
    return text


@functools.cache
def _adding(table: str) -> str:
    """Write the statement that inserts records of a table, in psycopg's tongue."""
    names, fields = columns(TABLES[table]), kinds(TABLES[table])
    cells = ", ".join(f"decode(r.{name}, 'base64')" if fields[name] is bytes else f"r.{name}" for name in names)
    types = ", ".join(f"{name} {TYPES[fields[name]]}" for name in names)
    return f"""INSERT INTO {table} ({", ".join(names)}) SELECT {cells}
        FROM json_to_recordset(%(rows)s::json) AS r ({types}) ON CONFLICT DO NOTHING"""


def _step(statement: str, values: dict[str, Any]) -> Step:
    statement = statements.for_postgres(OWN.get(statement, statement))
    return statement, {name: _value(value) for name, value in values.items()} or None


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean(item) if isinstance(item, str) else item for item in value]
    return value
