"""Calling, submitting, passing on: what the body of a flow may do with tasks."""

from __future__ import annotations

import contextvars
import threading

import pytest

from ostinato import Retry, current, flow, task
from ostinato.errors import DefinitionError, RunFailedError, TypeMismatchError, UpstreamError, UsageError


@task
def inc(x: int) -> int:
    return x + 1


@task
def add(a: int, b: int = 10) -> int:
    return a + b


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def boom(why: str = "boom") -> int:
    raise KeyError(why)


def test_a_task_outside_a_flow_is_just_its_function():
    assert inc(1) == 2
    with pytest.raises(UsageError, match="outside a flow"):
        inc.submit(1)
    with pytest.raises(UsageError, match="outside a flow"):
        inc.map([1])


def test_a_call_runs_the_task_and_returns_its_value(home):
    @flow
    def f(n: int) -> int:
        return add(inc(n), b=inc(5))

    assert f(1) == 8
    assert home.states() == {"inc": ["succeeded"] * 2, "add": ["succeeded"]}
    assert home.last().state == "succeeded"


def test_a_submit_returns_a_future_that_resolves_where_it_is_passed_on(home):
    @flow
    def f() -> int:
        first = inc.submit(1)
        nested = total.submit([first, inc.submit(2), 3])
        return add(nested, b=first)

    assert f() == 2 + 3 + 3 + 2
    rows = {row.seq: row for row in home.task_runs()}
    sums = [row for row in rows.values() if row.task.endswith("total")]
    assert sums[0].upstream is not None
    assert [rows[int(s)].task.rpartition(".")[2] for s in sums[0].upstream.replace("-", ",").split(",")] == [
        "inc",
        "inc",
    ]


def test_futures_resolve_inside_dicts_tuples_and_sets(home):
    @task
    def show(value: object) -> str:
        return repr(value)

    @flow
    def f() -> list[str]:
        x = inc.submit(1)
        return [show({"a": [x, {"b": x}]}), show((x, 0)), show(["untouched", {1: 2}])]

    assert f() == ["{'a': [2, {'b': 2}]}", "(2, 0)", "['untouched', {1: 2}]"]


def test_futures_say_how_they_stand(home):
    @flow
    def f() -> list[object]:
        good, bad = inc.submit(1), boom.submit()
        error = bad.exception()
        return [good.result(), good.done(), str(good.state), good.exception(), type(error).__name__, str(bad.state)]

    assert f() == [2, True, "succeeded", None, "KeyError", "failed"]


def test_a_result_that_takes_too_long_is_waited_for_no_longer_and_goes_on(home):
    go = threading.Event()

    @task
    def slow() -> int:
        assert go.wait(20)
        return 7

    @flow
    def f() -> int:
        future = slow.submit()
        with pytest.raises(TimeoutError, match="goes on"):
            future.result(timeout=0.01)
        go.set()
        return future.result()

    assert f() == 7


def test_wait_for_orders_without_data(home):
    order = []

    @task
    def note(name: str) -> None:
        order.append(name)

    @flow
    def f() -> None:
        gate = threading.Event()

        @task
        def held() -> None:
            assert gate.wait(20)
            order.append("held")

        first = held.submit()
        note.with_options(wait_for=[first]).submit("after")
        note("before")
        gate.set()

    f()
    assert order == ["before", "held", "after"]


def test_wait_for_what_failed_skips_the_call(home):
    @flow
    def f() -> str:
        bad = boom.submit()
        try:
            inc.with_options(wait_for=[bad])(1)
        except UpstreamError as error:
            assert bad.exception() is not None
            return str(error)
        return ""

    assert "boom" in f()
    assert home.states()["inc"] == ["skipped"]


def test_options_of_a_call_do_not_touch_the_task():
    other = inc.with_options(name="plus one", retry=2)
    assert (other.key, inc.key) == ("plus one", "test_calls.inc")
    assert other.options.retry == Retry(2)
    assert inc.options.retry is None
    with pytest.raises(DefinitionError, match="timeout"):
        inc.with_options(timeout=-1)


def test_nested_tasks_are_children(home):
    @task
    def outer(n: int) -> int:
        return inc(n) + inc.submit(n + 1).result() + sum(inc.map([n, n]))

    @flow
    def f() -> int:
        return outer(1)

    assert f() == 2 + 3 + 4
    rows = home.task_runs()
    (parent,) = (row for row in rows if row.task.endswith("outer"))
    assert [row.parent_seq for row in rows if row is not parent] == [parent.seq] * 4


@pytest.mark.parametrize("slots", [1, 2])
def test_deep_nesting_does_not_deadlock_on_few_slots(home, monkeypatch, slots):
    monkeypatch.setenv("OSTINATO_SLOTS", str(slots))

    @task
    def deep(n: int) -> int:
        return 0 if n == 0 else 1 + deep.submit(n - 1).result()

    @task
    def wide(n: int) -> int:
        return n if n == 0 else sum(wide.map([n - 1, n - 1]))

    @flow
    def f() -> int:
        return deep.submit(12).result() + wide.submit(3).result()

    assert f() == 12


def test_nested_tasks_of_an_executor_that_is_not_the_flows_do_not_deadlock(home, monkeypatch):
    monkeypatch.setenv("OSTINATO_SLOTS", "1")

    @task(executor="threads")
    def deep(n: int) -> int:
        return 0 if n == 0 else 1 + deep.submit(n - 1).result()

    @flow(executor="processes")
    def f() -> int:
        return deep.submit(4).result()

    assert f() == 4


