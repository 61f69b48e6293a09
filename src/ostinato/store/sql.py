"""What the SQL stores share: every verb but `commit`, written once over a small `Session`.

Here are the journal's verbs; those for servers and workers are in `sql_fleet` and `sql_catalog`.

A verb is a function of an open transaction. The store hands it to its dialect, which runs it in a read or a
write transaction, and, where the database went away in the middle, may run it again. So verbs keep nothing
outside of the transaction, and fetch the time only once they hold the locks that they judge.
"""


# ruff: noqa: S608  what is put into these texts are names of our own columns and states, never a value

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import UnknownRunError
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
    TaskRun,
    Worker,
)
from ostinato.states import TERMINAL, State
from ostinato.store import life, statements, sweeping
from ostinato.store.bell import Bell
from ostinato.store.rows import clean, records, to_record
from ostinato.store.sql_catalog import SqlCatalog
from ostinato.store.sql_fleet import SqlFleet
from ostinato.store.sql_happenings import SqlHappenings
from ostinato.store.sql_limits import SqlLimits
from ostinato.store.sql_reactions import SqlReactions
from ostinato.store.sql_retention import SqlRetention
from ostinato.store.sql_schedules import SqlSchedules
from ostinato.store.sql_sensors import SqlSensors
from ostinato.store.statements_limits import CANCELS
from ostinato.store.transactions import Session, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ostinato.records import StoreInfo
    from ostinato.timing import Decision

_PAGE: Final = 2000
"""Rows of a page when a whole journal is read: a short read transaction each."""


