"""The schedules of flows and deployments, as rows of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.authoring.parameters import validate
from ostinato.authoring.schema import values_of
from ostinato.errors import DefinitionError, OstinatoError
from ostinato.schedules import AnyOf, On, describe, to_spec
from ostinato.timing import Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.authoring.deployment import Deployment
    from ostinato.schedules import When

_BROUGHT: Final = ("event", "events")
"""What a run that events start is given of them, where its flow takes it: `ostinato.runtime.consuming`."""


def timetable(given: Deployment, project: str) -> list[Schedule]:
    """Describe the schedules of a deployment.

    Args:
        given: The deployment; of a flow that has none of its own, one that says nothing but the flow.
        project: The project's name.

    Raises:
        DefinitionError: If one can never start a run as it is: a parameter is lacking, or it waits for itself.
        ParameterError: If a parameter's value does not fit.
    """
    return [
        Schedule(
            name=name,
            deployment=given.full_name,
            project=project,
            kind=schedule.kind,
            spec=to_spec(schedule),
            parameters=_parameters(given, schedule),
            tags=sorted(schedule.tags),
            paused=schedule.paused,
        )
        for name, schedule in _named(given)
    ]


def faults(given: Deployment) -> Iterator[str]:
    """Yield what is wrong with the schedules of a deployment."""
    for _, schedule in _named(given):
        try:
            _parameters(given, schedule)
        except OstinatoError as error:
            yield str(error)


def _named(given: Deployment) -> Iterator[tuple[str, When]]:
    """Yield each with the name of its row: the deployment's where there is only one, and it has none of its own."""
    for number, schedule in enumerate(given.schedules, 1):
        if schedule.name is None and len(given.schedules) == 1:
            yield given.full_name, schedule
        else:
            yield f"{given.full_name}:{schedule.name or number}", schedule


def _parameters(given: Deployment, schedule: When) -> str:
    """Check and write the parameters of one schedule."""
    if _waits_for(schedule, given.flow.name):
        raise DefinitionError(
            f"{given.full_name} is started {describe(schedule)}: its own end would start it again, for ever."
        )
    spec, values = given.flow.spec, dict(schedule.parameters)
    known = {*given.parameters, *values, *(() if schedule.kind == "time" else _BROUGHT)}
    lacking = [
        name
        for name, p in spec.signature.parameters.items()
        if p.default is p.empty and name not in known and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}
    ]
    if lacking:
        raise DefinitionError(
            f"The schedule {describe(schedule)!r} of {given.full_name} gives no value for {', '.join(lacking)}, and "
            f"there is no default. Give one: parameters={{{lacking[0]!r}: ...}}."
        )
    written: dict[str, Any] = values_of(spec, validate(given.full_name, spec, values))
    return msgspec.json.encode(written).decode()


def _waits_for(schedule: When, flow: str) -> bool:
    """Tell whether the end of a flow alone makes a schedule fire."""
    if isinstance(schedule, On):
        return schedule.flow == flow
    return isinstance(schedule, AnyOf) and any(_waits_for(part, flow) for part in schedule.of)
