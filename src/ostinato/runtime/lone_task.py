"""A run of a single task, which another run has sent to this pool, as the flow that it needs: one that calls it.

What the call had of rules is its sender's: retries, limits, cache and hooks apply there, once.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ostinato.authoring.flow import Flow, FlowOptions
from ostinato.authoring.load import load_file
from ostinato.authoring.task import Task, TaskOptions
from ostinato.errors import TargetError, nearest

if TYPE_CHECKING:
    from ostinato.records import Run


def lone_flow(run: Run, root: str) -> Flow[Any, Any]:
    """Load the task of a run of kind ``task`` and make the flow that calls it with the run's parameters.

    Raises:
        TargetError: If its file is not there or cannot be imported, or does not hold it.
    """
    file = (run.target or "").removesuffix(f":{run.flow}")
    return flow_of_task(_find(Path(root) / file, run.flow))


def flow_of_task(task: Task[Any, Any]) -> Flow[Any, Any]:
    """Make a flow that calls a task once, and is named like it."""
    kept = TaskOptions(
        name=task.options.name, timeout=task.options.timeout, executor=task.options.executor, tags=task.options.tags
    )
    lone: Task[Any, Any] = Task(task.fn, kept, task.spec)

    def arguments(named: dict[str, Any]) -> inspect.BoundArguments:
        return inspect.BoundArguments(task.spec.signature, named)

    if task.spec.is_async:

        async def body(**named: Any) -> Any:
            given = arguments(named)
            return await lone(*given.args, **given.kwargs)

        return Flow(body, FlowOptions(name=task.key, types="off"))

    def body_here(**named: Any) -> Any:
        given = arguments(named)
        return lone(*given.args, **given.kwargs)

    return Flow(body_here, FlowOptions(name=task.key, types="off"))


def _find(file: Path, key: str) -> Task[Any, Any]:
    tasks = {value.key: value for value in vars(load_file(file)).values() if isinstance(value, Task)}
    if key not in tasks:
        raise TargetError(
            f"There is no task {key!r} at the top of {file}; it has {', '.join(tasks) or 'none'}.{nearest(key, tasks)}"
        )
    return tasks[key]
