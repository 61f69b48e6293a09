"""A run asked for by name: its deployment found, its parameters checked without the flow's code, the run queued.

What is checked here is the JSON Schema that was stored when the flow was deployed, parameter by parameter, so that
wrong ones are refused before a run exists. The flow's own annotations convert and check again where the flow runs.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato import limits
from ostinato.errors import ParameterError, UsageError, nearest
from ostinato.fingerprint import fingerprint
from ostinato.ids import new_id
from ostinato.records import Run
from ostinato.runtime.fields import UNUSABLE, fields_of
from ostinato.runtime.lateness import deadlines_of
from ostinato.runtime.session import version
from ostinato.states import State
from ostinato.work import DEFAULT_POOL, DEFAULT_QUEUE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostinato.io.results import ResultStore
    from ostinato.store.store import Store
    from ostinato.work import Deployed

_INLINE: Final = 1 << 20
_PRIORITIES: Final = range(-499, 500)


class StartOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks for."""

    deployment: str
    parameters: dict[str, Any] = {}
    """Those that differ from the deployment's own."""
    key: str | None = None
    """An idempotency key: a second order with it, for the same flow, gets the first one's run."""
    tags: list[str] = []
    start_at: int | None = None
    """When it is to begin; None for as soon as a worker takes it."""
    pool: str | None = None
    """Instead of the deployment's, as are `queue`, `priority` and `resources`."""
    queue: str | None = None
    priority: int | None = None
    resources: str | None = None
    """JSON, as in `Deployed.resources`."""
    created_by: str | None = None
    parent_run_id: str | None = None
    parent_seq: int | None = None
    trigger: str | None = None
    """JSON: what started it, as in `Run.trigger`."""


class Started(msgspec.Struct, frozen=True):
    """The run that came of an order."""

    run: Run
    created: bool
    """False where an earlier order with the same key made it."""


def start(store: Store, results: ResultStore, order: StartOrder) -> Started:
    """Put a run of a deployment into its queue.

    Raises:
        UnknownNameError: If there is no such deployment.
        ParameterError: If parameters, or the queue, are refused; no run was made.
        UsageError: If the order cannot be carried out for another reason.
    """
    deployed = store.get_deployed(order.deployment)
    if deployed.kind == "sensor":
        raise UsageError(
            f"{deployed.name} is a sensor: it is looked at in its rhythm. Look now, without starting anything, by "
            f"`ostinato sensors test {deployed.target}`."
        )
    wanted = run_of(deployed, order, now=store.now())
    if order.queue is not None:
        _check_queue(store, wanted.pool or DEFAULT_POOL, order.queue)
    parameters = {**msgspec.json.decode(deployed.parameters), **order.parameters}
    check_parameters(deployed, parameters)
    wanted.parameters, _ = results.dump(parameters, fingerprint(parameters), _INLINE)
    wanted.gates = gates_of(deployed, parameters, wanted.priority)
    if late := deadlines_of(store, deployed, [wanted]):
        store.put_deadlines(late)
    run = store.create(wanted)
    return Started(run, run.id == wanted.id)


def gates_of(deployed: Deployed, parameters: Mapping[str, Any], priority: int) -> str | None:
    """Say which limits a run of a deployment passes, as `Run.gates`: by its options, its parameters, its priority."""
    if '"limits"' not in deployed.options and '"overlap"' not in deployed.options:
        return None
    properties = msgspec.json.decode(deployed.schema, type=dict[str, Any]).get("properties", {})
    defaults = {name: rule["default"] for name, rule in properties.items() if "default" in rule}
    options = msgspec.json.decode(deployed.options, type=dict[str, Any])
    return limits.to_json(limits.gates_of_run(options, deployed.name, {**defaults, **parameters}, priority))


def run_of(deployed: Deployed, order: StartOrder, *, now: int) -> Run:
    """Describe the run that an order asks for, without its parameters and what follows from them: see `gates_of`."""
    priority = deployed.priority if order.priority is None else order.priority
    if priority not in _PRIORITIES:
        raise UsageError(f"A run's priority is a number from -499 to 499, not {priority}.")
    later = order.start_at is not None and order.start_at > now
    identity = new_id(now)
    return Run(
        id=identity,
        flow=deployed.flow,
        state=State.SCHEDULED if later else State.QUEUED,
        lineage=identity,
        parent_run_id=order.parent_run_id,
        parent_seq=order.parent_seq,
        target=deployed.target,
        code=deployed.code,
        tags=list(dict.fromkeys([*deployed.tags, *order.tags])),
        key=order.key,
        version=version(),
        created_at=now,
        scheduled_at=order.start_at,
        deployment=deployed.name,
        pool=order.pool or deployed.pool,
        queue=order.queue or deployed.queue,
        priority=priority,
        resources=order.resources or deployed.resources,
        bundle=deployed.bundle,
        created_by=order.created_by,
        trigger=order.trigger,
    )


def _check_queue(store: Store, pool: str, name: str) -> None:
    """Refuse a queue that neither somebody has declared nor a deployment of the pool names.

    A pool is not refused: it is there as soon as a worker serves it, and ``runs why`` says that none does.
    """
    known = {DEFAULT_QUEUE, *(queue.name for queue in store.list_queues(pool))}
    if name in known:
        return
    known |= {deployed.queue for deployed in store.list_deployed() if deployed.pool == pool}
    if name not in known:
        text = f"work pool {pool} has no queue {name!r}.{nearest(name, sorted(known))}"
        advice = f"Declare it: ostinato pools create {shlex.quote(pool)} {shlex.quote(name)}"
        raise ParameterError(f"{text[0].upper()}{text[1:]} {advice}", {"queue": text})


def check_parameters(deployed: Deployed, parameters: Mapping[str, Any]) -> None:
    """Check parameters against the schema that was stored with a deployment.

    Raises:
        ParameterError: With a message for each field that is wrong, missing or unknown.
    """
    refused = fields_of(deployed.schema).refuse_all(parameters, "is no parameter of this flow.")
    if refused:
        lines = "".join(f"\n  {name}: {text}" for name, text in refused.items())
        raise ParameterError(f"The parameters of {deployed.name} are refused; no run was made:{lines}", refused)


def check_schema(deployed: Deployed) -> None:
    """Check that what a deployment says of its parameters can be used to check them.

    Raises:
        UsageError: If it is no JSON Schema of an object, or refers to one elsewhere.
    """
    try:
        checks = fields_of(deployed.schema)
        checks.compile_all()
        msgspec.convert(checks.required, list[str])
        msgspec.json.decode(deployed.parameters, type=dict[str, Any])
    except UNUSABLE as error:
        raise UsageError(f"The schema of {deployed.name}'s parameters cannot be used: {error}") from None
