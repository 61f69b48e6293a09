"""When an automation says nothing: each week at certain hours, or for some time from each instant of a cron."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from ostinato.automations.instants import Instants
from ostinato.clock import SECOND, to_datetime
from ostinato.errors import DefinitionError, nearest
from ostinato.specs import from_data, refuse, to_data, to_span

if TYPE_CHECKING:
    from collections.abc import Sequence

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME: Final = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")
_DAY: Final = 24 * 60


class Silence:
    """A part of time."""

    __slots__ = ()

    def covers(self, instant: int) -> bool:
        """Tell whether an instant is in it."""
        raise NotImplementedError

    def to_data(self) -> dict[str, Any]:
        """Describe it as JSON."""
        return to_data(self)


@dataclass(frozen=True, slots=True)
class Weekly(Silence):
    """On certain days of the week, all day or between two times; a night counts for the day it begins on.

    Args:
        days: ``"sat,sun"``, ``"mon-fri"``; by default every day.
        start: The wall-clock time it begins, ``"22:00"``.
        end: When it ends; not after `start`: on the next day.
        timezone: Whose wall clock, ``"Europe/Oslo"``.
    """

    days: str = "mon-sun"
    start: str = "00:00"
    end: str = "24:00"
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        """Check the values."""
        self._numbers()
        self._minutes("start")
        self._minutes("end")
        _check_zone(self)

    def covers(self, instant: int) -> bool:
        """Tell whether an instant is in it."""
        local = to_datetime(instant).astimezone(ZoneInfo(self.timezone))
        days, start, end = self._numbers(), self._minutes("start"), self._minutes("end")
        minute = local.hour * 60 + local.minute
        if start < end:
            return local.weekday() in days and start <= minute < end
        return (local.weekday() in days and minute >= start) or ((local.weekday() - 1) % 7 in days and minute < end)

    def _numbers(self) -> set[int]:
        found: set[int] = set()
        for part in str(self.days).lower().replace(" ", "").split(","):
            first, dash, last = part.partition("-")
            for name in (first, last) if dash else (first,):
                if name not in _DAYS:
                    hint = nearest(name, _DAYS)
                    raise DefinitionError(
                        f"Weekly(days=...) must be days like 'sat,sun' or 'mon-fri', got {self.days!r}.{hint}"
                    )
            begin = _DAYS.index(first)
            length = (_DAYS.index(last) - begin) % 7 if dash else 0
            found |= {(begin + more) % 7 for more in range(length + 1)}
        return found

    def _minutes(self, name: str) -> int:
        found = _TIME.fullmatch(str(getattr(self, name)))
        minutes = int(found[1]) * 60 + int(found[2]) if found else _DAY + 1
        if minutes > _DAY:
            raise refuse(self, name, "a time like '22:00'", getattr(self, name))
        return minutes


@dataclass(frozen=True, slots=True)
class During(Silence):
    """For some time from each instant of a cron: ``During("0 22 * * *", timedelta(hours=8))``.

    Args:
        cron: The fields of a cron, or a `Cron`.
        lasts: For how long.
        timezone: Of the fields.
    """

    cron: Any
    lasts: timedelta | float = timedelta(hours=1)
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        """Check the values."""
        to_span(self, "lasts")
        _check_zone(self)
        if isinstance(self.cron, dict):
            object.__setattr__(self, "cron", from_data(self.cron, {"Instants": Instants}, "schedule"))
        elif not isinstance(self.cron, Instants):
            object.__setattr__(self, "cron", Instants.of(self.cron, timezone=self.timezone))

    def covers(self, instant: int) -> bool:
        """Tell whether an instant is in it."""
        span: Any = self.lasts
        begun = self.cron.next_after(instant - round(span.total_seconds() * SECOND))
        return begun is not None and begun <= instant


def _check_zone(silence: Any) -> None:
    try:
        ZoneInfo(silence.timezone)
    except (ValueError, TypeError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise refuse(silence, "timezone", "a timezone like 'Europe/Oslo'", silence.timezone) from None


KINDS: Final[dict[str, type[Any]]] = {kind.__name__: kind for kind in (Weekly, During)}


def silence_of(data: Any) -> Silence:
    """Make the silence that some JSON describes.

    Raises:
        DefinitionError: If it describes none.
    """
    made: Silence = from_data(data, KINDS, "silence")
    return made


def silences_of(owner: object, given: Silence | Sequence[Silence] | None) -> tuple[Silence, ...]:
    """Read one silence or several.

    Raises:
        DefinitionError: If something else is among them.
    """
    several = () if given is None else (given,) if isinstance(given, Silence) else given
    if not isinstance(several, (list, tuple)) or not all(isinstance(each, Silence) for each in several):
        raise refuse(owner, "silence", f"a {' or a '.join(KINDS)}, or a list of them", given)
    return tuple(several)
