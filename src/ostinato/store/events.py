"""Events as rows: appended by verbs, read back with the number the store gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ostinato.records import Event, StoredEvent
from ostinato.store import statements
from ostinato.store.rows import cleaned, to_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.store.rows import Row
    from ostinato.store.transactions import Session


def append(tx: Session, events: Sequence[Event]) -> None:
    """Append events in one statement."""
    if events:
        tx.put(statements.PUT_EVENTS, events=msgspec.json.encode([cleaned(event) for event in events]).decode())


def tell(tx: Session, run_id: str, kind: str, now: int, data: dict[str, object] | None = None) -> None:
    """Append an event about a run."""
    tx.put(statements.INSERT_EVENT, at=now, kind=kind, run_id=run_id, seq=None, data=as_json(data or {}))


def as_json(data: dict[str, object]) -> str:
    """Encode the data of an event."""
    return msgspec.json.encode(data).decode()


def stored(rows: list[Row]) -> list[StoredEvent]:
    """Turn rows of (id, …the event) into stored events."""
    make = to_record(Event)
    return [StoredEvent(id=row[0], event=make(row[1:])) for row in rows]
