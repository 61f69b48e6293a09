"""Runs that wait without a process: suspended, and queued again when what they wait for has happened.

```
suspend:  lock the runs waited for, note `awaited` ─► lock itself ─► waits ─► is it over already?  ─► queued
an end:   lock the run, look at `awaited` ─► committed ─► lock those who wait for it ─► is it over? ─► queued
```

Both look at the other side only after they hold its lock, or after it is committed, so no wake-up is lost whichever
comes first; for events see `happenings`. A run goes on when anything is due, any event that it waits for is there, any
slot was granted, or when it waits for runs and all of them have ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ostinato.records import Event, Suspension
from ostinato.states import State
from ostinato.store import slots, statements
from ostinato.store.events import append, tell
from ostinato.store.statements_happenings import LOCK_HAPPENINGS
from ostinato.store.statements_limits import LOCK_GATES
from ostinato.store.transactions import named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ostinato.store.rows import Row
    from ostinato.store.transactions import Session

_SHOWN: Final = 20
"""Waits that an event names at most."""


def mark_awaited(tx: Session, suspension: Suspension, keys: Iterable[str] = ()) -> None:
    """Lock what a suspension waits for, before the run itself is locked; note that the runs among it are awaited.

    Args:
        tx: The transaction.
        suspension: The suspension.
        keys: Kinds and keys of events that are emitted with it.
    """
    named_keys = {wait.key for wait in suspension.waits if wait.kind == "event" and wait.key is not None}
    if named_keys or keys:  # before any run is locked: a run that emits holds its key, and then wants itself
        tx.put(LOCK_HAPPENINGS, keys=sorted({*named_keys, *keys}))
    ids = sorted({wait.key for wait in suspension.waits if wait.kind == "run" and wait.key is not None})
    if ids:
        tx.rows(statements.LOCK_RUNS, ids=ids)
        tx.change(statements.MARK_AWAITED, ids=ids)


def suspend(tx: Session, run_id: str, suspension: Suspension, now: int) -> bool:
    """Take a run that is locked out of its worker's hands until what it waits for has happened.

    Returns:
        Whether that was so already, and the run is queued.
    """
    if not suspension.waits:  # it stays in its worker's hands
        tx.change(statements.SHOW_STATE, id=run_id, state=str(suspension.state), reason=suspension.reason)
        return False
    tx.change(statements.REMOVE_WAITS, ids=[run_id])
    for wait in suspension.waits:
        tx.change(statements.PUT_WAIT, **(named(wait) | {"run_id": run_id}))
    tx.change(
        statements.SUSPEND,
        id=run_id,
        state=str(suspension.state),
        reason=suspension.reason,
        attempt=1 if suspension.attempt else 0,
    )
    shown = [{"kind": w.kind, "key": w.key, "due_at": w.due_at} for w in suspension.waits[:_SHOWN]]
    data = {"state": str(suspension.state), "reason": suspension.reason, "waits": shown}
    if any(wait.kind == "slot" for wait in suspension.waits):
        tx.put(LOCK_GATES)  # who hands a slot on either has done so, or finds this run suspended
    tell(tx, run_id, "run.suspended", now, data | {"count": len(suspension.waits)})
    return bool(release(tx, [run_id], now))


def wake_waiters(tx: Session, ended: Iterable[str], now: int) -> list[str]:
    """Queue the runs that waited for runs that have ended, where they wait for no other."""
    found = tx.rows(statements.WAITERS, ids=sorted(ended))
    return release(tx, [row[0] for row in found], now) if found else []


def find_due(tx: Session, now: int, limit: int) -> list[str]:
    """Find runs that something is due of."""
    return sorted({row[0] for row in tx.rows(statements.WAITS_DUE, now=now, limit=limit)})


def find_missed(tx: Session, after: str, limit: int, now: int) -> tuple[list[str], str]:
    """Find, among a page of those who wait, runs whose wake-up was missed.

    Returns:
        These runs, and the last run of the page; empty after the last page.
    """
    page = [row[0] for row in tx.rows(statements.WAITING_RUNS, after=after, limit=limit)]
    stand = tx.rows(statements.HOW_WAITS_STAND, ids=page, now=now) if page else []
    return _over(stand), page[-1] if len(page) == limit else ""


def _over(stand: list[Row]) -> list[str]:
    return [run_id for run_id, happened, runs, unended in stand if happened or (runs and not unended)]


def release(tx: Session, run_ids: list[str], now: int) -> list[str]:
    """Queue those of some waiting runs whose waits are over."""
    waiting = {row[0]: (State(row[1]), row[2]) for row in tx.rows(statements.LOCK_WAITING, ids=run_ids)}
    if not waiting:
        return []
    stand = tx.rows(statements.HOW_WAITS_STAND, ids=list(waiting), now=now)
    over = {run_id: waiting[run_id] for run_id in _over(stand)}
    if over:
        _queue(tx, over, now)
    return list(over)


def _queue(tx: Session, runs: dict[str, tuple[State, str | None]], now: int) -> None:
    tx.change(statements.REMOVE_WAITS, ids=list(runs))
    tx.change(statements.QUEUE_RUNS, ids=list(runs))
    begun = [run_id for run_id, (state, _) in runs.items() if state is State.SCHEDULED]
    woken = [run_id for run_id in runs if run_id not in begun]
    append(tx, [Event(at=now, kind="run.woken", run_id=run_id) for run_id in woken])
    for ids, why in ((begun, "start"), (woken, "woken")):
        if ids:
            slots.queue(tx, {run_id: runs[run_id][1] for run_id in ids}, now, why)
