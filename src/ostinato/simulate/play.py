"""The play: instants in order, at each what ends, what is due, what is decided, and who begins.

```
heap of (instant, rank): 0 a run ends · 1 a token comes · 2 somebody emits · 3 a schedule is looked at, a sensor asks
at each: all of that ─► consumers of events decide ─► gates ─► tickets ─► claims, in a server's own order
```

A run is queued the moment it is made, and begins the moment it is claimed: what a server needs in between, some
milliseconds, is left out.
"""

from __future__ import annotations

import heapq
import itertools
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.clock import SECOND
from ostinato.engine.turnstiles import Turnstiles, declared_of
from ostinato.records import Event, StoredEvent
from ostinato.runtime.consuming import Backlog, FlowsOfRuns, consume
from ostinato.runtime.ticking import Order, tick_time
from ostinato.schedules import delay_of, from_spec, next_after
from ostinato.simulate.books import Books
from ostinato.simulate.crews import Crews
from ostinato.simulate.desk import VirtualDesk
from ostinato.simulate.past import Lots
from ostinato.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.limits import Passing
    from ostinato.records import Run
    from ostinato.simulate.crews import Line
    from ostinato.simulate.outlook import Outlook
    from ostinato.simulate.past import Draw
    from ostinato.simulate.scene import Crew, Request, Scene, Span, Told
    from ostinato.timing import Decision, Schedule

_ENDS, _TOKENS, _EVENTS, _LOOKS = range(4)
_MOST_RUNS: Final = 5_000_000
_REFUSING: Final = {"skip": "overlap", "cancel_new": "cancelled by overlap"}
_RUN: Final = -1
"""The number of the run itself among its task runs."""


def play(scene: Scene, span: Span, crews: Sequence[Crew], *, seed: int = 0) -> Outlook:
    """Play a span of time.

    Args:
        scene: What there is.
        span: The time; nothing runs or waits when it begins.
        crews: The workers.
        seed: For drawing durations and failures by lot.
    """
    began = time.perf_counter()
    stage = _Stage(scene, span, crews, seed)
    stage.run()
    return stage.books.close(seed=seed, took=time.perf_counter() - began)


