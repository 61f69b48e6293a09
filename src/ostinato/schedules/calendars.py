"""Calendars: on which days a schedule fires, and what becomes of what falls on another day.

```python
business_days("NO")                                  # Monday to Friday, without Norwegian holidays
business_days(market="XNYS", roll="next")            # what falls on a closed day moves to the next open one
Calendar(days="SAT,SUN", not_on=[date(2026, 12, 26)])
```

Holidays come from the package `holidays`, which the extra ``ostinato[calendars]`` brings.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from ostinato.clock import SECOND
from ostinato.errors import DefinitionError, UsageError, nearest
from ostinato.schedules.cron import weekdays_of
from ostinato.schedules.walltime import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ostinato.schedules.series import Series
    from ostinato.schedules.walltime import Zone

Roll = Literal["skip", "next", "previous"]

_EPOCH: Final = date(1970, 1, 1)
_HORIZON: Final = 40 * 366
"""Days that are looked through for one that is not left out."""
_LONGEST: Final = 366
"""Days of the longest row of days left out that are moved."""
_NAMES: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """The days on which a schedule fires, in the schedule's own time zone.

    Args:
        days: Days of the week: ``MON-FRI``, ``SAT,SUN``; by default all.
        country: Without the public holidays of a country, by its code: ``NO``, ``US``.
        subdivision: And of a part of it: ``BY`` of ``DE``.
        market: Without the days on which an exchange is closed, by its code: ``XNYS``, ``XECB``.
        not_on: Days that are left out besides.
        roll: What becomes of an instant on a day that is left out: ``skip``, or it moves to the same time of the
            ``next`` or the ``previous`` day that is not. What then comes twice fires once.

    Raises:
        DefinitionError: If a value makes no sense.
        UsageError: If `country` or `market` is given and the package `holidays` is not installed.
    """

    days: str = "*"
    country: str | None = None
    subdivision: str | None = None
    market: str | None = None
    not_on: Iterable[date] = ()
    roll: Roll = "skip"

    def __post_init__(self) -> None:
        """Check the values."""
        if self.roll not in {"skip", "next", "previous"}:
            raise DefinitionError(f'Calendar(roll=...) must be "skip", "next" or "previous", got {self.roll!r}.')
        object.__setattr__(self, "not_on", tuple(sorted({_date(day) for day in self.not_on})))
        object.__setattr__(self, "_weekdays", weekdays_of(self.days))
        if self.subdivision is not None and self.country is None:
            raise DefinitionError("Calendar(subdivision=...) is a part of a country: give country= too.")
        for country, market in self._sources():
            _holidays(country, self.subdivision if country else None, market, 2025)

    def reason(self, day: date) -> str | None:
        """Say why a day is left out; None where it is not."""
        weekdays: frozenset[int] = self._weekdays  # type: ignore[attr-defined]  # set above
        weekday = day.isoweekday() % 7
        if weekday not in weekdays:
            return f"{day} is a {_NAMES[weekday]}"
        for country, market in self._sources():
            found = _holidays(country, self.subdivision if country else None, market, day.year).get(day)
            if found is not None:
                return f"{day} is {found} ({country or market})"
        return f"{day} is left out" if day in self.not_on else None

    def _sources(self) -> Iterator[tuple[str | None, str | None]]:
        if self.country is not None:
            yield self.country, None
        if self.market is not None:
            yield None, self.market


def business_days(
    country: str | None = None,
    *,
    market: str | None = None,
    subdivision: str | None = None,
    not_on: Iterable[date] = (),
    roll: Roll = "skip",
) -> Calendar:
    """Make the calendar of working days: without weekends, as the country or the market has them, and holidays.

    Args:
        country: Its code: ``NO``, ``US``. Without it and without a market: Monday to Friday.
        market: The code of an exchange: ``XNYS``, ``XECB``.
        subdivision: A part of the country: ``BY`` of ``DE``.
        not_on: Days that are left out besides.
        roll: See `Calendar`.

    Raises:
        DefinitionError: If there is no such country, market or part of it.
        UsageError: If `country` or `market` is given and the package `holidays` is not installed.
    """
    off: set[int] = set()
    for source in ((country, None), (None, market)):
        if any(source):
            off |= {(day + 1) % 7 for day in _source(source[0], subdivision if source[0] else None, source[1]).weekend}
    off = off if country or market else {0, 6}
    days = "MON-FRI" if off == {0, 6} else ",".join(name[:3].upper() for at, name in enumerate(_NAMES) if at not in off)
    return Calendar(days=days, country=country, subdivision=subdivision, market=market, not_on=not_on, roll=roll)


def _date(day: Any) -> date:
    if isinstance(day, date) and not isinstance(day, datetime):
        return day
    raise DefinitionError(f"Calendar(not_on=...) takes dates, such as date(2026, 12, 24), got {day!r}.")


@functools.lru_cache(maxsize=4096)
def _holidays(country: str | None, subdivision: str | None, market: str | None, year: int) -> dict[date, str]:
    """Return the holidays of a year: a dictionary of its own, for those of the package grow while they are asked."""
    return dict(_source(country, subdivision, market, year))


def _source(country: str | None, subdivision: str | None, market: str | None, year: int | None = None) -> Any:
    """Ask the package.

    Raises:
        DefinitionError: If it knows no such country, market or part.
        UsageError: If it is not installed.
    """
    try:
        package = importlib.import_module("holidays")
    except ImportError:
        raise UsageError(
            "Calendars of a country or a market need the package holidays. Install it with: "
            "pip install 'ostinato[calendars]'"
        ) from None
    try:
        if market is not None:
            return package.financial_holidays(market, years=year)
        return package.country_holidays(country, subdiv=subdivision, years=year)
    except (NotImplementedError, TypeError, AttributeError):
        raise DefinitionError(_no_source(package, country, subdivision, market)) from None


def _no_source(package: Any, country: str | None, subdivision: str | None, market: str | None) -> str:
    if market is not None:
        known = package.list_supported_financial(include_aliases=True)
        return (
            f'There are no holidays of a market {market!r}; write a code such as "XNYS".{nearest(str(market), known)}'
        )
    known = package.list_supported_countries(include_aliases=True)
    if country not in known:
        return (
            f'There are no holidays of a country {country!r}; write a code such as "NO".{nearest(str(country), known)}'
        )
    parts = known[country]
    listed = ", ".join(parts) or "none"
    return f"There are no holidays of {subdivision!r} in {country}; it has {listed}.{nearest(str(subdivision), parts)}"


# --- instants


def on_days(series: Series, calendar: Calendar, zone: Zone) -> Series:
    """Leave out, or move, what a series has on days that a calendar leaves out."""
    days = _Days(calendar, zone)
    return OpenDays(series, days) if calendar.roll == "skip" else MovedDays(series, days)


class _Days:
    """The days of a calendar, counted from 1970-01-01, and when they begin in a time zone."""

    def __init__(self, calendar: Calendar, zone: Zone) -> None:
        self.calendar, self.zone = calendar, zone
        self._open: dict[int, bool] = {}

    def is_open(self, day: int) -> bool:
        found = self._open.get(day)
        if found is None:
            if len(self._open) >= _HORIZON:
                self._open.clear()
            found = self._open[day] = self.calendar.reason(_EPOCH + timedelta(days=day)) is None
        return found

    def near(self, day: int, step: int) -> int | None:
        """Return the first open day from one on, in a direction."""
        return next((other for other in range(day, day + step * _HORIZON, step) if self.is_open(other)), None)

    def run(self, day: int, step: int) -> Iterator[int]:
        """Yield the days next to an open one that are left out, in a direction."""
        for other in range(day + step, day + step * _LONGEST, step):
            if self.is_open(other):
                return
            yield other

    def day_of(self, instant: int) -> int:
        return self.zone.wall_at(instant // SECOND) // DAY

    def begin(self, day: int, time: int = 0) -> int:
        """Return the instant of a time of a day."""
        return self.zone.first_pass(day * DAY + time)[0] * SECOND


class OpenDays:
    """What a series has on open days; see `ostinato.schedules.series.Series`."""

    def __init__(self, series: Series, days: _Days) -> None:
        self._series, self._days = series, days

    def after(self, instant: int) -> int | None:
        """Return the first one after `instant`."""
        limit = self._days.day_of(instant) + _HORIZON
        found = self._series.after(instant)
        while found is not None and (day := self._days.day_of(found)) <= limit:
            if self._days.is_open(day):
                return found
            further = self._days.near(day, 1)
            found = None if further is None else self._series.after(self._days.begin(further) - 1)
        return None

    def before(self, instant: int) -> int | None:
        """Return the last one before `instant`."""
        limit = self._days.day_of(instant) - _HORIZON
        found = self._series.before(instant)
        while found is not None and (day := self._days.day_of(found)) >= limit:
            if self._days.is_open(day):
                return found
            further = self._days.near(day, -1)
            found = None if further is None else self._series.before(self._days.begin(further + 1))
        return None


class MovedDays:
    """What a series has, moved to open days at the same time of the day; see `ostinato.schedules.series.Series`."""

    def __init__(self, series: Series, days: _Days) -> None:
        self._series, self._days = series, days
        self._back = -1 if days.calendar.roll == "next" else 1
        """In which direction of an open day those are that move to it."""

    def after(self, instant: int) -> int | None:
        """Return the first one after `instant`."""
        days = self._days
        day = days.day_of(instant)
        limit = day + _HORIZON
        while day <= limit:
            if not days.is_open(day):
                day += 1
                continue
            found = [self._own_after(day, instant)]
            found += [self._moved_after(other, day, instant) for other in days.run(day, self._back)]
            first = min((one for one in found if one is not None), default=None)
            further = self._series.after(days.begin(day + 1) - 1)
            if first is not None or further is None:
                return first
            there = days.day_of(further)
            target = there if self._back < 0 else days.near(there, -1)
            day = max(day + 1, target or 0)
        return None

    def before(self, instant: int) -> int | None:
        """Return the last one before `instant`."""
        days = self._days
        day = days.day_of(instant - 1)
        limit = day - _HORIZON
        while day >= limit:
            if not days.is_open(day):
                day -= 1
                continue
            found = [self._own_before(day, instant)]
            found += [self._moved_before(other, day, instant) for other in days.run(day, self._back)]
            last = max((one for one in found if one is not None), default=None)
            further = self._series.before(days.begin(day))
            if last is not None or further is None:
                return last
            there = days.day_of(further)
            target = there if self._back > 0 else days.near(there, 1)
            day = min(day - 1, there if target is None else target)
        return None

    def _own_after(self, day: int, instant: int) -> int | None:
        found = self._series.after(max(instant, self._days.begin(day) - 1))
        return found if found is not None and self._days.day_of(found) == day else None

    def _own_before(self, day: int, instant: int) -> int | None:
        found = self._series.before(min(instant, self._days.begin(day + 1)))
        return found if found is not None and self._days.day_of(found) == day else None

    def _moved_after(self, source: int, day: int, instant: int) -> int | None:
        """Return the first instant of a day left out that comes after `instant` when it is moved to an open day."""
        time = max(self._days.zone.shown_by(instant // SECOND) + 1 - day * DAY, 0)
        if time >= DAY:
            return None
        found = self._series.after(self._days.begin(source, time) - 1)
        while found is not None and self._days.day_of(found) == source:
            moved = self._moved(found, day - source)
            if moved > instant:
                return moved
            found = self._series.after(found)
        return None

    def _moved_before(self, source: int, day: int, instant: int) -> int | None:
        time = min(self._days.zone.shown_by(-(-instant // SECOND) - 1) - day * DAY, DAY - 1)
        if time < 0:
            return None
        found = self._series.before(self._days.begin(source, time) + SECOND)
        while found is not None and self._days.day_of(found) == source:
            moved = self._moved(found, day - source)
            if moved < instant:
                return moved
            found = self._series.before(found)
        return None

    def _moved(self, instant: int, days: int) -> int:
        """Return the instant of the same time of another day."""
        wall = self._days.zone.wall_at(instant // SECOND) + days * DAY
        return self._days.zone.first_pass(wall)[0] * SECOND + instant % SECOND
