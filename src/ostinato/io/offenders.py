"""Says which part of a result cannot be stored, and what to return instead."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from ostinato.io.pickles import to_cloudpickle, to_pickle

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEPTH = 6
_WIDTH = 200
_HINTS = {
    "duckdb": "return `.pl()` or `.arrow()` of it",
    "_duckdb": "return `.pl()` or `.arrow()` of it",
    "generator": "return `list(...)` of it",
    "async_generator": "return a list of what it yields",
    "coroutine": "await it first",
}


def explain(value: object, error: Exception) -> str:
    """Write the message of the `ResultError` for a value that pickle and cloudpickle refuse."""
    path, part = _find(value, "result", _DEPTH, set())
    kind = type(part)
    where = f"; {path} is a {_name(kind)}" if part is not value else ""
    hint = _HINTS.get(kind.__name__) or _HINTS.get(kind.__module__.partition(".")[0])
    if isinstance(part, io.IOBase):
        hint = "return the file's path or its contents"
    advice = f"{hint[0].upper()}{hint[1:]}, or return" if hint else "Return"
    return (
        f"A result of type {_name(type(value))} cannot be stored{where} ({type(error).__name__}: {error}). {advice} "
        "plain data or a path, make what is in the way inside the task that uses it, or set persist=False on "
        "the task: then it is not kept, and resuming runs the task again."
    )


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _find(value: Any, path: str, depth: int, seen: set[int]) -> tuple[str, Any]:
    """Go down into the first part that does not pickle, as far as there is one."""
    seen.add(id(value))
    for step, part in _parts(value) if depth else ():
        if id(part) not in seen and not _pickles(part):
            return _find(part, path + step, depth - 1, seen)
    return path, value


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    try:
        if isinstance(value, dict):
            found = [(f"[{key!r}]", item) for key, item in list(value.items())[:_WIDTH]]
        elif isinstance(value, (list, tuple)):
            found = [(f"[{place}]", item) for place, item in enumerate(value[:_WIDTH])]
        elif isinstance(value, (set, frozenset)):
            found = [("{…}", item) for item in list(value)[:_WIDTH]]
        found += [(f".{name}", item) for name, item in list(vars(value).items())[:_WIDTH]]
    except Exception:  # noqa: S110  # a foreign object that does not like to be looked at
        pass
    yield from found


def _pickles(value: object) -> bool:
    for dumps in (to_pickle, to_cloudpickle):
        try:
            dumps(value)
        except Exception:  # noqa: S112  # a foreign object that does not like to be looked at
            continue
        return True
    return False
