"""The SQL of the store, by hand, once for both dialects.

It is written in PostgreSQL's tongue with named parameters (``:name``). Five rewritings, done once a statement
and remembered, give each driver what it understands:

=========================  ==================================================
``:name``                  psycopg: ``%(name)s``
``= ANY(:names)``          SQLite: ``IN (SELECT value FROM json_each(:names))``, the list bound as JSON
``right(x, n)``            SQLite: ``substr(x, -(n))``
``strpos(``                SQLite: ``instr(``
``FOR UPDATE`` and such    SQLite: nothing; a write transaction is alone anyway
=========================  ==================================================

Locks are always taken in the same order: the run first, then all else.
"""


# ruff: noqa: S608  what is put into these texts are names of our own columns and states, never a value

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

from ostinato.records import Run, TaskRun, Worker
from ostinato.states import LIVE, TERMINAL, State
from ostinato.store.rows import TABLES, columns

if TYPE_CHECKING:
    from collections.abc import Iterable

_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_]+)")
_ANY: Final = re.compile(r"= ANY\(:([a-z_]+)\)")
_RIGHT: Final = re.compile(r"\bright\((\w+), ")
_LOCK: Final = re.compile(r"\sFOR (?:NO KEY )?(?:UPDATE|KEY SHARE)(?: OF \w+)?(?: SKIP LOCKED)?\b")


@functools.cache
def for_sqlite(statement: str) -> str:
    """Translate a statement for `sqlite3`."""
    statement = _ANY.sub(r"IN (SELECT value FROM json_each(:\1))", statement)
    statement = _RIGHT.sub(r"substr(\1, -", statement).replace("strpos(", "instr(")
    return _LOCK.sub("", statement)


@functools.cache
def for_postgres(statement: str) -> str:
    """Translate a statement for `psycopg`."""
    return _PARAMETER.sub(r"%(\1)s", statement.replace("%", "%%"))


def quoted(states: Iterable[State]) -> str:
    """Write states as a list for ``IN (…)``, in the order of their declaration."""
    wanted = set(states)
    return ", ".join(f"'{state}'" for state in State if state in wanted)


def _names(names: Iterable[str], form: str = "{}") -> str:
    return ", ".join(form.format(name) for name in names)


def _upsert(keys: tuple[str, ...], names: Iterable[str]) -> str:
    sets = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
    return f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets}"


LIVE_STATES: Final = quoted(LIVE)
TERMINAL_STATES: Final = quoted(TERMINAL)
OPEN: Final = f"state IN ({quoted(set(State) - TERMINAL)})"
"""Word for word the condition of the index `run_open`, so that the planners can use it."""

WORKER: Final = _names(columns(Worker))
RUN: Final = _names(columns(Run), "run.{}")
TASK_RUN: Final = _names(columns(TaskRun))

ON_CONFLICT: Final[dict[str, str]] = {
    "task_run": _upsert(("run_id", "seq"), columns(TaskRun)),
    "attempt": "ON CONFLICT DO NOTHING",
    "log": "ON CONFLICT DO NOTHING",
    "event": "",
    "state_value": _upsert(("run_id", "task_run_id", "name"), columns(TABLES["state_value"])),
    "cache": _upsert(("key",), columns(TABLES["cache"])),
    "blob": "ON CONFLICT DO NOTHING",
}
"""What a commit does with a row that is there already. Tables not in it are never put by a commit."""

# --- workers

PUT_WORKER: Final = (
    f"INSERT INTO worker ({WORKER}) VALUES ({_names(columns(Worker), ':{}')}) {_upsert(('id',), columns(Worker))}"
)
GET_WORKER: Final = f"SELECT {WORKER} FROM worker WHERE id = :id"
LIST_WORKERS: Final = f"SELECT {WORKER} FROM worker ORDER BY started_at, id"
BEAT: Final = "UPDATE worker SET expires_at = :until WHERE id = :id AND expires_at > :now"
CANCELLED_OF: Final = "SELECT id FROM run WHERE worker_id = :id AND cancel_requested_at IS NOT NULL ORDER BY id"

