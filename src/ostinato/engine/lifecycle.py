"""One task run's life, as a generator of commands: it decides, and whoever drives it acts.

```
live ─► (trigger rule unmet) ─► Save skipped
     ─► Lookup ─► (hit) ─► Save succeeded, reason cached
     ─► Enter ─► Acquire ─► Execute ─► Release ─► succeeded | failed | … ─► Save ─► Leave ─► the end
          ▲            └► Save ─► Send ─┘    │
          └──── Pause ◄── Leave ◄── Save ◄───┴─ retrying | waiting (snoozed)
```

The slots of limits (`Enter`) are returned by the very commit that says how the attempt ended.

A task of another pool is sent there: it becomes a run of its own, whose id is saved before that run exists. An earlier
pass may have left a task run in the middle of a delay, or waiting for what was sent: it goes on from there.

It reads no clock and draws no lot: instants and chance come with the answers to its commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.clock import SECOND
from ostinato.engine.identity import sent_run_id
from ostinato.engine.memo import attempt_of
from ostinato.engine.rules import Gate, reason_not_to_run
from ostinato.errors import TaskFailedError, TaskTimeoutError, UpstreamError
from ostinato.future import Settled
from ostinato.limits import Passing
from ostinato.outcomes import Cancel, Cancelled, Skip, Snooze, Stop, TimedOut, failure_of, parse_failure
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


class Enter(msgspec.Struct, frozen=True, gc=False):
    """Take a slot of each of these limits, waiting for it. Answer: nothing."""

    limits: tuple[Passing, ...]


class Leave(msgspec.Struct, frozen=True, gc=False):
    """Know that the slots are returned, as far as anything was saved. Answer: nothing."""


class Acquire(msgspec.Struct, frozen=True, gc=False):
    """Take what is needed at each of these gates, waiting for it. Answer: nothing."""

    gates: tuple[Gate, ...]


class Release(msgspec.Struct, frozen=True, gc=False):
    """Give it back. Answer: nothing."""

    gates: tuple[Gate, ...]


class Execute(msgspec.Struct, frozen=True, gc=False):
    """Run one attempt; note its row without waiting. Answer: a `Result`."""

    row: TaskRun
    memory: float = 1.0
    """How many times the memory it may take that its task says."""


class Send(msgspec.Struct, frozen=True, gc=False):
    """Have one attempt carried out as a run of its own, the row's `child_run_id`. Answer: a `Result`."""

    row: TaskRun
    memory: float
    """How many times the memory it asks for that its task says, after it ran out of that."""


class Save(msgspec.Struct, frozen=True, gc=False):
    """Commit, and answer only when it is durable. Answer: nothing."""

    entries: Commit
    row: TaskRun
    settled: Settled | None
    """How it ended, when this is the end: for hooks and whoever looks on."""


class Pause(msgspec.Struct, frozen=True, gc=False):
    """Wait until an instant. Answer: nothing."""

    due_at: int


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


Command = Lookup | Enter | Leave | Acquire | Release | Execute | Send | Save | Pause


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
        row: The task run, ``running``, as it is to be noted when it begins; one that an earlier pass left in a delay
            has its `due_at`.
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
    memory = _memory(row, rules)
    if row.due_at is not None:
        row = yield from _sit_out(row)
    while True:
        if rules.limits:
            yield Enter(rules.limits)
        try:
            row, result, kept = yield from _attempt(row, rules, memory, kept)
            ended = yield from _conclude(row, result, rules, kept, old_fp)
        finally:
            if rules.limits:
                yield Leave()
        if isinstance(ended, Settled):
            return ended
        if ended.state is State.RETRYING:
            memory = _memory(ended, rules)
        row = yield from _sit_out(ended)
        kept = ()


