"""``ostinato runs list``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.text import Text

from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import counts_text, duration, show, show_json, state_text, table, when
from ostinato.errors import UsageError, nearest
from ostinato.records import RunFilter
from ostinato.runtime.overview import summary
from ostinato.runtime.process import sweep
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from ostinato.records import Run

States = Annotated[
    list[str] | None, Parameter(name=["--state", "-s"], negative=(), help="Only runs in this state; repeatable.")
]
FlowName = Annotated[str | None, Parameter(name="--flow", help="Only runs of this flow.")]
Tag = Annotated[str | None, Parameter(name="--tag", help="Only runs with this tag.")]
Limit = Annotated[int, Parameter(name=["--limit", "-n"], help="How many at most; 20 by default.")]
Children = Annotated[bool, Parameter(name=["--all", "-a"], negative=(), help="Child runs too.")]


def list_runs(
    *,
    state: States = None,
    flow: FlowName = None,
    tag: Tag = None,
    limit: Limit = 20,
    all_: Children = False,
    json: AsJson = False,
) -> None:
    """List runs, newest first. Runs whose process has died are shown as crashed."""
    which = RunFilter(
        states=[_state(name) for name in state or ()], flow=flow, tag=tag, top_level=not all_, limit=max(1, limit)
    )
    with store() as opened:
        sweep(opened)
        runs, now = opened.list_runs(which), opened.now()
        counts = opened.count_task_runs([run.id for run in runs])
    if json:
        show_json([summary(run, counts.get(run.id, {})) for run in runs])
    elif runs:
        show(_table(runs, counts, now))
        _hint(runs)
    elif state or flow or tag:
        print("No run fits.")
    else:
        print("There is no run yet. Start one: ostinato run file.py:flow")


def _table(runs: Sequence[Run], counts: Mapping[str, Mapping[State, int]], now: int) -> Table:
    made = table("run", "flow", "state", "started", "took", "task runs", whole=("run", "flow", "started", "took"))
    for run in runs:
        end = run.finished_at if run.state.is_terminal else now
        made.add_row(
            run.id,
            run.flow if run.parent_run_id is None else Text(f"└ {run.flow}", "dim"),
            state_text(run.state, run.reason),
            when(run.started_at or run.created_at, now),
            duration(run.started_at, end),
            counts_text(counts.get(run.id, {})),
        )
    return made


def _hint(runs: Sequence[Run]) -> None:
    crashed = next((run for run in runs if run.state is State.CRASHED and run.parent_run_id is None), None)
    if crashed is not None:
        show(Text(f"\nInterrupted runs go on by `ostinato runs resume {crashed.id}`.", "dim"))


def _state(name: str) -> State:
    try:
        return State(name.lower())
    except ValueError:
        names = [str(state) for state in State]
        raise UsageError(f"{name!r} is no state; expected one of {', '.join(names)}.{nearest(name, names)}") from None
