"""When a trigger is met: from what it remembers, and an event or the time, to hits. No I/O, no clock.

```
feel(trigger, memory, moment) ─► hits        memory is changed in place, and is JSON
next_at(trigger, memory)      ─► when it must be asked again though nothing happens
```

Every trigger is asked the same way, those inside of others too. A moment is an event at its own time, or only a time.
What is due by then is told before the event counts: so somebody who reads late comes to the same as somebody who
reads at once. Memories are bounded: the oldest goes first.
"""

from __future__ import annotations

import fnmatch
import math
import operator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.automations.instants import Instants
from ostinato.automations.triggers import (
    KIND_OF_STATE,
    MOST_REMEMBERED,
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
from ostinato.clock import SECOND, to_rfc3339
from ostinato.engine.describing import describe, within
from ostinato.engine.seen import Hit, Seen, hit_of, span_text, subject_of, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Memory = dict[str, Any]
_ENDS: Final = frozenset(kind for state, kind in KIND_OF_STATE.items() if state.is_terminal)
_COUNTED: Final = {"run.succeeded": False, "run.failed": True, "run.crashed": True}
"""The ends that a rate is made of, and whether each is a failure."""
_MOST_RUNS: Final = 10_000
_FEW: Final = 5
_MOST_INSTANTS: Final = 10_000
_KIND_BY_STATE: Final = {str(state): kind for state, kind in KIND_OF_STATE.items()}


class Moment(msgspec.Struct, frozen=True):
    """What a trigger is asked about."""

    at: int
    seen: Seen | None = None
    """The event; None where only time has passed."""
    is_named: bool = False
    """The automation names the flow of the event's run, so that a child run counts too."""


def feel(trigger: Trigger, memory: Memory, moment: Moment) -> list[Hit]:
    """Say how a trigger is met at a moment; `memory`, empty at first, is changed in place."""
    return _FEEL[type(trigger)](trigger, memory, moment)


def next_at(trigger: Trigger, memory: Memory) -> int | None:
    """Say when a trigger must be asked again though nothing happens."""
    asked = _NEXT.get(type(trigger))
    own = None if asked is None else asked(trigger, memory)
    times = [own, *(next_at(child, below) for child, below in _children(trigger, memory))]
    return min((at for at in times if at is not None), default=None)


def kinds_of(trigger: Trigger) -> frozenset[str]:
    """Name the kinds of events that can meet a trigger; one that ends in ``*`` stands for all that begin so."""
    if isinstance(trigger, (RunFailed, RunSucceeded, RunIs)):
        return frozenset(_KIND_BY_STATE[state] for state in trigger.states)
    if isinstance(trigger, Happened):
        return frozenset({trigger.kind})
    if type(trigger) in _KINDS:
        return _KINDS[type(trigger)]
    return frozenset().union(*(kinds_of(child) for child in _parts(trigger)))


def wants_past(trigger: Trigger) -> bool:
    """Tell whether a trigger must know how long runs have taken before."""
    return (isinstance(trigger, Longer) and trigger.times is not None) or any(map(wants_past, _parts(trigger)))


def _parts(trigger: Any) -> Sequence[Trigger]:
    if isinstance(trigger, (AllOf, AnyOf, InOrder)):
        return trigger.of
    if isinstance(trigger, Count):
        return (trigger.of,)
    if isinstance(trigger, Absent):
        return (trigger.of, trigger.after) if isinstance(trigger.after, Trigger) else (trigger.of,)
    return ()


def _children(trigger: Trigger, memory: Memory) -> Iterable[tuple[Trigger, Memory]]:
    parts = _parts(trigger)
    if not parts:
        return ()
    below = memory.setdefault("of", [{} for _ in parts])
    return zip(parts, below, strict=True)


# --- of one event


def _reached(trigger: Any, _memory: Memory, moment: Moment) -> list[Hit]:
    seen = moment.seen
    if seen is None or not any(_KIND_BY_STATE[state] == seen.kind for state in trigger.states):
        return []
    reasons = getattr(trigger, "reason", ())
    if not is_of(trigger, moment) or (reasons and seen.data.get("reason") not in reasons):
        return []
    return [hit_of(seen)]


def _task_failed(trigger: Any, _memory: Memory, moment: Moment) -> list[Hit]:
    seen = moment.seen
    if seen is None or seen.kind not in _KINDS[TaskFailed] or not is_of(trigger, moment):
        return []
    if trigger.reason and seen.data.get("reason") not in trigger.reason:
        return []
    key = str(seen.data.get("task", ""))
    names = {key, key.rpartition(".")[2]}
    return [hit_of(seen)] if not trigger.task or is_among(names, trigger.task) else []


def _late(trigger: Any, _memory: Memory, moment: Moment) -> list[Hit]:
    seen = moment.seen
    if seen is None or seen.kind != "run.late" or not is_of(trigger, moment):
        return []
    return [hit_of(seen)] if trigger.kind in (None, seen.data.get("kind")) else []


def _happened(trigger: Any, _memory: Memory, moment: Moment) -> list[Hit]:
    seen = moment.seen
    if seen is None or not _is_kind(seen.kind, trigger.kind) or trigger.key not in (None, seen.key):
        return []
    return [hit_of(seen)] if all(_fits(seen.data, name, rule) for name, rule in trigger.where.items()) else []


def _is_kind(kind: str, wanted: str) -> bool:
    return kind.startswith(wanted[:-1]) if wanted.endswith("*") else kind == wanted


_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda found, several: found in several,
    "contains": lambda found, part: part in found,
}


