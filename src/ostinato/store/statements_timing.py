"""The SQL of schedules and their ticks; see `ostinato.store.statements` for its tongue."""


# ruff: noqa: S608  what is put into these texts are names of our own columns, never a value

from __future__ import annotations

from typing import Final

from ostinato.store.rows import columns
from ostinato.timing import Schedule, Tick

SCHEDULE: Final = ", ".join(columns(Schedule))
TICK: Final = ", ".join(columns(Tick))

LIST_SCHEDULES: Final = f"SELECT {SCHEDULE} FROM schedule"
LOCK_SCHEDULE: Final = f"SELECT {SCHEDULE} FROM schedule WHERE name = :name FOR UPDATE"
LOCK_SCHEDULES_OF: Final = f"""
    SELECT {SCHEDULE} FROM schedule WHERE project = :project OR name = ANY(:names) ORDER BY name FOR UPDATE"""
LOCK_TURNS: Final = "SELECT name, turn FROM schedule WHERE name = ANY(:names) ORDER BY name FOR UPDATE"
SCHEDULE_NAMES: Final = "SELECT name FROM schedule ORDER BY name"
REMOVE_SCHEDULES: Final = "DELETE FROM schedule WHERE name = ANY(:names)"
PAUSE_SCHEDULE: Final = """
    UPDATE schedule SET paused = :paused, turn = turn + 1, since = :since, next_at = :next_at WHERE name = :name"""
REWIND_SCHEDULE: Final = """
    UPDATE schedule SET since = :since, read = :read, state = :state, next_at = :next_at, turn = turn + 1
    WHERE name = :name"""
TURN_OVER: Final = "UPDATE schedule SET turn = turn + 1 WHERE deployment = ANY(:deployments)"
"""What is being decided about them is based on a deployment that has changed."""
NEWEST_NUMBER: Final = "SELECT coalesce(max(id), 0) FROM event"

PUT_TICKS: Final = f"""
    INSERT INTO tick ({TICK})
    SELECT {", ".join(f"json_extract(value, '$.{name}')" for name in columns(Tick))} FROM json_each(:ticks) WHERE TRUE
    ON CONFLICT DO NOTHING RETURNING schedule, key"""
SETTLE_TICK: Final = """
    UPDATE tick SET outcome = :outcome, reason = :reason, run_id = :run_id WHERE schedule = :schedule AND key = :key"""
_PROGRESS: Final = ("schedule", "since", "next_at", "read", "cursor", "state", "trouble")
_SETS: Final = ", ".join(f"{name} = r.{name}" for name in _PROGRESS[1:])
KEEP_PROGRESS: Final = f"""
    UPDATE schedule SET {_SETS}, turn = turn + 1
    FROM (SELECT {", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in _PROGRESS)}
        FROM json_each(:progress)) AS r
    WHERE schedule.name = r.schedule"""

PUT_TICKS_IN_POSTGRES: Final = f"""
    INSERT INTO tick ({TICK})
    SELECT {", ".join(f"r.{name}" for name in columns(Tick))} FROM json_to_recordset(:ticks::json) AS r (
        schedule text, key text, scheduled_at bigint, at bigint, outcome text, reason text, run_id text, data text)
    ON CONFLICT DO NOTHING RETURNING schedule, key"""
KEEP_PROGRESS_IN_POSTGRES: Final = f"""
    UPDATE schedule SET {_SETS}, turn = turn + 1
    FROM json_to_recordset(:progress::json) AS r (
        schedule text, since bigint, next_at bigint, read bigint, cursor text, state text, trouble text)
    WHERE schedule.name = r.schedule"""

LIST_TICKS: Final = f"SELECT {TICK} FROM tick"
DURATIONS: Final = """
    SELECT finished_at - started_at FROM run
    WHERE deployment = :deployment AND state = 'succeeded' AND started_at IS NOT NULL AND finished_at IS NOT NULL
    ORDER BY created_at DESC, id DESC LIMIT :last"""
