"""New runs, described: one for this process, a task that is sent to another pool, a flow that a body starts."""

from __future__ import annotations

import inspect
import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.clock import SECOND
from ostinato.errors import ResultError, UnknownNameError, UsageError
from ostinato.fingerprint import fingerprint
from ostinato.limits import gates_of_run, to_json
from ostinato.records import Run
from ostinato.resources import Resources
from ostinato.states import State
from ostinato.work import DEFAULT_POOL, DEFAULT_QUEUE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostinato.authoring.flow import Flow
    from ostinato.authoring.spec import Spec
    from ostinato.runtime.call import Call
    from ostinato.runtime.runner import Runner
    from ostinato.runtime.session import Session
    from ostinato.store.store import Store
    from ostinato.work import Deployed

_log = logging.getLogger("ostinato.internal")
_INLINE = 1 << 20


def new_run(session: Session, flow: Flow[Any, Any], parameters: Mapping[str, Any], *, identity: str) -> Run:
    """Describe a new run of a flow, leased to this session."""
    now = session.clock.now()
    stored: bytes | None
    try:
        stored, _ = session.results.dump(dict(parameters), fingerprint(dict(parameters)), _INLINE)
    except ResultError as error:
        _log.warning("The parameters of %s are not stored, so only its own process can run it: %s", flow.name, error)
        stored = None
    return Run(
        id=identity,
        flow=flow.name,
        state=State.RUNNING,
        epoch=1,
        lineage=identity,
        parameters=stored,
        target=flow.target,
        cwd=session.cwd,
        code=flow.spec.code,
        tags=list(flow.options.tags),
        key=flow.options.key,
        worker_id=session.worker_id,
        version=session.version,
        created_at=now,
        started_at=now,
    )


def gates_of_flow(
    flow: Flow[Any, Any], parameters: Mapping[str, Any], priority: int = 0, deployed: Deployed | None = None
) -> str | None:
    """Say which limits a run of a flow passes, as `Run.gates`; its deployment's overlap goes before its own."""
    overlap = None if flow.options.overlap is None else flow.options.overlap.to_data()
    if deployed is not None:
        overlap = msgspec.json.decode(deployed.options, type=dict[str, Any]).get("overlap")
    if overlap is None and not flow.options.limits:
        return None
    options = {"limits": [limit.to_data() for limit in flow.options.limits], "overlap": overlap}
    return to_json(gates_of_run(options, flow.name if deployed is None else deployed.name, parameters, priority))


def pack(runner: Runner, key: str, named: dict[str, Any]) -> bytes:
    """Encode the arguments, by name, of a call that is sent to another pool.

    Raises:
        ResultError: If they cannot be stored, and so cannot be sent.
    """
    try:
        parcel, blob = runner.session.results.dump(named, fingerprint(named), _INLINE)
    except ResultError as error:
        raise ResultError(f"The arguments of {key} cannot be sent to another pool: {error}") from None
    if blob is not None:
        runner.journal.name_blob(blob)
    return parcel


def sent_run(runner: Runner, call: Call, memory: float) -> Run:
    """Describe the run as which one attempt of a task is sent to another pool.

    Args:
        runner: The pass that calls it.
        call: The call, with the id of that run in its row.
        memory: How many times the memory it asks for that the task says.

    Raises:
        UsageError: If the task cannot be found again elsewhere.
    """
    row, parent, identity = call.row, runner.run, call.row.child_run_id
    assert identity is not None
    return Run(
        id=identity,
        flow=row.task,
        kind="task",
        state=State.QUEUED,
        lineage=identity,
        parent_run_id=parent.id,
        parent_seq=row.seq,
        parameters=call.parcel,
        target=f"{_place_of(runner, call.spec)}:{row.task}",
        cwd=parent.cwd,
        code=call.spec.code,
        tags=list(call.options.tags),
        version=runner.session.version,
        created_at=runner.clock.now(),
        scheduled_at=parent.scheduled_at,
        pool=call.options.pool,
        priority=parent.priority,
        resources=_resources(call, memory),
        bundle=parent.bundle,
        created_by=f"run:{parent.id}",
    )


