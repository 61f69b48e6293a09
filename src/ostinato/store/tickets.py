"""Tickets: the narrow rows of the runs that may be claimed now, and why they are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ostinato.records import Event
from ostinato.store import statements
from ostinato.store.events import append, as_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.records import Run
    from ostinato.store.transactions import Session
    from ostinato.work import Held


def put(tx: Session, run_ids: list[str], now: int, why: str) -> None:
    """Make the tickets of queued runs, as far as they have a pool, and say so in an event each.

    Args:
        tx: The transaction; it has the runs locked, or has made them.
        run_ids: The runs.
        now: The time.
        why: ``created``, ``start``, ``woken``, ``recovered``, ``reopened``, ``drained`` …
    """
    # before a statement of its own reads queues and deployments: they cannot change until this is committed
    tx.put(statements.SHARE_CATALOG)
    made = tx.rows(statements.PUT_TICKETS, ids=run_ids, now=now)
    if made:
        tx.put(statements.PUT_LEVELS, ids=run_ids)
        append(tx, [_queued(run_id, pool, queue, now, why) for run_id, pool, queue in made])


def put_first(tx: Session, run: Run, now: int, more: Sequence[Event]) -> None:
    """Make the ticket of a run that this transaction has made, as `put` does, without asking what came of it."""
    assert run.pool is not None
    tx.put(statements.SHARE_CATALOG)
    tx.put(statements.PUT_TICKETS, ids=[run.id], now=now)
    tx.put(statements.PUT_LEVELS, ids=[run.id])
    append(tx, [_queued(run.id, run.pool, run.queue, now, "created"), *more])


def _queued(run_id: str, pool: str, queue: str, now: int, why: str) -> Event:
    return Event(at=now, kind="run.queued", run_id=run_id, data=as_json({"pool": pool, "queue": queue, "why": why}))


def hold(tx: Session, notes: Sequence[Held]) -> None:
    """Record why runs are not claimed; an event where the reason has changed."""
    now = tx.now()
    ids = [note.run_id for note in notes]
    found = {row[0]: msgspec.json.decode(row[1] or "{}") for row in tx.rows(statements.HOLD_TICKETS, ids=ids)}
    news: list[Event] = []
    for note in notes:
        if note.run_id not in found:
            continue
        before = found[note.run_id]
        is_new = before.get("reason") != note.reason
        data = msgspec.json.decode(note.data)
        after = data | {"reason": note.reason, "since": now if is_new else before["since"]}
        if after != before:
            tx.put(statements.HOLD_TICKET, run_id=note.run_id, why=as_json(after))
        if is_new:
            told = as_json(data | {"reason": note.reason})
            news.append(Event(at=now, kind="run.held", run_id=note.run_id, data=told))
    append(tx, news)
