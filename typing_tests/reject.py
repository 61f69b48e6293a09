"""What must be refused: every marked line is an error in mypy and in pyright.

The marks are checked from both sides: `mypy --strict` warns of unused ones, and pyright
does with `reportUnnecessaryTypeIgnoreComment`.
"""

from __future__ import annotations

from ostinato import Deployment, Future, Results, Retry, flow, task, unmapped
from ostinato.schedules import Cron, On

Row = dict[str, int]


@task
def fetch(city: str) -> Row:
    return {city: 1}


@task
def combine(rows: list[Row]) -> int:
    return len(rows)


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
def words(names: list[str]) -> int:
    return 1


@task
def two_lists(a: list[int], b: list[int]) -> int:
    return 1


@task
def nested(rows: list[list[int]]) -> int:
    return 1


@task
async def atask(a: int) -> str:
    return ""


@flow
def weather(cities: list[str]) -> int:
    return combine(fetch.map(cities))


@flow(name="x")
async def aflow(n: int) -> str:
    return await atask(n)


n: Future[int] = two.submit(1)
s: Future[str] = use.submit({})
row: Future[Row] = fetch.submit("a")


def plain_values() -> None:
    two("x")  # type: ignore[call-overload]
    two(1, "x")  # type: ignore[call-overload]
    two()  # type: ignore[call-overload]
    two(1, 2, 3)  # type: ignore[call-overload]
    two(c=1)  # type: ignore[call-overload]
    two(1, c=1)  # type: ignore[call-overload]
    two(1, a=1)  # type: ignore[call-overload]
    two.submit("x")  # type: ignore[call-overload]
    two.submit()  # type: ignore[call-overload]
    two.submit(c=1)  # type: ignore[call-overload]
    two.submit(1, 2, 3)  # type: ignore[call-overload]
    words("abc")  # type: ignore[call-overload]
    words(["a", 1])  # type: ignore[list-item]
    use({"a": "b"})  # type: ignore[dict-item]
    three(1, "b", "c")  # type: ignore[call-overload]
    weather("Oslo")  # type: ignore[call-overload]
    weather(city=["Oslo"])  # type: ignore[call-overload]
    weather()  # type: ignore[call-overload]
    aflow("x")  # type: ignore[call-overload]
    atask.submit("x")  # type: ignore[call-overload]
    x: str = two(1)  # type: ignore[assignment]
    y: Future[str] = two.submit(1)  # type: ignore[assignment]
    fetch.no_such()  # type: ignore[attr-defined]
    print(x, y)


def wrong_futures() -> None:
    use(n)  # type: ignore[arg-type]
    use.submit(n)  # type: ignore[arg-type]
    use.submit(two.submit(1))  # type: ignore[arg-type]
    use.submit(row=n.ref)  # type: ignore[call-overload]
    combine([n, n])  # type: ignore[list-item]
    combine.submit([row, n])  # type: ignore[list-item]
    combine([row, 1])  # type: ignore[list-item]
    combine(n)  # type: ignore[arg-type]
    combine(row)  # type: ignore[arg-type]
    combine([atask.submit(1)])  # type: ignore[list-item]
    two(s)  # type: ignore[arg-type]
    two(1, s)  # type: ignore[arg-type]
    two(n, s)  # type: ignore[arg-type]
    two(n, "x")  # type: ignore[call-overload]
    two(n, b="x")  # type: ignore[call-overload]
    two(n, c=1)  # type: ignore[call-overload]
    two(n, n, n)  # type: ignore[call-overload]
    three(n, s)  # type: ignore[call-overload]
    three(n, s, s)  # type: ignore[arg-type]
    three(n, n, 1.0)  # type: ignore[arg-type]
    words(s)  # type: ignore[arg-type]
    atask.submit(s)  # type: ignore[arg-type]
    weather(s)  # type: ignore[arg-type]


