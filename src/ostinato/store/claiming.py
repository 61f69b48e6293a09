"""Claims: which tickets a worker gets.

```
worker, pools ─► levels (pool, priority) that have tickets ─► lock some of each, highest first ─► pack ─► claim, tell
                                                        └─► elders: lower, but longer waiting ──┘
```

Priority ages: a point of it counts as a minute in the queue, so that no load of higher priority starves a lower one.

The tickets are locked with SKIP LOCKED and so are their runs, so claimers never wait, neither for each other nor for
whoever cancels. A ticket that is claimed leaves a dead entry in PostgreSQL's index, which cannot be removed while
anybody holds an old snapshot; a search from the beginning would walk over all of them. `Marks` remember how far the
searches came and let the next one begin there.
"""

from __future__ import annotations

import threading
import time
from itertools import groupby
from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import StaleEpochError
from ostinato.records import Event, Run, Worker
from ostinato.resources import amounts_of, fits
from ostinato.store import statements
from ostinato.store.events import append, as_json
from ostinato.store.rows import records, to_record
from ostinato.work import Claim, Offer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ostinato.store.rows import Row
    from ostinato.store.transactions import Session

Level = tuple[str, int]
"""A pool and a priority."""

_A_POINT: Final = 60 * SECOND
"""What a point of priority is worth in the queue."""
_PATIENCE: Final = 30 * SECOND
"""After so long a run that is too large for what is free is not overtaken any more."""
_PAGE: Final = 200
_PAGES: Final = 5
"""How far a claim looks, at each priority, for runs that fit."""
_LAG: Final = 0.25
"""Seconds that a mark lags behind: tickets get their numbers before they are committed."""
_LOOK: Final = 2.0
"""Seconds between two searches from the very beginning, for tickets that took longer."""
_SHARE: Final = 20.0
"""Such a search may take one part in so many of the time …"""
_LONGEST: Final = 30.0
"""… but comes after so many seconds at the latest."""


class Marks:
    """How far the searches of a store came, by level: all tickets up to there are claimed, as far as is known.

    A mark moves to where a search found the first ticket, but only if a second search, some time later and still from
    the old mark, has seen nothing before it either.
    """

    def __init__(self, lag: float = _LAG) -> None:
        self._lag = lag
        self._lock = threading.Lock()
        self._marks: dict[Level, int] = {}
        self._pending: dict[Level, tuple[float, int]] = {}
        self._look_at = 0.0

    def starts(self) -> dict[Level, int]:
        """Return where to begin; nothing, now and then, so that all is searched."""
        with self._lock:
            now = time.monotonic()
            if now < self._look_at:
                return dict(self._marks)
            self._look_at = now + _LOOK
            return {}

    def note(self, seen: dict[Level, int], took: float = 0.0) -> None:
        """Note up to where a search, committed by now, has left no ticket.

        Args:
            seen: By level, the number up to which none is left.
            took: Seconds that it took, where it was one of all.
        """
        with self._lock:
            now = time.monotonic()
            self._look_at = max(self._look_at, now + min(_SHARE * took, _LONGEST))
            for level, upto in seen.items():
                since, before = self._pending.setdefault(level, (now, upto))
                if now - since >= self._lag:
                    self._marks[level] = min(before, upto)
                    self._pending[level] = (now, upto)

    def forget(self) -> None:
        """Begin again: tickets have moved."""
        with self._lock:
            self._marks.clear()
            self._pending.clear()


class Taken(msgspec.Struct, frozen=True):
    """What one claim came to."""

    claims: list[Claim]
    seen: dict[Level, int]
    """For the marks."""


class _Packing:
    """What is left of an offer."""

    def __init__(self, offer: Offer, whole: dict[str, float], room: dict[str, int], now: int) -> None:
        self.slots = offer.slots
        self._free = dict(offer.resources)
        self._whole = {name: max(whole.get(name, 0.0), self._free.get(name, 0.0)) for name in {*whole, *self._free}}
        self._room = room
        self._reserved: set[str] = set()
        self._now = now

    def is_open(self, pool: str) -> bool:
        """Tell whether the pool has slots left."""
        return self._room.get(pool, 1) > 0

    def takes(self, pool: str, resources: str | None, since: int) -> bool:
        """Take a run if it fits."""
        wanted = amounts_of(resources)
        if self.slots <= 0 or not self.is_open(pool) or self._reserved.intersection(wanted):
            return False
        if not fits(wanted, self._free):
            if fits(wanted, self._whole) and self._now - since >= _PATIENCE:
                self._reserved.update(wanted)
            return False
        for name, amount in wanted.items():
            self._free[name] -= amount
        self.slots -= 1
        if pool in self._room:
            self._room[pool] -= 1
        return True


