"""``ostinato runs why``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from cyclopts import Parameter
from rich.text import Text

from ostinato.cli.options import AsJson, RunId, store
from ostinato.cli.screen import duration, show, show_json, state_text
from ostinato.clock import to_rfc3339
from ostinato.runtime.finding import choose_one, find_run, rows_of
from ostinato.runtime.why import explain, explain_task_run
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.runtime.why import Why

OneTask = Annotated[
    str | None, Parameter(name="TASK", help="One task run of it: a name, NAME[INDEX], a number or an id.")
]

_VERBS: Final = {State.SUCCEEDED, State.FAILED, State.CRASHED}
"""States that are verbs by themselves: a run *succeeded*, but it *was* skipped and *is* queued."""


def why(run: RunId, task: OneTask = None, /, *, json: AsJson = False) -> None:
    """Say why a run, or one of its task runs, is as it is, and what can be done."""
    with store() as opened:
        found = find_run(opened, run)
        said = (
            explain(opened, found)
            if task is None
            else explain_task_run(opened, found, choose_one(rows_of(opened, found), task))
        )
        now = opened.now()
    if json:
        shape: dict[str, Any] = msgspec.structs.asdict(said)
        show_json({**shape, "since": to_rfc3339(said.since)})
    else:
        show(*_lines(said, found.flow, now))


def _lines(said: Why, flow: str, now: int) -> Iterator[Text]:
    name = f"run {said.run_id} of {flow}" if said.task is None else f"{said.task} of run {said.run_id}"
    verb = "" if said.state in _VERBS else "was " if said.state.is_terminal else "is "
    head = Text.assemble((name, "bold"), f" {verb}", state_text(said.state, said.reason))
    if said.since is not None:
        long = duration(said.since, now)
        head.append(f", {long} ago" if said.state.is_terminal else f", for {long}", "dim")
    yield head
    for sentence in said.because:
        yield Text(f"  {sentence}")
    for line in said.advice:
        yield Text(f"  → {line}", "dim")
