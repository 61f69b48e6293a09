"""The first schema: runs, task runs, their attempts, logs, events, kept state, cache and blobs.

A revision that has been released is never changed. It says what it makes itself, and does not ask `schema.py`, which
goes on; a test holds what all revisions make together against it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPLICATION_ID = 0x4F737469
ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN = "state IN ('scheduled', 'queued', 'running', 'waiting', 'retrying')"
STATES = OPEN[:-1] + ", 'succeeded', 'failed', 'crashed', 'cancelled', 'skipped')"


def where(condition: str) -> dict[str, Any]:
    """Make an index partial in both dialects."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Make all tables."""
    make_worker()
    make_run()
    make_task_run()
    make_attempt()
    make_log()
    make_event()
    make_state_value()
    make_cache()
    make_blob()
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def make_worker() -> None:
    """Make the table `worker` and its indexes."""
    op.create_table(
        "worker",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", INSTANT, nullable=False),
        sa.Column("pid_started", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    # ### end Alembic commands ###


def make_run() -> None:
    """Make the table `run` and its indexes."""
    op.create_table(
        "run",
        sa.Column("id", ID, nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("recoveries", sa.Integer(), nullable=False),
        sa.Column("lineage", sa.Text(), nullable=False),
        sa.Column("parent_run_id", ID, nullable=True),
        sa.Column("parent_seq", sa.Integer(), nullable=True),
        sa.Column("branch_of", ID, nullable=True),
        sa.Column("branch_cut", sa.Text(), nullable=False),
        sa.Column("parameters", sa.LargeBinary(), nullable=True),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("cwd", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("worker_id", ID, nullable=True),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("scheduled_at", INSTANT, nullable=True),
        sa.Column("started_at", INSTANT, nullable=True),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.Column("cancel_requested_at", INSTANT, nullable=True),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(STATES, name="run_state"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("run_branch", "run", ["branch_of"], **where("branch_of IS NOT NULL"))
    op.create_index("run_created", "run", ["created_at", "id"])
    op.create_index("run_finished", "run", ["finished_at", "id"], **where("finished_at IS NOT NULL"))
    op.create_index("run_flow", "run", ["flow", "created_at", "id"])
    op.create_index("run_key", "run", ["flow", "key"], unique=True, **where("key IS NOT NULL"))
    op.create_index("run_open", "run", ["created_at", "id"], **where(OPEN))
    op.create_index("run_parent", "run", ["parent_run_id"], **where("parent_run_id IS NOT NULL"))
    op.create_index("run_worker", "run", ["worker_id"], **where("worker_id IS NOT NULL"))


def make_task_run() -> None:
    """Make the table `task_run` and its indexes."""
    op.create_table(
        "task_run",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("parent_seq", sa.Integer(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=True),
        sa.Column("partition", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("clears", sa.Integer(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("started_at", INSTANT, nullable=True),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.Column("inputs", sa.LargeBinary(), nullable=True),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.Column("result_fp", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("upstream", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("child_run_id", ID, nullable=True),
        sa.Column("critical", sa.Boolean(), nullable=False),
        sa.Column("orphaned", sa.Boolean(), nullable=False),
        sa.CheckConstraint(STATES, name="task_run_state"),
        sa.PrimaryKeyConstraint("run_id", "seq"),
    )


def make_attempt() -> None:
    """Make the table `attempt` and its indexes."""
    op.create_table(
        "attempt",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("started_at", INSTANT, nullable=True),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.CheckConstraint(STATES, name="attempt_state"),
        sa.PrimaryKeyConstraint("run_id", "seq", "attempt", "epoch"),
    )


def make_log() -> None:
    """Make the table `log` and its indexes."""
    op.create_table(
        "log",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("first_at", INSTANT, nullable=False),
        sa.Column("last_at", INSTANT, nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("lines", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "epoch", "n"),
    )


def make_event() -> None:
    """Make the table `event` and its indexes."""
    op.create_table(
        "event",
        sa.Column("id", INSTANT, sa.Identity(always=True), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("event_run", "event", ["run_id", "id"])


def make_state_value() -> None:
    """Make the table `state_value` and its indexes."""
    op.create_table(
        "state_value",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("task_run_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "task_run_id", "name"),
    )


def make_cache() -> None:
    """Make the table `cache` and its indexes."""
    op.create_table(
        "cache",
        sa.Column("key", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=False),
        sa.Column("result_fp", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("cache_expires", "cache", ["expires_at"], **where("expires_at IS NOT NULL"))


def make_blob() -> None:
    """Make the table `blob` and its indexes."""
    op.create_table(
        "blob",
        sa.Column("hash", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("hash", "run_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("blob_run", "blob", ["run_id"])
