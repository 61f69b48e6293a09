"""One task run's life, played by hand command by command."""

from __future__ import annotations

import msgspec
import pytest

from ostinato.clock import SECOND
from ostinato.engine.lifecycle import Acquire, Execute, Hit, Lookup, Pause, Release, Result, Save, live
from ostinato.engine.memo import attempt_of
from ostinato.engine.rules import WHEN, Rules
from ostinato.errors import TaskFailedError, TaskTimeoutError
from ostinato.future import Settled
from ostinato.outcomes import Cancel, Cancelled, LeaseLost, Skip, Snooze, TimedOut, Withdrawn
from ostinato.records import CacheEntry, TaskRun
from ostinato.retry import Retry
from ostinato.states import State, allowed


def a_row(**fields):
    values = {"run_id": "r", "seq": 3, "id": "i", "task": "m.f", "key": "k", "state": State.RUNNING, "epoch": 2,
              "created_at": 100} | fields  # fmt: skip
    return TaskRun(**values)


def ok(value=1, **fields):
    return Result(
        **({"started_at": 110, "finished_at": 120, "value": value, "stored": b"m1", "fp": b"f" * 16} | fields)
    )


def bad(error, **fields):
    return Result(started_at=110, finished_at=120, error=error, stored=b"e", **fields)


def play(life, *answers):
    """Send answers in; return the commands that came, and how it ended. An exception is thrown in."""
    commands, answers = [], list(answers)
    try:
        commands.append(next(life))
        while answers:
            answer = answers.pop(0)
            commands.append(life.throw(answer) if isinstance(answer, BaseException) else life.send(answer))
    except StopIteration as end:
        assert not answers, f"it ended before it took {answers}"
        _check_moves(commands)
        return commands, end.value
    _check_moves(commands)
    return commands, None


def _check_moves(commands):
    """No state is left or entered that the table does not allow."""
    state = State.RUNNING
    for command in commands:
        if isinstance(command, Execute) and state is not State.RUNNING:
            assert allowed(state, State.RUNNING)
            state = State.RUNNING
        if isinstance(command, Save):
            (row,) = command.entries.task_runs
            assert row == command.row
            assert allowed(state, row.state)
            state = row.state


def kinds(commands):
    return [type(command).__name__ for command in commands]


def test_a_success_is_saved_before_it_is_told():
    life = live(a_row(), Rules())
    assert isinstance(next(life), Execute)
    save = life.send(ok(blob="abc"))
    row = save.row
    assert (row.state, row.result, row.result_fp, row.started_at, row.finished_at) == (
        State.SUCCEEDED, b"m1", b"f" * 16, 110, 120,
    )  # fmt: skip
    assert list(save.entries.blobs) == ["abc"]
    assert not save.entries.attempts
    with pytest.raises(StopIteration) as end:
        life.send(None)
    assert (end.value.value.state, end.value.value.value, end.value.value.changed) == (State.SUCCEEDED, 1, True)


def test_a_save_that_fails_is_the_end_and_nothing_is_told():
    life = live(a_row(), Rules())
    next(life)
    life.send(ok())
    with pytest.raises(OSError, match="gone"):
        life.throw(OSError("gone"))


def test_a_retry_is_saved_then_waited_for_then_run_with_the_next_number():
    rules = Rules(retry=Retry(2, delay=10, backoff=3, jitter=0.5))
    commands, settled = play(
        live(a_row(), rules), bad(ValueError("1"), chance=1.0), None, None, bad(ValueError("2"), chance=0.5), None, None,
        ok(), None,
    )  # fmt: skip
    assert kinds(commands) == ["Execute", "Save", "Pause", "Execute", "Save", "Pause", "Execute", "Save"]
    assert [command.due_at - 120 for command in commands if isinstance(command, Pause)] == [15 * SECOND, 30 * SECOND]
    assert [command.row.attempt for command in commands if isinstance(command, Execute)] == [1, 2, 3]
    waiting = commands[1]
    assert (waiting.row.state, waiting.row.failures, waiting.settled) == (State.RETRYING, 1, None)
    (attempt,) = waiting.entries.attempts
    assert (attempt.attempt, attempt.state, attempt.started_at, attempt.finished_at) == (1, State.FAILED, 110, 120)
    assert commands[-1].row.error is None
    assert settled.state is State.SUCCEEDED


def test_retries_end_with_the_last_error():
    commands, settled = play(
        live(a_row(), Rules(retry=Retry(1))), bad(ValueError("1")), None, None, bad(KeyError("2")), None
    )
    assert kinds(commands) == ["Execute", "Save", "Pause", "Execute", "Save"]
    assert isinstance(settled.error, KeyError)
    assert (settled.state, commands[-1].row.failures, commands[-1].row.result) == (State.FAILED, 2, b"e")


