"""``ostinato workers list | drain``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.text import Text

from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import duration, show, show_json, size_text, table
from ostinato.clock import to_rfc3339
from ostinato.errors import UnknownNameError, nearest
from ostinato.resources import amounts_of
from ostinato.runtime.auditing import audit
from ostinato.runtime.process import is_gone, sweep

if TYPE_CHECKING:
    from ostinato.records import Worker

WorkerId = Annotated[str, Parameter(name="WORKER", help="A worker's id, or the unique beginning or end of it.")]
Every = Annotated[bool, Parameter(name=["--all", "-a"], negative=(), help="Scripts and commands that run flows too.")]


def list_workers(*, all_: Every = False, json: AsJson = False) -> None:
    """List the workers: what they serve, what they have, how busy they are."""
    with store() as opened:
        sweep(opened)
        now, workers = opened.now(), [worker for worker in opened.list_workers() if all_ or worker.pools]
        busy = Counter(run.worker_id for run in opened.list_held_runs(limit=10_000))
    if json:
        show_json([_shape(worker, busy[worker.id], now) for worker in workers])
        return
    if not workers:
        print("There is no worker. Start one: ostinato worker")
        return
    made = table(
        "worker", "state", "pools", "busy", "host", "pid", "version", "up", "resources", whole=("worker", "up")
    )
    for worker in workers:
        made.add_row(
            worker.id,
            _state(worker, now),
            ", ".join(worker.pools) or Text(worker.kind, "dim"),
            f"{busy[worker.id]} of {worker.slots}" if worker.pools else str(busy[worker.id]),
            worker.host.partition("/")[0],
            str(worker.pid),
            worker.version,
            duration(worker.started_at, now),
            _resources(worker),
        )
    show(made)


def _state(worker: Worker, now: int) -> Text:
    if worker.expires_at <= now or is_gone(worker):
        return Text("dead", "bold red")
    return Text("draining", "yellow") if worker.draining else Text("alive", "green")


def _resources(worker: Worker) -> str:
    amounts = amounts_of(worker.resources)
    return ", ".join(f"{name} {size_text(n) if name == 'memory' else f'{n:g}'}" for name, n in amounts.items())


def _shape(worker: Worker, busy: int, now: int) -> dict[str, Any]:
    shape: dict[str, Any] = msgspec.structs.asdict(worker)
    times = {name: to_rfc3339(shape[name]) for name in ("started_at", "expires_at")}
    state = _state(worker, now).plain
    return {**shape, **times, "resources": amounts_of(worker.resources), "busy": busy, "state": state}


def drain(worker: WorkerId, /, *, json: AsJson = False) -> None:
    """Have a worker take no more runs, and end when those it has are done."""
    with store() as opened:
        ids = [found.id for found in opened.list_workers() if found.pools]
        fitting = [one for one in ids if one.startswith(worker) or one.endswith(worker)]
        if len(fitting) != 1:
            what = f"{len(fitting)} workers are meant by" if fitting else "There is no worker"
            raise UnknownNameError(f"{what} {worker!r}.{nearest(worker, ids)} See `ostinato workers list`.")
        opened.drain(fitting[0])
        audit(opened, None, "worker_drained", fitting[0])
    if json:
        show_json({"worker": fitting[0], "draining": True})
    else:
        print(f"Worker {fitting[0]} takes no more runs and ends when those it has are done.")