def claim(tx: Session, worker_id: str, offer: Offer, starts: dict[Level, int], now: int) -> Taken:
    """Take runs for a worker."""
    workers, declared, waiting = tx.ask(
        (statements.GET_WORKER, {"id": worker_id}),
        (statements.POOLS, {"pools": list(offer.pools)}),
        (statements.LEVELS, _known(offer, starts)),
    )
    found = records(Worker, workers)
    if not found or found[0].expires_at <= now:
        raise StaleEpochError(
            f"Worker {worker_id} {'has lost its lease' if found else 'is not registered'}: it must stop its runs and "
            f"register again before it may claim."
        )
    if found[0].draining or offer.slots <= 0:
        return Taken([], {})
    paused = {pool for pool, _, is_paused in declared if is_paused}
    levels = {(pool, priority): rest for pool, priority, *rest in waiting if pool not in paused}
    seen = {level: given for level, (first, given) in levels.items() if first is None}
    open_ = [level for level, (first, _) in levels.items() if first is not None]
    if not open_:
        return Taken([], seen)
    limited = [pool for pool, slots, _ in declared if slots is not None and pool not in paused]
    packing = _Packing(offer, amounts_of(found[0].resources), _room(tx, limited), now)
    chosen = _take_elders(tx, {level: levels[level][0] for level in open_}, packing)
    elders = {row[0] for row in chosen}
    for _, group in groupby(open_, key=lambda level: level[1]):
        if packing.slots > 0:
            own = [level for level in group if packing.is_open(level[0])]
            taken, upto = _take(tx, own, starts, packing, elders)
            chosen += taken
            seen |= upto
    return Taken(_assign(tx, found[0], [row[1] for row in chosen], now) if chosen else [], seen)


def _known(offer: Offer, starts: dict[Level, int]) -> dict[str, list[str] | list[int]]:
    """Name the pools of an offer, and where to begin at their levels."""
    known = [level for level in starts if level[0] in offer.pools]
    return {
        "pools": list(offer.pools),
        "known_pools": [pool for pool, _ in known],
        "known_priorities": [priority for _, priority in known],
        "known_marks": [starts[level] for level in known],
    }


def _room(tx: Session, pools: list[str]) -> dict[str, int]:
    """Return how many slots are free in each pool that has a number of them; it stays so until the commit."""
    if not pools:
        return {}
    slots = {row[0]: row[1] for row in tx.rows(statements.LOCK_POOLS, pools=pools) if row[1] is not None}
    taken = {row[0]: row[1] for row in tx.rows(statements.UNDER_WAY, pools=pools)}
    return {pool: number - taken.get(pool, 0) for pool, number in slots.items()}


def _take_elders(tx: Session, heads: dict[Level, int], packing: _Packing) -> list[Row]:
    """Take those of lower priority that have waited so much longer that it is their turn before higher ones.

    A point of priority counts as a minute in the queue. Nothing is asked while all that waits has one priority.
    """
    if len({priority for _, priority in heads}) == 1:
        return []
    since = {row[0]: row[1] for row in tx.rows(statements.TICKETS_SINCE, ids=list(heads.values()))}
    ranks = {level: since[head] - _A_POINT * level[1] for level, head in heads.items() if head in since}
    chosen: list[Row] = []
    for level in sorted(ranks, key=ranks.__getitem__):
        before = min((rank for other, rank in ranks.items() if other[1] > level[1]), default=None)
        if before is None or ranks[level] >= before or packing.slots <= 0:
            continue
        upto = before + _A_POINT * level[1]
        values = {"pool": level[0], "priority": level[1], "after": heads[level] - 1, "upto": upto}
        rows = tx.rows(statements.LOCK_ELDERS, limit=min(_PAGE, packing.slots), **values)
        chosen += [row for row in rows if packing.takes(level[0], row[2], row[3])]
    return chosen


def _take(
    tx: Session, levels: list[Level], starts: dict[Level, int], packing: _Packing, taken: set[int]
) -> tuple[list[Row], dict[Level, int]]:
    """Take what fits of one priority, in the order of the tickets, but those that are taken already.

    Returns:
        The rows of the tickets taken, and for each level the number up to which none is left.
    """
    chosen: list[Row] = []
    after = {level: starts.get(level, 0) for level in levels}
    first_left: dict[Level, int] = {}
    unread = set(levels)
    for _ in range(_PAGES):
        limit = min(_PAGE, max(packing.slots, 1))
        pages = {level: _page(tx, level, after[level], limit) for level in levels if level in unread}
        for level, ticket in _merged(pages):
            after[level] = ticket[0]
            if ticket[0] in taken:
                continue
            if packing.takes(level[0], ticket[2], ticket[3]):
                chosen.append(ticket)
            else:
                first_left.setdefault(level, ticket[0])
        unread = {level for level, page in pages.items() if len(page) == limit}
        if not unread or packing.slots <= 0:
            break
    return chosen, {level: first_left.get(level, upto + 1) - 1 for level, upto in after.items()}


def _page(tx: Session, level: Level, after: int, limit: int) -> list[Row]:
    return tx.rows(statements.LOCK_TICKETS, pool=level[0], priority=level[1], after=after, limit=limit)


def _merged(pages: dict[Level, list[Row]]) -> Iterable[tuple[Level, Row]]:
    return sorted(((level, row) for level, page in pages.items() for row in page), key=lambda item: item[1][0])


def _assign(tx: Session, worker: Worker, run_ids: list[str], now: int) -> list[Claim]:
    tx.put(statements.REMOVE_TICKETS, ids=run_ids)
    rows = tx.rows(statements.CLAIM_RUNS, ids=run_ids, worker_id=worker.id, now=now)
    make = to_record(Run)
    by_id = {row[0]: Claim(run=make(row[:-1]), options=row[-1] or "{}") for row in rows}
    data = as_json({"worker_id": worker.id, "host": worker.host, "pid": worker.pid})
    append(tx, [Event(at=now, kind="run.claimed", run_id=run_id, data=data) for run_id in by_id])
    return [by_id[run_id] for run_id in run_ids if run_id in by_id]
