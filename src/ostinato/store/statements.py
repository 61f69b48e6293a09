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

Locks are always taken in the same order: runs that are waited for, then the run, then all else; a claim, which comes
from the tickets, skips what is locked.
"""


# ruff: noqa: S608  what is put into these texts are names of our own columns and states, never a value

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

from ostinato.records import Run, TaskRun, Wait, Worker
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


def _columns(table: str) -> str:
    return _names(columns(TABLES[table])).replace(" user,", ' "user",')


def _put(table: str, keys: tuple[str, ...]) -> str:
    names = columns(TABLES[table])
    return f"INSERT INTO {table} ({_columns(table)}) VALUES ({_names(names, ':{}')}) {_upsert(keys, names)}".replace(
        " user = excluded.user", ' "user" = excluded."user"'
    )


def _upsert(keys: tuple[str, ...], names: Iterable[str]) -> str:
    sets = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
    return f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets}"


LIVE_STATES: Final = quoted(LIVE)
TERMINAL_STATES: Final = quoted(TERMINAL)
OPEN: Final = f"state IN ({quoted(set(State) - TERMINAL)})"
"""Word for word the condition of the index `run_open`, so that the planners can use it."""
FAILED: Final = f"state IN ({quoted(TERMINAL - {State.SUCCEEDED})})"
"""Likewise of the index `run_failed`."""

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
BEAT: Final = """
    UPDATE worker SET expires_at = CASE WHEN :until > expires_at THEN :until ELSE expires_at END
    WHERE id = :id AND expires_at > :now
    RETURNING EXISTS (SELECT 1 FROM run WHERE worker_id = :id AND cancel_requested_at IS NOT NULL)"""
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
DRAIN: Final = "UPDATE worker SET draining = TRUE WHERE id = :id"
END_RUN: Final = """
    UPDATE run SET state = :state, reason = :reason, epoch = epoch + 1, finished_at = :now, worker_id = NULL,
        error = coalesce(:error, error)
    WHERE id = :id"""
RETURN_RUN: Final = """
    UPDATE run SET state = 'queued', reason = NULL, epoch = epoch + 1, worker_id = NULL, commits = 0,
        recoveries = recoveries + :recoveries, attempt = attempt + :attempt, resources = coalesce(:resources, resources)
    WHERE id = :id"""
CHILDREN_IN_PROCESS: Final = f"""
    SELECT {RUN} FROM run WHERE parent_run_id = ANY(:ids) AND worker_id = :worker_id AND pool IS NULL
    ORDER BY id FOR UPDATE"""
ASSIGN_POOL: Final = "UPDATE run SET pool = :pool, queue = :queue WHERE id = :id"
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
LOCK_PARENT: Final = "SELECT worker_id FROM run WHERE id = :id FOR KEY SHARE"
LOCK_BRANCH: Final = "SELECT branch_of FROM run WHERE id = :id FOR KEY SHARE"
REOPEN: Final = """
    UPDATE run SET state = :state, reason = NULL, epoch = epoch + 1, attempt = attempt + :attempt,
        recoveries = :recoveries, worker_id = :worker_id, started_at = coalesce(started_at, :started_at),
        finished_at = NULL, error = NULL, result = NULL, cancel_requested_at = NULL, commits = 0
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
        started_at = NULL, finished_at = NULL, error = NULL, due_at = NULL
    WHERE run_id = :run_id AND seq = ANY(:seqs)"""
MARK: Final = """
    UPDATE task_run SET state = :state, reason = 'marked', epoch = :epoch, result = :result, result_fp = :result_fp,
        attempt = attempt + CASE WHEN state IN ('scheduled', 'queued') THEN 0 ELSE 1 END,
        error = NULL, finished_at = :now
    WHERE run_id = :run_id AND seq = :seq"""
INSERT_EVENT: Final = "INSERT INTO event (at, kind, run_id, seq, data) VALUES (:at, :kind, :run_id, :seq, :data)"

PUT_EVENTS: Final = """
    INSERT INTO event (at, kind, run_id, seq, data, key)
    SELECT json_extract(value, '$.at'), json_extract(value, '$.kind'), json_extract(value, '$.run_id'),
        json_extract(value, '$.seq'), json_extract(value, '$.data'), json_extract(value, '$.key')
    FROM json_each(:events)"""

# --- the queue

SHARE_CATALOG: Final = "SELECT 'whoever makes tickets holds queues and deployments as they are'"
CHANGE_CATALOG: Final = "SELECT 'whoever changes them is alone'"
PUT_TICKETS: Final = """
    INSERT INTO ticket (run_id, pool, queue, priority, deployment, paused, resources, created_at)
    SELECT run.id, run.pool, run.queue, 1000 * coalesce(queue.priority, 0) + run.priority, run.deployment,
        coalesce(queue.paused, FALSE) OR coalesce(deployed.paused, FALSE), run.resources, :now
    FROM run LEFT JOIN queue ON queue.pool = run.pool AND queue.name = run.queue
        LEFT JOIN deployed ON deployed.name = run.deployment
    WHERE run.id = ANY(:ids) AND run.pool IS NOT NULL AND run.state = 'queued'
    ORDER BY run.created_at, run.id
    ON CONFLICT DO NOTHING RETURNING run_id, pool, queue"""
PUT_LEVELS: Final = """
    INSERT INTO ticket_level (pool, priority) SELECT DISTINCT pool, priority FROM ticket WHERE run_id = ANY(:ids)
    ON CONFLICT DO NOTHING"""
PUT_LEVELS_OF_QUEUE: Final = """
    INSERT INTO ticket_level (pool, priority)
    SELECT DISTINCT pool, priority FROM ticket WHERE pool = :pool AND queue = :queue
    ON CONFLICT DO NOTHING"""
TICKETS_OF: Final = f"SELECT {_columns('ticket')} FROM ticket WHERE run_id = ANY(:ids) ORDER BY id"
HOLD_TICKETS: Final = "SELECT run_id, why FROM ticket WHERE run_id = ANY(:ids) ORDER BY id FOR UPDATE"
HOLD_TICKET: Final = "UPDATE ticket SET why = :why WHERE run_id = :run_id"
REMOVE_TICKETS: Final = "DELETE FROM ticket WHERE run_id = ANY(:ids)"
LIST_TICKETS: Final = f"SELECT {_columns('ticket')} FROM ticket WHERE id > :after ORDER BY id LIMIT :limit"
LIST_TICKETS_OF_POOL: Final = f"""
    SELECT {_columns("ticket")} FROM ticket WHERE pool = :pool
    ORDER BY priority DESC, id LIMIT :limit OFFSET :after"""
QUEUE_LENGTHS: Final = """
    SELECT pool, queue, count(*), min(created_at) FROM ticket GROUP BY pool, queue ORDER BY pool, queue"""
REFRESH_TICKETS: Final = """
    UPDATE ticket SET
        priority = 1000 * coalesce(
            (SELECT queue.priority FROM queue WHERE queue.pool = ticket.pool AND queue.name = ticket.queue), 0)
            + (SELECT run.priority FROM run WHERE run.id = ticket.run_id),
        paused = coalesce(
            (SELECT queue.paused FROM queue WHERE queue.pool = ticket.pool AND queue.name = ticket.queue), FALSE)
            OR coalesce((SELECT deployed.paused FROM deployed WHERE deployed.name = ticket.deployment), FALSE)"""
"""After a queue or a deployment was changed; the tickets are those of a condition to be added."""

# --- claiming

LEVELS: Final = """
    SELECT pool, priority,
        (SELECT ticket.id FROM ticket
        WHERE ticket.pool = ticket_level.pool AND ticket.priority = ticket_level.priority AND NOT ticket.paused
        ORDER BY ticket.id LIMIT 1),
        0
    FROM ticket_level WHERE pool = ANY(:pools) ORDER BY priority DESC"""
"""By pool and priority: the first ticket, and the highest number given so far."""
LOCK_TICKETS: Final = """
    SELECT ticket.id, ticket.run_id, ticket.resources, ticket.created_at
    FROM ticket JOIN run ON run.id = ticket.run_id
    WHERE (ticket.pool, ticket.priority, ticket.id) > (:pool, :priority, :after)
        AND (ticket.pool, ticket.priority) <= (:pool, :priority) AND NOT ticket.paused
    ORDER BY ticket.pool, ticket.priority, ticket.id LIMIT :limit FOR UPDATE SKIP LOCKED"""
"""Rows are compared, not columns, so that only the index `ticket_order` can serve it."""
LOCK_ELDERS: Final = LOCK_TICKETS.replace("NOT ticket.paused", "NOT ticket.paused AND ticket.created_at < :upto")
"""Likewise, those queued before an instant."""
TICKETS_SINCE: Final = "SELECT id, created_at FROM ticket WHERE id = ANY(:ids)"
POOLS: Final = "SELECT name, slots, paused FROM pool WHERE name = ANY(:pools)"
LOCK_POOLS: Final = "SELECT name, slots FROM pool WHERE name = ANY(:pools) ORDER BY name FOR NO KEY UPDATE"
UNDER_WAY: Final = """
    SELECT pool, count(*) FROM run WHERE worker_id IS NOT NULL AND pool = ANY(:pools) GROUP BY pool"""
CLAIM_RUNS: Final = f"""
    UPDATE run SET state = 'running', reason = NULL, epoch = epoch + 1, commits = 0, worker_id = :worker_id,
        started_at = coalesce(started_at, :now),
        bundle = CASE
            WHEN EXISTS (SELECT 1 FROM deployed WHERE deployed.name = run.deployment
                AND (deployed.code_policy <> 'pinned' OR run.bundle IS NULL))
            THEN (SELECT deployed.bundle FROM deployed WHERE deployed.name = run.deployment)
            ELSE bundle END
    WHERE id = ANY(:ids) AND state = 'queued'
    RETURNING {_names(columns(Run))}, (SELECT options FROM deployed WHERE deployed.name = run.deployment)"""
"""The runs as claimed, each with the options of its deployment."""
OPTIONS: Final = "SELECT name, options FROM deployed WHERE name = ANY(:names)"

# --- waits

PUT_WAIT: Final = f"""
    INSERT INTO wait ({_names(columns(Wait))}) VALUES ({_names(columns(Wait), ":{}")}) ON CONFLICT DO NOTHING"""
LIST_WAITS: Final = f"SELECT {_names(columns(Wait))} FROM wait WHERE run_id = :run_id ORDER BY n"
REMOVE_WAITS: Final = "DELETE FROM wait WHERE run_id = ANY(:ids)"
MARK_AWAITED: Final = f"""
    UPDATE run SET awaited = TRUE WHERE id = ANY(:ids) AND NOT awaited AND state NOT IN ({TERMINAL_STATES})"""
WAITERS: Final = "SELECT DISTINCT run_id FROM wait WHERE key = ANY(:ids) AND kind = 'run' ORDER BY run_id"
LOCK_WAITING: Final = """
    SELECT id, state, gates FROM run
    WHERE id = ANY(:ids) AND state IN ('waiting', 'retrying', 'scheduled') AND worker_id IS NULL
    ORDER BY id FOR UPDATE"""
_BREAK: Final = "strpos(wait.key, '\n')"
HOW_WAITS_STAND: Final = f"""
    SELECT wait.run_id,
        max(CASE WHEN wait.due_at <= :now THEN 1
            WHEN wait.kind = 'event' AND EXISTS (
                SELECT 1 FROM event WHERE event.kind = substr(wait.key, 1, {_BREAK} - 1)
                    AND event.key = substr(wait.key, {_BREAK} + 1) AND event.id > wait.after) THEN 1
            WHEN wait.kind = 'slot' AND NOT EXISTS (
                SELECT 1 FROM passage WHERE passage.run_id = wait.key AND passage.seq = wait.seq
                    AND NOT passage.held) THEN 1
            ELSE 0 END),
        max(CASE WHEN wait.kind = 'run' THEN 1 ELSE 0 END),
        max(CASE WHEN wait.kind = 'run' AND run.id IS NOT NULL AND run.state NOT IN ({TERMINAL_STATES})
            THEN 1 ELSE 0 END)
    FROM wait LEFT JOIN run ON run.id = wait.key
    WHERE wait.run_id = ANY(:ids) GROUP BY wait.run_id"""
"""By run: whether anything is due or has happened, whether it waits for runs, whether one of those has not ended."""
WAITS_DUE: Final = """
    SELECT run_id FROM wait WHERE due_at IS NOT NULL AND due_at <= :now ORDER BY due_at, run_id LIMIT :limit"""
WAITING_RUNS: Final = "SELECT DISTINCT run_id FROM wait WHERE run_id > :after ORDER BY run_id LIMIT :limit"
"""A page of those who wait, for a repair that costs the same however many they are."""
SUSPEND: Final = """
    UPDATE run SET state = :state, reason = :reason, worker_id = NULL, attempt = attempt + :attempt WHERE id = :id"""
SHOW_STATE: Final = "UPDATE run SET state = :state, reason = :reason WHERE id = :id"
QUEUE_RUNS: Final = "UPDATE run SET state = 'queued', reason = NULL WHERE id = ANY(:ids)"

# --- what the loops look at

SURVEY: Final = f"""
    SELECT 'dead', id, 0 FROM ({DEAD_WORKERS}) AS gone
    UNION ALL SELECT 'expiry', '', min(expires_at) FROM worker WHERE expires_at > :now
    UNION ALL SELECT 'due', '', min(due_at) FROM wait WHERE due_at IS NOT NULL
    UNION ALL SELECT 'token', '', min(next_at) FROM gate WHERE next_at IS NOT NULL
    UNION ALL SELECT 'look', '', min(next_at) FROM schedule WHERE next_at IS NOT NULL AND NOT paused
    UNION ALL SELECT 'alarm', '', min(at) FROM (
        SELECT min(next_at) AS at FROM automation WHERE next_at IS NOT NULL AND NOT paused
        UNION ALL SELECT min(next_at) FROM firing WHERE next_at IS NOT NULL
        UNION ALL SELECT min(due_at) FROM deadline
        UNION ALL SELECT min(expires_at) FROM ask WHERE state = 'open' AND expires_at IS NOT NULL) AS alarms
    UNION ALL SELECT 'automations', '', coalesce(max(read), 0) FROM reader WHERE name = 'automations'
    UNION ALL SELECT 'newest', '', coalesce(max(id), 0) FROM event
    UNION ALL SELECT 'tickets', '', count(*) FROM (SELECT 1 FROM ticket WHERE NOT paused LIMIT 1000) AS ready"""
"""In one statement, since a server that has nothing to do still asks this all the time."""
LIST_HELD: Final = f"SELECT {RUN} FROM run WHERE worker_id IS NOT NULL"
ENDED_OF: Final = f"""
    SELECT id, state, reason FROM run WHERE id = ANY(:ids) AND state IN ({TERMINAL_STATES})"""
LEAD: Final = """
    INSERT INTO duty (name, holder, expires_at) VALUES (:name, :holder, :until)
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
    WHERE duty.holder = excluded.holder OR duty.expires_at <= :now"""

# --- the catalog

PUT_PROJECT: Final = _put("project", ("name",))
LIST_PROJECTS: Final = f"SELECT {_columns('project')} FROM project ORDER BY name"
REMOVE_PROJECT: Final = "DELETE FROM project WHERE name = :name"
PUT_DEPLOYED: Final = _put("deployed", ("name",))
LIST_DEPLOYED: Final = f"SELECT {_columns('deployed')} FROM deployed"
REMOVE_DEPLOYED: Final = "DELETE FROM deployed WHERE name = ANY(:names)"
PAUSE_DEPLOYED: Final = "UPDATE deployed SET paused = :paused WHERE name = :name"
PUT_POOL: Final = _put("pool", ("name",))
LIST_POOLS: Final = f"SELECT {_columns('pool')} FROM pool ORDER BY name"
NAMED_POOLS: Final = "SELECT DISTINCT pool FROM deployed UNION SELECT DISTINCT pool FROM queue"
REMOVE_POOL: Final = "DELETE FROM pool WHERE name = :name"
REMOVE_QUEUES: Final = "DELETE FROM queue WHERE pool = :name"
ANY_TICKET: Final = "SELECT 1 FROM ticket WHERE pool = :name LIMIT 1"
PUT_QUEUE: Final = _put("queue", ("pool", "name"))
LIST_QUEUES: Final = f"SELECT {_columns('queue')} FROM queue"

# --- accounts

PUT_USER: Final = _put("user_account", ("name",))
LIST_USERS: Final = f"SELECT {_columns('user_account')} FROM user_account ORDER BY name"
PUT_TOKEN: Final = _put("token", ("id",))
LIST_TOKENS: Final = f"SELECT {_columns('token')} FROM token ORDER BY created_at DESC, id DESC"
FIND_TOKEN: Final = f"""
    SELECT {_columns("token")} FROM token
    WHERE hash = :hash AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
        AND ("user" IS NULL
            OR EXISTS (SELECT 1 FROM user_account WHERE user_account.name = token."user" AND NOT disabled))"""
GET_RANDOM: Final = "SELECT value FROM secret WHERE name = :name"
PUT_RANDOM: Final = "INSERT INTO secret (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING"

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
    SELECT id, at, kind, run_id, seq, data, key FROM event
    WHERE run_id = :run_id AND id > :after ORDER BY id LIMIT :limit"""
