"""What a consumer of events comes to: a schedule that is driven by `On`, or by a condition with an event in it.

```
events after `Schedule.read` ─► those it wants ─► Backlog (in memory) ─► by its policy ─► Decision: ticks, runs, `read`
```

What counts is `read`, in the row: every event that it wants after that one is still to be decided about. The backlog
is only that, read ahead; a server that loses it reads it again. So nothing is lost while a consumer is paused, and
nothing happens twice, whoever decides: a decision is stored only if nobody has changed the row meanwhile.

``each``: a run per event. ``batch``: `size` of them, or fewer `window` seconds after the first, one run at a time.
``latest``: only the newest, one run at a time. ``window``: all that come within so many seconds of the first.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ostinato.clock import SECOND, to_rfc3339
from ostinato.errors import UnknownRunError
from ostinato.runtime.ticking import Order, as_json, decision_of, skip
from ostinato.schedules import On, from_spec, happens, next_after, parts, previous_before, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ostinato.records import Run, StoredEvent
    from ostinato.runtime.ticking import Desk
    from ostinato.timing import Decision, Schedule, Tick

MOST_AHEAD: Final = 2000
"""So many wanted events are read ahead of a consumer's decisions."""
_MOST_AT_ONCE: Final = 500
"""Ticks of one decision."""
_MOST_IN_A_RUN: Final = 1000
"""Events of one run, where its policy does not say how many."""
_MOST_KEPT: Final = 100
"""Events that a condition keeps for the run that it may make."""
LAG: Final = 5000
"""How far `read` may stay behind where nothing was wanted: so many events are read again after a restart."""


# --- which events


@dataclass(frozen=True, slots=True)
class Want:
    """Which events a part of a schedule wants."""

    kinds: tuple[str, ...]
    key: str | None = None
    flow: str | None = None
    """Ends of this flow's or deployment's runs."""

    def fits(self, event: StoredEvent, flows_of: Callable[[str], Sequence[str]]) -> bool:
        """Tell whether an event is wanted.

        Args:
            event: The event.
            flows_of: Says, of a run, its flow and its deployment.
        """
        told = event.event
        if told.kind not in self.kinds:
            return False
        if self.flow is not None:
            return self.flow in flows_of(told.run_id)
        return self.key is None or told.key == self.key


