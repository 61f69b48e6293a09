"""What limits are to do, as simply as it can be said: lists, loops, no database. The model test compares with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ostinato.limits import Passing

Who = tuple[str, int]
MINUTE = 60_000_000


@dataclass
class Waiter:
    """Somebody in a line."""

    who: Who
    share: str
    rank: int
    since: int
    rest: list[Passing]


@dataclass
class Place:
    """A gate."""

    slots: int | None = None
    rate: float | None = None
    burst: int = 1
    held: set[Who] = field(default_factory=set)
    line: list[Waiter] = field(default_factory=list)
    shares: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    clock: float = 0.0
    full_at: int = 0

    def has_room(self) -> bool:
        """Tell whether one more may hold it."""
        return self.slots is None or len(self.held) < self.slots

    def has_token(self, now: int) -> bool:
        """Tell whether its rate lets one more in."""
        if self.rate is None:
            return True
        step = -int(-1_000_000 // self.rate)
        return self.full_at - (self.burst - 1) * step <= now


class Reference:
    """All gates."""

    def __init__(self) -> None:
        self.gates: dict[str, Place] = {}
        self.by_hand: dict[str, tuple[int | None, float | None, int]] = {}
        self.said: dict[str, tuple[int | None, float | None, int]] = {}
        self.through: list[Who] = []
        self.names: dict[str, str] = {}

    def take(self, who: Who, passings: list[Passing], since: int, now: int) -> None:
        """Take gates in order; the first without room is waited for."""
        for place, passing in enumerate(passings):
            gate = self.gates.setdefault(passing.gate, Place())
            self.names[passing.gate] = passing.limit
            self.said[passing.gate] = (passing.slots, passing.rate, passing.burst)
            self._shape(passing.gate, now)
            if gate.line or not gate.has_room() or not gate.has_token(now):
                if not any(waiter.share == passing.share for waiter in gate.line):
                    gate.shares[passing.share] = max(gate.shares.get(passing.share, 0.0), gate.clock)
                gate.weights[passing.share] = passing.weight
                rank = since - MINUTE * passing.priority
                gate.line.append(Waiter(who, passing.share, rank, since, passings[place + 1 :]))
                self.admit(passing.gate, now)
                return
            gate.held.add(who)
            if passing.share:
                start = max(gate.shares.get(passing.share, 0.0), gate.clock)
                gate.weights[passing.share] = passing.weight
                gate.shares[passing.share] = start + 1 / passing.weight
                gate.clock = max(gate.clock, gate.shares[passing.share] - 0.99 / passing.weight)
            self._spend(gate, now)
        self.through.append(who)

    def leave(self, whos: list[Who], now: int) -> None:
        """Return everything that some have, at once."""
        touched = set()
        for name, gate in self.gates.items():
            if gate.held.intersection(whos) or any(waiter.who in whos for waiter in gate.line):
                gate.held.difference_update(whos)
                gate.line = [waiter for waiter in gate.line if waiter.who not in whos]
                touched.add(name)
        for name in sorted(touched):
            self.admit(name, now)

    def declare(self, name: str, values: tuple[int | None, float | None, int] | None, now: int) -> None:
        """Change a limit by hand, or no longer."""
        if values is None:
            self.by_hand.pop(name, None)
        else:
            self.by_hand[name] = values
        for gate in sorted(self.names):
            if self.names[gate] == name:
                self._shape(gate, now)

    def admit(self, name: str, now: int) -> None:
        """Let in whoever is next, as long as there is room."""
        gate = self.gates[name]
        while gate.line and gate.has_room() and gate.has_token(now):
            share = min((gate.shares[waiter.share], waiter.share) for waiter in gate.line)[1]
            first = min((w for w in gate.line if w.share == share), key=lambda w: (w.rank, w.who))
            gate.line.remove(first)
            gate.held.add(first.who)
            weight = gate.weights[share]
            gate.clock = max(gate.clock, gate.shares[share] + 0.01 / weight)
            gate.shares[share] += 1 / weight
            self._spend(gate, now)
            self.take(first.who, first.rest, first.since, now)

    def waits(self, who: Who) -> list[str]:
        """Name the gates that somebody waits for."""
        return [name for name, gate in self.gates.items() if any(waiter.who == who for waiter in gate.line)]

    def _spend(self, gate: Place, now: int) -> None:
        if gate.rate is not None:
            gate.full_at = max(gate.full_at, now) - int(-1_000_000 // gate.rate)

    def _shape(self, name: str, now: int) -> None:
        gate = self.gates[name]
        wanted = self.by_hand.get(self.names[name], self.said[name])
        if wanted != (gate.slots, gate.rate, gate.burst):
            gate.slots, gate.rate, gate.burst = wanted
            self.admit(name, now)
