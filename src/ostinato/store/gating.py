"""Slots: taken, returned, and handed on in the same transaction.

```
take  ──► room, and nobody waits? ── yes ─► held ─► the next gate … ─► through: it holds all
              └── no ──► in line, in its share
leave ──► a slot is free ─► the share that has had least, in it whoever is first ─► held ─► its next gate … ─► through
```

Whoever needs several gates takes them in one order that is the same for all, holds those that it has and stands in one
line at a time, so nobody waits in a circle. What it still needs stands with its place in the line; so whoever returns
a slot can move the next one on through all its gates.

**Who is next** (start-time fair queueing): each share of a gate has a clock that goes on by 1/weight with each of its
turns; the share that is behind is next. One in which nobody waited begins where the gate's own clock is, so that it
neither catches up on what it did not ask for nor loses what it is ahead. Within a share whoever waits longest is next,
each point of priority counting as a minute.

**Rates** are token buckets (GCRA): `full_at` is when the bucket is full again; a token is there as long as that lies no
more than `burst` - 1 steps ahead.

**Locks**: runs first, then one lock for all gates, then the catalog. Under it a gate's row in memory is the truth.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from ostinato.clock import SECOND
from ostinato.limits import Passing, from_json, step_of
from ostinato.store import statements_limits as sql
from ostinato.store.rows import records
from ostinato.store.transactions import named
from ostinato.timing import Gate, LimitRow, Passage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ostinato.store.rows import Row
    from ostinato.store.transactions import Session

RUN: Final = -1
"""The `seq` of a passage of the run itself."""
_A_POINT: Final = 60 * SECOND
"""What a point of priority is worth in the line."""
_NUDGE: Final = 0.01
"""By so much of a turn a gate's clock passes the share that had it: ever new shares cannot hold the others up."""

Who = tuple[str, int]
"""A run and the number of its task run."""