def _resources(call: Call, memory: float) -> str | None:
    resources = call.options.resources
    if resources is None:
        return None
    amounts = resources.amounts
    more = Resources(resources.cpu, amounts.get("memory", 0) * memory, resources.gpu, dict(resources.named))
    return more.to_json()


def _place_of(runner: Runner, spec: Spec) -> str:
    """Say in which file a task is: relative to the bundle where its flow is told so, else absolute."""
    file = _file_of(spec)
    target = runner.run.target
    if runner.run.bundle is None or target is None:
        return str(file)
    relative = Path(target.rpartition(":")[0])
    flow = _file_of(runner.flow.spec)
    root = flow.parents[len(relative.parts) - 1] if not relative.is_absolute() else None
    return str(file.relative_to(root)) if root is not None and file.is_relative_to(root) else str(file)


def _file_of(spec: Spec) -> Path:
    function = inspect.unwrap(spec.fn)
    name = function.__code__.co_filename if hasattr(function, "__code__") else "<unknown>"
    if name.startswith("<"):
        message = f"{spec.key} is defined at a prompt or in a notebook, so no worker can find it. Define it in a file."
        raise UsageError(message)
    return Path(name).absolute()


def complete(flow: Flow[Any, Any], deployed: Deployed | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the parameters of a start those that the deployment gives, then the flow's own defaults.

    Raises:
        ParameterError: If some are missing, or the deployment's do not fit.
    """
    own = {} if deployed is None else msgspec.json.decode(deployed.parameters, type=dict[str, Any])
    return flow.validate((), {**own, **given})


def started_run(
    flow: Flow[Any, Any],
    deployed: Deployed | None,
    stored: bytes,
    *,
    identity: str,
    version: str,
    now: int,
    parent: Run | None = None,
) -> Run:
    """Describe a run that is asked for by ``flow.start``: of the flow's deployment, or where there is none of its file.

    Args:
        flow: The flow; its options say the rest.
        deployed: Its deployment, if there is one.
        stored: The parameters, encoded.
        identity: The run's id.
        version: Of Ostinato.
        now: The store's time.
        parent: The run whose body asks for it.

    Raises:
        UsageError: If the flow has no place to be found in.
    """
    options = flow.options
    if deployed is None and flow.target is None:
        message = f"{flow.name} is defined at a prompt or in a notebook, so no worker can find it. Define it in a file."
        raise UsageError(message)
    due_at = _due_at(options.start_at, now)
    resources = None if options.resources is None else options.resources.to_json()
    return Run(
        id=identity,
        flow=flow.name,
        state=State.QUEUED if due_at is None or due_at <= now else State.SCHEDULED,
        lineage=identity,
        parent_run_id=None if parent is None else parent.id,
        parameters=stored,
        target=flow.target if deployed is None else deployed.target,
        code=flow.spec.code if deployed is None else deployed.code,
        tags=list(dict.fromkeys([*(() if deployed is None else deployed.tags), *options.tags])),
        key=options.key,
        version=version,
        created_at=now,
        scheduled_at=due_at,
        deployment=None if deployed is None else deployed.name,
        pool=options.pool or (DEFAULT_POOL if deployed is None else deployed.pool),
        queue=options.queue or (DEFAULT_QUEUE if deployed is None else deployed.queue),
        priority=options.priority if options.priority is not None else 0 if deployed is None else deployed.priority,
        resources=resources or (None if deployed is None else deployed.resources),
        bundle=None if deployed is None else deployed.bundle,
        created_by=None if parent is None else f"run:{parent.id}",
    )


def _due_at(start_at: datetime | timedelta | None, now: int) -> int | None:
    if isinstance(start_at, timedelta):
        return now + start_at // timedelta(microseconds=1)
    return None if start_at is None else round(start_at.timestamp() * SECOND)


def find_deployed(store: Store, flow: Flow[Any, Any]) -> Deployed | None:
    """Return the deployment that ``flow.start`` means; None where the flow names none and is not deployed.

    Raises:
        UnknownNameError: If the flow names one that there is not.
    """
    name = flow.options.deployment
    try:
        return store.get_deployed(name or flow.name)
    except UnknownNameError:
        if name is not None:
            raise
        return None