def _conclude(
    row: TaskRun, result: Result, rules: Rules, kept: Sequence[Attempt], old_fp: bytes | None
) -> Generator[Command, Any, Settled | TaskRun]:
    """Commit how an attempt ended: how the task run ended, or the row as which it waits for the next attempt."""
    if isinstance(result.value, Snooze) and result.error is None:
        again = (State.WAITING, "snoozed", result.value.seconds)
    elif result.error is None and result.lost is None:
        return (yield from _succeed(row, result, rules, kept, old_fp))
    else:
        row, again_after = _fail(row, result, rules)
        if again_after is None:
            return (yield from _give_up(row, result, kept, leaves=_leaves(row, rules)))
        again = (State.RETRYING, row.reason or "failed", again_after)
    ended = replace(row, started_at=result.started_at, finished_at=result.finished_at, child_run_id=None)
    return (yield from _again(ended, *again, kept, leaves=_leaves(row, rules)))


def _leaves(row: TaskRun, rules: Rules) -> tuple[int, ...]:
    return (row.seq,) if rules.limits else ()


def _attempt(
    row: TaskRun, rules: Rules, memory: float, kept: Sequence[Attempt]
) -> Generator[Command, Any, tuple[TaskRun, Result, Sequence[Attempt]]]:
    """Have one attempt carried out, here or in another pool."""
    if rules.gates:
        yield Acquire(rules.gates)
    try:
        if rules.pool is None:
            result: Result = yield Execute(row, memory)
            return row, result, kept
        if row.child_run_id is None:
            row = yield from _address(row, kept)
            kept = ()
        result = yield Send(replace(row, state=State.WAITING, reason="sent"), memory)
        return row, result, kept
    finally:
        if rules.gates:
            yield Release(rules.gates)


def _address(row: TaskRun, kept: Sequence[Attempt]) -> Generator[Command, Any, TaskRun]:
    """Put on record which run a call is sent as, before there is one: whatever happens, it is found again."""
    row = replace(row, child_run_id=sent_run_id(row.run_id, row.id, row.attempt))
    sent = replace(row, state=State.WAITING, reason="sent")
    yield Save(Commit(task_runs=(sent,), attempts=kept), sent, None)
    return row


def _memory(row: TaskRun, rules: Rules) -> float:
    """Say how many times the memory that its task says the next attempt asks for, by how the last one failed."""
    last = parse_failure(row.error)
    if rules.retry is None or last is None or last.type != "OutOfMemory":
        return 1.0
    return float(rules.retry.memory**row.failures)


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
    blobs = () if result.blob is None else (result.blob,)
    entries = Commit(task_runs=(row,), attempts=kept, blobs=blobs, leaves=_leaves(row, rules))
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


def _give_up(
    row: TaskRun, result: Result, kept: Sequence[Attempt], *, leaves: Sequence[int]
) -> Generator[Command, Any, Settled]:
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
    return (yield from _end(row, state, reason, kept, error=error, at=result.finished_at, leaves=leaves))


def _again(
    row: TaskRun, state: State, reason: str, seconds: float, kept: Sequence[Attempt], *, leaves: Sequence[int]
) -> Generator[Command, Any, TaskRun]:
    due_at = (row.finished_at or row.created_at) + round(seconds * SECOND)
    waiting = replace(row, state=state, reason=reason, due_at=due_at)
    over = replace(row, state=State.FAILED if state is State.RETRYING else State.SUCCEEDED, reason=reason)
    event = _event(waiting, in_seconds=seconds)
    entries = Commit(task_runs=(waiting,), attempts=(*kept, attempt_of(over)), events=(event,), leaves=leaves)
    yield Save(entries, waiting, None)
    return waiting


def _sit_out(row: TaskRun) -> Generator[Command, Any, TaskRun]:
    """Wait until the next attempt is due, and begin it."""
    assert row.due_at is not None
    yield Pause(row.due_at)
    return replace(
        row,
        state=State.RUNNING,
        reason=None,
        attempt=row.attempt + 1,
        due_at=None,
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
    leaves: Sequence[int] = (),
) -> Generator[Command, Any, Settled]:
    row = replace(row, state=state, reason=reason, finished_at=at or row.created_at)
    settled = _settle(row, error=None if isinstance(error, Stop) else error, message=message)
    yield Save(Commit(task_runs=(row,), attempts=kept, events=(_event(row, message),), leaves=leaves), row, settled)
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
