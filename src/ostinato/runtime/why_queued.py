"""What the overseer recorded of a run that waits in its queue, as sentences, and what to do about each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ostinato.records import Run
    from ostinato.store.store import Store
    from ostinato.work import Ticket

_LOOKED_AT: Final = 500


@dataclass(slots=True)
class Found:
    """Why a run is still queued."""

    because: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def queued_because(store: Store, run: Run, ticket: Ticket) -> Found:
    """Say why a ticket is not claimed: what is paused, or what was recorded; and how many come before it."""
    recorded: dict[str, Any] = _paused(store, ticket) or json.loads(ticket.why or "{}")
    tell = _TELL.get(str(recorded.get("reason")))
    found = Found(facts={"queue": ticket.queue, "priority": ticket.priority, "recorded": recorded or None})
    if tell is not None:
        because, advice = tell({"pool": ticket.pool, "queue": ticket.queue, "deployment": run.deployment} | recorded)
        found.because.append(because)
        found.advice += advice
    place = _place(store, ticket)
    found.facts["ahead"] = place
    if place or not found.because:
        found.because.append(_turn(ticket, place))
    return found


def _paused(store: Store, ticket: Ticket) -> dict[str, Any] | None:
    """Tell what is paused; that is no matter of what was seen, but of rows."""
    if any(pool.name == ticket.pool and pool.paused for pool in store.list_pools()):
        return {"reason": "pool_paused"}
    if any(queue.name == ticket.queue and queue.paused for queue in store.list_queues(ticket.pool)):
        return {"reason": "queue_paused"}
    return {"reason": "deployment_paused"} if ticket.paused else None


def _place(store: Store, ticket: Ticket) -> int | None:
    """Count the runs that come before it in its pool; None for more than are looked at."""
    tickets = store.list_tickets(ticket.pool, limit=_LOOKED_AT)
    return next((place for place, other in enumerate(tickets) if other.run_id == ticket.run_id), None)


def _turn(ticket: Ticket, place: int | None) -> str:
    if place == 0:
        return f"It is the next in pool {ticket.pool}; nothing that keeps it back is recorded."
    ahead = f"More than {_LOOKED_AT}" if place is None else str(place)
    return f"{ahead} run{'s' if place != 1 else ''} of pool {ticket.pool} come{'s' if place == 1 else ''} before it."


_Told = tuple[str, list[str]]


def _pool_paused(data: Mapping[str, Any]) -> _Told:
    return f"Work pool {data['pool']} is paused.", [f"Let it go: ostinato pools resume {data['pool']}"]


def _queue_paused(data: Mapping[str, Any]) -> _Told:
    name = f"{data['pool']} {data['queue']}"
    return f"Queue {data['queue']} of work pool {data['pool']} is paused.", [f"Let it go: ostinato pools resume {name}"]


def _deployment_paused(data: Mapping[str, Any]) -> _Told:
    name = data["deployment"]
    return f"Deployment {name} is paused.", [f"Let it go: ostinato deployments resume {name}"]


def _no_worker(data: Mapping[str, Any]) -> _Told:
    served = data.get("served") or []
    others = f"; those that are alive serve {', '.join(served)}" if served else "; none is alive at all"
    return f"No worker serves work pool {data['pool']}{others}.", [f"Start one: ostinato worker --pool {data['pool']}"]


def _draining(data: Mapping[str, Any]) -> _Told:
    text = f"Every worker of work pool {data['pool']} is being shut down and takes no more runs."
    return text, [f"Start another: ostinato worker --pool {data['pool']}"]


def _pool_full(data: Mapping[str, Any]) -> _Told:
    text = f"Work pool {data['pool']} may have {_many(data['slots'])} under way at once and is full{_held(data)}."
    return text, [f"Give it more: ostinato pools create {data['pool']} --slots {2 * data['slots']}"]


def _no_slot(data: Mapping[str, Any]) -> _Told:
    slots = "The only slot" if data["slots"] == 1 else f"Each of the {data['slots']} slots"
    text = f"{slots} of the workers of work pool {data['pool']} is taken{_held(data)}."
    return text, [f"Wait, or start another worker: ostinato worker --pool {data['pool']}"]


def _resources(data: Mapping[str, Any]) -> _Told:
    name, wanted = data["resource"], _amount(data["resource"], data["wanted"])
    if not data.get("possible"):
        most = f"more than {_amount(name, data['most'])} in all" if data["most"] else "any"
        text = f"It needs {wanted} of {name}; no worker of work pool {data['pool']} has {most}."
        return text, [f"Start one that has: ostinato worker --pool {data['pool']}{_has(name, data)}"]
    taken = _held(data).replace(", by", "; the rest is taken by", 1)
    advice = f"Wait, or start another worker that has it: ostinato worker --pool {data['pool']}{_has(name, data)}"
    return f"It needs {wanted} of {name}; {_amount(name, data['free'])} is free{taken}.", [advice]


def _has(name: str, data: Mapping[str, Any]) -> str:
    """Return the option by which a worker says that it has what is wanted; memory and processors it finds itself."""
    return "" if name in {"cpu", "memory"} else f" --resource {name}={data['wanted']:g}"


def _unasked(data: Mapping[str, Any]) -> _Told:
    text = f"A worker of work pool {data['pool']} has room for it, but has not asked for work since."
    return text, ["Look whether it reaches its server: ostinato workers list, and its log"]


def _held(data: Mapping[str, Any]) -> str:
    named, count = data.get("held_by") or [], data.get("holders", 0)
    if not named:
        return ""
    more = f" and {count - len(named)} more" if count > len(named) else ""
    return f", by {'run' if count == 1 else 'runs'} {', '.join(named)}{more}"


def _many(runs: int) -> str:
    return "one run" if runs == 1 else f"{runs} runs"


def _amount(name: str, amount: float) -> str:
    return f"{amount / 2**20:,.0f} MiB" if name == "memory" else f"{amount:g}"


_TELL: Final[dict[str, Callable[[Mapping[str, Any]], _Told]]] = {
    "pool_paused": _pool_paused,
    "queue_paused": _queue_paused,
    "deployment_paused": _deployment_paused,
    "no_worker": _no_worker,
    "draining": _draining,
    "pool_full": _pool_full,
    "no_slot": _no_slot,
    "resources": _resources,
    "unasked": _unasked,
}
