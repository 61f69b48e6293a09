"""Schedules: what starts runs at certain times or upon certain events, and what they came to."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from ostinato.access import Who
from ostinato.clock import instant_of, to_rfc3339
from ostinato.runtime.adding import ScheduleOrder, add
from ostinato.runtime.rewinding import rewind
from ostinato.runtime.timetable import foreseen_shape, preview, shape_of, tick_shape
from ostinato.runtime.why_idle import why_idle
from ostinato.schedules import from_spec
from ostinato.server import shapes_schedules as shapes
from ostinato.server.asking import (
    Cursor,
    Here,
    Limit,
    Operator,
    Viewer,
    from_cursor,
    note,
    number_from,
    page,
    refusals,
    reply,
)
from ostinato.server.served import Served
from ostinato.server.shapes import Page
from ostinato.timing import ScheduleFilter

router = APIRouter(prefix="/api/schedules", tags=["schedules"], responses=refusals())
ticks = APIRouter(prefix="/api/ticks", tags=["schedules"], responses=refusals())
# a schedule's name may hold a slash, as its deployment's may: so what is done to it stands before its name
ScheduleName = Annotated[str, Path(min_length=1, max_length=300, description="The schedule's name.")]
Kind = Literal["time", "event", "condition", "sensor"]
_FAR = 1 << 62


@router.get("", response_model=Page[shapes.Schedule])
async def list_schedules(
    served: Here,
    _who: Viewer,
    kind: Annotated[list[Kind] | None, Query()] = None,
    deployment: Annotated[str | None, Query(max_length=200)] = None,
    project: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 200,
    cursor: Cursor = None,
) -> Response:
    """List schedules by name."""
    which = ScheduleFilter(
        kinds=[*(kind or ())],
        deployment=deployment,
        project=project,
        after=from_cursor(cursor) or "",
        limit=limit + 1,
    )
    rows = await served.call(lambda: served.store.list_schedules(which))
    return page(rows, limit, shape_of, lambda row: row.name)


@router.post("", response_model=shapes.Schedule, status_code=201, responses=refusals(404))
async def add_schedule(served: Here, who: Operator, wanted: shapes.NewSchedule) -> Response:
    """Add a schedule by hand, or replace one that was."""
    options = {name: getattr(wanted, name) for name in ("timezone", "jitter", "catchup", "start", "end")}
    order = ScheduleOrder(
        **wanted.model_dump(exclude=set(options)),
        options={name: value for name, value in options.items() if value is not None},
    )

    def work() -> Response:
        row = add(served.store, order)
        note(served, who, "schedule_changed", row.name, more={"deployment": row.deployment})
        return reply(shape_of(row), 201)

    return await served.call(work)


# before the next one, which takes any path for a name
@router.get("/preview/{name:path}", response_model=list[shapes.Foreseen], responses=refusals(404))
async def preview_schedule(
    served: Here,
    _who: Viewer,
    name: ScheduleName,
    count: Annotated[int, Query(ge=1, le=1000)] = 10,
    after: Annotated[datetime | None, Query(description="From then on; now by default.")] = None,
) -> Response:
    """Show when it will start runs."""

    def work() -> Response:
        row = served.store.get_schedule(name)
        begin = served.store.now() if after is None else instant_of(after)
        plan = [] if row.kind == "sensor" else preview(from_spec(row.spec), row.name, begin, count)
        return reply([foreseen_shape(item) for item in plan])

    return await served.call(work)


@router.get("/{name:path}", response_model=shapes.ScheduleDetails, responses=refusals(404))
async def get_schedule(served: Here, _who: Viewer, name: ScheduleName) -> Response:
    """Look at a schedule, and why it starts nothing."""

    def work() -> Response:
        row = served.store.get_schedule(name)
        why = [{"reason": each.reason, "text": each.text, "data": each.data} for each in why_idle(served.store, row)]
        return reply({**shape_of(row), "why": why})

    return await served.call(work)


@router.delete("/{name:path}", status_code=204, responses=refusals(404))
async def remove_schedule(served: Here, who: Operator, name: ScheduleName) -> Response:
    """Remove a schedule that was added by hand."""

    def work() -> Response:
        served.store.remove_schedule(name)
        note(served, who, "schedule_removed", name)
        return Response(status_code=204)

    return await served.call(work)


@router.post("/pause/{name:path}", response_model=shapes.Schedule, responses=refusals(404))
async def pause_schedule(served: Here, who: Operator, name: ScheduleName) -> Response:
    """Have it start nothing."""
    return await _pause(served, who, name, paused=True)


@router.post("/resume/{name:path}", response_model=shapes.Schedule, responses=refusals(404))
async def resume_schedule(served: Here, who: Operator, name: ScheduleName) -> Response:
    """Let it go on, from now."""
    return await _pause(served, who, name, paused=False)


async def _pause(served: Served, who: Who, name: str, *, paused: bool) -> Response:
    def work() -> Response:
        row = served.store.pause_schedule(name, paused=paused)
        note(served, who, "schedule_paused" if paused else "schedule_resumed", name)
        return reply(shape_of(row))

    return await served.call(work)


@router.post("/replay/{name:path}", response_model=shapes.Schedule, responses=refusals(404))
async def replay_schedule(served: Here, who: Operator, name: ScheduleName, wanted: shapes.Replay) -> Response:
    """Have it decide again from a time, or an event, on: each of them starts a new run."""
    since = None if wanted.since is None else instant_of(wanted.since)

    def work() -> Response:
        row = rewind(served.store, name, since=since, from_event=wanted.from_event)
        more = {"since": to_rfc3339(since), "from_event": wanted.from_event}
        note(served, who, "schedule_rewound", name, more=more)
        return reply(shape_of(row))

    return await served.call(work)


@ticks.get("", response_model=Page[shapes.Tick])
async def list_ticks(
    served: Here,
    _who: Viewer,
    schedule: Annotated[str | None, Query(max_length=300)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List what schedules came to, the newest decision first."""
    before = number_from(cursor, _FAR)
    found = await served.call(lambda: served.store.list_ticks(schedule, before=before, limit=limit + 1))
    return page(found, limit, tick_shape, lambda tick: tick.at)
