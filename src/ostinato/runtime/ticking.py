"""A look at a schedule: what it comes to, and the runs that come of it.

```
Schedule, due ─► its decider(row, now, desk) ─► Decision: ticks, runs, how far it is ─► store.decide
                    time: `tick_time`              │
                    sensor, event, condition: theirs └── runs are made by the desk, alike for all kinds
```

A decider reads what it needs and decides; nothing is stored before `store.decide`, which refuses a decision about a
schedule that has changed meanwhile. So two servers may look at the same one, and a look may be thrown away.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import OstinatoError, ParameterError, UnknownNameError, UsageError
from ostinato.fingerprint import fingerprint
from ostinato.ids import new_id
from ostinato.runtime.due import COUNTED, find_due
from ostinato.runtime.starting import StartOrder, check_parameters, gates_of, run_of
from ostinato.schedules import from_spec
from ostinato.timing import Decision, Tick

if TYPE_CHECKING:
    from ostinato.io.results import ResultStore
    from ostinato.records import Run
    from ostinato.store.store import Store
    from ostinato.timing import Schedule
    from ostinato.work import Deployed

_INLINE: Final = 1 << 20
_LATER: Final = 3600 * SECOND
"""After so long a schedule that cannot be read is looked at again: another version may be able to."""
_FEW: Final = 20
"""So many deployments are read one by one; whoever needs more gets all at once."""
_SPREAD: Final = 30_000
"""Milliseconds over which the ids of runs that are made in one moment are spread, so that they differ for certain."""


class Decider(Protocol):
    """Decides about the schedules of one kind."""

    def __call__(self, row: Schedule, now: int, desk: Desk) -> Decision:
        """Decide what a schedule that is due comes to now.

        It may read from `desk.store` and blocks only briefly. What it raises is a defect or the store's absence:
        the schedule is looked at again a little later. What is wrong with the schedule itself is `Decision.trouble`.
        """
        ...


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One tick that is to start a run."""

    key: str
    """What happens once: an instant, the id of an event, a run key. The desk adds the generation of a replay."""
    scheduled_at: int | None = None
    deployment: str | None = None
    """Instead of the schedule's: a sensor may start others."""
    parameters: Mapping[str, Any] = {}
    """Beyond those of the schedule and the deployment."""
    tags: Sequence[str] = ()
    events: Sequence[int] = ()
    """The numbers of the events it is made of."""
    data: Mapping[str, Any] = {}
    """What else its tick keeps."""


class Desk:
    """What deciders have at hand in one round of looks: the store, deployments as they are now, and who makes runs.

    Args:
        store: Where schedules and deployments are; only read from.
        results: Where parameters go that are too large for a row.
        counted: Up to how many missed instants are counted, where many schedules have missed some.
    """

    def __init__(self, store: Store, results: ResultStore, *, counted: int = COUNTED) -> None:
        self.store, self.results, self.counted = store, results, counted
        self._deployed: dict[str, Deployed] = {}
        self._knows_all = False
        self._numbers = itertools.count()

    def find_deployed(self, name: str) -> Deployed | None:
        """Return a deployment, None when there is none of that name any more."""
        if name not in self._deployed and not self._knows_all:
            if len(self._deployed) >= _FEW:
                self._knows_all = True
                self._deployed = {each.name: each for each in self.store.list_deployed()}
            else:
                with contextlib.suppress(UnknownNameError):
                    self._deployed[name] = self.store.get_deployed(name)
        return self._deployed.get(name)

    def start(self, row: Schedule, order: Order, now: int) -> tuple[Tick, Run | None]:
        """Make a tick and its run; a tick ``failed`` without one where the parameters are refused."""
        key = tick_key(row, order.key)
        try:
            run = self._run(row, order, key, now)
        except (ParameterError, UnknownNameError, UsageError) as error:
            data = {**order.data, "error": str(error)}
            return _tick(row, key, order, "failed", data=data, reason="refused"), None
        return _tick(row, key, order, "started", data=dict(order.data), run_id=run.id), run

    def _run(self, row: Schedule, order: Order, key: str, now: int) -> Run:
        name = order.deployment or row.deployment
        deployed = self.find_deployed(name)
        if deployed is None:
            raise UnknownNameError(f"There is no deployment {name!r} any more; no run was made.")
        wanted = StartOrder(
            deployment=name,
            tags=[*row.tags, *order.tags],
            start_at=order.scheduled_at,
            created_by=f"schedule:{row.name}",
        )
        run = run_of(deployed, wanted, now=now)
        run.id = run.lineage = new_id(now + 1000 * (next(self._numbers) % _SPREAD))
        parameters = {
            **msgspec.json.decode(deployed.parameters),
            **msgspec.json.decode(row.parameters),
            **order.parameters,
        }
        check_parameters(deployed, parameters)
        run.parameters, _ = self.results.dump(parameters, fingerprint(parameters), _INLINE)
        run.gates = gates_of(deployed, parameters, run.priority)
        run.trigger = as_json({"schedule": row.name, "tick": key, "events": list(order.events)})
        return run


