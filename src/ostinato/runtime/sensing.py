"""Looks at sensors, as the server decides about them: when one begins, and what became of one that said nothing.

```
due ─► is its last look open?  ── yes ─► later; one far over its time is cancelled
           │ no
           ├─ it ended without a report (killed, could not be loaded …) ─► a tick ``failed``, the cursor stays
           └─► a run of kind ``sensor``; on its worker `ostinato.runtime.lone_sensor` looks and reports
```

A look is due `every` seconds after the last one began; after repeated failures twice as late each time, up to a
quarter of an hour.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND, to_rfc3339
from ostinato.errors import RunStateError, UnknownNameError, UnknownRunError, nearest
from ostinato.fingerprint import fingerprint
from ostinato.ids import new_id
from ostinato.outcomes import parse_failure
from ostinato.runtime.starting import StartOrder, run_of
from ostinato.sensors.sensor import read_cursor
from ostinato.timing import LOOK, Decision, ScheduleFilter, Tick

if TYPE_CHECKING:
    from ostinato.records import Run
    from ostinato.runtime.ticking import Desk
    from ostinato.store.store import Store
    from ostinato.timing import Schedule
    from ostinato.work import Deployed

GRACE: Final = 10 * SECOND
"""A look that takes so much longer than it may is ended from outside: its process does not hear."""
_LONGEST_PAUSE: Final = 15 * 60 * SECOND
_MOST_DOUBLINGS: Final = 12


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a sensor remembers between two looks: its `Schedule.state`."""

    run: str | None = None
    """The run of its newest look."""
    looked_at: int = 0
    """When that was asked for."""
    reported: str | None = None
    """The run of the last look that has told what it came to, or whose silence is on record."""
    well_at: int | None = None
    """When the last look began that went well."""
    failures: int = 0
    """In a row."""
    generation: int = 0
    """How often it was rewound; counted by the store."""


def memory_of(row: Schedule) -> Memory:
    """Read what a sensor remembers."""
    return msgspec.json.decode(row.state, type=Memory)


def state_of(memory: Memory) -> str:
    """Write what a sensor remembers."""
    return msgspec.json.encode(memory).decode()


def next_look_at(row: Schedule, memory: Memory, now: int) -> int:
    """Say when a sensor is looked at next: in its rhythm, or later where it keeps failing."""
    every = round(float(msgspec.json.decode(row.spec)["every"]) * SECOND)
    doublings = min(max(0, memory.failures - 1), _MOST_DOUBLINGS)
    pause = every if not doublings else max(every, min(every * 2**doublings, _LONGEST_PAUSE))
    return max(now, memory.looked_at + pause)


def decide_look(row: Schedule, now: int, desk: Desk) -> Decision:
    """Decide what a sensor that is due comes to now: see `ostinato.runtime.ticking.Decider`."""
    memory = memory_of(row)
    deployed = desk.find_deployed(row.deployment)
    if deployed is None:
        text = f"There is no sensor {row.deployment!r} any more."
        return _progress(row, memory, next_look_at(row, memory, now + SECOND), trouble=text)
    if memory.run is None or memory.run == memory.reported:
        return _look(row, memory, deployed, now, desk)
    last = _find(desk, memory.run)
    if last is not None and not last.state.is_terminal:
        _end_if_it_hangs(last, deployed, now, desk)
        return _progress(row, memory, now + _check_every(row), trouble=row.trouble)
    return _note_silence(row, memory, last, now)


def _look(row: Schedule, memory: Memory, deployed: Deployed, now: int, desk: Desk) -> Decision:
    order = StartOrder(deployment=deployed.name, tags=row.tags, created_by=f"schedule:{row.name}")
    run = run_of(deployed, order, now=now)
    run.id = run.lineage = new_id(now)
    run.kind = "sensor"
    run.parameters, _ = desk.results.dump({}, fingerprint({}), 1 << 20)
    run.trigger = msgspec.json.encode({"schedule": row.name, "look": row.read + 1}).decode()
    remembered = msgspec.structs.replace(memory, run=run.id, looked_at=now)
    progress = _progress(row, remembered, now + _check_every(row), trouble=row.trouble)
    return msgspec.structs.replace(progress, runs=[run], read=row.read + 1, since=now)


