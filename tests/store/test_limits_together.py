"""Limits under many hands at once: threads that each have their own way to the store take, wait, return, die."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING

from tests.store.builders import a_run, a_worker, new_run

from ostinato.errors import RunStateError
from ostinato.limits import Entrance, Limit, in_order, to_json
from ostinato.records import Commit, RunEnd
from ostinato.states import State
from ostinato.work import Offer, ProcessEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.store.conftest import Opener

    from ostinato.store.store import Store

LIMITS = [Limit("a", 1), Limit("b", 2), Limit("c", 3, fair="who"), Limit("d", 4, key="who")]
SLOTS = {"a": 1, "b": 2, "c": 3, "d[x]": 4, "d[y]": 4}
ROUNDS = 12


class Inside:
    """Who is inside which gate, as those see it who are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count: Counter[str] = Counter()
        self.over: list[str] = []
        self.is_over = threading.Event()
        """No task run waits any more: runs that hold slots need not be carried out any longer."""

    def come(self, gates: list[str]) -> None:
        with self._lock:
            self._count.update(gates)
            self.over += [gate for gate in gates if self._count[gate] > SLOTS[gate]]

    def go(self, gates: list[str]) -> None:
        with self._lock:
            self._count.subtract(gates)


def task_runs(store: Store, name: str, inside: Inside, chance: random.Random) -> None:
    """Pass limits with task runs of one run, several at a time."""
    run = a_run(store, name)
    known: set[int] = set()
    for number in range(ROUNDS):
        who = chance.choice("xy")
        wanted = []
        for seq in range(10 * number, 10 * number + 3):
            some = chance.sample(LIMITS, chance.randint(1, 3))
            wanted.append(Entrance(seq, in_order(limit.passing({"who": who}) for limit in some)))
        left = {each.seq: [passing.gate for passing in each.gates] for each in wanted}
        got = store.enter(run.id, run.epoch, wanted).held
        while left:
            for seq in got:
                gates = left.pop(seq)
                known.add(seq)
                inside.come(gates)
                inside.go(gates)
                store.commit(run.id, run.epoch, Commit(leaves=[seq]))
            store.beat(name)
            got = store.await_slots(run.id, run.epoch, [], wait=5) if left else []
    end = RunEnd(state=State.SUCCEEDED, finished_at=store.now())
    store.commit(run.id, run.epoch, Commit(end=end, leaves=[-1]))


def runs(store: Store, name: str, inside: Inside, chance: random.Random) -> None:
    """Start runs that pass limits, claim them, end them or lose them, cancel some that wait."""
    a_worker(store, name, pools=["default"], slots=5)
    number = 0
    while number < ROUNDS or not inside.is_over.wait(0.01):
        number += 1
        if number <= ROUNDS:
            some = chance.sample(LIMITS, chance.randint(1, 3))
            gates = to_json(in_order(limit.passing({"who": "x"}) for limit in some))
            made = store.create(new_run(store, pool="default", gates=gates))
            if number % 4 == 3:
                with contextlib.suppress(RunStateError):  # it is claimed, and has ended
                    store.request_cancel(made.id)
        for claim in store.claim(name, Offer(pools=["default"], slots=2)):
            run = claim.run
            if chance.random() < 0.3:
                store.give_back(name, run.id, run.epoch, ProcessEnd(reason="drained", message="gone"))
            else:
                end = RunEnd(state=State.SUCCEEDED, finished_at=store.now())
                store.commit(run.id, run.epoch, Commit(end=end, leaves=[-1] if chance.random() < 0.5 else []))
        store.beat(name)


def test_nobody_is_over_a_limit_and_nothing_is_left(opener: Opener) -> None:
    inside, failures = Inside(), list[BaseException]()

    def start(work: Callable[..., None], number: int) -> threading.Thread:
        store = opener(clock=None, lease=60)

        def guarded() -> None:
            try:
                work(store, f"{work.__name__}-{number}", inside, random.Random(number))
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    tasks = [start(task_runs, number) for number in range(4)]
    others = [start(runs, number) for number in (10, 11)]
    for thread in tasks:
        thread.join(60)
    inside.is_over.set()
    for thread in others:
        thread.join(60)
    assert not any(thread.is_alive() for thread in (*tasks, *others)), "somebody waits for ever"
    assert failures == []
    assert inside.over == []
    store = opener(clock=None, lease=60)
    a_worker(store, "last", pools=["default"], slots=100)
    while claims := store.claim("last", Offer(pools=["default"], slots=100)):
        for claim in claims:
            end = RunEnd(state=State.SUCCEEDED, finished_at=store.now())
            store.commit(claim.run.id, claim.run.epoch, Commit(end=end, leaves=[-1]))
    assert store.list_passages() == []
    assert {(gate.held, gate.waiting) for gate in store.list_gates()} == {(0, 0)}
