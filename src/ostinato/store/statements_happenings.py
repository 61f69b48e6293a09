"""The SQL of users' events, of questions and of webhooks; see `ostinato.store.statements` for its tongue."""


# ruff: noqa: S608  what is put into these texts are names of our own columns, never a value

from __future__ import annotations

from typing import Final

from ostinato.store.rows import columns
from ostinato.timing import Ask, Webhook

LOCK_HAPPENINGS: Final = "SELECT 'whoever emits a kind and key, or begins to wait for it, is alone'"
"""PostgreSQL's is in `postgres_session`; a write transaction of SQLite is alone anyway."""

_OF: Final = "SELECT id, at, kind, run_id, seq, data, key FROM event WHERE kind = :kind AND key = :key"
FIRST_EVENT: Final = f"{_OF} AND id > :after ORDER BY id LIMIT 1"
LAST_EVENT: Final = f"{_OF} AND id <= :upto ORDER BY id DESC LIMIT 1"
NEWEST: Final = "SELECT coalesce(max(id), 0) FROM event"

EVENT_WAITERS: Final = "SELECT DISTINCT run_id FROM wait WHERE key = ANY(:keys) AND kind = 'event' LIMIT :limit"
WAITS_ARE_DUE: Final = "UPDATE wait SET due_at = :now WHERE key = ANY(:keys) AND kind = 'event'"

ASK: Final = ", ".join(columns(Ask))
PUT_ASK: Final = f"""
    INSERT INTO ask ({ASK}) VALUES ({", ".join(f":{name}" for name in columns(Ask))}) ON CONFLICT DO NOTHING"""
GET_ASK: Final = f"SELECT {ASK} FROM ask WHERE id = :id"
LOCK_ASK: Final = f"{GET_ASK} FOR UPDATE"
REOPEN_ASK: Final = "UPDATE ask SET state = 'open', expires_at = :expires_at WHERE id = :id"
ANSWER_ASK: Final = "UPDATE ask SET state = :state, answers = :answers WHERE id = :id"
LIST_ASKS: Final = f"SELECT {ASK} FROM ask WHERE TRUE"
CLOSE_ASKS: Final = """
    UPDATE ask SET state = :state WHERE id = ANY(:ids) AND state = 'open' RETURNING id, run_id, flow, title"""
EXPIRED_ASKS: Final = """
    SELECT id FROM ask WHERE state = 'open' AND expires_at IS NOT NULL AND expires_at <= :now
    ORDER BY expires_at LIMIT :limit"""
WITHDRAW_ASKS: Final = "UPDATE ask SET state = 'withdrawn' WHERE run_id = :run_id AND state = 'open'"
RUN_STATE: Final = "SELECT state FROM run WHERE id = :id FOR UPDATE"

WEBHOOK: Final = ", ".join(columns(Webhook))
PUT_WEBHOOK: Final = f"""
    INSERT INTO webhook ({WEBHOOK}) VALUES ({", ".join(f":{name}" for name in columns(Webhook))})
    ON CONFLICT (name) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in columns(Webhook)[1:])}"""
LIST_WEBHOOKS: Final = f"SELECT {WEBHOOK} FROM webhook ORDER BY name"
GET_WEBHOOK: Final = f"SELECT {WEBHOOK} FROM webhook WHERE name = :name"
REMOVE_WEBHOOK: Final = "DELETE FROM webhook WHERE name = :name"
REMEMBER_DELIVERY: Final = """
    INSERT INTO delivery (webhook, mark, at) VALUES (:webhook, :mark, :at) ON CONFLICT DO NOTHING"""
FORGET_DELIVERIES: Final = "DELETE FROM delivery WHERE webhook = :webhook AND at < :before"
FORGET_ALL_DELIVERIES: Final = "DELETE FROM delivery WHERE webhook = :webhook"