class _Stage:
    """Everything that moves."""

    def __init__(self, scene: Scene, span: Span, crews: Sequence[Crew], seed: int) -> None:
        self.now = span.begin
        self._scene, self._span = scene, span
        self._heap: list[tuple[int, int, int, Callable[[Any], None], Any]] = []
        self._order = itertools.count()
        self._desk = VirtualDesk(scene)
        self._gates = Turnstiles(declared_of(scene.limits))
        self._crews = Crews(crews, scene.pools)
        self._lots = Lots(seed)
        self._runs: dict[str, Run] = {}
        """Those that have not ended."""
        self._draws: dict[str, Draw] = {}
        self._deployed = {each.name: each for each in scene.deployed}
        self._queues = {(each.pool, each.name): each for each in scene.queues}
        self._rows: dict[str, Schedule] = {}
        self._backlogs: dict[str, Backlog] = {}
        self._events = itertools.count(1)
        self._is_told = False
        """There are events that consumers have not seen to."""
        self._is_moved = False
        """Somebody may begin who could not before."""
        self.books = Books(scene, span, self._crews.slots, workers=len(self._crews.workers))
        self._flows_of = FlowsOfRuns(self._desk.get_run)
        self._begin()

    # --- the beginning

    def _begin(self) -> None:
        for row in self._scene.schedules:
            if not row.paused and row.kind != "sensor":
                self._enter(row)
        for request in self._scene.requests:
            self._at(request.at, _LOOKS, self._ask, request)
        for told in self._scene.events:
            self._at(told.at, _EVENTS, self._tell_of, told)

    def _enter(self, row: Schedule) -> None:
        """Begin with a schedule as if all up to now were decided."""
        when = from_spec(row.spec)
        since = self._span.begin - 1
        first = next_after(when, since)
        row = msgspec.structs.replace(row, since=since, next_at=first, read=0, state="{}", turn=0)
        if row.kind == "time":
            self._rows[row.name] = row
            if first is not None:
                self._at(first + delay_of(when, row.name, first), _LOOKS, self._look, row.name)
            return
        self._backlogs[row.name] = Backlog(row)
        if first is not None:
            self._at(first, _LOOKS, self._wake, row.name)

    def _at(self, at: int, rank: int, act: Callable[[Any], None], what: Any) -> None:
        if at < self._span.end:
            heapq.heappush(self._heap, (max(at, self.now), rank, next(self._order), act, what))

    # --- from instant to instant

    def run(self) -> None:
        """Play to the end."""
        heap = self._heap
        while heap and not self.books.is_full(_MOST_RUNS):
            self.now = heap[0][0]
            self.books.meter.move(self.now)
            while heap and heap[0][0] == self.now:
                _, _, _, act, what = heapq.heappop(heap)
                act(what)
            while self._is_told or self._is_moved:
                self._follow()
        self.now = self._span.end
        self.books.meter.move(self.now)
        for run in self._runs.values():
            self.books.leave_unfinished(run, self._crews.line(run.pool or ""))
        for line in self._crews.lines.values():
            self._note_cause(line, None)
        for name, why in self._desk.refused.items():
            self.books.note(f"Nothing comes of {name}: {why}")
        if heap:
            self.books.note(f"It was ended at {_MOST_RUNS:,} runs: a flow starts itself, or the time is too long.")

    def _follow(self) -> None:
        """See to what has come of it: consumers of events first, then who may begin."""
        if self._is_told:
            self._is_told = False
            self._consume()
        else:
            self._is_moved = False
            self._claim()

    # --- schedules

    def _look(self, name: str) -> None:
        row = self._rows[name]
        decision = tick_time(row, self.now, self._desk)
        self._rows[name] = _after(row, decision)
        self._carry_out(row, decision)
        if decision.next_at is not None:
            soonest = self.now if decision.ticks else self.now + 1
            self._at(max(decision.next_at, soonest), _LOOKS, self._look, name)

    def _carry_out(self, row: Schedule, decision: Decision) -> None:
        for tick in decision.ticks:
            if tick.outcome != "started":
                count = msgspec.json.decode(tick.data).get("count", 1) if tick.reason == "missed" else 1
                self.books.skip(row.deployment, tick.reason or tick.outcome, count)
        for run in decision.runs:
            self._create(run)

    def _ask(self, request: Request) -> None:
        row = self._sensor(request)
        order = Order(key=request.key, deployment=request.deployment, parameters=request.parameters)
        tick, run = self._desk.start(row, order, self.now)
        if run is None:
            self.books.skip(request.deployment, tick.reason or "refused")
        else:
            self._create(run)

    def _sensor(self, request: Request) -> Schedule:
        found = self._rows.get(request.schedule)
        if found is None:
            found = next(row for row in self._scene.schedules if row.name == request.schedule)
            self._rows[request.schedule] = found
        return found

    # --- events

    def _tell_of(self, told: Told) -> None:
        self._tell(Event(at=self.now, kind=told.kind, run_id="", key=told.key, data=told.data))

    def _tell_of_run(self, run: Run) -> None:
        if self._backlogs:
            data = msgspec.json.encode({"flow": run.flow, "deployment": run.deployment}).decode()
            self._tell(Event(at=self.now, kind=f"run.{run.state}", run_id=run.id, data=data))

    def _tell(self, event: Event) -> None:
        stored = StoredEvent(id=next(self._events), event=event)
        for backlog in self._backlogs.values():
            backlog.take([stored], self._flows_of)
        self._is_told = True

    def _wake(self, _: str) -> None:
        self._is_told = True

    def _consume(self) -> None:
        """Let consumers decide; what comes of one may be an event for another."""
        for name, backlog in self._backlogs.items():
            decision = consume(backlog, self.now, self._desk, at_head=True)
            if decision is not None:
                before = backlog.row
                backlog.settle(before, decision)
                self._carry_out(before, decision)
                self._is_told = self._is_told or bool(decision.ticks)
            due = backlog.due_at if backlog.due_at is not None else backlog.row.next_at
            if due is not None and due > self.now:
                self._at(due, _LOOKS, self._wake, name)

    # --- runs

    def _create(self, run: Run) -> None:
        passings = self._desk.passings.get(run.id, ())
        for passing in passings:
            if passing.policy in _REFUSING and self._gates.is_full(passing, self.now):
                del self._desk.passings[run.id]
                self.books.skip(run.deployment or run.flow, _REFUSING[passing.policy])
                return
        self._runs[run.id] = run
        if self._backlogs:
            self._desk.remember(run)
        self.books.make(run)
        if not passings:
            self._queue(run)
            return
        older = [who for p in passings if p.policy == "cancel_running" for who in self._gates.everybody(p.gate)]
        self._gates.take((run.id, _RUN), passings, self.now)
        self._settle_gates()
        for identity, _ in older:
            self._cancel(identity)
        self._await_token(passings)

    def _settle_gates(self) -> None:
        """See to those who are through their gates, or have come to stand before one."""
        moves, self._gates.moves = self._gates.moves, []
        for (identity, _), gate in moves:
            run = self._runs[identity]
            if gate is None:
                self.books.pass_gates(run, self.now)
                self._queue(run)
            else:
                self.books.stand_before(run, gate, self.now)

    def _await_token(self, passings: Sequence[Passing]) -> None:
        """Look again when a token comes that somebody waits for."""
        if any(passing.rate is not None for passing in passings):
            due = self._gates.next_token_at()
            if due is not None:
                self._at(due, _TOKENS, self._admit, passings)

    def _admit(self, passings: Sequence[Passing]) -> None:
        self._gates.admit_due(self.now)
        self._settle_gates()
        self._await_token(passings)

    def _queue(self, run: Run) -> None:
        queue = self._queues.get((run.pool or "", run.queue))
        deployed = self._deployed.get(run.deployment or "")
        if (queue is not None and queue.paused) or (deployed is not None and deployed.paused):
            self.books.keep_back(run, "paused")
            return
        line = self._crews.put(run, 1000 * (0 if queue is None else queue.priority) + run.priority)
        self.books.queue(run, line, self.now)
        self._is_moved = True

    def _claim(self) -> None:
        for run in self._crews.claim():
            self._start(run)
        for line in self._crews.lines.values():
            if line.items or line.cause is not None:
                self._note_cause(line, self._crews.cause(line))

    def _note_cause(self, line: Line, cause: str | None) -> None:
        if cause != line.cause:
            self.books.change_cause(line.cause, cause, self.now)
        line.note(cause, self.now)

    def _start(self, run: Run) -> None:
        name = run.deployment or run.flow
        draw = self._draws[run.id] = self._lots.draw(name, self._scene.past(name))
        run.state, run.started_at = State.RUNNING, self.now
        self.books.start(run, self._crews.line(run.pool or ""), self.now)
        if self._backlogs:
            self._tell_of_run_started(run)
        self._at(self.now + max(1, round(draw.seconds * SECOND)), _ENDS, self._end_by_itself, run)

    def _tell_of_run_started(self, run: Run) -> None:
        self._tell(Event(at=self.now, kind="run.started", run_id=run.id))

    def _end_by_itself(self, run: Run) -> None:
        if run.id in self._runs:  # it was not cancelled meanwhile
            draw = self._draws[run.id]
            run.attempt = draw.attempts
            self._end(run, draw.state)

    def _cancel(self, identity: str) -> None:
        run = self._runs.get(identity)
        if run is None:
            return
        if run.state is State.QUEUED:
            self._crews.remove(run)
            self.books.drop(run, self._crews.line(run.pool or ""), self.now)
        self._end(run, State.CANCELLED)

    def _end(self, run: Run, state: State) -> None:
        was_running = run.state is State.RUNNING
        run.state, run.finished_at = state, self.now
        del self._runs[run.id]
        self._draws.pop(run.id, None)
        if was_running:
            self._crews.give_back(run)
        self.books.end(run, was_running=was_running)
        self._is_moved = self._is_moved or self._crews.waiting > 0
        if (passings := self._desk.passings.pop(run.id, None)) is not None:
            self._gates.leave((run.id, _RUN), self.now)
            self._settle_gates()
            self._await_token(passings)
        self._tell_of_run(run)


def _after(row: Schedule, decision: Decision) -> Schedule:
    """Return a schedule as it is once a decision about it is stored."""
    return msgspec.structs.replace(
        row,
        since=decision.since,
        next_at=decision.next_at,
        read=decision.read,
        state=decision.state,
        turn=row.turn + 1,
    )
