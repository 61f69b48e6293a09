"""Schedules as data that anything may show, and when they will fire, with what the clocks' changes do to that."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import msgspec

from ostinato.clock import SECOND, to_datetime, to_rfc3339
from ostinato.errors import OstinatoError
from ostinato.schedules import delay_of, describe, from_spec, instants

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from ostinato.schedules import When
    from ostinato.timing import Schedule, Tick

_MOMENT: Final = timedelta(microseconds=1)


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """One instant of a schedule that is to come."""

    scheduled_at: int
    starts_at: int
    """With its jitter."""
    local: str
    """What the clock on the wall shows, with the offset: ``2026-03-29 03:00:00+02:00``."""
    note: str | None = None
    """What the clocks' change does to it."""


def preview(when: When, name: str, after: int, count: int) -> list[Foreseen]:
    """Return the next instants of a schedule; none where no time will come, as for one that only waits for events."""
    return list(islice(_foresee(when, name, after), count))


def next_of(row: Schedule, now: int) -> tuple[str, Foreseen] | None:
    """Return the name of a schedule and what it will do next; None where that cannot be known."""
    try:
        found = preview(from_spec(row.spec), row.name, max(row.since, now), 1)
    except OstinatoError:
        return None
    return (row.name, found[0]) if found else None


def _foresee(when: When, name: str, after: int) -> Iterator[Foreseen]:
    zone, before = ZoneInfo(when.timezone), None
    for instant in instants(when, after):
        local = to_datetime(instant).astimezone(zone)
        yield Foreseen(
            scheduled_at=instant,
            starts_at=instant + delay_of(when, name, instant),
            local=local.isoformat(sep=" "),
            note=_change(local, instant, before),
        )
        before = local


def _change(local: datetime, instant: int, before: datetime | None) -> str | None:
    """Say what the clocks' change has to do with an instant."""
    offset, zone = local.utcoffset(), local.tzinfo
    assert offset is not None
    just_before = (to_datetime(instant) - _MOMENT).astimezone(zone).utcoffset()
    assert just_before is not None
    if just_before < offset:
        left_out = (local - (offset - just_before)).replace(tzinfo=None)
        return f"the clocks go forward here: times from {left_out:%H:%M} up to {local:%H:%M} do not exist on this day"
    other = local.replace(fold=1 - local.fold).utcoffset()
    if other != offset:
        return f"{local:%H:%M} comes twice on this day; this is the {'second' if local.fold else 'first'} time"
    if before is not None and before.utcoffset() != offset:
        return f"the clocks were changed: the offset is {local:%z} from here on"
    return None


def shape_of(row: Schedule) -> dict[str, Any]:
    """Describe a schedule."""
    try:
        words = describe(from_spec(row.spec)) if row.kind != "sensor" else _every(row)
    except OstinatoError as error:
        words = f"it cannot be read: {error}"
    return {
        "name": row.name,
        "deployment": row.deployment,
        "project": row.project or None,
        "kind": row.kind,
        "when": words,
        "spec": msgspec.json.decode(row.spec),
        "parameters": msgspec.json.decode(row.parameters),
        "tags": row.tags,
        "paused": row.paused,
        "next_at": None if row.paused else to_rfc3339(row.next_at),
        "since": to_rfc3339(row.since),
        "read": row.read,
        "cursor": row.cursor,
        "trouble": row.trouble,
        "updated_at": to_rfc3339(row.updated_at),
    }


def _every(row: Schedule) -> str:
    every = msgspec.json.decode(row.spec).get("every")
    return "a sensor" if every is None else f"every {every:g} s"


def tick_shape(tick: Tick) -> dict[str, Any]:
    """Describe a tick."""
    return {
        "schedule": tick.schedule,
        "key": tick.key,
        "scheduled_at": to_rfc3339(tick.scheduled_at),
        "at": to_rfc3339(tick.at),
        "outcome": tick.outcome,
        "reason": tick.reason,
        "run_id": tick.run_id,
        "data": data_of(tick),
    }


def data_of(tick: Tick) -> dict[str, Any]:
    """Return what a tick keeps; instants in it are written out."""
    data: dict[str, Any] = msgspec.json.decode(tick.data)
    return {name: to_rfc3339(value) if name in {"first", "last"} else value for name, value in data.items()}


def foreseen_shape(item: Foreseen) -> dict[str, Any]:
    """Describe an instant that is to come."""
    return {
        "scheduled_at": to_rfc3339(item.scheduled_at),
        "starts_at": to_rfc3339(item.starts_at),
        "jitter": (item.starts_at - item.scheduled_at) / SECOND,
        "local": item.local,
        "note": item.note,
    }
