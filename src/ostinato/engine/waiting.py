"""The life of a wait, and of what is emitted, as generators of commands like `lifecycle.live`.

```
abide ─► Look ─► (it is there) ───────────────► Save succeeded │ failed
            └─► Save waiting, its deadline ─► Await ─┘
tell  ─► Save succeeded, and the event with it: both or neither
```

What a wait gave, or that it came to nothing in time, is on record like a task's result. A pass that finds one that is
not over goes on with it, its deadline as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.engine.lifecycle import Result, Save
from ostinato.future import Settled
from ostinato.outcomes import Cancelled, failure_of
from ostinato.records import Commit, TaskRun
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ostinato.records import Attempt, Event

replace = msgspec.structs.replace


class Look(msgspec.Struct, frozen=True, gc=False):
    """See whether what is waited for is there, without waiting. Answer: a `Seen`."""

    row: TaskRun


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What a look found."""

    result: Result | None
    """None when it is to be waited for."""
    due_at: int | None = None
    """When the wait is over by itself."""
    is_brief: bool = False
    """It will be over so soon that the deadline need not be durable."""


class Await(msgspec.Struct, frozen=True, gc=False):
    """Wait for it. Answer: a `Result`."""

    row: TaskRun


Waiting = Look | Await | Save


def abide(row: TaskRun, reason: str, earlier: Attempt | None = None) -> Generator[Waiting, Any, Settled]:
    """Live a wait from its call to its end.

    Args:
        row: Its row; one that an earlier pass left waiting has its `due_at`.
        reason: What it waits for in a word, for whoever looks on.
        earlier: An attempt of a former pass that is not on record yet.

    Returns:
        How it ended; committed.
    """
    kept: Sequence[Attempt] = () if earlier is None else (earlier,)
    row = replace(row, state=State.WAITING, reason=reason, finished_at=None, error=None)
    seen: Seen = yield Look(row)
    result = seen.result
    if result is None:
        row = replace(row, due_at=seen.due_at, started_at=row.started_at or row.created_at)
        if not seen.is_brief:
            yield Save(Commit(task_runs=(row,), attempts=kept), row, None)
            kept = ()
        try:
            result = yield Await(row)
        except Cancelled as signal:
            result = Result(started_at=row.created_at, finished_at=row.created_at, error=signal)
    ended = replace(
        row, due_at=None, started_at=result.started_at, finished_at=result.finished_at, result=result.stored
    )
    return (yield from _end(_judged(ended, result), result, kept))


def tell(row: TaskRun, event: Event, stored: bytes) -> Generator[Waiting, Any, Settled]:
    """Emit an event, on record with it."""
    row = replace(row, state=State.SUCCEEDED, finished_at=event.at, result=stored)
    settled = _settled(row, None, None)
    yield Save(Commit(task_runs=(row,), events=(event,)), row, settled)
    return settled


def _judged(row: TaskRun, result: Result) -> TaskRun:
    error = result.error
    if error is None:
        return replace(row, state=State.SUCCEEDED, reason=None, result_fp=result.fp)
    if isinstance(error, Cancelled):
        return replace(row, state=State.CANCELLED, reason="cancelled")
    return replace(row, state=State.FAILED, reason="timed_out", error=failure_of(error).to_json())


def _end(row: TaskRun, result: Result, kept: Sequence[Attempt]) -> Generator[Waiting, Any, Settled]:
    settled = _settled(row, result.value, result.error)
    blobs = () if result.blob is None else (result.blob,)
    yield Save(Commit(task_runs=(row,), attempts=kept, blobs=blobs), row, settled)
    return settled


def _settled(row: TaskRun, value: Any, error: BaseException | None) -> Settled:
    return Settled(
        task=row.task,
        seq=row.seq,
        state=row.state,
        reason=row.reason,
        value=value,
        error=None if isinstance(error, Cancelled) else error,
        fp=row.result_fp,
        changed=True,
    )
