"""The three executors, and no thread of theirs left behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.executors.works import WAIT

from ostinato.executors import make_executor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.context import Executor


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