class SqlStore(SqlFleet, SqlCatalog, SqlSchedules, SqlSensors, SqlHappenings, SqlLimits, SqlReactions, SqlRetention):
    """A `Store` over SQL; the dialects supply connections, transactions and `commit`."""

    def __init__(self, lease: float, max_recoveries: int) -> None:
        super().__init__(max_recoveries)
        self._lease = round(lease * SECOND)
        self._bell = Bell()

    # --- what a dialect supplies

    @abstractmethod
    def close(self) -> None:
        """Let go of the database. Closing twice is harmless."""

    @abstractmethod
    def commit(self, run_id: str, epoch: int, entries: Commit, *, number: int | None = None) -> bool:
        """Write what a running run did: all of it or nothing."""

    @abstractmethod
    def info(self) -> StoreInfo:
        """Describe the database."""

    @abstractmethod
    def list_events(self, run_id: str | None = None, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """List events in the order they were stored, from the first beyond `after`."""

    # --- workers and their leases

    def register(self, worker: Worker) -> None:
        """Add a worker; its `expires_at` is set from the store's clock plus the lease."""

        def work(tx: Session) -> None:
            leased = msgspec.structs.replace(worker, expires_at=tx.now() + self._lease)
            tx.change(statements.PUT_WORKER, **named(leased))

        self._write(work)

    def beat(self, worker_id: str) -> Beat:
        """Renew a worker's lease, unless it has ended, and tell it what it must know."""
        now = self.now()
        return self._write(lambda tx: sweeping.beat(tx, worker_id, now, self._lease))

    def leave(self, worker_id: str) -> None:
        """Remove a worker that ends in order. Runs it still holds are swept at once."""
        self._write(lambda tx: sweeping.bury(tx, worker_id, forced=True, limit=self._max_recoveries))
        self._hint()

    def sweep(self, dead: Sequence[str] = ()) -> list[Run]:
        """Mark the runs of workers whose lease has ended, or that are named `dead`, as crashed."""
        forced, limit = set(dead), self._max_recoveries
        lost: list[Run] = []
        for worker_id in self._read(lambda tx: sweeping.find_dead(tx, dead)):
            lost += self._write(lambda tx, w=worker_id: sweeping.bury(tx, w, forced=w in forced, limit=limit))  # type: ignore[misc]
        if lost:
            self._hint()
        return lost

    def list_workers(self) -> list[Worker]:
        """List the workers that are registered, dead ones included until they are swept."""
        return self._read(lambda tx: records(Worker, tx.rows(statements.LIST_WORKERS)))

    # --- the life of a run

    def create(self, run: Run) -> Run:
        """Insert a run, or return the one that has its id, or its flow and key, already."""
        return self._create(run, is_new=False)

    def _create(self, run: Run, *, is_new: bool) -> Run:
        now = self.now()
        stored = self._write(lambda tx: life.create(tx, run, now, is_new=is_new))
        if run.pool is not None:
            self._hint()
        if stored.id == run.id:
            self._cancel_for([run])
        return stored

    def wake(self, *, limit: int = 500) -> int:
        """Queue the runs whose waits are over, and let in who waited for a token that is there now."""
        woken = super().wake(limit=limit)
        if woken:
            self.cancel_overlapped()  # some may have been started for later
        return woken + self.wake_gates()

    def decide(self, decisions: Sequence[Decision]) -> list[str]:
        """Store what some schedules have come to, and cancel the runs that new ones are to run instead of."""
        changed = super().decide(decisions)
        self._cancel_for(run for decision in decisions for run in decision.runs)
        return changed

    def report_look(self, run_id: str, epoch: int, decision: Decision) -> bool:
        """Store what a look at a sensor came to, likewise."""
        stored = super().report_look(run_id, epoch, decision)
        self._cancel_for(decision.runs)
        return stored

    def _cancel_for(self, runs: Iterable[Run]) -> None:
        """Cancel what overlaps with some new runs, where their overlap says so."""
        if any(run.gates is not None and CANCELS in run.gates for run in runs):
            self.cancel_overlapped()

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
        """Raise the epoch of a run that nobody holds and lease it to `worker_id`, in one transaction."""
        reopening = life.Reopening(run_id, worker_id, list(again), list(clear), list(stale), attempt, epoch)
        run = self._write(lambda tx: life.reopen(tx, reopening), again=epoch is not None)
        if worker_id is None:
            self._hint()
        return run

    def request_cancel(self, run_id: str) -> Run:
        """Ask a live run to stop; cancel at once one that nobody works on (its epoch is raised)."""
        run = self._write(lambda tx: life.request_cancel(tx, run_id), again=False)
        if run.state.is_terminal:
            self._hint()
        return run

    def mark(self, run_id: str, seq: int, state: State, *, result: bytes | None, result_fp: bytes | None) -> Run:
        """Set a task run of a run that nobody holds to a terminal state, as its operator says."""
        marking = life.Marking(run_id, seq, state, result, result_fp)
        return self._write(lambda tx: life.mark(tx, marking, self._max_recoveries), again=False)

    def load(self, run_id: str) -> Iterator[TaskRun]:
        """Yield the task runs a new pass of a run may find again, nearest run first, by `seq` in each."""
        hidden: set[str] = set()
        branch: str | None = run_id
        while branch is not None:
            branch_of, cut = self._branch(branch)
            for task_run in self._journal(branch):
                if task_run.id not in hidden:
                    yield task_run
                    if branch_of is not None:
                        hidden.add(task_run.id)
            hidden.update(cut)
            branch = branch_of

    def _branch(self, run_id: str) -> tuple[str | None, list[str]]:
        found = self._read(lambda tx: tx.rows(statements.BRANCH, id=run_id))
        if not found:
            raise UnknownRunError(f"There is no run {run_id!r}.")
        return found[0][0], msgspec.json.decode(found[0][1], type=list[str])

    def _journal(self, run_id: str) -> Iterator[TaskRun]:
        make, after = to_record(TaskRun), -1
        while True:
            page = self._read(lambda tx, a=after: tx.rows(statements.LOAD, run_id=run_id, after=a, limit=_PAGE))  # type: ignore[misc]
            yield from map(make, page)
            if len(page) < _PAGE:
                return
            after = page[-1][1]

    # --- reading

    def get_run(self, run_id: str) -> Run:
        """Return a run by its whole id."""
        return self._read(lambda tx: life.get(tx, run_id))

    def find_runs(self, fragment: str) -> list[Run]:
        """Return up to 10 runs whose id begins or ends with `fragment`, newest first."""
        values = {"fragment": fragment, "beyond": fragment + "\U0010ffff", "length": len(fragment)}
        return self._read(lambda tx: records(Run, tx.rows(statements.FIND_RUNS, **values))) if fragment else []

    def list_runs(self, which: RunFilter) -> list[Run]:
        """List runs, newest first, at most `which.limit`."""
        query, values = _listing(which)
        return self._read(lambda tx: records(Run, tx.rows(query, **values)))

    def count_task_runs(self, run_ids: Sequence[str]) -> dict[str, dict[State, int]]:
        """Count the task runs of each run by state; orphaned ones and journaled values are left out."""
        counts: dict[str, dict[State, int]] = {run_id: {} for run_id in run_ids}
        rows = self._read(lambda tx: tx.rows(statements.COUNT_TASK_RUNS, ids=list(run_ids))) if counts else []
        for run_id, state, count in rows:
            counts[run_id][State(state)] = count
        return counts

    def list_task_runs(
        self, run_id: str, *, after: int = -1, limit: int = 1000, states: Sequence[State] = ()
    ) -> list[TaskRun]:
        """List a run's own task runs in the order of `seq`, from the first beyond `after`."""
        values: dict[str, Any] = {"run_id": run_id, "after": after, "limit": limit}
        query = statements.LIST_TASK_RUNS
        if states:
            query += " AND state = ANY(:states)"
            values["states"] = [str(state) for state in states]
        return self._read(lambda tx: records(TaskRun, tx.rows(query + " ORDER BY seq LIMIT :limit", **values)))

    def list_attempts(self, run_id: str, seq: int | None = None) -> list[Attempt]:
        """List the earlier attempts of a run's task runs, or of one."""
        query, values = statements.LIST_ATTEMPTS, {"run_id": run_id}
        if seq is not None:
            query, values = query + " AND seq = :seq", {"run_id": run_id, "seq": seq}  # type: ignore[dict-item]
        return self._read(lambda tx: records(Attempt, tx.rows(query + " ORDER BY seq, attempt, epoch", **values)))

    def read_logs(self, run_id: str, *, after: tuple[int, int] = (-1, -1), limit: int = 100) -> list[LogBatch]:
        """Read batches of log lines in the order of (epoch, n), from the first beyond `after`."""
        values = {"run_id": run_id, "epoch": after[0], "n": after[1], "limit": limit}
        return self._read(lambda tx: records(LogBatch, tx.rows(statements.READ_LOGS, **values)))

    def load_states(self, run_id: str, task_run_id: str) -> list[StateValue]:
        """Return what a task run keeps in ``current.state``."""
        values = {"run_id": run_id, "task_run_id": task_run_id}
        return self._read(lambda tx: records(StateValue, tx.rows(statements.LOAD_STATES, **values)))

    def find_cached(self, key: str) -> CacheEntry | None:
        """Return the cache entry of that key unless it has expired."""
        found = self._read(lambda tx: records(CacheEntry, tx.rows(statements.FIND_CACHED, key=key, now=tx.now())))
        return found[0] if found else None


def _index_for(states: Sequence[State]) -> str | None:
    """Return the condition of the index in which all runs of these states are, None if there is none."""
    if not TERMINAL.intersection(states):
        return statements.OPEN
    return statements.FAILED if TERMINAL.issuperset(states) and State.SUCCEEDED not in states else None


def _listing(which: RunFilter) -> tuple[str, dict[str, Any]]:
    """Compose the query of a listing; only what is asked for stands in it."""
    values: dict[str, Any] = {"limit": which.limit}
    terms: list[str] = []

    def term(text: str, **more: Any) -> None:
        terms.append(text)
        values.update(more)

    if which.states:
        term("state = ANY(:states)", states=[str(state) for state in which.states])
        if (condition := _index_for(which.states)) is not None:
            term(condition)
    for name in ("flow", "target", "parent_run_id", "deployment", "pool"):
        if (value := getattr(which, name)) is not None:
            term(f"{name} = :{name}", **{name: value})
    if which.tag is not None:
        # a comma and a bare quote can only be where a tag begins: inside of one, quotes are escaped
        tag = "," + msgspec.json.encode(clean(which.tag)).decode()
        term("strpos(',' || substr(tags, 2), :tag) > 0", tag=tag)
    hides_looks = not which.looks and (which.flow, which.deployment, which.target) == (None, None, None)
    plain = {"parent_run_id IS NULL": which.top_level, "kind <> 'sensor'": hides_looks}
    terms += [text for text, holds in plain.items() if holds]
    if which.created_since is not None:
        term("created_at >= :created_since", created_since=which.created_since)
    if which.before is not None:
        term("(created_at, id) < (SELECT created_at, id FROM run WHERE id = :before)", before=which.before)
    where = " WHERE " + " AND ".join(terms) if terms else ""
    return f"SELECT {statements.RUN} FROM run{where} ORDER BY created_at DESC, id DESC LIMIT :limit", values
