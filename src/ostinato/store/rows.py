"""Between records and rows: functions written once, at import, from the fields of each record.

A record's fields are its table's columns in the same order, so the whole conversion can be derived. It is
generated as source and compiled, because it stands on the hot path: a task run takes about a microsecond each
way, against some thirty through `msgspec.convert` or a loop over the fields.

```
to_row(TaskRun)     record → tuple    enum → str, list → JSON
to_record(TaskRun)  tuple → record    and back
```

Texts are cleaned on the way in: PostgreSQL can keep no NUL character and neither database a lone surrogate, so
both become U+FFFD, alike in both dialects. A message of an exception must never be what breaks a commit.
"""

from __future__ import annotations

import functools
import re
import types
import typing
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from ostinato.access import Role, Token, User
from ostinato.records import (
    Attempt,
    CacheEntry,
    Event,
    LogBatch,
    Run,
    StateValue,
    TaskRun,
    Wait,
    Worker,
)
from ostinato.states import State
from ostinato.timing import Ask, AutomationRow, Deadline, Firing, Gate, LimitRow, Passage, Schedule, Tick, Webhook
from ostinato.work import Deployed, Pool, Project, Queue, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T", bound=msgspec.Struct)
Row = tuple[Any, ...]

TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "worker": Worker,
    "run": Run,
    "task_run": TaskRun,
    "attempt": Attempt,
    "log": LogBatch,
    "event": Event,
    "state_value": StateValue,
    "cache": CacheEntry,
    "ticket": Ticket,
    "wait": Wait,
    "project": Project,
    "deployed": Deployed,
    "pool": Pool,
    "queue": Queue,
    "user_account": User,
    "token": Token,
    "schedule": Schedule,
    "tick": Tick,
    "ask": Ask,
    "concurrency_limit": LimitRow,
    "gate": Gate,
    "passage": Passage,
    "automation": AutomationRow,
    "firing": Firing,
    "deadline": Deadline,
    "webhook": Webhook,
}
"""The record that each table keeps; `event` has a leading `id` besides."""

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_STATES: Final = {str(state): state for state in State}
_ROLES: Final = {str(role): role for role in Role}


def columns(record: type[msgspec.Struct]) -> tuple[str, ...]:
    """Name the columns of a record's table, in order."""
    return record.__struct_fields__


def clean(text: str) -> str:
    """Replace what a database cannot keep in a text by U+FFFD: NUL and lone surrogates."""
    return _UNSTORABLE.sub("\ufffd", text)


def cleaned(record: T) -> T:
    """Return the record with all its texts cleaned; itself when there was nothing to do."""
    changes: dict[str, Any] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if type(value) is str and _UNSTORABLE.search(value):
            changes[name] = clean(value)
        elif type(value) is list:
            changes[name] = [clean(item) for item in value]
    return msgspec.structs.replace(record, **changes) if changes else record


@functools.cache
def kinds(record: type[msgspec.Struct]) -> dict[str, type]:
    """Tell the plain type of each field: str, int, bool, bytes, list, State or Role; ``| None`` left out."""
    hints = typing.get_type_hints(record)
    return {name: _plain(hints[name]) for name in record.__struct_fields__}


def _plain(hint: Any) -> type:
    if isinstance(hint, types.UnionType):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    plain: type = typing.get_origin(hint) or hint
    return plain


@functools.cache
def to_row(record: type[T]) -> Callable[[T], Row]:
    """Make the function that turns a record into the row of its table, texts cleaned."""
    fields = kinds(record)
    cells = {
        State: "str(r.{0})",
        Role: "str(r.{0})",
        list: "encode(r.{0})",
    }
    exprs = ", ".join(cells.get(kind, "r.{0}").format(name) for name, kind in fields.items())
    texts = "".join(f"{{r.{name}}}" for name, kind in fields.items() if kind is str)
    source = f"def row(r):\n    if '\\0' in f'{texts}': r = cleaned(r)\n    return ({exprs},)"
    function: Callable[[T], Row] = _compile(source, "row", {"cleaned": cleaned, "encode": _encode, "str": str.__str__})
    return function


@functools.cache
def to_record(record: type[T]) -> Callable[[Row], T]:
    """Make the function that turns a row, its columns in order, into a record."""
    cells = {State: "STATES[{0}]", Role: "ROLES[{0}]", bool: "{0} == 1", list: "DECODE({0})"}
    fields = kinds(record)
    names = ", ".join(fields)
    exprs = ", ".join(f"{name}={cells.get(kind, '{0}').format(name)}" for name, kind in fields.items())
    source = f"def make(row):\n    {names}, = row\n    return RECORD({exprs})"
    names_of = {"STATES": _STATES, "ROLES": _ROLES, "DECODE": _decode}
    function: Callable[[Row], T] = _compile(source, "make", names_of | {"RECORD": record})
    return function


def records(record: type[T], rows: Iterable[Row]) -> list[T]:
    """Turn rows into records."""
    return list(map(to_record(record), rows))


def _compile(source: str, name: str, names: dict[str, Any]) -> Any:
    exec(source, names)  # noqa: S102  the source is made of field names alone
    return names[name]


def _encode(items: list[str]) -> str:
    return msgspec.json.encode(items).decode() if items else "[]"


def _decode(text: str) -> list[str]:
    return [] if text == "[]" else msgspec.json.decode(text, type=list[str])
