"""From loaded modules to what they define: flows and deployments, found by looking at attributes, as data.

```
modules ─► Found (object, attribute, file) ─► one of each name, or an error that names both places ─► Deployed
```

Decorators register nothing. A flow may be seen in several modules that import it: it belongs to the one that its
function is written in.
"""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.authoring.blueprint import blueprint_of
from ostinato.authoring.declared import Declared
from ostinato.authoring.deployment import Deployment
from ostinato.authoring.flow import Flow
from ostinato.authoring.schema import schema_of, values_of
from ostinato.authoring.sensing import describe_sensor, name_of_sensor
from ostinato.authoring.task import Task
from ostinato.authoring.timetable import timetable
from ostinato.automations.automation import Automation
from ostinato.deadlines import to_due
from ostinato.errors import DefinitionError, OstinatoError
from ostinato.sensors.sensor import Sensor
from ostinato.work import DEFAULT_QUEUE, Deployed

if TYPE_CHECKING:
    from types import ModuleType

    from ostinato.authoring.project import ProjectFolder
    from ostinato.timing import AutomationRow, Schedule


@dataclass(frozen=True, slots=True)
class _Found:
    """A flow that a module has under some name."""

    flow: Flow[Any, Any]
    attribute: str
    file: str

    @property
    def is_at_home(self) -> bool:
        """Whether it is in the file that its function is written in, under the function's own name."""
        return self.file == _written_in(self.flow)[0] and self.attribute == self.flow.fn.__name__

    @property
    def target(self) -> str:
        return f"{self.file}:{self.attribute}"


