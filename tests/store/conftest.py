"""Every store test runs on SQLite, on PostgreSQL and over HTTP, with a clock that is moved by hand.

Over HTTP means a real server in a thread, around a SQLite store with the test's clock. A test that looks into the
database itself asks for the fixture `not_over_http`.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest
from tests.network import ServerThread
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401

from ostinato.clock import ManualClock
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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


@pytest.fixture(params=["sqlite", "postgres", "http"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store."""
    return str(request.param)


@pytest.fixture
def not_over_http(kind: str) -> None:
    """Leave a test out that looks into the database itself."""
    if kind == "http":
        pytest.skip("looks into the database itself")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start servers on one SQLite file, one for each way to open it; returns its address."""
    path = f"sqlite:///{tmp_path}/home/ostinato.db"
    with ExitStack() as running:
        known: dict[tuple[object, ...], ServerThread] = {}

        def start(*, clock: Clock | None = None, durability: str = "crash-safe", lease: float = 8.0) -> str:
            key = (id(clock), durability, lease)
            if key not in known:
                known[key] = running.enter_context(
                    ServerThread(
                        lambda: open_store(path, clock=clock, durability=durability, lease=lease), tmp_path / "results"
                    )
                )
            return known[key].url

        yield start


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a fresh database, or of a server on one."""
    if kind == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    if kind == "http":
        return str(request.getfixturevalue("serve")(lease=600))
    return f"sqlite:///{tmp_path}/home/ostinato.db"


@pytest.fixture
def opener(kind: str, request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Open stores on the test's database."""
    stores: list[Store] = []
    serve = request.getfixturevalue("serve") if kind == "http" else None
    if kind == "postgres":
        request.getfixturevalue("postgres_url")  # now, so that it outlives the stores

    def opened(*, clock: Clock | None = None, durability: str = "crash-safe", lease: float = 8.0) -> Store:
        if serve is not None:
            address = serve(clock=clock, durability=durability, lease=lease)
        else:
            address = request.getfixturevalue("url")
        stores.append(open_store(address, clock=clock, durability=durability, lease=lease))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def store(opener: Opener, clock: ManualClock) -> Store:
    """A store on the test's database."""
    return opener(clock=clock)
