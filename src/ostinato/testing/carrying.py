"""Carrying out runs in the test's own process: claimed from the store like a worker does, by the real engine.

```
claim ─► find the flow ─► ClaimedRun.carry_out ─► it ends, or only waits ─Onlooker─► suspended at once ─► …
```

A wait that a worker's process would sit out for a while ends the pass at once, since whatever ends it is later than
now, and time does not pass while somebody runs.
"""

from __future__ import annotations

import inspect
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostinato.authoring.flow import Flow
from ostinato.authoring.task import Task
from ostinato.errors import OstinatoError, StoreError, TargetError, UnknownRunError
from ostinato.outcomes import Cancelled, failure_of
from ostinato.records import Commit, Event, RunEnd
from ostinato.runtime.claimed import ClaimedRun
from ostinato.runtime.lone_sensor import flow_that_looks
from ostinato.runtime.lone_task import flow_of_task
from ostinato.runtime.session import this_process
from ostinato.states import State
from ostinato.work import Offer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostinato.records import Run
    from ostinato.runtime.session import Session
    from ostinato.sensors.sensor import Sensor

WORKER: Final = "world"
_PLENTY: Final = 1e18
"""Of every resource there is as much as anybody asks for."""
_LOOK_EVERY: Final = 0.0005
_DEPTH: Final = 4
"""How far a flow's names are looked through for what it sends elsewhere."""


class Known:
    """The flows and sensors of a world, by the names that runs have."""

    def __init__(self) -> None:
        self.flows: dict[str, Flow[Any, Any]] = {}
        """By deployment, and by flow."""
        self.sensors: dict[str, Sensor[Any, Any]] = {}
        self.tasks: dict[str, Task[Any, Any]] = {}

    def flow_of(self, session: Session, run: Run) -> Flow[Any, Any]:
        """Find what a run is to do.

        Raises:
            TargetError: If the world does not know it.
        """
        if run.kind == "sensor" and run.flow in self.sensors:
            return flow_that_looks(run, self.sensors[run.flow], session)
        if run.kind == "task":
            return flow_of_task(self._find(session, run, Task, self.tasks))
        if run.deployment in self.flows:
            return self.flows[run.deployment]
        found: Flow[Any, Any] = self._find(session, run, Flow, self.flows)
        return found

    def _find(self, session: Session, run: Run, kind: type, known: dict[str, Any]) -> Any:
        """Find a flow or task by name: among what was deployed, else where the parent's body finds it."""
        if run.flow not in known:
            within = self._within(session, run)
            known |= {name: value for name, value in within if isinstance(value, kind) and name == run.flow}
        if run.flow not in known:
            raise TargetError(f"The world does not know {run.flow!r}, which a run needs: world.deploy({run.flow}).")
        return known[run.flow]

    def _within(self, session: Session, run: Run) -> Iterator[tuple[str, Any]]:
        try:
            parent = None if run.parent_run_id is None else session.store.get_run(run.parent_run_id)
        except UnknownRunError:
            return
        if parent is not None:
            yield from _named(self.flow_of(session, parent).fn, _DEPTH, set())


def _named(function: Any, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield the flows and tasks that a function names, with their own names, and those that these name."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None or id(code) in seen or depth == 0:
        return
    seen.add(id(code))
    named = [function.__globals__.get(name) for name in code.co_names]
    named += [cell.cell_contents for cell in function.__closure__ or ()]
    for value in named:
        if isinstance(value, (Flow, Task)):
            yield (value.name if isinstance(value, Flow) else value.key), value
            yield from _named(value.fn, depth - 1, seen)


class Carrier:
    """The one worker of a world.

    Args:
        session: A guest of it.
        known: What its runs are to do.
        patience: Real seconds that a pass may take.
    """

    def __init__(self, session: Session, known: Known, patience: float) -> None:
        self._session, self._known = session, known
        self._onlooker = Onlooker(session, patience)
        session.store.register(this_process(WORKER, "worker", session.clock.now()))

    def close(self) -> None:
        """End it."""
        self._onlooker.close()

    def carry_out_one(self) -> bool:
        """Claim a run and carry it out until it ends or only waits; tell whether there was one.

        Raises:
            TimeoutError: If it took longer, in real time, than anybody has patience.
        """
        store = self._session.store
        pools = sorted({length.pool for length in store.list_queue_lengths()})
        claims = store.claim(WORKER, Offer(pools=pools, slots=1, resources=self._resources(pools)))
        for claim in claims:
            self._carry_out(claim.run)
        return bool(claims)

    def _resources(self, pools: list[str]) -> dict[str, float]:
        tickets = [ticket for pool in pools for ticket in self._session.store.list_tickets(pool, limit=20)]
        wanted = [msgspec.json.decode(ticket.resources) for ticket in tickets if ticket.resources]
        return {name: _PLENTY for each in wanted for name in each}

    def _carry_out(self, run: Run) -> None:
        session = self._session
        claimed = ClaimedRun(session, run)
        try:
            flow = self._known.flow_of(session, run)
            with self._onlooker.on(run):
                ending = claimed.carry_out(flow)
        except StoreError:
            raise
        except (OstinatoError, ValueError) as error:
            self._fail_unbegun(run, error)
            return
        if ending.how == "lost" and ending.error is not None:
            raise ending.error

    def _fail_unbegun(self, run: Run, error: BaseException) -> None:
        """End a run that could not be begun."""
        now = self._session.clock.now()
        data = msgspec.json.encode({"flow": run.flow, "reason": "parameters"}).decode()
        event = Event(at=now, kind="run.failed", run_id=run.id, data=data)
        end = RunEnd(state=State.FAILED, reason="parameters", finished_at=now, error=failure_of(error).to_json())
        self._session.store.commit(run.id, run.epoch, Commit(events=[event], end=end))


class Onlooker:
    """Sees, from a thread beside the run, that it only waits, and has it suspended; stops it when patience is over.

    Args:
        session: Whose runs it looks at.
        patience: Real seconds that a pass may take.
    """

    def __init__(self, session: Session, patience: float) -> None:
        self._session, self._patience = session, patience
        self._busy, self._over = threading.Event(), threading.Event()
        self._run: Run | None = None
        self._until = 0.0
        self._stopped: Run | None = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def on(self, run: Run) -> Iterator[None]:
        """Look at a run.

        Raises:
            TimeoutError: If it was stopped.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="ostinato-onlooker", daemon=True)
            self._thread.start()
        self._run, self._until = run, time.monotonic() + self._patience
        self._busy.set()
        try:
            yield
        finally:
            self._busy.clear()
            self._run = None
        if self._stopped is run:
            raise TimeoutError(
                f"A run of {run.flow} was at work for {self._patience:g} s of real time: user code that sleeps or "
                "waits for something outside of Ostinato is no part of virtual time. virtual_time(patience=...) helps."
            )

    def close(self) -> None:
        """End it."""
        self._over.set()
        self._busy.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while self._busy.wait() and not self._over.wait(_LOOK_EVERY):
            for runner in list(self._session.runners.values()):
                runner.still.look(0.0)
            run = self._run
            if run is not None and run is not self._stopped and time.monotonic() > self._until:
                self._stopped = run
                self._session.stop(run.id, Cancelled("it took too long for a test"))