def tick_time(row: Schedule, now: int, desk: Desk) -> Decision:
    """Decide about a schedule that only time drives: start what is due, by its policy what was missed."""
    try:
        when = from_spec(row.spec)
    except OstinatoError as error:
        return decision_of(row, [], next_at=now + _LATER, trouble=f"It cannot be read: {error}")
    state: dict[str, Any] = msgspec.json.decode(row.state)
    until = int(state.get("until", 0))
    due = find_due(when, row.name, row.since, now, until=until, counted=desk.counted)
    ticks: list[tuple[Tick, Run | None]] = []
    if due.missed is not None:
        ticks.append(
            skip(row, Order(key=f"missed:{due.missed.first}", data=msgspec.structs.asdict(due.missed)), "missed")
        )
    ticks += [desk.start(row, Order(key=str(instant), scheduled_at=instant), now) for instant in due.instants]
    if until and (due.next_at is None or due.next_at > now):
        del state["until"]
    return decision_of(row, ticks, since=due.since, next_at=due.next_at, state=as_json(state))


def decision_of(row: Schedule, ticks: Sequence[tuple[Tick, Run | None]], **progress: Any) -> Decision:
    """Make the decision of these ticks; what `progress` does not name stays as it is.

    The first error of a tick is the schedule's trouble, until a run is started again.
    """
    errors = [msgspec.json.decode(tick.data).get("error") for tick, _ in ticks if tick.outcome == "failed"]
    is_well = any(tick.outcome == "started" for tick, _ in ticks)
    decision = Decision(
        schedule=row.name,
        turn=row.turn,
        ticks=[tick for tick, _ in ticks],
        runs=[run for _, run in ticks if run is not None],
        since=row.since,
        next_at=row.next_at,
        read=row.read,
        cursor=row.cursor,
        state=row.state,
        trouble=errors[0] if errors else None if is_well else row.trouble,
    )
    return msgspec.structs.replace(decision, **progress)


def skip(row: Schedule, order: Order, reason: str) -> tuple[Tick, None]:
    """Make a tick that starts nothing."""
    return _tick(row, tick_key(row, order.key), order, "skipped", data=dict(order.data), reason=reason), None


def tick_key(row: Schedule, key: str) -> str:
    """Return the key of a tick: what a replay starts is new, so it has the replay's number behind it."""
    generation = generation_of(row)
    return f"{key}/{generation}" if generation else key


def generation_of(row: Schedule) -> int:
    """Tell how often a schedule was rewound: the store counts it in `state`, whatever else is there."""
    return int(msgspec.json.decode(row.state).get("generation", 0)) if row.state != "{}" else 0


def _tick(row: Schedule, key: str, order: Order, outcome: str, **fields: Any) -> Tick:
    data = fields.pop("data")
    if order.events:
        data = {"events": list(order.events), **data}
    return Tick(
        schedule=row.name,
        key=key,
        scheduled_at=order.scheduled_at,
        outcome=outcome,
        data=as_json(data) if data else "{}",
        **fields,
    )


def as_json(data: Mapping[str, Any]) -> str:
    """Encode what a tick or a run keeps."""
    return msgspec.json.encode(data).decode()
