"""Runs and their task runs, found by what a person types, and told as they are.

Everything here looks for dead workers first, so that nothing is called running that no process runs.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ostinato.clock import SECOND, to_datetime
from ostinato.engine.clearing import select, short_name
from ostinato.errors import RunStateError, UnknownRunError, UsageError, nearest
from ostinato.records import RunFilter
from ostinato.runtime.process import sweep, this_host
from ostinato.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ostinato.records import Run, TaskRun, Worker
    from ostinato.settings import Settings
    from ostinato.states import State
    from ostinato.store.store import Store

LATEST = "latest"
_SHOWN = 5
_CLOSE = 200


def store_for(settings: Settings) -> Store:
    """Open the store that the settings name: a server, or a database."""
    return open_store(
        settings.store_url,
        durability=settings.durability,
        lease=settings.lease,
        max_recoveries=settings.max_recoveries,
        token=settings.token,
    )


@contextmanager
def store_of(settings: Settings) -> Iterator[Store]:
    """Open the store while the context lasts, the server's where one is named, for what needs no lease."""
    store = store_for(settings)
    try:
        yield store
    finally:
        store.close()


def find_run(store: Store, fragment: str) -> Run:
    """Find the run that a person means, after a look for dead workers.

    Args:
        store: Where runs live.
        fragment: Its id, the unique beginning or end of it, or ``latest``.

    Raises:
        UnknownRunError: If there is none or more than one; the message names candidates.
    """
    sweep(store)
    wanted = fragment.strip().lower()
    if wanted == LATEST:
        newest = store.list_runs(RunFilter(top_level=True, limit=1))
        if not newest:
            raise UnknownRunError("There is no run yet. Start one: `ostinato run file.py:flow`.")
        return newest[0]
    found = store.find_runs(wanted)
    exact = [run for run in found if run.id == wanted]
    if exact or len(found) == 1:
        return (exact or found)[0]
    if found:
        lines = "".join(f"\n  {_line(run)}" for run in found[:_SHOWN])
        more = "\n  …" if len(found) > _SHOWN else ""
        raise UnknownRunError(f"{fragment!r} is the beginning or end of several runs; give more of it:{lines}{more}")
    raise UnknownRunError(_unknown(store, fragment))


def _unknown(store: Store, fragment: str) -> str:
    newest = store.list_runs(RunFilter(limit=_CLOSE))
    if not newest:
        return f"There is no run {fragment!r}, nor any other yet. Start one: `ostinato run file.py:flow`."
    hint = nearest(fragment.lower(), [run.id for run in newest])
    if hint:
        return f"There is no run {fragment!r}.{hint}"
    lines = "".join(f"\n  {_line(run)}" for run in newest[:3])
    return f"There is no run {fragment!r}. The newest are:{lines}"


def _line(run: Run) -> str:
    return f"{run.id}  {run.flow}  {run.state}  {to_datetime(run.created_at).astimezone():%Y-%m-%d %H:%M:%S}"


def rows_of(store: Store, run: Run) -> list[TaskRun]:
    """Return the task runs that a pass of the run would find, those of the runs it was forked from too."""
    return [row for row in store.load(run.id) if row.run_id == run.id or not row.orphaned]


def choose(rows: Sequence[TaskRun], task: str) -> list[TaskRun]:
    """Choose the task runs that a person names; what no pass reaches any more cannot be chosen.

    Raises:
        UsageError: If it names nothing, with the nearest name.
    """
    return select([row for row in rows if row.kind != "value" and not row.orphaned], task)


def choose_one(rows: Sequence[TaskRun], task: str, *, prefer: Sequence[State] = ()) -> TaskRun:
    """Choose one task run; where the name means several, the only one in a state that is preferred.

    Raises:
        UsageError: If it names nothing, or several; the message says how to name one.
    """
    found = choose(rows, task)
    preferred = [row for row in found if row.state in prefer]
    if len(found) == 1 or len(preferred) == 1:
        return found[0] if len(found) == 1 else preferred[0]
    shown = preferred or found
    names = ", ".join(f"{name_of(row)} ({row.state})" for row in shown[:_SHOWN])
    more = ", …" if len(shown) > _SHOWN else ""
    raise UsageError(f"{task!r} names {len(found)} task runs; choose one: {names}{more}.")


def name_of(row: TaskRun) -> str:
    """Name a task run as it can be typed: ``fetch[3]`` for an item of a map, else its number."""
    name = short_name(row.task)
    return f"{name}[{row.map_index}]" if row.map_index is not None else f"{row.seq}"


def refuse_if_held(store: Store, run: Run, verb: str) -> None:
    """Refuse what cannot be done while a process holds the run.

    Raises:
        RunStateError: Saying which process that is, since when, and when the run is free.
    """
    if not run.state.is_live:
        return
    worker = next((worker for worker in store.list_workers() if worker.id == run.worker_id), None)
    if worker is None:
        return
    raise RunStateError(
        f"Run {run.id} is {run.state}, so you cannot {verb} it: {holder(worker)}. {_free(store, run, worker)}"
    )


def holder(worker: Worker) -> str:
    """Say which process a worker is, and since when."""
    where = "of this machine" if worker.host == this_host() else f"on {worker.host.partition('/')[0]}"
    since = to_datetime(worker.started_at).astimezone()
    return f"process {worker.pid} {where} ({worker.kind}) holds it since {since:%Y-%m-%d %H:%M:%S}"


def _free(store: Store, run: Run, worker: Worker) -> str:
    stop = f"Wait until it has ended, or stop it by `ostinato runs cancel {run.id}`."
    if worker.host == this_host():
        return stop
    left = max(0.0, (worker.expires_at - store.now()) / SECOND)
    return f"{stop} If that machine is gone, the run is free in {left:.0f} s."


def refuse_child(run: Run, verb: str) -> None:
    """Refuse to take up a child run by itself: only its parent's body can go on with it.

    Raises:
        RunStateError: Naming the parent.
    """
    if run.parent_run_id is not None:
        raise RunStateError(
            f"Run {run.id} of {run.flow} is a child run of {run.parent_run_id}, which calls it: `ostinato runs {verb}`."
        )
