"""Cron expressions: read into fields, and the wall times that these match.

```
"0 6 * * MON-FRI" ─► read ─► Fields ─► CronWalls.after, before     wall times; `walltime` makes instants of them
```

Five fields, or six with seconds first. Names, lists, steps, ranges that may wrap around (``FRI-MON``, ``22-2``); ``?``
for ``*``; ``L``, ``L-3``, ``LW``, ``15W`` as days of the month, ``5L`` and ``MON#2`` as days of the week; nicknames, as
``@daily``. Where both days are restricted, either will do; where one of them begins with a star, both must fit: as cron
has it since Vixie's. No library is behind it: what they have in common is less than this, and their errors do not say
which field is wrong.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from ostinato.errors import DefinitionError, nearest
from ostinato.schedules.walltime import DAY, FIRST, LAST

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_CYCLE: Final = 400
"""Years after which the Gregorian calendar repeats itself, weekdays too."""
_ORDINAL_OF_EPOCH: Final = date(1970, 1, 1).toordinal()
_SATURDAY, _SUNDAY = 5, 6  # as `date.weekday` counts
_WITH_SECONDS: Final = 6
_MOST_WEEKS: Final = 5


class _Field(NamedTuple):
    """What one field may hold."""

    name: str
    first: int
    last: int
    names: tuple[str, ...]
    example: str


_FIELDS: Final = (
    _Field("second", 0, 59, (), "0,30"),
    _Field("minute", 0, 59, (), "*/15"),
    _Field("hour", 0, 23, (), "9-17"),
    _Field("day of the month", 1, 31, (), "1,15,L"),
    _Field("month", 1, 12, MONTHS, "JAN-MAR"),
    _Field("day of the week", 0, 7, WEEKDAYS, "MON-FRI"),
)
SECOND, MINUTE, HOUR, MONTHDAY, MONTH, WEEKDAY = _FIELDS


@dataclass(frozen=True)
class Days:
    """Which days of a month match. Weekdays are counted from 0, Sunday."""

    monthdays: frozenset[int]
    before_last: frozenset[int]
    """Days before the last one: 0 for ``L``."""
    near: frozenset[int]
    """The weekday nearest to these days; 0 for ``LW``."""
    weekdays: frozenset[int]
    nth: frozenset[tuple[int, int]]
    """A weekday and which one in the month it is; -1 for the last."""
    both: bool
    """Whether day of the month and day of the week must fit; else either."""

    def of(self, year: int, month: int) -> list[int]:
        """List the days of a month that match."""
        begins, length = monthrange(year, month)
        by_date = self._by_date(begins, length)
        every = range(1, length + 1)
        by_week = {day for day in every if self._fits_week((begins + day) % 7, day, length)}
        return sorted(by_date & by_week if self.both else by_date | by_week)

    def _by_date(self, begins: int, length: int) -> set[int]:
        days = {day for day in self.monthdays if day <= length}
        days |= {length - before for before in self.before_last}
        for near in self.near:
            if near <= length:
                days.add(_nearest_workday(near or length, begins, length))
        return days

    def _fits_week(self, weekday: int, day: int, length: int) -> bool:
        if weekday in self.weekdays:
            return True
        last = day + 7 > length
        return (weekday, (day + 6) // 7) in self.nth or (last and (weekday, -1) in self.nth)


@dataclass(frozen=True)
class Fields:
    """A cron expression that has been read."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    days: Days
    texts: tuple[str, ...]
    """The six fields as they are written."""

    @property
    def is_hourly(self) -> bool:
        """Whether it matches every hour: such jobs follow the time that really passes."""
        return len(self.hours) == HOUR.last + 1


def _nearest_workday(day: int, begins: int, length: int) -> int:
    """Return the day from Monday to Friday that is nearest, in the same month."""
    weekday = (begins + day - 1) % 7
    if weekday == _SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == _SUNDAY:
        return day + 1 if day < length else day - 2
    return day


# --- reading


@functools.lru_cache(maxsize=16_384)
def walls_of(expression: str) -> CronWalls:
    """Read an expression, once.

    Raises:
        DefinitionError: If it is none, naming the field, what is wrong and an example; or if it never fires.
    """
    walls = CronWalls(read(expression))
    if walls.after(0) is None:
        message = f"Cron({expression!r}) never fires: none of the days it asks for is in any of its months, in any year"
        raise DefinitionError(f'{message}. For the last day of a month write L, as in "0 0 L * *".')
    return walls


