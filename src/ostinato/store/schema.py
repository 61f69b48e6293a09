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

import sqlalchemy as sa

from ostinato.states import TERMINAL, State
from ostinato.store import schema_timing
from ostinato.store.columns import BYTES, ID, INSTANT, column, metadata, where

__all__ = ["PARTITIONS", "metadata", "schema_timing"]

_STATES = ", ".join(f"'{state}'" for state in State)
_FAILED = ", ".join(f"'{state}'" for state in State if state in TERMINAL and state is not State.SUCCEEDED)
_OPEN = ", ".join(f"'{state}'" for state in State if state not in TERMINAL)


def _state_check(table: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"state IN ({_STATES})", name=f"{table}_state")


worker = sa.Table(
    "worker",
    metadata,
    column("id", ID),
    column("kind", sa.Text),
    column("host", sa.Text),
    column("pid", sa.BigInteger().with_variant(sa.Integer(), "sqlite")),
    column("pid_started", sa.Text),
    column("version", sa.Text),
    column("started_at", INSTANT),
    column("expires_at", INSTANT),
    column("pools", sa.Text, default="[]"),
    column("slots", sa.Integer, default="0"),
    column("resources", sa.Text, default="{}"),
    column("roots", sa.Text, default="[]"),
    column("draining", sa.Boolean, default=sa.false()),
    sa.PrimaryKeyConstraint("id"),
    sqlite_with_rowid=False,
)

run = sa.Table(
    "run",
    metadata,
    column("id", ID),
    column("flow", sa.Text),
    column("state", sa.Text),
    column("reason", sa.Text, null=True),
    column("epoch", sa.Integer),
    column("attempt", sa.Integer),
    column("recoveries", sa.Integer),
    column("lineage", sa.Text),
    column("parent_run_id", ID, null=True),
    column("parent_seq", sa.Integer, null=True),
    column("branch_of", ID, null=True),
    column("branch_cut", sa.Text),
    column("parameters", BYTES, null=True),
    column("target", sa.Text, null=True),
    column("cwd", sa.Text, null=True),
    column("code", sa.Text, null=True),
    column("tags", sa.Text),
    column("key", sa.Text, null=True),
    column("worker_id", ID, null=True),
    column("version", sa.Text),
    column("created_at", INSTANT),
    column("scheduled_at", INSTANT, null=True),
    column("started_at", INSTANT, null=True),
    column("finished_at", INSTANT, null=True),
    column("cancel_requested_at", INSTANT, null=True),
    column("result", BYTES, null=True),
    column("error", sa.Text, null=True),
    column("kind", sa.Text, default="flow"),
    column("deployment", ID, null=True),
    column("pool", ID, null=True),
    column("queue", ID, default="default"),
    column("priority", sa.Integer, default="0"),
    column("resources", sa.Text, null=True),
    column("bundle", sa.Text, null=True),
    column("created_by", sa.Text, null=True),
    column("commits", sa.Integer, default="0"),
    column("awaited", sa.Boolean, default=sa.false()),
    column("gates", sa.Text, null=True),
    column("trigger", sa.Text, null=True),
    sa.PrimaryKeyConstraint("id"),
    _state_check("run"),
    # create() finds the run that already has a key
    sa.Index("run_key", "flow", "key", unique=True, **where("key IS NOT NULL")),
    # what a worker holds: beat, leave, sweep
    sa.Index("run_worker", "worker_id", **where("worker_id IS NOT NULL")),
    # the children of a run, and the forks of a run: prune, listings
    sa.Index("run_parent", "parent_run_id", **where("parent_run_id IS NOT NULL")),
    sa.Index("run_branch", "branch_of", **where("branch_of IS NOT NULL")),
    # listings, newest first: all, of one flow, and those that have not ended however many have
    sa.Index("run_created", "created_at", "id"),
    sa.Index("run_flow", "flow", "created_at", "id"),
    sa.Index("run_deployment", "deployment", "created_at", "id", **where("deployment IS NOT NULL")),
    sa.Index("run_open", "created_at", "id", **where(f"state IN ({_OPEN})")),
    # of millions that have succeeded these are the ones that are looked for
    sa.Index("run_failed", "created_at", "id", **where(f"state IN ({_FAILED})")),
    # prune goes by age of the end
    sa.Index("run_finished", "finished_at", "id", **where("finished_at IS NOT NULL")),
)

