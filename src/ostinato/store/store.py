"""The Store Protocol: everything that a run, a worker or a listing asks of the database.

SQLite, PostgreSQL and (on a server's side of the wire) HTTP implement it and pass one conformance suite,
`tests/store/`. All methods are synchronous, safe to call from any thread, and raise only
`ostinato.errors.StoreError`s besides what they name. The seam is private: it may change at will.

Servers and workers have verbs of their own, in `fleet.py`; what has to do with time and events is in `timing.py`,
how the past is forgotten in `keeping.py`.

Reading order: a process `register`s as a worker and `beat`s. It `create`s a run or `reopen`s one, which
raises the run's epoch and leases the run to it; it `load`s the journal; from then on `commit` is the only
way in which it changes anything. `sweep` finds what dead workers left behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ostinato.store.fleet import Accounts, Catalog, Fleet
from ostinato.store.keeping import Retention
from ostinato.store.timing import Happenings, Limits, Reactions, Schedules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ostinato.records import (
        Attempt,
        Beat,
        CacheEntry,
        Commit,
        LogBatch,
        Run,
        RunFilter,
        StateValue,
        StoredEvent,
        StoreInfo,
        TaskRun,
        Worker,
    )
    from ostinato.states import State


class Store(Fleet, Catalog, Accounts, Schedules, Happenings, Limits, Reactions, Retention, Protocol):
    """Where runs live."""

    def now(self) -> int:
        """Return the instant now by the store's own clock, which judges leases."""
        ...

    def close(self) -> None:
        """Let go of the database. Closing twice is harmless."""
        ...

    # --- workers and their leases

    def register(self, worker: Worker) -> None:
        """Add a worker; its `expires_at` is set from the store's clock plus the lease."""
        ...

    def beat(self, worker_id: str) -> Beat:
        """Renew a worker's lease, unless it has ended, and tell it what it must know."""
        ...

    def leave(self, worker_id: str) -> None:
        """Remove a worker that ends in order. Runs it still holds are swept at once."""
        ...

    def sweep(self, dead: Sequence[str] = ()) -> list[Run]:
        """Mark the runs of workers whose lease has ended, or that are named `dead`, as crashed.

        State ``crashed``, reason ``lost``, the epoch raised by one so that a late worker is refused, an
        event ``run.crashed`` each; their live task runs become ``crashed`` too. A run that has a pool goes
        back to its queue instead, event ``run.recovering``, unless it was recovered `max_recoveries` times in a
        row without progress: then its reason is ``poisonous``. Cheap when there is nothing to do, and idempotent.

        Args:
            dead: Ids of workers that are known to be gone before their lease has ended.

        Returns:
            The runs it marked.
        """
        ...

    def list_workers(self) -> list[Worker]:
        """List the workers that are registered, dead ones included until they are swept."""
        ...

    # --- the life of a run

    def create(self, run: Run) -> Run:
        """Insert a run.

        A run that comes with `worker_id` and state ``running`` is leased to that worker from the start;
        its epoch is then 1 at least.

        Returns:
            The run as stored; where a run of the same flow already has its `key`, that one instead,
            unchanged.

        Raises:
            StaleEpochError: If it comes leased to a worker that does not hold its parent: a request of a process
                that is gone, which comes late.
        """
        ...

    def reopen(
        self,
        run_id: str,
        worker_id: str | None,
        *,
        again: Sequence[int] = (),
        clear: Sequence[int] = (),
        stale: Sequence[int] = (),
        attempt: bool = False,
        epoch: int | None = None,
    ) -> Run:
        """Raise the epoch of a run that nobody holds and lease it to `worker_id`, in one transaction.

        With a worker the run becomes ``running``, without one ``queued`` in its pool. `finished_at`, `error`,
        `result`, `commits` and a request to cancel are cleared, and so are its ticket and its waits. `recoveries` grows
        by one when the run was ``crashed``, stays when it was queued, and is set to 0 otherwise. Live task
        runs of a lost epoch become ``crashed`` (reason ``lost``), their `due_at` kept. `worker_id` may be the worker
        that holds the run already: so it begins its next attempt.

        Args:
            run_id: The run.
            worker_id: Who takes it.
            again: The `seq` of task runs to run again: the attempt they hold is appended to the attempts,
                they become ``scheduled`` with reason ``retried``, `failures` 0; `attempt`, `result` and
                `result_fp` stay as they were, to be compared with.
            clear: Likewise, with reason ``cleared``, and `clears` grows by one.
            stale: Likewise, with reason ``stale``, and `clears` grows by one: they may keep their result if
                nothing they depend on has changed.
            attempt: Whether this is a new attempt of the run itself (a retry) rather than a recovery.
            epoch: The epoch it is known to have. A repetition of a call that went through is then recognised: the
                run has one epoch more and is held by `worker_id` already, and is returned as it is.

        Raises:
            UnknownRunError: If there is no such run.
            RunStateError: If a worker whose lease has not ended holds the run, or its epoch is another.
        """
        ...

    def commit(self, run_id: str, epoch: int, entries: Commit, *, number: int | None = None) -> bool:
        """Write what a running run did: all of it or nothing.

        Task runs are put by (run, seq); attempts, logs and events are appended; the end, where there is
        one, takes the run out of the worker's hands, and queues those that waited for it. A suspension does too; the
        run is queued at once if what it waits for has happened already. On return everything is as durable as the
        store's setting says.

        Args:
            run_id: The run.
            epoch: The epoch under which it is held.
            entries: What to write.
            number: Which commit of this epoch it is, from 1, where it comes over a wire that may deliver it twice or
                late: one whose number is not above `Run.commits` is answered and not written again.

        Returns:
            Whether somebody asked to cancel the run.

        Raises:
            StaleEpochError: If the run's epoch is another, the run is not live, or its worker's lease has
                ended. Nothing was written.
        """
        ...

    def load(self, run_id: str) -> Iterator[TaskRun]:
        """Yield the task runs a new pass of a run may find again, in the order of `seq`.

        For a fork that includes, after its own, those of the runs it branches from (nearest first) that
        neither its `branch_cut` nor a nearer row of the same `id` hides.
        """
        ...

    def request_cancel(self, run_id: str) -> Run:
        """Ask a live run to stop; cancel at once one that nobody works on (its epoch is raised).

        Raises:
            UnknownRunError: If there is no such run.
            RunStateError: If the run has already ended.
        """
        ...

    def mark(self, run_id: str, seq: int, state: State, *, result: bytes | None, result_fp: bytes | None) -> Run:
        """Set a task run of a run that nobody holds to a terminal state, as its operator says.

        The attempt it held is appended to the attempts; reason ``marked``; the run's epoch is raised.

        Raises:
            UnknownRunError: If there is no such run or task run.
            RunStateError: If a live worker holds the run.
        """
        ...

    # --- reading

    def get_run(self, run_id: str) -> Run:
        """Return a run by its whole id.

        Raises:
            UnknownRunError: If there is no such run.
        """
        ...

    def find_runs(self, fragment: str) -> list[Run]:
        """Return up to 10 runs whose id begins or ends with `fragment`, newest first."""
        ...

    def list_runs(self, which: RunFilter) -> list[Run]:
        """List runs, newest first, at most `which.limit`."""
        ...

    def count_task_runs(self, run_ids: Sequence[str]) -> dict[str, dict[State, int]]:
        """Count the task runs of each run by state; orphaned ones and journaled values are left out."""
        ...

    def list_task_runs(
        self, run_id: str, *, after: int = -1, limit: int = 1000, states: Sequence[State] = ()
    ) -> list[TaskRun]:
        """List a run's own task runs in the order of `seq`, from the first beyond `after`."""
        ...

    def list_attempts(self, run_id: str, seq: int | None = None) -> list[Attempt]:
        """List the earlier attempts of a run's task runs, or of one."""
        ...

    def read_logs(self, run_id: str, *, after: tuple[int, int] = (-1, -1), limit: int = 100) -> list[LogBatch]:
        """Read batches of log lines in the order of (epoch, n), from the first beyond `after`."""
        ...

    def list_events(self, run_id: str | None = None, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """List events in the order they were stored, from the first beyond `after`."""
        ...

    def load_states(self, run_id: str, task_run_id: str) -> list[StateValue]:
        """Return what a task run keeps in ``current.state``."""
        ...

    def find_cached(self, key: str) -> CacheEntry | None:
        """Return the cache entry of that key unless it has expired."""
        ...

    # --- upkeep

    def info(self) -> StoreInfo:
        """Describe the database."""
        ...