def test_a_flow_called_in_a_submitted_task_does_not_deadlock_on_one_slot(home, monkeypatch):
    monkeypatch.setenv("OSTINATO_SLOTS", "1")

    @flow
    def inner(n: int) -> int:
        return inc.submit(n).result() + sum(inc.map([n]))

    @task
    def outer(n: int) -> int:
        return inner(n)

    @flow
    def f() -> int:
        return outer.submit(1).result()

    assert f() == 4


def test_inline_submits_run_in_order_and_do_not_deadlock_when_nested(home):
    order = []

    @task
    def one(n: int) -> int:
        order.append(("one", n, threading.current_thread() is threading.main_thread()))
        return n

    @task
    def two(n: int) -> int:
        order.append(("two", n, threading.current_thread() is threading.main_thread()))
        return inc(n)

    @flow(executor="inline")
    def f() -> int:
        return sum(future.result() for future in [two.submit(one.submit(n)) for n in range(20)])

    assert f() == sum(range(1, 21))
    assert order == [(name, n, True) for n in range(20) for name in ("one", "two")]


def test_a_failure_nobody_looked_at_fails_the_run(home):
    @flow
    def f() -> int:
        boom.submit("lost")
        return 1

    with pytest.raises(KeyError, match="lost"):
        f()
    assert home.last().state == "failed"


def test_several_failures_nobody_looked_at_are_named(home):
    @flow
    def f() -> int:
        boom.map(["a", "b"])
        return 1

    with pytest.raises(RunFailedError, match="2 task runs failed: boom"):
        f()


def test_a_failure_that_was_looked_at_does_not(home):
    @flow
    def f() -> int:
        assert isinstance(boom.submit().exception(), KeyError)
        try:
            boom("here")
        except KeyError:
            return 1
        return 0

    assert f() == 1
    assert home.last().state == "succeeded"


def test_a_failure_that_is_not_critical_is_shown_and_fails_nothing(home):
    @flow
    def f() -> object:
        soft = boom.with_options(critical=False)
        soft.submit("x")
        return soft("y")

    assert f() is None
    assert home.last().state == "succeeded"
    assert home.states()["boom"] == ["failed"] * 2


def test_a_flow_may_return_futures(home):
    @flow
    def one() -> int:
        return inc.submit(1)  # type: ignore[return-value]

    @flow
    def several() -> dict[str, list[int]]:
        return {"a": [inc.submit(1), inc.submit(2)], "b": inc.map([3])}  # type: ignore[dict-item,list-item]

    assert one() == 2
    assert several() == {"a": [2, 3], "b": [4]}


def test_wrong_arguments_are_refused_before_a_task_run_exists(home):
    @flow
    def f() -> None:
        inc(1, nonsense=2)

    with pytest.raises(TypeMismatchError, match="cannot be called like this"):
        f()
    assert home.task_runs() == []


def test_an_argument_of_a_wrong_type_names_where_it_came_from(home):
    @task
    def text() -> str:
        return "no number"

    @flow
    def f() -> int:
        return inc(text.submit())

    with pytest.raises(TypeMismatchError, match=r"argument 'x' must be int, got .*, the result of test_calls.*text"):
        f()


def test_a_result_of_a_wrong_type_fails_its_task(home):
    @task
    def liar() -> int:
        return "text"  # type: ignore[return-value]

    @flow
    def f() -> int:
        return liar()

    with pytest.raises(TypeMismatchError, match="must return int"):
        f()
    assert home.states()["liar"] == ["failed"]
    assert f.with_options(types="off")() == "text"


def test_generators_are_refused_as_tasks():
    with pytest.raises(DefinitionError, match="generator"):

        @task
        def gen():
            yield 1


def test_a_foreign_thread_is_outside_of_the_run_unless_it_is_given_the_context(home):
    found = {}

    @flow
    def f() -> None:
        def call(name):
            found[name] = (inc(1), bool(current))

        context = contextvars.copy_context()
        for thread in (
            threading.Thread(target=call, args=("bare",)),
            threading.Thread(target=context.run, args=(call, "given")),
        ):
            thread.start()
            thread.join()

    f()
    assert found == {"bare": (2, False), "given": (2, True)}
    assert len(home.task_runs()) == 1


def test_calls_from_many_threads_are_all_task_runs_once(home):
    @flow
    def f() -> int:
        results = []
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(lambda i=i: results.append(inc(i)),))
            for i in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(results)

    assert f() == sum(range(1, 21))
    assert len({row.id for row in home.task_runs()}) == 20


def test_equal_calls_are_different_task_runs(home):
    @flow
    def f() -> int:
        return inc(1) + inc(1) + sum(inc.map([1, 1]))

    assert f() == 8
    rows = home.task_runs()
    assert len({row.id for row in rows}) == len({row.key for row in rows}) == 4


def test_a_call_with_a_key_of_its_own_is_found_by_it(home):
    @flow
    def f() -> int:
        return inc.with_options(key="mine")(1)

    f()
    assert [row.key for row in home.task_runs()] == ["mine"]


def test_a_long_chain_of_submits_ends(home):
    @flow
    def f() -> int:
        future = inc.submit(0)
        for _ in range(400):
            future = inc.submit(future)
        return future.result()

    assert f() == 401


def test_a_task_that_exits_the_interpreter_fails_and_hangs_nothing(home):
    @task
    def leave() -> None:
        raise SystemExit(3)

    @flow
    def f() -> None:
        leave.submit().result()

    with pytest.raises(SystemExit):
        f()
    assert home.last().state == "failed"
