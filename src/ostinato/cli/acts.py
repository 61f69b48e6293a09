"""``ostinato runs resume | retry | rerun | fork | cancel | mark``: what can be done to a run."""

from __future__ import annotations

import json as jsons
from typing import Annotated

from cyclopts import Parameter

from ostinato.cli.ending import carry_out
from ostinato.cli.options import AsJson, Params, Quiet, RunId, TaskName, read_parameters, store
from ostinato.cli.screen import show_json
from ostinato.engine.clearing import short_name
from ostinato.errors import UsageError
from ostinato.runtime import operations
from ostinato.runtime.auditing import audit
from ostinato.runtime.finding import find_run, name_of
from ostinato.runtime.overview import summary
from ostinato.states import State

From = Annotated[str, Parameter(name="--from", help="The task: a name, NAME[INDEX], a number or an id.")]
All = Annotated[
    bool,
    Parameter(name="--all", negative=(), help="Run all that depends on it again, even where nothing changed for it."),
]
Here = Annotated[
    bool, Parameter(name="--here", negative=(), help="In this process, though workers of its pool could do it.")
]
Value = Annotated[str | None, Parameter(name="--value", help="What it gives to others when it succeeded, as JSON.")]
NewState = Annotated[str, Parameter(name="STATE", help="succeeded, failed, skipped or cancelled.")]


def resume(run: RunId, /, *, here: Here = False, quiet: Quiet = False, json: AsJson = False) -> int:
    """Go on with an interrupted run from its last finished task: here, or by the workers of its pool."""
    if not here and _queued(run, "resume", as_json=json):
        return 0
    return carry_out(lambda settings: operations.resume(run, settings), as_json=json, quiet=quiet)


def retry(run: RunId, /, *, here: Here = False, quiet: Quiet = False, json: AsJson = False) -> int:
    """Try a run that did not succeed again, here or by the workers of its pool: what succeeded stays."""
    if not here and _queued(run, "retry", as_json=json):
        return 0
    return carry_out(lambda settings: operations.retry(run, settings), as_json=json, quiet=quiet)


def rerun(
    run: RunId, /, *, from_: From, all_: All = False, here: Here = False, quiet: Quiet = False, json: AsJson = False
) -> int:
    """Run chosen tasks of a run again, and what depends on them where their results have changed."""
    if not here and _queued(run, "rerun", from_, everything=all_, as_json=json):
        return 0
    return carry_out(
        lambda settings: operations.rerun(run, from_, everything=all_, settings=settings), as_json=json, quiet=quiet
    )


def _queued(run_id: str, verb: operations.Verb, task: str = "", *, everything: bool = False, as_json: bool) -> bool:
    """Give a run of a work pool to its workers; tell whether it is one."""
    with store() as opened:
        run = find_run(opened, run_id)
        if run.pool is None:
            return False
        queued = operations.queue_again(opened, run, verb, task, everything=everything)
        audit(opened, None, f"run_{verb}", run.id, run_id=run.id)
    if as_json:
        show_json(summary(queued))
    else:
        print(f"Run {run.id} of {run.flow} is queued in pool {run.pool}.\nWatch it: ostinato runs watch {run.id}")
    return True


def fork(run: RunId, /, *, from_: From, param: Params = None, quiet: Quiet = False, json: AsJson = False) -> int:
    """Make a new run that takes over what is unchanged from an old one, and runs the rest."""
    return carry_out(
        lambda settings: operations.fork(run, from_, lambda flow: read_parameters(flow, param), settings),
        as_json=json,
        quiet=quiet,
    )


def cancel(run: RunId, /, *, json: AsJson = False) -> None:
    """Stop a run: its tasks are stopped in order, with their hooks."""
    stopped = operations.cancel(run)
    if json:
        show_json(summary(stopped))
    elif stopped.state is State.CANCELLED:
        print(f"Run {stopped.id} of {stopped.flow} is cancelled.")
    else:
        print(f"Run {stopped.id} of {stopped.flow} is asked to stop; watch it by `ostinato runs watch {stopped.id}`.")


def mark(run: RunId, task: TaskName, state: NewState, /, *, value: Value = None, json: AsJson = False) -> None:
    """Say by hand how a task run ended; the run takes it from there when it goes on."""
    marked, row = operations.mark(run, task, state, None if value is None else _parsed(value))
    if json:
        show_json(summary(marked))
        return
    verb = {State.CRASHED: "resume", State.SUCCEEDED: "rerun"}.get(marked.state, "retry")
    more = " --from TASK" if verb == "rerun" else ""
    name = name_of(row) if row.map_index is not None else short_name(row.task)
    print(f"{name} of run {marked.id} is marked as {state}. Go on by `ostinato runs {verb} {marked.id}{more}`.")


def _parsed(value: str) -> object:
    try:
        parsed: object = jsons.loads(value)
    except ValueError as error:
        quoted = jsons.dumps(value)
        raise UsageError(f"--value {value!r} is not JSON ({error}). A text needs quotes: --value '{quoted}'.") from None
    return parsed
