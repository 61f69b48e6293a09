"""How the task runs of a run execute: in threads, in processes, or right where they are called.

Each module here implements `ostinato.context.Executor`, and is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from ostinato.errors import SettingError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostinato.context import Executor

_KINDS = {
    "inline": ("ostinato.executors.inline", "InlineExecutor"),
    "processes": ("ostinato.executors.processes", "ProcessExecutor"),
    "threads": ("ostinato.executors.threads", "ThreadExecutor"),
}


def make_executor(spec: str | Executor | None = None, slots: int | None = None) -> Executor:
    """Make an executor from what a user wrote.

    Args:
        spec: ``threads`` (also None), ``processes``, ``inline``, or an executor, which is returned.
        slots: How many pieces of work run at once; None for what suits the machine. An executor that is
            handed in, and ``inline``, have their own.

    Raises:
        SettingError: There is no executor of that name, or fewer than one slot.
    """
    if spec is not None and not isinstance(spec, str):
        return spec
    name = spec or "threads"
    if name not in _KINDS:
        message = f"There is no executor {name!r}; there are {', '.join(sorted(_KINDS))}.{nearest(name, _KINDS)}"
        raise SettingError(message)
    if slots is not None and slots < 1:
        message = f"An executor needs at least 1 slot, not {slots}. Leave it out for what suits the machine."
        raise SettingError(message)
    module, kind = _KINDS[name]
    make = cast("Callable[[int | None], Executor]", getattr(import_module(module), kind))
    return make(slots)
