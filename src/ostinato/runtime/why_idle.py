"""Why a schedule starts nothing, or less than one would think: from its row, its ticks and what is on record.

```
paused? deployment gone, broken, paused? in trouble? nobody looked? no time will come? calendar? missed? overlap? waits?
```

All that hold are said, the one that matters most first. Nothing is guessed.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND, to_rfc3339
from ostinato.errors import OstinatoError, UnknownNameError, UnknownRunError
from ostinato.schedules import from_spec, left_out
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ostinato.store.store import Store
    from ostinato.timing import Schedule, Tick

_TICKS: Final = 50
"""So many of the newest ticks are looked at."""
_OVERDUE: Final = 10 * SECOND
_SHOWN: Final = 5


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that keeps runs from being started, or kept some."""

    reason: str
    text: str
    data: dict[str, Any] = {}


def why_idle(store: Store, row: Schedule) -> list[Reason]:
    """Say why a schedule starts nothing, or has started less than it might have."""
    now, ticks = store.now(), store.list_ticks(row.name, limit=_TICKS)
    return [
        *_paused(store, row, now),
        *_deployment(store, row),
        *_trouble(row),
        *_overdue(row, now),
        *_never(row),
        *_calendar(row),
        *_skipped(ticks),
        *_waiting(store, ticks),
    ]


def _paused(store: Store, row: Schedule, now: int) -> Iterator[Reason]:
    if not row.paused:
        return
    kind = "audit.schedule_paused"
    place = store.place_before(kind, row.name, now + SECOND)
    found = store.find_event(kind, row.name, after=place - 1) if place else None
    how = f"Go on: ostinato schedules resume {row.name}"
    if found is None:
        yield Reason(reason="paused", text=f"It is paused, from its definition on. {how}")
        return
    data = {"by": msgspec.json.decode(found.event.data).get("actor"), "at": to_rfc3339(found.event.at)}
    yield Reason(reason="paused", text=f"It is paused by {data['by']}, since {data['at']}. {how}", data=data)


def _deployment(store: Store, row: Schedule) -> Iterator[Reason]:
    try:
        deployed = store.get_deployed(row.deployment)
    except UnknownNameError as error:
        yield Reason(reason="no_deployment", text=f"{error} Its ticks fail.")
        return
    if deployed.broken:
        text = f"{row.deployment} cannot be imported any more; its runs fail: {deployed.broken.splitlines()[-1]}"
        yield Reason(reason="broken", text=text)
    if deployed.paused:
        text = (
            f"{row.deployment} is paused, so its runs wait. Let them go: ostinato deployments resume {row.deployment}"
        )
        yield Reason(reason="deployment_paused", text=text)


def _trouble(row: Schedule) -> Iterator[Reason]:
    if row.trouble:
        yield Reason(reason="trouble", text=row.trouble)


def _overdue(row: Schedule, now: int) -> Iterator[Reason]:
    if row.paused or row.next_at is None or row.next_at > now - _OVERDUE:
        return
    seconds = (now - row.next_at) // SECOND
    text = f"It is due since {seconds} s and nobody has looked. Does a server run? `ostinato server`, `ostinato dev`."
    yield Reason(reason="overdue", text=text, data={"seconds": seconds})


def _never(row: Schedule) -> Iterator[Reason]:
    if row.kind != "time" or row.next_at is not None:
        return
    try:
        end = from_spec(row.spec).end
    except OstinatoError:
        return
    text = "No time of it will come any more." if end is None else f"Its end has passed: {end.isoformat()}."
    yield Reason(reason="ended", text=text)


def _calendar(row: Schedule) -> Iterator[Reason]:
    if row.kind != "time" or row.next_at is None:
        return
    try:
        found = list(left_out(from_spec(row.spec), row.since, row.next_at, _SHOWN + 1))
    except OstinatoError:
        return
    if found:
        first, why = found[0]
        count = f"more than {_SHOWN}" if len(found) > _SHOWN else str(len(found))
        text = f"Its calendar leaves out {count} before the next, the first at {to_rfc3339(first)}: {why}."
        yield Reason(reason="calendar", text=text, data={"first": to_rfc3339(first), "why": why})


def _skipped(ticks: Sequence[Tick]) -> Iterator[Reason]:
    missed = next((tick for tick in ticks if tick.reason == "missed"), None)
    if missed is not None:
        data = msgspec.json.decode(missed.data)
        data |= {name: to_rfc3339(data[name]) for name in ("first", "last")}
        many = f"{'more than ' if data.get('more') else ''}{data['count']}"
        text = f"Nobody was there for {many} of its times, {data['first']} to {data['last']}: catchup left them out."
        yield Reason(reason="missed", text=text, data=data)
    counts = Counter(tick.reason or tick.outcome for tick in ticks if tick.outcome == "skipped" and tick is not missed)
    if count := counts.get("overlap", 0):
        text = f"{count} of the last {len(ticks)} ticks started nothing, for an earlier run had not ended (overlap)."
        yield Reason(reason="overlap", text=text, data={"count": count})


def _waiting(store: Store, ticks: Sequence[Tick]) -> Iterator[Reason]:
    """Say that the last run has been made and does not begin."""
    run_id = next((tick.run_id for tick in ticks if tick.run_id is not None), None)
    if run_id is None:
        return
    try:
        run = store.get_run(run_id)
    except UnknownRunError:  # retention has taken it
        return
    if run.state in {State.QUEUED, State.SCHEDULED}:
        held = ", it needs a slot of a limit" if run.gates else ""
        text = f"Its last run, {run_id}, is {run.state}{held}. Why it does not begin: ostinato runs why {run_id}"
        yield Reason(reason="waiting", text=text, data={"run_id": run_id})
