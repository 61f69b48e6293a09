"""Forgetting: runs that ended long ago, with all that hangs on them. On by default, a little at a time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ostinato.clock import SECOND
from ostinato.errors import OstinatoError

if TYPE_CHECKING:
    from ostinato.io.results import ResultStore
    from ostinato.records import Pruned
    from ostinato.runtime.session import Session
    from ostinato.store.store import Store

_DAY = 86_400 * SECOND
_A_LITTLE = 50


def prune_a_little(session: Session) -> None:
    """Forget a few old runs on the keeper's thread: so that a database in use stays small by itself."""
    session.ask(lambda: _quietly(session))


def _quietly(session: Session) -> None:
    try:
        prune(session.store, session.results, session.settings.retention_days, limit=_A_LITTLE)
    except OstinatoError as error:
        logging.getLogger("ostinato.internal").warning("Old runs could not be removed: %s", error)


def prune(store: Store, results: ResultStore, days: float, *, interrupted: bool = False, limit: int = 1000) -> Pruned:
    """Forget runs that ended more than so many days ago; what can still be reached or resumed is kept.

    Args:
        store: Where runs live.
        results: Where their results are.
        days: The age.
        interrupted: Whether interrupted runs of that age, which could still be resumed, are forgotten too.
        limit: How many at most.
    """
    before = store.now() - round(days * _DAY)
    pruned = store.prune(before, interrupted=interrupted, limit=limit)
    if pruned.blobs:
        results.delete(pruned.blobs)
    return pruned