def read(expression: str) -> Fields:
    """Read a cron expression.

    Raises:
        DefinitionError: If it is none, naming the field, what is wrong and an example.
    """
    if not isinstance(expression, str):
        raise DefinitionError(f'Cron(...) takes a text such as "0 6 * * MON-FRI", got {expression!r}.')
    texts = _split(expression)
    try:
        seconds, minutes, hours = (_plain(text, field) for text, field in zip(texts, _FIELDS[:3], strict=False))
        months = _plain(texts[4], MONTH)
        days = _days(texts[3], texts[5])
    except _FieldError as error:
        field, why = error.field, error.why
        message = f"Cron({expression!r}): the {field.name} {why}. For example {field.example!r}."
        raise DefinitionError(message) from None
    return Fields(seconds, minutes, hours, months, days, tuple(texts))


def _split(expression: str) -> list[str]:
    text = expression.strip()
    if text.startswith("@"):
        known = NICKNAMES.get(text.lower())
        if known is None:
            hint = nearest(text.lower(), NICKNAMES)
            what = "nothing starts with a machine here" if text.lower() == "@reboot" else "it is not known"
            raise DefinitionError(f"Cron({expression!r}): {what}. There are {', '.join(NICKNAMES)}.{hint}")
        text = known
    texts = text.upper().split()
    if len(texts) == _WITH_SECONDS - 1:
        texts.insert(0, "0")
    if len(texts) != _WITH_SECONDS:
        raise DefinitionError(
            f"Cron({expression!r}) has {len(texts)} field{'s' * (len(texts) != 1)}. It takes five: minute, hour, day "
            'of the month, month, day of the week, as in "0 6 * * MON-FRI"; or six, with the second first.'
        )
    return texts


class _FieldError(Exception):
    """A field that makes no sense."""

    def __init__(self, field: _Field, why: str) -> None:
        super().__init__(why)
        self.field, self.why = field, why


def weekdays_of(text: str) -> frozenset[int]:
    """Read days of the week, ``MON-FRI`` or ``SAT,SUN``: numbers from 0, Sunday.

    Raises:
        DefinitionError: If the text is none.
    """
    try:
        return frozenset(_plain(text.strip().upper(), WEEKDAY))
    except _FieldError as error:
        message = f"{text!r}: the {error.field.name} {error.why}. For example {error.field.example!r}."
        raise DefinitionError(message) from None


def _plain(text: str, field: _Field) -> tuple[int, ...]:
    """Read a field that has nothing but numbers, names, ranges and steps."""
    return tuple(sorted({value for term in text.split(",") for value in _term(term, field)}))


def _term(term: str, field: _Field) -> list[int]:
    """Read one term of a list: ``5``, ``MON``, ``1-5``, ``*/15``, ``10/5``, ``FRI-MON/2``."""
    body, slash, step_text = term.partition("/")
    first, last = field.first, 6 if field is WEEKDAY else field.last
    if body in {"*", "?"}:
        if body == "?" and field not in {MONTHDAY, WEEKDAY}:
            raise _FieldError(field, 'cannot be "?"; write *')
        values = list(range(first, last + 1))
    elif "-" in body.strip("-"):
        begin_text, _, end_text = body.partition("-")
        begin, end = _value(begin_text, field), _value(end_text, field)
        values = _range(begin, end, field)
    else:
        value = _value(body, field)
        values = list(range(value, max(value, last) + 1)) if slash else [value]
    if slash:
        if not re.fullmatch(r"[0-9]{1,9}", step_text) or int(step_text) == 0:
            raise _FieldError(field, f"has the step {step_text!r}, which is not a number from 1")
        values = values[:: int(step_text)]
    return [value % 7 for value in values] if field is WEEKDAY else values


def _range(begin: int, end: int, field: _Field) -> list[int]:
    """List the values from one to another, around the end of the field if need be."""
    if begin <= end:
        return list(range(begin, end + 1))
    if field is WEEKDAY:
        return [*range(begin, 7), *range(end + 1)]
    return [*range(begin, field.last + 1), *range(field.first, end + 1)]


def _value(text: str, field: _Field) -> int:
    if text in field.names:
        return field.names.index(text) + field.first
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise _FieldError(field, _not_a_value(text, field))
    if not field.first <= int(text) <= field.last:
        raise _FieldError(field, f"{int(text)} is not in {field.first} to {field.last}")
    return int(text)


def _not_a_value(text: str, field: _Field) -> str:
    expected = f"a number from {field.first} to {field.last}"
    if field.names:
        expected += f" or one of {', '.join(field.names)}"
    if not text:
        return f"lacks a value: expected {expected}"
    return f"{text!r} is not {expected}.{nearest(text, field.names)}".rstrip(".")


