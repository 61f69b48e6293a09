"""One look at a sensor, one play of events before an automation: without a world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ostinato.clock import to_datetime
from ostinato.engine.judging import judge, moment_of
from ostinato.engine.seen import see
from ostinato.records import Event, StoredEvent
from ostinato.sensors.sensor import SensorContext
from ostinato.testing.moments import to_instant
from ostinato.waiting import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

    from ostinato.automations.automation import Automation
    from ostinato.sensors.sensor import Look, Sensor


def evaluate_sensor(sensor: Sensor[..., Any], *, cursor: Any = None, now: datetime | date | str = "2026-01-01") -> Look:
    """Look once at a sensor, and start nothing.

    Args:
        sensor: The sensor.
        cursor: What the look before has left.
        now: When the look begins.

    Returns:
        What it requests, why it requests nothing, and its new cursor (JSON).
    """
    return sensor.look(SensorContext(cursor, now=to_datetime(to_instant(now))))


@dataclass(frozen=True, slots=True)
class Judged:
    """One time that an automation's trigger was met."""

    at: datetime
    key: str
    """What it is about."""
    state: str
    """``pending``: it would be acted upon; ``duplicate`` or ``silenced``: not."""
    values: dict[str, Any]
    """What templates are filled in with."""


def evaluate_automation(
    automation: Automation, events: Iterable[tuple[datetime | date | str, str] | tuple[datetime | date | str, str, Any]]
) -> list[Judged]:
    """Play events before an automation; nothing is done about them.

    For runs that fail or are late, use a world.

    Args:
        automation: The automation.
        events: Each ``(when, kind)`` or ``(when, kind, data)``, in order.
    """
    memory: dict[str, Any] = {}
    found: list[Judged] = []
    for number, (at, kind, *rest) in enumerate(events, 1):
        data = to_json(rest[0]) if rest else "{}"
        seen = see(StoredEvent(id=number, event=Event(at=to_instant(at), kind=kind, run_id="", key="", data=data)))
        moment = moment_of(automation, automation.name or "", seen)
        if moment is not None:
            verdicts = judge(automation, memory, moment)
            found += [Judged(to_datetime(each.at), each.key, each.state, each.values) for each in verdicts]
    return found
