"""The tables of time and events: schedules, questions, webhooks, limits, automations, retention. See `schema`."""

from __future__ import annotations

import sqlalchemy as sa

from ostinato.store.columns import ID, INSTANT, column, metadata, where

schedule = sa.Table(
    "schedule",
    metadata,
    column("name", ID),
    column("deployment", ID),
    column("project", ID),
    column("kind", sa.Text),
    column("spec", sa.Text),
    column("parameters", sa.Text),
    column("tags", sa.Text),
    column("paused", sa.Boolean),
    column("since", INSTANT),
    column("next_at", INSTANT, null=True),
    column("read", INSTANT),
    column("cursor", sa.Text, null=True),
    column("state", sa.Text),
    column("turn", sa.Integer),
    column("trouble", sa.Text, null=True),
    column("updated_at", INSTANT),
    sa.PrimaryKeyConstraint("name"),
    # those that are due
    sa.Index("schedule_due", "next_at", "name", **where("next_at IS NOT NULL AND NOT paused")),
    sa.Index("schedule_deployment", "deployment"),
)

tick = sa.Table(
    "tick",
    metadata,
    column("schedule", ID),
    column("key", ID),
    column("scheduled_at", INSTANT, null=True),
    column("at", INSTANT),
    column("outcome", sa.Text),
    column("reason", sa.Text, null=True),
    column("run_id", ID, null=True),
    column("data", sa.Text),
    sa.PrimaryKeyConstraint("schedule", "key"),
    # the newest of a schedule; retention
    sa.Index("tick_schedule", "schedule", "at"),
    sa.Index("tick_at", "at"),
)

ask = sa.Table(
    "ask",
    metadata,
    column("id", ID),
    column("run_id", ID),
    column("flow", sa.Text),
    column("title", sa.Text),
    column("description", sa.Text),
    column("schema", sa.Text),
    column("whom", sa.Text, null=True),
    column("needed", sa.Integer),
    column("created_at", INSTANT),
    column("expires_at", INSTANT, null=True),
    column("state", sa.Text),
    column("answers", sa.Text),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("ask_open", "created_at", "id", **where("state = 'open'")),
    sa.Index("ask_expires", "expires_at", **where("state = 'open' AND expires_at IS NOT NULL")),
    sa.Index("ask_run", "run_id"),
)

webhook = sa.Table(
    "webhook",
    metadata,
    column("name", ID),
    column("kind", sa.Text),
    column("key_from", sa.Text, null=True),
    column("scheme", sa.Text),
    column("header", sa.Text, null=True),
    column("secret", sa.Text),
    column("created_at", INSTANT),
    sa.PrimaryKeyConstraint("name"),
)

# What webhooks have delivered lately: a signature, or an id, that comes again is known.
delivery = sa.Table(
    "delivery",
    metadata,
    column("webhook", ID),
    column("mark", ID),
    column("at", INSTANT),
    sa.PrimaryKeyConstraint("webhook", "mark"),
    sa.Index("delivery_at", "webhook", "at"),
    sqlite_with_rowid=False,
)

concurrency_limit = sa.Table(
    "concurrency_limit",
    metadata,
    column("name", ID),
    column("slots", sa.Integer, null=True),
    column("rate", sa.Float, null=True),
    column("burst", sa.Integer),
    column("weights", sa.Text),
    column("description", sa.Text),
    column("updated_at", INSTANT),
    sa.PrimaryKeyConstraint("name"),
)

gate = sa.Table(
    "gate",
    metadata,
    column("id", ID),
    column("limit_name", ID),
    column("slots", sa.Integer, null=True),
    column("rate", sa.Float, null=True),
    column("burst", sa.Integer),
    column("held", sa.Integer),
    column("waiting", sa.Integer),
    column("full_at", INSTANT),
    column("next_at", INSTANT, null=True),
    column("clock", sa.Float),
    column("declared", sa.Text),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("gate_next", "next_at", **where("next_at IS NOT NULL")),
    sa.Index("gate_limit", "limit_name"),
)

# How far each share of a gate has come: whoever is behind is next. Only where it is ahead of the gate, or waits.
share = sa.Table(
    "share",
    metadata,
    column("gate", ID),
    column("name", ID),
    column("waiting", sa.Integer),
    column("clock", sa.Float),
    column("weight", sa.Float),
    sa.PrimaryKeyConstraint("gate", "name"),
    sa.Index("share_next", "gate", "clock", "name", **where("waiting > 0")),
    sqlite_with_rowid=False,
)

passage = sa.Table(
    "passage",
    metadata,
    column("gate", ID),
    column("run_id", ID),
    column("seq", sa.Integer),
    column("held", sa.Boolean),
    column("share", ID),
    column("rank", INSTANT),
    column("since", INSTANT),
    column("granted_at", INSTANT, null=True),
    column("epoch", sa.Integer),
    column("rest", sa.Text, null=True),
    sa.PrimaryKeyConstraint("gate", "run_id", "seq"),
    # who is next; what a run has
    sa.Index("passage_next", "gate", "share", "rank", "run_id", "seq", **where("NOT held")),
    sa.Index("passage_held", "gate", **where("held")),
    sa.Index("passage_run", "run_id"),
)

automation = sa.Table(
    "automation",
    metadata,
    column("name", ID),
    column("project", ID),
    column("spec", sa.Text),
    column("description", sa.Text),
    column("paused", sa.Boolean),
    column("silenced_until", INSTANT, null=True),
    column("state", sa.Text),
    column("next_at", INSTANT, null=True),
    column("after", INSTANT),
    column("turn", sa.Integer),
    column("trouble", sa.Text, null=True),
    column("updated_at", INSTANT),
    sa.PrimaryKeyConstraint("name"),
    sa.Index("automation_next", "next_at", **where("next_at IS NOT NULL AND NOT paused")),
)

firing = sa.Table(
    "firing",
    metadata,
    column("id", ID),
    column("automation", ID),
    column("key", ID),
    column("at", INSTANT),
    column("state", sa.Text),
    column("data", sa.Text),
    column("progress", sa.Text),
    column("next_at", INSTANT, null=True),
    column("acknowledged_at", INSTANT, null=True),
    column("acknowledged_by", sa.Text, null=True),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("firing_next", "next_at", **where("next_at IS NOT NULL")),
    sa.Index("firing_automation", "automation", "at"),
    sa.Index("firing_at", "at"),
)

# How far a reader of all events has come.
reader = sa.Table(
    "reader",
    metadata,
    column("name", ID),
    column("read", INSTANT),
    sa.PrimaryKeyConstraint("name"),
)

deadline = sa.Table(
    "deadline",
    metadata,
    column("run_id", ID),
    column("kind", sa.Text),
    column("due_at", INSTANT),
    sa.PrimaryKeyConstraint("run_id", "kind"),
    sa.Index("deadline_due", "due_at"),
    sqlite_with_rowid=False,
)

# Runs that retention has removed and whose other rows are still there: they go a few at a time.
leftover = sa.Table(
    "leftover",
    metadata,
    column("run_id", ID),
    sa.PrimaryKeyConstraint("run_id"),
    sqlite_with_rowid=False,
)
