"""Partitions of events and of log lines in PostgreSQL: made ahead of time, dropped whole when all in them is old.

```
event   by number   event_0 │ event_2000000 │ event_4000000 …     event_default: what has outlived its partition
log     by time     log_0 │ log_20261122 │ log_20261123 …         log_default: what no partition was ready for
```

Dropping a million rows costs a few milliseconds and leaves no holes behind, but needs the table for itself for that
moment. So it is tried for a fraction of a second, while a reader that takes long (a backup) is left alone, and
tried again the next time. What is still needed of events that are dropped, a few, moves to `event_default` first.
"""


# ruff: noqa: S608  what is put into these texts are names of our own tables and numbers

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ostinato.clock import SECOND
from ostinato.records import Pruned
from ostinato.store.forgetting import find_need, remove_events

if TYPE_CHECKING:
    from ostinato.store.forgetting import Need
    from ostinato.store.transactions import Session

DAY: Final = 86_400 * SECOND
STEP: Final = 2_000_000
"""Events of a partition."""
_AHEAD: Final = 8_000_000
"""For so many events there are partitions, at least; the pruner looks every few minutes."""
_SAFE: Final = 100_000
"""More events than are written while a partition is made."""
_DAYS_AHEAD: Final = 4
_MOST_KEPT: Final = 5000
"""Events that are moved when the rest of their partition is dropped; where more are needed it stays."""
_LOW: Final = -(1 << 63)
PATIENCE: Final = "SET LOCAL lock_timeout = '200ms'"
_PARTS: Final = """
    SELECT child.relname::text, pg_get_expr(child.relpartbound, child.oid)
    FROM pg_inherits JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
    WHERE pg_inherits.inhparent = to_regclass(:name)"""
_BOUND: Final = re.compile(r"FROM \('?(-?\w+)'?\) TO \('?(-?\d+)'?\)")
_GIVEN: Final = "SELECT last_value FROM event_id_seq"

Part = tuple[int, int, str]
"""From where, up to where (not included), the name of the table."""


def find_parts(tx: Session, table: str) -> list[Part]:
    """Find the partitions of a table in their order, without the default one."""
    found = []
    for name, bound in tx.rows(_PARTS, name=table):
        if (match := _BOUND.search(bound or "")) is not None:  # none where it is just being dropped
            found.append((_LOW if match[1] == "MINVALUE" else int(match[1]), int(match[2]), name))
    return sorted(found)


def find_missing(tx: Session, now: int) -> list[tuple[str, Part]]:
    """Say which partitions are to be made: of which table, and what."""
    return _missing_events(tx) + _missing_logs(tx, now)


def _missing_events(tx: Session) -> list[tuple[str, Part]]:
    given: int = tx.rows(_GIVEN)[0][0]
    top = find_parts(tx, "event")[-1][1]
    if given + _SAFE >= top:  # nobody has looked for long: what is being written must not belong into a new one
        top = (given // _SAFE + 2) * _SAFE
    return [("event", (low, low + STEP, f"event_{low}")) for low in range(top, given + _AHEAD, STEP)]


def _missing_logs(tx: Session, now: int) -> list[tuple[str, Part]]:
    today = now // DAY * DAY
    top = max(find_parts(tx, "log")[-1][1], today + DAY)  # likewise
    days = range(top, today + (_DAYS_AHEAD + 1) * DAY, DAY)
    return [("log", (day, day + DAY, f"log_{datetime.fromtimestamp(day // SECOND, UTC):%Y%m%d}")) for day in days]


def make(tx: Session, table: str, part: Part) -> bool:
    """Make a partition, unless what belongs into it is in the default one already."""
    low, high, name = part
    tx.change(PATIENCE)
    column = "id" if table == "event" else "first_at"
    if tx.rows(f"SELECT 1 FROM {table}_default WHERE {column} >= {low} AND {column} < {high} LIMIT 1"):
        return False
    keys = "INCLUDING INDEXES" if table == "event" else ", PRIMARY KEY (run_id, epoch, n)"
    tx.change(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS {keys})")
    tx.change(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})")
    return True


def find_old(tx: Session, events: int | None, logs: int | None) -> list[tuple[str, Part]]:
    """Find partitions in which everything is too old and, as far as can be told, not needed."""
    old: list[tuple[str, Part]] = []
    if logs is not None:
        old += [("log", part) for part in find_parts(tx, "log") if part[1] <= logs]
    if events is not None:
        given, need = tx.rows(_GIVEN)[0][0], find_need(tx, events)
        for part in find_parts(tx, "event"):
            if part[1] > given or part[1] > need.read + 1 or not _is_old(tx, part, events, need):
                break
            old.append(("event", part))
    return old


def _is_old(tx: Session, part: Part, before: int, need: Need) -> bool:
    newest = tx.rows(f"SELECT at FROM {part[2]} ORDER BY id DESC LIMIT 1")
    if newest and newest[0][0] >= before:
        return False
    kept = f"SELECT 1 FROM {part[2]} WHERE key IS NOT NULL AND at >= :since LIMIT {_MOST_KEPT + 1}"
    return need.run is None or len(tx.rows(kept, since=need.since)) <= _MOST_KEPT


def drop(tx: Session, table: str, part: Part, before: int) -> bool:
    """Drop a partition unless it is needed after all; single events in it that are needed move to the default one."""
    name = part[2]
    tx.change(PATIENCE)
    if table == "event":
        tx.change("LOCK TABLE event IN ACCESS EXCLUSIVE MODE")  # nobody begins to need, or adds, anything meanwhile
        need = find_need(tx, before)
        if part[1] > need.read + 1:
            return False
        tx.change(f"ALTER TABLE event DETACH PARTITION {name}")
        if need.run is not None:
            columns = "id, at, kind, run_id, seq, data, key"
            tx.change(
                f"""INSERT INTO event_default ({columns}) OVERRIDING SYSTEM VALUE
                SELECT {columns} FROM {name} WHERE key IS NOT NULL AND at >= :since""",
                since=need.since,
            )
    tx.change(f"DROP TABLE {name}")
    return True


def size_of(tx: Session, table: str) -> int:
    """Return the bytes that a table takes with its indexes and all its partitions."""
    size: int = tx.rows(
        """SELECT coalesce((SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(:name::regclass)),
            pg_total_relation_size(:name::regclass))::bigint""",
        name=table,
    )[0][0]
    return size


def remove_events_of_slow(tx: Session, before: int, limit: int) -> Pruned:
    """Remove old events by the row where so few come that a partition takes longer than a day to fill."""
    return remove_events(tx, before - DAY, limit)


def remove_stray_logs(tx: Session, before: int, limit: int) -> Pruned:
    """Remove old lines that no partition was ready for."""
    removed = tx.change(
        """DELETE FROM log_default WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM log_default WHERE first_at < :before LIMIT :limit))""",
        before=before,
        limit=limit,
    )
    return Pruned(logs=removed, more=removed >= limit)
