"""Calling the user's hooks when a task run or a run changes state."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

from ostinato.hooks import Moment, call_hook

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.future import Settled
    from ostinato.hooks import Hooks
    from ostinato.records import TaskRun


def announce(hooks: Hooks, name: str, flow: str, row: TaskRun, settled: Settled | None = None) -> None:
    """Call the hooks of a task that are due.

    Args:
        hooks: The task's.
        name: Which: ``started``, or the state that was reached.
        flow: The flow's name.
        row: The task run.
        settled: How it ended, if it did.
    """
    for hook in hooks.at(name):
        run_hook(
            hook,
            Moment(
                run_id=row.run_id,
                flow=flow,
                task=row.task,
                attempt=row.attempt,
                state=str(row.state),
                reason=row.reason,
                error=settled.error if settled else None,
                result=settled.value if settled else None,
            ),
        )


def run_hook(hook: Callable[..., Any], moment: Moment) -> None:
    """Call one hook; what it raises is logged and changes nothing."""
    try:
        value = call_hook(hook, moment)
        if asyncio.iscoroutine(value):
            thread = threading.Thread(target=asyncio.run, args=(value,), name="ostinato-hook", daemon=True)
            thread.start()
            thread.join()
    except (Exception, SystemExit):  # a hook may run on the thread that commits: nothing may end that
        logging.getLogger("ostinato").exception("The hook %r failed; the run goes on.", getattr(hook, "__name__", hook))
