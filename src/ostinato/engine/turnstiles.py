"""Who holds a limit's slots and who is next, in memory: the rules of `ostinato.store.gating` without a database.

The simulation lets its runs through these. One plain reference (`tests/store/limits_reference.py`) is what both the
store and this are compared with, move by move, so that neither can drift from the other. `gating` tells the rules.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from ostinato.clock import SECOND
from ostinato.limits import step_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ostinato.limits import Passing
    from ostinato.timing import LimitRow

_A_POINT: Final = 60 * SECOND
"""What a point of priority is worth in the line."""
_NUDGE: Final = 0.01
"""By so much of a turn a gate's clock passes the share that had it."""

Who = tuple[str, int]
"""A run and the number of its task run; -1 for the run itself."""


class Declared(NamedTuple):
    """What somebody declared of a limit by hand, which goes before what code says."""

    slots: int | None
    rate: float | None
    burst: int
    weights: Mapping[str, float]


class _Waiter(NamedTuple):
    """One who stands in a line. The lowest is next."""

    rank: int
    who: Who
    since: int
    rest: tuple[Passing, ...]


@dataclass(slots=True)
class _Share:
    clock: float
    weight: float
    line: list[_Waiter] = field(default_factory=list)


@dataclass(slots=True)
class Turnstile:
    """One gate as it stands."""

    id: str
    limit: str
    slots: int | None = None
    rate: float | None = None
    burst: int = 1
    held: set[Who] = field(default_factory=set)
    waiting: int = 0
    full_at: int = 0
    clock: float = 0.0
    said: tuple[int | None, float | None, int] = (None, None, 1)
    """Slots, rate and burst as the code last said them."""
    shares: dict[str, _Share] = field(default_factory=dict)

    def has_room(self) -> bool:
        """Tell whether a slot is free."""
        return self.slots is None or len(self.held) < self.slots

    def token_at(self) -> int:
        """Return when the next token is there."""
        return 0 if self.rate is None else self.full_at - (self.burst - 1) * step_of(self.rate)

    def is_open(self, now: int) -> bool:
        """Tell whether somebody may be let in now."""
        return self.has_room() and self.token_at() <= now

    def next_at(self) -> int | None:
        """Return when a token lets somebody in who waits only for that."""
        return self.token_at() if self.waiting and self.has_room() else None