def _check_every(row: Schedule) -> int:
    """How long it is until somebody sees whether a look has ended: not longer than until the next one is due."""
    return min(round(float(msgspec.json.decode(row.spec)["every"]) * SECOND), 60 * SECOND)


def _find(desk: Desk, run_id: str) -> Run | None:
    try:
        return desk.store.get_run(run_id)
    except UnknownRunError:
        return None


def _end_if_it_hangs(run: Run, deployed: Deployed, now: int, desk: Desk) -> None:
    timeout = msgspec.json.decode(deployed.options).get("timeout")
    if timeout is None or run.started_at is None or now < run.started_at + round(timeout * SECOND) + GRACE:
        return
    if run.cancel_requested_at is None:
        with contextlib.suppress(RunStateError, UnknownRunError):  # it has just ended
            desk.store.request_cancel(run.id)


def _note_silence(row: Schedule, memory: Memory, last: Run | None, now: int) -> Decision:
    """Note that a look has ended without saying what it came to."""
    failure = None if last is None else parse_failure(last.error)
    state = "gone" if last is None else str(last.state)
    reason = state if last is None or last.reason is None else last.reason
    text = failure.line if failure is not None else f"the look's run {memory.run} ended as {state} ({reason})"
    noted = msgspec.structs.replace(memory, reported=memory.run, failures=memory.failures + 1)
    decision = _progress(row, noted, next_look_at(row, noted, now), trouble=text)
    return msgspec.structs.replace(decision, ticks=[failed_look(row.name, memory.run or "", reason, text)])


def failed_look(name: str, run_id: str, reason: str, text: str) -> Tick:
    """Make the tick of a look that failed."""
    data: dict[str, Any] = {"error": text, "run": run_id}
    return Tick(
        schedule=name,
        key=f"{LOOK}{run_id}",
        outcome="failed",
        reason=reason,
        data=msgspec.json.encode(data).decode(),
    )


def _progress(row: Schedule, memory: Memory, next_at: int, *, trouble: str | None) -> Decision:
    return Decision(
        schedule=row.name,
        turn=row.turn,
        since=row.since,
        next_at=next_at,
        read=row.read,
        cursor=row.cursor,
        state=state_of(memory),
        trouble=trouble,
    )


# --- told to people


def sensor_shape(row: Schedule, deployed: Deployed | None) -> dict[str, Any]:
    """Describe a sensor."""
    memory = memory_of(row)
    options = {} if deployed is None else msgspec.json.decode(deployed.options)
    return {
        "name": row.name,
        "project": row.project,
        "target": None if deployed is None else deployed.target,
        "pool": None if deployed is None else deployed.pool,
        "description": "" if deployed is None else deployed.description,
        "broken": None if deployed is None else deployed.broken,
        "every": msgspec.json.decode(row.spec)["every"],
        "timeout": options.get("timeout"),
        "paused": row.paused,
        "cursor": read_cursor(row.cursor),
        "next_at": to_rfc3339(row.next_at),
        "looked_at": to_rfc3339(memory.looked_at or None),
        "well_at": to_rfc3339(memory.well_at),
        "failures": memory.failures,
        "trouble": row.trouble,
    }


def list_sensors(store: Store, *, project: str | None = None, after: str = "", limit: int = 1000) -> list[Schedule]:
    """List sensors by name."""
    return store.list_schedules(ScheduleFilter(kinds=["sensor"], project=project, after=after, limit=limit))


def get_sensor(store: Store, name: str) -> Schedule:
    """Return a sensor; the error names the nearest one.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    known = {row.name: row for row in list_sensors(store)}
    if name not in known:
        raise UnknownNameError(f"There is no sensor {name!r}.{nearest(name, known)} See `ostinato sensors list`.")
    return known[name]