task_run = sa.Table(
    "task_run",
    metadata,
    column("run_id", ID),
    column("seq", sa.Integer),
    column("id", ID),
    column("parent_seq", sa.Integer, null=True),
    column("kind", sa.Text),
    column("task", sa.Text),
    column("key", sa.Text),
    column("map_index", sa.Integer, null=True),
    column("partition", sa.Text, null=True),
    column("state", sa.Text),
    column("reason", sa.Text, null=True),
    column("epoch", sa.Integer),
    column("attempt", sa.Integer),
    column("failures", sa.Integer),
    column("clears", sa.Integer),
    column("created_at", INSTANT),
    column("started_at", INSTANT, null=True),
    column("finished_at", INSTANT, null=True),
    column("inputs", BYTES, null=True),
    column("result", BYTES, null=True),
    column("result_fp", BYTES, null=True),
    column("error", sa.Text, null=True),
    column("upstream", sa.Text, null=True),
    column("code", sa.Text, null=True),
    column("child_run_id", ID, null=True),
    column("critical", sa.Boolean),
    column("orphaned", sa.Boolean),
    column("due_at", INSTANT, null=True),
    # The key and nothing else: this is the table that every commit writes. With a rowid in SQLite: rows
    # carry results of some KB, which a clustered index would have to move about.
    sa.PrimaryKeyConstraint("run_id", "seq"),
    _state_check("task_run"),
)

attempt = sa.Table(
    "attempt",
    metadata,
    column("run_id", ID),
    column("seq", sa.Integer),
    column("attempt", sa.Integer),
    column("epoch", sa.Integer),
    column("state", sa.Text),
    column("reason", sa.Text, null=True),
    column("started_at", INSTANT, null=True),
    column("finished_at", INSTANT, null=True),
    column("error", sa.Text, null=True),
    column("code", sa.Text, null=True),
    sa.PrimaryKeyConstraint("run_id", "seq", "attempt", "epoch"),
    _state_check("attempt"),
)

log = sa.Table(
    "log",
    metadata,
    column("run_id", ID),
    column("epoch", sa.Integer),
    column("n", sa.Integer),
    column("first_at", INSTANT),
    column("last_at", INSTANT),
    column("level", sa.Integer),
    column("lines", BYTES),
    # in PostgreSQL each partition has this key, and the whole has none: it would have to hold `first_at` too
    sa.PrimaryKeyConstraint("run_id", "epoch", "n").ddl_if(dialect="sqlite"),
    postgresql_partition_by="RANGE (first_at)",
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", INSTANT, sa.Identity(always=True)),
    column("at", INSTANT),
    column("kind", sa.Text),
    column("run_id", ID),
    column("seq", sa.Integer, null=True),
    column("data", sa.Text),
    column("key", ID, null=True),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("event_run", "run_id", "id"),
    # whether what somebody waits for has happened
    sa.Index("event_key", "kind", "key", "id", **where("key IS NOT NULL")),
    # a number is never given twice, even when the newest events have been pruned
    sqlite_autoincrement=True,
    postgresql_partition_by="RANGE (id)",
)

state_value = sa.Table(
    "state_value",
    metadata,
    column("run_id", ID),
    column("task_run_id", ID),
    column("name", sa.Text),
    column("value", BYTES),
    sa.PrimaryKeyConstraint("run_id", "task_run_id", "name"),
)

cache = sa.Table(
    "cache",
    metadata,
    column("key", ID),
    column("run_id", ID),
    column("task", sa.Text),
    column("seq", sa.Integer),
    column("result", BYTES),
    column("result_fp", BYTES),
    column("created_at", INSTANT),
    column("expires_at", INSTANT, null=True),
    sa.PrimaryKeyConstraint("key"),
    sa.Index("cache_expires", "expires_at", **where("expires_at IS NOT NULL")),
)

blob = sa.Table(
    "blob",
    metadata,
    column("hash", ID),
    # a run, ``cache:<key>``, or ``bundle`` for the source of a project: see pruning
    column("run_id", ID),
    sa.PrimaryKeyConstraint("hash", "run_id"),
    sa.Index("blob_run", "run_id"),
    sqlite_with_rowid=False,
)

