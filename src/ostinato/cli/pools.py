"""``ostinato pools list | create | pause | resume | remove``: work pools, and the queues in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.text import Text

from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import duration, show, show_json, table
from ostinato.clock import to_rfc3339
from ostinato.errors import UnknownNameError, UsageError, nearest
from ostinato.runtime.auditing import audit
from ostinato.work import DEFAULT_QUEUE, Pool, Queue, QueueLength

if TYPE_CHECKING:
    from ostinato.store.store import Store

PoolName = Annotated[str, Parameter(name="POOL", help="The work pool.")]
QueueName = Annotated[str | None, Parameter(name="QUEUE", help="A queue in it; without one the pool itself is meant.")]
Slots = Annotated[int | None, Parameter(name="--slots", help="How many of its runs may be under way at once; 0: any.")]
Priority = Annotated[
    int | None, Parameter(name="--priority", help="Of the queue: the higher, the sooner; -100 to 100.")
]
About = Annotated[str | None, Parameter(name="--about", help="What it is for.")]


def list_pools(*, json: AsJson = False) -> None:
    """List work pools and their queues, and what waits in them."""
    with store() as opened:
        pools, queues, now = opened.list_pools(), opened.list_queues(), opened.now()
        lengths = {(length.pool, length.queue): length for length in opened.list_queue_lengths()}
        workers = [worker for worker in opened.list_workers() if worker.expires_at > now]
    serving = {pool.name: sum(pool.name in worker.pools for worker in workers) for pool in pools}
    rows = [(pool, queue) for pool in pools for queue in _queues_of(pool, queues, lengths)]
    if json:
        show_json([_shape(pool, [q for p, q in rows if p is pool], lengths, serving[pool.name]) for pool in pools])
        return
    made = table("pool", "queue", "priority", "slots", "state", "waiting", "oldest", "workers", whole=("pool", "queue"))
    for pool, queue in rows:
        length = lengths.get((pool.name, queue.name))
        paused = "pool paused" if pool.paused else "paused" if queue.paused else ""
        made.add_row(
            pool.name,
            queue.name,
            str(queue.priority),
            "any" if pool.slots is None else str(pool.slots),
            Text(paused, "yellow"),
            str(length.waiting if length else 0),
            duration(length.oldest_at, now) if length else "",
            str(serving[pool.name]),
        )
    if rows:
        show(made)
    else:
        print("There is no work pool yet: deploy a flow, start a worker, or `ostinato pools create NAME`.")


def create(
    pool: PoolName,
    queue: QueueName = None,
    /,
    *,
    slots: Slots = None,
    priority: Priority = None,
    about: About = None,
    json: AsJson = False,
) -> None:
    """Declare a work pool, or a queue in one; one that is there is changed."""
    if queue is None and priority is not None:
        raise UsageError(f"--priority is a queue's: ostinato pools create {pool} QUEUE --priority {priority}")
    if queue is not None and (slots is not None or about is not None):
        raise UsageError(f"--slots and --about are the pool's: ostinato pools create {pool} --slots …")
    if slots is not None and slots < 0:
        raise UsageError(f"--slots is 0 (as many as workers take) or more, not {slots}.")
    with store() as opened:
        if queue is None:
            before = _pool(opened, pool, new=True)
            changes = {
                "slots": before.slots if slots is None else slots or None,
                "description": about or before.description,
            }
            opened.put_pool(msgspec.structs.replace(before, **changes))
            audit(opened, None, "pool_changed", pool, more=changes)
        else:
            old = _queue(opened, pool, queue, new=True)
            opened.put_queue(msgspec.structs.replace(old, priority=old.priority if priority is None else priority))
            audit(opened, None, "queue_changed", f"{pool}/{queue}", more={"priority": priority})
    _tell(pool, queue, "is there", as_json=json)


def pause(pool: PoolName, queue: QueueName = None, /, *, json: AsJson = False) -> None:
    """Keep the runs of a work pool, or of one queue, from being claimed; those that have begun go on."""
    _pause(pool, queue, paused=True, as_json=json)


def resume(pool: PoolName, queue: QueueName = None, /, *, json: AsJson = False) -> None:
    """Let the runs of a paused work pool, or queue, go."""
    _pause(pool, queue, paused=False, as_json=json)


def _pause(pool: str, queue: str | None, *, paused: bool, as_json: bool) -> None:
    with store() as opened:
        if queue is None:
            opened.put_pool(msgspec.structs.replace(_pool(opened, pool), paused=paused))
        else:
            opened.put_queue(msgspec.structs.replace(_queue(opened, pool, queue), paused=paused))
        act = f"{'pool' if queue is None else 'queue'}_{'paused' if paused else 'resumed'}"
        audit(opened, None, act, pool if queue is None else f"{pool}/{queue}")
    _tell(
        pool, queue, "is paused: its runs wait" if paused else "is active: its runs are claimed again", as_json=as_json
    )


def remove(pool: PoolName, /, *, json: AsJson = False) -> None:
    """Forget what was declared of a work pool and its queues; refused while runs wait in it."""
    with store() as opened:
        _pool(opened, pool)
        opened.remove_pool(pool)
        audit(opened, None, "pool_removed", pool)
    _tell(pool, None, "is forgotten", as_json=json)


def _pool(opened: Store, name: str, *, new: bool = False) -> Pool:
    known = {pool.name: pool for pool in opened.list_pools()}
    if name not in known and not new:
        raise UnknownNameError(f"There is no work pool {name!r}.{nearest(name, known)} See `ostinato pools list`.")
    return known.get(name, Pool(name=name))


def _queue(opened: Store, pool: str, name: str, *, new: bool = False) -> Queue:
    _pool(opened, pool, new=new)
    known = {queue.name: queue for queue in opened.list_queues(pool)}
    waiting = {length.queue for length in opened.list_queue_lengths() if length.pool == pool}
    names = {*known, *waiting, DEFAULT_QUEUE}
    if name not in names and not new:
        raise UnknownNameError(f"Work pool {pool} has no queue {name!r}.{nearest(name, names)}")
    return known.get(name, Queue(pool=pool, name=name))


def _queues_of(pool: Pool, queues: list[Queue], lengths: dict[tuple[str, str], QueueLength]) -> list[Queue]:
    """Return the queues of a pool that were declared, that something waits in, and the default one."""
    found = {queue.name: queue for queue in queues if queue.pool == pool.name}
    for name in [DEFAULT_QUEUE, *(queue for of, queue in lengths if of == pool.name)]:
        found.setdefault(name, Queue(pool=pool.name, name=name))
    return sorted(found.values(), key=lambda queue: (-queue.priority, queue.name))


def _shape(
    pool: Pool, queues: list[Queue], lengths: dict[tuple[str, str], QueueLength], workers: int
) -> dict[str, Any]:
    shapes = []
    for queue in queues:
        length = lengths.get((pool.name, queue.name))
        waiting, oldest = (length.waiting, length.oldest_at) if length else (0, None)
        fields = {"name": queue.name, "priority": queue.priority, "paused": queue.paused}
        shapes.append({**fields, "waiting": waiting, "oldest_at": to_rfc3339(oldest)})
    return {**msgspec.structs.asdict(pool), "workers": workers, "queues": shapes}


def _tell(pool: str, queue: str | None, text: str, *, as_json: bool) -> None:
    if as_json:
        show_json({"pool": pool, "queue": queue})
    else:
        print(f"{f'Queue {queue} of work pool {pool}' if queue else f'Work pool {pool}'} {text}.")
