"""``ostinato runs show``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ostinato.cli.ending import short_traceback
from ostinato.cli.grid import failures, grid
from ostinato.cli.options import AsJson, RunId, store
from ostinato.cli.screen import duration, show_json, state_text, when
from ostinato.cli.screen import show as show_on
from ostinato.io.serializers import describe
from ostinato.outcomes import parse_failure
from ostinato.runtime.finding import find_run, holder, rows_of
from ostinato.runtime.overview import details
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from ostinato.records import Run, TaskRun, Worker


def show(run: RunId, /, *, json: AsJson = False) -> None:
    """Show a run: how it stands, and what became of each of its calls."""
    with store() as opened:
        found = find_run(opened, run)
        rows, now, workers = rows_of(opened, found), opened.now(), opened.list_workers()
        attempts = opened.list_attempts(found.id) if json else []
    if json:
        show_json(details(found, rows, attempts))
    else:
        show_on(*page(found, rows, now, workers))


def page(run: Run, rows: Sequence[TaskRun], now: int, workers: Sequence[Worker] = ()) -> list[RenderableType]:
    """Lay out all that is shown of a run."""
    items: list[RenderableType] = [_head(run, now, workers)]
    if any(row.kind != "value" for row in rows):
        items += ["", grid(run, rows, now)]
    failed = failures(rows)
    if failed is not None:
        items += ["", failed]
    failure = parse_failure(run.error)
    if failure is not None:
        items += ["", Text(short_traceback(failure), "red")]
    hint = next_step(run)
    if hint:
        items += ["", Text(hint, "dim")]
    return items


def next_step(run: Run) -> str:
    """Say how a run goes on, where it can."""
    if run.parent_run_id is not None:
        return f"Its parent: ostinato runs show {run.parent_run_id}"
    if run.state is State.CRASHED:
        return f"Go on with it: ostinato runs resume {run.id}"
    if run.state in {State.FAILED, State.CANCELLED}:
        return f"Try it again:  ostinato runs retry {run.id}"
    return ""


def _head(run: Run, now: int, workers: Sequence[Worker]) -> Table:
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in _facts(run, now, workers):
        made.add_row(name, value)
    return made


def _facts(run: Run, now: int, workers: Sequence[Worker]) -> Iterator[tuple[str, RenderableType]]:
    yield "run", Text(run.id, "bold")
    yield "flow", run.flow if run.target is None else f"{run.flow}  {run.target}"
    yield "state", state_text(run.state, run.reason, aside="being cancelled" if _stopping(run) else "")
    held = next((worker for worker in workers if worker.id == run.worker_id), None)
    if held is not None:
        yield "held by", holder(held)
    if run.started_at is not None:
        end = run.finished_at if run.state.is_terminal else now
        yield "started", f"{when(run.started_at, now)}, {_took(run)} {duration(run.started_at, end)}"
    if run.epoch > 1 or run.attempt > 1:
        yield "attempt", f"{run.attempt} (epoch {run.epoch})"
    for name, value in (("parent", run.parent_run_id), ("fork of", run.branch_of), ("key", run.key)):
        if value:
            yield name, value
    if run.tags:
        yield "tags", ", ".join(run.tags)
    for name, data in (("parameters", run.parameters), ("result", run.result)):
        if data is not None:
            yield name, describe(data)


def _stopping(run: Run) -> bool:
    return run.cancel_requested_at is not None and not run.state.is_terminal


def _took(run: Run) -> str:
    return "took" if run.state.is_terminal else "for"