EVENTS: Final = "SELECT id, at, kind, run_id, seq, data, key FROM event WHERE id > :after ORDER BY id LIMIT :limit"
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
    SELECT up.root, run.id,
        CASE WHEN EXISTS (SELECT 1 FROM wait WHERE wait.key = run.id) THEN 'waiting' ELSE run.state END,
        run.finished_at, run.kind
    FROM up JOIN run ON run.id = up.id"""
LOCK_RUNS: Final = "SELECT id FROM run WHERE id = ANY(:ids) ORDER BY id FOR UPDATE"
EXPIRED: Final = """
    SELECT key FROM cache WHERE expires_at IS NOT NULL AND expires_at <= :now
    ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED"""
REMOVE_CACHED: Final = "DELETE FROM cache WHERE key = ANY(:keys)"
BLOBS_OF: Final = "SELECT DISTINCT hash FROM blob WHERE run_id = ANY(:owners)"
REMOVE_BLOBS: Final = "DELETE FROM blob WHERE run_id = ANY(:owners)"
BLOBS_NAMED: Final = "SELECT DISTINCT hash FROM blob WHERE hash = ANY(:hashes)"
NAME_BUNDLE: Final = "INSERT INTO blob (hash, run_id) VALUES (:hash, :owner) ON CONFLICT DO NOTHING"
NAME_BUNDLES_OF: Final = """
    INSERT INTO blob (hash, run_id)
    SELECT DISTINCT bundle, 'bundle' FROM run WHERE id = ANY(:ids) AND bundle IS NOT NULL ON CONFLICT DO NOTHING"""
BUNDLES: Final = "SELECT hash, run_id FROM blob WHERE run_id >= 'bundle' AND run_id < 'bundle;'"
BUNDLES_DEPLOYED: Final = """
    SELECT bundle FROM deployed WHERE bundle IS NOT NULL UNION SELECT bundle FROM project WHERE bundle IS NOT NULL"""
BUNDLES_OF_RUNS: Final = "SELECT DISTINCT bundle FROM run WHERE bundle = ANY(:hashes)"
REMOVE_BUNDLES: Final = "DELETE FROM blob WHERE hash = ANY(:hashes) AND run_id >= :first AND run_id < 'bundle;'"
