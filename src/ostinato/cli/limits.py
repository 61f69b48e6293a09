"""``ostinato limits list | show | set | remove``: how full limits are, who holds them, who waits."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import duration, show, show_json, table
from ostinato.clock import instant_of
from ostinato.errors import UsageError
from ostinato.runtime.auditing import audit
from ostinato.runtime.limited import changed_limit, limit_shape, limit_shapes

LimitName = Annotated[str, Parameter(name="NAME", help="The limit, or one gate of it: db, or 'db[acme]'.")]
Slots = Annotated[int | None, Parameter(name="--slots", help="How many at once; 0 lets nobody pass.")]
Rate = Annotated[str | None, Parameter(name="--rate", help="How many may begin: 100/m, 5/s, 20/15m.")]
Burst = Annotated[int | None, Parameter(name="--burst", help="How many of these at once after a quiet time.")]
Weight = Annotated[
    tuple[str, ...], Parameter(name="--weight", help="Turns of a share for one of the others: gold=3. Repeatable.")
]
About = Annotated[str | None, Parameter(name="--about", help="What it is for.")]
Most = Annotated[int, Parameter(name="--limit", help="Of each gate show so many, holders first.")]


def list_limits(*, json: AsJson = False) -> None:
    """List limits: those that something passes, or has passed of late, and those declared by hand."""
    with store() as opened:
        shapes = limit_shapes(opened)
    if json:
        show_json(shapes)
        return
    if not shapes:
        print('There is no limit yet: give a task or a flow one, limits=Limit("db", 5), or `ostinato limits set NAME`.')
        return
    made = table("limit", "slots", "rate", "held", "waiting", "", whole=("limit",))
    for shape in shapes:
        made.add_row(
            shape["gate"],
            "" if shape["slots"] is None else str(shape["slots"]),
            shape["rate_text"] or "",
            str(shape["held"]),
            str(shape["waiting"]),
            Text("by hand" if shape["by_hand"] else "", "dim"),
        )
    show(made)


def show_limit(name: LimitName, /, *, limit: Most = 50, json: AsJson = False) -> None:
    """Show who holds a limit and who waits for it, whoever is next first."""
    with store() as opened:
        shape, now = limit_shape(opened, name, limit=limit), opened.now()
    if json:
        show_json(shape)
        return
    for gate in shape["gates"]:
        print(_line(gate))
        if gate["holders"] or gate["line"]:
            show(_people(gate, now))
    if not shape["gates"]:
        print(f"Nothing has passed {name} since it was declared by hand: {_said(shape['by_hand'])}.")


def set_limit(
    name: LimitName,
    /,
    *,
    slots: Slots = None,
    rate: Rate = None,
    burst: Burst = None,
    weight: Weight = (),
    about: About = None,
    json: AsJson = False,
) -> None:
    """Declare a limit by hand: it goes before what code says, and who waits is let in at once."""
    if slots is None and rate is None and burst is None and not weight and about is None:
        raise UsageError(f"Say what is to change: ostinato limits set {name} --slots 5")
    with store() as opened:
        row = changed_limit(
            opened, name, slots=slots, rate=rate, burst=burst, weights=_weights(weight), description=about
        )
        opened.put_limit(row)
        audit(opened, None, "limit_changed", name, more={"slots": row.slots, "rate": row.rate})
    if json:
        show_json({"name": name, "slots": row.slots, "rate": row.rate, "burst": row.burst})
    else:
        print(f"Limit {name}: {_said({'slots': row.slots, 'rate': row.rate})}, whatever code says.")


def remove_limit(name: LimitName, /, *, json: AsJson = False) -> None:
    """Forget what was declared by hand: what code says holds again."""
    with store() as opened:
        opened.remove_limit(name)
        audit(opened, None, "limit_removed", name)
    if json:
        show_json({"name": name})
    else:
        print(f"Limit {name} is again as code says.")


def _weights(given: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in given:
        share, _, weight = each.rpartition("=")
        try:
            found[share] = float(weight)
        except ValueError:
            share = ""
        if not share:
            raise UsageError(f"--weight is a value and its weight, gold=3, not {each!r}.")
    return found


def _line(gate: dict[str, Any]) -> str:
    said = _said(gate)
    return f"{gate['gate']}: {said}; {gate['held']} held, {gate['waiting']} waiting"


def _said(limit: dict[str, Any]) -> str:
    slots, rate = limit["slots"], limit["rate"]
    parts = [] if slots is None else [f"{slots} slot{'' if slots == 1 else 's'}"]
    if rate is not None:
        parts.append(f"{limit.get('rate_text') or f'{rate:g} a second'}")
    return ", ".join(parts)


def _people(gate: dict[str, Any], now: int) -> Any:
    made = table("", "run", "flow", "task run", "share", "for", whole=("run",))
    for text, people, key in (("holds", gate["holders"], "granted_at"), ("waits", gate["line"], "since")):
        for place, one in enumerate(people, 1):
            made.add_row(
                Text(text if text == "holds" else f"{place}.", "green" if text == "holds" else ""),
                one["run_id"],
                one["flow"],
                "" if one["seq"] is None else str(one["seq"]),
                one["share"],
                duration(_instant(one[key]), now),
            )
    return made


def _instant(text: str | None) -> int | None:
    from datetime import datetime

    return None if text is None else instant_of(datetime.fromisoformat(text))
