"""Retention: which finished runs may go, and what goes with them.

A run that ended long ago still counts while something kept can reach it: a fork reads through from the run it
branches from, and a run shows the child runs it started. So from each run that is old enough, go *up*: to its parent,
and to the forks made of it; only when all that is reached that way may go as well does the run go, and they go
together, in one transaction. A fork made at the same moment either locks the runs it needs first, or finds them gone.
What hangs on a run goes after it, a few rows at a time (`leftover` names the runs), so that no transaction is long.

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
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ostinato.clock import SECOND
from ostinato.history import OldRuns
from ostinato.records import Pruned
from ostinato.states import State
from ostinato.store import statements
from ostinato.store import statements_retention as sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.history import Cuts
    from ostinato.store.rows import Row
    from ostinato.store.transactions import Session

_FIRST: Final = (-1, "")
_GROUPS: Final = 50
"""Runs whose rows are looked after at once."""
_ROWS_OF_RUN: Final = (
    ("task_run", "seq"),
    ("attempt", "seq"),
    ("log", "n"),
    ("state_value", "task_run_id"),
    ("event", "id"),
    ("blob", "hash"),
)
"""What hangs on a run, and by which column a part of it is taken."""
_UNREAD: Final = " AND key IS NULL AND id <= :read"
"""Events that everybody has read. Those that somebody may wait for go by their own age."""
BUNDLE: Final = "bundle"
"""The owner, in the table ``blob``, of the source of a project."""
_DAY: Final = 86_400 * SECOND


def _may_go(cuts: Cuts, kind: str, state: str, finished_at: int | None) -> bool:
    """Tell whether a run may go for all that is known of it alone."""
    of, is_look = State(state), kind == "sensor"
    if not of.is_terminal or (of is State.CRASHED and not cuts.interrupted and not is_look):
        return False
    instants = (cuts.runs, cuts.looks if is_look else None)
    return finished_at is not None and any(cut is not None and finished_at < cut for cut in instants)


def find_runs(tx: Session, cuts: Cuts, after: str | None, limit: int) -> OldRuns:
    """Find runs that may go, among the next `limit` that are old enough: whole groups, one at least."""
    at, _, run_id = (after or "").partition(":")
    page = (int(at), run_id) if after else _FIRST
    ended = tx.rows(statements.ENDED, before=cuts.runs, after_at=page[0], after_id=page[1], limit=limit)
    if not ended:
        return OldRuns()
    reached = tx.rows(statements.REACHED_BY, ids=[row[0] for row in ended])
    ids, last = _choose([(row[1], row[0]) for row in ended], reached, cuts, limit)
    is_end = len(ended) < limit and last == (ended[-1][1], ended[-1][0])
    return OldRuns(ids=ids, after=None if is_end else f"{last[0]}:{last[1]}")


def find_looks(tx: Session, cuts: Cuts, limit: int) -> OldRuns:
    """Find the runs of looks at sensors that may go, the oldest first."""
    found: list[str] = []
    for (name,) in tx.rows(sql.SENSORS):
        left = limit - len(found)
        if left > 0:
            found += [row[0] for row in tx.rows(sql.OLD_LOOKS, name=name, before=cuts.looks, limit=left)]
    return OldRuns(ids=found)


def _choose(
    pages: list[tuple[int, str]], reached: list[Row], cuts: Cuts, limit: int
) -> tuple[list[str], tuple[int, str]]:
    """Choose whole groups, each a run with all that reaches it, up to the limit (one group at least).

    Returns:
        The runs that may go, and how far along `pages` this came.
    """
    groups, kept = _groups(reached, cuts)
    chosen: set[str] = set()
    last = pages[0]
    for page in pages:
        root = page[1]
        if root not in kept:
            if chosen and len(chosen | groups[root]) > limit:
                break
            chosen |= groups[root]
        last = page
    return sorted(chosen), last


def _groups(reached: list[Row], cuts: Cuts) -> tuple[dict[str, set[str]], set[str]]:
    """Gather what reaches each run, and name the runs that are reached by one that stays."""
    groups: dict[str, set[str]] = defaultdict(set)
    kept: set[str] = set()
    for root, run_id, state, finished_at, kind in reached:
        groups[root].add(run_id)
        if not _may_go(cuts, kind, state, finished_at):
            kept.add(root)
    return groups, kept


def remove_runs(tx: Session, ids: Sequence[str], cuts: Cuts) -> Pruned:
    """Remove those of some runs that may still go, with nothing that is not among them; what hangs on them later."""
    reached = tx.rows(statements.REACHED_BY, ids=list(ids))
    tx.rows(statements.LOCK_RUNS, ids=sorted({row[1] for row in reached}))
    # again, now that nothing of it can change
    groups, kept = _groups(tx.rows(statements.REACHED_BY, ids=list(ids)), cuts)
    named = set(ids)
    gone = sorted(set().union(*(group for root, group in groups.items() if root not in kept and group <= named)))
    if not gone:
        return Pruned()
    tx.change(statements.NAME_BUNDLES_OF, ids=gone)
    for table in ("wait", "ticket", "deadline", "ask"):
        tx.change(f"DELETE FROM {table} WHERE run_id = ANY(:ids)", ids=gone)
    tx.change(sql.LEAVE, ids=gone)
    return Pruned(runs=tx.change("DELETE FROM run WHERE id = ANY(:ids)", ids=gone))


def remove_leftovers(tx: Session, read: int, limit: int) -> Pruned:
    """Remove about `limit` rows that hung on runs that have been removed.

    Args:
        tx: The transaction.
        read: The number of the last event that everybody has read.
        limit: How many rows.
    """
    ids = [row[0] for row in tx.rows(sql.LEFTOVERS, limit=_GROUPS)]
    if not ids:
        return Pruned()
    events, blobs = 0, list[str]()
    for table, column in _ROWS_OF_RUN:
        removed, hashes = _remove_rows(tx, table, column, _Part(ids, read, limit))
        limit -= removed
        events += removed if table == "event" else 0
        blobs += hashes
        if limit <= 0:
            return Pruned(events=events, blobs=blobs, more=True)
    tx.change(sql.FORGET_LEFTOVERS, ids=ids)
    return Pruned(events=events, blobs=blobs, more=len(ids) == _GROUPS)


class _Part(NamedTuple):
    """Of which runs rows are removed, up to which event, and how many."""

    ids: list[str]
    read: int
    limit: int


def _remove_rows(tx: Session, table: str, column: str, part: _Part) -> tuple[int, list[str]]:
    """Remove the rows of as many runs as fit, of one that does not the first; tell how many, and blobs that go."""
    more = _UNREAD if table == "event" else ""
    read = {"read": part.read} if more else {}
    counts = tx.rows(
        f"SELECT run_id, count(*) FROM {table} WHERE run_id = ANY(:ids){more} GROUP BY run_id", ids=part.ids, **read
    )
    if not counts:
        return 0, []
    few, total = list[str](), 0
    for run_id, count in counts:
        if few and total + count > part.limit:
            break
        few.append(run_id)
        total += count
    values: dict[str, Any] = {"ids": few, **read}
    if total > part.limit:
        bound = tx.rows(
            f"SELECT {column} FROM {table} WHERE run_id = ANY(:ids){more} ORDER BY {column} LIMIT 1 OFFSET :skip",
            **values,
            skip=part.limit - 1,
        )
        more += f" AND {column} <= :bound"
        values["bound"] = bound[0][0]
    hashes = (
        tx.rows(f"SELECT DISTINCT hash FROM blob WHERE run_id = ANY(:ids){more}", **values) if table == "blob" else []
    )
    removed = tx.change(f"DELETE FROM {table} WHERE run_id = ANY(:ids){more}", **values)
    return removed, _unnamed(tx, [row[0] for row in hashes])


def remove_cached(tx: Session, limit: int) -> Pruned:
    """Remove cache entries that have expired."""
    keys = [row[0] for row in tx.rows(statements.EXPIRED, now=tx.now(), limit=limit)]
    if not keys:
        return Pruned()
    removed = tx.change(statements.REMOVE_CACHED, keys=keys)
    blobs = _release(tx, [f"cache:{key}" for key in keys])
    return Pruned(cache_entries=removed, blobs=blobs, more=len(keys) == limit)


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
    if hashes:
        tx.change(statements.REMOVE_BLOBS, owners=owners)
    return _unnamed(tx, hashes)


def _unnamed(tx: Session, hashes: list[str]) -> list[str]:
    named = {row[0] for row in tx.rows(statements.BLOBS_NAMED, hashes=hashes)} if hashes else set()
    return sorted(set(hashes) - named)


def add(one: Pruned, other: Pruned) -> Pruned:
    """Add up what two transactions removed; whether there is more is for the later one to say."""
    names = (name for name in Pruned.__struct_fields__ if name != "more")
    return Pruned(**{name: getattr(one, name) + getattr(other, name) for name in names}, more=other.more)
