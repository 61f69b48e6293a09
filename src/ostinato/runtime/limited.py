"""Limits as they stand, for whoever asks: how full they are, who holds them, who waits, and why a run is not let in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.clock import to_rfc3339
from ostinato.errors import DefinitionError, UnknownNameError, UsageError, nearest
from ostinato.limits import OVERLAP, check_weight, show_rate, to_rate
from ostinato.runtime.why_queued import Found
from ostinato.timing import LimitRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ostinato.records import Run
    from ostinato.store.store import Store
    from ostinato.timing import Gate, Passage

_MOST = 1000
_NAMED = 3


def limit_shapes(store: Store) -> list[dict[str, Any]]:
    """Describe all limits by name: what was declared by hand, and each gate that was ever passed of late."""
    by_hand = {row.name: row for row in store.list_limits()}
    gates = store.list_gates(limit=_MOST)
    shapes = [_gate_shape(gate, by_hand.get(gate.id) or by_hand.get(gate.limit_name)) for gate in gates]
    seen = {name for gate in gates for name in (gate.id, gate.limit_name)}
    unused = [
        _gate_shape_of(row.name, row.name, slots=row.slots, rate=row.rate, burst=row.burst, row=row)
        for row in by_hand.values()
        if row.name not in seen
    ]
    return sorted([*shapes, *unused], key=lambda shape: str(shape["gate"]))


def limit_shape(store: Store, name: str, *, limit: int = 100) -> dict[str, Any]:
    """Describe a limit, or one gate of it: who holds it, and who waits, whoever is next first.

    Raises:
        UnknownNameError: If nobody has passed or declared one of that name.
    """
    gates = store.list_gates(name, limit=_MOST)
    by_hand = {row.name: row for row in store.list_limits()}
    if not gates and name not in by_hand:
        known = sorted(
            {*by_hand, *(each for gate in store.list_gates(limit=_MOST) for each in (gate.limit_name, gate.id))}
        )
        raise UnknownNameError(f"There is no limit {name!r}: nothing has passed it of late.{nearest(name, known)}")
    row = by_hand.get(name)
    shapes = []
    for gate in gates:
        line = store.list_passages(gate.id, limit=limit)
        flows = _flows(store, line)
        shapes.append(
            _gate_shape(gate, by_hand.get(gate.id) or by_hand.get(gate.limit_name))
            | {
                "holders": [_passage_shape(passage, flows) for passage in line if passage.held],
                "line": [_passage_shape(passage, flows) for passage in line if not passage.held],
            }
        )
    return {"name": name, "by_hand": None if row is None else _row_shape(row), "gates": shapes}


def changed_limit(
    store: Store,
    name: str,
    *,
    slots: int | None = None,
    rate: str | float | None = None,
    burst: int | None = None,
    weights: Mapping[str, float] | None = None,
    description: str | None = None,
) -> LimitRow:
    """Describe a limit as somebody changes it by hand: what is not given stays as it was, or as the code says.

    Raises:
        UsageError: If a value makes no sense, or nothing would be limited.
    """
    row = next((each for each in store.list_limits() if each.name == name), None)
    if row is None:
        row = LimitRow(name=name)
        for gate in store.list_gates(name, limit=1):
            row = LimitRow(name=name, slots=gate.slots, rate=gate.rate, burst=gate.burst)
    try:
        per_second = None if rate is None else to_rate(rate, "--rate")
        for share, weight in (weights or {}).items():
            check_weight(share, weight, "--weight")
    except DefinitionError as error:
        raise UsageError(str(error)) from None
    changes: dict[str, Any] = {"slots": slots, "rate": per_second, "burst": burst, "description": description}
    if weights:
        changes["weights"] = msgspec.json.encode({**msgspec.json.decode(row.weights), **weights}).decode()
    return msgspec.structs.replace(row, **{key: value for key, value in changes.items() if value is not None})


def limited_because(store: Store, run: Run) -> Found | None:
    """Say which limit a queued run waits for; None where it waits for none."""
    waits = next((passage for passage in store.list_passages(run_id=run.id) if not passage.held), None)
    if waits is None or run.gates is None:
        return None
    gate = store.list_gates(waits.gate, limit=1)
    line = store.list_passages(waits.gate, limit=_MOST)
    held = [passage for passage in line if passage.held]
    place = next((at for at, each in enumerate(p for p in line if not p.held) if each.run_id == run.id), None)
    found = Found(facts={"gate": waits.gate, "held_by": [p.run_id for p in held[:_NAMED]], "ahead": place})
    found.facts["recorded"] = {"reason": "limit", "gate": waits.gate}
    found.because.append(_sentence(waits.gate, gate[0] if gate else None, held))
    if place:
        found.because.append(f"{place} {'waits' if place == 1 else 'wait'} for it before this run.")
    name = waits.gate
    if name.startswith(OVERLAP):
        found.advice.append(f"Look at the run that is under way: ostinato runs show {held[0].run_id}" if held else "")
    else:
        more = "" if not gate or gate[0].slots is None else f" --slots {2 * max(1, gate[0].slots)}"
        found.advice.append(f"Wait, or let more in at once: ostinato limits set {_quoted(name)}{more or ' --rate …'}")
    found.advice = [each for each in found.advice if each]
    return found


def _sentence(name: str, gate: Gate | None, held: list[Passage]) -> str:
    by = ", ".join(dict.fromkeys(passage.run_id for passage in held[:_NAMED]))
    more = f" and {len(held) - _NAMED} more" if len(held) > _NAMED else ""
    if name.startswith(OVERLAP):
        return (
            f"Another run of {name.removeprefix(OVERLAP)} is under way, {by}{more}: its overlap lets one run at a time."
        )
    if gate is None or gate.slots is None or gate.held < gate.slots:
        rate = "" if gate is None or gate.rate is None else f" ({show_rate(gate.rate)})"
        return f"It waits for its turn at the rate of limit {name}{rate}."
    if gate.slots == 0:
        return f"Limit {name} has been given no slots at all, so nobody passes it."
    slots = "The only slot" if gate.slots == 1 else f"Each of the {gate.slots} slots"
    return f"{slots} of limit {name} is taken, by {by}{more}."


def _gate_shape(gate: Gate, row: LimitRow | None) -> dict[str, Any]:
    return _gate_shape_of(gate.id, gate.limit_name, slots=gate.slots, rate=gate.rate, burst=gate.burst, row=row) | {
        "held": gate.held,
        "waiting": gate.waiting,
        "next_at": to_rfc3339(gate.next_at),
    }


def _gate_shape_of(
    gate: str, limit: str, *, slots: int | None, rate: float | None, burst: int, row: LimitRow | None
) -> dict[str, Any]:
    return {
        "gate": gate,
        "limit": limit,
        "slots": slots,
        "rate": rate,
        "rate_text": None if rate is None else show_rate(rate),
        "burst": burst,
        "held": 0,
        "waiting": 0,
        "next_at": None,
        "by_hand": row is not None,
        "description": "" if row is None else row.description,
    }


def _row_shape(row: LimitRow) -> dict[str, Any]:
    return {
        "slots": row.slots,
        "rate": row.rate,
        "burst": row.burst,
        "weights": msgspec.json.decode(row.weights),
        "description": row.description,
        "updated_at": to_rfc3339(row.updated_at),
    }


def _passage_shape(passage: Passage, flows: Mapping[str, str]) -> dict[str, Any]:
    return {
        "run_id": passage.run_id,
        "flow": flows.get(passage.run_id, ""),
        "seq": None if passage.seq < 0 else passage.seq,
        "share": passage.share,
        "since": to_rfc3339(passage.since),
        "granted_at": to_rfc3339(passage.granted_at),
    }


def _flows(store: Store, line: Iterable[Passage]) -> dict[str, str]:
    """Name the flows of the first runs of a line; who asks for more has their ids."""
    ids = list(dict.fromkeys(passage.run_id for passage in line))[:50]
    found: dict[str, str] = {}
    for run_id in ids:
        runs = store.find_runs(run_id)
        if runs:
            found[run_id] = runs[0].flow
    return found


def _quoted(name: str) -> str:
    return f"'{name}'" if "[" in name else name
