"""Where a server does what blocks."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ostinato.errors import StoreUnavailableError
from ostinato.server.threads import Threads


def test_each_of_many_calls_at_once_gets_its_own_answer() -> None:
    async def ask() -> list[int]:
        return await asyncio.gather(*[threads.call(lambda n=number: n) for number in range(2000)])  # type: ignore[misc]

    threads = Threads(4, "test")
    assert asyncio.run(ask()) == list(range(2000))
    threads.shutdown()


def test_threads_work_side_by_side_up_to_their_number() -> None:
    async def ask() -> None:
        await asyncio.gather(*[threads.call(lambda: together.wait(10)) for _ in range(3)])

    threads, together = Threads(3, "test"), threading.Barrier(3)
    asyncio.run(ask())
    threads.shutdown()


def test_an_error_reaches_whoever_called_and_no_one_else() -> None:
    def fail() -> None:
        raise ValueError("mine")

    async def ask() -> list[object]:
        return await asyncio.gather(threads.call(fail), threads.call(lambda: "fine"), return_exceptions=True)

    threads = Threads(1, "test")
    error, other = asyncio.run(ask())
    assert isinstance(error, ValueError)
    assert other == "fine"
    threads.shutdown()


def test_a_caller_who_has_gone_leaves_the_others_their_answers() -> None:
    async def ask() -> str:
        waiting = asyncio.ensure_future(threads.call(go_on.wait))
        after = asyncio.ensure_future(threads.call(lambda: "answered"))
        await asyncio.sleep(0)
        waiting.cancel()
        go_on.set()
        return await after

    threads, go_on = Threads(1, "test"), threading.Event()
    assert asyncio.run(ask()) == "answered"
    threads.shutdown()


def test_nothing_is_taken_once_they_are_shut_down() -> None:
    threads = Threads(1, "test")
    threads.shutdown()
    with pytest.raises(StoreUnavailableError, match="is being stopped"):
        asyncio.run(threads.call(lambda: None))
