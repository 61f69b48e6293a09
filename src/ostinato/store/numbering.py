"""What a `RemoteStore` remembers so that an answer that was lost does no harm: the numbers of commits, and claims."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.records import Commit
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.records import Run
    from ostinato.work import Claim

_MOST: Final = 4096


class Count:
    """How many commits of a run were sent in one epoch; None where only the store knows."""

    def __init__(self, epoch: int, number: int | None = None) -> None:
        self.lock = threading.Lock()
        self.epoch, self.number = epoch, number


class Counts:
    """The numbers of the commits of the runs that this process holds; a number is never given twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Count] = {}

    def learn(self, run: Run) -> Run:
        """Keep where a run begins that was just leased to this process."""
        if run.state is State.RUNNING:
            with self._lock:
                known = self._counts.get(run.id)
                if known is None or known.epoch < run.epoch:
                    self._keep(run.id, Count(run.epoch, run.commits))
        return run

    def find(self, run_id: str, epoch: int) -> Count:
        """Return the count of a run's epoch, a new one where none is known."""
        with self._lock:
            count = self._counts.get(run_id)
            if count is None or count.epoch != epoch:
                count = self._keep(run_id, Count(epoch))
            return count

    def forget(self, run_id: str) -> None:
        """Drop the count of a run that this process no longer holds."""
        with self._lock:
            self._counts.pop(run_id, None)

    def _keep(self, run_id: str, count: Count) -> Count:
        if len(self._counts) >= _MOST:  # of runs that were lost and never ended here
            self._counts.pop(next(iter(self._counts)))
        self._counts[run_id] = count
        return count


class Claims:
    """What a worker was told it holds, to find what it was not told."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: set[tuple[str, int]] = set()
        self.is_unsure = False

    def take(self, claims: Sequence[Claim]) -> None:
        """Note what an answer gave."""
        self.known.update((claim.run.id, claim.run.epoch) for claim in claims)
        self.is_unsure = len(self.known) > _MOST  # then the next one also clears away what has ended


def halves(entries: Commit) -> tuple[Commit, Commit] | None:
    """Cut a commit in two that may be written one after the other; None when there is nothing to cut."""
    rows, logs = entries.task_runs, entries.logs
    half = len(rows) // 2
    if half:
        first = {row.seq for row in rows[:half]}
        return (
            Commit(
                task_runs=rows[:half],
                attempts=[attempt for attempt in entries.attempts if attempt.seq in first],
                blobs=entries.blobs,
            ),
            msgspec.structs.replace(
                entries,
                task_runs=rows[half:],
                attempts=[attempt for attempt in entries.attempts if attempt.seq not in first],
                blobs=(),
            ),
        )
    half = len(logs) // 2
    if half:
        return Commit(logs=logs[:half]), msgspec.structs.replace(entries, logs=logs[half:])
    return None
