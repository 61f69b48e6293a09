"""How the store forgets: the part of the `Store` Protocol that retention uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.history import Cuts, Kept, OldRuns
    from ostinato.records import Pruned


class Retention(Protocol):
    """Finds and removes what is old, in steps so short that nobody waits for one."""

    def list_old(self, cuts: Cuts, *, looks: bool = False, after: str | None = None, limit: int = 100) -> OldRuns:
        """List a page of runs that may go: each with all that reaches it, so there may be more than `limit`.

        Kept in any case: runs that are not terminal, runs that a kept fork or a kept parent still reaches, child
        runs of a kept parent, runs that somebody waits for, and crashed runs unless `Cuts.interrupted`.

        Args:
            cuts: What is old.
            looks: The runs of looks at sensors instead, which go earlier; there is no second page of them.
            after: The page before's `OldRuns.after`.
            limit: How many runs are looked at.
        """
        ...

    def remove(self, run_ids: Sequence[str], cuts: Cuts) -> Pruned:
        """Remove those of some runs that still may go, and none but them.

        Their rows elsewhere are removed by `forget("leftovers")`; nobody finds them before that either.
        """
        ...

    def forget(self, name: str, cuts: Cuts, *, limit: int = 500) -> Pruned:
        """Do one short step of removing what is too old of one class; `Pruned.more` says that it was not the last.

        Args:
            name: ``leftovers`` (of runs that were removed), ``cache``, ``bundles``, ``logs``, ``events``, ``ticks`` or
                ``firings``.
            cuts: What is old.
            limit: About how many rows.

        Raises:
            UsageError: For another name.
        """
        ...

    def make_room(self) -> int:
        """Make the partitions that will be written next, where there are such; return how many were made."""
        ...

    def list_kept(self, cuts: Cuts) -> list[Kept]:
        """Tell how much there is of each class, and what the next pruning removes. Reads whole tables."""
        ...

    def prune(self, finished_before: int, *, interrupted: bool = False, limit: int = 1000) -> Pruned:
        """Remove all runs that ended before an instant and may go, with all that hangs on them, in short steps."""
        ...
