"""Leases: renewed, ended, and what becomes of the runs of a worker that is gone.

A worker is one row, renewed for all its runs at once. Whoever finds a lease that has ended buries the worker: its
runs become crashed with an epoch more, so that a worker that comes back late is refused, and its row goes. That is
one transaction a worker, and finding nothing to do is a single read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostinato.records import Beat, Run, Worker
from ostinato.store import life, statements
from ostinato.store.rows import records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.store.sql import Session


def beat(tx: Session, worker_id: str, lease: int) -> Beat:
    """Renew a lease that has not ended."""
    now = tx.now()
    alive = tx.change(statements.BEAT, id=worker_id, now=now, until=now + lease) == 1
    if not alive:
        return Beat(alive=False, expires_at=now)
    cancelled = [row[0] for row in tx.rows(statements.CANCELLED_OF, id=worker_id)]
    return Beat(alive=True, expires_at=now + lease, cancelled=cancelled)


def find_dead(tx: Session, dead: Sequence[str]) -> list[str]:
    """Find workers to bury: lease ended, named dead, or holding runs without being registered."""
    return sorted(row[0] for row in tx.rows(statements.DEAD_WORKERS, now=tx.now(), dead=list(dead)))


def bury(tx: Session, worker_id: str, *, forced: bool) -> list[Run]:
    """Mark a worker's runs as lost and remove it, unless it has renewed its lease meanwhile.

    Args:
        tx: The transaction.
        worker_id: The worker.
        forced: Whether it is known to be gone, whatever its lease says.

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
        life.lose(tx, run, now, worker)
    tx.change(statements.REMOVE_WORKER, id=worker_id)
    return [life.get(tx, run.id) for run in held]
