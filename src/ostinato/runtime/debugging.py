"""A recorded task run, run again here with its recorded inputs: nothing is journaled, nothing else is run."""

from __future__ import annotations

import asyncio
import inspect
import pdb  # noqa: T100  # this is what it is for
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ostinato.authoring.load import load_task
from ostinato.clock import SystemClock
from ostinato.engine.clearing import parse_ranges
from ostinato.errors import OstinatoError, ResultError, UsageError
from ostinato.io.exceptions import decode_error
from ostinato.io.results import ResultStore
from ostinato.outcomes import parse_failure
from ostinato.runtime.arguments import FromMap, FromTaskRun
from ostinato.runtime.attempt import attempt_async, attempt_here, task_frame
from ostinato.runtime.finding import choose_one, find_run, rows_of, store_of
from ostinato.runtime.operations import load_for
from ostinato.settings import load_settings
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ostinato.authoring.task import Task
    from ostinato.context import Ended
    from ostinato.outcomes import Failure
    from ostinato.records import Run, TaskRun
    from ostinato.settings import Settings
    from ostinato.store.store import Store

_BAD = (State.FAILED, State.CRASHED)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A task run as it is on record, ready to be run again."""

    run: Run
    row: TaskRun
    task: Task[Any, Any]
    inputs: Mapping[str, Any]
    """One value per parameter."""
    state: Mapping[str, Any]
    """What it kept in ``current.state``."""
    newer: Sequence[str] = ()
    """What it took results from that has been run again since, so that they may be others."""

    @property
    def failure(self) -> Failure | None:
        """How it failed, if it did."""
        return parse_failure(self.row.error)


def recall(run_id: str, task: str, settings: Settings | None = None) -> Recorded:
    """Find a recorded task run, load its code and decode its inputs.

    Args:
        run_id: The run.
        task: The task run, as for `rerun`; where the name means several, the only one that failed.
        settings: Instead of those of the environment.

    Raises:
        UnknownRunError: If no run, or more than one, is meant.
        UsageError: If the task names nothing or several, or its inputs are not on record.
        TargetError: If the flow or the task cannot be loaded.
    """
    settings = settings or load_settings()
    with store_of(settings) as store:
        run = find_run(store, run_id)
        rows = rows_of(store, run)
        row = choose_one(rows, task, prefer=_BAD)
        if row.kind == "flow":
            raise UsageError(
                f"{row.task} is a child run; run one of its tasks again: `ostinato debug {row.child_run_id} TASK`."
            )
        if row.kind == "wait":
            raise UsageError(f"{row.task} is a wait, with nothing in it to run again: `ostinato runs why {run.id}`.")
        load_for(run)
        loaded = load_task(run.target or "", row.task)
        found = _Inputs(ResultStore(settings.results_url, token=settings.token), rows)
        inputs = found.decode(row)
        state = _state(store, found.results, row)
        return Recorded(run, row, loaded, inputs, state, found.newer(row))


def debug(recorded: Recorded, *, pdb: bool = False, step: bool = False) -> Ended:
    """Run a recorded task run again here, its arguments and result checked, and journal nothing.

    Args:
        recorded: What `recall` found.
        pdb: Whether to look at a failure in the debugger, where it happened.
        step: Whether to enter the debugger at the task's first line.

    Returns:
        How it ended.
    """
    work = _work(recorded)
    ended: Ended = _stepped(recorded.task.fn, work) if step else work()
    if pdb and ended.error is not None:
        _post_mortem(ended.error)
    return ended


def _work(recorded: Recorded) -> Callable[[], Ended]:
    spec, row = recorded.task.spec, recorded.row
    values = tuple(recorded.inputs[name] for name in spec.names)
    tags, state = recorded.task.options.tags, dict(recorded.state)
    frame = task_frame(recorded.run, row, runtime=None, tags=tags, state=state)
    clock = SystemClock()

    def origin(_: int) -> str:
        return ""

    if spec.is_async:
        timeout = recorded.task.options.timeout
        return lambda: asyncio.run(attempt_async(spec, values, frame, clock, origin, limit=timeout))
    return lambda: attempt_here(spec, values, frame, clock, origin)


def _stepped(fn: Callable[..., Any], work: Callable[[], Ended]) -> Ended:
    debugger = pdb.Pdb(nosigint=True)
    code = inspect.unwrap(fn).__code__
    lines = [line for _, _, line in code.co_lines() if line and line > code.co_firstlineno]
    debugger.rcLines += [f"tbreak {code.co_filename}:{min(lines, default=code.co_firstlineno)}", "continue"]
    ended: Ended | None = debugger.runcall(work)
    assert ended is not None
    return ended


def _post_mortem(error: BaseException) -> None:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("ostinato."):
        trace = trace.tb_next
    if trace is not None:
        pdb.post_mortem(trace)


class _Inputs:
    """Decodes recorded inputs: references to other task runs become their results."""

    def __init__(self, results: ResultStore, rows: Sequence[TaskRun]) -> None:
        self.results = results
        self._rows = {row.seq: row for row in rows}

    def decode(self, row: TaskRun) -> dict[str, Any]:
        """Return the arguments of a task run by parameter."""
        if row.inputs is None:
            raise UsageError(
                f"The inputs of {row.task} are not on record: they could not be stored, or were larger than "
                "OSTINATO_INPUTS_LIMIT bytes. Raise it and run the task again."
            )
        try:
            recorded = self.results.load(row.inputs)
            return {name: self._resolved(value) for name, value in recorded.items()}
        except ResultError as error:
            raise UsageError(f"The inputs of {row.task} cannot be read again: {error}") from error

    def newer(self, row: TaskRun) -> list[str]:
        """Name what a task run took results from that has ended again since it began."""
        began = row.started_at or row.created_at
        sources = (self._rows[seq] for seq in parse_ranges(row.upstream) if seq in self._rows)
        return list(dict.fromkeys(source.task for source in sources if (source.finished_at or 0) > began))

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, FromTaskRun):
            return self._result(value.seq)
        if isinstance(value, FromMap):
            return [self._result(seq) for seq in parse_ranges(value.seqs)]
        if type(value) is dict:
            return {key: self._resolved(item) for key, item in value.items()}
        if type(value) in {list, tuple, set, frozenset}:
            return type(value)(self._resolved(item) for item in value)
        return value

    def _result(self, seq: int) -> Any:
        row = self._rows.get(seq)
        if row is None or row.result is None:
            raise UsageError(
                f"The task run {seq}, whose result this one took, is not on record with a result"
                f"{'' if row is None else f': {row.task} is {row.state}'}."
            )
        return decode_error(row.result) if row.state is State.FAILED else self.results.load(row.result)


def _state(store: Store, results: ResultStore, row: TaskRun) -> dict[str, Any]:
    try:
        kept = store.load_states(row.run_id, row.id)
        return {item.name: results.load(item.value) for item in kept if item.value is not None}
    except OstinatoError:
        return {}
