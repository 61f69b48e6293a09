"""The attempts of a run's task runs: each made ready here, and handed to where it executes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostinato.records import LogLine
from ostinato.runtime.attempt import RemoteAttempt, attempt_async, attempt_here, task_frame
from ostinato.runtime.children import child_async, child_here, start_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.context import Ended, Frame, Handle, Note
    from ostinato.records import TaskRun
    from ostinato.runtime.arguments import Arguments
    from ostinato.runtime.call import Call
    from ostinato.runtime.runner import Runner


def try_here(runner: Runner, call: Call) -> Ended:
    """Run one attempt in this thread."""
    if call.row.kind == "start":
        return start_here(runner, call)
    if call.flow is not None:
        return child_here(runner, call)
    frame = _frame(runner, call)
    return attempt_here(call.spec, call.arguments.values, frame, runner.clock, _origin(runner, call))


async def try_async(runner: Runner, call: Call) -> Ended:
    """Run one attempt on this loop."""
    if call.flow is not None:
        return await child_async(runner, call)
    frame, limit, origin = _frame(runner, call), call.options.timeout, _origin(runner, call)
    return await attempt_async(call.spec, call.arguments.values, frame, runner.clock, origin, limit=limit)


def hand_over(runner: Runner, call: Call, done: Callable[[Ended], None], memory: float) -> Handle:
    """Hand one attempt to its executor.

    Args:
        runner: The pass.
        call: The task run.
        done: Takes how the attempt ended.
        memory: How many times the memory it may take that its task says.
    """
    executor = runner.executor_of(call)
    if not executor.isolated:
        return executor.submit(lambda: try_here(runner, call), done)
    limit = None if call.options.resources is None else call.options.resources.amounts.get("memory")
    frame = _frame(runner, call)
    work = RemoteAttempt(
        call.spec.fn,
        call.arguments.values,
        frame,
        runner.recorder.load_state(call),
        check=_origin(runner, call) is not None,
        echo=runner.session.settings.display == "none",
        memory=None if limit is None else round(limit * memory),
    )
    return executor.submit(work, done, lambda note: _noted(runner, call.row, frame, note))


def _frame(runner: Runner, call: Call) -> Frame:
    state = runner.recorder.state_of(call)
    return task_frame(runner.run, call.row, runtime=runner, tags=call.options.tags, state=state)


def _origin(runner: Runner, call: Call) -> Callable[[int], str] | None:
    """Return what says where an argument came from, or None to leave types unchecked."""
    if runner.flow.options.types != "on" or call.options.when != "all_succeeded":
        return None
    return lambda place: _from_task(call.arguments, place)


def _from_task(arguments: Arguments, place: int) -> str:
    digest = arguments.prints[place].digest
    for settled in arguments.upstream:
        if settled.fp == digest:
            return f", the result of {settled.task}"
    return ""


def _noted(runner: Runner, row: TaskRun, frame: Frame, note: Note) -> None:
    if note.kind == "state":
        runner.recorder.keep_state(row.id, *note.body)
    elif note.kind == "emit":
        runner.outside.emit_in(frame, *note.body)
    else:
        level, logger, message = note.body
        line = LogLine(runner.clock.now(), level, logger, row.seq, row.attempt, message)
        runner.keep_line(line, row.task, row.map_index)
