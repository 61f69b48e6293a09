"""Child runs: flows called in a body, carried out inline, and flows that a body starts to run elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ostinato.context import Ended
from ostinato.engine.clearing import unfinished
from ostinato.engine.identity import child_run_id, started_run_id
from ostinato.executors.stopping import shield
from ostinato.runtime.arguments import LeftOut
from ostinato.runtime.making import complete, find_deployed, gates_of_flow, new_run, pack, started_run
from ostinato.states import TERMINAL, State

if TYPE_CHECKING:
    from ostinato.records import Run
    from ostinato.runtime.call import Call
    from ostinato.runtime.runner import Runner
    from ostinato.runtime.standstill import Standstill


def child_here(runner: Runner, call: Call) -> Ended:
    """Run a sync child flow as one attempt of its parent's task run."""
    started_at = runner.clock.now()
    try:
        run = _child(runner, call)
        if run.state is State.SUCCEEDED:
            value = _recorded(runner, run)
        else:
            assert call.flow is not None
            still = _shared(runner, call)
            value = runner.passes.run_here(run, call.flow, call.named, parent=runner, still=still)
        return Ended(value=value, started_at=started_at, finished_at=runner.clock.now())
    except BaseException as error:  # how the child ended is how the attempt ended
        return Ended(error=error, started_at=started_at, finished_at=runner.clock.now())


async def child_async(runner: Runner, call: Call) -> Ended:
    """Run an async child flow; see `child_here`."""
    started_at = runner.clock.now()
    try:
        run = _child(runner, call)
        if run.state is State.SUCCEEDED:
            value = _recorded(runner, run)
        else:
            assert call.flow is not None
            still = _shared(runner, call)
            value = await runner.passes.run_async(run, call.flow, call.named, parent=runner, still=still)
        return Ended(value=value, started_at=started_at, finished_at=runner.clock.now())
    except BaseException as error:
        return Ended(error=error, started_at=started_at, finished_at=runner.clock.now())


def _shared(runner: Runner, call: Call) -> Standstill | None:
    """Share what sees the waiting: where a flow's own body calls, that body waits for all that the child run does."""
    return runner.still if call.row.parent_seq is None else None


def _recorded(runner: Runner, run: Run) -> Any:
    return None if run.result is None else runner.session.results.load(run.result)


def _child(runner: Runner, call: Call) -> Run:
    """Create the child run, or take it up again where an earlier pass left it."""
    flow, row, session = call.flow, call.row, runner.session
    assert flow is not None
    identity = row.child_run_id or child_run_id(runner.run.id, row.id)
    row.child_run_id = identity
    wanted = new_run(session, flow, call.named, identity=identity)
    wanted.parent_run_id, wanted.parent_seq = runner.run.id, row.seq
    wanted.scheduled_at = runner.run.scheduled_at
    run = session.store.create(wanted)
    if run.worker_id == session.worker_id and run.epoch == 1 and run.state is State.RUNNING:
        return run
    if run.state is State.SUCCEEDED and row.clears == 0:
        return run
    if run.state is State.SUCCEEDED:
        clear = [row.seq for row in session.store.load(run.id)]
        return session.store.reopen(run.id, session.worker_id, clear=clear, epoch=run.epoch)
    is_over = run.state in TERMINAL and run.state is not State.CRASHED
    again = unfinished(session.store.load(run.id)) if is_over else []
    return session.store.reopen(run.id, session.worker_id, again=again, epoch=run.epoch)


def start_here(runner: Runner, call: Call) -> Ended:
    """Ask for a run of a flow, to be carried out elsewhere; its id is the value. The same again in every pass."""
    started_at = runner.clock.now()
    try:
        with shield():
            return Ended(value=_start(runner, call), started_at=started_at, finished_at=runner.clock.now())
    except BaseException as error:  # why there is no such run is how the attempt ended
        return Ended(error=error, started_at=started_at, finished_at=runner.clock.now())


def _start(runner: Runner, call: Call) -> str:
    flow, row, session = call.flow, call.row, runner.session
    assert flow is not None
    identity = row.child_run_id or started_run_id(runner.run.id, row.id, row.clears)
    given = {name: value for name, value in call.named.items() if not isinstance(value, LeftOut)}
    deployed = find_deployed(session.store, flow)
    parameters = complete(flow, deployed, given)
    stored = pack(runner, flow.name, parameters)
    wanted = started_run(
        flow,
        deployed,
        stored,
        identity=identity,
        version=session.version,
        now=session.store.now(),
        parent=runner.run,
    )
    wanted.parent_seq = row.seq
    wanted.gates = gates_of_flow(flow, parameters, wanted.priority, deployed)
    row.child_run_id = session.store.create(wanted).id
    return row.child_run_id
