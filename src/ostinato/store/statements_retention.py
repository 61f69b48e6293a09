"""The SQL of retention; see `ostinato.store.statements` for its tongue."""

from __future__ import annotations

from typing import Final

from ostinato.store.statements_reactions import CHANGED

# --- runs, and what is left of them

SENSORS: Final = "SELECT name FROM deployed WHERE kind = 'sensor' ORDER BY name"
OLD_LOOKS: Final = """
    SELECT id FROM run
    WHERE deployment = :name AND kind = 'sensor' AND created_at < :before AND finished_at < :before
    ORDER BY created_at, id LIMIT :limit"""
"""By when they were made, which an index knows: a look does not take long."""
LEAVE: Final = "INSERT INTO leftover (run_id) SELECT id FROM run WHERE id = ANY(:ids)"
LEFTOVERS: Final = "SELECT run_id FROM leftover ORDER BY run_id LIMIT :limit"
FORGET_LEFTOVERS: Final = "DELETE FROM leftover WHERE run_id = ANY(:ids)"

# --- who reads events

READERS: Final = f"""
    SELECT 'automations', coalesce(
        (SELECT max(place) FROM (SELECT read AS place FROM reader WHERE name = 'automator'
            UNION ALL SELECT min(after) FROM automation WHERE NOT paused) AS places), 0)
    WHERE EXISTS (SELECT 1 FROM automation WHERE NOT paused)
    UNION ALL SELECT name, read FROM reader WHERE name NOT IN ('automator', '{CHANGED}')
    UNION ALL SELECT 'schedule ' || name, read FROM schedule WHERE kind IN ('event', 'condition')"""  # noqa: S608
"""Who has read events up to which number. The one for the automations reads only while there are some."""
OLDEST_OPEN: Final = """
    SELECT id, created_at FROM run WHERE {open} ORDER BY created_at, id LIMIT 1"""
OLDEST_CRASHED: Final = """
    SELECT id, created_at FROM run WHERE {failed} AND state = 'crashed' AND finished_at >= :before
    ORDER BY created_at, id LIMIT 1"""
NEWEST: Final = "SELECT coalesce(max(id), 0) FROM event"

# --- events, lines, ticks, firings: the oldest of each

_FREE: Final = "id <= :read AND (key IS NULL OR at < :since)"
OLDEST_EVENTS: Final = f"SELECT id, at FROM event WHERE {_FREE} ORDER BY id LIMIT :limit"  # noqa: S608
REMOVE_EVENTS: Final = f"DELETE FROM event WHERE id <= :upto AND at < :before AND {_FREE}"  # noqa: S608
_TICKS: Final = """at < :before AND (key >= 'look:' AND key < 'look;' OR NOT EXISTS (
        SELECT 1 FROM schedule WHERE schedule.name = tick.schedule AND schedule.kind = 'sensor'))"""
"""What a sensor has requested is remembered for as long as there is the sensor: it is requested once."""
OLDEST_TICKS: Final = f"SELECT at FROM tick WHERE {_TICKS} ORDER BY at LIMIT :limit"  # noqa: S608
REMOVE_TICKS: Final = f"DELETE FROM tick WHERE at <= :upto AND {_TICKS}"  # noqa: S608
_FIRINGS: Final = "at < :before AND next_at IS NULL AND state <> 'pending'"
OLDEST_FIRINGS: Final = f"SELECT at FROM firing WHERE {_FIRINGS} ORDER BY at LIMIT :limit"  # noqa: S608
REMOVE_FIRINGS: Final = f"DELETE FROM firing WHERE at <= :upto AND {_FIRINGS}"  # noqa: S608

# --- how much there is

COUNTED: Final = {
    "runs": (
        "run WHERE kind <> 'sensor'",
        "finished_at",
        "finished_at < :before AND (state <> 'crashed' OR :interrupted)",
    ),
    "looks": ("run WHERE kind = 'sensor'", "finished_at", "finished_at < :before"),
    "logs": ("log", "first_at", "first_at < :before"),
    "events": ("event", "at", f"at < :before AND {_FREE}"),
    "ticks": ("tick", "at", _TICKS),
    "firings": ("firing", "at", _FIRINGS),
    "cache": ("cache", "created_at", "expires_at <= :before"),
}
"""By class: what is counted, how old a row is, and what may go."""
TABLES_OF: Final = {
    "runs": ("run", "task_run", "attempt", "state_value"),
    "logs": ("log",),
    "events": ("event",),
    "ticks": ("tick",),
    "firings": ("firing",),
    "cache": ("cache",),
}
