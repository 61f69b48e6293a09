"""One task run's life, as a generator of commands: it decides, and whoever drives it acts.

```
live ─► (trigger rule unmet) ─► Save skipped
     ─► Lookup ─► (hit) ─► Save succeeded, reason cached
     ─► Acquire ─► Execute ─► Release ─► succeeded | failed | … ─► Save ─► the end
          ▲                       │
          └──── Pause ◄── Save ◄──┴─ retrying | waiting (snoozed)
```

It reads no clock and draws no lot: instants and chance come with the answers to its commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.engine.memo import attempt_of
from ostinato.engine.rules import reason_not_to_run
from ostinato.errors import TaskFailedError, TaskTimeoutError, UpstreamError
from ostinato.future import Settled
from ostinato.outcomes import Cancel, Cancelled, Skip, Snooze, Stop, TimedOut, failure_of
from ostinato.records import CacheEntry, Commit, Event, TaskRun
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ostinato.engine.rules import Rules
    from ostinato.records import Attempt

replace = msgspec.structs.replace


class Lookup(msgspec.Struct, frozen=True, gc=False):
    """Look for a cached result. Answer: a `Hit` or None."""

    key: str


class Acquire(msgspec.Struct, frozen=True, gc=False):
    """Take a slot at each of these gates, waiting for them. Answer: nothing."""

    gates: tuple[tuple[str, int], ...]


class Release(msgspec.Struct, frozen=True, gc=False):
    """Give the slots back. Answer: nothing."""

    gates: tuple[tuple[str, int], ...]


class Execute(msgspec.Struct, frozen=True, gc=False):
    """Run one attempt; note its row without waiting. Answer: a `Result`."""

    row: TaskRun


class Save(msgspec.Struct, frozen=True, gc=False):
    """Commit, and answer only when it is durable. Answer: nothing."""

    entries: Commit
    row: TaskRun
    settled: Settled | None
    """How it ended, when this is the end: for hooks and whoever looks on."""


class Pause(msgspec.Struct, frozen=True, gc=False):
    """Wait. Answer: nothing."""

    seconds: float


class Hit(msgspec.Struct, frozen=True):
    """A cached result, and its value."""

    entry: CacheEntry
    value: Any


class Result(msgspec.Struct, kw_only=True, gc=False):
    """What came of one attempt."""

    started_at: int
    finished_at: int
    chance: float = 0.5
    """A random number in [0, 1), for the jitter of a retry."""
    value: Any = None
    error: BaseException | None = None
    lost: str | None = None
    """What is known of the process that died under it."""
    stored: bytes | None = None
    """The encoded value, or the encoded exception."""
    blob: str | None = None
    fp: bytes | None = None
    inputs: bytes | None = None
    """The encoded inputs, where the row lacks them and the attempt failed."""


Command = Lookup | Acquire | Release | Execute | Save | Pause


def live(
    row: TaskRun,
    rules: Rules,
    upstream: Sequence[Settled] = (),
    *,
    earlier: Attempt | None = None,
    old_fp: bytes | None = None,
) -> Generator[Command, Any, Settled]:
    """Live one task run from its call to its end.

    Args:
        row: The task run, ``running``, as it is to be noted when it begins.
        rules: What its options say.
        upstream: How what it depends on ended.
        earlier: An attempt of a former pass that is not on record yet.
        old_fp: The fingerprint of the result it had before it was cleared.

    Returns:
        How it ended; committed.
    """
    kept: Sequence[Attempt] = () if earlier is None else (earlier,)
    why_not = reason_not_to_run(rules.when, upstream)
    if why_not is not None:
        message = _blame(why_not, upstream)
        error = UpstreamError(f"{row.task} did not run: {message}.")
        error.__cause__ = next((settled.error for settled in upstream if settled.error is not None), None)
        return (yield from _end(row, State.SKIPPED, why_not, kept, error=error, message=message))
    if rules.cache_key is not None and not rules.cache_refresh:
        hit = yield Lookup(rules.cache_key)
        if hit is not None:
            return (yield from _take(row, hit, kept, old_fp))
    while True:
        if rules.gates:
            yield Acquire(rules.gates)
        try:
            result: Result = yield Execute(row)
        finally:
            if rules.gates:
                yield Release(rules.gates)
        if isinstance(result.value, Snooze) and result.error is None:
            again = (State.WAITING, "snoozed", result.value.seconds)
        elif result.error is None and result.lost is None:
            return (yield from _succeed(row, result, rules, kept, old_fp))
        else:
            row, again_after = _fail(row, result, rules)
            if again_after is None:
                return (yield from _give_up(row, result, kept))
            again = (State.RETRYING, row.reason or "failed", again_after)
        ended = replace(row, started_at=result.started_at, finished_at=result.finished_at)
        row = yield from _again(ended, *again, kept)
        kept = ()


def _succeed(
    row: TaskRun, result: Result, rules: Rules, kept: Sequence[Attempt], old_fp: bytes | None
) -> Generator[Command, Any, Settled]:
    value, reason, state = result.value, None, State.SUCCEEDED
    if isinstance(value, (Skip, Cancel)):
        state = State.SKIPPED if isinstance(value, Skip) else State.CANCELLED
        reason = "returned"
    row = replace(
        row,
        state=state,
        reason=reason,
        started_at=result.started_at,
        finished_at=result.finished_at,
        result=result.stored,
        result_fp=result.fp,
        error=None,
    )
    entries = Commit(task_runs=(row,), attempts=kept, blobs=() if result.blob is None else (result.blob,))
    if state is not State.SUCCEEDED:
        entries.events = (_event(row, value.why),)
    elif rules.cache_key is not None and result.stored is not None and result.fp is not None:
        entries.cached = (_cache(row, rules, result.stored, result.fp),)
    settled = _settle(row, value=value, changed=result.fp is None or result.fp != old_fp)
    yield Save(entries, row, settled)
    return settled


def _fail(row: TaskRun, result: Result, rules: Rules) -> tuple[TaskRun, float | None]:
    """Describe a failure in the row; say after how many seconds to try again, or None."""
    if result.lost is not None:
        result.error = TaskFailedError(f"{row.task} was lost: {result.lost}")
    elif isinstance(result.error, TimedOut):
        result.error = TaskTimeoutError(str(result.error) or f"{row.task} ran longer than its timeout.")
        row = replace(row, reason="timed_out")
    error = result.error
    assert error is not None
    if isinstance(error, Stop):
        return row, None
    row = replace(row, failures=row.failures + 1, error=failure_of(error).to_json())
    if rules.retry is None or not isinstance(error, Exception):
        return row, None
    if result.lost is not None:
        error = _any_of(rules.retry.on) or error
    return row, rules.retry.delay_after(row.failures, error, result.chance)


def _any_of(on: Any) -> BaseException | None:
    """Make an exception that the policy retries: a lost process is retried whatever it is meant for."""
    first = on[0] if isinstance(on, tuple) and on else on
    return first.__new__(first) if isinstance(first, type) and issubclass(first, BaseException) else None


def _give_up(row: TaskRun, result: Result, kept: Sequence[Attempt]) -> Generator[Command, Any, Settled]:
    error = result.error
    if isinstance(error, Stop) and not isinstance(error, Cancelled):
        raise error  # the lease is lost: nothing may be written
    reason: str | None
    if isinstance(error, Cancelled):
        state, reason = State.CANCELLED, "cancelled"
    else:
        state = State.CRASHED if result.lost is not None else State.FAILED
        reason = "lost" if result.lost is not None else row.reason
    row = replace(row, started_at=result.started_at, result=result.stored, inputs=row.inputs or result.inputs)
    return (yield from _end(row, state, reason, kept, error=error, at=result.finished_at))


def _again(
    row: TaskRun, state: State, reason: str, seconds: float, kept: Sequence[Attempt]
) -> Generator[Command, Any, TaskRun]:
    waiting = replace(row, state=state, reason=reason)
    over = replace(row, state=State.FAILED if state is State.RETRYING else State.SUCCEEDED, reason=reason)
    entries = Commit(
        task_runs=(waiting,), attempts=(*kept, attempt_of(over)), events=(_event(waiting, in_seconds=seconds),)
    )
    yield Save(entries, waiting, None)
    yield Pause(seconds)
    return replace(
        waiting,
        state=State.RUNNING,
        reason=None,
        attempt=row.attempt + 1,
        started_at=None,
        finished_at=None,
        error=None,
        result=None,
    )


def _take(row: TaskRun, hit: Hit, kept: Sequence[Attempt], old_fp: bytes | None) -> Generator[Command, Any, Settled]:
    entry = hit.entry
    row = replace(
        row, state=State.SUCCEEDED, reason="cached", result=entry.result, result_fp=entry.result_fp,
        started_at=row.created_at, finished_at=row.created_at,
    )  # fmt: skip
    event = _event(row, f"from {entry.task} of run {entry.run_id}", kind="task_run.cached", from_run=entry.run_id)
    settled = _settle(row, value=hit.value, changed=entry.result_fp != old_fp)
    yield Save(Commit(task_runs=(row,), attempts=kept, events=(event,)), row, settled)
    return settled


def _end(
    row: TaskRun,
    state: State,
    reason: str | None,
    kept: Sequence[Attempt],
    *,
    error: BaseException | None = None,
    message: str = "",
    at: int | None = None,
) -> Generator[Command, Any, Settled]:
    row = replace(row, state=state, reason=reason, finished_at=at or row.created_at)
    settled = _settle(row, error=None if isinstance(error, Stop) else error, message=message)
    yield Save(Commit(task_runs=(row,), attempts=kept, events=(_event(row, message),)), row, settled)
    return settled


def _settle(
    row: TaskRun, *, value: Any = None, error: BaseException | None = None, changed: bool = True, message: str = ""
) -> Settled:
    return Settled(
        task=row.task,
        seq=row.seq,
        state=row.state,
        reason=row.reason,
        value=value,
        error=error,
        fp=row.result_fp,
        changed=changed,
        critical=row.critical,
        message=message,
    )


def _blame(reason: str, upstream: Sequence[Settled]) -> str:
    culprits = [settled.task for settled in upstream if settled.state is not State.SUCCEEDED]
    if reason == "rule_unmet" or not culprits:
        return "its trigger rule was not met"
    shown = ", ".join(dict.fromkeys(culprits[:3]))
    return f"{reason.removeprefix('upstream_')} upstream: {shown}"


def _cache(row: TaskRun, rules: Rules, stored: bytes, fp: bytes) -> CacheEntry:
    at = row.finished_at or row.created_at
    return CacheEntry(
        key=rules.cache_key or "",
        run_id=row.run_id,
        task=row.task,
        seq=row.seq,
        result=stored,
        result_fp=fp,
        created_at=at,
        expires_at=None if rules.cache_expires is None else at + rules.cache_expires,
    )


def _event(row: TaskRun, why: str = "", *, kind: str = "", **data: Any) -> Event:
    """Make the public record of what just happened to a task run; plain successes make none."""
    facts = {"task": row.task, "attempt": row.attempt, "reason": row.reason, **data}
    if why:
        facts["why"] = why
    return Event(
        at=row.finished_at or row.created_at,
        kind=kind or f"task_run.{row.state}",
        run_id=row.run_id,
        seq=row.seq,
        data=msgspec.json.encode(facts).decode(),
    )
