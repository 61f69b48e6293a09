"""What servers and workers need: the queue, waits, what is deployed, who may do what. Expands only.

Columns are added with defaults, so that code of revision 0001 goes on working beside this.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FAILED = "state IN ('failed', 'crashed', 'cancelled', 'skipped')"


def where(condition: str) -> dict[str, Any]:
    """Make an index partial in both dialects."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Add the columns and the tables."""
    widen_worker()
    widen_run()
    op.add_column("task_run", sa.Column("due_at", INSTANT, nullable=True))
    make_ticket()
    make_ticket_level()
    make_wait()
    make_project()
    make_deployed()
    make_pool()
    make_queue()
    make_user_account()
    make_token()
    make_secret()
    make_duty()
    make_fits_from()


def widen_worker() -> None:
    """Add to `worker` what it offers."""
    for column in (
        sa.Column("pools", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("slots", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("resources", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("roots", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("draining", sa.Boolean(), nullable=False, server_default=sa.false()),
    ):
        op.add_column("worker", column)


def widen_run() -> None:
    """Add to `run` what makes it a queued item."""
    for column in (
        sa.Column("kind", sa.Text(), nullable=False, server_default="flow"),
        sa.Column("deployment", ID, nullable=True),
        sa.Column("pool", ID, nullable=True),
        sa.Column("queue", ID, nullable=False, server_default="default"),
        sa.Column("priority", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("resources", sa.Text(), nullable=True),
        sa.Column("bundle", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("commits", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("awaited", sa.Boolean(), nullable=False, server_default=sa.false()),
    ):
        op.add_column("run", column)
    op.create_index("run_deployment", "run", ["deployment", "created_at", "id"], **where("deployment IS NOT NULL"))
    op.create_index("run_failed", "run", ["created_at", "id"], **where(FAILED))


def make_ticket() -> None:
    """Make the table `ticket`."""
    op.create_table(
        "ticket",
        sa.Column("id", INSTANT, sa.Identity(always=True), nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("pool", ID, nullable=False),
        sa.Column("queue", ID, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("deployment", ID, nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("resources", sa.Text(), nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_id", name="ticket_run"),
        sqlite_autoincrement=True,
    )
    op.create_index("ticket_order", "ticket", ["pool", "priority", "id"], **where("NOT paused"))


def make_ticket_level() -> None:
    """Make the table `ticket_level`."""
    op.create_table(
        "ticket_level",
        sa.Column("pool", ID, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "priority"),
        sqlite_with_rowid=False,
    )


def make_wait() -> None:
    """Make the table `wait`."""
    op.create_table(
        "wait",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", ID, nullable=True),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("due_at", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "n"),
        sqlite_with_rowid=False,
    )
    op.create_index("wait_due", "wait", ["due_at"], **where("due_at IS NOT NULL"))
    op.create_index("wait_key", "wait", ["key"], **where("key IS NOT NULL"))


def make_project() -> None:
    """Make the table `project`."""
    op.create_table(
        "project",
        sa.Column("name", ID, nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=True),
        sa.Column("errors", sa.Text(), nullable=False),
        sa.Column("python", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def make_deployed() -> None:
    """Make the table `deployed`."""
    op.create_table(
        "deployed",
        sa.Column("name", ID, nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("project", ID, nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("pool", ID, nullable=False),
        sa.Column("queue", ID, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("blueprint", sa.Text(), nullable=True),
        sa.Column("resources", sa.Text(), nullable=True),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("code_policy", sa.Text(), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("broken", sa.Text(), nullable=True),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def make_pool() -> None:
    """Make the table `pool`."""
    op.create_table(
        "pool",
        sa.Column("name", ID, nullable=False),
        sa.Column("slots", sa.Integer(), nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def make_queue() -> None:
    """Make the table `queue`."""
    op.create_table(
        "queue",
        sa.Column("pool", ID, nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "name"),
    )


def make_user_account() -> None:
    """Make the table `user_account`."""
    op.create_table(
        "user_account",
        sa.Column("name", ID, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def make_token() -> None:
    """Make the table `token`."""
    op.create_table(
        "token",
        sa.Column("id", ID, nullable=False),
        sa.Column("hash", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("user", ID, nullable=True),
        sa.Column("pools", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=True),
        sa.Column("revoked_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash", name="token_hash"),
    )


def make_secret() -> None:
    """Make the table `secret`."""
    op.create_table(
        "secret",
        sa.Column("name", ID, nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def make_duty() -> None:
    """Make the table `duty`."""
    op.create_table(
        "duty",
        sa.Column("name", ID, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def make_fits_from() -> None:
    """Make the table `fits_from`."""
    op.create_table(
        "fits_from",
        sa.Column("revision", sa.Text(), nullable=False),
    )
    op.execute("INSERT INTO fits_from (revision) VALUES ('0001')")
