"""Events that somebody may wait for: stored, and who gave up his process for one is queued, in one transaction.

```
emit:     lock (kind, key) ─► the event gets its number ─► who waits for it? ─► queued
suspend:  lock (kind, key) ─► lock itself ─► waits ─► is the event there already? ─► queued
```

The lock is taken before the number is drawn: so the numbers of one kind and key grow in the order of their commits, and
an emitter and whoever begins to wait cannot miss each other. SQLite needs none, since it writes one at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ostinato.store import statements_happenings as statements
from ostinato.store import waits
from ostinato.store.events import append, stored
from ostinato.timing import event_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ostinato.records import Event, StoredEvent
    from ostinato.store.transactions import Session
    from ostinato.timing import Sought

_AT_ONCE: Final = 500
"""Runs that are queued with the event; where more wait for it, `Fleet.wake` queues them all by as many."""


def keys_of(events: Iterable[Event]) -> list[str]:
    """Name what somebody may wait for among some events, as the waits name it; in the order of locking."""
    return sorted({event_key(event.kind, event.key) for event in events if event.key is not None})


def lock(tx: Session, keys: Sequence[str]) -> None:
    """Keep others from emitting, or beginning to wait for, the same until this is committed."""
    if keys:
        tx.put(statements.LOCK_HAPPENINGS, keys=list(keys))


def emit(tx: Session, events: Sequence[Event]) -> list[str]:
    """Append events and queue who waited for them; return the runs that were queued."""
    keys = keys_of(events)
    lock(tx, keys)
    append(tx, events)
    return wake(tx, keys, tx.now()) if keys else []


def wake(tx: Session, keys: Sequence[str], now: int) -> list[str]:
    """Queue the runs that waited for one of some kinds and keys, of which there is a new event."""
    found = tx.rows(statements.EVENT_WAITERS, keys=list(keys), limit=_AT_ONCE + 1) if keys else []
    if len(found) > _AT_ONCE:
        tx.change(statements.WAITS_ARE_DUE, keys=list(keys), now=now)
    return waits.release(tx, sorted(row[0] for row in found)[:_AT_ONCE], now) if found else []


def find(tx: Session, kind: str, key: str, after: int) -> StoredEvent | None:
    """Return the first event of a kind and key with a number above `after`."""
    found = stored(tx.rows(statements.FIRST_EVENT, kind=kind, key=key, after=after))
    return found[0] if found else None


def find_all(tx: Session, sought: Sequence[Sought]) -> list[StoredEvent]:
    """Return the first event of each that is sought, as far as it is there."""
    asked = [(statements.FIRST_EVENT, {"kind": each.kind, "key": each.key, "after": each.after}) for each in sought]
    return [event for rows in tx.ask(*asked) for event in stored(rows)] if asked else []


def place_before(tx: Session, kind: str, key: str, instant: int) -> int:
    """Return the number of the last event of a kind and key before an instant; 0 where there is none.

    Found by halving, however many there are: the instants of one kind and key grow with the numbers, but for what
    clocks differ by.
    """
    first = find(tx, kind, key, 0)
    if first is None or first.event.at >= instant:
        return 0
    (last,) = stored(tx.rows(statements.LAST_EVENT, kind=kind, key=key, upto=1 << 62))
    if last.event.at < instant:
        return last.id
    place, low, high = first.id, first.id, last.id
    while high - low > 1:
        middle = (low + high) // 2
        (found,) = stored(tx.rows(statements.LAST_EVENT, kind=kind, key=key, upto=middle))
        if found.event.at < instant:
            place, low = found.id, middle
        else:
            high = found.id
    return place
