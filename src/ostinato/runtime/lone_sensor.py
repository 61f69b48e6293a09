"""A look at a sensor, on a worker: its function called with the cursor, what it requests stored in one transaction.

The run is a flow whose body looks, so that its output, its time and its failure are kept like those of any other run.
What comes of the look is one `Decision`: the new cursor, a tick for each run that is requested, those runs. The store
takes it only from the process that holds the run, and only if nobody has set the cursor meanwhile.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.authoring.flow import Flow, FlowOptions
from ostinato.authoring.sensing import load_sensor
from ostinato.clock import to_datetime
from ostinato.errors import UnknownNameError, UsageError
from ostinato.executors.stopping import shield
from ostinato.fingerprint import fingerprint
from ostinato.outcomes import Skip, TimedOut, failure_of
from ostinato.runtime.sensing import failed_look, memory_of, next_look_at, state_of
from ostinato.runtime.ticking import Desk, Order, as_json
from ostinato.sensors.sensor import SensorContext, read_cursor
from ostinato.timing import LOOK, Decision, Tick

if TYPE_CHECKING:
    from ostinato.records import Run
    from ostinato.runtime.sensing import Memory
    from ostinato.runtime.session import Session
    from ostinato.sensors.sensor import Look, RunRequest, Sensor
    from ostinato.timing import Schedule
    from ostinato.work import Deployed

_SHOWN: Final = 2000
"""Characters of a refused request's parameters that its tick keeps."""
_LATE: Final = Skip("the look is not wanted any more: the cursor was set, or a newer look has begun")


def flow_of_sensor(run: Run, root: str, session: Session) -> Flow[Any, Any]:
    """Load the sensor of a run of kind ``sensor`` and make the flow that looks once.

    Raises:
        TargetError: If its file is not there or cannot be imported, or does not hold it.
    """
    return flow_that_looks(run, load_sensor(run.target or "", root)[1], session)


def flow_that_looks(run: Run, sensor: Sensor[Any, Any], session: Session) -> Flow[Any, Any]:
    """Make the flow that looks once at a sensor, for a run of kind ``sensor``."""

    def body() -> Any:
        return _Looking(session, run, sensor).look()

    return Flow(body, FlowOptions(name=run.flow, timeout=sensor.options.timeout, types="off"))


