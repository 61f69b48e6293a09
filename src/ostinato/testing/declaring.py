"""What a test deploys, described as a scan of a project would describe it, without any file being looked at."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Final

from ostinato.authoring.definitions import Definitions
from ostinato.authoring.deployment import Deployment
from ostinato.authoring.flow import Flow
from ostinato.authoring.project import ProjectFolder
from ostinato.authoring.task import Task
from ostinato.automations.automation import Automation, row_of
from ostinato.errors import DefinitionError, UsageError
from ostinato.sensors.sensor import Sensor
from ostinato.timing import Timing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ostinato.testing.carrying import Known
    from ostinato.work import Deployed

PROJECT: Final = "world"
_FILE: Final = "/world/world.py"


class Declared:
    """Everything that was deployed in a world so far."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._things: dict[str, Any] = {}

    def add(self, things: Iterable[Any]) -> None:
        """Add flows, deployments, sensors, automations; and tasks, as far as they are sent to other pools.

        Raises:
            UsageError: If one of them is none of these.
        """
        for thing in things:
            if isinstance(thing, Task):
                self._known.tasks[thing.key] = thing
            elif isinstance(thing, Deployment):
                self._put(thing.flow)
                self._put(thing)
                self._known.flows[thing.full_name] = thing.flow
            elif isinstance(thing, (Flow, Sensor, Automation)):
                self._put(thing)
            else:
                raise UsageError(
                    f"world.deploy takes flows, deployments, sensors, automations and tasks, not {thing!r}."
                )

    def _put(self, thing: Any) -> None:
        if isinstance(thing, Flow):
            self._known.flows[thing.name] = thing
        if any(other is thing for other in self._things.values()):
            return
        wanted = getattr(getattr(thing, "fn", None), "__name__", "thing")
        name, number = wanted, 1
        while name in self._things:
            number += 1
            name = f"{wanted}_{number}"
        self._things[name] = thing
        if isinstance(thing, Sensor):
            self._known.sensors[thing.options.name or name] = thing

    def describe(self) -> tuple[list[Deployed], Timing]:
        """Describe all of it.

        Raises:
            DefinitionError: If something of it cannot be deployed.
        """
        found = Definitions(ProjectFolder(root="/world", name=PROJECT))
        module = types.ModuleType(PROJECT)
        vars(module).update(self._things)
        found.add(module, _FILE)
        deployed = found.deployed()
        sensors, looks = found.sensors({each.name for each in deployed})
        automations = [
            row_of(thing, name, PROJECT) for name, thing in self._things.items() if isinstance(thing, Automation)
        ]
        if found.errors:
            raise DefinitionError("\n".join(found.errors.values()))
        timing = Timing(schedules=[*found.schedules(), *looks], automations=automations)
        return [*deployed, *sensors], timing
