"""What becomes of a run whose process, or whose worker, is gone.

A run in a pool goes back to its queue, so many times in a row without progress; then it is poisonous and stays crashed.
A worker whose lease ended while no server was there to see it is no fault of its runs, and does not count. One
without a pool, begun by a script, is crashed at once: `resume` goes on with it, or a worker that has its project
takes it up (`requeue`). The epoch is raised in each case, so that whoever comes back late is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import RunStateError
from ostinato.outcomes import Failure
from ostinato.records import Run, Worker
from ostinato.resources import amounts_of
from ostinato.states import State
from ostinato.store import slots, statements, waits
from ostinato.store.events import tell
from ostinato.store.rows import records
from ostinato.store.statements_happenings import WITHDRAW_ASKS

if TYPE_CHECKING:
    from ostinato.store.transactions import Session
    from ostinato.work import ProcessEnd


_UNSEEN: Final = 4 * SECOND
"""Servers look at least as often: a lease that ended longer ago ended while none was there."""


class _Loss(msgspec.Struct, frozen=True):
    """What is known of a process that is gone."""

    at: int
    reason: str
    data: dict[str, object]
    """For the event."""
    error: str | None = None
    counts: bool = True
    """Whether it is one recovery more."""


def lose(tx: Session, run: Run, now: int, worker: Worker | None, limit: int) -> None:
    """Put back a locked run whose worker is gone, or end it as crashed."""
    tx.change(statements.CLOSE_TASK_RUNS, run_id=run.id, state="crashed", reason="lost", now=now)
    counts = worker is None or now - worker.expires_at <= _UNSEEN
    _fall(tx, run, _Loss(now, "lost", lost_data(run, worker), counts=counts), limit)


def lost_data(run: Run, worker: Worker | None) -> dict[str, object]:
    """Say in an event's words who lost a run."""
    data: dict[str, object] = {"reason": "lost", "worker_id": run.worker_id, "epoch": run.epoch}
    if worker is not None:
        data |= {"kind": worker.kind, "host": worker.host, "pid": worker.pid, "expires_at": worker.expires_at}
    return data


def give_back(tx: Session, run: Run, ending: ProcessEnd, limit: int) -> None:
    """Put back a locked run whose process has ended, or end it: as `Store.give_back` says."""
    now = tx.now()
    _close_children(tx, run, ending, now)
    tx.change(statements.CLOSE_TASK_RUNS, run_id=run.id, state="crashed", reason=ending.reason, now=now)
    data: dict[str, object] = {"reason": ending.reason, "worker_id": run.worker_id, "epoch": run.epoch}
    data |= {"message": ending.message, "exit_code": ending.exit_code, "peak_memory": ending.peak_memory}
    loss = _Loss(now, ending.reason, data, _error(ending))
    if run.cancel_requested_at is not None:
        _cancel(tx, run, loss)
    elif ending.reason == "drained":
        _return(tx, run, loss, "drained")
    elif ending.reason == "unloadable":
        _end(tx, run, loss, State.FAILED)
    elif ending.reason == "out_of_memory":
        larger = _with_more_memory(tx, run, ending)
        if larger is None:
            _end(tx, run, loss, State.FAILED)
        else:
            _return(tx, run, loss, "out_of_memory", resources=larger, attempt=1)
    else:
        _fall(tx, run, loss, limit)


def requeue(tx: Session, run: Run, pool: str, queue: str) -> None:
    """Give a locked run that was lost a pool."""
    if run.state is not State.CRASHED or run.reason != "lost":
        raise RunStateError(
            f"Run {run.id} is {run.state}{f' ({run.reason})' if run.reason else ''}: only one that was lost with its "
            f"process can be given to a pool. Use `ostinato runs resume` or `retry`."
        )
    tx.change(statements.ASSIGN_POOL, id=run.id, pool=pool, queue=queue)


def _fall(tx: Session, run: Run, loss: _Loss, limit: int) -> None:
    """Put a run back unless it has fallen too often."""
    if run.pool is None:
        _end(tx, run, loss, State.CRASHED)
    elif run.cancel_requested_at is not None:
        _cancel(tx, run, loss)
    elif loss.counts and run.recoveries >= limit:
        data = loss.data | {"reason": "poisonous", "last": loss.reason, "recoveries": run.recoveries}
        _end(tx, run, _Loss(loss.at, "poisonous", data, loss.error), State.CRASHED)
    else:
        more = 1 if loss.counts else 0
        tell(tx, run.id, "run.recovering", loss.at, loss.data | {"recoveries": run.recoveries + more})
        _return(tx, run, loss, "recovered", recoveries=more)


def _return(tx: Session, run: Run, loss: _Loss, why: str, **raised: Any) -> None:
    values = {"recoveries": 0, "attempt": 0, "resources": None} | raised
    tx.change(statements.RETURN_RUN, id=run.id, **values)
    slots.give_back(tx, run.id, loss.at, least=0)
    slots.queue(tx, {run.id: run.gates}, loss.at, why)


def _cancel(tx: Session, run: Run, loss: _Loss) -> None:
    _end(tx, run, loss, State.CANCELLED, reason=None, error=None)


def _end(tx: Session, run: Run, loss: _Loss, state: State, **instead: str | None) -> None:
    values = {"reason": loss.reason, "error": loss.error} | instead
    tx.change(statements.END_RUN, id=run.id, state=str(state), now=loss.at, **values)
    tx.put(WITHDRAW_ASKS, run_id=run.id)
    tell(tx, run.id, f"run.{state}", loss.at, loss.data)
    if run.awaited:
        waits.wake_waiters(tx, [run.id], loss.at)
    slots.give_back(tx, run.id, loss.at)


def _close_children(tx: Session, run: Run, ending: ProcessEnd, now: int) -> None:
    """End the child runs that were carried out in the same process, theirs too."""
    parents = [run.id]
    while parents:
        found = tx.rows(statements.CHILDREN_IN_PROCESS, ids=parents, worker_id=run.worker_id)
        children = records(Run, found)
        for child in children:
            tx.change(statements.CLOSE_TASK_RUNS, run_id=child.id, state="crashed", reason=ending.reason, now=now)
            data: dict[str, object] = {"reason": ending.reason, "worker_id": run.worker_id, "epoch": child.epoch}
            _end(tx, child, _Loss(now, ending.reason, data), State.CRASHED)
        parents = [child.id for child in children]


def _with_more_memory(tx: Session, run: Run, ending: ProcessEnd) -> str | None:
    """Return the resources of another attempt, as JSON; None where the deployment allows none."""
    found = tx.rows(statements.OPTIONS, names=[run.deployment]) if run.deployment is not None else []
    again = msgspec.json.decode(found[0][1]).get("retry_on_oom") if found else None
    if not again or run.attempt > again.get("times", 0):
        return None
    wanted = amounts_of(run.resources)
    memory = wanted.get("memory") or ending.peak_memory
    if memory:
        wanted["memory"] = float(round(memory * again.get("memory", 1.0)))
    return msgspec.json.encode(wanted).decode()


def _error(ending: ProcessEnd) -> str:
    kind = {"out_of_memory": "OutOfMemory", "unloadable": "TargetError"}.get(ending.reason, "RunError")
    return Failure(type=kind, module="ostinato.errors", message=ending.message, traceback="").to_json()
