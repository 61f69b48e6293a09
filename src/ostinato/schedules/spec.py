"""Schedules as JSON: what the store keeps, and what somebody may write by hand.

```json
{"cron": "0 6 * * MON-FRI", "timezone": "Europe/Oslo", "calendar": {"days": "MON-FRI", "country": "NO"}}
{"any": [{"every": 3600}, {"on": "orders.landed", "key": "eu"}], "catchup": "none"}
```

The first key says what it is; what is as it is by default is left out. Moments with a zone are in UTC, with a ``Z``.
Name, parameters, tags and whether it is paused are not in it: the row of a schedule has columns for them.
"""

from __future__ import annotations

import functools
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.errors import DefinitionError, nearest
from ostinato.schedules.calendars import Calendar
from ostinato.schedules.events import On
from ostinato.schedules.times import At, Cron, Every, RRule
from ostinato.schedules.when import AllOf, AnyOf, When

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COMMON: Final = ("timezone", "jitter", "start", "end", "calendar", "catchup")
_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "cron": ("dst",),
    "every": ("anchor",),
    "rrule": ("dst",),
    "at": ("dst",),
    "on": ("key", "policy", "size", "window", "states"),
    "any": (),
    "all": (),
}
_OF_CALENDAR: Final = ("days", "country", "subdivision", "market", "not_on", "roll")
_DEFAULTS: Final = {one.name: one.default for kind in (On, Cron, Every) for one in fields(kind)}


def to_spec(schedule: When) -> str:
    """Write when a schedule fires, as JSON: see `ostinato.schedules.to_spec`."""
    return msgspec.json.encode(_data(schedule)).decode()


@functools.lru_cache(maxsize=20_000)
def from_spec(text: str) -> When:
    """Read it again: see `ostinato.schedules.from_spec`."""
    try:
        data = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise DefinitionError(f"A schedule's spec must be JSON: {error}.") from None
    return _read(data)


# --- writing


def _data(schedule: When) -> dict[str, Any]:
    head, value = _head(schedule)
    data: dict[str, Any] = {head: value}
    for name in (*_OWN[head], *_COMMON):
        found = getattr(schedule, name)
        if name == "states" and found == ("succeeded",):
            continue
        if found != _DEFAULTS[name]:
            data[name] = _plain(found)
    return data


def _head(schedule: When) -> tuple[str, Any]:
    match schedule:
        case Cron():
            return "cron", schedule.expr
        case Every():
            return "every", _number(schedule.interval.total_seconds())
        case RRule():
            return "rrule", schedule.rule
        case At():
            return "at", [_plain(moment) for moment in schedule.moments]
        case On():
            return "on", schedule.what
        case AnyOf() | AllOf():
            return "any" if isinstance(schedule, AnyOf) else "all", [_data(part) for part in schedule.of]
    raise DefinitionError(f"A schedule is Cron(...), Every(...), RRule(...), At(...), On(...), got {schedule!r}.")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Calendar):
        plain = Calendar()
        found = {name: getattr(value, name) for name in _OF_CALENDAR if getattr(value, name) != getattr(plain, name)}
        return {name: [str(day) for day in item] if name == "not_on" else item for name, item in found.items()}
    return _number(value) if isinstance(value, float) else list(value) if isinstance(value, tuple) else value


def _number(seconds: float) -> float:
    return int(seconds) if seconds.is_integer() else seconds


# --- reading


def _read(data: Any) -> When:
    if not isinstance(data, dict):
        raise DefinitionError(f'A schedule\'s spec is an object such as {{"cron": "0 6 * * *"}}, got {data!r}.')
    heads = [name for name in _OWN if name in data]
    if len(heads) != 1:
        got = ", ".join(map(repr, data)) or "nothing"
        raise DefinitionError(f"A schedule's spec has one of {', '.join(_OWN)}; got {got}.")
    head = heads[0]
    known = (head, *_OWN[head], *_COMMON)
    for name in data:
        if name not in known:
            raise DefinitionError(
                f"A schedule by {head!r} has no {name!r}; it has {', '.join(known)}.{nearest(name, known)}"
            )
    options = {name: _READERS.get(name, _same)(value) for name, value in data.items() if name != head}
    try:
        return _MAKERS[head](data[head], options)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DefinitionError(f"A schedule by {head!r} cannot be {data!r}: {error}.") from None


def _several(kind: type[AnyOf | AllOf]) -> Callable[[Any, dict[str, Any]], When]:
    return lambda value, options: kind(tuple(_read(part) for part in value), **options)


_MAKERS: Final[Mapping[str, Callable[[Any, dict[str, Any]], When]]] = {
    "cron": lambda value, options: Cron(value, **options),
    "every": lambda value, options: Every(timedelta(seconds=value), **options),
    "rrule": lambda value, options: RRule(value, **options),
    "at": lambda value, options: At([_moment(one) for one in value], **options),
    "on": lambda value, options: On(value, **options),
    "any": _several(AnyOf),
    "all": _several(AllOf),
}


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        message = f'A moment is like "2026-12-24T16:00:00", or "2026-12-24T15:00:00Z" in UTC, got {value!r}.'
        raise DefinitionError(message) from None
    return moment if moment.tzinfo is None else moment.astimezone(UTC)


def _calendar(value: Any) -> Calendar:
    if not isinstance(value, dict):
        raise DefinitionError(f'A calendar is an object such as {{"country": "NO"}}, got {value!r}.')
    for name in value:
        if name not in _OF_CALENDAR:
            hint = nearest(name, _OF_CALENDAR)
            raise DefinitionError(f"A calendar has no {name!r}; it has {', '.join(_OF_CALENDAR)}.{hint}")
    try:
        return Calendar(**{**value, "not_on": [date.fromisoformat(day) for day in value.get("not_on", ())]})
    except (TypeError, ValueError, AttributeError) as error:
        raise DefinitionError(f"A calendar cannot be {value!r}: {error}.") from None


def _same(value: Any) -> Any:
    return value


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "start": _moment,
    "end": _moment,
    "anchor": _moment,
    "calendar": _calendar,
}