class _Looking:
    """One look, from the cursor as it is stored to what is reported."""

    def __init__(self, session: Session, run: Run, sensor: Sensor[Any, Any]) -> None:
        self._session, self._run, self._sensor = session, run, sensor
        self._numbers = itertools.count()
        self._desk = _Desk(session.store, session.results)

    def look(self) -> Any:
        store = self._session.store
        trigger: dict[str, Any] = msgspec.json.decode(self._run.trigger or "{}")
        try:
            row = store.get_schedule(str(trigger.get("schedule", self._run.flow)))
        except UnknownNameError:
            return _LATE
        memory = memory_of(row)
        if row.read != trigger.get("look") or memory.reported == self._run.id:
            return _LATE
        began = self._session.clock.now()
        well_at = None if memory.well_at is None else to_datetime(memory.well_at)
        context = SensorContext(read_cursor(row.cursor), now=to_datetime(began), last_tick_at=well_at)
        try:
            found = self._sensor.look(context)
        except (Exception, TimedOut) as error:
            with shield():
                self._report(self._failure(row, memory, error))
            raise
        with shield():
            decision = self._decide(row, memory, found, began)
            stored = self._report(decision)
        return self._tell(decision, found) if stored else _LATE

    def _report(self, decision: Decision) -> bool:
        return self._session.store.report_look(self._run.id, self._run.epoch, decision)

    def _failure(self, row: Schedule, memory: Memory, error: BaseException) -> Decision:
        text = failure_of(error).line
        reason = "timed_out" if isinstance(error, TimedOut) else "raised"
        failed = msgspec.structs.replace(memory, reported=self._run.id, failures=memory.failures + 1)
        return self._decision(row, failed, [failed_look(row.name, self._run.id, reason, text)], trouble=text)

    def _decide(self, row: Schedule, memory: Memory, found: Look, began: int) -> Decision:
        made = [self._tick(row, request) for request in _once(found.requests)]
        ticks = [tick for tick, _ in made]
        if not ticks:
            data = {"run": self._run.id}
            ticks = [_tick(row, f"{LOOK}{self._run.id}", "skipped", data, reason=found.skip or "nothing new")]
        refused = [msgspec.json.decode(tick.data)["error"] for tick in ticks if tick.outcome == "failed"]
        well = msgspec.structs.replace(memory, reported=self._run.id, failures=0, well_at=began)
        decision = self._decision(row, well, ticks, trouble=refused[0] if refused else None)
        return msgspec.structs.replace(decision, runs=[run for _, run in made if run is not None], cursor=found.cursor)

    def _decision(self, row: Schedule, memory: Memory, ticks: list[Tick], *, trouble: str | None) -> Decision:
        return Decision(
            schedule=row.name,
            turn=row.turn,
            ticks=ticks,
            since=row.since,
            next_at=next_look_at(row, memory, self._session.clock.now()),
            read=row.read,
            cursor=row.cursor,
            state=state_of(memory),
            trouble=trouble,
        )

    def _tick(self, row: Schedule, request: RunRequest) -> tuple[Tick, Run | None]:
        """Make a request's tick and its run; a refused one has no run, and may be requested again."""
        now = self._session.clock.now()
        key = request.key if request.key is not None else f"{self._run.id}:{next(self._numbers)}"
        data = {"run": self._run.id, "start": request.target}
        tags = list(request.tags)
        order = Order(key=key, deployment=request.target, parameters=request.parameters, tags=tags, data=data)
        tick, run = self._desk.start(row, order, now)
        if run is None:
            refused = {"key": request.key, "parameters": msgspec.json.encode(request.parameters).decode()[:_SHOWN]}
            kept = as_json({**msgspec.json.decode(tick.data), **refused})
            return msgspec.structs.replace(tick, key=_refused_key(request, tick), data=kept), None
        trigger = {**msgspec.json.decode(run.trigger or "{}"), "look": self._run.id, "partition": request.partition}
        run.trigger = as_json({name: value for name, value in trigger.items() if value is not None})
        return tick, run

    def _tell(self, decision: Decision, found: Look) -> Any:
        if not found.requests:
            return Skip(found.skip or "nothing new")
        return {"requested": len(decision.ticks), "refused": len(decision.ticks) - len(decision.runs)}


class _Desk(Desk):
    """Makes the runs of flows that are asked for; the token of a run may ask for a deployment by its name only."""

    def find_deployed(self, name: str) -> Deployed | None:
        if name not in self._deployed:
            found = self.store.get_deployed(name)
            if found.kind == "sensor":
                raise UsageError(f"{name} is a sensor, and a sensor can request runs of flows only.")
            self._deployed[name] = found
        return self._deployed[name]


def _refused_key(request: RunRequest, tick: Tick) -> str:
    """Name a refusal: not by the run key alone, which is free for a request that is not refused."""
    digest = fingerprint([request.target, request.parameters, msgspec.json.decode(tick.data)["error"]]).digest
    return f"refused:{tick.key}:{digest.hex()[:12]}"


def _once(requests: list[RunRequest]) -> list[RunRequest]:
    """Leave out requests whose run key came before in the same look."""
    seen: set[str] = set()
    kept = []
    for request in requests:
        if request.key is None or request.key not in seen:
            kept.append(request)
        if request.key is not None:
            seen.add(request.key)
    return kept


def _tick(row: Schedule, key: str, outcome: str, data: dict[str, Any], **fields: Any) -> Tick:
    return Tick(schedule=row.name, key=key, outcome=outcome, data=msgspec.json.encode(data).decode(), **fields)
