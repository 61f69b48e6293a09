"""Why a queued run is not claimed: one question after the other, from what the store's rows say. Nothing is guessed.

```
pool paused? queue or deployment paused? no worker? all draining? never fits? pool full? no slot? nothing free?
      └──────────────────────────────── the first that is true is the reason ────────────────────────────────┘
none is: it is behind others, or nobody has asked for it yet
```
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ostinato.resources import amounts_of, fits
from ostinato.work import Held

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ostinato.records import Run, Worker
    from ostinato.work import Pool, Queue, Ticket

_NAMED: Final = 5
"""So many runs or workers are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is at one moment."""

    workers: Sequence[Worker]
    """Those that are alive."""
    held: Sequence[Run]
    pools: Mapping[str, Pool]
    queues: Mapping[tuple[str, str], Queue]

    def of(self, worker: Worker) -> list[Run]:
        """Return what a worker carries out."""
        return [run for run in self.held if run.worker_id == worker.id]

    def free(self, worker: Worker) -> dict[str, float]:
        """Return what a worker has left."""
        left = amounts_of(worker.resources)
        for run in self.of(worker):
            for name, amount in amounts_of(run.resources).items():
                left[name] = left.get(name, 0.0) - amount
        return left


def why_held(ticket: Ticket, scene: Scene, ahead: int) -> Held:
    """Say why a ticket is not claimed.

    Args:
        ticket: The ticket.
        scene: What there is.
        ahead: How many tickets of its pool come first.
    """
    reason, data = _paused(ticket, scene) or _workers(ticket, scene) or _room(ticket, scene) or _turn(ahead)
    return Held(run_id=ticket.run_id, reason=reason, data=json.dumps({"pool": ticket.pool, **data}))


_Why = tuple[str, dict[str, Any]]


def _paused(ticket: Ticket, scene: Scene) -> _Why | None:
    pool, queue = scene.pools.get(ticket.pool), scene.queues.get((ticket.pool, ticket.queue))
    if pool is not None and pool.paused:
        return "pool_paused", {}
    if queue is not None and queue.paused:
        return "queue_paused", {"queue": ticket.queue}
    if ticket.paused:
        return "deployment_paused", {"deployment": ticket.deployment}
    return None


def _workers(ticket: Ticket, scene: Scene) -> _Why | None:
    serving = _serving(ticket, scene)
    if not serving:
        return "no_worker", {"served": sorted({pool for worker in scene.workers for pool in worker.pools})}
    if all(worker.draining for worker in serving):
        return "draining", {"workers": [worker.id for worker in serving[:_NAMED]]}
    wanted = amounts_of(ticket.resources)
    totals = [amounts_of(worker.resources) for worker in serving if not worker.draining]
    if any(fits(wanted, total) for total in totals):
        return None
    name = _lacking(wanted, totals)
    most = max(total.get(name, 0.0) for total in totals)
    return "resources", {"resource": name, "wanted": wanted[name], "most": most, "possible": False}


def _room(ticket: Ticket, scene: Scene) -> _Why | None:
    pool, inside = scene.pools.get(ticket.pool), [run for run in scene.held if run.pool == ticket.pool]
    if pool is not None and pool.slots is not None and len(inside) >= pool.slots:
        return "pool_full", {"slots": pool.slots, **_holders(inside)}
    wanted = amounts_of(ticket.resources)
    able = [
        worker
        for worker in _serving(ticket, scene)
        if not worker.draining and fits(wanted, amounts_of(worker.resources))
    ]
    open_ = [worker for worker in able if len(scene.of(worker)) < worker.slots]
    if not open_:
        busy = [run for worker in able for run in scene.of(worker)]
        return "no_slot", {"slots": sum(worker.slots for worker in able), **_holders(busy)}
    left = [scene.free(worker) for worker in open_]
    if any(fits(wanted, free) for free in left):
        return None
    name = _lacking(wanted, left)
    taking = [run for worker in open_ for run in scene.of(worker) if amounts_of(run.resources).get(name)]
    free = max(free.get(name, 0.0) for free in left)
    return "resources", {"resource": name, "wanted": wanted[name], "free": free, "possible": True, **_holders(taking)}


def _turn(ahead: int) -> _Why:
    return ("behind", {"ahead": ahead}) if ahead else ("unasked", {})


def _serving(ticket: Ticket, scene: Scene) -> list[Worker]:
    return [worker for worker in scene.workers if ticket.pool in worker.pools]


def _lacking(wanted: Mapping[str, float], offers: Sequence[Mapping[str, float]]) -> str:
    """Name the resource of which most is missing where least is."""
    return max(wanted, key=lambda name: wanted[name] - max(offer.get(name, 0.0) for offer in offers))


def _holders(runs: Sequence[Run]) -> dict[str, Any]:
    return {"held_by": [run.id for run in runs[:_NAMED]], "holders": len(runs)}
