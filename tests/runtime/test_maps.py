"""Maps: lazy, bounded, over whatever can be iterated."""

from __future__ import annotations

import threading

import pytest
from tests.process import until

from ostinato import current, flow, task, unmapped
from ostinato.errors import DefinitionError


@task
def inc(x: int) -> int:
    return x + 1


@task
def mul(a: int, b: int) -> int:
    return a * b


def test_a_map_gives_values_in_order(home):
    @flow
    def f() -> list[object]:
        rows = inc.map(range(5))
        return [list(rows), rows[2], rows[-1], rows[1:3], len(rows), rows.result(), [x.result() for x in rows.futures]]

    assert f() == [[1, 2, 3, 4, 5], 3, 5, [2, 3], 5, [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]
    assert sorted(row.map_index for row in home.task_runs()) == [0, 1, 2, 3, 4]


def test_a_map_takes_several_iterables_and_what_is_the_same_for_all(home):
    @flow
    def f() -> list[list[int]]:
        return [
            list(mul.map([1, 2], [3, 4])),
            list(mul.map([1, 2], b=[5, 6])),
            list(mul.map((x for x in (1, 2)), unmapped(7))),
            list(mul.map([1, 2], 8)),
        ]

    assert f() == [[3, 8], [5, 12], [7, 14], [8, 16]]


def test_lengths_that_differ_are_refused(home):
    @flow
    def known() -> None:
        mul.map([1, 2], [3])

    @flow
    def unknown() -> list[int]:
        return list(mul.map((x for x in (1, 2)), (x for x in (3,))))

    with pytest.raises(DefinitionError, match="different lengths"):
        known()
    with pytest.raises(DefinitionError, match="different lengths"):
        unknown()


def test_a_map_over_nothing_is_refused_but_an_empty_one_is_empty(home):
    @flow
    def nothing() -> None:
        inc.map(unmapped(1))

    @flow
    def empty() -> int:
        return len(inc.map([])) + len(list(inc.map(x for x in ())))

    with pytest.raises(DefinitionError, match="nothing to map over"):
        nothing()
    assert empty() == 0


def test_a_map_pulls_from_its_generator_only_as_fast_as_items_can_run(home, monkeypatch):
    monkeypatch.setenv("OSTINATO_SLOTS", "4")
    pulled, running, most, ahead = [0], [0], [0], [0]
    gates, lock = [threading.Event() for _ in range(60)], threading.Lock()

    def source():
        for i in range(60):
            pulled[0] = i + 1
            yield i

    @task
    def held(i: int) -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        assert gates[i].wait(20)
        with lock:
            running[0] -= 1
        return i

    @flow
    def f() -> int:
        rows = held.map(source())
        for i in range(60):
            until(lambda i=i: running[0] == min(4, 60 - i), "as many to run as there are slots")
            ahead[0] = max(ahead[0], pulled[0] - i)
            gates[i].set()
            rows[i]
        return len(rows)

    assert f() == 60
    assert most[0] == 4, "as many at once as there are slots"
    assert 4 <= ahead[0] <= 7, "about 1.1 x slots are pulled ahead, never the whole generator"


def test_a_map_over_an_endless_generator_ends_with_the_run(home):
    def endless():
        i = 0
        while True:
            yield i
            i += 1

    @flow
    def f() -> int:
        rows = inc.map(endless())
        assert rows[10] == 11
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        f()
    assert home.last().state == "failed"


def test_a_map_over_a_map_starts_each_item_when_its_own_source_has_ended(home):
    gate = threading.Event()

    @task
    def first(i: int) -> int:
        assert i == 0 or gate.wait(20)
        return i

    @task
    def second(i: int) -> int:
        if i == 0:
            gate.set()
        return i * 10

    @flow
    def f() -> list[int]:
        return list(second.map(first.map(range(3))))

    assert f() == [0, 10, 20]


def test_maps_take_futures_of_lists_and_of_items(home):
    @task
    def some(n: int) -> list[int]:
        return list(range(n))

    @flow
    def f() -> list[list[int]]:
        return [list(inc.map(some.submit(3))), list(inc.map([inc.submit(1), 5, inc.submit(2)]))]

    assert f() == [[1, 2, 3], [3, 6, 4]]


def test_a_map_as_an_argument_is_its_list(home):
    @task
    def total(xs: list[int]) -> int:
        return sum(xs)

    @flow
    def f() -> int:
        return total(inc.map(range(4))) + total.submit(inc.map([1])).result()

    assert f() == 12
    assert any(row.upstream == "0-3" for row in home.task_runs() if row.task.endswith("total"))


def test_a_generator_that_fails_fails_whoever_takes_the_results(home):
    def bad():
        yield 1
        raise ZeroDivisionError("in the generator")

    @flow
    def f() -> list[int]:
        return list(inc.map(bad()))

    @flow
    def unseen() -> int:
        inc.map(bad())
        return 1

    with pytest.raises(ZeroDivisionError, match="in the generator"):
        f()
    with pytest.raises(ZeroDivisionError, match="in the generator"):
        unseen()


def test_a_generator_runs_inside_the_run(home):
    seen = []

    def pages():
        for i in range(3):
            seen.append(current.run_id)
            yield inc(i)

    @flow
    def f() -> list[int]:
        return list(inc.map(pages()))

    assert f() == [2, 3, 4]
    assert seen == [home.last().id] * 3
    assert len(home.task_runs()) == 6, "a task called by the generator is a task run too"


def test_one_item_that_fails_leaves_the_others(home):
    @task
    def odd(i: int) -> int:
        if i % 2 == 0:
            raise ValueError(i)
        return i

    @flow
    def f() -> list[str]:
        return [str(future.exception() or future.result()) for future in odd.map(range(4)).futures]

    assert f() == ["0", "1", "2", "3"]


def test_a_map_of_async_tasks_over_a_longer_map_of_async_tasks_ends(home):
    import asyncio

    @task
    async def one(i: int) -> int:
        await asyncio.sleep(0)
        return i

    @task
    async def two(i: int) -> int:
        return i + 1

    @flow
    async def f(n: int) -> int:
        return sum(await two.map(one.map(range(n))))

    assert asyncio.run(asyncio.wait_for(f(700), 60)) == sum(range(1, 701))


def test_a_map_of_sync_tasks_in_an_async_flow(home):
    import asyncio

    @flow
    async def f() -> list[int]:
        first = await inc.map(range(3))
        return [*first, *await inc.map(inc.map([7]))]

    assert asyncio.run(f()) == [1, 2, 3, 9]
