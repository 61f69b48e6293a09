"""What the executor tests share: the three executors, and work that says what it does through files."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ostinato.context import Ended
from ostinato.executors import make_executor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        except BaseException as error:  # noqa: BLE001
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


@pytest.fixture(params=["inline", "threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Each of the executors, with two slots."""
    made = make_executor(request.param, 2)
    yield made
    made.close()


@pytest.fixture(params=["threads", "processes"])
def pool(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Each executor that runs work elsewhere, with one slot."""
    made = make_executor(request.param, 1)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _leaves_no_threads() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("ostinato") and not getattr(thread, "abandoned", False):
            thread.join(WAIT)
            assert not thread.is_alive(), f"{thread.name} was left behind"
