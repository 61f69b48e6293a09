"""The SQL of automations and deadlines, in the tongue of `ostinato.store.statements`."""

# ruff: noqa: S608  what is put into these texts are names of our own columns, never a value

from __future__ import annotations

from typing import Final

from ostinato.store.rows import TABLES, columns
from ostinato.store.statements import RUN, _columns, _put

CHANGED: Final = "automations"
"""The row of `reader` that counts changes of automations. Whoever changes them takes it first."""
AUTOMATOR: Final = "automator"
"""The row of `reader` of who reads for the automations."""
AUTOMATION: Final = _columns("automation")
FIRING: Final = _columns("firing")

CHANGE: Final = """
    INSERT INTO reader (name, read) VALUES ('automations', 1) ON CONFLICT (name) DO UPDATE SET read = reader.read + 1"""
NEWEST: Final = "SELECT coalesce(max(id), 0) FROM event"
PUT_AUTOMATION: Final = _put("automation", ("name",))
LIST_AUTOMATIONS: Final = f"SELECT {AUTOMATION} FROM automation ORDER BY name"
GET_AUTOMATION: Final = f"SELECT {AUTOMATION} FROM automation WHERE name = :name"
REMOVE_AUTOMATIONS: Final = "DELETE FROM automation WHERE name = ANY(:names)"
JUDGE: Final = """
    UPDATE automation SET state = :state, next_at = :next_at, trouble = :trouble, turn = turn + 1
    WHERE name = :name AND turn = :turn"""

READER: Final = "SELECT read FROM reader WHERE name = :name"
HOLD_READER: Final = "SELECT read FROM reader WHERE name = :name FOR UPDATE"
PUT_READER: Final = "INSERT INTO reader (name, read) VALUES (:name, :read) ON CONFLICT DO NOTHING"
MOVE_READER: Final = "UPDATE reader SET read = :upto WHERE name = :name AND read = :read"

PUT_FIRING: Final = (
    f"INSERT INTO firing ({FIRING}) VALUES ({', '.join(f':{name}' for name in columns(TABLES['firing']))}) "
    "ON CONFLICT DO NOTHING"
)
GET_FIRING: Final = f"SELECT {FIRING} FROM firing WHERE id = :id"
FIRINGS: Final = f"SELECT {FIRING} FROM firing"
FIRINGS_DUE: Final = "next_at IS NOT NULL AND next_at <= :due_before"
FIRINGS_BEFORE: Final = "(at, id) < (SELECT at, id FROM firing WHERE id = :before)"
CHANGE_FIRING: Final = """
    UPDATE firing SET state = :state, data = :data, progress = :progress, next_at = :next_at
    WHERE id = :id AND coalesce(next_at, -1) = :before"""
"""Who has acknowledged it is not touched: that may have happened meanwhile."""
ACKNOWLEDGE: Final = """
    UPDATE firing
    SET acknowledged_at = coalesce(acknowledged_at, :now), acknowledged_by = coalesce(acknowledged_by, :by)
    WHERE id = :id"""

PUT_DEADLINE: Final = _put("deadline", ("run_id", "kind"))
DEADLINES_DUE: Final = """
    SELECT deadline.run_id, deadline.kind, deadline.due_at, run.id, run.flow, run.deployment, run.started_at,
        run.finished_at
    FROM deadline LEFT JOIN run ON run.id = deadline.run_id
    WHERE deadline.due_at <= :now ORDER BY deadline.due_at, deadline.run_id, deadline.kind LIMIT :limit
    FOR UPDATE OF deadline SKIP LOCKED"""
REMOVE_DEADLINE: Final = "DELETE FROM deadline WHERE run_id = :run_id AND kind = :kind"
LIST_DEADLINES: Final = f"SELECT {_columns('deadline')} FROM deadline WHERE run_id = :run_id ORDER BY due_at"

GET_RUNS: Final = f"SELECT {RUN} FROM run WHERE id = ANY(:ids)"
PAST_DURATIONS: Final = """
    SELECT finished_at - started_at FROM (
        SELECT state, started_at, finished_at FROM run WHERE {} ORDER BY created_at DESC, id DESC LIMIT :looked_at
    ) AS newest
    WHERE state = 'succeeded' AND started_at IS NOT NULL AND finished_at IS NOT NULL LIMIT :last"""