def _fits(data: dict[str, Any], path: str, rule: Any) -> bool:
    found: Any = data
    for part in path.split("."):
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    compare, value = rule if isinstance(rule, list) else ("==", rule)
    try:
        return bool(_COMPARE[compare](found, value))
    except TypeError:  # a text is neither more nor less than a number
        return False


def is_of(trigger: Any, moment: Moment) -> bool:
    """Tell whether the run of an event is one that a trigger about runs is about."""
    seen = moment.seen
    run = None if seen is None else seen.run
    if run is None or run.kind != "flow":
        return False
    if trigger.flow and not is_among({run.flow, run.deployment or run.flow}, trigger.flow):
        return False
    if run.parent_run_id is not None and not (trigger.flow or moment.is_named):
        return False
    return set(trigger.tags) <= set(run.tags)


def is_among(names: Iterable[str], wanted: Any) -> bool:
    """Tell whether one of some names fits one of some patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in wanted)


# --- of time


def _longer(trigger: Any, memory: Memory, moment: Moment) -> list[Hit]:
    runs: dict[str, Any] = memory.setdefault("runs", {})
    hits = _overdue_runs(memory, moment.at)
    seen = moment.seen
    if seen is None:
        return hits
    if seen.kind in _ENDS and runs.pop(seen.run_id, None) is not None:
        memory["next"] = _least(runs)
    if seen.kind == "run.started" and seen.run_id not in runs and is_of(trigger, moment):
        limit = _limit(trigger, seen)
        if limit is not None and seen.run is not None:
            due = (seen.run.started_at or seen.at) + round(limit * SECOND)
            runs[seen.run_id] = [due, limit, values_of(seen)]
            _bound(runs, _MOST_RUNS)
            memory["next"] = min(due, memory.get("next") or due)
            hits += _overdue_runs(memory, moment.at)
    return hits


def _overdue_runs(memory: Memory, at: int) -> list[Hit]:
    """Tell of those that should have ended by now; each is told once, and kept until it ends."""
    if memory.get("next") is None or memory["next"] > at:
        return []
    hits, runs = [], memory["runs"]
    for run_id, (due, limit, values) in runs.items():
        if due is not None and due <= at:
            runs[run_id] = [None, limit, None]
            text = f"{values.get('deployment') or values['flow']} (run {run_id}) takes longer than {span_text(limit)}."
            told = values | {"limit": limit, "at": to_rfc3339(due), "duration": span_text(limit), "summary": text}
            hits.append(Hit(at=due, subject=subject_of(values), values=told | {"state": "running"}))
    memory["next"] = _least(runs)
    return hits


def _least(runs: dict[str, Any]) -> int | None:
    return min((due for due, _, _ in runs.values() if due is not None), default=None)


def _limit(trigger: Any, seen: Seen) -> float | None:
    if trigger.than is not None:
        seconds: float = trigger.than.total_seconds()
        return seconds
    if len(seen.past) < _FEW:
        return None
    ordered = sorted(seen.past)
    usual = ordered[max(0, math.ceil(trigger.quantile * len(ordered)) - 1)]
    return float(max(usual, 0.001) * trigger.times)


def _absent(trigger: Any, memory: Memory, moment: Moment) -> list[Hit]:
    if isinstance(trigger.after, Trigger):
        return _absent_after(trigger, memory, moment)
    if isinstance(trigger.after, Instants):
        return _absent_since(trigger, memory, moment)
    since = memory.setdefault("since", moment.at)
    hits = []
    if not memory.get("told") and moment.at >= since + _span(trigger):
        memory["told"] = True
        hits.append(_missing(trigger, since + _span(trigger), since))
    (child, below), *_ = _children(trigger, memory)
    came = feel(child, below, moment)
    if came:
        memory["since"], memory["told"] = max(hit.at for hit in came), False
    return hits


def _absent_after(trigger: Any, memory: Memory, moment: Moment) -> list[Hit]:
    """What should follow something else does not; the same event may be the end of one wait and begin the next."""
    pending: dict[str, Any] = memory.setdefault("pending", {})
    hits = []
    for group, (due, values) in list(pending.items()):
        if due <= moment.at:
            del pending[group]
            hits.append(_missing(trigger, due, due - _span(trigger), values, group))
    (of, below), (after, below_after) = _children(trigger, memory)
    for hit in feel(of, below, moment):
        pending.pop(_group(trigger, hit), None)
    for hit in feel(after, below_after, moment):
        pending.setdefault(_group(trigger, hit), [hit.at + _span(trigger), hit.values])
    _bound(pending, _MOST_RUNS)
    return hits


def _absent_since(trigger: Any, memory: Memory, moment: Moment) -> list[Hit]:
    """What should come after each instant of a schedule does not; of many missed at once the last one is told."""
    last, came = memory.setdefault("last", moment.at), memory.setdefault("came", [])
    missed: list[int] = []
    for _ in range(_MOST_INSTANTS):
        instant = trigger.after.next_after(last)
        if instant is None or instant + _span(trigger) > moment.at:
            break
        if not any(instant <= at <= instant + _span(trigger) for at in came):
            missed.append(instant)
        memory["last"] = last = instant
    (child, below), *_ = _children(trigger, memory)
    came += [hit.at for hit in feel(child, below, moment)]
    memory["came"] = [at for at in came if at > last][-MOST_REMEMBERED:]
    if not missed:
        return []
    return [_missing(trigger, missed[-1] + _span(trigger), missed[-1], count=len(missed))]


def _missing(
    trigger: Any, at: int, since: int, values: dict[str, Any] | None = None, group: str = "", count: int = 1
) -> Hit:
    what = describe(trigger.of)
    text = f"{what[:1].upper()}{what[1:]} has not come since {to_rfc3339(since)}{f' ({group})' if group else ''}."
    told = {"kind": "absent", "key": group, "data": {}, **(values or {})}
    told |= {"at": to_rfc3339(at), "since": to_rfc3339(since), "count": count, "summary": text}
    return Hit(at=at, subject=f"absent:{group}" if group else "absent", values=told)


def _next_of_longer(_trigger: Any, memory: Memory) -> int | None:
    found: int | None = memory.get("next")
    return found


def _next_of_absent(trigger: Any, memory: Memory) -> int | None:
    if isinstance(trigger.after, Trigger):
        return min((due for due, _ in memory.get("pending", {}).values()), default=None)
    if isinstance(trigger.after, Instants):
        instant = trigger.after.next_after(memory["last"]) if "last" in memory else None
        return None if instant is None else instant + _span(trigger)
    return None if memory.get("told") or "since" not in memory else memory["since"] + _span(trigger)


def _span(trigger: Any) -> int:
    span: int = round(trigger.within.total_seconds() * SECOND)
    return span


# --- of many


def _count(trigger: Any, memory: Memory, moment: Moment) -> list[Hit]:
    times: dict[str, list[int]] = memory.setdefault("times", {})
    (child, below), *_ = _children(trigger, memory)
    hits = []
    for hit in feel(child, below, moment):
        group = _group(trigger, hit)
        found = [*times.pop(group, []), hit.at][-trigger.n :]
        if len(found) == trigger.n and _is_near(trigger, found):
            summary = f"{trigger.n} times{within(trigger)}: {hit.values.get('summary', '')}"
            hits.append(_more(hit, trigger, group, count=trigger.n, summary=summary))
        else:
            times[group] = found  # at the end: it is the newest
            _bound(times, MOST_REMEMBERED)
    return hits


def _rate(trigger: Any, memory: Memory, moment: Moment) -> list[Hit]:
    seen = moment.seen
    if seen is None or seen.kind not in _COUNTED or not is_of(trigger, moment):
        return []
    hit = hit_of(seen)
    group, all_ends = _group(trigger, hit), memory.setdefault("ends", {})
    ends = [*all_ends.pop(group, []), [seen.at, int(_COUNTED[seen.kind])]][-(trigger.last or MOST_REMEMBERED) :]
    if trigger.within is not None:
        ends = [each for each in ends if each[0] > seen.at - _span(trigger)]
    all_ends[group] = ends
    _bound(all_ends, MOST_REMEMBERED)
    least = trigger.least or trigger.last or _FEW
    if len(ends) < least:
        return []
    share = sum(bad for _, bad in ends) / len(ends)
    above: list[str] = memory.setdefault("above", [])
    was_above = group in above
    if share <= trigger.above:
        memory["above"] = [name for name in above if name != group]
        return []
    if was_above:
        return []
    memory["above"] = [*above, group][-MOST_REMEMBERED:]
    percent = round(100 * share, 1)
    summary = f"{percent:g} % of the last {len(ends)} runs failed{within(trigger)}: {hit.values['summary']}"
    return [_more(hit, trigger, group, rate=percent, count=len(ends), summary=summary)]


def _any_of(trigger: Any, memory: Memory, moment: Moment) -> list[Hit]:
    hits: list[Hit] = []
    for child, below in _children(trigger, memory):
        told = {hit.number for hit in hits}
        hits += [hit for hit in feel(child, below, moment) if hit.number is None or hit.number not in told]
    return hits


def _all_of(trigger: Any, memory: Memory, moment: Moment) -> list[Hit]:
    met: dict[str, dict[str, int]] = memory.setdefault("met", {})
    hits = []
    for index, (child, below) in enumerate(_children(trigger, memory)):
        for hit in feel(child, below, moment):
            group = _group(trigger, hit)
            found = met.pop(group, {}) | {str(index): hit.at}
            if len(found) == len(trigger.of) and _is_near(trigger, list(found.values())):
                hits.append(_more(hit, trigger, group, count=len(found)))
            else:
                met[group] = found
                _bound(met, MOST_REMEMBERED)
    return hits


def _in_order(trigger: Any, memory: Memory, moment: Moment) -> list[Hit]:
    """Of all that has come as far as each place, keep what began last: nothing else can be nearer."""
    begun: dict[str, list[int | None]] = memory.setdefault("begun", {})
    felt = [feel(child, below, moment) for child, below in _children(trigger, memory)]
    hits = []
    for index in reversed(range(len(felt))):  # from the last place: one event does not stand in two of them
        for hit in felt[index]:
            group = _group(trigger, hit)
            places = begun.pop(group, None) or [None] * (len(felt) - 1)
            first = hit.at if index == 0 else places[index - 1]
            if first is not None and _is_near(trigger, [first, hit.at]):
                if index == len(places):
                    hits.append(_more(hit, trigger, group, count=len(felt)))
                    continue
                places[index] = first
            if any(place is not None for place in places):
                begun[group] = places
                _bound(begun, MOST_REMEMBERED)
    return hits


def _is_near(trigger: Any, times: Sequence[int]) -> bool:
    return trigger.within is None or max(times) - min(times) <= _span(trigger)


def _group(trigger: Any, hit: Hit) -> str:
    """Name what is watched apart."""
    by = trigger.by
    if by is None:
        return ""
    values = hit.values
    if by == "deployment":
        return str(values.get("deployment") or values.get("flow") or "")
    if by == "run":
        return str(values.get("run_id") or "")
    found: Any = values
    for part in by.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return "" if found is None else str(found)


def _more(hit: Hit, trigger: Any, group: str, **values: Any) -> Hit:
    subject = group if trigger.by is not None else hit.subject
    return msgspec.structs.replace(hit, subject=subject, values=hit.values | values)


def _bound(found: dict[str, Any], most: int) -> None:
    while len(found) > most:
        del found[next(iter(found))]


_FEEL: Final[dict[type, Callable[[Any, Memory, Moment], list[Hit]]]] = {
    RunFailed: _reached,
    RunSucceeded: _reached,
    RunIs: _reached,
    TaskFailed: _task_failed,
    Late: _late,
    Longer: _longer,
    Happened: _happened,
    Count: _count,
    Rate: _rate,
    Absent: _absent,
    AllOf: _all_of,
    AnyOf: _any_of,
    InOrder: _in_order,
}
_NEXT: Final[dict[type, Callable[[Any, Memory], int | None]]] = {Longer: _next_of_longer, Absent: _next_of_absent}
_KINDS: Final[dict[type, frozenset[str]]] = {
    TaskFailed: frozenset({"task_run.failed", "task_run.crashed"}),
    Late: frozenset({"run.late"}),
    Longer: _ENDS | {"run.started"},
    Rate: frozenset(_COUNTED),
}