def _days(monthdays: str, weekdays: str) -> Days:
    """Read the two fields that say which day; see `Days`."""
    dates: set[int] = set()
    before_last: set[int] = set()
    near: set[int] = set()
    for term in monthdays.split(","):
        if term == "LW":
            near.add(0)
        elif found := re.fullmatch(r"L(?:-([0-9]{1,2}))?", term):
            before_last.add(_value(found[1], MONTHDAY._replace(first=0, last=27)) if found[1] else 0)
        elif found := re.fullmatch(r"([0-9]{1,2})W", term):
            near.add(_value(found[1], MONTHDAY))
        else:
            dates.update(_term(term, MONTHDAY))
    of_week: set[int] = set()
    nth: set[tuple[int, int]] = set()
    for term in weekdays.split(","):
        if term == "L":
            raise _FieldError(WEEKDAY, '"L" lacks a day: write "5L" for the last Friday')
        if "#" in term:
            name, _, number = term.partition("#")
            if number not in {str(week) for week in range(1, _MOST_WEEKS + 1)}:
                raise _FieldError(WEEKDAY, f"{term!r} needs a number from 1 to {_MOST_WEEKS} after #, as in MON#2")
            nth.add((_value(name, WEEKDAY) % 7, int(number)))
        elif len(term) > 1 and term.endswith("L"):
            nth.add((_value(term[:-1], WEEKDAY) % 7, -1))
        else:
            of_week.update(_term(term, WEEKDAY))
    both = monthdays[0] in "*?" or weekdays[0] in "*?"  # fields are never empty
    return Days(frozenset(dates), frozenset(before_last), frozenset(near), frozenset(of_week), frozenset(nth), both)


# --- wall times


class CronWalls:
    """The wall times that an expression matches; see `ostinato.schedules.walltime.Walls`."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self._hours = fields.hours
        self._of_hour = [minute * 60 + second for minute in fields.minutes for second in fields.seconds]
        self._months: dict[tuple[int, int], list[int]] = {}

    def after(self, wall: int) -> int | None:
        """Return the first one after `wall`."""
        if wall >= LAST:
            return None
        day, time = divmod(max(wall, FIRST) + 1, DAY)
        match = self._day_from(day)
        if match == day:
            found = self._time_from(time)
            if found is not None:
                return day * DAY + found
            match = self._day_from(day + 1)
        return None if match is None else match * DAY + self._hours[0] * 3600 + self._of_hour[0]

    def before(self, wall: int) -> int | None:
        """Return the last one before `wall`."""
        if wall <= FIRST:
            return None
        day, time = divmod(min(wall, LAST) - 1, DAY)
        match = self._day_to(day)
        if match == day:
            found = self._time_to(time)
            if found is not None:
                return day * DAY + found
            match = self._day_to(day - 1)
        return None if match is None else match * DAY + self._hours[-1] * 3600 + self._of_hour[-1]

    def _time_from(self, time: int) -> int | None:
        """Return the first time of a day at or after one."""
        hour, rest = divmod(time, 3600)
        at = bisect_left(self._hours, hour)
        if at < len(self._hours) and self._hours[at] == hour:
            place = bisect_left(self._of_hour, rest)
            if place < len(self._of_hour):
                return hour * 3600 + self._of_hour[place]
            at += 1
        return self._hours[at] * 3600 + self._of_hour[0] if at < len(self._hours) else None

    def _time_to(self, time: int) -> int | None:
        """Return the last time of a day at or before one."""
        hour, rest = divmod(time, 3600)
        at = bisect_right(self._hours, hour) - 1
        if at >= 0 and self._hours[at] == hour:
            place = bisect_right(self._of_hour, rest) - 1
            if place >= 0:
                return hour * 3600 + self._of_hour[place]
            at -= 1
        return self._hours[at] * 3600 + self._of_hour[-1] if at >= 0 else None

    def _day_from(self, day: int) -> int | None:
        """Return the first day at or after one, both counted from 1970-01-01."""
        start = date.fromordinal(day + _ORDINAL_OF_EPOCH)
        year, month = start.year, start.month
        while year <= start.year + _CYCLE:
            days = self._days_of(year, month)
            if days and days[-1] >= day:
                return days[bisect_left(days, day)]
            year, month = (year, month + 1) if month < MONTH.last else (year + 1, 1)
        return None

    def _day_to(self, day: int) -> int | None:
        """Return the last day at or before one."""
        start = date.fromordinal(day + _ORDINAL_OF_EPOCH)
        year, month = start.year, start.month
        while year >= start.year - _CYCLE:
            days = self._days_of(year, month)
            if days and days[0] <= day:
                return days[bisect_right(days, day) - 1]
            year, month = (year, month - 1) if month > 1 else (year - 1, MONTH.last)
        return None

    def _days_of(self, year: int, month: int) -> list[int]:
        """List the days of a month, counted from 1970-01-01; the last few months are remembered."""
        found = self._months.get((year, month))
        if found is None:
            found = []
            if month in self.fields.months:
                first = date(year, month, 1).toordinal() - _ORDINAL_OF_EPOCH - 1
                found = [first + day for day in self.fields.days.of(year, month)]
            if len(self._months) >= 24:  # noqa: PLR2004  # two years
                self._months.clear()
            self._months[year, month] = found
        return found
