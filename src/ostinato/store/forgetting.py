"""Retention of what is no part of a run's journal: events, log lines, ticks, firings. A few rows at a time.

Events go when they are old and everybody has read them: the automations, each consumer, a paused one too. What users
emit goes only if it is older than the oldest run that may still begin to wait for it.

```
──────────────── event numbers ───────────────►
 old enough │ unread by the slowest reader │ …
 ▲ goes       ▲ stays                               with a key, and younger than the oldest open run: stays
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.history import Held
from ostinato.records import Pruned
from ostinato.store import statements
from ostinato.store import statements_retention as sql

if TYPE_CHECKING:
    from ostinato.history import Cuts
    from ostinato.store.transactions import Session

_EVERYTHING: Final = 1 << 62
_SKEW: Final = 3600 * SECOND
"""How far clocks may differ: an event may bear an earlier instant than a run that was there before it."""
_OLDEST_OPEN: Final = sql.OLDEST_OPEN.format(open=statements.OPEN)
_OLDEST_CRASHED: Final = sql.OLDEST_CRASHED.format(failed=statements.FAILED)


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are still needed, however old they are."""

    read: int = _EVERYTHING
    """The number of the last that everybody has read."""
    reader: str | None = None
    """Who has read no further."""
    since: int = _EVERYTHING
    """Those with a key are needed from this instant on."""
    run: str | None = None
    """By which run."""


def read_by_all(tx: Session) -> Need:
    """Find out up to which event everybody has read."""
    readers = [(read, name) for name, read in tx.rows(sql.READERS)]
    read, reader = min(readers, default=(_EVERYTHING, None))
    return Need(read=read, reader=reader)


def find_need(tx: Session, before: int) -> Need:
    """Find out which events are needed, by readers and by runs that go on or were interrupted since an instant."""
    asked = tx.ask((_OLDEST_OPEN, {}), (_OLDEST_CRASHED, {"before": before}))
    runs = [(row[1], row[0]) for rows in asked for row in rows]
    need = read_by_all(tx)
    if not runs:
        return need
    created_at, run_id = min(runs)
    return msgspec.structs.replace(need, since=created_at - _SKEW, run=run_id)


def remove_events(tx: Session, before: int, limit: int) -> Pruned:
    """Remove the oldest events, as far as nobody needs them."""
    need = find_need(tx, before)
    rows = tx.rows(sql.OLDEST_EVENTS, read=need.read, since=need.since, limit=limit)
    old = [number for number, at in rows if at < before]
    if not old:
        return Pruned()
    removed = tx.change(sql.REMOVE_EVENTS, upto=old[-1], before=before, read=need.read, since=need.since)
    return Pruned(events=removed, more=len(rows) == limit)


def remove_ticks(tx: Session, cuts: Cuts, limit: int) -> Pruned:
    """Remove the oldest ticks."""
    removed = _remove_until(tx, (sql.OLDEST_TICKS, sql.REMOVE_TICKS), cuts.ticks, limit)
    return Pruned(ticks=removed, more=removed >= limit)


def remove_firings(tx: Session, cuts: Cuts, limit: int) -> Pruned:
    """Remove the oldest firings about which nothing is to be done any more."""
    removed = _remove_until(tx, (sql.OLDEST_FIRINGS, sql.REMOVE_FIRINGS), cuts.firings, limit)
    return Pruned(firings=removed, more=removed >= limit)


def _remove_until(tx: Session, statement: tuple[str, str], before: int | None, limit: int) -> int:
    """Remove the first rows by their instant."""
    find, remove = statement
    rows = tx.rows(find, before=before, limit=limit) if before is not None else []
    return tx.change(remove, before=before, upto=rows[-1][0]) if rows else 0


def held_by(need: Need, newest: int, before: int) -> list[Held]:
    """Say who keeps events that are old enough."""
    held = []
    if need.reader is not None and need.read < newest:
        held.append(Held(by=need.reader, count=newest - need.read))
    if need.run is not None and need.since < before:
        held.append(Held(by=f"run {need.run}"))
    return held
