"""Writes that come together are committed together, and each is answered for itself."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from tests.store.builders import a_worker, new_run

from ostinato.clock import ManualClock
from ostinato.errors import RunStateError, StoreUnavailableError
from ostinato.records import RunFilter
from ostinato.server.threads import Threads
from ostinato.server.writer import Writer
from ostinato.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Counting(SqliteStore):
    """Counts its transactions."""

    commits = 0

    def _check_open(self) -> None:
        super()._check_open()
        self.commits += 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counting]:
    opened = Counting(str(tmp_path / "test.db"), clock=ManualClock())
    a_worker(opened)
    opened.commits = 0
    yield opened
    opened.close()


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(2, "test-writer")
    yield made
    made.shutdown()


def test_writes_that_come_together_are_one_commit(store: Counting, threads: Threads) -> None:
    async def main() -> None:
        writer = Writer(store, threads)
        await asyncio.gather(*(writer.call(lambda n=n: store.create(new_run(store, id=f"r{n}"))) for n in range(10)))

    asyncio.run(main())
    assert store.commits == 1
    assert len(store.list_runs(RunFilter())) == 10


def test_write_that_is_refused_does_not_harm_those_beside_it(store: Counting, threads: Threads) -> None:
    def refuse() -> None:
        store.create(new_run(store, id="half"))
        raise RunStateError("no")

    async def main() -> list[object]:
        writer = Writer(store, threads)
        works = [
            lambda: store.create(new_run(store, id="a")),
            refuse,
            lambda: store.request_cancel("a"),
            lambda: store.create(new_run(store, id="b")),
        ]
        return await asyncio.gather(*(writer.call(work) for work in works), return_exceptions=True)

    came = asyncio.run(main())
    assert isinstance(came[1], RunStateError)
    assert [type(each).__name__ for each in (came[0], came[3])] == ["Run", "Run"]
    assert {run.id for run in store.list_runs(RunFilter())} == {"a", "half", "b"}


def test_verb_that_fails_half_way_leaves_nothing_of_itself(store: Counting, threads: Threads) -> None:
    def half() -> None:
        with store._transaction() as db:
            db.execute("UPDATE run SET flow = 'changed'")
            raise RunStateError("no")

    async def main() -> None:
        writer = Writer(store, threads)
        works = [lambda: store.create(new_run(store, id="a")), half, lambda: store.create(new_run(store, id="b"))]
        await asyncio.gather(*(writer.call(work) for work in works), return_exceptions=True)

    asyncio.run(main())
    assert "changed" not in {run.flow for run in store.list_runs(RunFilter())}
    assert len(store.list_runs(RunFilter())) == 2


def test_write_sees_what_it_has_written_before_that_is_committed(store: Counting, threads: Threads) -> None:
    def create_and_look(name: str) -> str:
        store.create(new_run(store, id=name))
        return store.get_run(name).id

    async def main() -> list[str]:
        writer = Writer(store, threads)
        return await asyncio.gather(*(writer.call(lambda n=n: create_and_look(n)) for n in ("a", "b")))

    assert asyncio.run(main()) == ["a", "b"]


def test_commit_that_fails_is_told_to_all_who_shared_it(store: Counting, threads: Threads) -> None:
    async def main() -> list[object]:
        writer = Writer(store, threads)
        works = [
            lambda: store.create(new_run(store, id="a")),
            lambda: store._writer.execute("ROLLBACK"),
            lambda: store.create(new_run(store, id="b")),
        ]
        return await asyncio.gather(*(writer.call(work) for work in works), return_exceptions=True)

    came = asyncio.run(main())
    assert [isinstance(each, StoreUnavailableError) for each in came] == [True, True, True], came
    assert store.list_runs(RunFilter()) == []
    store.create(new_run(store, id="c"))  # and it goes on


def test_slow_writes_are_left_to_a_thread(store: Counting, threads: Threads) -> None:
    where: list[str] = []

    def slow() -> None:
        where.append(threading.current_thread().name)
        threading.Event().wait(0.02)

    async def main() -> None:
        writer = Writer(store, threads)
        for _ in range(3):
            await writer.call(slow)

    asyncio.run(main())
    assert [name.startswith("test-writer") for name in where] == [False, True, True]


def test_writer_comes_back_to_the_loop_when_writes_are_quick_again(store: Counting, threads: Threads) -> None:
    where: list[str] = []

    async def main() -> None:
        writer = Writer(store, threads)
        await writer.call(lambda: threading.Event().wait(0.02))
        for _ in range(60):
            await writer.call(lambda: where.append(threading.current_thread().name))

    asyncio.run(main())
    assert where[0].startswith("test-writer")
    assert where[-1] == "MainThread"
