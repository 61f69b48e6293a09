"""What starts runs, holds them back and reacts to them: schedules, questions, gates, automations. Expands only.

Columns are added with defaults, so that code of revision 0002 goes on working beside this.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def where(condition: str) -> dict[str, Any]:
    """Make an index partial in both dialects."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def column(name: str, kind: Any, *, null: bool = False) -> sa.Column[Any]:
    """Make a column of a new table."""
    return sa.Column(name, kind, nullable=null)


def upgrade() -> None:
    """Add the columns and the tables."""
    op.add_column("run", sa.Column("gates", sa.Text(), nullable=True))
    op.add_column("run", sa.Column("trigger", sa.Text(), nullable=True))
    op.add_column("event", sa.Column("key", ID, nullable=True))
    op.create_index("event_key", "event", ["kind", "key", "id"], **where("key IS NOT NULL"))
    op.add_column("wait", sa.Column("after", INSTANT, nullable=False, server_default="0"))
    op.add_column("deployed", sa.Column("kind", sa.Text(), nullable=False, server_default="flow"))
    make_schedules()
    make_asks()
    make_webhooks()
    make_gates()
    make_automations()


def make_schedules() -> None:
    """Make the tables of schedules and what became of them."""
    op.create_table(
        "schedule",
        column("name", ID),
        column("deployment", ID),
        column("project", ID),
        column("kind", sa.Text()),
        column("spec", sa.Text()),
        column("parameters", sa.Text()),
        column("tags", sa.Text()),
        column("paused", sa.Boolean()),
        column("since", INSTANT),
        column("next_at", INSTANT, null=True),
        column("read", INSTANT),
        column("cursor", sa.Text(), null=True),
        column("state", sa.Text()),
        column("turn", sa.Integer()),
        column("trouble", sa.Text(), null=True),
        column("updated_at", INSTANT),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("schedule_due", "schedule", ["next_at", "name"], **where("next_at IS NOT NULL AND NOT paused"))
    op.create_index("schedule_deployment", "schedule", ["deployment"])
    op.create_table(
        "tick",
        column("schedule", ID),
        column("key", ID),
        column("scheduled_at", INSTANT, null=True),
        column("at", INSTANT),
        column("outcome", sa.Text()),
        column("reason", sa.Text(), null=True),
        column("run_id", ID, null=True),
        column("data", sa.Text()),
        sa.PrimaryKeyConstraint("schedule", "key"),
    )
    op.create_index("tick_schedule", "tick", ["schedule", "at"])
    op.create_index("tick_at", "tick", ["at"])


def make_asks() -> None:
    """Make the tables of questions to people."""
    op.create_table(
        "ask",
        column("id", ID),
        column("run_id", ID),
        column("flow", sa.Text()),
        column("title", sa.Text()),
        column("description", sa.Text()),
        column("schema", sa.Text()),
        column("whom", sa.Text(), null=True),
        column("needed", sa.Integer()),
        column("created_at", INSTANT),
        column("expires_at", INSTANT, null=True),
        column("state", sa.Text()),
        column("answers", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ask_open", "ask", ["created_at", "id"], **where("state = 'open'"))
    op.create_index("ask_expires", "ask", ["expires_at"], **where("state = 'open' AND expires_at IS NOT NULL"))
    op.create_index("ask_run", "ask", ["run_id"])


def make_webhooks() -> None:
    """Make the tables of who may send events from outside, and what came lately."""
    op.create_table(
        "webhook",
        column("name", ID),
        column("kind", sa.Text()),
        column("key_from", sa.Text(), null=True),
        column("scheme", sa.Text()),
        column("header", sa.Text(), null=True),
        column("secret", sa.Text()),
        column("created_at", INSTANT),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "delivery",
        column("webhook", ID),
        column("mark", ID),
        column("at", INSTANT),
        sa.PrimaryKeyConstraint("webhook", "mark"),
        sqlite_with_rowid=False,
    )
    op.create_index("delivery_at", "delivery", ["webhook", "at"])


def make_gates() -> None:
    """Make the tables of limits."""
    op.create_table(
        "concurrency_limit",
        column("name", ID),
        column("slots", sa.Integer(), null=True),
        column("rate", sa.Float(), null=True),
        column("burst", sa.Integer()),
        column("weights", sa.Text()),
        column("description", sa.Text()),
        column("updated_at", INSTANT),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "gate",
        column("id", ID),
        column("limit_name", ID),
        column("slots", sa.Integer(), null=True),
        column("rate", sa.Float(), null=True),
        column("burst", sa.Integer()),
        column("held", sa.Integer()),
        column("waiting", sa.Integer()),
        column("full_at", INSTANT),
        column("next_at", INSTANT, null=True),
        column("clock", sa.Float()),
        column("declared", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("gate_next", "gate", ["next_at"], **where("next_at IS NOT NULL"))
    op.create_index("gate_limit", "gate", ["limit_name"])
    op.create_table(
        "share",
        column("gate", ID),
        column("name", ID),
        column("waiting", sa.Integer()),
        column("clock", sa.Float()),
        column("weight", sa.Float()),
        sa.PrimaryKeyConstraint("gate", "name"),
        sqlite_with_rowid=False,
    )
    op.create_index("share_next", "share", ["gate", "clock", "name"], **where("waiting > 0"))
    op.create_table(
        "passage",
        column("gate", ID),
        column("run_id", ID),
        column("seq", sa.Integer()),
        column("held", sa.Boolean()),
        column("share", ID),
        column("rank", INSTANT),
        column("since", INSTANT),
        column("granted_at", INSTANT, null=True),
        column("epoch", sa.Integer()),
        column("rest", sa.Text(), null=True),
        sa.PrimaryKeyConstraint("gate", "run_id", "seq"),
    )
    op.create_index("passage_next", "passage", ["gate", "share", "rank", "run_id", "seq"], **where("NOT held"))
    op.create_index("passage_held", "passage", ["gate"], **where("held"))
    op.create_index("passage_run", "passage", ["run_id"])


def make_automations() -> None:
    """Make the tables of automations, deadlines."""
    op.create_table(
        "automation",
        column("name", ID),
        column("project", ID),
        column("spec", sa.Text()),
        column("description", sa.Text()),
        column("paused", sa.Boolean()),
        column("silenced_until", INSTANT, null=True),
        column("state", sa.Text()),
        column("next_at", INSTANT, null=True),
        column("after", INSTANT),
        column("turn", sa.Integer()),
        column("trouble", sa.Text(), null=True),
        column("updated_at", INSTANT),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("automation_next", "automation", ["next_at"], **where("next_at IS NOT NULL AND NOT paused"))
    op.create_table(
        "firing",
        column("id", ID),
        column("automation", ID),
        column("key", ID),
        column("at", INSTANT),
        column("state", sa.Text()),
        column("data", sa.Text()),
        column("progress", sa.Text()),
        column("next_at", INSTANT, null=True),
        column("acknowledged_at", INSTANT, null=True),
        column("acknowledged_by", sa.Text(), null=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("firing_next", "firing", ["next_at"], **where("next_at IS NOT NULL"))
    op.create_index("firing_automation", "firing", ["automation", "at"])
    op.create_index("firing_at", "firing", ["at"])
    op.create_table(
        "reader",
        column("name", ID),
        column("read", INSTANT),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "deadline",
        column("run_id", ID),
        column("kind", sa.Text()),
        column("due_at", INSTANT),
        sa.PrimaryKeyConstraint("run_id", "kind"),
        sqlite_with_rowid=False,
    )
    op.create_index("deadline_due", "deadline", ["due_at"])
