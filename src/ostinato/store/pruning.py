"""Retention: which finished runs may go, and what goes with them.

A run that ended long ago still counts while something kept can reach it: a fork reads through from the run it
branches from, and a run shows the child runs it started. So from each run that is old enough, go *up*: to its parent,
and to the forks made of it; only when all that is reached that way may go as well does the run go, and they go
together, in one transaction. A fork made at the same moment either locks the runs it needs first, or finds them gone.

```
   parent ──► child          kept parent: child stays.   kept child: the parent may go
   run ◄── fork              kept fork: run stays.       kept run: the fork may go
   run ◄── somebody waits for its end: it stays
```

The source of a project, a bundle, stays while a deployment names it, for as long again as runs are kept, and while a
run is there that names it.
"""


# ruff: noqa: S608  what is put into these texts are names of our own columns and states, never a value

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.records import Pruned
from ostinato.states import State
from ostinato.store import statements

if TYPE_CHECKING:
    from ostinato.store.rows import Row
    from ostinato.store.transactions import Session

Page = tuple[int, str]
"""The end and the id of the last run that was looked at."""

FIRST_PAGE: Final[Page | None] = (-1, "")
BUNDLE: Final = "bundle"
"""The owner, in the table ``blob``, of the source of a project."""
_DAY: Final = 86_400 * SECOND


class Policy(msgspec.Struct, frozen=True):
    """What `Store.prune` was asked for."""

    finished_before: int
    interrupted: bool
    limit: int

    def may_go(self, state: str, finished_at: int | None) -> bool:
        """Tell whether a run may go for all that is known of it alone."""
        kind = State(state)
        if not kind.is_terminal or (kind is State.CRASHED and not self.interrupted):
            return False
        return finished_at is not None and finished_at < self.finished_before


def remove_runs(tx: Session, policy: Policy, page: Page) -> tuple[Pruned, Page | None]:
    """Remove the runs that may go among the next `policy.limit` that are old enough.

    Returns:
        What went, and the page to go on from, or None when this was the last.
    """
    ended = tx.rows(
        statements.ENDED, before=policy.finished_before, after_at=page[0], after_id=page[1], limit=policy.limit
    )
    if not ended:
        return Pruned(), None
    reached = tx.rows(statements.REACHED_BY, ids=[row[0] for row in ended])
    tx.rows(statements.LOCK_RUNS, ids=sorted({row[1] for row in reached}))
    # again, now that nothing of it can change
    reached = tx.rows(statements.REACHED_BY, ids=[row[0] for row in ended])
    ids, last = _removable([(row[1], row[0]) for row in ended], reached, policy)
    done = _remove(tx, ids) if ids else Pruned()
    is_end = len(ended) < policy.limit and last == (ended[-1][1], ended[-1][0])
    return done, None if is_end else last


def _removable(pages: list[Page], reached: list[Row], policy: Policy) -> tuple[list[str], Page]:
    """Choose whole groups, each a run with all that reaches it, up to the limit (one group at least).

    Returns:
        The runs that may go, and how far along `pages` this came.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    kept: set[str] = set()
    for root, run_id, state, finished_at in reached:
        groups[root].add(run_id)
        if not policy.may_go(state, finished_at):
            kept.add(root)
    chosen: set[str] = set()
    last = pages[0]
    for page in pages:
        root = page[1]
        if root not in kept:
            if chosen and len(chosen | groups[root]) > policy.limit:
                break
            chosen |= groups[root]
        last = page
    return sorted(chosen), last


def _remove(tx: Session, ids: list[str]) -> Pruned:
    tx.change(statements.NAME_BUNDLES_OF, ids=ids)
    events = tx.change("DELETE FROM event WHERE run_id = ANY(:ids)", ids=ids)
    for table in statements.TABLES_OF_RUN:
        tx.change(f"DELETE FROM {table} WHERE run_id = ANY(:ids)", ids=ids)
    runs = tx.change("DELETE FROM run WHERE id = ANY(:ids)", ids=ids)
    return Pruned(runs=runs, events=events, blobs=_release(tx, ids))


def remove_cached(tx: Session, limit: int) -> tuple[Pruned, bool]:
    """Remove cache entries that have expired; tell also whether there may be more."""
    keys = [row[0] for row in tx.rows(statements.EXPIRED, now=tx.now(), limit=limit)]
    if not keys:
        return Pruned(), False
    removed = tx.change(statements.REMOVE_CACHED, keys=keys)
    blobs = _release(tx, [f"cache:{key}" for key in keys])
    return Pruned(cache_entries=removed, blobs=blobs), len(keys) == limit


def mark_bundles(tx: Session, before: int) -> list[str]:
    """Note since when no deployment names a bundle; return those that none has named since before an instant.

    A bundle has a row of owner ``bundle`` for as long as it is known, and one of owner ``bundle:<instant>`` from the
    moment in which it was first seen that no deployment names it.
    """
    deployed = {row[0] for row in tx.rows(statements.BUNDLES_DEPLOYED)}
    found = tx.rows(statements.BUNDLES)
    marked = {digest: owner for digest, owner in found if owner != BUNDLE}
    again = sorted(deployed & marked.keys())
    if again:
        tx.change(statements.REMOVE_BUNDLES, hashes=again, first=f"{BUNDLE}:")
    for digest in sorted({row[0] for row in found} - deployed - marked.keys()):
        tx.change(statements.NAME_BUNDLE, hash=digest, owner=_since(tx.now()))
    return sorted(digest for digest, owner in marked.items() if digest not in deployed and owner < _since(before))


def find_bundles_of_runs(tx: Session, hashes: list[str]) -> set[str]:
    """Return which of some bundles a run names that is there: it could be taken up again."""
    return {row[0] for row in tx.rows(statements.BUNDLES_OF_RUNS, hashes=hashes)}


def remove_bundles(tx: Session, old: list[str], used: set[str], before: int) -> Pruned:
    """Remove the names of old bundles, except of those that are used or deployed again; return what may go.

    Those that are used are looked for again a day later, since looking goes through all runs.
    """
    deployed = {row[0] for row in tx.rows(statements.BUNDLES_DEPLOYED)}
    gone = [digest for digest in old if digest not in used and digest not in deployed]
    tx.change(statements.REMOVE_BUNDLES, hashes=old, first=f"{BUNDLE}:")
    for digest in sorted(used):
        tx.change(statements.NAME_BUNDLE, hash=digest, owner=_since(before + _DAY))
    tx.change(statements.REMOVE_BUNDLES, hashes=gone, first=BUNDLE)
    named = {row[0] for row in tx.rows(statements.BLOBS_NAMED, hashes=gone)}
    return Pruned(blobs=sorted(set(gone) - named))


def _since(instant: int) -> str:
    return f"{BUNDLE}:{max(instant, 0):020}"


def _release(tx: Session, owners: list[str]) -> list[str]:
    """Remove what these owners name in the result store; return the hashes nobody names any more."""
    hashes = [row[0] for row in tx.rows(statements.BLOBS_OF, owners=owners)]
    if not hashes:
        return []
    tx.change(statements.REMOVE_BLOBS, owners=owners)
    named = {row[0] for row in tx.rows(statements.BLOBS_NAMED, hashes=hashes)}
    return sorted(set(hashes) - named)


def add(one: Pruned, other: Pruned) -> Pruned:
    """Add up what two transactions removed."""
    return Pruned(
        runs=one.runs + other.runs,
        events=one.events + other.events,
        cache_entries=one.cache_entries + other.cache_entries,
        blobs=one.blobs + other.blobs,
    )
