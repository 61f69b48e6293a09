"""What automations are shown of the world: an event, the run it is about, and both as values for templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND, to_rfc3339
from ostinato.outcomes import parse_failure
from ostinato.records import Run

if TYPE_CHECKING:
    from ostinato.records import StoredEvent

_STATES: Final = {"started": "running", "suspended": "waiting", "claimed": "running", "woken": "queued"}
_VERBS: Final = {
    "succeeded": "succeeded",
    "failed": "failed",
    "crashed": "crashed",
    "cancelled": "was cancelled",
    "skipped": "was skipped",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An event, with what is known of the run it is about."""

    number: int
    at: int
    kind: str
    key: str | None = None
    run_id: str = ""
    data: dict[str, Any] = {}
    run: Run | None = None
    """As it was when it was looked up; None for an event about no run, or about one that is gone."""
    owners: tuple[str, ...] = ()
    """Those of the run's deployment."""
    past: tuple[float, ...] = ()
    """Seconds that the deployment's last successful runs took, where a trigger wants to know."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger was met."""

    at: int
    subject: str
    """What it is about: a deployment, an event's kind and key."""
    values: dict[str, Any]
    """What templates may be filled in with."""
    number: int | None = None
    """The event that met it; None where it was time."""


def see(stored: StoredEvent, run: Run | None = None, **more: Any) -> Seen:
    """Take an event apart."""
    event = stored.event
    return Seen(
        number=stored.id,
        at=event.at,
        kind=event.kind,
        key=event.key,
        run_id=event.run_id,
        data=_data(event.data),
        run=run,
        **more,
    )


def _data(text: str) -> dict[str, Any]:
    found = msgspec.json.decode(text)
    return found if isinstance(found, dict) else {"value": found}


def values_of(seen: Seen) -> dict[str, Any]:
    """Describe an event by the names that templates know."""
    values: dict[str, Any] = {
        "kind": seen.kind,
        "key": seen.key or "",
        "at": to_rfc3339(seen.at),
        "data": seen.data,
        "run_id": seen.run_id,
        "count": 1,
    }
    noun, _, verb = seen.kind.partition(".")
    run = seen.run
    if noun == "task_run":
        values |= {"task": seen.data.get("task"), "error": seen.data.get("why") or seen.data.get("reason")}
    if run is not None:
        values |= {"flow": run.flow, "deployment": run.deployment, "tags": list(run.tags)}
        values["state"] = _STATES.get(verb, verb) if noun == "run" and verb != "late" else str(run.state)
        values["reason"] = seen.data.get("reason") if noun == "run" else run.reason
        values["duration"] = _duration(run.started_at, run.finished_at or seen.at)
        failure = parse_failure(run.error)
        if failure is not None and noun == "run":
            values["error"] = failure.line
    else:
        values |= {name: seen.data[name] for name in ("flow", "deployment") if isinstance(seen.data.get(name), str)}
    values["summary"] = _summary(seen, values)
    return values


def hit_of(seen: Seen) -> Hit:
    """Say that an event has met a trigger by itself."""
    values = values_of(seen)
    return Hit(at=seen.at, subject=subject_of(values), values=values, number=seen.number)


def subject_of(values: dict[str, Any]) -> str:
    """Name what something is about, for de-duplication."""
    if values.get("deployment") or values.get("flow"):
        what = str(values.get("deployment") or values["flow"])
        return f"{what}/{values['task']}" if values.get("task") else what
    return f"{values['kind']}:{values['key']}" if values.get("key") else str(values["kind"])


def _summary(seen: Seen, values: dict[str, Any]) -> str:
    who = values.get("deployment") or values.get("flow") or seen.run_id
    run = f"{who} (run {seen.run_id})" if seen.run_id and who != seen.run_id else str(who)
    reason = f" ({values['reason']})" if values.get("reason") else ""
    error = f": {values['error']}" if values.get("error") else ""
    if seen.kind == "run.late":
        due = to_rfc3339(seen.data.get("due_at")) if isinstance(seen.data.get("due_at"), int) else "now"
        what = "begun" if seen.data.get("kind") == "start" else "ended"
        return f"{run} is late: it should have {what} by {due}."
    if seen.kind.startswith("task_run.") and values.get("task"):
        return f"{values['task']} of {run} {seen.kind.partition('.')[2]}{error}."
    if seen.kind.startswith("run.") and values.get("state"):
        state = str(values["state"])
        return f"{run} {_VERBS.get(state, f'is {state}')}{reason}{error}."
    return f"{seen.kind}{f' with key {seen.key!r}' if seen.key else ''} happened."


def _duration(start: int | None, end: int) -> str:
    return "" if start is None else span_text((end - start) / SECOND)


def span_text(seconds: float) -> str:
    """Write a span of time: ``12 s``, ``4 min 10 s``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s" if whole == seconds or whole >= 10 else f"{max(seconds, 0.0):.1f} s"  # noqa: PLR2004
    if whole < _HOUR:
        return f"{whole // _MINUTE} min{f' {whole % _MINUTE} s' if whole % _MINUTE else ''}"
    if whole < _DAY:
        return f"{whole // _HOUR} h{f' {whole % _HOUR // _MINUTE} min' if whole % _HOUR // _MINUTE else ''}"
    return f"{whole // _DAY} d{f' {whole % _DAY // _HOUR} h' if whole % _DAY // _HOUR else ''}"
