"""Retention over SQL: the `Retention` part of a store. Every verb is one short step, or a row of them.

```
list_old ─► (archived by whoever asked) ─► remove ─► forget("leftovers") again and again
forget("logs" | "events" | …) again and again                    make_room now and then
```
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from ostinato.errors import UsageError, nearest
from ostinato.history import Cuts, Kept, OldRuns
from ostinato.records import Pruned
from ostinato.store import forgetting, pruning
from ostinato.store import statements_retention as sql
from ostinato.store.transactions import Session, Transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_A_FEW: Final = 500
"""Rows of a step."""


class SqlRetention(Transactions):
    """See `ostinato.store.keeping.Retention`."""

    # --- what a dialect supplies

    @abstractmethod
    def make_room(self) -> int:
        """Make the partitions that will be written next; return how many were made."""

    @abstractmethod
    def _forget_events(self, before: int, limit: int) -> Pruned: ...

    @abstractmethod
    def _forget_logs(self, before: int, limit: int) -> Pruned: ...

    @abstractmethod
    def _size(self, tx: Session, table: str) -> int | None:
        """Return the bytes that a table takes on disk, where that is known."""

    # --- runs

    def list_old(self, cuts: Cuts, *, looks: bool = False, after: str | None = None, limit: int = 100) -> OldRuns:
        """List a page of runs that may go."""
        if looks:
            return self._read(lambda tx: pruning.find_looks(tx, cuts, limit)) if cuts.looks is not None else OldRuns()
        return self._read(lambda tx: pruning.find_runs(tx, cuts, after, limit)) if cuts.runs is not None else OldRuns()

    def remove(self, run_ids: Sequence[str], cuts: Cuts) -> Pruned:
        """Remove those of some runs that still may go."""
        return self._write(lambda tx: pruning.remove_runs(tx, run_ids, cuts)) if run_ids else Pruned()

    def prune(self, finished_before: int, *, interrupted: bool = False, limit: int = 1000) -> Pruned:
        """Remove runs that ended before an instant, with all that hangs on them."""
        cuts = Cuts(runs=finished_before, interrupted=interrupted)
        total, page = Pruned(), self.list_old(cuts, limit=limit)
        while True:
            total = pruning.add(total, self.remove(page.ids, cuts))
            if page.after is None:
                break
            page = self.list_old(cuts, after=page.after, limit=limit)
        for name in ("leftovers", "cache", "bundles"):
            total = pruning.add(total, self._forget_all(name, cuts))
        return total

    def _forget_all(self, name: str, cuts: Cuts) -> Pruned:
        total, more = Pruned(), True
        while more:
            done = self.forget(name, cuts)
            total, more = pruning.add(total, done), done.more
        return total

    # --- all else

    def forget(self, name: str, cuts: Cuts, *, limit: int = _A_FEW) -> Pruned:
        """Do one short step of removing what is too old of one class; say whether there is more."""
        steps: dict[str, Callable[[], Pruned]] = {
            "leftovers": lambda: self._forget_leftovers(limit),
            "cache": lambda: self._forget_cached(limit),
            "bundles": lambda: self._forget_bundles(cuts.runs) if cuts.runs is not None else Pruned(),
            "logs": lambda: self._forget_logs(cuts.logs, limit) if cuts.logs is not None else Pruned(),
            "events": lambda: self._forget_events(cuts.events, limit) if cuts.events is not None else Pruned(),
            "ticks": lambda: self._write(lambda tx: forgetting.remove_ticks(tx, cuts, limit)),
            "firings": lambda: self._write(lambda tx: forgetting.remove_firings(tx, cuts, limit)),
        }
        if name not in steps:
            raise UsageError(
                f"Nothing is forgotten by the name {name!r}; there are {', '.join(steps)}.{nearest(name, steps)}"
            )
        return steps[name]()

    def _forget_leftovers(self, limit: int) -> Pruned:
        def work(tx: Session) -> Pruned:
            return pruning.remove_leftovers(tx, forgetting.read_by_all(tx).read, limit)

        return self._write(work)

    def _forget_cached(self, limit: int) -> Pruned:
        return self._write(lambda tx: pruning.remove_cached(tx, limit))

    def _forget_bundles(self, before: int) -> Pruned:
        """Remove bundles that nothing needs; that no run needs them is found out without holding anybody up."""
        old = self._write(lambda tx: pruning.mark_bundles(tx, before))
        if not old:
            return Pruned()
        used = self._read(lambda tx: pruning.find_bundles_of_runs(tx, old))
        return self._write(lambda tx: pruning.remove_bundles(tx, old, used, before))

    # --- how much there is

    def list_kept(self, cuts: Cuts) -> list[Kept]:
        """Tell how much there is of each class, and what the next pruning removes. Reads whole tables."""
        return [self._read(lambda tx, n=name: self._kept(tx, n, cuts)) for name in sql.COUNTED]  # type: ignore[misc]

    def _kept(self, tx: Session, name: str, cuts: Cuts) -> Kept:
        source, column, old = sql.COUNTED[name]
        before: int | None = tx.now() if name == "cache" else getattr(cuts, name)
        need = forgetting.find_need(tx, before) if name == "events" and before is not None else forgetting.Need()
        given = {"before": before, "interrupted": cuts.interrupted, "read": need.read, "since": need.since}
        rows, oldest, going = tx.rows(
            f"SELECT count(*), min({column}), count(CASE WHEN {old} THEN 1 END) FROM {source}",  # noqa: S608  # our own
            **{each: value for each, value in given.items() if f":{each}" in old},
        )[0]
        held = forgetting.held_by(need, tx.rows(sql.NEWEST)[0][0], before) if before is not None else []
        sizes = [self._size(tx, table) for table in sql.TABLES_OF.get(name, ())]
        size = sum(each for each in sizes if each is not None) if sizes and None not in sizes else None
        return Kept(name=name, rows=rows, size=size, oldest_at=oldest, before=before, going=going, held=held)
