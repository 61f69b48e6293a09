"""Flows: parameters, child runs, retries, timeouts, keys, hooks."""

from __future__ import annotations

import asyncio
import time

import pytest

from ostinato import Hooks, Retry, current, flow, task
from ostinato.errors import ParameterError, RunStateError, TaskTimeoutError


@task
def inc(x: int) -> int:
    return x + 1


def test_wrong_parameters_are_refused_before_a_run_exists_with_a_message_per_field(home):
    @flow
    def f(n: int, names: list[str] = ["a"]) -> int:  # noqa: B006
        return n

    for args, kwargs, fields in [
        (("x",), {}, {"n"}), ((), {}, {"n"}), ((1,), {"names": [1], "n2": 0}, None), (("x",), {"names": 3}, {"n", "names"}),
    ]:  # fmt: skip
        with pytest.raises(ParameterError) as raised:
            f(*args, **kwargs)
        if fields is not None:
            assert {name.partition(".")[0] for name in raised.value.fields} == fields
    assert not home.path.exists() or home.runs() == []


def test_futures_passed_to_a_child_flow_are_its_values(home):
    @flow
    def child(n: int, more: list[int]) -> int:
        return inc(n) + sum(more)

    @flow
    async def achild(n: int) -> int:
        return inc(n)

    @task
    async def ainc(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    @flow
    def parent() -> int:
        return child(inc.submit(1), more=inc.map([1, 2]))

    @flow
    async def aparent() -> int:
        return await achild(ainc.submit(4))

    assert parent() == 3 + 5
    assert asyncio.run(aparent()) == 6


def test_a_flow_in_a_flow_is_a_child_run(home):
    @flow
    def child(n: int) -> int:
        return inc(n)

    @flow
    async def achild(n: int) -> int:
        return inc(n)

    @flow
    def parent() -> int:
        return child(1) + child(1) + child(5)

    @flow
    async def aparent() -> int:
        return sum(await asyncio.gather(achild(1), achild(2))) + child(3)

    assert parent() == 2 + 2 + 6
    runs = home.runs(top_level=False)
    assert len(runs) == 4
    assert {run.parent_run_id for run in runs} == {None, home.last().id}
    assert [(row.kind, row.state) for row in home.task_runs()] == [("flow", "succeeded")] * 3
    assert asyncio.run(aparent()) == 2 + 3 + 4


def test_a_failing_child_run_fails_its_parent_unless_it_is_caught(home):
    @flow
    def child() -> None:
        raise LookupError("child")

    @flow
    def parent(catch: bool) -> str:  # noqa: FBT001
        try:
            child()
        except LookupError:
            if not catch:
                raise
        return "caught"

    assert parent(catch=True) == "caught"
    with pytest.raises(LookupError, match="child"):
        parent(catch=False)
    assert [run.state for run in home.runs(top_level=False)] == ["failed", "failed", "failed", "succeeded"]


def test_a_flow_is_tried_again_and_keeps_what_is_finished(home):
    seen = []

    @task
    def once(i: int) -> int:
        seen.append(i)
        return i

    @flow(retry=Retry(2, delay=0.001))
    def f() -> int:
        total = once(1) + once(2)
        if current.attempt < 3:
            raise ConnectionError
        return total + once(3)

    assert f() == 6
    assert seen == [1, 2, 3]
    run = home.last()
    assert (run.state, run.attempt) == ("succeeded", 3)


def test_a_failed_task_runs_again_when_its_flow_is_tried_again(home):
    seen = []

    @task
    def flaky() -> int:
        seen.append(1)
        if len(seen) == 1:
            raise ConnectionError
        return 1

    @flow(retry=1)
    def f() -> int:
        return flaky()

    assert f() == 1
    assert home.last().attempt == 2


@pytest.mark.parametrize("kind", ["body", "task", "submitted", "async", "child", "swallowed"])
def test_a_flow_is_stopped_by_its_timeout(home, kind):
    @task
    def busy() -> None:
        while True:
            time.sleep(0.001)

    @flow
    def child() -> None:
        busy()

    @flow(timeout=0.1)
    def f() -> object:
        if kind == "body":
            busy.fn()
        if kind == "child":
            child()
        if kind == "swallowed":
            try:
                busy()
            except Exception:
                return "swallowed"
        return busy() if kind == "task" else busy.submit().result()

    @flow(timeout=0.1)
    async def af() -> None:
        await asyncio.sleep(60)

    with pytest.raises(TaskTimeoutError, match="ran longer than its timeout of 0.1 s"):
        asyncio.run(af()) if kind == "async" else f()
    run = home.last()
    assert (run.state, run.reason) == ("failed", "timed_out")
    assert not [row for row in home.all_task_runs() if row.state.is_live]


def test_a_key_makes_a_run_once(home):
    seen = []

    @flow
    def f(fail: bool = False) -> int:  # noqa: FBT001, FBT002
        seen.append(1)
        if fail:
            raise ValueError
        return len(seen)

    keyed = f.with_options(key="k")
    assert [keyed(), keyed(), f()] == [1, 1, 2]
    with pytest.raises(ValueError):  # noqa: PT011
        f.with_options(key="other")(fail=True)
    with pytest.raises(RunStateError, match="has the key 'other' already and is failed"):
        f.with_options(key="other")()


def test_hooks_are_called_for_runs_and_task_runs(home):
    heard = []

    def hear(name):
        def hook(task, state, attempt, error, result):
            heard.append(
                (name, task.rpartition(".")[2] if task else None, state, attempt, type(error).__name__, result)
            )

        return hook

    names = ["started", "succeeded", "failed", "retrying", "cancelled", "skipped"]
    hooks = Hooks(**{name: hear(name) for name in names})

    @task(hooks=hooks, retry=1)
    def flaky() -> int:
        if current.attempt == 1:
            raise ConnectionError
        return 7

    @flow(hooks=hooks)
    def f() -> int:
        return flaky.submit().result()

    f()
    assert heard == [
        ("started", None, "running", 1, "NoneType", None),
        ("started", "flaky", "running", 1, "NoneType", None),
        ("retrying", "flaky", "retrying", 1, "NoneType", None),
        ("started", "flaky", "running", 2, "NoneType", None),
        ("succeeded", "flaky", "succeeded", 2, "NoneType", 7),
        ("succeeded", None, "succeeded", 1, "NoneType", 7),
    ]


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_hook_that_fails_changes_nothing(home, error):
    def bad():
        raise error

    hooks = Hooks(started=bad, succeeded=bad)
    noted = inc.with_options(hooks=hooks)

    @flow(hooks=hooks)
    def f() -> int:
        return noted(1) + noted.submit(2).result() + sum(noted.map([3, 4]))

    assert f() == 2 + 3 + 4 + 5
    assert home.last().state == "succeeded"


def test_current_knows_where_it_is(home):
    @task(tags=["t"])
    def look() -> dict[str, object]:
        return {name: getattr(current, name) for name in ("run_id", "flow", "task", "task_run_id", "attempt", "tags",
                "map_index", "idempotency_key", "scheduled_at", "partition")}  # fmt: skip

    @flow(tags=["f"])
    def f() -> list[dict[str, object]]:
        return [look(), look.map([]) if False else look.with_options(name="other")(), {"flow": current.tags}]

    (first, second, body), run = f(), home.last()
    rows = home.task_runs()
    assert (first["run_id"], first["flow"], first["task"], first["tags"]) == (run.id, "f", rows[0].task, ("t",))
    assert first["task_run_id"] == rows[0].id
    assert first["idempotency_key"] == f"{rows[0].id}-0"
    assert second["task"] == "other"
    assert body["flow"] == ("f",)
    assert not current
    with pytest.raises(RuntimeError, match="outside a run"):
        _ = current.run_id


def test_what_is_logged_and_printed_is_kept_per_task_run(home, capfd):
    @task
    def talk(i: int) -> None:
        print("printed", i)
        current.logger.warning("logged %s", i)

    @flow
    def f() -> None:
        talk.submit(1).result()
        talk(2)
        print("body")

    f()
    rows = {row.seq: row for row in home.task_runs()}
    lines = [(rows[line.seq].key if line.seq is not None else None, line.message) for line in home.log()]
    keys = [row.key for row in rows.values()]
    assert sorted(lines, key=str) == sorted(
        [(keys[0], "printed 1"), (keys[0], "logged 1"), (keys[1], "printed 2"), (keys[1], "logged 2"), (None, "body")],
        key=str,
    )
