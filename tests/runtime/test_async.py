"""Async tasks and flows: the same promises, awaited."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tests.inside import Faulty
from tests.process import until

from ostinato import Limit, current, flow, task
from ostinato.errors import RunCancelledError


@task
async def inc(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


@task
def plain(x: int) -> int:
    return x * 2


def test_gather_and_task_groups_and_futures(home):
    @flow
    async def f() -> list[int]:
        first = await asyncio.gather(*(inc(i) for i in range(5)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(inc(i)) for i in (10, 20)]
        futures = [inc.submit(100), plain.submit(inc.submit(1))]
        return [*first, *[t.result() for t in tasks], *[await future for future in futures], plain(4)]

    assert asyncio.run(f()) == [1, 2, 3, 4, 5, 11, 21, 101, 4, 8]
    assert home.last().state == "succeeded"
    assert len(home.task_runs()) == 11


def test_async_tasks_of_a_sync_flow(home):
    @flow
    def f() -> int:
        return inc.submit(1).result() + sum(inc.map(range(3)))

    assert f() == 2 + 6


def test_nested_async_tasks_are_children(home):
    @task
    async def outer(n: int) -> int:
        return sum(await asyncio.gather(inc(n), inc(n), inc.submit(n)))

    @flow
    async def f() -> int:
        return await outer(1)

    assert asyncio.run(f()) == 6
    rows = home.task_runs()
    assert [row.parent_seq for row in rows].count(None) == 1


def test_many_at_once_do_not_hold_threads(home):
    most = [0]

    @task
    async def wait(_: int) -> None:
        most[0] = max(most[0], threading.active_count())
        await asyncio.sleep(0.01)

    @flow
    async def f() -> None:
        await asyncio.gather(*(wait(i) for i in range(300)))

    asyncio.run(f())
    assert most[0] < 20


def test_a_user_may_cancel_one_awaited_task(home):
    ended = []

    @task
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(1)

    @flow
    async def f() -> int:
        try:
            async with asyncio.timeout(0.02):
                await slow()
        except TimeoutError:
            return await inc(1)
        return 0

    assert asyncio.run(f()) == 2
    assert ended == [1]
    assert home.states() == {"slow": ["cancelled"], "inc": ["succeeded"]}
    assert home.last().state == "succeeded"


def test_a_failure_in_a_task_group_cancels_its_siblings(home):
    @task
    async def slow() -> None:
        await asyncio.sleep(60)

    @task
    async def bad() -> None:
        raise LookupError("bad")

    @flow
    async def f() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(slow())
            group.create_task(bad())

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(f())
    assert isinstance(raised.value.exceptions[0], LookupError)
    assert home.states() == {"slow": ["cancelled"], "bad": ["failed"]}
    assert home.last().state == "failed"


def test_a_call_cancelled_while_its_result_is_committed_stays_what_was_committed(home):
    """Terminal absorbs: the row must not become cancelled after it was stored as succeeded."""
    in_commit, go = threading.Event(), threading.Event()

    def hold(_, entries):
        if any(row.task.endswith("inc") and row.state == "succeeded" for row in entries.task_runs):
            in_commit.set()
            assert go.wait(20)

    @flow
    async def f() -> list[str]:
        call = asyncio.ensure_future(inc(1))
        while not in_commit.is_set():
            await asyncio.sleep(0.001)
        call.cancel()
        asyncio.get_running_loop().call_later(0.01, go.set)
        try:
            await call
        except asyncio.CancelledError:
            return ["cancelled"]
        return ["ended"]

    assert home.run(f, store=Faulty(home.open(), hold)) == ["cancelled"]
    assert home.states() == {"inc": ["succeeded"]}


def test_cancelling_the_flow_itself_cancels_the_run(home):
    @flow
    async def f() -> None:
        await asyncio.gather(inc(1), asyncio.sleep(60))

    async def main() -> None:
        running = asyncio.ensure_future(f())
        await asyncio.to_thread(until, lambda: home.path.exists() and home.runs() and home.task_runs())
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert home.last().state == "cancelled"


def test_a_user_who_gives_up_waiting_for_a_limit_gives_the_slot_back(home):
    @task(limits=Limit("one", 1))
    async def held(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @flow
    async def f() -> float:
        first = asyncio.ensure_future(held(0.05))
        await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await held(0.0)
        await first
        return await held(0.001)

    assert asyncio.run(asyncio.wait_for(f(), 20)) == 0.001


def test_two_async_flows_run_at_once(home):
    @flow
    async def f(n: int) -> int:
        return await inc(n)

    async def main() -> list[int]:
        return await asyncio.gather(f(1), f(2))

    assert asyncio.run(main()) == [2, 3]
    assert len(home.runs()) == 2


def test_a_future_of_a_cancelled_task_says_so(home):
    @task
    async def slow() -> None:
        await asyncio.sleep(60)

    @flow
    async def f() -> str:
        async with asyncio.timeout(20):
            future = slow.submit()
            await asyncio.sleep(0.01)
            for other in asyncio.all_tasks() - {asyncio.current_task()}:
                if "live_on" in repr(other):
                    other.cancel()
            try:
                await future
            except RunCancelledError as error:
                return str(error)
        return ""

    assert "cancelled before it ended" in asyncio.run(f())


def test_current_follows_every_task(home):
    @task
    async def who(i: int) -> tuple[int, str | None]:
        await asyncio.sleep(0.001)
        return i, current.task_run_id

    @flow
    async def f() -> list[tuple[int, str | None]]:
        return await asyncio.gather(*(who(i) for i in range(10)))

    found = asyncio.run(f())
    assert len({identity for _, identity in found}) == 10
    assert {identity for _, identity in found} == {row.id for row in home.task_runs()}
