"""What can be done to a run from outside: resume, retry, rerun, fork, cancel, mark. The CLI's verbs are these.

```
resume   an interrupted run goes on                         what has ended stays, failures too
retry    a run that did not succeed is tried again          what succeeded stays
rerun    chosen task runs are run again, in the same run    what depends on them too, unless nothing changed for it
fork     the same in a new run, which may have other parameters; the old one stays as it is
cancel   a run is stopped                                   mark   a person says how a task run ended
```

The first four take the run up in this process and return when it has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ostinato.authoring.load import load_flow
from ostinato.engine.clearing import ancestors, downstream, unfinished
from ostinato.errors import ResultError, RunStateError, TaskFailedError, UsageError, nearest
from ostinato.fingerprint import fingerprint
from ostinato.ids import new_id
from ostinato.io.exceptions import encode_error
from ostinato.io.pickles import stand_in_for_main
from ostinato.io.results import ResultStore
from ostinato.outcomes import Cancel, Skip
from ostinato.runtime.cancelling import cancel_run
from ostinato.runtime.finding import choose, choose_one, find_run, refuse_child, refuse_if_held, rows_of, store_of
from ostinato.runtime.making import new_run
from ostinato.runtime.start import begin, opened, stored_parameters, take_up, unloadable
from ostinato.settings import load_settings
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ostinato.authoring.flow import Flow
    from ostinato.records import Run, TaskRun
    from ostinato.runtime.passes import Passes
    from ostinato.runtime.session import Session
    from ostinato.settings import Settings
    from ostinato.store.store import Store

replace = msgspec.structs.replace
Verb = Literal["resume", "retry", "rerun"]


@dataclass(frozen=True, slots=True)
class Carried:
    """A run that was carried out here, as it is now, and what its body returned or raised."""

    run: Run
    value: Any = None
    error: BaseException | None = None

    def unwrap(self) -> Any:
        """Return the value, or raise what ended the run."""
        if self.error is not None:
            raise self.error
        return self.value


def run_flow(flow: Flow[Any, Any], parameters: Mapping[str, Any], settings: Settings | None = None) -> Carried:
    """Run a flow here and now.

    Raises:
        ParameterError: If the parameters are refused; no run was made.
        RunStateError: If a run that has its idempotency key already did not succeed.
    """
    checked = flow.validate((), dict(parameters))
    with opened(settings or load_settings(), kind="cli") as (session, passes):
        run, given, finished = begin(session, flow, checked)
        if finished:
            return Carried(run, session.results.load(run.result) if run.result else None)
        return _carry_out(session, run, lambda: _body(passes, run, flow, given))


def _body(passes: Passes, run: Run, flow: Flow[Any, Any], given: Mapping[str, Any]) -> Any:
    return passes.run_async(run, flow, given) if flow.spec.is_async else passes.run_here(run, flow, given)


def resume(run_id: str, settings: Settings | None = None) -> Carried:
    """Go on with an interrupted run: finished task runs stay, whether they succeeded or failed.

    Raises:
        UnknownRunError: If no run, or more than one, is meant.
        RunStateError: If it is not interrupted; the message says which verb fits.
        TargetError: If its flow cannot be loaded.
    """
    return _take_up_again(run_id, "resume", settings=settings)


def retry(run_id: str, settings: Settings | None = None) -> Carried:
    """Try a run that did not succeed again: task runs that succeeded stay, the others run again.

    Raises:
        UnknownRunError: If no run, or more than one, is meant.
        RunStateError: If it succeeded, or a process holds it.
        TargetError: If its flow cannot be loaded.
    """
    return _take_up_again(run_id, "retry", settings=settings)


def rerun(run_id: str, task: str, *, everything: bool = False, settings: Settings | None = None) -> Carried:
    """Run chosen task runs of a run that has ended again, and what depends on them.

    What failed runs again too. What depends on a chosen one keeps its result where that turns out unchanged.

    Args:
        run_id: The run.
        task: The task runs: a task's name, with ``[index]`` for one item of a map, a number or an id.
        everything: Whether all that depends on them runs again, changed or not.
        settings: Instead of those of the environment.

    Raises:
        UnknownRunError: If no run, or more than one, is meant.
        UsageError: If the task names nothing in this run.
        RunStateError: If a process holds the run, or it is a child run.
        TargetError: If its flow cannot be loaded.
    """
    return _take_up_again(run_id, "rerun", task, everything=everything, settings=settings)


def queue_again(store: Store, run: Run, verb: Verb, task: str = "", *, everything: bool = False) -> Run:
    """Resume, retry or rerun a run that belongs to a work pool: one of its workers does it.

    Args:
        store: Where the run is.
        run: The run.
        verb: What is done, as the function of that name does it in this process.
        task: For ``rerun``: the task runs.
        everything: For ``rerun``: whether all that depends on them runs again.

    Raises:
        UsageError: If it belongs to no pool, or the task names nothing in this run.
        RunStateError: If a process holds the run, its state does not allow it, or it is a child run.
    """
    if run.pool is None:
        raise UsageError(f"Run {run.id} belongs to no work pool. Do it here: `ostinato runs {verb} {run.id}`.")
    what = _again(store, run, verb, task, everything=everything)
    return _reopen(store, run, what, None)


def fork(
    run_id: str,
    task: str,
    changes: Mapping[str, Any] | Callable[[Flow[Any, Any]], Mapping[str, Any]] | None = None,
    settings: Settings | None = None,
) -> Carried:
    """Make a new run of a run that has ended: it reads through what is unchanged, and runs the rest.

    Args:
        run_id: The run to fork from.
        task: Where the new run begins to differ, as for `rerun`.
        changes: Other values for some parameters, or a function of the loaded flow that gives them.
        settings: Instead of those of the environment.

    Raises:
        UnknownRunError: If no run, or more than one, is meant.
        UsageError: If the task names nothing in this run.
        ParameterError: If the changed parameters are refused; no run was made.
        RunStateError: If a process holds the run, or it is a child run.
        TargetError: If its flow cannot be loaded.
    """
    with opened(settings or load_settings(), kind="cli") as (session, passes):
        run = find_run(session.store, run_id)
        refuse_child(run, f"fork {run.parent_run_id} --from {run.flow}")
        refuse_if_held(session.store, run, "fork")
        plan = _plan(rows_of(session.store, run), task)
        with _at_home(run):
            flow = load_for(run)
            changed = changes(flow) if callable(changes) else changes or {}
            given = flow.validate((), {**_parameters(session, run), **changed})
            cut = plan.clear | plan.stale | plan.below | set(unfinished(plan.rows))
            wanted = new_run(session, flow, given, identity=new_id(session.clock.now()))
            wanted = replace(
                wanted,
                lineage=run.lineage,
                branch_of=run.id,
                branch_cut=[row.id for row in plan.rows if row.seq in cut],
                target=run.target,
                cwd=run.cwd,
                tags=list(run.tags),
                key=None,
            )
            created = session.store.create(wanted)
            return _carry_out(session, created, lambda: _body(passes, created, flow, given))


def cancel(run_id: str, settings: Settings | None = None) -> Run:
    """Ask a run to stop, and its child runs; one that no process holds is cancelled at once.

    Raises:
        UnknownRunError: If no run, or more than one, is meant.
        RunStateError: If it has ended already.
    """
    with store_of(settings or load_settings()) as store:
        return cancel_run(store, find_run(store, run_id).id)


def mark(
    run_id: str, task: str, state: str, value: Any = None, settings: Settings | None = None
) -> tuple[Run, TaskRun]:
    """Say how a task run ended, in place of what is on record; see `mark_in`.

    Args:
        run_id: The run; no process may hold it.
        task: The task run.
        state: ``succeeded``, ``failed``, ``skipped`` or ``cancelled``.
        value: What it gives to whatever takes it, when it succeeded.
        settings: Instead of those of the environment.
    """
    settings = settings or load_settings()
    with store_of(settings) as store:
        return mark_in(
            store, ResultStore(settings.results_url, token=settings.token), find_run(store, run_id), task, state, value
        )


def mark_in(
    store: Store, results: ResultStore, run: Run, task: str, state: str, value: Any = None
) -> tuple[Run, TaskRun]:
    """Say how a task run ended, in a store that is open.

    Returns:
        The run, and the task run as it was.

    Raises:
        UsageError: If the task names nothing or several, or the state cannot be marked.
        RunStateError: If a process holds the run.
    """
    wanted = _markable(state)
    if value is not None and wanted is not State.SUCCEEDED:
        raise UsageError(f"Only a task run that is marked as succeeded has a value; it is to be {wanted}.")
    refuse_if_held(store, run, "mark a task run of")
    row = choose_one(rows_of(store, run), task)
    _refuse_read_through(run, [row], task)
    if row.kind == "flow":
        raise UsageError(f"{row.task} is a child run, {row.child_run_id}: mark a task run in that one.")
    result, digest = _marked_result(results, row, wanted, value)
    return store.mark(run.id, row.seq, wanted, result=result, result_fp=digest), row


_MARKS = (State.SUCCEEDED, State.FAILED, State.SKIPPED, State.CANCELLED)


def _markable(state: str) -> State:
    if state not in _MARKS:
        names = [str(mark) for mark in _MARKS]
        raise UsageError(f"A task run can be marked as {', '.join(names)}, not as {state!r}.{nearest(state, names)}")
    return State(state)


def _marked_result(results: ResultStore, row: TaskRun, state: State, value: Any) -> tuple[bytes | None, bytes | None]:
    if state is State.FAILED:
        return encode_error(TaskFailedError(f"{row.task} was marked as failed by hand.")), None
    if state is not State.SUCCEEDED:
        value = Skip("marked by hand") if state is State.SKIPPED else Cancel("marked by hand")
    found = fingerprint(value)
    stored, _ = results.dump(value, found, 1 << 40)  # in the row itself, whatever its size: no commit names a blob
    return stored, found.digest


# --- what they share


def load_for(run: Run) -> Flow[Any, Any]:
    """Load the flow of a run from where it was defined when the run was made.

    Raises:
        TargetError: If it cannot be found there any more.
    """
    if run.target is None:
        raise unloadable(run)
    if run.cwd is not None and run.cwd not in sys.path:
        sys.path.append(run.cwd)
    flow = load_flow(run.target)
    module = sys.modules.get(flow.fn.__module__)
    if module is not None:
        stand_in_for_main(module)
    return flow


@dataclass(frozen=True, slots=True)
class _Again:
    """Which task runs of a run run again, and whether that is a new attempt of the run."""

    again: Sequence[int] = ()
    clear: Sequence[int] = ()
    stale: Sequence[int] = ()
    attempt: bool = True


def _take_up_again(
    run_id: str, verb: Verb, task: str = "", *, everything: bool = False, settings: Settings | None
) -> Carried:
    with opened(settings or load_settings(), kind="cli") as (session, passes):
        run = find_run(session.store, run_id)
        what = _again(session.store, run, verb, task, everything=everything)
        return _take_up(session, passes, run, lambda: _reopen(session.store, run, what, session.worker_id))


def _reopen(store: Store, run: Run, what: _Again, worker_id: str | None) -> Run:
    return store.reopen(run.id, worker_id, again=what.again, clear=what.clear, stale=what.stale, attempt=what.attempt)


def _again(store: Store, run: Run, verb: Verb, task: str, *, everything: bool) -> _Again:
    """Refuse what a run's state does not allow; say what of it runs again."""
    refuse_child(run, f"{verb} {run.parent_run_id}" + (f" --from {run.flow}" if verb == "rerun" else ""))
    refuse_if_held(store, run, verb)
    if verb == "resume":
        if run.state not in {State.CRASHED, State.QUEUED, State.SCHEDULED}:
            ended = f"Run {run.id} of {run.flow} {_PAST[run.state]}; it was not interrupted."
            raise RunStateError(f"{ended} {_fitting(run)}")
        return _Again(attempt=False)
    if verb == "retry":
        if run.state is State.SUCCEEDED:
            raise RunStateError(f"Run {run.id} of {run.flow} succeeded; there is nothing to retry. {_fitting(run)}")
        return _Again(unfinished(_own(run, rows_of(store, run))))
    plan = _plan(rows_of(store, run), task)
    _refuse_read_through(run, plan.chosen, task)
    own = {row.seq for row in _own(run, plan.rows)}
    clear, stale = plan.clear & own, plan.stale & own
    if everything:
        clear, stale = clear | stale | (plan.below & own), set()
    again = set(unfinished(_own(run, plan.rows))) - clear - stale
    return _Again(sorted(again), sorted(clear), sorted(stale))


