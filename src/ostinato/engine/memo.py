"""What a run remembers: task runs by identity, and what is to be done with one that is found again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ostinato.records import Attempt
from ostinato.states import LIVE, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ostinato.records import TaskRun

NOT_REPLAYABLE = b"x"
"""The first byte of a result that could not be stored: the task run succeeded but must run again."""

CLEARED = ("retried", "cleared", "stale")
"""Reasons of a ``scheduled`` task run: why it will run again. Its old attempt is on record already."""


class Memo:
    """The task runs that a new pass of a body may find again.

    A task run is taken out when it is found. What is left at the end was not reached.
    """

    def __init__(self, rows: Iterable[TaskRun]) -> None:
        self._rows = {row.id: row for row in rows}
        self._replayed: set[int] = set()
        self._lock = threading.Lock()
        self.next_seq = 1 + max((row.seq for row in self._rows.values()), default=-1)

    def __len__(self) -> int:
        """Return how many have not been found yet."""
        return len(self._rows)

    def take(self, identity: str) -> TaskRun | None:
        """Take out the task run of that identity, if there is one."""
        if not self._rows:
            return None
        with self._lock:
            return self._rows.pop(identity, None)

    def of_kind(self, kind: str) -> list[TaskRun]:
        """List those of a kind that have not been found yet."""
        return [row for row in list(self._rows.values()) if row.kind == kind]

    def cover(self, seq: int) -> None:
        """Say that a task run's body is not run again, so that its children are not orphans."""
        self._replayed.add(seq)

    def left(self, run_id: str) -> list[TaskRun]:
        """List the run's own task runs that are under way and were not found by this pass."""
        return [row for row in list(self._rows.values()) if row.run_id == run_id and row.state in LIVE]

    def orphans(self, run_id: str) -> Iterator[TaskRun]:
        """Yield the run's own task runs that a body that did run has not reached."""
        parents = {row.seq: row.parent_seq for row in self._rows.values()}
        for row in self._rows.values():
            if row.run_id == run_id and not row.orphaned and not self._is_covered(row.parent_seq, parents):
                yield row

    def _is_covered(self, seq: int | None, parents: dict[int, int | None]) -> bool:
        while seq is not None:
            if seq in self._replayed:
                return True
            seq = parents.get(seq)
        return False


def is_replayable(row: TaskRun) -> bool:
    """Tell whether a task run that is found again gives what is on record instead of running."""
    match row.state:
        case State.SUCCEEDED:
            return row.result is not None and row.result[:1] != NOT_REPLAYABLE
        case State.FAILED:
            return True
        case State.SKIPPED | State.CANCELLED:
            return row.reason in {"returned", "marked"}
        case _:
            return False


def may_keep(row: TaskRun, *, upstream_changed: bool) -> bool:
    """Tell whether a task run that was cleared for what it depends on keeps its result (early cut-off)."""
    return (
        row.state is State.SCHEDULED
        and row.reason == "stale"
        and not upstream_changed
        and row.result_fp is not None
        and row.result is not None
        and row.result[:1] != NOT_REPLAYABLE
    )


def attempt_of(row: TaskRun) -> Attempt:
    """Take the attempt that a task run holds, to be kept when the next one begins."""
    return Attempt(
        run_id=row.run_id,
        seq=row.seq,
        attempt=row.attempt,
        epoch=row.epoch,
        state=row.state,
        reason=row.reason,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error=row.error,
        code=row.code,
    )


def succeed_to(row: TaskRun, found: TaskRun) -> Attempt | None:
    """Let a new row go on where the one that was found stopped.

    Returns:
        The attempt of the old row that is not on record yet, or None.
    """
    if found.run_id != row.run_id:  # read through from the run this one was forked from
        return None
    row.seq, row.created_at, row.clears, row.failures = found.seq, found.created_at, found.clears, found.failures
    was_cleared = found.state is State.SCHEDULED and found.reason in CLEARED  # its attempt is on record
    if row.kind != "task" or not was_cleared:  # a task that was sent away and is to run again is sent as another run
        row.child_run_id = found.child_run_id
    if found.due_at is not None and not was_cleared:  # between two attempts; the last is on record
        _wait_on(row, found)
        return None
    if found.state is State.WAITING:  # for another run
        row.attempt, row.started_at = found.attempt, found.started_at
        return None
    if found.started_at is None and not was_cleared:
        row.attempt = found.attempt
        return None
    row.attempt = found.attempt + 1
    return None if was_cleared else attempt_of(found)


def _wait_on(row: TaskRun, found: TaskRun) -> None:
    """Go on with the delay before the next attempt, of which a lost process may have made a crash."""
    row.state, row.reason = (State.WAITING, "snoozed") if found.error is None else (State.RETRYING, "failed")
    row.attempt, row.due_at, row.error = found.attempt, found.due_at, found.error
    row.started_at, row.finished_at = found.started_at, found.finished_at
