"""Cancelling a run together with what it has asked for: its child runs, and theirs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ostinato.errors import RunStateError
from ostinato.records import RunFilter
from ostinato.states import TERMINAL, State

if TYPE_CHECKING:
    from ostinato.records import Run
    from ostinato.store.store import Store

_OPEN = [state for state in State if state not in TERMINAL]
_PAGE = 500


def cancel_run(store: Store, run_id: str) -> Run:
    """Ask a run to stop, and its child runs; what no process holds is cancelled at once.

    The process of a run that is stopped cancels its child runs too; this does so for those that have none.

    Returns:
        The run as it is now.

    Raises:
        UnknownRunError: If there is no such run.
        RunStateError: If it has ended already; its child runs are left as they are.
    """
    run = store.request_cancel(run_id)
    cancel_children(store, run_id)
    return run


def cancel_children(store: Store, run_id: str) -> None:
    """Ask the child runs of a run, and theirs, to stop."""
    which = RunFilter(parent_run_id=run_id, states=_OPEN, limit=_PAGE)
    while children := store.list_runs(which):
        for child in children:
            if child.cancel_requested_at is None:
                with contextlib.suppress(RunStateError):  # it has ended meanwhile
                    cancel_run(store, child.id)
        if len(children) < _PAGE:
            return
        which = RunFilter(parent_run_id=run_id, states=_OPEN, before=children[-1].id, limit=_PAGE)
