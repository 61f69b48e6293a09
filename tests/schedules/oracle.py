"""What cron means, said as simply as it can be, to compare with: it walks every real minute and knows no shortcut.

Nothing here is shared with `ostinato.schedules.cron` or `ostinato.schedules.walltime`, not even the reading of an expression.
"""

from __future__ import annotations

import calendar
import functools
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
MINUTE = timedelta(minutes=1)
NICKNAMES = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}


def number(text: str, names: list[str], first: int) -> int:
    return names.index(text) + first if text in names else int(text)


def fits(value: int, field: str, low: int, high: int, names: list[str] | None = None) -> bool:
    """Tell whether a value fits a field of numbers."""
    for term in field.split(","):
        body, _, step = term.partition("/")
        if body in ("*", "?"):
            row = list(range(low, high + 1))
        elif "-" in body:
            begin, end = (number(part, names or [], low) for part in body.split("-"))
            row, at = [begin], begin
            while at != end:
                at = at + 1 if at < high else low
                row.append(at)
        else:
            begin = number(body, names or [], low)
            row = list(range(begin, high + 1)) if step else [begin]
        if value in row[:: int(step or 1)]:
            return True
    return False


def fits_monthday(day: date, field: str) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    for term in field.split(","):
        if term == "L":
            fit = day.day == last
        elif term.startswith("L-"):
            fit = day.day == last - int(term[2:])
        elif term.endswith("W"):
            near = last if term == "LW" else int(term[:-1])
            workdays = [d for d in range(1, last + 1) if date(day.year, day.month, d).weekday() < 5]
            fit = near <= last and day.day == min(workdays, key=lambda d: abs(d - near))
        else:
            fit = fits(day.day, term, 1, 31)
        if fit:
            return True
    return False


def fits_weekday(day: date, field: str) -> bool:
    cron_day = day.isoweekday() % 7
    for term in field.split(","):
        if "#" in term:
            name, _, nth = term.partition("#")
            fit = number(name, DAYS, 0) % 7 == cron_day and (day.day - 1) // 7 + 1 == int(nth)
        elif len(term) > 1 and term.endswith("L"):
            fit = number(term[:-1], DAYS, 0) % 7 == cron_day and (day + timedelta(days=7)).month != day.month
        else:
            begin, _, rest = term.partition("-")
            if rest:  # a range is walked from day to day, 7 being 0
                end, _, step = rest.partition("/")
                at, stop = number(begin, DAYS, 0), number(end, DAYS, 0)
                row = [at % 7]
                while at != stop and len(row) < 8:
                    at = at + 1 if at < 7 else 1
                    if at == 7 and stop != 7 and stop < number(begin, DAYS, 0):
                        at = 0
                    row.append(at % 7)
                fit = cron_day in row[:: int(step or 1)]
            else:
                fit = fits(cron_day, "0" if term == "7" else term, 0, 6, DAYS)
        if fit:
            return True
    return False


@dataclass(frozen=True)
class Expression:
    """A cron expression of five fields."""

    fields: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Expression:
        text = text.upper()
        return cls(tuple(NICKNAMES.get(text, text).split()))

    @property
    def is_hourly(self) -> bool:
        return all(fits(hour, self.fields[1], 0, 23) for hour in range(24))

    def fits_day(self, day: date) -> bool:
        _, _, monthday, month, weekday = self.fields
        if not fits(day.month, month, 1, 12, MONTHS):
            return False
        by_date, by_week = fits_monthday(day, monthday), fits_weekday(day, weekday)
        both = monthday[0] in "*?" or weekday[0] in "*?"
        return (by_date and by_week) if both else (by_date or by_week)

    def matcher(self) -> Callable[[datetime], bool]:
        minutes = {m for m in range(60) if fits(m, self.fields[0], 0, 59)}
        hours = {h for h in range(24) if fits(h, self.fields[1], 0, 23)}
        day = functools.cache(self.fits_day)
        return lambda wall: wall.minute in minutes and wall.hour in hours and day(wall.date())


@dataclass(frozen=True)
class Shown:
    """One real minute: what the wall shows, and which minutes it has jumped over to show it."""

    instant: int
    wall: datetime
    jumped: tuple[datetime, ...]
    again: bool
    """Whether the wall has shown it, or a later time, before."""


def walk(zone: str, begin: datetime, end: datetime) -> Iterator[Shown]:
    """Walk every real minute from one instant to another; a day before it is walked too, to know what was shown."""
    info = ZoneInfo(zone)
    at = begin - timedelta(days=2)
    highest = None
    while at <= end:
        wall = at.astimezone(info).replace(tzinfo=None)
        jumped = []
        if highest is not None:
            missing = highest + MINUTE
            while missing < wall:
                jumped.append(missing)
                missing += MINUTE
        again = highest is not None and wall <= highest
        highest = wall if highest is None else max(wall, highest)
        if at >= begin:
            yield Shown(int(at.timestamp()) * 1_000_000, wall, tuple(jumped), again)
        at += MINUTE


def fires(text: str, dst: str, minutes: list[Shown]) -> list[int]:
    """List the instants at which an expression fires among some minutes."""
    expression = Expression.of(text)
    match = expression.matcher()
    if dst == "each" or expression.is_hourly:
        return [one.instant for one in minutes if match(one.wall)]
    return [
        one.instant
        for one in minutes
        if not one.again and (match(one.wall) or (dst == "once" and any(match(wall) for wall in one.jumped)))
    ]


def changes(zone: str, first: int, last: int) -> list[datetime]:
    """List the instants, to the hour, at which a zone's offset changes in some years."""
    info = ZoneInfo(zone)
    at, found = datetime(first, 1, 1, tzinfo=UTC), []
    offset = at.astimezone(info).utcoffset()
    while at.year <= last:
        at += timedelta(hours=1)
        if at.astimezone(info).utcoffset() != offset:
            offset = at.astimezone(info).utcoffset()
            found.append(at)
    return found
