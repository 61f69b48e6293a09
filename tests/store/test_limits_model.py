"""Limits against a simple reference: random runs, task runs, keys, shares, weights, rates, priorities and deaths.

After every step the same hold and wait, nobody is over a limit, the counts in the rows are what is there, and exactly
those queued runs have a ticket that hold all they need. At the end everything ends, and nothing is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.store.builders import a_worker, new_run
from tests.store.limits_reference import Reference

from ostinato.clock import ManualClock
from ostinato.limits import Entrance, Limit, in_order, to_json
from ostinato.records import Commit, RunEnd
from ostinato.states import State
from ostinato.store.open import open_store
from ostinato.timing import LimitRow
from ostinato.work import Offer, ProcessEnd

if TYPE_CHECKING:
    from pathlib import Path

    from ostinato.records import Run
    from ostinato.store.store import Store

LIMITS = {
    "a": Limit("a", 2),
    "b": Limit("b", 1, key="tenant"),
    "c": Limit("c", 2, fair="tenant", weights={"x": 3}),
    "d": Limit("d", 3, rate="1/s", burst=2),
    "e": Limit("e", rate="2/s"),
}
needs = st.lists(st.sampled_from(sorted(LIMITS)), min_size=1, max_size=3, unique=True)
tenants = st.sampled_from(["x", "y", "z"])
which = st.integers(0, 50)


class Machine(RuleBasedStateMachine):
    """The store and the reference, side by side."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        super().__init__()
        self.store, self.clock, self.reference = store, clock, Reference()
        self.alive: dict[str, Run] = {}
        self.tasks: dict[str, set[int]] = {}
        self.number = 0
        self.worker = a_worker(store, f"w{store.now()}", pools=["default"], slots=100)

    @initialize()
    def begin(self) -> None:
        for _ in range(2):
            self._start([], "x", 0)
        self.claim()

    @rule(limits=needs, tenant=tenants, priority=st.sampled_from([-1, 0, 0, 2]))
    def start(self, limits: list[str], tenant: str, priority: int) -> None:
        self._start(limits, tenant, priority)

    @rule()
    def claim(self) -> None:
        for claim in self.store.claim(self.worker, Offer(pools=["default"], slots=2)):
            self.alive[claim.run.id] = claim.run

    @precondition(lambda self: self.held)
    @rule(run=which, calls=st.lists(st.tuples(needs, tenants), min_size=1, max_size=6))
    def enter(self, run: int, calls: list[tuple[list[str], str]]) -> None:
        self._enter(self._pick(run), calls)

    @precondition(lambda self: self.held)
    @rule(run=which, waiting=st.lists(tenants, min_size=4, max_size=9))
    def crowd(self, run: int, waiting: list[str]) -> None:
        self._enter(self._pick(run), [(["c"], tenant) for tenant in waiting])

    @precondition(lambda self: self.working)
    @rule(numbers=st.lists(which, min_size=1, max_size=4))
    def finish_tasks(self, numbers: list[int]) -> None:
        for number in numbers:
            if self.working:
                run_id, seq = self.working[number % len(self.working)]
                self.store.commit(run_id, self.alive[run_id].epoch, Commit(leaves=[seq]))
                self.tasks[run_id].discard(seq)
                self.reference.leave([(run_id, seq)], self.clock.now())

    @precondition(lambda self: len(self.held) > 1)
    @rule(run=which, with_leaves=st.booleans())
    def end(self, run: int, *, with_leaves: bool) -> None:
        self._end(self._pick(run), with_leaves=with_leaves)

    @precondition(lambda self: self.held)
    @rule(run=which)
    def die(self, run: int) -> None:
        run_id = self._pick(run)
        ending = ProcessEnd(reason="drained", message="gone")
        self._lost(self.store.give_back(self.worker, run_id, self.alive[run_id].epoch, ending))

    @precondition(lambda self: self.held)
    @rule()
    def lose_worker(self) -> None:
        held = self.held
        self.store.sweep([self.worker])
        self.number += 1
        self.worker = a_worker(self.store, f"w{self.number}", pools=["default"], slots=100)
        for run_id in held:
            self._lost(self.store.get_run(run_id))

    @rule(number=which)
    def cancel(self, number: int) -> None:
        waiting = [run_id for run_id in sorted(self.alive) if run_id not in self.held]
        if waiting:
            self.store.request_cancel(waiting[number % len(waiting)])
            self._over(waiting[number % len(waiting)])

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.clock.move(seconds)
        self.store.beat(self.worker)
        self.store.wake()
        for name in sorted(self.reference.gates):
            self.reference.admit(name, self.clock.now())

    @rule(name=st.sampled_from(sorted(LIMITS)), slots=st.one_of(st.none(), st.integers(0, 4)))
    def declare(self, name: str, slots: int | None) -> None:
        if slots is not None:
            self.store.put_limit(LimitRow(name=name, slots=slots))
            self.reference.declare(name, (slots, None, 1), self.clock.now())
        elif name in self.reference.by_hand:
            self.store.remove_limit(name)
            self.reference.declare(name, None, self.clock.now())

    # --- what holds after every step

    @invariant()
    def same_hold_and_wait(self) -> None:
        passages = self.store.list_passages(limit=10_000)
        found = {(p.gate, p.run_id, p.seq, p.held) for p in passages}
        expected = {
            (name, *who, is_held)
            for name, gate in self.reference.gates.items()
            for who, is_held in [*((who, True) for who in gate.held), *((w.who, False) for w in gate.line)]
        }
        assert found == expected

    @invariant()
    def the_counts_are_right(self) -> None:
        passages = self.store.list_passages(limit=10_000)
        for gate in self.store.list_gates(limit=1000):
            own = [p for p in passages if p.gate == gate.id]
            assert gate.held == sum(p.held for p in own)
            assert gate.waiting == sum(not p.held for p in own)

    @invariant()
    def tickets_are_for_those_who_hold_all(self) -> None:
        tickets = {ticket.run_id for ticket in self.store.list_tickets(limit=1000)}
        queued = {run_id for run_id in self.alive if self.store.get_run(run_id).state is State.QUEUED}
        assert tickets == {run_id for run_id in queued if not self.reference.waits((run_id, -1))}

    def teardown(self) -> None:
        for name in list(self.reference.by_hand):
            self.store.remove_limit(name)
            self.reference.declare(name, None, self.clock.now())
        for _ in range(400):
            if not self.alive:
                break
            self.wait(5.0)
            self.claim()
            for run_id in self.held:
                self._end(run_id, with_leaves=True)
        assert not self.alive, "somebody starved"
        assert self.store.list_passages() == []
        assert all(gate.held == gate.waiting == 0 for gate in self.store.list_gates())
        self.store.close()

    # --- steps of steps

    @property
    def held(self) -> list[str]:
        """The runs that the worker holds."""
        return [run_id for run_id in sorted(self.alive) if self.alive[run_id].state is State.RUNNING]

    @property
    def working(self) -> list[tuple[str, int]]:
        """The task runs that hold all that they need."""
        own = [(run_id, seq) for run_id in self.held for seq in sorted(self.tasks[run_id])]
        return [who for who in own if not self.reference.waits(who)]

    def _pick(self, number: int) -> str:
        return self.held[number % len(self.held)]

    def _start(self, limits: list[str], tenant: str, priority: int) -> None:
        passings = in_order(LIMITS[name].passing({"tenant": tenant}, priority=priority) for name in limits)
        self.number += 1
        wanted = new_run(self.store, id=f"r{self.number:04}", pool="default", priority=priority)
        wanted.gates = to_json(passings)
        run = self.store.create(wanted)
        self.alive[run.id], self.tasks[run.id] = run, set()
        self.reference.take((run.id, -1), passings, self.clock.now(), self.clock.now())

    def _enter(self, run_id: str, calls: list[tuple[list[str], str]]) -> None:
        wanted = []
        for limits, tenant in calls:
            self.number += 1
            passings = in_order(LIMITS[name].passing({"tenant": tenant}) for name in limits)
            self.reference.take((run_id, self.number), passings, self.clock.now(), self.clock.now())
            self.tasks[run_id].add(self.number)
            wanted.append(Entrance(self.number, passings))
        entered = self.store.enter(run_id, self.alive[run_id].epoch, wanted)
        assert set(entered.held) == {each.seq for each in wanted if not self.reference.waits((run_id, each.seq))}

    def _end(self, run_id: str, *, with_leaves: bool) -> None:
        run = self.alive[run_id]
        if not with_leaves:  # then nobody says that task runs leave, so they have
            for seq in sorted(self.tasks[run_id]):
                self.store.leave_gates(run_id, run.epoch, [seq])
                self.reference.leave([(run_id, seq)], self.clock.now())
        end = RunEnd(state=State.SUCCEEDED, finished_at=self.clock.now())
        self.store.commit(run_id, run.epoch, Commit(end=end, leaves=[-1] if with_leaves else []))
        self._over(run_id)

    def _over(self, run_id: str) -> None:
        self.reference.leave([(run_id, seq) for seq in (-1, *self.tasks[run_id])], self.clock.now())
        del self.alive[run_id]

    def _lost(self, run: Run) -> None:
        """Its process is gone: its task runs have returned what they had; it has too if it has ended."""
        self.alive[run.id] = run
        if run.state.is_terminal:
            self._over(run.id)
        else:
            self.reference.leave([(run.id, seq) for seq in self.tasks[run.id]], self.clock.now())
            self.tasks[run.id].clear()


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    """Over HTTP it is the SQLite store that counts."""
    return str(request.param)


def test_limits_do_what_the_reference_says(kind: str, url: str, tmp_path: Path) -> None:
    number = iter(range(1_000_000))

    def machine() -> Machine:
        clock = ManualClock()
        if kind == "sqlite":
            store = open_store(f"sqlite:///{tmp_path}/{next(number)}/ostinato.db", clock=clock, durability="crash-safe")
        else:
            store = open_store(url, clock=clock, durability="crash-safe")
            _empty(url)
        return Machine(store, clock)

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80 if kind == "sqlite" else 25,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


def _empty(url: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "TRUNCATE run, ticket, wait, worker, gate, share, passage, concurrency_limit, event, task_run"
        )
