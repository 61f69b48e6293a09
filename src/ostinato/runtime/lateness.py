"""The deadlines of runs that are about to be made, by what their deployment says of them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from ostinato.clock import SECOND, to_datetime
from ostinato.deadlines import due_of
from ostinato.engine.seen import span_text
from ostinato.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ostinato.records import Event, Run
    from ostinato.store.store import Store
    from ostinato.timing import Deadline, Decision
    from ostinato.work import Deployed


def deadlines_of(store: Store, deployed: Deployed, runs: Sequence[Run]) -> list[Deadline]:
    """Say by when some runs of a deployment must have begun and ended.

    Store them (`put_deadlines`) before the runs: a deadline of a run that was never made is forgotten when it is due,
    but a run without its deadline would be late and say nothing.
    """
    if '"deadline"' not in deployed.options or not runs:
        return []
    due = due_of(msgspec.json.decode(deployed.options).get("deadline"))
    if due is None:
        return []
    past = store.past_durations(deployed.flow, deployed.name) if due.times is not None else []
    average = sum(past) / len(past) if past else None
    found = [
        due.rows(run.id, run.created_at if run.scheduled_at is None else run.scheduled_at, average) for run in runs
    ]
    return [row for rows in found for row in rows]


def deadlines_of_all(
    store: Store, decisions: Sequence[Decision], find: Callable[[str], Deployed | None] | None = None
) -> list[Deadline]:
    """Say the same of the runs that schedules are about to make.

    Args:
        store: The store.
        decisions: What they have come to.
        find: Finds a deployment by name, quicker than the store.
    """
    runs: dict[str, list[Run]] = {}
    for decision in decisions:
        for run in decision.runs:
            runs.setdefault(run.deployment or "", []).append(run)
    rows: list[Deadline] = []
    for name, several in runs.items():
        with contextlib.suppress(UnknownNameError):
            deployed = store.get_deployed(name) if find is None else find(name)
            rows += [] if deployed is None else deadlines_of(store, deployed, several)
    return rows


def late_because(events: Sequence[Event], run: Run) -> list[str]:
    """Say which deadlines a run has missed, and by how much, in a sentence each."""
    said = []
    for event in events:
        if event.kind != "run.late":
            continue
        data = msgspec.json.decode(event.data)
        met_at = run.started_at if data["kind"] == "start" else run.finished_at
        verb = "begun" if data["kind"] == "start" else "ended"
        if met_at is None:
            after = f"it has not {verb} yet"
        else:
            after = (
                f"it {'began' if verb == 'begun' else verb} {span_text((met_at - data['due_at']) / SECOND)} after that"
            )
        said.append(
            f"It is late: it should have {verb} by {to_datetime(data['due_at']):%Y-%m-%d %H:%M:%S} UTC; {after}."
        )
    return said
