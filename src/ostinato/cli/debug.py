"""``ostinato debug``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.pretty import Pretty

from ostinato.cli.ending import short_traceback
from ostinato.cli.options import RunId, TaskName  # noqa: TC001  # cyclopts reads annotations when it runs
from ostinato.cli.screen import show
from ostinato.outcomes import failure_of
from ostinato.runtime import debugging

if TYPE_CHECKING:
    from ostinato.runtime.debugging import Recorded

_SHOWN = 80

Pdb = Annotated[bool, Parameter(name="--pdb", negative=(), help="Enter the debugger where it fails.")]
Step = Annotated[bool, Parameter(name="--step", negative=(), help="Enter the debugger at the task's first line.")]


def debug(run: RunId, task: TaskName, /, *, pdb: Pdb = False, step: Step = False) -> int:
    """Run a recorded task run again here, with its recorded inputs; nothing is journaled.

    Of several task runs of that name, the one that failed is taken.
    """
    recorded = debugging.recall(run, task)
    _tell(recorded)
    ended = debugging.debug(recorded, pdb=pdb, step=step)
    sys.stdout.flush()
    if ended.error is None:
        show(Pretty(ended.value))
        print(f"{recorded.task.key} returned{_compared(recorded, None)}", file=sys.stderr)
        return 0
    failure = failure_of(ended.error)
    print(short_traceback(failure), file=sys.stderr)
    print(f"{recorded.task.key} failed{_compared(recorded, failure.line)}", file=sys.stderr)
    return 1


def _tell(recorded: Recorded) -> None:
    row = recorded.row
    index = f"[{row.map_index}]" if row.map_index is not None else ""
    inputs = ", ".join(f"{name}={_short(value)}" for name, value in recorded.inputs.items())
    print(f"{row.task}{index}({inputs})", file=sys.stderr)
    for task in recorded.newer:
        print(f"  note: {task} has run again since; its result may be another now.", file=sys.stderr)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _compared(recorded: Recorded, line: str | None) -> str:
    """Say whether that is what happened in the run."""
    before = None if recorded.failure is None else recorded.failure.line
    if before == line:
        return ", as it did in the run." if line is None else " as it did in the run."
    if before is None:
        return f"; in the run it is {recorded.row.state}."
    return f"; in the run it failed with {before}"
