"""Recurrence rules of RFC 5545 (iCalendar), by python-dateutil, as wall times.

dateutil iterates from a rule's start. For a rule that is years old this takes long, so it is given a start that is
nearer and in step: a whole number of intervals later, with whatever the rule takes from its start spelled out. Only
rules with COUNT are gone through from their own start, once.
"""

from __future__ import annotations

import functools
import importlib
import re
import threading
from bisect import bisect_left, bisect_right
from datetime import datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from ostinato.errors import DefinitionError, UsageError, nearest
from ostinato.schedules.walltime import DAY, FIRST, LAST, moment_of, wall_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_DAY: Final = "(MO|TU|WE|TH|FR|SA|SU)"
_PARTS: Final[dict[str, str | tuple[int, int]]] = {
    "FREQ": "",
    "UNTIL": "",
    "COUNT": (1, 2**31),
    "INTERVAL": (1, 2**31),
    "BYSECOND": (0, 59),
    "BYMINUTE": (0, 59),
    "BYHOUR": (0, 23),
    "BYDAY": rf"([+-]?[1-9][0-9]?)?{_DAY}",
    "BYMONTHDAY": (-31, 31),
    "BYYEARDAY": (-366, 366),
    "BYWEEKNO": (-53, 53),
    "BYMONTH": (1, 12),
    "BYSETPOS": (-366, 366),
    "BYEASTER": (-100, 300),
    "WKST": _DAY,
}
"""What a rule has: each value is in a range, without 0 if that is negative below; or like a pattern."""
_FREQUENCIES: Final = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_SECONDS: Final = {"WEEKLY": 7 * DAY, "DAILY": DAY, "HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}
_DAYS_OF: Final = {"BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY", "BYEASTER"}
BEGINNING: Final = datetime(2001, 1, 1)  # noqa: DTZ001  # a wall time
"""Where rules without a start begin: a Monday, the first of a month and a year, at midnight."""
_HORIZON: Final = 40
"""Years that are looked through: the 29th of February falls on the same weekday again after 28 or 40."""


def parse(rule: str) -> dict[str, str]:
    """Split a rule into its parts, and check their names.

    Raises:
        DefinitionError: If it is none.
    """
    if not isinstance(rule, str):
        raise DefinitionError(f'RRule(...) takes a text such as "FREQ=WEEKLY;BYDAY=MO", got {rule!r}.')
    parts: dict[str, str] = {}
    for part in rule.strip().upper().removeprefix("RRULE:").strip(";").split(";"):
        name, _, value = part.strip().partition("=")
        if name not in _PARTS or not value or name in parts:
            why = "is there twice" if name in parts else "is no part of a rule" if value else "lacks a value"
            hint = "" if name in parts else nearest(name, _PARTS)
            raise DefinitionError(f'RRule({rule!r}): {name!r} {why}. A rule is like "FREQ=WEEKLY;BYDAY=MO,FR".{hint}')
        _check(rule, name, value)
        parts[name] = value
    if parts.get("FREQ") not in _FREQUENCIES:
        got = parts.get("FREQ", "")
        hint = nearest(got, _FREQUENCIES)
        raise DefinitionError(f"RRule({rule!r}) needs FREQ, one of {', '.join(_FREQUENCIES)}, got {got!r}.{hint}")
    return parts


def _check(rule: str, name: str, value: str) -> None:
    expected = _PARTS[name]
    for item in value.split(",") if name not in {"COUNT", "INTERVAL"} else [value]:
        if isinstance(expected, str):
            fits, wanted = not expected or re.fullmatch(expected, item) is not None, "days such as MO, or 2TU"
        else:
            first, last = expected
            number = int(item) if re.fullmatch(r"[+-]?[0-9]{1,10}", item) else None
            fits = number is not None and first <= number <= last and (number != 0 or first == 0)
            wanted = f"{first} to {last}{', without 0' if first < 0 and name != 'BYEASTER' else ''}"
            fits = fits or (name == "BYEASTER" and number == 0)
        if not fits:
            raise DefinitionError(f"RRule({rule!r}): {name} must be {wanted}, got {item!r}.")


def is_hourly(parts: dict[str, str]) -> bool:
    """Tell whether a rule comes every hour or oftener: it follows the time that really passes."""
    interval = int(parts.get("INTERVAL", "1"))
    seconds = _SECONDS.get(parts["FREQ"], DAY)
    return seconds <= 3600 and seconds * interval <= 3600 and "BYHOUR" not in parts  # noqa: PLR2004  # an hour


class RuleWalls:
    """The wall times of a rule; see `ostinato.schedules.walltime.Walls`.

    Args:
        rule: As the user wrote it, for messages.
        parts: Its parts, without UNTIL.
        start: Where it begins; None for `BEGINNING`.

    Raises:
        DefinitionError: If dateutil does not take the rule, or COUNT has no start to count from.
        UsageError: If python-dateutil is not installed.
    """

    def __init__(self, rule: str, parts: dict[str, str], start: datetime | None) -> None:
        if start is None and "COUNT" in parts:
            raise DefinitionError(f"RRule({rule!r}) counts from its start: give start= too.")
        self._start = (start or BEGINNING).replace(microsecond=0)
        self._frequency = parts["FREQ"]
        self._interval = int(parts.get("INTERVAL", "1"))
        self._counts = "COUNT" in parts
        self._counted: list[int] = []
        self._rest: Iterator[datetime] = iter(())
        self._lock = threading.Lock()
        text = ";".join(f"{name}={value}" for name, value in _spelled(parts, self._start).items())
        try:
            self._rule: Any = _dateutil().rrulestr(f"RRULE:{text}", dtstart=self._start)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            message = f'RRule({rule!r}) is no rule of RFC 5545: {error}. A rule is like "FREQ=WEEKLY;BYDAY=MO,FR".'
            raise DefinitionError(message) from None
        if self._counts:
            self._rest = iter(self._rule)
        _check_days(rule, parts)

    def after(self, wall: int) -> int | None:
        """Return the first one after `wall`."""
        if wall >= LAST:
            return None
        if self._counts:
            self._count_to(wall)
            at = bisect_right(self._counted, wall)
            return self._counted[at] if at < len(self._counted) else None
        moment = moment_of(max(wall, FIRST))
        return next((found for one in self._from(moment, 1) if (found := wall_of(one)) > wall), None)

    def before(self, wall: int) -> int | None:
        """Return the last one before `wall`."""
        if self._counts:
            self._count_to(wall)
            at = bisect_left(self._counted, wall)
            return self._counted[at - 1] if at else None
        moment, back = moment_of(min(wall, LAST)), 2
        if moment <= self._start:
            return None
        while True:
            begin = self._in_step(moment, back)
            last = None
            for one in takewhile(lambda one: one < moment, self._iterate(begin, moment)):
                last = one
            if last is not None:
                return wall_of(last)
            if begin <= self._start or begin.year < moment.year - _HORIZON * self._years():
                return None
            back *= 8

    def _count_to(self, wall: int) -> None:
        """Go on counting until past a wall time."""
        with self._lock:
            while not self._counted or self._counted[-1] <= wall:
                found = next(self._rest, None)
                if found is None:
                    return
                self._counted.append(wall_of(found))

    def _from(self, moment: datetime, back: int) -> Iterator[datetime]:
        year = min(max(moment, self._start).year + _HORIZON * self._years(), 9990)
        return self._iterate(self._in_step(moment, back), datetime(year, 12, 31))  # noqa: DTZ001  # a wall time

    def _iterate(self, begin: datetime, until: datetime) -> Iterator[datetime]:
        rule = self._rule.replace(dtstart=begin, until=until)
        return (one for one in rule if one >= self._start)

    def _years(self) -> int:
        return self._interval if self._frequency == "YEARLY" else 1

    def _in_step(self, moment: datetime, back: int) -> datetime:
        """Return the start of the period some intervals before the one that a moment is in, in step with the start."""
        start, interval = self._start, self._interval
        if self._frequency in {"YEARLY", "MONTHLY"}:
            period = 12 * interval if self._frequency == "YEARLY" else interval
            first = start.year * 12 + (start.month - 1 if self._frequency == "MONTHLY" else 0)
            steps = (moment.year * 12 + moment.month - 1 - first) // period - back
            year, month = divmod(first + steps * period, 12)
            return start if steps <= 0 else datetime(year, month + 1, 1)  # noqa: DTZ001  # a wall time
        unit = _SECONDS[self._frequency]
        first_wall = wall_of(start)
        first_wall -= first_wall % min(unit, DAY)  # a week that is begun in its middle is looked at from there
        steps = (wall_of(moment) - first_wall) // (unit * interval) - back
        return start if steps <= 0 else moment_of(first_wall + steps * unit * interval)


def _spelled(parts: dict[str, str], start: datetime) -> dict[str, str]:
    """Spell out what a rule takes from its start."""
    more: dict[str, str] = {}
    frequency = parts["FREQ"]
    if not _DAYS_OF & set(parts):
        if frequency == "YEARLY" and "BYMONTH" not in parts:
            more["BYMONTH"] = str(start.month)
        if frequency in {"YEARLY", "MONTHLY"}:
            more["BYMONTHDAY"] = str(start.day)
        if frequency == "WEEKLY":
            more["BYDAY"] = _WEEKDAYS[start.weekday()]
    finer = _FREQUENCIES.index(frequency)
    for at, name, value in ((4, "BYHOUR", start.hour), (5, "BYMINUTE", start.minute), (6, "BYSECOND", start.second)):
        if finer < at and name not in parts:
            more[name] = str(value)
    return parts | more


def _check_days(rule: str, parts: dict[str, str]) -> None:
    """Refuse days that no year has before somebody looks for them hour by hour."""
    days = {name: value for name, value in parts.items() if name in _DAYS_OF | {"BYMONTH"}}
    if parts["FREQ"] in {"YEARLY", "MONTHLY", "WEEKLY"} or not _DAYS_OF & set(days):
        return
    text = ";".join(f"{name}={value}" for name, value in {"FREQ": "YEARLY", **days}.items())
    until = BEGINNING.replace(year=BEGINNING.year + _HORIZON)
    if next(iter(_dateutil().rrulestr(f"RRULE:{text}", dtstart=BEGINNING).replace(until=until)), None) is None:
        raise DefinitionError(f"RRule({rule!r}) never fires: no year has such days.")


def until_of(rule: str, text: str) -> tuple[datetime, bool]:
    """Read UNTIL.

    Returns:
        The moment, and whether it is in UTC; else it is a wall time.

    Raises:
        DefinitionError: If it is none.
    """
    is_date = "T" not in text
    try:
        moment = datetime.strptime(text.removesuffix("Z"), "%Y%m%d" if is_date else "%Y%m%dT%H%M%S")  # noqa: DTZ007  # it is said beside it
    except ValueError:
        message = f"RRule({rule!r}): UNTIL={text} is no date. Write it like 20271231 or 20271231T230000Z."
        raise DefinitionError(message) from None
    if is_date:  # to the end of it
        return moment + timedelta(days=1, seconds=-1), False
    return moment, text.endswith("Z")


@functools.cache
def _dateutil() -> Any:
    try:
        return importlib.import_module("dateutil.rrule")
    except ImportError:
        raise UsageError(
            "RRule needs the package python-dateutil. Install it with: pip install 'ostinato[calendars]'"
        ) from None