def test_failures_of_former_passes_count():
    commands, _ = play(live(a_row(failures=1, attempt=2), Rules(retry=Retry(1))), bad(ValueError()), None)
    assert kinds(commands) == ["Execute", "Save"]


def test_a_snooze_waits_and_counts_no_failure():
    commands, settled = play(live(a_row(), Rules()), ok(Snooze(7)), None, None, ok(2), None)
    assert kinds(commands) == ["Execute", "Save", "Pause", "Execute", "Save"]
    assert (commands[1].row.state, commands[1].row.reason, commands[2].due_at) == (
        State.WAITING, "snoozed", 120 + 7 * SECOND,
    )  # fmt: skip
    assert [a.state for a in commands[1].entries.attempts] == [State.SUCCEEDED]
    assert (commands[-1].row.failures, commands[-1].row.attempt, settled.value) == (0, 2, 2)


@pytest.mark.parametrize(("value", "state"), [(Skip("w"), State.SKIPPED), (Cancel("w"), State.CANCELLED)])
def test_a_task_may_return_how_it_ended(value, state):
    commands, settled = play(live(a_row(), Rules(cache_key="c", retry=Retry(3))), None, ok(value), None)
    save = commands[-1]
    assert (save.row.state, save.row.reason) == (state, "returned")
    assert not save.entries.cached
    assert settled.unwrap() == value


def test_gates_are_held_only_while_it_executes():
    gates = (("a", 1), ("b", 2))
    commands, _ = play(live(a_row(), Rules(gates=gates, retry=Retry(1))), None, bad(ValueError()), None, None, None, None,
                       ok(), None, None)  # fmt: skip
    assert kinds(commands) == [
        "Acquire", "Execute", "Release", "Save", "Pause", "Acquire", "Execute", "Release", "Save",
    ]  # fmt: skip
    assert all(c.gates == gates for c in commands if isinstance(c, (Acquire, Release)))


@pytest.mark.parametrize("error", [Cancelled("x"), LeaseLost("y"), OSError("z")])
def test_gates_are_given_back_when_the_attempt_is_torn_away(error):
    life = live(a_row(), Rules(gates=(("a", 1),)))
    next(life)
    life.send(None)
    assert isinstance(life.throw(error), Release)
    with pytest.raises(type(error)):
        life.send(None)


def test_nothing_is_released_that_was_not_taken():
    life = live(a_row(), Rules(gates=(("a", 1),)))
    next(life)
    with pytest.raises(Cancelled):
        life.throw(Cancelled("while standing in line"))


def test_a_cached_result_is_taken_without_running():
    entry = CacheEntry(key="c", run_id="other", task="m.f", seq=9, result=b"m5", result_fp=b"g" * 16, created_at=1)
    commands, settled = play(live(a_row(), Rules(cache_key="c", gates=(("a", 1),))), Hit(entry, 5), None)
    assert kinds(commands) == ["Lookup", "Save"]
    row = commands[1].row
    assert (row.state, row.reason, row.result, row.result_fp) == (State.SUCCEEDED, "cached", b"m5", b"g" * 16)
    assert "other" in commands[1].entries.events[0].data
    assert settled.value == 5


def test_a_miss_runs_and_is_kept_for_others():
    commands, _ = play(live(a_row(), Rules(cache_key="c", cache_expires=50)), None, ok(), None)
    assert kinds(commands) == ["Lookup", "Execute", "Save"]
    assert isinstance(commands[0], Lookup)
    (entry,) = commands[-1].entries.cached
    assert (entry.key, entry.result, entry.created_at, entry.expires_at, entry.seq) == ("c", b"m1", 120, 170, 3)


def test_a_timeout_is_a_failure_with_its_reason_and_is_retried():
    commands, settled = play(
        live(a_row(), Rules(retry=Retry(1, on=TimeoutError))), bad(TimedOut("too long")), None, None,
        bad(TimedOut("again")), None,
    )  # fmt: skip
    assert (commands[1].row.state, commands[1].row.reason) == (State.RETRYING, "timed_out")
    assert (commands[-1].row.state, commands[-1].row.reason) == (State.FAILED, "timed_out")
    assert isinstance(settled.error, TaskTimeoutError)


