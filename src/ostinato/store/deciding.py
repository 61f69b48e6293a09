"""Decisions about schedules as rows: all that many of them came to in a few statements of one transaction.

```
hold gates, catalog ─► lock the schedules, by name ─► leave out whose turn has passed ─► ticks ─► runs of new ones
```

A schedule's row is locked while its ticks are put, so of two servers that decided the same, one finds that the turn
has passed. Ticks are unique besides: what happened once does not happen again whatever made somebody decide it twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ostinato.records import Event, Wait
from ostinato.states import State
from ostinato.store import life, slots, statements, statements_timing, tickets
from ostinato.store.events import append, as_json
from ostinato.store.rows import cleaned
from ostinato.store.statements_limits import LOCK_GATES
from ostinato.timing import LOOK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ostinato.records import Run
    from ostinato.store.transactions import Session
    from ostinato.timing import Decision, Tick


class Refusal(NamedTuple):
    """An earlier run has not ended, and the overlap does not let another begin."""

    run_id: str | None
    """The run that has ended for it; None where none was made."""


def decide(tx: Session, decisions: Sequence[Decision]) -> list[str]:
    """Store what some schedules came to; return the names of those that were changed."""
    if any(run.gates for each in decisions for run in each.runs):
        tx.put(LOCK_GATES)
    # who changes deployments holds the catalog, and then wants the schedules
    tx.put(statements.SHARE_CATALOG)
    names = sorted({each.schedule for each in decisions})
    turns: dict[str, int] = dict(tx.rows(statements_timing.LOCK_TURNS, names=names))
    valid = [each for each in decisions if turns.pop(each.schedule, None) == each.turn]
    if not valid:
        return []
    now = tx.now()
    new = _put_ticks(tx, valid, now)
    runs = [msgspec.structs.replace(run, created_at=max(run.created_at, now)) for run in _runs_of(valid, new)]
    refused = _create(tx, runs, now)
    _tell(tx, [_settled(tx, tick, refused) for tick in new], {run.id: run for run in runs})
    tx.put(statements_timing.KEEP_PROGRESS, progress=_json(_progress(each) for each in valid))
    return [each.schedule for each in valid]


def _put_ticks(tx: Session, decisions: Iterable[Decision], now: int) -> list[Tick]:
    """Put the ticks; return those that were not there. Each has a moment of its own, for they are listed by it."""
    ticks = [tick for each in decisions for tick in each.ticks]
    if not ticks:
        return []
    stamped = [msgspec.structs.replace(cleaned(tick), at=now + place) for place, tick in enumerate(ticks)]
    put = set(tx.rows(statements_timing.PUT_TICKS, ticks=_json(stamped)))
    return [tick for tick in stamped if (tick.schedule, tick.key) in put]


def _runs_of(decisions: Iterable[Decision], ticks: Iterable[Tick]) -> list[Run]:
    """Choose the runs of ticks that are new, and those that no tick names: looks at sensors."""
    wanted = {tick.run_id for tick in ticks}
    found: list[Run] = []
    for each in decisions:
        named = {tick.run_id for tick in each.ticks}
        found += [run for run in each.runs if run.id in wanted or run.id not in named]
    return found


def _create(tx: Session, runs: Sequence[Run], now: int) -> dict[str, Refusal]:
    """Insert runs, as `life.create` does; those that need slots one by one. Return those that have none."""
    free = [run for run in runs if run.gates is None]
    if free:
        tx.add("run", free)
        starts = [run for run in free if run.state is State.SCHEDULED and run.scheduled_at is not None]
        if starts:
            tx.add("wait", [_start(run, now) for run in starts])
        if queued := [run.id for run in free if run.state is State.QUEUED and run.pool is not None]:
            tickets.put(tx, queued, now, "created")
    refused: dict[str, Refusal] = {}
    for run in runs:
        if run.gates is not None and (refusal := _pass(tx, run, run.gates, now)) is not None:
            refused[run.id] = refusal
    return refused


def _pass(tx: Session, run: Run, gates: str, now: int) -> Refusal | None:
    """Make a run that needs slots, unless it would be skipped at once: then its tick tells, and there is no run."""
    state = slots.is_refused(tx, gates, now) if run.state is State.QUEUED else None
    if state is State.SKIPPED:
        return Refusal(None)
    life.create(tx, run, now)
    return None if state is None else Refusal(run.id)


def _start(run: Run, now: int) -> Wait:
    return Wait(run_id=run.id, n=0, kind="start", due_at=run.scheduled_at, created_at=now)


def _settled(tx: Session, tick: Tick, refused: dict[str, Refusal]) -> Tick:
    """Change a tick whose run was not let in: by then it is put already."""
    refusal = refused.get(tick.run_id or "")
    if refusal is None:
        return tick
    settled = msgspec.structs.replace(tick, outcome="skipped", reason="overlap", run_id=refusal.run_id)
    fields = {name: getattr(settled, name) for name in ("schedule", "key", "outcome", "reason", "run_id")}
    tx.put(statements_timing.SETTLE_TICK, **fields)
    return settled


def _tell(tx: Session, ticks: Iterable[Tick], runs: dict[str, Run]) -> None:
    """Append an event for each tick; one that started a run is that run's event."""
    events = []
    for tick in ticks:
        is_look = tick.key.startswith(LOOK)
        if is_look and tick.outcome == "skipped":
            continue  # a sensor that has found nothing is no news
        run = runs.get(tick.run_id or "")
        data = {"schedule": tick.schedule, "tick": tick.key, "scheduled_at": tick.scheduled_at, "reason": tick.reason}
        data |= {"deployment": run.deployment} if run is not None else msgspec.json.decode(tick.data)
        told = as_json({name: value for name, value in data.items() if value is not None})
        events.append(
            Event(
                at=tick.at,
                kind=f"{'sensor' if is_look else 'schedule'}.{tick.outcome}",
                run_id=tick.run_id or "",
                data=told,
            )
        )
    append(tx, events)


def _progress(each: Decision) -> dict[str, object]:
    names = ("schedule", "since", "next_at", "read", "cursor", "state", "trouble")
    return {name: getattr(each, name) for name in names}


def _json(items: Iterable[object]) -> str:
    return msgspec.json.encode(list(items)).decode()
