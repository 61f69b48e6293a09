"""Concurrency limits: how many task runs may do something at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ostinato.errors import DefinitionError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `slots` task runs at once that carry a limit of this name.

    Args:
        name: What is limited: ``"database"``, ``"openweather"`` …
        slots: How many at once.
        key: The name of a parameter of the task: each of its values has slots of its own.

    Raises:
        DefinitionError: If a value makes no sense.
    """

    name: str
    slots: int
    key: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.name or not isinstance(self.name, str):
            message = f"Limit(name=...) must be a name, got {self.name!r}."
            raise DefinitionError(message)
        if not isinstance(self.slots, int) or self.slots < 1:
            message = f"Limit({self.name!r}, slots=...) must be a number of slots, 1 or more, got {self.slots!r}."
            raise DefinitionError(message)

    def check(self, parameters: Collection[str]) -> None:
        """Refuse a `key` that is not a parameter of the task.

        Raises:
            DefinitionError: Naming the nearest parameter.
        """
        if self.key is not None and self.key not in parameters:
            message = (
                f"Limit({self.name!r}, key={self.key!r}) names no parameter of the task, which takes "
                f"{', '.join(parameters) or 'none'}.{nearest(self.key, parameters)}"
            )
            raise DefinitionError(message)

    def gate(self, arguments: Mapping[str, Any]) -> str:
        """Name the gate that a call with these arguments passes."""
        return self.name if self.key is None else f"{self.name}[{arguments.get(self.key)!r}]"


def to_limits(value: Limit | list[Limit] | tuple[Limit, ...] | None) -> tuple[Limit, ...]:
    """Read the `limits` option: one limit or several, in a fixed order so that takers cannot deadlock."""
    if value is None:
        return ()
    several = value if isinstance(value, (list, tuple)) else (value,)
    for limit in several:
        if not isinstance(limit, Limit):
            message = f"limits must be Limit(name, slots), one or a list of them, got {limit!r}."
            raise DefinitionError(message)
    return tuple(sorted(several, key=lambda limit: (limit.name, limit.key or "")))
