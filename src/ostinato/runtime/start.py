"""Where runs begin in this process: a flow that is called, or a run that is taken up again."""

from __future__ import annotations

import asyncio
import types
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ostinato.errors import RunCancelledError, RunStateError, StoreError, TargetError, UsageError
from ostinato.fingerprint import fingerprint
from ostinato.handle import RunHandle
from ostinato.ids import new_id
from ostinato.outcomes import Cancelled, Interrupted, Withdrawn
from ostinato.records import RunFilter
from ostinato.runtime.capture import captured
from ostinato.runtime.display import open_display
from ostinato.runtime.line import OutsideLine
from ostinato.runtime.making import complete, find_deployed, gates_of_flow, new_run, started_run
from ostinato.runtime.passes import Passes
from ostinato.runtime.process import sweep
from ostinato.runtime.retention import prune_a_little
from ostinato.runtime.session import Session, version
from ostinato.runtime.signals import interruptible
from ostinato.settings import load_settings
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ostinato.authoring.flow import Flow
    from ostinato.records import Run
    from ostinato.settings import Settings
    from ostinato.store.store import Store

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def run_here(flow: Flow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a flow here and now; a coroutine that does, if the flow is async.

    Raises:
        ParameterError: If the parameters are refused; no run was made.
        Exception: What the flow's body raised.
    """
    with _clean():
        parameters = flow.validate(args, kwargs)
        if flow.spec.is_async:
            return _run_async(flow, parameters)
        with opened(load_settings()) as (session, passes):
            run, given, finished = begin(session, flow, parameters)
            return _recorded(session, run) if finished else passes.run_here(run, flow, given)


async def _run_async(flow: Flow[Any, Any], parameters: dict[str, Any]) -> Any:
    with _clean(), opened(load_settings()) as (session, passes):
        run, given, finished = begin(session, flow, parameters)
        return _recorded(session, run) if finished else await passes.run_async(run, flow, given)


def start_elsewhere(flow: Flow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunHandle[Any]:
    """Ask for a run of a flow that a worker carries out.

    Raises:
        ParameterError: If the parameters are refused; no run was made.
        UsageError: If no worker could find the flow.
    """
    with _clean():
        given = flow.validate_given(args, kwargs)
        line = OutsideLine(load_settings())
        deployed, now = find_deployed(line.store, flow), line.store.now()
        parameters = complete(flow, deployed, given)
        stored, _ = line.results.dump(parameters, fingerprint(parameters), 1 << 20)
        wanted = started_run(flow, deployed, stored, identity=new_id(now), version=version(), now=now)
        wanted.gates = gates_of_flow(flow, parameters, wanted.priority, deployed)
        return RunHandle(line.store.create(wanted).id, flow.name, line)


def _recorded(session: Session, run: Run) -> Any:
    return None if run.result is None else session.results.load(run.result)


@contextmanager
def opened(settings: Settings, *, kind: str = "script") -> Iterator[tuple[Session, Passes]]:
    """Open this process as a worker, with a display, captured output and Ctrl-C handled."""
    with Session(settings, kind=kind) as session:
        passes = Passes(session)
        with (
            open_display(settings) as display,
            captured(level=_LEVELS[settings.log_level], display=display),
            interruptible(session),
        ):
            prune_a_little(session)
            yield session, passes


def begin(session: Session, flow: Flow[Any, Any], parameters: dict[str, Any]) -> tuple[Run, Mapping[str, Any], bool]:
    """Create a flow's run, or take up the interrupted one where that is asked for.

    Returns:
        The run, leased to the session; the parameters it runs with; whether it had finished already.

    Raises:
        RunStateError: If a run of this flow has the same idempotency key and did not succeed.
    """
    sweep(session.store)
    interrupted = find_interrupted(session.store, flow)
    if interrupted is not None and flow.options.resume:
        stored = stored_parameters(session, interrupted)
        if stored is not None and fingerprint(stored).digest == fingerprint(parameters).digest:
            session.announce(f"Going on with run {interrupted.id}, {_finished(session.store, interrupted)}.")
            return session.store.reopen(interrupted.id, session.worker_id), stored, False
        session.announce(f"Run {interrupted.id} was interrupted too, with other parameters; this is a new run.")
    elif interrupted is not None:
        session.announce(
            f"An earlier run of {flow.name}, {interrupted.id}, was interrupted, "
            f"{_finished(session.store, interrupted)}. Go on with it by `ostinato runs resume {interrupted.id}`."
        )
    run = new_run(session, flow, parameters, identity=new_id(session.clock.now()))
    run.gates = gates_of_flow(flow, parameters)
    created = session.store.create(run)
    if created.id == run.id:
        return created, parameters, False
    if created.state is State.SUCCEEDED:
        session.announce(
            f"Run {created.id} has the key {flow.options.key!r} already and succeeded; its result is given."
        )
        return created, parameters, True
    message = (
        f"Run {created.id} of {flow.name} has the key {flow.options.key!r} already and is {created.state}. "
        f"Go on with it by `ostinato runs retry {created.id}`, or use another key."
    )
    raise RunStateError(message)


def find_interrupted(store: Store, flow: Flow[Any, Any]) -> Run | None:
    """Return the newest run of this very flow, if it was interrupted."""
    if flow.target is None:
        return None
    newest = store.list_runs(RunFilter(flow=flow.name, target=flow.target, top_level=True, limit=1))
    return newest[0] if newest and newest[0].state is State.CRASHED else None


def _finished(store: Store, run: Run) -> str:
    count = store.count_task_runs([run.id]).get(run.id, {}).get(State.SUCCEEDED, 0)
    return f"with {count} task run{'s' if count != 1 else ''} finished"


def stored_parameters(session: Session, run: Run) -> dict[str, Any] | None:
    """Return the parameters a run was made with, or None where they could not be stored."""
    if run.parameters is None:
        return None
    parameters: dict[str, Any] = session.results.load(run.parameters)
    return parameters


def take_up(
    session: Session, passes: Passes, run: Run, flow: Flow[Any, Any], changes: Mapping[str, Any] | None = None
) -> Any:
    """Run a run that was reopened for this session to its end.

    Returns:
        What the body returned; a coroutine of it if the flow is async.
    """
    parameters = stored_parameters(session, run)
    if parameters is None:
        message = (
            f"The parameters of run {run.id} could not be stored when it began, so only its own process could run it."
        )
        raise UsageError(message)
    given = flow.validate((), {**parameters, **(changes or {})})
    return passes.run_async(run, flow, given) if flow.spec.is_async else passes.run_here(run, flow, given)


class _clean:  # noqa: N801  # reads as a statement
    """Hand on what a run raises as its caller should see it: without our frames, our signals in public words."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Mend what passes. A generator could not: contextlib puts the old traceback back."""
        if error is None:
            return
        if isinstance(error, Interrupted):
            raise KeyboardInterrupt from None  # what Ctrl-C is to whoever called, with its exit code
        if isinstance(error, Withdrawn):
            raise asyncio.CancelledError from None
        if isinstance(error, Cancelled):
            raise RunCancelledError(f"The run was cancelled: {error}.") from None
        error.__traceback__ = without_own_frames(error)
        if isinstance(error, (StoreError, UsageError)):  # their message says what lies behind it
            error.__cause__ = None
            error.__suppress_context__ = True


def without_own_frames(error: BaseException) -> types.TracebackType | None:
    """Return an exception's traceback without Ostinato's own frames."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if not name.startswith("ostinato.") and name != "contextlib":
            frames.append(trace)
        trace = trace.tb_next
    kept: types.TracebackType | None = None
    for frame in reversed(frames):
        kept = types.TracebackType(kept, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return kept


def unloadable(run: Run) -> TargetError:
    """Say that a run's flow has no place to be found in."""
    return TargetError(
        f"Run {run.id} of {run.flow} was started from a prompt or a notebook, so its flow cannot be found again. "
        "Define the flow in a file."
    )
