"""Automations and firings as data that anything may show, and events played through an automation by way of trial.

Nothing here shows the secret part of an address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.automations.actions import Step, steps_of, without_secrets
from ostinato.automations.automation import from_spec, spec_shown
from ostinato.automations.templates import fill, fill_text
from ostinato.clock import SECOND, to_rfc3339
from ostinato.engine.describing import describe
from ostinato.engine.judging import alarm_of, is_for, judge, moment_of
from ostinato.engine.seen import see
from ostinato.engine.triggering import Moment
from ostinato.errors import DefinitionError, UsageError
from ostinato.records import Event, StoredEvent
from ostinato.runtime.firing import progress_of, steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.automations.automation import Automation
    from ostinato.store.store import Store
    from ostinato.timing import AutomationRow, Firing

_FIELDS = ("kind", "key", "data", "run_id", "at")


def automation_shape(row: AutomationRow) -> dict[str, Any]:
    """Describe an automation."""
    try:
        when = describe(from_spec(row.spec).when)
    except DefinitionError as error:
        when = f"it cannot be read: {error}"
    return {
        "name": row.name,
        "project": row.project or None,
        "when": when,
        "spec": spec_shown(row.spec),
        "description": row.description,
        "paused": row.paused,
        "silenced_until": to_rfc3339(row.silenced_until),
        "next_at": to_rfc3339(row.next_at),
        "trouble": row.trouble,
        "updated_at": to_rfc3339(row.updated_at),
    }


def firing_shape(firing: Firing) -> dict[str, Any]:
    """Describe a firing, and how far each of its steps has come."""
    data = msgspec.json.decode(firing.data)
    plan = steps(data.get("then", []))
    known = progress_of(firing)
    return {
        "id": firing.id,
        "automation": firing.automation,
        "key": firing.key,
        "at": to_rfc3339(firing.at),
        "state": firing.state,
        "summary": str(data["values"].get("summary") or ""),
        "values": data["values"],
        "next_at": to_rfc3339(firing.next_at),
        "acknowledged_at": to_rfc3339(firing.acknowledged_at),
        "acknowledged_by": firing.acknowledged_by,
        "steps": [
            {
                "action": without_secrets(step.action.to_data()),
                "escalates": step.escalates,
                "state": each.state,
                "attempts": each.attempts,
                "due_at": to_rfc3339(each.due_at),
                "at": to_rfc3339(each.at),
                "error": each.error,
                "note": each.note,
            }
            for step, each in zip(plan, known, strict=False)
        ],
    }


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """What came of events that were played through an automation."""

    automation: str
    when: str
    """What it waits for, in words."""
    events: int
    concerned: int
    """How many of them concern it."""
    verdicts: list[dict[str, Any]]
    """Each with `key`, `at`, `state`, `values`, and `steps`: what would be done, filled in."""
    next_at: str | None = None
    """When time itself could make it fire after that."""


def play(row: AutomationRow, automation: Automation, seen_by: Store, events: Sequence[StoredEvent]) -> Played:
    """Play events through an automation that remembers nothing, as if they happened now one after the other.

    Args:
        row: The automation as it is stored: whether it is silenced.
        automation: The automation.
        seen_by: Where the runs are looked up; only read from.
        events: The events, in order.
    """
    memory: dict[str, Any] = {}
    runs = {run.id: run for run in seen_by.get_runs(sorted({each.event.run_id for each in events} - {""}))}
    owners = _owners(seen_by) if automation.owner else {}
    begin = events[0].event.at if events else seen_by.now()
    found = judge(automation, memory, Moment(begin), row.silenced_until)
    concerned = 0
    for stored in events:
        run = runs.get(stored.event.run_id)
        more: dict[str, Any] = {}
        if run is not None:
            more = {"past": tuple(seen_by.past_durations(run.flow, run.deployment))}
            more["owners"] = owners.get(run.deployment or "", ())
        moment = moment_of(automation, row.name, see(stored, run, **more))
        if moment is not None and is_for(automation, stored.event.kind):
            concerned += 1
            found += judge(automation, memory, moment, row.silenced_until)
    verdicts = [
        {
            "key": verdict.key,
            "at": to_rfc3339(verdict.at),
            "state": verdict.state,
            "values": {**verdict.values, "automation": row.name, "firing": "test"},
            "steps": _rendered(automation, {**verdict.values, "automation": row.name, "firing": "test"}),
        }
        for verdict in found
    ]
    return Played(
        automation=row.name,
        when=describe(automation.when),
        events=len(events),
        concerned=concerned,
        verdicts=verdicts,
        next_at=to_rfc3339(alarm_of(automation, memory)),
    )


def _owners(store: Store) -> dict[str, tuple[str, ...]]:
    found = {each.name: msgspec.json.decode(each.options) for each in store.list_deployed()}
    return {name: tuple(options.get("owners") or ()) for name, options in found.items()}


def _rendered(automation: Automation, values: dict[str, Any]) -> list[dict[str, Any]]:
    return [_render(step, values) for step in steps_of(automation.actions)]


def _render(step: Step, values: dict[str, Any]) -> dict[str, Any]:
    data = without_secrets(step.action.to_data())
    texts = {"Notify": ("title", "body"), "Emit": ("key",)}.get(data["type"], ())
    for name in texts:
        data[name] = fill_text(getattr(step.action, name), values)
    for name in ("parameters", "data"):
        if name in data:
            data[name] = fill(data[name], values)
    if data["type"] == "Webhook":
        data["body"] = values if getattr(step.action, "body", None) is None else fill(data["body"], values)
    return {"after": step.delay, "escalates": step.escalates, **data}


def events_of_run(store: Store, run_id: str) -> list[StoredEvent]:
    """Return all that has happened to a run, in order."""
    found: list[StoredEvent] = []
    while page := store.list_events(run_id, after=found[-1].id if found else 0):
        found += page
    return found


def event_of(given: Any, now: int) -> StoredEvent:
    """Make an event of what somebody made up: ``{"kind": "orders.landed", "key": "7", "data": {…}, "run_id": …}``.

    Raises:
        UsageError: If it is none.
    """
    is_event = isinstance(given, dict) and isinstance(given.get("kind"), str) and set(given) <= set(_FIELDS)
    key, data, run_id = (given.get(name) for name in ("key", "data", "run_id")) if is_event else (None, None, None)
    if not is_event or not isinstance(key or "", str) or not isinstance(data or {}, dict):
        form = '{"kind": "orders.landed", "key": "7", "data": {"amount": 5}}'
        raise UsageError(f"An event to play is JSON like {form}, with run_id where it is about a run; got {given!r}.")
    text = msgspec.json.encode(data or {}).decode()
    event = Event(at=now, kind=given["kind"], run_id=str(run_id or ""), key=key or "", data=text)
    return StoredEvent(id=1, event=event)


def silence_until(store: Store, row: AutomationRow, seconds: float) -> AutomationRow:
    """Silence an automation for so many seconds from now; 0 to let it speak again."""
    until = store.now() + round(seconds * SECOND) if seconds > 0 else None
    return store.pause_automation(row.name, paused=row.paused, silenced_until=until)
