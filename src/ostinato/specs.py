"""Frozen dataclasses as JSON and back: what an automation is made of, so that a server can read it without user code.

``{"type": "Count", "of": {"type": "RunFailed"}, "n": 3, "within": 3600}``: the class's own name, then those fields that
differ from their defaults. Spans of time are seconds.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from ostinato.errors import DefinitionError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
NESTED: Final = {"nested": True}
"""Marks a field that holds one of these values, or several."""
STARRED: Final = {"nested": True, "starred": True}
"""Marks the one that is given as positional arguments."""
WORDS: Final = {"starred": True}
"""Likewise, of plain texts."""
MOST_DEPTH: Final = 20


class Named(Protocol):
    """A flow, a task or a deployment: whatever may stand where its name may."""

    @property
    def name(self) -> str | None:
        """What it is called."""
        ...


Name = str | Named


def to_data(value: Any) -> dict[str, Any]:
    """Describe a value by its class's name and its fields."""
    data: dict[str, Any] = {"type": type(value).__name__}
    for field in dataclasses.fields(value):
        found = getattr(value, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if found != default:
            data[field.name] = _plain(found)
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds
    if hasattr(value, "to_data"):
        return value.to_data()
    if dataclasses.is_dataclass(value):
        return to_data(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def from_data(data: Any, kinds: Mapping[str, Callable[..., T]], what: str, *, path: str = "", depth: int = 0) -> T:
    """Make the value that some data describes.

    Args:
        data: As `to_data` writes it.
        kinds: What it may be, by class name.
        what: What it is, in an error's words: "trigger".
        path: Where it stands in the whole.
        depth: How deeply it is nested.

    Raises:
        DefinitionError: If it describes nothing that there is, or the values make no sense.
    """
    where = f"{what}{f' in {path}' if path else ''}"
    if depth > MOST_DEPTH:
        raise DefinitionError(f"The {where} is nested too deeply: {MOST_DEPTH} at most.")
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise DefinitionError(f'A {where} is an object with a "type", one of {", ".join(kinds)}; got {_shown(data)}.')
    name, given = data["type"], {key: value for key, value in data.items() if key != "type"}
    kind: Any = kinds.get(name)
    if kind is None:
        raise DefinitionError(f"There is no {where} {name!r}.{nearest(name, kinds)} There are {', '.join(kinds)}.")
    known = {field.name: field for field in dataclasses.fields(kind)}
    for key in given:
        if key not in known:
            raise DefinitionError(
                f"{name} has no {key!r}.{nearest(key, known)} It has {', '.join(known) or 'nothing'}."
            )
    starred: list[Any] = []
    for key, field in known.items():
        if key in given and "nested" in field.metadata:
            below = f"{path}.{key}" if path else key
            given[key] = _nested(given[key], kinds, what, below, depth + 1)
        if key in given and "starred" in field.metadata:
            several = given.pop(key)
            starred = several if isinstance(several, list) else [several]
    try:
        made: T = kind(*starred, **given)
    except TypeError:
        raise DefinitionError(f"{name} cannot be made of {_shown(given)}: something is missing.") from None
    return made


def _nested(value: Any, kinds: Mapping[str, Any], what: str, path: str, depth: int) -> Any:
    if isinstance(value, list):
        return [_nested(item, kinds, what, f"{path}[{index}]", depth) for index, item in enumerate(value)]
    if isinstance(value, dict) and "type" in value:
        return from_data(value, kinds, what, path=path, depth=depth)
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"  # noqa: PLR2004  # a line


def refuse(owner: object, name: str, expected: str, got: object) -> DefinitionError:
    """Say that an option's value makes no sense."""
    return DefinitionError(f"{type(owner).__name__}({name}=...) must be {expected}, got {_shown(got)}.")


def to_span(owner: object, name: str, *, null: bool = False) -> None:
    """Turn an option that is a number of seconds into a `timedelta`; refuse what is no span of time.

    Raises:
        DefinitionError: If it is none, or not above zero.
    """
    value = getattr(owner, name)
    if value is None and null:
        return
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            value = timedelta(seconds=value)
        except (OverflowError, ValueError):
            value = timedelta(0)
        object.__setattr__(owner, name, value)
    if not isinstance(value, timedelta) or value <= timedelta(0):
        raise refuse(owner, name, "a timedelta or a number of seconds, above 0", value)


def name_of(value: Any) -> Any:
    """Return what a flow, a task or a deployment is called, anything else as it is."""
    return getattr(value, "full_name", None) or getattr(value, "name", None) or value


def to_words(owner: object, name: str) -> None:
    """Turn an option that is a text or several into a tuple.

    Raises:
        DefinitionError: If it is neither.
    """
    value = name_of(getattr(owner, name))
    words = () if value is None else (value,) if isinstance(value, str) else value
    words = [name_of(word) for word in words] if isinstance(words, (tuple, list)) else words
    if not isinstance(words, (tuple, list, set, frozenset)) or not all(
        isinstance(word, str) and word for word in words
    ):
        raise refuse(owner, name, "a text or a list of texts", value)
    object.__setattr__(owner, name, tuple(sorted(words) if isinstance(words, (set, frozenset)) else words))