def test_a_lost_process_is_retried_whatever_the_policy_is_for_and_is_a_crash_in_the_end():
    lost = Result(started_at=1, finished_at=2, lost="killed by signal 9")
    commands, settled = play(live(a_row(), Rules(retry=Retry(1, on=KeyError))), lost, None, None,
                             msgspec.structs.replace(lost), None)  # fmt: skip
    assert kinds(commands) == ["Execute", "Save", "Pause", "Execute", "Save"]
    assert (settled.state, settled.reason) == (State.CRASHED, "lost")
    assert isinstance(settled.error, TaskFailedError)


@pytest.mark.parametrize("error", [Cancelled("c"), Withdrawn("w")])
def test_a_cancelled_attempt_is_saved_and_not_retried(error):
    commands, settled = play(live(a_row(), Rules(retry=Retry(9))), bad(error), None)
    assert kinds(commands) == ["Execute", "Save"]
    assert (settled.state, settled.reason) == (State.CANCELLED, "cancelled")


def test_a_lost_lease_writes_nothing():
    life = live(a_row(), Rules(retry=Retry(9)))
    next(life)
    with pytest.raises(LeaseLost):
        life.send(bad(LeaseLost("gone")))


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_what_is_no_exception_is_not_retried(error):
    commands, _ = play(live(a_row(), Rules(retry=Retry(9, on=BaseException))), bad(error), None)
    assert kinds(commands) == ["Execute", "Save"]
    assert commands[-1].row.state is State.FAILED


UPSTREAM = {
    "ok": Settled(task="m.a", seq=0, state=State.SUCCEEDED),
    "fail": Settled(task="m.b", seq=1, state=State.FAILED, error=ValueError()),
    "crash": Settled(task="m.b", seq=1, state=State.CRASHED),
    "skip": Settled(task="m.c", seq=2, state=State.SKIPPED, reason="returned"),
    "cancel": Settled(task="m.d", seq=3, state=State.CANCELLED, reason="cancelled"),
    "of fail": Settled(task="m.e", seq=4, state=State.SKIPPED, reason="upstream_failed"),
    "of cancel": Settled(task="m.f", seq=5, state=State.SKIPPED, reason="upstream_cancelled"),
    "of skip": Settled(task="m.g", seq=6, state=State.SKIPPED, reason="upstream_skipped"),
}


@pytest.mark.parametrize(
    ("when", "ups", "reason"),
    [
        ("all_succeeded", "ok,fail", "upstream_failed"), ("all_succeeded", "crash", "upstream_failed"),
        ("all_succeeded", "of fail", "upstream_failed"), ("all_succeeded", "skip", "upstream_skipped"),
        ("all_succeeded", "of skip", "upstream_skipped"), ("all_succeeded", "cancel", "upstream_cancelled"),
        ("all_succeeded", "of cancel", "upstream_cancelled"), ("all_succeeded", "skip,cancel,fail", "upstream_failed"),
        ("one_failed", "ok", "rule_unmet"), ("all_failed", "ok,fail", "rule_unmet"), ("all_skipped", "ok", "rule_unmet"),
        ("none_failed", "of fail", "upstream_failed"), ("any_succeeded", "skip", "upstream_skipped"),
        ("none_skipped", "skip,ok", "upstream_skipped"),
    ],
)  # fmt: skip
def test_an_unmet_rule_skips_with_the_reason_and_never_executes(when, ups, reason):
    upstream = [UPSTREAM[name] for name in ups.split(",")]
    commands, settled = play(live(a_row(), Rules(when=when, cache_key="c", gates=(("a", 1),)), upstream), None)
    assert kinds(commands) == ["Save"]
    assert (settled.state, settled.reason) == (State.SKIPPED, reason)


@pytest.mark.parametrize("when", WHEN)
def test_every_rule_lets_a_call_without_upstream_run(when):
    assert isinstance(next(live(a_row(), Rules(when=when))), Execute)


def test_an_earlier_attempt_is_kept_once():
    earlier = attempt_of(a_row(state=State.CRASHED, started_at=5))
    commands, _ = play(
        live(a_row(attempt=2), Rules(retry=Retry(1)), earlier=earlier), bad(ValueError()), None, None, ok(), None
    )
    kept = [attempt for command in commands if isinstance(command, Save) for attempt in command.entries.attempts]
    assert [attempt.attempt for attempt in kept] == [1, 2]


def test_an_equal_result_has_not_changed():
    for old, changed in ((b"f" * 16, False), (b"x" * 16, True), (None, True)):
        _, settled = play(live(a_row(), Rules(), old_fp=old), ok(), None)
        assert settled.changed is changed
    _, settled = play(live(a_row(), Rules(), old_fp=b"f" * 16), ok(fp=None), None)
    assert settled.changed, "what cannot be compared has changed"