def right_when_run_but_not_typed() -> None:
    """Write these with `.ref`; see `accept.py`."""
    use.submit(row=row)  # type: ignore[call-overload]
    three(1, "b", c=n)  # type: ignore[call-overload]
    two_lists([1], [n])  # type: ignore[list-item]
    nested([[n]])  # type: ignore[list-item]
    two.map(a=[1])  # type: ignore[call-overload]
    two.map([1], b=[2])  # type: ignore[call-overload]


def maps() -> None:
    combine(two.map([1]))  # type: ignore[arg-type]
    combine(rows=two.map([1]))  # type: ignore[arg-type]
    combine.submit(atask.map([1]))  # type: ignore[arg-type]
    fetch.map([1])  # type: ignore[list-item]
    fetch.map(3)  # type: ignore[arg-type]
    fetch.map()  # type: ignore[call-arg]
    fetch.map(n)  # type: ignore[arg-type]
    fetch.map(two.map([1]))  # type: ignore[arg-type]
    fetch.map(["a"], ["b"])  # type: ignore[call-arg]
    two.map(["x"])  # type: ignore[list-item]
    two.map([1], ["x"])  # type: ignore[list-item]
    two.map([1], unmapped("x"))  # type: ignore[arg-type]
    two.map([1], b=unmapped("x"))  # type: ignore[call-overload]
    two.map([1], c=unmapped(3))  # type: ignore[call-overload]
    two.map(unmapped(3))  # type: ignore[call-overload]
    three.map([1], ["b"])  # type: ignore[call-overload]
    three.map([1], ["b"], ["c"])  # type: ignore[list-item]
    use.map([n])  # type: ignore[list-item]
    rows: Results[str] = two.map([1])  # type: ignore[assignment]
    print(rows)


def options() -> None:
    two.with_options(no_such=1)  # type: ignore[call-arg]
    two.with_options(retry="x")  # type: ignore[arg-type]
    two.with_options(wait_for=[1])  # type: ignore[list-item]
    two.with_options(wait_for=[n])("x")  # type: ignore[call-overload]
    two.with_options(retry=3).submit("x")  # type: ignore[call-overload]
    task(no_such=1)  # type: ignore[call-overload]
    task(pool=3)  # type: ignore[call-overload]
    task(resources=2)  # type: ignore[call-overload]
    flow(code="newest")  # type: ignore[call-overload]
    two.with_options(pool=3)  # type: ignore[arg-type]
    two.with_options(resources="2GiB")  # type: ignore[arg-type]
    weather.with_options(code="newest")  # type: ignore[arg-type]
    weather.with_options(queue=1)  # type: ignore[arg-type]
    Deployment(two)  # type: ignore[arg-type]
    Deployment(weather, no_such=1)  # type: ignore[call-arg]
    Retry(memory="2")  # type: ignore[arg-type]
    flow(schedule="0 6 * * *")  # type: ignore[arg-type]
    weather.with_options(schedule="0 6 * * *")  # type: ignore[arg-type]
    Cron("0 6 * * *", dst="twice")  # type: ignore[arg-type]
    Cron("0 6 * * *", catchup="some")  # type: ignore[arg-type]
    Cron("0 6 * * *", tz="UTC")  # type: ignore[call-arg]
    Cron("0 6 * * *") | 3  # type: ignore[operator]
    On(3)  # type: ignore[arg-type]
    On("flow:x", states=["faild"])  # type: ignore[list-item]
    two.submit(1, wait_for=[n])  # type: ignore[call-overload]


async def asynchronous() -> None:
    await two(1)  # type: ignore[misc]
    await atask("x")  # type: ignore[call-overload]
    await atask(s)  # type: ignore[arg-type]
    a: int = await atask(1)  # type: ignore[assignment]
    b: int = await atask.submit(1)  # type: ignore[assignment]
    atask(1).upper()  # type: ignore[attr-defined]
    print(a, b)


async def started() -> None:
    weather.start(1)  # type: ignore[call-overload]
    weather.start(no_such=1)  # type: ignore[call-overload]
    weather.start(["a"]).result("x")  # type: ignore[arg-type]
    c: str = weather.start(["a"]).result()  # type: ignore[assignment]
    weather.with_options(priority="high")  # type: ignore[arg-type]
    print(c)
