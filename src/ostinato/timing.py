"""What starts runs, holds them back and reacts to them, as rows: schedules, ticks, questions, gates, automations.

```
Schedule ─► Decision: Tick + Run          a schedule, a sensor or a consumer of events was looked at
Run.gates ─► Passage ─► Gate              a run or a task run takes a slot, or waits for one
Event ─► Automation ─► Firing             something happened, or did not; what is done about it
```

Instants are microseconds since 1970-01-01 UTC. Texts called JSON are kept as they are. What is made of `spec` is said
by `ostinato.schedules`, `ostinato.sensors` and `ostinato.automations`; no store looks into it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ostinato.records import Run

# --- schedules


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """What makes runs of a deployment at certain times or upon certain events."""

    name: str
    """Unique: the deployment's name, or ``deployment:name`` where it has several."""
    deployment: str
    project: str = ""
    """The project that declares it; empty for one that was made through the API."""
    kind: str = "time"
    """``time``, ``event`` (``On``), ``condition`` (``&``, ``|`` with an event in it) or ``sensor``."""
    spec: str
    """JSON: when, as `ostinato.schedules.to_spec` writes it, with its options (catchup, jitter, calendar …)."""
    parameters: str = "{}"
    """JSON: parameters of its runs, beyond the deployment's own."""
    tags: list[str] = []
    paused: bool = False
    since: int = 0
    """Every instant up to this one has been decided."""
    next_at: int | None = None
    """When it must be looked at next; None when no time will come."""
    read: int = 0
    """The number of the last event that a consumer of events has decided about; of a sensor, of its newest look."""
    cursor: str | None = None
    """A sensor's own cursor, as JSON."""
    state: str = "{}"
    """JSON: what it remembers between two looks, of its kind's own shape."""
    turn: int = 0
    """Raised by every change: a decision that was based on an older one is refused."""
    trouble: str | None = None
    """Why the last look failed, a sentence; None when it went well."""
    updated_at: int = 0


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of a schedule or a sensor. `schedule` and `key` are the key of the row: it is made once."""

    schedule: str
    key: str
    """The instant as a number, the id of the event, a sensor's run key: what happens once."""
    scheduled_at: int | None = None
    """The instant it was meant for, before any jitter."""
    at: int = 0
    """When it was decided, by the store's clock."""
    outcome: str
    """``started``, ``skipped`` or ``failed``."""
    reason: str | None = None
    """``missed`` (by the catch-up policy), ``overlap``, ``calendar``, ``refused`` (parameters), a sensor's own …"""
    run_id: str | None = None
    data: str = "{}"
    """JSON: the events it was made of, how many were left out …"""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a schedule came to; stored whole or not at all."""

    schedule: str
    turn: int
    """The schedule's when it was looked at."""
    ticks: list[Tick] = []
    runs: list[Run] = []
    """To be created. One that is named by a tick is left out if that tick is there already."""
    since: int
    next_at: int | None = None
    read: int = 0
    cursor: str | None = None
    state: str = "{}"
    trouble: str | None = None


class ScheduleFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which schedules to list, by name."""

    kinds: list[str] = []
    deployment: str | None = None
    project: str | None = None
    due_before: int | None = None
    """Not paused, and `next_at` at or before this; then in the order of `next_at`."""
    after: str = ""
    """The name of the last of the page before this one."""
    limit: int = 1000


LOOK: Final = "look:"
"""What the key of a tick begins with that is a look at a sensor, and no run that it requested."""


# --- events that users emit, and who waits for them

ANSWERED: Final = "ask.answered"
"""The kind of the event that a question's run waits for; its key is the question."""
OWN_KINDS: Final = frozenset(
    {
        *("run", "task_run", "schedule", "sensor", "ask", "limit", "automation", "worker", "deployment", "audit"),
        *("asset", "check", "ostinato"),
    }
)
"""What kinds of ours begin with, before the first dot."""


def event_key(kind: str, key: str) -> str:
    """Name what a wait waits for, as it stands in `Wait.key`."""
    return f"{kind}\n{key}"


