"""The life of a run between its commits: created, reopened, cancelled, marked.

Each function is one transaction's work. It locks the run's row first, then looks at the worker's lease and at
the time, then changes; so whoever comes second sees what the first one did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ostinato.errors import RunStateError, StaleEpochError, UnknownRunError
from ostinato.records import Event, Run, Wait, Worker
from ostinato.states import State
from ostinato.store import recovery, slots, statements, tickets, waits
from ostinato.store.events import append, as_json, tell
from ostinato.store.rows import cleaned, columns, records, to_row
from ostinato.store.statements_happenings import WITHDRAW_ASKS
from ostinato.store.transactions import named

if TYPE_CHECKING:
    from ostinato.store.transactions import Session

_INSERT_NEW: Final = statements.INSERT_RUN.removesuffix(" ON CONFLICT DO NOTHING")


class Reopening(msgspec.Struct, frozen=True):
    """What `Store.reopen` was asked for."""

    run_id: str
    worker_id: str | None
    again: list[int]
    clear: list[int]
    stale: list[int]
    attempt: bool
    epoch: int | None = None


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


def create(tx: Session, run: Run, now: int, *, is_new: bool = False) -> Run:
    """Insert a run; return it as stored, or the one that was there.

    Args:
        tx: The transaction.
        run: The run.
        now: The time.
        is_new: Whether to take it that none is there, and have the database refuse it otherwise: nothing is asked then.
    """
    run = cleaned(run)
    if run.branch_of is not None:
        _lock_branch(tx, run.branch_of)
    if run.parent_run_id is not None and run.worker_id is not None:
        _lock_parent(tx, run)
    if run.worker_id is not None and run.state is State.RUNNING and run.epoch < 1:
        run = msgspec.structs.replace(run, epoch=1)
    row = to_row(Run)(run)
    values = dict(zip(columns(Run), row, strict=True))
    if is_new:
        tx.put(_INSERT_NEW, **values)
    if is_new or tx.change(statements.INSERT_RUN, **values):
        return records(Run, [row])[0] if _enqueue(tx, run, now) else get(tx, run.id)
    if run.key is not None:
        found = records(Run, tx.rows(statements.RUN_BY_KEY, flow=run.flow, key=run.key))
        if found:
            return found[0]
    return get(tx, run.id)


def _enqueue(tx: Session, run: Run, now: int) -> bool:
    """Give a new run its ticket, or its wait until it begins; put on record who asked for it.

    Returns:
        False where its overlap refuses it: it has ended.
    """
    asked = _asked(run, now)
    if run.state is State.QUEUED and run.pool is not None and run.gates is None:
        tickets.put_first(tx, run, now, asked)
        return True
    append(tx, asked)
    if run.state is State.QUEUED and run.pool is not None:
        return not slots.queue(tx, {run.id: run.gates}, now, "created")
    if run.state is State.SCHEDULED and run.scheduled_at is not None:
        start = Wait(run_id=run.id, n=0, kind="start", due_at=run.scheduled_at, created_at=now)
        tx.put(statements.PUT_WAIT, **named(start))
    return True


def _asked(run: Run, now: int) -> list[Event]:
    """Say who asked for a run; one that another run has asked for is that run's own doing."""
    if run.created_by is None or run.parent_run_id is not None:
        return []
    data = as_json({"actor": run.created_by, "what": run.id, "deployment": run.deployment})
    return [Event(at=now, kind="audit.run_started", run_id=run.id, data=data)]


