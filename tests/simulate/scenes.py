"""Scenes for the tests of the simulation, with as little in them as can be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.clock import SECOND, instant_of
from ostinato.schedules import to_spec
from ostinato.simulate.past import given
from ostinato.simulate.play import play
from ostinato.simulate.scene import Crew, Scene, Span
from ostinato.timing import Schedule
from ostinato.work import Deployed

if TYPE_CHECKING:
    from ostinato.schedules import When
    from ostinato.simulate.outlook import Foretold, Outlook

BEGIN = instant_of(datetime(2026, 1, 1, tzinfo=UTC))
HOUR = 3600 * SECOND


def deployed(name: str, *, limits: Any = (), overlap: Any = None, deadline: Any = None, **fields: Any) -> Deployed:
    """Describe a deployment."""
    options: dict[str, Any] = {"limits": [limit.to_data() for limit in limits]}
    if overlap is not None and overlap.policy != "allow":  # what `overlap` as an option makes of it
        options["overlap"] = overlap.to_data()
    if deadline is not None:
        options["deadline"] = deadline.to_data()
    values = {"flow": name, "project": "p", "target": f"/p/f.py:{name}", "options": _json(options)}
    schema = {"type": "object", "properties": {"tenant": {"type": "string"}}, "additionalProperties": False}
    return Deployed(name=name, **({"schema": _json(schema)} | values | fields))


def row(name: str, when: When, **fields: Any) -> Schedule:
    """Describe a schedule."""
    values = {"deployment": name, "spec": to_spec(when), "kind": when.kind, "paused": when.paused}
    parameters = _json(dict(fields.pop("parameters", {})))
    return Schedule(name=name, parameters=parameters, **(values | fields))


def scene(*things: Deployed | Schedule, seconds: dict[str, float] | None = None, **fields: Any) -> Scene:
    """Put a scene together."""
    return Scene(
        deployed=[each for each in things if isinstance(each, Deployed)],
        schedules=[each for each in things if isinstance(each, Schedule)],
        pasts={name: given(span) for name, span in (seconds or {}).items()},
        **fields,
    )


def played(made: Scene, *, hours: float = 24, workers: int = 1, slots: int = 4, seed: int = 0, **crew: Any) -> Outlook:
    """Play it from 2026-01-01 on."""
    span = Span(begin=BEGIN, end=BEGIN + round(hours * HOUR))
    return play(made, span, [Crew(workers=workers, slots=slots, **crew)], seed=seed)


def of(outlook: Outlook, name: str) -> Foretold:
    """Return what comes of one deployment."""
    return next(each for each in outlook.deployments if each.deployment == name)


def starts(outlook: Outlook, name: str) -> list[float]:
    """Return when runs began, in minutes from the beginning."""
    found = [each.started_at for each in outlook.played if each.deployment == name and each.started_at is not None]
    return [(at - BEGIN) / (60 * SECOND) for at in found]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
