"""The one schema, as SQLAlchemy Core metadata: every table, index and check, in both dialects.

Only migrations import this module; at run time the store speaks hand-written SQL (`statements.py`) through
the raw drivers, because importing SQLAlchemy costs a third of a second. `schema.sqlite.sql` and
`schema.postgres.sql` are rendered from here (``python -m ostinato.store.migrate``) so that a fresh SQLite
file needs no SQLAlchemy either; tests hold the three and the migrations together.

Columns are the fields of `ostinato.records`, `work` and `access`, in their order. Instants are microseconds in a
BIGINT, lists are JSON in a TEXT. Identifiers have the collation "C" on PostgreSQL: quicker, and the same order as in
SQLite.
There are no foreign keys: rows of a run are written only under the run's lock and removed with it, and
cascades would cost every insert.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ostinato.states import TERMINAL, State

metadata = sa.MetaData()

_STATES = ", ".join(f"'{state}'" for state in State)
_FAILED = ", ".join(f"'{state}'" for state in State if state in TERMINAL and state is not State.SUCCEEDED)
_OPEN = ", ".join(f"'{state}'" for state in State if state not in TERMINAL)

_Id = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_Instant = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Bytes = sa.LargeBinary


def _column(name: str, kind: Any, *, null: bool = False, default: Any = None) -> sa.Column[Any]:
    """Make a column; one that came with a later revision has a default, for the rows that were there."""
    return sa.Column(name, kind, nullable=null, server_default=default)


def _state_check(table: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"state IN ({_STATES})", name=f"{table}_state")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


worker = sa.Table(
    "worker",
    metadata,
    _column("id", _Id),
    _column("kind", sa.Text),
    _column("host", sa.Text),
    _column("pid", sa.BigInteger().with_variant(sa.Integer(), "sqlite")),
    _column("pid_started", sa.Text),
    _column("version", sa.Text),
    _column("started_at", _Instant),
    _column("expires_at", _Instant),
    _column("pools", sa.Text, default="[]"),
    _column("slots", sa.Integer, default="0"),
    _column("resources", sa.Text, default="{}"),
    _column("roots", sa.Text, default="[]"),
    _column("draining", sa.Boolean, default=sa.false()),
    sa.PrimaryKeyConstraint("id"),
    sqlite_with_rowid=False,
)

run = sa.Table(
    "run",
    metadata,
    _column("id", _Id),
    _column("flow", sa.Text),
    _column("state", sa.Text),
    _column("reason", sa.Text, null=True),
    _column("epoch", sa.Integer),
    _column("attempt", sa.Integer),
    _column("recoveries", sa.Integer),
    _column("lineage", sa.Text),
    _column("parent_run_id", _Id, null=True),
    _column("parent_seq", sa.Integer, null=True),
    _column("branch_of", _Id, null=True),
    _column("branch_cut", sa.Text),
    _column("parameters", _Bytes, null=True),
    _column("target", sa.Text, null=True),
    _column("cwd", sa.Text, null=True),
    _column("code", sa.Text, null=True),
    _column("tags", sa.Text),
    _column("key", sa.Text, null=True),
    _column("worker_id", _Id, null=True),
    _column("version", sa.Text),
    _column("created_at", _Instant),
    _column("scheduled_at", _Instant, null=True),
    _column("started_at", _Instant, null=True),
    _column("finished_at", _Instant, null=True),
    _column("cancel_requested_at", _Instant, null=True),
    _column("result", _Bytes, null=True),
    _column("error", sa.Text, null=True),
    _column("kind", sa.Text, default="flow"),
    _column("deployment", _Id, null=True),
    _column("pool", _Id, null=True),
    _column("queue", _Id, default="default"),
    _column("priority", sa.Integer, default="0"),
    _column("resources", sa.Text, null=True),
    _column("bundle", sa.Text, null=True),
    _column("created_by", sa.Text, null=True),
    _column("commits", sa.Integer, default="0"),
    _column("awaited", sa.Boolean, default=sa.false()),
    _column("gates", sa.Text, null=True),
    _column("trigger", sa.Text, null=True),
    sa.PrimaryKeyConstraint("id"),
    _state_check("run"),
    # create() finds the run that already has a key
    sa.Index("run_key", "flow", "key", unique=True, **_where("key IS NOT NULL")),
    # what a worker holds: beat, leave, sweep
    sa.Index("run_worker", "worker_id", **_where("worker_id IS NOT NULL")),
    # the children of a run, and the forks of a run: prune, listings
    sa.Index("run_parent", "parent_run_id", **_where("parent_run_id IS NOT NULL")),
    sa.Index("run_branch", "branch_of", **_where("branch_of IS NOT NULL")),
    # listings, newest first: all, of one flow, and those that have not ended however many have
    sa.Index("run_created", "created_at", "id"),
    sa.Index("run_flow", "flow", "created_at", "id"),
    sa.Index("run_deployment", "deployment", "created_at", "id", **_where("deployment IS NOT NULL")),
    sa.Index("run_open", "created_at", "id", **_where(f"state IN ({_OPEN})")),
    # of millions that have succeeded these are the ones that are looked for
    sa.Index("run_failed", "created_at", "id", **_where(f"state IN ({_FAILED})")),
    # prune goes by age of the end
    sa.Index("run_finished", "finished_at", "id", **_where("finished_at IS NOT NULL")),
)

task_run = sa.Table(
    "task_run",
    metadata,
    _column("run_id", _Id),
    _column("seq", sa.Integer),
    _column("id", _Id),
    _column("parent_seq", sa.Integer, null=True),
    _column("kind", sa.Text),
    _column("task", sa.Text),
    _column("key", sa.Text),
    _column("map_index", sa.Integer, null=True),
    _column("partition", sa.Text, null=True),
    _column("state", sa.Text),
    _column("reason", sa.Text, null=True),
    _column("epoch", sa.Integer),
    _column("attempt", sa.Integer),
    _column("failures", sa.Integer),
    _column("clears", sa.Integer),
    _column("created_at", _Instant),
    _column("started_at", _Instant, null=True),
    _column("finished_at", _Instant, null=True),
    _column("inputs", _Bytes, null=True),
    _column("result", _Bytes, null=True),
    _column("result_fp", _Bytes, null=True),
    _column("error", sa.Text, null=True),
    _column("upstream", sa.Text, null=True),
    _column("code", sa.Text, null=True),
    _column("child_run_id", _Id, null=True),
    _column("critical", sa.Boolean),
    _column("orphaned", sa.Boolean),
    _column("due_at", _Instant, null=True),
    # The key and nothing else: this is the table that every commit writes. With a rowid in SQLite: rows
    # carry results of some KB, which a clustered index would have to move about.
    sa.PrimaryKeyConstraint("run_id", "seq"),
    _state_check("task_run"),
)

attempt = sa.Table(
    "attempt",
    metadata,
    _column("run_id", _Id),
    _column("seq", sa.Integer),
    _column("attempt", sa.Integer),
    _column("epoch", sa.Integer),
    _column("state", sa.Text),
    _column("reason", sa.Text, null=True),
    _column("started_at", _Instant, null=True),
    _column("finished_at", _Instant, null=True),
    _column("error", sa.Text, null=True),
    _column("code", sa.Text, null=True),
    sa.PrimaryKeyConstraint("run_id", "seq", "attempt", "epoch"),
    _state_check("attempt"),
)

log = sa.Table(
    "log",
    metadata,
    _column("run_id", _Id),
    _column("epoch", sa.Integer),
    _column("n", sa.Integer),
    _column("first_at", _Instant),
    _column("last_at", _Instant),
    _column("level", sa.Integer),
    _column("lines", _Bytes),
    # in PostgreSQL each partition has this key, and the whole has none: it would have to hold `first_at` too
    sa.PrimaryKeyConstraint("run_id", "epoch", "n").ddl_if(dialect="sqlite"),
    postgresql_partition_by="RANGE (first_at)",
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", _Instant, sa.Identity(always=True)),
    _column("at", _Instant),
    _column("kind", sa.Text),
    _column("run_id", _Id),
    _column("seq", sa.Integer, null=True),
    _column("data", sa.Text),
    _column("key", _Id, null=True),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("event_run", "run_id", "id"),
    # whether what somebody waits for has happened
    sa.Index("event_key", "kind", "key", "id", **_where("key IS NOT NULL")),
    # a number is never given twice, even when the newest events have been pruned
    sqlite_autoincrement=True,
    postgresql_partition_by="RANGE (id)",
)

state_value = sa.Table(
    "state_value",
    metadata,
    _column("run_id", _Id),
    _column("task_run_id", _Id),
    _column("name", sa.Text),
    _column("value", _Bytes),
    sa.PrimaryKeyConstraint("run_id", "task_run_id", "name"),
)

cache = sa.Table(
    "cache",
    metadata,
    _column("key", _Id),
    _column("run_id", _Id),
    _column("task", sa.Text),
    _column("seq", sa.Integer),
    _column("result", _Bytes),
    _column("result_fp", _Bytes),
    _column("created_at", _Instant),
    _column("expires_at", _Instant, null=True),
    sa.PrimaryKeyConstraint("key"),
    sa.Index("cache_expires", "expires_at", **_where("expires_at IS NOT NULL")),
)

blob = sa.Table(
    "blob",
    metadata,
    _column("hash", _Id),
    # a run, ``cache:<key>``, or ``bundle`` for the source of a project: see pruning
    _column("run_id", _Id),
    sa.PrimaryKeyConstraint("hash", "run_id"),
    sa.Index("blob_run", "run_id"),
    sqlite_with_rowid=False,
)

ticket = sa.Table(
    "ticket",
    metadata,
    sa.Column("id", _Instant, sa.Identity(always=True)),
    _column("run_id", _Id),
    _column("pool", _Id),
    _column("queue", _Id),
    _column("priority", sa.Integer),
    _column("deployment", _Id, null=True),
    _column("paused", sa.Boolean),
    _column("resources", sa.Text, null=True),
    _column("created_at", _Instant),
    _column("why", sa.Text, null=True),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("run_id", name="ticket_run"),
    # the order of claiming
    sa.Index("ticket_order", "pool", "priority", "id", **_where("NOT paused")),
    sqlite_autoincrement=True,
)

# The priorities that tickets of a pool have had: few, and never removed, so that a claim need not search for them.
ticket_level = sa.Table(
    "ticket_level",
    metadata,
    _column("pool", _Id),
    _column("priority", sa.Integer),
    sa.PrimaryKeyConstraint("pool", "priority"),
    sqlite_with_rowid=False,
)

wait = sa.Table(
    "wait",
    metadata,
    _column("run_id", _Id),
    _column("n", sa.Integer),
    _column("kind", sa.Text),
    _column("key", _Id, null=True),
    _column("seq", sa.Integer, null=True),
    _column("due_at", _Instant, null=True),
    _column("created_at", _Instant),
    _column("after", _Instant, default="0"),
    sa.PrimaryKeyConstraint("run_id", "n"),
    # the next that is due; who waits for a run, or for an event
    sa.Index("wait_due", "due_at", **_where("due_at IS NOT NULL")),
    sa.Index("wait_key", "key", **_where("key IS NOT NULL")),
    sqlite_with_rowid=False,
)

project = sa.Table(
    "project",
    metadata,
    _column("name", _Id),
    _column("root", sa.Text),
    _column("host", sa.Text),
    _column("bundle", sa.Text, null=True),
    _column("errors", sa.Text),
    _column("python", sa.Text),
    _column("version", sa.Text),
    _column("updated_at", _Instant),
    sa.PrimaryKeyConstraint("name"),
)

deployed = sa.Table(
    "deployed",
    metadata,
    _column("name", _Id),
    _column("flow", sa.Text),
    _column("project", _Id),
    _column("target", sa.Text),
    _column("pool", _Id),
    _column("queue", _Id),
    _column("priority", sa.Integer),
    _column("parameters", sa.Text),
    _column("schema", sa.Text),
    _column("blueprint", sa.Text, null=True),
    _column("resources", sa.Text, null=True),
    _column("options", sa.Text),
    _column("description", sa.Text),
    _column("tags", sa.Text),
    _column("code", sa.Text, null=True),
    _column("code_policy", sa.Text),
    _column("bundle", sa.Text, null=True),
    _column("paused", sa.Boolean),
    _column("broken", sa.Text, null=True),
    _column("updated_at", _Instant),
    _column("kind", sa.Text, default="flow"),
    sa.PrimaryKeyConstraint("name"),
)

pool = sa.Table(
    "pool",
    metadata,
    _column("name", _Id),
    _column("slots", sa.Integer, null=True),
    _column("paused", sa.Boolean),
    _column("description", sa.Text),
    sa.PrimaryKeyConstraint("name"),
)

queue = sa.Table(
    "queue",
    metadata,
    _column("pool", _Id),
    _column("name", _Id),
    _column("priority", sa.Integer),
    _column("paused", sa.Boolean),
    sa.PrimaryKeyConstraint("pool", "name"),
)

user_account = sa.Table(
    "user_account",
    metadata,
    _column("name", _Id),
    _column("role", sa.Text),
    _column("created_at", _Instant),
    _column("disabled", sa.Boolean),
    sa.PrimaryKeyConstraint("name"),
)

token = sa.Table(
    "token",
    metadata,
    _column("id", _Id),
    _column("hash", _Id),
    _column("name", sa.Text),
    _column("role", sa.Text),
    _column("user", _Id, null=True),
    _column("pools", sa.Text),
    _column("created_at", _Instant),
    _column("expires_at", _Instant, null=True),
    _column("revoked_at", _Instant, null=True),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("hash", name="token_hash"),
)

secret = sa.Table(
    "secret",
    metadata,
    _column("name", _Id),
    _column("value", _Bytes),
    sa.PrimaryKeyConstraint("name"),
)

duty = sa.Table(
    "duty",
    metadata,
    _column("name", _Id),
    _column("holder", sa.Text),
    _column("expires_at", _Instant),
    sa.PrimaryKeyConstraint("name"),
)

schedule = sa.Table(
    "schedule",
    metadata,
    _column("name", _Id),
    _column("deployment", _Id),
    _column("project", _Id),
    _column("kind", sa.Text),
    _column("spec", sa.Text),
    _column("parameters", sa.Text),
    _column("tags", sa.Text),
    _column("paused", sa.Boolean),
    _column("since", _Instant),
    _column("next_at", _Instant, null=True),
    _column("read", _Instant),
    _column("cursor", sa.Text, null=True),
    _column("state", sa.Text),
    _column("turn", sa.Integer),
    _column("trouble", sa.Text, null=True),
    _column("updated_at", _Instant),
    sa.PrimaryKeyConstraint("name"),
    # those that are due
    sa.Index("schedule_due", "next_at", "name", **_where("next_at IS NOT NULL AND NOT paused")),
    sa.Index("schedule_deployment", "deployment"),
)

tick = sa.Table(
    "tick",
    metadata,
    _column("schedule", _Id),
    _column("key", _Id),
    _column("scheduled_at", _Instant, null=True),
    _column("at", _Instant),
    _column("outcome", sa.Text),
    _column("reason", sa.Text, null=True),
    _column("run_id", _Id, null=True),
    _column("data", sa.Text),
    sa.PrimaryKeyConstraint("schedule", "key"),
    # the newest of a schedule; retention
    sa.Index("tick_schedule", "schedule", "at"),
    sa.Index("tick_at", "at"),
)

ask = sa.Table(
    "ask",
    metadata,
    _column("id", _Id),
    _column("run_id", _Id),
    _column("flow", sa.Text),
    _column("title", sa.Text),
    _column("description", sa.Text),
    _column("schema", sa.Text),
    _column("whom", sa.Text, null=True),
    _column("needed", sa.Integer),
    _column("created_at", _Instant),
    _column("expires_at", _Instant, null=True),
    _column("state", sa.Text),
    _column("answers", sa.Text),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("ask_open", "created_at", "id", **_where("state = 'open'")),
    sa.Index("ask_expires", "expires_at", **_where("state = 'open' AND expires_at IS NOT NULL")),
    sa.Index("ask_run", "run_id"),
)

webhook = sa.Table(
    "webhook",
    metadata,
    _column("name", _Id),
    _column("kind", sa.Text),
    _column("key_from", sa.Text, null=True),
    _column("scheme", sa.Text),
    _column("header", sa.Text, null=True),
    _column("secret", sa.Text),
    _column("created_at", _Instant),
    sa.PrimaryKeyConstraint("name"),
)

# What webhooks have delivered lately: a signature, or an id, that comes again is known.
delivery = sa.Table(
    "delivery",
    metadata,
    _column("webhook", _Id),
    _column("mark", _Id),
    _column("at", _Instant),
    sa.PrimaryKeyConstraint("webhook", "mark"),
    sa.Index("delivery_at", "webhook", "at"),
    sqlite_with_rowid=False,
)

concurrency_limit = sa.Table(
    "concurrency_limit",
    metadata,
    _column("name", _Id),
    _column("slots", sa.Integer, null=True),
    _column("rate", sa.Float, null=True),
    _column("burst", sa.Integer),
    _column("weights", sa.Text),
    _column("description", sa.Text),
    _column("updated_at", _Instant),
    sa.PrimaryKeyConstraint("name"),
)

gate = sa.Table(
    "gate",
    metadata,
    _column("id", _Id),
    _column("limit_name", _Id),
    _column("slots", sa.Integer, null=True),
    _column("rate", sa.Float, null=True),
    _column("burst", sa.Integer),
    _column("held", sa.Integer),
    _column("waiting", sa.Integer),
    _column("full_at", _Instant),
    _column("next_at", _Instant, null=True),
    _column("clock", sa.Float),
    _column("declared", sa.Text),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("gate_next", "next_at", **_where("next_at IS NOT NULL")),
    sa.Index("gate_limit", "limit_name"),
)

# How far each share of a gate has come: whoever is behind is next. Only where it is ahead of the gate, or waits.
share = sa.Table(
    "share",
    metadata,
    _column("gate", _Id),
    _column("name", _Id),
    _column("waiting", sa.Integer),
    _column("clock", sa.Float),
    _column("weight", sa.Float),
    sa.PrimaryKeyConstraint("gate", "name"),
    sa.Index("share_next", "gate", "clock", "name", **_where("waiting > 0")),
    sqlite_with_rowid=False,
)

passage = sa.Table(
    "passage",
    metadata,
    _column("gate", _Id),
    _column("run_id", _Id),
    _column("seq", sa.Integer),
    _column("held", sa.Boolean),
    _column("share", _Id),
    _column("rank", _Instant),
    _column("since", _Instant),
    _column("granted_at", _Instant, null=True),
    _column("epoch", sa.Integer),
    _column("rest", sa.Text, null=True),
    sa.PrimaryKeyConstraint("gate", "run_id", "seq"),
    # who is next; what a run has
    sa.Index("passage_next", "gate", "share", "rank", "run_id", "seq", **_where("NOT held")),
    sa.Index("passage_held", "gate", **_where("held")),
    sa.Index("passage_run", "run_id"),
)

automation = sa.Table(
    "automation",
    metadata,
    _column("name", _Id),
    _column("project", _Id),
    _column("spec", sa.Text),
    _column("description", sa.Text),
    _column("paused", sa.Boolean),
    _column("silenced_until", _Instant, null=True),
    _column("state", sa.Text),
    _column("next_at", _Instant, null=True),
    _column("after", _Instant),
    _column("turn", sa.Integer),
    _column("trouble", sa.Text, null=True),
    _column("updated_at", _Instant),
    sa.PrimaryKeyConstraint("name"),
    sa.Index("automation_next", "next_at", **_where("next_at IS NOT NULL AND NOT paused")),
)

firing = sa.Table(
    "firing",
    metadata,
    _column("id", _Id),
    _column("automation", _Id),
    _column("key", _Id),
    _column("at", _Instant),
    _column("state", sa.Text),
    _column("data", sa.Text),
    _column("progress", sa.Text),
    _column("next_at", _Instant, null=True),
    _column("acknowledged_at", _Instant, null=True),
    _column("acknowledged_by", sa.Text, null=True),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("firing_next", "next_at", **_where("next_at IS NOT NULL")),
    sa.Index("firing_automation", "automation", "at"),
    sa.Index("firing_at", "at"),
)

# How far a reader of all events has come.
reader = sa.Table(
    "reader",
    metadata,
    _column("name", _Id),
    _column("read", _Instant),
    sa.PrimaryKeyConstraint("name"),
)

deadline = sa.Table(
    "deadline",
    metadata,
    _column("run_id", _Id),
    _column("kind", sa.Text),
    _column("due_at", _Instant),
    sa.PrimaryKeyConstraint("run_id", "kind"),
    sa.Index("deadline_due", "due_at"),
    sqlite_with_rowid=False,
)

# Runs that retention has removed and whose other rows are still there: they go a few at a time.
leftover = sa.Table(
    "leftover",
    metadata,
    _column("run_id", _Id),
    sa.PrimaryKeyConstraint("run_id"),
    sqlite_with_rowid=False,
)

# One row: the oldest revision of code that the database still fits. See `revisions`.
fits_from = sa.Table(
    "fits_from",
    metadata,
    _column("revision", sa.Text),
)

PARTITIONS = """
CREATE TABLE event_0 PARTITION OF event FOR VALUES FROM (MINVALUE) TO (2000000);
CREATE TABLE event_default PARTITION OF event DEFAULT;
DO $$ BEGIN
    EXECUTE 'CREATE TABLE log_0 PARTITION OF log FOR VALUES FROM (MINVALUE) TO ('
        || ((extract(epoch FROM now())::bigint / 86400 + 2) * 86400000000) || ')';
END $$;
CREATE TABLE log_default PARTITION OF log DEFAULT;
ALTER TABLE log_0 ADD CONSTRAINT log_0_pkey PRIMARY KEY (run_id, epoch, n);
ALTER TABLE log_default ADD CONSTRAINT log_default_pkey PRIMARY KEY (run_id, epoch, n);
"""
"""The partitions a new PostgreSQL database begins with; `partitions` makes the next ones and drops old ones."""
