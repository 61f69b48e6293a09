"""What an automation comes to: from its memory and a moment to verdicts. No I/O, no clock.

```
events, time ─► does it concern it? ─► its trigger ─► hits ─► the same again too soon? silence? ─► verdicts
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.engine.triggering import Moment, feel, is_among, is_of, kinds_of, next_at

if TYPE_CHECKING:
    from ostinato.automations.automation import Automation
    from ostinato.engine.seen import Hit, Seen
    from ostinato.engine.triggering import Memory

_MOST_SUBJECTS: Final = 10_000


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger was met, and whether anything is to be done about it."""

    key: str
    """What it is about."""
    at: int
    state: str
    """``pending``, ``duplicate`` or ``silenced``."""
    values: dict[str, Any]


def judge(automation: Automation, memory: Memory, moment: Moment, silenced_until: int | None = None) -> list[Verdict]:
    """Show an automation an event that concerns it, or the time.

    Args:
        automation: The automation.
        memory: What it remembers, empty at first; changed in place, and JSON.
        moment: The event, or the time.
        silenced_until: Until when somebody has silenced it.
    """
    hits = feel(automation.when, memory.setdefault("when", {}), moment)
    return [_verdict(automation, memory, hit, silenced_until) for hit in hits]


def alarm_of(automation: Automation, memory: Memory) -> int | None:
    """Say when it must be shown the time though nothing happens."""
    return next_at(automation.when, memory.setdefault("when", {}))


def _verdict(automation: Automation, memory: Memory, hit: Hit, silenced_until: int | None) -> Verdict:
    state = "pending"
    if _is_repeated(automation, memory, hit):
        state = "duplicate"
    elif is_silent(automation, hit.at, silenced_until):
        state = "silenced"
    elif automation.once_per is not None:
        fired = memory.setdefault("fired", {})
        fired.pop(hit.subject, None)
        fired[hit.subject] = hit.at  # at the end: it is the newest
        while len(fired) > _MOST_SUBJECTS:
            del fired[next(iter(fired))]
    return Verdict(key=hit.subject, at=hit.at, state=state, values=hit.values)


def _is_repeated(automation: Automation, memory: Memory, hit: Hit) -> bool:
    span: Any = automation.once_per
    last = memory.get("fired", {}).get(hit.subject)
    return span is not None and last is not None and hit.at - last < span.total_seconds() * SECOND


def is_silent(automation: Automation, at: int, silenced_until: int | None) -> bool:
    """Tell whether an automation says nothing at an instant."""
    silences: Any = automation.silence
    return (silenced_until is not None and at < silenced_until) or any(silence.covers(at) for silence in silences)


def moment_of(automation: Automation, name: str, seen: Seen) -> Moment | None:
    """Make the moment of an event for an automation; None if it does not concern it."""
    made_by = f"automation:{name}"
    if seen.data.get("automation") == name or (seen.run is not None and seen.run.created_by == made_by):
        return None
    moment = Moment(seen.at, seen, is_named=bool(automation.flow))
    if not (automation.flow or automation.tags or automation.owner):
        return moment
    if automation.owner and not set(automation.owner) & set(seen.owners):
        return None
    if seen.run is not None:
        return moment if is_of(automation, moment) else None
    names = [seen.data[name] for name in ("deployment", "flow") if isinstance(seen.data.get(name), str)]
    is_ours = not automation.flow or is_among(names, automation.flow)
    return moment if is_ours and not automation.tags else None


def index_of(automations: dict[str, Automation]) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """Say which automations an event may concern: by its kind, and by how its kind begins."""
    by_kind: dict[str, list[str]] = {}
    by_start: list[tuple[str, str]] = []
    for name, automation in automations.items():
        for kind in kinds_of(automation.when):
            if kind.endswith("*"):
                by_start.append((kind[:-1], name))
            else:
                by_kind.setdefault(kind, []).append(name)
    return by_kind, by_start


def is_for(automation: Automation, kind: str) -> bool:
    """Tell whether events of a kind can meet an automation's trigger."""
    return any(kind.startswith(each[:-1]) if each.endswith("*") else kind == each for each in kinds_of(automation.when))
