"""What a run that is gone on with gives back: values, exceptions, state, journaled times."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from tests.inside import Faulty

from ostinato import Skip, current, flow, now, random, task, uuid4
from ostinato.errors import ResultError, StoreError


class OwnError(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code


@pytest.fixture
def crash(home):
    """Run a flow until it asks for the crash: from then on no commit succeeds."""

    def run(made):
        home.faulty = Faulty(home.open())
        with pytest.raises(StoreError):
            home.run(made, store=home.faulty)
        assert home.last().state == "crashed"

    return run


def test_recorded_failures_are_raised_again_with_their_own_type(home, crash):
    seen = []

    @task
    def bad() -> None:
        seen.append("bad")
        raise OwnError(7, "no")

    @task
    def good() -> str:
        if len(seen) == 1:
            home.faulty.down = True
        return "good"

    @flow
    def f() -> tuple[int, str]:
        try:
            bad()
        except OwnError as error:
            return error.code, good()
        return 0, ""

    crash(f)
    assert home.resume(f) == (7, "good")
    assert seen == ["bad"]


def test_times_and_random_values_are_those_of_the_first_pass(home, crash):
    made = []

    @task
    def use(*values: object) -> None:
        made.append(values)
        home.faulty.down = len(made) == 2

    @flow
    def f() -> list[object]:
        found = [now(), uuid4(), random(), random()]
        use(*found)
        use("again")
        return found

    crash(f)
    first = made[0]
    home.faulty.down = False
    assert tuple(home.resume(f)) == first
    assert len(set(first)) == 4
    assert [values for values in made if values == first] == [first], "the call with them is found again"


def test_state_survives_a_crash_inside_the_task(home, crash):
    seen = []

    @task
    def job() -> str:
        seen.append(dict(current.state))
        if "id" not in current.state:
            current.state["id"] = {"job": 1}
            current.state["gone"] = 1
            del current.state["gone"]
            home.faulty.down = True
        return f"{current.state['id']} {current.attempt}"

    @flow
    def f() -> str:
        return job()

    crash(f)
    assert home.resume(f) == "{'job': 1} 2"
    assert seen == [{}, {"id": {"job": 1}}]


def test_an_idempotency_key_is_the_same_over_retries_and_recoveries_and_new_after_a_clear(home, crash):
    keys = []

    @task(retry=1)
    def send() -> None:
        keys.append(current.idempotency_key)
        if len(keys) == 1:
            raise ConnectionError
        home.faulty.down = len(keys) == 2

    @flow
    def f() -> None:
        send()

    crash(f)
    home.faulty.down = False
    home.resume(f)
    assert len(keys) == 3
    assert len(set(keys)) == 1
    with home.session() as (session, passes):
        run = session.store.reopen(home.last().id, session.worker_id, clear=[0])
        passes.run_here(run, f, {})
    assert len(set(keys)) == 2


def test_what_is_not_persisted_runs_again_and_what_depends_on_it_does_not(home, crash):
    seen = []

    @task(persist=False)
    def client() -> list[int]:
        seen.append("client")
        return [1]

    @task
    def use(client: list[int]) -> int:
        seen.append("use")
        return len(client)

    @task
    def last() -> None:
        seen.append("last")
        home.faulty.down = seen.count("last") == 1

    @flow
    def f() -> int:
        found = use(client())
        last()
        return found

    crash(f)
    assert home.resume(f) == 1
    assert seen == ["client", "use", "last", "client", "last"]


def test_a_result_that_cannot_be_stored_fails_its_task_and_says_what_to_do(home):
    @task
    def lock() -> object:
        return threading.Lock()

    @flow
    def f() -> object:
        return lock()

    with pytest.raises(ResultError, match=r"persist=False"):
        f()
    assert home.states() == {"lock": ["failed"]}


def test_a_value_that_is_not_persisted_may_be_anything(home):
    @task(persist=False)
    def lock() -> object:
        return threading.Lock()

    @flow
    def f() -> bool:
        return lock().acquire() and lock.submit().result().acquire()

    assert f() is True


def test_large_results_go_through_the_result_store(home, crash):
    seen = []

    @task
    def big(i: int) -> bytes:
        seen.append(i)
        return bytes([i]) * 300_000

    @task
    def last() -> None:
        home.faulty.down = not seen.count("down")
        seen.append("down")

    @flow
    def f() -> list[int]:
        blobs = [big(1), *big.map([2, 3])]
        last()
        return [len(set(blob)) * len(blob) for blob in blobs]

    crash(f)
    assert home.resume(f) == [300_000] * 3
    assert sorted(i for i in seen if i != "down") == [1, 2, 3]
    assert all(len(row.result) < 1000 for row in home.task_runs() if row.result)


def test_a_large_result_that_is_gone_is_made_again(home, crash, caplog):
    import shutil

    seen = []

    @task
    def big() -> bytes:
        seen.append("big")
        return bytes(300_000)

    @task
    def last() -> None:
        seen.append("last")
        home.faulty.down = seen.count("last") == 1

    @flow
    def f() -> int:
        size = len(big())
        last()
        return size

    crash(f)
    shutil.rmtree(home.path / "results")
    with caplog.at_level(logging.WARNING):
        assert home.resume(f) == 300_000
    assert seen.count("big") == 2
    assert "runs again" in caplog.text


def test_skips_and_conditions_are_found_again(home, crash):
    seen = []

    @task
    def maybe() -> object:
        seen.append("maybe")
        return Skip("not today")

    @task
    def last() -> None:
        seen.append("last")
        home.faulty.down = seen.count("last") == 1

    @flow
    def f() -> object:
        found = maybe()
        last()
        return found.why

    crash(f)
    assert home.resume(f) == "not today"
    assert seen.count("maybe") == 1


def test_a_child_run_goes_on_inside_its_parent(home, crash):
    seen = []

    @task
    def step(i: int) -> int:
        seen.append(i)
        home.faulty.down = i == 12 and seen.count(12) == 1
        return i

    @flow
    def child(base: int) -> int:
        return sum(step(base + i) for i in range(4))

    @flow
    def parent() -> int:
        return child(0) + child(10) + child(20)

    crash(parent)
    assert home.resume(parent) == 6 + 46 + 86
    assert seen == [0, 1, 2, 3, 10, 11, 12, 12, 13, 20, 21, 22, 23]
    assert {run.state for run in home.runs(top_level=False)} == {"succeeded"}
    assert len(home.runs(top_level=False)) == 4


def test_an_async_child_run_goes_on(home, crash):
    seen = []

    @task
    async def step(i: int) -> int:
        seen.append(i)
        home.faulty.down = i == 2 and seen.count(2) == 1
        return i

    @flow
    async def child(base: int) -> int:
        return sum([await step(base + i) for i in range(4)])

    @flow
    async def parent() -> int:
        return sum(await asyncio.gather(child(0)))

    crash(parent)
    assert home.resume(parent) == 6
    assert seen == [0, 1, 2, 2, 3]


def test_a_retry_runs_failures_again_and_a_recovery_does_not(home):
    seen = []

    @task
    def bad() -> int:
        seen.append("bad")
        if len(seen) == 2:
            raise ValueError
        return 5

    @task
    def good() -> int:
        seen.append("good")
        return 1

    @flow
    def f() -> int:
        return good() + bad()

    with pytest.raises(ValueError):  # noqa: PT011
        home.run(f)
    assert home.resume(f, retry=True) == 6
    assert seen == ["good", "bad", "bad"]
    (row,) = [row for row in home.task_runs() if row.task.endswith("bad")]
    assert (row.attempt, row.state) == (2, "succeeded")


def test_a_chain_that_is_cleared_keeps_its_results_when_nothing_changed(home):
    """Early cut-off, over a chain that is longer than the interpreter's stack."""
    seen = []

    @task
    def first() -> int:
        seen.append("first")
        return 0

    @task
    def inc(x: int) -> int:
        seen.append("inc")
        return x + 1

    @flow
    def f() -> int:
        future = first.submit()
        for _ in range(300):
            future = inc.submit(future)
        return future.result()

    assert home.run(f) == 300
    seen.clear()
    with home.session() as (session, passes):
        rows = session.store.list_task_runs(home.last().id)
        run = session.store.reopen(
            home.last().id, session.worker_id, clear=[0], stale=[row.seq for row in rows if row.seq], attempt=True
        )
        assert passes.run_here(run, f, {}) == 300
    assert seen == ["first"]


def test_a_changed_result_runs_what_depends_on_it(home):
    seen, base = [], [0]

    @task
    def first() -> int:
        return base[0]

    @task
    def second(x: int) -> int:
        seen.append(("second", x))
        return x // 10

    @task
    def third(x: int) -> int:
        seen.append(("third", x))
        return x

    @flow
    def f() -> int:
        return third(second(first()))

    def rerun():
        seen.clear()
        with home.session() as (session, passes):
            run = session.store.reopen(home.last().id, session.worker_id, clear=[0], stale=[1, 2], attempt=True)
            return passes.run_here(run, f, {})

    home.run(f)
    base[0] = 5
    assert rerun() == 0
    assert seen == [("second", 5)], "its own result is equal again, so the third keeps its"
