"""Retention in PostgreSQL: history is dropped by the partition. What somebody is in the way of waits."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from psycopg import errors

from ostinato.errors import StoreError
from ostinato.records import Pruned
from ostinato.store import partitions
from ostinato.store.sql_retention import SqlRetention

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ostinato.store.partitions import Part
    from ostinato.store.transactions import Session

_PASSING: Final = (
    errors.LockNotAvailable,
    errors.CheckViolation,
    errors.DuplicateTable,
    errors.UniqueViolation,
    errors.UndefinedTable,
)
"""Somebody takes long; rows are there already; another server was quicker to make it, or to drop it."""


class PostgresRetention(SqlRetention):
    """What `SqlRetention` asks of a dialect."""

    def make_room(self) -> int:
        """Make the partitions that will be written next; return how many were made."""
        now = self.now()
        missing = self._read(lambda tx: partitions.find_missing(tx, now))
        made = 0
        for table, part in missing:
            with _let_pass():
                made += self._write(lambda tx, t=table, p=part: partitions.make(tx, t, p))  # type: ignore[misc]
        return made

    def _forget_events(self, before: int, limit: int) -> Pruned:
        dropped = self._drop(lambda tx: partitions.find_old(tx, before, None), before)
        return dropped or self._write(lambda tx: partitions.remove_events_of_slow(tx, before, limit))

    def _forget_logs(self, before: int, limit: int) -> Pruned:
        dropped = self._drop(lambda tx: partitions.find_old(tx, None, before), before)
        return dropped or self._write(lambda tx: partitions.remove_stray_logs(tx, before, limit))

    def _drop(self, find: Callable[[Session], list[tuple[str, Part]]], before: int) -> Pruned | None:
        """Drop the first of the partitions that are found; None where there is none, or somebody is in the way."""
        with _let_pass():
            old = self._read(find)
            if old:
                table, part = old[0]
                if self._write(lambda tx: partitions.drop(tx, table, part, before)):
                    return Pruned(partitions=[part[2]], more=True)
        return None

    def _size(self, tx: Session, table: str) -> int | None:
        return partitions.size_of(tx, table)


@contextlib.contextmanager
def _let_pass() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        if not isinstance(error.__cause__, _PASSING):
            raise
