"""``ostinato start``."""

from __future__ import annotations

import json as jsons
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ostinato.cli.options import AsJson, ParamFile, Params, read_given, store
from ostinato.cli.screen import show_json, when
from ostinato.cli.spans import instant_of
from ostinato.cli.watch import follow
from ostinato.errors import ParameterError
from ostinato.io.results import ResultStore
from ostinato.runtime.overview import summary
from ostinato.runtime.starting import Started, StartOrder, check_parameters
from ostinato.runtime.starting import start as put_in_queue
from ostinato.settings import load_settings

if TYPE_CHECKING:
    from ostinato.store.store import Store
    from ostinato.work import Deployed

Name = Annotated[str, Parameter(name="DEPLOYMENT", help="A deployment's name, as `deployments list` shows it.")]
Key = Annotated[
    str | None, Parameter(name="--key", help="Start once per key: a second start gives the first one's run.")
]
At = Annotated[str | None, Parameter(name="--at", help="Begin then: 2026-01-31T06:00, or in so long: 10min.")]
InPool = Annotated[str | None, Parameter(name="--pool", help="The work pool, instead of the deployment's.")]
InQueue = Annotated[str | None, Parameter(name="--queue", help="The queue in its pool, instead of the deployment's.")]
Priority = Annotated[
    int | None, Parameter(name="--priority", help="In its queue; the higher, the sooner. -499 to 499.")
]
Tag = Annotated[list[str] | None, Parameter(name="--tag", negative=(), help="A label to find the run by; repeatable.")]
Watch = Annotated[bool, Parameter(name=["--watch", "-w"], negative=(), help="Watch it until it ends; exit as it does.")]


def start(
    deployment: Name,
    /,
    *,
    param: Params = None,
    param_file: ParamFile = None,
    key: Key = None,
    at: At = None,
    pool: InPool = None,
    queue: InQueue = None,
    priority: Priority = None,
    tag: Tag = None,
    watch: Watch = False,
    json: AsJson = False,
) -> int:
    """Ask for a run of a deployment: a worker of its pool carries it out."""
    settings = load_settings()
    with store() as opened:
        deployed = opened.get_deployed(deployment)
        order = StartOrder(
            deployment=deployment,
            parameters=read_given(param, param_file, lambda name, text: _value(deployed, name, text)),
            key=key,
            tags=list(tag or ()),
            start_at=None if at is None else instant_of(at, "--at", opened.now()),
            pool=pool,
            queue=queue,
            priority=priority,
        )
        started = put_in_queue(opened, ResultStore(settings.results_url, token=settings.token), order)
        if not watch:
            _tell(opened, started, as_json=json)
            return 0
        if not json:
            _tell(opened, started, as_json=False)
        code = follow(opened, started.run, quiet=json)
        if json:
            show_json(summary(opened.get_run(started.run.id)))
        return code


def _tell(opened: Store, started: Started, *, as_json: bool) -> None:
    run = started.run
    if as_json:
        show_json({**summary(run), "created": started.created})
        return
    if not started.created:
        print(f"Run {run.id} of {run.flow} was started with this key before; it is {run.state}.")
    elif run.scheduled_at is not None and run.scheduled_at > opened.now():
        print(f"Run {run.id} of {run.flow} is to start at {when(run.scheduled_at, opened.now())} in pool {run.pool}.")
    else:
        print(f"Run {run.id} of {run.flow} is queued in pool {run.pool}.")
        if not any(run.pool in worker.pools and worker.expires_at > opened.now() for worker in opened.list_workers()):
            print(f"No worker serves that pool now. Start one: ostinato worker --pool {run.pool}")
    print(f"Watch it: ostinato runs watch {run.id}")


def _value(deployed: Deployed, name: str, text: str) -> Any:
    """Make a value of a text: JSON if it parses and the deployment's schema takes it, else the text as it stands."""
    try:
        parsed = jsons.loads(text)
    except ValueError:
        return text
    return parsed if _fits(deployed, name, parsed) or not _fits(deployed, name, text) else text


def _fits(deployed: Deployed, name: str, value: Any) -> bool:
    try:
        check_parameters(deployed, {name: value})
    except ParameterError as error:
        return name not in error.fields
    return True
