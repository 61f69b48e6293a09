"""Automations: what is done when something happens, or does not, and what they came to."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from ostinato.automations.automation import from_spec, row_of
from ostinato.errors import UnknownNameError, UsageError, nearest
from ostinato.runtime.finding import find_run
from ostinato.runtime.reacting import automation_shape, event_of, events_of_run, firing_shape, play, silence_until
from ostinato.server import shapes_automations as shapes
from ostinato.server.asking import Cursor, Here, Limit, Operator, Viewer, from_cursor, note, page, refusals, reply
from ostinato.server.served import Served
from ostinato.server.shapes import Page
from ostinato.timing import AutomationRow

router = APIRouter(prefix="/api/automations", tags=["automations"], responses=refusals())
firings = APIRouter(prefix="/api/firings", tags=["automations"], responses=refusals())
# a name may hold a slash: so what is done to it stands before it
AutomationName = Annotated[str, Path(min_length=1, max_length=200, description="The automation's name.")]
FiringId = Annotated[str, Path(min_length=1, max_length=64, description="The firing's id.")]


@router.get("", response_model=Page[shapes.Automation])
async def list_automations(served: Here, _who: Viewer, limit: Limit = 200, cursor: Cursor = None) -> Response:
    """List automations by name."""
    after = from_cursor(cursor) or ""

    def work() -> Response:
        rows = [row for row in served.store.list_automations() if row.name > after]
        return page(rows[: limit + 1], limit, automation_shape, lambda row: row.name)

    return await served.call(work)


@router.get("/{name:path}", response_model=shapes.Automation, responses=refusals(404))
async def get_automation(served: Here, _who: Viewer, name: AutomationName) -> Response:
    """Look at an automation."""
    return await served.call(lambda: reply(automation_shape(_get(served, name))))


@router.put("/{name:path}", response_model=shapes.Automation, responses=refusals(404))
async def put_automation(served: Here, who: Operator, name: AutomationName, wanted: shapes.NewAutomation) -> Response:
    """Add an automation by hand, or change one that was."""
    spec = wanted.model_dump(exclude={"description", "paused"}, exclude_defaults=True)

    def work() -> Response:
        automation = from_spec(spec, name=name, description=wanted.description, paused=wanted.paused)
        row = served.store.put_automation(row_of(automation))
        note(served, who, "automation_changed", name)
        return reply(automation_shape(row))

    return await served.call(work)


@router.delete("/{name:path}", status_code=204, responses=refusals(404))
async def remove_automation(served: Here, who: Operator, name: AutomationName) -> Response:
    """Remove an automation that was added by hand."""

    def work() -> Response:
        served.store.remove_automation(name)
        note(served, who, "automation_removed", name)
        return Response(status_code=204)

    return await served.call(work)


@router.post("/pause/{name:path}", response_model=shapes.Automation, responses=refusals(404))
async def pause_automation(served: Here, who: Operator, name: AutomationName) -> Response:
    """Have an automation see nothing until it is resumed."""

    def work() -> Response:
        before = _get(served, name)
        row = served.store.pause_automation(name, paused=True, silenced_until=before.silenced_until)
        note(served, who, "automation_paused", name)
        return reply(automation_shape(row))

    return await served.call(work)


@router.post("/resume/{name:path}", response_model=shapes.Automation, responses=refusals(404))
async def resume_automation(served: Here, who: Operator, name: AutomationName) -> Response:
    """Let a paused automation see what happens from now on."""

    def work() -> Response:
        before = _get(served, name)
        row = served.store.pause_automation(name, paused=False, silenced_until=before.silenced_until)
        note(served, who, "automation_resumed", name)
        return reply(automation_shape(row))

    return await served.call(work)


@router.post("/silence/{name:path}", response_model=shapes.Automation, responses=refusals(404))
async def silence_automation(served: Here, who: Operator, name: AutomationName, order: shapes.SilenceOrder) -> Response:
    """Have an automation do nothing for a while; what it would have done is on record."""

    def work() -> Response:
        row = silence_until(served.store, _get(served, name), order.seconds)
        note(served, who, "automation_silenced", name, more={"seconds": order.seconds})
        return reply(automation_shape(row))

    return await served.call(work)


@router.post("/test/{name:path}", response_model=shapes.Played, responses=refusals(404))
async def play_through_automation(
    served: Here, _who: Operator, name: AutomationName, order: shapes.PlayOrder
) -> Response:
    """Play events through an automation: what would fire, and what would be done. Nothing is."""
    if bool(order.events) == (order.run_id is not None):
        raise UsageError("Say what to play: events, or a run_id.")

    def work() -> Response:
        row, now = _get(served, name), served.store.now()
        events = (
            events_of_run(served.store, find_run(served.store, order.run_id).id)
            if order.run_id is not None
            else [event_of(each.model_dump(), now) for each in order.events]
        )
        played = play(row, from_spec(row.spec, name=name), served.store, events)
        return reply(msgspec.structs.asdict(played))

    return await served.call(work)


@firings.get("", response_model=Page[shapes.Firing])
async def list_firings(
    served: Here,
    _who: Viewer,
    automation: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List what automations came to, newest first."""
    before = from_cursor(cursor)
    rows = await served.call(lambda: served.store.list_firings(automation, before=before, limit=limit + 1))
    return page(rows, limit, firing_shape, lambda firing: firing.id)


@firings.get("/{firing_id}", response_model=shapes.Firing, responses=refusals(404))
async def get_firing(served: Here, _who: Viewer, firing_id: FiringId) -> Response:
    """Look at a firing, and how far each of its steps has come."""
    return await served.call(lambda: reply(firing_shape(served.store.get_firing(firing_id))))


@firings.post("/{firing_id}/acknowledge", response_model=shapes.Firing, responses=refusals(404))
async def acknowledge_firing(served: Here, who: Operator, firing_id: FiringId) -> Response:
    """Say that somebody looks after it: it is not escalated."""

    def work() -> Response:
        found = served.store.acknowledge(firing_id, who.name)
        note(served, who, "firing_acknowledged", firing_id)
        return reply(firing_shape(found))

    return await served.call(work)


def _get(served: Served, name: str) -> AutomationRow:
    rows = {row.name: row for row in served.store.list_automations()}
    if name not in rows:
        raise UnknownNameError(f"There is no automation {name!r}.{nearest(name, rows)}")
    return rows[name]
