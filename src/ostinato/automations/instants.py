"""A schedule's instants, as far as automations need them: from when something is awaited, when there is silence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ostinato import schedules
from ostinato.errors import DefinitionError
from ostinato.specs import to_data


@dataclass(frozen=True, slots=True)
class Instants:
    """A schedule, as far as an automation needs one: its instants."""

    spec: str

    def __post_init__(self) -> None:
        """Refuse what has no instants of its own.

        Raises:
            DefinitionError: Saying what was expected.
        """
        given = schedules.from_spec(self.spec)
        if schedules.kind_of(given) != "time":
            raise DefinitionError(
                f"An automation takes a schedule with instants, like Cron(...), or the fields of a cron; got {given!r}."
            )

    @staticmethod
    def of(schedule: Any, timezone: str = "UTC") -> Instants:
        """Take a schedule, or the fields of a cron, of a timezone.

        Raises:
            DefinitionError: If it is none, or has no instants of its own.
        """
        return Instants(
            schedules.to_spec(schedules.Cron(schedule, timezone=timezone) if isinstance(schedule, str) else schedule)
        )

    def to_data(self) -> dict[str, Any]:
        """Describe it as JSON."""
        return to_data(self)

    def next_after(self, instant: int) -> int | None:
        """Return the first instant beyond one."""
        return schedules.next_after(schedules.from_spec(self.spec), instant)