_PAST = {
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.CANCELLED: "was cancelled",
    State.SKIPPED: "was skipped",
}


def _fitting(run: Run) -> str:
    """Say which verb fits a run's state."""
    if run.state is State.SUCCEEDED:
        return f"To run a part of it again: `ostinato runs rerun {run.id} --from TASK`."
    return f"To run what has not succeeded again: `ostinato runs retry {run.id}`."


def _parameters(session: Session, run: Run) -> dict[str, Any]:
    parameters = stored_parameters(session, run)
    if parameters is None:
        raise UsageError(f"The parameters of run {run.id} could not be stored when it began: it cannot be forked.")
    return parameters


@contextlib.contextmanager
def _at_home(run: Run) -> Iterator[None]:
    """Work in the folder in which the run was started, so that its relative paths hold."""
    before = Path.cwd()
    if run.cwd is not None and Path(run.cwd).is_dir():
        os.chdir(run.cwd)
    try:
        yield
    finally:
        os.chdir(before)


def _take_up(session: Session, passes: Passes, run: Run, reopen: Callable[[], Run]) -> Carried:
    with _at_home(run):
        flow = load_for(run)
        if run.parameters is not None:
            try:
                session.results.load(run.parameters)
            except ResultError as error:
                raise UsageError(f"The parameters of run {run.id} cannot be read again: {error}") from error
        taken = reopen()
        return _carry_out(session, taken, lambda: take_up(session, passes, taken, flow))


