"""The verbs of retention over HTTP: a part of a `RemoteStore`."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.history import Cuts, Kept, OldRuns
    from ostinato.records import Pruned


class RemoteRetention:
    """See `ostinato.store.keeping.Retention`."""

    @abstractmethod
    def _call(self, name: str, *arguments: Any, wait: float = 0.0, timeout: float = 0.0) -> Any: ...

    def list_old(self, cuts: Cuts, *, looks: bool = False, after: str | None = None, limit: int = 100) -> OldRuns:
        """List a page of runs that may go."""
        found: OldRuns = self._call("list_old", cuts, looks, after, limit)
        return found

    def remove(self, run_ids: Sequence[str], cuts: Cuts) -> Pruned:
        """Remove those of some runs that still may go."""
        found: Pruned = self._call("remove", run_ids, cuts)
        return found

    def forget(self, name: str, cuts: Cuts, *, limit: int = 500) -> Pruned:
        """Do one short step of removing what is too old of one class."""
        found: Pruned = self._call("forget", name, cuts, limit)
        return found

    def make_room(self) -> int:
        """Make the partitions that will be written next."""
        found: int = self._call("make_room")
        return found

    def list_kept(self, cuts: Cuts) -> list[Kept]:
        """Tell how much there is of each class, and what the next pruning removes."""
        found: list[Kept] = self._call("list_kept", cuts, timeout=600.0)
        return found

    def prune(self, finished_before: int, *, interrupted: bool = False, limit: int = 1000) -> Pruned:
        """Remove runs that ended before an instant, with all that hangs on them."""
        found: Pruned = self._call("prune", finished_before, interrupted, limit, timeout=600.0)
        return found
