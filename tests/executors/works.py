"""What the executor tests share: work that says what it does, and an inbox for how it ended.

Its own module, since children import it by name: in a whole run of the tests there are several `conftest`s.
"""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

from ostinato.context import Ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.context import Executor, Handle, Note

WAIT = 20
"""Seconds after which a test that waits for a signal has failed."""


class Signal(BaseException):
    """A signal as the runtime has them, with a constructor that wants something."""

    def __init__(self, why: str, *, code: int) -> None:
        super().__init__(why)
        self.code = code


class Inbox:
    """A `done` that keeps what it is told, for who waits."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self.notes: list[Note] = []

    def __call__(self, ended: Ended) -> None:
        self.queue.put(ended)

    def get(self) -> Ended:
        """Wait for how work ended."""
        return self.queue.get(timeout=WAIT)

    @property
    def is_empty(self) -> bool:
        return self.queue.empty()


def returns(make: Callable[[], Any]) -> Callable[[], Ended]:
    """Make work out of a function, as the runtime does: errors are caught, signals too."""

    def work() -> Ended:
        try:
            return Ended(value=make(), started_at=1, finished_at=2)
        except BaseException as error:
            return Ended(error=error, started_at=1, finished_at=2)

    return work


def run(executor: Executor, make: Callable[[], Any]) -> Ended:
    """Run a function to its end."""
    inbox = Inbox()
    executor.submit(returns(make), inbox, inbox.notes.append)
    return inbox.get()


def submit(executor: Executor, make: Callable[[], Any], inbox: Inbox | None = None) -> tuple[Handle, Inbox]:
    """Begin to run a function."""
    inbox = inbox or Inbox()
    return executor.submit(returns(make), inbox, inbox.notes.append), inbox
