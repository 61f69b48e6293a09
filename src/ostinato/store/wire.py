"""What goes over the wire between a `RemoteStore` and a server: every verb of the Store Protocol, as data.

```
POST /api/store/<verb>    body: msgpack array of the arguments, in the order given here    reply: msgpack of the result
```

One table serves both ends: the client encodes and decodes by it, the server validates by it and knows from it who may
call what. Errors travel as ``application/problem+json`` and come out as the same class (`ostinato.link.to_error`).
A journal is longer than a message may be: `load` is answered with a stream of pages, each with its length before it.
"""

from __future__ import annotations

import functools
import struct
import zlib
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ostinato.access import Role, Token, User
from ostinato.history import Cuts, Kept, OldRuns
from ostinato.limits import Entered, Entrance
from ostinato.records import (
    Attempt,
    Beat,
    CacheEntry,
    Commit,
    Event,
    LogBatch,
    Pruned,
    Run,
    RunFilter,
    StateValue,
    StoredEvent,
    StoreInfo,
    TaskRun,
    Wait,
    Worker,
)
from ostinato.states import State
from ostinato.store.rows import clean
from ostinato.timing import (
    Ask,
    AutomationRow,
    Deadline,
    Decision,
    Firing,
    Gate,
    Judgement,
    LimitRow,
    Passage,
    Schedule,
    ScheduleFilter,
    Sought,
    Tick,
    Timing,
    Webhook,
)
from ostinato.work import (
    Claim,
    Deployed,
    Held,
    Offer,
    Pool,
    ProcessEnd,
    Project,
    Queue,
    QueueLength,
    RunBrief,
    Survey,
    Ticket,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATH: Final = "/api/store/"
MOST: Final = 64 * 1024 * 1024
"""Bytes of a request's body at most, before and after it is unpacked."""
LONGEST_WAIT: Final = 25.0
"""Seconds that one request waits at most; who wants to wait longer asks again."""
_LENGTH: Final = struct.Struct(">I")
_PAGE: Final = 1000


class Scope(StrEnum):
    """Which runs a run's token may name in a verb."""

    NONE = "none"
    """It may not call it at all."""
    FREE = "free"
    """The verb names no run."""
    OWN = "own"
    """The token's run and those that its process carries out itself: its child runs without a work pool."""
    KIN = "kin"
    """These, and all that came of them, in whatever process."""
    SEEN = "seen"
    """These, and the runs that they were forked from."""


class Verb(NamedTuple):
    """A method of the Store Protocol, as a request."""

    name: str
    takes: dict[str, Any]
    """The types of its arguments, by name."""
    gives: Any
    roles: frozenset[Role]
    """Who may call it: one of these is enough."""
    scope: Scope = Scope.NONE
    names: str = ""
    """The argument in which the runs are named."""
    again: bool = True
    """Calling it twice does no harm, and gives an answer that is as good."""
    stirs: bool = False
    """It may queue runs or end them."""
    audited: str = ""
    """The act that it is on record as, when a person or a token does it."""


_READERS: Final = frozenset({Role.VIEWER})
_FLEET: Final = frozenset({Role.VIEWER, Role.WORKER})
_HOLDERS: Final = frozenset({Role.OPERATOR, Role.WORKER})
_OPERATORS: Final = frozenset({Role.OPERATOR})
_WORKERS: Final = frozenset({Role.WORKER})
_ADMINS: Final = frozenset({Role.ADMIN})

_OWN: Final = {"scope": Scope.OWN, "names": "run_id"}
_KIN: Final = {"scope": Scope.KIN, "names": "run_id"}
_SEEN: Final = {"scope": Scope.SEEN, "names": "run_id"}


def _verb(
    name: str,
    takes: dict[str, Any],
    gives: Any,
    roles: frozenset[Role],
    scope: dict[str, Any] | None = None,
    **more: Any,
) -> Verb:
    return Verb(name, takes, gives, roles, **(scope or {}), **more)


_ALL: Final = (
    _verb("now", {}, int, _FLEET, {"scope": Scope.FREE}),
    _verb("info", {}, StoreInfo, _FLEET),
    # workers and their leases
    _verb("register", {"worker": Worker}, None, _HOLDERS, stirs=True),
    _verb("beat", {"worker_id": str}, Beat, _HOLDERS),
    _verb("leave", {"worker_id": str}, None, _HOLDERS, stirs=True),
    _verb("sweep", {"dead": list[str]}, list[Run], _HOLDERS, stirs=True),
    _verb("list_workers", {}, list[Worker], _FLEET),
    # the life of a run
    _verb("create", {"run": Run}, Run, _OPERATORS, {"scope": Scope.OWN, "names": "run"}, stirs=True),
    _verb(
        "reopen",
        {
            "run_id": str,
            "worker_id": str | None,
            "again": list[int],
            "clear": list[int],
            "stale": list[int],
            "attempt": bool,
            "epoch": int | None,
        },
        Run,
        _HOLDERS,
        _OWN,
        stirs=True,
        audited="run_reopened",
    ),
    _verb(
        "commit",
        {"run_id": str, "epoch": int, "entries": Commit, "number": int | None},
        bool,
        _OPERATORS,
        _OWN,
    ),
    _verb("load", {"run_id": str, "skip": int}, None, _READERS, _OWN),
    _verb("request_cancel", {"run_id": str}, Run, _OPERATORS, _KIN, again=False, stirs=True, audited="run_cancelled"),
    _verb(
        "mark",
        {"run_id": str, "seq": int, "state": State, "result": bytes | None, "result_fp": bytes | None},
        Run,
        _OPERATORS,
        again=False,
        stirs=True,
        audited="task_run_marked",
    ),
    # reading
    _verb("get_run", {"run_id": str}, Run, _FLEET, _SEEN),
    _verb("find_runs", {"fragment": str}, list[Run], _READERS),
    _verb("list_runs", {"which": RunFilter}, list[Run], _FLEET, {"scope": Scope.KIN, "names": "which"}),
    _verb(
        "count_task_runs",
        {"run_ids": list[str]},
        dict[str, dict[State, int]],
        _READERS,
        {"scope": Scope.SEEN, "names": "run_ids"},
    ),
    _verb(
        "list_task_runs",
        {"run_id": str, "after": int, "limit": int, "states": list[State]},
        list[TaskRun],
        _READERS,
        _SEEN,
    ),
    _verb("list_attempts", {"run_id": str, "seq": int | None}, list[Attempt], _READERS, _SEEN),
    _verb("read_logs", {"run_id": str, "after": tuple[int, int], "limit": int}, list[LogBatch], _READERS, _SEEN),
    _verb("list_events", {"run_id": str | None, "after": int, "limit": int}, list[StoredEvent], _READERS, _SEEN),
    _verb("load_states", {"run_id": str, "task_run_id": str}, list[StateValue], _READERS, _SEEN),
    _verb("find_cached", {"key": str}, CacheEntry | None, _READERS, {"scope": Scope.FREE}),
    # how the past is forgotten
    _verb("list_old", {"cuts": Cuts, "looks": bool, "after": str | None, "limit": int}, OldRuns, _ADMINS),
    _verb("remove", {"run_ids": list[str], "cuts": Cuts}, Pruned, _ADMINS, audited="runs_pruned"),
    _verb("forget", {"name": str, "cuts": Cuts, "limit": int}, Pruned, _ADMINS),
    _verb("make_room", {}, int, _ADMINS),
    _verb("list_kept", {"cuts": Cuts}, list[Kept], _FLEET),
    _verb("prune", {"finished_before": int, "interrupted": bool, "limit": int}, Pruned, _ADMINS, audited="runs_pruned"),
    # the queue
    _verb("claim", {"worker_id": str, "offer": Offer, "wait": float}, list[Claim], _WORKERS, again=False),
    _verb(
        "give_back",
        {"worker_id": str, "run_id": str, "epoch": int, "ending": ProcessEnd},
        Run,
        _WORKERS,
        stirs=True,
    ),
    _verb(
        "requeue",
        {"run_id": str, "pool": str, "queue": str},
        Run,
        _HOLDERS,
        again=False,
        stirs=True,
        audited="run_requeued",
    ),
    _verb("drain", {"worker_id": str}, None, _HOLDERS, stirs=True),
    _verb("survey", {}, Survey, _FLEET),
    _verb("wake", {"limit": int}, int, _HOLDERS, stirs=True),
    _verb("hold", {"notes": list[Held]}, None, _ADMINS),
    _verb("list_tickets", {"pool": str | None, "after": int, "limit": int}, list[Ticket], _READERS),
    _verb("find_ticket", {"run_id": str}, Ticket | None, _READERS, _SEEN),
    _verb("list_queue_lengths", {}, list[QueueLength], _FLEET),
    _verb("list_waits", {"run_id": str}, list[Wait], _READERS, _SEEN),
    _verb("list_held_runs", {"worker_id": str | None, "pool": str | None, "limit": int}, list[Run], _FLEET),
    _verb(
        "await_runs",
        {"run_ids": list[str], "wait": float},
        list[RunBrief],
        _FLEET,
        {"scope": Scope.SEEN, "names": "run_ids"},
    ),
    _verb("lead", {"duty": str, "holder": str, "seconds": float}, bool, _ADMINS),
    _verb("emit", {"events": list[Event]}, None, _HOLDERS, {"scope": Scope.OWN, "names": "events"}, again=False),
    # what is deployed
    _verb(
        "put_project",
        {"project": Project, "deployed": list[Deployed], "timing": Timing},
        list[Deployed],
        _OPERATORS,
        stirs=True,
        audited="project_deployed",
    ),
    _verb("list_projects", {}, list[Project], _FLEET),
    _verb("remove_project", {"name": str}, None, _OPERATORS, again=False, stirs=True, audited="project_removed"),
    _verb("list_deployed", {"project": str | None, "flow": str | None}, list[Deployed], _FLEET),
    _verb("get_deployed", {"name": str}, Deployed, _FLEET, {"scope": Scope.FREE}),
    _verb(
        "pause_deployed", {"name": str, "paused": bool}, Deployed, _OPERATORS, stirs=True, audited="deployment_paused"
    ),
    _verb("put_pool", {"pool": Pool}, None, _OPERATORS, stirs=True, audited="pool_changed"),
    _verb("list_pools", {}, list[Pool], _FLEET),
    _verb("remove_pool", {"name": str}, None, _OPERATORS, again=False, audited="pool_removed"),
    _verb("put_queue", {"queue": Queue}, None, _OPERATORS, stirs=True, audited="queue_changed"),
    _verb("list_queues", {"pool": str | None}, list[Queue], _FLEET),
    # time and events
    _verb("put_schedule", {"schedule": Schedule}, Schedule, _OPERATORS, audited="schedule_changed", stirs=True),
    _verb("remove_schedule", {"name": str}, None, _OPERATORS, again=False, audited="schedule_removed"),
    _verb("list_schedules", {"which": ScheduleFilter}, list[Schedule], _FLEET),
    _verb("get_schedule", {"name": str}, Schedule, _FLEET, {"scope": Scope.FREE}),
    _verb("pause_schedule", {"name": str, "paused": bool}, Schedule, _OPERATORS, stirs=True, audited="schedule_paused"),
    _verb(
        "rewind_schedule",
        {"name": str, "since": int | None, "read": int | None},
        Schedule,
        _OPERATORS,
        again=False,
        stirs=True,
        audited="schedule_rewound",
    ),
    _verb("decide", {"decisions": list[Decision]}, list[str], _OPERATORS, stirs=True),
    _verb("report_look", {"run_id": str, "epoch": int, "decision": Decision}, bool, _OPERATORS, _OWN, stirs=True),
    _verb(
        "put_cursor",
        {"name": str, "cursor": str | None},
        Schedule,
        _OPERATORS,
        again=False,
        stirs=True,
        audited="sensor_reset",
    ),
    _verb("list_ticks", {"schedule": str | None, "before": int | None, "limit": int}, list[Tick], _FLEET),
    _verb("usual_duration", {"deployment": str, "last": int}, float | None, _FLEET),
    _verb("find_event", {"kind": str, "key": str, "after": int, "since": int}, StoredEvent | None, _READERS),
    _verb("place_before", {"kind": str, "key": str, "instant": int}, int, _READERS, {"scope": Scope.FREE}),
    _verb("await_events", {"run_id": str, "sought": list[Sought], "wait": float}, list[StoredEvent], _READERS, _OWN),
    _verb("newest_event", {}, int, _FLEET),
    _verb("put_ask", {"ask": Ask}, Ask, _OPERATORS, {"scope": Scope.OWN, "names": "ask"}),
    _verb("get_ask", {"ask_id": str}, Ask, _FLEET, {"scope": Scope.FREE}),
    _verb("list_asks", {"is_open": bool, "run_id": str | None, "limit": int}, list[Ask], _FLEET),
    _verb(
        "answer",
        {"ask_id": str, "by": str, "values": str},
        Ask,
        _READERS,
        again=False,
        stirs=True,
        audited="ask_answered",
    ),
    _verb("close_asks", {"ids": list[str], "state": str}, None, _OPERATORS, stirs=True),
    _verb("expire_asks", {"limit": int}, int, _ADMINS),
    _verb("put_webhook", {"hook": Webhook}, None, _OPERATORS, audited="webhook_changed"),
    _verb("list_webhooks", {}, list[Webhook], _FLEET),
    _verb("remove_webhook", {"name": str}, None, _OPERATORS, again=False, audited="webhook_removed"),
    _verb(
        "enter",
        {"run_id": str, "epoch": int, "wanted": list[Entrance]},
        Entered,
        _OPERATORS,
        _OWN,
    ),
    _verb(
        "await_slots",
        {"run_id": str, "epoch": int, "known": list[int], "wait": float},
        list[int],
        _OPERATORS,
        _OWN,
    ),
    _verb("leave_gates", {"run_id": str, "epoch": int, "seqs": list[int]}, None, _OPERATORS, _OWN, stirs=True),
    _verb("put_limit", {"limit": LimitRow}, None, _OPERATORS, stirs=True, audited="limit_changed"),
    _verb("remove_limit", {"name": str}, None, _OPERATORS, again=False, stirs=True, audited="limit_removed"),
    _verb("list_limits", {}, list[LimitRow], _FLEET),
    _verb("list_gates", {"limit_name": str | None, "limit": int}, list[Gate], _FLEET),
    _verb("list_passages", {"gate": str | None, "run_id": str | None, "limit": int}, list[Passage], _FLEET),
    _verb(
        "put_automation",
        {"row": AutomationRow},
        AutomationRow,
        _OPERATORS,
        stirs=True,
        audited="automation_changed",
    ),
    _verb("remove_automation", {"name": str}, None, _OPERATORS, again=False, stirs=True, audited="automation_removed"),
    _verb("list_automations", {}, list[AutomationRow], _FLEET),
    _verb(
        "pause_automation",
        {"name": str, "paused": bool, "silenced_until": int | None},
        AutomationRow,
        _OPERATORS,
        stirs=True,
        audited="automation_paused",
    ),
    _verb("reader_at", {"name": str}, int, _ADMINS),
    _verb(
        "judge",
        {"reader": str, "read": int, "upto": int, "judgements": list[Judgement], "known": int | None},
        bool,
        _ADMINS,
        again=False,
    ),
    _verb(
        "list_firings",
        {"automation": str | None, "due_before": int | None, "before": str | None, "limit": int},
        list[Firing],
        _FLEET,
    ),
    _verb("get_firing", {"firing_id": str}, Firing, _FLEET),
    _verb("put_firing", {"firing": Firing, "next_at": int | None}, bool, _ADMINS, again=False),
    _verb("acknowledge", {"firing_id": str, "by": str}, Firing, _OPERATORS, audited="firing_acknowledged"),
    _verb("put_deadlines", {"deadlines": list[Deadline]}, None, _OPERATORS, stirs=True),
    _verb("get_runs", {"run_ids": list[str]}, list[Run], _FLEET),
    _verb("past_durations", {"flow": str, "deployment": str | None, "last": int}, list[float], _FLEET),
    _verb("pass_deadlines", {"limit": int}, list[Event], _ADMINS, again=False),
    # who may do what; `secret` never leaves the server
    _verb("put_user", {"user": User}, None, _ADMINS, audited="user_changed"),
    _verb("list_users", {}, list[User], _ADMINS),
    _verb("put_token", {"token": Token}, None, _ADMINS, audited="token_changed"),
    _verb("find_token", {"digest": str}, Token | None, _ADMINS),
    _verb("list_tokens", {}, list[Token], _ADMINS),
)
VERBS: Final = {verb.name: verb for verb in _ALL}
"""Every verb but `close` and `watch`, which are a matter of one process, and `secret`, `get_webhook` and `receive`."""


@functools.cache
def request_type(name: str) -> type[msgspec.Struct]:
    """Return the struct of a verb's arguments; they travel as an array."""
    return msgspec.defstruct(f"{name}_request", list(VERBS[name].takes.items()), array_like=True, frozen=True)


@functools.cache
def decoder_of(name: str) -> Callable[[bytes], Any]:
    """Return what decodes a verb's request."""
    return msgspec.msgpack.Decoder(request_type(name)).decode


@functools.cache
def reader_of(name: str) -> Callable[[bytes], Any]:
    """Return what decodes a verb's result."""
    return msgspec.msgpack.Decoder(VERBS[name].gives).decode


_encode: Final = msgspec.msgpack.Encoder().encode


def encode(value: Any) -> bytes:
    """Encode a request's arguments or a result; texts that no database could keep are cleaned."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return _encode(_cleaned(value))


def _cleaned(value: Any) -> Any:
    """Return a value with all the texts in it cleaned."""
    if isinstance(value, State):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, msgspec.Struct):
        fields = {name: _cleaned(getattr(value, name)) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **fields)
    return value


# --- the stream of a journal

_task_runs: Final = msgspec.msgpack.Decoder(list[TaskRun]).decode
END: Final = _LENGTH.pack(0)
"""What stands where no page follows: a stream that breaks off is told from one that has ended."""


def pages(task_runs: Iterator[TaskRun]) -> Iterator[bytes]:
    """Cut a journal into pages as they travel; `END` is not among them."""
    page: list[TaskRun] = []
    for task_run in task_runs:
        page.append(task_run)
        if len(page) == _PAGE:
            yield _framed(page)
            page = []
    if page:
        yield _framed(page)


def _framed(page: Sequence[TaskRun]) -> bytes:
    packed = zlib.compress(encode(page), 1)
    return _LENGTH.pack(len(packed)) + packed


def read_page(take: Callable[[int], bytes]) -> list[TaskRun]:
    """Read a page from what takes so many bytes of a stream; nothing is in the last one."""
    (length,) = _LENGTH.unpack(take(_LENGTH.size))
    return _task_runs(zlib.decompress(take(length))) if length else []
