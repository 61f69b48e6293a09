"""Trigger rules through real runs, and what tasks may return instead of a result."""

from __future__ import annotations

import pytest

from ostinato import Cancel, Skip, Snooze, current, flow, task
from ostinato.engine.rules import WHEN
from ostinato.errors import UpstreamError


@task
def end(how: str) -> object:
    if how == "fail":
        raise RuntimeError("failed")
    return {"skip": Skip("nothing"), "cancel": Cancel("enough")}.get(how, 1)


@task
def join(parts: list[object]) -> str:
    return ",".join(type(part).__name__ for part in parts)


RUNS = {
    # rule: which of these upstream ends let it run
    "all_succeeded": {"ok ok"},
    "all_failed": {"fail fail"},
    "all_done": {"ok ok", "ok fail", "fail fail", "ok skip", "skip skip", "ok cancel"},
    "all_skipped": {"skip skip"},
    "any_succeeded": {"ok ok", "ok fail", "ok skip", "ok cancel"},
    "one_failed": {"ok fail", "fail fail"},
    "none_failed": {"ok ok", "ok skip", "skip skip", "ok cancel"},
    "none_failed_any_succeeded": {"ok ok", "ok skip", "ok cancel"},
    "none_skipped": {"ok ok", "ok fail", "fail fail", "ok cancel"},
}


def test_every_trigger_rule_is_in_the_table():
    assert set(RUNS) == set(WHEN)


@pytest.mark.parametrize("when", WHEN)
def test_a_trigger_rule_lets_run_what_it_says(home, when):
    @flow
    def f(ends: list[str]) -> str:
        ups = [end.submit(how) for how in ends]
        try:
            return join.with_options(when=when)(ups)
        except UpstreamError:
            [up.exception() for up in ups]
            return "did not run"

    for ends in sorted(RUNS["all_done"]):
        ran = f(ends.split()) != "did not run"
        assert ran == (ends in RUNS[when]), (when, ends)


def test_a_rule_that_lets_a_call_run_sees_to_the_failure(home):
    @flow
    def f() -> str:
        return join.with_options(when="all_done")([end.submit("fail"), end.submit("ok")])

    assert f() == "RuntimeError,int"
    assert home.last().state == "succeeded"


def test_what_depends_on_a_failure_is_skipped_with_the_reason(home):
    @flow
    def f() -> None:
        join.submit([join.submit([end.submit("fail")])])

    with pytest.raises(RuntimeError, match="failed"):
        f()
    assert [(row.state, row.reason) for row in home.task_runs() if row.task.endswith("join")] == [
        ("skipped", "upstream_failed")
    ] * 2


def test_what_depends_on_a_skip_or_cancel_is_skipped(home):
    @flow
    def f() -> list[object]:
        skipped, cancelled = end.submit("skip"), end.submit("cancel")
        join.submit([skipped])
        join.submit([cancelled])
        return [skipped.result(), cancelled.result()]

    assert f() == [Skip("nothing"), Cancel("enough")]
    assert [row.reason for row in home.task_runs() if row.task.endswith("join")] == [
        "upstream_skipped", "upstream_cancelled",
    ]  # fmt: skip
    assert home.last().state == "succeeded"


def test_a_flow_may_return_skip_or_cancel(home):
    @flow
    def f(how: str) -> object:
        return end(how)

    assert f("skip") == Skip("nothing")
    assert home.last().state == "skipped"
    f("cancel")
    assert home.last().state == "cancelled"


def test_a_snoozed_task_runs_again_and_has_not_failed(home):
    seen = []

    @task(retry=0)
    def later() -> object:
        seen.append(current.attempt)
        return Snooze(0.005) if len(seen) < 3 else "done"

    @flow
    def direct() -> object:
        return later()

    @flow
    def submitted() -> object:
        return later.submit().result()

    for body in (direct, submitted):
        seen.clear()
        assert body() == "done"
        assert seen == [1, 2, 3]
        (row,) = home.task_runs()
        assert (row.state, row.attempt, row.failures) == ("succeeded", 3, 0)
        assert [a.reason for a in home.attempts()] == ["snoozed", "snoozed"]
