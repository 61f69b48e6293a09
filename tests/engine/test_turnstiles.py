"""The rules of limits in memory against the same plain reference that the stores are compared with."""

from __future__ import annotations

import random

import pytest
from tests.store.limits_reference import Reference

from ostinato.engine.turnstiles import Declared, Turnstiles, declared_of
from ostinato.limits import Limit, in_order
from ostinato.timing import LimitRow

LIMITS = {
    "a": Limit("a", 2),
    "b": Limit("b", 1, key="tenant"),
    "c": Limit("c", 2, fair="tenant", weights={"x": 3}),
    "d": Limit("d", 3, rate="1/s", burst=2),
    "e": Limit("e", rate="2/s"),
}
VERBS = ("take", "take", "take", "leave", "leave", "wait", "idle", "declare")


class Both:
    """The reference and what is tested, side by side."""

    def __init__(self) -> None:
        self.now, self.count = 1_000_000_000, 0
        self.plain, self.gates = Reference(), Turnstiles()
        self.alive: list[tuple[str, int]] = []
        self.through: set[tuple[str, int]] = set()

    def take(self, names: list[str], tenant: str, priority: int) -> None:
        self.count += 1
        who = (f"r{self.count:03}", -1)
        passings = in_order(LIMITS[name].passing({"tenant": tenant}, priority=priority) for name in names)
        self.alive.append(who)
        self.plain.take(who, list(passings), self.now, self.now)
        is_through = self.gates.take(who, passings, self.now)
        assert is_through == (not self.plain.waits(who))

    def leave(self, number: int) -> None:
        if self.alive:
            who = self.alive.pop(number % len(self.alive))
            self.plain.leave([who], self.now)
            self.gates.leave(who, self.now)
            self.through.discard(who)

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1e6)
        for name in sorted(self.plain.gates):
            self.plain.admit(name, self.now)
        self.gates.admit_due(self.now)

    def idle(self, seconds: float) -> None:
        """Let time pass without anybody looking who may be let in."""
        self.now += round(seconds * 1e6)

    def declare(self, name: str, slots: int | None) -> None:
        self.plain.declare(name, None if slots is None else (slots, None, 1), self.now)
        self.gates.declare(name, None if slots is None else Declared(slots, None, 1, {}), self.now)

    def compare(self) -> None:
        for name, place in self.plain.gates.items():
            gate = self.gates.gates[name]
            waiting = {waiter.who for waiter in place.line}
            assert gate.held == place.held, name
            assert set(self.gates.everybody(name)) == place.held | waiting, name
            assert gate.waiting == len(waiting), name
        for who, gate_id in self.gates.moves:
            assert gate_id is None or gate_id in self.gates.gates
            if gate_id is None:
                self.through.add(who)
        self.gates.moves.clear()
        assert self.through == {who for who in self.alive if not self.plain.waits(who)}


def a_step(lot: random.Random) -> tuple[str, list[object]]:
    verb = lot.choice(VERBS)
    if verb == "take":
        return verb, [lot.sample(sorted(LIMITS), lot.randint(1, 3)), lot.choice("xyz"), lot.choice([-1, 0, 0, 2])]
    if verb == "leave":
        return verb, [lot.randrange(30)]
    if verb == "declare":
        return verb, [lot.choice(sorted(LIMITS)), lot.choice([None, None, 0, 1, 2, 4])]
    return verb, [lot.choice([0.1, 0.5, 1.0, 5.0, 50.0])]


@pytest.mark.parametrize("part", range(10))
def test_turnstiles_do_what_the_reference_says(part: int) -> None:
    for seed in range(30):
        lot, both = random.Random(f"{part}/{seed}"), Both()
        for _ in range(120):
            verb, values = a_step(lot)
            getattr(both, verb)(*values)
            both.compare()


def test_a_token_is_told_of_before_it_comes() -> None:
    gates = Turnstiles()
    for number in range(3):
        gates.take((f"r{number}", -1), [LIMITS["e"].passing({})], 0)
    assert gates.next_token_at() == 500_000
    gates.admit_due(499_999)
    assert gates.place_of(("r1", -1)) == "e"
    gates.admit_due(500_000)
    assert gates.place_of(("r1", -1)) is None
    assert gates.next_token_at() == 1_000_000


def test_what_is_declared_by_hand_goes_before_what_code_says() -> None:
    rows = [LimitRow(name="a", slots=1, weights='{"x": 2}')]
    gates = Turnstiles(declared_of(rows))
    assert gates.take(("r1", -1), [LIMITS["a"].passing({})], 0)
    assert not gates.take(("r2", -1), [LIMITS["a"].passing({})], 0)
    assert gates.is_full(LIMITS["a"].passing({}), 0)
    assert gates.holders("a") == [("r1", -1)]
    assert gates.declared["a"].weights == {"x": 2}