class Sought(msgspec.Struct, frozen=True):
    """An event that somebody waits for: the first of a kind and key with a number above `after`."""

    kind: str
    key: str
    after: int = 0


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Who may send events from outside: what is signed with its secret becomes an event of its kind."""

    name: str
    kind: str
    key_from: str | None = None
    """Where the event's key stands in the body: ``data.id``; None for no key."""
    scheme: str = "standard"
    """How it is signed: ``standard``, ``github``, ``stripe`` or ``plain``. See `ostinato.server.signatures`."""
    header: str | None = None
    """The header of the signature, where it is another than the scheme's own."""
    secret: str = ""
    """Empty wherever webhooks are listed."""
    created_at: int = 0


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a webhook, its signature checked."""

    webhook: str
    signature: str
    """Of the message as it came: the same again is the same message again."""
    id: str = ""
    """What its sender calls it, where that is signed: the same id under a new signature is the same message."""
    remembered: int
    """Microseconds for which it is remembered."""


# --- questions to people


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A form that a run waits for somebody to fill in."""

    id: str
    """Derived from the run and the call: the same when the body is run again."""
    run_id: str
    flow: str
    title: str
    description: str = ""
    schema: str = "{}"
    """JSON Schema of one answer, an object."""
    whom: str | None = None
    """Who may answer: a user's name or a role; None for any operator."""
    needed: int = 1
    """How many different people must answer."""
    created_at: int = 0
    expires_at: int | None = None
    state: str = "open"
    """``open``, ``answered``, ``expired`` or ``withdrawn`` (its run has ended)."""
    answers: str = "[]"
    """JSON: ``[{"by": …, "at": …, "values": {…}}]``, in the order they came."""


# --- limits


class LimitRow(msgspec.Struct, frozen=True, kw_only=True):
    """A limit as somebody declared it by hand, which goes before what code says of a limit of that name."""

    name: str
    slots: int | None = None
    """None where only the rate is limited."""
    rate: float | None = None
    """How often a second."""
    burst: int = 1
    weights: str = "{}"
    """JSON: the weight of each share; 1 for those not in it."""
    description: str = ""
    updated_at: int = 0


class Gate(msgspec.Struct, kw_only=True):
    """One place where slots are counted: a limit, or one key's of it."""

    id: str
    """The limit's name, or ``name[key]``."""
    limit_name: str
    slots: int | None = None
    rate: float | None = None
    burst: int = 1
    held: int = 0
    waiting: int = 0
    full_at: int = 0
    """Of the token bucket: when it is full again (the theoretical arrival time of GCRA)."""
    next_at: int | None = None
    """When the next token lets somebody in who waits for that; None where nobody does."""
    clock: float = 0.0
    """The virtual time of its fair sharing."""
    declared: str = "{}"
    """JSON: ``slots``, ``rate`` and ``burst`` as the code last said them, where somebody's hand went before it."""


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that a run or a task run holds or waits for. `gate`, `run_id` and `seq` are the key of the row."""

    gate: str
    run_id: str
    seq: int = -1
    """The task run; -1 for the run itself."""
    held: bool = False
    share: str = ""
    """Whose turn it counts for, where shares are fair."""
    rank: int = 0
    """Who waits with the lowest is next: the instant it began to wait, less a bonus for its priority."""
    since: int = 0
    granted_at: int | None = None
    epoch: int = 0
    rest: str | None = None
    """JSON: the gates that are to be taken after this one."""


# --- automations


class AutomationRow(msgspec.Struct, frozen=True, kw_only=True):
    """An automation as it is stored."""

    name: str
    project: str = ""
    """The project that declares it; empty for one that was made through the API."""
    spec: str
    """JSON: as `ostinato.automations.to_spec` writes it: when, then, filters, options."""
    description: str = ""
    paused: bool = False
    silenced_until: int | None = None
    state: str = "{}"
    """JSON: what its trigger remembers: counts, windows, learned durations."""
    next_at: int | None = None
    """When its trigger must be looked at though nothing happened: for an absence, the end of a window."""
    after: int = 0
    """Events up to this number do not concern it: those before it was made, changed or resumed."""
    turn: int = 0
    trouble: str | None = None
    updated_at: int = 0


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger that was met, and what became of what was to be done."""

    id: str
    automation: str
    key: str
    """What it is about, for de-duplication: a run, an event."""
    at: int
    state: str
    """``pending``, ``done``, ``failed`` (tried in vain as often as it is worth), ``silenced`` or ``duplicate``."""
    data: str = "{}"
    """JSON: the event and the run it is about, what templates are filled in with."""
    progress: str = "[]"
    """JSON: of each action ``{"state", "attempts", "error", "at"}``."""
    next_at: int | None = None
    """When something is to be tried, or escalated, next."""
    acknowledged_at: int | None = None
    acknowledged_by: str | None = None


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at an automation came to; stored whole or, where `turn` has passed, not at all."""

    automation: str
    turn: int
    state: str
    next_at: int | None = None
    trouble: str | None = None
    firings: list[Firing] = []


class Deadline(msgspec.Struct, frozen=True, kw_only=True):
    """By when a run must have begun or ended. `run_id` and `kind` are the key of the row."""

    run_id: str
    kind: str
    """``start`` or ``end``."""
    due_at: int


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """What a project declares besides its deployments."""

    schedules: list[Schedule] = []
    automations: list[AutomationRow] = []


NOTHING: Final = Timing()
