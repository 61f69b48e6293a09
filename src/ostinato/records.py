"""The rows that stores keep, as values: what a run is, what became of each of its calls.

The fields of a record are the columns of its table, in the same order and with the same names; instants
are microseconds since 1970-01-01 UTC. `bytes` fields that hold user values are encoded by `ostinato.io`
and opaque to every store.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ostinato.states import State


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A process that holds runs. It renews one lease for all of them."""

    id: str
    kind: str
    """``script``, ``cli``, ``worker`` or ``server``."""
    host: str
    """The machine, its boot and its process namespace: within one, a process id means one process."""
    pid: int
    pid_started: str
    """What tells this process from a later one with the same number; empty where it cannot be known."""
    version: str
    started_at: int
    expires_at: int
    """When its lease ends, by the store's clock, unless it is renewed."""
    pools: list[str] = []
    """The work pools it serves; none for a process that only carries out runs of its own."""
    slots: int = 0
    """How many runs it carries out at once."""
    resources: str = "{}"
    """What it has to give in all, as JSON: ``{"cpu": 8, "memory": 34359738368, "gpu": 1, "licence": 2}``."""
    roots: list[str] = []
    """The project folders it has on its machine; a run whose target lies in one of them can be taken up there."""
    draining: bool = False
    """It takes no new runs and ends when those it has are done."""


class Run(msgspec.Struct, kw_only=True):
    """One requested execution of a flow."""

    id: str
    flow: str
    state: State
    reason: str | None = None
    """Why it is in that state: ``lost``, ``interrupted``, ``timed_out``, ``poisonous`` …"""
    epoch: int = 0
    attempt: int = 1
    recoveries: int = 0
    """Recoveries in a row without progress."""
    lineage: str
    """What identities are derived from: its own id, or that of the run it was forked from."""
    parent_run_id: str | None = None
    parent_seq: int | None = None
    """The task run of the parent that stands for this child run."""
    branch_of: str | None = None
    branch_cut: list[str] = []
    """Ids of task runs that a fork does not read through from the run it was forked from."""
    parameters: bytes | None = None
    target: str | None = None
    """Where the flow is defined, to find it again: ``/path/file.py:flow``."""
    cwd: str | None = None
    code: str | None = None
    tags: list[str] = []
    key: str | None = None
    """The caller's idempotency key, unique per flow."""
    worker_id: str | None = None
    version: str = ""
    created_at: int = 0
    scheduled_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    cancel_requested_at: int | None = None
    result: bytes | None = None
    error: str | None = None
    """A failure as JSON: an `ostinato.outcomes.Failure`."""
    kind: str = "flow"
    """``flow``; ``task``: one task that a flow has sent to another pool, `target` then ends in the task's key; or
    ``sensor``: one look at a sensor."""
    deployment: str | None = None
    """The name of the deployment it was started from."""
    pool: str | None = None
    """The work pool whose workers may take it; None for a run that only the process that made it carries out."""
    queue: str = "default"
    """The queue of the pool."""
    priority: int = 0
    """Among the runs of its queue; the higher, the sooner. -499 to 499."""
    resources: str | None = None
    """What it needs, as JSON like `Worker.resources`."""
    bundle: str | None = None
    """The hash of the source that it runs with; None where the worker's own files are meant."""
    created_by: str | None = None
    """Who asked for it: ``user:ada``, ``token:ci``, ``run:<id>``; None for whoever has the database itself."""
    commits: int = 0
    """How many numbered commits of this epoch are written: one that is repeated is answered, not written again."""
    awaited: bool = False
    """Some run has given up its process until this one ends."""
    gates: str | None = None
    """The limits it needs a slot of before it may be claimed, as JSON: a list of `ostinato.limits.Passing`s."""
    trigger: str | None = None
    """What started it, as JSON: ``{"schedule", "tick", "events": [ids]}``, ``{"automation", "firing"}``; None for a
    person, a program or another run."""


# Rows are never part of a cycle, and there may be a million of them: the garbage collector need not look (gc=False).


class TaskRun(msgspec.Struct, kw_only=True, gc=False):
    """One call of a task inside a run: the cell of the grid, with its latest attempt in it."""

    run_id: str
    seq: int
    """The order of creation within the run; with `run_id` the key of the row."""
    id: str
    """Its identity, 32 hexadecimal digits: the same when the body is run again. See `ostinato.engine`."""
    parent_seq: int | None = None
    kind: str = "task"
    """``task``, ``flow`` (a child run) or ``value`` (a journaled now, uuid4, random)."""
    task: str
    """The task's key, ``file.function``, or the name it was given."""
    key: str
    """The call key: the fingerprint of the inputs and which such call it is, or the user's own."""
    map_index: int | None = None
    partition: str | None = None
    state: State
    reason: str | None = None
    epoch: int
    attempt: int = 1
    failures: int = 0
    """Failed attempts since it was last cleared: what the retry policy counts."""
    clears: int = 0
    """How often it was deliberately cleared: a clear gives it a new idempotency key, a retry does not."""
    created_at: int
    started_at: int | None = None
    finished_at: int | None = None
    inputs: bytes | None = None
    result: bytes | None = None
    """The encoded result of a success; the encoded exception of a failure."""
    result_fp: bytes | None = None
    """The content fingerprint of the result, 16 bytes."""
    error: str | None = None
    upstream: str | None = None
    """The `seq` of the task runs whose results it took or waited for, comma-separated."""
    code: str | None = None
    child_run_id: str | None = None
    critical: bool = True
    orphaned: bool = False
    """The last pass of the body did not reach it."""
    due_at: int | None = None
    """When its next attempt is due, while it waits for that; a pass that finds it again waits for the rest."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One earlier try of a task run; the latest is in the `TaskRun` itself. Append-only."""

    run_id: str
    seq: int
    attempt: int
    epoch: int
    state: State
    reason: str | None = None
    started_at: int | None = None
    finished_at: int | None = None
    error: str | None = None
    code: str | None = None


class LogBatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Log lines of one run, kept together."""

    run_id: str
    epoch: int
    n: int
    """Its place among the batches of that epoch, from 0."""
    first_at: int
    last_at: int
    level: int
    """The highest level in it, as in `logging`."""
    lines: bytes
    """A JSON array of `LogLine`s."""


class LogLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line that a flow or a task wrote."""

    at: int
    level: int
    logger: str
    """The logger's name; ``stdout`` or ``stderr`` for what was printed."""
    seq: int | None
    """The task run that wrote it, None for the flow's body."""
    attempt: int
    message: str


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The public record of something that happened."""

    at: int
    kind: str
    """``run.started``, ``task_run.failed``, ``run.orphans`` …"""
    run_id: str
    """Empty for one about no run."""
    seq: int | None = None
    data: str = "{}"
    """JSON."""
    key: str | None = None
    """What an event that users emit is about, ``""`` for nothing in particular; None for our own events."""


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event with the number the store gave it."""

    id: int
    event: Event


class StateValue(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A small value that a task keeps across its own crash: ``current.state[name]``."""

    run_id: str
    task_run_id: str
    name: str
    value: bytes | None
    """None removes it."""


class CacheEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A result that other runs may take instead of computing it."""

    key: str
    run_id: str
    task: str
    seq: int
    result: bytes
    result_fp: bytes
    created_at: int
    expires_at: int | None = None


class Wait(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that a run waits for without a process. `run_id` and `n` are the key of the row."""

    run_id: str
    n: int
    kind: str
    """``start`` (a run that is to begin later), ``timer``, ``run`` (another run's end), ``event`` or ``slot`` (of a
    limit, for a task run)."""
    key: str | None = None
    """What it waits for: the id of the other run; the kind and the key of the event, with a newline between; the id of
    the run that the slot is for, this one or a child run carried out in it, whose task run `seq` is."""
    seq: int | None = None
    """The task run that waits; None for the body, or the run itself."""
    due_at: int | None = None
    """When it is over by itself."""
    created_at: int
    after: int = 0
    """Of an event: only those with a higher number count."""


class Suspension(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A run gives up its process and comes back when what it waits for has happened.

    It is queued again when a timer is due, or when all runs that it waits for have ended. What has
    happened already when the suspension is committed counts: no wake-up is lost.

    With no waits at all the run stays in its worker's hands and only shows the state: a delay that is waited for
    in the process. That worker may then `reopen` it.
    """

    state: State
    """``waiting``, or ``retrying`` for the delay before a new attempt of the run itself."""
    reason: str | None = None
    waits: Sequence[Wait]
    attempt: bool = False
    """Whether what comes then is a new attempt of the run."""


class RunEnd(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a run ended."""

    state: State
    reason: str | None = None
    finished_at: int
    result: bytes | None = None
    error: str | None = None


class Commit(msgspec.Struct, kw_only=True, gc=False):
    """What one transaction of a running run writes; all of it or nothing."""

    task_runs: Sequence[TaskRun] = ()
    attempts: Sequence[Attempt] = ()
    logs: Sequence[LogBatch] = ()
    events: Sequence[Event] = ()
    states: Sequence[StateValue] = ()
    cached: Sequence[CacheEntry] = ()
    blobs: Sequence[str] = ()
    """Hashes in the result store that these rows name."""
    orphans: Sequence[int] = ()
    """The `seq` of task runs that the last pass did not reach."""
    leaves: Sequence[int] = ()
    """The `seq` of task runs that return the slots of limits they hold: see `ostinato.store.timing.Limits`."""
    end: RunEnd | None = None
    suspend: Suspension | None = None
    """Instead of an end: the run goes on later, in another process."""


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker learns when it renews its lease."""

    alive: bool
    """False when the lease had ended or was taken: the worker must stop its runs."""
    expires_at: int
    cancelled: list[str] = []
    """Runs of this worker that somebody asked to cancel."""


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to list, newest first."""

    states: list[State] = []
    flow: str | None = None
    tag: str | None = None
    target: str | None = None
    parent_run_id: str | None = None
    deployment: str | None = None
    pool: str | None = None
    top_level: bool = False
    """Leave child runs out."""
    looks: bool = False
    """Looks at sensors too; they are left out unless their flow, deployment or target is asked for by name."""
    created_since: int | None = None
    before: str | None = None
    """The id of the last run of the page before this one."""
    limit: int = 50


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What retention removed."""

    runs: int = 0
    events: int = 0
    cache_entries: int = 0
    blobs: list[str] = []
    """Hashes that no row names any more: the result store may drop them."""
    logs: int = 0
    """Batches of log lines that were too old, whatever their runs."""
    ticks: int = 0
    firings: int = 0
    partitions: list[str] = []
    """What was dropped whole, with an unknown number of events or batches in it."""
    more: bool = False
    """Whether there was more to do than one short step."""


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What `ostinato db info` shows."""

    dialect: str
    version: str
    """The database's own version."""
    location: str
    """Without any password."""
    revision: str | None
    head: str
    durability: str
    size: int
    """Bytes on disk."""
    counts: dict[str, int]
    """Rows by table."""
