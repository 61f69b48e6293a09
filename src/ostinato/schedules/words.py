"""Schedules in words: "at 06:00 on Monday to Friday, Europe/Oslo"."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ostinato.schedules.cron import HOUR, MINUTE, MONTH, SECOND, WEEKDAY, WEEKDAYS, Fields, walls_of
from ostinato.schedules.events import On
from ostinato.schedules.times import At, Cron, Every, RRule
from ostinato.schedules.when import AllOf, AnyOf, When

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_WEEKDAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_UNITS: Final = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_MOST_TIMES: Final = 6
_WORDS: Final = ("first", "second", "third", "fourth", "fifth")


def describe(schedule: When) -> str:
    """Say in words when a schedule fires: see `ostinato.schedules.describe`."""
    text = _what(schedule)
    if schedule.calendar is not None:
        text += _calendar(schedule)
    if schedule.start is not None:
        text += f", from {schedule.start:%Y-%m-%d %H:%M}{' UTC' if schedule.start.tzinfo else ''}"
    if schedule.end is not None:
        text += f", until {schedule.end:%Y-%m-%d %H:%M}{' UTC' if schedule.end.tzinfo else ''}"
    return text


def _what(schedule: When) -> str:
    match schedule:
        case Cron():
            return f"{_cron(walls_of(schedule.expr).fields)}, {schedule.timezone}"
        case Every():
            return f"every {_span(schedule.interval)}"
        case RRule():
            return f"by the rule {schedule.rule}, {schedule.timezone}"
        case At():
            times = [f"{one:%Y-%m-%d %H:%M}{' UTC' if one.tzinfo else ''}" for one in schedule.moments]
            more = f" and {len(times) - 3} more" if len(times) > 3 else ""  # noqa: PLR2004  # three are enough to see
            return f"at {', '.join(times[:3])}{more}, {schedule.timezone}"
        case On():
            return _on(schedule)
        case AnyOf():
            return " or ".join(_nested(part) for part in schedule.of)
        case AllOf():
            return " and ".join(_nested(part) for part in schedule.of)
    return repr(schedule)


def _nested(part: When) -> str:
    text = describe(part)
    return f"({text})" if isinstance(part, (AnyOf, AllOf)) else text


def _on(on: On) -> str:
    what = f"when {on.what!r} happens" if on.flow is None else f"when {on.flow} has {_join(on.states, 'or')}"
    if on.key is not None:
        what += f" with the key {on.key!r}"
    window = (
        ""
        if on.window is None
        else _span(on.window if isinstance(on.window, timedelta) else timedelta(seconds=on.window))
    )
    after = f" or after {window if window[0].isdigit() else f'a {window}'}" if window else ""
    more = {
        "each": "",
        "latest": ", once for the latest",
        "batch": f", in batches of {on.size}{after}",
        "window": f", once for each {window}",
    }
    return what + more[on.policy]


def _calendar(schedule: When) -> str:
    calendar = schedule.calendar
    assert calendar is not None  # as the caller has seen
    of = " and ".join(part for part in (calendar.country, calendar.market) if part)
    days = "" if calendar.days == "*" else f" on {_weekdays(calendar.days)}"
    holidays = f" without holidays of {of}" if of else ""
    count = len(tuple(calendar.not_on))
    some = f" without {count} day{'s' * (count != 1)}" if count else ""
    moved = "" if calendar.roll == "skip" else f", moved to the {calendar.roll} such day"
    return f", only{days}{holidays}{some}{moved}" if days or holidays or some else ""


# --- cron


def _cron(fields: Fields) -> str:
    second, minute, hour, monthday, month, weekday = fields.texts
    day = _day(monthday, weekday, both=fields.days.both)
    months = "" if month in {"*", "?"} else f" in {_list(month, MONTH.names, _MONTHS, 1)}"
    return f"{_time(fields, second, minute, hour)}{day}{months}"


def _time(fields: Fields, second: str, minute: str, hour: str) -> str:
    count = len(fields.seconds) * len(fields.minutes) * len(fields.hours)
    if count <= _MOST_TIMES:
        return f"at {_join(_times(fields))}"
    often = _often(second, "second", SECOND.last) if len(fields.seconds) > 1 else None
    if often is None and fields.seconds == (0,):
        often = _often(minute, "minute", MINUTE.last)
        if often is None and fields.minutes == (0,):
            return _often(hour, "hour", HOUR.last) or f"at minute 0 of {_hours(hour)}"
    elif often is not None and not minute.startswith("*"):
        often += f" in minute {minute.lower()}"
    often = often or f"at minute {minute.lower()}" + ("" if fields.seconds == (0,) else f" and second {second.lower()}")
    if fields.is_hourly:
        return often if often.startswith("every") else f"{often} of every hour"
    return f"{often} {'in' if often.startswith('every') else 'of'} {_hours(hour)}"


def _times(fields: Fields) -> list[str]:
    with_seconds = fields.seconds != (0,)
    return [
        f"{hour:02}:{minute:02}{f':{second:02}' if with_seconds else ''}"
        for hour in fields.hours
        for minute in fields.minutes
        for second in fields.seconds
    ]


def _often(text: str, unit: str, last: int) -> str | None:
    """Say ``every 15 minutes`` where a field is just that."""
    if text == "*":
        return f"every {unit}"
    found = re.fullmatch(r"(?:\*|0)/(\d+)", text)
    if found is None or (last + 1) % int(found[1]):
        return None
    return f"every {unit}" if int(found[1]) == 1 else f"every {int(found[1])} {unit}s"


def _hours(text: str) -> str:
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    return f"the hours {int(found[1])} to {int(found[2])}" if found else f"the hours {text.lower().replace(',', ', ')}"


def _day(monthday: str, weekday: str, *, both: bool) -> str:
    dates = None if monthday in {"*", "?"} else f"the {_join([_monthday(term) for term in monthday.split(',')])}"
    of_week = None if weekday in {"*", "?"} else _weekdays(weekday)
    if dates and of_week:
        return f" on {dates}, if it is {of_week}" if both else f" on {dates}, and on {of_week}"
    return f" on {dates or of_week}" if dates or of_week else ""


def _monthday(term: str) -> str:
    if term == "L":
        return "last day of the month"
    if term == "LW":
        return "last day of the month from Monday to Friday"
    if found := re.fullmatch(r"L-(\d+)", term):
        return f"day {int(found[1])} before the last of the month"
    if found := re.fullmatch(r"(\d+)W", term):
        return f"day from Monday to Friday nearest to the {_ordinal(int(found[1]))}"
    if found := re.fullmatch(r"(\d+)-(\d+)", term):
        return f"{_ordinal(int(found[1]))} to {_ordinal(int(found[2]))}"
    if found := re.fullmatch(r"\*/(\d+)", term):
        return f"{_ordinal(1)} and every {_ordinal(int(found[1]))} day after it"
    return _ordinal(int(term)) if term.isdigit() else term


def _weekdays(text: str) -> str:
    terms = []
    for term in text.upper().split(","):
        name, hash_, number = term.partition("#")
        if hash_:
            terms.append(f"the {_WORDS[int(number) - 1]} {_name(name, WEEKDAYS, _WEEKDAYS, 0)}")
        elif len(term) > 1 and term.endswith("L"):
            terms.append(f"the last {_name(term[:-1], WEEKDAYS, _WEEKDAYS, 0)}")
        else:
            terms.append(_list(term, WEEKDAY.names, _WEEKDAYS, 0))
    return _join(terms)


def _list(text: str, short: Sequence[str], names: Sequence[str], first: int) -> str:
    terms = []
    for term in text.split(","):
        body, step, every = term.partition("/")
        begin, to, end = body.partition("-")
        said = (
            f"{_name(begin, short, names, first)} to {_name(end, short, names, first)}"
            if to
            else _name(body, short, names, first)
        )
        terms.append(f"{said}, every {_ordinal(int(every))}" if step else said)
    return _join(terms)


def _name(text: str, short: Sequence[str], names: Sequence[str], first: int) -> str:
    if text in short:
        return names[list(short).index(text)]
    return names[(int(text) - first) % len(names)] if text.isdigit() else "all"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")  # noqa: PLR2004
    return f"{number}{ending}"


def _span(span: timedelta) -> str:
    seconds = span.total_seconds()
    for size, unit in _UNITS:
        if seconds >= size and (seconds / size).is_integer():
            count = int(seconds // size)
            return unit if count == 1 else f"{count} {unit}s"
    return f"{seconds:g} seconds"


def _join(items: Iterable[str], word: str = "and") -> str:
    texts = list(items)
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} {word} {texts[-1]}"