# --- lost runs

DEAD_WORKERS: Final = """
    SELECT id FROM worker WHERE expires_at <= :now OR id = ANY(:dead)
    UNION
    SELECT worker_id FROM run
    WHERE worker_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM worker WHERE worker.id = run.worker_id)"""
HELD_BY: Final = f"SELECT {RUN} FROM run WHERE worker_id = :id ORDER BY id FOR UPDATE"
LOCK_WORKER: Final = "SELECT expires_at FROM worker WHERE id = :id FOR UPDATE"
REMOVE_WORKER: Final = "DELETE FROM worker WHERE id = :id"
LOSE_RUN: Final = """
    UPDATE run SET state = 'crashed', reason = 'lost', epoch = epoch + 1, finished_at = :now, worker_id = NULL
    WHERE id = :id"""
CLOSE_TASK_RUNS: Final = f"""
    UPDATE task_run SET state = :state, reason = :reason, finished_at = :now
    WHERE run_id = :run_id AND state IN ({LIVE_STATES})"""

# --- the life of a run

INSERT_RUN: Final = (
    f"INSERT INTO run ({_names(columns(Run))}) VALUES ({_names(columns(Run), ':{}')}) ON CONFLICT DO NOTHING"
)
GET_RUN: Final = f"SELECT {RUN} FROM run WHERE id = :id"
LOCK_RUN: Final = f"SELECT {RUN} FROM run WHERE id = :id FOR UPDATE"
RUN_BY_KEY: Final = f"SELECT {RUN} FROM run WHERE flow = :flow AND key = :key"
LOCK_BRANCH: Final = "SELECT branch_of FROM run WHERE id = :id FOR KEY SHARE"
REOPEN: Final = """
    UPDATE run SET state = :state, reason = NULL, epoch = epoch + 1, attempt = attempt + :attempt,
        recoveries = :recoveries, worker_id = :worker_id, started_at = coalesce(started_at, :started_at),
        finished_at = NULL, error = NULL, result = NULL, cancel_requested_at = NULL
    WHERE id = :id"""
REQUEST_CANCEL: Final = "UPDATE run SET cancel_requested_at = coalesce(cancel_requested_at, :now) WHERE id = :id"
CANCEL_RUN: Final = """
    UPDATE run SET state = 'cancelled', reason = NULL, epoch = epoch + 1, worker_id = NULL, finished_at = :now,
        cancel_requested_at = coalesce(cancel_requested_at, :now)
    WHERE id = :id"""
RAISE_EPOCH: Final = "UPDATE run SET epoch = epoch + 1 WHERE id = :id"
KEEP_ATTEMPTS: Final = """
    INSERT INTO attempt (run_id, seq, attempt, epoch, state, reason, started_at, finished_at, error, code)
    SELECT run_id, seq, attempt, epoch, state, reason, started_at, finished_at, error, code
    FROM task_run WHERE run_id = :run_id AND seq = ANY(:seqs) AND state NOT IN ('scheduled', 'queued')
    ON CONFLICT DO NOTHING"""
CLEAR: Final = """
    UPDATE task_run SET state = 'scheduled', reason = :reason, failures = 0, clears = clears + :clears,
        started_at = NULL, finished_at = NULL, error = NULL
    WHERE run_id = :run_id AND seq = ANY(:seqs)"""
MARK: Final = """
    UPDATE task_run SET state = :state, reason = 'marked', epoch = :epoch, result = :result, result_fp = :result_fp,
        attempt = attempt + CASE WHEN state IN ('scheduled', 'queued') THEN 0 ELSE 1 END,
        error = NULL, finished_at = :now
    WHERE run_id = :run_id AND seq = :seq"""
