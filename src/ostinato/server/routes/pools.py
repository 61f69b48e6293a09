"""Work pools, their queues, and the workers that serve them."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import Response

from ostinato.clock import to_rfc3339
from ostinato.errors import UnknownNameError, nearest
from ostinato.records import Worker
from ostinato.resources import amounts_of
from ostinato.server import shapes
from ostinato.server.asking import Here, Operator, Viewer, note, refusals, reply
from ostinato.work import DEFAULT_QUEUE, Pool, Queue, QueueLength

pools = APIRouter(prefix="/api/pools", tags=["pools"], responses=refusals())
workers = APIRouter(prefix="/api/workers", tags=["workers"], responses=refusals())
PoolName = Annotated[str, Path(min_length=1, max_length=200, description="The work pool's name.")]
QueueName = Annotated[str, Path(min_length=1, max_length=200, description="The queue's name.")]
WorkerId = Annotated[str, Path(min_length=1, max_length=64, description="The worker's id.")]


@pools.get("", response_model=list[shapes.Pool])
async def list_pools(served: Here, _who: Viewer) -> Response:
    """List work pools."""

    def work() -> Response:
        waiting = Counter[str]()
        for length in served.store.list_queue_lengths():
            waiting[length.pool] += length.waiting
        serving = Counter(pool for worker in served.store.list_workers() for pool in worker.pools)
        return reply([_pool_of(pool, waiting, serving) for pool in served.store.list_pools()])

    return await served.call(work)


def _pool_of(pool: Pool, waiting: Counter[str], serving: Counter[str]) -> dict[str, Any]:
    return {
        "name": pool.name,
        "slots": pool.slots,
        "paused": pool.paused,
        "description": pool.description,
        "waiting": waiting[pool.name],
        "workers": serving[pool.name],
    }


@pools.put("/{name}", status_code=204)
async def put_pool(served: Here, who: Operator, name: PoolName, change: shapes.PoolChange) -> Response:
    """Declare a work pool, or change it."""

    def work() -> Response:
        pool = Pool(name=name, slots=change.slots, paused=change.paused, description=change.description)
        served.store.put_pool(pool)
        note(served, who, "pool_changed", name, more=change.model_dump())
        return Response(status_code=204)

    return await served.call(work)


@pools.delete("/{name}", status_code=204, responses=refusals(404))
async def remove_pool(served: Here, who: Operator, name: PoolName) -> Response:
    """Forget a work pool that nothing waits in."""

    def work() -> Response:
        served.store.remove_pool(name)
        note(served, who, "pool_removed", name)
        return Response(status_code=204)

    return await served.call(work)


@pools.get("/{name}/queues", response_model=list[shapes.Queue])
async def list_queues(served: Here, _who: Viewer, name: PoolName) -> Response:
    """List the queues of a work pool."""

    def work() -> Response:
        declared = {queue.name: queue for queue in served.store.list_queues(name)}
        lengths = {length.queue: length for length in served.store.list_queue_lengths() if length.pool == name}
        names = sorted({DEFAULT_QUEUE, *declared, *lengths})
        return reply(
            [_queue_of(declared.get(queue) or Queue(pool=name, name=queue), lengths.get(queue)) for queue in names]
        )

    return await served.call(work)


def _queue_of(queue: Queue, length: QueueLength | None) -> dict[str, Any]:
    return {
        "pool": queue.pool,
        "name": queue.name,
        "priority": queue.priority,
        "paused": queue.paused,
        "waiting": 0 if length is None else length.waiting,
        "oldest_at": None if length is None else to_rfc3339(length.oldest_at),
    }


@pools.put("/{name}/queues/{queue}", status_code=204)
async def put_queue(
    served: Here, who: Operator, name: PoolName, queue: QueueName, change: shapes.QueueChange
) -> Response:
    """Declare a queue, or change it."""

    def work() -> Response:
        served.store.put_queue(Queue(pool=name, name=queue, priority=change.priority, paused=change.paused))
        note(served, who, "queue_changed", f"{name}/{queue}", more=change.model_dump())
        return Response(status_code=204)

    return await served.call(work)


@workers.get("", response_model=list[shapes.Worker])
async def list_workers(served: Here, _who: Viewer) -> Response:
    """List the processes that hold runs or could."""

    def work() -> Response:
        held = Counter(run.worker_id for run in served.store.list_held_runs(limit=10_000))
        return reply([_worker_of(worker, held[worker.id]) for worker in served.store.list_workers()])

    return await served.call(work)


def _worker_of(worker: Worker, runs: int) -> dict[str, Any]:
    return {
        "id": worker.id,
        "kind": worker.kind,
        "host": worker.host.partition("/")[0],
        "pid": worker.pid,
        "version": worker.version,
        "started_at": to_rfc3339(worker.started_at),
        "expires_at": to_rfc3339(worker.expires_at),
        "pools": worker.pools,
        "slots": worker.slots,
        "resources": amounts_of(worker.resources),
        "draining": worker.draining,
        "runs": runs,
    }


@workers.post("/{worker_id}/drain", status_code=204, responses=refusals(404))
async def drain_worker(served: Here, who: Operator, worker_id: WorkerId) -> Response:
    """Let a worker take no more runs."""

    def work() -> Response:
        known = [worker.id for worker in served.store.list_workers()]
        if worker_id not in known:
            raise UnknownNameError(f"There is no worker {worker_id!r}.{nearest(worker_id, known)}")
        served.store.drain(worker_id)
        note(served, who, "worker_drained", worker_id)
        return Response(status_code=204)

    return await served.call(work)
