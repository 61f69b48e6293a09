"""Limits inside a run, and results taken from earlier runs."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from tests.process import until

from ostinato import Cache, Limit, flow, inputs, source, task


class Counter:
    """Counts how many are inside at once, by key."""

    def __init__(self) -> None:
        self.lock, self.now, self.most = threading.Lock(), {}, {}

    def enter(self, key=None):
        with self.lock:
            self.now[key] = self.now.get(key, 0) + 1
            self.most[key] = max(self.most.get(key, 0), self.now[key])

    def leave(self, key=None):
        with self.lock:
            self.now[key] -= 1


@pytest.mark.parametrize("how", ["submit", "map", "async", "retry"])
def test_never_more_at_once_than_a_limit_has_slots(home, monkeypatch, how):
    monkeypatch.setenv("OSTINATO_SLOTS", "8")
    counter, failed = Counter(), set()

    @task(limits=Limit("two", 2), retry=1)
    def work(i: int) -> int:
        counter.enter()
        try:
            if how == "retry" and i not in failed:
                failed.add(i)
                raise ConnectionError
            threading.Event().wait(0.002)
            return i
        finally:
            counter.leave()

    @task(limits=Limit("two", 2))
    async def awork(i: int) -> int:
        counter.enter()
        await asyncio.sleep(0.002)
        counter.leave()
        return i

    @flow
    def f() -> int:
        if how == "map":
            return sum(work.map(range(20)))
        return sum(future.result() for future in [work.submit(i) for i in range(20)])

    @flow
    async def af() -> int:
        return sum(await asyncio.gather(*(awork(i) for i in range(20))))

    assert (asyncio.run(af()) if how == "async" else f()) == 190
    assert counter.most == {None: 2}
    assert counter.now == {None: 0}


def test_a_limit_by_key_has_slots_for_each_value(home, monkeypatch):
    monkeypatch.setenv("OSTINATO_SLOTS", "8")
    counter, both = Counter(), threading.Barrier(2, timeout=20)

    @task(limits=Limit("one", 1, key="host"))
    def work(host: str, i: int) -> None:
        counter.enter(host)
        both.wait()  # the two hosts run at once, or nobody gets past here
        counter.leave(host)

    @flow
    def f() -> None:
        work.map(["a", "b"] * 5, range(10)).wait()

    f()
    assert counter.most == {"a": 1, "b": 1}


def test_several_limits_are_taken_in_one_order_and_all_given_back(home):
    @task(limits=[Limit("b", 1), Limit("a", 2)])
    def one(i: int) -> int:
        if i == 3:
            raise ValueError
        return i

    @task(limits=[Limit("a", 2), Limit("b", 1)])
    def two(i: int) -> int:
        return i

    @flow
    def f() -> int:
        futures = [t.submit(i) for i in range(10) for t in (one, two)]
        return sum(1 for future in futures if future.exception() is None)

    assert f() == 19


def test_direct_calls_from_threads_pass_limits_too(home):
    counter = Counter()

    @task(limits=Limit("one", 1))
    def inner(i: int) -> None:
        counter.enter()
        threading.Event().wait(0.001)
        counter.leave()

    @task
    def outer(i: int) -> None:
        inner(i)

    @flow
    def f() -> None:
        outer.map(range(8)).wait()

    f()
    assert counter.most == {None: 1}


def test_a_cached_result_is_taken_by_another_run_and_says_from_which(home):
    seen = []

    @task(cache=Cache())
    def slow(x: int) -> int:
        seen.append(x)
        return x * 2

    @flow
    def f(x: int) -> int:
        return slow(x) + slow.submit(x).result()

    assert f(1) == 4
    first = home.last()
    assert [f(1), f(2), f(1)] == [4, 8, 4]
    assert seen == [1, 2]
    rows = home.task_runs()
    assert [(row.state, row.reason) for row in rows] == [("succeeded", "cached")] * 2
    events = [event for event in home.events() if event.kind == "task_run.cached"]
    assert len(events) == 2
    assert first.id in events[0].data


def test_a_cached_result_expires(home):
    seen = []

    @task(cache=Cache(expires=timedelta(milliseconds=30)))
    def slow() -> int:
        seen.append(1)
        return len(seen)

    @flow
    def f() -> int:
        return slow()

    assert f() == 1
    until(lambda: f() == 2, "it to expire")


def test_a_cache_may_be_refreshed(home):
    seen = []

    @task(cache=Cache())
    def slow() -> int:
        seen.append(1)
        return len(seen)

    @flow
    def f(refresh: bool) -> int:  # noqa: FBT001
        return slow.with_options(cache=Cache(refresh=refresh))()

    assert [f(refresh=False), f(refresh=True), f(refresh=False)] == [1, 2, 2]


def test_an_input_that_cannot_be_compared_means_no_caching(home):
    seen = []

    @task(cache=Cache())
    def slow(x: int, client: object) -> int:
        seen.append(x)
        return x

    @flow
    def f() -> None:
        slow(1, threading.Lock())
        slow.with_options(cache=Cache(key=inputs + source - "client"))(2, threading.Lock())

    f()
    f()
    assert seen == [1, 2, 1]


def test_a_failure_is_not_cached(home):
    seen = []

    @task(cache=Cache())
    def bad() -> int:
        seen.append(1)
        if len(seen) == 1:
            raise ValueError
        return 1

    @flow
    def f() -> int:
        return bad()

    with pytest.raises(ValueError):  # noqa: PT011
        f()
    assert f() == 1