class Book:
    """The gate work of one transaction.

    Use it as a context manager: what has changed is written at its end.
    """

    def __init__(self, tx: Session, now: int) -> None:
        self.tx, self.now = tx, now
        self.through: list[Who] = []
        """Who holds all that it needs since this transaction."""
        self.stopped: list[tuple[Who, str]] = []
        """Who has come to stand in a line, and at which gate."""
        self._gates: dict[str, Gate] = {}
        self._changed: dict[str, None] = {}
        self._limits: dict[str, LimitRow] = {}
        self._asked: set[str] = set()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Write the gates that have changed."""
        if kind is None:
            for gate_id in self._changed:
                self.tx.put(sql.PUT_GATE, **named(self._gates[gate_id]))

    # --- what it is opened with: the lock and all that is asked for after it, in one round trip

    def look(self, *questions: tuple[str, dict[str, Any]]) -> list[list[Row]]:
        """Take the lock, then ask."""
        self.tx.put(sql.LOCK_GATES)
        return self.tx.ask(*questions)

    def know(self, gates: Iterable[Row], limits: Iterable[Row] = (), passings: Iterable[Passing] = ()) -> None:
        """Keep rows that were read under the lock.

        Args:
            gates: Gates.
            limits: What was declared by hand.
            passings: Of whose gates all is known by this.
        """
        self._asked |= {passing.gate for passing in passings}
        for gate in records(Gate, gates):
            self._gates.setdefault(gate.id, gate)
        self._limits |= {limit.name: limit for limit in records(LimitRow, limits)}

    # --- taking

    def take(self, who: Who, epoch: int, passings: Sequence[Passing], since: int) -> bool:
        """Take gates one after the other, in the order given; stand in line where there is no room.

        Those that are named must be known, as far as they are there. Returns whether it is through.
        """
        for place, passing in enumerate(passings):
            gate = self._gate(passing)
            rest = passings[place + 1 :]
            passage = Passage(
                gate=gate.id,
                run_id=who[0],
                seq=who[1],
                share=passing.share,
                rank=since - _A_POINT * passing.priority,
                since=since,
                epoch=epoch,
                rest=msgspec.json.encode(rest).decode() if rest else None,
            )
            if gate.waiting or not _has_room(gate) or not _has_token(gate, self.now):
                return self._stand(gate, passage, passing)
            held = msgspec.structs.replace(passage, held=True, granted_at=self.now, rest=None)
            self.tx.put(sql.PUT_PASSAGE, **named(held))
            if passing.share:
                self._pass_share(gate, passing)
            self._count(gate)
        self.through.append(who)
        return True

    def _stand(self, gate: Gate, passage: Passage, passing: Passing) -> bool:
        """Stand in line; a token may have come that nobody has taken yet."""
        weight = self._weight(gate, passing)
        self.tx.put(sql.PUT_PASSAGE, **named(passage))
        self.tx.put(sql.JOIN_SHARE, gate=gate.id, name=passage.share, clock=gate.clock, weight=weight)
        gate.waiting += 1
        self._note(gate)
        who = (passage.run_id, passage.seq)
        before = len(self.through)
        self.admit(gate)
        if who in self.through[before:]:
            return True
        self.stopped.append((who, gate.id))
        return False

    def _pass_share(self, gate: Gate, passing: Passing) -> None:
        """Count a turn for a share in which nobody had to wait."""
        weight = self._weight(gate, passing)
        values = {"gate": gate.id, "name": passing.share, "clock": gate.clock, "weight": weight, "step": 1 / weight}
        found = self.tx.rows(sql.TURN_OF_SHARE, **values)
        gate.clock = max(gate.clock, found[0][0] - (1 - _NUDGE) / weight)

    def _count(self, gate: Gate) -> None:
        """Count one more that holds a gate."""
        gate.held += 1
        if gate.rate is not None:
            gate.full_at = max(gate.full_at, self.now) + step_of(gate.rate)
        self._note(gate)

    # --- how they are returned

    def leave(self, passages: Iterable[Passage]) -> None:
        """Return slots and places in lines; the gates are known. Whoever is next has them."""
        touched: dict[str, Gate] = {}
        for passage in passages:
            self.tx.put(sql.REMOVE_PASSAGE, gate=passage.gate, run_id=passage.run_id, seq=passage.seq)
            gate = self._gates.get(passage.gate)
            if gate is None:
                continue
            if passage.held:
                gate.held = max(0, gate.held - 1)
            else:
                gate.waiting = max(0, gate.waiting - 1)
                self.tx.put(sql.LEAVE_SHARE, gate=gate.id, name=passage.share)
            touched[gate.id] = gate
            self._note(gate)
        for gate_id in sorted(touched):
            self.admit(touched[gate_id])

    # --- handing on

    def admit(self, gate: Gate) -> None:
        """Let in whoever is next, as long as there is room and a token."""
        while gate.waiting and _has_room(gate) and _has_token(gate, self.now):
            found = self.tx.rows(sql.NEXT, gate=gate.id)
            if not found:
                gate.waiting = 0
                break
            self._let_in(gate, found[0])
        waits_for_token = gate.waiting and _has_room(gate)
        next_at = _token_at(gate) if waits_for_token else None
        if next_at != gate.next_at:
            gate.next_at = next_at
        self._note(gate)

    def _let_in(self, gate: Gate, row: Row) -> None:
        run_id, seq, share, since, epoch, rest, clock, weight = row
        self.tx.put(sql.LET_IN, gate=gate.id, run_id=run_id, seq=seq, now=self.now)
        self.tx.put(sql.ADVANCE_SHARE, gate=gate.id, name=share, clock=clock + 1 / weight)
        gate.clock = max(gate.clock, clock + _NUDGE / weight)
        gate.waiting -= 1
        self._count(gate)
        further = from_json(rest)
        if further:
            self._load(further)
        self.take((run_id, seq), epoch, further, since)

    # --- gates as they are

    def known(self) -> list[Gate]:
        """Return the gates that were read."""
        return list(self._gates.values())

    def is_full(self, passing: Passing) -> bool:
        """Tell whether somebody who came now would have to wait."""
        gate = self._gate(passing)
        return bool(gate.waiting) or not _has_room(gate)

    def waiting(self, gate_id: str) -> int:
        """Return how many stand in a gate's line."""
        return self._gates[gate_id].waiting

    def rooms(self, passings: Iterable[Passing]) -> dict[str, int | None]:
        """Return the slots of those gates that have others than the code says."""
        found = ((passing.slots, self._gates.get(passing.gate)) for passing in passings)
        return {gate.id: gate.slots for said, gate in found if gate is not None and gate.slots != said}

    def _load(self, passings: Sequence[Passing]) -> None:
        unknown = [passing for passing in passings if passing.gate not in self._asked]
        if unknown:
            gates, limits = self.tx.ask(*questions_of(unknown))
            self.know(gates, limits, unknown)

    def _gate(self, passing: Passing) -> Gate:
        """Return a gate as the code, or somebody's hand, says it is now."""
        gate = self._gates.get(passing.gate)
        if gate is None:
            gate = self._gates[passing.gate] = Gate(id=passing.gate, limit_name=passing.limit)
            self._note(gate)
        said = {"slots": passing.slots, "rate": passing.rate, "burst": passing.burst}
        gate.declared = _as_json(said)
        if shape(gate, self._limits.get(gate.id) or self._limits.get(gate.limit_name)):
            self._note(gate)
            if gate.waiting:
                self.admit(gate)
        return gate

    def _weight(self, gate: Gate, passing: Passing) -> float:
        limit = self._limits.get(gate.id) or self._limits.get(gate.limit_name)
        weights = {} if limit is None else weights_of(limit)
        return float(weights.get(passing.share, passing.weight))

    def _note(self, gate: Gate) -> None:
        self._changed[gate.id] = None


def questions_of(passings: Sequence[Passing]) -> list[tuple[str, dict[str, Any]]]:
    """Ask for the gates that are named, and what somebody declared of them by hand."""
    ids = sorted({passing.gate for passing in passings})
    names = sorted({*ids, *(passing.limit for passing in passings)})
    return [(sql.GATES, {"ids": ids}), (sql.LIMITS_NAMED, {"names": names})]


def shape(gate: Gate, limit: LimitRow | None) -> bool:
    """Give a gate the slots and the rate that hold now; tell whether that changes it."""
    if limit is None:
        said = msgspec.json.decode(gate.declared)
        wanted = (said.get("slots"), said.get("rate"), said.get("burst", 1))
    else:
        wanted = (limit.slots, limit.rate, limit.burst)
    if wanted == (gate.slots, gate.rate, gate.burst):
        return False
    gate.slots, gate.rate, gate.burst = wanted
    return True


def weights_of(limit: LimitRow) -> dict[str, float]:
    """Return the weights of shares that somebody has declared."""
    return msgspec.json.decode(limit.weights, type=dict[str, float])


@functools.cache
def _as_json_of(slots: int | None, rate: float | None, burst: int) -> str:
    return msgspec.json.encode({"slots": slots, "rate": rate, "burst": burst}).decode()


def _as_json(said: dict[str, Any]) -> str:
    return _as_json_of(said["slots"], said["rate"], said["burst"])


def _has_room(gate: Gate) -> bool:
    return gate.slots is None or gate.held < gate.slots


def _has_token(gate: Gate, now: int) -> bool:
    return gate.rate is None or _token_at(gate) <= now


def _token_at(gate: Gate) -> int:
    """Return when the next token is there."""
    return 0 if gate.rate is None else gate.full_at - (gate.burst - 1) * step_of(gate.rate)
