"""The life of a run between its commits: created, reopened, cancelled, marked.

Each function is one transaction's work. It locks the run's row first, then looks at the worker's lease and at
the time, then changes; so whoever comes second sees what the first one did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ostinato.errors import RunStateError, UnknownRunError
from ostinato.records import Run, Worker
from ostinato.states import State
from ostinato.store import statements
from ostinato.store.rows import cleaned, columns, records, to_row

if TYPE_CHECKING:
    from ostinato.store.sql import Session


class Reopening(msgspec.Struct, frozen=True):
    """What `Store.reopen` was asked for."""

    run_id: str
    worker_id: str | None
    again: list[int]
    clear: list[int]
    stale: list[int]
    attempt: bool


class Marking(msgspec.Struct, frozen=True):
    """What `Store.mark` was asked for."""

    run_id: str
    seq: int
    state: State
    result: bytes | None
    result_fp: bytes | None


def get(tx: Session, run_id: str, statement: str = statements.GET_RUN) -> Run:
    """Return a run, or raise `UnknownRunError`."""
    found = records(Run, tx.rows(statement, id=run_id))
    if not found:
        raise UnknownRunError(f"There is no run {run_id!r}.")
    return found[0]


def create(tx: Session, run: Run) -> Run:
    """Insert a run; return it as stored, or the one that was there."""
    run = cleaned(run)
    if run.branch_of is not None:
        _lock_branch(tx, run.branch_of)
    if run.worker_id is not None and run.state is State.RUNNING and run.epoch < 1:
        run = msgspec.structs.replace(run, epoch=1)
    row = to_row(Run)(run)
    if tx.change(statements.INSERT_RUN, **dict(zip(columns(Run), row, strict=True))):
        return records(Run, [row])[0]
    if run.key is not None:
        found = records(Run, tx.rows(statements.RUN_BY_KEY, flow=run.flow, key=run.key))
        if found:
            return found[0]
    return get(tx, run.id)


def _lock_branch(tx: Session, branch: str | None) -> None:
    """Hold the runs that a fork reads through from, so that no prune removes them meanwhile."""
    while branch is not None:
        found = tx.rows(statements.LOCK_BRANCH, id=branch)
        if not found:
            raise UnknownRunError(f"There is no run {branch!r} to fork from; retention may have removed it.")
        branch = found[0][0]


def reopen(tx: Session, what: Reopening) -> Run:
    """Raise the epoch of a run that nobody holds, clear what was asked, lease it to the worker."""
    run = get(tx, what.run_id, statements.LOCK_RUN)
    now = tx.now()
    _refuse_if_held(tx, run, now)
    if run.worker_id is not None:
        lose(tx, run, now)
        run.state = State.CRASHED
    tx.change(statements.CLOSE_TASK_RUNS, run_id=run.id, state="crashed", reason="lost", now=now)
    for seqs, reason, clears in ((what.again, "retried", 0), (what.clear, "cleared", 1), (what.stale, "stale", 1)):
        if seqs:
            tx.change(statements.KEEP_ATTEMPTS, run_id=run.id, seqs=seqs)
            tx.change(statements.CLEAR, run_id=run.id, seqs=seqs, reason=reason, clears=clears)
    tx.change(
        statements.REOPEN,
        id=run.id,
        state="queued" if what.worker_id is None else "running",
        attempt=1 if what.attempt else 0,
        recoveries=_recoveries(run),
        worker_id=what.worker_id,
        started_at=None if what.worker_id is None else now,
    )
    return get(tx, run.id)


def _recoveries(run: Run) -> int:
    if run.state is State.CRASHED:
        return run.recoveries + 1
    # one that a recovery has queued keeps its count until somebody takes it up and makes progress
    return run.recoveries if run.state in (State.QUEUED, State.SCHEDULED) else 0


def request_cancel(tx: Session, run_id: str) -> Run:
    """Note the request where a worker holds the run; cancel it where none does."""
    run = get(tx, run_id, statements.LOCK_RUN)
    if run.state.is_terminal:
        raise RunStateError(f"Run {run.id} has already ended: it is {run.state}. There is nothing to cancel.")
    now = tx.now()
    if holder(tx, run, now) is not None:
        tx.change(statements.REQUEST_CANCEL, id=run.id, now=now)
    else:
        tx.change(statements.CANCEL_RUN, id=run.id, now=now)
        tx.change(statements.CLOSE_TASK_RUNS, run_id=run.id, state="cancelled", reason=None, now=now)
        emit(tx, run.id, "run.cancelled", now)
    return get(tx, run.id)


def mark(tx: Session, what: Marking) -> Run:
    """Set a task run of a run that nobody holds to a terminal state."""
    if not what.state.is_terminal:
        raise RunStateError(f"A task run can be marked only as something terminal, not as {what.state}.")
    run = get(tx, what.run_id, statements.LOCK_RUN)
    now = tx.now()
    _refuse_if_held(tx, run, now)
    if run.worker_id is not None:
        lose(tx, run, now)
    tx.change(statements.RAISE_EPOCH, id=run.id)
    tx.change(statements.KEEP_ATTEMPTS, run_id=run.id, seqs=[what.seq])
    run = get(tx, run.id)
    values = msgspec.structs.asdict(what) | {"state": str(what.state), "epoch": run.epoch, "now": now}
    if not tx.change(statements.MARK, **values):
        raise UnknownRunError(f"Run {run.id} has no task run with the number {what.seq}.")
    return run


def lose(tx: Session, run: Run, now: int, worker: Worker | None = None) -> None:
    """Mark a run whose worker is gone, and its live task runs, as crashed; say so in an event."""
    tx.change(statements.LOSE_RUN, id=run.id, now=now)
    tx.change(statements.CLOSE_TASK_RUNS, run_id=run.id, state="crashed", reason="lost", now=now)
    data: dict[str, object] = {"reason": "lost", "worker_id": run.worker_id, "epoch": run.epoch}
    if worker is not None:
        data |= {"kind": worker.kind, "host": worker.host, "pid": worker.pid, "expires_at": worker.expires_at}
    emit(tx, run.id, "run.crashed", now, data)


def emit(tx: Session, run_id: str, kind: str, now: int, data: dict[str, object] | None = None) -> None:
    """Append an event about a run."""
    text = msgspec.json.encode(data or {}).decode()
    tx.change(statements.INSERT_EVENT, at=now, kind=kind, run_id=run_id, seq=None, data=text)


def holder(tx: Session, run: Run, now: int) -> Worker | None:
    """Return the worker that holds the run, if its lease has not ended."""
    found = records(Worker, tx.rows(statements.GET_WORKER, id=run.worker_id)) if run.worker_id else []
    return found[0] if found and found[0].expires_at > now else None


def _refuse_if_held(tx: Session, run: Run, now: int) -> None:
    worker = holder(tx, run, now)
    if worker is not None:
        raise RunStateError(
            f"Run {run.id} is {run.state}: the {worker.kind} process {worker.pid} on {worker.host} holds it. "
            f"Cancel it, or wait until it has ended."
        )