@dataclass(slots=True)
class Definitions:
    """What the modules of a project define."""

    project: ProjectFolder
    errors: dict[str, str] = field(default_factory=dict)
    pools: set[str] = field(default_factory=set)
    """The work pools that tasks name."""
    _flows: dict[str, list[_Found]] = field(default_factory=dict)
    _variants: dict[str, dict[str, tuple[Deployment, str]]] = field(default_factory=dict)
    _sensors: dict[str, dict[int, tuple[Sensor[Any, Any], str, str]]] = field(default_factory=dict)
    """By name and by which it is: the sensor, the variable, its file."""
    _schedules: dict[str, list[Schedule]] = field(default_factory=dict)
    """By deployment."""
    _automations: Declared = field(default_factory=Declared)
    _files: set[str] = field(default_factory=set)

    def add(self, module: ModuleType, file: str) -> None:
        """Look at what a module holds."""
        self._files.add(file)
        for attribute, value in list(vars(module).items()):
            if issubclass(type(value), Flow):  # not isinstance: a proxy's own `__class__` may raise
                self._flows.setdefault(value.name, []).append(_Found(value, attribute, file))
            elif issubclass(type(value), Task) and value.options.pool is not None:
                self.pools.add(value.options.pool)
            elif type(value) is Automation:
                self._automations.add(value, attribute, self._below(file), file)
            elif issubclass(type(value), Sensor):
                self._add_sensor(value, attribute, file)
            elif type(value) is Deployment:
                places = self._variants.setdefault(value.full_name, {})
                places.setdefault(value.place or file, (value, file))

    def _add_sensor(self, sensor: Sensor[Any, Any], attribute: str, file: str) -> None:
        """Note a sensor; one that a module has imported from another belongs to the file that it is written in."""
        known = self._sensors.setdefault(name_of_sensor(sensor, attribute), {})
        if id(sensor) not in known or getattr(sensor.fn, "__module__", "") == Path(file).stem:
            known[id(sensor)] = (sensor, attribute, file)

    def sensors(self, taken: set[str]) -> tuple[list[Deployed], list[Schedule]]:
        """Describe every sensor, by name, and its schedule; what cannot be is noted as an error.

        Args:
            taken: The names of flows and deployments.
        """
        deployed, schedules = [], []
        for name, places in sorted(self._sensors.items()):
            if len(places) > 1 or name in taken:
                what = (
                    f"sensors are called {name!r}" if len(places) > 1 else f"are called {name!r}, a flow and a sensor"
                )
                self._refuse_double(what, {self._below(file): file for _, _, file in places.values()})
                continue
            sensor, variable, file = next(iter(places.values()))
            place = {"project": self.project.name, "pool": self.project.pool, "below": self._below(file)}
            try:
                made, schedule = describe_sensor(sensor, variable, file, **place)
            except Exception as error:
                self.fail(file, f"{name} cannot be deployed: {error}")
                continue
            deployed.append(made)
            schedules.append(schedule)
        return deployed, schedules

    def schedules(self) -> list[Schedule]:
        """List the schedules of what `deployed` has described."""
        return [schedule for name in sorted(self._schedules) for schedule in self._schedules[name]]

    def automations(self) -> list[AutomationRow]:
        """Describe every automation, by name; two of one name are noted as errors."""
        rows, doubles = self._automations.rows(self.project.name)
        for name, places in doubles.items():
            self._refuse_double(f"automations are called {name!r}", places)
        return rows

    def fail(self, file: str, message: str) -> None:
        """Note what is wrong in a file."""
        relative = self._below(file)
        self.errors[relative] = f"{self.errors[relative]}\n\n{message}" if relative in self.errors else message

    def deployed(self) -> list[Deployed]:
        """Describe every flow and deployment, by name; what cannot be is noted as an error."""
        flows = {name: one for name, found in self._flows.items() if (one := self._choose(name, found)) is not None}
        made: dict[str, Deployed] = {}
        for name, one in flows.items():
            self._describe(made, name, one, None, one.file)
        for name, places in self._variants.items():
            if len(places) > 1:
                made.pop(name, None)
                self._refuse_double(
                    f"deployments are called {name!r}", {place: file for place, (_, file) in places.items()}
                )
                continue
            variant, file = next(iter(places.values()))
            one = flows.get(variant.flow.name)
            if one is None or _written_in(one.flow) != _written_in(variant.flow):
                self.fail(file, _homeless(variant))
            else:
                self._describe(made, name, one, variant, file)
        self._schedules = {name: found for name, found in self._schedules.items() if name in made}
        return [made[name] for name in sorted(made)]

    def _choose(self, name: str, found: list[_Found]) -> _Found | None:
        """Choose among the places that one name was seen in; refuse it where they mean different flows."""
        own = [one for one in found if self._is_own(one)]
        written = {_written_in(one.flow): one for one in own}
        if len(written) > 1:
            seen = {f"{self._below(file)}, line {line}": one.file for (file, line), one in written.items()}
            self._refuse_double(f"flows are called {name!r}", seen)
            return None
        return max(own, key=lambda one: one.is_at_home, default=None)

    def _is_own(self, one: _Found) -> bool:
        """Tell whether a flow is this project's: written in one of its files, or the only kind its module holds."""
        if _written_in(one.flow)[0] in self._files:
            return True
        beside = (other for found in self._flows.values() for other in found if other.file == one.file)
        return not any(_written_in(other.flow)[0] in self._files for other in beside)

    def _refuse_double(self, what: str, places: dict[str, str]) -> None:
        message = (
            f"Two {what}: {' and '.join(sorted(places))}. Neither is taken: names are unique within a project. "
            "Give one of them another, by name=."
        )
        for file in set(places.values()):
            self.fail(file, message)

    def _describe(
        self, made: dict[str, Deployed], name: str, one: _Found, variant: Deployment | None, file: str
    ) -> None:
        try:
            made[name] = self._deployed(name, one, variant, file)
        except Exception as error:  # the user's own classes have a say in schemas
            made.pop(name, None)
            self.fail(file, f"{name} cannot be deployed: {_said(error)}")
            return
        try:
            self._schedules[name] = timetable(variant or Deployment(one.flow), self.project.name)
        except Exception as error:  # likewise
            self._schedules[name] = []
            self.fail(file, f"The schedules of {name} cannot be deployed: {_said(error)}")

    def _deployed(self, name: str, one: _Found, variant: Deployment | None, file: str) -> Deployed:
        given = variant or Deployment(one.flow)
        flow, options = given.flow, given.flow.options
        resources = given.resources or options.resources
        described = given.description if given.description is not None else inspect.getdoc(flow.fn)
        return Deployed(
            name=name,
            flow=flow.name,
            project=self.project.name,
            target=one.target,
            pool=given.pool or options.pool or self.project.pool,
            queue=given.queue or options.queue or DEFAULT_QUEUE,
            priority=given.priority,
            parameters=_json(values_of(flow.spec, given.parameters)),
            schema=_json(schema_of(flow.spec)),
            blueprint=_json(blueprint_of(flow)),
            resources=None if resources is None else resources.to_json(),
            options=_json(self._options(given, file)),
            description=described or "",
            tags=sorted({*options.tags, *given.tags}),
            code=flow.spec.code,
            code_policy=options.code,
        )

    def _options(self, given: Deployment, file: str) -> dict[str, Any]:
        flow, overlap = given.flow, given.overlaps
        retry = flow.options.retry
        wanted = {
            "file": self._below(file),
            "retry_on_oom": retry and retry.on_out_of_memory,
            "timeout": flow.options.timeout,
            "cold": flow.options.cold or None,
            "limits": [limit.to_data() for limit in flow.options.limits] or None,
            "overlap": None if overlap is None else overlap.to_data(),
            "environment": self.project.environment,
            "owners": list(flow.options.owners) or None,
            "deadline": None if (due := to_due(given.deadline)) is None else due.to_data(),
        }
        return {key: value for key, value in wanted.items() if value is not None}

    def _below(self, file: str) -> str:
        return os.path.relpath(file, self.project.root).replace(os.sep, "/")


def _written_in(flow: Flow[Any, Any]) -> tuple[str, int]:
    """Return the file and the line of a flow's function."""
    code = getattr(inspect.unwrap(flow.fn), "__code__", None)
    return ("", 0) if code is None else (str(Path(code.co_filename).absolute()), code.co_firstlineno)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, OstinatoError) else f"{type(error).__name__}: {error}"


def _homeless(variant: Deployment) -> str:
    return (
        f"The deployment {variant.full_name!r} is of a flow that no module of the project holds under the name "
        f"{variant.flow.name!r}. Put the flow in a variable at the top of a module."
    )


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{error}.") from error