INSERT_EVENT: Final = "INSERT INTO event (at, kind, run_id, seq, data) VALUES (:at, :kind, :run_id, :seq, :data)"

# --- the journal, for a new pass

LOAD: Final = f"SELECT {TASK_RUN} FROM task_run WHERE run_id = :run_id AND seq > :after ORDER BY seq LIMIT :limit"
BRANCH: Final = "SELECT branch_of, branch_cut FROM run WHERE id = :id"

# --- reading

FIND_RUNS: Final = f"""
    SELECT {RUN} FROM run WHERE (id >= :fragment AND id < :beyond) OR right(id, :length) = :fragment
    ORDER BY created_at DESC, id DESC LIMIT 10"""
COUNT_TASK_RUNS: Final = """
    SELECT run_id, state, count(*) FROM task_run
    WHERE run_id = ANY(:ids) AND kind <> 'value' AND NOT orphaned GROUP BY run_id, state"""
LIST_TASK_RUNS: Final = f"SELECT {TASK_RUN} FROM task_run WHERE run_id = :run_id AND seq > :after"
LIST_ATTEMPTS: Final = f"SELECT {_names(columns(TABLES['attempt']))} FROM attempt WHERE run_id = :run_id"
READ_LOGS: Final = f"""
    SELECT {_names(columns(TABLES["log"]))} FROM log
    WHERE run_id = :run_id AND (epoch, n) > (:epoch, :n) ORDER BY epoch, n LIMIT :limit"""
EVENTS_OF: Final = """
    SELECT id, at, kind, run_id, seq, data FROM event
    WHERE run_id = :run_id AND id > :after ORDER BY id LIMIT :limit"""
EVENTS: Final = "SELECT id, at, kind, run_id, seq, data FROM event WHERE id > :after ORDER BY id LIMIT :limit"
LOAD_STATES: Final = """
    SELECT run_id, task_run_id, name, value FROM state_value
    WHERE run_id = :run_id AND task_run_id = :task_run_id ORDER BY name"""
FIND_CACHED: Final = f"""
    SELECT {_names(columns(TABLES["cache"]))} FROM cache
    WHERE key = :key AND (expires_at IS NULL OR expires_at > :now)"""

# --- upkeep

ENDED: Final = """
    SELECT id, finished_at FROM run
    WHERE finished_at < :before AND (finished_at, id) > (:after_at, :after_id)
    ORDER BY finished_at, id LIMIT :limit"""
REACHED_BY: Final = """
    WITH RECURSIVE up (root, id) AS (
        SELECT id, id FROM run WHERE id = ANY(:ids)
        UNION
        SELECT up.root, edge.src FROM up JOIN (
            SELECT id AS dst, parent_run_id AS src FROM run WHERE parent_run_id IS NOT NULL
            UNION ALL
            SELECT branch_of AS dst, id AS src FROM run WHERE branch_of IS NOT NULL
        ) AS edge ON edge.dst = up.id)
    SELECT up.root, run.id, run.state, run.finished_at FROM up JOIN run ON run.id = up.id"""
LOCK_RUNS: Final = "SELECT id FROM run WHERE id = ANY(:ids) ORDER BY id FOR UPDATE"
TABLES_OF_RUN: Final = ("task_run", "attempt", "log", "state_value")
EXPIRED: Final = """
    SELECT key FROM cache WHERE expires_at IS NOT NULL AND expires_at <= :now
    ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED"""
REMOVE_CACHED: Final = "DELETE FROM cache WHERE key = ANY(:keys)"
BLOBS_OF: Final = "SELECT DISTINCT hash FROM blob WHERE run_id = ANY(:owners)"
REMOVE_BLOBS: Final = "DELETE FROM blob WHERE run_id = ANY(:owners)"
BLOBS_NAMED: Final = "SELECT DISTINCT hash FROM blob WHERE hash = ANY(:hashes)"