def _carry_out(session: Session, run: Run, work: Callable[[], Any]) -> Carried:
    """Run a run's body to its end and see how it stands then."""
    value, ended = None, None
    try:
        value = work()
        if asyncio.iscoroutine(value):
            value = asyncio.run(value)
    except BaseException as error:  # how the run ended is what is returned
        ended = error
    return Carried(session.store.get_run(run.id), value, ended)


# --- which task runs are run again


@dataclass(frozen=True, slots=True)
class _Plan:
    rows: Sequence[TaskRun]
    chosen: Sequence[TaskRun]
    clear: set[int]
    """The chosen ones, what they called, and those in whose bodies they were called."""
    stale: set[int]
    """What depends on them by data or order."""
    below: set[int]
    """What the stale ones called: found again, or not, when their bodies run."""


def _plan(rows: Sequence[TaskRun], task: str) -> _Plan:
    chosen = choose(rows, task)
    start = {row.seq for row in chosen}
    above = set(ancestors(rows, start))
    clear = start | above | _descendants(rows, start)
    below_chosen = downstream([replace(row, parent_seq=None) for row in rows], clear)
    stale = set(below_chosen) | (set(ancestors(rows, below_chosen)) - clear)
    below = _descendants(rows, stale) - clear
    return _Plan(rows, chosen, clear, stale - below, below)


def _descendants(rows: Sequence[TaskRun], start: set[int]) -> set[int]:
    """Find what the bodies of these task runs called, directly or not."""
    found = set(start)
    for row in sorted(rows, key=lambda row: row.seq):  # a caller comes before what it calls
        if row.parent_seq in found:
            found.add(row.seq)
    return found - start


def _own(run: Run, rows: Sequence[TaskRun]) -> list[TaskRun]:
    return [row for row in rows if row.run_id == run.id]


def _refuse_read_through(run: Run, chosen: Sequence[TaskRun], task: str) -> None:
    others = {row.run_id for row in chosen} - {run.id}
    if others:
        raise UsageError(
            f"Run {run.id} reads {task} through from run {', '.join(sorted(others))}, of which it is a fork; it has no "
            f"such task run of its own. Fork it again: `ostinato runs fork {run.id} --from {task}`."
        )
