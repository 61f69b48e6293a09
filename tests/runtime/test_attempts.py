"""Retries and timeouts."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from ostinato import Retry, current, flow, task
from ostinato.errors import TaskTimeoutError

HOW = ["direct", "submit", "map", "async", "async submit"]


def run(how, made, *args):
    """Call a task in one of the ways there are, in a flow of its own."""
    if how.startswith("async"):

        @task
        async def later(*values: object) -> object:
            return made.fn(*values)

        again = later.with_options(retry=made.options.retry, timeout=made.options.timeout, name=made.key)

        @flow
        async def af() -> object:
            return await (again(*args) if how == "async" else again.submit(*args))

        return asyncio.run(af())

    @flow
    def f() -> object:
        if how == "map":
            return made.map([args[0]])[0]
        return made(*args) if how == "direct" else made.submit(*args).result()

    return f()


@pytest.mark.parametrize("how", HOW)
def test_a_failed_attempt_is_tried_again(home, how):
    seen = []

    @task(retry=Retry(3, delay=0.002, backoff=2, jitter=0.5))
    def flaky(_: int) -> str:
        seen.append(current.attempt)
        if len(seen) < 3:
            raise ConnectionError(len(seen))
        return "got it"

    assert run(how, flaky, 1) == "got it"
    assert seen == [1, 2, 3]
    (row,) = home.task_runs()
    assert (row.state, row.attempt, row.failures) == ("succeeded", 3, 2)
    assert [(a.attempt, a.state) for a in home.attempts()] == [(1, "failed"), (2, "failed")]


@pytest.mark.parametrize("how", HOW)
def test_retries_end(home, how):
    seen = []

    @task(retry=2)
    def bad(_: int) -> str:
        seen.append(1)
        raise ConnectionError("again")

    with pytest.raises(ConnectionError, match="again"):
        run(how, bad, 1)
    assert len(seen) == 3
    assert home.last().state == "failed"


@pytest.mark.parametrize("on", [ConnectionError, (ConnectionError, KeyError), lambda e: "yes" in str(e)])
def test_only_what_the_policy_names_is_tried_again(home, on):
    seen = []

    @task(retry=Retry(5, on=on))
    def bad(_: int) -> None:
        seen.append(1)
        raise ConnectionError("yes") if len(seen) == 1 else ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run("direct", bad, 1)
    assert len(seen) == 2


@pytest.mark.parametrize("how", ["direct", "submit", "map"])
def test_a_sync_task_is_stopped_by_its_timeout(home, how):
    ended = threading.Event()

    @task(timeout=0.05)
    def slow(_: int) -> None:
        try:
            while True:
                time.sleep(0.001)
        finally:
            ended.set()

    with pytest.raises(TaskTimeoutError, match="timeout of 0.05 s"):
        run(how, slow, 1)
    assert ended.wait(5), "it was stopped, not only left alone"
    (row,) = home.task_runs()
    assert (row.state, row.reason) == ("failed", "timed_out")


@pytest.mark.parametrize("submit", [False, True])
def test_an_async_task_is_stopped_at_its_await(home, submit):
    ended = []

    @task(timeout=0.05)
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(1)

    @flow
    async def f() -> None:
        await (slow.submit() if submit else slow())

    with pytest.raises(TaskTimeoutError, match="timeout"):
        asyncio.run(f())
    assert ended == [1]
    assert [(row.state, row.reason) for row in home.task_runs()] == [("failed", "timed_out")]


def test_a_process_is_killed_by_its_timeout(home):
    @task(timeout=1.5, executor="processes")
    def stuck(_: int) -> None:
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass

    with pytest.raises(TaskTimeoutError):
        run("direct", stuck, 1)
    assert [(row.state, row.reason) for row in home.task_runs()] == [("failed", "timed_out")]


@pytest.mark.parametrize("how", ["direct", "submit"])
def test_a_timeout_is_tried_again_like_any_failure(home, how):
    seen = []

    @task(timeout=0.05, retry=Retry(1, on=TimeoutError))
    def slow(_: int) -> int:
        seen.append(1)
        while len(seen) == 1:
            time.sleep(0.001)
        return 5

    assert run(how, slow, 1) == 5
    assert [a.reason for a in home.attempts()] == ["timed_out"]


def test_a_timeout_does_not_strike_a_later_attempt(home):
    seen = []

    @task(timeout=0.2, retry=2)
    def quick(_: int) -> int:
        seen.append(1)
        if len(seen) < 3:
            raise ValueError
        time.sleep(0.15)
        return 1

    assert run("submit", quick, 1) == 1


def test_a_timeout_of_an_outer_task_stops_it_while_it_waits_for_inner_ones(home):
    gate = threading.Event()

    @task
    def inner() -> None:
        gate.wait(20)

    @task(timeout=0.05)
    def outer() -> None:
        inner.submit().result()

    @flow
    def f() -> str:
        try:
            outer()
        except TaskTimeoutError:
            gate.set()
            return "stopped"
        return "not stopped"

    assert f() == "stopped"
