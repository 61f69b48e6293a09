"""The seam between the verbs and their dialects: a verb is a function of an open transaction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ostinato.store.rows import cleaned, columns, to_row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import msgspec

    from ostinato.store.rows import Row

T = TypeVar("T")


class Session(Protocol):
    """An open transaction."""

    handed_on: list[tuple[str, int]]
    """Runs, and the numbers of their task runs, that have got all the slots they waited for: see `gating`."""

    def now(self) -> int:
        """Return the instant now by the store's clock."""
        ...

    def rows(self, statement: str, **values: Any) -> list[Row]:
        """Run a statement and return all the rows it gives."""
        ...

    def ask(self, *questions: tuple[str, dict[str, Any]]) -> list[list[Row]]:
        """Run statements, each with its values, and return the rows of each; to a server they travel together."""
        ...

    def change(self, statement: str, **values: Any) -> int:
        """Run a statement that changes rows and return how many it touched."""
        ...

    def put(self, statement: str, **values: Any) -> None:
        """Run a statement of which nothing is asked; it may travel with the next one, or with the commit."""
        ...

    def add(self, table: str, records: Sequence[msgspec.Struct]) -> None:
        """Insert many records of one kind at once; one whose key is there already is left out."""
        ...


class Transactions(ABC):
    """What a dialect supplies to the verbs."""

    @abstractmethod
    def now(self) -> int:
        """Return the instant now by the store's own clock, which judges leases."""

    @abstractmethod
    def _read(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a short read transaction."""

    @abstractmethod
    def _write(self, work: Callable[[Session], T], *, again: bool = True) -> T:
        """Run `work` in a write transaction and commit it.

        Args:
            work: What to do. It may be run more than once, each time in a new transaction.
            again: Whether to run it again when it is unknown if its commit went through.
        """

    @abstractmethod
    def _watch(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call `heard` after another process has committed something of interest; return what ends it."""

    def _handed_on(self, who: Sequence[tuple[str, int]]) -> None:  # noqa: B027  only where there are limits
        """Wake who has got the slots that he waited for, once that is committed."""

    def _hint(self) -> None:  # noqa: B027  only a dialect that can be heard does anything
        """Tell other processes that runs were queued or have ended."""


def named(record: msgspec.Struct) -> dict[str, Any]:
    """Name the cells of a record's row, to be bound by a statement."""
    kind = type(record)
    return dict(zip(columns(kind), to_row(kind)(cleaned(record)), strict=True))
