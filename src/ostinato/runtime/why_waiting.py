"""What events and people a waiting run waits for, and how each is satisfied."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import to_datetime, to_rfc3339
from ostinato.errors import UnknownNameError
from ostinato.timing import ANSWERED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ostinato.records import Wait
    from ostinato.store.store import Store

_NAMED: Final = 5


class Awaited(msgspec.Struct, frozen=True):
    """What is said of waits for events."""

    because: list[str]
    advice: list[str]
    facts: dict[str, Any]


def awaited(store: Store, waits: Sequence[Wait]) -> Awaited:
    """Say which events, and whose answers, a run waits for."""
    said = Awaited([], [], {})
    keys = [wait for wait in waits if wait.kind == "event" and wait.key is not None]
    for wait in keys[:_NAMED]:
        kind, _, key = (wait.key or "").partition("\n")
        if kind == ANSWERED:
            _question(store, key, said)
        else:
            _event(kind, key, wait, said)
    if len(keys) > _NAMED:
        said.because.append(f"It waits for {len(keys) - _NAMED} other events too; any of them is enough.")
    return said


def _event(kind: str, key: str, wait: Wait, said: Awaited) -> None:
    about = f" with the key {key!r}" if key else ""
    said.because.append(f"It waits for an event {kind}{about}{_until(wait.due_at)}.")
    option = f" --key {shlex.quote(key)}" if key else ""
    said.advice.append(f"Tell that it has happened: ostinato events emit {shlex.quote(kind)}{option}")
    said.facts.setdefault("events", []).append({"kind": kind, "key": key, "due_at": to_rfc3339(wait.due_at)})


def _question(store: Store, ask_id: str, said: Awaited) -> None:
    try:
        ask = store.get_ask(ask_id)
    except UnknownNameError:
        said.because.append(f"It waits for an answer to question {ask_id}, which is not there any more.")
        return
    given = msgspec.json.decode(ask.answers)
    whom = ask.whom or "an operator"
    count = f"; {len(given)} of {ask.needed} have answered" if ask.needed > 1 else ""
    said.because.append(f"It waits for {whom} to answer {ask.title!r}{count}{_until(ask.expires_at)}.")
    said.advice.append(f"Answer it: ostinato asks show {ask.id}, then ostinato asks answer {ask.id} -p …")
    fact = {"id": ask.id, "title": ask.title, "whom": ask.whom, "needed": ask.needed, "answered": len(given)}
    said.facts.setdefault("asks", []).append(fact)


def _until(due_at: int | None) -> str:
    return "" if due_at is None else f", until {to_datetime(due_at).astimezone():%Y-%m-%d %H:%M:%S} at most"
