"""A host for the loops: all that they need of a server, on both databases, without HTTP."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from tests.postgres import postgres_server, postgres_template, postgres_url  # noqa: F401
from tests.store.builders import new_run

from ostinato.clock import ManualClock
from ostinato.io.results import ResultStore
from ostinato.loops.dispatcher import Dispatcher
from ostinato.records import Run, Worker
from ostinato.settings import Settings
from ostinato.states import State
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from ostinato.store.store import Store

T = TypeVar("T")


class House:
    """A server without its routes."""

    def __init__(self, store: Store, folder: Path, name: str = "here") -> None:
        self.store = store
        self.results = ResultStore(str(folder / "results"))
        self.settings = Settings(home=str(folder))
        self.dispatcher = Dispatcher(store)
        self.name = name
        self.changes = 0
        self._threads = ThreadPoolExecutor(4)

    async def call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def changed(self) -> None:
        self.changes += 1
        self.dispatcher.hint()

    def on_stored(self, heard: Callable[[], None]) -> None:
        pass

    def close(self) -> None:
        self._threads.shutdown()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/home/ostinato.db"


@pytest.fixture
def open_house(url: str, clock: ManualClock, tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Open servers on the test's database; they are closed after the test."""
    houses: list[tuple[House, Store]] = []

    def opened(name: str = "here") -> House:
        store = open_store(url, clock=clock, durability="crash-safe")
        houses.append((House(store, tmp_path, name), store))
        return houses[-1][0]

    yield opened
    for house, store in houses:
        house.close()
        store.close()


@pytest.fixture
def house(open_house: Callable[..., House]) -> House:
    return open_house()


@pytest.fixture
def store(house: House) -> Store:
    return house.store


def worker(store: Store, name: str = "w1", **fields: Any) -> str:
    """Register a worker."""
    values: dict[str, Any] = {"kind": "worker", "host": "box", "pid": 42, "pid_started": "", "version": "0"}
    values |= {"started_at": store.now(), "expires_at": 0, "pools": ["default"], "slots": 8}
    store.register(Worker(id=name, **(values | fields)))
    return name


def queued(store: Store, count: int = 1, **fields: Any) -> list[Run]:
    """Put runs in the queue."""
    values: dict[str, Any] = {"state": State.QUEUED, "pool": "default"}
    return [store.create(new_run(store, **(values | fields))) for _ in range(count)]


async def seen(condition: Callable[[], object], seconds: float = 10.0) -> Any:
    """Wait until a condition holds, looking after every turn of the event loop."""
    until = asyncio.get_running_loop().time() + seconds
    while not (found := condition()):
        assert asyncio.get_running_loop().time() < until, "waited in vain"
        await asyncio.sleep(0.001)
    return found


def play(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test's body on an event loop of its own."""
    asyncio.run(asyncio.wait_for(work(), 30))  # type: ignore[arg-type]