ticket = sa.Table(
    "ticket",
    metadata,
    sa.Column("id", INSTANT, sa.Identity(always=True)),
    column("run_id", ID),
    column("pool", ID),
    column("queue", ID),
    column("priority", sa.Integer),
    column("deployment", ID, null=True),
    column("paused", sa.Boolean),
    column("resources", sa.Text, null=True),
    column("created_at", INSTANT),
    column("why", sa.Text, null=True),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("run_id", name="ticket_run"),
    # the order of claiming
    sa.Index("ticket_order", "pool", "priority", "id", **where("NOT paused")),
    sqlite_autoincrement=True,
)

# The priorities that tickets of a pool have had: few, and never removed, so that a claim need not search for them.
ticket_level = sa.Table(
    "ticket_level",
    metadata,
    column("pool", ID),
    column("priority", sa.Integer),
    sa.PrimaryKeyConstraint("pool", "priority"),
    sqlite_with_rowid=False,
)

wait = sa.Table(
    "wait",
    metadata,
    column("run_id", ID),
    column("n", sa.Integer),
    column("kind", sa.Text),
    column("key", ID, null=True),
    column("seq", sa.Integer, null=True),
    column("due_at", INSTANT, null=True),
    column("created_at", INSTANT),
    column("after", INSTANT, default="0"),
    sa.PrimaryKeyConstraint("run_id", "n"),
    # the next that is due; who waits for a run, or for an event
    sa.Index("wait_due", "due_at", **where("due_at IS NOT NULL")),
    sa.Index("wait_key", "key", **where("key IS NOT NULL")),
    sqlite_with_rowid=False,
)

project = sa.Table(
    "project",
    metadata,
    column("name", ID),
    column("root", sa.Text),
    column("host", sa.Text),
    column("bundle", sa.Text, null=True),
    column("errors", sa.Text),
    column("python", sa.Text),
    column("version", sa.Text),
    column("updated_at", INSTANT),
    sa.PrimaryKeyConstraint("name"),
)

deployed = sa.Table(
    "deployed",
    metadata,
    column("name", ID),
    column("flow", sa.Text),
    column("project", ID),
    column("target", sa.Text),
    column("pool", ID),
    column("queue", ID),
    column("priority", sa.Integer),
    column("parameters", sa.Text),
    column("schema", sa.Text),
    column("blueprint", sa.Text, null=True),
    column("resources", sa.Text, null=True),
    column("options", sa.Text),
    column("description", sa.Text),
    column("tags", sa.Text),
    column("code", sa.Text, null=True),
    column("code_policy", sa.Text),
    column("bundle", sa.Text, null=True),
    column("paused", sa.Boolean),
    column("broken", sa.Text, null=True),
    column("updated_at", INSTANT),
    column("kind", sa.Text, default="flow"),
    sa.PrimaryKeyConstraint("name"),
)

pool = sa.Table(
    "pool",
    metadata,
    column("name", ID),
    column("slots", sa.Integer, null=True),
    column("paused", sa.Boolean),
    column("description", sa.Text),
    sa.PrimaryKeyConstraint("name"),
)

queue = sa.Table(
    "queue",
    metadata,
    column("pool", ID),
    column("name", ID),
    column("priority", sa.Integer),
    column("paused", sa.Boolean),
    sa.PrimaryKeyConstraint("pool", "name"),
)

user_account = sa.Table(
    "user_account",
    metadata,
    column("name", ID),
    column("role", sa.Text),
    column("created_at", INSTANT),
    column("disabled", sa.Boolean),
    sa.PrimaryKeyConstraint("name"),
)

token = sa.Table(
    "token",
    metadata,
    column("id", ID),
    column("hash", ID),
    column("name", sa.Text),
    column("role", sa.Text),
    column("user", ID, null=True),
    column("pools", sa.Text),
    column("created_at", INSTANT),
    column("expires_at", INSTANT, null=True),
    column("revoked_at", INSTANT, null=True),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("hash", name="token_hash"),
)

secret = sa.Table(
    "secret",
    metadata,
    column("name", ID),
    column("value", BYTES),
    sa.PrimaryKeyConstraint("name"),
)

duty = sa.Table(
    "duty",
    metadata,
    column("name", ID),
    column("holder", sa.Text),
    column("expires_at", INSTANT),
    sa.PrimaryKeyConstraint("name"),
)

# One row: the oldest revision of code that the database still fits. See `revisions`.
fits_from = sa.Table(
    "fits_from",
    metadata,
    column("revision", sa.Text),
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
