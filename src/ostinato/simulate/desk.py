"""The desk of a simulation: makes runs for the deciders of a server, as values that nothing is done with.

What `ostinato.runtime.ticking` and `consuming` ask of their desk is answered from the scene. Parameters are checked
as on a server, once for each schedule; what is the same for all its runs is made once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from ostinato.errors import OstinatoError, UnknownNameError, UnknownRunError
from ostinato.limits import gates_of_run
from ostinato.records import Run
from ostinato.runtime.starting import check_parameters
from ostinato.runtime.ticking import Desk, tick_key
from ostinato.states import State
from ostinato.timing import Tick

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ostinato.io.results import ResultStore
    from ostinato.limits import Passing
    from ostinato.runtime.ticking import Order
    from ostinato.simulate.scene import Scene
    from ostinato.store.store import Store
    from ostinato.timing import Schedule
    from ostinato.work import Deployed


class _Made(NamedTuple):
    """What is alike in all runs of a schedule."""

    deployed: Deployed
    passings: tuple[Passing, ...]


class _Runs:
    """Stands where a store is: says of which deployment a run is, and how it stands."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}

    def get_run(self, run_id: str) -> Run:
        if run_id not in self.runs:
            raise UnknownRunError(f"There is no run {run_id!r} any more.")
        return self.runs[run_id]


class VirtualDesk(Desk):
    """Makes the runs of a simulation.

    Args:
        scene: What is deployed.
    """

    def __init__(self, scene: Scene) -> None:
        self._runs = _Runs()
        super().__init__(cast("Store", self._runs), cast("ResultStore", None))
        self._deployed = {each.name: each for each in scene.deployed}
        self._knows_all = True
        self._known: dict[tuple[str, str], _Made] = {}
        self._count = 0
        self.passings: dict[str, tuple[Passing, ...]] = {}
        """By id of a run what it needs of limits, where it needs something."""
        self.refused: dict[str, str] = {}
        """By schedule why its parameters were refused."""

    def remember(self, run: Run) -> None:
        """Keep a run that deciders may ask for."""
        self._runs.runs[run.id] = run

    def get_run(self, run_id: str) -> Run:
        """Return a run that was kept."""
        return self._runs.get_run(run_id)

    def start(self, row: Schedule, order: Order, now: int) -> tuple[Tick, Run | None]:
        """Make a tick and its run; a tick ``failed`` without one where the parameters are refused."""
        key = tick_key(row, order.key)
        try:
            made = self._make(row, order)
        except OstinatoError as error:
            self.refused.setdefault(row.name, " ".join(line.strip() for line in str(error).splitlines()))
            return Tick(schedule=row.name, key=key, outcome="failed", reason="refused"), None
        self._count += 1
        deployed, identity = made.deployed, str(self._count)
        run = Run(
            id=identity,
            flow=deployed.flow,
            state=State.QUEUED,
            lineage=identity,
            deployment=deployed.name,
            pool=deployed.pool,
            queue=deployed.queue,
            priority=deployed.priority,
            resources=deployed.resources,
            created_at=now,
            scheduled_at=order.scheduled_at,
            created_by=row.name,
        )
        if made.passings:
            self.passings[identity] = made.passings
        return Tick(schedule=row.name, key=key, outcome="started", scheduled_at=order.scheduled_at, at=now), run

    def _make(self, row: Schedule, order: Order) -> _Made:
        name = order.deployment or row.deployment
        known = None if order.parameters else self._known.get((row.name, name))
        if known is not None:
            return known
        deployed = self.find_deployed(name)
        if deployed is None:
            raise UnknownNameError(f"There is no deployment {name!r}.")
        made = _Made(deployed, tuple(passings_of(deployed, row, order.parameters)))
        if not order.parameters:
            self._known[row.name, name] = made
        return made


def passings_of(deployed: Deployed, row: Schedule, more: Mapping[str, Any]) -> Sequence[Passing]:
    """Say what a run of a schedule needs of limits.

    Raises:
        ParameterError: If its parameters are refused.
    """
    parameters = {**msgspec.json.decode(deployed.parameters), **msgspec.json.decode(row.parameters), **more}
    check_parameters(deployed, parameters)
    return gates_of_run(msgspec.json.decode(deployed.options), deployed.name, parameters, deployed.priority)
