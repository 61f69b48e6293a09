"""What must check: every line here is accepted by `mypy --strict` and by pyright strict."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any, TypeVar, assert_type

from ostinato import (
    Deployment,
    Future,
    OutOfMemory,
    Resources,
    Results,
    Retry,
    RunHandle,
    Task,
    flow,
    task,
    unmapped,
)
from ostinato.schedules import AllOf, AnyOf, At, Calendar, Cron, Every, On, RRule, business_days, next_after

Row = dict[str, int]
T = TypeVar("T")


@task(retry=Retry(3, delay=1, backoff=2, jitter=0.2, on=ConnectionError), timeout=30)
def fetch(city: str) -> dict[str, int]:
    return {city: 1}


@task
def combine(rows: list[dict[str, int]]) -> int:
    return len(rows)


@flow
def weather(cities: list[str] = ["Oslo", "Lima"]) -> int:
    rows = fetch.map(cities)
    return combine(rows)


@task
def use(row: Row) -> str:
    return str(row)


@task
def two(a: int, b: int = 2) -> int:
    return a + b


@task
def three(a: int, b: str, c: float) -> bytes:
    return b""


@task
def four(a: int, b: str, c: float, *, d: int = 1) -> bytes:
    return b""


@task
def named(rows: dict[str, Row], scale: float = 1) -> float:
    return scale


@task
def each_of(rows: Iterable[int], label: str = "") -> int:
    return 1


@task
def seq_of(rows: Sequence[Row]) -> int:
    return 1


@task
def cities() -> list[str]:
    return []


@task
async def atask(a: int, b: int = 1) -> str:
    return ""


@task(retry=3)
async def aopt(a: int) -> str:
    return ""


@flow(name="x", retry=2)
def opt(n: int) -> str:
    return ""


@flow
async def aflow(n: int) -> str:
    return await atask(n)


@flow(timeout=3)
async def aflow2(n: int) -> str:
    return await atask(n)


@task
def anything(value: object, *rest: int, **more: str) -> None: ...
@task
def untyped(value: Any) -> Any: ...


@task
def maybe(rows: list[Row] | None = None, n: float = 0) -> int:
    return 1


@task
def keyword_only(*, a: int, row: Row) -> int:
    return 1


@task
def nothing() -> None: ...
@task
def odd(self: int, fn: int = 1, args: int = 2, timeout: int = 3, wait_for: int = 4) -> int:
    return 1


@task
def two_lists(a: list[int], b: list[int]) -> int:
    return 1


@task
def nested(rows: list[list[int]]) -> int:
    return 1


@task
def same(value: T) -> T:
    return value


@task
def loose(n: int) -> Any:
    return n


def run_any(any_task: Task[..., int]) -> int:
    return any_task.submit(1).result()


def calls() -> None:
    assert_type(odd(self=1, fn=1, args=2, timeout=3, wait_for=4), int)
    assert_type(odd.submit(self=1, fn=1, args=2, timeout=3, wait_for=4), Future[int])
    assert_type(odd.map([1], fn=1, args=2, timeout=3, wait_for=4), Results[int])
    assert_type(same(3), int)
    assert_type(same.submit(3), Future[int])
    assert_type(loose.submit(3), Future[Any])
    assert_type(loose.map([3]), Results[Any])
    nothing()
    assert_type(nothing.submit(), Future[None])
    assert_type(run_any(two), int)
    assert_type(keyword_only(a=1, row={}), int)
    assert_type(weather(), int)
    assert_type(weather(cities=["Oslo"]), int)
    assert_type(fetch("Oslo"), dict[str, int])
    assert_type(fetch(city="Oslo"), dict[str, int])
    assert_type(two(1), int)
    assert_type(two(1, b=2), int)
    assert_type(opt(3), str)
    assert_type(four(1, "", 1, d=2), bytes)
    anything(1, 2, 3, x="y")
    anything(two.submit(1), 2, x="y")
    assert_type(fetch.fn("Oslo"), dict[str, int])


def futures() -> None:
    f = fetch.submit("Oslo")
    assert_type(f, Future[dict[str, int]])
    assert_type(f.result(timeout=3), dict[str, int])
    assert_type(f.exception(), BaseException | None)
    assert_type(f.done(), bool)
    state: str = f.state
    print(state)
    f2 = fetch.submit(city="Oslo")
    n, s, x = two.submit(1), use.submit({}), named.submit({})
    assert_type(use(f), str)
    assert_type(use.submit(f), Future[str])
    assert_type(use.submit(row=f.ref), Future[str])
    assert_type(combine([f, f2]), int)
    assert_type(combine.submit([f, f2]), Future[int])
    assert_type(combine([f, {"a": 1}]), int)
    fs = [f, f2]
    assert_type(combine(fs), int)
    assert_type(combine([fetch.submit(c) for c in ["a"]]), int)
    assert_type(seq_of([f, f2]), int)
    assert_type(each_of([n, n], "x"), int)
    assert_type(each_of([n, n], label="x"), int)
    assert_type(named({"a": f, "b": f2}), float)
    assert_type(named({"a": f, "b": {"c": 1}}, 2), float)
    assert_type(named({"a": f}, scale=2), float)
    assert_type(named({"a": f}, scale=x.ref), float)
    assert_type(two(n), int)
    assert_type(two(n, 3), int)
    assert_type(two(n, b=3), int)
    assert_type(two(3, n), int)
    assert_type(two(n, n), int)
    assert_type(two.submit(n, n), Future[int])
    assert_type(three(n, s, x), bytes)
    assert_type(three(n, "s", 2.0), bytes)
    assert_type(three(1, s, 2.0), bytes)
    assert_type(three(1, "s", x), bytes)
    assert_type(three(1, s, c=3.0), bytes)
    assert_type(four(1, s, x, d=3), bytes)
    assert_type(opt(n), str)
    assert_type(keyword_only.submit(a=n.ref, row=f.ref), Future[int])
    assert_type(maybe([f, f2]), int)
    assert_type(maybe([f, f2], n=n.ref), int)
    assert_type(maybe(None, n), int)
    assert_type(maybe(fetch.map(["a"]), n), int)
    assert_type(maybe.submit([f.ref, {"a": 1}], n), Future[int])
    assert_type(two_lists([n], [1]), int)
    assert_type(two_lists([n], [n.ref, 1]), int)
    assert_type(two_lists(b=[n.ref], a=[1]), int)
    assert_type(two_lists([1], two.map([1])), int)
    assert_type(nested([[n.ref, 1]]), int)
    assert_type(nested([two.map([1]), two.map([1])]), int)
    untyped(f)
    untyped([f])


def maps() -> None:
    names = ["Oslo"]
    rows = fetch.map(names)
    assert_type(rows, Results[dict[str, int]])
    assert_type(rows[0], dict[str, int])
    for row in rows:
        assert_type(row, dict[str, int])
    assert_type(rows.futures, Sequence[Future[dict[str, int]]])
    assert_type(rows.result(), list[dict[str, int]])
    assert_type(combine(rows), int)
    assert_type(combine(rows=rows), int)
    assert_type(combine.submit(rows), Future[int])
    assert_type(combine.submit(rows=rows), Future[int])
    assert_type(combine(rows.result()), int)
    assert_type(combine([*rows.futures]), int)
    assert_type(seq_of(rows), int)
    assert_type(each_of(two.map([1]), label="x"), int)

    def gen() -> Iterator[str]:
        yield "Oslo"

    assert_type(fetch.map(gen()), Results[dict[str, int]])
    assert_type(fetch.map(c.upper() for c in names), Results[dict[str, int]])
    assert_type(fetch.map(cities.submit()), Results[dict[str, int]])
    assert_type(fetch.map(cities()), Results[dict[str, int]])
    assert_type(use.map(rows), Results[str])
    assert_type(use.map(rows.futures), Results[str])
    assert_type(use.map([fetch.submit("a"), fetch.submit("b")]), Results[str])
    xs, ys = [1, 2], [3, 4]
    assert_type(two.map(xs), Results[int])
    assert_type(two.map(xs, ys), Results[int])
    assert_type(two.map(range(3), iter(ys)), Results[int])
    assert_type(three.map(xs, ["a"], unmapped(3.0)), Results[bytes])
    assert_type(three.map(xs, unmapped("a"), [3.0]), Results[bytes])
    assert_type(three.map(unmapped(1), ["a"], [3.0]), Results[bytes])
    assert_type(two.map(xs, unmapped(3)), Results[int])
    assert_type(two.map(xs, b=unmapped(3)), Results[int])
    assert_type(two.map(unmapped(3), ys), Results[int])
    assert_type(four.map(xs, ["a"], [1.0], d=unmapped(3)), Results[bytes])
    assert_type(combine.map([rows, rows]), Results[int])
    assert_type(each_of.map([[1], [2]], unmapped("x")), Results[int])
    assert_type(each_of.map([[1], [2]], label=unmapped("x")), Results[int])


async def asynchronous() -> None:
    assert_type(await atask(1), str)
    later: Coroutine[Any, Any, str] = atask(1)
    await later
    f = atask.submit(1)
    assert_type(f, Future[str])
    assert_type(await f, str)
    assert_type(atask.map([1, 2]), Results[str])
    assert_type(await atask.map([1, 2]), list[str])
    assert_type(await atask(two.submit(1)), str)
    assert_type(atask.submit(two.submit(1)), Future[str])
    assert_type(aopt.submit(1), Future[str])
    assert_type(await aflow(1), str)
    assert_type(await aflow2(n=1), str)
    assert_type(await asyncio.gather(atask(1), aopt(2)), tuple[str, str])
    assert_type(await asyncio.gather(f, two.submit(1)), tuple[str, int])
    async with asyncio.TaskGroup() as group:
        made = group.create_task(atask(1))
        assert_type(made, asyncio.Task[str])
    async for s in atask.map([1]):
        assert_type(s, str)


def options() -> None:
    f = two.submit(1)
    slow = fetch.with_options(timeout=60, retry=3)
    assert_type(slow.submit("Oslo"), Future[dict[str, int]])
    assert_type(slow("Oslo"), dict[str, int])
    assert_type(two.with_options(wait_for=[f]).submit(1, b=f.ref), Future[int])
    assert_type(two.with_options(wait_for=[f, slow.submit("a"), *slow.map(["b"]).futures])(1), int)
    assert_type(atask.with_options(wait_for=[f]).submit(1), Future[str])
    assert_type(atask.with_options(retry=2).map([1]), Results[str])
    assert_type(opt.with_options(name="y")(1), str)


@task(pool="gpu", resources=Resources(cpu=2, memory="2GiB", gpu=1, named={"licence": 1}))
def train(rows: int) -> float:
    return 0.5


@flow(
    pool="big",
    queue="nightly",
    resources=Resources(memory=10**9),
    code="pinned",
    cold=True,
    retry=Retry(2, on=OutOfMemory, memory=2.0),
)
def heavy(n: int = 1) -> float:
    return train(n)


def placed() -> None:
    assert_type(train(1), float)
    assert_type(train.submit(1), Future[float])
    assert_type(train.with_options(pool=None, resources=None).map([1]), Results[float])
    assert_type(heavy(n=2), float)
    assert_type(heavy.with_options(code="latest", cold=False, pool=None, queue=None, resources=None)(1), float)
    nightly = Deployment(heavy, name="nightly", parameters={"n": 3}, priority=5, tags=["core"], resources=Resources())
    assert_type(nightly.full_name, str)
    assert_type(nightly.name, str | None)
    Deployment(weather)
    Deployment(aflow, "other", {"n": 1}, description="x")
    Deployment(weather, "hourly", schedule=[Every(hours=1), At([datetime(2026, 12, 24)])])


@flow(schedule=Cron("0 6 * * MON-FRI", timezone="Europe/Oslo", dst="skip", jitter=30), owners=["ada"])
def scheduled(city: str = "Oslo") -> int:
    return 1


def schedules() -> None:
    days: Calendar = business_days("NO", roll="next", not_on=[date(2026, 12, 24)])
    either = Cron("0 6 * * *", calendar=days) | RRule("FREQ=DAILY", start=datetime(2026, 1, 1))
    both = On(scheduled, states=["failed"]) & On("orders.landed", key="eu", policy="batch", size=3, window=60)
    assert_type(either, AnyOf)
    assert_type(either & both, AllOf)
    assert_type(either.with_options(name="often", parameters={"city": "Lima"}, catchup="all"), AnyOf)
    assert_type(Every(timedelta(hours=6)).with_options(end=None), Every)
    scheduled.with_options(schedule=None, owners=[])
    scheduled.with_options(schedule=[either, both])
    assert_type(next_after(either, 0), int | None)


async def started() -> None:
    handle = heavy.start(n=2)
    assert_type(handle, RunHandle[float])
    assert_type(handle.result(), float)
    assert_type(handle.result(timeout=1), float)
    assert_type(await handle, float)
    handle.wait(1.5)
    handle.cancel()
    assert_type(handle.done(), bool)
    assert_type(aflow.start(1), RunHandle[str])
    assert_type(await aflow.with_options(deployment="aflow/other", key="k", priority=3).start(1), str)
    wide: RunHandle[object] = handle
    print(wide)
