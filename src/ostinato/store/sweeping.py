"""Leases: renewed, ended, and what becomes of the runs of a worker that is gone.

A worker is one row, renewed for all its runs at once. Whoever finds a lease that has ended buries the worker: its
runs are put back or become crashed (`recovery`), with an epoch more, and its row goes. That is
one transaction a worker, and finding nothing to do is a single read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostinato.records import Beat, Run, Worker
from ostinato.store import life, recovery, statements
from ostinato.store.rows import records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.store.transactions import Session


def beat(tx: Session, worker_id: str, now: int, lease: int) -> Beat:
    """Renew a lease that has not ended: one statement, since every worker does it all the time."""
    found = tx.rows(statements.BEAT, id=worker_id, now=now, until=now + lease)
    if not found:
        return Beat(alive=False, expires_at=now)
    cancelled = [row[0] for row in tx.rows(statements.CANCELLED_OF, id=worker_id)] if found[0][0] else []
    return Beat(alive=True, expires_at=now + lease, cancelled=cancelled)


def find_dead(tx: Session, dead: Sequence[str]) -> list[str]:
    """Find workers to bury: lease ended, named dead, or holding runs without being registered."""
    return sorted(row[0] for row in tx.rows(statements.DEAD_WORKERS, now=tx.now(), dead=list(dead)))


def bury(tx: Session, worker_id: str, *, forced: bool, limit: int = 3) -> list[Run]:
    """Mark a worker's runs as lost and remove it, unless it has renewed its lease meanwhile.

    Args:
        tx: The transaction.
        worker_id: The worker.
        forced: Whether it is known to be gone, whatever its lease says.
        limit: How many recoveries in a row a run may have.

    Returns:
        The runs it held, as they are now.
    """
    held = records(Run, tx.rows(statements.HELD_BY, id=worker_id))
    tx.rows(statements.LOCK_WORKER, id=worker_id)
    now = tx.now()
    found = records(Worker, tx.rows(statements.GET_WORKER, id=worker_id))
    worker = found[0] if found else None
    if worker is not None and worker.expires_at > now and not forced:
        return []
    for run in held:
        recovery.lose(tx, run, now, worker, limit)
    tx.change(statements.REMOVE_WORKER, id=worker_id)
    return [life.get(tx, run.id) for run in held]
