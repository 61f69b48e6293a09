"""Runs that wait without a process: suspended, and queued again when what they wait for has happened.

```
suspend:  lock the runs waited for, note `awaited` ─► lock itself ─► waits ─► is it over already?  ─► queued
an end:   lock the run, look at `awaited` ─► committed ─► lock those who wait for it ─► is it over? ─► queued
```

Both look at the other side only after they hold its lock, or after it is committed, so no wake-up is lost whichever
comes first. A wait is over when anything is due, or when it is for runs and all of them have ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ostinato.records import Event, Suspension
from ostinato.states import State
from ostinato.store import statements, tickets
from ostinato.store.events import append, tell
from ostinato.store.transactions import named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ostinato.store.transactions import Session

_SHOWN: Final = 20
"""Waits that an event names at most."""


def mark_awaited(tx: Session, suspension: Suspension) -> None:
    """Lock the runs that a suspension waits for, before the run itself is locked, and note that they are awaited."""
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
    tell(tx, run_id, "run.suspended", now, data | {"count": len(suspension.waits)})
    return bool(release(tx, [run_id], now))


def wake_waiters(tx: Session, ended: Iterable[str], now: int) -> list[str]:
    """Queue the runs that waited for runs that have ended, where they wait for no other."""
    found = tx.rows(statements.WAITERS, ids=sorted(ended))
    return release(tx, [row[0] for row in found], now) if found else []


def find_over(tx: Session, now: int, limit: int) -> list[str]:
    """Find runs whose waits may be over: timers due, and ends whose wake-up was missed."""
    return [row[0] for row in tx.rows(statements.WAITS_OVER, now=now, limit=limit)][:limit]


def release(tx: Session, run_ids: list[str], now: int) -> list[str]:
    """Queue those of some waiting runs whose waits are over."""
    waiting = {row[0]: State(row[1]) for row in tx.rows(statements.LOCK_WAITING, ids=run_ids)}
    if not waiting:
        return []
    stand = tx.rows(statements.HOW_WAITS_STAND, ids=list(waiting), now=now)
    over = {run_id: waiting[run_id] for run_id, due, runs, unended in stand if due or (runs and not unended)}
    if over:
        _queue(tx, over, now)
    return list(over)


def _queue(tx: Session, runs: dict[str, State], now: int) -> None:
    tx.change(statements.REMOVE_WAITS, ids=list(runs))
    tx.change(statements.QUEUE_RUNS, ids=list(runs))
    begun = [run_id for run_id, state in runs.items() if state is State.SCHEDULED]
    woken = [run_id for run_id in runs if run_id not in begun]
    append(tx, [Event(at=now, kind="run.woken", run_id=run_id) for run_id in woken])
    for ids, why in ((begun, "start"), (woken, "woken")):
        if ids:
            tickets.put(tx, ids, now, why)
