"""Functions of the user's that are called when a task run or a run changes state."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ostinato.errors import DefinitionError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    Hook = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """What a hook is told: it names the fields it wants as its parameters."""

    run_id: str
    flow: str
    task: str | None
    attempt: int
    state: str
    reason: str | None = None
    error: BaseException | None = None
    result: Any = None


_FIELDS = tuple(field.name for field in fields(Moment))


@dataclass(frozen=True, slots=True)
class Hooks:
    """What to call when. Each is one function or a tuple of them.

    A hook names the fields of `Moment` that it wants as parameters: ``def page(run_id, error): ...``. What
    it returns is ignored, and an exception in it is logged and changes nothing.

    Raises:
        DefinitionError: If a hook asks for a field that there is not.
    """

    started: Hook | tuple[Hook, ...] = ()
    succeeded: Hook | tuple[Hook, ...] = ()
    failed: Hook | tuple[Hook, ...] = ()
    retrying: Hook | tuple[Hook, ...] = ()
    cancelled: Hook | tuple[Hook, ...] = ()
    skipped: Hook | tuple[Hook, ...] = ()

    def __post_init__(self) -> None:
        """Check what the hooks ask for."""
        for field in fields(self):
            for hook in self.at(field.name):
                _check(hook)

    def at(self, name: str) -> tuple[Hook, ...]:
        """Return the hooks of one state, ``started`` for the first moment of an attempt."""
        found = getattr(self, name, ())
        return found if isinstance(found, tuple) else (found,)


def call_hook(hook: Hook, moment: Moment) -> Any:
    """Call a hook with the fields it names; the value may be a coroutine, to be awaited by the caller."""
    names = _wanted(hook)
    return hook(**{name: getattr(moment, name) for name in names})


def _wanted(hook: Hook) -> tuple[str, ...]:
    parameters = inspect.signature(hook).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return _FIELDS
    return tuple(p.name for p in parameters if p.default is p.empty or p.name in _FIELDS)


def _check(hook: Hook) -> None:
    if not callable(hook):
        message = f"A hook must be a function, got {hook!r}."
        raise DefinitionError(message)
    for name in _wanted(hook):
        if name not in _FIELDS:
            shown = getattr(hook, "__name__", hook)
            message = (
                f"Hook {shown!r} asks for {name!r}; a hook may ask for {', '.join(_FIELDS)}.{nearest(name, _FIELDS)}"
            )
            raise DefinitionError(message)