class Turnstiles:
    """All gates.

    Args:
        declared: What was declared by hand, by the name of the limit or of one of its gates.
    """

    def __init__(self, declared: Mapping[str, Declared] | None = None) -> None:
        self.declared = dict(declared or {})
        self.gates: dict[str, Turnstile] = {}
        self.moves: list[tuple[Who, str | None]] = []
        """Who has come to stand before which gate, or, with None, to hold all that it needs; in order. Whoever looks
        may empty it."""
        self._at: dict[Who, dict[str, str | None]] = {}
        """By who: the gates it holds, or stands before, with the share it waits in."""

    # --- asking

    def take(self, who: Who, passings: Sequence[Passing], now: int, *, since: int | None = None) -> bool:
        """Take gates one after the other; stand in line where there is no room. Tells whether it is through."""
        began = now if since is None else since
        for place, passing in enumerate(passings):
            gate = self._gate(passing, now)
            if gate.waiting or not gate.is_open(now):
                rest = tuple(passings[place + 1 :])
                waiter = _Waiter(began - _A_POINT * passing.priority, who, began, rest)
                return self._stand(gate, passing, waiter, now)
            if passing.share:
                self._pass_share(gate, passing)
            self._count(gate, who, now)
        self.moves.append((who, None))
        return True

    def leave(self, who: Who, now: int) -> None:
        """Return all that somebody holds, and the place in the line; whoever is next has it."""
        touched = self._at.pop(who, {})
        for gate_id, share in touched.items():
            gate = self.gates[gate_id]
            if share is None:
                gate.held.discard(who)
            else:
                gate.waiting -= 1
                line = [waiter for waiter in gate.shares[share].line if waiter.who != who]
                heapq.heapify(line)
                gate.shares[share].line = line
        for gate_id in sorted(touched):
            self.admit(self.gates[gate_id], now)

    def admit(self, gate: Turnstile, now: int) -> None:
        """Let in whoever is next, as long as there is room and a token."""
        while gate.waiting and gate.is_open(now):
            _, name = min((share.clock, name) for name, share in gate.shares.items() if share.line)
            share = gate.shares[name]
            waiter = heapq.heappop(share.line)
            clock = share.clock
            share.clock = clock + 1 / share.weight
            gate.clock = max(gate.clock, clock + _NUDGE / share.weight)
            gate.waiting -= 1
            self._count(gate, waiter.who, now)
            self.take(waiter.who, waiter.rest, now, since=waiter.since)

    def admit_due(self, now: int) -> None:
        """Let in who waited for a token that is there now."""
        due = [name for name, gate in self.gates.items() if (at := gate.next_at()) is not None and at <= now]
        for name in sorted(due):
            self.admit(self.gates[name], now)

    def declare(self, name: str, declared: Declared | None, now: int) -> None:
        """Declare a limit by hand, or no longer; who waits is let in as far as there is room."""
        if declared is None:
            self.declared.pop(name, None)
        else:
            self.declared[name] = declared
        for gate in sorted(self.gates.values(), key=lambda each: each.id):
            if name in (gate.id, gate.limit):
                self._shape(gate, now)

    # --- looking

    def is_full(self, passing: Passing, now: int) -> bool:
        """Tell whether somebody who came now would have to wait for a slot."""
        gate = self._gate(passing, now)
        return bool(gate.waiting) or not gate.has_room()

    def holders(self, gate_id: str) -> list[Who]:
        """Return who holds a gate."""
        return sorted(self.gates[gate_id].held) if gate_id in self.gates else []

    def everybody(self, gate_id: str) -> list[Who]:
        """Return who holds a gate, and who waits before it."""
        if gate_id not in self.gates:
            return []
        gate = self.gates[gate_id]
        return sorted([*gate.held, *(waiter.who for share in gate.shares.values() for waiter in share.line)])

    def place_of(self, who: Who) -> str | None:
        """Return the gate that somebody stands before; None for one who waits nowhere."""
        return next((gate for gate, share in self._at.get(who, {}).items() if share is not None), None)

    def next_token_at(self) -> int | None:
        """Return when the first token lets somebody in who waits only for that."""
        return min((due for gate in self.gates.values() if (due := gate.next_at()) is not None), default=None)

    # --- inside

    def _stand(self, gate: Turnstile, passing: Passing, waiter: _Waiter, now: int) -> bool:
        weight = self._weight(gate, passing)
        share = gate.shares.get(passing.share)
        if share is None:
            share = gate.shares[passing.share] = _Share(gate.clock, weight)
        elif not share.line:
            share.clock = max(share.clock, gate.clock)
        share.weight = weight
        heapq.heappush(share.line, waiter)
        self._at.setdefault(waiter.who, {})[gate.id] = passing.share
        gate.waiting += 1
        self.moves.append((waiter.who, gate.id))
        self.admit(gate, now)
        return self.place_of(waiter.who) is None

    def _pass_share(self, gate: Turnstile, passing: Passing) -> None:
        """Count a turn for a share in which nobody had to wait."""
        weight = self._weight(gate, passing)
        share = gate.shares.setdefault(passing.share, _Share(gate.clock, weight))
        share.weight = weight
        share.clock = max(share.clock, gate.clock) + 1 / weight
        gate.clock = max(gate.clock, share.clock - (1 - _NUDGE) / weight)

    def _count(self, gate: Turnstile, who: Who, now: int) -> None:
        gate.held.add(who)
        self._at.setdefault(who, {})[gate.id] = None
        if gate.rate is not None:
            gate.full_at = max(gate.full_at, now) + step_of(gate.rate)

    def _gate(self, passing: Passing, now: int) -> Turnstile:
        """Return a gate as the code, or somebody's hand, says it is now."""
        gate = self.gates.get(passing.gate)
        if gate is None:
            gate = self.gates[passing.gate] = Turnstile(passing.gate, passing.limit)
        gate.said = (passing.slots, passing.rate, passing.burst)
        self._shape(gate, now)
        return gate

    def _shape(self, gate: Turnstile, now: int) -> None:
        declared = self._declared(gate)
        wanted = gate.said if declared is None else declared[:3]
        if wanted != (gate.slots, gate.rate, gate.burst):
            gate.slots, gate.rate, gate.burst = wanted
            self.admit(gate, now)

    def _declared(self, gate: Turnstile) -> Declared | None:
        return self.declared.get(gate.id) or self.declared.get(gate.limit) if self.declared else None

    def _weight(self, gate: Turnstile, passing: Passing) -> float:
        said = self._declared(gate)
        return float(passing.weight if said is None else said.weights.get(passing.share, passing.weight))


def declared_of(rows: Iterable[LimitRow]) -> dict[str, Declared]:
    """Take what was declared by hand as a store has it."""
    return {
        row.name: Declared(row.slots, row.rate, row.burst, msgspec.json.decode(row.weights, type=dict[str, float]))
        for row in rows
    }