def read_data(event: StoredEvent) -> dict[str, Any]:
    """Read an event's data."""
    try:
        found = json.loads(event.event.data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {"value": found}


def payload(event: StoredEvent) -> dict[str, Any]:
    """Describe an event as a run is given it."""
    told = event.event
    shown = {"id": event.id, "kind": told.kind, "key": told.key or "", "at": to_rfc3339(told.at)}
    return {**shown, "run_id": told.run_id or None, "data": read_data(event)}


class FlowsOfRuns:
    """Says of which flow and deployment a run is; remembers it, for that never changes."""

    def __init__(self, find: Callable[[str], Run], most: int = 10_000) -> None:
        self._find, self._most = find, most
        self._known: dict[str, tuple[str, ...]] = {}

    def __call__(self, run_id: str) -> Sequence[str]:
        """Return the names; none for a run that is gone."""
        if run_id not in self._known:
            if len(self._known) >= self._most:
                self._known.clear()
            try:
                run = self._find(run_id)
            except UnknownRunError:
                return ()
            names = (run.flow,) if run.kind == "flow" else ()  # neither a look at a sensor nor a task of a flow
            self._known[run_id] = names if run.deployment is None else (*names, run.deployment)
        return self._known[run_id]


def wants_of(row: Schedule) -> dict[str, Want]:
    """Return what each part of a schedule that is an event wants, by the part's path."""
    leaves = parts(from_spec(row.spec)).items()
    return {path: Want(part.kinds, part.key, part.flow) for path, part in leaves if isinstance(part, On)}


# --- what is read ahead


class Seen(NamedTuple):
    """An event that was wanted, and by which part."""

    event: StoredEvent
    path: str


class Backlog:
    """The events that a consumer wants and has not decided about."""

    def __init__(self, row: Schedule) -> None:
        self.row = row
        self.wants = wants_of(row)
        self.when: Any = from_spec(row.spec)
        self.upto = row.read
        """All events up to this number are in it or not wanted."""
        self.pending: deque[Seen] = deque()
        self.left_out = 0
        """Of ``latest``: how many older ones were passed over."""
        self.due_at: int | None = None
        """When there will be something to do though nothing happens."""

    @property
    def policy(self) -> str:
        """How events become runs."""
        return str(getattr(self.when, "policy", "condition"))

    @property
    def is_full(self) -> bool:
        """Whether it wants no more events for now."""
        most = max(MOST_AHEAD, getattr(self.when, "size", None) or 0)
        return len(self.pending) >= most and self.policy != "latest"

    def take(self, page: Sequence[StoredEvent], flows_of: Callable[[str], Sequence[str]]) -> None:
        """Take the events of a page that follow; stop where it is full."""
        for event in page:
            if event.id <= self.upto:
                continue
            if self.is_full:
                return
            for path, want in self.wants.items():
                if want.fits(event, flows_of):
                    self._add(Seen(event, path))
            self.upto = event.id

    def _add(self, seen: Seen) -> None:
        if self.policy == "latest" and self.pending:
            self.pending.clear()
            self.left_out += 1
        self.pending.append(seen)

    def settle(self, row: Schedule, decision: Decision) -> None:
        """Forget what a decision, now stored, was about."""
        self.row = _after(row, decision)
        while self.pending and self.pending[0].event.id <= decision.read:
            self.pending.popleft()
        self.left_out = 0 if not self.pending else self.left_out


def _after(row: Schedule, decision: Decision) -> Schedule:
    fields = ("since", "next_at", "read", "cursor", "state", "trouble")
    return msgspec.structs.replace(row, turn=row.turn + 1, **{name: getattr(decision, name) for name in fields})


# --- what comes of it


def consume(backlog: Backlog, now: int, desk: Desk, *, at_head: bool) -> Decision | None:
    """Decide what a consumer's backlog comes to now; None where there is nothing to store.

    Args:
        backlog: What it wants and has not decided about; its `due_at` is set.
        now: The instant.
        desk: Makes the runs.
        at_head: Whether all events that there are have been read.
    """
    backlog.due_at = None
    if backlog.policy == "condition":
        return _consume_condition(backlog, now, desk)
    chosen = _choose(backlog, now, desk, at_head=at_head)
    if chosen:
        return _decide(backlog, chosen, now, desk)
    return _go_on(backlog)


def _go_on(backlog: Backlog, **progress: Any) -> Decision | None:
    """Store how far it has read, where that is far or something else is to be stored."""
    row = backlog.row
    read = backlog.pending[0].event.id - 1 if backlog.pending else backlog.upto
    if read - row.read >= LAG or (row.next_at is not None and "next_at" not in progress) or progress:
        return decision_of(row, [], **({"read": max(read, row.read), "next_at": None} | progress))
    return None


def _choose(backlog: Backlog, now: int, desk: Desk, *, at_head: bool) -> list[list[Seen]]:
    """Choose which events make runs now, those of each run together."""
    pending, on = backlog.pending, backlog.when
    if not pending:
        return []
    if backlog.policy == "each":
        return [[seen] for seen in list(pending)[:_MOST_AT_ONCE]]
    if backlog.policy == "window":
        return _windows(backlog, now, at_head=at_head)
    memory = json.loads(backlog.row.state)
    if _is_open(memory.get("run"), desk):
        return []
    if backlog.policy == "latest":
        return [[pending[-1]]] if at_head else []
    most = on.size or _MOST_IN_A_RUN
    ripe_at = None if on.window is None else pending[0].event.event.at + round(on.window * SECOND)
    if len(pending) < most and (ripe_at is None or now < ripe_at):
        backlog.due_at = ripe_at
        return []
    return [list(pending)[:most]]


def _windows(backlog: Backlog, now: int, *, at_head: bool) -> list[list[Seen]]:
    """Choose the events of the first window, once it is over."""
    on, pending = backlog.when, list(backlog.pending)
    ends = pending[0].event.event.at + round(on.window * SECOND)
    most = on.size or _MOST_IN_A_RUN
    inside = [seen for seen in pending[:most] if seen.event.event.at < ends]
    if now < ends and len(inside) < most:
        backlog.due_at = ends
        return []
    return [_head_of(pending, inside)] if at_head or len(inside) < len(pending) or len(inside) >= most else []


def _head_of(pending: Sequence[Seen], inside: Sequence[Seen]) -> list[Seen]:
    """Take those of a window up to the first that is not in it: `read` is one number."""
    head = []
    for seen, other in zip(pending, inside, strict=False):
        if seen is not other:
            break
        head.append(seen)
    return head or [pending[0]]


def _is_open(run_id: str | None, desk: Desk) -> bool:
    if run_id is None:
        return False
    try:
        return not desk.store.get_run(run_id).state.is_terminal
    except UnknownRunError:
        return False


def _decide(backlog: Backlog, chosen: Sequence[Sequence[Seen]], now: int, desk: Desk) -> Decision:
    row = backlog.row
    takes = _takes(row, desk)
    made = [_start(backlog, [seen.event for seen in together], takes, now, desk) for together in chosen]
    last = chosen[-1][-1].event.id
    is_all = last == backlog.pending[-1].event.id
    memory = {**json.loads(row.state), "run": _last_run(made), "at": now}
    if backlog.policy == "each":
        del memory["run"], memory["at"]
    return decision_of(
        row, made, read=max(backlog.upto, last) if is_all else last, next_at=None, since=now, state=as_json(memory)
    )


def _last_run(made: Sequence[tuple[Tick, Run | None]]) -> str | None:
    return next((run.id for _, run in reversed(made) if run is not None), None)


def _start(
    backlog: Backlog, events: Sequence[StoredEvent], takes: frozenset[str], now: int, desk: Desk
) -> tuple[Tick, Run | None]:
    first, last = events[0].id, events[-1].id
    data: dict[str, Any] = {"left_out": backlog.left_out} if backlog.left_out else {}
    order = Order(
        key=str(last) if first == last else f"{first}-{last}",
        events=[event.id for event in events],
        parameters=_parameters(events, takes),
        data=data,
    )
    return _start_met(backlog, order, events[-1].event.at, now, desk)


def _takes(row: Schedule, desk: Desk) -> frozenset[str]:
    """Return the parameters that the schedule's flow has."""
    deployed = desk.find_deployed(row.deployment)
    if deployed is None:
        return frozenset()
    return frozenset(json.loads(deployed.schema).get("properties", {}))


def _parameters(events: Sequence[StoredEvent], takes: Iterable[str]) -> dict[str, Any]:
    """Give the newest event to a flow that takes an ``event``, and all to one that takes ``events``."""
    given: dict[str, Any] = {}
    if "event" in takes:
        given["event"] = payload(events[-1])
    if "events" in takes:
        given["events"] = [payload(event) for event in events]
    return given


# --- conditions


def _consume_condition(backlog: Backlog, now: int, desk: Desk) -> Decision | None:
    """Let what has happened happen to a condition, one after the other, and start a run whenever it is met.

    What it remembers is in its state: which parts have happened since it was met last, and those events. Of a time part
    whose instants have passed, the newest counts.
    """
    row = backlog.row
    state = json.loads(row.state)
    memory, kept = frozenset(state.get("memory", ())), list(state.get("events", ()))
    takes = _takes(row, desk)
    made: list[tuple[Tick, Run | None]] = []
    read = row.read
    for each in _happenings(backlog, now):
        if each.event is not None:
            kept, read = [*kept, payload(each.event)][-_MOST_KEPT:], each.event.id
        is_met, memory = happens(backlog.when, memory, each.path)
        if is_met:
            made.append(_start_met(backlog, _order(each, kept, takes), each.at, now, desk))
            kept = []
        if len(made) >= _MOST_AT_ONCE:
            break
    else:
        read = backlog.upto
    next_at = next_after(backlog.when, now)
    remembered = {**state, "memory": sorted(memory), "events": kept}
    is_new = remembered["memory"] != state.get("memory", []) or kept != state.get("events", [])
    if made or is_new or next_at != row.next_at:
        return decision_of(row, made, read=max(read, row.read), since=now, next_at=next_at, state=as_json(remembered))
    backlog.due_at = next_at
    return None if read - row.read < LAG else decision_of(row, [], read=read)


class _Happening(NamedTuple):
    """That a part of a condition has happened."""

    at: int
    path: str
    event: StoredEvent | None = None
    """None where the part is one of time."""


def _happenings(backlog: Backlog, now: int) -> list[_Happening]:
    """List what has happened to a condition's parts since it was decided about."""
    found = [_Happening(seen.event.event.at, seen.path, seen.event) for seen in backlog.pending]
    clock = []
    for path, part in parts(backlog.when).items():
        instant = None if isinstance(part, On) else previous_before(part, now + 1)
        if instant is not None and instant > backlog.row.since:
            clock.append(_Happening(instant, path))
    # events keep their own order; a time part comes in where its instant lies among them
    for each in sorted(clock):
        place = next((n for n, other in enumerate(found) if other.at > each.at), len(found))
        found.insert(place, each)
    return found


def _order(each: _Happening, kept: Sequence[Mapping[str, Any]], takes: Iterable[str]) -> Order:
    given: dict[str, Any] = {}
    if "event" in takes and kept:
        given["event"] = kept[-1]
    if "events" in takes:
        given["events"] = list(kept)
    key = f"at {each.at}" if each.event is None else str(each.event.id)
    return Order(key=key, events=[one["id"] for one in kept], parameters=given)


def _start_met(backlog: Backlog, order: Order, at: int, now: int, desk: Desk) -> tuple[Tick, Run | None]:
    why = refusal(backlog.when, at)
    if why is not None:
        return skip(backlog.row, msgspec.structs.replace(order, data={**order.data, "why": why}), "calendar")
    return desk.start(backlog.row, order, now)
