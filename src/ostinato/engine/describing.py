"""Triggers in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ostinato.automations.triggers import (
    Absent,
    AllOf,
    AnyOf,
    Count,
    Happened,
    InOrder,
    Late,
    Longer,
    Rate,
    RunFailed,
    RunIs,
    RunSucceeded,
    TaskFailed,
    Trigger,
)
from ostinato.engine.seen import span_text

if TYPE_CHECKING:
    from collections.abc import Callable


def describe(trigger: Any) -> str:
    """Say in words what a trigger waits for."""
    return _WORDS[type(trigger)](trigger)


def within(trigger: Any) -> str:
    """Say within which span."""
    return "" if trigger.within is None else f" within {span_text(trigger.within.total_seconds())}"


def _run(trigger: Any) -> str:
    whose = f" of {', '.join(trigger.flow)}" if trigger.flow else ""
    return f"run{whose} {' or '.join(trigger.states)}"


def _event(trigger: Any) -> str:
    key = f" with key {trigger.key!r}" if trigger.key else ""
    return f"event {trigger.kind}{key}{' that fits' if trigger.where else ''}"


def _several(word: str) -> Callable[[Any], str]:
    return lambda trigger: word.join(
        f"({describe(child)})" if isinstance(child, (AllOf, AnyOf, InOrder)) else describe(child)
        for child in trigger.of
    )


def _absent(trigger: Any) -> str:
    after = f" after {describe(trigger.after)}" if isinstance(trigger.after, Trigger) else ""
    return f"no {describe(trigger.of)}{within(trigger)}{after}"


def _rate(trigger: Any) -> str:
    last = f"the last {trigger.last} runs" if trigger.last else "the runs"
    return f"more than {100 * trigger.above:g} % of {last}{within(trigger)} failed"


def _longer(trigger: Any) -> str:
    bound = span_text(trigger.than.total_seconds()) if trigger.than else f"{trigger.times:g} times the usual"
    return f"run longer than {bound}"


_WORDS: Final[dict[type, Callable[[Any], str]]] = {
    RunFailed: _run,
    RunSucceeded: _run,
    RunIs: _run,
    TaskFailed: lambda trigger: f"task {', '.join(trigger.task) or 'run'} failed",
    Late: lambda trigger: f"run late{f' to {trigger.kind}' if trigger.kind else ''}",
    Longer: _longer,
    Happened: _event,
    Count: lambda trigger: f"{trigger.n} times{within(trigger)}: {describe(trigger.of)}",
    Rate: _rate,
    Absent: _absent,
    AllOf: _several(" and "),
    AnyOf: _several(" or "),
    InOrder: _several(", then "),
}