def _lock_parent(tx: Session, run: Run) -> None:
    """Refuse a child of a run that its process has lost: nobody would carry it out, and its worker's lease goes on."""
    found = tx.rows(statements.LOCK_PARENT, id=run.parent_run_id)
    if found and found[0][0] != run.worker_id:
        raise StaleEpochError(
            f"Run {run.parent_run_id} is not held by worker {run.worker_id} any more, so it has no child run {run.id}."
        )


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
    if what.epoch is not None and run.epoch != what.epoch:
        return _repeated(run, what)
    now = tx.now()
    is_ours = run.worker_id is not None and run.worker_id == what.worker_id  # it begins its next attempt
    if not is_ours:
        _refuse_if_held(tx, run, now)
    if run.worker_id is not None and not is_ours:
        tell(tx, run.id, "run.crashed", now, recovery.lost_data(run, None))
        run.state = State.CRASHED
    tx.put(statements.REMOVE_TICKETS, ids=[run.id])
    tx.put(statements.REMOVE_WAITS, ids=[run.id])
    tx.put(statements.CLOSE_TASK_RUNS, run_id=run.id, state="crashed", reason="lost", now=now)
    for seqs, reason, clears in ((what.again, "retried", 0), (what.clear, "cleared", 1), (what.stale, "stale", 1)):
        if seqs:
            tx.put(statements.KEEP_ATTEMPTS, run_id=run.id, seqs=seqs)
            tx.put(statements.CLEAR, run_id=run.id, seqs=seqs, reason=reason, clears=clears)
    tx.put(
        statements.REOPEN,
        id=run.id,
        state="queued" if what.worker_id is None else "running",
        attempt=1 if what.attempt else 0,
        recoveries=_recoveries(run),
        worker_id=what.worker_id,
        started_at=None if what.worker_id is None else now,
    )
    if not is_ours:
        slots.give_back(tx, run.id, now, least=0)
    if what.worker_id is None and run.pool is not None:
        slots.queue(tx, {run.id: run.gates}, now, "recovered" if run.state is State.CRASHED else "reopened")
    return get(tx, run.id)


def _repeated(run: Run, what: Reopening) -> Run:
    """Return a run that this very call has reopened before, or refuse."""
    expected = State.QUEUED if what.worker_id is None else State.RUNNING
    if (run.epoch, run.worker_id, run.state) == ((what.epoch or 0) + 1, what.worker_id, expected):
        return run
    raise RunStateError(
        f"Run {run.id} is {run.state} in epoch {run.epoch}, not {what.epoch}: somebody else has taken it up meanwhile. "
        f"Look at it before you try again."
    )


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
        tx.put(statements.REQUEST_CANCEL, id=run.id, now=now)
    else:
        tx.put(statements.CANCEL_RUN, id=run.id, now=now)
        tx.put(statements.CLOSE_TASK_RUNS, run_id=run.id, state="cancelled", reason=None, now=now)
        tx.put(statements.REMOVE_WAITS, ids=[run.id])
        tx.put(WITHDRAW_ASKS, run_id=run.id)
        tell(tx, run.id, "run.cancelled", now)
        if run.awaited:
            waits.wake_waiters(tx, [run.id], now)
        slots.give_back(tx, run.id, now)
        tx.put(statements.REMOVE_TICKETS, ids=[run.id])  # only now: a slot that was just handed to it brings one
    return get(tx, run.id)


def mark(tx: Session, what: Marking, limit: int) -> Run:
    """Set a task run of a run that nobody holds to a terminal state."""
    if not what.state.is_terminal:
        raise RunStateError(f"A task run can be marked only as something terminal, not as {what.state}.")
    run = get(tx, what.run_id, statements.LOCK_RUN)
    now = tx.now()
    _refuse_if_held(tx, run, now)
    if run.worker_id is not None:
        recovery.lose(tx, run, now, None, limit)
    tx.put(statements.RAISE_EPOCH, id=run.id)
    tx.put(statements.KEEP_ATTEMPTS, run_id=run.id, seqs=[what.seq])
    run = get(tx, run.id)
    values = msgspec.structs.asdict(what) | {"state": str(what.state), "epoch": run.epoch, "now": now}
    if not tx.change(statements.MARK, **values):
        raise UnknownRunError(f"Run {run.id} has no task run with the number {what.seq}.")
    return run


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
