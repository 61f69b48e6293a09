"""Every store test runs on SQLite and on PostgreSQL, with a clock that is moved by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401

from ostinato.clock import ManualClock
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ostinato.clock import Clock
    from ostinato.store.store import Store


class Opener(Protocol):
    """Opens one more store on the database of the test."""

    def __call__(self, *, clock: Clock | None = None, durability: str = "crash-safe", lease: float = 8.0) -> Store:
        """Open it; it is closed after the test."""
        ...


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the test's stores."""
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a fresh database."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/home/ostinato.db"


@pytest.fixture
def opener(url: str) -> Iterator[Opener]:
    """Open stores on the test's database."""
    stores: list[Store] = []

    def opened(*, clock: Clock | None = None, durability: str = "crash-safe", lease: float = 8.0) -> Store:
        stores.append(open_store(url, clock=clock, durability=durability, lease=lease))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def store(opener: Opener, clock: ManualClock) -> Store:
    """A store on the test's database."""
    return opener(clock=clock)
