"""Runs that are asked for from outside, as values: what is deployed, queued, offered, claimed and given back.

```
Project ─► Deployed ─► Run, queued ─► Ticket ─► Claim by a worker's Offer ─► running ─► its end
                          ▲                                                    │
                          └──── recovery, or a Wait that is over ◄─────────────┘
```

A `Ticket` is the narrow row of a run that may be claimed now: it is there exactly while the run is ``queued`` in a
pool, apart from history, so that a claim costs the same however many runs there have been. Instants are
microseconds since 1970-01-01 UTC. Texts called JSON are kept as they are; no store looks into them but for `resources`.
"""

from __future__ import annotations

import msgspec

from ostinato.records import Run
from ostinato.states import State

DEFAULT_POOL = "default"
DEFAULT_QUEUE = "default"


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of the user's code, as it was last looked at."""

    name: str
    root: str
    """The folder, on `host`."""
    host: str
    bundle: str | None = None
    """The hash of the source that was stored with it, for workers that do not have the folder."""
    errors: str = "{}"
    """JSON: the traceback of each module that could not be imported, by its file."""
    python: str = ""
    version: str = ""
    updated_at: int = 0


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as it is stored: a flow with what is needed to start it without its code."""

    name: str
    """Unique: the flow's name, or ``flow/variant``."""
    flow: str
    project: str
    target: str
    """Where the flow is: ``/root/file.py:flow``, or relative to the bundle where there is one."""
    pool: str = DEFAULT_POOL
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    parameters: str = "{}"
    """JSON: parameters that it gives unless a start says otherwise."""
    schema: str = "{}"
    """JSON Schema of the flow's parameters, an object."""
    blueprint: str | None = None
    """JSON: the flow's tasks, branches, loops and maps, read from its source. See `ostinato.authoring.blueprint`."""
    resources: str | None = None
    """JSON: what a run of it needs, like `Worker.resources`."""
    options: str = "{}"
    """JSON: what servers and workers must know of the flow's options: ``retry_on_oom`` ``{"times", "memory"}``,
    ``timeout``, ``cold`` (a fresh process for each run), ``limits`` (a list of `ostinato.limits.Limit`s as data),
    ``overlap`` ``{"policy", "key"}``, ``deadline``, ``owners``."""
    description: str = ""
    tags: list[str] = []
    code: str | None = None
    """The fingerprint of the flow's code."""
    code_policy: str = "latest"
    """``latest``: a run takes the newest bundle whenever it is claimed; ``pinned``: the one it began with."""
    bundle: str | None = None
    paused: bool = False
    """Its runs are kept in the queue."""
    broken: str | None = None
    """Why its module cannot be imported any more; this is then the last good definition."""
    updated_at: int = 0
    kind: str = "flow"
    """``flow`` or ``sensor``."""


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A work pool: runs wait in its queues for workers that serve it. One that nobody declared has the defaults."""

    name: str
    slots: int | None = None
    """How many of its runs may be under way at once, over all workers; None for as many as workers take."""
    paused: bool = False
    description: str = ""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue inside a work pool. Runs of a queue of higher priority are claimed first."""

    pool: str
    name: str
    priority: int = 0
    """-100 to 100; the queue called default has 0."""
    paused: bool = False


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A run that may be claimed."""

    id: int
    """Grows; among tickets of one priority the lower is claimed first."""
    run_id: str
    pool: str
    queue: str
    priority: int
    """1000 times the queue's plus the run's own."""
    deployment: str | None = None
    paused: bool = False
    """Its deployment or its queue is paused."""
    resources: str | None = None
    created_at: int
    why: str | None = None
    """Why it was not claimed yet, as last recorded: JSON ``{"reason": …, "since": …, …}``."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has free at this moment."""

    pools: list[str]
    slots: int
    """How many runs it would take."""
    resources: dict[str, float] = {}
    """What is free: ``cpu``, ``memory`` in bytes, ``gpu``, any named; what is not in it the worker does not have."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A run that a worker has taken: ``running``, leased to it, its epoch raised."""

    run: Run
    options: str = "{}"
    """As in `Deployed.options`."""
    token: str = ""
    """What the run's process shows to the server; empty where there is no server between."""


class ProcessEnd(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker knows of a run's process that ended without ending the run."""

    reason: str
    """``exited``, ``killed``, ``out_of_memory``, ``unloadable`` (the flow could not be loaded), ``unstartable`` or
    ``drained`` (the worker is being shut down)."""
    message: str
    """A sentence for a person: ``the process was killed by signal 9 (SIGKILL)``."""
    exit_code: int | None = None
    peak_memory: int | None = None
    """Bytes."""


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What the loops must know, in one read that costs the same however many runs there have been."""

    now: int
    dead: list[str] = []
    """Workers whose lease has ended, or that hold runs without being registered."""
    next_expiry_at: int | None = None
    """When the first lease ends unless it is renewed before."""
    next_due_at: int | None = None
    """When the first wait is over by itself."""
    tickets: int = 0
    """How many runs could be claimed, counted up to 1,000."""
    next_look_at: int | None = None
    """When the first schedule must be looked at."""
    next_alarm_at: int | None = None
    """When the first automation, deadline, question or action must be."""
    automations: int = 0
    """How often automations have been changed."""
    newest_event: int = 0
    """The number of the newest event."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Why a queued run is not claimed, to be recorded."""

    run_id: str
    reason: str
    """``no_worker``, ``no_slot``, ``pool_full``, ``pool_paused``, ``queue_paused``, ``deployment_paused``,
    ``resources``, ``no_project``, ``behind`` …"""
    data: str = "{}"
    """JSON: what is missing, who holds it."""


class QueueLength(msgspec.Struct, frozen=True, kw_only=True):
    """How many runs wait in a queue."""

    pool: str
    queue: str
    waiting: int
    oldest_at: int | None = None


class RunBrief(msgspec.Struct, frozen=True, kw_only=True):
    """How a run that somebody waits for stands."""

    id: str
    state: State
    reason: str | None = None
