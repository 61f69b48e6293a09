"""A run asked for by name: its deployment found, its parameters checked without the flow's code, the run queued.

What is checked here is the JSON Schema that was stored when the flow was deployed, parameter by parameter, so that
wrong ones are refused before a run exists. The flow's own annotations convert and check again where the flow runs.
"""

from __future__ import annotations

import functools
import re
import shlex
from typing import TYPE_CHECKING, Any, Final

import fastjsonschema
import msgspec

from ostinato.annotations import show_value
from ostinato.errors import ParameterError, UsageError, nearest
from ostinato.fingerprint import fingerprint
from ostinato.ids import new_id
from ostinato.records import Run
from ostinato.runtime.session import version
from ostinato.states import State
from ostinato.work import DEFAULT_POOL, DEFAULT_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ostinato.io.results import ResultStore
    from ostinato.store.store import Store
    from ostinato.work import Deployed

_INLINE: Final = 1 << 20
_PRIORITIES: Final = range(-499, 500)
_SHARED: Final = ("$defs", "definitions")
"""What the rules of all parameters may refer to."""
_UNUSABLE: Final = (
    *(fastjsonschema.JsonSchemaException, msgspec.MsgspecError, re.error),
    *(ValueError, TypeError, AttributeError, RecursionError),
)
"""What a schema that is none raises, wherever it is wrong."""


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
    wanted = run_of(deployed, order, now=store.now())
    if order.queue is not None:
        _check_queue(store, wanted.pool or DEFAULT_POOL, order.queue)
    parameters = {**msgspec.json.decode(deployed.parameters), **order.parameters}
    check_parameters(deployed, parameters)
    wanted.parameters, _ = results.dump(parameters, fingerprint(parameters), _INLINE)
    run = store.create(wanted)
    return Started(run, run.id == wanted.id)


def run_of(deployed: Deployed, order: StartOrder, *, now: int) -> Run:
    """Describe the run that an order asks for, without its parameters."""
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
    checks = _checks(deployed.schema)
    refused = {name: text for name, value in parameters.items() if (text := checks.refuse(name, value)) is not None}
    refused |= {name: "is missing" for name in checks.required if name not in parameters}
    if refused:
        lines = "".join(f"\n  {name}: {text}" for name, text in refused.items())
        raise ParameterError(f"The parameters of {deployed.name} are refused; no run was made:{lines}", refused)


class _Checks:
    """The checks of one schema, each compiled when it is first needed."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._properties: dict[str, Any] = schema.get("properties", {})
        self.required: list[str] = schema.get("required", [])
        self._compiled: dict[str, Callable[[Any], Any]] = {}

    def refuse(self, name: str, value: Any) -> str | None:
        """Say why a value does not fit, None if it does."""
        rule = self._properties.get(name, self._schema.get("additionalProperties", False))
        if rule is False:
            return f"is no parameter of this flow.{nearest(name, self._properties)}"
        if rule is True:
            return None
        check = self._compiled.get(name)
        if check is None:
            check = self._compiled[name] = self._compile(rule)
        try:
            check(value)
        except fastjsonschema.JsonSchemaValueException as error:
            return _tell(error)
        except RecursionError:
            return "is nested too deeply"
        return None

    def compile_all(self) -> None:
        for rule in [*self._properties.values(), self._schema.get("additionalProperties")]:
            if isinstance(rule, dict):
                self._compile(rule)

    def _compile(self, rule: dict[str, Any]) -> Callable[[Any], Any]:
        shared: dict[str, Any] = {name: self._schema[name] for name in _SHARED if name in self._schema}
        check: Callable[[Any], Any] = fastjsonschema.compile({**shared, **rule}, use_default=False, handlers=_Nowhere())
        return check


class _Nowhere(dict[str, Any]):
    """Answers for every scheme of an address: nothing is fetched."""

    def __contains__(self, _scheme: object) -> bool:
        return True

    def __missing__(self, scheme: str) -> Any:
        raise fastjsonschema.JsonSchemaDefinitionException(f"a reference to {scheme or 'a file'} is not followed")


@functools.lru_cache(maxsize=256)
def _checks(schema: str) -> _Checks:
    return _Checks(msgspec.json.decode(schema, type=dict[str, Any]))


def check_schema(deployed: Deployed) -> None:
    """Check that what a deployment says of its parameters can be used to check them.

    Raises:
        UsageError: If it is no JSON Schema of an object, or refers to one elsewhere.
    """
    try:
        checks = _checks(deployed.schema)
        checks.compile_all()
        msgspec.convert(checks.required, list[str])
        msgspec.json.decode(deployed.parameters, type=dict[str, Any])
    except _UNUSABLE as error:
        raise UsageError(f"The schema of {deployed.name}'s parameters cannot be used: {error}") from None


def _tell(error: fastjsonschema.JsonSchemaValueException) -> str:
    """Say what was expected and what came, and where in the value."""
    place, _, rest = error.message.partition(" ")
    if error.rule == "anyOf":
        kinds = [kind.get("format") or kind.get("type", "") for kind in error.rule_definition if isinstance(kind, dict)]
        rest = (
            f"must be {' or '.join(kinds)}" if all(isinstance(kind, str) and kind for kind in kinds) else "fits nothing"
        )
    inside = place.removeprefix("data").lstrip(".")
    return f"{inside + ' ' if inside else ''}{rest}, got {show_value(error.value)}"
